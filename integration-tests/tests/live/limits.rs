//! Bounds on what a client may send, and on how slowly.

use std::time::{Duration, Instant};

use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::message::Broken;

use crate::Front;

fn front(listener: &'static str) -> Front {
    Front::with(Backend::text("x"), |scene| scene.listener(listener))
}

/// Asks and expects a refusal that closes the connection.
fn refused(front: &Front, request: &str, status: u16, reason: &str) {
    let mut client = front.connect();
    // We may be refused and cut off before the last byte is out.
    let _ = client.try_send(request);
    let answer = client.response().unwrap();
    assert_eq!((answer.status, answer.reason()), (status, Some(reason)));
    assert!(answer.closes());
    client.expect_end();
    assert!(front.backend.requests().is_empty());
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let front = front("limits: {header_bytes: 4096}");
    let head = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX-Fill: {}\r\n\r\n", "f".repeat(n));
    refused(&front, &head(5_000), 431, "header_too_large");
    // Without end it is refused as well, not waited for.
    refused(&front, &format!("GET / HTTP/1.1\r\nHost: a\r\nX-Fill: {}", "f".repeat(60_000)), 431, "header_too_large");
    assert_eq!(front.ask(&head(3_900)).status, 200);
}

#[test]
fn a_head_with_too_many_fields_is_refused() {
    let front = front("limits: {header_count: 20}");
    let head = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Fill: f\r\n".repeat(n));
    refused(&front, &head(20), 431, "header_too_large");
    assert_eq!(front.ask(&head(19)).status, 200);
}

#[test]
fn the_defaults_hold_ordinary_cookies_and_no_more() {
    let front = Front::new(Backend::text("x"));
    let head = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "c".repeat(n));
    assert_eq!(front.ask(&head(30_000)).status, 200);
    let answer = front.ask(&head(40_000));
    assert_eq!((answer.status, answer.reason()), (431, Some("header_too_large")));
}

#[test]
fn a_target_that_is_too_long_is_refused() {
    let front = front("limits: {uri_bytes: 1024}");
    refused(&front, &get(&format!("/{}", "u".repeat(1024))), 414, "uri_too_long");
    assert_eq!(front.ask(&get(&format!("/{}", "u".repeat(1023)))).status, 200);
}

#[test]
fn a_body_that_says_it_is_too_large_is_refused_unread() {
    let front = front("limits: {body_bytes: 1000}");
    refused(&front, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", 413, "body_too_large");
    assert_eq!(front.backend.connections(), 0, "nobody was asked");
    let fits = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{}", "b".repeat(1000));
    assert_eq!(front.ask(&fits).status, 200);
}

#[test]
fn a_body_in_chunks_is_counted() {
    let front = front("limits: {body_bytes: 1000}");
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("64\r\n{}\r\n", "b".repeat(100));
    refused(&front, &format!("{head}{}", chunk.repeat(11)), 413, "body_too_large");
    assert_eq!(front.ask(&format!("{head}{}0\r\n\r\n", chunk.repeat(10))).status, 200);
}

#[test]
fn a_route_may_allow_less_than_its_listener() {
    let front = Front::with(Backend::text("x"), |scene| scene.route("body_bytes: 10"));
    refused(&front, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 413, "body_too_large");
}

#[test]
fn a_head_that_does_not_come_in_time_is_refused() {
    let front = front("timeouts: {header: 300ms}");
    let mut client = front.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    let begun = Instant::now();
    let answer = client.response().unwrap();
    assert_eq!((answer.status, answer.reason()), (408, Some("header_timeout")));
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    client.expect_end();
}

#[test]
fn a_head_that_drips_is_refused_as_well() {
    let front = front("timeouts: {header: 500ms}");
    let mut client = front.connect();
    client.patience(Duration::from_millis(50));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let answer = weir_integration_tests::wait::until("408", || {
        let _ = client.try_send("X-Drip: 1\r\n");
        match client.response() {
            Ok(answer) => Some(Some(answer)),
            Err(Broken::Silent) => None,
            // Bytes that cross the answer make the kernel reset the connection: refused all the same.
            Err(_) => Some(None),
        }
    });
    if let Some(answer) = answer {
        assert_eq!((answer.status, answer.reason()), (408, Some("header_timeout")));
    }
    assert!(front.backend.requests().is_empty());
}

#[test]
fn a_connection_that_never_asks_is_closed_without_an_answer() {
    let front = front("timeouts: {idle: 300ms}");
    let mut client = front.connect();
    client.expect_end();
    let mut client = front.connect();
    client.send(get("/"));
    assert_eq!(client.response().unwrap().status, 200);
    client.expect_end();
}

#[test]
fn a_body_that_stops_is_not_waited_for() {
    let front = front("timeouts: {stream_idle: 400ms}");
    let mut client = front.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this");
    let answer = client.response().unwrap();
    assert_eq!((answer.status, answer.reason()), (408, Some("body_timeout")));
    client.expect_end();
    assert!(front.backend.requests().is_empty(), "the endpoint never saw a whole request");
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once() {
    let front = front("limits: {connections: 4}");
    let mut clients: Vec<_> = (0..4).map(|_| front.connect()).collect();
    for client in &mut clients {
        client.send(get("/"));
        assert_eq!(client.response().unwrap().status, 200);
    }
    // The reset may come before the kernel has told us that we are connected.
    if let Ok(mut one_too_many) = RawClient::try_connect(front.web) {
        one_too_many.expect_end();
    }
    for client in &mut clients {
        client.send(get("/"));
        assert_eq!(client.response().unwrap().status, 200, "the others do not notice");
    }
    drop(clients);
    weir_integration_tests::wait::until_true("a free place", || {
        RawClient::try_connect(front.web).is_ok_and(|mut client| {
            let _ = client.try_send(get("/"));
            client.response().is_ok_and(|answer| answer.status == 200)
        })
    });
}
