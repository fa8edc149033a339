//! Tracing.

use crate::shape::Need::{Default, Optional, Required};
use crate::shape::{Integer, Key, Kind, Object, Words};

use super::{SHARE, rules::*};

pub(crate) static TRACING: Object = Object {
    noun: "tracing",
    title: "tracing",
    doc: "Traces of requests: W3C traceparent is taken, made and passed on, and spans go out by OTLP.",
    keys: &[
        Key {
            name: "otlp",
            doc: "The receiver that spans are sent to.",
            kind: Kind::Object(&OTLP),
            need: Optional("nothing is exported; ids are made, passed on and logged"),
            example: "{endpoint: \"http://127.0.0.1:4318/v1/traces\"}",
        },
        Key {
            name: "ratio",
            doc: "Share of requests that is sampled, 0 to 1, where no parent that is followed decides; by the trace id, so that all who go by it agree.",
            kind: Kind::Number(&SHARE),
            need: Default("0.01"),
            example: "0.01",
        },
        Key {
            name: "parent",
            doc: "Whose traceparent is followed.",
            kind: Kind::Word(&PARENT),
            need: Default("follow"),
            example: "follow",
        },
        Key {
            name: "service_name",
            doc: "What this service is called in traces: the attribute service.name.",
            kind: Kind::Text(&SERVICE_NAME),
            need: Default("weir"),
            example: "weir-edge",
        },
    ],
    choices: &[],
    later: &["propagation"],
};

static PARENT: Words = Words {
    noun: "a rule for parents",
    known: &[
        ("follow", "That of peers among the listener's trusted_proxies."),
        ("always", "Everybody's."),
        ("never", "Nobody's: each request begins a trace of its own."),
    ],
    later: &[],
};

pub(crate) static OTLP: Object = Object {
    noun: "an OTLP receiver",
    title: "otlp",
    doc: "Where spans go, by OTLP over HTTP with protobuf. A receiver that is slow, wrong or gone costs requests nothing.",
    keys: &[
        Key {
            name: "endpoint",
            doc: "The URL that spans are posted to, http:// or https://; the path /v1/traces may be left out.",
            kind: Kind::Text(&OTLP_ENDPOINT),
            need: Required("a URL, as in http://127.0.0.1:4318/v1/traces"),
            example: "http://127.0.0.1:4318/v1/traces",
        },
        Key {
            name: "headers",
            doc: "Further header fields, often a key; their values are shown in no log and no diff.",
            kind: Kind::Map(&HEADER_NAME, &Kind::Text(&HEADER_VALUE)),
            need: Default("{}"),
            example: "{x-api-key: secret}",
        },
        Key {
            name: "timeout",
            doc: "How long one request to the receiver may take, from connecting to the end of the answer.",
            kind: Kind::Duration { zero: false },
            need: Default("10s"),
            example: "10s",
        },
        Key {
            name: "queue",
            doc: "Most spans that may wait; more are dropped and counted.",
            kind: Kind::Integer(Integer { min: 1, max: 1_000_000, ..Integer::ANY }),
            need: Default("2048"),
            example: "2048",
        },
        Key {
            name: "batch",
            doc: "Most spans in one request.",
            kind: Kind::Integer(Integer { min: 1, max: 100_000, ..Integer::ANY }),
            need: Default("512"),
            example: "512",
        },
        Key {
            name: "interval",
            doc: "How long a batch that is not full waits for more; at least 100ms.",
            kind: Kind::Duration { zero: false },
            need: Default("5s"),
            example: "5s",
        },
    ],
    choices: &[],
    later: &["compression", "protocol"],
};
