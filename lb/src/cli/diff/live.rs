//! What a running instance knows of a change: how many requests it concerns, and whether somebody
//! is there to take them.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use weir_config::release::moves::Move;

use crate::admin::status::Status;
use crate::cli::client::{Client, ClientError};

/// Between two looks at the counts.
const BETWEEN: Duration = Duration::from_secs(1);

/// An answer of `/api/v1/releases/NAME/buckets`.
#[derive(Debug, Deserialize)]
struct Buckets {
    /// When it was, in seconds on the instance's own clock.
    at_seconds: f64,
    /// Finished so far, by bucket.
    requests: Vec<u64>,
}

/// How a release's requests spread over its buckets, and how many there are now.
#[derive(Debug)]
pub(in crate::cli) struct Traffic {
    pub(super) per_second: f64,
    requests: Vec<u64>,
}

impl Traffic {
    /// Of a release of the instance, over a second; of one that it has not, nothing is known.
    pub(in crate::cli) fn of(client: &Client, release: &str) -> Result<Self, ClientError> {
        let path = format!("/api/v1/releases/{release}/buckets");
        let first: Buckets = client.get(&path)?;
        std::thread::sleep(BETWEEN);
        Ok(Self::between(&first, client.get(&path)?))
    }

    fn between(first: &Buckets, then: Buckets) -> Self {
        let all = |buckets: &Buckets| buckets.requests.iter().sum::<u64>();
        // Counts that fell are those of another process.
        let came = all(&then).saturating_sub(all(first));
        let seconds = then.at_seconds - first.at_seconds;
        let per_second = if seconds > 0.0 { came as f64 / seconds } else { 0.0 };
        Self { per_second, requests: then.requests }
    }

    /// Requests a second that a move concerns. A second is too short to see single buckets in, so
    /// the buckets' part in all requests so far is taken of the present rate.
    pub(in crate::cli) fn of_move(&self, its: &Move) -> f64 {
        let all: u64 = self.requests.iter().sum();
        if its.ranges.is_empty() || all == 0 {
            return self.per_second * its.share.percent() / 100.0;
        }
        let part = |range: &RangeInclusive<u16>| {
            let (first, last) = (usize::from(*range.start()), usize::from(*range.end()));
            self.requests.get(first..=last).map_or(0, |part| part.iter().sum::<u64>())
        };
        self.per_second * its.ranges.iter().map(part).sum::<u64>() as f64 / all as f64
    }
}

/// A cluster's endpoints in the running instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Health {
    pub(in crate::cli) healthy: usize,
    pub(in crate::cli) all: usize,
    /// Requests can be sent there at all.
    pub(in crate::cli) usable: bool,
}

impl Health {
    /// Of the cluster of that name, if the instance knows it.
    pub(in crate::cli) fn of(status: &Status, cluster: &str) -> Option<Self> {
        let found = status.clusters.iter().find(|one| one.name == cluster)?;
        let open = found.breaker.as_ref().is_some_and(|breaker| breaker.state == "open");
        Some(Self { healthy: found.healthy, all: found.endpoints.len(), usable: found.usable > 0 && !open })
    }
}

#[cfg(test)]
mod tests {
    use weir_config::model::{ClusterName, Share};

    use super::*;

    fn counts(at_seconds: f64, each: u64) -> Buckets {
        let requests = (0..10_000).map(|bucket| if bucket < 5_000 { 3 * each } else { each }).collect();
        Buckets { at_seconds, requests }
    }

    fn of(ranges: Vec<RangeInclusive<u16>>) -> Move {
        let name = |name| ClusterName::new(name).unwrap();
        let share = Share::of_percent(10.0).unwrap();
        Move { from: name("v1"), to: name("v2"), ranges, share, expels: false }
    }

    #[test]
    fn a_move_concerns_its_buckets_part_of_the_present_rate() {
        let traffic = Traffic::between(&counts(7.0, 1), counts(9.0, 2));
        assert_eq!(traffic.per_second, 10_000.0);
        assert_eq!(traffic.of_move(&of(vec![0..=4_999])), 7_500.0);
        assert_eq!(traffic.of_move(&of(vec![0..=0, 9_999..=9_999])), 2.0);
        assert_eq!(traffic.of_move(&of(vec![])), 1_000.0, "another salt: its share of everybody");
        assert_eq!(traffic.of_move(&of(vec![9_999..=10_001])), 0.0, "no such buckets");
    }

    #[test]
    fn an_instance_that_was_restarted_or_idle_has_no_rate() {
        for (first, then) in [(counts(7.0, 5), counts(1.0, 1)), (counts(1.0, 0), counts(2.0, 0))] {
            assert_eq!(Traffic::between(&first, then).of_move(&of(vec![0..=9])), 0.0);
        }
    }
}
