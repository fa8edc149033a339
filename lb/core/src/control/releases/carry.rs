//! Releases from one process to the next: counts, and who may act.

use std::sync::Arc;

use weir_config::model::{ClusterName, ReleaseName};

use super::canary::CanaryState;
use super::{Control, Effect, ReleaseState, by_bucket, notice};
use crate::carry::{Kind, Row, Subject, Totals};
use crate::control::carry::lift;
use crate::load::Shards;
use crate::release::load::{BucketLoads, MirrorLoad, VersionLoad};
use crate::release::rollout::{Kept, Plan, State, Wish};

/// What was counted of a release as a whole.
pub(super) fn lift_release(
    told: &Totals,
    name: &ReleaseName,
    buckets: &Shards<BucketLoads>,
    mirrored: &Shards<MirrorLoad>,
) {
    lift(told, &Subject::release(Kind::Buckets, name), buckets);
    lift(told, &Subject::release(Kind::Mirror, name), mirrored);
}

/// What was counted of its versions.
pub(super) fn lift_versions<'a>(
    told: &Totals,
    name: &ReleaseName,
    loads: impl Iterator<Item = (&'a ClusterName, &'a Arc<Shards<VersionLoad>>)>,
) {
    loads.for_each(|(cluster, load)| lift(told, &Subject::version(Kind::Version, name, cluster), load));
}

impl ReleaseState {
    /// Notes all that is counted.
    pub(in crate::control) fn totals(&self, all: &mut Totals) {
        let name = &self.config.name;
        all.note(Subject::release(Kind::Buckets, name), Row::of(&self.buckets));
        all.note(Subject::release(Kind::Mirror, name), Row::of(&self.mirrored.1));
        for (cluster, load) in &self.loads {
            all.note(Subject::version(Kind::Version, name, cluster), Row::of(load));
        }
        for canary in &self.canaries {
            all.note(Subject::version(Kind::Judged, name, &canary.cluster), canary.judge.counted());
        }
    }

    /// Raises what was carried to what is told.
    pub(in crate::control) fn lift(&self, told: &Totals) {
        lift_release(told, &self.config.name, &self.buckets, &self.mirrored.1);
        lift_versions(told, &self.config.name, self.loads.iter());
    }
}

impl Control {
    /// Judges what came until now, and then nothing more.
    pub(in crate::control) fn rest_rollouts(&mut self) {
        self.rollouts.resting = true;
        for release in self.releases.iter_mut().filter(|release| !release.canaries.is_empty()) {
            let users = release.read(self.now);
            for ((at, canary), users) in release.canaries.iter_mut().enumerate().zip(&users) {
                // What follows from it is for whoever goes on.
                let _ = canary.judge(self.now, &release.config.judge, &release.published.loads[at + 1], users);
            }
        }
    }

    /// Goes on with them. How long nobody did is not held against their steps, nor for them.
    pub(in crate::control) fn wake_rollouts(&mut self) {
        self.rollouts.resting = false;
        self.rollouts.looked = self.now;
        self.rollouts.remembered = Vec::new();
        self.rollouts.due = self.rollouts.due.map(|_| self.now);
    }

    /// Each canary is where another process left it, but those that the configuration wants otherwise.
    pub(in crate::control) fn succeed_rollouts(&mut self, kept: Vec<Kept>, told: &Totals, effects: &mut Vec<Effect>) {
        for Kept { release, canary, state, evidence } in kept {
            let Some(at) = self.releases.iter().position(|its| its.config.name == release) else { continue };
            let its = &mut self.releases[at];
            let Some(at) = its.canaries.iter().position(|its| its.cluster == canary) else { continue };
            let (wanted, load) = (&its.config.canaries[at], &its.published.loads[at + 1]);
            let (plan, wish) = (Plan::of(wanted), Wish::of(&its.config, wanted));
            if state.wish != wish {
                // The edit was told of, and this process went by it from the start.
                continue;
            }
            let same = same(&its.canaries[at].state, &state);
            let counted = told.get(&Subject::version(Kind::Judged, &release, &canary));
            let kept = Kept { release, canary, state, evidence };
            let rules = &its.config.judge;
            let (mut next, change) = CanaryState::adopt(&wanted.cluster, &plan, wish, load, None, Some(kept), rules);
            next.count_on(counted, rules, self.now);
            // Told once, unless it went on meanwhile.
            let change = change.filter(|_| !same);
            effects.extend(change.map(|change| notice::effect(&its.config.name, &wanted.cluster, change)));
            its.canaries[at] = next;
        }
        for release in self.releases.iter_mut().filter(|release| !release.canaries.is_empty()) {
            (release.told, release.told_at) = (by_bucket(&release.buckets), self.now);
            release.republish();
        }
        self.changed = true;
    }
}

/// Whether two states differ in nothing that is told of.
fn same(one: &State, other: &State) -> bool {
    (one.step, &one.phase, one.weight) == (other.step, &other.phase, other.weight)
}
