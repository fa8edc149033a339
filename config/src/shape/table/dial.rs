//! How endpoints are found and connected to.

use crate::shape::Need::{Default, Optional};
use crate::shape::{Integer, Key, Kind, List, Object, Words};

use super::{OFF, rules::*};

pub(crate) static CONNECT: Object = Object {
    noun: "connect settings",
    title: "connect",
    doc: "How connections to endpoints are opened.",
    keys: &[
        Key {
            name: "timeout",
            doc: "How long opening a connection may take, from the start of the dial.",
            kind: Kind::Duration { zero: false },
            need: Default("1s"),
            example: "1s",
        },
        Key {
            name: "keepalive",
            doc: "TCP keepalive: idle time before the first probe; then five more, a sixth of it apart. From 1s to 9h.",
            kind: Kind::Any(&[Kind::Word(&OFF), Kind::Duration { zero: false }]),
            need: Default("30s"),
            example: "30s",
        },
        Key {
            name: "user_timeout",
            doc: "TCP_USER_TIMEOUT: how long sent data may stay unacknowledged before the connection is given up.",
            kind: Kind::Duration { zero: false },
            need: Optional("the system's"),
            example: "10s",
        },
        Key {
            name: "local_address",
            doc: "Addresses of this host to connect from, used in turn; one or a list.",
            kind: Kind::List(&LOCAL_ADDRESSES),
            need: Optional("the system chooses"),
            example: "[10.0.0.5, 10.0.0.6]",
        },
        Key {
            name: "source_ports",
            doc: "Local ports to connect from: the first and the last.",
            kind: Kind::Text(&PORTS),
            need: Optional("the system's ephemeral range"),
            example: "20000-29999",
        },
    ],
    choices: &[],
    later: &[],
};

static LOCAL_ADDRESSES: List = List {
    of: Kind::Text(&LOCAL_ADDRESS),
    or_one: true,
    empty: Some(("no_address", "there is no address in this list; leave the key out to let the system choose")),
};

pub(crate) static POOL: Object = Object {
    noun: "pool settings",
    title: "pool",
    doc: "How idle connections to endpoints are kept, by each worker for itself.",
    keys: &[
        Key {
            name: "idle_timeout",
            doc: "An idle connection is closed after this long; keep it below the time after which endpoints close theirs.",
            kind: Kind::Duration { zero: false },
            need: Default("30s"),
            example: "30s",
        },
        Key {
            name: "max_idle",
            doc: "Most idle connections that are kept, for each endpoint and worker; 0 keeps none.",
            kind: Kind::Integer(Integer { min: 0, max: 1_000_000, ..Integer::ANY }),
            need: Default("256"),
            example: "256",
        },
    ],
    choices: &[],
    later: &[],
};

pub(crate) static RESOLVE: Object = Object {
    noun: "resolver settings",
    title: "resolve",
    doc: "How names are resolved, and how long what was found is believed.",
    keys: &[
        Key {
            name: "servers",
            doc: "DNS servers to ask, IP or IP:port; one or a list.",
            kind: Kind::List(&DNS_SERVERS),
            need: Optional("those of the system (/etc/resolv.conf)"),
            example: "[10.0.0.2, \"10.0.0.3:5353\"]",
        },
        Key {
            name: "family",
            doc: "Which addresses of a name are asked for.",
            kind: Kind::Word(&FAMILY),
            need: Default("any"),
            example: "ipv4",
        },
        Key {
            name: "timeout",
            doc: "How long one query may take, all its tries included.",
            kind: Kind::Duration { zero: false },
            need: Default("2s"),
            example: "2s",
        },
        Key {
            name: "min_ttl",
            doc: "The shortest time between two looks, whatever the TTL; at least 100ms.",
            kind: Kind::Duration { zero: false },
            need: Default("1s"),
            example: "1s",
        },
        Key {
            name: "max_ttl",
            doc: "The longest time between two looks, whatever the TTL.",
            kind: Kind::Duration { zero: false },
            need: Default("5m"),
            example: "5m",
        },
        Key {
            name: "max_stale",
            doc: "How long endpoints are kept when their name cannot be resolved any more; 0s drops them at once.",
            kind: Kind::Any(&[Kind::Word(&FOREVER), Kind::Duration { zero: true }]),
            need: Default("10m"),
            example: "10m",
        },
        Key {
            name: "confirm_removal",
            doc: "In how many answers in a row an address must be missing before it is given up.",
            kind: Kind::Integer(Integer {
                min: 1,
                max: 100,
                below: Some(("threshold_never_met", "0 answers confirm nothing; 1 acts on the first answer")),
                above: None,
            }),
            need: Default("2"),
            example: "2",
        },
    ],
    choices: &[],
    later: &[],
};

static DNS_SERVERS: List = List {
    of: Kind::Text(&DNS_SERVER),
    or_one: true,
    empty: Some(("no_address", "there is no server in this list; leave the key out to ask those of the system")),
};

static FAMILY: Words = Words {
    noun: "an address family",
    known: &[("any", "Both, A and AAAA records."), ("ipv4", "A records."), ("ipv6", "AAAA records.")],
    later: &[],
};

static FOREVER: Words =
    Words { noun: "`forever`", known: &[("forever", "Until the name is resolved again.")], later: &[] };
