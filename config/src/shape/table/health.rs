//! Health checks.

use crate::shape::Need::{Default, Optional, Required};
use crate::shape::{Choice, Integer, Key, Kind, List, Object};

use super::dialogue::{GRPC_CHECK, TCP_CHECK, UDP_CHECK};
use super::rules::*;

const NEVER_DOWN: &str = "a threshold of 0 can never be met; 1 acts on the first result";
const NO_THRESHOLD_ABOVE: (&str, &str) =
    ("threshold_too_large", "a threshold is at most 1000; with more, no endpoint would ever change its state");

pub(crate) static HEALTH_CHECK: Object = Object {
    noun: "a health check",
    title: "health_check",
    doc: "One active check of each endpoint of a cluster.",
    keys: &[
        Key {
            name: "timeout",
            doc: "How long a probe may take, from connecting to the verdict; then it has failed.",
            kind: Kind::Duration { zero: false },
            need: Default("2s"),
            example: "1s",
        },
        Key {
            name: "interval",
            doc: "The pause between two probes of a healthy endpoint.",
            kind: Kind::Duration { zero: false },
            need: Default("5s"),
            example: "5s",
        },
        Key {
            name: "fast_interval",
            doc: "The pause between two probes while the verdict is open: after a first failure, or a first pass.",
            kind: Kind::Duration { zero: false },
            need: Optional("the smaller of 1s and `interval`"),
            example: "1s",
        },
        Key {
            name: "down_interval",
            doc: "The pause between two probes of an endpoint that is down.",
            kind: Kind::Duration { zero: false },
            need: Optional("twice `interval`"),
            example: "10s",
        },
        Key {
            name: "jitter",
            doc: "Each pause is stretched or shrunk by up to this many per cent.",
            kind: Kind::Integer(Integer::JITTER),
            need: Default("10"),
            example: "10",
        },
        Key {
            name: "unhealthy_threshold",
            doc: "So many failures in a row make a healthy endpoint unhealthy.",
            kind: Kind::Integer(Integer {
                min: 1,
                max: 1000,
                below: Some(("threshold_never_met", NEVER_DOWN)),
                above: Some(NO_THRESHOLD_ABOVE),
            }),
            need: Default("3"),
            example: "3",
        },
        Key {
            name: "healthy_threshold",
            doc: "So many passes in a row make an unhealthy endpoint healthy.",
            kind: Kind::Integer(Integer {
                min: 1,
                max: 1000,
                below: Some(("threshold_never_met", NEVER_DOWN)),
                above: Some(NO_THRESHOLD_ABOVE),
            }),
            need: Default("2"),
            example: "2",
        },
        Key {
            name: "port",
            doc: "The port that is probed, if it is not the endpoint's own.",
            kind: Kind::Integer(Integer {
                min: 1,
                max: 65_535,
                below: Some(("bad_port", "a port is a number from 1 to 65535")),
                above: Some(("bad_port", "a port is a number from 1 to 65535")),
            }),
            need: Optional("the endpoint's own"),
            example: "8081",
        },
        Key {
            name: "http_health_check",
            doc: "A probe over HTTP: passes by the status and body of the answer.",
            kind: Kind::Object(&HTTP_CHECK),
            need: Optional("another kind of check is given"),
            example: "{path: /healthz, expected_statuses: [200]}",
        },
        Key {
            name: "tcp_health_check",
            doc: "A probe over TCP: passes when a connection opens, and answers as expected if told to.",
            kind: Kind::Object(&TCP_CHECK),
            need: Optional("another kind of check is given"),
            example: "{send: \"PING\\r\\n\", receive: +PONG}",
        },
        Key {
            name: "grpc_health_check",
            doc: "A probe by gRPC: passes when grpc.health.v1.Health/Check says SERVING.",
            kind: Kind::Object(&GRPC_CHECK),
            need: Optional("another kind of check is given"),
            example: "{service: shop.v1.Orders}",
        },
        Key {
            name: "udp_health_check",
            doc: "A probe over UDP: passes when a datagram is answered as expected.",
            kind: Kind::Object(&UDP_CHECK),
            need: Optional("another kind of check is given"),
            example: "{send: \"ping\", receive: \"pong\"}",
        },
    ],
    choices: &[Choice {
        of: &["http_health_check", "tcp_health_check", "grpc_health_check", "udp_health_check"],
        needed: Some((
            "no_check_kind",
            "say what is asked: `http_health_check: {path: /healthz}` or `tcp_health_check: {}`",
        )),
        both: "two_check_kinds",
    }],
    later: &["redis_health_check", "mysql_health_check", "postgres_health_check"],
};

pub(crate) static HTTP_CHECK: Object = Object {
    noun: "an HTTP health check",
    title: "http_health_check",
    doc: "What an HTTP probe sends and expects.",
    keys: &[
        Key {
            name: "path",
            doc: "The path that is asked for, and a query if wanted.",
            kind: Kind::Text(&PROBE_PATH),
            need: Default("/"),
            example: "/healthz",
        },
        Key {
            name: "host",
            doc: "The probe's Host header.",
            kind: Kind::Text(&HOST_HEADER),
            need: Optional("the endpoint's address"),
            example: "shop.example",
        },
        Key {
            name: "method",
            doc: "The probe's method.",
            kind: Kind::Text(&METHOD),
            need: Default("GET"),
            example: "HEAD",
        },
        Key {
            name: "headers",
            doc: "Further header fields of the probe, in order.",
            kind: Kind::Map(&HEADER_NAME, &Kind::Text(&HEADER_VALUE)),
            need: Default("{}"),
            example: "{x-probe: weir}",
        },
        Key {
            name: "expected_statuses",
            doc: "Statuses that pass: 200, 200-299 (both ends count), 2xx, or {start: 200, end: 300} (end does not count).",
            kind: Kind::List(&STATUSES),
            need: Default("[\"200-299\"]"),
            example: "[200, 204, 300-399]",
        },
        Key {
            name: "expected_body",
            doc: "Text that must occur in the first 64 KiB of the answer's body.",
            kind: Kind::Text(&EXPECTED_BODY),
            need: Optional("any body"),
            example: "ok",
        },
    ],
    choices: &[],
    later: &["request_headers_to_add", "service_name_matcher"],
};

static STATUSES: List = List {
    of: Kind::Any(&[Kind::Integer(STATUS), Kind::Text(&STATUS_TEXT), Kind::Object(&STATUS_RANGE)]),
    or_one: true,
    empty: Some(("no_expected_status", "no status is expected, so the check could never pass")),
};

const STATUS: Integer = Integer {
    min: 100,
    max: 599,
    below: Some(("bad_status", "a status is a number from 100 to 599")),
    above: Some(("bad_status", "a status is a number from 100 to 599")),
};

pub(crate) static STATUS_RANGE: Object = Object {
    noun: "a status range",
    title: "status_range",
    doc: "Statuses as Envoy writes them: `end` does not count, {start: 200, end: 300} is 200 to 299.",
    keys: &[
        Key {
            name: "start",
            doc: "The first status that counts.",
            kind: Kind::Integer(STATUS),
            need: Required("the first status that counts"),
            example: "200",
        },
        Key {
            name: "end",
            doc: "The first status that does not count any more.",
            kind: Kind::Integer(Integer { min: 101, max: 600, ..STATUS }),
            need: Required("the first status that does not count any more"),
            example: "300",
        },
    ],
    choices: &[],
    later: &[],
};
