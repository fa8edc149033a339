//! The state of the process, gathered from its parts.

use std::time::{Duration, SystemTime};

use weir_config::model;
use weir_core::control::drills::{DrillView, Stage};
use weir_core::control::orders::Drain;
use weir_core::snapshot;
use weir_core::time::Moment;

use super::{Address, Config, LastReload, Listener, Order, Status, clusters};
use crate::control::Handle;
use crate::observe::journal::{rfc3339, timestamp};

/// Gathers the state of everything.
pub(in crate::admin) fn of(handle: &Handle, instance: &str, clock: Clock) -> Status {
    let wall = clock.wall;
    let snapshot = handle.snapshot();
    let (in_force, last) = (handle.in_force(), handle.last_reload());
    let bound = handle.bound();
    let address = |listener: &model::Listener, configured: &model::Address| Address {
        configured: format!("{configured}"),
        bound: bound
            .iter()
            .find(|one| one.name == listener.name && one.configured == *configured)
            .map(|one| one.actual.to_string()),
    };
    let listener = |listener: &snapshot::Listener| Listener {
        name: listener.config.name.to_string(),
        addresses: listener.config.bind.iter().map(|configured| address(&listener.config, configured)).collect(),
        protocol: listener.config.protocol.as_str().to_owned(),
        routes: listener.config.routes.len(),
        connections: settled(listener.load.sum(|load| &load.open)),
        accepted: listener.load.sum(|load| &load.accepted),
        rejected: listener.load.sum(|load| &load.rejected),
    };
    Status {
        instance: instance.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        phase: handle.phase().as_str().to_owned(),
        started: rfc3339(timestamp(handle.started())),
        uptime_seconds: wall.duration_since(handle.started()).unwrap_or_default().as_secs(),
        zone: snapshot.config.zone.as_ref().map(ToString::to_string),
        generation: snapshot.generation,
        config: Config {
            path: handle.source().path().display().to_string(),
            hash: in_force.hash,
            generation: in_force.generation,
            since: rfc3339(timestamp(in_force.since)),
            age_seconds: wall.duration_since(in_force.since).unwrap_or_default().as_secs(),
            last_reload: LastReload {
                at: rfc3339(timestamp(last.at)),
                trigger: last.trigger.as_str().to_owned(),
                result: last.result.to_owned(),
                message: last.message,
            },
        },
        drains: handle.view(|control| control.drains().map(|drain| drained(drain, clock)).collect()),
        drills: handle.view(|control| control.drills().filter_map(|view| drilled(&view, clock)).collect()),
        listeners: snapshot.listeners.iter().map(|one| listener(one)).collect(),
        clusters: clusters::of(handle, &snapshot, clock),
    }
}

fn drained(drain: &Drain, clock: Clock) -> Order {
    let left_seconds = drain.until.map(|until| clock.until(until).as_secs());
    Order { words: drain.scope.to_string(), by: drain.by.to_string(), left_seconds }
}

fn drilled(view: &DrillView, clock: Clock) -> Option<Order> {
    let DrillView { drill, by, stage, .. } = view;
    (*stage == Stage::Running).then(|| Order {
        words: format!("drill {}: {drill}", drill.id),
        by: by.to_string(),
        left_seconds: Some(clock.until(drill.until).as_secs()),
    })
}

/// A gauge whose shards were read at different moments can seem negative; then it was near 0.
pub(super) const fn settled(sum: u64) -> u64 {
    if sum > i64::MAX as u64 { 0 } else { sum }
}

/// Translates the core's time for people.
#[derive(Clone, Copy)]
pub(in crate::admin) struct Clock {
    pub(in crate::admin) now: Moment,
    pub(in crate::admin) wall: SystemTime,
}

impl Clock {
    pub(in crate::admin) fn wall_at(self, moment: Moment) -> String {
        let ago = self.wall.checked_sub(self.now.since(moment)).unwrap_or(self.wall);
        rfc3339(timestamp(ago.checked_add(self.until(moment)).unwrap_or(ago)))
    }

    /// How long it is until then; zero if that is past.
    pub(in crate::admin) fn until(self, moment: Moment) -> Duration {
        moment.since(self.now)
    }
}
