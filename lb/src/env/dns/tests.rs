//! Against a DNS server of this test, over real sockets on loopback.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SRV};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::AbortHandle;
use weir_config::model::Weight;

use super::*;

/// How the server answers a question.
#[derive(Clone)]
enum Manner {
    /// With these records: owner, TTL, data.
    Records(Vec<(&'static str, u32, RData)>),
    Code(ResponseCode),
    Silence,
    /// Over UDP truncated to nothing, over TCP with these records.
    OverTcp(Vec<(&'static str, u32, RData)>),
}

type Manners = Arc<Mutex<BTreeMap<(String, RecordType), Manner>>>;

/// A DNS server. What it was not told about does not exist.
struct Server {
    address: SocketAddr,
    manners: Manners,
    asked: Arc<Mutex<Vec<String>>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Server {
    async fn new() -> Self {
        // One port for both; another process may hold that of the second.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let (manners, asked) = (Manners::default(), Arc::<Mutex<Vec<String>>>::default());
        let (known, heard) = (Arc::clone(&manners), Arc::clone(&asked));
        let packets = tokio::spawn(async move {
            let mut packet = [0; 4096];
            while let Ok((len, peer)) = udp.recv_from(&mut packet).await {
                if let Some(answer) = answer(&packet[..len], &known, &heard, false) {
                    udp.send_to(&answer, peer).await.unwrap();
                }
            }
        });
        let (known, heard) = (Arc::clone(&manners), Arc::clone(&asked));
        let streams = tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                let _ = serve(stream, &known, &heard).await;
            }
        });
        let tasks = vec![packets.abort_handle(), streams.abort_handle()];
        Self { address, manners, asked, tasks }
    }

    fn on(&self, name: &str, kind: RecordType, manner: Manner) {
        self.manners.lock().unwrap().insert((name.into(), kind), manner);
    }

    fn a(&self, name: &'static str, ttl: u32, ends: &[u8]) {
        let records = ends.iter().map(|&end| (name, ttl, RData::A(A(Ipv4Addr::new(10, 0, 0, end))))).collect();
        self.on(name, RecordType::A, Manner::Records(records));
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn resolve(&self) -> Resolve {
        Resolve {
            servers: vec![self.address],
            family: Family::Both,
            timeout: Duration::from_secs(2),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            max_stale: None,
            confirm_removal: 2,
        }
    }

    async fn look_up(&self, kind: SourceKind) -> Answer {
        self.look_up_as(kind, self.resolve()).await
    }

    async fn look_up_as(&self, kind: SourceKind, resolve: Resolve) -> Answer {
        let source = Source { kind, zone: None, weight: Weight::ONE, priority: 0 };
        look_up(&Resolvers::default(), &Lookup { source, resolve }).await
    }
}

async fn serve(mut stream: TcpStream, manners: &Manners, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    loop {
        let len = stream.read_u16().await?;
        let mut question = vec![0; len.into()];
        stream.read_exact(&mut question).await?;
        if let Some(answer) = answer(&question, manners, asked, true) {
            stream.write_u16(answer.len() as u16).await?;
            stream.write_all(&answer).await?;
        }
    }
}

fn answer(question: &[u8], manners: &Manners, asked: &Mutex<Vec<String>>, tcp: bool) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(question).unwrap().into_response();
    let query = message.queries[0].clone();
    let name = query.name().to_string();
    asked.lock().unwrap().push(format!("{} {name}{}", query.query_type(), if tcp { " over TCP" } else { "" }));
    let manner = manners.lock().unwrap().get(&(name.clone(), query.query_type())).cloned();
    let exists = manners.lock().unwrap().keys().any(|(known, _)| *known == name);
    let records = match manner {
        Some(Manner::Silence) => return None,
        Some(Manner::Records(records)) => records,
        Some(Manner::OverTcp(records)) if tcp => records,
        Some(Manner::OverTcp(_)) => {
            message.metadata.truncation = true;
            vec![]
        }
        Some(Manner::Code(code)) => {
            message.metadata.response_code = code;
            vec![]
        }
        None if exists => vec![],
        None => {
            message.metadata.response_code = ResponseCode::NXDomain;
            vec![]
        }
    };
    message.metadata.recursion_available = true;
    message.add_answers(records.into_iter().map(|(owner, ttl, data)| Record::from_rdata(fqdn(owner), ttl, data)));
    Some(message.to_vec().unwrap())
}

fn fqdn(name: &str) -> Name {
    Name::from_ascii(name).unwrap()
}

fn alias(to: &str) -> RData {
    RData::CNAME(CNAME(fqdn(to)))
}

fn host(name: &str) -> SourceKind {
    SourceKind::Name { host: name.into(), port: 80 }
}

/// The addresses that were told, and the TTL in seconds.
fn told(answer: &Answer) -> (Vec<String>, u64) {
    let told = answer.result.as_ref().unwrap_or_else(|failure| panic!("{failure}: {:?}", answer.trace));
    let mut addresses: Vec<String> = told.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
    addresses.sort();
    (addresses, told.ttl.unwrap().as_secs())
}

fn failed(answer: &Answer) -> FailureKind {
    answer.result.as_ref().expect_err("it should fail").kind
}

#[tokio::test]
async fn both_families_are_asked_for_at_once_and_one_is_enough() {
    let server = Server::new().await;
    server.a("app.test.", 30, &[1, 2]);
    let six = RData::AAAA(AAAA(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)));
    server.on("app.test.", RecordType::AAAA, Manner::Records(vec![("app.test.", 20, six)]));
    let answer = server.look_up(host("app.test")).await;
    let (addresses, ttl) = told(&answer);
    assert_eq!(addresses, ["10.0.0.1:80", "10.0.0.2:80", "[2001:db8::1]:80"]);
    assert_eq!(ttl, 20, "the shortest of both");
    assert_eq!(answer.result.as_ref().unwrap().silent, Silent::None);
    assert_eq!(answer.trace.servers, [server.address]);
    let steps: Vec<(&str, usize)> = answer.trace.steps.iter().map(|step| (&*step.asked, step.records.len())).collect();
    assert_eq!(steps, [("A app.test.", 2), ("AAAA app.test.", 1)]);

    server.a("four.test.", 30, &[1]);
    let answer = server.look_up(host("four.test")).await;
    assert_eq!((told(&answer).0.len(), answer.result.unwrap().silent), (1, Silent::None));
    let resolve = Resolve { family: Family::V6, ..server.resolve() };
    assert_eq!(told(&server.look_up_as(host("app.test"), resolve.clone()).await).0, ["[2001:db8::1]:80"]);
    assert_eq!(failed(&server.look_up_as(host("four.test"), resolve).await), FailureKind::Empty);
}

#[tokio::test]
async fn d1_nothing_is_cached() {
    let server = Server::new().await;
    let resolvers = Resolvers::default();
    let source = Source { kind: host("app.test"), zone: None, weight: Weight::ONE, priority: 0 };
    let what = Lookup { source, resolve: server.resolve() };
    for end in 1..5 {
        server.a("app.test.", 3600, &[end]);
        assert_eq!(told(&look_up(&resolvers, &what).await).0, [format!("10.0.0.{end}:80")]);
    }
    for kind in [RecordType::A, RecordType::AAAA] {
        server.on("app.test.", kind, Manner::Code(ResponseCode::NXDomain));
    }
    assert_eq!(failed(&look_up(&resolvers, &what).await), FailureKind::NxDomain);
    server.a("app.test.", 3600, &[9]);
    assert_eq!(told(&look_up(&resolvers, &what).await).0, ["10.0.0.9:80"]);
}

#[tokio::test]
async fn d3_the_ttl_is_the_shortest_of_the_whole_chain() {
    let server = Server::new().await;
    let end = || RData::A(A(Ipv4Addr::new(10, 0, 0, 7)));
    // The whole chain in one answer, the shortest first, in the middle, and last.
    for ttls in [[5, 60, 300], [60, 5, 300], [300, 60, 5]] {
        let records = vec![
            ("app.test.", ttls[0], alias("b.test.")),
            ("b.test.", ttls[1], alias("c.test.")),
            ("c.test.", ttls[2], end()),
        ];
        server.on("app.test.", RecordType::A, Manner::Records(records));
        let answer = server.look_up(host("app.test")).await;
        assert_eq!(told(&answer), (vec!["10.0.0.7:80".into()], 5), "{ttls:?}");
        assert_eq!(answer.trace.steps[0].records.len(), 3, "each record is shown");
        // Each in an answer of its own, from a server that follows nothing.
        for (owner, ttl, data) in [
            ("x.test.", ttls[0], alias("y.test.")),
            ("y.test.", ttls[1], alias("z.test.")),
            ("z.test.", ttls[2], end()),
        ] {
            server.on(owner, RecordType::A, Manner::Records(vec![(owner, ttl, data)]));
        }
        let answer = server.look_up(host("x.test")).await;
        assert_eq!(told(&answer), (vec!["10.0.0.7:80".into()], 5), "{ttls:?}");
        assert_eq!(answer.trace.steps[0].asked, "A x.test.");
    }
    // A circle, and records of somebody else.
    server.on(
        "o.test.",
        RecordType::A,
        Manner::Records(vec![("o.test.", 5, alias("p.test.")), ("p.test.", 5, alias("o.test."))]),
    );
    server.on("stray.test.", RecordType::A, Manner::Records(vec![("else.test.", 5, end())]));
    for name in ["o.test", "stray.test"] {
        assert!(server.look_up(host(name)).await.result.is_err(), "{name}");
    }
}

#[tokio::test]
async fn failures_are_told_apart() {
    let server = Server::new().await;
    server.a("app.test.", 30, &[1]);
    server.on("empty.test.", RecordType::A, Manner::Records(vec![]));
    let blocked = RData::A(A(Ipv4Addr::UNSPECIFIED));
    server.on("blocked.test.", RecordType::A, Manner::Records(vec![("blocked.test.", 30, blocked)]));
    for (name, code) in
        [("servfail", ResponseCode::ServFail), ("refused", ResponseCode::Refused), ("bad", ResponseCode::NotImp)]
    {
        for kind in [RecordType::A, RecordType::AAAA] {
            server.on(&format!("{name}.test."), kind, Manner::Code(code));
        }
    }
    for (name, kind) in [
        ("none.test", FailureKind::NxDomain),
        ("empty.test", FailureKind::Empty),
        ("blocked.test", FailureKind::Empty),
        ("servfail.test", FailureKind::ServFail),
        ("refused.test", FailureKind::Refused),
        ("bad.test", FailureKind::BadAnswer),
    ] {
        assert_eq!(failed(&server.look_up(host(name)).await), kind, "{name}");
    }
    for kind in [RecordType::A, RecordType::AAAA] {
        server.on("mute.test.", kind, Manner::Silence);
    }
    let short = || Resolve { timeout: Duration::from_millis(200), ..server.resolve() };
    let answer = server.look_up_as(host("mute.test"), short()).await;
    assert_eq!(failed(&answer), FailureKind::Timeout);
    assert!(answer.trace.took < Duration::from_secs(2), "{:?}", answer.trace.took);
    // Nobody listens there.
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = Resolve { servers: vec![closed], ..short() };
    let kind = failed(&server.look_up_as(host("app.test"), nobody).await);
    assert!(matches!(kind, FailureKind::Unreachable | FailureKind::Timeout), "{kind}");
}

#[tokio::test]
async fn a_server_without_aaaa_delays_hardly_and_takes_nobody_out() {
    let server = Server::new().await;
    server.a("app.test.", 30, &[1]);
    server.on("app.test.", RecordType::AAAA, Manner::Silence);
    let answer = server.look_up(host("app.test")).await;
    assert_eq!(told(&answer).0, ["10.0.0.1:80"]);
    assert_eq!(answer.result.as_ref().unwrap().silent, Silent::Of(Family::V6));
    assert!(answer.trace.took < Duration::from_millis(1800), "{:?}", answer.trace.took);
}

#[tokio::test]
async fn another_server_answers_for_one_that_fails() {
    let (good, bad) = (Server::new().await, Server::new().await);
    good.a("app.test.", 30, &[1]);
    for kind in [RecordType::A, RecordType::AAAA] {
        bad.on("app.test.", kind, Manner::Code(ResponseCode::ServFail));
    }
    for servers in [vec![bad.address, good.address], vec![good.address, bad.address]] {
        let resolve = Resolve { servers, ..good.resolve() };
        assert_eq!(told(&good.look_up_as(host("app.test"), resolve).await).0, ["10.0.0.1:80"]);
    }
}

#[tokio::test]
async fn what_is_truncated_is_asked_for_over_tcp() {
    let server = Server::new().await;
    let records = (0..200u8).map(|n| ("app.test.", 30, RData::A(A(Ipv4Addr::new(10, 0, 0, n))))).collect();
    server.on("app.test.", RecordType::A, Manner::OverTcp(records));
    let (addresses, _) = told(&server.look_up(host("app.test")).await);
    assert_eq!(addresses.len(), 200);
    let asked = server.asked();
    assert!(asked.iter().any(|question| question == "A app.test."), "{asked:?}");
    assert!(asked.iter().any(|question| question == "A app.test. over TCP"), "{asked:?}");
}

#[tokio::test]
async fn srv_records_bring_port_weight_and_priority() {
    let server = Server::new().await;
    let name = "_http._tcp.app.test.";
    let srv = |priority, weight, port, target| (name, 60, RData::SRV(SRV::new(priority, weight, port, fqdn(target))));
    let records = vec![srv(10, 60, 8001, "a.test."), srv(10, 40, 8002, "b.test."), srv(20, 1, 8003, "a.test.")];
    server.on(name, RecordType::SRV, Manner::Records(records));
    server.a("a.test.", 30, &[1]);
    server.on("b.test.", RecordType::A, Manner::Records(vec![("b.test.", 15, alias("c.test."))]));
    server.a("c.test.", 45, &[2, 3]);
    let answer = server.look_up(SourceKind::Srv("_http._tcp.app.test".into())).await;
    assert_eq!(told(&answer).1, 15, "the shortest of all");
    let endpoints = &answer.result.as_ref().unwrap().endpoints;
    let mut found: Vec<(String, u16, u8)> =
        endpoints.iter().map(|e| (e.address.to_string(), e.weight.get(), e.priority)).collect();
    found.sort();
    let expected =
        [("10.0.0.1:8001", 60, 0), ("10.0.0.1:8003", 1, 1), ("10.0.0.2:8002", 40, 0), ("10.0.0.3:8002", 40, 0)];
    assert_eq!(found, expected.map(|(address, weight, priority)| (address.to_owned(), weight, priority)));

    // One host cannot be had: the others are told, and nothing is said of it.
    for kind in [RecordType::A, RecordType::AAAA] {
        server.on("b.test.", kind, Manner::Code(ResponseCode::ServFail));
    }
    let answer = server.look_up(SourceKind::Srv("_http._tcp.app.test".into())).await;
    assert_eq!(told(&answer).0, ["10.0.0.1:8001", "10.0.0.1:8003"]);
    assert_eq!(answer.result.unwrap().silent, Silent::All);

    server.on(
        "_none._tcp.app.test.",
        RecordType::SRV,
        Manner::Records(vec![("_none._tcp.app.test.", 60, RData::SRV(SRV::new(0, 0, 0, Name::root())))]),
    );
    assert_eq!(failed(&server.look_up(SourceKind::Srv("_none._tcp.app.test".into())).await), FailureKind::Empty);
    assert_eq!(failed(&server.look_up(SourceKind::Srv("_gone._tcp.app.test".into())).await), FailureKind::NxDomain);
}

#[tokio::test]
async fn names_of_this_host_are_known_without_a_server() {
    let resolve = Resolve { servers: vec![], family: Family::V4, ..Server::new().await.resolve() };
    let source = Source { kind: host("localhost"), zone: None, weight: Weight::ONE, priority: 0 };
    let answer = look_up(&Resolvers::default(), &Lookup { source, resolve }).await;
    assert_eq!(told(&answer).0, ["127.0.0.1:80"]);
}
