//! The ramp of an endpoint that comes back: a cold one is not given its whole share at once.

use std::time::Duration;

use weir_config::model::SlowStart;

use crate::time::Moment;

/// A ramp is published in so many steps.
const STEPS: u32 = 20;

/// But no more often than this.
const STEP_MIN: Duration = Duration::from_millis(250);

/// How much of its share an endpoint gets at `now`, of 1 000, and when that changes; `None` once
/// its ramp, begun at `since`, is over. The formula is Envoy's:
/// `max(minimum, (time / window) ^ (1 / aggression))`.
#[must_use]
pub fn share(ramp: &SlowStart, since: Moment, now: Moment) -> Option<(u16, Moment)> {
    let passed = now.since(since);
    if passed >= ramp.window {
        return None;
    }
    let step = (ramp.window / STEPS).max(STEP_MIN);
    // As of the step that was last due, so that it does not matter when it is asked for.
    let steps = passed.as_nanos() / step.as_nanos();
    let begun = step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
    let part = (begun.as_secs_f64() / ramp.window.as_secs_f64()).powf(1.0 / ramp.aggression.max(f64::MIN_POSITIVE));
    let least = f64::from(ramp.minimum_percent) / 100.0;
    let permille = (part.max(least) * 1000.0).round().clamp(1.0, 1000.0);
    let next = (since + begun + step).min(since + ramp.window);
    Some((permille as u16, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(window: u64, aggression: f64) -> SlowStart {
        SlowStart { window: Duration::from_secs(window), aggression, minimum_percent: 5 }
    }

    fn at(ramp: &SlowStart, millis: u64) -> Option<u16> {
        let begun = Moment::from_nanos(7);
        share(ramp, begun, begun + Duration::from_millis(millis)).map(|(permille, _)| permille)
    }

    #[test]
    fn it_rises_from_the_least_to_all() {
        let linear = ramp(30, 1.0);
        for (millis, wanted) in [(0, Some(50)), (1500, Some(50)), (3000, Some(100)), (15_000, Some(500))] {
            assert_eq!(at(&linear, millis), wanted, "after {millis} ms");
        }
        assert_eq!((at(&linear, 29_999), at(&linear, 30_000)), (Some(950), None));
        assert_eq!(at(&ramp(30, 2.0), 7500), Some(500), "aggression begins steeper");
        assert_eq!(at(&ramp(1, 1.0), 600), Some(500), "no more often than each 250 ms");
    }

    #[test]
    fn each_step_says_when_the_next_is_due() {
        for ramp in [ramp(30, 1.0), ramp(1, 0.5), ramp(7, 3.0)] {
            let (mut now, mut before, mut steps) = (Moment::ZERO, 0, 0);
            while let Some((permille, next)) = share(&ramp, Moment::ZERO, now) {
                assert!(permille >= before && next > now, "{permille} after {before}");
                (now, before, steps) = (next, permille, steps + 1);
            }
            assert!(steps <= STEPS && now == Moment::ZERO + ramp.window, "{steps} steps");
        }
    }
}
