//! An operator's wishes: endpoints taken out of service by hand, and rehearsals.
//!
//! A drain is kept by what it names, apart from the configuration: it survives reloads, and an
//! endpoint that appears in a drained zone is drained too. It lives as long as the process, or as
//! long as it was given. Rehearsals are in [`super::drills`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{ClusterName, ReleaseName, ZoneName};
use weir_config::words;

use super::drills::DrillWish;
use super::known::Known;
use super::notice::Notice;
use super::releases::ReleaseOrder;
use super::{Control, Effect, Evidence};
use crate::drill::Drill;
use crate::endpoint::{EndpointKey, Status};
use crate::release::rollout::{Senseless, Transition};
use crate::time::Moment;

/// Drains kept at the most.
pub const DRAINS_MAX: usize = 1000;

/// What an operator wants.
#[derive(Clone, Debug)]
pub enum Order {
    /// Give these endpoints no new work.
    Drain {
        /// Which.
        scope: DrainScope,
        /// For so long; `None`: until told otherwise.
        lasts: Option<Duration>,
        /// Even if a cluster is left without an endpoint that can be used.
        force: bool,
        /// Who wants it, for the record.
        by: Arc<str>,
    },
    /// End that drain.
    Undrain {
        /// As it was ordered.
        scope: DrainScope,
        /// Who wants it.
        by: Arc<str>,
    },
    /// Rehearse.
    Drill(DrillWish),
    /// End a rehearsal before its time.
    EndDrill {
        /// Its number.
        id: u64,
        /// Who wants it.
        by: Arc<str>,
    },
    /// Pause, resume or give up a canary.
    Release(ReleaseOrder),
}

/// Which endpoints a drain is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DrainScope {
    /// One.
    Endpoint(EndpointKey),
    /// All in a zone: of one cluster, or of all.
    Zone(ZoneName, Option<ClusterName>),
}

impl DrainScope {
    fn contains(&self, key: &EndpointKey, zone: Option<&ZoneName>) -> bool {
        match self {
            Self::Endpoint(its) => its == key,
            Self::Zone(name, cluster) => {
                zone == Some(name) && cluster.as_ref().is_none_or(|cluster| *cluster == key.cluster)
            }
        }
    }
}

impl fmt::Display for DrainScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(key) => write!(f, "endpoint {key}"),
            Self::Zone(zone, None) => write!(f, "zone {zone}"),
            Self::Zone(zone, Some(cluster)) => write!(f, "zone {zone} of cluster {cluster}"),
        }
    }
}

/// A drain in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Of what.
    pub scope: DrainScope,
    /// Since when.
    pub began: Moment,
    /// Until when; `None`: until told otherwise.
    pub until: Option<Moment>,
    /// Who ordered it.
    pub by: Arc<str>,
}

/// What became of an order.
#[derive(Clone, Debug)]
pub enum Done {
    /// It is drained: the drain, and how many endpoints it concerns now.
    Drained(Drain, usize),
    /// That drain is over: how many endpoints it concerned, and those of them that another drain
    /// still keeps out.
    Undrained(DrainScope, usize, usize),
    /// The rehearsal runs; what to know beforehand, for people.
    Began(Arc<Drill>, Vec<String>),
    /// That rehearsal is over.
    Ended(u64),
    /// A canary took that turn.
    Release {
        /// Its release.
        release: ReleaseName,
        /// Its cluster.
        canary: ClusterName,
        /// What became of it.
        transition: Transition,
    },
}

/// Why an order is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such thing.
    #[error("there is no {what} {name:?}{}", meant(nearest.as_deref()))]
    Unknown {
        /// `endpoint`, `zone`, `cluster`, `listener`, `route`, `drill`, `release` or `canary`.
        what: &'static str,
        /// As named.
        name: String,
        /// What was probably meant, or all there is if that is little.
        nearest: Option<String>,
    },
    /// A cluster would be left without an endpoint that can be used.
    #[error("{} would be left without an endpoint that can be used; force does it all the same", of_clusters(.0))]
    LastUsable(Vec<ClusterName>),
    /// Nothing to end.
    #[error("{scope} is not drained{}", .by.as_ref().map(|by| format!(" by itself: {by} is")).unwrap_or_default())]
    NotDrained {
        /// What was named.
        scope: DrainScope,
        /// The drain that keeps it out.
        by: Option<DrainScope>,
    },
    /// A time of zero, or too long: which, and the longest.
    #[error("{0} must be over 0 and at most {most}", most = words::shown(*.1))]
    Time(&'static str, Duration),
    /// As many are kept as may be.
    #[error("there are {0} {1} already, which is the most; end one first")]
    TooMany(usize, &'static str),
    /// A release has several canaries, and none was named: these.
    #[error("there are several canaries: {0}")]
    WhichCanary(String),
    /// A canary cannot do so now.
    #[error("canary {canary} {why}")]
    Rollout {
        /// Which.
        canary: ClusterName,
        /// Why not.
        why: Senseless,
    },
    /// The process takes no orders any more.
    #[error("this process is stopping")]
    Stopping,
    /// The rehearsal makes no sense there.
    #[error("{0}")]
    Senseless(&'static str),
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; {nearest}")).unwrap_or_default()
}

fn of_clusters(names: &[ClusterName]) -> String {
    let list: Vec<&str> = names.iter().take(5).map(ClusterName::as_str).collect();
    let more = names.len().saturating_sub(list.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let noun = if names.len() == 1 { "cluster" } else { "clusters" };
    format!("{noun} {}{more}", list.join(", "))
}

impl Refused {
    /// There is no `what` of that name; `known` are those there are.
    pub(super) fn unknown(what: &'static str, name: impl Into<String>, known: Vec<&str>) -> Self {
        /// So few can be listed whole.
        const FEW: usize = 8;
        let name = name.into();
        let nearest = match words::nearest(&name, known.iter().copied()) {
            Some(nearest) => Some(format!("did you mean {nearest}?")),
            None if known.is_empty() => Some("there is none at all".to_owned()),
            None if known.len() <= FEW => Some(format!("there are: {}", known.join(", "))),
            None => None,
        };
        Self::Unknown { what, name, nearest }
    }
}

/// What people hear of drains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderNotice {
    /// A drain is in force, or was given another end.
    Drained {
        /// The drain.
        drain: Drain,
        /// Endpoints it concerns now.
        endpoints: usize,
        /// From now to its end.
        lasts: Option<Duration>,
    },
    /// A drain is over.
    Undrained {
        /// What it was.
        drain: Drain,
        /// Endpoints it concerned.
        endpoints: usize,
        /// Of them, those another drain keeps out.
        still: usize,
        /// Who ended it; `None`: its time was up.
        by: Option<Arc<str>>,
    },
}

impl fmt::Display for OrderNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |n: usize| if n == 1 { "1 endpoint".to_owned() } else { format!("{n} endpoints") };
        match self {
            Self::Drained { drain, endpoints, lasts } => {
                write!(f, "{} is drained by {}", drain.scope, drain.by)?;
                match lasts {
                    Some(lasts) => write!(f, " for {}", words::shown(*lasts))?,
                    None => f.write_str(" until told otherwise")?,
                }
                write!(f, ": {} given no new work", count(*endpoints))
            }
            Self::Undrained { drain, endpoints, still, by } => {
                match by {
                    Some(by) => write!(f, "the drain of {} was ended by {by}", drain.scope)?,
                    None => write!(f, "the drain of {} is over, its time is up", drain.scope)?,
                }
                write!(f, ": {} back", count(endpoints - still))?;
                if *still > 0 { write!(f, ", {} still drained otherwise", count(*still)) } else { Ok(()) }
            }
        }
    }
}

/// Drains in force.
#[derive(Debug, Default)]
pub(super) struct Drains(BTreeMap<DrainScope, Drain>);

impl Drains {
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.0.values().filter_map(|drain| drain.until).min()
    }

    /// One that another process was told.
    pub(super) fn restore(&mut self, drain: Drain) {
        if self.0.len() < DRAINS_MAX {
            self.0.insert(drain.scope.clone(), drain);
        }
    }

    fn over_by(&self, now: Moment) -> Option<DrainScope> {
        self.0.values().find(|drain| drain.until.is_some_and(|until| until <= now)).map(|drain| drain.scope.clone())
    }

    /// The drain that keeps an endpoint out: the one that names it before one of its zone.
    pub(super) fn of(&self, key: &EndpointKey, zone: Option<&ZoneName>) -> Option<&Drain> {
        if self.0.is_empty() {
            return None;
        }
        let by_name = || self.0.get(&DrainScope::Endpoint(key.clone()));
        let by_zone = |cluster| self.0.get(&DrainScope::Zone(zone?.clone(), cluster));
        by_name().or_else(|| by_zone(Some(key.cluster.clone()))).or_else(|| by_zone(None))
    }
}

impl Control {
    /// Carries out an order, or says why not. What follows from it is appended to `effects`.
    ///
    /// # Errors
    /// [`Refused`]; then nothing has changed.
    pub fn order(&mut self, now: Moment, order: Order, effects: &mut Vec<Effect>) -> Result<Done, Refused> {
        // What is due by now comes first: it may be what the order is about.
        self.step(now, super::Event::Tick, effects);
        self.take(order, effects)
    }

    pub(super) fn take(&mut self, order: Order, effects: &mut Vec<Effect>) -> Result<Done, Refused> {
        match order {
            Order::Drain { scope, lasts, force, by } => self.drain(scope, lasts, force, by, effects),
            Order::Undrain { scope, by } => self.undrain(&scope, by, effects),
            Order::Drill(wish) => self.begin_drill(wish, effects),
            Order::EndDrill { id, by } => self.end_drill(id, by, effects),
            Order::Release(order) => self.order_release(order, effects),
        }
    }

    /// Drains in force.
    pub fn drains(&self) -> impl Iterator<Item = &Drain> {
        self.drains.0.values()
    }

    /// How many endpoints of the configuration `scope` contains.
    #[must_use]
    pub fn drained_by(&self, scope: &DrainScope) -> usize {
        self.placed().filter(|known| scope.contains(&known.key, known.zone.as_ref())).count()
    }

    pub(super) fn placed(&self) -> impl Iterator<Item = &Known> {
        self.known.values().filter(|known| known.place.is_some())
    }

    fn drain(
        &mut self,
        scope: DrainScope,
        lasts: Option<Duration>,
        force: bool,
        by: Arc<str>,
        effects: &mut Vec<Effect>,
    ) -> Result<Done, Refused> {
        /// A drain for longer than that is one without an end.
        const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
        if lasts.is_some_and(|lasts| lasts.is_zero() || lasts > LONGEST) {
            return Err(Refused::Time("for", LONGEST));
        }
        self.know(&scope)?;
        if !force {
            let bare = self.left_bare(|known| scope.contains(&known.key, known.zone.as_ref()));
            if !bare.is_empty() {
                return Err(Refused::LastUsable(bare));
            }
        }
        if self.drains.0.len() >= DRAINS_MAX && !self.drains.0.contains_key(&scope) {
            return Err(Refused::TooMany(DRAINS_MAX, "drains"));
        }
        let drain = Drain { scope: scope.clone(), began: self.now, until: lasts.map(|lasts| self.now + lasts), by };
        let endpoints = self.drained_by(&drain.scope);
        self.drains.0.insert(scope, drain.clone());
        effects.push(Effect::Notice(Notice::Order(OrderNotice::Drained { drain: drain.clone(), endpoints, lasts })));
        self.apply_drains(&Evidence::Added, effects);
        Ok(Done::Drained(drain, endpoints))
    }

    fn undrain(&mut self, scope: &DrainScope, by: Arc<str>, effects: &mut Vec<Effect>) -> Result<Done, Refused> {
        if let Some(drain) = self.drains.0.remove(scope) {
            let (endpoints, still) = self.lifted(drain, Some(by), effects);
            return Ok(Done::Undrained(scope.clone(), endpoints, still));
        }
        self.know(scope)?;
        let other = match scope {
            DrainScope::Endpoint(key) => {
                let known = self.by_key.get(key).and_then(|id| self.known.get(id));
                known.and_then(|known| self.drains.of(key, known.zone.as_ref())).map(|drain| &drain.scope)
            }
            DrainScope::Zone(zone, _) => {
                self.drains.0.keys().find(|scope| matches!(scope, DrainScope::Zone(its, _) if its == zone))
            }
        };
        Err(Refused::NotDrained { scope: scope.clone(), by: other.cloned() })
    }

    /// After a drain was taken away: how many endpoints it concerned, and who of them stays out.
    fn lifted(&mut self, drain: Drain, by: Option<Arc<str>>, effects: &mut Vec<Effect>) -> (usize, usize) {
        let endpoints = self.drained_by(&drain.scope);
        let concerned = self.placed().filter(|known| drain.scope.contains(&known.key, known.zone.as_ref()));
        let still = concerned.filter(|known| self.drains.of(&known.key, known.zone.as_ref()).is_some()).count();
        let evidence = Evidence::Undrained { scope: drain.scope.clone(), by: by.clone() };
        effects.push(Effect::Notice(Notice::Order(OrderNotice::Undrained { drain, endpoints, still, by })));
        self.apply_drains(&evidence, effects);
        (endpoints, still)
    }

    /// Ends the drains whose time is up.
    pub(super) fn expire_drains(&mut self, effects: &mut Vec<Effect>) {
        while let Some(scope) = self.drains.over_by(self.now)
            && let Some(drain) = self.drains.0.remove(&scope)
        {
            self.lifted(drain, None, effects);
        }
    }

    /// Brings every endpoint in line with the drains in force. To be called whenever endpoints
    /// come, or change their zone. `ended` is said of those that are drained no longer.
    pub(super) fn apply_drains(&mut self, ended: &Evidence, effects: &mut Vec<Effect>) {
        let mut changed = Vec::new();
        for (&id, known) in &mut self.known {
            let drain = self.drains.of(&known.key, known.zone.as_ref());
            if drain.is_some() != known.drained {
                known.drained = drain.is_some();
                changed.push((id, drain.map_or_else(|| ended.clone(), |drain| Evidence::Drained(drain.clone()))));
            }
        }
        changed.into_iter().for_each(|(id, evidence)| self.judge(id, evidence, effects));
    }

    /// Whether anything in the configuration is meant by `scope`.
    fn know(&self, scope: &DrainScope) -> Result<(), Refused> {
        match scope {
            DrainScope::Endpoint(key) => self.know_endpoint(key),
            DrainScope::Zone(zone, None) => self.know_zone(zone, None),
            DrainScope::Zone(zone, Some(cluster)) => {
                self.know_cluster(cluster)?;
                self.know_zone(zone, Some(cluster))
            }
        }
    }

    pub(super) fn know_endpoint(&self, key: &EndpointKey) -> Result<(), Refused> {
        self.know_cluster(&key.cluster)?;
        if self.placed().any(|known| *known.key == *key) {
            return Ok(());
        }
        let keys: Vec<String> =
            self.placed().filter(|k| k.key.cluster == key.cluster).map(|k| k.key.to_string()).collect();
        Err(Refused::unknown("endpoint", key.to_string(), keys.iter().map(String::as_str).collect()))
    }

    pub(super) fn know_cluster(&self, name: &ClusterName) -> Result<(), Refused> {
        if self.clusters.iter().any(|cluster| cluster.config.name == *name) {
            return Ok(());
        }
        let names = self.clusters.iter().map(|cluster| cluster.config.name.as_str()).collect();
        Err(Refused::unknown("cluster", name.as_str(), names))
    }

    /// A zone is known by the endpoints that stand in it.
    pub(super) fn know_zone(&self, zone: &ZoneName, of: Option<&ClusterName>) -> Result<(), Refused> {
        let mut zones: Vec<&str> = self
            .placed()
            .filter(|known| of.is_none_or(|cluster| known.key.cluster == *cluster))
            .filter_map(|known| known.zone.as_ref().map(ZoneName::as_str))
            .collect();
        zones.sort_unstable();
        zones.dedup();
        if zones.contains(&zone.as_str()) { Ok(()) } else { Err(Refused::unknown("zone", zone.as_str(), zones)) }
    }

    /// Clusters that have endpoints which can be used, but none without those that `goes`.
    pub(super) fn left_bare(&self, goes: impl Fn(&Known) -> bool) -> Vec<ClusterName> {
        let usable = |known: &Known| {
            let fit = matches!(known.status, Status::Healthy | Status::Unknown | Status::Probation);
            fit && known.weight.get() > 0
        };
        let bare = |members: Vec<&Known>| {
            members.iter().any(|known| usable(known)) && !members.iter().any(|known| usable(known) && !goes(known))
        };
        let members = |ids: &[crate::endpoint::EndpointId]| ids.iter().filter_map(|id| self.known.get(id)).collect();
        let clusters = self.clusters.iter().filter(|cluster| bare(members(&cluster.endpoints)));
        clusters.map(|cluster| cluster.config.name.clone()).collect()
    }
}
