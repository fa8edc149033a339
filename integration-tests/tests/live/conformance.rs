//! RFC 9112 and RFC 9110 as a proxy between a client and a server must keep them: message
//! forwarding, bodies, interim answers, versions, `Host`.

use weir_integration_tests::backend::{Backend, ok};
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::message::Framing;
use weir_integration_tests::wait;

use crate::Front;

/// Answers each request with its target.
fn echo_target() -> Backend {
    Backend::scripted(|peer, request| peer.send(ok(&request.target)))
}

/// Answers each request with its body.
fn echo_body() -> Backend {
    Backend::scripted(|peer, request| peer.send(ok(&String::from_utf8_lossy(&request.body))))
}

#[test]
fn a_connection_is_kept_open_and_used_again_on_both_sides() {
    let front = Front::new(echo_target());
    let mut client = front.connect();
    for path in ["/a", "/b", "/c?d=e"] {
        client.send(get(path));
        let answer = client.response().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, path));
        assert!(!answer.closes());
    }
    assert_eq!(front.backend.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let front = Front::new(echo_target());
    let mut client = front.connect();
    let paths: Vec<String> = (0..50).map(|n| format!("/{n}")).collect();
    let requests: String = paths.iter().map(|path| get(path)).collect();
    client.send(&requests);
    for path in &paths {
        assert_eq!(client.response().unwrap().text(), *path);
    }
    assert!(client.rest().is_empty());
}

#[test]
fn pipelined_requests_with_bodies_are_told_apart() {
    let front = Front::new(echo_body());
    let mut client = front.connect();
    client.send(
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none\
         POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ntw\r\n1\r\no\r\n0\r\n\r\n\
         POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nthree",
    );
    for text in ["one", "two", "three"] {
        assert_eq!(client.response().unwrap().text(), text);
    }
}

#[test]
fn a_request_in_single_bytes_is_a_request() {
    let front = Front::new(echo_body());
    let mut client = front.connect();
    for byte in b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.response().unwrap().text(), "abc");
}

#[test]
fn the_answer_to_head_has_a_length_and_no_body() {
    let front = Front::new(Backend::scripted(|peer, request| match request.method.as_str() {
        "HEAD" => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
        _ => peer.send(ok("get")),
    }));
    let mut client = front.connect();
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(head);
    let answer = client.response_to(head).unwrap();
    assert_eq!(answer.fields.get("content-length"), Some("1234"));
    client.send(get("/"));
    assert_eq!(client.response().unwrap().text(), "get");
    assert_eq!(front.backend.connections(), 1, "the endpoint's connection is still in step");
}

#[test]
fn the_answer_to_head_may_be_chunked_in_name() {
    let front = Front::new(Backend::scripted(|peer, request| match request.method.as_str() {
        "HEAD" => peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        _ => peer.send(ok("get")),
    }));
    let mut client = front.connect();
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(head);
    assert_eq!(client.response_to(head).unwrap().status, 200);
    client.send(get("/"));
    assert_eq!(client.response().unwrap().text(), "get");
}

#[test]
fn answers_without_a_body_by_status_do_not_get_out_of_step() {
    let front = Front::new(Backend::scripted(|peer, request| match request.target.as_str() {
        "/204" => peer.send("HTTP/1.1 204 No Content\r\n\r\n"),
        "/304" => peer.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n"),
        _ => peer.send(ok("body")),
    }));
    let mut client = front.connect();
    for (path, status) in [("/204", 204), ("/304", 304), ("/", 200), ("/304", 304), ("/204", 204), ("/", 200)] {
        client.send(get(path));
        let answer = client.response().unwrap();
        assert_eq!(answer.status, status);
        assert!(!answer.closes(), "{path}");
        if status == 204 {
            assert_eq!(answer.fields.get("content-length"), None, "RFC 9110 8.6");
            assert_eq!(answer.fields.get("transfer-encoding"), None);
        }
    }
}

#[test]
fn interim_answers_are_relayed() {
    let front = Front::new(Backend::scripted(|peer, _| {
        peer.send("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n");
        peer.send("HTTP/1.1 102 Processing\r\n\r\n");
        peer.send(ok("done"));
    }));
    let answer = front.ask(&get("/"));
    let starts: Vec<&str> = answer.interim.iter().map(|head| head.start.as_str()).collect();
    assert_eq!(starts, ["HTTP/1.1 103 Early Hints", "HTTP/1.1 102 Processing"]);
    assert_eq!(answer.interim[0].fields.get("link"), Some("</style.css>; rel=preload"));
    assert_eq!(answer.text(), "done");
}

#[test]
fn interim_answers_arrive_before_the_final_one() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let front = Front::new(Backend::scripted(move |peer, _| {
        peer.send("HTTP/1.1 103 Early Hints\r\n\r\n");
        wait.lock().unwrap().recv().unwrap();
        peer.send(ok("done"));
    }));
    let mut client = front.connect();
    client.send(get("/"));
    assert_eq!(client.head().unwrap().start, "HTTP/1.1 103 Early Hints");
    go.send(()).unwrap();
    assert_eq!(client.response().unwrap().text(), "done");
}

#[test]
fn a_1_0_client_gets_no_interim_answers() {
    let front = Front::new(Backend::scripted(|peer, _| {
        peer.send("HTTP/1.1 103 Early Hints\r\n\r\n");
        peer.send(ok("done"));
    }));
    let answer = front.ask("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(answer.interim.is_empty());
    assert_eq!(answer.text(), "done");
}

#[test]
fn an_expectation_goes_on_to_the_endpoint_before_the_body() {
    let front = Front::new(echo_body());
    let mut client = front.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    wait::until_true("the head at the endpoint", || front.backend.received_text().contains("\r\n\r\n"));
    assert!(front.backend.received_text().contains("100-continue"), "RFC 9110 10.1.1: it is for the origin to answer");
    // An endpoint that says nothing leaves it to the client how long it waits.
    client.send("hello");
    assert_eq!(client.response().unwrap().text(), "hello");
}

#[test]
fn a_100_continue_of_the_endpoint_is_told_once() {
    let front = Front::new(Backend::raw(|peer| {
        let Ok(request) = peer.request_head() else { return };
        peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        let body = peer.body(request.framing).unwrap();
        peer.send(ok(&String::from_utf8_lossy(&body)));
        peer.hang();
    }));
    let mut client = front.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert!(client.head().unwrap().start.starts_with("HTTP/1.1 100"));
    client.send("hello");
    let answer = client.response().unwrap();
    assert!(answer.interim.is_empty(), "{:?}", answer.interim);
    assert_eq!(answer.text(), "hello");
}

#[test]
fn a_client_that_does_not_wait_for_100_continue_is_served() {
    let front = Front::new(echo_body());
    let mut client = front.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
    assert_eq!(client.response().unwrap().text(), "hello");
}

#[test]
fn an_expectation_refused_by_the_endpoint_reaches_the_client() {
    let front = Front::new(Backend::raw(|peer| {
        if peer.request_head().is_ok() {
            peer.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            peer.half_close();
            peer.hang();
        }
    }));
    let mut client = front.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.response().unwrap();
    assert_eq!(answer.status, 417);
}

#[test]
fn an_unknown_expectation_is_refused() {
    let front = Front::new(echo_body());
    let answer = front.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: miracles\r\n\r\n");
    assert_eq!((answer.status, answer.reason()), (417, Some("unknown_expectation")));
}

#[test]
fn trailers_pass_in_both_directions() {
    let front = Front::new(Backend::scripted(|peer, _| {
        peer.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             2\r\nab\r\n0\r\nX-Sum: 42\r\nX-More: yes\r\n\r\n",
        );
    }));
    let mut client = front.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Check\r\n\r\n\
         1\r\nx\r\n0\r\nX-Check: 7\r\n\r\n",
    );
    let answer = client.response().unwrap();
    assert_eq!((answer.framing, answer.text().as_str()), (Framing::Chunked, "ab"));
    assert_eq!(answer.trailers.get("x-sum"), Some("42"));
    assert_eq!(answer.trailers.get("x-more"), Some("yes"));
    let request = front.backend.only_request();
    assert_eq!((request.framing, &request.body[..]), (Framing::Chunked, &b"x"[..]));
    assert_eq!(request.trailers.get("x-check"), Some("7"));
    client.send(get("/"));
    assert_eq!(client.response().unwrap().text(), "ab", "the connection is still in step");
}

#[test]
fn trailers_that_would_frame_or_route_are_not_passed_on() {
    let front = Front::new(echo_body());
    let mut client = front.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\
         Host: evil\r\nTransfer-Encoding: chunked\r\nX-Fine: yes\r\n\r\n",
    );
    assert_eq!(client.response().unwrap().status, 200);
    let request = front.backend.only_request();
    for name in ["content-length", "host", "transfer-encoding"] {
        assert_eq!(request.trailers.get(name), None, "{name}");
    }
    assert_eq!(request.trailers.get("x-fine"), Some("yes"));
}

#[test]
fn a_large_body_arrives_whole_in_both_directions_and_both_framings() {
    let front = Front::new(Backend::scripted(|peer, request| {
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len()));
        peer.send(&request.body);
    }));
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut client = front.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body);
    assert!(client.response().unwrap().body == body, "by length");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(70_001) {
        client.send(format!("{:x}\r\n", chunk.len()));
        client.send(chunk);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert!(client.response().unwrap().body == body, "by chunks");
}

#[test]
fn a_chunked_answer_reaches_a_1_0_client_without_chunks() {
    let front = Front::new(Backend::fixed(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    ));
    let answer = front.ask("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(answer.fields.get("transfer-encoding"), None, "RFC 9112 6.1");
    assert_eq!((answer.framing, answer.text().as_str()), (Framing::UntilClose, "hello world"));
}

#[test]
fn a_1_0_client_is_kept_only_if_it_asks() {
    let front = Front::new(Backend::text("x"));
    let mut client = front.connect();
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.response().unwrap();
    assert!(!answer.closes(), "{:?}", answer.fields);
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().unwrap().text(), "x");
    client.expect_end();
}

#[test]
fn connection_close_of_the_client_closes_after_the_answer() {
    // Each worker has connections of its own to the endpoint.
    let front = Front::with(Backend::text("x"), |scene| scene.top("workers: 1"));
    let mut client = front.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = client.response().unwrap();
    assert!(answer.closes());
    client.expect_end();
    client = front.connect();
    client.send(get("/"));
    assert_eq!(client.response().unwrap().text(), "x");
    assert_eq!(front.backend.connections(), 1, "the endpoint's connection is not the client's");
}

#[test]
fn connection_close_of_the_endpoint_does_not_close_the_clients() {
    let front = Front::new(Backend::scripted(|peer, _| {
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
        peer.close();
    }));
    let mut client = front.connect();
    for connections in 1..=3 {
        client.send(get("/"));
        let answer = client.response().unwrap();
        assert_eq!(answer.text(), "x");
        assert!(!answer.closes());
        assert_eq!(front.backend.connections(), connections);
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_made_chunked() {
    let front = Front::new(Backend::scripted(|peer, _| {
        peer.send("HTTP/1.1 200 OK\r\n\r\nall there is");
        peer.close();
    }));
    let mut client = front.connect();
    client.send(get("/"));
    let answer = client.response().unwrap();
    assert_eq!((answer.framing, answer.text().as_str()), (Framing::Chunked, "all there is"));
    client.send(get("/"));
    assert_eq!(client.response().unwrap().text(), "all there is", "the client's connection is kept");
}

#[test]
fn an_answer_of_a_1_0_endpoint_is_taken() {
    let front = Front::new(Backend::scripted(|peer, _| {
        peer.send("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold");
        peer.close();
    }));
    let mut client = front.connect();
    for _ in 0..2 {
        client.send(get("/"));
        let answer = client.response().unwrap();
        assert!(answer.start.starts_with("HTTP/1.1 200"), "a proxy speaks its own version: {}", answer.start);
        assert_eq!(answer.text(), "old");
    }
}

#[test]
fn a_client_that_ends_its_direction_still_gets_its_answer() {
    let front = Front::new(echo_body());
    let mut client = front.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    client.half_close();
    assert_eq!(client.response().unwrap().text(), "abc");
    client.expect_end();
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    let front = Front::new(Backend::text("x"));
    let answer = front.ask("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.status, 200, "RFC 9112 2.2: a server should ignore at least one empty line");
}

#[test]
fn an_absolute_target_goes_on_in_origin_form_and_overrides_host() {
    let front = Front::new(echo_target());
    let answer = front.ask("GET http://shop.example:8080/a?b=c HTTP/1.1\r\nHost: other.example\r\n\r\n");
    assert_eq!(answer.text(), "/a?b=c");
    assert_eq!(front.backend.only_request().fields.get("host"), Some("shop.example:8080"), "RFC 9112 3.2.2");
}

#[test]
fn an_absolute_target_without_a_path_is_the_root() {
    let front = Front::new(echo_target());
    assert_eq!(front.ask("GET http://shop.example HTTP/1.1\r\nHost: shop.example\r\n\r\n").text(), "/");
}

#[test]
fn options_asterisk_passes() {
    let front = Front::new(echo_target());
    assert_eq!(front.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").text(), "*");
}

#[test]
fn connect_is_refused() {
    let front = Front::new(echo_target());
    let answer = front.ask("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_eq!((answer.status, answer.reason()), (501, Some("method_not_supported")));
    assert!(front.backend.requests().is_empty());
}

#[test]
fn an_unknown_method_passes() {
    let front = Front::new(Backend::text("x"));
    assert_eq!(front.ask("BREW / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    assert_eq!(front.backend.only_request().method, "BREW");
}

#[test]
fn host_rules() {
    let front = Front::new(Backend::text("x"));
    for (hosts, why) in [
        ("", "missing"),
        ("Host: a\r\nHost: a\r\n", "twice the same"),
        ("Host: a\r\nHost: b\r\n", "twice"),
        ("Host: a b\r\n", "a space"),
        ("Host: a/b\r\n", "a slash"),
        ("Host: a@b\r\n", "user information"),
        ("Host: a,b\r\n", "a list"),
        ("Host: a:b\r\n", "a port that is none"),
        ("Host: a:99999\r\n", "a port that is too large"),
        ("Host: [::1\r\n", "a bracket left open"),
    ] {
        let answer = front.ask(&format!("GET / HTTP/1.1\r\n{hosts}\r\n"));
        assert_eq!((answer.status, answer.reason()), (400, Some("bad_host")), "{why}");
    }
    assert!(front.backend.requests().is_empty());
    for host in ["a", "a:8080", "A.Example.", "[::1]:80", "127.0.0.1"] {
        assert_eq!(front.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).status, 200, "{host}");
    }
    assert_eq!(front.ask("GET / HTTP/1.0\r\n\r\n").status, 200, "HTTP/1.0 knows no Host");
}

#[test]
fn other_versions_are_refused() {
    let front = Front::new(Backend::text("x"));
    for (line, status) in [
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/0.9", 505),
        ("GET / HTTP/1.2", 505),
        ("GET / SPDY/1", 400),
        ("GET /", 400),
    ] {
        let answer = front.ask(&format!("{line}\r\nHost: a\r\n\r\n"));
        assert_eq!(answer.status, status, "{line}");
    }
    assert!(front.backend.requests().is_empty());
}

#[test]
fn the_body_of_a_local_answer_is_text_or_json_as_the_client_asks() {
    let front = Front::new(Backend::text("x"));
    let bad = |accept: &str| front.ask(&format!("GET / HTTP/1.1\r\nHost: a b\r\n{accept}\r\n"));
    let text = bad("");
    assert!(text.fields.get("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{:?}", text.fields);
    assert!(text.text().contains("bad_host"), "{}", text.text());
    let json = bad("Accept: application/json\r\n");
    assert!(json.fields.get("content-type").is_some_and(|kind| kind.contains("json")), "{:?}", json.fields);
    let value: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert!(value.to_string().contains("bad_host"), "{value}");
}

#[test]
fn answers_stream_as_they_come() {
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let front = Front::new(Backend::scripted(move |peer, _| {
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none");
        gate.lock().unwrap().recv().unwrap();
        peer.send("two");
    }));
    let mut client = front.connect();
    client.send(get("/"));
    client.head().unwrap();
    while client.rest().len() < 3 {
        client.more().unwrap();
    }
    assert_eq!(client.rest(), b"one");
    go.send(()).unwrap();
    while client.rest().len() < 6 {
        client.more().unwrap();
    }
    assert_eq!(client.rest(), b"onetwo");
}

#[test]
fn requests_stream_as_they_come() {
    let front = Front::new(echo_body());
    let mut client = front.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\none");
    wait::until_true("the first half at the backend", || front.backend.received_text().ends_with("\r\n\r\none"));
    client.send("two");
    assert_eq!(client.response().unwrap().text(), "onetwo");
}

#[test]
fn many_clients_are_served_at_once() {
    let front = Front::new(echo_target());
    let mut clients: Vec<RawClient> = (0..100).map(|_| front.connect()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(get(&format!("/{n}")));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().unwrap().text(), format!("/{n}"));
    }
}
