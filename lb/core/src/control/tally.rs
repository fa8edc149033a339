//! What came of each cluster's requests in the last minute: a look at the counts once a second
//! while they move, and at their histograms every few seconds.
//!
//! Three things live off it: the marks of the retry budget's window, the latency a cluster is
//! known by ([`ClusterLive::learn`](crate::live::ClusterLive::learn)), and the reports of drills.
//! Bounded: some sixty numbers and a dozen histograms a cluster, and next to nothing for one
//! that has no traffic.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use weir_config::model::ClusterName;

use super::Control;
use crate::endpoint::ClusterId;
use crate::load::{Histogram, LaneLoad, Shards};
use crate::snapshot::Kept;
use crate::time::Moment;

/// Between two looks while requests are counted.
const BEAT: Duration = Duration::from_secs(1);
/// Between two looks at a process without traffic, and between two at histograms.
const REST: Duration = super::TICK_AT_LEAST;
/// How far back is looked.
pub(super) const BACK: Duration = Duration::from_secs(60);
/// Marks kept of a window, so that a long one takes no more room than a short one.
const MARKS: u32 = 60;
/// Fewer attempts than this teach nothing about latency.
const LESSON: u64 = 50;

/// Counts of a [`Histogram`], added up over workers; not cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets([u64; Histogram::BOUNDS.len() + 1]);

impl Buckets {
    /// The sum of histograms.
    pub fn of<'h>(parts: impl Iterator<Item = &'h Histogram>) -> Self {
        let mut all = Self::default();
        parts.for_each(|part| all.add(part));
        all
    }

    fn add(&mut self, part: &Histogram) {
        for (sum, count) in self.0.iter_mut().zip(part.buckets()) {
            *sum = sum.wrapping_add(count);
        }
    }

    /// What was counted after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        // Counts that fell are those of something that was removed meanwhile.
        Self(std::array::from_fn(|at| self.0[at].saturating_sub(earlier.0[at])))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The time below which this share (0 to 1) of them lies, interpolated within its bucket; of
    /// the last bucket its lower bound. `None` of nothing.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = share * self.count() as f64;
        let (mut below, mut lower) = (0u64, 0.0);
        for (at, &count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            lower = if at == 0 { 0.0 } else { Histogram::BOUNDS[at - 1] };
            let upper = Histogram::BOUNDS.get(at).copied().unwrap_or(lower);
            if (below + count) as f64 >= rank {
                let part = ((rank - below as f64) / count as f64).clamp(0.0, 1.0);
                return Some(Duration::from_secs_f64(lower + (upper - lower) * part));
            }
            below += count;
        }
        (below > 0).then(|| Duration::from_secs_f64(lower))
    }
}

/// A cluster's counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// As [`LaneLoad::requests`], over all listeners.
    finished: [u64; 6],
    /// As clients saw it: to the end of the answer.
    duration: Buckets,
    /// As attempts saw it: to the head of the answer.
    latency: Buckets,
}

/// [`Counts`] as they stood at one moment.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    at: Moment,
    counts: Counts,
}

/// What clients saw of a cluster during a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// How long it was.
    pub lasted: Duration,
    /// Requests finished, the aborted ones included.
    pub requests: u64,
    /// Those that got a 5xx, from an endpoint or from us.
    pub errors: u64,
    /// Those that ended without a status; mostly clients that went away.
    pub aborted: u64,
    /// Half of them took no longer, to the end of the answer.
    pub p50: Option<Duration>,
    /// 99 of 100 took no longer.
    pub p99: Option<Duration>,
}

impl Reading {
    /// What happened between `earlier` and this.
    pub(super) fn since(&self, earlier: &Self) -> Stretch {
        let (now, then) = (&self.counts, &earlier.counts);
        let of = |at: usize| now.finished[at].saturating_sub(then.finished[at]);
        let duration = now.duration.since(&then.duration);
        Stretch {
            lasted: self.at.since(earlier.at),
            requests: (0..now.finished.len()).map(of).sum(),
            errors: of(4),
            aborted: of(5),
            p50: duration.quantile(0.5),
            p99: duration.quantile(0.99),
        }
    }
}

impl Counts {
    fn add(&mut self, lane: &Shards<LaneLoad>) {
        for (at, sum) in self.finished.iter_mut().enumerate() {
            *sum = sum.wrapping_add(lane.sum(|lane| &lane.requests[at]));
        }
        lane.iter().for_each(|lane| self.duration.add(&lane.duration));
    }

    fn of(kept: &Kept) -> Self {
        Self { latency: Buckets::of(kept.load.iter().map(|load| &load.latency)), ..Self::default() }
    }
}

/// Counts of a retry budget, as they stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    requests: u64,
    retries: u64,
}

/// A series of values by time, as far back as is asked for. A value that does not change takes
/// the room of two.
#[derive(Debug)]
struct Series<T>(VecDeque<(Moment, T)>);

impl<T> Default for Series<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: PartialEq> Series<T> {
    /// Appends a value; drops what is older than the newest that is `back` old.
    fn push(&mut self, now: Moment, value: T, back: Duration) {
        let len = self.0.len();
        match self.0.make_contiguous() {
            [.., (_, before), (at, last)] if *before == *last && *last == value => *at = now,
            _ => self.0.push_back((now, value)),
        }
        debug_assert!(self.0.len() <= len + 1);
        while self.0.get(1).is_some_and(|(at, _)| *at + back <= now) {
            self.0.pop_front();
        }
    }

    /// What it was then: the newest that is as old as is looked back, else the oldest.
    fn then(&self) -> Option<&T> {
        self.0.front().map(|(_, value)| value)
    }

    fn last(&self) -> Option<(Moment, &T)> {
        self.0.back().map(|(at, value)| (*at, value))
    }
}

#[derive(Debug, Default)]
struct Rings {
    marks: Series<Mark>,
    readings: Series<Counts>,
}

/// Of all clusters. See the module's introduction.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The next look, while counts move.
    due: Option<Moment>,
    /// The latest look; none before there is a configuration.
    looked: Option<Moment>,
    /// The latest look at histograms.
    read: Option<Moment>,
    clusters: BTreeMap<ClusterId, Rings>,
}

impl Tally {
    pub(super) const fn next_due(&self) -> Option<Moment> {
        self.due
    }

    /// Requests and retries as they were when a retry budget's window began.
    pub(super) fn window(&self, id: ClusterId) -> Option<(u64, u64)> {
        let mark = self.clusters.get(&id)?.marks.then()?;
        Some((mark.requests, mark.retries))
    }

    /// A window of a cluster that is new here began with these, in an earlier process.
    pub(super) fn begin_window(&mut self, id: ClusterId, now: Moment, (requests, retries): (u64, u64)) {
        let marks = &mut self.clusters.entry(id).or_default().marks;
        if marks.0.is_empty() {
            marks.0.push_back((now, Mark { requests, retries }));
        }
    }

    /// Forgets all clusters but these.
    pub(super) fn keep(&mut self, ids: impl Iterator<Item = ClusterId>) {
        let ids: BTreeSet<ClusterId> = ids.collect();
        self.clusters.retain(|id, _| ids.contains(id));
    }
}

impl Control {
    /// Looks at the counts, if it is time.
    pub(super) fn look_at_counts(&mut self) {
        let due = self.tally.due.or_else(|| self.tally.looked.map(|looked| looked + REST));
        if self.config.is_none() || due.is_some_and(|due| due > self.now) {
            return;
        }
        let moved = self.mark_retries();
        if self.tally.read.is_none_or(|read| self.now.since(read) >= REST) {
            self.learn();
            self.tally.read = Some(self.now);
        }
        self.tally.looked = Some(self.now);
        self.tally.due = moved.then(|| self.now + BEAT);
    }

    /// Marks where each retry budget's window begins. Whether anything moved within one.
    fn mark_retries(&mut self) -> bool {
        let mut moved = false;
        for cluster in &self.clusters {
            let (kept, window) = (&cluster.kept, cluster.config.retry_budget.window);
            let rings = self.tally.clusters.entry(kept.id).or_default();
            let mark = Mark { requests: kept.load.sum(|load| &load.requests), retries: kept.live.retry.retries() };
            let stride = window / MARKS;
            if rings.marks.last().is_none_or(|(at, _)| self.now.since(at) >= stride) {
                rings.marks.push(self.now, mark, window);
            }
            let then = rings.marks.then().copied().unwrap_or(mark);
            kept.live.retry.mark(then.requests, then.retries);
            moved |= then != mark;
        }
        moved
    }

    /// Reads all histograms, and tells clusters what is usual for them.
    fn learn(&mut self) {
        let mut lanes: BTreeMap<&ClusterName, Vec<&Shards<LaneLoad>>> = BTreeMap::new();
        for (name, lane) in self.listeners.iter().flat_map(|listener| &listener.lanes) {
            lanes.entry(name).or_default().push(lane);
        }
        for cluster in &self.clusters {
            let mut counts = Counts::of(&cluster.kept);
            lanes.remove(&cluster.config.name).unwrap_or_default().into_iter().for_each(|lane| counts.add(lane));
            let readings = &mut self.tally.clusters.entry(cluster.kept.id).or_default().readings;
            if let Some(then) = readings.then() {
                let latency = counts.latency.since(&then.latency);
                if latency.count() >= LESSON
                    && let (Some(median), Some(usual)) = (latency.quantile(0.5), latency.quantile(0.99))
                {
                    cluster.kept.live.learn(median, usual);
                }
            }
            readings.push(self.now, counts, BACK);
        }
    }

    /// A cluster's counts as they are.
    pub(super) fn read(&self, name: &ClusterName, kept: &Kept) -> Reading {
        let mut counts = Counts::of(kept);
        let lanes = self.listeners.iter().flat_map(|listener| &listener.lanes);
        lanes.filter(|(its, _)| its == name).for_each(|(_, lane)| counts.add(lane));
        Reading { at: self.now, counts }
    }

    /// A cluster's counts as they were about [`BACK`] ago, or as long ago as is known.
    pub(super) fn read_back(&self, kept: &Kept) -> Option<Reading> {
        let (at, counts) = self.tally.clusters.get(&kept.id)?.readings.0.front()?;
        Some(Reading { at: *at, counts: counts.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated_within_their_bucket() {
        let histogram = Histogram::default();
        assert_eq!(Buckets::of(std::iter::once(&histogram)).quantile(0.5), None);
        for _ in 0..98 {
            histogram.observe(Duration::from_millis(7));
        }
        histogram.observe(Duration::from_millis(700));
        histogram.observe(Duration::from_secs(60));
        let buckets = Buckets::of([&histogram, &Histogram::default()].into_iter());
        let micros = |share| buckets.quantile(share).map(|time| time.as_micros());
        assert_eq!(micros(0.49), Some(7500));
        assert_eq!(micros(0.98), Some(10_000));
        assert_eq!(micros(0.99), Some(1_000_000));
        assert_eq!(micros(1.0), Some(30_000_000));
        assert_eq!(buckets.since(&buckets).quantile(0.5), None);
    }

    #[test]
    fn a_series_knows_what_was_and_stays_small() {
        let mut series = Series::default();
        let back = Duration::from_secs(10);
        for second in 0..100u64 {
            series.push(Duration::from_secs(second).into(), second, back);
        }
        assert_eq!((series.then(), series.0.len()), (Some(&89), 11));
        for second in 100..200u64 {
            series.push(Duration::from_secs(second).into(), 99, back);
        }
        assert_eq!((series.then(), series.0.len()), (Some(&99), 2));
        series.push(Duration::from_secs(205).into(), 100, back);
        assert_eq!(series.then(), Some(&99));
    }
}
