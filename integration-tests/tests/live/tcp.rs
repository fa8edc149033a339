//! TCP sessions: bytes as they are, ends and resets as they are, and a place for each to go.

use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};
use weir_config::model::Bucket;
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::redis::{self, Redis};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{backend, place, wait};

const MIB: usize = 1024 * 1024;
const SOON: Duration = Duration::from_secs(20);

/// What a peer does with each of its connections.
type Script = dyn Fn(TcpStream) + Send + Sync;

/// An endpoint that does with each connection what its script says, on a thread of its own.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Connections accepted so far.
    accepted: Arc<AtomicUsize>,
    listener: TcpListener,
}

impl Peer {
    pub(crate) fn new(script: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(place::address()).unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, script): (Arc<AtomicUsize>, Arc<Script>) = (Arc::default(), Arc::new(script));
        let (ours, count) = (listener.try_clone().unwrap(), Arc::clone(&accepted));
        thread::spawn(move || {
            while let Ok((stream, _)) = ours.accept() {
                count.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    stream.set_read_timeout(Some(2 * wait::PATIENCE)).unwrap();
                    script(stream);
                });
            }
        });
        Self { address, accepted, listener }
    }

    /// Says its name, then says everything back.
    pub(crate) fn echo(name: &'static str) -> Self {
        Self::new(move |mut stream| {
            let _ = stream.write_all(name.as_bytes());
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                if stream.write_all(&piece[..count]).is_err() {
                    return;
                }
            }
        })
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // From now on the port refuses; connections that are open stay.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

/// A Weir with one TCP listener before these endpoints.
struct Front {
    weir: Weir,
    at: SocketAddr,
    endpoints: Vec<SocketAddr>,
}

/// Keys of the listener, keys of the cluster, lines of the top level.
#[derive(Clone, Copy, Default)]
struct Keys<'a> {
    listener: &'a str,
    cluster: &'a str,
    top: &'a str,
}

fn yaml(at: SocketAddr, endpoints: &[SocketAddr], keys: Keys<'_>) -> String {
    let mut text =
        format!("{}\nlisteners:\n  - name: db\n    bind: {at}\n    protocol: tcp\n    cluster: main\n", keys.top);
    let _ = writeln!(text, "    {}\nclusters:\n  - name: main\n    {}\n    endpoints:", keys.listener, keys.cluster);
    endpoints.iter().for_each(|endpoint| _ = writeln!(text, "      - {endpoint}"));
    text
}

impl Front {
    fn new(endpoints: &[SocketAddr]) -> Self {
        Self::with(endpoints, Keys::default())
    }

    fn with(endpoints: &[SocketAddr], keys: Keys<'_>) -> Self {
        let at = place::address();
        let top = format!("workers: 2\naccess_log: '-'\n{}", keys.top);
        let weir = Weir::start(&yaml(at, endpoints, Keys { top: &top, ..keys }));
        Self { weir, at, endpoints: endpoints.to_vec() }
    }

    fn connect(&self) -> TcpStream {
        connect(self.at)
    }

    /// The lines of sessions that are over, once there are so many.
    fn lines(&self, count: usize) -> Vec<Value> {
        wait::until(&format!("{count} access lines"), || {
            let text = self.weir.stdout();
            let lines: Vec<Value> = text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// The reason in the line of the only session.
    fn only_reason(&self) -> String {
        self.lines(1)[0]["reason"].as_str().unwrap_or("none").to_owned()
    }
}

pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, wait::PATIENCE).unwrap();
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    stream.set_write_timeout(Some(wait::PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection from another address of ours.
pub(crate) fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    socket.into()
}

pub(crate) fn reads(stream: &mut TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

pub(crate) fn reads_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = String::new();
    stream.read_to_string(&mut bytes).unwrap();
    bytes
}

/// What a connection ends in, whatever comes before.
pub(crate) fn is_reset(stream: &mut TcpStream) -> bool {
    let ended = io::copy(stream, &mut io::sink());
    matches!(ended, Err(error) if error.kind() == io::ErrorKind::ConnectionReset)
}

/// The same of a new connection, whose reset may be here before it has come about for us.
fn is_reset_at_once(to: SocketAddr) -> bool {
    match TcpStream::connect_timeout(&to, wait::PATIENCE) {
        Ok(mut stream) => is_reset(&mut stream),
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn redis_speaks_through_it_and_a_dead_one_is_nobodys_error() {
    let (first, second) = (place::address(), place::address());
    let (mut one, two) = (Redis::start(first), Redis::start(second));
    let front = Front::with(
        &[first, second],
        Keys { cluster: "outlier_detection: {base_ejection_time: 1s}", ..Keys::default() },
    );
    let says = |arguments: &[&str]| {
        let output = redis::cli(front.at, arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(says(&["ping"]), "PONG\n");
    let long = "x".repeat(2 * MIB / 32);
    for address in [first, second] {
        assert!(redis::cli(address, &["set", "greeting", &long]).status.success());
    }
    assert_eq!(says(&["get", "greeting"]).trim_end(), long);
    assert_eq!(says(&["-r", "500", "incr", "count"]).lines().count(), 500);
    let mut pipelined = front.connect();
    for _ in 0..10_000 {
        pipelined.write_all(b"PING\r\n").unwrap();
    }
    assert_eq!(reads(&mut pipelined, 70_000), "+PONG\r\n".repeat(10_000));

    one.kill();
    for nth in 0..20 {
        assert_eq!(says(&["ping"]), "PONG\n", "number {nth} after one of two died");
    }
    assert!(front.weir.metric("weir_upstream_errors_total", &["connect_refused"]) > 0.0);
    wait::until_true("it is ejected for what traffic shows", || {
        drop(redis::cli(front.at, &["ping"]));
        let status = front.weir.json("/api/v1/status");
        status["clusters"][0]["endpoints"][0]["status"] == "ejected"
    });
    drop(two);
    let output = redis::cli(front.at, &["ping"]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("PONG"));
    one.revive();
    wait::until_true("it is back by itself", || redis::cli(front.at, &["ping"]).stdout == b"PONG\n");
}

#[test]
fn an_end_is_passed_on_and_the_other_direction_lasts() {
    // The client ends first, and is answered all the same.
    let asked = Peer::new(|mut stream| {
        let question = reads_to_end(&mut stream);
        stream.write_all(format!("{question}?").as_bytes()).unwrap();
    });
    let front = Front::new(&[asked.address]);
    let mut client = front.connect();
    client.write_all(b"why").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reads_to_end(&mut client), "why?");
    assert_eq!(front.only_reason(), "none");

    // The endpoint ends first, and still hears the client.
    let (tell, told) = std::sync::mpsc::channel();
    let telling = Peer::new(move |mut stream| {
        stream.write_all(b"go on").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        tell.send(reads_to_end(&mut stream)).unwrap();
    });
    let front = Front::new(&[telling.address]);
    let mut client = front.connect();
    assert_eq!(reads_to_end(&mut client), "go on");
    client.write_all(b"and on").unwrap();
    client.write_all(b" and on").unwrap();
    drop(client);
    assert_eq!(told.recv_timeout(wait::PATIENCE).unwrap(), "and on and on");
    let line = front.lines(1).remove(0);
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&13.into(), &5.into()), "{line}");
    assert_eq!((&line["version"], &line["listener"], &line["attempts"]), (&"TCP".into(), &"db".into(), &1.into()));
    assert_eq!(line["endpoint"], telling.address.to_string());
    assert!(line.get("status").is_none() && line.get("method").is_none() && line.get("reason").is_none(), "{line}");
    assert_eq!(front.weir.metric("weir_requests_total", &["listener=\"db\"", "2xx"]), 1.0);
}

/// Pseudo-random bytes, and their sum.
pub(crate) fn noise(stream: &mut TcpStream, total: usize) -> u64 {
    let (mut sum, mut state, mut piece) = (DefaultHasher::new(), 1_u64, vec![0; 64 * 1024]);
    for _ in 0..total / piece.len() {
        for word in piece.chunks_exact_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word.copy_from_slice(&state.to_le_bytes());
        }
        sum.write(&piece);
        stream.write_all(&piece).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    sum.finish()
}

/// The sum of what comes, to its end, and how much that was.
pub(crate) fn sum(stream: &mut TcpStream) -> (u64, usize) {
    let (mut sum, mut total, mut piece) = (DefaultHasher::new(), 0, vec![0; 64 * 1024]);
    let mut filled = 0;
    loop {
        let count = stream.read(&mut piece[filled..]).unwrap();
        (filled, total) = (filled + count, total + count);
        // By the same pieces as it is written by: it is no sum over bytes.
        if (count == 0 && filled > 0) || filled == piece.len() {
            sum.write(&piece[..filled]);
            filled = 0;
        }
        if count == 0 {
            return (sum.finish(), total);
        }
    }
}

#[test]
fn large_transfers_in_both_directions_at_once_arrive_as_they_are() {
    const LARGE: usize = 64 * MIB;
    let (tell, told) = std::sync::mpsc::channel();
    let peer = Peer::new(move |mut stream| {
        let mut other = stream.try_clone().unwrap();
        let sent = thread::spawn(move || noise(&mut other, LARGE));
        let heard = sum(&mut stream);
        tell.send((sent.join().unwrap(), heard)).unwrap();
    });
    let front = Front::new(&[peer.address]);
    let mut client = front.connect();
    let mut other = client.try_clone().unwrap();
    let sent = thread::spawn(move || noise(&mut other, LARGE));
    let (heard, much) = sum(&mut client);
    let (theirs, (their_heard, their_much)) = told.recv_timeout(wait::PATIENCE).unwrap();
    let ours = sent.join().unwrap();
    assert_eq!((much, their_much), (LARGE, LARGE));
    assert_eq!((heard, their_heard), (theirs, ours));
    let line = front.lines(1).remove(0);
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&LARGE.into(), &LARGE.into()), "{line}");
    assert_eq!(front.weir.metric("weir_upstream_bytes_received_total", &[]), LARGE as f64);
    assert_eq!(front.weir.metric("weir_upstream_bytes_sent_total", &[]), LARGE as f64);
}

#[test]
fn whoever_does_not_read_stops_whoever_sends() {
    const LARGE: usize = 100 * MIB;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let peer = Peer::new(move |mut stream| {
        let piece = vec![7; 64 * 1024];
        for _ in 0..LARGE / piece.len() {
            if stream.write_all(&piece).is_err() {
                return;
            }
            count.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    let front = Front::new(&[peer.address]);
    let before = front.weir.resident();
    let mut slow: Vec<TcpStream> = (0..4).map(|_| front.connect()).collect();
    let (mut last, mut still) = (0, 0);
    wait::until_true("the endpoint is stopped", || {
        let now = sent.load(Ordering::SeqCst);
        still = if now == last { still + 1 } else { 0 };
        last = now;
        still >= 50 && now > 0
    });
    assert!(last < 4 * 40 * MIB, "the endpoint could send {last} bytes to nobody");
    let grown = front.weir.resident().saturating_sub(before);
    assert!(grown < 16 * MIB as u64, "Weir holds {grown} bytes for clients that do not read");
    let first = slow.remove(0);
    drop(slow);
    let got = io::copy(&mut { first }, &mut io::sink()).unwrap();
    assert_eq!(got as usize, LARGE, "once it reads it gets everything");
}

#[test]
fn a_connection_that_does_not_come_about_is_tried_elsewhere() {
    let (one, two) = (Peer::echo("1"), Peer::echo("2"));
    let keys = Keys { cluster: "outlier_detection: off", ..Keys::default() };
    let front = Front::with(&[one.address, place::refusing(), two.address], keys);
    for _ in 0..30 {
        assert!(["1", "2"].contains(&reads(&mut front.connect(), 1).as_str()));
    }
    let lines = front.lines(30);
    assert!(lines.iter().all(|line| line.get("reason").is_none()), "{lines:?}");
    assert!(lines.iter().any(|line| line["attempts"] == 2), "{lines:?}");
    assert!(front.weir.metric("weir_upstream_errors_total", &["connect_refused"]) > 0.0);

    let nobody = Front::with(&[place::refusing()], keys);
    assert!(is_reset_at_once(nobody.at), "no clean end: there was no answer");
    assert_eq!(nobody.only_reason(), "connect_refused");
    assert_eq!(nobody.weir.metric("weir_requests_total", &["5xx"]), 1.0);
    assert_eq!(nobody.weir.metric("weir_responses_total", &["connect_refused"]), 1.0);
}

#[test]
fn a_reset_is_a_reset_on_the_other_side() {
    let (tell, told) = std::sync::mpsc::channel();
    let peer = Peer::new(move |mut stream| {
        stream.write_all(b"!").unwrap();
        match reads(&mut stream, 1).as_str() {
            "r" => reset(stream),
            _ => tell.send(is_reset(&mut stream)).unwrap(),
        }
    });
    let front = Front::new(&[peer.address]);
    let mut client = front.connect();
    assert_eq!(reads(&mut client, 1), "!");
    client.write_all(b"w").unwrap();
    // What has not gone through may be lost in a reset.
    wait::until_true("it went through", || front.weir.metric("weir_upstream_bytes_sent_total", &[]) > 0.0);
    reset(client);
    assert!(told.recv_timeout(wait::PATIENCE).unwrap(), "the endpoint saw no reset");
    assert_eq!(front.lines(1)[0]["reason"], "client_gone");

    let mut client = front.connect();
    client.write_all(b"r").unwrap();
    assert!(is_reset(&mut client));
    assert_eq!(front.lines(2)[1]["reason"], "upstream_cut");
    // What a client does to its connection is not held against the endpoint.
    let failures = front.weir.json("/api/v1/status")["clusters"][0]["endpoints"][0]["failures"].clone();
    assert_eq!(failures, 0);
}

#[test]
fn sessions_outlive_reloads_and_new_ones_see_the_new_configuration() {
    let (old, new) = (Peer::echo("old"), Peer::echo("new"));
    let front = Front::new(&[old.address]);
    let mut stays = front.connect();
    assert_eq!(reads(&mut stays, 3), "old");
    front.weir.replace(&yaml(front.at, &[new.address], Keys { top: "workers: 2", ..Keys::default() }));
    let _ = front.weir.wait_event("config_applied", 1);
    assert_eq!(reads(&mut front.connect(), 3), "new");
    stays.write_all(b"still here").unwrap();
    assert_eq!(reads(&mut stays, 10), "still here");

    // Another protocol: what is open goes on, what comes speaks it.
    let web = backend::Backend::text("web");
    let http = yaml(front.at, &[web.address()], Keys { top: "workers: 2", ..Keys::default() }).replace("tcp", "http");
    front.weir.replace(&http);
    let _ = front.weir.wait_event("config_applied", 2);
    let mut kept = RawClient::connect(front.at);
    kept.send(get("/"));
    assert_eq!(kept.response().unwrap().text(), "web");
    stays.write_all(b"and still").unwrap();
    assert_eq!(reads(&mut stays, 9), "and still");

    // And back: a kept-open connection that speaks HTTP is not taken for bytes.
    front.weir.replace(&yaml(front.at, &[new.address], Keys { top: "workers: 2", ..Keys::default() }));
    let _ = front.weir.wait_event("config_applied", 3);
    assert_eq!(reads(&mut front.connect(), 3), "new");
    kept.expect_end();
    stays.write_all(b"to the end").unwrap();
    stays.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reads_to_end(&mut stays), "to the end");
    assert_eq!(old.accepted(), 1);
}

#[test]
fn a_session_in_which_nothing_moves_is_given_up() {
    let (tell, told) = std::sync::mpsc::channel();
    let peer = Peer::new(move |mut stream| {
        for _ in 0..10 {
            stream.write_all(b".").unwrap();
            thread::sleep(Duration::from_millis(100));
        }
        tell.send(is_reset(&mut stream)).unwrap();
    });
    let keys = Keys { listener: "timeouts: {stream_idle: 400ms}", ..Keys::default() };
    let front = Front::with(&[peer.address], keys);
    let began = Instant::now();
    let mut client = front.connect();
    assert_eq!(reads(&mut client, 10), "..........");
    assert!(is_reset(&mut client), "nobody can take it for an end");
    assert!(
        began.elapsed() >= Duration::from_millis(1200),
        "one direction that moves is enough: {:?}",
        began.elapsed()
    );
    assert!(told.recv_timeout(wait::PATIENCE).unwrap());
    assert_eq!(front.only_reason(), "idle_timeout");
}

#[test]
fn a_drain_lets_sessions_finish_until_the_deadline() {
    let peer = Peer::echo("hi");
    let mut front = Front::new(&[peer.address]);
    let mut client = front.connect();
    assert_eq!(reads(&mut client, 2), "hi");
    front.weir.signal(Signal::TERM);
    wait::until_true("the end of accepting", || TcpStream::connect(front.at).is_err());
    client.write_all(b"one more").unwrap();
    assert_eq!(reads(&mut client, 8), "one more");
    assert!(front.weir.exited().is_none());
    drop(client);
    assert_eq!(front.weir.exit_code(SOON), 0);

    let keys = Keys { top: "shutdown: {timeout: 300ms}", ..Keys::default() };
    let mut front = Front::with(&[peer.address], keys);
    let mut client = front.connect();
    assert_eq!(reads(&mut client, 2), "hi");
    front.weir.signal(Signal::TERM);
    assert!(is_reset(&mut client));
    assert_eq!(front.weir.exit_code(SOON), 3);
    assert_eq!(front.only_reason(), "drain_deadline");
}

#[test]
fn limits_hold() {
    let peer = Peer::echo("hi");
    let keys = Keys { listener: "limits: {connections: 2}", ..Keys::default() };
    let front = Front::with(&[peer.address], keys);
    let mut open: Vec<TcpStream> = (0..2).map(|_| front.connect()).collect();
    open.iter_mut().for_each(|client| assert_eq!(reads(client, 2), "hi"));
    // It may be reset before it is told to be open.
    let let_in = || TcpStream::connect(front.at).and_then(|mut client| client.read_exact(&mut [0; 2])).is_ok();
    assert!(!let_in());
    open.pop();
    wait::until_true("there is room again", let_in);

    // The endpoint's own: a session waits for the other to end, and no longer than it may.
    let waits = "circuit_breaker: {queue_timeout: 300ms, per_endpoint: {max_connections: 1}}";
    let front = Front::with(&[peer.address], Keys { cluster: waits, ..Keys::default() });
    let mut first = front.connect();
    assert_eq!(reads(&mut first, 2), "hi");
    let mut second = front.connect();
    assert!(is_reset(&mut second));
    assert_eq!(front.only_reason(), "queue_timeout");
    let mut third = front.connect();
    third.write_all(b"early").unwrap();
    drop(first);
    assert_eq!(reads(&mut third, 7), "hiearly", "what came while it waited is not lost");
}

#[test]
fn nothing_is_left_open() {
    let peer = Peer::new(|mut stream| match reads(&mut stream, 1).as_str() {
        "r" => reset(stream),
        "c" => {}
        _ => _ = io::copy(&mut stream, &mut io::sink()),
    });
    let cluster = "connect: {timeout: 200ms}\n    outlier_detection: off";
    let keys = Keys { cluster, listener: "timeouts: {stream_idle: 500ms}", ..Keys::default() };
    let front = Front::with(&[peer.address, place::refusing()], keys);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", front.weir.pid())).unwrap().count();
    drop(front.connect());
    front.lines(1);
    let before = descriptors();
    let mut idle = Vec::new();
    for nth in 0..200 {
        let mut client = front.connect();
        match nth % 5 {
            0 => _ = client.write_all(b"r"),
            1 => _ = client.write_all(b"c"),
            2 => reset(client),
            3 => idle.push(client),
            _ => _ = client.shutdown(Shutdown::Write),
        }
    }
    front.lines(201);
    // The admin connections of this test come and go as well.
    wait::until_true("as many descriptors as before", || descriptors() <= before + 1);
    wait::until_true("no session is counted as open", || {
        let status = front.weir.json("/api/v1/status");
        let open = status["listeners"][0]["connections"].as_u64().unwrap();
        let endpoints = status["clusters"][0]["endpoints"].as_array().unwrap();
        open == 0 && endpoints.iter().all(|its| its["in_flight"] == 0 && its["connections"] == 0)
    });
    assert_eq!(front.endpoints.len(), 2);
}

#[test]
fn drills_concern_sessions_too() {
    let (one, two) = (Peer::echo("1"), Peer::echo("2"));
    let front =
        Front::with(&[one.address, two.address], Keys { cluster: "connect: {timeout: 200ms}", ..Keys::default() });
    let drill = |kind: &str, rest: &str| {
        let answer = front.weir.admin_post(&format!("/api/v1/drills?kind={kind}&for=30s&{rest}"));
        assert!(answer.status < 300, "{}", answer.text());
    };
    drill("latency", "cluster=main&delay=300ms");
    let began = Instant::now();
    assert_eq!(reads(&mut front.connect(), 1).len(), 1);
    assert!(began.elapsed() >= Duration::from_millis(300));
    drill("reset", "route=db");
    // It may be gone before it is as it should be.
    let connected = TcpStream::connect_timeout(&front.at, wait::PATIENCE);
    assert!(match connected {
        Ok(mut open) => {
            open.set_read_timeout(Some(wait::PATIENCE)).unwrap();
            is_reset(&mut open)
        }
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    });
    wait::until_true("the reason is told", || front.weir.metric("weir_responses_total", &["fault_injected"]) == 1.0);
}

#[test]
fn the_same_address_goes_to_the_same_endpoint() {
    let peers: Vec<Peer> = ["1", "2", "3", "4"].into_iter().map(Peer::echo).collect();
    let endpoints: Vec<SocketAddr> = peers.iter().map(|peer| peer.address).collect();
    let front =
        Front::with(&endpoints, Keys { cluster: "balance: maglev\n    hash: {bounded_load: off}", ..Keys::default() });
    let mut seen = std::collections::BTreeSet::new();
    for last in 1..40 {
        let from = format!("127.0.5.{last}");
        let names: Vec<String> = (0..3).map(|_| reads(&mut connect_from(&from, front.at), 1)).collect();
        assert!(names.iter().all(|name| *name == names[0]), "{from}: {names:?}");
        seen.insert(names[0].clone());
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
    let said = String::from_utf8(front.weir.command(&["status"]).stdout).unwrap();
    assert!(said.contains("PROTOCOL") && said.contains("tcp"), "{said}");
}

#[test]
fn a_release_divides_clients_by_their_address() {
    let (one, two) = (Peer::echo("1"), Peer::echo("2"));
    let at = place::address();
    let weighed = |weight: u32| {
        format!(
            "listeners:\n  - {{name: db, bind: '{at}', protocol: tcp, release: db}}\n\
             clusters:\n  - {{name: v1, endpoints: ['{}']}}\n  - {{name: v2, endpoints: ['{}'], \
             health_checks: [{{interval: 500ms, timeout: 500ms, unhealthy_threshold: 1, tcp_health_check: {{}}}}]}}\n\
             releases:\n  - name: db\n    key: source_address\n    stable: v1\n    canaries:\n      \
             - {{cluster: v2, weight: {weight}, first: [{{cidr: 127.0.7.0/24}}], never: [{{cidr: 127.0.6.1}}]}}\n",
            one.address, two.address
        )
    };
    let weir = Weir::start(&weighed(0));
    let version = |from: &str| reads(&mut connect_from(from, at), 1);
    let all = || (1..=120).map(|last| version(&format!("127.0.5.{last}"))).collect::<Vec<String>>();
    assert_eq!(version("127.0.7.9"), "2", "who is on the list, whatever the weight");
    assert!(all().iter().all(|version| version == "1"), "weight 0 is nobody");

    // A session stays where it is, whoever its client's next one goes to.
    let mut open = connect_from("127.0.5.1", at);
    assert_eq!(reads(&mut open, 1), "1");
    weir.replace(&weighed(30));
    let _ = weir.wait_event("config_applied", 1);
    let some = all();
    assert_eq!(some, all(), "the same address, the same version");
    let moved = some.iter().filter(|version| *version == "2").count();
    assert!((15..=60).contains(&moved), "{moved} of 120 at 30 %");
    for (last, version) in (1..).zip(&some) {
        let mine = Bucket::of("db", format!("127.0.5.{last}").as_bytes()).get() < 3000;
        assert_eq!(mine, version == "2", "127.0.5.{last} by the published rule");
    }

    weir.replace(&weighed(100));
    let _ = weir.wait_event("config_applied", 2);
    assert!(all().iter().all(|version| version == "2"), "weight 100 is all");
    assert_eq!(version("127.0.6.1"), "1", "but whom a list keeps out");
    open.write_all(b"where I was").unwrap();
    assert_eq!(reads(&mut open, 11), "where I was");
    wait::until_true("its sessions are counted", || {
        let status = weir.json("/api/v1/status");
        let requests = |nth: usize| status["clusters"][nth]["traffic"]["requests"].as_u64().unwrap();
        // All of one round at weight 0, and the open one; all of one round at weight 100.
        requests(0) >= 121 && requests(1) >= 121
    });

    // Without a usable endpoint its clients are stable's for a while.
    drop(two);
    wait::until_true("the canary's clients move", || {
        let mut client = connect_from("127.0.7.9", at);
        let mut name = [0];
        client.read_exact(&mut name).is_ok() && name == *b"1"
    });
}
