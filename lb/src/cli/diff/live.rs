//! What a running instance knows of a release's requests: asked twice, for a rate.

use std::time::Duration;

use serde::Deserialize;

use crate::admin::moves::Traffic;
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

/// Of a release of the instance, over a second; of one that it has not, nothing is known.
pub(super) fn traffic(client: &Client, release: &str) -> Result<Traffic, ClientError> {
    let path = format!("/api/v1/releases/{release}/buckets");
    let first: Buckets = client.get(&path)?;
    std::thread::sleep(BETWEEN);
    Ok(between(&first, client.get(&path)?))
}

fn between(first: &Buckets, then: Buckets) -> Traffic {
    let all = |buckets: &Buckets| buckets.requests.iter().sum::<u64>();
    // Counts that fell are those of another process.
    let came = all(&then).saturating_sub(all(first));
    let seconds = then.at_seconds - first.at_seconds;
    let per_second = if seconds > 0.0 { came as f64 / seconds } else { 0.0 };
    Traffic { per_second, requests: then.requests }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(at_seconds: f64, each: u64) -> Buckets {
        Buckets { at_seconds, requests: vec![each; 10_000] }
    }

    #[test]
    fn a_rate_is_between_two_looks_at_one_process() {
        assert_eq!(between(&counts(7.0, 1), counts(9.0, 2)).per_second, 5_000.0);
        for (first, then) in [(counts(7.0, 5), counts(1.0, 1)), (counts(1.0, 0), counts(2.0, 0))] {
            assert_eq!(between(&first, then).per_second, 0.0);
        }
    }
}
