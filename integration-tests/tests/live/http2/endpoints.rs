//! Requests of HTTP/1 to an endpoint that speaks HTTP/2, and its answers back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use weir_integration_tests::client::RawClient;
use weir_integration_tests::http2::code::*;
use weir_integration_tests::http2::endpoint::Endpoint;
use weir_integration_tests::http2::hpack::{self, Block};
use weir_integration_tests::http2::{End, Message, Raw, field, flag, frame, kind};
use weir_integration_tests::message::Response;
use weir_integration_tests::wait;
use weir_integration_tests::weir::Weir;

use crate::Scene;

/// A Weir before one endpoint of HTTP/2.
struct Before {
    weir: Weir,
    web: std::net::SocketAddr,
    endpoint: Endpoint,
}

impl Before {
    fn new(endpoint: Endpoint) -> Self {
        Self::with(endpoint, |scene| scene)
    }

    fn with(endpoint: Endpoint, change: impl FnOnce(Scene) -> Scene) -> Self {
        let scene = Scene::to(endpoint.address())
            .listener("headers: {x_forwarded: false, request_id: false, deadline: false}")
            .cluster("protocol: h2")
            .top("workers: 1\n");
        let scene = change(scene);
        Self { weir: scene.start(), web: scene.web, endpoint }
    }

    fn ask(&self, request: &str) -> Response {
        RawClient::once(self.web, request)
            .unwrap_or_else(|broken| panic!("{broken} instead of an answer to {request:?}"))
    }

    fn get(&self) -> Response {
        self.ask("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    }

    fn post(&self) -> Response {
        self.ask("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\nhello")
    }
}

fn text(block: &Block) -> String {
    let line = |(name, value): &(Vec<u8>, Vec<u8>)| {
        format!("{}: {}, ", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    };
    block.iter().map(line).collect()
}

#[test]
fn what_reaches_an_endpoint() {
    let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
    let record = Arc::clone(&seen);
    let before = Before::new(Endpoint::scripted(move |raw, stream, request| {
        record.lock().unwrap().push(request.clone());
        raw.answer(stream, "hello");
    }));
    const HEAD: &str = ":method: POST, :scheme: http, :authority: shop.example, :path: /, ";
    let cases = [
        (
            "GET /x?y=z HTTP/1.1\r\nHost: Shop.example:80\r\nX-A: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\n\r\n",
            vec![":method: GET, :scheme: http, :authority: Shop.example:80, :path: /x?y=z, x-a: 1, ".to_owned()],
            "",
        ),
        (
            "GET /<a>\"`{|}\\^?<b> HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            vec![
                ":method: GET, :scheme: http, :authority: shop.example, :path: /%3Ca%3E%22%60%7B%7C%7D%5C%5E?%3Cb%3E, "
                    .to_owned(),
            ],
            "",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            vec![":method: OPTIONS, :scheme: http, :authority: shop.example, :path: *, ".to_owned()],
            "",
        ),
        (
            "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\nhello",
            vec![format!("{HEAD}content-length: 5, ")],
            "hello",
        ),
        (
            "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0\r\n\r\n",
            vec![format!("{HEAD}content-length: 0, ")],
            "",
        ),
        (
            "POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            vec![HEAD.to_owned()],
            "hello",
        ),
        (
            "POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n",
            vec![HEAD.to_owned(), "x-sum: 1, ".to_owned()],
            "hello",
        ),
    ];
    for (nth, (request, blocks, body)) in cases.into_iter().enumerate() {
        let answer = before.ask(request);
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{request}");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), nth + 1);
        let Message { blocks: got, body: sent, end } = &seen[nth];
        assert_eq!(got.iter().map(text).collect::<Vec<_>>(), blocks, "{request}");
        assert_eq!((String::from_utf8_lossy(sent).as_ref(), end), (body, &End::Whole), "{request}");
    }
}

#[test]
fn what_http_2_cannot_say_is_the_clients_fault() {
    let before = Before::new(Endpoint::scripted(|raw, stream, _| raw.answer(stream, "hello")));
    for _ in 0..20 {
        assert_eq!(before.ask("GET / HTTP/1.1\r\nHost: a%20b\r\n\r\n").status, 400);
    }
    assert_eq!(before.get().status, 200);
    assert!(before.weir.events("ejected").is_empty());
}

#[test]
fn answers() {
    type Act = fn(&mut Raw, u32);
    let cases: [(&str, Act, u16, &str); 9] = [
        ("GET", |raw, id| raw.answer(id, "hello"), 200, "hello"),
        ("GET", |raw, id| raw.headers(id, &[(":status", "204")], true), 204, ""),
        ("GET", |raw, id| raw.headers(id, &[(":status", "304"), ("content-length", "5")], true), 304, ""),
        ("HEAD", |raw, id| raw.headers(id, &[(":status", "200"), ("content-length", "5")], true), 200, ""),
        ("GET", |raw, id| raw.headers(id, &[(":status", "200")], true), 200, ""),
        (
            "GET",
            |raw, id| {
                raw.headers(id, &[(":status", "200"), ("content-length", "5")], false);
                raw.data(id, "hel", false);
                raw.data(id, "lo", true);
            },
            200,
            "hello",
        ),
        (
            "GET",
            |raw, id| {
                raw.headers(id, &[(":status", "200")], false);
                raw.data(id, "hello", false);
                raw.headers(id, &[("x-sum", "1")], true);
            },
            200,
            "hello",
        ),
        (
            "GET",
            |raw, id| {
                raw.headers(id, &[(":status", "103"), ("link", "</a>")], false);
                raw.headers(id, &[(":status", "100")], false);
                raw.answer(id, "hello");
            },
            200,
            "hello",
        ),
        // Space at the ends of a value is none of it.
        ("GET", |raw, id| raw.headers(id, &[(":status", "200"), ("x-a", " 1 ")], true), 200, ""),
    ];
    let acts: Vec<Act> = cases.iter().map(|case| case.1).collect();
    let before = Before::new(Endpoint::scripted(move |raw, stream, request| {
        let nth: usize = request.field(":path").unwrap()[1..].parse().unwrap();
        acts[nth](raw, stream);
    }));
    for (nth, (method, _, status, body)) in cases.into_iter().enumerate() {
        let request = format!("{method} /{nth} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        let answer = before.ask(&request);
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{nth}");
        assert_eq!(answer.trailers.get("x-sum").is_some(), nth == 6);
        assert_eq!(answer.interim.len(), if nth == 7 { 2 } else { 0 });
        if nth == 8 {
            assert_eq!(answer.fields.get("x-a"), Some("1"));
        }
    }
    assert_eq!(before.endpoint.connections(), 1);
}

#[test]
fn answers_that_are_none() {
    type Act = fn(&mut Raw, u32);
    let cases: [(&str, Act); 16] = [
        ("no status", |raw, id| raw.headers(id, &[("x-a", "1")], true)),
        ("status no number", |raw, id| raw.headers(id, &[(":status", "two")], true)),
        ("status twice", |raw, id| raw.headers(id, &[(":status", "200"), (":status", "200")], true)),
        ("status behind fields", |raw, id| raw.headers(id, &[("x-a", "1"), (":status", "200")], true)),
        ("a request's pseudo field", |raw, id| raw.headers(id, &[(":status", "200"), (":unknown", "/")], true)),
        ("upper case", |raw, id| raw.headers(id, &[(":status", "200"), ("X-A", "1")], true)),
        ("a line's end in a value", |raw, id| raw.headers(id, &[(":status", "200"), ("x-a", "1\r\nx-b: 2")], true)),
        ("connection", |raw, id| raw.headers(id, &[(":status", "200"), ("connection", "close")], true)),
        ("transfer-encoding", |raw, id| raw.headers(id, &[(":status", "200"), ("transfer-encoding", "chunked")], true)),
        ("lengths that differ", |raw, id| {
            raw.headers(id, &[(":status", "200"), ("content-length", "1"), ("content-length", "2")], false);
        }),
        ("no length", |raw, id| raw.headers(id, &[(":status", "200"), ("content-length", "+1")], false)),
        ("101", |raw, id| raw.headers(id, &[(":status", "101")], false)),
        ("DATA first", |raw, id| raw.data(id, "hello", true)),
        ("a push", |raw, id| {
            let promise =
                hpack::literals(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]);
            raw.frame(kind::PUSH_PROMISE, flag::END_HEADERS, id, &[&2u32.to_be_bytes()[..], &promise].concat());
        }),
        ("a reset", |raw, id| raw.reset(id, INTERNAL_ERROR)),
        ("no end", |raw, _| raw.half_close()),
    ];
    let acts: Vec<Act> = cases.iter().map(|case| case.1).collect();
    let before = Before::with(
        Endpoint::scripted(move |raw, stream, request| match request.field(":path").unwrap()[1..].parse::<usize>() {
            Ok(nth) => acts[nth](raw, stream),
            Err(_) => raw.answer(stream, "hello"),
        }),
        |scene| scene.cluster("outlier_detection: off").route("retry: {attempts: 1}"),
    );
    for (nth, (what, _)) in cases.iter().enumerate() {
        let answer = before.ask(&format!("POST /{nth} HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(answer.status, 502, "{what}: {answer:?}");
        assert_eq!(before.get().text(), "hello", "{what}");
    }
}

#[test]
fn answers_that_break_are_cut() {
    type Act = fn(&mut Raw, u32);
    let begun = Arc::new(AtomicUsize::new(0));
    let waits = Arc::clone(&begun);
    let cases: [(&str, Act); 6] = [
        ("a reset", |raw, id| raw.reset(id, INTERNAL_ERROR)),
        ("a reset that says all is well", |raw, id| raw.reset(id, NO_ERROR)),
        ("too short", |raw, id| raw.data(id, "", true)),
        ("too long", |raw, id| raw.data(id, "hello world", true)),
        ("GOAWAY", |raw, _| {
            raw.go_away(0, INTERNAL_ERROR);
            raw.half_close();
        }),
        ("more than the window", |raw, id| {
            for _ in 0..40 {
                raw.data(id, vec![b'x'; 16_384], false);
            }
        }),
    ];
    let acts: Vec<Act> = cases.iter().map(|case| case.1).collect();
    let before = Before::with(
        Endpoint::scripted(move |raw, stream, request| match request.field(":path").unwrap()[1..].parse::<usize>() {
            Ok(nth) => {
                raw.headers(stream, &[(":status", "200"), ("content-length", "10")], false);
                raw.data(stream, "hello", false);
                wait::until_true("the client's having it", || waits.load(Ordering::SeqCst) > nth);
                acts[nth](raw, stream);
            }
            Err(_) => raw.answer(stream, "hello"),
        }),
        |scene| scene.cluster("outlier_detection: off"),
    );
    for (nth, (what, _)) in cases.iter().enumerate() {
        let request = format!("GET /{nth} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        let mut client = RawClient::connect(before.web);
        client.send(&request);
        assert!(client.head().unwrap().start.contains(" 200 "), "{what}");
        begun.fetch_add(1, Ordering::SeqCst);
        while client.rest().len() < 10 {
            match client.more() {
                Ok(count) if count > 0 => {}
                _ => break,
            }
        }
        assert!(
            client.rest().len() < 10 && b"hello".starts_with(&client.rest()[..5.min(client.rest().len())]),
            "{what}"
        );
        assert_eq!(before.get().text(), "hello", "{what}");
    }
}

#[test]
fn a_reset_is_no_end_of_an_answer_to_a_whole_request() {
    let before = Before::new(Endpoint::scripted(|raw, stream, _| {
        raw.headers(stream, &[(":status", "200")], false);
        raw.data(stream, "hello", false);
        raw.reset(stream, NO_ERROR);
    }));
    for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"]
    {
        let answer = RawClient::once(before.web, request);
        assert!(!answer.is_ok_and(|answer| answer.status == 200), "{request}");
    }
}

#[test]
fn small_frames_of_one_answer_cost_no_other() {
    let before = Before::new(Endpoint::scripted(|raw, stream, request| {
        raw.headers(stream, &[(":status", "200")], false);
        if request.field(":path").as_deref() == Some("/many") {
            let few: Vec<u8> = (0..1000).flat_map(|_| frame(kind::DATA, 0, stream, b"message")).collect();
            (0..20).for_each(|_| raw.send(&few));
        } else {
            raw.data(stream, "", false);
            raw.data(stream, "hello", true);
        }
    }));
    // Of a client that takes nothing.
    let mut blocked = Raw::client_with(before.web, &[(4, 0)]);
    let many = [(":method", "GET"), (":scheme", "http"), (":path", "/many"), (":authority", "shop.example")];
    blocked.headers(1, &many, true);
    let _ = blocked.find(|frame| frame.kind == kind::HEADERS).unwrap();
    // More than a hundred, each with a frame of nothing.
    for nth in 0..120 {
        assert_eq!(before.get().text(), "hello", "{nth}");
    }
    blocked.window(0, 1_000_000);
    blocked.window(1, 1_000_000);
    let mut came = 0;
    while came < 140_000 {
        let frame = blocked.find(|frame| frame.kind != kind::SETTINGS).unwrap();
        assert_eq!(frame.kind, kind::DATA, "{frame:?}");
        came += frame.payload.len();
    }
    assert_eq!(before.endpoint.connections(), 1);
}

#[test]
fn a_whole_answer_before_the_whole_request() {
    let before = Before::new(Endpoint::new(&[], |raw, _| {
        while let Ok(stream) = raw.request_head() {
            let _ = raw.find(|frame| frame.kind == kind::HEADERS);
            raw.headers(stream, &[(":status", "413")], false);
            raw.data(stream, "too large", true);
            raw.reset(stream, NO_ERROR);
        }
    }));
    for _ in 0..3 {
        let mut client = RawClient::connect(before.web);
        let _ = client.try_send("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000000\r\n\r\n");
        let _ = client.try_send(vec![b'x'; 500_000]);
        let answer = client.response().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (413, "too large"));
    }
    assert_eq!(before.endpoint.connections(), 1);
}

#[test]
fn what_an_endpoint_has_not_looked_at_is_asked_again() {
    type Act = fn(&mut Raw, u32);
    let leave: Act = |raw, _| raw.go_away(0, NO_ERROR);
    let refuse: Act = |raw, id| raw.reset(id, REFUSED_STREAM);
    for act in [leave, refuse] {
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let before = Before::with(
            Endpoint::new(&[], move |raw, _| {
                while let Ok((stream, request)) = raw.request() {
                    assert_eq!(request.body, b"hello");
                    if count.fetch_add(1, Ordering::SeqCst) == 1 {
                        act(raw, stream);
                    } else {
                        raw.answer(stream, "hello");
                    }
                }
            }),
            |scene| scene,
        );
        for _ in 0..3 {
            assert_eq!(before.post().text(), "hello");
        }
        assert_eq!(seen.load(Ordering::SeqCst), 4);
        assert_eq!(before.weir.metric("weir_retries_total", &[]), 0.0);
    }
}

#[test]
fn a_goaway_lets_what_is_under_way_end() {
    let gate = Arc::new(AtomicUsize::new(0));
    let opened = Arc::clone(&gate);
    let before = Before::with(
        Endpoint::new(&[], move |raw, nth| {
            while let Ok((stream, _)) = raw.request() {
                if nth == 0 {
                    raw.go_away(stream, NO_ERROR);
                    raw.headers(stream, &[(":status", "200")], false);
                    raw.data(stream, "he", false);
                    opened.store(1, Ordering::SeqCst);
                    wait::until_true("the other request", || opened.load(Ordering::SeqCst) == 2);
                    raw.data(stream, "llo", true);
                } else {
                    raw.answer(stream, "elsewhere");
                    opened.store(2, Ordering::SeqCst);
                }
            }
        }),
        |scene| scene,
    );
    let web = before.web;
    let first = thread::spawn(move || RawClient::once(web, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().text());
    wait::until_true("the answer's beginning", || gate.load(Ordering::SeqCst) == 1);
    assert_eq!(before.post().text(), "elsewhere");
    assert_eq!(first.join().unwrap(), "hello");
    assert_eq!(before.endpoint.connections(), 2);
}

#[test]
fn an_endpoints_limit_of_streams_is_kept() {
    let most = Arc::new(AtomicUsize::new(0));
    let kept = Arc::clone(&most);
    let before = Before::with(
        Endpoint::new(&[(3, 1)], move |raw, _| {
            let mut open: Vec<u32> = Vec::new();
            raw.patience(std::time::Duration::from_millis(20));
            loop {
                match raw.find(|frame| frame.kind == kind::HEADERS) {
                    Ok(frame) => open.push(frame.stream),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        // Those that came before our SETTINGS were read.
                        for refused in open.drain(1.min(open.len())..) {
                            raw.reset(refused, REFUSED_STREAM);
                        }
                        kept.fetch_max(open.len(), Ordering::SeqCst);
                        for stream in open.drain(..) {
                            raw.answer(stream, "hello");
                        }
                    }
                    Err(_) => return,
                }
            }
        }),
        |scene| scene,
    );
    let web = before.web;
    let askers: Vec<_> = (0..20)
        .map(|_| {
            thread::spawn(move || {
                RawClient::once(web, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap().text()
            })
        })
        .collect();
    for asker in askers {
        assert_eq!(asker.join().unwrap(), "hello");
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn an_endpoints_windows_are_kept() {
    let before = Before::new(Endpoint::new(&[(4, 10)], |raw, _| {
        // The first request may be under way before our windows are known.
        if let Ok((stream, _)) = raw.request() {
            raw.answer(stream, "first");
        }
        let Ok(stream) = raw.request_head() else { return };
        let head = raw.find(|frame| frame.kind == kind::HEADERS).unwrap();
        assert!(field(&raw.decode(&head.payload), ":method").is_some());
        let mut body = Vec::new();
        loop {
            let data = raw.find(|frame| frame.kind == kind::DATA).unwrap();
            assert!(data.payload.len() <= 10);
            body.extend_from_slice(&data.payload);
            if data.has(flag::END_STREAM) {
                break;
            }
            raw.window(stream, data.payload.len() as u32);
        }
        assert_eq!(body, [b'x'; 95]);
        raw.answer(stream, "hello");
        let _ = raw.find(|_| false);
    }));
    assert_eq!(before.get().text(), "first");
    let body = "x".repeat(95);
    let request = format!("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 95\r\n\r\n{body}");
    assert_eq!(before.ask(&request).text(), "hello");
}

#[test]
fn a_connection_that_dies_is_not_the_end() {
    let before = Before::with(
        Endpoint::new(&[], |raw, nth| {
            while let Ok((stream, _)) = raw.request() {
                if nth == 0 && stream > 1 {
                    return raw.half_close();
                }
                raw.answer(stream, "hello");
            }
        }),
        |scene| scene,
    );
    for _ in 0..3 {
        assert_eq!(before.get().text(), "hello");
    }
    assert_eq!(before.endpoint.connections(), 2);
}
