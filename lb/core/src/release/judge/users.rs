//! What one user may have done alone, by bucket: a broken client must not condemn a version.

use std::collections::BTreeMap;

use weir_config::model::Bucket;

/// What was counted of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Which.
    pub bucket: Bucket,
    /// Requests finished.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
}

/// Counts by bucket, and the largest of each kind.
#[derive(Clone, Debug, Default)]
pub struct Users {
    counts: BTreeMap<Bucket, (u64, u64)>,
    busiest: u64,
    worst: u64,
}

impl Users {
    /// Adds what one did.
    pub fn add(&mut self, user: &User) {
        let (requests, errors) = self.counts.entry(user.bucket).or_default();
        *requests += user.requests;
        *errors += user.errors;
        self.busiest = self.busiest.max(*requests);
        self.worst = self.worst.max(*errors);
    }

    /// Requests that all of one bucket may have made, but one.
    #[must_use]
    pub const fn busiest_but_one(&self) -> u64 {
        self.busiest.saturating_sub(1)
    }

    /// Errors that all of one bucket may have made, but one.
    #[must_use]
    pub const fn worst_but_one(&self) -> u64 {
        self.worst.saturating_sub(1)
    }
}
