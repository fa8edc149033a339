//! Whether somebody set the wall clock.
//!
//! The kernel counts time since the boot beside the wall clock. What keeps a clock right by small
//! corrections (NTP) slows both down or speeds both up; so their difference changes only when the
//! wall clock is *set*.

use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// How far the wall clock and the time since the boot are apart, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Apart(i128);

impl Apart {
    /// Now.
    pub(crate) fn now() -> Self {
        let nanoseconds = |clock| {
            // Both clocks are in every Linux that runs this; without one there is no step to see.
            Duration::from(clock_gettime(clock).unwrap_or(TimeSpec::new(0, 0))).as_nanos() as i128
        };
        let before = nanoseconds(ClockId::CLOCK_BOOTTIME);
        let wall = nanoseconds(ClockId::CLOCK_REALTIME);
        // In the middle of two looks: this thread may have been put aside between any two.
        let after = nanoseconds(ClockId::CLOCK_BOOTTIME);
        Self(wall - (before + after) / 2)
    }

    /// By how many seconds the wall clock was set forward since `earlier`; backward if negative.
    pub(crate) fn step_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_nobody_sets_makes_no_step() {
        let first = Apart::now();
        assert!(Apart::now().step_since(first).abs() < 1.0);
        assert_eq!(Apart(5_000_000_000).step_since(Apart(2_500_000_000)), 2.5);
    }
}
