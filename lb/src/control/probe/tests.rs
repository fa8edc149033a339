//! Probes against endpoints that misbehave in every way, in virtual time.

use super::super::testing::{ECONNREFUSED, EHOSTUNREACH, EMFILE, ETIMEDOUT, Manner, World};
use super::*;
use weir_config::model::Connect;
use weir_core::health::{Said, Serving};

const ADDRESS: &str = "10.0.0.1:80";
const OK: &str = "HTTP/1.1 200 OK\r\n";

/// The check that `yaml` is, as the operator would write it.
fn check(yaml: &str) -> Arc<HealthCheck> {
    let text = format!(
        "listeners: [{{name: l, bind: '127.0.0.1:1', cluster: c}}]\n\
         clusters: [{{name: c, endpoints: ['{ADDRESS}'], health_checks: [{{timeout: 1s, {yaml}}}]}}]"
    );
    Arc::clone(&weir_config::parse_str(&text).unwrap().config.clusters[0].health_checks[0])
}

/// How connections are opened where nothing is said about it.
fn connect() -> Connect {
    let text = format!(
        "listeners: [{{name: l, bind: '127.0.0.1:1', cluster: c}}]\nclusters: [{{name: c, endpoints: ['{ADDRESS}']}}]"
    );
    weir_config::parse_str(&text).unwrap().config.clusters[0].connect.clone()
}

fn plain(connect: &Connect) -> Way<'_> {
    Way { connect, proxy: None, tls: None, host: None, for_what: Use::Http, request: None }
}

/// What a probe of an endpoint of that manner says.
async fn probe(yaml: &str, manner: Manner) -> ProbeOutcome {
    let world = World::new();
    world.at(ADDRESS, manner);
    let check = check(yaml);
    let attempt = async {
        let at = Address::Ip(ADDRESS.parse().unwrap());
        attempt(&world, &Lag::default(), &at, plain(&connect()), HttpVersion::H1, &check).await
    };
    tokio::task::LocalSet::new().run_until(attempt).await
}

fn failed(failure: ProbeFailure) -> ProbeResult {
    ProbeResult::Failed(failure)
}

#[tokio::test(start_paused = true)]
async fn connecting_fails_by_layer() {
    let local = ProbeResult::Inconclusive(Inconclusive::LocalResource);
    for (errno, expected) in [
        (ECONNREFUSED, failed(ProbeFailure::ConnectRefused)),
        (EHOSTUNREACH, failed(ProbeFailure::ConnectFailed)),
        (ETIMEDOUT, failed(ProbeFailure::ConnectTimeout)),
        (EMFILE, local),
        (99, local),
    ] {
        let outcome = probe("tcp_health_check: {}", Manner::Fails(errno)).await;
        assert_eq!(outcome.result, expected, "errno {errno}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_ends_in_time() {
    let tcp = probe("tcp_health_check: {}", Manner::Hangs).await;
    assert_eq!((tcp.result, tcp.took), (failed(ProbeFailure::ConnectTimeout), Duration::from_secs(1)));
    let http = probe("http_health_check: {path: /}", Manner::Silent).await;
    assert_eq!((http.result, http.took), (failed(ProbeFailure::Timeout), Duration::from_secs(1)));
    assert_eq!(probe("tcp_health_check: {}", Manner::Silent).await.result, ProbeResult::Passed);
}

#[tokio::test(start_paused = true)]
async fn answers_are_judged() {
    let passed = ProbeResult::Passed;
    let cases: [(&str, &[&str], ProbeResult); 17] = [
        ("", &[OK, "\r\n"], passed),
        ("", &["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n", OK, "\r\n"], passed),
        ("", &["\r\n\r\nHTTP/1.0 204 No Content\r\n\r\n"], passed),
        ("", &["HTTP/1.1 200 OK\nServer: old\n\n"], passed),
        ("", &["HTTP/1.1 503 Busy\r\n\r\n"], failed(ProbeFailure::Status(503))),
        ("expected_statuses: [503]", &["HTTP/1.1 503 Busy\r\n\r\n"], passed),
        ("expected_statuses: [3xx]", &[OK, "\r\n"], failed(ProbeFailure::Status(200))),
        ("", &[], failed(ProbeFailure::Reset)),
        ("", &[OK], failed(ProbeFailure::Reset)),
        ("", &["SSH-2.0-OpenSSH_9.2p1\r\n\r\n"], failed(ProbeFailure::Protocol)),
        ("", &["HTTP/1.1 101 Switching Protocols\r\n\r\n"], failed(ProbeFailure::Protocol)),
        ("expected_body: ready", &[OK, "Content-Length: 9\r\n\r\nall r", "eady!"], passed),
        ("expected_body: ready", &[OK, "Content-Length: 5\r\n\r\nall ready"], failed(ProbeFailure::Body)),
        ("expected_body: ready", &[OK, "Transfer-Encoding: chunked\r\n\r\n2\r\nre\r\n3\r\nady\r\n0\r\n\r\n"], passed),
        ("expected_body: ready", &[OK, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nready"], failed(ProbeFailure::Body)),
        ("expected_body: ready", &[OK, "\r\nnot yet"], failed(ProbeFailure::Body)),
        ("expected_body: ready", &["HTTP/1.1 204 No Content\r\n\r\nready"], failed(ProbeFailure::Body)),
    ];
    for (more, pieces, expected) in cases {
        let yaml = format!("http_health_check: {{path: /, {more}}}");
        let outcome = probe(&yaml, Manner::Says(pieces.to_vec())).await;
        assert_eq!(outcome.result, expected, "{more:?} {pieces:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn dialogues_are_judged() {
    let heard = |said: &str| failed(ProbeFailure::Unexpected(Said::new(said.as_bytes())));
    let ping = r#"tcp_health_check: {send: "PING\r\n", receive: "+PONG"}"#;
    let flood: &'static str = Box::leak("x".repeat(70_000).into_boxed_str());
    let cases: [(&str, Manner, ProbeResult); 9] = [
        (ping, Manner::Says(vec!["+PONG\r\n"]), ProbeResult::Passed),
        (ping, Manner::Says(vec!["hello ", "+P", "ON", "G"]), ProbeResult::Passed),
        (ping, Manner::Says(vec!["-NOAUTH\r\n"]), heard("-NOAUTH\r\n")),
        (ping, Manner::Says(vec!["+PO", "-NG"]), heard("+PO-NG")),
        (ping, Manner::Says(vec![]), failed(ProbeFailure::Reset)),
        (ping, Manner::Silent, failed(ProbeFailure::Timeout)),
        (ping, Manner::Says(vec![flood, "+PONG"]), heard(flood)),
        (r#"tcp_health_check: {send: "x"}"#, Manner::Silent, ProbeResult::Passed),
        ("tcp_health_check: {}", Manner::Silent, ProbeResult::Passed),
    ];
    for (yaml, manner, expected) in cases {
        let case = format!("{manner:.80?}");
        assert_eq!(probe(yaml, manner).await.result, expected, "{yaml} {case}");
    }
}

#[tokio::test]
async fn datagrams_are_judged() {
    let endpoint = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Ip(endpoint.local_addr().unwrap());
    let check = check(r#"udp_health_check: {send: "ping", receive: "pong"}"#);
    let (env, lag, connect) = (crate::env::Os::new(), Lag::default(), connect());
    let way = plain(&connect);
    for (says, expected) in [
        (&b"a pong"[..], ProbeResult::Passed),
        (b"", failed(ProbeFailure::Unexpected(Said::new(b"")))),
        (b"no\x00", failed(ProbeFailure::Unexpected(Said::new(b"no\x00")))),
    ] {
        let served = async {
            let mut question = [0; 64];
            let (len, client) = endpoint.recv_from(&mut question).await.unwrap();
            assert_eq!(&question[..len], b"ping");
            endpoint.send_to(says, client).await.unwrap();
        };
        let ((), outcome) = tokio::join!(served, attempt(&env, &lag, &address, way, HttpVersion::H1, &check));
        assert_eq!(outcome.result, expected);
    }
    drop(endpoint);
    let outcome = attempt(&env, &lag, &address, way, HttpVersion::H1, &check).await;
    assert_eq!(outcome.result, failed(ProbeFailure::ConnectRefused), "its host said that nobody listens");
}

#[tokio::test(start_paused = true)]
async fn what_never_ends_is_bounded() {
    let endless_head = vec!["x: 0123456789abcdef0123456789abcdef0123456789abcdef\r\n"; 2000];
    let mut pieces = vec![OK];
    pieces.extend(endless_head);
    let outcome = probe("http_health_check: {path: /}", Manner::Says(pieces)).await;
    assert_eq!(outcome.result, failed(ProbeFailure::Protocol));

    let mut pieces = vec![OK, "\r\n"];
    pieces.extend(vec!["0123456789abcdef0123456789abcdef0123456789abcdef"; 2000]);
    pieces.push("ready");
    let outcome = probe("http_health_check: {path: /, expected_body: ready}", Manner::Says(pieces)).await;
    assert_eq!(outcome.result, failed(ProbeFailure::Body));
}

#[test]
fn lateness_of_our_own_is_no_failure() {
    let (second, ms) = (Duration::from_secs(1), Duration::from_millis);
    let late = ProbeResult::Inconclusive(Inconclusive::Late);
    let timeout = failed(ProbeFailure::Timeout);
    for (limit, took, stalled, expected) in [
        (second, second + ms(2), ms(0), timeout),
        (second, second + ms(250), ms(0), timeout),
        (second, second + ms(251), ms(0), late),
        (second, second + ms(2), ms(251), late),
        (ms(100), ms(200), ms(0), timeout),
        (ms(100), ms(201), ms(0), late),
        (second * 10, second * 12, ms(0), timeout),
    ] {
        assert_eq!(timed_out(limit, took, stalled, true), expected, "{limit:?} {took:?} {stalled:?}");
    }
    assert_eq!(timed_out(second, second, ms(0), false), failed(ProbeFailure::ConnectTimeout));
}

#[tokio::test]
async fn a_real_endpoint_is_probed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Ip(listener.local_addr().unwrap());
    let served = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 512];
        let len = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup").await.unwrap();
        String::from_utf8_lossy(&request[..len]).into_owned()
    };
    let check = check("http_health_check: {path: /healthz, host: shop.example, expected_body: up}");
    let (env, lag) = (crate::env::Os::new(), Lag::default());
    let connect = connect();
    let how = plain(&connect);
    let (request, outcome) = tokio::join!(served, attempt(&env, &lag, &address, how, HttpVersion::H1, &check));
    assert!(request.starts_with("GET /healthz HTTP/1.1\r\nHost: shop.example\r\n"), "{request}");
    assert_eq!(outcome.result, ProbeResult::Passed);
    drop(listener);
    assert_eq!(
        attempt(&env, &lag, &address, how, HttpVersion::H1, &check).await.result,
        failed(ProbeFailure::ConnectRefused)
    );
}

/// An endpoint that is cut off in the middle of its answer says so in its log, probe after probe.
#[tokio::test]
async fn an_answer_is_heard_to_its_end() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Ip(listener.local_addr().unwrap());
    let served = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = vec![0; 512];
        let _ = stream.read(&mut request).await.unwrap();
        for piece in ["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", "ab", "cd", "ef"] {
            stream.write_all(piece.as_bytes()).await?;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let check = check("http_health_check: {path: /}");
    let (env, lag) = (crate::env::Os::new(), Lag::default());
    let connect = connect();
    let probed = attempt(&env, &lag, &address, plain(&connect), HttpVersion::H1, &check);
    let (written, outcome) = tokio::join!(served, probed);
    assert_eq!(outcome.result, ProbeResult::Passed);
    assert!(written.is_ok(), "{written:?}");
}

/// What an HTTP/2 server answers: a status, a head's fields, a body and trailers.
#[derive(Clone, Copy)]
struct Says(u16, &'static [(&'static str, &'static str)], &'static [u8], Option<&'static str>);

/// What a probe says of a server that answers so, and what the server was asked.
async fn probe_http2(check: &HealthCheck, version: HttpVersion, says: Says) -> (ProbeResult, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Ip(listener.local_addr().unwrap());
    let served = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let (head, mut body) = request.into_parts();
        let answer = async {
            let mut asked = Vec::new();
            while let Some(Ok(piece)) = body.data().await {
                asked.extend_from_slice(&piece);
            }
            let mut response = ::http::Response::builder().status(says.0);
            for (name, value) in says.1 {
                response = response.header(*name, *value);
            }
            let over = says.2.is_empty() && says.3.is_none();
            let mut sending = respond.send_response(response.body(()).unwrap(), over).unwrap();
            if !over {
                sending.send_data(bytes::Bytes::from_static(says.2), says.3.is_none()).unwrap();
            }
            if let Some(code) = says.3 {
                let mut trailers = ::http::HeaderMap::new();
                trailers.insert("grpc-status", code.parse().unwrap());
                sending.send_trailers(trailers).unwrap();
            }
            asked
        };
        let (asked, _) = tokio::join!(answer, async { while connection.accept().await.is_some() {} });
        let agent = head.headers.get("user-agent").map_or("", |agent| agent.to_str().unwrap());
        assert!(agent.starts_with("weir/"), "{agent}");
        format!("{} {} {}", head.method, head.uri, String::from_utf8_lossy(&asked))
    };
    let (env, lag, connect) = (crate::env::Os::new(), Lag::default(), connect());
    let (asked, outcome) = tokio::join!(served, attempt(&env, &lag, &address, plain(&connect), version, check));
    (outcome.result, asked.replace(&address.to_string(), "ADDRESS"))
}

#[tokio::test]
async fn grpc_health_is_judged() {
    const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc")];
    let service = check("grpc_health_check: {service: shop.Cart, authority: cart.example}");
    let said = |byte: u8| -> &'static [u8] {
        match byte {
            1 => &[0, 0, 0, 0, 2, 8, 1],
            2 => &[0, 0, 0, 0, 2, 8, 2],
            3 => &[0, 0, 0, 0, 2, 8, 3],
            _ => &[0, 0, 0, 0, 0],
        }
    };
    let not = |serving| failed(ProbeFailure::NotServing(serving));
    let called = |code: &str| failed(ProbeFailure::Called(weir_core::grpc::Code::parse(code.as_bytes())));
    for (says, expected) in [
        (Says(200, GRPC, said(1), Some("0")), ProbeResult::Passed),
        (Says(200, GRPC, said(2), Some("0")), not(Serving::NotServing)),
        (Says(200, GRPC, said(3), Some("0")), not(Serving::ServiceUnknown)),
        (Says(200, GRPC, said(0), Some("0")), not(Serving::Unknown)),
        (Says(200, &[("content-type", "application/grpc"), ("grpc-status", "5")], b"", None), called("5")),
        (Says(200, GRPC, b"", Some("14")), called("14")),
        (Says(200, GRPC, said(1), Some("13")), called("13")),
        (Says(200, GRPC, said(1), None), failed(ProbeFailure::Protocol)),
        (Says(200, &[("content-type", "text/html")], said(1), Some("0")), failed(ProbeFailure::Protocol)),
        (Says(503, GRPC, said(1), Some("0")), failed(ProbeFailure::Status(503))),
    ] {
        let (result, asked) = probe_http2(&service, HttpVersion::H1, says).await;
        assert_eq!(result, expected);
        let head = "POST http://cart.example/grpc.health.v1.Health/Check \0\0\0\0\u{b}\n\tshop.Cart";
        assert_eq!(asked, head);
    }
    assert_eq!(not(Serving::NotServing).to_string(), "the service is NOT_SERVING");
    assert_eq!(called("5").to_string(), "grpc-status 5 (not-found)");
}

#[tokio::test]
async fn http_is_asked_in_the_version_the_cluster_speaks() {
    let up = check("http_health_check: {path: '/up?x', expected_body: ready}");
    let (result, asked) = probe_http2(&up, HttpVersion::H2, Says(200, &[], b"all ready", None)).await;
    assert_eq!((result, asked.as_str()), (ProbeResult::Passed, "GET http://ADDRESS/up?x "));
    let (result, _) = probe_http2(&up, HttpVersion::H2, Says(200, &[], b"not yet", None)).await;
    assert_eq!(result, failed(ProbeFailure::Body));
    let (result, _) = probe_http2(&up, HttpVersion::H2, Says(404, &[], b"", None)).await;
    assert_eq!(result, failed(ProbeFailure::Status(404)));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_speak_http_2_is_not_well_formed() {
    let manner = Manner::Says(vec!["HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"]);
    let outcome = probe("grpc_health_check: {}", manner).await;
    assert!(matches!(outcome.result, ProbeResult::Failed(ProbeFailure::Protocol | ProbeFailure::Reset)), "{outcome:?}");
    let outcome = probe("grpc_health_check: {}", Manner::Silent).await;
    assert_eq!((outcome.result, outcome.took), (failed(ProbeFailure::Timeout), Duration::from_secs(1)));
}
