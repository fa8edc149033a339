//! Releases as control keeps them: counts by name, what is judged of canaries, and the weights in
//! force, which follow from it ([`crate::release::rollout`]).
//!
//! Counts are looked at once a second for guards, and every [`PERIOD`] for the judge. Nothing here
//! for releases without canaries.

mod canary;
mod carry;
mod notice;
mod orders;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{self, Bucket, ClusterName, ReleaseName, Share};

pub use notice::{ReleaseChange, ReleaseNotice};
pub use orders::{Action, ReleaseOrder};
pub use view::{CanaryView, Minute, ReleaseView, VersionView};

use super::configure::Places;
use super::tally::Buckets;
use super::{Control, Effect, Notice};
use crate::limits::{Budget, Queue};
use crate::load::Shards;
use crate::release::judge::User;
use crate::release::load::{BucketLoads, MirrorLoad, VersionLoad};
use crate::release::rollout::{Kept, Plan, Wish};
use crate::release::{Mirror, Release};
use crate::time::Moment;
use canary::CanaryState;

/// Between two looks at a canary's counts.
const BEAT: Duration = Duration::from_secs(1);
/// What the judge is told at once.
pub const PERIOD: Duration = Duration::from_secs(10);
/// How far back a version's rate and latency go.
const BACK: Duration = Duration::from_secs(60);

/// A release of the configuration in force.
#[derive(Debug)]
pub(super) struct ReleaseState {
    config: Arc<model::Release>,
    /// Counts of its versions by cluster; those of clusters that left it are dropped.
    loads: BTreeMap<ClusterName, Arc<Shards<VersionLoad>>>,
    buckets: Arc<Shards<BucketLoads>>,
    /// Of its copies; kept while it makes none, too.
    mirrored: (Arc<Budget>, Arc<Shards<MirrorLoad>>),
    /// In the order of the configuration.
    canaries: Vec<CanaryState>,
    /// By version: what it had lately.
    recent: Vec<VecDeque<Reading>>,
    /// Requests and errors by bucket, when last told to the judge; empty without canaries.
    told: Vec<(u64, u64)>,
    told_at: Moment,
    /// As workers see it.
    pub(super) published: Arc<Release>,
}

/// A version's counts at one moment.
#[derive(Clone, Debug)]
struct Reading {
    at: Moment,
    requests: u64,
    errors: u64,
    duration: Buckets,
}

/// When releases are looked at, and what of them outlives the process.
#[derive(Debug, Default)]
pub(super) struct Rollouts {
    due: Option<Moment>,
    looked: Moment,
    /// From the process before; taken by the first configuration.
    restored: Vec<Kept>,
    /// As last handed out.
    remembered: Vec<Kept>,
    /// Another process acts, or is about to: nothing is done here.
    pub(super) resting: bool,
}

impl Rollouts {
    pub(super) const fn next_due(&self) -> Option<Moment> {
        if self.resting { None } else { self.due }
    }
}

impl Control {
    /// Goes on with rollouts where an earlier process left them. To be called before the first
    /// configuration, which says whom it knows; the others are forgotten.
    pub fn restore_rollouts(&mut self, kept: Vec<Kept>) {
        self.rollouts.restored = kept;
    }

    /// Releases are known by name: whatever else of one changes, its counts go on.
    pub(super) fn adopt_releases(&mut self, config: &model::Config, effects: &mut Vec<Effect>) {
        let places = Places::of(config);
        let mut old: BTreeMap<_, _> = std::mem::take(&mut self.releases)
            .into_iter()
            .map(|release| (release.config.name.clone(), release))
            .collect();
        let mut restored: BTreeMap<(ReleaseName, ClusterName), Kept> = std::mem::take(&mut self.rollouts.restored)
            .into_iter()
            .map(|kept| ((kept.release.clone(), kept.canary.clone()), kept))
            .collect();
        for wanted in &config.releases {
            let before = old.remove(&wanted.name);
            let release = self.adopt_release(wanted, before, &mut restored, &places, effects);
            self.releases.push(release);
        }
        let watched = self.releases.iter().any(|release| !release.canaries.is_empty());
        self.rollouts.due = watched.then(|| self.rollouts.due.unwrap_or(self.now));
        if !watched {
            self.remember(effects);
        }
    }

    fn adopt_release(
        &self,
        wanted: &Arc<model::Release>,
        before: Option<ReleaseState>,
        restored: &mut BTreeMap<(ReleaseName, ClusterName), Kept>,
        places: &Places<'_>,
        effects: &mut Vec<Effect>,
    ) -> ReleaseState {
        let clusters: Vec<usize> = wanted.clusters().map(|name| places.cluster(name)).collect();
        let new_mirrored = || (Arc::new(Budget::new(None, Queue::new())), Arc::new(Shards::new(self.workers)));
        let (kept, buckets, mirrored, known, recent) = match before {
            Some(before) => {
                let recent: BTreeMap<ClusterName, _> = before.config.clusters().cloned().zip(before.recent).collect();
                (before.loads, before.buckets, before.mirrored, before.canaries, recent)
            }
            None => (BTreeMap::new(), Arc::new(Shards::new(self.workers)), new_mirrored(), Vec::new(), BTreeMap::new()),
        };
        carry::lift_release(&self.past.totals, &wanted.name, &buckets, &mirrored.1);
        let mirror = wanted.mirror.as_ref().map(|mirror| {
            let (budget, load) = mirrored.clone();
            budget.set_most(Some(mirror.max_concurrent));
            Mirror { cluster: places.cluster(&mirror.cluster), budget, load }
        });
        let load = |name: &ClusterName| kept.get(name).map_or_else(|| Arc::new(Shards::new(self.workers)), Arc::clone);
        let loads: Vec<_> = wanted.clusters().map(load).collect();
        // Before anybody looks at them: the past is nothing that happened just now.
        carry::lift_versions(&self.past.totals, &wanted.name, wanted.clusters().zip(&loads));
        let mut known: BTreeMap<ClusterName, CanaryState> =
            known.into_iter().map(|canary| (canary.cluster.clone(), canary)).collect();
        let adopt = |(canary, load): (&model::Canary, &Arc<Shards<VersionLoad>>)| {
            let (plan, wish) = (Plan::of(canary), Wish::of(wanted, canary));
            let old = known.remove(&canary.cluster);
            let kept = restored.remove(&(wanted.name.clone(), canary.cluster.clone()));
            let (state, change) = CanaryState::adopt(&canary.cluster, &plan, wish, load, old, kept, &wanted.judge);
            effects.extend(change.map(|change| notice::effect(&wanted.name, &canary.cluster, change)));
            state
        };
        let canaries: Vec<CanaryState> = wanted.canaries.iter().zip(&loads[1..]).map(adopt).collect();
        let weights: Vec<Option<Share>> = canaries.iter().map(|canary| canary.state.in_force()).collect();
        let told = if canaries.is_empty() { Vec::new() } else { by_bucket(&buckets) };
        let published =
            Arc::new(Release::new(Arc::clone(wanted), clusters, &weights, loads.clone(), Arc::clone(&buckets), mirror));
        let mut recent = recent;
        ReleaseState {
            config: Arc::clone(wanted),
            recent: wanted.clusters().map(|name| recent.remove(name).unwrap_or_default()).collect(),
            loads: wanted.clusters().cloned().zip(loads).collect(),
            buckets,
            mirrored,
            canaries,
            told,
            told_at: self.now,
            published,
        }
    }

    /// Looks at canaries, if it is time.
    pub(super) fn watch_releases(&mut self, effects: &mut Vec<Effect>) {
        if self.rollouts.resting || self.rollouts.due.is_none_or(|due| due > self.now) {
            return;
        }
        let lasted = self.now.since(self.rollouts.looked).min(PERIOD);
        self.rollouts.looked = self.now;
        self.rollouts.due = Some(self.now + BEAT);
        let mut news = false;
        for release in &mut self.releases {
            let told = effects.len();
            if release.look(self.now, lasted, effects) {
                release.republish();
                self.changed = true;
            }
            news |= effects.len() > told || release.told_at == self.now;
        }
        if news {
            self.remember(effects);
        }
    }

    /// Where rollouts stand, for [`Control::restore_rollouts`] of the next process.
    #[must_use]
    pub fn rollouts(&self) -> Vec<Kept> {
        self.releases.iter().flat_map(ReleaseState::kept).collect()
    }

    /// Hands out what shall outlive the process, if it is not what it was.
    fn remember(&mut self, effects: &mut Vec<Effect>) {
        let kept = self.rollouts();
        if kept != self.rollouts.remembered {
            self.rollouts.remembered.clone_from(&kept);
            effects.push(Effect::Remember(kept));
        }
    }
}

impl ReleaseState {
    fn kept(&self) -> impl Iterator<Item = Kept> {
        self.canaries.iter().map(|canary| Kept {
            release: self.config.name.clone(),
            canary: canary.cluster.clone(),
            state: canary.state.clone(),
            evidence: canary.judge.kept(),
        })
    }

    /// Whether a weight changed by what it saw.
    fn look(&mut self, now: Moment, lasted: Duration, effects: &mut Vec<Effect>) -> bool {
        if self.canaries.is_empty() {
            return false;
        }
        let users = (now.since(self.told_at) >= PERIOD).then(|| self.read(now));
        let mut changed = false;
        for (at, canary) in self.canaries.iter_mut().enumerate() {
            let (wanted, load) = (&self.config.canaries[at], &self.published.loads[at + 1]);
            let before = canary.state.in_force();
            let mut change = None;
            if let Some(users) = &users {
                change = canary.judge(now, &self.config.judge, load, &users[at]);
            }
            let worst = |from| {
                let partial = || of_version(&self.published, &self.told, &by_bucket(&self.buckets), at + 1);
                canary.recent.worst(from, partial)
            };
            let tripped =
                canary.guarded(wanted).and_then(|guard| canary.watch.look(guard, now, canary::reading(load), worst));
            let plan = Plan::of(wanted);
            if let Some(transition) = canary.state.tick(&plan, lasted, &canary.verdict, tripped.as_ref()) {
                canary.follow(&transition, &self.config.judge);
                change = Some(ReleaseChange::Rollout { transition, by: None });
            }
            changed |= canary.state.in_force() != before;
            effects.extend(change.map(|change| notice::effect(&self.config.name, &canary.cluster, change)));
        }
        changed
    }

    /// What came since the last time: by canary, by bucket.
    fn read(&mut self, now: Moment) -> Vec<Vec<User>> {
        let counts = by_bucket(&self.buckets);
        let users = (1..=self.canaries.len()).map(|version| of_version(&self.published, &self.told, &counts, version));
        let users = users.collect();
        (self.told, self.told_at) = (counts, now);
        for (recent, load) in self.recent.iter_mut().zip(&self.published.loads) {
            recent.push_back(Reading {
                at: now,
                requests: requests(load),
                errors: load.sum(|load| &load.errors),
                duration: Buckets::of(load.iter().map(|load| &load.duration)),
            });
            while recent.get(1).is_some_and(|second| now.since(second.at) >= BACK) {
                recent.pop_front();
            }
        }
        users
    }

    /// Publishes the weights that are in force now.
    fn republish(&mut self) {
        let weights: Vec<Option<Share>> = self.canaries.iter().map(|canary| canary.state.in_force()).collect();
        let Release { config, clusters, loads, buckets, mirror, .. } = &*self.published;
        let (config, buckets) = (Arc::clone(config), Arc::clone(buckets));
        let next = Release::new(config, clusters.clone(), &weights, loads.clone(), buckets, mirror.clone());
        self.published = Arc::new(next);
    }
}

/// Requests finished of a version.
fn requests(load: &Shards<VersionLoad>) -> u64 {
    (0..6).map(|class| load.sum(|load| &load.requests[class])).sum()
}

/// Requests and errors by bucket, over all workers.
fn by_bucket(buckets: &Shards<BucketLoads>) -> Vec<(u64, u64)> {
    let mut counts = vec![(0, 0); Bucket::all().len()];
    for shard in buckets.iter() {
        for ((sum, requests), errors) in counts.iter_mut().zip(&shard.requests).zip(&shard.errors) {
            *sum = (sum.0 + requests.get(), sum.1 + errors.get());
        }
    }
    counts
}

/// What a version's buckets had between two readings, those that had anything.
fn of_version(release: &Release, before: &[(u64, u64)], now: &[(u64, u64)], version: usize) -> Vec<User> {
    let users = before.iter().zip(now).zip(Bucket::all()).map(|((before, now), bucket)| User {
        bucket,
        requests: now.0.saturating_sub(before.0),
        errors: now.1.saturating_sub(before.1),
    });
    users.filter(|user| user.requests > 0 && release.owner(user.bucket) == version).collect()
}
