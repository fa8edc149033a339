//! The state of everything, as `GET /api/v1/status` tells it and `weir status` reads it.

mod clusters;
mod gather;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_config::model::Protocol;

pub(super) use gather::{Clock, of};

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
    /// Drains in force, in words.
    #[serde(default)]
    pub drains: Vec<Order>,
    /// Drills whose trouble is made now, in words.
    #[serde(default)]
    pub drills: Vec<Order>,
    /// In the order of the configuration.
    pub listeners: Vec<Listener>,
    /// In the order of the configuration.
    pub clusters: Vec<Cluster>,
}

/// A drain or a drill in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// What.
    pub words: String,
    /// Who ordered it.
    pub by: String,
    /// Until its end; none if it has none.
    pub left_seconds: Option<u64>,
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
    /// What is spoken: `http` or `tcp`.
    #[serde(default = "http")]
    pub protocol: String,
    /// How many.
    pub routes: usize,
    /// Open now.
    pub connections: u64,
    /// Accepted so far.
    pub accepted: u64,
    /// Closed at once because of the limit.
    pub rejected: u64,
}

fn http() -> String {
    Protocol::Http.as_str().to_owned()
}

/// One address of a listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Address {
    /// As written.
    pub configured: String,
    /// As bound; none while it is not.
    pub bound: Option<String>,
}

/// One cluster. What an older instance does not tell is as if there were none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// How an endpoint is picked.
    pub balance: String,
    /// Which endpoints are used: `healthy`, `unknown`, `panic`, `trials`, or why none is.
    pub using: String,
    /// How many endpoints are healthy.
    pub healthy: usize,
    /// How many may be picked, in panic the worse ones included.
    #[serde(default)]
    pub usable: usize,
    /// Too few are left.
    #[serde(default)]
    pub panic: Option<Panic>,
    /// How many may be ejected; none without outlier detection.
    #[serde(default)]
    pub ejection: Option<Ejections>,
    /// The failure-rate breaker; none where there is no such rule.
    #[serde(default)]
    pub breaker: Option<Breaker>,
    /// What is limited, and how far that is used.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// Requests that wait for a limit.
    #[serde(default)]
    pub waiting: u32,
    /// Requests and retries so far.
    #[serde(default)]
    pub traffic: Traffic,
    /// Priority levels with their zones.
    #[serde(default)]
    pub levels: Vec<Level>,
    /// Names and files that tell its endpoints.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// In the order of the configuration.
    pub endpoints: Vec<Endpoint>,
}

/// Too few endpoints are left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Panic {
    /// Since it began.
    pub since_seconds: u64,
    /// The counts, and what is done about it.
    pub words: String,
}

/// How many endpoints are out by their traffic, and may be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ejections {
    /// Ejected or on probation.
    pub out: u32,
    /// As many may be,
    pub most: u32,
    /// of so many.
    pub of: u32,
    /// Many turned bad at once: for so long nobody is taken out.
    pub held_seconds: Option<f64>,
}

/// The failure-rate breaker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Breaker {
    /// `closed`, `open` or `half_open`.
    pub state: String,
    /// While it is open: until it tries.
    pub opens_seconds: Option<f64>,
}

/// Something that is limited.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Limit {
    /// `requests`, `connections` or `retries`.
    pub limit: String,
    /// In use.
    pub used: u32,
    /// At the most.
    pub most: u32,
    /// Refused so far.
    pub refused: u64,
}

/// Requests and retries so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Let in.
    pub requests: u64,
    /// Under way.
    pub in_flight: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Requests that a retry saved.
    pub saved: u64,
    /// Failed attempts that were not made again, by why; those that are 0 left out.
    pub denied: BTreeMap<String, u64>,
    /// The retry budget, in words.
    pub retry_budget: String,
    /// Half of the attempts of late had the head of an answer in this time,
    pub p50_ms: Option<f64>,
    /// and 99 of 100 in this.
    pub p99_ms: Option<f64>,
}

/// A priority level.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Level {
    /// 0 is asked first.
    pub priority: u8,
    /// Endpoints that may be picked by their status,
    pub available: u32,
    /// of those that count.
    pub of: u32,
    /// Its part of all traffic.
    pub percent: u8,
    /// Too few of it are available.
    pub panic: bool,
    /// Whether the own zone is preferred: one word,
    pub zone_state: String,
    /// and why.
    pub zone_reason: String,
    /// The own zone first.
    pub zones: Vec<Zone>,
}

/// One zone of a level. Parts are per cent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Zone {
    /// Its name; none: endpoints of which no zone is told.
    pub zone: Option<String>,
    /// Endpoints that may be picked,
    pub usable: u32,
    /// of those that count.
    pub of: u32,
    /// What its endpoints can carry, of all.
    pub capacity_percent: f64,
    /// What instances in it send, of all.
    pub instances_percent: f64,
    /// What this instance sends it, of its traffic to the level.
    pub share_percent: f64,
}

/// A name or a file that tells endpoints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    /// As configured.
    pub source: String,
    /// `pending`, `resolved`, `stale` or `unresolved`.
    pub state: String,
    /// Endpoints in force.
    pub endpoints: usize,
    /// For how long they are fresh.
    pub ttl_seconds: Option<f64>,
    /// For how long looks have failed.
    pub stale_seconds: Option<f64>,
    /// Looks that failed in a row.
    pub failures: u32,
    /// How the newest failed, in words.
    pub failure: Option<String>,
    /// Until the next look; none while one is under way.
    pub next_look_seconds: Option<f64>,
    /// How the newest answer was come by.
    pub trace: Option<serde_json::Value>,
}

/// One endpoint. What an older instance does not tell is as if there were none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where it listens.
    pub address: String,
    /// Where it stands.
    pub zone: Option<String>,
    /// Its share, as configured.
    pub weight: u16,
    /// How much of that it gets now, in per cent.
    #[serde(default = "whole")]
    pub weight_percent: f64,
    /// Fail-over order: 0 is asked first.
    #[serde(default)]
    pub priority: u8,
    /// `unknown`, `healthy`, `unhealthy`, `ejected`, `probation` or `draining`.
    pub status: String,
    /// RFC 3339.
    pub since: String,
    /// Since then.
    pub since_seconds: u64,
    /// Why, in words.
    pub reason: String,
    /// Why a request's first attempt does not go there, if it does not.
    #[serde(default)]
    pub not_picked: Option<String>,
    /// It is out, or on probation, for what its traffic showed.
    #[serde(default)]
    pub ejection: Option<Ejection>,
    /// Attempts under way.
    pub in_flight: u64,
    /// Attempts so far.
    pub requests: u64,
    /// Attempts that failed so far.
    pub failures: u64,
    /// Attempts ended by what they say of it; those that are 0 left out.
    #[serde(default)]
    pub classes: BTreeMap<String, u64>,
    /// Time to the head of its answers of late, the slow ones counting more.
    #[serde(default)]
    pub latency_ms: Option<f64>,
    /// Connections open, idle ones included.
    pub connections: u64,
    /// What is limited, and how far that is used.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// In the order of the configuration.
    pub checks: Vec<Check>,
}

const fn whole() -> f64 {
    100.0
}

/// An endpoint out for what its traffic showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ejection {
    /// The rule, one word.
    pub rule: String,
    /// Until it may be tried again; 0 on probation.
    pub left_seconds: f64,
    /// So many ejections in a row.
    pub times: u32,
    /// On probation: good requests in a row,
    pub good: Option<u32>,
    /// of so many that end it.
    pub needed: u32,
    /// The evidence, as in events.
    pub evidence: serde_json::Value,
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
