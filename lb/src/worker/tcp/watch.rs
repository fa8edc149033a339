//! Sessions that are to end when their endpoint becomes unhealthy.
//!
//! Only sessions of listeners that want this are here; each new generation is looked at once for
//! all of them.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::task::Waker;

use slab::Slab;
use weir_core::endpoint::{EndpointId, Status};
use weir_core::snapshot::Snapshot;

/// A worker's sessions that watch their endpoint.
#[derive(Debug, Default)]
pub(crate) struct Watches(RefCell<Slab<Rc<Watched>>>);

/// One session's endpoint.
#[derive(Debug)]
struct Watched {
    endpoint: EndpointId,
    /// It has not been unhealthy all the time: a cluster in panic gives sessions to such ones too.
    was_well: Cell<bool>,
    sick: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Watches until it is dropped.
pub(super) struct Watch<'w> {
    watches: &'w Watches,
    at: usize,
    watched: Rc<Watched>,
}

impl Watches {
    /// Watches `endpoint`, which has this status now.
    pub(super) fn watch(&self, endpoint: EndpointId, status: Status) -> Watch<'_> {
        let was_well = Cell::new(status != Status::Unhealthy);
        let watched = Rc::new(Watched { endpoint, was_well, sick: Cell::new(false), waker: RefCell::default() });
        let at = self.0.borrow_mut().insert(Rc::clone(&watched));
        Watch { watches: self, at, watched }
    }

    /// Looks at a new generation.
    pub(crate) fn look(&self, snapshot: &Snapshot) {
        let watches = self.0.borrow();
        if watches.is_empty() {
            return;
        }
        let members = snapshot.clusters.iter().flat_map(|cluster| &cluster.members);
        let unhealthy = members.filter(|member| member.status == Status::Unhealthy).map(|member| member.id);
        let unhealthy: HashSet<EndpointId> = unhealthy.collect();
        for (_, watched) in watches.iter() {
            watched.see(unhealthy.contains(&watched.endpoint));
        }
    }
}

impl Watched {
    fn see(&self, unhealthy: bool) {
        if !unhealthy {
            self.was_well.set(true);
        } else if self.was_well.get() {
            self.sick.set(true);
            if let Some(waker) = &*self.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }
}

impl Watch<'_> {
    /// Whether the endpoint has become unhealthy; if not, `waker` is woken when it does.
    pub(super) fn is_sick(&self, waker: &Waker) -> bool {
        let mut known = self.watched.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
        self.watched.sick.get()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.watches.0.borrow_mut().remove(self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_becomes_unhealthy_is_told_of_and_who_was_all_along_is_not() {
        let watches = Watches::default();
        let well = watches.watch(EndpointId(1), Status::Healthy);
        let never = watches.watch(EndpointId(2), Status::Unhealthy);
        let see = |unhealthy: bool| watches.0.borrow().iter().for_each(|(_, watched)| watched.see(unhealthy));
        assert!(!well.is_sick(Waker::noop()));
        see(true);
        assert!(well.is_sick(Waker::noop()) && !never.is_sick(Waker::noop()));
        see(false);
        see(true);
        assert!(never.is_sick(Waker::noop()), "it had recovered in between");
        drop((well, never));
        assert!(watches.0.borrow().is_empty());
    }
}
