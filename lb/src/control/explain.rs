//! One request's way in words and numbers: what `weir explain` shows, of a file, of a running
//! instance, or of a request that was served.
//!
//! The way itself is told by [`weir_core::explain`]; here a request is understood as a person
//! describes it ([`Ask`]), and what came of it put into the form that is sent and printed
//! ([`Explained`]).

mod ask;
mod shape;
mod tell;
mod words;

use std::time::SystemTime;

use weir_core::control::Control;
use weir_core::snapshot::Snapshot;
use weir_core::time::Moment;

pub use ask::{Ask, WrongAsk, at_weight};
pub use shape::{
    Attempt, Breaker, Cluster, Endpoint, Explained, Key, Level, Limit, Pick, Refused, Release, Reply, Request,
    Rewritten, Route, Rule, Served, Version, Zone,
};

use crate::observe::decision::Decision;

/// Who explains: what control knows beside the snapshot, and the time.
#[derive(Clone, Copy)]
pub struct Witness<'a> {
    /// Knows why endpoints are as they are.
    pub control: &'a Control,
    /// In the core's time.
    pub now: Moment,
    /// By the wall clock.
    pub wall: SystemTime,
}

/// The way that a request would take through `snapshot`.
///
/// # Errors
/// What is wrong with what is asked.
pub fn explain(snapshot: &Snapshot, ask: &Ask, witness: Witness<'_>) -> Result<Explained, WrongAsk> {
    ask.way(snapshot, witness.now).map(|walked| tell::asked(snapshot, ask, walked, witness))
}

/// The way that a request took.
#[must_use]
pub(super) fn of_decision(decision: &Decision, witness: Witness<'_>) -> Explained {
    tell::decided(decision, witness)
}
