//! What RFC 9113 and RFC 7541 make a server do with frames that are out of order, out of bounds or
//! malformed; a table for each part of them.

use weir_integration_tests::backend::Backend;
use weir_integration_tests::http2::code::*;
use weir_integration_tests::http2::flag::{ACK, END_HEADERS, END_STREAM, PADDED, PRIORITY};
use weir_integration_tests::http2::{End, Frame, Raw, field, hpack, kind, settings};

use super::{GET, POST, and};
use crate::Front;

/// What has to become of a connection, or a stream of it.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// GOAWAY with one of these codes, or the end of the connection.
    Broken(&'static [u32]),
    /// RST_STREAM of stream 1 with one of these codes, an answer 4xx, or what [`Want::Broken`] takes:
    /// a stream's error may be made its connection's (RFC 9113 5.4.2).
    Refused(&'static [u32]),
    /// Nothing: all goes on, and a PING is answered.
    Ignored,
    /// Stream 1 is answered with 200.
    Answered,
}
use Want::{Answered, Broken, Ignored, Refused};

/// A rule, what breaks it, what has to become of it.
type Case = (&'static str, fn(&mut Raw), Want);

/// What became of a connection.
#[derive(Debug)]
enum Outcome {
    GoAway(u32),
    Closed,
    Reset(u32),
    Status(u16),
    Alive,
    Silent,
}

/// Looks until the connection ends or something happens to stream 1; or, where nothing should, until
/// a PING is answered.
fn outcome(raw: &mut Raw, want: Want) -> Outcome {
    let is_ping_last = matches!(want, Ignored);
    if is_ping_last {
        raw.frame(kind::PING, 0, 0, b"the last");
    }
    loop {
        let next = match raw.next_frame() {
            Ok(next) => next,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Outcome::Silent,
            Err(_) => return Outcome::Closed,
        };
        let code = next.code().unwrap_or_default();
        match next {
            Frame { kind: kind::GOAWAY, .. } if code != NO_ERROR => return Outcome::GoAway(code),
            Frame { kind: kind::GOAWAY, .. } => return Outcome::Closed,
            Frame { kind: kind::RST_STREAM, stream: 1, .. } => return Outcome::Reset(code),
            Frame { kind: kind::HEADERS, stream: 1, payload, .. } => {
                let block = raw.decode(&payload);
                let status = field(&block, ":status").unwrap_or_default();
                // An answer may be quicker than the error.
                if status != "200" || matches!(want, Answered) {
                    return Outcome::Status(status.parse().unwrap_or_default());
                }
            }
            Frame { kind: kind::PING, payload, .. } if is_ping_last && payload == b"the last" => return Outcome::Alive,
            _ => {}
        }
    }
}

fn check(cases: &[Case]) {
    let front = Front::new(Backend::text("hello"));
    let mut wrong = Vec::new();
    for (rule, act, want) in cases {
        let mut raw = Raw::client(front.web);
        raw.patience(std::time::Duration::from_secs(3));
        act(&mut raw);
        let got = outcome(&mut raw, *want);
        let is_right = match (want, &got) {
            (Broken(_) | Refused(_), Outcome::Closed)
            | (Ignored, Outcome::Alive)
            | (Answered, Outcome::Status(200)) => true,
            (Broken(codes) | Refused(codes), Outcome::GoAway(code)) => codes.contains(code),
            (Refused(codes), Outcome::Reset(code)) => codes.contains(code),
            (Refused(_), Outcome::Status(status)) => (400..500).contains(status),
            _ => false,
        };
        if !is_right {
            wrong.push(format!("{rule}: {want:?} wanted, {got:?} came"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Whatever happened, others are served.
    assert!(super::is_served(&mut Raw::client(front.web), 1));
}

/// A request whose answer is still to come: its body is.
fn open(raw: &mut Raw) {
    raw.headers(1, &POST, false);
}

/// One that is over and answered.
fn closed(raw: &mut Raw) {
    raw.headers(1, &GET, true);
    let message = raw.message(1);
    assert_eq!((message.status(), message.end), (Some(200), End::Whole));
}

/// A header block's bytes for a plain request.
fn block() -> Vec<u8> {
    hpack::literals(&GET)
}

const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];
const SIZE: &[u32] = &[FRAME_SIZE_ERROR, PROTOCOL_ERROR];
const CLOSED: &[u32] = &[STREAM_CLOSED, PROTOCOL_ERROR];
const FLOW: &[u32] = &[FLOW_CONTROL_ERROR];
const COMPRESSION: &[u32] = &[COMPRESSION_ERROR, PROTOCOL_ERROR];

/// RFC 9113 3.4, 4.1 to 4.3.
#[test]
fn prefaces_and_frames() {
    check(&[
        ("a frame of an unknown type is ignored", |raw| raw.frame(0x16, 0, 0, &[0; 8]), Ignored),
        ("unknown flags are ignored", |raw| raw.frame(kind::PING, 0xfe & !ACK, 0, &[0; 8]), Ignored),
        (
            "the reserved bit of a stream's identifier is ignored",
            |raw| raw.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1 | 1 << 31, &block()),
            Answered,
        ),
        (
            "data of 2^14 bytes is taken",
            |raw| {
                open(raw);
                raw.data(1, [b'x'; 16_384], true);
            },
            Answered,
        ),
        (
            "a frame beyond SETTINGS_MAX_FRAME_SIZE is an error",
            |raw| {
                open(raw);
                raw.data(1, [b'x'; 16_385], true);
            },
            Refused(&[FRAME_SIZE_ERROR]),
        ),
        (
            "headers beyond SETTINGS_MAX_FRAME_SIZE are a connection error",
            |raw| raw.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[0; 16_385]),
            Broken(&[FRAME_SIZE_ERROR]),
        ),
        (
            "a header block that cannot be decoded is a connection error",
            |raw| raw.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
            Broken(COMPRESSION),
        ),
        (
            "another frame between those of a header block is a connection error",
            |raw| {
                raw.frame(kind::HEADERS, END_STREAM, 1, &block());
                raw.frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 0, 1]);
            },
            Broken(PROTOCOL),
        ),
        (
            "headers of another stream between those of a header block are a connection error",
            |raw| {
                raw.frame(kind::HEADERS, END_STREAM, 1, &block());
                raw.frame(kind::HEADERS, END_STREAM | END_HEADERS, 3, &block());
            },
            Broken(PROTOCOL),
        ),
        (
            "an unknown frame between those of a header block is a connection error",
            |raw| {
                raw.frame(kind::HEADERS, END_STREAM, 1, &block());
                raw.frame(0x16, 0, 0, &[0; 8]);
            },
            Broken(PROTOCOL),
        ),
        ("upper case is no name", |raw| raw.headers(1, &and(&GET, &[("X-A", "1")]), true), Refused(PROTOCOL)),
    ]);
}

#[test]
fn a_preface_that_is_none_ends_the_connection() {
    let front = Front::new(Backend::text("hello"));
    for preface in [&b"INVALID CONNECTION PREFACE\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"] {
        let mut raw = Raw::silent(front.web);
        raw.send(preface);
        let ended = loop {
            if let Err(error) = raw.read_frame() {
                break error.kind();
            }
        };
        assert_ne!(ended, std::io::ErrorKind::WouldBlock);
    }
}

/// RFC 9113 5.1.
#[test]
fn states_of_streams() {
    check(&[
        ("idle: DATA is a connection error", |raw| raw.data(1, "x", true), Broken(PROTOCOL)),
        ("idle: RST_STREAM is a connection error", |raw| raw.reset(1, CANCEL), Broken(PROTOCOL)),
        ("idle: WINDOW_UPDATE is a connection error", |raw| raw.window(1, 100), Broken(PROTOCOL)),
        (
            "idle: CONTINUATION is a connection error",
            |raw| raw.frame(kind::CONTINUATION, END_HEADERS, 1, &block()),
            Broken(PROTOCOL),
        ),
        ("idle: PRIORITY is ignored", |raw| raw.frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]), Ignored),
        (
            "half closed: DATA is an error",
            |raw| {
                raw.headers(1, &GET, true);
                raw.data(1, "x", true);
            },
            Refused(CLOSED),
        ),
        (
            "half closed: HEADERS are an error",
            |raw| {
                raw.headers(1, &GET, true);
                raw.headers(1, &GET, true);
            },
            Refused(CLOSED),
        ),
        (
            "half closed: CONTINUATION is a connection error",
            |raw| {
                raw.headers(1, &GET, true);
                raw.frame(kind::CONTINUATION, END_HEADERS, 1, &block());
            },
            Broken(CLOSED),
        ),
        (
            "half closed: WINDOW_UPDATE is taken",
            |raw| {
                raw.headers(1, &GET, true);
                raw.window(1, 1);
            },
            Answered,
        ),
        (
            "reset by us: DATA is an error",
            |raw| {
                open(raw);
                raw.reset(1, CANCEL);
                raw.data(1, "x", true);
            },
            Refused(CLOSED),
        ),
        (
            "reset by us: HEADERS are an error",
            |raw| {
                open(raw);
                raw.reset(1, CANCEL);
                raw.headers(1, &GET, true);
            },
            Refused(CLOSED),
        ),
        (
            "reset by us: CONTINUATION is a connection error",
            |raw| {
                open(raw);
                raw.reset(1, CANCEL);
                raw.frame(kind::CONTINUATION, END_HEADERS, 1, &block());
            },
            Broken(CLOSED),
        ),
        (
            "closed: DATA is an error",
            |raw| {
                closed(raw);
                raw.data(1, "x", true);
            },
            Refused(CLOSED),
        ),
        (
            "closed: HEADERS are a connection error",
            |raw| {
                closed(raw);
                raw.headers(1, &GET, true);
            },
            Broken(CLOSED),
        ),
        (
            "closed: CONTINUATION is a connection error",
            |raw| {
                closed(raw);
                raw.frame(kind::CONTINUATION, END_HEADERS, 1, &block());
            },
            Broken(CLOSED),
        ),
        (
            "closed: WINDOW_UPDATE, RST_STREAM and PRIORITY are ignored",
            |raw| {
                closed(raw);
                raw.window(1, 1);
                raw.reset(1, CANCEL);
                raw.frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]);
            },
            Ignored,
        ),
        ("5.1.1: an even identifier is a connection error", |raw| raw.headers(2, &GET, true), Broken(PROTOCOL)),
        (
            "5.1.1: an identifier lower than the last is a connection error",
            |raw| {
                raw.headers(5, &GET, true);
                raw.headers(3, &GET, true);
            },
            Broken(CLOSED),
        ),
        (
            "5.3.1: a stream that depends on itself, by HEADERS",
            |raw| {
                let payload = [&[0, 0, 0, 1, 16][..], &block()].concat();
                raw.frame(kind::HEADERS, END_HEADERS | END_STREAM | PRIORITY, 1, &payload);
            },
            Refused(PROTOCOL),
        ),
    ]);
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let front =
        Front::with(Backend::raw(|peer| peer.hang()), |scene| scene.listener("http2: {max_concurrent_streams: 10}"));
    let mut raw = Raw::client(front.web);
    for stream in 0..11 {
        raw.headers(1 + 2 * stream, &GET, true);
    }
    let refused = raw.find(|frame| frame.kind == kind::RST_STREAM).unwrap();
    assert_eq!((refused.stream, refused.code()), (21, Some(REFUSED_STREAM)));
    // Room again, once one has gone.
    raw.reset(1, CANCEL);
    raw.headers(23, &GET, true);
    raw.settle().unwrap();
    raw.patience(std::time::Duration::from_millis(50));
    assert!(raw.find(|frame| frame.kind == kind::RST_STREAM).is_err());
}

/// RFC 9113 6.1 to 6.4, 6.6.
#[test]
fn frames_of_streams() {
    check(&[
        ("DATA on stream 0 is a connection error", |raw| raw.data(0, "x", true), Broken(PROTOCOL)),
        (
            "DATA with more padding than payload is a connection error",
            |raw| {
                open(raw);
                raw.frame(kind::DATA, END_STREAM | PADDED, 1, b"\x06Test");
            },
            Broken(PROTOCOL),
        ),
        (
            "padded DATA is taken",
            |raw| {
                open(raw);
                raw.frame(kind::DATA, END_STREAM | PADDED, 1, b"\x02Test\0\0");
            },
            Answered,
        ),
        ("HEADERS on stream 0 are a connection error", |raw| raw.headers(0, &GET, true), Broken(PROTOCOL)),
        (
            "HEADERS with more padding than payload are a connection error",
            |raw| {
                let payload = [&[255][..], &block()].concat();
                raw.frame(kind::HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &payload);
            },
            Broken(PROTOCOL),
        ),
        (
            "HEADERS with padding and a priority are taken",
            |raw| {
                let payload = [&[3, 0, 0, 0, 0, 16][..], &block(), &[0; 3]].concat();
                raw.frame(kind::HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY, 1, &payload);
            },
            Answered,
        ),
        (
            "PRIORITY on stream 0 is a connection error",
            |raw| raw.frame(kind::PRIORITY, 0, 0, &[0, 0, 0, 1, 1]),
            Broken(PROTOCOL),
        ),
        (
            "PRIORITY of another size than 5 is an error",
            |raw| raw.frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1]),
            Refused(SIZE),
        ),
        ("RST_STREAM on stream 0 is a connection error", |raw| raw.reset(0, CANCEL), Broken(PROTOCOL)),
        (
            "RST_STREAM of another size than 4 is a connection error",
            |raw| {
                open(raw);
                raw.frame(kind::RST_STREAM, 0, 1, &[0, 0, 0]);
            },
            Broken(SIZE),
        ),
        (
            "a client that pushes makes a connection error",
            |raw| {
                open(raw);
                raw.frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block()].concat());
            },
            Broken(PROTOCOL),
        ),
    ]);
}

/// RFC 9113 6.5 to 6.10.
#[test]
fn frames_of_connections() {
    check(&[
        (
            "SETTINGS with ACK and a payload is a connection error",
            |raw| raw.frame(kind::SETTINGS, ACK, 0, &[0]),
            Broken(SIZE),
        ),
        (
            "SETTINGS on a stream is a connection error",
            |raw| raw.frame(kind::SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100]),
            Broken(PROTOCOL),
        ),
        (
            "SETTINGS of an odd size is a connection error",
            |raw| raw.frame(kind::SETTINGS, 0, 0, &[0, 3, 0]),
            Broken(SIZE),
        ),
        ("ENABLE_PUSH other than 0 or 1 is a connection error", |raw| raw.send(settings(&[(2, 2)])), Broken(PROTOCOL)),
        (
            "INITIAL_WINDOW_SIZE beyond 2^31-1 is a connection error",
            |raw| raw.send(settings(&[(4, 1 << 31)])),
            Broken(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]),
        ),
        ("MAX_FRAME_SIZE below 2^14 is a connection error", |raw| raw.send(settings(&[(5, 16_383)])), Broken(PROTOCOL)),
        (
            "MAX_FRAME_SIZE beyond 2^24-1 is a connection error",
            |raw| raw.send(settings(&[(5, 1 << 24)])),
            Broken(PROTOCOL),
        ),
        ("unknown settings are ignored", |raw| raw.send(settings(&[(0xff, 1)])), Ignored),
        ("settings that come twice are taken", |raw| raw.send(settings(&[(4, 100), (4, 1)])), Ignored),
        ("PING on a stream is a connection error", |raw| raw.frame(kind::PING, 0, 1, &[0; 8]), Broken(PROTOCOL)),
        ("PING of another size than 8 is a connection error", |raw| raw.frame(kind::PING, 0, 0, &[0; 6]), Broken(SIZE)),
        ("PING with ACK that nobody asked for is ignored", |raw| raw.frame(kind::PING, ACK, 0, b"whatever"), Ignored),
        ("GOAWAY on a stream is a connection error", |raw| raw.frame(kind::GOAWAY, 0, 1, &[0; 8]), Broken(PROTOCOL)),
        ("WINDOW_UPDATE of 0 on the connection is a connection error", |raw| raw.window(0, 0), Broken(PROTOCOL)),
        (
            "WINDOW_UPDATE of 0 on a stream is an error",
            |raw| {
                open(raw);
                raw.window(1, 0);
            },
            Refused(PROTOCOL),
        ),
        (
            "WINDOW_UPDATE of another size than 4 is a connection error",
            |raw| raw.frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1]),
            Broken(SIZE),
        ),
        (
            "a connection's window beyond 2^31-1 is a connection error",
            |raw| {
                raw.window(0, 0x7fff_ffff);
                raw.window(0, 0x7fff_ffff);
            },
            Broken(FLOW),
        ),
        (
            "a stream's window beyond 2^31-1 is an error",
            |raw| {
                open(raw);
                raw.window(1, 0x7fff_ffff);
                raw.window(1, 0x7fff_ffff);
            },
            Refused(FLOW),
        ),
        (
            "a header block may be continued",
            |raw| {
                let block = block();
                raw.frame(kind::HEADERS, END_STREAM, 1, &block[..5]);
                raw.frame(kind::CONTINUATION, 0, 1, &block[5..9]);
                raw.frame(kind::CONTINUATION, END_HEADERS, 1, &block[9..]);
            },
            Answered,
        ),
        (
            "CONTINUATION on stream 0 is a connection error",
            |raw| {
                raw.frame(kind::HEADERS, END_STREAM, 1, &block());
                raw.frame(kind::CONTINUATION, END_HEADERS, 0, &[]);
            },
            Broken(PROTOCOL),
        ),
        (
            "CONTINUATION of another stream is a connection error",
            |raw| {
                raw.frame(kind::HEADERS, END_STREAM, 1, &block());
                raw.frame(kind::CONTINUATION, END_HEADERS, 3, &[]);
            },
            Broken(PROTOCOL),
        ),
        (
            "CONTINUATION behind END_HEADERS is a connection error",
            |raw| {
                raw.headers(1, &POST, false);
                raw.frame(kind::CONTINUATION, END_HEADERS, 1, &[]);
            },
            Broken(PROTOCOL),
        ),
        (
            "CONTINUATION behind DATA is a connection error",
            |raw| {
                open(raw);
                raw.data(1, "x", false);
                raw.frame(kind::CONTINUATION, END_HEADERS, 1, &[]);
            },
            Broken(PROTOCOL),
        ),
    ]);
}

#[test]
fn windows_of_a_client_are_kept() {
    let front = Front::new(Backend::text("hello"));
    // One byte at a time.
    let mut raw = Raw::client_with(front.web, &[(4, 1)]);
    raw.headers(1, &GET, true);
    let data = raw.find(|frame| frame.kind == kind::DATA).unwrap();
    assert_eq!((data.payload.as_slice(), data.has(END_STREAM)), (&b"h"[..], false));
    // A smaller window than what was sent already is negative; then it must be made up for first.
    raw.send(settings(&[(4, 0)]));
    raw.window(1, 3);
    let data = raw.find(|frame| frame.kind == kind::DATA).unwrap();
    assert_eq!(data.payload, b"el");
    raw.send(settings(&[(4, 2)]));
    let message = raw.message(1);
    assert_eq!((message.body.as_slice(), message.end), (&b"lo"[..], End::Whole));
    // The window of a connection is all streams'.
    let mut raw = Raw::client_with(front.web, &[(4, 0)]);
    raw.headers(1, &GET, true);
    assert!(raw.find(|frame| frame.kind == kind::HEADERS).is_ok());
    raw.settle().unwrap();
    raw.window(1, 5);
    assert_eq!(raw.message(1).body, b"hello");
}

/// RFC 7541 4.2, 5.2, 6.1, 6.3, and RFC 9113 8.
#[test]
fn header_blocks() {
    check(&[
        (
            "a change of the table's size behind a field is an error",
            |raw| raw.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[&block()[..], &[0x20]].concat()),
            Broken(COMPRESSION),
        ),
        (
            "Huffman: padding of more than 7 bits is an error",
            |raw| {
                let field = b"\x00\x01x\x82\x1f\xff\xff\xff\xff";
                raw.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[&block()[..], &field[..5], &[0xff]].concat());
            },
            Broken(COMPRESSION),
        ),
        (
            "Huffman: padding that is not of ones is an error",
            |raw| raw.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[&block()[..], b"\x00\x01x\x81\x18"].concat()),
            Broken(COMPRESSION),
        ),
        (
            "Huffman: EOS is an error",
            |raw| {
                raw.frame(
                    kind::HEADERS,
                    END_HEADERS | END_STREAM,
                    1,
                    &[&block()[..], b"\x00\x01x\x84\xff\xff\xff\xff"].concat(),
                );
            },
            Broken(COMPRESSION),
        ),
        (
            "index 0 is an error",
            |raw| raw.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[&block()[..], &[0x80]].concat()),
            Broken(COMPRESSION),
        ),
        (
            "an index beyond the tables is an error",
            |raw| raw.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[&block()[..], &[0xbe]].concat()),
            Broken(COMPRESSION),
        ),
        (
            "a table larger than was allowed is an error",
            |raw| {
                let mut change = Vec::new();
                hpack::integer(&mut change, 0x20, 5, 4097);
                raw.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[&change[..], &block()].concat());
            },
            Broken(COMPRESSION),
        ),
        (
            "an integer that overflows is an error",
            |raw| {
                raw.frame(
                    kind::HEADERS,
                    END_HEADERS | END_STREAM,
                    1,
                    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
                )
            },
            Broken(COMPRESSION),
        ),
        (
            "a string longer than its block is an error",
            |raw| raw.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[&block()[..], b"\x00\x7fabc"].concat()),
            Broken(COMPRESSION),
        ),
        (
            "a table of no size, and literals with indexing",
            |raw| {
                let indexed = b"\x40\x01a\x01b\x40\x01a\x01b";
                raw.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[&[0x20][..], &block(), &indexed[..]].concat());
            },
            Answered,
        ),
        (
            "8.1: headers in the middle that do not end the stream are an error",
            |raw| {
                open(raw);
                raw.headers(1, &[("x-a", "1")], false);
            },
            Refused(PROTOCOL),
        ),
        (
            "8.1: trailers are taken",
            |raw| {
                open(raw);
                raw.data(1, "x", false);
                raw.headers(1, &[("x-a", "1")], true);
            },
            Answered,
        ),
        (
            "8.1: trailers with no data before them are taken",
            |raw| {
                open(raw);
                raw.headers(1, &[("x-a", "1")], true);
            },
            Answered,
        ),
    ]);
}
