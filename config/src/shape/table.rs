//! The table itself, top-down as one reads a file.

mod actions;
mod admin;
mod balancing;
mod cluster;
mod dial;
mod dialogue;
mod endpoints;
mod health;
mod listener;
mod protocols;
mod release;
mod resilience;
mod retry;
mod rollout;
mod route;
mod rules;
mod tls;
mod tracing;
mod trust;

use super::Need::{Default, Optional, Required};
use super::{Integer, Key, Kind, List, Number, Object, Words};

pub(crate) use actions::*;
pub(crate) use admin::*;
pub(crate) use balancing::*;
pub(crate) use cluster::*;
pub(crate) use dial::*;
pub(crate) use dialogue::*;
pub(crate) use endpoints::*;
pub(crate) use health::*;
pub(crate) use listener::*;
pub(crate) use protocols::*;
pub(crate) use release::*;
pub(crate) use resilience::*;
pub(crate) use retry::*;
pub(crate) use rollout::*;
pub(crate) use route::*;
pub(crate) use rules::*;
pub(crate) use tls::*;
pub(crate) use tracing::*;
pub(crate) use trust::*;

/// The whole file.
pub(crate) static CONFIG: Object = Object {
    noun: "a config",
    title: "config",
    doc: "The configuration of one Weir process.",
    keys: &[
        Key {
            name: "admin",
            doc: "The admin address: status page, metrics and API. An address is short for `{bind: ADDRESS}`; `off` serves none.",
            kind: Kind::Any(&[Kind::Text(&ADMIN_ADDRESS), Kind::Object(&ADMIN)]),
            need: Default("127.0.0.1:9900"),
            example: "127.0.0.1:9900",
        },
        Key {
            name: "zone",
            doc: "The availability zone this instance stands in; with it, endpoints of the same zone are preferred.",
            kind: Kind::Text(&NAME),
            need: Optional("not told"),
            example: "az-a",
        },
        Key {
            name: "workers",
            doc: "Worker threads, each with its own sockets and connections. Fixed for the life of the process.",
            kind: Kind::Integer(Integer { min: 1, max: 1024, ..Integer::ANY }),
            need: Optional("one per core"),
            example: "4",
        },
        Key {
            name: "max_concurrent_probes",
            doc: "Most health probes under way at once in this process; the rest wait for their turn.",
            kind: Kind::Integer(Integer { min: 1, max: 65_535, ..Integer::ANY }),
            need: Default("512"),
            example: "512",
        },
        Key {
            name: "shutdown",
            doc: "How the process ends on SIGTERM, and after an upgrade.",
            kind: Kind::Object(&SHUTDOWN),
            need: Default("{}"),
            example: "{delay: 5s, timeout: 60s}",
        },
        Key {
            name: "access_log",
            doc: "The access log, one line a request; a file name is short for `{path: FILE}`, `-` for standard output, `off` for none.",
            kind: Kind::Any(&[Kind::Text(&LOG_PATH), Kind::Object(&ACCESS_LOG)]),
            need: Default("off"),
            example: "/var/log/weir/access.log",
        },
        Key {
            name: "tracing",
            doc: "Traces of requests: trace ids are taken, made and passed on, and spans go where `otlp` says.",
            kind: Kind::Object(&TRACING),
            need: Optional("off"),
            example: "{otlp: {endpoint: \"http://127.0.0.1:4318/v1/traces\"}, ratio: 0.01}",
        },
        Key {
            name: "listeners",
            doc: "Where traffic comes in: addresses, and which routes lead from them to clusters.",
            kind: Kind::List(&LISTENERS),
            need: Required("a config has at least one listener"),
            example: "[{name: web, bind: \"0.0.0.0:8080\", cluster: shop}]",
        },
        Key {
            name: "clusters",
            doc: "Where traffic goes: named sets of endpoints, each with one policy.",
            kind: Kind::List(&CLUSTERS),
            need: Required("a config has at least one cluster"),
            example: "[{name: shop, endpoints: [\"10.0.1.11:8080\"]}]",
        },
        Key {
            name: "releases",
            doc: "Users divided between a stable cluster and canaries, by a hash of their id.",
            kind: Kind::List(&RELEASES),
            need: Default("[]"),
            example: "[{name: orders, key: {header: x-user-id}, stable: orders-v1, canaries: [{cluster: orders-v2, weight: 5}]}]",
        },
    ],
    choices: &[],
    later: &["resolvers"],
};

static LISTENERS: List = List {
    of: Kind::Object(&LISTENER),
    or_one: false,
    empty: Some(("no_listeners", "there is no listener, so no traffic could come in")),
};

static CLUSTERS: List = List {
    of: Kind::Object(&CLUSTER),
    or_one: false,
    empty: Some(("no_clusters", "there is no cluster, so traffic could go nowhere")),
};

pub(crate) static SHUTDOWN: Object = Object {
    noun: "a shutdown",
    title: "shutdown",
    doc: "How the process ends on SIGTERM.",
    keys: &[
        Key {
            name: "delay",
            doc: "How long readiness is false before accepting stops, so that others can look away.",
            kind: Kind::Duration { zero: true },
            need: Default("0s"),
            example: "5s",
        },
        Key {
            name: "timeout",
            doc: "How long requests under way may take to finish; then they are cut.",
            kind: Kind::Duration { zero: true },
            need: Default("60s"),
            example: "60s",
        },
        Key {
            name: "upgrade_timeout",
            doc: "The same after an upgrade: how long what lasts may go on in the old process.",
            kind: Kind::Duration { zero: true },
            need: Default("10m"),
            example: "1h",
        },
    ],
    choices: &[],
    later: &[],
};

pub(crate) static ACCESS_LOG: Object = Object {
    noun: "an access log",
    title: "access_log",
    doc: "One line a request. Refusals, failures and 5xx answers are always logged.",
    keys: &[
        Key {
            name: "path",
            doc: "The file, opened again on SIGUSR1; `-` is standard output.",
            kind: Kind::Text(&LOG_PATH),
            need: Required("a file name, or `-` for standard output"),
            example: "/var/log/weir/access.log",
        },
        Key {
            name: "format",
            doc: "The form of a line.",
            kind: Kind::Word(&LOG_FORMAT),
            need: Default("json"),
            example: "json",
        },
        Key {
            name: "sample",
            doc: "Share of successful requests that is logged, 0 to 1; refusals, failures and 5xx answers always are.",
            kind: Kind::Number(&SHARE),
            need: Default("1"),
            example: "0.1",
        },
    ],
    choices: &[],
    later: &["fields"],
};

static LOG_FORMAT: Words = Words {
    noun: "a log format",
    known: &[("json", "One JSON object a line."), ("text", "One line for human eyes.")],
    later: &[],
};

static SHARE: Number = Number {
    range: "from 0 to 1",
    min: 0.0,
    max: 1.0,
    without: (false, false),
    code: "share_out_of_range",
    share: true,
};

/// What switches something off.
static OFF: Words = Words { noun: "`off`", known: &[("off", "Not at all.")], later: &[] };

impl Integer {
    const ANY: Self = Self { min: 0, max: u64::MAX, below: None, above: None };
    /// A count of at least one.
    const COUNT: Self = Self { min: 1, max: u32::MAX as u64, ..Self::ANY };
    /// Per cent by which something varies.
    const JITTER: Self =
        Self { max: 50, above: Some(("jitter_too_large", "jitter is at most 50 (per cent)")), ..Self::ANY };
}
