//! What a client may do that costs us something and brings nobody anything: frames that belong to no
//! message, requests given up before their answers (CVE-2019-9512 to 9518, CVE-2023-44487).

use std::time::Duration;

use tokio::time::Instant;

/// A client's standing: it loses by what brings nobody anything, and earns by time and by what it is
/// sent.
#[derive(Debug)]
pub(super) struct Calm {
    overhead: Allowance,
    resets: Allowance,
}

/// What is left of it.
#[derive(Debug)]
struct Allowance {
    left: f64,
    most: f64,
    per_second: f64,
    at: Instant,
}

/// Frames that belong to no message, at once and for each second: more costs a hundredth of a core.
const OVERHEAD: (f64, f64) = (20_000.0, 10_000.0);
/// What a frame of an answer earns: whoever takes it says so, for its stream and for the connection.
const EARNED: f64 = 4.0;
/// Requests given up, the same: people who change their minds are slower.
const RESETS: (f64, f64) = (100.0, 10.0);

impl Calm {
    pub(super) const fn new(now: Instant) -> Self {
        Self { overhead: Allowance::new(OVERHEAD, now), resets: Allowance::new(RESETS, now) }
    }

    /// `count` frames have come that belong to no message, and `parts` of answers have gone. Whether
    /// that is too much.
    pub(super) fn is_flooded(&mut self, count: u32, parts: u32, now: Instant) -> bool {
        (count > 0 || parts > 0) && !self.overhead.take(f64::from(count) - f64::from(parts) * EARNED, now)
    }

    /// `count` more requests were given up, of `begun` there ever were `given_up`. Whether that is
    /// too much: a client of many, as another proxy is, gives up many, but not most.
    pub(super) fn is_mocked(&mut self, count: u32, given_up: u32, begun: u32, now: Instant) -> bool {
        count > 0 && !self.resets.take(f64::from(count), now) && given_up > begun / 2
    }
}

impl Allowance {
    const fn new((most, per_second): (f64, f64), now: Instant) -> Self {
        Self { left: most, most, per_second, at: now }
    }

    /// Takes so much (less than nothing is given); whether it was there.
    fn take(&mut self, cost: f64, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at).min(Duration::from_secs(3600)).as_secs_f64();
        self.at = now;
        self.left = (self.left + earned * self.per_second).min(self.most) - cost;
        let there = self.left >= 0.0;
        self.left = self.left.clamp(0.0, self.most);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn floods_and_those_who_only_take_small_pieces() {
        let start = Instant::now();
        let mut calm = Calm::new(start);
        let flooded = (0..1000).find(|_| calm.is_flooded(1000, 0, start));
        assert_eq!(flooded, Some(20));
        // Two WINDOW_UPDATEs for each frame of data, a million of them in no time.
        let mut calm = Calm::new(start);
        assert!((0..1000).all(|_| !calm.is_flooded(2000, 1000, start)));
        // A PING every tenth of a millisecond, for a minute.
        let mut calm = Calm::new(start);
        assert!((0..60).all(|at| !calm.is_flooded(10_000, 0, start + Duration::from_secs(at))));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_given_up() {
        let start = Instant::now();
        let mut calm = Calm::new(start);
        assert!((1..=100).all(|at| !calm.is_mocked(1, at, at, start)));
        assert!(calm.is_mocked(1, 101, 101, start));
        // The same number, of many more; and the same number, over the day.
        let mut calm = Calm::new(start);
        assert!((1..=1000).all(|at| !calm.is_mocked(1, at, at * 3, start)));
        let mut calm = Calm::new(start);
        assert!((1..=1000).all(|at| !calm.is_mocked(1, at, at, start + Duration::from_secs(at.into()))));
    }
}
