//! How a release's requests spread over its buckets: what a change of weights concerns.

use serde_json::{Value, json};
use weir_config::model::{Bucket, ReleaseName};

use super::status::Clock;
use crate::control::Handle;

/// The release in `/api/v1/releases/NAME/buckets`.
pub(super) fn release_of(path: &str) -> Option<&str> {
    path.strip_prefix("/api/v1/releases/")?.strip_suffix("/buckets")
}

/// Requests finished since the release is known here, by bucket. `at_seconds` runs with the
/// process: the difference of two answers over that of their times is a rate. `None`: there is no
/// such release.
pub(super) fn of(handle: &Handle, release: &str, clock: Clock) -> Option<Value> {
    let snapshot = handle.snapshot();
    let loads = &snapshot.release(&ReleaseName::new(release).ok()?)?.buckets;
    let requests: Vec<u64> = Bucket::all().map(|bucket| loads.sum(|load| load.of(bucket))).collect();
    Some(json!({ "release": release, "at_seconds": clock.now.as_nanos() as f64 / 1e9, "requests": requests }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_in_the_path() {
        assert_eq!(release_of("/api/v1/releases/orders/buckets"), Some("orders"));
        for other in ["/api/v1/releases/orders", "/api/v1/releases/buckets", "/api/v1/releases", "/buckets"] {
            assert_eq!(release_of(other), None, "{other}");
        }
    }
}
