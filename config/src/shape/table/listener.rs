//! Listeners and routes.

use crate::shape::Need::{Default, Optional, Required};
use crate::shape::{Choice, Integer, Key, Kind, List, Object, Words};

use super::retry::{ATTEMPTS, RETRY};
use super::{OFF, SHARE, rules::*};

pub(crate) static LISTENER: Object = Object {
    noun: "a listener",
    title: "listener",
    doc: "An address we accept on, and what is done with what comes in.",
    keys: &[
        Key {
            name: "name",
            doc: "Unique among listeners; for metrics and logs.",
            kind: Kind::Text(&NAME),
            need: Required("a unique name, as in `name: web`"),
            example: "web",
        },
        Key {
            name: "bind",
            doc: "IP:port or unix:PATH, or a list of them. Port 0 lets the system choose.",
            kind: Kind::List(&BIND),
            need: Required("where to listen, as in `bind: 0.0.0.0:8080`"),
            example: "0.0.0.0:8080",
        },
        Key {
            name: "protocol",
            doc: "What is spoken: http, or tcp for bytes as they are.",
            kind: Kind::Word(&PROTOCOL),
            need: Default("http"),
            example: "http",
        },
        Key {
            name: "routes",
            doc: "The first that matches, in file order, takes the request.",
            kind: Kind::List(&ROUTES),
            need: Optional("everything goes to `cluster` or `release`"),
            example: "[{match: {path_prefix: /orders}, cluster: orders}]",
        },
        Key {
            name: "cluster",
            doc: "Short for one route that takes everything.",
            kind: Kind::Text(&NAME),
            need: Optional("`routes` decide"),
            example: "shop",
        },
        Key {
            name: "release",
            doc: "Short for one route that gives everything to this release.",
            kind: Kind::Text(&NAME),
            need: Optional("`routes` decide"),
            example: "orders",
        },
        Key {
            name: "timeouts",
            doc: "How long we wait for clients.",
            kind: Kind::Object(&LISTENER_TIMEOUTS),
            need: Default("{}"),
            example: "{header: 10s, idle: 60s}",
        },
        Key {
            name: "limits",
            doc: "How much we take from clients.",
            kind: Kind::Object(&LIMITS),
            need: Default("{}"),
            example: "{connections: 10000, body_bytes: 10MiB}",
        },
        Key {
            name: "headers",
            doc: "Which headers we add.",
            kind: Kind::Object(&HEADERS),
            need: Default("{}"),
            example: "{forwarded: true}",
        },
        Key {
            name: "trusted_proxies",
            doc: "Networks whose X-Forwarded-*, Forwarded and X-Request-Id are believed.",
            kind: Kind::List(&NETWORKS),
            need: Default("[]"),
            example: "[10.0.0.0/8, 192.0.2.7]",
        },
    ],
    choices: &[Choice {
        of: &["routes", "cluster", "release"],
        needed: Some(("listener_without_routes", "give `cluster: NAME` to send everything there, or `routes`")),
        both: "routes_and_cluster",
    }],
    later: &["tls", "proxy_protocol"],
};

static BIND: List = List {
    of: Kind::Text(&BIND_ADDRESS),
    or_one: true,
    empty: Some(("no_address", "a listener needs at least one address")),
};

static ROUTES: List = List {
    of: Kind::Object(&ROUTE),
    or_one: false,
    empty: Some(("no_routes", "a listener without routes would refuse every request")),
};

static NETWORKS: List = List { of: Kind::Text(&NETWORK), or_one: true, empty: None };

static PROTOCOL: Words = Words {
    noun: "a protocol",
    known: &[("http", "HTTP/1.0 and HTTP/1.1."), ("tcp", "Bytes as they are, in both directions.")],
    later: &["udp", "https", "http2"],
};

pub(crate) static LISTENER_TIMEOUTS: Object = Object {
    noun: "listener timeouts",
    title: "listener_timeouts",
    doc: "How long a listener waits for its clients.",
    keys: &[
        Key {
            name: "header",
            doc: "From the first byte of a request to the end of its head; then 408.",
            kind: Kind::Duration { zero: false },
            need: Default("10s"),
            example: "10s",
        },
        Key {
            name: "idle",
            doc: "Between two requests of a kept-open connection.",
            kind: Kind::Duration { zero: false },
            need: Default("60s"),
            example: "60s",
        },
        Key {
            name: "stream_idle",
            doc: "Without a byte in either direction while a body is under way; for tcp: of a session, default 1h.",
            kind: Kind::Duration { zero: false },
            need: Default("5m"),
            example: "5m",
        },
    ],
    choices: &[],
    later: &[],
};

pub(crate) static LIMITS: Object = Object {
    noun: "limits",
    title: "limits",
    doc: "How much a listener takes from its clients.",
    keys: &[
        Key {
            name: "connections",
            doc: "Open client connections over all workers; the rest are closed at once.",
            kind: Kind::Integer(Integer { min: 1, max: u32::MAX as u64, ..Integer::ANY }),
            need: Optional("no limit"),
            example: "10000",
        },
        Key {
            name: "header_bytes",
            doc: "A request's whole head; then 431.",
            kind: Kind::Size { zero: false, max: 1 << 20 },
            need: Default("32KiB"),
            example: "32KiB",
        },
        Key {
            name: "header_count",
            doc: "Header fields in a request; then 431.",
            kind: Kind::Integer(Integer { min: 1, max: 256, ..Integer::ANY }),
            need: Default("100"),
            example: "100",
        },
        Key {
            name: "uri_bytes",
            doc: "The request target; then 414.",
            kind: Kind::Size { zero: false, max: 1 << 20 },
            need: Default("8KiB"),
            example: "8KiB",
        },
        Key {
            name: "body_bytes",
            doc: "A request's body; then 413.",
            kind: Kind::Size { zero: true, max: u64::MAX },
            need: Optional("no limit"),
            example: "10MiB",
        },
        Key {
            name: "body_min_rate",
            doc: "Least average rate of a request body in bytes a second, once it has taken 10 s; then 408. 0 is off.",
            kind: Kind::Size { zero: true, max: u32::MAX as u64 },
            need: Default("1KiB"),
            example: "1KiB",
        },
    ],
    choices: &[],
    later: &[],
};

pub(crate) static HEADERS: Object = Object {
    noun: "a header policy",
    title: "headers",
    doc: "Which headers a listener adds.",
    keys: &[
        Key {
            name: "x_forwarded",
            doc: "X-Forwarded-For, -Proto and -Host to the endpoint.",
            kind: Kind::Bool,
            need: Default("true"),
            example: "true",
        },
        Key {
            name: "forwarded",
            doc: "Forwarded (RFC 7239) to the endpoint.",
            kind: Kind::Bool,
            need: Default("false"),
            example: "false",
        },
        Key {
            name: "request_id",
            doc: "X-Request-Id to the endpoint and in the answer.",
            kind: Kind::Bool,
            need: Default("true"),
            example: "true",
        },
        Key {
            name: "reason",
            doc: "X-Weir-Reason on answers we make ourselves.",
            kind: Kind::Bool,
            need: Default("true"),
            example: "true",
        },
        Key {
            name: "deadline",
            doc: "X-Request-Deadline-Ms to the endpoint: how many milliseconds are left for this attempt.",
            kind: Kind::Bool,
            need: Default("true"),
            example: "true",
        },
        Key {
            name: "decision",
            doc: "X-Weir-Decision in the answer, for this share of requests: `weir explain` tells the way of each.",
            kind: Kind::Number(&SHARE),
            need: Default("0"),
            example: "0.01",
        },
    ],
    choices: &[],
    later: &["add", "set", "remove"],
};

pub(crate) static ROUTE: Object = Object {
    noun: "a route",
    title: "route",
    doc: "A rule that sends matching requests somewhere.",
    keys: &[
        Key {
            name: "name",
            doc: "For metrics and explain; unique in its listener.",
            kind: Kind::Text(&NAME),
            need: Optional("the route is known by its place"),
            example: "orders",
        },
        Key {
            name: "match",
            doc: "What it takes; all conditions must hold.",
            kind: Kind::Object(&MATCH),
            need: Default("{}"),
            example: "{host: shop.example, path_prefix: /orders}",
        },
        Key {
            name: "cluster",
            doc: "Where it sends that: the name of a cluster.",
            kind: Kind::Text(&NAME),
            need: Optional("`release` says where"),
            example: "orders",
        },
        Key {
            name: "release",
            doc: "Or the name of a release, which divides users between clusters.",
            kind: Kind::Text(&NAME),
            need: Optional("`cluster` says where"),
            example: "orders",
        },
        Key {
            name: "timeout",
            doc: "From the end of the request to the head of the answer, retries included; then 504.",
            kind: Kind::Duration { zero: false },
            need: Default("15s"),
            example: "15s",
        },
        Key {
            name: "retry",
            doc: "Whether and when a failed attempt is made again, at another endpoint; a number is the most attempts.",
            kind: Kind::Any(&[Kind::Word(&OFF), Kind::Integer(ATTEMPTS), Kind::Object(&RETRY)]),
            need: Default("{}"),
            example: "{attempts: 3, on: [connect-failure, 503]}",
        },
        Key {
            name: "body_bytes",
            doc: "A request's body, instead of the listener's limit.",
            kind: Kind::Size { zero: true, max: u64::MAX },
            need: Optional("the listener's limit"),
            example: "100MiB",
        },
    ],
    choices: &[Choice {
        of: &["cluster", "release"],
        needed: Some(("route_without_target", "say where its requests go, as in `cluster: orders`")),
        both: "two_targets",
    }],
    later: &["redirect", "rewrite"],
};

pub(crate) static MATCH: Object = Object {
    noun: "a match",
    title: "match",
    doc: "What a route takes; an empty one takes everything.",
    keys: &[
        Key {
            name: "host",
            doc: "One of these hosts, without port; *.example.com is every name below example.com.",
            kind: Kind::List(&HOSTS),
            need: Optional("every host"),
            example: "[shop.example, \"*.shop.example\"]",
        },
        Key {
            name: "path",
            doc: "Exactly this path, without the query.",
            kind: Kind::Text(&PATH),
            need: Optional("every path"),
            example: "/favicon.ico",
        },
        Key {
            name: "path_prefix",
            doc: "This path and what lies under it: /a (and /a/) takes /a, /a/ and /a/b, not /ab.",
            kind: Kind::Text(&PATH),
            need: Optional("every path"),
            example: "/orders",
        },
        Key {
            name: "method",
            doc: "One of these methods.",
            kind: Kind::List(&METHODS),
            need: Optional("every method"),
            example: "[GET, HEAD]",
        },
        Key {
            name: "header",
            doc: "All of these: a value that must be there as it is, or {present: true|false}.",
            kind: Kind::Map(&HEADER_NAME, &HEADER_TEST),
            need: Default("{}"),
            example: "{x-canary: \"1\", x-internal: {present: false}}",
        },
    ],
    choices: &[Choice { of: &["path", "path_prefix"], needed: None, both: "path_and_prefix" }],
    later: &["path_regex", "query", "cookie"],
};

static HOSTS: List = List {
    of: Kind::Text(&HOST_PATTERN),
    or_one: true,
    empty: Some(("empty_match", "no host is in this list, so the route could take nothing")),
};

static METHODS: List = List {
    of: Kind::Text(&METHOD),
    or_one: true,
    empty: Some(("empty_match", "no method is in this list, so the route could take nothing")),
};

pub(super) static HEADER_TEST: Kind = Kind::Any(&[Kind::Text(&HEADER_VALUE), Kind::Object(&HEADER_PRESENCE)]);

pub(crate) static HEADER_PRESENCE: Object = Object {
    noun: "a header test",
    title: "header_test",
    doc: "Whether a header is there, whatever its value.",
    keys: &[Key {
        name: "present",
        doc: "true: it must be there; false: it must not.",
        kind: Kind::Bool,
        need: Required("as in `{present: true}`"),
        example: "true",
    }],
    choices: &[],
    later: &["prefix", "regex"],
};
