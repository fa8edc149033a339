//! Listeners.

use crate::shape::Need::{Default, Optional, Required};
use crate::shape::{Choice, Integer, Key, Kind, List, Object};

use super::protocols::{HTTP2, ON_SICK, PROTOCOL, UDP};
use super::route::ROUTE;
use super::tls::SERVER_TLS;
use super::trust::{ALLOWED, NETWORKS, PROXY_PROTOCOL, RATE_LIMIT};
use super::{SHARE, rules::*};

pub(crate) static LISTENER: Object = Object {
    noun: "a listener",
    title: "listener",
    doc: "An address we accept on, and what is done with what comes in.",
    keys: &[
        Key {
            name: "name",
            doc: "Its name, unique among listeners; it stands in metrics, logs and events.",
            kind: Kind::Text(&NAME),
            need: Required("a unique name, as in `name: web`"),
            example: "web",
        },
        Key {
            name: "bind",
            doc: "Addresses that are listened on: IP:port or unix:PATH, one or a list. Port 0 lets the system choose.",
            kind: Kind::List(&BIND),
            need: Required("where to listen, as in `bind: 0.0.0.0:8080`"),
            example: "0.0.0.0:8080",
        },
        Key {
            name: "protocol",
            doc: "What is spoken with clients.",
            kind: Kind::Word(&PROTOCOL),
            need: Default("http"),
            example: "http",
        },
        Key {
            name: "routes",
            doc: "Rules for requests: the first that matches, in the order of the file, takes the request.",
            kind: Kind::List(&ROUTES),
            need: Optional("everything goes to `cluster` or `release`"),
            example: "[{match: {path_prefix: /orders}, cluster: orders}]",
        },
        Key {
            name: "cluster",
            doc: "Short for one route that sends everything to this cluster.",
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
            doc: "How long clients may take, and connections may rest.",
            kind: Kind::Object(&LISTENER_TIMEOUTS),
            need: Default("{}"),
            example: "{header: 10s, idle: 60s}",
        },
        Key {
            name: "limits",
            doc: "How much is taken from clients: connections, and bytes of requests.",
            kind: Kind::Object(&LIMITS),
            need: Default("{}"),
            example: "{connections: 10000, body_bytes: 10MiB}",
        },
        Key {
            name: "headers",
            doc: "Which header fields we add to requests and answers.",
            kind: Kind::Object(&HEADERS),
            need: Default("{}"),
            example: "{forwarded: true}",
        },
        Key {
            name: "trusted_proxies",
            doc: "Networks whose `X-Forwarded-*`, `Forwarded`, `X-Request-Id` and `X-Request-Deadline-Ms` are believed; of everybody else they are dropped.",
            kind: Kind::List(&NETWORKS),
            need: Default("[]"),
            example: "[10.0.0.0/8, 192.0.2.7]",
        },
        Key {
            name: "tls",
            doc: "TLS with clients; `{cert: FILE, key: FILE}` is enough. Files are read again when they change.",
            kind: Kind::Object(&SERVER_TLS),
            need: Optional("no TLS"),
            example: "{cert: shop.pem, key: shop.key}",
        },
        Key {
            name: "proxy_protocol",
            doc: "The PROXY protocol: who says, before the first byte of a connection, where it comes from.",
            kind: Kind::Object(&PROXY_PROTOCOL),
            need: Optional("nobody"),
            example: "{trusted: [10.0.0.0/8]}",
        },
        Key {
            name: "allow",
            doc: "Networks whose clients alone are let in; others get 403, or their connection is closed.",
            kind: Kind::List(&ALLOWED),
            need: Optional("everybody"),
            example: "[10.0.0.0/8]",
        },
        Key {
            name: "deny",
            doc: "Networks whose clients are not let in, whatever `allow` says.",
            kind: Kind::List(&NETWORKS),
            need: Default("[]"),
            example: "[10.6.6.6]",
        },
        Key {
            name: "rate_limit",
            doc: "How many requests (of tcp: connections, of udp: flows) are taken in a time; what is over it gets 429.",
            kind: Kind::Object(&RATE_LIMIT),
            need: Optional("no limit"),
            example: "{requests: 100, burst: 200}",
        },
        Key {
            name: "http2",
            doc: "How HTTP/2 is spoken with clients.",
            kind: Kind::Object(&HTTP2),
            need: Default("{}"),
            example: "{max_concurrent_streams: 100}",
        },
        Key {
            name: "on_unhealthy",
            doc: "What becomes of open tcp sessions and udp flows whose endpoint becomes unhealthy.",
            kind: Kind::Word(&ON_SICK),
            need: Default("keep"),
            example: "close",
        },
        Key {
            name: "udp",
            doc: "How flows of datagrams are kept.",
            kind: Kind::Object(&UDP),
            need: Default("{}"),
            example: "{idle: 10s, responses: 1}",
        },
    ],
    choices: &[Choice {
        of: &["routes", "cluster", "release"],
        needed: Some(("listener_without_routes", "give `cluster: NAME` to send everything there, or `routes`")),
        both: "routes_and_cluster",
    }],
    later: &[],
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

pub(crate) static LISTENER_TIMEOUTS: Object = Object {
    noun: "listener timeouts",
    title: "listener_timeouts",
    doc: "How long a listener waits for its clients.",
    keys: &[
        Key {
            name: "header",
            doc: "From the first byte of a request to the end of its head, then 408; also for the PROXY header and for the first bytes of a TLS client.",
            kind: Kind::Duration { zero: false },
            need: Default("10s"),
            example: "10s",
        },
        Key {
            name: "idle",
            doc: "How long a kept-open connection may rest between two requests; then it is closed.",
            kind: Kind::Duration { zero: false },
            need: Default("60s"),
            example: "60s",
        },
        Key {
            name: "stream_idle",
            doc: "How long no byte may move in either direction while a body is under way; then it is cut. Of tcp: the same of a session, with a default of 1h.",
            kind: Kind::Duration { zero: false },
            need: Default("5m"),
            example: "5m",
        },
        Key {
            name: "tunnel_idle",
            doc: "How long no byte may move in either direction of a tunnel (a WebSocket, or what CONNECT opened); then it is closed.",
            kind: Kind::Duration { zero: false },
            need: Default("1h"),
            example: "1h",
        },
        Key {
            name: "max_session",
            doc: "How long a tcp session or a tunnel (WebSocket, CONNECT) may last, whatever it does.",
            kind: Kind::Duration { zero: false },
            need: Optional("no limit"),
            example: "12h",
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
            doc: "Most open client connections, over all workers; further ones are closed at once.",
            kind: Kind::Integer(Integer { min: 1, max: u32::MAX as u64, ..Integer::ANY }),
            need: Optional("no limit"),
            example: "10000",
        },
        Key {
            name: "connections_per_client",
            doc: "Most open connections of one client address, over all workers; further ones are closed at once.",
            kind: Kind::Integer(Integer { min: 1, max: u32::MAX as u64, ..Integer::ANY }),
            need: Optional("no limit"),
            example: "100",
        },
        Key {
            name: "header_bytes",
            doc: "Largest head of a request, request line included; a larger one gets 431.",
            kind: Kind::Size { zero: false, max: 1 << 20 },
            need: Default("32KiB"),
            example: "32KiB",
        },
        Key {
            name: "header_count",
            doc: "Most header fields of a request; with more it gets 431.",
            kind: Kind::Integer(Integer { min: 1, max: 256, ..Integer::ANY }),
            need: Default("100"),
            example: "100",
        },
        Key {
            name: "uri_bytes",
            doc: "Longest request target, in bytes; a longer one gets 414.",
            kind: Kind::Size { zero: false, max: 1 << 20 },
            need: Default("8KiB"),
            example: "8KiB",
        },
        Key {
            name: "body_bytes",
            doc: "Largest body of a request; a larger one gets 413.",
            kind: Kind::Size { zero: true, max: u64::MAX },
            need: Optional("no limit"),
            example: "10MiB",
        },
        Key {
            name: "body_min_rate",
            doc: "Least average rate of a request's body in bytes a second, once it has taken 10 s; a slower one gets 408. 0 is off.",
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
            doc: "Whether endpoints get X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host.",
            kind: Kind::Bool,
            need: Default("true"),
            example: "true",
        },
        Key {
            name: "forwarded",
            doc: "Whether endpoints get Forwarded (RFC 7239).",
            kind: Kind::Bool,
            need: Default("false"),
            example: "false",
        },
        Key {
            name: "request_id",
            doc: "Whether X-Request-Id goes to endpoints and stands in answers; one is made where a client that is trusted brings none.",
            kind: Kind::Bool,
            need: Default("true"),
            example: "true",
        },
        Key {
            name: "reason",
            doc: "Whether answers that we make ourselves say why, in X-Weir-Reason.",
            kind: Kind::Bool,
            need: Default("true"),
            example: "true",
        },
        Key {
            name: "deadline",
            doc: "Whether endpoints get X-Request-Deadline-Ms: how many milliseconds are left for this attempt.",
            kind: Kind::Bool,
            need: Default("true"),
            example: "true",
        },
        Key {
            name: "decision",
            doc: "The share of requests, 0 to 1, whose answers have X-Weir-Decision: `weir explain` tells the way of each of them.",
            kind: Kind::Number(&SHARE),
            need: Default("0"),
            example: "0.01",
        },
    ],
    choices: &[],
    later: &["add", "set", "remove"],
};
