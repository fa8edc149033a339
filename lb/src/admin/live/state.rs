//! The state of everything, small: what the status page draws. Sent when it changed, so nothing in
//! it moves by itself: moments, not ages.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::super::problems;
use super::super::status::{self, Clock, Cluster, Endpoint, Listener};
use super::super::{orders, releases};
use crate::control::{self, Handle};

/// Gathers it.
pub(super) fn of(handle: &Handle, instance: &str, clock: Clock) -> Value {
    let status = status::of(handle, instance, clock);
    let endings = control::endings(&handle.snapshot().config, clock.wall);
    let problems = problems::of(&status, &endings, &releases::all(handle)["releases"]);
    let drains = orders::drains(handle, clock);
    let without = |mut value: Value, key: &str| {
        if let Some(list) = value.as_array_mut() {
            list.iter_mut().filter_map(Value::as_object_mut).for_each(|one| _ = one.remove(key));
        }
        value
    };
    json!({
        "instance": status.instance,
        "version": status.version,
        "phase": status.phase,
        "started": status.started,
        "zone": status.zone,
        "generation": status.generation,
        "config": {
            "path": status.config.path,
            "hash": status.config.hash,
            "generation": status.config.generation,
            "since": status.config.since,
            "last_reload": status.config.last_reload,
        },
        "problems": problems,
        "drains": without(drains["drains"].clone(), "left_seconds"),
        "drills": status.drills.iter().map(|drill| json!({ "words": drill.words, "by": drill.by })).collect::<Vec<_>>(),
        "listeners": status.listeners.iter().map(listener).collect::<Vec<_>>(),
        "clusters": status.clusters.iter().map(cluster).collect::<Vec<_>>(),
    })
}

/// Whether it may have changed is told by these, cheaply: a change of anything that is shown is a new
/// snapshot or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    generation: u64,
    last_event: u64,
    phase: control::Phase,
    /// Certificates come nearer to their end without either.
    hour: u64,
}

impl Mark {
    pub(super) fn of(handle: &Handle, wall: SystemTime) -> Self {
        let seconds = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            generation: handle.snapshot().generation,
            last_event: handle.journal().read(None, 0).last,
            phase: handle.phase(),
            hour: seconds / 3600,
        }
    }
}

fn listener(listener: &Listener) -> Value {
    let address = |address: &status::Address| address.bound.clone().unwrap_or_else(|| address.configured.clone());
    json!({
        "name": listener.name,
        "protocol": listener.protocol,
        "addresses": listener.addresses.iter().map(address).collect::<Vec<_>>(),
    })
}

fn cluster(cluster: &Cluster) -> Value {
    let source = |source: &status::Source| json!([source.source, source.state, source.failure]);
    json!({
        "name": cluster.name,
        "balance": cluster.balance,
        "using": cluster.using,
        "healthy": cluster.healthy,
        "usable": cluster.usable,
        "panic": cluster.panic.as_ref().map(|panic| &panic.words),
        "breaker": cluster.breaker.as_ref().map(|breaker| &breaker.state),
        "zones": cluster.levels.first().map(|level| &level.zone_reason),
        "sources": cluster.sources.iter().map(source).collect::<Vec<_>>(),
        "endpoints": cluster.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// `[address, zone, status, since, reason, why it is not picked, weight in per cent, priority]`: a
/// thousand of them shall stay small.
fn endpoint(endpoint: &Endpoint) -> Value {
    let Endpoint { address, zone, status, since, reason, not_picked, weight_percent, priority, .. } = endpoint;
    json!([address, zone, status, since, reason, not_picked, weight_percent, priority])
}
