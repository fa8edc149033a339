//! Releases over the API: what they are, what is judged, and orders.

use http::StatusCode;
use serde_json::{Value, json};
use weir_config::model::{ClusterName, ReleaseName};
use weir_config::release::BUCKETS;
use weir_config::release::rule::Range;
use weir_core::control::releases::{Action, CanaryView, Minute, ReleaseOrder, VersionView};
use weir_core::control::{Order, ReleaseView};
use weir_core::release::Why;

use super::orders::{by, name};
use super::query::{Query, Wrong};
use crate::control::{Handle, tell};

const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// What a path under `/api/v1/releases/` names: a release, and perhaps what shall be done.
pub(super) fn named(path: &str) -> Option<(&str, Option<&str>)> {
    let rest = path.strip_prefix("/api/v1/releases/").filter(|rest| !rest.is_empty() && !rest.contains('/'))?;
    Some(rest.split_once(':').map_or((rest, None), |(name, action)| (name, Some(action))))
}

/// `POST /api/v1/releases/NAME:ACTION`; `None` if there is no such action.
pub(super) fn order(release: &str, action: &str, query: &Query) -> Option<Result<Order, Wrong>> {
    let action = Action::ALL.into_iter().find(|known| known.as_str() == action)?;
    Some(wanted(release, action, query))
}

fn wanted(release: &str, action: Action, query: &Query) -> Result<Order, Wrong> {
    query.only(&["canary", "by"])?;
    let canary = query.get("canary").map(|canary| name("canary", canary, ClusterName::new)).transpose()?;
    let unknown = |mut wrong: Wrong| {
        wrong.status = StatusCode::NOT_FOUND;
        wrong
    };
    let release = name("release", release, ReleaseName::new).map_err(unknown)?;
    Ok(Order::Release(ReleaseOrder { release, canary, action, by: by(query)? }))
}

/// `GET /api/v1/releases`.
pub(super) fn all(handle: &Handle) -> Value {
    let list = handle.view(|control| control.releases().map(|view| release(&view)).collect::<Vec<Value>>());
    json!({ "releases": list })
}

/// `GET /api/v1/releases/NAME`.
pub(super) fn one(name: &str, handle: &Handle) -> Option<Value> {
    handle.view(|control| {
        let mut releases = control.releases();
        releases.find(|view| view.config.name.as_str() == name).map(|view| release(&view))
    })
}

fn release(view: &ReleaseView<'_>) -> Value {
    let config = view.config;
    let unattributed: u64 = view.versions.iter().map(|version| version.why[Why::Unattributed as usize]).sum();
    json!({
        "name": config.name.as_str(),
        "salt": config.salt,
        "stable": config.stable.as_str(),
        "unattributed": unattributed,
        "versions": view.versions.iter().map(version).collect::<Vec<_>>(),
        "canaries": view.canaries.iter().map(canary).collect::<Vec<_>>(),
    })
}

fn version(view: &VersionView<'_>) -> Value {
    let classes: serde_json::Map<String, Value> =
        CLASSES.iter().zip(view.requests).map(|(class, count)| ((*class).to_owned(), count.into())).collect();
    let why: serde_json::Map<String, Value> =
        Why::ALL.iter().zip(view.why).map(|(why, count)| (why.as_str().to_owned(), count.into())).collect();
    let requests: u64 = view.requests.iter().sum();
    let mut value = json!({
        "cluster": view.cluster.as_str(),
        "role": if view.range.is_some() { "canary" } else { "stable" },
        "weight": view.wished.percent(),
        "in_force": view.weight.percent(),
        "closed": view.closed,
        "ranges": view.range.map_or_else(Vec::new, buckets),
        "requests": requests,
        "requests_by_class": classes,
        "requests_by_why": why,
        "errors": view.errors,
        "error_rate": (requests > 0).then(|| view.errors as f64 / requests as f64),
        "unattributed": view.why[Why::Unattributed as usize],
        "moved_by_health": view.moved,
    });
    if let Some(Minute { lasted, requests, errors, p50, p99 }) = view.minute {
        let rate = requests as f64 / lasted.as_secs_f64();
        value["requests_per_second"] = ((rate * 100.0).round() / 100.0).into();
        value["recent_requests"] = requests.into();
        value["recent_errors"] = errors.into();
        value["p50_ms"] = p50.map(tell::millis).into();
        value["p99_ms"] = p99.map(tell::millis).into();
    }
    value
}

/// The first and the last bucket; two pairs where they wrap.
fn buckets(Range { from, share }: Range) -> Vec<[u16; 2]> {
    let (first, count) = (from.get(), share.buckets());
    match BUCKETS - first {
        _ if count == 0 => Vec::new(),
        room if count <= room => vec![[first, first + count - 1]],
        room => vec![[first, BUCKETS - 1], [0, count - room - 1]],
    }
}

fn canary(view: &CanaryView<'_>) -> Value {
    let rollout = view.config.rollout.as_ref().map(|rollout| {
        let mut value = tell::rollout_state(view.state);
        value["steps"] = view.steps.into();
        value["weights"] = rollout.steps.iter().map(|step| step.percent()).collect::<Vec<_>>().into();
        value["hold_seconds"] = rollout.hold.as_secs_f64().into();
        value["next"] = view.next.map(|next| next.percent()).into();
        value["left_seconds"] = view.left.map(|left| left.as_secs_f64().ceil()).into();
        value
    });
    json!({
        "cluster": view.config.cluster.as_str(),
        "closed": view.state.in_force().is_none(),
        "phase": view.state.phase.as_str(),
        "verdict": tell::verdict(view.verdict),
        "rollout": rollout,
    })
}

#[cfg(test)]
mod tests {
    use weir_config::model::{Bucket, Share};

    use super::*;

    #[test]
    fn ranges_are_told_with_both_ends() {
        for (from, count, wanted) in [
            (0, 0, vec![]),
            (0, 500, vec![[0, 499]]),
            (9_500, 500, vec![[9_500, 9_999]]),
            (9_500, 501, vec![[9_500, 9_999], [0, 0]]),
            (7, 10_000, vec![[7, 9_999], [0, 6]]),
        ] {
            let range = Range { from: Bucket::new(from).unwrap(), share: Share::of_buckets(count).unwrap() };
            assert_eq!(buckets(range), wanted);
        }
    }

    #[test]
    fn paths_name_a_release_and_perhaps_an_action() {
        assert_eq!(named("/api/v1/releases/orders"), Some(("orders", None)));
        assert_eq!(named("/api/v1/releases/orders:pause"), Some(("orders", Some("pause"))));
        for none in ["/api/v1/releases", "/api/v1/releases/", "/api/v1/releases/orders/buckets"] {
            assert_eq!(named(none), None, "{none}");
        }
    }
}
