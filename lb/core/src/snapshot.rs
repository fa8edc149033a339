//! The truth of one generation: immutable, swapped whole.
//!
//! Made by control alone. Unchanged listeners and clusters are shared with the generation before
//! by `Arc`; counts ([`crate::load`]) are the same `Arc` for as long as the thing they count lives.

use std::sync::Arc;

use weir_config::model::{self, Address, ClusterName, ListenerName, ReleaseName, Weight, ZoneName};

use crate::access::Access;
use crate::availability::{self, Available};
use crate::balance::Tables;
use crate::clients::Clients;
use crate::drill::Drill;
use crate::endpoint::{ClusterId, EndpointId, EndpointKey, Status};
use crate::live::{ClusterLive, EndpointLive, Trial};
use crate::load::{ClusterLoad, EndpointLoad, LaneLoad, ListenerLoad, Shards};
use crate::rate::Limiter;
use crate::release::Release;
use crate::route::RouteTable;
use crate::time::Moment;

/// Everything the data path may know.
#[derive(Debug)]
pub struct Snapshot {
    /// Rises with each publication.
    pub generation: u64,
    /// When it was made.
    pub at: Moment,
    /// The configuration in force.
    pub config: Arc<model::Config>,
    /// In the order of the configuration.
    pub listeners: Vec<Arc<Listener>>,
    /// In the order of the configuration.
    pub clusters: Vec<Arc<Cluster>>,
    /// In the order of the configuration.
    pub releases: Vec<Arc<Release>>,
    /// Rehearsals in force; nearly always none.
    pub drills: Vec<Arc<Drill>>,
}

impl Snapshot {
    /// The listener of that name.
    #[must_use]
    pub fn listener(&self, name: &ListenerName) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| listener.config.name == *name)
    }

    /// The release of that name.
    #[must_use]
    pub fn release(&self, name: &ReleaseName) -> Option<&Arc<Release>> {
        self.releases.iter().find(|release| release.config.name == *name)
    }

    /// The cluster of that name.
    #[must_use]
    pub fn cluster(&self, name: &ClusterName) -> Option<&Arc<Cluster>> {
        self.clusters.iter().find(|cluster| cluster.config.name == *name)
    }
}

/// A listener as the data path sees it.
#[derive(Debug)]
pub struct Listener {
    /// What the operator wrote.
    pub config: Arc<model::Listener>,
    /// Its routes, indexed.
    pub routes: RouteTable,
    /// Who is let in.
    pub access: Access,
    /// How many requests are taken.
    pub limit: Option<Arc<Limiter>>,
    /// For each route, in order, where its requests go.
    pub targets: Vec<Target>,
    /// Counts of the listener itself.
    pub load: Arc<Shards<ListenerLoad>>,
    /// The connections of each client, where they are limited.
    pub clients: Arc<Clients>,
    /// Where requests are counted that never came to a cluster.
    pub unrouted: Arc<Shards<LaneLoad>>,
    /// The distinct lanes to clusters, for metrics; sorted by name.
    pub lanes: Vec<(ClusterName, Arc<Shards<LaneLoad>>)>,
}

/// Where a route's requests go, and which it takes.
#[derive(Clone, Debug)]
pub struct Target {
    /// Who is let in, over what the listener says.
    pub access: Access,
    /// How many requests are taken, besides what the listener says.
    pub limit: Option<Arc<Limiter>>,
    /// The index in [`Snapshot::releases`] of the release that divides them, if one does.
    pub release: Option<usize>,
    /// By version of the release, stable first; without one, the one cluster: its index in
    /// [`Snapshot::clusters`] and the lane its requests are counted in (shared by all routes to
    /// that cluster). Empty if the route answers itself.
    pub to: Vec<(usize, Arc<Shards<LaneLoad>>)>,
}

/// A cluster as the data path sees it.
#[derive(Debug)]
pub struct Cluster {
    /// The same for as long as the process knows the name.
    pub id: ClusterId,
    /// What the operator wrote.
    pub config: Arc<model::Cluster>,
    /// Those with a fixed address in the order of the configuration, then those that were found.
    pub members: Vec<Member>,
    /// Who may be picked, and why not the others.
    pub available: Available,
    /// What was worked out from the configured members alone, whatever their health.
    pub tables: Arc<Tables>,
    /// Changes whenever `members` or `available` do; unique in the process.
    pub version: u64,
    /// Since when it is in panic, if it is.
    pub panic_since: Option<Moment>,
    /// Whether it is given requests at all.
    pub breaker: Breaker,
    /// What all workers share of it.
    pub live: Arc<ClusterLive>,
    /// Its counts.
    pub load: Arc<Shards<ClusterLoad>>,
}

/// A cluster's failure-rate breaker, as the data path sees it.
#[derive(Clone, Debug)]
pub enum Breaker {
    /// Requests flow.
    Closed,
    /// None is let through until then.
    Open {
        /// When it will be half open.
        until: Moment,
    },
    /// Trials only.
    HalfOpen(Arc<Trial>),
}

impl Breaker {
    /// The word in the API and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen(_) => "half_open",
        }
    }
}

/// What is kept of a cluster by its name, whatever the generation.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The same for as long as the process knows the name.
    pub id: ClusterId,
    /// What all workers share of it.
    pub live: Arc<ClusterLive>,
    /// Its counts.
    pub load: Arc<Shards<ClusterLoad>>,
}

impl Kept {
    /// Of a cluster that is new; `workers` shards.
    #[must_use]
    pub fn new(id: ClusterId, workers: usize) -> Self {
        Self { id, live: Arc::default(), load: Arc::new(Shards::new(workers)) }
    }
}

impl Cluster {
    /// A cluster with what follows from its members: who may be picked, and how. `zone` is the one
    /// this instance stands in; what can be kept of the version `before` is.
    #[must_use]
    pub fn new(
        kept: &Kept,
        config: Arc<model::Cluster>,
        members: Vec<Member>,
        version: u64,
        breaker: Breaker,
        zone: Option<&ZoneName>,
        before: Option<&Self>,
    ) -> Self {
        let tables = before.filter(|before| Tables::are_same(before, &config, &members));
        let tables = match tables {
            Some(before) => Arc::clone(&before.tables),
            None => Arc::new(Tables::new(&config, &members)),
        };
        let available = availability::of(&members, &config, zone, &tables);
        let Kept { id, live, load } = kept.clone();
        Self { id, config, members, available, tables, version, panic_since: None, breaker, live, load }
    }
}

/// An endpoint as one snapshot sees it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is.
    pub key: Arc<EndpointKey>,
    /// Its number.
    pub id: EndpointId,
    /// Where it stands.
    pub zone: Option<ZoneName>,
    /// The name it was found by, if it was: what its certificate is for.
    pub host: Option<Arc<str>>,
    /// Its share, as configured.
    pub weight: Weight,
    /// How much of that share it gets now, of 1 000: less while it ramps up or is reduced.
    pub permille: u16,
    /// Fail-over order: 0 is asked first.
    pub priority: u8,
    /// What its health comes to.
    pub status: Status,
    /// Whether anything is known to answer there: not if its probes, or the traffic it was ejected
    /// for, could not even connect.
    pub reachable: bool,
    /// On probation: how many requests it may have at once.
    pub trial: Option<Arc<Trial>>,
    /// What all workers share of it.
    pub live: Arc<EndpointLive>,
    /// Its counts.
    pub load: Arc<Shards<EndpointLoad>>,
}

impl Member {
    /// Where to connect.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.key.address
    }

    /// Whether it has a share at all.
    #[must_use]
    pub const fn weighs(&self) -> bool {
        self.weight.get() > 0
    }

    /// Its share as it counts now: weight × permille; over 0 if the weight is.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        let permille = if self.permille == 0 { 1 } else { self.permille };
        self.weight.get() as u64 * permille as u64
    }
}
