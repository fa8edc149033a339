//! What is known of one endpoint's health, and the one word it comes to.
//!
//! Pure: outcomes of probes ([`active`]) and counts of live traffic ([`outlier`]) go in, opinions come
//! out; the two are separate memories. Who is probed when, and what is remembered
//! for whom, is [`crate::control`]'s business; who may be picked is [`crate::availability`]'s.

pub mod active;
pub mod outcome;
pub mod outlier;
pub mod slow_start;

pub use active::{Heard, Opinion};
pub use outcome::{Inconclusive, ProbeFailure, ProbeOutcome, ProbeResult, Said, Serving};

use std::fmt;

/// What one check, or all of them together, say of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing yet.
    Unknown,
    /// That it is well.
    Healthy,
    /// That it is not.
    Unhealthy,
}

impl Verdict {
    /// The word in logs, metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What all checks' verdicts come to: one that says unhealthy is enough, all must say
/// healthy, anything else is not judged yet. An endpoint without checks is healthy.
#[must_use]
pub fn verdict(checks: impl IntoIterator<Item = Verdict>) -> Verdict {
    checks.into_iter().fold(Verdict::Healthy, |so_far, check| match (so_far, check) {
        (Verdict::Unhealthy, _) | (_, Verdict::Unhealthy) => Verdict::Unhealthy,
        (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
        (Verdict::Healthy, Verdict::Healthy) => Verdict::Healthy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Healthy, Unhealthy, Unknown};

    #[test]
    fn all_must_pass_and_one_can_fail() {
        assert_eq!(verdict([]), Healthy);
        assert_eq!(verdict([Healthy, Healthy]), Healthy);
        assert_eq!(verdict([Healthy, Unknown]), Unknown);
        assert_eq!(verdict([Unknown, Unhealthy, Healthy]), Unhealthy);
        assert_eq!(verdict([Unhealthy, Unknown]), Unhealthy);
    }
}
