//! One canary: what is judged of it, and where its rollout stands.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use weir_config::model::{self, Bucket, ClusterName, Guard, JudgeRules};

use super::{ReleaseChange, requests};
use crate::carry::Row;
use crate::load::Shards;
use crate::release::judge::guard::{Reading, Watch};
use crate::release::judge::{Arm, Judge, Latencies, Period, User, Verdict};
use crate::release::load::{ArmLoad, VersionLoad};
use crate::release::rollout::{Kept, Plan, State, Transition, Wish};
use crate::time::Moment;

/// Users who failed are remembered so long for guards with a shorter window, and a little longer.
const PERIODS_MAX: usize = 400;
/// Of a period, so many users who failed most: the worst of all is among them.
const WORST_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct CanaryState {
    pub(super) cluster: ClusterName,
    pub(super) state: State,
    pub(super) judge: Judge,
    pub(super) watch: Watch,
    pub(super) verdict: Verdict,
    /// Since when the counts below are.
    pub(super) judged_at: Option<Moment>,
    /// Counts when last told to the judge.
    told: (Arm, Arm),
    pub(super) recent: Failing,
}

/// Users with failures, by period.
#[derive(Debug, Default)]
pub(super) struct Failing(VecDeque<(Moment, Vec<(Bucket, u64)>)>);

impl Failing {
    fn push(&mut self, now: Moment, users: &[User]) {
        let mut failing = failing(users);
        failing.sort_unstable_by_key(|(_, errors)| std::cmp::Reverse(*errors));
        failing.truncate(WORST_MAX);
        self.0.push_back((now, failing));
        if self.0.len() > PERIODS_MAX {
            self.0.pop_front();
        }
    }

    /// The most failures of one bucket since `from`, with those of the period under way.
    pub(super) fn worst(&self, from: Moment, under_way: impl FnOnce() -> Vec<User>) -> u64 {
        let mut sums: BTreeMap<Bucket, u64> = failing(&under_way()).into_iter().collect();
        for (bucket, errors) in self.0.iter().filter(|(at, _)| *at > from).flat_map(|(_, failing)| failing) {
            *sums.entry(*bucket).or_default() += errors;
        }
        sums.into_values().max().unwrap_or(0)
    }
}

fn failing(users: &[User]) -> Vec<(Bucket, u64)> {
    users.iter().filter(|user| user.errors > 0).map(|user| (user.bucket, user.errors)).collect()
}

impl CanaryState {
    /// Known, kept from an earlier process, or new; and what became of it by that.
    pub(super) fn adopt(
        cluster: &ClusterName,
        plan: &Plan<'_>,
        wish: Wish,
        load: &Shards<VersionLoad>,
        known: Option<Self>,
        kept: Option<Kept>,
        rules: &JudgeRules,
    ) -> (Self, Option<ReleaseChange>) {
        if let Some(mut known) = known {
            let edited = known.state.edit(plan, wish);
            if let Some(transition) = &edited {
                known.follow(transition, rules);
            }
            return (known, edited.map(|transition| ReleaseChange::Rollout { transition, by: None }));
        }
        let fresh = |state, judge: Judge| Self {
            cluster: cluster.clone(),
            state,
            verdict: judge.verdict(rules),
            judge,
            watch: Watch::default(),
            judged_at: None,
            told: arms(load),
            recent: Failing::default(),
        };
        let Some(Kept { mut state, evidence, .. }) = kept else {
            return (fresh(State::begin(plan, wish), Judge::default()), None);
        };
        match state.edit(plan, wish) {
            Some(transition) => {
                let change = ReleaseChange::Rollout { transition, by: None };
                (fresh(state, Judge::default()), Some(change))
            }
            None => {
                state.fit(plan);
                let change = ReleaseChange::Restored(state.clone());
                (fresh(state, Judge::restored(evidence)), Some(change))
            }
        }
    }

    /// Goes on with what another process has judged until now.
    pub(super) fn count_on(&mut self, counted: Option<&Row>, rules: &JudgeRules, now: Moment) {
        if let Some(counted) = counted {
            self.judge.count_on(counted);
        }
        self.verdict = self.judge.verdict(rules);
        self.judged_at = Some(now);
    }

    /// The guard that watches it, while it gets anybody.
    pub(super) fn guarded<'a>(&self, wanted: &'a model::Canary) -> Option<&'a Guard> {
        self.state.in_force().and(wanted.rollout.as_ref()).map(|rollout| &rollout.guard)
    }

    /// Tells the judge what came; whether it says something else than before.
    pub(super) fn judge(
        &mut self,
        now: Moment,
        rules: &JudgeRules,
        load: &Shards<VersionLoad>,
        users: &[User],
    ) -> Option<ReleaseChange> {
        let counts = arms(load);
        let before = std::mem::replace(&mut self.told, counts);
        self.recent.push(now, users);
        let since = self.judged_at.replace(now);
        // A closed one stands as judged as it was.
        self.state.in_force()?;
        let period = Period {
            lasted: since.map_or(super::PERIOD, |since| now.since(since)),
            canary: self.told.0.since(&before.0),
            stable: self.told.1.since(&before.1),
            users: users.to_vec(),
        };
        self.judge.take(rules, &period);
        let before = std::mem::replace(&mut self.verdict, self.judge.verdict(rules)).kind;
        let verdict = || ReleaseChange::Verdict { before, verdict: Arc::new(self.verdict.clone()) };
        (before != self.verdict.kind).then(verdict)
    }

    /// What a transition means for the comparison.
    pub(super) fn follow(&mut self, transition: &Transition, rules: &JudgeRules) {
        match transition {
            Transition::Advanced { .. } => self.judge.step(),
            Transition::Edited { .. } | Transition::Resumed { .. } => {
                self.judge = Judge::default();
                self.watch.clear();
            }
            Transition::Completed { .. }
            | Transition::Failed { .. }
            | Transition::Paused { .. }
            | Transition::Aborted { .. } => return,
        }
        self.verdict = self.judge.verdict(rules);
    }
}

fn arms(load: &Shards<VersionLoad>) -> (Arm, Arm) {
    let arm = |pick: fn(&VersionLoad) -> &ArmLoad| Arm {
        requests: load.sum(|load| &pick(load).requests),
        errors: load.sum(|load| &pick(load).errors),
        latency: Latencies::of(load, pick),
    };
    (arm(|load| &load.arm), arm(|load| &load.cohort))
}

/// What guards look at.
pub(super) fn reading(load: &Shards<VersionLoad>) -> Reading {
    let moved = load.sum(|load| &load.moved);
    Reading {
        requests: requests(load) + moved,
        failed: load.sum(|load| &load.errors) + moved,
        canary: Latencies::of(load, |load| &load.arm),
        stable: Latencies::of(load, |load| &load.cohort),
    }
}
