//! Drains and rehearsals.

use serde_json::{Value, json};
use weir_core::control::drills::{ClusterReport, DrillNotice};
use weir_core::control::orders::{DrainScope, OrderNotice};
use weir_core::control::tally::Stretch;
use weir_core::drill::{Drill, Scope, Trouble};

use super::{millis, with};

pub(super) fn order(notice: &OrderNotice) -> Value {
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

pub(super) fn rehearsal(notice: &DrillNotice) -> Value {
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
