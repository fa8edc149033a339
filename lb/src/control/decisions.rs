//! The ways of requests that were kept, for as long as somebody may ask for them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use weir_core::time::Moment;

use super::Shared;
use super::explain::{self, Explained, Witness};
use crate::observe::decision::{Decision, DecisionId};

/// The latest ways; the oldest go first.
#[derive(Debug, Default)]
pub(super) struct Decisions(VecDeque<(DecisionId, Moment, Rc<Explained>)>);

impl Decisions {
    /// Kept at the most.
    const MAX: usize = 1_000;
    /// And for no longer than this.
    const TTL: Duration = Duration::from_secs(3600);

    fn add(&mut self, id: DecisionId, now: Moment, explained: Explained) {
        self.forget(now);
        if self.0.len() == Self::MAX {
            self.0.pop_front();
        }
        self.0.push_back((id, now, Rc::new(explained)));
    }

    fn forget(&mut self, now: Moment) {
        while self.0.front().is_some_and(|(_, at, _)| now.since(*at) >= Self::TTL) {
            self.0.pop_front();
        }
    }

    fn get(&mut self, id: DecisionId, now: Moment) -> Option<Rc<Explained>> {
        self.forget(now);
        self.0.iter().find(|(its, ..)| *its == id).map(|(.., explained)| Rc::clone(explained))
    }
}

impl Shared {
    /// Keeps the way of a request, in words: the generation it was served by need not be kept.
    pub(super) fn keep(&self, decision: Decision, now: Moment, wall: SystemTime) {
        let control = self.control.borrow();
        let explained = explain::of_decision(&decision, Witness { control: &control, now, wall });
        self.decisions.borrow_mut().add(decision.id, now, explained);
    }

    /// The way of the request that was told this name.
    pub(super) fn kept(&self, id: &str, now: Moment) -> Option<Rc<Explained>> {
        self.decisions.borrow_mut().get(DecisionId::read(id)?, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(n: u64) -> Moment {
        Duration::from_secs(60 * n).into()
    }

    #[test]
    fn the_latest_are_kept_for_an_hour() {
        let mut decisions = Decisions::default();
        let id = |n: usize| DecisionId::new(n as u128);
        for n in 0..=Decisions::MAX {
            decisions.add(id(n), minute(if n < 500 { 0 } else { 30 }), Explained::default());
        }
        assert!(decisions.get(id(0), minute(30)).is_none(), "one too many");
        assert!(decisions.get(id(1), minute(59)).is_some());
        assert!(decisions.get(id(1), minute(60)).is_none() && decisions.get(id(500), minute(60)).is_some());
        assert!(decisions.get(id(500), minute(90)).is_none());
    }
}
