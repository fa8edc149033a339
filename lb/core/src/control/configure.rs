//! A new configuration: whom it names is adopted by identity, the rest departs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{self, Address, ClusterName, HealthCheck, ReleaseName, Target};

use super::discovered::Wanted;
use super::judge::limit;
use super::known::{Known, Place};
use super::publish::{ClusterState, Stale};
use super::schedule::{Plan, Slot};
use super::{
    BreakerNotice, Control, Effect, Evidence, FIRST_ROUND_MAX, FORGET_AFTER, Notice, REMEMBERED_MAX, known_check,
};
use crate::access::Access;
use crate::endpoint::{ClusterId, EndpointId, EndpointKey, Status};
use crate::live::EndpointLive;
use crate::load::Shards;
use crate::rate::Limiter;
use crate::route::RouteTable;
use crate::snapshot::{self, Kept};

impl Control {
    pub(super) fn configure(&mut self, config: Arc<model::Config>, effects: &mut Vec<Effect>) {
        if self.config.as_deref() == Some(&*config) {
            return;
        }
        self.given.rounds += 1;
        let moved = self.config.as_ref().is_some_and(|before| before.zone != config.zone);
        self.adopt_sources(&config, effects);
        let old = std::mem::take(&mut self.clusters);
        let mut old: BTreeMap<ClusterName, ClusterState> =
            old.into_iter().map(|cluster| (cluster.config.name.clone(), cluster)).collect();
        for (at, wanted) in config.clusters.iter().enumerate() {
            let mut cluster = match old.remove(&wanted.name) {
                Some(same) if same.config == *wanted => same,
                before => self.adopt_cluster(wanted, before, effects),
            };
            if moved {
                // Which zone is the own one decides who is picked.
                cluster.stale = Stale::Members;
            }
            self.place(at, &cluster);
            self.clusters.push(cluster);
        }
        self.depart();
        self.forget();
        self.rejudge();
        let placed: Vec<EndpointId> =
            self.clusters.iter().flat_map(|cluster| cluster.endpoints.iter().copied()).collect();
        placed.into_iter().for_each(|id| self.refresh(id));
        self.listeners = self.adopt_listeners(&config);
        self.adopt_releases(&config, effects);
        self.lift_past();
        self.config = Some(config);
        self.changed = true;
        self.apply_drains(&Evidence::Added, effects);
        self.end_moved_drills(effects);
        self.tally.keep(self.kept.values().map(|kept| kept.id));
        self.count_open();
    }

    /// The sources of the cluster at `at` tell others than before: whoever is new is adopted, and
    /// whom nobody tells any more departs.
    pub(super) fn refill(&mut self, at: usize, effects: &mut Vec<Effect>) {
        let before = self.clusters.remove(at);
        let (wanted, members) = (Arc::clone(&before.config), before.endpoints.clone());
        let cluster = self.adopt_cluster(&wanted, Some(before), effects);
        self.place(at, &cluster);
        let stay: BTreeSet<EndpointId> = cluster.endpoints.iter().copied().collect();
        self.clusters.insert(at, cluster);
        members.into_iter().filter(|id| !stay.contains(id)).for_each(|id| self.leave(id));
        stay.into_iter().for_each(|id| self.refresh(id));
        self.changed = true;
        self.apply_drains(&Evidence::Added, effects);
        self.count_open();
    }

    fn count_open(&mut self) {
        if !self.settled {
            let placed = self.known.values().filter(|known| known.place.is_some());
            self.open = placed.flat_map(|known| &known.checks).filter(|check| !check.spoken).count();
        }
    }

    fn adopt_cluster(
        &mut self,
        wanted: &Arc<model::Cluster>,
        before: Option<ClusterState>,
        effects: &mut Vec<Effect>,
    ) -> ClusterState {
        let mut fresh = vec![Vec::new(); wanted.health_checks.len()];
        let endpoints = self
            .sources
            .members(wanted)
            .iter()
            .map(|endpoint| self.adopt_endpoint(wanted, endpoint, &mut fresh, effects))
            .collect();
        for ((check, definition), endpoints) in (0..).zip(&wanted.health_checks).zip(fresh) {
            self.spread_first_probes(check, definition, &endpoints);
        }
        let kept = self.kept(&wanted.name);
        limit(&kept.live, &wanted.breaker);
        let (mut judged, published) = before.map(|before| (before.judged, before.published)).unwrap_or_default();
        if let Some(change) = judged.adopt(wanted, self.now) {
            let cluster = wanted.name.clone();
            effects.push(Effect::Notice(Notice::Breaker(BreakerNotice { cluster, change })));
        }
        if let Some(memory) = self.past.breaker(&wanted.name) {
            self.recall_breaker(kept.id, &mut judged, &memory);
        }
        ClusterState { kept, config: Arc::clone(wanted), endpoints, published, judged, stale: Stale::Members }
    }

    /// Known or made known. Adds it to `fresh` for each check whose first probe is to be planned.
    fn adopt_endpoint(
        &mut self,
        cluster: &model::Cluster,
        Wanted { endpoint: wanted, host, gone }: &Wanted,
        fresh: &mut [Vec<EndpointId>],
        effects: &mut Vec<Effect>,
    ) -> EndpointId {
        let checks = &cluster.health_checks;
        let key = EndpointKey { cluster: cluster.name.clone(), address: wanted.address.clone() };
        let id = match self.by_key.get(&key) {
            Some(&id) => id,
            None => self.meet(key, checks),
        };
        // `meet` made it known just now, or `by_key` names whom `known` has.
        let Some(known) = self.known.get_mut(&id) else {
            return id;
        };
        known.zone.clone_from(&wanted.zone);
        known.host.clone_from(host);
        known.weight = wanted.weight;
        known.priority = wanted.priority;
        if known.traffic.adopt(cluster.outlier.as_ref(), self.now) {
            effects.extend(known.judge(self.now, Evidence::RuleRemoved).map(Effect::Transition));
        }
        let slots = |known: &Known| (0..).map(move |check| Slot { endpoint: id, check }).take(known.checks.len());
        if !known.checks.iter().map(|check| &check.definition).eq(checks) {
            slots(known).zip(&known.checks).for_each(|(slot, check)| self.schedule.remove(slot, check.plan));
            let epochs: Vec<u32> = known.checks.iter().map(|check| check.epoch).collect();
            known.adopt_checks(checks);
            for (slot, check) in slots(known).zip(&known.checks) {
                self.schedule.insert(slot, check.plan);
                // One that is new or new here asks soon, however far off its old turn was.
                if epochs.get(usize::from(slot.check)) != Some(&check.epoch) && check.plan != Plan::Idle {
                    fresh[usize::from(slot.check)].push(id);
                }
            }
            let evidence = if checks.is_empty() { Evidence::NoChecks } else { Evidence::ChecksRemoved };
            effects.extend(known.judge(self.now, evidence).map(Effect::Transition));
        }
        if std::mem::replace(&mut known.gone, *gone) != *gone {
            let evidence = if *gone { Evidence::Undiscovered } else { Evidence::Rediscovered };
            effects.extend(known.judge(self.now, evidence).map(Effect::Transition));
        }
        for (check, fresh) in known.checks.iter().zip(fresh) {
            if check.plan == Plan::Idle {
                fresh.push(id);
            }
        }
        id
    }

    fn meet(&mut self, key: EndpointKey, checks: &[Arc<HealthCheck>]) -> EndpointId {
        let live = Arc::new(EndpointLive::new(&self.kept(&key.cluster).live.room));
        self.given.endpoints += 1;
        let (id, key) = (EndpointId(self.given.endpoints), Arc::new(key));
        self.by_key.insert(Arc::clone(&key), id);
        let memory = self.past.endpoint(&key);
        let mut known = Known::new(key, self.workers, live, checks, self.now);
        if let Some(memory) = memory {
            known.recall(memory, self.now);
        }
        if let Some(past) = self.past_of(&known.key) {
            past.lift(known.load.carried());
            known.traffic.begin_at(&known.load);
        }
        self.known.insert(id, known);
        id
    }

    /// Plans the first probes of `endpoints` evenly over one interval, from a random one on.
    fn spread_first_probes(&mut self, check: u16, definition: &HealthCheck, endpoints: &[EndpointId]) {
        let span = u64::try_from(definition.interval.min(FIRST_ROUND_MAX).as_nanos()).unwrap_or(u64::MAX);
        let count = endpoints.len() as u64;
        let first = self.dice.below(count);
        for (at, &endpoint) in (0..).zip(endpoints) {
            let part = u128::from((at + first) % count);
            let nanos = (u128::from(span) * part + u128::from(self.dice.below(span))) / u128::from(count);
            let mut due = self.now + Duration::from_nanos(nanos as u64);
            let slot = Slot { endpoint, check };
            let Some((_, check)) = known_check(&mut self.known, slot) else {
                continue;
            };
            if let Plan::Due(sooner) = check.plan {
                due = due.min(sooner);
            }
            self.schedule.plan(slot, &mut check.plan, Plan::Due(due));
        }
    }

    /// What is kept of a cluster by its name; new for a name that is not known any more.
    fn kept(&mut self, name: &ClusterName) -> Kept {
        let (given, workers) = (&mut self.given.clusters, self.workers);
        let new = || {
            *given += 1;
            Kept::new(ClusterId(*given), workers)
        };
        self.kept.entry(name.clone()).or_insert_with(new).clone()
    }

    fn place(&mut self, cluster: usize, state: &ClusterState) {
        let serves = |known: &Known| known.place.is_some() && known.status == Status::Healthy;
        let serving = self.settled && state.endpoints.iter().filter_map(|id| self.known.get(id)).any(serves);
        for (member, id) in state.endpoints.iter().enumerate() {
            // Clusters name only endpoints that are known.
            let Some(known) = self.known.get_mut(id) else { continue };
            if known.place.is_none() {
                self.departed.remove(&(known.left, *id));
                // One that comes to others that serve ramps up, now or once it is healthy.
                known.cold |= serving && known.status != Status::Healthy;
                known.ramp = (serving && known.status == Status::Healthy).then_some(self.now);
            }
            known.place = Some(Place { cluster, member });
            known.round = self.given.rounds;
        }
    }

    /// Whom this configuration does not name is not probed any more, but remembered for a while.
    fn depart(&mut self) {
        let round = self.given.rounds;
        let here = |known: &Known| known.round == round || known.place.is_none();
        let leaving: Vec<EndpointId> =
            self.known.iter().filter(|(_, known)| !here(known)).map(|(&endpoint, _)| endpoint).collect();
        leaving.into_iter().for_each(|endpoint| self.leave(endpoint));
        let known = &self.by_key;
        let clusters = &self.clusters;
        self.kept.retain(|name, kept| {
            let lowest = EndpointKey { cluster: name.clone(), address: Address::LOWEST };
            let remembered = || known.range(lowest..).next().is_some_and(|(key, _)| key.cluster == *name);
            clusters.iter().any(|cluster| cluster.kept.id == kept.id) || remembered()
        });
    }

    fn leave(&mut self, endpoint: EndpointId) {
        let Some(known) = self.known.get_mut(&endpoint) else { return };
        if known.place.take().is_none() {
            return;
        }
        known.left = self.now;
        if let Some(wake) = known.wake.take() {
            self.judging.sleep(wake, endpoint);
        }
        self.departed.insert((self.now, endpoint));
        for at in 0..known.checks.len() {
            let epoch = known.next_epoch();
            let check = &mut known.checks[at];
            check.epoch = epoch;
            self.schedule.plan(Slot::of(endpoint, at), &mut check.plan, Plan::Idle);
        }
    }

    /// Forgets those who left long ago, and the first to leave when they are too many.
    pub(super) fn forget(&mut self) {
        self.past.fade(self.now, self.began);
        while let Some(&(left, endpoint)) = self.departed.first()
            && (left + FORGET_AFTER <= self.now || self.departed.len() > REMEMBERED_MAX)
        {
            self.departed.pop_first();
            if let Some(known) = self.known.remove(&endpoint) {
                self.by_key.remove(&known.key);
            }
        }
    }

    fn adopt_listeners(&self, config: &model::Config) -> Vec<Arc<snapshot::Listener>> {
        let places = Places::of(config);
        config.listeners.iter().map(|wanted| self.adopt_listener(wanted, &places)).collect()
    }

    fn adopt_listener(&self, wanted: &Arc<model::Listener>, places: &Places<'_>) -> Arc<snapshot::Listener> {
        let old = self.listeners.iter().find(|listener| listener.config.name == wanted.name);
        let targets: Vec<Wish<'_>> = wanted.routes.iter().map(|route| places.wish(&route.target)).collect();
        let same = |(old, wish): (&snapshot::Target, &Wish<'_>)| {
            old.release == wish.release && old.to.iter().map(|(at, _)| at).eq(wish.to.iter().map(|(_, at)| at))
        };
        match old {
            Some(old) if old.config == *wanted && old.targets.iter().zip(&targets).all(same) => Arc::clone(old),
            _ => Arc::new(self.make_listener(wanted, &targets, old)),
        }
    }

    fn make_listener(
        &self,
        wanted: &Arc<model::Listener>,
        targets: &[Wish<'_>],
        old: Option<&Arc<snapshot::Listener>>,
    ) -> snapshot::Listener {
        let lane_before = |name: &ClusterName| {
            let lanes = &old?.lanes;
            lanes.binary_search_by(|(its, _)| its.cmp(name)).ok().map(|at| Arc::clone(&lanes[at].1))
        };
        let new = || Arc::new(Shards::new(self.workers));
        let mut lanes = BTreeMap::new();
        for &(name, _) in targets.iter().flat_map(|wish| &wish.to) {
            lanes.entry(name).or_insert_with(|| lane_before(name).unwrap_or_else(new));
        }
        let limit_before = |route: &model::Route| {
            let is_same = |its: &model::Route| match (&its.name, &route.name) {
                (None, None) => its.matches == route.matches,
                (one, other) => one == other,
            };
            let at = old?.config.routes.iter().position(is_same)?;
            old?.targets[at].limit.as_deref()
        };
        let limiter =
            |limit: &model::RateLimit, before: Option<&Limiter>| Arc::new(Limiter::new(limit, before, self.secret));
        let target = |(wish, route): (&Wish<'_>, &model::Route)| snapshot::Target {
            access: Access::new(&route.access),
            limit: route.rate_limit.as_ref().map(|limit| limiter(limit, limit_before(route))),
            release: wish.release,
            to: wish.to.iter().map(|(name, at)| (*at, Arc::clone(&lanes[name]))).collect(),
        };
        snapshot::Listener {
            config: Arc::clone(wanted),
            routes: RouteTable::new(&wanted.routes),
            access: Access::new(&wanted.access),
            limit: wanted.rate_limit.as_ref().map(|limit| limiter(limit, old.and_then(|old| old.limit.as_deref()))),
            targets: targets.iter().zip(&wanted.routes).map(target).collect(),
            load: old.map_or_else(|| Arc::new(Shards::new(self.workers)), |old| Arc::clone(&old.load)),
            clients: old.map(|old| Arc::clone(&old.clients)).unwrap_or_default(),
            unrouted: old.map_or_else(|| Arc::new(Shards::new(self.workers)), |old| Arc::clone(&old.unrouted)),
            lanes: lanes.iter().map(|(name, lane)| ((*name).clone(), Arc::clone(lane))).collect(),
        }
    }
}

/// Where a route's requests go, by name and place.
struct Wish<'c> {
    release: Option<usize>,
    to: Vec<(&'c ClusterName, usize)>,
}

/// Where in the configuration what routes name is.
pub(super) struct Places<'c> {
    clusters: BTreeMap<&'c ClusterName, usize>,
    releases: BTreeMap<&'c ReleaseName, (usize, &'c model::Release)>,
}

impl<'c> Places<'c> {
    pub(super) fn of(config: &'c model::Config) -> Self {
        let releases = config.releases.iter().enumerate();
        Self {
            clusters: config.clusters.iter().enumerate().map(|(at, cluster)| (&cluster.name, at)).collect(),
            releases: releases.map(|(at, release)| (&release.name, (at, &**release))).collect(),
        }
    }

    pub(super) fn cluster(&self, name: &ClusterName) -> usize {
        // A configuration is valid by construction: each reference resolves.
        *self.clusters.get(name).expect("routes and releases name clusters that exist")
    }

    fn wish(&self, target: &'c Target) -> Wish<'c> {
        match target {
            Target::Cluster(name) => Wish { release: None, to: vec![(name, self.cluster(name))] },
            Target::Reply(_) => Wish { release: None, to: Vec::new() },
            Target::Release(name) => {
                // The same.
                let (at, release) = *self.releases.get(name).expect("routes name releases that exist");
                let to = release.clusters().map(|name| (name, self.cluster(name))).collect();
                Wish { release: Some(at), to }
            }
        }
    }
}
