//! Probes, orders and what else people are told, in JSON: the same form in events and in the API.

use std::time::Duration;

use serde_json::{Value, json};
use weir_config::model::{CheckKind, HealthCheck};
use weir_core::control::drills::{ClusterReport, DrillNotice};
use weir_core::control::orders::{DrainScope, OrderNotice};
use weir_core::control::tally::Stretch;
use weir_core::control::{Evidence, Notice};
use weir_core::drill::{Drill, Scope, Trouble};
use weir_core::health::{ProbeOutcome, ProbeResult};

use crate::observe::journal::{Kind, Level};

/// The evidence of a transition, as far as it is more than words, and what to call it.
#[must_use]
pub fn evidence(evidence: &Evidence) -> Option<(&'static str, Value)> {
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
        _ => None,
    }
}

/// What kind of news it is, how much it matters, and its fields.
#[must_use]
pub fn notice(notice: &Notice) -> (Kind, Level, Value) {
    match notice {
        Notice::Order(notice) => (Kind::Drain, Level::Info, order(notice)),
        Notice::Drill(notice) => {
            let level = if matches!(notice, DrillNotice::Began { .. }) { Level::Warn } else { Level::Info };
            (Kind::Drill, level, rehearsal(notice))
        }
        Notice::Traffic(_) => (Kind::EjectionSpared, Level::Warn, json!({})),
        Notice::Breaker(notice) => (Kind::Breaker, Level::Warn, json!({ "cluster": notice.cluster.as_str() })),
        Notice::Panic(_) => (Kind::Panic, Level::Warn, json!({})),
        Notice::Discovery(notice) => (Kind::Discovery, Level::Info, json!({ "cluster": notice.key.cluster.as_str() })),
    }
}

fn order(notice: &OrderNotice) -> Value {
    match notice {
        OrderNotice::Drained { drain, endpoints, lasts } => with(
            drain_scope(&drain.scope),
            json!({
                "state": "drained",
                "by": &*drain.by,
                "endpoints": endpoints,
                "for_seconds": lasts.map(|lasts| lasts.as_secs_f64()),
            }),
        ),
        OrderNotice::Undrained { drain, endpoints, still, by } => with(
            drain_scope(&drain.scope),
            json!({ "state": "ended", "by": by.as_deref(), "endpoints": endpoints, "still_drained": still }),
        ),
    }
}

fn rehearsal(notice: &DrillNotice) -> Value {
    match notice {
        DrillNotice::Began { drill: its, by } => with(drill(its), json!({ "state": "began", "by": &**by })),
        DrillNotice::Ended { drill: its, lasted, by } => {
            with(drill(its), json!({ "state": "ended", "by": by.as_deref(), "lasted_seconds": lasted.as_secs_f64() }))
        }
        DrillNotice::Reported { drill: its, clusters } => {
            let clusters: Vec<Value> = clusters.iter().map(cluster_report).collect();
            with(drill(its), json!({ "state": "reported", "clusters": clusters }))
        }
    }
}

/// What is drained: `{endpoint, zone, cluster}`, null where it does not say.
#[must_use]
pub fn drain_scope(scope: &DrainScope) -> Value {
    match scope {
        DrainScope::Endpoint(key) => {
            json!({ "endpoint": key.to_string(), "zone": null, "cluster": key.cluster.as_str() })
        }
        DrainScope::Zone(zone, cluster) => json!({
            "endpoint": null,
            "zone": zone.as_str(),
            "cluster": cluster.as_ref().map(|cluster| cluster.as_str()),
        }),
    }
}

/// What is rehearsed: number, trouble and place, in words and apart.
#[must_use]
pub fn drill(drill: &Drill) -> Value {
    let (delay, status) = match drill.trouble {
        Trouble::Delay(delay) => (Some(millis(delay)), None),
        Trouble::Abort(status) => (None, Some(status)),
        Trouble::Unreachable | Trouble::Reset => (None, None),
    };
    let place = match &drill.scope {
        Scope::Zone(zone) => json!({ "zone": zone.as_str() }),
        Scope::Cluster(cluster) => json!({ "cluster": cluster.as_str() }),
        Scope::Endpoint(key) => json!({ "endpoint": key.to_string() }),
        Scope::Route(listener, route) => {
            json!({ "listener": listener.as_str(), "route": route.map(|route| route + 1) })
        }
    };
    json!({
        "drill": drill.id,
        "words": drill.to_string(),
        "kind": drill.trouble.as_str(),
        "delay_ms": delay,
        "status": status,
        "at": place,
        "percent": f64::from(drill.share) / 100.0,
        "header": drill.header.as_ref().map(|header| header.name.as_str()),
        "for_seconds": drill.until.since(drill.began).as_secs_f64(),
    })
}

/// What clients saw of a cluster before, during and after a rehearsal.
#[must_use]
pub fn cluster_report(report: &ClusterReport) -> Value {
    json!({
        "cluster": report.cluster.as_str(),
        "before": stretch(&report.before),
        "during": stretch(&report.during),
        "after": report.after.as_ref().map(stretch),
    })
}

fn stretch(stretch: &Stretch) -> Value {
    json!({
        "seconds": stretch.lasted.as_secs_f64(),
        "requests": stretch.requests,
        "errors": stretch.errors,
        "aborted": stretch.aborted,
        "p50_ms": stretch.p50.map(millis),
        "p99_ms": stretch.p99.map(millis),
    })
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
        CheckKind::Tcp => format!("tcp{port}"),
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
