//! Canaries: what is judged of them, and where their rollouts stand.

use std::time::Duration;

use serde_json::{Value, json};
use weir_core::control::{ReleaseChange, ReleaseNotice};
use weir_core::release::judge::{ArmView, Kind, QUANTILES, Verdict};
use weir_core::release::rollout::{By, Phase, State, Transition};

use super::{millis, with};
use crate::observe::journal::Level;

pub(super) fn news(notice: &ReleaseNotice) -> (Level, Value) {
    let ReleaseNotice { release, canary, change } = notice;
    let whose = json!({ "release": release.as_str(), "cluster": canary.as_str() });
    let (level, what) = match change {
        ReleaseChange::Verdict { before, verdict: its } => {
            let level = if its.kind == Kind::Rollback { Level::Warn } else { Level::Info };
            (level, json!({ "what": "verdict", "before": before.as_str(), "verdict": verdict(its) }))
        }
        ReleaseChange::Rollout { transition: its, by } => {
            let level = if matches!(its, Transition::Failed { .. }) { Level::Error } else { Level::Info };
            (level, with(transition(its), json!({ "ordered_by": by.as_deref() })))
        }
        ReleaseChange::Restored(state) => (Level::Info, with(json!({ "what": "restored" }), self::state(state))),
    };
    (level, with(whose, what))
}

/// What became of a canary: `{what, from, to, step, why, by}`, as far as it says.
#[must_use]
pub fn transition(transition: &Transition) -> Value {
    let what = json!({ "what": transition.as_str() });
    let more = match transition {
        Transition::Advanced { from, to, step, of, why } => {
            json!({ "from": from.percent(), "to": to.percent(), "step": step, "steps": of, "why": why })
        }
        Transition::Completed { at, why } => json!({ "to": at.percent(), "why": why }),
        Transition::Failed { by, why, at, keeps } => {
            let by = match by {
                By::Judge => "judge",
                By::Guard => "guard",
            };
            json!({ "from": at.percent(), "to": if *keeps { at.percent() } else { 0.0 }, "by": by, "why": why })
        }
        Transition::Paused { at } => json!({ "to": at.percent() }),
        Transition::Resumed { at, anew } => json!({ "to": at.percent(), "anew": anew }),
        Transition::Aborted { at } => json!({ "from": at.percent(), "to": 0.0 }),
        Transition::Edited { from, to, ended } => {
            json!({ "from": from.map(|from| from.percent()), "to": to.percent(), "ended": ended })
        }
    };
    with(what, more)
}

/// Where a canary stands: `{phase, why, step, weight, held_seconds}`; a step is from 1.
#[must_use]
pub fn state(state: &State) -> Value {
    let why = match &state.phase {
        Phase::Failed { why, .. } => Some(why.as_str()),
        _ => None,
    };
    json!({
        "phase": state.phase.as_str(),
        "why": why,
        "step": state.step + 1,
        "weight": state.in_force().map_or(0.0, |weight| weight.percent()),
        "held_seconds": seconds(state.held_for),
    })
}

/// What the judge says, and from what.
#[must_use]
pub fn verdict(verdict: &Verdict) -> Value {
    let points = |share: f64| round(share * 100.0);
    json!({
        "kind": verdict.kind.as_str(),
        "why": verdict.why,
        "canary": arm(&verdict.canary),
        "cohort": arm(&verdict.stable),
        "more_errors_points": verdict.difference.map(|difference| json!({
            "estimate": points(difference.estimate),
            "at_least": points(difference.least),
            "at_most": points(difference.most),
        })),
        "p_errors": verdict.p_errors,
        "p_latency": verdict.p_latency,
        "chance_slower": verdict.slower.map(round),
        "missing_requests": verdict.missing,
        "expected_seconds": verdict.expected.map(seconds),
    })
}

fn arm(arm: &ArmView) -> Value {
    let (least, most) = arm.error_share;
    let percent = (arm.requests > 0).then(|| round(100.0 * arm.errors as f64 / arm.requests as f64));
    let mut value = json!({
        "requests": arm.requests,
        "errors": arm.errors,
        "rate": round(arm.rate),
        "error_percent": percent,
        "error_percent_at_least": round(least * 100.0),
        "error_percent_at_most": round(most * 100.0),
    });
    for (share, quantile) in QUANTILES.iter().zip(&arm.latency) {
        let name = format!("p{}_ms", (share * 100.0).round());
        value[name] = match quantile {
            Some(its) => json!({
                "estimate": millis(its.estimate),
                "at_least": millis(its.least),
                "at_most": its.most.map(millis),
            }),
            None => Value::Null,
        };
    }
    value
}

/// To four decimals: more is not known.
fn round(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

/// Seconds, to the millisecond.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}
