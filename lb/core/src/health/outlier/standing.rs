//! Where one endpoint stands with its traffic: in service, reduced, out, or on probation.
//!
//! Out comes back by real requests only: when its time is over it is on probation, a few requests
//! at once, and so many good ones in a row bring it back; a bad one puts it out for longer. No
//! health probe shortens any of this.

use std::sync::Arc;
use std::time::Duration;

use weir_config::model::Outlier;

use crate::attempt::Class;
use crate::health::active::jittered;
use crate::live::Trial;
use crate::time::Moment;

/// Where one endpoint stands with its traffic.
#[derive(Debug)]
pub struct Standing {
    state: State,
    /// Ejections that make the next one longer.
    times: u32,
    /// From when on good service takes one of them back.
    clean_since: Moment,
}

/// The states of a [`Standing`].
#[derive(Debug)]
pub enum State {
    /// In service.
    In,
    /// In service with a part of its weight.
    Reduced {
        /// Of 1 000.
        permille: u16,
        /// When it is looked at again.
        next: Moment,
    },
    /// Out.
    Ejected {
        /// Until then.
        until: Moment,
    },
    /// On trial.
    Probation {
        /// How many requests at once.
        trial: Arc<Trial>,
        /// Good ones in a row so far.
        good: u32,
    },
}

/// A [`Standing`] as the next process is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandingMemory {
    /// In service.
    In,
    /// In service with a part of its weight, of 1 000.
    Reduced(u16),
    /// Out for so long from now on; zero: on probation.
    Out(Duration),
}

/// What a trial's end meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tested {
    /// Nothing: an old trial, or one that says nothing of the endpoint.
    Nothing,
    /// So many good ones in a row now; more are needed.
    Good(u32),
    /// Enough good ones: it may come back.
    Passed,
    /// It failed, after so many good ones.
    Failed(u32),
}

/// A reduced endpoint is looked at once in this time.
pub const REDUCE_STEP: Duration = Duration::from_secs(10);

/// Its least share, of 1 000.
pub const REDUCED_MIN: u16 = 10;

/// What it gets back with each good step, of 1 000.
const RESTORE_STEP: u16 = 100;

/// The next lower share: half, but never nothing.
#[must_use]
pub const fn halved(permille: u16) -> u16 {
    let half = permille / 2;
    if half < REDUCED_MIN { REDUCED_MIN } else { half }
}

impl Standing {
    /// In service since `now`.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        Self { state: State::In, times: 0, clean_since: now }
    }

    /// As another process had it.
    #[must_use]
    pub fn recalled(memory: StandingMemory, times: u32, now: Moment) -> Self {
        let state = match memory {
            StandingMemory::In => State::In,
            StandingMemory::Reduced(permille) => {
                State::Reduced { permille: permille.clamp(REDUCED_MIN, 1000), next: now + REDUCE_STEP }
            }
            // Nobody is out for no time: what is over by now ends at the next look.
            StandingMemory::Out(left) => State::Ejected { until: now + left.max(Duration::from_nanos(1)) },
        };
        Self { state, times, clean_since: now }
    }

    /// For the next process.
    #[must_use]
    pub fn memory(&self, now: Moment) -> StandingMemory {
        match &self.state {
            State::In => StandingMemory::In,
            State::Reduced { permille, .. } => StandingMemory::Reduced(*permille),
            State::Ejected { until } => StandingMemory::Out(until.since(now)),
            State::Probation { .. } => StandingMemory::Out(Duration::ZERO),
        }
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Ejections that make the next one longer.
    #[must_use]
    pub const fn times(&self) -> u32 {
        self.times
    }

    /// Whether it is ejected or on probation.
    #[must_use]
    pub const fn is_out(&self) -> bool {
        matches!(self.state, State::Ejected { .. } | State::Probation { .. })
    }

    /// How much of its weight it gets, of 1 000, once it is in service.
    #[must_use]
    pub const fn permille(&self) -> u16 {
        match self.state {
            State::Reduced { permille, .. } => permille,
            State::In | State::Ejected { .. } | State::Probation { .. } => 1000,
        }
    }

    /// When something is to be done about it.
    #[must_use]
    pub const fn due(&self) -> Option<Moment> {
        match self.state {
            State::Reduced { next: at, .. } | State::Ejected { until: at } => Some(at),
            State::In | State::Probation { .. } => None,
        }
    }

    /// A charge stands against it: each base time of service before takes one ejection back, and
    /// the next such time begins now.
    pub fn charged(&mut self, rules: &Outlier, now: Moment) {
        let served = now.since(self.clean_since).as_nanos();
        let forgiven = served / rules.base_ejection_time.as_nanos().max(1);
        self.times = self.times.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        self.clean_since = now;
    }

    /// Takes it out, and gives until when: the base time, doubled for each ejection before, up to
    /// the longest, stretched or shrunk by `draw`.
    pub fn eject(&mut self, rules: &Outlier, now: Moment, draw: u64) -> Moment {
        let longest = rules.max_ejection_time.max(rules.base_ejection_time);
        let factor = 1u32.checked_shl(self.times).unwrap_or(u32::MAX);
        let pause = rules.base_ejection_time.saturating_mul(factor).min(longest);
        // At the longest, counting on would only make the way back longer.
        if pause < longest || self.times == 0 {
            self.times += 1;
        }
        let until = now + jittered(pause, rules.jitter_percent, draw);
        self.state = State::Ejected { until };
        until
    }

    /// Its time is over: a few requests decide.
    pub fn try_again(&mut self, trial: Arc<Trial>) {
        self.state = State::Probation { trial, good: 0 };
    }

    /// Takes in the end of a trial. What it asks for is the caller's to do.
    pub fn tried(&mut self, rules: &Outlier, epoch: u64, class: Class) -> Tested {
        let State::Probation { trial, good } = &mut self.state else { return Tested::Nothing };
        if trial.epoch != epoch || !class.counts() {
            return Tested::Nothing;
        }
        if class.is_failure() {
            return Tested::Failed(*good);
        }
        *good += 1;
        if *good >= rules.probation_successes.get() { Tested::Passed } else { Tested::Good(*good) }
    }

    /// It is in service again, with its whole weight.
    pub fn readmit(&mut self, now: Moment) {
        self.state = State::In;
        self.clean_since = now;
    }

    /// It gets less.
    pub fn reduce(&mut self, permille: u16, now: Moment) {
        self.state = State::Reduced { permille, next: now + REDUCE_STEP };
    }

    /// A step without a charge: it gets more. Gives the share of 1 000, if it was reduced.
    pub fn restore(&mut self, now: Moment) -> Option<u16> {
        let State::Reduced { permille, .. } = self.state else { return None };
        let permille = permille.saturating_add(RESTORE_STEP).min(1000);
        self.state = if permille < 1000 { State::Reduced { permille, next: now + REDUCE_STEP } } else { State::In };
        Some(permille)
    }
}
