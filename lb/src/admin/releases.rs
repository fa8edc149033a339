//! Releases over the API: what they are, what is judged, and orders.

use http::StatusCode;
use serde_json::{Value, json};
use weir_config::model::{Bucket, ClusterName, ReleaseName};
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
    json!({
        "cluster": view.cluster.as_str(),
        "role": if view.range.is_some() { "canary" } else { "stable" },
        "weight": view.weight.percent(),
        "weight_in_file": view.wished.percent(),
        "closed": view.closed,
        "buckets": view.range.map(buckets),
        "requests": view.requests.iter().sum::<u64>(),
        "requests_by_class": classes,
        "requests_by_why": why,
        "errors": view.errors,
        "moved_by_health": view.moved,
        "last_minute": view.minute.map(minute),
    })
}

/// The first and the last bucket; a range may wrap. Null if it is empty.
fn buckets(range: Range) -> Value {
    let last = |Range { from, share }: Range| -> Option<Bucket> { Some(from.further(share.buckets().checked_sub(1)?)) };
    last(range).map_or(
        Value::Null,
        |last| json!({ "first": range.from.get(), "last": last.get(), "count": range.share.buckets() }),
    )
}

fn minute(minute: Minute) -> Value {
    let seconds = minute.lasted.as_secs_f64();
    json!({
        "seconds": seconds,
        "requests": minute.requests,
        "errors": minute.errors,
        "rate": (minute.requests as f64 / seconds * 100.0).round() / 100.0,
        "p50_ms": minute.p50.map(tell::millis),
        "p99_ms": minute.p99.map(tell::millis),
    })
}

fn canary(view: &CanaryView<'_>) -> Value {
    let rollout = view.config.rollout.as_ref().map(|rollout| {
        let mut value = tell::rollout_state(view.state);
        value["steps"] = rollout.steps.iter().map(|step| step.percent()).collect::<Vec<_>>().into();
        value["last_step"] = view.steps.into();
        value["hold_seconds"] = rollout.hold.as_secs_f64().into();
        value["next_weight"] = view.next.map(|next| next.percent()).into();
        value["next_in_seconds"] = view.left.map(|left| left.as_secs_f64().ceil()).into();
        value
    });
    let mut value = json!({
        "cluster": view.config.cluster.as_str(),
        "closed": view.state.in_force().is_none(),
        "phase": view.state.phase.as_str(),
        "rollout": rollout,
    });
    value["judged"] = tell::verdict(view.verdict);
    value
}
