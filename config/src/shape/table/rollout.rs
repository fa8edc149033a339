//! How a release's versions are compared, and weights that rise by themselves.

use crate::shape::Need::Default;
use crate::shape::{Integer, Key, Kind, List, Number, Object, Words};

pub(crate) static JUDGE: Object = Object {
    noun: "a judge",
    title: "judge",
    doc: "How a canary is compared with an equally large cohort of stable users.",
    keys: &[
        Key {
            name: "min_requests",
            doc: "Each side must have had so many requests before anything is said.",
            kind: Kind::Integer(Integer::COUNT),
            need: Default("200"),
            example: "200",
        },
        Key {
            name: "confidence",
            doc: "In per cent: a canary that is no worse is called worse no more often than this leaves, however often it is looked at.",
            kind: Kind::Number(&CONFIDENCE),
            need: Default("95"),
            example: "99",
        },
        Key {
            name: "error_margin",
            doc: "How many percentage points more errors a canary may have.",
            kind: Kind::Number(&ERROR_MARGIN),
            need: Default("1"),
            example: "0.5",
        },
        Key {
            name: "latency_margin",
            doc: "How many per cent higher a canary's latency may be.",
            kind: Kind::Number(&LATENCY_MARGIN),
            need: Default("25"),
            example: "10",
        },
    ],
    choices: &[],
    later: &[],
};

static CONFIDENCE: Number = Number {
    range: "from 80 to 99.9 per cent",
    min: 80.0,
    max: 99.9,
    without: (false, false),
    code: "out_of_range",
    share: false,
};

static ERROR_MARGIN: Number = Number {
    range: "from 0 to 100 percentage points",
    min: 0.0,
    max: 100.0,
    without: (false, false),
    code: "out_of_range",
    share: false,
};

static LATENCY_MARGIN: Number = Number {
    range: "from 0 to 10000 per cent",
    min: 0.0,
    max: 10_000.0,
    without: (false, false),
    code: "out_of_range",
    share: false,
};

pub(crate) static ROLLOUT: Object = Object {
    noun: "a rollout",
    title: "rollout",
    doc: "Weights that rise by themselves, as long as the judge says so.",
    keys: &[
        Key {
            name: "steps",
            doc: "The weights in per cent, rising; none goes over the canary's `weight`.",
            kind: Kind::List(&STEPS),
            need: Default("[1, 5, 25, 50, 100]"),
            example: "[1, 5, 25, 50, 100]",
        },
        Key {
            name: "hold",
            doc: "How long each step lasts at least.",
            kind: Kind::Duration { zero: false },
            need: Default("10m"),
            example: "10m",
        },
        Key {
            name: "guard",
            doc: "What ends a rollout in seconds, without statistics.",
            kind: Kind::Object(&GUARD),
            need: Default("{}"),
            example: "{error_rate: 20}",
        },
        Key {
            name: "on_fail",
            doc: "What a failed canary gets.",
            kind: Kind::Word(&ON_FAIL),
            need: Default("rollback"),
            example: "rollback",
        },
    ],
    choices: &[],
    later: &[],
};

static STEPS: List = List {
    of: Kind::Number(&STEP),
    or_one: false,
    empty: Some(("no_steps", "a rollout has at least one step; without `rollout` the weight holds at once")),
};

pub(crate) static STEP: Number = Number {
    range: "over 0, up to 100 per cent",
    min: 0.0,
    max: 100.0,
    without: (true, false),
    code: "weight_out_of_range",
    share: false,
};

static ON_FAIL: Words = Words {
    noun: "what a failed canary gets",
    known: &[
        ("rollback", "Nobody: all its users are stable's again."),
        ("pause", "What it has; it waits for an operator."),
    ],
    later: &[],
};

pub(crate) static GUARD: Object = Object {
    noun: "a guard",
    title: "guard",
    doc: "What ends a rollout in seconds, without statistics.",
    keys: &[
        Key {
            name: "error_rate",
            doc: "The rollout fails when, with 95 % confidence, so many per cent of the canary's requests fail.",
            kind: Kind::Number(&ERROR_RATE),
            need: Default("30"),
            example: "20",
        },
        Key {
            name: "latency_factor",
            doc: "The rollout fails when the canary's p99 is so many times stable's.",
            kind: Kind::Number(&LATENCY_FACTOR),
            need: Default("5"),
            example: "3",
        },
        Key {
            name: "window",
            doc: "The time that the guard looks back on.",
            kind: Kind::Duration { zero: false },
            need: Default("60s"),
            example: "30s",
        },
        Key {
            name: "min_requests",
            doc: "Least requests of the canary within it; fewer say nothing.",
            kind: Kind::Integer(Integer::COUNT),
            need: Default("20"),
            example: "50",
        },
    ],
    choices: &[],
    later: &[],
};

static ERROR_RATE: Number = Number {
    range: "over 0, under 100 per cent",
    min: 0.0,
    max: 100.0,
    without: (true, true),
    code: "out_of_range",
    share: false,
};

static LATENCY_FACTOR: Number = Number {
    range: "over 1, up to 1000",
    min: 1.0,
    max: 1000.0,
    without: (true, false),
    code: "out_of_range",
    share: false,
};
