//! A cluster's failure-rate breaker: closed, open, half open.
//!
//! Pure. Too large a share of failures opens it, and nothing is sent for a time; then a few
//! requests at once are let through as trials: so many good ones in a row close it, a bad one opens
//! it for twice as long. Trials are bounded by how many are under way, not by how many begin in a
//! second: against a cluster that hangs, failures come only after their time-out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::FailureRate;

use crate::attempt::Outcome;
use crate::health::active::jittered;
use crate::health::outlier::wilson::reaches;
use crate::health::outlier::{Counts, Window};
use crate::live::Trial;
use crate::snapshot;
use crate::time::Moment;

/// One cluster's breaker.
#[derive(Debug)]
pub struct RateBreaker {
    state: State,
    window: Window,
    /// How often it opened again at once.
    again: u32,
    closed_since: Moment,
}

#[derive(Debug)]
enum State {
    Closed,
    Open { until: Moment },
    HalfOpen { trial: Arc<Trial>, good: u32 },
}

/// What became of a breaker. Displays as one clause for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// It opened.
    Opened {
        /// Why.
        cause: Cause,
        /// For so long.
        pause: Duration,
        /// Until then.
        until: Moment,
    },
    /// Its time is over: trials decide.
    HalfOpened {
        /// So many at once.
        trials: u32,
        /// So many good ones in a row close it.
        successes: u32,
    },
    /// So many trials in a row were good.
    Closed {
        /// So many.
        successes: u32,
    },
    /// It was not closed when its rule was removed.
    Removed,
}

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// Too large a share of attempts failed.
    Rate {
        /// What they came to.
        counts: Counts,
        /// In per cent.
        threshold: f64,
        /// Within this time.
        window: Duration,
    },
    /// A trial failed.
    Trial {
        /// How it ended.
        outcome: Outcome,
        /// Good ones before it.
        good: u32,
    },
}

/// Open times are stretched or shrunk by up to this many per cent.
const JITTER_PERCENT: u8 = 20;

impl RateBreaker {
    /// A closed one.
    #[must_use]
    pub fn new(rule: &FailureRate, now: Moment) -> Self {
        Self { state: State::Closed, window: Window::new(rule.window.window), again: 0, closed_since: now }
    }

    /// Goes on under a rule that may have changed. What was counted within another window is gone.
    pub fn adopt(&mut self, rule: &FailureRate) {
        if self.window.span() != rule.window.window {
            self.window = Window::new(rule.window.window);
        }
    }

    /// Whether it is closed.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Until when it is open (`None`: it is half open), and how often it opened again at once; nothing
    /// of one that is closed.
    #[must_use]
    pub const fn not_closed(&self) -> Option<(Option<Moment>, u32)> {
        match self.state {
            State::Closed => None,
            State::Open { until } => Some((Some(until), self.again)),
            State::HalfOpen { .. } => Some((None, self.again)),
        }
    }

    /// Is open again, as another process had it.
    pub fn recall(&mut self, until: Moment, again: u32) {
        self.state = State::Open { until };
        self.again = again;
    }

    /// As the data path sees it.
    #[must_use]
    pub fn published(&self) -> snapshot::Breaker {
        match &self.state {
            State::Closed => snapshot::Breaker::Closed,
            State::Open { until } => snapshot::Breaker::Open { until: *until },
            State::HalfOpen { trial, .. } => snapshot::Breaker::HalfOpen(Arc::clone(trial)),
        }
    }

    /// When [`Self::try_again`] is to be called.
    #[must_use]
    pub const fn due(&self) -> Option<Moment> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::HalfOpen { .. } => None,
        }
    }

    /// Takes in what was counted since the last time, and opens if that is too bad. What is counted
    /// while it is not closed is of requests from before, or trials: it is not held against it.
    pub fn judge(&mut self, rule: &FailureRate, counts: &Counts, now: Moment, draw: u64) -> Option<Change> {
        if !self.is_closed() {
            return None;
        }
        self.window.feed(now, counts);
        let counts = *self.window.read(now);
        let (failures, requests) = (counts.failures(), counts.requests());
        let ratio = f64::from(failures) / f64::from(requests.max(1));
        if requests < rule.window.minimum_requests.get() || failures == 0 || !reaches(ratio, rule.window.threshold) {
            return None;
        }
        if now.since(self.closed_since) > rule.window.window {
            self.again = 0;
        }
        let cause = Cause::Rate { counts, threshold: rule.window.threshold, window: rule.window.window };
        Some(self.open(rule, cause, now, draw))
    }

    /// Its time is over: `trial` says how many may try at once.
    pub fn try_again(&mut self, rule: &FailureRate, trial: Arc<Trial>) -> Change {
        self.state = State::HalfOpen { trial, good: 0 };
        Change::HalfOpened { trials: rule.trials.get(), successes: rule.successes.get() }
    }

    /// Takes in the end of a trial.
    pub fn tried(
        &mut self,
        rule: &FailureRate,
        epoch: u64,
        outcome: Outcome,
        now: Moment,
        draw: u64,
    ) -> Option<Change> {
        let State::HalfOpen { trial, good } = &mut self.state else { return None };
        let class = outcome.class();
        if trial.epoch != epoch || !class.counts() {
            return None;
        }
        if class.is_failure() {
            let cause = Cause::Trial { outcome, good: *good };
            return Some(self.open(rule, cause, now, draw));
        }
        *good += 1;
        let successes = *good;
        (successes >= rule.successes.get()).then(|| {
            self.state = State::Closed;
            self.closed_since = now;
            self.window.clear();
            Change::Closed { successes }
        })
    }

    fn open(&mut self, rule: &FailureRate, cause: Cause, now: Moment, draw: u64) -> Change {
        let factor = 1u32.checked_shl(self.again).unwrap_or(u32::MAX);
        let longest = rule.max_open.max(rule.open);
        let pause = rule.open.saturating_mul(factor).min(longest);
        if pause < longest {
            self.again += 1;
        }
        let pause = jittered(pause, JITTER_PERCENT, draw);
        let until = now + pause;
        self.state = State::Open { until };
        self.window.clear();
        Change::Opened { cause, pause, until }
    }
}

impl Change {
    /// The state it is in now: the word in events, metrics and the API.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "open",
            Self::HalfOpened { .. } => "half_open",
            Self::Closed { .. } | Self::Removed => "closed",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { cause, pause, .. } => write!(f, "open for {pause:.1?}: {cause}"),
            Self::HalfOpened { trials, successes } => {
                write!(f, "half open: {trials} at once may try, {successes} good ones in a row close it")
            }
            Self::Closed { successes } => write!(f, "closed: {successes} trials in a row were good"),
            Self::Removed => f.write_str("closed: its rule was removed"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate { counts, threshold, window } => {
                let (failures, requests) = (counts.failures(), counts.requests());
                write!(f, "{failures} of {requests} attempts within {window:?} failed, {threshold} % are enough")
            }
            Self::Trial { outcome, good } => write!(f, "a trial failed ({outcome}) after {good} good ones"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use weir_config::model::FailureWindow;

    use super::*;
    use crate::attempt::Class;

    fn count(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    fn rule() -> FailureRate {
        FailureRate {
            window: FailureWindow { threshold: 50.0, window: Duration::from_secs(10), minimum_requests: count(20) },
            open: Duration::from_secs(5),
            max_open: Duration::from_secs(60),
            trials: count(1),
            successes: count(3),
        }
    }

    fn counts(good: u32, bad: u32) -> Counts {
        let mut by_class = [0; Class::COUNT];
        (by_class[Class::Success.index()], by_class[Class::Timeout.index()]) = (good, bad);
        Counts::new(by_class)
    }

    fn seconds(n: u64) -> Moment {
        Duration::from_secs(n).into()
    }

    /// A draw in the middle: no jitter.
    const EVEN: u64 = u64::MAX / 2;
    const GOOD: Outcome = Outcome::Answered(200);
    const BAD: Outcome = Outcome::Answered(503);

    fn opened(change: Option<Change>) -> Option<u64> {
        match change {
            Some(Change::Opened { pause, .. }) => Some(pause.as_secs()),
            _ => None,
        }
    }

    #[test]
    fn it_opens_at_its_threshold_and_not_below_its_minimum() {
        for (good, bad, wanted) in [(10, 10, Some(5)), (11, 10, None), (9, 10, None), (0, 20, Some(5)), (20, 0, None)] {
            let mut breaker = RateBreaker::new(&rule(), seconds(0));
            assert_eq!(opened(breaker.judge(&rule(), &counts(good, bad), seconds(1), EVEN)), wanted, "{good} {bad}");
        }
        let mut breaker = RateBreaker::new(&rule(), seconds(0));
        assert_eq!(breaker.judge(&rule(), &counts(0, 19), seconds(1), EVEN), None);
        assert_eq!(breaker.judge(&rule(), &counts(0, 19), seconds(11), EVEN), None, "the window slides");
    }

    #[test]
    fn trials_close_it_and_a_bad_one_opens_it_for_twice_as_long() {
        let (rule, mut breaker) = (rule(), RateBreaker::new(&rule(), seconds(0)));
        let mut now = seconds(1);
        assert_eq!(opened(breaker.judge(&rule, &counts(0, 20), now, EVEN)), Some(5));
        for (epoch, wanted) in (0..).zip([10, 20, 40, 60, 60]) {
            now = breaker.due().unwrap();
            breaker.try_again(&rule, Arc::new(Trial::new(epoch, 1)));
            assert_eq!(breaker.judge(&rule, &counts(0, 50), now, EVEN), None, "late ends are not held against it");
            assert_eq!(breaker.tried(&rule, epoch, GOOD, now, EVEN), None);
            assert_eq!(breaker.tried(&rule, epoch + 1, BAD, now, EVEN), None, "another trial's");
            assert_eq!(breaker.tried(&rule, epoch, Outcome::Answered(404), now, EVEN), None, "says nothing");
            assert_eq!(opened(breaker.tried(&rule, epoch, BAD, now, EVEN)), Some(wanted));
        }
        breaker.try_again(&rule, Arc::new(Trial::new(9, 1)));
        let ends: Vec<_> = (0..3).map(|_| breaker.tried(&rule, 9, GOOD, now, EVEN)).collect();
        assert_eq!(ends, [None, None, Some(Change::Closed { successes: 3 })]);
        let soon = now + Duration::from_secs(3);
        assert_eq!(opened(breaker.judge(&rule, &counts(0, 20), soon, EVEN)), Some(60), "at once again");
    }

    #[test]
    fn after_good_service_it_begins_anew() {
        let (rule, mut breaker) = (rule(), RateBreaker::new(&rule(), seconds(0)));
        breaker.judge(&rule, &counts(0, 20), seconds(1), EVEN);
        breaker.try_again(&rule, Arc::new(Trial::new(1, 1)));
        for _ in 0..3 {
            breaker.tried(&rule, 1, GOOD, seconds(7), EVEN);
        }
        assert!(breaker.is_closed());
        assert_eq!(opened(breaker.judge(&rule, &counts(0, 20), seconds(18), EVEN)), Some(5));
    }

    #[test]
    fn changes_read_like_sentences() {
        let (rule, mut breaker) = (rule(), RateBreaker::new(&rule(), seconds(0)));
        let change = breaker.judge(&rule, &counts(5, 15), seconds(1), EVEN).unwrap();
        assert_eq!(change.to_string(), "open for 5.0s: 15 of 20 attempts within 10s failed, 50 % are enough");
        let change = breaker.try_again(&rule, Arc::new(Trial::new(1, 1)));
        assert_eq!(change.to_string(), "half open: 1 at once may try, 3 good ones in a row close it");
        let change = breaker.tried(&rule, 1, BAD, seconds(6), EVEN).unwrap();
        assert_eq!(change.to_string(), "open for 10.0s: a trial failed (answered 503) after 0 good ones");
    }
}
