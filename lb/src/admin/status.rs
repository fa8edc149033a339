//! The state of everything, as `GET /api/v1/status` tells it and `weir status` reads it.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use weir_config::model;
use weir_core::control::{CheckView, EndpointView};
use weir_core::health::ProbeResult;
use weir_core::load::EndpointLoad;
use weir_core::reason::Reason;
use weir_core::snapshot;
use weir_core::time::Moment;

use crate::control::{Handle, tell};
use crate::observe::journal::{rfc3339, timestamp};

/// The state of everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Host and process.
    pub instance: String,
    /// Of weir.
    pub version: String,
    /// `starting`, `serving` or `draining`.
    pub phase: String,
    /// RFC 3339.
    pub started: String,
    /// Since then.
    pub uptime_seconds: u64,
    /// The zone this instance stands in.
    pub zone: Option<String>,
    /// Rises with each reload and each change of health.
    pub generation: u64,
    /// Where that comes from.
    pub config: Config,
    /// In the order of the configuration.
    pub listeners: Vec<Listener>,
    /// In the order of the configuration.
    pub clusters: Vec<Cluster>,
}

/// The configuration in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// The file.
    pub path: String,
    /// Of its text.
    pub hash: String,
    /// The first generation with it.
    pub generation: u64,
    /// RFC 3339.
    pub since: String,
    /// Since then.
    pub age_seconds: u64,
    /// The newest attempt to load it.
    pub last_reload: LastReload,
}

/// An attempt to load the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastReload {
    /// RFC 3339.
    pub at: String,
    /// `start`, `file`, `signal` or `api`.
    pub trigger: String,
    /// `applied`, `unchanged` or `rejected`.
    pub result: String,
    /// In words.
    pub message: String,
}

/// One listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it accepts.
    pub addresses: Vec<Address>,
    /// How many.
    pub routes: usize,
    /// Open now.
    pub connections: u64,
    /// Accepted so far.
    pub accepted: u64,
    /// Closed at once because of the limit.
    pub rejected: u64,
}

/// One address of a listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Address {
    /// As written.
    pub configured: String,
    /// As bound; none while it is not.
    pub bound: Option<String>,
}

/// One cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// How an endpoint is picked.
    pub balance: String,
    /// Which endpoints are used: `healthy`, `unknown`, or why none is.
    pub using: String,
    /// How many endpoints are healthy.
    pub healthy: usize,
    /// In the order of the configuration.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where it listens.
    pub address: String,
    /// Where it stands.
    pub zone: Option<String>,
    /// Its share.
    pub weight: u16,
    /// `unknown`, `healthy` or `unhealthy`.
    pub status: String,
    /// RFC 3339.
    pub since: String,
    /// Since then.
    pub since_seconds: u64,
    /// Why, in words.
    pub reason: String,
    /// Attempts under way.
    pub in_flight: u64,
    /// Attempts so far.
    pub requests: u64,
    /// Attempts that failed so far.
    pub failures: u64,
    /// Connections open, idle ones included.
    pub connections: u64,
    /// In the order of the configuration.
    pub checks: Vec<Check>,
}

/// One check of one endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What is asked.
    pub asks: String,
    /// What it says: `unknown`, `healthy` or `unhealthy`.
    pub verdict: String,
    /// Consecutive outcomes against that,
    pub streak: u32,
    /// and how many change it.
    pub threshold: u32,
    /// How the newest probe ended.
    pub last: Option<LastProbe>,
    /// Until the next; none while one is under way.
    pub next_seconds: Option<f64>,
}

/// The newest probe.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastProbe {
    /// RFC 3339.
    pub at: String,
    /// Whether it passed; none if it says nothing.
    pub passed: Option<bool>,
    /// One word.
    pub result: String,
    /// In words.
    pub words: String,
    /// How long it took.
    pub took_ms: f64,
}

/// Gathers the state of everything.
pub(super) fn of(handle: &Handle, instance: &str, clock: Clock) -> Status {
    let wall = clock.wall;
    let snapshot = handle.snapshot();
    let (in_force, last) = (handle.in_force(), handle.last_reload());
    let bound = handle.bound();
    let address = |listener: &model::Listener, configured| Address {
        configured: format!("{configured}"),
        bound: bound
            .iter()
            .find(|one| one.name == listener.name && one.configured == configured)
            .map(|one| one.actual.to_string()),
    };
    let listener = |listener: &snapshot::Listener| Listener {
        name: listener.config.name.to_string(),
        addresses: listener.config.bind.iter().map(|&configured| address(&listener.config, configured)).collect(),
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
        listeners: snapshot.listeners.iter().map(|one| listener(one)).collect(),
        clusters: clusters(handle, &snapshot, clock),
    }
}

fn clusters(handle: &Handle, snapshot: &snapshot::Snapshot, clock: Clock) -> Vec<Cluster> {
    handle.view(|control| {
        // The core tells endpoints in the order of the configuration, cluster by cluster.
        let mut endpoints = control.endpoints().peekable();
        let cluster = |cluster: &std::sync::Arc<snapshot::Cluster>| {
            let name = &cluster.config.name;
            let mut own = Vec::with_capacity(cluster.members.len());
            while let Some(view) = endpoints.next_if(|view| view.key.cluster == *name) {
                own.push(endpoint(&view, clock));
            }
            Cluster {
                name: name.to_string(),
                balance: balance(cluster.config.balance).to_owned(),
                using: cluster.available.tier.as_str().to_owned(),
                healthy: own.iter().filter(|endpoint| endpoint.status == "healthy").count(),
                endpoints: own,
            }
        };
        snapshot.clusters.iter().map(cluster).collect()
    })
}

fn endpoint(view: &EndpointView<'_>, clock: Clock) -> Endpoint {
    let failures = Reason::ALL.into_iter().map(|reason| view.load.sum(|load| &load.failures[reason])).sum();
    Endpoint {
        address: view.key.address.to_string(),
        zone: view.zone.map(ToString::to_string),
        weight: view.weight.get(),
        status: view.status.as_str().to_owned(),
        since: clock.wall_at(view.since),
        since_seconds: clock.now.since(view.since).as_secs(),
        reason: view.evidence.to_string(),
        in_flight: EndpointLoad::active(view.load),
        requests: view.load.sum(|load| &load.requests),
        failures,
        connections: settled(view.load.sum(|load| &load.connections)),
        checks: view.checks.iter().map(|view| check(view, clock)).collect(),
    }
}

fn check(view: &CheckView<'_>, clock: Clock) -> Check {
    let last = view.last.map(|(at, outcome)| LastProbe {
        at: clock.wall_at(at),
        passed: outcome.result.conclusion(),
        result: outcome.result.as_str().to_owned(),
        words: match outcome.result {
            ProbeResult::Inconclusive(cause) => format!("inconclusive: {cause}"),
            result => result.to_string(),
        },
        took_ms: tell::millis(outcome.took),
    });
    Check {
        asks: tell::check(view.check),
        verdict: view.verdict.as_str().to_owned(),
        streak: view.streak,
        threshold: view.threshold,
        last,
        next_seconds: view.next_due.map(|due| tell::millis(due.since(clock.now)) / 1000.0),
    }
}

/// Translates the core's time for people.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) now: Moment,
    pub(super) wall: SystemTime,
}

impl Clock {
    pub(super) fn wall_at(self, moment: Moment) -> String {
        let ago = self.wall.checked_sub(self.now.since(moment)).unwrap_or(self.wall);
        rfc3339(timestamp(ago.checked_add(self.until(moment)).unwrap_or(ago)))
    }

    /// How long it is until then; zero if that is past.
    pub(super) fn until(self, moment: Moment) -> Duration {
        moment.since(self.now)
    }
}

const fn balance(balance: model::Balance) -> &'static str {
    match balance {
        model::Balance::RoundRobin => "round_robin",
        model::Balance::LeastRequest => "least_request",
        model::Balance::Random => "random",
        model::Balance::Ewma => "ewma",
        model::Balance::RingHash => "ring_hash",
        model::Balance::Maglev => "maglev",
    }
}

/// A gauge whose shards were read at different moments can seem negative; then it was near 0.
const fn settled(sum: u64) -> u64 {
    if sum > i64::MAX as u64 { 0 } else { sum }
}
