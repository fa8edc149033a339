//! Probes that ask a service of their own, or say what is written and listen for an answer.

use crate::shape::Need::{Optional, Required};
use crate::shape::{Key, Kind, Object};

use super::rules::*;

pub(crate) static GRPC_CHECK: Object = Object {
    noun: "a gRPC health check",
    title: "grpc_health_check",
    doc: "Passes when grpc.health.v1.Health/Check says SERVING.",
    keys: &[
        Key {
            name: "service",
            doc: "The service that is asked for, by its full name.",
            kind: Kind::Text(&GRPC_SERVICE),
            need: Optional("the whole server"),
            example: "shop.v1.Orders",
        },
        Key {
            name: "authority",
            doc: "The probe's :authority.",
            kind: Kind::Text(&HOST_HEADER),
            need: Optional("the endpoint's address"),
            example: "shop.example",
        },
    ],
    choices: &[],
    later: &["service_name"],
};

pub(crate) static TCP_CHECK: Object = Object {
    noun: "a TCP health check",
    title: "tcp_health_check",
    doc: "Passes when a connection opens, and what is sent is answered as expected.",
    keys: &[
        Key {
            name: "send",
            doc: "What is sent first: text, or bytes as {hex: \"0a0b\"}.",
            kind: BYTES,
            need: Optional("nothing"),
            example: "\"PING\\r\\n\"",
        },
        Key {
            name: "receive",
            doc: "What must occur in what comes back.",
            kind: BYTES,
            need: Optional("nothing need come"),
            example: "+PONG",
        },
    ],
    choices: &[],
    later: &[],
};

pub(crate) static UDP_CHECK: Object = Object {
    noun: "a UDP health check",
    title: "udp_health_check",
    doc: "Passes when a datagram is answered as expected.",
    keys: &[
        Key {
            name: "send",
            doc: "The datagram that is sent: text, or bytes as {hex: \"0a0b\"}.",
            kind: BYTES,
            need: Required("a datagram that is answered, as in `send: {hex: \"0a0b\"}`"),
            example: "{hex: \"12340100000100000000000000000200010000\"}",
        },
        Key {
            name: "receive",
            doc: "What must occur in the answer.",
            kind: BYTES,
            need: Optional("any answer"),
            example: "{hex: \"1234\"}",
        },
    ],
    choices: &[],
    later: &[],
};

const BYTES: Kind = Kind::Any(&[Kind::Text(&PROBE_TEXT), Kind::Object(&HEX)]);

pub(crate) static HEX: Object = Object {
    noun: "a row of bytes",
    title: "hex",
    doc: "Bytes in hexadecimal.",
    keys: &[Key {
        name: "hex",
        doc: "The bytes, two digits each; spaces between them do not matter.",
        kind: Kind::Text(&HEX_BYTES),
        need: Required("as in `{hex: \"0a0b\"}`"),
        example: "0a0b",
    }],
    choices: &[],
    later: &[],
};
