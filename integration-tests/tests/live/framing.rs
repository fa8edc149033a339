//! Request smuggling: whatever two parsers could read in two ways is refused, the connection
//! closed, and nothing of what came after it ever reaches an endpoint.

use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::get;
use weir_integration_tests::message::Broken;

use crate::Front;

/// What an attacker hopes to get through behind the first request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends `request` and the smuggled one behind it; asserts that neither arrives and the
/// connection ends with one answer out of `statuses`.
fn refused(front: &Front, request: &[u8], statuses: &[u16]) {
    let shown = request.escape_ascii().to_string();
    let before = front.backend.requests().len();
    let mut client = front.connect();
    client.send([request, SMUGGLED.as_bytes()].concat());
    match client.response() {
        Ok(answer) => {
            assert!(statuses.contains(&answer.status), "{shown}: {} {:?}", answer.status, answer.reason());
            assert!(answer.reason().is_some(), "{shown}: the answer is not ours");
            assert!(answer.closes(), "{shown}: the connection is kept");
            client.expect_end();
        }
        Err(broken) => panic!("{shown}: {broken} instead of an answer"),
    }
    assert_eq!(front.backend.requests().len(), before, "{shown}: a request arrived");
    assert!(!front.backend.received_text().contains("smuggled"), "{shown}: the smuggled request arrived");
}

fn refused_head(front: &Front, fields: &[u8], statuses: &[u16]) {
    refused(front, &[b"POST /first HTTP/1.1\r\nHost: a\r\n", fields, b"\r\n"].concat(), statuses);
}

#[test]
fn two_ways_to_tell_the_length() {
    let front = Front::new(Backend::text("x"));
    for fields in [
        &b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"[..],
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        b"content-length: 5\r\ntransfer-encoding: CHUNKED\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 0\r\nContent-Length: 0\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 5, 6\r\n",
    ] {
        refused_head(&front, fields, &[400]);
    }
}

#[test]
fn transfer_encodings_that_only_look_chunked() {
    let front = Front::new(Backend::text("x"));
    for value in [
        &b"chunked, identity"[..],
        b"identity, chunked",
        b"identity",
        b"chunked, chunked",
        b"xchunked",
        b"chunkedx",
        b"chunked;q=1",
        b"\"chunked\"",
        b"chun ked",
        b"chunked,",
        b",chunked",
        b"\x0bchunked",
        b"chunked\x0b",
        b"\x0cchunked",
        b"chunked\0",
        b"\xa0chunked",
        b"",
        b"gzip, chunked",
        b"gzip",
        b"cow",
    ] {
        refused_head(&front, &[b"Transfer-Encoding: ", value, b"\r\n"].concat(), &[400, 501]);
    }
    // A request without a known coding has its own status (RFC 9112 6.1).
    refused_head(&front, b"Transfer-Encoding: gzip\r\n", &[501]);
}

#[test]
fn transfer_encoding_in_a_1_0_request() {
    let front = Front::new(Backend::text("x"));
    refused(
        &front,
        b"POST /first HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    );
}

#[test]
fn white_space_around_a_field_name_or_value_that_others_read_otherwise() {
    let front = Front::new(Backend::text("x"));
    for fields in [
        &b"Transfer-Encoding : chunked\r\n"[..],
        b"Transfer-Encoding\t: chunked\r\n",
        b"Content-Length : 5\r\n",
        b" Transfer-Encoding: chunked\r\n",
        b"\tTransfer-Encoding: chunked\r\n",
        b"X: y\r\n Transfer-Encoding: chunked\r\n",
        b"X: y\r\n\tfolded\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"Transfer\x0bEncoding: chunked\r\n",
        b"Transfer-Encoding\x0b: chunked\r\n",
        b"Transfer-Encoding\0: chunked\r\n",
        b": nothing\r\n",
        b"no colon\r\n",
        b"Na\xc3\xafve: x\r\n",
    ] {
        refused_head(&front, fields, &[400]);
    }
}

#[test]
fn content_lengths_that_are_no_numbers() {
    let front = Front::new(Backend::text("x"));
    for value in [
        &b"+5"[..],
        b"-5",
        b"-0",
        b"5.0",
        b"0x5",
        b"5 5",
        b"5;",
        b"",
        b"abc",
        b"\x0b5",
        b"5\x0b",
        b"\xb2",
        b"18446744073709551616",
        b"99999999999999999999999999",
        b"1e3",
        b"1_000",
    ] {
        refused_head(&front, &[b"Content-Length: ", value, b"\r\n"].concat(), &[400]);
    }
}

#[test]
fn line_ends_and_characters_that_others_read_otherwise() {
    let front = Front::new(Backend::text("x"));
    for request in [
        &b"GET /first HTTP/1.1\nHost: a\n\n"[..],
        b"GET /first HTTP/1.1\r\nHost: a\n\r\n",
        b"GET /first HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /first HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n",
        b"GET /first HTTP/1.1\r\nHost: a\r\nX: y\r\rz\r\n\r\n",
        b"GET /first HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n",
        b"GET /first HTTP/1.1\r\nHost: a\r\nX: y\x01z\r\n\r\n",
        b"GET /first HTTP/1.1\r\nHost: a\r\nX: y\x7fz\r\n\r\n",
        b"GET /fir\0st HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /fir\x01st HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /fir\xffst HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /first#part HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET  /first HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /fi rst HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET\t/first\tHTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /first HTTP/1.1 \r\nHost: a\r\n\r\n",
        b" GET /first HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G@T /first HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET first HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET ftp://a/first HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http:///first HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://u@a/first HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /first http/1.1\r\nHost: a\r\n\r\n",
        b"GET /first HTTP/1.1x\r\nHost: a\r\n\r\n",
        b"GET /first HTTP/01.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ] {
        refused(&front, request, &[400, 505]);
    }
}

#[test]
fn chunks_that_are_none() {
    let front = Front::new(Backend::text("x"));
    for body in [
        &b"0x5\r\nhello\r\n0\r\n\r\n"[..],
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"\t5\r\nhello\r\n0\r\n\r\n",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nhello",
        b"ffffffffffffffff\r\nhello",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"0000000000000000000000005\r\nhello\r\n0\r\n\r\n",
        b"g\r\n",
        b";x\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\0\r\nhello\r\n0\r\n\r\n",
        b"5;\r\rx\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\n\n",
        b"0\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n X: folded\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
    ] {
        let request = [b"POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat();
        refused(&front, &request, &[400]);
    }
}

#[test]
fn chunk_extensions_are_bounded_and_never_passed_on() {
    let front = Front::new(Backend::text("x"));
    let head = "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = front.ask(&format!("{head}5;name=\"va;lue\";x\r\nhello\r\n0;last\r\n\r\n"));
    assert_eq!(answer.status, 200, "a few are allowed by RFC 9112 7.1.1");
    let request = front.backend.only_request();
    assert_eq!(request.body, b"hello");
    assert!(!front.backend.received_text().contains("name="));
    let much = "x".repeat(100_000);
    refused(&front, format!("{head}5;{much}\r\nhello\r\n0\r\n\r\n").as_bytes(), &[400]);
    let many = "1;aaaaaaaaaaaaaaaaaaaa\r\nx\r\n".repeat(5_000);
    let mut client = front.connect();
    // A part of it is passed on before the bound is reached: then the connection just ends.
    let _ = client.try_send(format!("{head}{many}0\r\n\r\n{SMUGGLED}"));
    match client.response() {
        Ok(answer) => assert_eq!(answer.status, 400),
        Err(broken) => assert!(matches!(broken, Broken::Closed | Broken::Reset(_)), "{broken}"),
    }
    assert!(!front.backend.received_text().contains("smuggled"));
}

#[test]
fn what_is_in_a_body_is_not_a_request() {
    let front = Front::new(Backend::text("x"));
    let mut client = front.connect();
    client.send(format!("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len()));
    client.send(get("/2"));
    client.response().unwrap();
    client.response().unwrap();
    let targets: Vec<String> = front.backend.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/1", "/2"]);
}

#[test]
fn a_get_with_a_body_is_told_apart_too() {
    let front = Front::new(Backend::text("x"));
    let mut client = front.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    client.response().unwrap();
    client.response().unwrap();
    let requests = front.backend.requests();
    assert_eq!((requests[0].target.as_str(), &requests[0].body[..]), ("/1", &b"GET "[..]));
    assert_eq!(requests[1].target, "/2");
}

#[test]
fn an_answer_with_two_lengths_is_not_believed() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nxy",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nxy",
        "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
    ] {
        let front = Front::new(Backend::fixed(answer));
        let got = front.ask(&get("/"));
        assert_eq!((got.status, got.reason()), (502, Some("upstream_protocol")), "{answer:?}");
    }
}

#[test]
fn bytes_an_endpoint_sends_unasked_are_nobodys_answer() {
    // After its answer the endpoint sends another one that nobody asked for.
    let front = Front::new(Backend::scripted(|peer, request| {
        let text = request.target.clone();
        let mut bytes = weir_integration_tests::backend::ok(&text);
        bytes.extend_from_slice(&weir_integration_tests::backend::ok("poison"));
        peer.send(bytes);
    }));
    let mut client = front.connect();
    for path in ["/1", "/2", "/3"] {
        client.send(get(path));
        assert_eq!(client.response().unwrap().text(), path);
    }
}
