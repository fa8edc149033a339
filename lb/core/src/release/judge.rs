//! Whether a canary is worse than stable: counts of two arms in, a verdict out.
//!
//! The arms are the requests a canary got by bucket, and those of an equally large cohort of stable
//! buckets: drawn by the same rule, at the same time, so nothing but the version differs. Two
//! questions are asked of each period: does it fail more often ([`evidence`]), and is it slower
//! (the same, on answers later than what half, nine of ten and 99 of 100 of the cohort's took). Both
//! p-values may be looked at always; Holm's method (1979) keeps the chance of any false alarm over
//! both, however long a rollout lasts, below what `confidence` leaves. Who one user may be alone
//! does not count ([`users`]): neither errors of one bucket nor a slow client condemn a version.
//!
//! A small difference can be proven by much traffic; it rolls nothing back unless it is also larger
//! than the operator's margin. And nothing seen is no proof that nothing is there: a canary is
//! promoted only once its errors cannot well be more than the margin above its cohort's. That bound
//! is for one look (Newcombe's); what it lets pass is seen at the next step.
//!
//! Pure, and not about weights: what follows from verdicts is [`super::rollout`]'s business.
//! [`guard`] is for what cannot wait. No statistics crate: two logarithms a period are all.

pub mod bounds;
mod carried;
pub mod evidence;
pub mod guard;
mod latency;
pub mod users;
mod verdict;

use std::time::Duration;

use weir_config::model::JudgeRules;

pub use latency::{Bound, Latencies, Quantile};
pub use users::User;
pub use verdict::{ArmView, Kind, Verdict};

use evidence::{Evidence, Hits};
use users::Users;

/// After so long, and enough requests, a step's earlier counts begin to be forgotten, and a fresh
/// wager begins: a version may turn bad on its third day.
pub const STRETCH: Duration = Duration::from_secs(3600);

/// The quantiles that are compared.
pub const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// From so many answers of the cohort on is known what is slow.
const REFERENCE_MIN: u64 = 50;

/// One side of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arm {
    /// Requests finished.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Of the others: to the head of the answer.
    pub latency: Latencies,
}

impl Arm {
    fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.errors += more.errors;
        self.latency.add(&more.latency);
    }

    /// What was counted after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            latency: self.latency.since(&earlier.latency),
        }
    }
}

/// What both arms had in a stretch of time. Short ones are better: the base rate may differ from
/// one to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// How long it was.
    pub lasted: Duration,
    /// The canary's buckets.
    pub canary: Arm,
    /// Its cohort.
    pub stable: Arm,
    /// The canary's buckets that had requests.
    pub users: Vec<User>,
}

/// A comparison: one canary, from one edit of the operator's to the next.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    errors: Evidence<1>,
    latency: Evidence<{ QUANTILES.len() }>,
    current: Totals,
    /// Of the same step, before `current`.
    previous: Totals,
    /// Answers of the cohort before `current`: what was slow then is slow now.
    before: Latencies,
    users: Users,
}

#[derive(Clone, Debug, Default)]
struct Totals {
    lasted: Duration,
    canary: Arm,
    stable: Arm,
    /// Errors that one user may have made alone.
    forgiven: u64,
}

impl Totals {
    fn and(&self, more: &Self) -> Self {
        let mut both = self.clone();
        both.lasted += more.lasted;
        both.canary.add(&more.canary);
        both.stable.add(&more.stable);
        both.forgiven += more.forgiven;
        both
    }

    fn has(&self, requests: u32) -> bool {
        self.canary.requests.min(self.stable.requests) >= requests.into()
    }
}

/// What of a comparison outlives the process. Counts do not: a step asks for fresh ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// On errors.
    pub errors: Evidence<1>,
    /// On latency.
    pub latency: Evidence<{ QUANTILES.len() }>,
}

impl Judge {
    /// A comparison that goes on.
    #[must_use]
    pub fn restored(kept: Kept) -> Self {
        let mut judge = Self { errors: kept.errors, latency: kept.latency, ..Self::default() };
        judge.step();
        judge
    }

    /// What to keep of it.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let (mut errors, mut latency) = (self.errors.clone(), self.latency.clone());
        // What is forgiven must stay forgiven, and users are not kept.
        errors.forgive([self.users.worst_but_one()]);
        latency.forgive([self.users.busiest_but_one(); QUANTILES.len()]);
        Kept { errors, latency }
    }

    /// The canary's weight is another: counts begin anew, evidence goes on.
    pub fn step(&mut self) {
        self.before.add(&self.current.stable.latency);
        self.turn();
        self.previous = Totals::default();
    }

    /// A new stretch begins.
    fn turn(&mut self) {
        self.settle();
        self.previous = std::mem::take(&mut self.current);
    }

    /// A new wager begins, after what one user may have done alone was taken off those there are.
    fn settle(&mut self) {
        self.errors.begin([self.users.worst_but_one()]);
        self.latency.begin([self.users.busiest_but_one(); QUANTILES.len()]);
        self.users = Users::default();
    }

    /// Takes in one period.
    pub fn take(&mut self, rules: &JudgeRules, period: &Period) {
        if self.current.lasted >= STRETCH && self.current.has(rules.min_requests) {
            self.before = self.current.stable.latency.clone();
            self.turn();
        }
        let slow = self.slow_hits(rules, period);
        period.users.iter().for_each(|user| self.users.add(user));
        let failed = Hits {
            canary: period.canary.errors.min(period.canary.requests),
            canary_of: period.canary.requests,
            stable: period.stable.errors.min(period.stable.requests),
            stable_of: period.stable.requests,
        };
        self.errors.take(&[failed], [self.users.worst_but_one()]);
        self.latency.take(&slow, [self.users.busiest_but_one(); QUANTILES.len()]);
        self.current.lasted += period.lasted;
        self.current.canary.add(&period.canary);
        self.current.stable.add(&period.stable);
        self.current.forgiven = self.users.worst_but_one();
    }

    /// Who is slow was settled before this period: else it would be chosen to fit.
    fn slow_hits(&self, rules: &JudgeRules, period: &Period) -> [Hits; QUANTILES.len()] {
        let mut reference = self.before.clone();
        reference.add(&self.current.stable.latency);
        if reference.count() < REFERENCE_MIN {
            return Default::default();
        }
        let (canary, stable) = (&period.canary.latency, &period.stable.latency);
        QUANTILES.map(|quantile| {
            let Some(bound) = reference.bound(quantile) else { return Hits::default() };
            Hits {
                canary: canary.over(bound.raised(rules.latency_margin)),
                canary_of: canary.count(),
                stable: stable.over(bound),
                stable_of: stable.count(),
            }
        })
    }
}
