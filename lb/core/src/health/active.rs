//! One check's opinion of one endpoint: rise and fall, and when to look again.
//!
//! The thresholds and the three intervals are HAProxy's (`rise`, `fall`, `inter`, `fastinter`,
//! `downinter`); what differs is the start: not judged yet, and decided by the first outcome.

use std::time::Duration;

use weir_config::model::HealthCheck;

use super::Verdict;

/// One check's opinion of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opinion {
    verdict: Verdict,
    streak: u32,
}

/// What an outcome did to an [`Opinion`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Consecutive outcomes against the verdict as it was, this one included; 0 if it agreed.
    pub streak: u32,
    /// How many of them were needed to change the verdict.
    pub threshold: u32,
    /// Whether the verdict changed.
    pub changed: bool,
}

impl Opinion {
    /// Nothing heard yet: the first conclusive outcome decides.
    pub const OPEN: Self = Self { verdict: Verdict::Unknown, streak: 0 };

    /// A verdict taken over from before the check was changed: it stands until the thresholds of
    /// the changed check are met.
    #[must_use]
    pub const fn inherited(verdict: Verdict) -> Self {
        Self { verdict, streak: 0 }
    }

    /// As another process had it, by thresholds that may have been others.
    #[must_use]
    pub fn recalled(check: &HealthCheck, verdict: Verdict, streak: u32) -> Self {
        let open = Self { verdict, streak: 0 };
        Self { streak: streak.min(open.threshold(check) - 1), ..open }
    }

    /// What the check says now.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Consecutive conclusive outcomes against the verdict.
    #[must_use]
    pub const fn streak(&self) -> u32 {
        self.streak
    }

    /// How many consecutive outcomes against the verdict change it.
    #[must_use]
    pub fn threshold(&self, check: &HealthCheck) -> u32 {
        match self.verdict {
            Verdict::Unknown => 1,
            Verdict::Healthy => check.unhealthy_threshold.get(),
            Verdict::Unhealthy => check.healthy_threshold.get(),
        }
    }

    /// Takes in a conclusive outcome.
    pub fn hear(&mut self, check: &HealthCheck, passed: bool) -> Heard {
        let threshold = self.threshold(check);
        let says = if passed { Verdict::Healthy } else { Verdict::Unhealthy };
        if says == self.verdict {
            self.streak = 0;
            return Heard { streak: 0, threshold, changed: false };
        }
        let streak = self.streak.saturating_add(1);
        let changed = streak >= threshold;
        *self = if changed { Self::inherited(says) } else { Self { streak, ..*self } };
        Heard { streak, threshold, changed }
    }

    /// The pause before the next probe, before jitter: fast while the verdict is open or in
    /// question, `down_interval` while down, `interval` otherwise.
    #[must_use]
    pub fn pause(&self, check: &HealthCheck) -> Duration {
        match (self.verdict, self.streak) {
            (Verdict::Unknown, _) | (_, 1..) => check.fast_interval,
            (Verdict::Healthy, 0) => check.interval,
            (Verdict::Unhealthy, 0) => check.down_interval,
        }
    }
}

/// `pause`, stretched or shrunk by up to `percent` per cent; `draw` is a uniform 64-bit number.
#[must_use]
pub fn jittered(pause: Duration, percent: u8, draw: u64) -> Duration {
    let nanos = pause.as_nanos();
    let span = nanos * u128::from(percent.min(100)) / 100;
    // Both factors are below 2^64 for pauses under five centuries; longer ones saturate.
    let offset = u128::from(draw).saturating_mul(2 * span + 1) >> 64;
    Duration::from_nanos(u64::try_from(nanos - span + offset).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_reaches_both_ends_and_no_further() {
        let pause = Duration::from_secs(5);
        assert_eq!(jittered(pause, 10, 0), Duration::from_millis(4500));
        assert_eq!(jittered(pause, 10, u64::MAX), Duration::from_millis(5500));
        assert_eq!(jittered(pause, 10, u64::MAX / 2), pause);
        assert_eq!(jittered(pause, 0, u64::MAX), pause);
    }
}
