//! What traffic showed: ejections, what spared an endpoint, breakers.

use serde_json::{Map, Value, json};
use weir_core::breaker::{self, Change};
use weir_core::control::{BreakerNotice, Cause, Ejection, Limits, PanicNotice, TrafficNotice};
use weir_core::health::outlier::charge::Rule;
use weir_core::health::outlier::{Charge, Counts, What};
use weir_core::live::Sample;
use weir_core::time::Moment;

use super::{millis, with};
use crate::observe::journal::Level;

/// Why an endpoint is out, for how long, and what would have kept it.
#[must_use]
pub fn ejection(ejection: &Ejection, now: Moment) -> Value {
    let cause = match &ejection.cause {
        Cause::Charge(its) => charge(its),
        Cause::Trial { outcome, good, needed } => {
            json!({ "rule": "probation", "outcome": outcome.to_string(), "good": good, "needed": needed })
        }
        Cause::Remembered(why) => json!({ "rule": "remembered", "why": &**why }),
    };
    with(
        cause,
        json!({
            "out_seconds": ejection.pause.as_secs_f64(),
            "times": ejection.times,
            "limits": limits(&ejection.limits),
            "samples": samples(&ejection.samples, now),
        }),
    )
}

/// How many of a cluster are out, and may be.
#[must_use]
pub fn limits(limits: &Limits) -> Value {
    json!({ "out": limits.out, "most": limits.most, "of": limits.total, "words": limits.to_string() })
}

fn charge(charge: &Charge) -> Value {
    let rule = match charge.rule {
        Rule::Consecutive { threshold, .. } => json!({ "threshold": threshold }),
        Rule::Share { threshold, window, minimum_requests, confidence } => json!({
            "threshold": threshold,
            "window_seconds": window.as_secs_f64(),
            "minimum_requests": minimum_requests,
            "confidence": confidence,
        }),
    };
    let what = json!({
        "rule": charge.rule.as_str(),
        "failures": charge.failures,
        "requests": charge.requests,
        "ratio": charge.ratio,
        "bound": charge.bound,
        "needed": charge.needed,
        "classes": classes(&charge.counts),
        "otherwise": charge.counterfactual(),
    });
    with(what, rule)
}

fn classes(counts: &Counts) -> Value {
    let by_class = counts.iter().map(|(class, count)| (class.as_str().to_owned(), count.into()));
    Value::Object(by_class.collect::<Map<String, Value>>())
}

fn samples(samples: &[Sample], now: Moment) -> Vec<Value> {
    let one = |sample: &Sample| {
        let end = sample.request.iter().position(|&byte| byte == 0).unwrap_or(sample.request.len());
        json!({
            "ago_ms": millis(now.since(sample.at)),
            "outcome": sample.outcome.to_string(),
            "class": sample.outcome.class().as_str(),
            "took_ms": millis(sample.took),
            "request": String::from_utf8_lossy(&sample.request[..end]),
            "client": sample.client.to_string(),
        })
    };
    samples.iter().map(one).collect()
}

pub(super) fn traffic(notice: &TrafficNotice, now: Moment) -> Value {
    let fields = match notice {
        TrafficNotice::Charged { key, zone, charge: its, what, limits: counts, samples: latest } => {
            let (why, permille) = match what {
                What::Spare(why) => (Some(why.as_str()), None),
                What::Reduce(permille) => (None, Some(permille)),
                What::Observe | What::Eject => (None, None),
            };
            with(
                charge(its),
                json!({
                    "cluster": key.cluster.as_str(),
                    "endpoint": key.address.to_string(),
                    "zone": zone.as_ref().map(|zone| zone.as_str()),
                    "spared_by": why,
                    "weight_permille": permille,
                    "limits": limits(counts),
                    "samples": samples(latest, now),
                }),
            )
        }
        TrafficNotice::Restored { key, zone } => json!({
            "cluster": key.cluster.as_str(),
            "endpoint": key.address.to_string(),
            "zone": zone.as_ref().map(|zone| zone.as_str()),
        }),
        TrafficNotice::Held { cluster, bad, total, zone, until } => json!({
            "cluster": cluster.as_str(),
            "bad": bad,
            "of": total,
            "zone": zone.as_ref().map(|zone| zone.as_str()),
            "held_seconds": until.since(now).as_secs_f64(),
        }),
    };
    with(fields, json!({ "what": notice.as_str() }))
}

pub(super) fn panic(notice: &PanicNotice) -> (Level, Value) {
    match notice {
        PanicNotice::Began { cluster, why, others, zone } => {
            let others = others.iter().map(|(status, count)| (status.as_str().to_owned(), (*count).into()));
            let fields = json!({
                "cluster": cluster.as_str(),
                "state": "began",
                "available": why.available,
                "of": why.of,
                "threshold": why.threshold,
                "others": Value::Object(others.collect()),
                "zone": zone.as_ref().map(|zone| zone.as_str()),
            });
            (Level::Error, fields)
        }
        PanicNotice::Ended { cluster, lasted, available, of } => {
            let fields = json!({
                "cluster": cluster.as_str(),
                "state": "ended",
                "lasted_seconds": lasted.as_secs_f64(),
                "available": available,
                "of": of,
            });
            (Level::Info, fields)
        }
    }
}

pub(super) fn breaker(notice: &BreakerNotice) -> (Level, Value) {
    let cluster = notice.cluster.as_str();
    match &notice.change {
        Change::Opened { cause, pause, .. } => {
            let why = match cause {
                breaker::Cause::Rate { counts, threshold, window } => json!({
                    "failures": counts.failures(),
                    "requests": counts.requests(),
                    "classes": classes(counts),
                    "threshold": threshold,
                    "window_seconds": window.as_secs_f64(),
                }),
                breaker::Cause::Trial { outcome, good } => json!({ "outcome": outcome.to_string(), "good": good }),
            };
            let state = json!({ "cluster": cluster, "state": "open", "open_seconds": pause.as_secs_f64() });
            (Level::Warn, with(state, why))
        }
        Change::HalfOpened { trials, successes } => {
            (Level::Info, json!({ "cluster": cluster, "state": "half_open", "trials": trials, "successes": successes }))
        }
        Change::Closed { .. } | Change::Removed => (Level::Info, json!({ "cluster": cluster, "state": "closed" })),
    }
}
