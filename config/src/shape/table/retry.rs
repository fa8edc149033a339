//! Retries and their budgets.

use crate::shape::Need::{Default, Optional};
use crate::shape::{Integer, Key, Kind, List, Object};

use super::rules::*;

pub(super) const ATTEMPTS: Integer = Integer {
    min: 1,
    max: 16,
    below: Some(("no_attempt", "0 attempts would send nothing; 1 attempt, or `retry: off`, is no retry")),
    above: Some(("too_many_attempts", "there are at most 16 attempts: a request that failed so often fails again")),
};

pub(crate) static RETRY: Object = Object {
    noun: "a retry policy",
    title: "retry",
    doc: "Whether and when a failed attempt is made again, at another endpoint.",
    keys: &[
        Key {
            name: "attempts",
            doc: "Attempts at the most, the first included; 1 never tries again.",
            kind: Kind::Integer(ATTEMPTS),
            need: Default("3"),
            example: "3",
        },
        Key {
            name: "on",
            doc: "What an attempt must have ended in to be made again: connect-failure, reset-before-response, timeout, gateway-error (502, 503, 504), 5xx, a status such as 503, or a gRPC status such as grpc-unavailable.",
            kind: Kind::List(&RETRY_CONDITIONS),
            need: Default("[connect-failure, reset-before-response, timeout]"),
            example: "[connect-failure, reset-before-response, 503]",
        },
        Key {
            name: "per_try_timeout",
            doc: "How long one attempt may take to the head of its answer; then it has failed.",
            kind: Kind::Duration { zero: false },
            need: Optional("learned from the cluster's latency, at most 40 % of the route's timeout"),
            example: "500ms",
        },
        Key {
            name: "backoff",
            doc: "The pauses before retries, drawn at random up to a bound that doubles.",
            kind: Kind::Object(&BACKOFF),
            need: Default("{}"),
            example: "{base: 25ms, max: 250ms}",
        },
        Key {
            name: "body_bytes",
            doc: "Bytes of a request's body kept to be sent again; a larger body is sent once.",
            kind: Kind::Size { zero: true, max: 16 << 20 },
            need: Default("64KiB"),
            example: "64KiB",
        },
    ],
    choices: &[],
    later: &[],
};

static RETRY_CONDITIONS: List = List {
    of: Kind::Any(&[Kind::Integer(RETRY_STATUS), Kind::Text(&RETRY_CONDITION)]),
    or_one: true,
    empty: Some((
        "no_retry_condition",
        "nothing is in this list, so no attempt would be made again; `retry: off` says so",
    )),
};

const RETRY_STATUS: Integer = Integer {
    min: 400,
    max: 599,
    below: Some(("bad_retry_status", "only answers from 400 to 599 are failures that can be tried again")),
    above: Some(("bad_retry_status", "only answers from 400 to 599 are failures that can be tried again")),
};

pub(crate) static BACKOFF: Object = Object {
    noun: "a backoff",
    title: "backoff",
    doc: "The pause before retry n is drawn from zero to base × (2^n - 1), at most max.",
    keys: &[
        Key {
            name: "base",
            doc: "The longest pause before the first retry; it doubles with each further one.",
            kind: Kind::Duration { zero: false },
            need: Default("25ms"),
            example: "25ms",
        },
        Key {
            name: "max",
            doc: "The longest pause before any retry.",
            kind: Kind::Duration { zero: false },
            need: Default("250ms"),
            example: "250ms",
        },
    ],
    choices: &[],
    later: &[],
};

pub(crate) static RETRY_BUDGET: Object = Object {
    noun: "a retry budget",
    title: "retry_budget",
    doc: "How many retries a cluster is given over its requests; both bounds hold.",
    keys: &[
        Key {
            name: "concurrent_percent",
            doc: "Most retries under way, in per cent of the requests under way.",
            kind: Kind::Integer(BUDGET_PERCENT),
            need: Default("20"),
            example: "20",
        },
        Key {
            name: "min_concurrent",
            doc: "So many retries may always be under way.",
            kind: Kind::Integer(Integer { min: 0, max: 1_000_000, ..Integer::ANY }),
            need: Default("20"),
            example: "3",
        },
        Key {
            name: "percent",
            doc: "Most retries within the window, in per cent of the requests within it.",
            kind: Kind::Integer(BUDGET_PERCENT),
            need: Default("10"),
            example: "10",
        },
        Key {
            name: "min_retries",
            doc: "So many retries are always given within the window.",
            kind: Kind::Integer(Integer { min: 0, max: 1_000_000, ..Integer::ANY }),
            need: Default("20"),
            example: "10",
        },
        Key {
            name: "window",
            doc: "The time in which retries and requests are counted; at least 1s.",
            kind: Kind::Duration { zero: false },
            need: Default("10s"),
            example: "10s",
        },
    ],
    choices: &[],
    later: &[],
};

const BUDGET_PERCENT: Integer = Integer {
    min: 0,
    max: 100,
    below: None,
    above: Some((
        "budget_too_large",
        "a retry budget is at most 100 (per cent): with more, retries could be most of the load",
    )),
};
