//! What workers write of releases and everybody may read: counts by version and by bucket.
//!
//! Written by workers, each its own shard; read by control (judging) and metrics.

use weir_config::model::Bucket;
use weir_config::release::BUCKETS;

use super::Why;
use crate::load::{Count, FineHistogram, Histogram};

/// What one worker knows of one version of a release.
#[derive(Debug, Default)]
pub struct VersionLoad {
    /// Requests finished by the class of the status the client got, at index class - 1; index 5:
    /// aborted before a status.
    pub requests: [Count; 6],
    /// Requests finished by what put them here, as in [`Why::ALL`].
    pub why: [Count; Why::ALL.len()],
    /// Requests that failed: 5xx, or nothing whole, and not by the client's doing.
    pub errors: Count,
    /// Requests that were this version's and that stable served, since it had no usable endpoint.
    /// In no other count.
    pub moved: Count,
    /// From the request's head to the end of its answer.
    pub duration: Histogram,
    /// A canary's requests that it got by bucket.
    pub arm: ArmLoad,
    /// Requests of the cohort of stable buckets a canary is compared with.
    pub cohort: ArmLoad,
}

/// One side of a comparison.
#[derive(Debug, Default)]
pub struct ArmLoad {
    /// Requests finished.
    pub requests: Count,
    /// Those of them that failed.
    pub errors: Count,
    /// Of the others: from the request's head to the head of the answer.
    pub latency: FineHistogram,
}

/// What one worker knows of a release's copies.
#[derive(Debug, Default)]
pub struct MirrorLoad {
    /// Copies that ended, by the class of the answer's status at index class - 1; index 5: without
    /// a whole answer.
    pub copies: [Count; 6],
    /// Those of them whose status is of another class than the client's.
    pub differed: Count,
    /// Copies that were wanted and not made: too many under way, too large a body, no endpoint.
    pub dropped: Count,
}

/// What one worker knows of a release's buckets.
#[derive(Debug)]
pub struct BucketLoads {
    /// Requests finished, by bucket.
    pub requests: Box<[Count]>,
    /// Those of them that failed.
    pub errors: Box<[Count]>,
}

impl Default for BucketLoads {
    fn default() -> Self {
        let counts = || (0..BUCKETS).map(|_| Count::default()).collect();
        Self { requests: counts(), errors: counts() }
    }
}

impl BucketLoads {
    /// Requests of `bucket`.
    #[must_use]
    pub fn of(&self, bucket: Bucket) -> &Count {
        &self.requests[usize::from(bucket.get())]
    }
}
