//! Releases: users divided between clusters.

use crate::shape::Need::{Default, Optional, Required};
use crate::shape::{Choice, Integer, Key, Kind, List, Number, Object, Words};

use super::balancing::SOURCE_ADDRESS;
use super::rollout::{JUDGE, ROLLOUT};
use super::rules::*;

pub(crate) static RELEASES: List = List { of: Kind::Object(&RELEASE), or_one: false, empty: None };

pub(crate) static RELEASE: Object = Object {
    noun: "a release",
    title: "release",
    doc: "Users divided between a stable cluster and canaries, by a hash of their id.",
    keys: &[
        Key {
            name: "name",
            doc: "Its name, unique among releases: what routes name, and the salt unless told.",
            kind: Kind::Text(&NAME),
            need: Required("a unique name, as in `name: orders`"),
            example: "orders",
        },
        Key {
            name: "key",
            doc: "Where a user's id is found: the first of these that a request has. One or a list.",
            kind: Kind::List(&ID_KEYS),
            need: Required("where a user's id is found, as in `key: {header: x-user-id}`"),
            example: "[{header: x-user-id}, {cookie: uid}]",
        },
        Key {
            name: "canonical",
            doc: "The form in which ids are hashed and compared.",
            kind: Kind::Object(&CANONICAL),
            need: Default("{}"),
            example: "{trim: true, case: lower}",
        },
        Key {
            name: "salt",
            doc: "What ids are hashed with: same salt and same id give the same bucket. A new salt draws all users anew.",
            kind: Kind::Text(&SALT),
            need: Optional("the release's name"),
            example: "orders-2026-11",
        },
        Key {
            name: "stable",
            doc: "The cluster of everybody who is in no canary.",
            kind: Kind::Text(&NAME),
            need: Required("the cluster that serves everybody who is in no canary, as in `stable: orders-v1`"),
            example: "orders-v1",
        },
        Key {
            name: "never",
            doc: "Whoever one of these rules takes is in no canary.",
            kind: Kind::List(&RULES),
            need: Default("[]"),
            example: "[{users: [1001]}]",
        },
        Key {
            name: "canaries",
            doc: "Versions that get some of the users; at most 100.",
            kind: Kind::List(&CANARIES),
            need: Default("[]"),
            example: "[{cluster: orders-v2, weight: 5}]",
        },
        Key {
            name: "anonymous",
            doc: "What is done with requests without an id.",
            kind: Kind::Any(&[Kind::Word(&ANONYMOUS_WORD), Kind::Object(&ANONYMOUS)]),
            need: Default("stable"),
            example: "sticky_cookie",
        },
        Key {
            name: "on_unhealthy",
            doc: "What is done with a canary's requests while it has no usable endpoint.",
            kind: Kind::Word(&ON_UNHEALTHY),
            need: Default("stable"),
            example: "stable",
        },
        Key {
            name: "judge",
            doc: "How versions are compared: what it takes to say that a canary is better, worse or neither.",
            kind: Kind::Object(&JUDGE),
            need: Default("{}"),
            example: "{min_requests: 500}",
        },
        Key {
            name: "mirror",
            doc: "A copy of some requests goes to this cluster too; its answers go to nobody.",
            kind: Kind::Object(&MIRROR),
            need: Optional("no copies"),
            example: "{cluster: orders-v3, percent: 10}",
        },
    ],
    choices: &[],
    later: &[],
};

static ID_KEYS: List = List {
    of: Kind::Any(&[Kind::Word(&SOURCE_ADDRESS), Kind::Object(&ID_KEY)]),
    or_one: true,
    empty: Some(("no_id_key", "there is no key in this list, so no user could be told from another")),
};

pub(crate) static ID_KEY: Object = Object {
    noun: "a release key",
    title: "release_key",
    doc: "Where a user's id is found in a request.",
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
            doc: "The value of this parameter of the query, percent-decoded.",
            kind: Kind::Text(&QUERY),
            need: Optional("another kind of key is given"),
            example: "uid",
        },
        Key {
            name: "path_segment",
            doc: "This segment of the path, from 1, percent-decoded: 2 is 42 in /users/42.",
            kind: Kind::Integer(Integer {
                min: 1,
                max: 1000,
                below: Some((
                    "bad_path_segment",
                    "segments of a path are counted from 1: in /users/42, 1 is `users` and 2 is `42`",
                )),
                above: None,
            }),
            need: Optional("another kind of key is given"),
            example: "2",
        },
        Key {
            name: "jwt",
            doc: "A claim of a JSON Web Token.",
            kind: Kind::Object(&JWT),
            need: Optional("another kind of key is given"),
            example: "{claim: sub, key_file: jwt.pem}",
        },
    ],
    choices: &[Choice {
        of: &["header", "cookie", "query", "path_segment", "jwt"],
        needed: Some(("no_id_key", "as in `{header: x-user-id}`; or write `source_address`")),
        both: "two_id_keys",
    }],
    later: &[],
};

pub(crate) static JWT: Object = Object {
    noun: "a token key",
    title: "jwt",
    doc: "A claim of a JSON Web Token that the request brings.",
    keys: &[
        Key {
            name: "claim",
            doc: "The claim that is the id: a text or a whole number.",
            kind: Kind::Text(&CLAIM),
            need: Default("sub"),
            example: "sub",
        },
        Key {
            name: "header",
            doc: "The header that the token is in, after `Bearer ` if that is there.",
            kind: Kind::Text(&HEADER),
            need: Default("authorization"),
            example: "authorization",
        },
        Key {
            name: "cookie",
            doc: "The cookie that the token is in.",
            kind: Kind::Text(&COOKIE),
            need: Optional("it is in a header"),
            example: "token",
        },
        Key {
            name: "key_file",
            doc: "A file with the public key (PEM) or the secret that tokens must be signed with, read whenever the config is.",
            kind: Kind::Text(&FILE_NAME),
            need: Optional("signatures are not looked at"),
            example: "jwt.pem",
        },
        Key {
            name: "algorithm",
            doc: "How tokens must be signed.",
            kind: Kind::Word(&JWT_ALGORITHM),
            need: Optional("by the kind of key: RS256, ES256, EdDSA or HS256"),
            example: "RS256",
        },
    ],
    choices: &[Choice { of: &["header", "cookie"], needed: None, both: "header_and_cookie" }],
    later: &[],
};

static JWT_ALGORITHM: Words = Words {
    noun: "a signature algorithm",
    known: &[
        ("HS256", "HMAC with SHA-256, by a secret."),
        ("HS384", "HMAC with SHA-384, by a secret."),
        ("HS512", "HMAC with SHA-512, by a secret."),
        ("RS256", "RSA with SHA-256, by a public key."),
        ("ES256", "ECDSA on P-256, by a public key."),
        ("EdDSA", "Ed25519, by a public key."),
    ],
    later: &["RS384", "RS512", "ES384", "PS256", "PS384", "PS512"],
};

pub(crate) static CANONICAL: Object = Object {
    noun: "a canonical form",
    title: "canonical",
    doc: "The form in which ids are hashed and compared.",
    keys: &[
        Key {
            name: "trim",
            doc: "Whether blanks around an id are cut off.",
            kind: Kind::Bool,
            need: Default("true"),
            example: "true",
        },
        Key {
            name: "case",
            doc: "Whether case tells ids apart.",
            kind: Kind::Word(&CASE),
            need: Default("keep"),
            example: "lower",
        },
    ],
    choices: &[],
    later: &[],
};

static CASE: Words = Words {
    noun: "a treatment of case",
    known: &[("keep", "Ann and ann are two users."), ("lower", "ASCII letters count as lower case.")],
    later: &["upper"],
};

static CANARIES: List = List { of: Kind::Object(&CANARY), or_one: false, empty: None };

pub(crate) static CANARY: Object = Object {
    noun: "a canary",
    title: "canary",
    doc: "A version that gets some of the users.",
    keys: &[
        Key {
            name: "cluster",
            doc: "The cluster that its users go to.",
            kind: Kind::Text(&NAME),
            need: Required("the cluster its users go to, as in `cluster: orders-v2`"),
            example: "orders-v2",
        },
        Key {
            name: "from",
            doc: "Its first bucket; it owns those from there upwards, as many as its weight says.",
            kind: Kind::Integer(Integer {
                min: 0,
                max: 9999,
                below: None,
                above: Some(("from_out_of_range", "there are 10000 buckets, numbered from 0 to 9999")),
            }),
            need: Optional("0 for the only canary; with more than one it must be told"),
            example: "0",
        },
        Key {
            name: "weight",
            doc: "Its share of the users in per cent, with two decimals at most. A bucket is 0.01 per cent.",
            kind: Kind::Number(&WEIGHT),
            need: Default("0"),
            example: "5",
        },
        Key {
            name: "first",
            doc: "Whoever one of these rules takes is in it, whatever the weight.",
            kind: Kind::List(&RULES),
            need: Default("[]"),
            example: "[{header: {x-employee: \"true\"}}, {users: file:beta.txt}]",
        },
        Key {
            name: "never",
            doc: "Whoever one of these rules takes is not in it.",
            kind: Kind::List(&RULES),
            need: Default("[]"),
            example: "[{cidr: 10.0.0.0/8}]",
        },
        Key {
            name: "rollout",
            doc: "Lets the weight be reached step by step, by itself, as long as the canary does well.",
            kind: Kind::Object(&ROLLOUT),
            need: Optional("`weight` holds at once"),
            example: "{steps: [1, 5, 25, 50, 100], hold: 10m}",
        },
    ],
    choices: &[],
    later: &[],
};

static WEIGHT: Number = Number {
    range: "from 0 to 100 per cent",
    min: 0.0,
    max: 100.0,
    without: (false, false),
    code: "weight_out_of_range",
    share: false,
};

static RULES: List = List { of: Kind::Object(&RULE), or_one: true, empty: None };

pub(crate) static RULE: Object = Object {
    noun: "a rule",
    title: "release_rule",
    doc: "Takes some requests, by who asks.",
    keys: &[
        Key {
            name: "header",
            doc: "Requests with this header: its value as it must be, or {present: true|false}.",
            kind: Kind::Map(&HEADER_NAME, &super::route::HEADER_TEST),
            need: Optional("another kind of rule is given"),
            example: "{x-employee: \"true\"}",
        },
        Key {
            name: "cookie",
            doc: "Requests with this cookie: its value as it must be, or {present: true}.",
            kind: Kind::Map(&COOKIE_NAME, &COOKIE_TEST),
            need: Optional("another kind of rule is given"),
            example: "{beta: \"1\"}",
        },
        Key {
            name: "cidr",
            doc: "Clients of these networks; an address alone is one client.",
            kind: Kind::List(&CIDRS),
            need: Optional("another kind of rule is given"),
            example: "[10.0.0.0/8, 192.0.2.7]",
        },
        Key {
            name: "users",
            doc: "Users by id: a list of them, or `file:PATH` of a file with one a line, beside this file.",
            kind: Kind::Any(&[Kind::Text(&USERS_FILE), Kind::List(&USER_IDS)]),
            need: Optional("another kind of rule is given"),
            example: "[1001, ann]",
        },
    ],
    choices: &[Choice {
        of: &["header", "cookie", "cidr", "users"],
        needed: Some((
            "no_rule",
            "as in `{header: {x-employee: \"true\"}}`, `{cidr: 10.0.0.0/8}` or `{users: [1001]}`",
        )),
        both: "two_rules",
    }],
    later: &[],
};

static COOKIE_TEST: Kind = Kind::Any(&[Kind::Text(&COOKIE_VALUE), Kind::Object(&COOKIE_PRESENCE)]);

pub(crate) static COOKIE_PRESENCE: Object = Object {
    noun: "a cookie test",
    title: "cookie_test",
    doc: "Whether a cookie is there, whatever its value.",
    keys: &[Key {
        name: "present",
        doc: "true: the cookie must be there.",
        kind: Kind::Bool,
        need: Required("as in `{present: true}`"),
        example: "true",
    }],
    choices: &[],
    later: &[],
};

static CIDRS: List = List {
    of: Kind::Text(&NETWORK),
    or_one: true,
    empty: Some(("empty_rule", "no network is in this list, so the rule takes nobody")),
};

static USER_IDS: List = List {
    of: Kind::Text(&USER_ID),
    or_one: false,
    empty: Some(("empty_rule", "nobody is in this list, so the rule takes nobody")),
};

static ANONYMOUS_WORD: Words = Words {
    noun: "a treatment of requests without an id",
    known: &[
        ("stable", "They are the stable cluster's."),
        ("sticky_cookie", "They are handed an id in a cookie, and have one from then on."),
    ],
    later: &[],
};

pub(crate) static ANONYMOUS: Object = Object {
    noun: "a cookie for those without an id",
    title: "anonymous",
    doc: "What is done with requests without an id.",
    keys: &[Key {
        name: "sticky_cookie",
        doc: "They are handed an id in a cookie, and have one from then on.",
        kind: Kind::Object(&ID_COOKIE),
        need: Required("as in `{sticky_cookie: {ttl: 30d}}`"),
        example: "{name: weir-id, ttl: 30d}",
    }],
    choices: &[],
    later: &[],
};

pub(crate) static ID_COOKIE: Object = Object {
    noun: "an id cookie",
    title: "id_cookie",
    doc: "A cookie with an id for whoever has none.",
    keys: &[
        Key {
            name: "name",
            doc: "The cookie's name.",
            kind: Kind::Text(&COOKIE),
            need: Default("weir-id"),
            example: "weir-id",
        },
        Key {
            name: "ttl",
            doc: "How long browsers keep the cookie: its Max-Age, at most 400d, which is what they keep.",
            kind: Kind::Ttl,
            need: Default("400d"),
            example: "30d",
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

static ON_UNHEALTHY: Words = Words {
    noun: "a treatment of requests of an unhealthy canary",
    known: &[
        ("stable", "The stable cluster serves them; whose they are does not change."),
        ("error", "They are refused, as those of any cluster without a usable endpoint."),
    ],
    later: &[],
};

pub(crate) static MIRROR: Object = Object {
    noun: "a mirror",
    title: "mirror",
    doc: "A copy of some requests, whose answers nobody gets.",
    keys: &[
        Key {
            name: "cluster",
            doc: "The cluster that copies go to.",
            kind: Kind::Text(&NAME),
            need: Required("the cluster that gets the copies, as in `cluster: orders-v3`"),
            example: "orders-v3",
        },
        Key {
            name: "percent",
            doc: "How many per cent of the release's requests are copied, whatever their version.",
            kind: Kind::Number(&MIRRORED),
            need: Required("how many per cent of the requests are copied, as in `percent: 10`"),
            example: "10",
        },
        Key {
            name: "unsafe_methods",
            doc: "Whether methods that may change something are copied too, not GET, HEAD, OPTIONS and TRACE only.",
            kind: Kind::Bool,
            need: Default("false"),
            example: "false",
        },
        Key {
            name: "max_concurrent",
            doc: "Most copies under way at once in this process; further ones are dropped and counted.",
            kind: Kind::Integer(Integer::COUNT),
            need: Default("100"),
            example: "100",
        },
        Key {
            name: "timeout",
            doc: "How long a copy may take; then it is given up.",
            kind: Kind::Duration { zero: false },
            need: Default("5s"),
            example: "5s",
        },
        Key {
            name: "body_bytes",
            doc: "Largest body of a request that is copied; requests with a larger one are not.",
            kind: Kind::Size { zero: true, max: 16 << 20 },
            need: Default("64KiB"),
            example: "64KiB",
        },
    ],
    choices: &[],
    later: &[],
};

static MIRRORED: Number = Number {
    range: "from 0 to 100 per cent",
    min: 0.0,
    max: 100.0,
    without: (false, false),
    code: "out_of_range",
    share: false,
};
