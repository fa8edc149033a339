//! Waiting for something to become true, with a deadline: the only way a test waits.

use std::thread;
use std::time::{Duration, Instant};

/// Long enough for anything that should happen, on a busy machine; a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `look` finds something; panics with `what` after [`PATIENCE`].
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// Looks until `look` finds something; panics with `what` after `patience`.
///
/// # Panics
/// When the deadline passes.
pub fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for: {what}");
        thread::sleep(PAUSE);
    }
}

/// Looks until `look` is true; panics with `what` after [`PATIENCE`].
pub fn until_true(what: &str, mut look: impl FnMut() -> bool) {
    until(what, || look().then_some(()));
}
