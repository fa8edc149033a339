//! Drains and rehearsals over the API: a query in, an order out; and what became of it, as JSON.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use weir_config::model::{ClusterName, HeaderMatch, HeaderTest, ListenerName, ZoneName};
use weir_config::units::NameError;
use weir_config::words;
use weir_core::control::Order;
use weir_core::control::drills::{AFTER_DEFAULT, DRILL_DEFAULT, DrillView, DrillWish, Stage};
use weir_core::control::orders::{Done, Drain, DrainScope, Refused};
use weir_core::drill::{Scope, Trouble};
use weir_core::endpoint::EndpointKey;

use super::query::{BY_MAX, Query, Wrong};
use super::status::Clock;
use crate::control::{Handle, tell};

/// `POST /api/v1/drain`.
pub(super) fn drain(query: &Query) -> Result<Order, Wrong> {
    query.only(&["endpoint", "zone", "cluster", "for", "force", "by"])?;
    let lasts = query.duration("for")?;
    Ok(Order::Drain { scope: drain_scope(query)?, lasts, force: query.is_on("force"), by: by(query)? })
}

/// `POST /api/v1/undrain`.
pub(super) fn undrain(query: &Query) -> Result<Order, Wrong> {
    query.only(&["endpoint", "zone", "cluster", "by"])?;
    Ok(Order::Undrain { scope: drain_scope(query)?, by: by(query)? })
}

/// `POST /api/v1/drills/ID:end`.
pub(super) fn end(id: u64, query: &Query) -> Result<Order, Wrong> {
    query.only(&["by"])?;
    Ok(Order::EndDrill { id, by: by(query)? })
}

/// `POST /api/v1/drills`.
pub(super) fn drill(query: &Query, handle: &Handle) -> Result<Order, Wrong> {
    let common = ["kind", "endpoint", "zone", "cluster", "route", "percent", "header", "for", "after", "by"];
    let (more, trouble): (&[&'static str], _) = match query.get("kind") {
        Some("zone" | "unreachable") => (&[], Trouble::Unreachable),
        Some("latency") => {
            let wanted = || Wrong::new("delay", "latency needs a delay", "say how much later, as in delay=200ms");
            (&["delay"], Trouble::Delay(query.duration("delay")?.ok_or_else(wanted)?))
        }
        Some("abort") => (&["status"], Trouble::Abort(status(query)?)),
        Some("reset") => (&[], Trouble::Reset),
        Some(other) => return Err(Wrong::new("kind", format!("there is no drill of kind {other:?}"), KINDS)),
        None => return Err(Wrong::new("kind", "a drill has a kind", KINDS)),
    };
    query.only(&[&common[..], more].concat())?;
    if query.get("kind") == Some("zone") && query.get("zone").is_none() {
        return Err(Wrong::new("zone", "which zone shall seem gone?", "name it, as in zone=az-b"));
    }
    Ok(Order::Drill(DrillWish {
        trouble,
        scope: drill_scope(query, handle)?,
        share: share(query)?,
        header: query.get("header").map(header).transpose()?,
        lasts: query.duration("for")?.unwrap_or(DRILL_DEFAULT),
        after: query.duration("after")?.unwrap_or(AFTER_DEFAULT),
        by: by(query)?,
    }))
}

const KINDS: &str = "kinds are: zone, unreachable, latency, abort, reset";

fn status(query: &Query) -> Result<u16, Wrong> {
    let status = query.number("status")?.unwrap_or(503);
    u16::try_from(status).ok().filter(|status| (200..=599).contains(status)).ok_or_else(|| {
        Wrong::new("status", format!("{status} is no status to abort with"), "one of 200 to 599; without it, 503")
    })
}

fn share(query: &Query) -> Result<u16, Wrong> {
    let Some(text) = query.get("percent") else {
        return Ok(10_000);
    };
    let percent = text.parse::<f64>().ok().filter(|percent| (0.01..=100.0).contains(percent));
    percent.map(|percent| (percent * 100.0).round() as u16).ok_or_else(|| {
        Wrong::new("percent", format!("{text:?} is no share"), "a number from 0.01 to 100; without it, all are struck")
    })
}

/// `name=value`, `name` (has it) or `!name` (has it not).
fn header(text: &str) -> Result<HeaderMatch, Wrong> {
    let (name, test) = match (text.split_once('='), text.strip_prefix('!')) {
        (Some((name, value)), _) => (name, HeaderTest::Exact(value.to_owned())),
        (None, Some(name)) => (name, HeaderTest::Absent),
        (None, None) => (text, HeaderTest::Present),
    };
    match http::HeaderName::try_from(name) {
        Ok(name) => Ok(HeaderMatch { name: name.as_str().to_owned(), test }),
        Err(_) => {
            let detail = format!("{name:?} is no name of a header");
            Err(Wrong::new("header", detail, "write name=value, name (has it) or !name (has it not)"))
        }
    }
}

pub(super) fn by(query: &Query) -> Result<Arc<str>, Wrong> {
    let by = query.get("by").filter(|by| !by.is_empty()).unwrap_or("the admin API");
    if by.len() > BY_MAX || by.chars().any(char::is_control) {
        return Err(Wrong::new("by", "by is no name", format!("at most {BY_MAX} bytes without control characters")));
    }
    Ok(by.into())
}

fn drain_scope(query: &Query) -> Result<DrainScope, Wrong> {
    match (query.get("endpoint"), query.get("zone"), query.get("cluster")) {
        (Some(key), None, None) => Ok(DrainScope::Endpoint(endpoint(key)?)),
        (None, Some(zone), cluster) => {
            let cluster = cluster.map(|cluster| name("cluster", cluster, ClusterName::new)).transpose()?;
            Ok(DrainScope::Zone(name("zone", zone, ZoneName::new)?, cluster))
        }
        (None, None, Some(_)) => Err(Wrong::new(
            "cluster",
            "a whole cluster is not drained",
            "say zone too; to stop a cluster, take away its routes",
        )),
        (None, None, None) => Err(Wrong::new("endpoint", "what shall be drained?", ONE_OF)),
        (Some(_), _, _) => Err(Wrong::new("endpoint", "an endpoint is named alone", ONE_OF)),
    }
}

const ONE_OF: &str = "say endpoint=CLUSTER/ADDRESS, or zone=NAME and perhaps cluster=NAME";

fn drill_scope(query: &Query, handle: &Handle) -> Result<Scope, Wrong> {
    match (query.get("endpoint"), query.get("zone"), query.get("cluster"), query.get("route")) {
        (Some(key), None, None, None) => Ok(Scope::Endpoint(endpoint(key)?)),
        (None, Some(zone), None, None) => Ok(Scope::Zone(name("zone", zone, ZoneName::new)?)),
        (None, None, Some(cluster), None) => Ok(Scope::Cluster(name("cluster", cluster, ClusterName::new)?)),
        (None, None, None, Some(text)) => route(text, handle),
        _ => {
            let remedy = "say one of endpoint=CLUSTER/ADDRESS, zone=NAME, cluster=NAME, route=LISTENER[/N]";
            Err(Wrong::new("endpoint", "a drill is at one place", remedy))
        }
    }
}

fn endpoint(text: &str) -> Result<EndpointKey, Wrong> {
    let remedy = "write CLUSTER/ADDRESS as `weir status` shows them, as in app/10.0.1.11:8080";
    let wrong = |detail: String| Wrong::new("endpoint", detail, remedy);
    let (cluster, address) = text.split_once('/').ok_or_else(|| wrong(format!("{text:?} names no endpoint")))?;
    let address = words::address(address).map_err(wrong)?;
    Ok(EndpointKey { cluster: name("endpoint", cluster, ClusterName::new)?, address })
}

/// `LISTENER`, `LISTENER/2` (from 1) or `LISTENER/NAME`.
fn route(text: &str, handle: &Handle) -> Result<Scope, Wrong> {
    let (listener, route) = text.split_once('/').map_or((text, None), |(listener, route)| (listener, Some(route)));
    let listener = name("route", listener, ListenerName::new)?;
    let Some(route) = route else {
        return Ok(Scope::Route(listener, None));
    };
    if let Ok(number) = route.parse::<usize>() {
        let none = || Wrong::new("route", "routes are numbered from 1", "the first one is LISTENER/1");
        return Ok(Scope::Route(listener, Some(number.checked_sub(1).ok_or_else(none)?)));
    }
    let snapshot = handle.snapshot();
    let routes = snapshot.listener(&listener).map_or(&[][..], |listener| &listener.config.routes);
    let named = |its: &weir_config::model::Route| its.name.as_ref().is_some_and(|name| name.as_str() == route);
    match routes.iter().position(named) {
        Some(at) => Ok(Scope::Route(listener, Some(at))),
        None => Err(Wrong::new(
            "route",
            format!("listener {listener} has no route named {route:?}"),
            "name the route, or number it from 1",
        )),
    }
}

pub(super) fn name<T>(
    parameter: &'static str,
    text: &str,
    new: impl FnOnce(&str) -> Result<T, NameError>,
) -> Result<T, Wrong> {
    new(text).map_err(|error| Wrong::new(parameter, error.to_string(), "name it as the configuration does"))
}

/// Why an order is refused, as an answer.
pub(super) fn refused(refused: &Refused) -> Wrong {
    let (status, parameter, remedy) = match refused {
        Refused::Unknown { what: "drill", .. } => (StatusCode::NOT_FOUND, None, "GET /api/v1/drills lists them"),
        Refused::Unknown { what: "release", .. } => (StatusCode::NOT_FOUND, None, "GET /api/v1/releases lists them"),
        Refused::Unknown { what, .. } => (
            StatusCode::UNPROCESSABLE_ENTITY,
            Some(if *what == "listener" { "route" } else { *what }),
            "`weir status` shows what there is",
        ),
        Refused::LastUsable(_) => {
            (StatusCode::CONFLICT, Some("force"), "wait until others are well, or say force (--force)")
        }
        Refused::NotDrained { .. } => (StatusCode::CONFLICT, None, "GET /api/v1/drains lists what is drained"),
        Refused::Time(parameter, _) => (StatusCode::BAD_REQUEST, Some(*parameter), "give it another time, as in 10m"),
        Refused::TooMany(..) => (StatusCode::CONFLICT, None, "end one that is not needed any more"),
        Refused::WhichCanary(_) => (StatusCode::BAD_REQUEST, Some("canary"), "say which, as in canary=orders-v2"),
        Refused::Rollout { .. } => (StatusCode::CONFLICT, None, "GET /api/v1/releases shows where it stands"),
        Refused::Senseless(_) => (StatusCode::BAD_REQUEST, None, "see `weir drill --help`"),
        Refused::Stopping => (StatusCode::SERVICE_UNAVAILABLE, None, "ask another instance"),
    };
    Wrong { status, parameter, detail: refused.to_string(), remedy: remedy.to_owned() }
}

/// What became of an order.
pub(super) fn done(done: &Done, handle: &Handle, clock: Clock) -> Value {
    let count = |n: usize| if n == 1 { "1 endpoint".to_owned() } else { format!("{n} endpoints") };
    let words = |lasts: Option<Duration>| {
        lasts.map_or_else(|| "until told otherwise".to_owned(), |lasts| format!("for {}", words::shown(lasts)))
    };
    match done {
        Done::Drained(drain, endpoints) => {
            let lasts = words(drain.until.map(|until| until.since(drain.began)));
            let text = format!("{} is drained {lasts}: {} given no new work", drain.scope, count(*endpoints));
            json!({ "result": "drained", "text": text, "drain": drain_json(drain, *endpoints, clock) })
        }
        Done::Undrained(scope, endpoints, still) => {
            let still_text = if *still > 0 { format!(", {still} still drained otherwise") } else { String::new() };
            let text = format!("{scope} is drained no longer: {} back{still_text}", count(endpoints - still));
            json!({ "result": "undrained", "text": text, "endpoints": endpoints, "still_drained": still })
        }
        Done::Began(drill, warnings) => {
            let text = format!("drill {} runs for {}: {drill}", drill.id, words::shown(drill.until.since(drill.began)));
            let view = handle.view(|control| control.drill(drill.id)).map(|view| drill_json(&view, clock));
            json!({ "result": "began", "text": text, "warnings": warnings, "drill": view })
        }
        Done::Release { release, canary, transition } => {
            let text = format!("canary {canary} of release {release} {transition}");
            let view = super::releases::one(release.as_str(), handle);
            json!({ "result": transition.as_str(), "text": text, "change": tell::transition(transition), "release": view })
        }
        Done::Ended(id) => {
            let view = handle.view(|control| control.drill(*id)).map(|view| drill_json(&view, clock));
            json!({ "result": "ended", "text": format!("drill {id} is over"), "drill": view })
        }
    }
}

/// `GET /api/v1/drains`.
pub(super) fn drains(handle: &Handle, clock: Clock) -> Value {
    let list = handle.view(|control| {
        let drains = control.drains().map(|drain| drain_json(drain, control.drained_by(&drain.scope), clock));
        drains.collect::<Vec<Value>>()
    });
    json!({ "drains": list })
}

/// `GET /api/v1/drills`.
pub(super) fn drills(handle: &Handle, clock: Clock) -> Value {
    let list = handle.view(|control| control.drills().map(|view| drill_json(&view, clock)).collect::<Vec<Value>>());
    json!({ "drills": list })
}

/// `GET /api/v1/drills/ID`.
pub(super) fn drill_by_id(id: u64, handle: &Handle, clock: Clock) -> Option<Value> {
    handle.view(|control| control.drill(id)).map(|view| drill_json(&view, clock))
}

fn drain_json(drain: &Drain, endpoints: usize, clock: Clock) -> Value {
    let mut value = tell::drain_scope(&drain.scope);
    value["words"] = drain.scope.to_string().into();
    value["by"] = (*drain.by).into();
    value["since"] = clock.wall_at(drain.began).into();
    value["until"] = drain.until.map(|until| clock.wall_at(until)).into();
    value["left_seconds"] = drain.until.map(|until| clock.until(until).as_secs_f64()).into();
    value["endpoints"] = endpoints.into();
    value
}

fn drill_json(view: &DrillView, clock: Clock) -> Value {
    let drill = &view.drill;
    let mut value = tell::drill(drill);
    let (ended, by, next) = match &view.stage {
        Stage::Running => (None, None, Some(drill.until)),
        Stage::After { ended, by, until } => (Some(*ended), by.clone(), Some(*until)),
        Stage::Reported { ended, by } => (Some(*ended), by.clone(), None),
    };
    value["stage"] = view.stage.as_str().into();
    value["by"] = (*view.by).into();
    value["began"] = clock.wall_at(drill.began).into();
    value["until"] = clock.wall_at(drill.until).into();
    value["ended"] = ended.map(|ended| clock.wall_at(ended)).into();
    value["ended_by"] = by.as_deref().into();
    value["left_seconds"] = next.map(|next| clock.until(next).as_secs_f64()).into();
    value["clusters"] = view.clusters.iter().map(tell::cluster_report).collect::<Vec<Value>>().into();
    value
}
