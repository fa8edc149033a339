//! Endpoints: in a config, and in a file of their own.

use crate::shape::Need::{Default, Optional, Required};
use crate::shape::{Integer, Key, Kind, List, Object, Rule};

use super::rules::*;

pub(super) static ZONE_LIST: Kind = Kind::List(&List {
    of: Kind::Any(&[Kind::Text(&ENDPOINT_ADDRESS), Kind::Object(&ZONED_ENDPOINT)]),
    or_one: false,
    empty: None,
});

pub(super) static ENDPOINTS: List =
    List { of: Kind::Any(&[Kind::Text(&ENDPOINT_ADDRESS), Kind::Object(&ENDPOINT)]), or_one: false, empty: None };

/// What a file of endpoints holds: as a cluster's `endpoints`, but nothing that would have to be
/// looked up in turn.
pub(crate) static ENDPOINT_FILE: Kind = Kind::Any(&[Kind::Map(&ZONE, &FIXED_ZONE_LIST), Kind::List(&FIXED_ENDPOINTS)]);

static FIXED_ZONE_LIST: Kind = Kind::List(&List {
    of: Kind::Any(&[Kind::Text(&FIXED_ADDRESS), Kind::Object(&FIXED_ZONED_ENDPOINT)]),
    or_one: false,
    empty: None,
});

static FIXED_ENDPOINTS: List =
    List { of: Kind::Any(&[Kind::Text(&FIXED_ADDRESS), Kind::Object(&FIXED_ENDPOINT)]), or_one: false, empty: None };

static ENDPOINT_KEYS: [Key; 4] =
    keys("IP:port, NAME:port, srv:NAME, unix:PATH or file:PATH, which holds a list of endpoints.", &ENDPOINT_ADDRESS);
static FIXED_KEYS: [Key; 4] = keys("IP:port or unix:PATH.", &FIXED_ADDRESS);

const fn keys(address: &'static str, rule: &'static Rule) -> [Key; 4] {
    [
        Key {
            name: "address",
            doc: address,
            kind: Kind::Text(rule),
            need: Required("as in `address: 10.0.1.11:8080`"),
            example: "10.0.1.11:8080",
        },
        Key {
            name: "weight",
            doc: "Its share relative to the others; 0 takes no traffic.",
            kind: Kind::Integer(Integer {
                min: 0,
                max: 10_000,
                below: Some(("negative_weight", "a weight is 0 or more; 0 takes no traffic")),
                above: Some(("weight_too_large", "a weight is at most 10000; only the ratio between weights counts")),
            }),
            need: Default("1"),
            example: "2",
        },
        Key {
            name: "priority",
            doc: "Fail-over order: 0 is asked first, others as far as those before are not healthy.",
            kind: Kind::Integer(Integer { min: 0, max: 15, ..Integer::ANY }),
            need: Default("0"),
            example: "1",
        },
        Key {
            name: "zone",
            doc: "The availability zone it stands in.",
            kind: Kind::Text(&NAME),
            need: Optional("not known"),
            example: "az-a",
        },
    ]
}

pub(crate) static ENDPOINT: Object = Object {
    noun: "an endpoint",
    title: "endpoint",
    doc: "One address of a cluster, or a place where more are found.",
    keys: &ENDPOINT_KEYS,
    choices: &[],
    later: &[],
};

pub(crate) static ZONED_ENDPOINT: Object = Object {
    noun: "an endpoint of a zone",
    title: "zoned_endpoint",
    doc: "One address of a cluster, or a place where more are found, under the zone it stands in.",
    keys: ENDPOINT_KEYS.split_at(3).0,
    choices: &[],
    later: &[],
};

static FIXED_ENDPOINT: Object = Object { title: "fixed_endpoint", keys: &FIXED_KEYS, ..ENDPOINT };
static FIXED_ZONED_ENDPOINT: Object =
    Object { title: "fixed_zoned_endpoint", keys: FIXED_KEYS.split_at(3).0, ..ZONED_ENDPOINT };
