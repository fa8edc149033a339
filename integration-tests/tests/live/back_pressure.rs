//! Whoever does not read stops whoever sends; Weir holds no more than a few buffers in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::wait;

use crate::Front;

const MIB: usize = 1024 * 1024;
const LARGE: usize = 100 * MIB;
/// What sockets on both sides may hold, by the kernel's defaults, with room to spare.
const HELD_BY_KERNEL: usize = 40 * MIB;
const GROWTH_ALLOWED: u64 = 16 * MIB as u64;

/// Waits until `count` has not moved for a while of looks.
fn until_still(count: &AtomicUsize) -> usize {
    let (mut last, mut still) = (usize::MAX, 0);
    wait::until("a count that stands still", || {
        let now = count.load(Ordering::SeqCst);
        still = if now == last { still + 1 } else { 0 };
        last = now;
        (still >= 50 && now > 0).then_some(now)
    })
}

#[test]
fn a_client_that_does_not_read_stops_the_endpoint() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let front = Front::new(Backend::scripted(move |peer, request| {
        if request.target == "/small" {
            peer.send(weir_integration_tests::backend::ok("small"));
            return;
        }
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..LARGE / piece.len() {
            if !peer.try_send(&piece) {
                return;
            }
            count.fetch_add(piece.len(), Ordering::SeqCst);
        }
    }));
    assert_eq!(front.ask(&get("/small")).status, 200);
    let before = front.weir.resident();
    let mut client = RawClient::connect(front.web);
    client.receive_buffer(16 * 1024);
    client.send(get("/large"));
    let held = until_still(&sent);
    assert!(held < HELD_BY_KERNEL, "the endpoint could send {held} bytes to nobody");
    let grown = front.weir.resident().saturating_sub(before);
    assert!(grown < GROWTH_ALLOWED, "Weir holds {grown} bytes for a client that does not read");
    assert_eq!(front.ask(&get("/small")).status, 200, "others are served meanwhile");
    let answer = client.response().unwrap();
    assert_eq!(answer.body.len(), LARGE, "once it reads it gets everything");
}

#[test]
fn an_endpoint_that_does_not_read_stops_the_client() {
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let front = Front::new(Backend::raw(move |peer| {
        let Ok(request) = peer.request_head() else { return };
        gate.lock().unwrap().recv().unwrap();
        let length = peer.body(request.framing).map(|body| body.len()).unwrap_or_default();
        peer.send(weir_integration_tests::backend::ok(&length.to_string()));
        peer.hang();
    }));
    let before = front.weir.resident();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let mut client = RawClient::connect(front.web);
    let sending = std::thread::spawn(move || {
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..LARGE / piece.len() {
            client.send(&piece);
            count.fetch_add(piece.len(), Ordering::SeqCst);
        }
        client
    });
    let held = until_still(&sent);
    assert!(held < HELD_BY_KERNEL, "the client could send {held} bytes to nobody");
    let grown = front.weir.resident().saturating_sub(before);
    assert!(grown < GROWTH_ALLOWED, "Weir holds {grown} bytes for an endpoint that does not read");
    go.send(()).unwrap();
    let mut client = sending.join().unwrap();
    assert_eq!(client.response().unwrap().text(), LARGE.to_string());
}
