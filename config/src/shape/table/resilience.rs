//! What is done when things go wrong: ejection and limits.

use crate::shape::Need::{Default, Optional, Required};
use crate::shape::{Integer, Key, Kind, List, Number, Object, Words};

use super::OFF;

pub(crate) static OUTLIER: Object = Object {
    noun: "an outlier detection",
    title: "outlier_detection",
    doc: "What live traffic has to show for an endpoint to be taken out, and for how long.",
    keys: &[
        Key {
            name: "consecutive_5xx",
            doc: "So many failures in a row (5xx answers or none), of at least two requests, take an endpoint out.",
            kind: Kind::Any(&[Kind::Word(&OFF), Kind::Integer(ROW)]),
            need: Default("5"),
            example: "5",
        },
        Key {
            name: "consecutive_gateway",
            doc: "So many failures in a row that were 502, 503, 504 or no answer, of at least two requests, take an endpoint out.",
            kind: Kind::Any(&[Kind::Word(&OFF), Kind::Integer(ROW)]),
            need: Default("off"),
            example: "4",
        },
        Key {
            name: "consecutive_local_origin",
            doc: "So many failures in a row without any answer (no connection, reset, time-out), of at least two requests, take an endpoint out.",
            kind: Kind::Any(&[Kind::Word(&OFF), Kind::Integer(ROW)]),
            need: Default("off"),
            example: "3",
        },
        Key {
            name: "failure_percentage",
            doc: "Shares of failures within a time that take an endpoint out; one of them is enough. One or a list.",
            kind: Kind::Any(&[Kind::Word(&OFF), Kind::List(&FAILURE_WINDOWS)]),
            need: Default(
                "[{threshold: 50, window: 10s, minimum_requests: 20}, {threshold: 30, window: 5m, minimum_requests: 50}]",
            ),
            example: "{threshold: 30, window: 5m, minimum_requests: 20}",
        },
        Key {
            name: "confidence",
            doc: "How sure a share must be, from 0 to under 1: the lower bound of Wilson's interval must reach the threshold. 0 is the plain ratio.",
            kind: Kind::Number(&CONFIDENCE),
            need: Default("0.95"),
            example: "0.99",
        },
        Key {
            name: "action",
            doc: "What is done to an endpoint that a rule is met for.",
            kind: Kind::Word(&ACTION),
            need: Default("eject"),
            example: "observe",
        },
        Key {
            name: "max_ejection_percent",
            doc: "At most so many per cent of the endpoints are out at once, but always one; never the last that may be used.",
            kind: Kind::Integer(Integer {
                min: 1,
                max: 100,
                below: Some(("no_ejection", "one endpoint may always be ejected; `action: observe` ejects none")),
                above: None,
            }),
            need: Default("34"),
            example: "50",
        },
        Key {
            name: "correlated_percent",
            doc: "If more than so many per cent turn bad at once, nobody is ejected for a moment: the cause is likely common. 100 is off.",
            kind: Kind::Integer(Integer { min: 1, max: 100, ..Integer::ANY }),
            need: Default("30"),
            example: "30",
        },
        Key {
            name: "base_ejection_time",
            doc: "How long the first ejection lasts; each further one is twice as long.",
            kind: Kind::Duration { zero: false },
            need: Default("30s"),
            example: "30s",
        },
        Key {
            name: "max_ejection_time",
            doc: "How long an ejection lasts at the most.",
            kind: Kind::Duration { zero: false },
            need: Default("5m"),
            example: "5m",
        },
        Key {
            name: "jitter",
            doc: "Each ejection is stretched or shrunk by up to this many per cent.",
            kind: Kind::Integer(Integer::JITTER),
            need: Default("20"),
            example: "20",
        },
        Key {
            name: "probation",
            doc: "How an ejected endpoint comes back.",
            kind: Kind::Object(&PROBATION),
            need: Default("{}"),
            example: "{requests: 1, successes: 3}",
        },
    ],
    choices: &[],
    later: &["success_rate"],
};

const ROW: Integer = Integer {
    min: 1,
    max: 1000,
    below: Some(("threshold_never_met", "0 failures in a row can never be seen; `off` switches this rule off")),
    above: Some(("threshold_too_large", "a row is at most 1000; `off` switches this rule off")),
};

static FAILURE_WINDOWS: List = List {
    of: Kind::Object(&FAILURE_WINDOW),
    or_one: true,
    empty: Some(("no_failure_window", "there is no window in this list; `failure_percentage: off` says so")),
};

pub(crate) static FAILURE_WINDOW: Object = Object {
    noun: "a failure window",
    title: "failure_window",
    doc: "A share of failed attempts within a time.",
    keys: &[
        Key {
            name: "threshold",
            doc: "Share of failed attempts in per cent, over 0 to 100, from which an endpoint is taken out.",
            kind: Kind::Number(&THRESHOLD),
            need: Required("as in `threshold: 30`, in per cent"),
            example: "30",
        },
        Key {
            name: "window",
            doc: "The time that is looked back on; at least 1s.",
            kind: Kind::Duration { zero: false },
            need: Default("10s"),
            example: "5m",
        },
        Key {
            name: "minimum_requests",
            doc: "Least attempts within it; fewer say nothing.",
            kind: Kind::Integer(Integer::COUNT),
            need: Default("20"),
            example: "20",
        },
    ],
    choices: &[],
    later: &[],
};

static THRESHOLD: Number = Number {
    range: "over 0, up to 100",
    min: 0.0,
    max: 100.0,
    without: (true, false),
    code: "threshold_out_of_range",
    share: false,
};

static CONFIDENCE: Number = Number {
    range: "from 0 to under 1",
    min: 0.0,
    max: 1.0,
    without: (false, true),
    code: "confidence_out_of_range",
    share: true,
};

static ACTION: Words = Words {
    noun: "an action",
    known: &[
        ("observe", "Only an event: what would have been done."),
        ("reduce", "Its weight is halved each 10 s down to 1 %, and comes back by 10 % each 10 s without fault."),
        ("eject", "It is taken out."),
    ],
    later: &[],
};

pub(crate) static PROBATION: Object = Object {
    noun: "a probation",
    title: "probation",
    doc: "What an ejected endpoint is given, and has to show, to come back.",
    keys: &[
        Key {
            name: "requests",
            doc: "Requests it is given at once while on probation.",
            kind: Kind::Integer(TRIALS),
            need: Default("1"),
            example: "1",
        },
        Key {
            name: "successes",
            doc: "Good ones in a row that end the probation.",
            kind: Kind::Integer(TRIALS),
            need: Default("3"),
            example: "3",
        },
    ],
    choices: &[],
    later: &[],
};

const TRIALS: Integer = Integer {
    min: 1,
    max: 1000,
    below: Some(("threshold_never_met", "with 0, nothing could ever come back")),
    above: None,
};

pub(crate) static BREAKER: Object = Object {
    noun: "a circuit breaker",
    title: "circuit_breaker",
    doc: "Limits of a cluster, process-wide and exact.",
    keys: &[
        Key {
            name: "max_connections",
            doc: "Most open connections to all endpoints of the cluster.",
            kind: Kind::Integer(LIMIT),
            need: Optional("no limit"),
            example: "2000",
        },
        Key {
            name: "max_requests",
            doc: "Most requests under way at the cluster.",
            kind: Kind::Integer(LIMIT),
            need: Optional("no limit"),
            example: "1000",
        },
        Key {
            name: "max_pending_requests",
            doc: "Most requests that may wait for one of the limits; further ones get 503. With 0 nobody waits.",
            kind: Kind::Integer(Integer { min: 0, max: 1_000_000, ..Integer::ANY }),
            need: Default("1024"),
            example: "1024",
        },
        Key {
            name: "max_retries",
            doc: "Most retries under way at the cluster, on top of the retry budget.",
            kind: Kind::Integer(Integer {
                below: Some(("limit_of_zero", "a limit is at least 1; `retry: off` on the routes makes no retries")),
                ..LIMIT
            }),
            need: Optional("no limit"),
            example: "3",
        },
        Key {
            name: "queue_timeout",
            doc: "How long a request waits for a limit; then it gets 503 with Retry-After.",
            kind: Kind::Duration { zero: false },
            need: Default("1s"),
            example: "1s",
        },
        Key {
            name: "per_endpoint",
            doc: "Limits of each endpoint for itself.",
            kind: Kind::Object(&ENDPOINT_LIMITS),
            need: Default("{}"),
            example: "{max_connections: 200, max_requests: 100}",
        },
        Key {
            name: "failure_rate",
            doc: "A breaker on the cluster's rate of failures (closed, open, half-open): while it is open the cluster is given nothing.",
            kind: Kind::Any(&[Kind::Word(&OFF), Kind::Object(&FAILURE_RATE)]),
            need: Default("off"),
            example: "{threshold: 50, window: 10s, open: 5s}",
        },
    ],
    choices: &[],
    later: &[],
};

const LIMIT: Integer = Integer {
    below: Some(("limit_of_zero", "a limit of 0 would refuse everything; leave it out for no limit")),
    ..Integer::COUNT
};

pub(crate) static ENDPOINT_LIMITS: Object = Object {
    noun: "limits of an endpoint",
    title: "per_endpoint",
    doc: "Limits of each endpoint of a cluster.",
    keys: &[
        Key {
            name: "max_connections",
            doc: "Most open connections to one endpoint.",
            kind: Kind::Integer(LIMIT),
            need: Optional("no limit"),
            example: "200",
        },
        Key {
            name: "max_requests",
            doc: "Most requests under way at one endpoint; while it ramps up, its share of this.",
            kind: Kind::Integer(LIMIT),
            need: Optional("no limit"),
            example: "100",
        },
    ],
    choices: &[],
    later: &[],
};

pub(crate) static FAILURE_RATE: Object = Object {
    noun: "a failure-rate breaker",
    title: "failure_rate",
    doc: "When a cluster as a whole is given nothing for a while.",
    keys: &[
        Key {
            name: "threshold",
            doc: "The breaker opens when so many per cent of the attempts fail, over 0 to 100.",
            kind: Kind::Number(&THRESHOLD),
            need: Default("50"),
            example: "50",
        },
        Key {
            name: "window",
            doc: "The time that is looked back on; at least 1s.",
            kind: Kind::Duration { zero: false },
            need: Default("10s"),
            example: "10s",
        },
        Key {
            name: "minimum_requests",
            doc: "Least attempts within it; fewer say nothing.",
            kind: Kind::Integer(Integer::COUNT),
            need: Default("20"),
            example: "20",
        },
        Key {
            name: "open",
            doc: "How long it stays open; doubled each time that it opens again at once.",
            kind: Kind::Duration { zero: false },
            need: Default("5s"),
            example: "5s",
        },
        Key {
            name: "max_open",
            doc: "How long it stays open at the most.",
            kind: Kind::Duration { zero: false },
            need: Default("1m"),
            example: "1m",
        },
        Key {
            name: "trials",
            doc: "Requests that are let through at once while it is half-open.",
            kind: Kind::Integer(TRIALS),
            need: Default("1"),
            example: "1",
        },
        Key {
            name: "successes",
            doc: "Good trials in a row that close it.",
            kind: Kind::Integer(TRIALS),
            need: Default("3"),
            example: "3",
        },
    ],
    choices: &[],
    later: &[],
};
