//! What ends a rollout in seconds: so many failures, or so slow, that no statistics are needed.
//!
//! Looked at each second over a sliding window, in every phase of a rollout and after it.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use weir_config::model::Guard;
use weir_config::words;

use super::Latencies;
use super::bounds;
use crate::time::Moment;

/// A window is kept by so many marks: it may be longer than wished by a twelfth.
const MARKS: u32 = 12;
/// Fewer answers than this in either arm have no p99 worth the name.
const SLOW_MIN: u64 = 200;
/// The standard score of 95 %.
const SCORE: f64 = 1.96;

/// Counts since some beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// All requests that were the canary's, those too that stable served since it had no usable
    /// endpoint.
    pub requests: u64,
    /// Of them, those that failed, and those that stable served.
    pub failed: u64,
    /// Answers of the canary's buckets.
    pub canary: Latencies,
    /// Answers of its cohort.
    pub stable: Latencies,
}

impl Reading {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            failed: self.failed.saturating_sub(earlier.failed),
            canary: self.canary.since(&earlier.canary),
            stable: self.stable.since(&earlier.stable),
        }
    }
}

/// What was counted within the window.
#[derive(Clone, Debug, Default)]
pub struct Watch(VecDeque<(Moment, Reading)>);

/// Why a guard struck.
#[derive(Clone, Debug, PartialEq)]
pub enum Tripped {
    /// Too many failures.
    Errors {
        /// So many failed,
        failed: u64,
        /// of so many,
        requests: u64,
        /// which is at least this share, 0 to 1.
        least: f64,
        /// What the operator allowed, per cent.
        percent: f64,
        /// Over this time.
        window: Duration,
    },
    /// Too slow.
    Slow {
        /// The canary's p99,
        canary: Duration,
        /// and stable's.
        stable: Duration,
        /// What the operator allowed.
        factor: f64,
        /// Over this time.
        window: Duration,
    },
}

impl Tripped {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Errors { .. } => "errors",
            Self::Slow { .. } => "latency",
        }
    }
}

impl fmt::Display for Tripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errors { failed, requests, least, percent, window } => write!(
                f,
                "{failed} of its {requests} requests within {} failed, which is {:.1} % at least; {percent} % are enough",
                words::shown(*window),
                least * 100.0
            ),
            Self::Slow { canary, stable, factor, window } => write!(
                f,
                "its p99 within {} is {canary:.1?} against {stable:.1?} of stable; {factor} times as long is enough",
                words::shown(*window)
            ),
        }
    }
}

impl Watch {
    /// What was read before no longer counts.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes in counts, and says whether the guard strikes. `worst` is asked only if it would: how
    /// many failures since then one user may have made alone; they count once.
    pub fn look(
        &mut self,
        rules: &Guard,
        now: Moment,
        reading: Reading,
        worst: impl FnOnce(Moment) -> u64,
    ) -> Option<Tripped> {
        while self.0.get(1).is_some_and(|(at, _)| now.since(*at) >= rules.window) {
            self.0.pop_front();
        }
        let (from, seen) = match self.0.front() {
            Some((from, first)) => (*from, reading.since(first)),
            None => (now, Reading::default()),
        };
        if self.0.back().is_none_or(|(at, _)| now.since(*at) >= rules.window / MARKS) {
            self.0.push_back((now, reading));
        }
        errors(rules, &seen, || worst(from)).or_else(|| slow(rules, &seen))
    }
}

fn errors(rules: &Guard, seen: &Reading, worst: impl FnOnce() -> u64) -> Option<Tripped> {
    let failed = seen.failed.min(seen.requests);
    let struck = |failed, requests| {
        let (least, _) = bounds::share(failed, requests, SCORE);
        let enough = requests >= u64::from(rules.min_requests) && least * 100.0 + 1e-9 >= rules.error_percent;
        enough.then_some(Tripped::Errors {
            failed,
            requests,
            least,
            percent: rules.error_percent,
            window: rules.window,
        })
    };
    let all = struck(failed, seen.requests)?;
    match worst().min(failed).saturating_sub(1) {
        0 => Some(all),
        alone => struck(failed - alone, seen.requests - alone),
    }
}

fn slow(rules: &Guard, seen: &Reading) -> Option<Tripped> {
    let few = SLOW_MIN.max(rules.min_requests.into());
    if seen.canary.count() < few || seen.stable.count() < few {
        return None;
    }
    let (canary, stable) = (seen.canary.quantile(0.99, SCORE)?, seen.stable.quantile(0.99, SCORE)?);
    (canary.least >= stable.estimate.mul_f64(rules.latency_factor.clamp(1.0, 1e6))).then_some(Tripped::Slow {
        canary: canary.estimate,
        stable: stable.estimate,
        factor: rules.latency_factor,
        window: rules.window,
    })
}
