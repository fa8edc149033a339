//! What a client of HTTP/2 can do to hurt: work for nothing, memory for nothing, others' time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_integration_tests::backend::{Backend, ok};
use weir_integration_tests::http2::code::{CANCEL, ENHANCE_YOUR_CALM};
use weir_integration_tests::http2::flag::{ACK, END_HEADERS, END_STREAM};
use weir_integration_tests::http2::{End, Raw, frame, hpack, kind, settings};
use weir_integration_tests::wait;

use super::{GET, POST, and, is_served};
use crate::Front;

const MIB: u64 = 1024 * 1024;
/// Longer than a client that is served has to wait, whatever others do.
const SANE: Duration = Duration::from_secs(20);

/// How a connection ended that was ended by the other side: the code of its GOAWAY, or nothing.
fn end(raw: &mut Raw) -> Option<u32> {
    loop {
        match raw.read_frame() {
            Ok(frame) if frame.kind == kind::GOAWAY && frame.code() != Some(0) => return frame.code(),
            Ok(_) => {}
            Err(error) => {
                assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it goes on");
                return None;
            }
        }
    }
}

/// Sends `bytes` over and over until the other side has had enough; panics if that is never.
fn flood(raw: &mut Raw, bytes: &[u8], most: usize) {
    let many = bytes.repeat((64 * 1024 / bytes.len()).max(1));
    raw.patience(Duration::from_millis(1));
    let mut sent = 0;
    while raw.try_send(&many).is_ok() {
        // Acknowledgements are to be taken, or there is no more flood.
        while raw.read_frame().is_ok() {}
        sent += many.len();
        assert!(sent < most, "{sent} bytes, and no end");
    }
}

#[test]
fn requests_that_are_reset_at_once() {
    let front = Front::new(Backend::text("hello"));
    let mut raw = Raw::client(front.web);
    for stream in 0..100_000 {
        let id = 1 + 2 * stream;
        let both = [
            frame(kind::HEADERS, END_HEADERS | END_STREAM, id, &hpack::literals(&GET)),
            frame(kind::RST_STREAM, 0, id, &CANCEL.to_be_bytes()),
        ];
        if raw.try_send(both.concat()).is_err() {
            break;
        }
    }
    assert!(matches!(end(&mut raw), Some(ENHANCE_YOUR_CALM) | None));
    assert!(front.backend.requests().len() < 1000, "{} requests", front.backend.requests().len());
    assert!(is_served(&mut Raw::client(front.web), 1));
}

#[test]
fn requests_that_are_reset_once_they_are_under_way() {
    let front = Front::new(Backend::raw(|peer| {
        let _ = peer.request_head();
        peer.hang();
    }));
    let mut raw = Raw::client(front.web);
    for stream in 0..1000 {
        raw.headers(1 + 2 * stream, &GET, true);
        let _ = raw.settle();
        raw.reset(1 + 2 * stream, CANCEL);
        if raw.settle().is_err() {
            break;
        }
    }
    assert_eq!(end(&mut raw).or(Some(ENHANCE_YOUR_CALM)), Some(ENHANCE_YOUR_CALM));
    assert!((50..400).contains(&front.backend.connections()), "{}", front.backend.connections());
    assert_eq!(front.weir.metric("weir_responses_total", &["http2_abuse"]), 1.0);
}

#[test]
fn requests_that_we_are_made_to_reset() {
    let front = Front::new(Backend::raw(|peer| {
        let _ = peer.request_head();
        peer.hang();
    }));
    let mut raw = Raw::client(front.web);
    for stream in 0..1000 {
        raw.headers(1 + 2 * stream, &POST, false);
        let _ = raw.settle();
        // Of no bytes: an error of the stream.
        raw.window(1 + 2 * stream, 0);
        if raw.settle().is_err() {
            break;
        }
    }
    assert_eq!(end(&mut raw).or(Some(ENHANCE_YOUR_CALM)), Some(ENHANCE_YOUR_CALM));
    assert!(front.backend.connections() < 400, "{}", front.backend.connections());
}

#[test]
fn floods_of_frames_that_are_no_message_end() {
    let front = Front::with(Backend::raw(|peer| peer.hang()), |scene| scene.listener("http2: {ping_interval: off}"));
    let before = front.weir.resident();
    let header = hpack::literals(&POST);
    let floods: &[(&str, Vec<u8>)] = &[
        ("PING", frame(kind::PING, 0, 0, b"........")),
        ("PING ACK", frame(kind::PING, ACK, 0, b"........")),
        ("SETTINGS", settings(&[(4, 65_535)])),
        ("empty SETTINGS", settings(&[])),
        ("PRIORITY", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("WINDOW_UPDATE", frame(kind::WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1])),
        ("empty DATA", frame(kind::DATA, 0, 1, &[])),
        ("padded DATA of nothing", frame(kind::DATA, 8, 1, &[1, 0])),
        ("RST_STREAM", frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8])),
        ("GOAWAY", frame(kind::GOAWAY, 0, 0, &[0; 8])),
        ("unknown", frame(0x77, 0, 0, &[])),
    ];
    for (what, bytes) in floods {
        let mut raw = Raw::client(front.web);
        raw.headers(1, &POST, false);
        raw.frame(kind::HEADERS, END_HEADERS, 3, &header);
        raw.reset(3, CANCEL);
        eprintln!("{what}");
        flood(&mut raw, bytes, 64 * 1024 * 1024);
    }
    // One header section without end.
    for piece in [&b""[..], b"\x00\x01a\x01b"] {
        let mut raw = Raw::client(front.web);
        raw.frame(kind::HEADERS, 0, 1, &header);
        flood(&mut raw, &frame(kind::CONTINUATION, 0, 1, piece), 64 * 1024 * 1024);
    }
    let after = front.weir.resident();
    assert!(after < before + 40 * MIB, "{before} to {after} bytes");
}

#[test]
fn those_who_say_much_because_they_get_much_are_none() {
    let front = Front::new(Backend::fixed(ok(&"x".repeat(4 * 1024 * 1024))));
    let mut raw = Raw::client_with(front.web, &[(4, 100)]);
    raw.headers(1, &GET, true);
    let mut got = 0;
    // A window of 100 bytes, filled again frame by frame: 40 000 frames of data, twice as many back.
    let ended = loop {
        let Ok(next) = raw.next_frame() else { break false };
        if next.kind == kind::DATA {
            got += next.payload.len();
            if next.has(END_STREAM) {
                break true;
            }
            let more = (next.payload.len() as u32).to_be_bytes();
            raw.send([frame(kind::WINDOW_UPDATE, 0, 0, &more), frame(kind::WINDOW_UPDATE, 0, 1, &more)].concat());
        }
    };
    assert_eq!((ended, got), (true, 4 * 1024 * 1024));
}

#[test]
fn small_blocks_that_stand_for_large_ones() {
    let front = Front::new(Backend::text("hello"));
    let before = front.weir.resident();
    for _ in 0..20 {
        let mut raw = Raw::client(front.web);
        // A field of 4000 bytes into the table, then 16 000 times that.
        let mut block = hpack::literals(&GET);
        block.extend_from_slice(b"\x40\x01a");
        hpack::string(&mut block, &[b'x'; 4000]);
        raw.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block);
        for stream in 1..100 {
            let mut bomb = hpack::literals(&GET);
            bomb.extend_from_slice(&[0x80 | 62; 16_000]);
            raw.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1 + 2 * stream, &bomb);
        }
        let message = raw.message(3);
        assert!(!matches!(message.status(), Some(200)) && message.end != End::Not, "{message:?}");
    }
    let after = front.weir.resident();
    assert!(after < before + 32 * MIB, "{before} to {after} bytes");
    assert!(is_served(&mut Raw::client(front.web), 1));
}

#[test]
fn clients_that_do_not_read() {
    let front = Front::new(Backend::fixed(ok(&"x".repeat(4 * 1024 * 1024))));
    let before = front.weir.resident();
    // By their windows, and by their sockets.
    let mut idlers = Vec::new();
    for nth in 0..4 {
        let window = if nth % 2 == 0 { 0 } else { 0x7fff_ffff };
        let mut raw = Raw::client_with(front.web, &[(4, window)]);
        raw.window(0, 0x7fff_0000);
        for stream in 0..100 {
            raw.headers(1 + 2 * stream, &GET, true);
        }
        idlers.push(raw);
    }
    let mut healthy = Raw::client_with(front.web, &[(4, 8 * 1024 * 1024)]);
    healthy.window(0, 0x7fff_0000);
    let mut slowest = Duration::ZERO;
    let mut most = 0;
    for stream in 0..20 {
        let began = Instant::now();
        healthy.headers(1 + 2 * stream, &GET, true);
        let message = healthy.message(1 + 2 * stream);
        let got = (message.status(), message.body.len(), message.end);
        assert_eq!(got, (Some(200), 4 * 1024 * 1024, End::Whole));
        slowest = slowest.max(began.elapsed());
        most = most.max(front.weir.resident());
    }
    assert!(slowest < SANE, "{slowest:?}");
    // 400 answers of 4 MiB: of each no more than what is under way.
    assert!(most < before + 128 * MIB, "{before} to {most} bytes");
    drop(idlers);
}

#[test]
fn requests_that_are_never_finished() {
    let front = Front::with(Backend::raw(|peer| peer.hang()), |scene| {
        scene.listener("timeouts: {stream_idle: 200ms, header: 200ms}")
    });
    let mut raw = Raw::client(front.web);
    raw.headers(1, &and(&POST, &[("content-length", "5")]), false);
    raw.data(1, "hel", false);
    let message = raw.message(1);
    assert_eq!((message.status(), message.end), (Some(408), End::Whole));
    // A client that says nothing of HTTP/2 beyond its first line.
    let mut raw = Raw::silent(front.web);
    raw.send("PRI * HTTP/2.0\r\n\r\n");
    assert_eq!(end(&mut raw), None);
}

#[test]
fn connections_that_idle_are_told_to_go() {
    let front = Front::with(Backend::text("hello"), |scene| scene.listener("timeouts: {idle: 300ms}"));
    let mut raw = Raw::client(front.web);
    assert!(is_served(&mut raw, 1));
    let went = raw.find(|frame| frame.kind == kind::GOAWAY).unwrap();
    assert_eq!(went.code(), Some(0));
    assert_eq!(end(&mut raw), None);
    // And a client that does not answer is not waited for.
    let mut raw = Raw::client(front.web);
    raw.polite = false;
    assert_eq!(end(&mut raw), None);
}

#[test]
fn a_client_that_is_gone_is_found_out() {
    let front = Front::with(Backend::raw(|peer| peer.hang()), |scene| {
        scene.listener("http2: {ping_interval: 200ms, ping_timeout: 200ms}")
    });
    let mut dead = Raw::client(front.web);
    dead.polite = false;
    dead.headers(1, &GET, true);
    let mut alive = Raw::client(front.web);
    alive.headers(1, &GET, true);
    // Between two pings nothing is heard; and nothing else comes.
    alive.patience(Duration::from_millis(50));
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(700) {
        assert_eq!(alive.next_frame().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
    dead.patience(Duration::from_millis(200));
    assert_eq!(end(&mut dead), None);
}

#[test]
fn connections_grow_old() {
    let front = Front::with(Backend::text("hello"), |scene| {
        scene.listener("http2: {max_connection_age: 1s}").listener("timeouts: {idle: 1m}")
    });
    let mut raw = Raw::client(front.web);
    let mut served = 0;
    let mut stream = 1;
    raw.patience(Duration::from_secs(5));
    while raw.settle().is_ok() {
        raw.headers(stream, &GET, true);
        let message = raw.message(stream);
        if message.end != End::Whole {
            break;
        }
        served += 1;
        stream += 2;
    }
    assert!(served > 0);
    assert!(is_served(&mut Raw::client(front.web), 1));
}

/// A backend that answers once it is told to.
fn gated() -> (Backend, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let backend = Backend::scripted(move |peer, _| {
        wait::until_true("the gate", || opened.load(Ordering::SeqCst));
        peer.send(ok("hello"));
    });
    (backend, gate)
}

#[test]
fn a_drain_lets_streams_end_and_takes_no_new_connections() {
    let (backend, gate) = gated();
    let mut front = Front::new(backend);
    let mut raw = Raw::client(front.web);
    raw.headers(1, &GET, true);
    wait::until_true("the request", || !front.backend.received_text().is_empty());
    front.weir.signal(rustix::process::Signal::TERM);
    let first = raw.find(|frame| frame.kind == kind::GOAWAY).unwrap();
    assert_eq!(first.code(), Some(0));
    wait::until_true("the listener's end", || std::net::TcpStream::connect(front.web).is_err());
    gate.store(true, Ordering::SeqCst);
    let message = raw.message(1);
    assert_eq!((message.status(), message.body.as_slice(), message.end), (Some(200), &b"hello"[..], End::Whole));
    assert_eq!(end(&mut raw), None);
    assert_eq!(front.weir.exit_code(wait::PATIENCE), 0);
}

#[test]
fn reloads_keep_connections_and_listeners_that_go_say_so() {
    let (backend, gate) = gated();
    let scene = crate::Scene::to(backend.address());
    let weir = scene.start();
    let mut raw = Raw::client(scene.web);
    raw.headers(1, &GET, true);
    wait::until_true("the request", || !backend.received_text().is_empty());
    weir.replace(&scene.yaml().replace("protocol: http\n", "protocol: http\n    timeouts: {idle: 5m}\n"));
    let _ = weir.wait_event("config_applied", 1);
    assert!(raw.settle().is_ok());
    let elsewhere = weir_integration_tests::place::address();
    weir.replace(&scene.yaml().replace(&scene.web.to_string(), &elsewhere.to_string()));
    let went = raw.find(|frame| frame.kind == kind::GOAWAY).unwrap();
    assert_eq!(went.code(), Some(0));
    gate.store(true, Ordering::SeqCst);
    assert_eq!(raw.message(1).end, End::Whole);
    assert_eq!(end(&mut raw), None);
}
