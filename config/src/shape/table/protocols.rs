//! What is particular to one protocol: HTTP/2, UDP, sessions of bytes.

use crate::shape::Need::{Default, Optional};
use crate::shape::{Integer, Key, Kind, Object, Words};

use super::OFF;

pub(super) static PROTOCOL: Words = Words {
    noun: "a protocol",
    known: &[
        ("http", "HTTP/1.0, HTTP/1.1 and HTTP/2."),
        ("tcp", "Bytes as they are, in both directions."),
        ("udp", "Datagrams, kept together by their two addresses."),
    ],
    later: &[],
};

pub(crate) static HTTP2: Object = Object {
    noun: "HTTP/2 settings",
    title: "http2",
    doc: "How HTTP/2 is spoken with clients.",
    keys: &[
        Key {
            name: "max_concurrent_streams",
            doc: "Most streams that a client may have open at once on a connection.",
            kind: Kind::Integer(Integer { min: 1, max: 65_535, ..Integer::ANY }),
            need: Default("100"),
            example: "100",
        },
        Key {
            name: "ping_interval",
            doc: "A ping is sent after this long without a frame from the client; `off` sends none.",
            kind: Kind::Any(&[Kind::Word(&OFF), Kind::Duration { zero: false }]),
            need: Default("30s"),
            example: "30s",
        },
        Key {
            name: "ping_timeout",
            doc: "How long a client may take to answer a ping; then its connection is closed.",
            kind: Kind::Duration { zero: false },
            need: Default("10s"),
            example: "10s",
        },
        Key {
            name: "max_connection_age",
            doc: "A connection is drained after this long, a tenth more or less by chance, so that clients spread anew.",
            kind: Kind::Duration { zero: false },
            need: Optional("no limit"),
            example: "1h",
        },
    ],
    choices: &[],
    later: &[],
};

pub(crate) static UDP: Object = Object {
    noun: "UDP settings",
    title: "udp",
    doc: "How flows of datagrams are kept.",
    keys: &[
        Key {
            name: "idle",
            doc: "A flow ends after this long without a datagram in either direction.",
            kind: Kind::Duration { zero: false },
            need: Default("60s"),
            example: "60s",
        },
        Key {
            name: "max_flows",
            doc: "Most flows at once, over all workers; beyond it the first datagram of a new one is dropped.",
            kind: Kind::Integer(Integer { min: 1, max: 10_000_000, ..Integer::ANY }),
            need: Default("65536"),
            example: "65536",
        },
        Key {
            name: "responses",
            doc: "A flow ends after so many answers to each of its datagrams; 1 is right for DNS.",
            kind: Kind::Integer(Integer::COUNT),
            need: Optional("however many"),
            example: "1",
        },
    ],
    choices: &[],
    later: &[],
};

pub(super) static ON_SICK: Words = Words {
    noun: "a treatment of open sessions",
    known: &[
        ("keep", "They go on for as long as they can."),
        ("close", "They are reset, so that clients come again and get another endpoint."),
    ],
    later: &[],
};

pub(super) static HTTP_VERSION: Words = Words {
    noun: "a version of HTTP",
    known: &[
        ("h1", "HTTP/1.1."),
        ("h2", "HTTP/2, with prior knowledge where there is no TLS."),
        ("auto", "HTTP/2 if the endpoint chooses it by ALPN, else HTTP/1.1; needs `tls`."),
    ],
    later: &["h3"],
};

pub(super) static PROXY_OUT: Words = Words {
    noun: "a version of the PROXY protocol",
    known: &[("off", "It is not sent."), ("v1", "A line of text."), ("v2", "Binary.")],
    later: &[],
};
