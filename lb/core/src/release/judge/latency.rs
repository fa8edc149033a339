//! Latencies counted finely enough to compare two versions by, and what may be said of them.

use std::time::Duration;

use crate::load::{FineHistogram, Shards};
use crate::release::load::ArmLoad;

const BUCKETS: usize = FineHistogram::BUCKETS;

/// Counts of [`FineHistogram`]s, added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies(Box<[u64; BUCKETS]>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

impl Latencies {
    /// All workers' counts of one arm.
    #[must_use]
    pub fn of<T>(shards: &Shards<T>, arm: impl Fn(&T) -> &ArmLoad) -> Self {
        let mut all = Self::default();
        for shard in shards.iter() {
            all.0.iter_mut().zip(arm(shard).latency.counts()).for_each(|(sum, count)| *sum = sum.wrapping_add(count));
        }
        all
    }

    /// Counts by bucket.
    pub(crate) const fn counts(&self) -> &[u64; BUCKETS] {
        &self.0
    }

    /// The same, to be set.
    pub(crate) const fn counts_mut(&mut self) -> &mut [u64; BUCKETS] {
        &mut self.0
    }

    /// Counts one.
    pub fn observe(&mut self, took: Duration) {
        self.0[FineHistogram::bucket(took)] += 1;
    }

    /// Adds others.
    pub fn add(&mut self, more: &Self) {
        self.0.iter_mut().zip(&*more.0).for_each(|(sum, count)| *sum = sum.wrapping_add(*count));
    }

    /// What was counted after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(Box::new(std::array::from_fn(|at| self.0[at].saturating_sub(earlier.0[at]))))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// How many are at or over a bound.
    #[must_use]
    pub fn over(&self, bound: Bound) -> u64 {
        self.0[bound.0..].iter().sum()
    }

    /// The bound nearest over the time below which this share (0 to 1) of them lies; `None` of
    /// nothing, and where that is the last bucket, which has no bound.
    #[must_use]
    pub fn bound(&self, share: f64) -> Option<Bound> {
        let bucket = self.at_rank((share * self.count() as f64).ceil() as u64)?;
        (bucket + 1 < BUCKETS).then_some(Bound(bucket + 1))
    }

    /// The quantile of this share (0 to 1), and where it lies with the confidence of `score`
    /// standard deviations, whatever the distribution: between the order statistics that the
    /// binomial's normal approximation names. `None` of nothing.
    #[must_use]
    pub fn quantile(&self, share: f64, score: f64) -> Option<Quantile> {
        let count = self.count() as f64;
        let middle = share * count;
        let off = score * (count * share * (1.0 - share)).sqrt();
        let (low, high) = ((middle - off).floor(), (middle + off).ceil() + 1.0);
        Some(Quantile {
            estimate: self.interpolated(middle)?,
            least: if low >= 1.0 { lower(self.at_rank(low as u64)?) } else { Duration::ZERO },
            most: if high <= count { self.at_rank(high as u64).and_then(upper) } else { None },
        })
    }

    /// The bucket of the one with this rank, from 1.
    fn at_rank(&self, rank: u64) -> Option<usize> {
        let mut below = 0;
        self.0.iter().position(|count| {
            below += count;
            below >= rank.max(1)
        })
    }

    fn interpolated(&self, rank: f64) -> Option<Duration> {
        let bucket = self.at_rank(rank.ceil() as u64)?;
        let below: u64 = self.0[..bucket].iter().sum();
        let part = ((rank - below as f64) / self.0[bucket] as f64).clamp(0.0, 1.0);
        let (lower, upper) = (lower(bucket), FineHistogram::bound(bucket));
        Some(lower + upper.saturating_sub(lower).mul_f64(part))
    }

    /// The chance that one of these took longer than one of `others`, a tie counting half: the
    /// effect size of Mann and Whitney's test. 0.5 is alike. `None` of nothing.
    #[must_use]
    pub fn slower_than(&self, others: &Self) -> Option<f64> {
        let pairs = self.count() as f64 * others.count() as f64;
        let (mut below, mut wins) = (0.0, 0.0);
        for (&own, &other) in self.0.iter().zip(&*others.0) {
            wins += own as f64 * (below + other as f64 / 2.0);
            below += other as f64;
        }
        (pairs > 0.0).then(|| wins / pairs)
    }
}

fn lower(bucket: usize) -> Duration {
    if bucket == 0 { Duration::ZERO } else { FineHistogram::bound(bucket - 1) }
}

fn upper(bucket: usize) -> Option<Duration> {
    (bucket + 1 < BUCKETS).then(|| FineHistogram::bound(bucket))
}

/// A bound between two buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound(usize);

impl Bound {
    /// The lowest bound at least `percent` above this one; past the last bucket, nothing is over it.
    #[must_use]
    pub fn raised(self, percent: f64) -> Self {
        let wanted = lower(self.0).as_secs_f64() * (1.0 + percent / 100.0);
        // What rounding adds must not cost a bucket.
        let reaches = |&at: &usize| lower(at).as_secs_f64() >= wanted * (1.0 - 1e-9);
        Self((self.0..BUCKETS).find(reaches).unwrap_or(BUCKETS))
    }
}

/// Where a quantile lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantile {
    /// Interpolated within its bucket.
    pub estimate: Duration,
    /// At least this.
    pub least: Duration,
    /// At most this; `None` where there are too few requests to say.
    pub most: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(times: impl Iterator<Item = u64>) -> Latencies {
        let mut all = Latencies::default();
        times.for_each(|time| all.observe(Duration::from_millis(time)));
        all
    }

    #[test]
    fn quantiles_lie_where_they_should() {
        let all = millis(1..=1000);
        for (share, wanted) in [(0.5, 500), (0.9, 900), (0.99, 990)] {
            let Quantile { estimate, least, most } = all.quantile(share, 1.96).unwrap();
            let wanted = Duration::from_millis(wanted);
            assert!(estimate > wanted.mul_f64(0.9) && estimate < wanted.mul_f64(1.1), "{share}: {estimate:?}");
            assert!(least <= estimate && most.is_some_and(|most| most >= estimate));
        }
        assert_eq!(Latencies::default().quantile(0.5, 1.96), None);
        let few = millis(1..=20);
        assert_eq!(few.quantile(0.99, 1.96).unwrap().most, None, "20 requests bound no p99");
    }

    #[test]
    fn a_raised_bound_is_high_enough_and_not_a_bucket_too_high() {
        let all = millis(1..=100);
        let bound = all.bound(0.9).unwrap();
        assert_eq!(bound.raised(0.0), bound);
        for percent in [1.0, 12.5, 25.0, 100.0, 1000.0] {
            let raised = bound.raised(percent);
            let (from, to) = (lower(bound.0).as_secs_f64(), lower(raised.0).as_secs_f64());
            let wanted = from * (1.0 + percent / 100.0);
            assert!(to >= wanted * 0.999_999 && to < wanted * 1.126, "{percent}: {from} {to}");
        }
        assert_eq!(all.over(bound.raised(1e12)), 0);
        assert_eq!(all.over(bound), all.count() - all.0[..bound.0].iter().sum::<u64>());
    }

    #[test]
    fn who_is_slower() {
        let (quick, slow) = (millis(1..=100), millis(200..=300));
        assert_eq!(slow.slower_than(&quick), Some(1.0));
        assert_eq!(quick.slower_than(&slow), Some(0.0));
        assert_eq!(quick.slower_than(&quick), Some(0.5));
        assert_eq!(quick.slower_than(&Latencies::default()), None);
    }
}
