//! CONNECT: to a forward proxy behind us, and only where a route says so.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use weir_integration_tests::backend::{Backend, Peer};
use weir_integration_tests::client::RawClient;
use weir_integration_tests::wait;

use crate::Front;

/// A forward proxy: connects to wherever it is told to, and passes on what comes.
fn proxy() -> Backend {
    Backend::raw(|peer| {
        let Ok(request) = peer.request_head() else { return };
        assert_eq!((request.method.as_str(), request.fields.get("content-length")), ("CONNECT", None));
        let Ok(target) = request.target.parse::<SocketAddr>() else {
            return peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!");
        };
        let mut there = TcpStream::connect(target).unwrap();
        // A length that says nothing: RFC 9110 9.3.6.
        peer.send("HTTP/1.1 200 Connected\r\nContent-Length: 5\r\nX-Proxy: yes\r\n\r\n");
        pass(peer, &mut there);
    })
}

fn pass(peer: &mut Peer, there: &mut TcpStream) {
    let (mut from, mut to) = (there.try_clone().unwrap(), peer.writer());
    let back = thread::spawn(move || std::io::copy(&mut from, &mut to));
    let _ = std::io::copy(peer, there);
    let _ = there.shutdown(Shutdown::Write);
    let _ = back.join();
}

fn connect(target: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
}

#[test]
fn a_tunnel_leads_through_a_forward_proxy() {
    let shop = Backend::text("behind the proxy");
    let front = Front::with(proxy(), |scene| scene.route("upgrade: [connect]"));
    let mut client = front.connect();
    client.send(connect(&shop.address().to_string()));
    let head = client.head().unwrap();
    assert!(head.start.starts_with("HTTP/1.1 200 "), "{}", head.start);
    assert_eq!((head.fields.get("x-proxy"), head.fields.get("content-length")), (Some("yes"), None));
    assert_eq!(head.fields.get("transfer-encoding"), None);
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        assert_eq!(client.response().unwrap().text(), "behind the proxy");
    }
    // No second hop of ours: what went through the tunnel is as it was.
    assert_eq!(shop.requests()[0].fields.get("x-forwarded-for"), None);
    assert_eq!(front.weir.metric("weir_tunnels", &[]), 1.0);
    client.half_close();
    client.expect_end();
    wait::until_true("the tunnel's end", || front.weir.metric("weir_tunnels", &[]) == 0.0);
}

#[test]
fn only_where_a_route_says_so() {
    let front = Front::new(Backend::text("no proxy"));
    let answer = front.ask(&connect("shop.example:443"));
    assert_eq!((answer.status, answer.reason()), (501, Some("method_not_supported")));
    assert!(answer.closes() && front.backend.requests().is_empty());
}

#[test]
fn what_was_meant_for_a_tunnel_is_no_request() {
    let front = Front::with(proxy(), |scene| scene.route("upgrade: [websocket, connect]"));
    for target in ["shop.example:443", "[::g]:443"] {
        let mut client = front.connect();
        client.send(format!("{}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", connect(target)));
        let answer = client.response_to("CONNECT").unwrap();
        assert!(answer.closes() && matches!(answer.status, 400 | 403), "{answer:?}");
        client.expect_end();
    }
    thread::sleep(Duration::from_millis(50));
    assert!(!front.backend.received_text().contains("smuggled"));
}

#[test]
fn malformed_ones_are_refused() {
    let front = Front::with(Backend::text("x"), |scene| scene.route("upgrade: [connect]"));
    for (request, reason) in [
        ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request"),
        ("CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request"),
        ("CONNECT a:1 HTTP/1.1\r\n\r\n", "bad_host"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\nabc", "ambiguous_framing"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "ambiguous_framing"),
    ] {
        let answer = RawClient::once(front.web, request).unwrap();
        assert_eq!((answer.status, answer.reason()), (400, Some(reason)), "{request}");
    }
    assert!(front.backend.requests().is_empty());
}

#[test]
fn bytes_pass_as_they_are_however_many() {
    let front = Front::with(
        Backend::raw(|peer| {
            let Ok(_) = peer.request_head() else { return };
            peer.send("HTTP/1.1 200 OK\r\n\r\n");
            let mut to = peer.writer();
            let _ = std::io::copy(peer, &mut to);
            peer.half_close();
        }),
        |scene| scene.route("upgrade: [connect]"),
    );
    let mut socket = TcpStream::connect(front.web).unwrap();
    socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    socket.write_all(connect("a:1").as_bytes()).unwrap();
    let sent: Vec<u8> = (0..8u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut writer, bytes) = (socket.try_clone().unwrap(), sent.clone());
    let writing = thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut heard = Vec::new();
    socket.read_to_end(&mut heard).unwrap();
    writing.join().unwrap();
    let body = heard.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert!(heard[body..] == sent, "{} bytes of {}", heard.len() - body, sent.len());
}
