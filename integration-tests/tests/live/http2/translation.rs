//! Requests of HTTP/2 to an endpoint that speaks HTTP/1, and its answers back: one request in is one
//! request out, or none.

use weir_integration_tests::backend::{Backend, Peer};
use weir_integration_tests::http2::code::{INTERNAL_ERROR, PROTOCOL_ERROR};
use weir_integration_tests::http2::hpack::Block;
use weir_integration_tests::http2::{End, Raw};
use weir_integration_tests::message::{Fields, Request};
use weir_integration_tests::wait;

use super::{GET, POST, and, is_served};
use crate::Front;

/// Before an endpoint whose requests look as their senders made them.
fn front(backend: Backend) -> Front {
    Front::with(backend, |scene| scene.listener("headers: {x_forwarded: false, request_id: false, deadline: false}"))
}

/// A request in one line.
fn line(request: &Request) -> String {
    let fields =
        |fields: &Fields| -> String { fields.0.iter().map(|(name, value)| format!("{name}: {value}, ")).collect() };
    let body = String::from_utf8_lossy(&request.body);
    let Request { method, target, framing, .. } = request;
    format!("{method} {target} | {}| {framing:?} {body} | {}", fields(&request.fields), fields(&request.trailers))
}

#[test]
fn what_reaches_an_endpoint() {
    type Act = fn(&mut Raw, u32);
    let cases: [(Act, &str); 15] = [
        (|raw, id| raw.headers(id, &GET, true), "GET / | Host: shop.example, | Nothing  | "),
        (
            |raw, id| {
                raw.headers(id, &and(&GET[..2], &[(":path", "/a//b/../c?d=e&f"), (":authority", "A.example:80")]), true)
            },
            "GET /a//b/../c?d=e&f | Host: A.example:80, | Nothing  | ",
        ),
        (
            |raw, id| {
                raw.headers(
                    id,
                    &and(&GET, &[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("cookie", "c=3")]),
                    true,
                )
            },
            "GET / | Host: shop.example, x-a: 1, cookie: a=1; b=2; c=3, | Nothing  | ",
        ),
        (
            |raw, id| raw.headers(id, &and(&GET, &[("host", "shop.example")]), true),
            "GET / | Host: shop.example, | Nothing  | ",
        ),
        (
            |raw, id| raw.headers(id, &and(&GET[..3], &[("host", "b.example")]), true),
            "GET / | Host: b.example, | Nothing  | ",
        ),
        (
            |raw, id| raw.headers(id, &and(&GET, &[("x-a", ""), ("x-b", "two words\tand a tab"), ("x-b", "2")]), true),
            "GET / | Host: shop.example, x-a: , x-b: two words\tand a tab, x-b: 2, | Nothing  | ",
        ),
        (
            |raw, id| raw.headers(id, &and(&GET, &[("te", "trailers")]), true),
            "GET / | Host: shop.example, | Nothing  | ",
        ),
        (
            |raw, id| {
                let options =
                    [(":method", "OPTIONS"), (":scheme", "https"), (":path", "*"), (":authority", "shop.example")];
                raw.headers(id, &options, true);
            },
            "OPTIONS * | Host: shop.example, | Nothing  | ",
        ),
        (
            |raw, id| raw.headers(id, &and(&POST, &[("content-length", "0")]), true),
            "POST / | Host: shop.example, Content-Length: 0, | Length(0)  | ",
        ),
        (
            |raw, id| {
                raw.headers(id, &and(&POST, &[("content-length", "05")]), false);
                raw.data(id, "he", false);
                raw.data(id, "llo", true);
            },
            "POST / | Host: shop.example, Content-Length: 5, | Length(5) hello | ",
        ),
        (
            |raw, id| {
                raw.headers(id, &and(&POST, &[("content-length", "5")]), false);
                raw.data(id, "hello", false);
                raw.data(id, "", true);
            },
            "POST / | Host: shop.example, Content-Length: 5, | Length(5) hello | ",
        ),
        (
            |raw, id| {
                raw.headers(id, &POST, false);
                raw.data(id, "he", false);
                raw.data(id, "", false);
                raw.data(id, "llo", true);
            },
            "POST / | Host: shop.example, Transfer-Encoding: chunked, | Chunked hello | ",
        ),
        (
            |raw, id| {
                raw.headers(id, &POST, false);
                raw.data(id, "", true);
            },
            "POST / | Host: shop.example, Transfer-Encoding: chunked, | Chunked  | ",
        ),
        (
            |raw, id| {
                raw.headers(id, &POST, false);
                raw.data(id, "0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n", false);
                raw.headers(
                    id,
                    &[("x-sum", "1"), ("content-length", "9"), ("host", "evil"), ("authorization", "x")],
                    true,
                );
            },
            "POST / | Host: shop.example, Transfer-Encoding: chunked, | Chunked 0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n | x-sum: 1, ",
        ),
        (
            // Pseudo fields have no place in trailers; at least they do not get through.
            |raw, id| {
                raw.headers(id, &POST, false);
                raw.headers(id, &[(":path", "/evil"), ("x-sum", "1")], true);
            },
            "POST / | Host: shop.example, Transfer-Encoding: chunked, | Chunked  | x-sum: 1, ",
        ),
    ];
    let front = front(Backend::text("hello"));
    let mut raw = Raw::client(front.web);
    for (nth, (act, expected)) in cases.into_iter().enumerate() {
        let id = 1 + 2 * nth as u32;
        act(&mut raw, id);
        let message = raw.message(id);
        assert_eq!((message.status(), &message.end), (Some(200), &End::Whole), "{expected}");
        assert_eq!(line(front.backend.requests().last().unwrap()), expected);
        assert_eq!(front.backend.requests().len(), nth + 1);
    }
    assert_eq!(front.backend.connections(), 1);
}

#[test]
fn what_never_reaches_an_endpoint() {
    let bad: &[&[(&str, &str)]] = &[
        // Pseudo fields (RFC 9113 8.3).
        &GET[1..],
        &[GET[0], GET[2], GET[3]],
        &[GET[0], GET[1], GET[3]],
        &[GET[0], GET[1]],
        &[GET[0], GET[1], GET[2]],
        &[GET[0], GET[1], GET[2], GET[3], GET[0]],
        &[GET[0], GET[1], GET[2], GET[3], (":path", "/two")],
        &[GET[0], GET[1], GET[2], GET[3], (":authority", "two")],
        &[GET[0], GET[1], GET[2], GET[3], (":status", "200")],
        &[GET[0], GET[1], GET[2], GET[3], (":unknown", "x")],
        &[GET[0], GET[1], GET[2], GET[3], (":protocol", "websocket")],
        &[GET[0], GET[1], GET[3], ("x-a", "1"), GET[2]],
        &[GET[0], GET[1], GET[3], (":path", "")],
        &[GET[0], GET[1], GET[3], (":path", "nothing")],
        &[GET[0], GET[1], GET[3], (":path", "*")],
        &[GET[0], GET[1], GET[3], (":path", "http://evil.example/")],
        &[GET[0], GET[1], GET[3], (":path", "/a b")],
        &[GET[0], GET[1], GET[3], (":path", "/ HTTP/1.1\r\nhost: evil\r\n\r\n")],
        &[GET[0], GET[1], GET[3], (":path", "/\0")],
        &[GET[0], GET[1], GET[3], (":path", "/\u{7f}")],
        &[GET[0], GET[2], GET[3], (":scheme", "")],
        &[GET[0], GET[2], GET[3], (":scheme", "ht tp")],
        &[GET[0], GET[2], GET[3], (":scheme", "http\r\nx: y")],
        &[(":method", ""), GET[1], GET[2], GET[3]],
        &[(":method", "GE T"), GET[1], GET[2], GET[3]],
        &[(":method", "GET / HTTP/1.1\r\n"), GET[1], GET[2], GET[3]],
        // Authorities, and `host` beside one.
        &[GET[0], GET[1], GET[2], (":authority", "")],
        &[GET[0], GET[1], GET[2], (":authority", "user@shop.example")],
        &[GET[0], GET[1], GET[2], (":authority", "user:password@shop.example")],
        &[GET[0], GET[1], GET[2], (":authority", "a b")],
        &[GET[0], GET[1], GET[2], (":authority", "a\r\nx: y")],
        &[GET[0], GET[1], GET[2], (":authority", "a,b")],
        &[GET[0], GET[1], GET[2], (":authority", "a/b")],
        &[GET[0], GET[1], GET[2], (":authority", "a:99999")],
        &[GET[0], GET[1], GET[2], (":authority", "[::1")],
        &[GET[0], GET[1], GET[2], GET[3], ("host", "other.example")],
        &[GET[0], GET[1], GET[2], GET[3], ("host", "shop.example"), ("host", "shop.example")],
        &[GET[0], GET[1], GET[2], ("host", "a"), ("host", "b")],
        &[GET[0], GET[1], GET[2], ("host", "")],
        // Names and values (8.2.1).
        &[GET[0], GET[1], GET[2], GET[3], ("X-A", "1")],
        &[GET[0], GET[1], GET[2], GET[3], ("x a", "1")],
        &[GET[0], GET[1], GET[2], GET[3], ("x-a:", "1")],
        &[GET[0], GET[1], GET[2], GET[3], ("", "1")],
        &[GET[0], GET[1], GET[2], GET[3], ("x\r\n-a", "1")],
        &[GET[0], GET[1], GET[2], GET[3], ("x\0", "1")],
        &[GET[0], GET[1], GET[2], GET[3], ("x-a", "1\r\nx-b: 2")],
        &[GET[0], GET[1], GET[2], GET[3], ("x-a", "1\n")],
        &[GET[0], GET[1], GET[2], GET[3], ("x-a", "1\0")],
        &[GET[0], GET[1], GET[2], GET[3], ("x-a", " 1")],
        &[GET[0], GET[1], GET[2], GET[3], ("x-a", "1 ")],
        &[GET[0], GET[1], GET[2], GET[3], ("x-a", "\t1")],
        &[GET[0], GET[1], GET[2], GET[3], ("cookie", " a=1")],
        // What is a connection's (8.2.2).
        &[GET[0], GET[1], GET[2], GET[3], ("connection", "close")],
        &[GET[0], GET[1], GET[2], GET[3], ("keep-alive", "5")],
        &[GET[0], GET[1], GET[2], GET[3], ("proxy-connection", "keep-alive")],
        &[GET[0], GET[1], GET[2], GET[3], ("transfer-encoding", "chunked")],
        &[GET[0], GET[1], GET[2], GET[3], ("transfer-encoding", "identity")],
        &[GET[0], GET[1], GET[2], GET[3], ("upgrade", "websocket")],
        &[GET[0], GET[1], GET[2], GET[3], ("te", "gzip")],
        &[GET[0], GET[1], GET[2], GET[3], ("te", "trailers, gzip")],
        // Lengths (8.1.1).
        &[POST[0], POST[1], POST[2], POST[3], ("content-length", "5")],
        &[POST[0], POST[1], POST[2], POST[3], ("content-length", "+0")],
        &[POST[0], POST[1], POST[2], POST[3], ("content-length", "-0")],
        &[POST[0], POST[1], POST[2], POST[3], ("content-length", "")],
        &[POST[0], POST[1], POST[2], POST[3], ("content-length", "0x0")],
        &[POST[0], POST[1], POST[2], POST[3], ("content-length", "0, 0")],
        &[POST[0], POST[1], POST[2], POST[3], ("content-length", "99999999999999999999")],
        &[POST[0], POST[1], POST[2], POST[3], ("content-length", "0"), ("content-length", "0")],
        &[POST[0], POST[1], POST[2], POST[3], ("content-length", "0"), ("content-length", "1")],
    ];
    let front = front(Backend::text("hello"));
    for fields in bad {
        let mut raw = Raw::client(front.web);
        raw.headers(1, fields, true);
        let message = raw.message(1);
        let is_refused = match message.end {
            End::Whole => message.status().is_some_and(|status| (400..500).contains(&status)),
            End::Reset(code) | End::GoAway(code) => code == PROTOCOL_ERROR,
            End::Closed => true,
            End::Not => false,
        };
        assert!(is_refused, "{fields:?}: {message:?}");
    }
    assert_eq!(front.backend.received_text(), "");
}

#[test]
fn a_body_that_is_not_what_its_head_says_is_no_request() {
    let front = front(Backend::text("hello"));
    for (told, pieces) in [("5", &["hel"][..]), ("5", &["hello!"]), ("5", &["hello", "!"]), ("5", &[]), ("0", &["x"])] {
        let mut raw = Raw::client(front.web);
        raw.headers(1, &and(&POST, &[("content-length", told)]), false);
        for (nth, piece) in pieces.iter().enumerate() {
            raw.data(1, piece, nth + 1 == pieces.len());
        }
        if pieces.is_empty() {
            raw.headers(1, &[("x-sum", "1")], true);
        }
        let message = raw.message(1);
        assert!(matches!(message.end, End::Reset(PROTOCOL_ERROR)) || message.status() == Some(200), "{message:?}");
        if message.status() == Some(200) {
            // Longer than it was told to be: what was told was answered already.
            assert!(told == "0" || pieces.concat().len() > 5);
        }
    }
    for request in front.backend.requests() {
        // Nothing is all of nothing, whatever comes behind it.
        let none = request.fields.get("content-length") == Some("0");
        assert_eq!(request.body, if none { &b""[..] } else { b"hello" });
    }
    // What is given up in the middle is none either.
    let mut raw = Raw::client(front.web);
    let before = front.backend.requests().len();
    raw.headers(1, &POST, false);
    raw.data(1, "hel", false);
    wait::until_true("the beginning", || front.backend.received_text().ends_with("hel\r\n"));
    raw.reset(1, 8);
    wait::until_true("its end", || front.backend.open() == 0);
    assert_eq!(front.backend.requests().len(), before);
    assert!(!front.backend.received_text().ends_with("0\r\n\r\n"));
}

#[test]
fn head_sections_of_any_size_that_are_too_much_are_told_so() {
    let front = front(Backend::text("hello"));
    let mut raw = Raw::client(front.web);
    let many: Vec<(String, String)> = (0..300).map(|nth| (format!("x-{nth}"), "1".into())).collect();
    let large = [("x-a".to_owned(), "x".repeat(40_000))];
    let huge = [("x-a".to_owned(), "x".repeat(15_000)), ("x-b".to_owned(), "x".repeat(600))];
    let plain = |more: &[(String, String)]| -> Vec<(String, String)> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        GET.iter().map(own).chain(more.iter().cloned()).collect()
    };
    raw.headers(1, &plain(&many), true);
    assert_eq!(raw.message(1).status(), Some(431));
    // In several frames.
    let block = weir_integration_tests::http2::hpack::literals(&plain(&large));
    let (first, rest) = block.split_at(16_000);
    raw.frame(1, 1, 3, first);
    let (second, third) = rest.split_at(16_000);
    raw.frame(9, 0, 3, second);
    raw.frame(9, 4, 3, third);
    assert_eq!(raw.message(3).status(), Some(431));
    raw.headers(5, &plain(&huge), true);
    assert!(matches!(raw.message(5).status(), Some(200 | 431)));
    let long = format!("/{}", "x".repeat(9000));
    raw.headers(7, &and(&GET[..2], &[(":path", &long), GET[3]]), true);
    assert_eq!(raw.message(7).status(), Some(414));
}

#[test]
fn answers() {
    fn text(block: &Block) -> String {
        let line = |(name, value): &(Vec<u8>, Vec<u8>)| {
            format!("{}: {}, ", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        };
        block.iter().map(line).collect()
    }
    let cases: [(&str, &str, &[&str], &str, End); 13] = [
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nok",
            &[":status: 200, x-a: 1, content-length: 2, "],
            "ok",
            End::Whole,
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", &[":status: 204, "], "", End::Whole),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            &[":status: 304, content-length: 5, "],
            "",
            End::Whole,
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            &[":status: 200, content-length: 5, "],
            "",
            End::Whole,
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &[":status: 200, "], "", End::Whole),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", &[":status: 200, content-length: 0, "], "", End::Whole),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
            &[":status: 200, trailer: x-sum, ", "x-sum: 1, "],
            "ok",
            End::Whole,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\n\r\nto the end",
            &[":status: 200, "],
            "to the end",
            End::Whole,
        ),
        (
            "GET",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            &[":status: 103, link: </a>, ", ":status: 100, ", ":status: 200, content-length: 0, "],
            "",
            End::Whole,
        ),
        // What breaks in the middle is never whole.
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
            &[":status: 200, content-length: 5, "],
            "hel",
            End::Reset(INTERNAL_ERROR),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
            &[":status: 200, "],
            "hel",
            End::Reset(INTERNAL_ERROR),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\nnonsense\r\n",
            &[":status: 200, "],
            "hel",
            End::Reset(INTERNAL_ERROR),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\nno colon\r\n\r\n",
            &[":status: 200, "],
            "hel",
            End::Reset(INTERNAL_ERROR),
        ),
    ];
    let answers: Vec<_> = cases.iter().map(|case| case.1).collect();
    let front = front(Backend::scripted(move |peer: &mut Peer, request: &Request| {
        let nth: usize = request.target[1..].parse().unwrap();
        peer.send(answers[nth]);
        peer.close();
    }));
    let mut raw = Raw::client(front.web);
    for (nth, (method, _, blocks, body, end)) in cases.into_iter().enumerate() {
        let (id, path) = (1 + 2 * nth as u32, format!("/{nth}"));
        raw.headers(id, &[(":method", method), GET[1], (":path", &path), GET[3]], true);
        let message = raw.message(id);
        let got: Vec<_> = message.blocks.iter().map(text).collect();
        assert_eq!(message.end, end, "{nth}");
        // What is broken at once may be reset before any of it was sent.
        if matches!(end, End::Whole) || !got.is_empty() {
            assert_eq!(got.iter().map(String::as_str).collect::<Vec<_>>(), blocks.to_vec(), "{nth}");
        }
        let got = String::from_utf8_lossy(&message.body).into_owned();
        assert!(got == body || (end != End::Whole && body.starts_with(&got)), "{nth}: {got}");
    }
}

#[test]
fn whoever_waits_for_100_gets_it() {
    let front = front(Backend::raw(|peer| {
        let Ok(head) = peer.request_head() else { return };
        assert_eq!(head.fields.get("expect"), Some("100-continue"));
        peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        let body = peer.body(head.framing).unwrap_or_default();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
        peer.send(body);
    }));
    let mut raw = Raw::client(front.web);
    raw.headers(1, &and(&POST, &[("expect", "100-continue"), ("content-length", "5")]), false);
    let interim = raw.find(|frame| frame.stream == 1).unwrap();
    assert_eq!(raw.decode(&interim.payload), [(b":status".to_vec(), b"100".to_vec())]);
    raw.data(1, "hello", true);
    let message = raw.message(1);
    assert_eq!((message.status(), message.body.as_slice(), message.end), (Some(200), &b"hello"[..], End::Whole));
}

#[test]
fn an_answer_before_the_whole_request() {
    let front = front(Backend::raw(|peer| {
        let _ = peer.request_head();
        peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        peer.half_close();
        peer.hang();
    }));
    let mut raw = Raw::client(front.web);
    raw.headers(1, &POST, false);
    raw.data(1, vec![b'x'; 16_000], false);
    let message = raw.message(1);
    assert_eq!((message.status(), message.body.as_slice(), message.end), (Some(413), &b"no"[..], End::Whole));
    // No more of the request is wanted; and the connection goes on.
    let reset = raw.find(|frame| frame.stream == 1 && frame.kind == 3).unwrap();
    assert_eq!(reset.code(), Some(0));
    assert!(raw.settle().is_ok());
}

#[test]
fn a_tunnel_that_is_none_does_not_look_like_one() {
    const CONNECT: [(&str, &str); 4] =
        [(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":authority", "shop.example")];
    // An endpoint that answers what it understands: a GET.
    let front = front(Backend::text("hello"));
    let mut raw = Raw::client(front.web);
    for (stream, protocol, requests) in [(1, "websocket", 1), (3, "connect-udp", 1)] {
        raw.headers(stream, &and(&CONNECT, &[(":protocol", protocol)]), false);
        assert_eq!(raw.message(stream).status(), Some(501), "{protocol}");
        assert_eq!(front.backend.requests().len(), requests, "{protocol}");
    }
    for (stream, protocol) in [(5, "websocket\r\nx-a: 1"), (7, "a\r\n\r\nGET /two HTTP/1.1"), (9, "")] {
        raw.headers(stream, &and(&CONNECT, &[(":protocol", protocol)]), false);
        assert_eq!(raw.message(stream).end, End::Reset(PROTOCOL_ERROR), "{protocol:?}");
    }
    assert_eq!(front.backend.requests().len(), 1);
    assert!(is_served(&mut raw, 11));
}
