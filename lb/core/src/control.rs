//! The control loop's mind: events in, effects and snapshots out.
//!
//! Sole writer of health, sole maker of snapshots. It opens nothing and waits for nothing: the
//! shell tells it the time, runs the probes it orders, and hands the snapshots it publishes to the
//! workers. What is known of an endpoint is kept by identity (cluster and address), apart from the
//! configuration, so a reload cannot make a sick endpoint well.

mod carry;
mod configure;
pub mod discovered;
pub mod drills;
mod evidence;
mod invariants;
mod judge;
mod known;
pub mod memory;
pub mod notice;
pub mod orders;
mod panic;
mod publish;
pub mod releases;
mod schedule;
pub mod tally;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{self, Address, ClusterName, HealthCheck, ZoneName};

pub use crate::health::{Inconclusive, ProbeFailure, ProbeOutcome, ProbeResult};
pub use carry::Last;
pub use discovered::{Found, Look, SourceKey, SourceView};
pub use evidence::{Evidence, Transition};
pub use judge::{BreakerNotice, Cause, Ejection, Limits, TrafficNotice};
pub use memory::Memory;
pub use notice::Notice;
pub use orders::Order;
pub use panic::PanicNotice;
pub use releases::{ReleaseChange, ReleaseNotice, ReleaseOrder, ReleaseView};
pub use view::{CheckView, ClusterView, EndpointView};

use crate::attempt::Outcome;
use crate::dice::Dice;
use crate::endpoint::{ClusterId, EndpointId, EndpointKey};
use crate::health::active::{Heard, jittered};
use crate::release::rollout;
use crate::snapshot;
use crate::time::Moment;
use discovered::Sources;
use judge::Judging;
use known::Known;
use publish::ClusterState;
use schedule::{Plan, Schedule, Slot};

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new wish, already valid.
    Configured(Arc<model::Config>),
    /// A probe ended.
    Probed(Probed),
    /// A worker saw an endpoint fail as often in a row as its cluster's outlier detection allows.
    /// Said again by the next failure, so it may be lost.
    Suspected(EndpointId),
    /// A trial ended: of an endpoint on probation, or of a cluster whose breaker is half open.
    Tried(Tried),
    /// An operator wants something. Who wants to hear what became of it calls [`Control::order`].
    Ordered(Order),
    /// A source was looked at.
    Found(Box<Found>),
    /// Time passed: [`Control::next_due`] has come.
    Tick,
}

/// Which probe: one is under way per endpoint and check at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId {
    /// Whom.
    pub endpoint: EndpointId,
    /// The check's place among the cluster's health checks.
    pub check: u16,
    /// Changes when the check does, and when a probe is given up; an answer with another epoch
    /// than asked for is ignored.
    pub epoch: u32,
}

/// The end of a trial request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Whose trial it was.
    pub whose: Whose,
    /// As the permit said ([`crate::live::TrialPermit::epoch`]); an older one is ignored.
    pub epoch: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// Whose trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Of an endpoint on probation.
    Endpoint(EndpointId),
    /// Of a cluster whose breaker is half open.
    Cluster(ClusterId),
}

/// The end of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// As ordered.
    pub id: ProbeId,
    /// How it ended.
    pub outcome: ProbeOutcome,
}

/// What the shell shall do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Run a probe.
    Probe(ProbeOrder),
    /// Look at a source of endpoints.
    Look(Look),
    /// No longer look at one.
    LookAway(Arc<SourceKey>),
    /// Tell people of a status.
    Transition(Transition),
    /// Tell people of something else.
    Notice(Notice),
    /// Keep this for [`Control::restore_rollouts`] of the next process, in place of what was kept before.
    Remember(Vec<rollout::Kept>),
}

/// A probe to run, now: orders never exceed [`model::Config::max_concurrent_probes`], so there is
/// no queue to wait in.
#[derive(Clone, Debug)]
pub struct ProbeOrder {
    /// To be given back with the outcome.
    pub id: ProbeId,
    /// Whom, for people.
    pub key: Arc<EndpointKey>,
    /// Where to connect: the endpoint, or another port of it if the check says so.
    pub address: Address,
    /// What to ask.
    pub check: Arc<HealthCheck>,
    /// Its cluster: how to connect.
    pub cluster: Arc<model::Cluster>,
    /// The zone it stands in.
    pub zone: Option<ZoneName>,
    /// The name it was found by, if it was.
    pub host: Option<Arc<str>>,
    /// When it should have begun: if that is long ago, we are late, not the endpoint.
    pub due: Moment,
}

/// The control loop's mind. See the module's introduction.
#[derive(Debug)]
pub struct Control {
    workers: usize,
    dice: Dice,
    /// Of the buckets of rate limits.
    secret: u128,
    /// The latest time told; time does not run backwards here.
    now: Moment,
    /// When it was told of another process's past.
    began: Moment,
    past: memory::Past,
    config: Option<Arc<model::Config>>,
    /// In the order of the configuration.
    clusters: Vec<ClusterState>,
    /// In the order of the configuration; they carry their own counts from one to the next.
    listeners: Vec<Arc<snapshot::Listener>>,
    /// In the order of the configuration.
    releases: Vec<releases::ReleaseState>,
    /// Everybody in the configuration, and those who left it not long ago.
    known: BTreeMap<EndpointId, Known>,
    by_key: BTreeMap<Arc<EndpointKey>, EndpointId>,
    /// Those who left, by when.
    departed: BTreeSet<(Moment, EndpointId)>,
    /// What is kept of clusters by name, of those too that left not long ago.
    kept: BTreeMap<ClusterName, snapshot::Kept>,
    schedule: Schedule,
    judging: Judging,
    drains: orders::Drains,
    drills: drills::Drills,
    tally: tally::Tally,
    sources: Sources,
    rollouts: releases::Rollouts,
    /// Checks that have not said anything yet; counted only until `settled`.
    open: usize,
    settled: bool,
    changed: bool,
    /// What publishing brought up: effects of the next step, which is due at once.
    noticed: Vec<Effect>,
    /// Numbers given so far; each only rises.
    given: Given,
}

#[derive(Debug, Default)]
struct Given {
    endpoints: u32,
    clusters: u32,
    versions: u64,
    generations: u64,
    rounds: u64,
    trials: u64,
}

/// An endpoint that left the configuration is remembered this long, so that one which flaps in
/// and out does not come back as a stranger.
pub const FORGET_AFTER: Duration = Duration::from_secs(600);

/// So many that left are remembered at the most; beyond, the ones that left first are forgotten.
pub const REMEMBERED_MAX: usize = 10_000;

/// A probe without an answer is given up this long after its timeout, and asked again.
pub const LOST_GRACE: Duration = Duration::from_secs(5);

/// A [`Event::Tick`] is wanted this often at the least, whatever [`Control::next_due`] says:
/// nobody tells control that there is traffic again.
pub const TICK_AT_LEAST: Duration = Duration::from_secs(5);

/// First probes are spread over one interval of their check, but over no more than this: a start
/// does not wait for an hour because probes are an hour apart.
pub const FIRST_ROUND_MAX: Duration = Duration::from_secs(10);

/// Inconclusive outcomes after which a check's first round counts as given up.
const BLANKS_MAX: u8 = 3;

impl Control {
    /// Knows nothing yet. `workers` is the number of shards of all counts.
    #[must_use]
    pub fn new(workers: usize, dice: Dice) -> Self {
        // Other numbers than those that pauses between probes show to endpoints.
        let mut secrets = dice.clone().split().split();
        let secret = u128::from(secrets.roll()) << 64 | u128::from(secrets.roll());
        Self {
            workers,
            dice,
            secret,
            now: Moment::ZERO,
            began: Moment::ZERO,
            past: memory::Past::default(),
            config: None,
            clusters: Vec::new(),
            listeners: Vec::new(),
            releases: Vec::new(),
            known: BTreeMap::new(),
            by_key: BTreeMap::new(),
            departed: BTreeSet::new(),
            kept: BTreeMap::new(),
            schedule: Schedule::default(),
            judging: Judging::default(),
            drains: orders::Drains::default(),
            drills: drills::Drills::default(),
            tally: tally::Tally::default(),
            sources: Sources::default(),
            rollouts: releases::Rollouts::default(),
            open: 0,
            settled: false,
            changed: false,
            noticed: Vec::new(),
            given: Given::default(),
        }
    }

    /// Takes in one event and appends what is to be done to `effects`, what is told before probes.
    pub fn step(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        effects.append(&mut self.noticed);
        self.forget();
        self.expire_drains(effects);
        self.go_on_with_drills(effects);
        match event {
            Event::Configured(config) => self.configure(config, effects),
            Event::Probed(probed) => self.hear(probed, effects),
            Event::Found(found) => self.found(*found, effects),
            // The notice among the effects tells what became of it.
            Event::Ordered(order) => _ = self.take(order, effects),
            Event::Suspected(endpoint) => self.suspect(endpoint),
            Event::Tried(tried) => self.tried(tried, effects),
            Event::Tick => {}
        }
        self.watch(effects);
        self.look_at_counts();
        self.watch_releases(effects);
        self.give_up_lost();
        self.look(effects);
        self.ask(effects);
        self.settled |= self.open == 0 && self.config.is_some() && self.awaited_until().is_none();
    }

    /// When a [`Event::Tick`] is next wanted, before [`TICK_AT_LEAST`] has passed; `None` if nothing
    /// is waited for.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        let due = self.schedule.next_due().filter(|_| self.may_ask());
        let noticed = (!self.noticed.is_empty()).then_some(self.now);
        let others = [
            self.schedule.next_lost(),
            self.next_watch(),
            self.tally.next_due(),
            self.drains.next_due(),
            self.drills.next_due(),
            noticed,
            self.sources.next_due(),
            self.rollouts.next_due(),
            self.awaited_until(),
        ];
        others.into_iter().chain([due]).flatten().min()
    }

    /// Until when the first answer of a source is waited for, if it still is.
    fn awaited_until(&self) -> Option<Moment> {
        if self.settled {
            return None;
        }
        self.sources.awaited_until().filter(|&until| until > self.now)
    }

    /// Whether every source of endpoints answered once or took too long, and every checked endpoint
    /// was judged once, or its first round was given up. Stays true: endpoints that come later do not make a serving process unready.
    #[must_use]
    pub const fn settled(&self) -> bool {
        self.settled
    }

    /// Probes under way.
    #[must_use]
    pub fn probes_under_way(&self) -> usize {
        self.schedule.under_way()
    }

    fn may_ask(&self) -> bool {
        let most = self.config.as_ref().map_or(0, |config| config.max_concurrent_probes.get() as usize);
        self.schedule.under_way() < most
    }

    /// Orders every probe that is due, the longest due first, up to the limit.
    fn ask(&mut self, effects: &mut Vec<Effect>) {
        while self.may_ask()
            && let Some((due, slot)) = self.schedule.due_by(self.now)
        {
            // Only slots of endpoints that are known, and in the configuration, are ever planned.
            let Some(Known { place: Some(place), zone, host, .. }) = self.known.get(&slot.endpoint) else {
                return;
            };
            let cluster = Arc::clone(&self.clusters[place.cluster].config);
            let (zone, host) = (zone.clone(), host.clone());
            let Some((key, check)) = known_check(&mut self.known, slot) else {
                return;
            };
            let lost_at = self.now + check.definition.timeout + LOST_GRACE;
            self.schedule.plan(slot, &mut check.plan, Plan::Asked { lost_at });
            let mut address = key.address.clone();
            if let (Address::Ip(address), Some(port)) = (&mut address, check.definition.port) {
                address.set_port(port.get());
            }
            effects.push(Effect::Probe(ProbeOrder {
                id: ProbeId { endpoint: slot.endpoint, check: slot.check, epoch: check.epoch },
                key: Arc::clone(key),
                address,
                check: Arc::clone(&check.definition),
                cluster,
                zone,
                host,
                due,
            }));
        }
    }
}

/// Probes coming back, or not.
impl Control {
    fn hear(&mut self, Probed { id, outcome }: Probed, effects: &mut Vec<Effect>) {
        let slot = Slot { endpoint: id.endpoint, check: id.check };
        let Some((_, check)) = known_check(&mut self.known, slot) else {
            return;
        };
        if check.epoch != id.epoch || !matches!(check.plan, Plan::Asked { .. }) {
            return;
        }
        check.last = Some((self.now, outcome));
        let definition = Arc::clone(&check.definition);
        let heard = outcome.result.conclusion().map(|passed| check.opinion.hear(&definition, passed));
        let pause = if heard.is_some() { check.opinion.pause(&definition) } else { definition.fast_interval };
        let due = self.now + jittered(pause, definition.jitter_percent, self.dice.roll());
        self.schedule.plan(slot, &mut check.plan, Plan::Due(due));
        check.blanks = if heard.is_some() { 0 } else { check.blanks.saturating_add(1) };
        if heard.is_some() || check.blanks >= BLANKS_MAX {
            self.first_round_over(slot);
        }
        self.notice_reachable(id.endpoint);
        if let Some(Heard { streak, threshold, changed: true }) = heard {
            let ProbeOutcome { result, took } = outcome;
            self.judge(
                id.endpoint,
                Evidence::Probe { check: id.check, asked: definition, result, streak, threshold, took },
                effects,
            );
        }
    }

    /// An endpoint that is out answers again, if only to say that it is not well, or no longer does.
    fn notice_reachable(&mut self, endpoint: EndpointId) {
        let Some(known) = self.known.get_mut(&endpoint) else { return };
        let reachable = known.is_reachable();
        if std::mem::replace(&mut known.reachable, reachable) != reachable
            && let Some(place) = known.place
        {
            self.clusters[place.cluster].note(place.member);
            self.changed = true;
        }
    }

    /// Brings an endpoint's status in line with all that is known of it, and all that follows.
    fn judge(&mut self, endpoint: EndpointId, evidence: Evidence, effects: &mut Vec<Effect>) {
        let Some(known) = self.known.get_mut(&endpoint) else {
            return;
        };
        if let (Some(place), Some(transition)) = (known.place, known.judge(self.now, evidence)) {
            self.clusters[place.cluster].note(place.member);
            self.changed = true;
            effects.push(Effect::Transition(transition));
        }
        self.refresh(endpoint);
    }

    fn first_round_over(&mut self, slot: Slot) {
        if let Some((_, check)) = known_check(&mut self.known, slot)
            && !std::mem::replace(&mut check.spoken, true)
        {
            self.open = self.open.saturating_sub(1);
        }
    }

    /// A probe that never came back is asked again; should its answer come after all, its epoch
    /// gives it away.
    fn give_up_lost(&mut self) {
        while let Some(slot) = self.schedule.lost_by(self.now) {
            let Some(known) = self.known.get_mut(&slot.endpoint) else {
                return;
            };
            let epoch = known.next_epoch();
            let Some(check) = known.checks.get_mut(usize::from(slot.check)) else {
                return;
            };
            let took = check.definition.timeout + LOST_GRACE;
            check.epoch = epoch;
            check.last = Some((self.now, ProbeOutcome { result: ProbeResult::Inconclusive(Inconclusive::Late), took }));
            self.schedule.plan(slot, &mut check.plan, Plan::Due(self.now));
            self.first_round_over(slot);
        }
    }
}

/// The check in a slot, and whose it is.
fn known_check(known: &mut BTreeMap<EndpointId, Known>, slot: Slot) -> Option<(&Arc<EndpointKey>, &mut known::Check)> {
    let Known { key, checks, .. } = known.get_mut(&slot.endpoint)?;
    checks.get_mut(usize::from(slot.check)).map(|check| (&*key, check))
}
