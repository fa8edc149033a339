//! Judging by traffic: once a second while there is some, and at once when a worker suspects.
//!
//! Sums the workers' counts into windows, asks [`crate::health::outlier`] and [`crate::breaker`]
//! what follows, and does it. What an endpoint does by itself (its time out ends, it ramps up) is
//! [`returns`].

mod memory;
mod returns;
mod told;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{self, EjectionAction, FailureRate, Outlier, ZoneName};

pub(super) use memory::Traffic;
pub(super) use returns::limit;
pub use told::{BreakerNotice, Cause, Ejection, Limits, TrafficNotice};

use super::memory::BreakerMemory;
use super::{Control, Effect, Evidence, Notice};
use crate::breaker::{Change, RateBreaker};
use crate::endpoint::{ClusterId, EndpointId, Status};
use crate::health::outlier::pool::HOLD;
use crate::health::outlier::{Case, Counts, Decision, Guard, Hold, Pool, Rule, What, decide, most_out};
use crate::live::Sample;
use crate::snapshot;
use crate::time::Moment;

/// When what is judged; the machinery of it.
#[derive(Debug, Default)]
pub(super) struct Judging {
    /// When all clusters are next judged; `None` if none wants it.
    due: Option<Moment>,
    /// When counts last moved.
    moved: Moment,
    /// Clusters (their indices) in which a worker suspects somebody.
    suspects: BTreeSet<usize>,
    /// Not before then are they judged: a storm of suspicions is one.
    suspects_due: Moment,
    /// What happens by itself, in order; each endpoint's is its `wake`.
    wakes: BTreeSet<(Moment, Wake)>,
}

/// To whom something happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    Endpoint(EndpointId),
    Cluster(ClusterId),
}

/// What traffic says of a cluster as a whole; kept from one configuration to the next.
#[derive(Debug, Default)]
pub(super) struct Judged {
    guard: Guard,
    pub(super) breaker: Option<RateBreaker>,
}

impl Judging {
    /// Nothing happens to an endpoint by itself any more.
    pub(super) fn sleep(&mut self, wake: Moment, endpoint: EndpointId) {
        self.wakes.remove(&(wake, Wake::Endpoint(endpoint)));
    }

    /// Whether exactly these are planned of endpoints.
    pub(super) fn holds(&self, mut endpoints: impl Iterator<Item = (Moment, EndpointId)>) -> bool {
        let mut count = 0;
        let all = endpoints.all(|(at, id)| {
            count += 1;
            self.wakes.contains(&(at, Wake::Endpoint(id)))
        });
        all && count == self.wakes.iter().filter(|(_, wake)| matches!(wake, Wake::Endpoint(_))).count()
    }
}

/// How often clusters are judged while there is traffic.
const BEAT: Duration = Duration::from_secs(1);

/// And while there is none: then nothing can follow, but somebody must notice that it begins.
const IDLE_BEAT: Duration = Duration::from_secs(5);

/// Traffic has ceased when counts did not move for so long.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// Suspicions are judged no more often than this.
const SUSPICION_PAUSE: Duration = Duration::from_millis(100);

impl Judged {
    /// Goes on under a configuration that may have changed; gives what became of the breaker.
    pub(super) fn adopt(&mut self, cluster: &model::Cluster, now: Moment) -> Option<Change> {
        match (&cluster.breaker.failure_rate, &mut self.breaker) {
            (Some(rate), Some(breaker)) => breaker.adopt(rate),
            (Some(rate), none) => *none = Some(RateBreaker::new(rate, now)),
            (None, breaker) => {
                return breaker.take().filter(|breaker| !breaker.is_closed()).map(|_| Change::Removed);
            }
        }
        None
    }

    /// The breaker as the data path sees it.
    pub(super) fn breaker(&self) -> snapshot::Breaker {
        self.breaker.as_ref().map_or(snapshot::Breaker::Closed, RateBreaker::published)
    }

    /// Until when ejections are held, if they are.
    pub(super) fn held(&self, now: Moment) -> Option<Moment> {
        self.guard.held(now)
    }
}

/// Whether a cluster is judged by its traffic at all.
const fn wants(cluster: &model::Cluster) -> bool {
    cluster.outlier.is_some() || cluster.breaker.failure_rate.is_some()
}

impl Control {
    /// The breaker of a cluster is again what it was.
    pub(super) fn recall_breaker(&mut self, cluster: ClusterId, judged: &mut Judged, memory: &BreakerMemory) {
        let Some(breaker) = &mut judged.breaker else { return };
        let until = self.now + memory.left;
        breaker.recall(until, memory.again);
        self.judging.wakes.insert((until, Wake::Cluster(cluster)));
    }

    /// When [`Self::watch`] has something to do.
    pub(super) fn next_watch(&self) -> Option<Moment> {
        let Judging { due, suspects, suspects_due, wakes, .. } = &self.judging;
        let suspects = (!suspects.is_empty()).then_some(*suspects_due);
        let wake = wakes.first().map(|&(at, _)| at);
        [*due, suspects, wake].into_iter().flatten().min()
    }

    /// A configuration was taken in: indices of clusters mean others now.
    pub(super) fn rejudge(&mut self) {
        self.judging.suspects.clear();
        let wanted = self.clusters.iter().any(|cluster| wants(&cluster.config));
        self.judging.due = wanted.then(|| self.judging.due.unwrap_or(self.now + BEAT));
    }

    /// A worker saw failures in a row.
    pub(super) fn suspect(&mut self, endpoint: EndpointId) {
        let place = self.known.get(&endpoint).and_then(|known| known.place);
        if let Some(place) = place.filter(|place| wants(&self.clusters[place.cluster].config)) {
            self.judging.suspects.insert(place.cluster);
            self.judging.moved = self.now;
            self.judging.due = self.judging.due.map(|due| due.min(self.now + BEAT));
        }
    }

    /// Does all that is due by traffic.
    pub(super) fn watch(&mut self, effects: &mut Vec<Effect>) {
        self.wake(effects);
        if self.judging.due.is_some_and(|due| due <= self.now) {
            (0..self.clusters.len()).for_each(|at| self.judge_cluster(at, effects));
            let idle = self.now.since(self.judging.moved) >= IDLE_AFTER;
            self.judging.due = Some(self.now + if idle { IDLE_BEAT } else { BEAT });
            self.judging.suspects.clear();
        }
        if self.judging.suspects_due <= self.now && !self.judging.suspects.is_empty() {
            let suspects = std::mem::take(&mut self.judging.suspects);
            suspects.into_iter().for_each(|at| self.judge_cluster(at, effects));
            self.judging.suspects_due = self.now + SUSPICION_PAUSE;
        }
    }

    fn judge_cluster(&mut self, at: usize, effects: &mut Vec<Effect>) {
        let config = Arc::clone(&self.clusters[at].config);
        if !wants(&config) {
            return;
        }
        let counts = self.count(at, config.outlier.as_ref());
        if !counts.is_empty() {
            self.judging.moved = self.now;
        }
        if let Some(rate) = &config.breaker.failure_rate {
            self.judge_breaker(at, rate, &counts, effects);
        }
        if let Some(rules) = &config.outlier {
            let Hearing { pool, cases, clean, fresh_zone, zone_alone } = self.hear_all(at, rules);
            clean.into_iter().for_each(|id| self.restore(id, effects));
            if !cases.is_empty() {
                // A zone that is bad as a whole, while others are well, is a cause that was found: waiting
                // for another would only cost requests.
                let held = !zone_alone && self.ask_guard(at, rules, &pool, fresh_zone, effects);
                let decisions = decide(rules, &pool, cases, held);
                self.carry_out(at, rules, &pool, decisions, effects);
            }
        }
    }

    /// Reads the counts of all endpoints of a cluster into their windows, and gives their sum.
    fn count(&mut self, at: usize, rules: Option<&Outlier>) -> Counts {
        let mut sum = Counts::default();
        for id in &self.clusters[at].endpoints {
            if let Some(known) = self.known.get_mut(id) {
                sum += &known.traffic.count(rules, &known.load, self.now);
            }
        }
        sum
    }

    fn judge_breaker(&mut self, at: usize, rate: &FailureRate, counts: &Counts, effects: &mut Vec<Effect>) {
        let draw = self.dice.roll();
        let change = self.clusters[at].judged.breaker.as_mut();
        let change = change.and_then(|breaker| breaker.judge(rate, counts, self.now, draw));
        self.breaker_changed(at, change, effects);
    }

    /// Publishes and tells what became of a cluster's breaker, if anything did.
    pub(super) fn breaker_changed(&mut self, at: usize, change: Option<Change>, effects: &mut Vec<Effect>) {
        let Some(change) = change else { return };
        let cluster = &mut self.clusters[at];
        cluster.touch();
        self.changed = true;
        if let Some(due) = cluster.judged.breaker.as_ref().and_then(RateBreaker::due) {
            self.judging.wakes.insert((due, Wake::Cluster(cluster.kept.id)));
        }
        let cluster = cluster.config.name.clone();
        effects.push(Effect::Notice(Notice::Breaker(BreakerNotice { cluster, change })));
    }
}

/// A cluster as the rules see it.
struct Hearing {
    pool: Pool,
    /// Numbers are places in the cluster.
    cases: Vec<Case>,
    /// Those that are reduced, are looked at now, and nothing stands against them.
    clean: Vec<EndpointId>,
    /// The zone of all that turned bad just now, if it is one.
    fresh_zone: Option<ZoneName>,
    /// And others stand elsewhere, and are well: then that zone is the cause.
    zone_alone: bool,
}

impl Control {
    fn hear_all(&mut self, at: usize, rules: &Outlier) -> Hearing {
        let (mut pool, mut cases, mut clean) = (Pool::default(), Vec::new(), Vec::new());
        let (mut healthy, mut unknown) = (0, 0);
        let mut fresh: Vec<Option<ZoneName>> = Vec::new();
        let mut elsewhere: BTreeSet<Option<ZoneName>> = BTreeSet::new();
        for (who, id) in self.clusters[at].endpoints.iter().enumerate() {
            let Some(known) = self.known.get_mut(id) else { continue };
            let traffic = &mut known.traffic;
            let (permille, weighs) = (traffic.standing.permille(), known.weight.get() > 0);
            let looked_at = traffic.standing.due().is_none_or(|due| due <= self.now);
            let served = weighs && matches!(known.status, Status::Healthy | Status::Unknown);
            let charge = if served { traffic.charge(rules, &known.live, self.now) } else { None };
            match charge {
                Some(charge) if looked_at => cases.push((known.status, Case { who, charge, permille })),
                None if looked_at && permille < 1000 => clean.push(*id),
                _ => {}
            }
            if !weighs {
                continue;
            }
            pool.total += 1;
            healthy += u32::from(known.status == Status::Healthy);
            unknown += u32::from(known.status == Status::Unknown);
            pool.out += u32::from(traffic.standing.is_out());
            pool.reduced += u32::from(1000 - permille);
            if traffic.turned_bad(HOLD, self.now) {
                fresh.push(known.zone.clone());
            } else {
                elsewhere.insert(known.zone.clone());
            }
        }
        // Whoever is not judged yet is used only while nobody is healthy.
        let serving = if healthy > 0 { Status::Healthy } else { Status::Unknown };
        let cases = cases.into_iter().filter(|(status, _)| *status == serving).map(|(_, case)| case).collect();
        (pool.usable, pool.fresh) = (if healthy > 0 { healthy } else { unknown }, fresh.len() as u32);
        let one = fresh.windows(2).all(|two| two[0] == two[1]);
        let fresh_zone = fresh.pop().flatten().filter(|_| one);
        let zone_alone = fresh_zone.is_some() && elsewhere.iter().any(|zone| *zone != fresh_zone);
        Hearing { pool, cases, clean, fresh_zone, zone_alone }
    }

    /// Whether ejections are held, since many turned bad at once; tells when that begins.
    fn ask_guard(
        &mut self,
        at: usize,
        rules: &Outlier,
        pool: &Pool,
        zone: Option<ZoneName>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if rules.action == EjectionAction::Observe {
            return false;
        }
        let cluster = &mut self.clusters[at];
        let hold = cluster.judged.guard.ask(rules, pool, self.now);
        if let Hold::Begins(until) = hold {
            let (cluster, bad, total) = (cluster.config.name.clone(), pool.fresh, pool.total);
            let notice = TrafficNotice::Held { cluster, bad, total, zone, until };
            effects.push(Effect::Notice(Notice::Traffic(notice)));
        }
        hold != Hold::No
    }

    fn carry_out(
        &mut self,
        at: usize,
        rules: &Outlier,
        pool: &Pool,
        decisions: Vec<Decision>,
        effects: &mut Vec<Effect>,
    ) {
        let mut limits = Limits { out: pool.out, most: most_out(rules, pool.total), total: pool.total };
        for Decision { who, charge, what } in decisions {
            let id = self.clusters[at].endpoints[who];
            match what {
                What::Eject => {
                    limits.out += 1;
                    self.eject(id, rules, Cause::Charge(charge), limits, effects);
                }
                What::Reduce(_) | What::Observe | What::Spare(_) => {
                    let Some(known) = self.known.get_mut(&id) else { continue };
                    let before = known.traffic.standing.permille();
                    let told = known.traffic.tells(what);
                    if let What::Reduce(to) = what {
                        known.traffic.standing.reduce(to, self.now);
                    }
                    if told && what != What::Reduce(before) {
                        let (key, zone) = (Arc::clone(&known.key), known.zone.clone());
                        let samples =
                            samples(&charge.rule, charge.failures, known.live.samples.since(Moment::ZERO), self.now);
                        let notice = TrafficNotice::Charged { key, zone, charge, what, limits, samples };
                        effects.push(Effect::Notice(Notice::Traffic(notice)));
                    }
                    if matches!(what, What::Reduce(_)) {
                        known.traffic.forget(&known.load, &known.live, self.now);
                        self.refresh(id);
                    }
                }
            }
        }
    }

    /// Takes an endpoint out. `limits` count it already.
    fn eject(&mut self, id: EndpointId, rules: &Outlier, cause: Cause, limits: Limits, effects: &mut Vec<Effect>) {
        let draw = self.dice.roll();
        let Some(known) = self.known.get_mut(&id) else { return };
        let until = known.traffic.standing.eject(rules, self.now, draw);
        known.live.streak.clear();
        let kept = known.live.samples.since(Moment::ZERO);
        let samples = match &cause {
            Cause::Charge(charge) => samples(&charge.rule, charge.failures, kept, self.now),
            Cause::Trial { .. } => latest(kept, 1),
            Cause::Remembered(_) => Vec::new(),
        };
        let (pause, times) = (until.since(self.now), known.traffic.standing.times());
        let ejection = Arc::new(Ejection { cause, pause, until, times, limits, samples });
        known.traffic.ejection = Some(Arc::clone(&ejection));
        self.judge(id, Evidence::Traffic(ejection), effects);
    }
}

/// Those of the kept samples that a rule speaks of.
fn samples(rule: &Rule, failures: u32, kept: Vec<Sample>, now: Moment) -> Vec<Sample> {
    match rule {
        Rule::Consecutive { .. } => latest(kept, failures as usize),
        Rule::Share { window, .. } => kept.into_iter().filter(|sample| now.since(sample.at) <= *window).collect(),
    }
}

fn latest(mut kept: Vec<Sample>, most: usize) -> Vec<Sample> {
    kept.drain(..kept.len().saturating_sub(most));
    kept
}
