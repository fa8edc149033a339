//! WebSockets and other upgrades: what becomes a tunnel and what does not, and how tunnels end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::task::LocalSet;
use weir_integration_tests::backend::{Backend, Peer, ok};
use weir_integration_tests::client::RawClient;
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::{Front, Scene};

/// A handshake as RFC 6455 1.3 shows it.
pub(crate) const HELLO: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: shop.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
pub(crate) const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A text frame of at most 125 bytes; a client's is masked (RFC 6455 5.2).
pub(crate) fn frame(text: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = vec![0x81, text.len() as u8 | if mask.is_some() { 0x80 } else { 0 }];
    frame.extend(mask.into_iter().flatten());
    let key = mask.unwrap_or_default();
    frame.extend(text.bytes().enumerate().map(|(at, byte)| byte ^ key[at % 4]));
    frame
}

/// Reads a frame; its text, unmasked.
fn read_frame(stream: &mut impl Read) -> String {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x81, "a whole text frame");
    let mut key = [0; 4];
    if head[1] & 0x80 != 0 {
        stream.read_exact(&mut key).unwrap();
    }
    let mut text = vec![0; usize::from(head[1] & 0x7f)];
    stream.read_exact(&mut text).unwrap();
    String::from_utf8(text.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect()).unwrap()
}

/// Reads a head, and not a byte more.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "an end after {:?}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A WebSocket that is open.
fn open(to: SocketAddr) -> TcpStream {
    let mut socket = connect(to);
    socket.write_all(HELLO.as_bytes()).unwrap();
    let head = read_head(&mut socket);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    socket
}

fn is_alive(socket: &mut TcpStream) -> bool {
    socket.write_all(&frame("there?", Some([1, 2, 3, 4]))).is_ok() && read_frame(socket) == "there?"
}

/// Agrees to everything and says every frame back.
fn echo() -> Backend {
    Backend::raw(|peer| {
        let Ok(_) = peer.request_head() else { return };
        peer.send(AGREED);
        echo_frames(peer);
    })
}

fn echo_frames(peer: &mut Peer) {
    loop {
        let mut head = [0; 2];
        if peer.read_exact(&mut head).is_err() {
            return;
        }
        let mut rest = vec![0; 4 + usize::from(head[1] & 0x7f)];
        if peer.read_exact(&mut rest).is_err() {
            return;
        }
        let text: Vec<u8> = rest[4..].iter().enumerate().map(|(at, byte)| byte ^ rest[at % 4]).collect();
        peer.send(frame(&String::from_utf8(text).unwrap(), None));
    }
}

#[test]
fn an_upgrade_that_is_agreed_to_is_a_tunnel() {
    let backend = Backend::raw(|peer| {
        let Ok(head) = peer.request_head() else { return };
        assert_eq!(head.fields.all("upgrade"), ["websocket"]);
        assert_eq!(head.fields.all("connection"), ["Upgrade"]);
        assert_eq!(head.fields.get("sec-websocket-version"), Some("13"));
        assert!(head.fields.get("x-forwarded-for").is_some() && head.target == "/chat?room=1");
        // The first frame comes with the head.
        peer.send([AGREED.as_bytes(), &frame("first", None)].concat());
        echo_frames(peer);
    });
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let scene = Scene::to(backend.address());
    let weir = Weir::start(&format!("access_log: {}\n{}", log.display(), scene.yaml()));
    let mut socket = connect(scene.web);
    // So does the client's.
    socket.write_all(&[HELLO.as_bytes(), &frame("early", Some([9, 8, 7, 6]))].concat()).unwrap();
    let head = read_head(&mut socket).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
    for field in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-accept: s3p", "x-request-id: "] {
        assert!(head.contains(field), "{head}");
    }
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    assert_eq!((read_frame(&mut socket), read_frame(&mut socket)), ("first".into(), "early".into()));
    assert!(is_alive(&mut socket));
    assert_eq!(weir.metric("weir_tunnels", &["listener=\"web\""]), 1.0);
    assert_eq!(weir.metric("weir_cluster_requests_in_flight", &["cluster=\"main\""]), 1.0);
    assert_eq!(weir.metric("weir_upstream_requests_in_flight", &["cluster=\"main\""]), 1.0);
    assert_eq!(weir.metric("weir_upstream_attempts_total", &["class=\"success\""]), 1.0);
    drop(socket);
    let line = wait::until("the line of the tunnel", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        serde_json::from_str::<Value>(text.lines().next()?).ok()
    });
    assert_eq!(
        (&line["status"], &line["tunnel"], &line["method"]),
        (&101.into(), &true.into(), &"GET".into()),
        "{line}"
    );
    assert_eq!((&line["path"], &line["cluster"]), (&"/chat?room=1".into(), &"main".into()), "{line}");
    // Two frames with keys from the client, three without to it.
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&(11 + 12).into(), &(7 + 7 + 8).into()), "{line}");
    wait::until_true("a gauge of 0", || weir.metric("weir_tunnels", &[]) == 0.0);
    assert_eq!(weir.metric("weir_tunnels_total", &[]), 1.0);
    assert_eq!(weir.metric("weir_requests_total", &["code_class=\"1xx\""]), 1.0);
    assert_eq!(weir.metric("weir_cluster_requests_in_flight", &[]), 0.0);
}

#[test]
fn nothing_is_passed_on_before_the_endpoint_agrees() {
    let backend = Backend::scripted(|peer, request| {
        if request.fields.get("upgrade").is_some() {
            // Whatever came behind the head would be here by now.
            std::thread::sleep(Duration::from_millis(100));
            assert!(peer.rest().is_empty(), "{:?}", String::from_utf8_lossy(peer.rest()));
            peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        } else {
            peer.send(ok("yes"));
        }
    });
    let front = Front::new(backend);
    let mut client = front.connect();
    client.send(format!("{HELLO}GET /next HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.response().unwrap().status, 403);
    assert_eq!(client.response().unwrap().text(), "yes");
    let targets: Vec<String> = front.backend.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/chat?room=1", "/next"]);
}

#[test]
fn what_is_not_granted_goes_on_as_a_plain_request() {
    let front = Front::new(Backend::text("plain"));
    let head = "Host: a\r\nConnection: Upgrade\r\n";
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\n{head}\r\n"),
        format!("GET / HTTP/1.1\r\n{head}Upgrade: h2c\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{head}Upgrade: spdy/3.1\r\n\r\n"),
        format!("POST / HTTP/1.1\r\n{head}Upgrade: websocket\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{head}Upgrade: websocket\r\nContent-Length: 2\r\n\r\nhi"),
        format!("GET / HTTP/1.1\r\n{head}Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("GET / HTTP/1.0\r\n{head}Upgrade: websocket\r\n\r\n"),
    ] {
        assert_eq!(front.ask(&request).text(), "plain", "{request}");
    }
    for request in front.backend.requests() {
        assert_eq!(request.fields.get("upgrade").or_else(|| request.fields.get("connection")), None, "{request:?}");
    }
}

#[test]
fn a_route_names_the_protocols() {
    let front = Front::with(echo(), |scene| scene.route("upgrade: [spdy/3.1]"));
    let upgrade = |to: &str| HELLO.replace("Upgrade: websocket", &format!("Upgrade: {to}"));
    // The endpoint changes to websocket whatever it is asked for.
    let answer = front.ask(&upgrade("SPDY/3.1"));
    assert_eq!((answer.status, answer.reason()), (502, Some("upstream_protocol")));
    let sent = front.backend.received_text();
    assert!(sent.contains("Upgrade: SPDY/3.1\r\n"), "{sent}");
    // And also where it was not asked at all.
    let answer = front.ask(HELLO);
    assert_eq!((answer.status, answer.reason()), (502, Some("upstream_protocol")));
}

#[test]
fn each_direction_ends_by_itself() {
    let front = Front::new(Backend::raw(|peer| {
        let Ok(_) = peer.request_head() else { return };
        peer.send(AGREED);
        // Reads to the end, and has the last word.
        peer.hang();
        peer.send("last words");
    }));
    let mut socket = open(front.web);
    socket.write_all(b"all there is").unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut heard = String::new();
    socket.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "last words");
    assert!(front.backend.received_text().ends_with("\r\n\r\nall there is"));
}

#[test]
fn an_upgrade_is_tried_again_where_it_came_to_nothing() {
    let broken = Backend::raw(|peer| {
        let _ = peer.request_head();
        peer.reset();
    });
    let backend = echo();
    let mut scene = Scene::to(broken.address()).cluster("outlier_detection: off");
    scene.endpoints.push(backend.address());
    let _weir = scene.start();
    for _ in 0..4 {
        assert!(is_alive(&mut open(scene.web)));
    }
    assert!(broken.connections() > 0);
}

#[test]
fn who_says_nothing_for_too_long_is_cut() {
    let front = Front::with(echo(), |scene| scene.listener("timeouts: {tunnel_idle: 200ms}"));
    let mut socket = open(front.web);
    assert!(is_alive(&mut socket));
    let mut byte = [0];
    assert!(matches!(socket.read(&mut byte), Ok(0) | Err(_)));
    wait::until_true("the reason", || front.weir.metric("weir_responses_total", &["reason=\"idle_timeout\""]) == 1.0);
    let front = Front::with(echo(), |scene| scene.listener("timeouts: {max_session: 300ms}"));
    let mut socket = open(front.web);
    let told = |reason| front.weir.metric("weir_responses_total", &[reason]) == 1.0;
    wait::until_true("the end", || {
        let _ = socket.write_all(&frame("x", Some([0; 4])));
        told("reason=\"session_timeout\"")
    });
}

#[test]
fn a_drain_leaves_tunnels_open_until_its_deadline() {
    let mut front = Front::with(echo(), |scene| scene.top("shutdown: {timeout: 2s}"));
    let mut socket = open(front.web);
    front.weir.signal(Signal::TERM);
    wait::until_true("no new connections", || RawClient::try_connect(front.web).is_err());
    assert!(is_alive(&mut socket));
    let mut byte = [0];
    assert!(matches!(socket.read(&mut byte), Ok(0) | Err(_)), "cut at the deadline");
    let _ = front.weir.exit_code(wait::PATIENCE);
}

/// Extended CONNECT (RFC 8441), as a client sends it.
fn extended(path: &str) -> http::Request<()> {
    let mut request = http::Request::builder()
        .method("CONNECT")
        .uri(format!("http://shop.example{path}"))
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    request
}

/// A WebSocket of an HTTP/2 client, which says something and hears it again.
async fn speak_over_http2(web: SocketAddr) {
    let stream = tokio::net::TcpStream::connect(web).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::task::spawn_local(connection);
    let mut send: h2::client::SendRequest<bytes::Bytes> = send.ready().await.unwrap();
    while !send.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (response, mut sending) = send.send_request(extended("/chat"), false).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    assert_eq!((head.status.as_u16(), head.headers.get("sec-websocket-accept")), (200, None));
    for text in ["one", "two"] {
        sending.send_data(frame(text, Some([5, 6, 7, 8])).into(), false).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), frame(text, None));
    }
    sending.send_data(bytes::Bytes::new(), true).unwrap();
    assert!(body.data().await.is_none_or(|end| end.is_err() || end.is_ok_and(|end| end.is_empty())));
}

/// Agrees to extended CONNECT, and says every frame back.
pub(crate) async fn serve_http2(listener: tokio::net::TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(async move {
            let handshake = h2::server::Builder::new().enable_connect_protocol().handshake(stream);
            let mut connection: h2::server::Connection<_, bytes::Bytes> = handshake.await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let protocol = request.extensions().get::<h2::ext::Protocol>().map(|name| name.as_str().to_owned());
                assert_eq!((request.method().as_str(), protocol.as_deref()), ("CONNECT", Some("websocket")));
                assert_eq!(request.headers().get("sec-websocket-key"), None);
                let mut sending = respond.send_response(http::Response::new(()), false).unwrap();
                tokio::task::spawn_local(async move {
                    let mut body = request.into_body();
                    // The end may be a piece of its own.
                    while let Some(Ok(piece)) =
                        body.data().await.filter(|piece| piece.as_ref().is_ok_and(|piece| piece.len() >= 6))
                    {
                        let text: Vec<u8> =
                            piece[6..].iter().zip(piece[2..6].iter().cycle()).map(|(a, b)| a ^ b).collect();
                        let _ = sending.send_data(frame(&String::from_utf8(text).unwrap(), None).into(), false);
                    }
                    let _ = sending.send_data(bytes::Bytes::new(), true);
                });
            }
        });
    }
}

pub(crate) fn local<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work)
}

#[test]
fn http_2_clients_have_them_too() {
    let front = Front::new(echo());
    local(speak_over_http2(front.web));
    wait::until_true("a gauge of 0", || front.weir.metric("weir_tunnels", &[]) == 0.0);
    assert_eq!(front.weir.metric("weir_tunnels_total", &[]), 1.0);
    let sent = front.backend.received_text().to_ascii_lowercase();
    assert!(sent.starts_with("get /chat http/1.1\r\n") && sent.contains("\r\nsec-websocket-key: "), "{sent}");
}

/// What an HTTP/2 client is told that asks `path` for another protocol.
async fn ask_over_http2(web: SocketAddr, path: &str, protocol: &'static str) -> http::Response<()> {
    let stream = tokio::net::TcpStream::connect(web).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::task::spawn_local(connection);
    let mut send: h2::client::SendRequest<bytes::Bytes> = send.ready().await.unwrap();
    while !send.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut request = extended(path);
    request.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
    let (response, _sending) = send.send_request(request, false).unwrap();
    response.await.unwrap().map(drop)
}

/// Over HTTP/2 any success says that the tunnel is open.
#[test]
fn http_2_clients_do_not_take_a_page_for_a_websocket() {
    let backend = Backend::text("page");
    let web = place::address();
    let weir = Weir::start(&format!(
        "listeners:\n  - name: web\n    bind: {web}\n    routes:\n      - {{match: {{path: /none}}, cluster: main, upgrade: []}}\n      \
         - {{match: {{path: /fixed}}, respond: {{body: page}}}}\n      - {{match: {{path: /moved}}, redirect: {{path: /}}}}\n      \
         - cluster: main\nclusters:\n  - {{name: main, endpoints: ['{}']}}\n",
        backend.address()
    ));
    local(async {
        for (path, protocol, status) in [
            ("/chat", "websocket", 501),
            ("/chat", "connect-udp", 501),
            ("/none", "websocket", 501),
            ("/fixed", "websocket", 501),
            ("/moved", "websocket", 301),
        ] {
            let answer = ask_over_http2(web, path, protocol).await;
            let reason = answer.headers().get("x-weir-reason").and_then(|reason| reason.to_str().ok());
            assert_eq!(answer.status(), status, "{path} {protocol}");
            assert_eq!(reason, (status == 501).then_some("method_not_supported"), "{path} {protocol}");
        }
    });
    // Who asks so for what is a page to everybody else does no endpoint harm.
    assert_eq!(backend.requests().len(), 1);
    assert_eq!(weir.metric("weir_upstream_attempts_total", &["class=\"success\""]), 1.0);
    assert_eq!(RawClient::once(web, HELLO).unwrap().text(), "page", "over HTTP/1.1 that is what it is");
}

#[test]
fn http_2_endpoints_have_them_too() {
    let listener = std::net::TcpListener::bind(place::address()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let scene = Scene::to(listener.local_addr().unwrap()).cluster("protocol: h2");
    std::thread::spawn(move || {
        local(async { serve_http2(tokio::net::TcpListener::from_std(listener).unwrap()).await });
    });
    let _weir = scene.start();
    let mut socket = connect(scene.web);
    socket.write_all(HELLO.as_bytes()).unwrap();
    let head = read_head(&mut socket).to_ascii_lowercase();
    // Which HTTP/2 has none of.
    let proof = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n";
    assert!(
        head.starts_with("http/1.1 101 ") && head.contains(proof) && head.contains("upgrade: websocket\r\n"),
        "{head}"
    );
    assert!(is_alive(&mut socket) && is_alive(&mut socket));
    local(speak_over_http2(scene.web));
}
