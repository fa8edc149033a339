//! Who is let in, how often, and who says who somebody is.

use crate::shape::Need::{Default, Optional, Required};
use crate::shape::{Integer, Key, Kind, List, Object, Words};

use super::rules::*;

pub(crate) static PROXY_PROTOCOL: Object = Object {
    noun: "the PROXY protocol",
    title: "proxy_protocol",
    doc: "Who says, before the first byte of a connection, where it comes from; versions 1 and 2.",
    keys: &[
        Key {
            name: "mode",
            doc: "Whether a connection from those networks may begin without the header.",
            kind: Kind::Word(&PROXY_MODE),
            need: Default("required"),
            example: "optional",
        },
        Key {
            name: "trusted",
            doc: "Networks that are believed; everybody else's connections begin without it.",
            kind: Kind::List(&TRUSTED),
            need: Required("whose word is taken for it, as in `trusted: [10.0.0.0/8]`"),
            example: "[10.0.0.0/8]",
        },
    ],
    choices: &[],
    later: &[],
};

static PROXY_MODE: Words = Words {
    noun: "a mode",
    known: &[
        ("required", "A connection of theirs without it is closed."),
        ("optional", "A connection of theirs may begin without it."),
    ],
    later: &[],
};

static TRUSTED: List = List {
    of: Kind::Text(&NETWORK),
    or_one: true,
    empty: Some(("nobody_trusted", "nobody is trusted, so nobody could say where a connection comes from")),
};

pub(super) static NETWORKS: List = List { of: Kind::Text(&NETWORK), or_one: true, empty: None };

/// An empty list would read as "nobody" and could mean "everybody".
pub(super) static ALLOWED: List = List {
    of: Kind::Text(&NETWORK),
    or_one: true,
    empty: Some(("nobody_allowed", "nobody is in this list; leave `allow` out to let everybody in")),
};

pub(crate) static RATE_LIMIT: Object = Object {
    noun: "a rate limit",
    title: "rate_limit",
    doc: "A token bucket for each key; what is over it gets 429 with Retry-After.",
    keys: &[
        Key {
            name: "requests",
            doc: "So many requests (of tcp: connections, of udp: flows) in the time `per`, on average.",
            kind: Kind::Integer(Integer {
                min: 1,
                max: u32::MAX as u64,
                below: Some(("rate_of_zero", "a rate of 0 would let nothing through")),
                above: None,
            }),
            need: Required("how many are let through, as in `requests: 100`"),
            example: "100",
        },
        Key {
            name: "per",
            doc: "The time in which `requests` are let through.",
            kind: Kind::Duration { zero: false },
            need: Default("1s"),
            example: "1s",
        },
        Key {
            name: "burst",
            doc: "How many are let through at once after a pause.",
            kind: Kind::Integer(Integer {
                min: 1,
                max: u32::MAX as u64,
                below: Some(("rate_of_zero", "a burst of 0 would let nothing through")),
                above: None,
            }),
            need: Optional("`requests`"),
            example: "200",
        },
        Key {
            name: "key",
            doc: "What has a bucket of its own: a client address (of IPv6 a /64), a value of a header, or all together.",
            kind: Kind::Any(&[Kind::Word(&RATE_KEY_WORD), Kind::Object(&RATE_KEY)]),
            need: Default("client_address"),
            example: "{header: x-api-key}",
        },
        Key {
            name: "max_keys",
            doc: "Most buckets that are kept at once; with more keys, some share one.",
            kind: Kind::Integer(Integer { min: 1, max: 10_000_000, ..Integer::ANY }),
            need: Default("100000"),
            example: "100000",
        },
    ],
    choices: &[],
    later: &[],
};

static RATE_KEY_WORD: Words = Words {
    noun: "a key of a rate limit",
    known: &[("client_address", "Each client address; of IPv6, each /64."), ("everybody", "All together.")],
    later: &[],
};

pub(crate) static RATE_KEY: Object = Object {
    noun: "a key of a rate limit",
    title: "rate_key",
    doc: "What has a bucket of its own.",
    keys: &[Key {
        name: "header",
        doc: "A bucket for each value of this header; requests without it share one.",
        kind: Kind::Text(&HEADER),
        need: Required("as in `{header: x-api-key}`"),
        example: "x-api-key",
    }],
    choices: &[],
    later: &["cookie", "query"],
};
