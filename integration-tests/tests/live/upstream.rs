//! Endpoints that refuse, hang, lie and die.

use std::time::{Duration, Instant};

use weir_integration_tests::backend::{Backend, ok};
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::message::{Broken, Response};
use weir_integration_tests::{place, wait};

use crate::{Front, Scene};

#[test]
fn refused() {
    let scene = Scene::to(place::refusing());
    let _weir = scene.start();
    let mut client = RawClient::connect(scene.web);
    for _ in 0..2 {
        client.send(get("/"));
        let answer = client.response().unwrap();
        assert_eq!((answer.status, answer.reason()), (503, Some("connect_refused")));
        assert!(!answer.closes(), "it is not the client's fault");
    }
}

#[test]
fn connects_but_never_accepts() {
    // A full backlog of a socket nobody accepts from: SYNs are dropped, as by a host that is off.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&place::address().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        fillers.push(filler);
        assert!(fillers.len() < 64, "the backlog never fills");
    }
    let scene = Scene::to(address).cluster("connect: {timeout: 300ms}");
    let _weir = scene.start();
    let begun = Instant::now();
    let answer = RawClient::once(scene.web, &get("/")).unwrap();
    assert_eq!((answer.status, answer.reason()), (504, Some("connect_timeout")));
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
}

#[test]
fn hangs() {
    let front = Front::with(Backend::scripted(|peer, _| peer.hang()), |scene| scene.route("timeout: 300ms"));
    let begun = Instant::now();
    let answer = front.ask(&get("/"));
    assert_eq!((answer.status, answer.reason()), (504, Some("upstream_timeout")));
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
    wait::until_true("its connection is closed, not pooled", || front.backend.open() == 0);
}

#[test]
fn sends_garbage() {
    for garbage in [
        "no HTTP at all\r\n\r\n",
        "\0\0\0\0",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 101 Switching\r\n\r\n",
    ] {
        let front = Front::new(Backend::scripted(move |peer, _| {
            peer.send(garbage);
            peer.half_close();
            peer.hang();
        }));
        let answer = front.ask(&get("/"));
        assert_eq!(answer.status, 502, "{garbage:?}");
        assert!(
            matches!(answer.reason(), Some("upstream_protocol" | "upstream_reset")),
            "{garbage:?}: {:?}",
            answer.reason()
        );
    }
}

#[test]
fn sends_a_head_without_end() {
    let front = Front::new(Backend::scripted(|peer, _| {
        peer.send("HTTP/1.1 200 OK\r\n");
        while peer.try_send(b"X-More: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n") {}
        peer.close();
    }));
    let answer = front.ask(&get("/"));
    assert_eq!((answer.status, answer.reason()), (502, Some("upstream_protocol")));
}

#[test]
fn closes_or_resets_before_an_answer() {
    let closing = Front::new(Backend::scripted(|peer, _| peer.close()));
    let resetting = Front::new(Backend::scripted(|peer, _| peer.reset()));
    for front in [closing, resetting] {
        let answer = front.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!((answer.status, answer.reason()), (502, Some("upstream_reset")));
        assert_eq!(front.backend.requests().len(), 1, "executed once at most");
    }
}

/// What a client sees of an answer whose endpoint dies in the middle; by close and by reset.
fn dying(begin: &'static str, request: &str) -> Vec<Result<Response, Broken>> {
    let closing = Front::new(Backend::scripted(move |peer, _| {
        peer.send(begin);
        peer.close();
    }));
    let resetting = Front::new(Backend::scripted(move |peer, _| {
        peer.send(begin);
        peer.reset();
    }));
    [closing, resetting].into_iter().map(|front| RawClient::once(front.web, request)).collect()
}

/// An abort, which no client can take for the end of the answer. If the endpoint's reset overtakes
/// its head, the head was never seen and 502 is the honest answer.
fn is_abort(seen: &Result<Response, Broken>) -> bool {
    match seen {
        Ok(answer) => answer.status == 502,
        Err(broken) => matches!(broken, Broken::Reset(_) | Broken::Truncated | Broken::Closed),
    }
}

#[test]
fn dies_in_an_answer_with_a_length() {
    for seen in dying("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it", &get("/")) {
        assert!(is_abort(&seen), "{seen:?}");
    }
}

#[test]
fn dies_in_a_chunked_answer() {
    for begin in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        for seen in dying(begin, &get("/")) {
            assert!(is_abort(&seen), "{begin:?}: {seen:?}");
        }
    }
}

#[test]
fn dies_in_a_chunked_answer_to_a_1_0_client() {
    // That client sees the end of the body by the end of the connection: only a reset can tell it.
    for seen in dying("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "GET / HTTP/1.0\r\n\r\n") {
        match seen {
            Ok(answer) => assert_eq!(answer.status, 502),
            Err(broken) => assert!(matches!(broken, Broken::Reset(_)), "{broken}"),
        }
    }
}

#[test]
fn dies_by_reset_in_an_answer_that_ends_with_its_connection() {
    let front = Front::new(Backend::scripted(|peer, _| {
        peer.send("HTTP/1.1 200 OK\r\n\r\nsome");
        peer.reset();
    }));
    let seen = RawClient::once(front.web, &get("/"));
    assert!(is_abort(&seen), "{seen:?}");
}

#[test]
fn sends_a_malformed_chunk_in_mid_answer() {
    let front = Front::new(Backend::fixed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nXX\r\n"));
    let seen = RawClient::once(front.web, &get("/"));
    assert!(is_abort(&seen), "{seen:?}");
}

#[test]
fn stalls_in_mid_answer() {
    let front = Front::with(
        Backend::scripted(|peer, _| {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
            peer.hang();
        }),
        |scene| scene.listener("timeouts: {stream_idle: 400ms}"),
    );
    let seen = RawClient::once(front.web, &get("/"));
    assert!(matches!(seen, Err(Broken::Reset(_) | Broken::Truncated)), "{seen:?}");
    wait::until_true("its connection is closed", || front.backend.open() == 0);
}

/// Answers the first request of each connection, closes when the second arrives.
fn one_answer_a_connection() -> Backend {
    Backend::raw(|peer| {
        if peer.request().is_ok() {
            peer.send(ok("first"));
            let _ = peer.request();
        }
    })
}

#[test]
fn a_stale_connection_costs_an_idempotent_request_nothing() {
    let front = Front::with(one_answer_a_connection(), |scene| scene.top("workers: 1"));
    let mut client = front.connect();
    for _ in 0..5 {
        client.send(get("/"));
        let answer = client.response().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "first"), "{:?}", answer.reason());
    }
}

#[test]
fn a_stale_connection_never_makes_a_post_run_twice() {
    let front = Front::with(one_answer_a_connection(), |scene| scene.top("workers: 1"));
    let mut client = front.connect();
    let posts = 6;
    let mut refused = 0;
    for n in 0..posts {
        client.send(format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
        let answer = client.response().unwrap();
        if answer.status != 200 {
            assert_eq!((answer.status, answer.reason()), (502, Some("upstream_reset")));
            refused += 1;
        }
    }
    let mut seen: Vec<String> = front.backend.requests().into_iter().map(|request| request.target).collect();
    let total = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), total, "a POST arrived twice");
    assert!(refused > 0, "the test is about requests on stale connections");
}

#[test]
fn an_idle_connection_that_the_endpoint_has_closed_is_not_used() {
    let front = Front::with(
        Backend::raw(|peer| {
            if peer.request().is_ok() {
                peer.send(ok("once"));
            }
        }),
        |scene| scene.top("workers: 1"),
    );
    let mut client = front.connect();
    for _ in 0..5 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().unwrap().text(), "once");
        wait::until_true("the endpoint's close", || front.backend.open() == 0);
    }
}

#[test]
fn a_client_that_goes_away_ends_its_request_at_the_endpoint() {
    let front = Front::new(Backend::scripted(|peer, _| peer.hang()));
    let mut client = front.connect();
    client.send(get("/"));
    wait::until_true("the request at the endpoint", || front.backend.requests().len() == 1);
    drop(client);
    wait::until_true("its connection is closed", || front.backend.open() == 0);
}

#[test]
fn a_client_that_goes_away_in_its_body_leaves_no_whole_request() {
    let front = Front::new(Backend::text("x"));
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut client = front.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n5\r\nhello\r\n"));
        wait::until_true("the request at the endpoint", || front.backend.received_text().contains("hello"));
        drop(client);
        wait::until_true("its connection is closed", || front.backend.open() == 0);
        assert!(front.backend.requests().is_empty(), "{framing}");
    }
}
