//! What is known of one endpoint's health, and the one word it comes to.
//!
//! Pure: outcomes of probes go in, opinions come out. Who is probed when, and what is remembered
//! for whom, is [`crate::control`]'s business; who may be picked is [`crate::availability`]'s.

pub mod active;
pub mod outcome;

pub use active::{Heard, Opinion};
pub use outcome::{Inconclusive, ProbeFailure, ProbeOutcome, ProbeResult};

use crate::endpoint::Status;

/// The status all checks' verdicts come to: one that says unhealthy is enough, all must say
/// healthy, anything else is not judged yet. An endpoint without checks is healthy.
#[must_use]
pub fn verdict(checks: impl IntoIterator<Item = Status>) -> Status {
    checks.into_iter().fold(Status::Healthy, |so_far, check| match (so_far, check) {
        (Status::Unhealthy, _) | (_, Status::Unhealthy) => Status::Unhealthy,
        (Status::Unknown, _) | (_, Status::Unknown) => Status::Unknown,
        (Status::Healthy, Status::Healthy) => Status::Healthy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Healthy, Unhealthy, Unknown};

    #[test]
    fn all_must_pass_and_one_can_fail() {
        assert_eq!(verdict([]), Healthy);
        assert_eq!(verdict([Healthy, Healthy]), Healthy);
        assert_eq!(verdict([Healthy, Unknown]), Unknown);
        assert_eq!(verdict([Unknown, Unhealthy, Healthy]), Unhealthy);
        assert_eq!(verdict([Unhealthy, Unknown]), Unhealthy);
    }
}
