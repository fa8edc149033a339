//! What attackers and bad luck do to a proxy: each of these once got through.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use weir_integration_tests::backend::{Backend, ok};
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::message::Broken;
use weir_integration_tests::{place, wait};

use crate::{Front, Scene};

const SOON: Duration = Duration::from_secs(20);
const POST_CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_body_that_breaks_at_its_end_is_the_last_on_its_connection() {
    let front = Front::with(Backend::text("ok"), |scene| scene.listener("limits: {body_bytes: 4}"));
    let next = get("/next");
    for (body, status, reason) in [
        ("0\r\nno colon\r\n\r\n", 400, "bad_chunk"),
        ("0\r\nA b: c\r\n\r\n", 400, "bad_chunk"),
        ("5\r\nhello\r\n0\r\n\r\n", 413, "body_too_large"),
    ] {
        for split in [false, true] {
            let mut client = front.connect();
            if split {
                client.send(POST_CHUNKED);
                client.send(format!("{body}{next}"));
            } else {
                client.send(format!("{POST_CHUNKED}{body}{next}"));
            }
            let answer = client.response().unwrap();
            assert_eq!((answer.status, answer.reason()), (status, Some(reason)), "{body:?}");
            assert!(answer.closes(), "{body:?}");
            client.expect_end();
        }
    }
    assert!(front.backend.requests().iter().all(|request| request.target != "/next"));
}

#[test]
fn an_answer_that_is_cut_by_the_drain_deadline_never_looks_complete() {
    let backend = Backend::scripted(|peer, _| {
        peer.send("HTTP/1.1 200 OK\r\n\r\nthe first of much");
        peer.hang();
    });
    let mut front = Front::with(backend, |scene| scene.top("shutdown: {timeout: 200ms}"));
    let mut client = front.connect();
    // For a client of 1.0 the end of the connection is the end of the answer.
    client.send("GET / HTTP/1.0\r\n\r\n");
    client.head().unwrap();
    front.weir.signal(Signal::TERM);
    assert_eq!(front.weir.exit_code(SOON), 3);
    let end = loop {
        match client.more() {
            Ok(0) => panic!("a clean end"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn an_endpoint_that_does_not_say_continue_is_late_itself() {
    let backend = Backend::raw(|peer| {
        let _ = peer.request_head();
        peer.hang();
    });
    let front = Front::with(backend, |scene| scene.route("timeout: 300ms"));
    let answer = front.ask("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!((answer.status, answer.reason()), (504, Some("upstream_timeout")));
}

#[test]
fn an_endpoint_that_stops_reading_is_late_itself() {
    let backend = Backend::raw(|peer| {
        let _ = peer.request_head();
        peer.freeze();
    });
    let front = Front::with(backend, |scene| scene.listener("timeouts: {stream_idle: 500ms}"));
    let mut client = front.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    let piece = [b'x'; 65_536];
    // Until nobody takes any more; then the answer must come.
    while client.try_send(piece).is_ok() && !client.is_closed() {}
    wait::until_true("the count of it", || front.weir.metric("weir_responses_total", &["upstream_timeout"]) >= 1.0);
    assert_eq!(front.weir.metric("weir_responses_total", &["body_timeout"]), 0.0);
}

#[test]
fn a_client_that_resets_while_it_waits_is_noticed() {
    let backend = Backend::scripted(|peer, _| {
        peer.send("HTTP/1.1 103 Early Hints\r\n\r\n");
        peer.hang();
    });
    let front = Front::new(backend);
    let mut client = front.connect();
    client.send(get("/"));
    assert_eq!(client.head().unwrap().start, "HTTP/1.1 103 Early Hints");
    assert_eq!(front.weir.metric("weir_requests_in_flight", &["web"]), 1.0);
    client.abort();
    // The route's timeout is 15 s: nobody waits for that.
    wait::within(Duration::from_secs(5), "the end of the request", || {
        (front.weir.metric("weir_requests_in_flight", &["web"]) == 0.0).then_some(())
    });
    assert_eq!(front.weir.metric("weir_responses_total", &["client_gone"]), 1.0);
}

#[test]
fn a_client_that_still_sends_can_read_the_refusal() {
    let front = Front::with(Backend::text("ok"), |scene| scene.listener("limits: {body_bytes: 1KiB}"));
    let mut client = front.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n");
    for _ in 0..200 {
        client.try_send([b'x'; 100_000]).expect("the connection stays open while we send");
    }
    let answer = client.response().unwrap();
    assert_eq!((answer.status, answer.reason()), (413, Some("body_too_large")));
}

#[test]
fn a_refused_reload_takes_no_connection() {
    let backend = Backend::text("ok");
    let port = place::address().port();
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let one = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let scene = Scene { web: everywhere, ..Scene::to(backend.address()) };
    let weir = scene.start();
    // Its first listener could be bound, its second cannot.
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let second = format!("  - {{name: second, bind: \"{}\", cluster: main}}\nclusters:", taken.local_addr().unwrap());
    let bad = Scene { web: one, ..Scene::to(backend.address()) }.yaml().replace("clusters:", &second);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !done.load(Ordering::Relaxed) {
                let answer = RawClient::once(one, &get("/"));
                assert!(matches!(&answer, Ok(answer) if answer.status == 200), "{answer:?} after {asked}");
                asked += 1;
            }
        });
        for refused in 1..=5 {
            weir.replace(&bad);
            let _ = weir.wait_event("config_rejected", refused);
            weir.replace(&scene.yaml());
            let _ = weir.wait_event("config_unchanged", refused);
        }
        done.store(true, Ordering::Relaxed);
        asking.join().unwrap();
    });
}

#[test]
fn an_instance_without_checks_is_ready_at_once() {
    let front = Front::new(Backend::scripted(|peer, _| peer.send(ok("ok"))));
    let ready = front.weir.admin_get("/readyz");
    assert_eq!(ready.status, 200);
    assert_eq!(front.ask(&get("/")).status, 200);
}

#[test]
fn connections_that_wait_when_the_drain_begins_are_served() {
    let (backend, front_count) = (Backend::text("ok"), 20);
    let mut front = Front::new(backend);
    let mut clients: Vec<RawClient> = (0..front_count).map(|_| front.connect()).collect();
    front.weir.signal(Signal::TERM);
    for client in &mut clients {
        client.send(get("/"));
    }
    for client in &mut clients {
        let answer = client.response();
        assert!(!matches!(answer, Err(Broken::Reset(_))), "{answer:?}");
        assert_eq!(answer.unwrap().status, 200);
    }
    drop(clients);
    assert_eq!(front.weir.exit_code(SOON), 0);
}
