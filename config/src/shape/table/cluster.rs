//! Clusters.

use crate::shape::Need::{Default, Required};
use crate::shape::{Integer, Key, Kind, List, Object};

use super::protocols::{HTTP_VERSION, PROXY_OUT};
use super::tls::{CLIENT_TLS, TLS_WORD};
use super::{
    BALANCE, BREAKER, CONNECT, ENDPOINTS, HASH, HEALTH_CHECK, OFF, ON_OFF, OUTLIER, PANIC, PANIC_MODE, POOL, RESOLVE,
    RETRY_BUDGET, SLOW_START, STICKY, ZONE_AWARE, ZONE_LIST, rules::*,
};

pub(crate) static CLUSTER: Object = Object {
    noun: "a cluster",
    title: "cluster",
    doc: "A named set of endpoints with one policy.",
    keys: &[
        Key {
            name: "name",
            doc: "Its name, unique among clusters. With an address it is the identity of an endpoint: a new name forgets health and counts.",
            kind: Kind::Text(&NAME),
            need: Required("a unique name, as in `name: orders-v1`"),
            example: "orders-v1",
        },
        Key {
            name: "balance",
            doc: "How an endpoint is picked for a request.",
            kind: Kind::Word(&BALANCE),
            need: Default("round_robin"),
            example: "least_request",
        },
        Key {
            name: "hash",
            doc: "What ring_hash and maglev go by, and how large their tables are.",
            kind: Kind::Object(&HASH),
            need: Default("{}"),
            example: "{key: [{header: x-user-id}, source_address]}",
        },
        Key {
            name: "sticky",
            doc: "A cookie that keeps a session on its endpoint, whatever the policy.",
            kind: Kind::Any(&[Kind::Word(&OFF), Kind::Object(&STICKY)]),
            need: Default("off"),
            example: "{cookie: weir-sticky, ttl: 1h}",
        },
        Key {
            name: "endpoints",
            doc: "The endpoints: addresses by zone, or a plain list of them. Names and files are looked at again and again.",
            kind: Kind::Any(&[Kind::Map(&ZONE, &ZONE_LIST), Kind::List(&ENDPOINTS)]),
            need: Required("as in `endpoints: {az-a: [\"10.0.1.11:8080\"]}`"),
            example: "{az-a: [\"10.0.1.11:8080\"], az-b: [{address: \"10.0.2.11:8080\", weight: 2}]}",
        },
        Key {
            name: "resolve",
            doc: "How names are resolved, and how long what was found is believed.",
            kind: Kind::Object(&RESOLVE),
            need: Default("{}"),
            example: "{servers: [10.0.0.2], max_stale: 10m}",
        },
        Key {
            name: "health_checks",
            doc: "Active checks of each endpoint; all must pass. Without any, endpoints count as healthy until traffic says otherwise.",
            kind: Kind::List(&HEALTH_CHECKS),
            need: Default("[]"),
            example: "[{http_health_check: {path: /healthz}}]",
        },
        Key {
            name: "outlier_detection",
            doc: "What live traffic has to show for an endpoint to be taken out; `off` takes nobody out.",
            kind: Kind::Any(&[Kind::Word(&OFF), Kind::Object(&OUTLIER)]),
            need: Default("{}"),
            example: "{consecutive_5xx: 5, failure_percentage: {threshold: 30, window: 5m, minimum_requests: 50}}",
        },
        Key {
            name: "circuit_breaker",
            doc: "How much the cluster and each endpoint is given at once, and when the cluster is given nothing.",
            kind: Kind::Object(&BREAKER),
            need: Default("{}"),
            example: "{max_requests: 1000, per_endpoint: {max_requests: 100}}",
        },
        Key {
            name: "retry_budget",
            doc: "How many retries all routes to this cluster may make together, relative to its requests.",
            kind: Kind::Object(&RETRY_BUDGET),
            need: Default("{}"),
            example: "{concurrent_percent: 20, percent: 10}",
        },
        Key {
            name: "panic",
            doc: "What is done when too few endpoints are left; a word is short for `{mode: WORD}`.",
            kind: Kind::Any(&[Kind::Word(&PANIC_MODE), Kind::Object(&PANIC)]),
            need: Default("least_bad"),
            example: "{mode: all_hosts, threshold: 50}",
        },
        Key {
            name: "zone_aware",
            doc: "Whether the zone this instance stands in is preferred, as far as it has the capacity.",
            kind: Kind::Any(&[Kind::Word(&ON_OFF), Kind::Object(&ZONE_AWARE)]),
            need: Default("on"),
            example: "{min_endpoints: 3}",
        },
        Key {
            name: "overprovisioning",
            doc: "A priority passes traffic on once fewer than 100 / this of it is healthy, in per cent: 140 keeps all down to 72 %.",
            kind: Kind::Integer(Integer {
                min: 100,
                max: 10_000,
                below: Some((
                    "overprovisioning_too_small",
                    "overprovisioning is at least 100 (per cent): with less, a healthy priority would pass traffic on",
                )),
                above: None,
            }),
            need: Default("140"),
            example: "140",
        },
        Key {
            name: "connect",
            doc: "How connections to endpoints are opened.",
            kind: Kind::Object(&CONNECT),
            need: Default("{}"),
            example: "{timeout: 1s}",
        },
        Key {
            name: "pool",
            doc: "How idle connections to endpoints are kept, by each worker for itself.",
            kind: Kind::Object(&POOL),
            need: Default("{}"),
            example: "{idle_timeout: 30s}",
        },
        Key {
            name: "slow_start",
            doc: "How the share of a new or returning endpoint rises; a duration is short for `{window: DURATION}`, 0s or `off` gives it all at once.",
            kind: Kind::Any(&[Kind::Word(&OFF), Kind::Duration { zero: true }, Kind::Object(&SLOW_START)]),
            need: Default("30s"),
            example: "{window: 60s, aggression: 1.5}",
        },
        Key {
            name: "protocol",
            doc: "Which HTTP the endpoints speak.",
            kind: Kind::Word(&HTTP_VERSION),
            need: Default("h1"),
            example: "h2",
        },
        Key {
            name: "tls",
            doc: "TLS to the endpoints, in probes too; `on` is all defaults: verified by the system's authorities.",
            kind: Kind::Any(&[Kind::Word(&TLS_WORD), Kind::Object(&CLIENT_TLS)]),
            need: Default("off"),
            example: "{server_name: orders.internal, ca: ca.pem}",
        },
        Key {
            name: "proxy_protocol",
            doc: "Which PROXY protocol is sent before the first byte, in probes too.",
            kind: Kind::Word(&PROXY_OUT),
            need: Default("off"),
            example: "v2",
        },
    ],
    choices: &[],
    later: &[],
};

static HEALTH_CHECKS: List = List { of: Kind::Object(&HEALTH_CHECK), or_one: false, empty: None };
