//! What a pick tells of itself, step by step: for `explain`, and for requests whose way is kept.
//!
//! The data path picks with `()`, which hears nothing and costs nothing; whoever wants to know
//! listens to the very same function.

use std::sync::Arc;

use crate::live::{Trial, TrialPermit};

/// One step of a pick. Endpoints are indices into the cluster's members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// The policy picks by this hash: of the request's key, or of chance if it has none.
    Hash {
        /// What is looked up.
        hash: u64,
        /// It is the request's.
        own: bool,
    },
    /// Its session stays on this endpoint, if it may be picked.
    Session {
        /// The endpoint, if it is still there.
        index: Option<usize>,
        /// It may be picked, was not tried and is not full.
        fits: bool,
    },
    /// This endpoint is on probation, and looked at for a trial.
    Trial {
        /// The endpoint.
        index: usize,
        /// It had room for one.
        took: bool,
    },
    /// Groups share the traffic, and this one was drawn.
    Group {
        /// Its index among the available groups.
        group: usize,
    },
    /// Nobody was left in the group that was drawn; this one is looked at instead.
    Elsewhere {
        /// Its index among the available groups.
        group: usize,
    },
    /// Its turn in the round.
    Turn {
        /// The endpoint.
        index: usize,
        /// It was not tried and is not full.
        fits: bool,
    },
    /// Drawn by weight.
    Draw {
        /// The endpoint.
        index: usize,
        /// It was not tried, is not full, and was not drawn before.
        fits: bool,
    },
    /// Too many draws or turns were of no use: the next that fits was taken.
    Counted {
        /// The endpoint, if there is one.
        index: Option<usize>,
    },
    /// Two draws, compared.
    Compared {
        /// The first draw.
        first: Cost,
        /// The second one.
        second: Cost,
        /// Which one is better.
        second_is_better: bool,
        /// Neither was; chance decided.
        tie: bool,
    },
    /// The key's slot in the table, or its point on the ring, at this look.
    Look {
        /// From 0.
        step: u32,
        /// Its place.
        slot: usize,
        /// Of so many.
        of: usize,
        /// Whose it is.
        index: usize,
        /// What came of it.
        found: Looked,
    },
    /// The endpoint has as many requests under way as bounded load allows it.
    Bounded {
        /// The endpoint.
        index: usize,
        /// Requests it may have.
        slots: u64,
    },
    /// Next in the key's own order of all that may be picked.
    Order {
        /// The endpoint.
        index: usize,
    },
}

/// What a draw would cost a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// The endpoint.
    pub index: usize,
    /// Requests it has under way.
    pub active: u64,
    /// Its weight as it counts now.
    pub capacity: u64,
    /// Its latency in nanoseconds as this worker saw it, if it did and that was looked at.
    pub latency: Option<f64>,
}

/// What came of a look into a table of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// It takes the key.
    Takes,
    /// It may not be picked, or is in another group.
    NotUsable,
    /// The request tried it, or it is full.
    NoRoom,
    /// It ramps up and does not take this key yet.
    Ramping,
}

/// Is told each step of a pick, and decides whether trials are really taken. `()` hears nothing,
/// costs nothing, and takes them.
pub trait Recorder {
    /// A step was made; `step` is only called by those who want to know.
    fn step(&mut self, _step: impl FnOnce() -> Step) {}

    /// A trial, if there is room for one: with its permit, unless this is not for real.
    fn take(&mut self, trial: &Arc<Trial>) -> Option<Option<TrialPermit>> {
        trial.take().map(Some)
    }
}

impl Recorder for () {}

/// Keeps what a pick tells.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// In order; no more than [`Told::MAX`].
    pub steps: Vec<Step>,
    /// Not for real: nothing that others see is changed.
    rehearsal: bool,
}

impl Told {
    /// Steps kept at the most; nobody reads more.
    pub const MAX: usize = 100;

    /// Listens to a pick that is made for a request.
    #[must_use]
    pub const fn listening() -> Self {
        Self { steps: Vec::new(), rehearsal: false }
    }

    /// Listens to a pick that is made to be explained: no trial is taken.
    #[must_use]
    pub const fn rehearsing() -> Self {
        Self { steps: Vec::new(), rehearsal: true }
    }
}

impl Recorder for Told {
    fn step(&mut self, step: impl FnOnce() -> Step) {
        if self.steps.len() < Self::MAX {
            self.steps.push(step());
        }
    }

    fn take(&mut self, trial: &Arc<Trial>) -> Option<Option<TrialPermit>> {
        if self.rehearsal { trial.has_room().then_some(None) } else { ().take(trial) }
    }
}
