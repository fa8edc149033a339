//! When which probe is next: two ordered sets, nothing else.

use std::collections::BTreeSet;

use crate::endpoint::EndpointId;
use crate::time::Moment;

/// One check of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) endpoint: EndpointId,
    pub(super) check: u16,
}

impl Slot {
    /// Check number `check` of `endpoint`; a cluster has fewer than 2^16.
    pub(super) const fn of(endpoint: EndpointId, check: usize) -> Self {
        Self { endpoint, check: check as u16 }
    }
}

/// What is planned for a slot. Kept by its check; [`Schedule`] holds the same, ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing: the endpoint is not in the configuration.
    Idle,
    /// To be asked then.
    Due(Moment),
    /// Asked; given up then.
    Asked { lost_at: Moment },
}

#[derive(Debug, Default)]
pub(super) struct Schedule {
    due: BTreeSet<(Moment, Slot)>,
    asked: BTreeSet<(Moment, Slot)>,
}

impl Schedule {
    /// Replaces a slot's plan.
    pub(super) fn plan(&mut self, slot: Slot, plan: &mut Plan, next: Plan) {
        self.remove(slot, *plan);
        self.insert(slot, next);
        *plan = next;
    }

    pub(super) fn insert(&mut self, slot: Slot, plan: Plan) {
        match plan {
            Plan::Idle => {}
            Plan::Due(at) => {
                self.due.insert((at, slot));
            }
            Plan::Asked { lost_at } => {
                self.asked.insert((lost_at, slot));
            }
        }
    }

    pub(super) fn remove(&mut self, slot: Slot, plan: Plan) {
        match plan {
            Plan::Idle => {}
            Plan::Due(at) => {
                self.due.remove(&(at, slot));
            }
            Plan::Asked { lost_at } => {
                self.asked.remove(&(lost_at, slot));
            }
        }
    }

    pub(super) fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|&(at, _)| at)
    }

    pub(super) fn next_lost(&self) -> Option<Moment> {
        self.asked.first().map(|&(at, _)| at)
    }

    /// The slot that is due for longest, if any is due by `now`.
    pub(super) fn due_by(&self, now: Moment) -> Option<(Moment, Slot)> {
        self.due.first().copied().filter(|&(at, _)| at <= now)
    }

    /// A slot whose probe is given up by `now`.
    pub(super) fn lost_by(&self, now: Moment) -> Option<Slot> {
        self.asked.first().filter(|&&(at, _)| at <= now).map(|&(_, slot)| slot)
    }

    pub(super) fn under_way(&self) -> usize {
        self.asked.len()
    }

    /// Whether the sets hold exactly these plans.
    pub(super) fn holds(&self, plans: impl Iterator<Item = (Slot, Plan)>) -> bool {
        let (mut due, mut asked) = (0, 0);
        for (slot, plan) in plans {
            let held = match plan {
                Plan::Idle => true,
                Plan::Due(at) => {
                    due += 1;
                    self.due.contains(&(at, slot))
                }
                Plan::Asked { lost_at } => {
                    asked += 1;
                    self.asked.contains(&(lost_at, slot))
                }
            };
            if !held {
                return false;
            }
        }
        (due, asked) == (self.due.len(), self.asked.len())
    }
}
