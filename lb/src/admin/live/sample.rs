//! Counts into rates: looked at once a second, by whoever holds the clock.
//!
//! Pure: snapshots of counts and moments in, numbers for charts out.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};
use weir_core::load::{Histogram, LaneLoad, ListenerLoad, Shards};
use weir_core::snapshot::Snapshot;
use weir_core::time::Moment;

/// Samples kept for whoever comes later: five minutes.
const KEPT: usize = 300;
/// Quantiles are of so many samples: one second holds too few requests for a 99th of a hundred.
const WINDOW: usize = 10;
/// Clusters that have a line of their own, the first ones of the configuration.
const CLUSTERS_MAX: usize = 64;

const BUCKETS: usize = Histogram::BOUNDS.len() + 1;

/// What was counted so far of some requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    requests: u64,
    errors: u64,
    in_flight: u64,
    latency: [u64; BUCKETS],
}

impl Counts {
    fn add(&mut self, lane: &Shards<LaneLoad>) {
        for shard in lane.iter() {
            self.requests += shard.requests.iter().map(weir_core::load::Count::get).sum::<u64>();
            self.errors += shard.requests[4].get();
            for (sum, count) in self.latency.iter_mut().zip(shard.duration.buckets()) {
                *sum += count;
            }
        }
        self.in_flight += gauge(lane.sum(|lane| &lane.in_flight));
    }
}

/// All counts of one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    total: Counts,
    accepted: u64,
    open: u64,
    clusters: BTreeMap<String, Counts>,
}

impl Look {
    /// At every worker's counts.
    pub(super) fn at(snapshot: &Snapshot) -> Self {
        let mut look = Self::default();
        let told = snapshot.clusters.iter().take(CLUSTERS_MAX);
        look.clusters.extend(told.map(|cluster| (cluster.config.name.to_string(), Counts::default())));
        for listener in &snapshot.listeners {
            look.accepted += listener.load.sum(|load: &ListenerLoad| &load.accepted);
            look.open += gauge(listener.load.sum(|load| &load.open));
            look.total.add(&listener.unrouted);
            for (cluster, lane) in &listener.lanes {
                look.total.add(lane);
                if let Some(counts) = look.clusters.get_mut(cluster.as_str()) {
                    counts.add(lane);
                }
            }
        }
        look
    }
}

/// Makes samples of looks, and keeps the newest.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    looks: VecDeque<(Moment, Look)>,
    samples: VecDeque<Value>,
}

impl Sampler {
    /// Takes in what was seen at `now`; `wall_ms` is that moment for people. The first look makes no
    /// sample, for there is nothing to compare it with.
    pub(super) fn take(&mut self, now: Moment, wall_ms: u64, look: Look) -> Option<&Value> {
        self.looks.push_back((now, look));
        if self.looks.len() > WINDOW + 1 {
            self.looks.pop_front();
        }
        let (Some((_, first)), Some(before), Some(after)) =
            (self.looks.front(), self.looks.iter().rev().nth(1), self.looks.back())
        else {
            return None;
        };
        let seconds = after.0.since(before.0).as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let (before, after) = (&before.1, &after.1);
        let line = |first: &Counts, before: &Counts, after: &Counts| line(first, before, after, seconds);
        let none = Counts::default();
        let clusters: serde_json::Map<String, Value> = after
            .clusters
            .iter()
            .filter_map(|(name, counts)| {
                let of = |look: &Look| look.clusters.get(name).copied();
                // One that is new begins with its next sample.
                let (first, before) = (of(first).unwrap_or(none), of(before)?);
                let idle = *counts == before && counts.in_flight == 0 && *counts == first;
                (!idle).then(|| (name.clone(), line(&first, &before, counts)))
            })
            .collect();
        let sample = json!({
            "at": wall_ms,
            "total": line(&first.total, &before.total, &after.total),
            "open": after.open,
            "accepted": round(after.accepted.saturating_sub(before.accepted) as f64 / seconds),
            "clusters": clusters,
        });
        if self.samples.len() >= KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.samples.back()
    }

    /// The samples kept, oldest first.
    pub(super) fn history(&self) -> impl Iterator<Item = &Value> {
        self.samples.iter()
    }
}

/// `[requests/s, errors/s, p50 ms, p99 ms, under way]`.
fn line(first: &Counts, before: &Counts, after: &Counts, seconds: f64) -> Value {
    let rate = |before: u64, after: u64| round(after.saturating_sub(before) as f64 / seconds);
    let mut latency = [0; BUCKETS];
    for (at, count) in latency.iter_mut().enumerate() {
        // What a reload took away makes a sum smaller: then nothing is known for a moment.
        *count = after.latency[at].saturating_sub(first.latency[at]);
    }
    let millis = |share| quantile(&latency, share).map(|seconds| round(seconds * 1000.0));
    json!([
        rate(before.requests, after.requests),
        rate(before.errors, after.errors),
        millis(0.5),
        millis(0.99),
        after.in_flight
    ])
}

/// Seconds below which `share` of what was counted lies: straight between the bounds of its bucket, as
/// Prometheus has it; the last bucket has no upper bound and tells its lower one.
fn quantile(counts: &[u64; BUCKETS], share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let rank = share * all as f64;
    let mut below = 0.0;
    for (at, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let count = count as f64;
        if below + count >= rank {
            let least = if at == 0 { 0.0 } else { Histogram::BOUNDS[at - 1] };
            let most = Histogram::BOUNDS.get(at).copied().unwrap_or(least);
            return Some(least + (most - least) * (rank - below) / count);
        }
        below += count;
    }
    None
}

/// To two decimals: more is not seen.
fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// A gauge whose shards were read at different moments can seem negative; then it was near 0.
const fn gauge(sum: u64) -> u64 {
    if sum > i64::MAX as u64 { 0 } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Moment {
        Moment::from_nanos(second * 1_000_000_000)
    }

    fn look(requests: u64, errors: u64) -> Look {
        let mut counts = Counts { requests, errors, ..Counts::default() };
        // All of them between 5 and 10 ms.
        counts.latency[4] = requests;
        Look { total: counts, accepted: requests, open: 3, clusters: [("shop".to_owned(), counts)].into() }
    }

    #[test]
    fn rates_are_between_two_looks_and_quantiles_of_ten_seconds() {
        let mut sampler = Sampler::default();
        assert_eq!(sampler.take(at(0), 0, look(100, 0)), None);
        let sample = sampler.take(at(2), 2000, look(300, 4)).unwrap().clone();
        assert_eq!(sample["total"], json!([100.0, 2.0, 7.5, 9.95, 0]));
        assert_eq!((&sample["open"], &sample["accepted"]), (&json!(3), &json!(100.0)));
        assert_eq!(sample["clusters"]["shop"], sample["total"]);
    }

    #[test]
    fn what_is_idle_is_left_out_and_quantiles_end() {
        let mut sampler = Sampler::default();
        for second in 0..=20 {
            sampler.take(at(second), second, look(if second > 0 { 50 } else { 0 }, 0));
        }
        let history: Vec<&Value> = sampler.history().collect();
        assert_eq!(history[0]["clusters"]["shop"][0], 50.0);
        assert_eq!(history[19]["clusters"], json!({}));
        assert_eq!(history[19]["total"], json!([0.0, 0.0, null, null, 0]));
    }

    #[test]
    fn counts_that_fell_are_no_rate() {
        let mut sampler = Sampler::default();
        sampler.take(at(0), 0, look(900, 9));
        let sample = sampler.take(at(1), 1, look(0, 0)).unwrap();
        assert_eq!(sample["total"], json!([0.0, 0.0, null, null, 0]));
        assert_eq!(sampler.take(at(1), 1, look(5, 0)), None, "no time has passed");
    }

    #[test]
    fn history_is_bounded() {
        let mut sampler = Sampler::default();
        for second in 0..1000 {
            sampler.take(at(second), second, look(second, 0));
        }
        assert_eq!((sampler.history().count(), sampler.looks.len()), (KEPT, WINDOW + 1));
    }
}
