//! Whom a changed release moves, with what a running instance knows of it: how many requests that
//! concerns, and whether somebody is there to take them.
//!
//! Which users move is [`weir_config::release::moves`]; `weir diff` and the preview of weights both
//! tell it by this.

use std::ops::RangeInclusive;

use serde_json::{Value, json};
use weir_config::model::Release;
use weir_config::release::moves::{Move, moves};

use super::status::Status;

/// How a release's requests spread over its buckets, and how many there are now.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Requests a second, now.
    pub per_second: f64,
    /// Requests so far, by bucket.
    pub requests: Vec<u64>,
}

impl Traffic {
    /// Requests a second that a move concerns. A second is too short to see single buckets in, so
    /// the buckets' part in all requests so far is taken of the present rate.
    #[must_use]
    pub fn of_move(&self, its: &Move) -> f64 {
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
pub struct Health {
    /// How many are healthy,
    pub healthy: usize,
    /// of so many.
    pub all: usize,
    /// Requests can be sent there at all.
    pub usable: bool,
}

impl Health {
    /// Of the cluster of that name, if the instance knows it.
    #[must_use]
    pub fn of(status: &Status, cluster: &str) -> Option<Self> {
        let found = status.clusters.iter().find(|one| one.name == cluster)?;
        let open = found.breaker.as_ref().is_some_and(|breaker| breaker.state == "open");
        Some(Self { healthy: found.healthy, all: found.endpoints.len(), usable: found.usable > 0 && !open })
    }
}

/// What becomes of a release's users.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Its name.
    pub release: String,
    /// Each move, with the requests a second it concerns if that is known.
    pub moves: Vec<(Move, Option<f64>)>,
    /// All requests of the release, a second.
    pub per_second: Option<f64>,
    /// Of the clusters somebody moves to, if an instance was asked; `None` for one it does not know.
    pub health: Vec<(String, Option<Health>)>,
}

impl Moved {
    /// From `old` to `new`, by what is known of the instance.
    #[must_use]
    pub fn of(old: &Release, new: &Release, traffic: Option<&Traffic>, status: Option<&Status>) -> Self {
        let moves = moves(old, new);
        let mut health: Vec<(String, Option<Health>)> = Vec::new();
        for its in &moves {
            let to = its.to.as_str();
            if let Some(status) = status
                && !health.iter().any(|(cluster, _)| cluster == to)
            {
                health.push((to.to_owned(), Health::of(status, to)));
            }
        }
        let rated = |its: Move| {
            let rate = traffic.map(|traffic| traffic.of_move(&its));
            (its, rate)
        };
        Self {
            release: new.name.to_string(),
            moves: moves.into_iter().map(rated).collect(),
            per_second: traffic.map(|traffic| traffic.per_second),
            health,
        }
    }

    /// For programs: one object a move.
    #[must_use]
    pub fn to_json(&self) -> Vec<Value> {
        let round = |rate: f64| (rate * 100.0).round() / 100.0;
        let one = |(its, rate): &(Move, Option<f64>)| {
            let health =
                self.health.iter().find(|(cluster, _)| cluster == its.to.as_str()).and_then(|(_, found)| *found);
            json!({
                "release": self.release,
                "from": its.from.as_str(),
                "to": its.to.as_str(),
                "percent": its.share.percent(),
                "buckets": its.ranges.iter().map(|range| [*range.start(), *range.end()]).collect::<Vec<_>>(),
                "expels": its.expels,
                "requests_per_second": rate.map(round),
                "release_requests_per_second": self.per_second.map(round),
                "to_endpoints": health.map(|its| json!({ "healthy": its.healthy, "of": its.all, "usable": its.usable })),
            })
        };
        self.moves.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use weir_config::model::{ClusterName, Share};

    use super::*;

    fn traffic() -> Traffic {
        Traffic {
            per_second: 10_000.0,
            requests: (0..10_000).map(|bucket| if bucket < 5_000 { 3 } else { 1 }).collect(),
        }
    }

    fn of(ranges: Vec<RangeInclusive<u16>>) -> Move {
        let name = |name| ClusterName::new(name).unwrap();
        let share = Share::of_percent(10.0).unwrap();
        Move { from: name("v1"), to: name("v2"), ranges, share, expels: false }
    }

    #[test]
    fn a_move_concerns_its_buckets_part_of_the_present_rate() {
        let traffic = traffic();
        assert_eq!(traffic.of_move(&of(vec![0..=4_999])), 7_500.0);
        assert_eq!(traffic.of_move(&of(vec![0..=0, 9_999..=9_999])), 2.0);
        assert_eq!(traffic.of_move(&of(vec![])), 1_000.0, "another salt: its share of everybody");
        assert_eq!(traffic.of_move(&of(vec![9_999..=10_001])), 0.0, "no such buckets");
    }
}
