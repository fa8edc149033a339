//! One request's way, as `GET /api/v1/explain` tells it and `weir explain` reads it.

use serde::{Deserialize, Serialize};

/// One request's way. What an older instance does not tell is as if there were none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Explained {
    /// What became of it, if it was served and kept.
    #[serde(default)]
    pub served: Option<Served>,
    /// Of the snapshot.
    pub generation: u64,
    /// Where this instance stands.
    #[serde(default)]
    pub zone: Option<String>,
    /// With this seed, the same chance again; none of a request that was served.
    #[serde(default)]
    pub seed: Option<u64>,
    /// What was asked.
    pub request: Request,
    /// The name of the listener.
    pub listener: String,
    /// Each route that was tried, in order.
    pub routes: Vec<Route>,
    /// Further ones that were tried before them and are not listed.
    #[serde(default)]
    pub routes_left_out: usize,
    /// What the release decided, if the route leads to one.
    #[serde(default)]
    pub release: Option<Release>,
    /// Where it goes.
    #[serde(default)]
    pub cluster: Option<Cluster>,
    /// Who is picked there.
    #[serde(default)]
    pub pick: Option<Pick>,
    /// The rate limits it has to pass, the listener's first.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// What its route answers itself.
    #[serde(default)]
    pub reply: Option<Reply>,
    /// What endpoints see in place of what was asked for.
    #[serde(default)]
    pub rewritten: Option<Rewritten>,
    /// Why it is not answered by an endpoint.
    #[serde(default)]
    pub refused: Option<Refused>,
    /// What else one should know.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A rate limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Limit {
    /// `listener` or `route`.
    pub of: String,
    /// In words: how many requests of whom.
    pub words: String,
    /// Requests that would be taken now; the explained one took none of them.
    pub left: u64,
}

/// What a route answers itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Where a redirect sends to.
    pub location: Option<String>,
}

/// What endpoints see in place of what was asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rewritten {
    /// The path, with query.
    pub target: Option<String>,
    /// The host.
    pub host: Option<String>,
}

/// What became of a request that was served.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Served {
    /// As `X-Weir-Decision` told it.
    pub decision: String,
    /// As `X-Request-Id` told it.
    pub request_id: Option<String>,
    /// When it ended, RFC 3339.
    pub at: String,
    /// What the client got; 0 if nothing.
    pub status: u16,
    /// Why it was not answered by an endpoint, or not to the end.
    pub reason: Option<String>,
    /// From its head to the end of its answer.
    pub took_ms: f64,
    /// How many there were.
    pub attempts: u16,
    /// The endpoint of the last attempt.
    pub endpoint: Option<String>,
    /// The attempts before the last, in order; the last one's pick is the way's.
    pub earlier: Vec<Attempt>,
}

/// An attempt before the last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Attempt {
    /// Who was picked.
    pub endpoint: Option<String>,
    /// Why, in words.
    pub why: String,
}

/// What was asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Request {
    /// As received.
    pub method: String,
    /// Without port.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// Who asks.
    pub client: String,
}

/// A route that was tried.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Route {
    /// Its name, or else its place, from 1.
    pub route: String,
    /// The line of the file it stands on.
    pub line: u32,
    /// What it takes, in words.
    pub matches: String,
    /// Where it leads.
    pub to: String,
    /// Whether it takes the request.
    pub taken: bool,
    /// The verdict, in words.
    pub verdict: String,
}

/// What a release decided.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// The keys that were looked at, in order.
    pub keys: Vec<Key>,
    /// The user's id in canonical form; none if there is none, or it is secret.
    pub id: Option<String>,
    /// The id was made for it, and handed out with the answer.
    pub handed: bool,
    /// What is hashed with the id.
    pub salt: String,
    /// Of 10 000.
    pub bucket: Option<u16>,
    /// The cluster of the version that owns the bucket.
    pub owner: Option<String>,
    /// All of them, stable first.
    pub versions: Vec<Version>,
    /// The rules that were tried, in order.
    pub rules: Vec<Rule>,
    /// What decided: `never_list`, `first_list`, `bucket`, `stable` or `unattributed`.
    pub why: String,
    /// The same in words.
    pub words: String,
    /// The cluster of the version it is assigned.
    pub assigned: String,
    /// The cluster that serves it.
    pub cluster: String,
    /// Stable serves it, since its own version has no usable endpoint.
    pub moved_by_health: bool,
    /// A copy of it goes to this cluster too.
    pub mirrored_to: Option<String>,
}

/// A place where a user's id may be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Key {
    /// Where, in words.
    pub place: String,
    /// What is there, in canonical form.
    pub found: Option<String>,
}

/// A version of a release.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Version {
    /// Its cluster.
    pub cluster: String,
    /// Its part of all users, now.
    pub percent: f64,
    /// The buckets it owns, as in `0-499`; stable's are all others.
    pub buckets: String,
    /// It is closed: nobody gets it.
    pub closed: bool,
    /// Its weight is another one than that in force, for this explanation only.
    pub supposed: bool,
}

/// A rule that was tried.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rule {
    /// `never`, or a canary's cluster with `first` or `never`.
    pub list: String,
    /// Whom it takes, in words.
    pub rule: String,
    /// Whether it took the request.
    pub took: bool,
}

/// A cluster as the request found it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// How an endpoint is picked.
    pub balance: String,
    /// Which endpoints are used: `healthy`, `unknown`, `panic`, `trials`, or why none is.
    pub using: String,
    /// Too few are left: why, in words.
    pub panic: Option<String>,
    /// Its failure-rate breaker.
    pub breaker: Breaker,
    /// Rehearsals in force on the instance, in words.
    pub drills: Vec<String>,
    /// By priority.
    pub levels: Vec<Level>,
    /// Each, in the order of the configuration.
    pub endpoints: Vec<Endpoint>,
    /// Further ones that are not listed.
    pub endpoints_left_out: usize,
}

/// A failure-rate breaker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Breaker {
    /// `closed`, `open` or `half_open`.
    pub state: String,
    /// What that means for a request, in words.
    pub words: String,
}

/// A priority level.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Level {
    /// 0 is asked first.
    pub priority: u8,
    /// What it gets of all traffic.
    pub percent: f64,
    /// Endpoints that may be picked by their status.
    pub available: u32,
    /// Of those that count.
    pub of: u32,
    /// Too few of it are available.
    pub panic: bool,
    /// Whether the own zone is preferred, in words.
    pub zone_reason: String,
    /// The own zone first.
    pub zones: Vec<Zone>,
}

/// A zone of a level.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Zone {
    /// Its name; none: endpoints of which no zone is told.
    pub zone: Option<String>,
    /// Its part of the level's traffic.
    pub percent: f64,
    /// Endpoints that may be picked.
    pub usable: u32,
    /// Of those that count.
    pub of: u32,
}

/// An endpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where it listens.
    pub address: String,
    /// Where it stands.
    pub zone: Option<String>,
    /// As configured.
    pub weight: u16,
    /// How much of its weight it gets now, in per cent.
    pub weight_percent: f64,
    /// Its priority.
    pub priority: u8,
    /// What its health comes to.
    pub status: String,
    /// Why, in words.
    pub reason: Option<String>,
    /// Since when, RFC 3339.
    pub since: Option<String>,
    /// For how long.
    pub since_seconds: Option<u64>,
    /// Its part of the cluster's requests, by weight.
    pub share_percent: f64,
    /// Why it is not picked by a request's first attempt.
    pub why_not: Option<String>,
    /// Requests under way.
    pub in_flight: u64,
    /// It is the one.
    pub picked: bool,
}

/// Who is picked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pick {
    /// The endpoint; none if nobody is.
    pub endpoint: Option<String>,
    /// Why: `turn`, `drawn`, `least_of_two`, `hash`, `sticky`, `trial`, `only`; or why nobody.
    pub why: String,
    /// The same in words.
    pub words: String,
    /// Which of the cluster's hash keys the request has, and its hash.
    pub key: Option<String>,
    /// What was done, in order.
    pub steps: Vec<String>,
}

/// Why a request is not answered by an endpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Refused {
    /// The word.
    pub reason: String,
    /// The status of our answer; 0 if there is none.
    pub status: u16,
    /// The same in a sentence.
    pub words: String,
}
