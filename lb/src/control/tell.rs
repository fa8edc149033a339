//! What people are told, in JSON: the same form in events and in the API.

mod discovery;
mod orders;
mod releases;
mod traffic;

use std::time::Duration;

use serde_json::{Value, json};
use weir_config::model::{CheckKind, HealthCheck};
use weir_core::control::drills::DrillNotice;
use weir_core::control::{Evidence, Notice, TrafficNotice};
use weir_core::health::{ProbeOutcome, ProbeResult};
use weir_core::time::Moment;

pub use discovery::trace;
pub use orders::{cluster_report, drain_scope, drill};
pub use releases::{state as rollout_state, transition, verdict};
pub use traffic::{ejection, limits};

use crate::observe::journal::{Kind, Level};

/// The evidence of a transition, as far as it is more than words, and what to call it.
#[must_use]
pub fn evidence(evidence: &Evidence, now: Moment) -> Option<(&'static str, Value)> {
    match evidence {
        Evidence::Probe { check, asked, result, streak, threshold, took } => {
            let mut value = outcome(&ProbeOutcome { result: *result, took: *took });
            value["check"] = (*check).into();
            value["asked"] = asked.kind.to_string().into();
            value["streak"] = (*streak).into();
            value["threshold"] = (*threshold).into();
            Some(("probe", value))
        }
        Evidence::Drained(drain) => {
            let lasts = drain.until.map(|until| until.since(drain.began).as_secs_f64());
            Some(("drain", with(drain_scope(&drain.scope), json!({ "by": &*drain.by, "for_seconds": lasts }))))
        }
        Evidence::Undrained { scope, by } => {
            Some(("drain", with(drain_scope(scope), json!({ "ended_by": by.as_deref() }))))
        }
        Evidence::Traffic(its) | Evidence::TimeServed(its) | Evidence::Proved { ejection: its, .. } => {
            Some(("traffic", ejection(its, now)))
        }
        Evidence::NoChecks
        | Evidence::Added
        | Evidence::ChecksRemoved
        | Evidence::Undiscovered
        | Evidence::Rediscovered
        | Evidence::Remembered(_)
        | Evidence::RuleRemoved => None,
    }
}

/// What kind of news it is, how much it matters, and its fields.
#[must_use]
pub fn notice(notice: &Notice, now: Moment) -> (Kind, Level, Value) {
    match notice {
        Notice::Order(notice) => (Kind::Drain, Level::Info, orders::order(notice)),
        Notice::Drill(notice) => {
            let level = if matches!(notice, DrillNotice::Began { .. }) { Level::Warn } else { Level::Info };
            (Kind::Drill, level, orders::rehearsal(notice))
        }
        Notice::Traffic(notice) => {
            let level = if matches!(notice, TrafficNotice::Restored { .. }) { Level::Info } else { Level::Warn };
            (Kind::Ejection, level, traffic::traffic(notice, now))
        }
        Notice::Breaker(notice) => {
            let (level, fields) = traffic::breaker(notice);
            (Kind::Breaker, level, fields)
        }
        Notice::Panic(notice) => {
            let (level, fields) = traffic::panic(notice);
            (Kind::Panic, level, fields)
        }
        Notice::Discovery(notice) => {
            let (level, fields) = discovery::news(notice);
            (Kind::Discovery, level, fields)
        }
        Notice::Release(notice) => {
            let (level, fields) = releases::news(notice);
            (Kind::Release, level, fields)
        }
    }
}

/// An object with the members of another.
fn with(mut value: Value, more: Value) -> Value {
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

/// How a probe ended: `{result, layer, status, took_ms, words}`.
#[must_use]
pub fn outcome(outcome: &ProbeOutcome) -> Value {
    use weir_core::health::ProbeFailure;
    let (layer, status) = match outcome.result {
        ProbeResult::Failed(failure @ ProbeFailure::Status(status)) => (Some(failure.layer()), Some(status)),
        ProbeResult::Failed(failure) => (Some(failure.layer()), None),
        ProbeResult::Passed | ProbeResult::Inconclusive(_) => (None, None),
    };
    json!({
        "result": outcome.result.as_str(),
        "layer": layer,
        "status": status,
        "took_ms": millis(outcome.took),
        "words": outcome.result.to_string(),
    })
}

/// What a check asks, in a few words: `GET /healthz` or `tcp`, and the port if it is another.
#[must_use]
pub fn check(check: &HealthCheck) -> String {
    let port = check.port.map(|port| format!(" on port {port}")).unwrap_or_default();
    match &check.kind {
        CheckKind::Tcp(_) => format!("tcp{port}"),
        CheckKind::Grpc(_) => format!("grpc{port}"),
        CheckKind::Udp(_) => format!("udp{port}"),
        CheckKind::Http(http) => format!("{} {}{port}", http.method, http.path),
    }
}

/// Milliseconds, to the microsecond.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use weir_core::health::{Inconclusive, ProbeFailure};

    use super::*;

    #[test]
    fn outcomes_keep_their_parts() {
        let tell = |result| outcome(&ProbeOutcome { result, took: Duration::from_micros(1500) });
        let failed = tell(ProbeResult::Failed(ProbeFailure::Status(503)));
        assert_eq!(
            (&failed["result"], &failed["layer"], &failed["status"]),
            (&"status".into(), &"l7".into(), &503.into())
        );
        assert_eq!(failed["took_ms"], 1.5);
        assert_eq!(tell(ProbeResult::Passed)["layer"], Value::Null);
        assert_eq!(tell(ProbeResult::Inconclusive(Inconclusive::Late))["result"], "late");
    }
}
