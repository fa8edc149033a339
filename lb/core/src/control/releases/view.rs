//! What people may see of releases, for the API.

use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{self, ClusterName, Share};
use weir_config::release::rule::Range;

use super::{Control, ReleaseState};
use crate::load::{Count, Shards};
use crate::release::judge::Verdict;
use crate::release::load::VersionLoad;
use crate::release::rollout::{Phase, Plan, State};
use crate::release::{Release, Why};

/// A release of the configuration.
#[derive(Clone, Debug)]
pub struct ReleaseView<'c> {
    /// What the operator wrote.
    pub config: &'c Arc<model::Release>,
    /// As workers see it.
    pub published: &'c Arc<Release>,
    /// Stable first.
    pub versions: Vec<VersionView<'c>>,
    /// In the order of the configuration.
    pub canaries: Vec<CanaryView<'c>>,
}

/// One version of a release.
#[derive(Clone, Debug)]
pub struct VersionView<'c> {
    /// Where its users go.
    pub cluster: &'c ClusterName,
    /// What it has.
    pub weight: Share,
    /// What the file gives it.
    pub wished: Share,
    /// It gets nobody, not even those of its `first` list.
    pub closed: bool,
    /// The buckets it has; `None` is stable, which has the rest.
    pub range: Option<Range>,
    /// Requests finished by class of status, as [`VersionLoad::requests`].
    pub requests: [u64; 6],
    /// By what put them here, as [`Why::ALL`].
    pub why: [u64; Why::ALL.len()],
    /// Requests that failed.
    pub errors: u64,
    /// Requests that stable served, since it had no usable endpoint.
    pub moved: u64,
    /// The last minute; `None` where nothing is known of it, as of releases without canaries.
    pub minute: Option<Minute>,
}

/// What a version had in the last minute or so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Minute {
    /// How long it was.
    pub lasted: Duration,
    /// Requests finished.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Half of them took no longer, to the end of the answer.
    pub p50: Option<Duration>,
    /// 99 of 100 took no longer.
    pub p99: Option<Duration>,
}

/// One canary.
#[derive(Clone, Debug)]
pub struct CanaryView<'c> {
    /// What the operator wrote.
    pub config: &'c model::Canary,
    /// Where it stands.
    pub state: &'c State,
    /// What the judge says.
    pub verdict: &'c Verdict,
    /// The steps to go in all; 1 without a rollout.
    pub steps: usize,
    /// What the next step gives; `None`: there is none.
    pub next: Option<Share>,
    /// When it may come, at the soonest; `None` while it does not move.
    pub left: Option<Duration>,
}

impl Control {
    /// Releases of the configuration.
    pub fn releases(&self) -> impl Iterator<Item = ReleaseView<'_>> {
        self.releases.iter().map(ReleaseState::view)
    }
}

impl ReleaseState {
    fn view(&self) -> ReleaseView<'_> {
        let versions = (0..self.published.loads.len()).filter_map(|version| self.version(version)).collect();
        let canaries = self.config.canaries.iter().zip(&self.canaries);
        let canaries = canaries
            .map(|(config, canary)| {
                let (plan, state) = (Plan::of(config), &canary.state);
                let moves = state.phase == Phase::Advancing;
                let hold = config.rollout.as_ref().map_or(Duration::ZERO, |rollout| rollout.hold);
                let further = config.rollout.is_some() && state.step < plan.last_step();
                CanaryView {
                    config,
                    state,
                    verdict: &canary.verdict,
                    steps: plan.last_step() + 1,
                    next: further.then(|| plan.weight_at(state.step + 1)),
                    left: moves.then(|| hold.saturating_sub(state.held_for)),
                }
            })
            .collect();
        ReleaseView { config: &self.config, published: &self.published, versions, canaries }
    }

    fn version(&self, version: usize) -> Option<VersionView<'_>> {
        let load = &self.published.loads[version];
        let range = version.checked_sub(1).map(|canary| self.published.ranges[canary]);
        let rest = |given: u32| Share::of_buckets(10_000u32.saturating_sub(given) as u16).unwrap_or_default();
        let (weight, wished) = match version.checked_sub(1) {
            Some(canary) => (self.published.ranges[canary].share, self.config.canaries[canary].weight),
            None => (
                rest(self.published.ranges.iter().map(|range| u32::from(range.share.buckets())).sum()),
                rest(self.config.canaries.iter().map(|canary| u32::from(canary.weight.buckets())).sum()),
            ),
        };
        Some(VersionView {
            cluster: self.config.cluster(version)?,
            weight,
            wished,
            closed: version.checked_sub(1).is_some_and(|canary| self.published.closed[canary]),
            range,
            requests: each(load, |load| &load.requests),
            why: each(load, |load| &load.why),
            errors: load.sum(|load| &load.errors),
            moved: load.sum(|load| &load.moved),
            minute: self.minute(version),
        })
    }

    fn minute(&self, version: usize) -> Option<Minute> {
        let recent = self.recent.get(version)?;
        let (first, last) = (recent.front()?, recent.back()?);
        let duration = last.duration.since(&first.duration);
        Some(Minute {
            lasted: last.at.since(first.at),
            requests: last.requests.saturating_sub(first.requests),
            errors: last.errors.saturating_sub(first.errors),
            p50: duration.quantile(0.5),
            p99: duration.quantile(0.99),
        })
        .filter(|minute| !minute.lasted.is_zero())
    }
}

fn each<const N: usize>(load: &Shards<VersionLoad>, counts: impl Fn(&VersionLoad) -> &[Count; N]) -> [u64; N] {
    std::array::from_fn(|at| load.sum(|load| &counts(load)[at]))
}
