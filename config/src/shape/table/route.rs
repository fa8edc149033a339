//! Routes, and what they match.

use crate::shape::Need::{Default, Optional, Required};
use crate::shape::{Choice, Key, Kind, List, Object};

use super::actions::{REDIRECT, REDIRECT_WORD, RESPOND, REWRITE, ROUTE_HEADERS, UPGRADES};
use super::retry::{ATTEMPTS, RETRY};
use super::trust::{ALLOWED, NETWORKS, RATE_LIMIT};
use super::{OFF, rules::*};

pub(crate) static ROUTE: Object = Object {
    noun: "a route",
    title: "route",
    doc: "A rule that sends matching requests somewhere.",
    keys: &[
        Key {
            name: "name",
            doc: "Its name, unique in its listener; it stands in metrics, the access log and `weir explain`.",
            kind: Kind::Text(&NAME),
            need: Optional("the route is known by its place"),
            example: "orders",
        },
        Key {
            name: "match",
            doc: "Which requests it takes: all conditions must hold; without any, it takes all.",
            kind: Kind::Object(&MATCH),
            need: Default("{}"),
            example: "{host: shop.example, path_prefix: /orders}",
        },
        Key {
            name: "cluster",
            doc: "The cluster that requests are sent to.",
            kind: Kind::Text(&NAME),
            need: Optional("`release`, `redirect` or `respond` says what is done"),
            example: "orders",
        },
        Key {
            name: "release",
            doc: "The release that requests are given to; it divides users between clusters.",
            kind: Kind::Text(&NAME),
            need: Optional("`cluster`, `redirect` or `respond` says what is done"),
            example: "orders",
        },
        Key {
            name: "redirect",
            doc: "Where clients are sent instead; `https` is short for `{scheme: https}`.",
            kind: Kind::Any(&[Kind::Word(&REDIRECT_WORD), Kind::Object(&REDIRECT)]),
            need: Optional("the request is sent on"),
            example: "{scheme: https, status: 308}",
        },
        Key {
            name: "respond",
            doc: "The answer that clients get at once; no endpoint is asked.",
            kind: Kind::Object(&RESPOND),
            need: Optional("the request is sent on"),
            example: "{status: 404, body: \"not here\"}",
        },
        Key {
            name: "timeout",
            doc: "From the end of the request to the head of the answer, retries included; then the client gets 504.",
            kind: Kind::Duration { zero: false },
            need: Default("15s"),
            example: "15s",
        },
        Key {
            name: "retry",
            doc: "Whether and when a failed attempt is made again, at another endpoint; a number is the most attempts, the first included.",
            kind: Kind::Any(&[Kind::Word(&OFF), Kind::Integer(ATTEMPTS), Kind::Object(&RETRY)]),
            need: Default("{}"),
            example: "{attempts: 3, on: [connect-failure, 503]}",
        },
        Key {
            name: "body_bytes",
            doc: "Largest body of a request, in place of the listener's limit; a larger one gets 413.",
            kind: Kind::Size { zero: true, max: u64::MAX },
            need: Optional("the listener's limit"),
            example: "100MiB",
        },
        Key {
            name: "rewrite",
            doc: "How the request's path and Host are changed before an endpoint gets it.",
            kind: Kind::Object(&REWRITE),
            need: Default("{}"),
            example: "{path_prefix: /v1, host: api.internal}",
        },
        Key {
            name: "headers",
            doc: "How header fields of request and answer are changed.",
            kind: Kind::Object(&ROUTE_HEADERS),
            need: Default("{}"),
            example: "{request: {set: {x-client: \"{client_address}\"}}}",
        },
        Key {
            name: "upgrade",
            doc: "Protocols that a request may change to by Upgrade; `connect` lets CONNECT in, `[]` nothing.",
            kind: Kind::List(&UPGRADES),
            need: Default("[websocket]"),
            example: "[websocket, connect]",
        },
        Key {
            name: "allow",
            doc: "Networks whose clients alone are let in, of those whom the listener lets in.",
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
            doc: "How many requests of this route are taken in a time, besides what the listener's own limit says.",
            kind: Kind::Object(&RATE_LIMIT),
            need: Optional("no limit"),
            example: "{requests: 10, key: {header: x-api-key}}",
        },
    ],
    choices: &[Choice {
        of: &["cluster", "release", "redirect", "respond"],
        needed: Some(("route_without_target", "say where its requests go, as in `cluster: orders`")),
        both: "two_targets",
    }],
    later: &[],
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
            doc: "Exactly this path, without the query; compared as it was sent.",
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
            doc: "One of these methods, in upper case as they are sent.",
            kind: Kind::List(&METHODS),
            need: Optional("every method"),
            example: "[GET, HEAD]",
        },
        Key {
            name: "header",
            doc: "All of these header fields: a value that must be there as it is, or {present: true|false}.",
            kind: Kind::Map(&HEADER_NAME, &HEADER_TEST),
            need: Default("{}"),
            example: "{x-canary: \"1\", x-internal: {present: false}}",
        },
        Key {
            name: "sni",
            doc: "One of these names asked for by TLS clients; for tcp without `tls`, whose sessions are passed on unopened.",
            kind: Kind::List(&SNI),
            need: Optional("every name, and none"),
            example: "[db.example, \"*.db.example\"]",
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

static SNI: List = List {
    of: Kind::Text(&SNI_PATTERN),
    or_one: true,
    empty: Some(("empty_match", "no name is in this list, so the route could take nothing")),
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
        doc: "true: the header must be there; false: it must not.",
        kind: Kind::Bool,
        need: Required("as in `{present: true}`"),
        example: "true",
    }],
    choices: &[],
    later: &["prefix", "regex"],
};
