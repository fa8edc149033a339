//! How an endpoint is picked, and what is done when few are left.

use crate::shape::Need::{Default, Optional};
use crate::shape::{Choice, Integer, Key, Kind, List, Number, Object, Words};

use super::{OFF, rules::*};

pub(super) static BALANCE: Words = Words {
    noun: "a balance policy",
    known: &[
        ("round_robin", "Smooth weighted round robin."),
        ("least_request", "The less loaded of two draws by weight."),
        ("random", "A draw by weight."),
        ("ewma", "The better of two draws by weight: latency (peak EWMA) times load."),
        ("ring_hash", "Consistent hashing on a ring."),
        ("maglev", "Consistent hashing by Maglev's table."),
    ],
    later: &[],
};

pub(crate) static HASH: Object = Object {
    noun: "hash settings",
    title: "hash",
    doc: "What ring_hash and maglev go by.",
    keys: &[
        Key {
            name: "key",
            doc: "What a request is hashed by: the first of these that it has; with none, the pick is random. One or a list.",
            kind: Kind::List(&HASH_KEYS),
            need: Default("[source_address]"),
            example: "[{header: x-user-id}, {cookie: uid}, {query: u}, source_address]",
        },
        Key {
            name: "bounded_load",
            doc: "Most requests under way at one endpoint, in per cent of the average; the rest goes to the next by hash. `off` is no bound.",
            kind: Kind::Any(&[
                Kind::Word(&OFF),
                Kind::Integer(Integer {
                    min: 100,
                    max: 10_000,
                    below: Some((
                        "bounded_load_too_small",
                        "a bound is at least 100 (per cent of the average): with less, not all requests would fit; 125 is usual",
                    )),
                    above: None,
                }),
            ]),
            need: Default("125"),
            example: "125",
        },
        Key {
            name: "table_size",
            doc: "Slots of Maglev's table: a prime, best over 100 times the endpoints.",
            kind: Kind::Integer(Integer { min: 2, max: 5_000_011, ..Integer::ANY }),
            need: Default("65537"),
            example: "65537",
        },
        Key {
            name: "minimum_ring_size",
            doc: "Least points on the ring of ring_hash; more divide more evenly.",
            kind: Kind::Integer(Integer { min: 1, max: 8_388_608, ..Integer::ANY }),
            need: Default("1024"),
            example: "1024",
        },
        Key {
            name: "maximum_ring_size",
            doc: "Most points on the ring of ring_hash, which bounds its memory.",
            kind: Kind::Integer(Integer { min: 1, max: 8_388_608, ..Integer::ANY }),
            need: Default("8388608"),
            example: "8388608",
        },
    ],
    choices: &[],
    later: &[],
};

static HASH_KEYS: List = List {
    of: Kind::Any(&[Kind::Word(&SOURCE_ADDRESS), Kind::Object(&HASH_KEY)]),
    or_one: true,
    empty: Some(("no_hash_key", "there is no key in this list, so every pick would be random")),
};

pub(super) static SOURCE_ADDRESS: Words =
    Words { noun: "`source_address`", known: &[("source_address", "The client's address, without port.")], later: &[] };

pub(crate) static HASH_KEY: Object = Object {
    noun: "a hash key",
    title: "hash_key",
    doc: "Where a request's hash key is found.",
    keys: &[
        Key {
            name: "header",
            doc: "The value of this header.",
            kind: Kind::Text(&HEADER),
            need: Optional("another kind of key is given"),
            example: "x-user-id",
        },
        Key {
            name: "cookie",
            doc: "The value of this cookie.",
            kind: Kind::Text(&COOKIE),
            need: Optional("another kind of key is given"),
            example: "uid",
        },
        Key {
            name: "query",
            doc: "The value of this parameter of the query, as received.",
            kind: Kind::Text(&QUERY),
            need: Optional("another kind of key is given"),
            example: "u",
        },
    ],
    choices: &[Choice {
        of: &["header", "cookie", "query"],
        needed: Some(("no_hash_key", "as in `{header: x-user-id}`; or write `source_address`")),
        both: "two_hash_keys",
    }],
    later: &[],
};

pub(crate) static STICKY: Object = Object {
    noun: "a sticky cookie",
    title: "sticky",
    doc: "A cookie that keeps a session on its endpoint for as long as that endpoint may be picked.",
    keys: &[
        Key {
            name: "cookie",
            doc: "The cookie's name.",
            kind: Kind::Text(&COOKIE),
            need: Default("weir-sticky"),
            example: "weir-sticky",
        },
        Key {
            name: "ttl",
            doc: "How long browsers keep the cookie: its Max-Age.",
            kind: Kind::Duration { zero: false },
            need: Optional("as long as the browser's session"),
            example: "1h",
        },
        Key {
            name: "path",
            doc: "The cookie's Path: the part of the site that it counts for.",
            kind: Kind::Text(&COOKIE_PATH),
            need: Default("/"),
            example: "/shop",
        },
    ],
    choices: &[],
    later: &[],
};

pub(super) static PANIC_MODE: Words = Words {
    noun: "a panic mode",
    known: &[
        ("off", "Only those available, however few; with none, 503."),
        ("all_hosts", "All, whatever is known of them."),
        ("least_bad", "Those available, and of the others the least bad, up to the threshold's share."),
    ],
    later: &[],
};

pub(crate) static PANIC: Object = Object {
    noun: "panic settings",
    title: "panic",
    doc: "What is done when too few endpoints are left.",
    keys: &[
        Key {
            name: "mode",
            doc: "Which endpoints are used in panic.",
            kind: Kind::Word(&PANIC_MODE),
            need: Default("least_bad"),
            example: "all_hosts",
        },
        Key {
            name: "threshold",
            doc: "Panic begins when fewer than so many per cent of the endpoints are available; 0 is never.",
            kind: Kind::Integer(Integer { min: 0, max: 100, ..Integer::ANY }),
            need: Default("50"),
            example: "50",
        },
    ],
    choices: &[],
    later: &[],
};

pub(super) static ON_OFF: Words =
    Words { noun: "`on` or `off`", known: &[("on", "With the defaults."), ("off", "All zones alike.")], later: &[] };

pub(crate) static ZONE_AWARE: Object = Object {
    noun: "zone-aware settings",
    title: "zone_aware",
    doc: "How the zone this instance stands in is preferred.",
    keys: &[
        Key {
            name: "min_endpoints",
            doc: "With fewer available endpoints than this in the whole cluster, all zones are treated alike.",
            kind: Kind::Integer(Integer { min: 0, max: 1_000_000, ..Integer::ANY }),
            need: Default("3"),
            example: "3",
        },
        Key {
            name: "shares",
            doc: "How the traffic of all instances is divided between the zones that they stand in: say, instances by zone.",
            kind: Kind::Map(&ZONE, &SHARE),
            need: Optional("every zone of the cluster has as much"),
            example: "{az-a: 2, az-b: 1}",
        },
    ],
    choices: &[],
    later: &[],
};

pub(crate) const ZONE_SHARE: Integer = Integer { min: 0, max: 1_000_000, ..Integer::ANY };
static SHARE: Kind = Kind::Integer(ZONE_SHARE);

pub(crate) static SLOW_START: Object = Object {
    noun: "a slow start",
    title: "slow_start",
    doc: "Ramp of a weight: weight × max(minimum, (time / window) ^ (1 / aggression)).",
    keys: &[
        Key {
            name: "window",
            doc: "How long it takes to the full share.",
            kind: Kind::Duration { zero: false },
            need: Default("30s"),
            example: "60s",
        },
        Key {
            name: "aggression",
            doc: "The shape of the ramp: 1 is linear; more begins steeper.",
            kind: Kind::Number(&AGGRESSION),
            need: Default("1"),
            example: "1.5",
        },
        Key {
            name: "minimum_percent",
            doc: "Where it begins, in per cent of the endpoint's weight.",
            kind: Kind::Integer(Integer { min: 1, max: 100, ..Integer::ANY }),
            need: Default("5"),
            example: "10",
        },
    ],
    choices: &[],
    later: &[],
};

static AGGRESSION: Number = Number {
    range: "over 0, up to 100",
    min: 0.0,
    max: 100.0,
    without: (true, false),
    code: "out_of_range",
    share: false,
};
