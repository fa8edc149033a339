//! How many sockets one worker may hold, so that the process never runs out of descriptors.
//!
//! Without this, idle clients could take every descriptor there is: no endpoint could be reached,
//! no probe sent, and nobody could ask the admin address why.

use std::cell::Cell;
use std::rc::Rc;

/// A worker's share of the process's descriptors. Clones are the same budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Rc<Share>);

#[derive(Debug)]
struct Share {
    used: Cell<usize>,
    most: usize,
}

/// One socket's place in a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Budget);

/// Descriptors kept for probes, the admin address, files and the runtime: a quarter of a small
/// limit, and no more than this of a large one.
const RESERVE_MAX: u64 = 1024;

impl Budget {
    /// The share of one of `workers` in a process that may have `open_files` descriptors open.
    pub(crate) fn new(open_files: u64, workers: usize) -> Self {
        let reserve = (open_files / 4).min(RESERVE_MAX);
        let most = (open_files - reserve) / workers.max(1) as u64;
        Self(Rc::new(Share { used: Cell::new(0), most: usize::try_from(most).unwrap_or(usize::MAX) }))
    }

    /// Room for a client. The last fifth is for endpoints: a client that is let in can be served.
    pub(crate) fn for_client(&self) -> Option<Place> {
        self.take(self.0.most - self.0.most / 5)
    }

    /// Room for a connection to an endpoint.
    pub(crate) fn for_endpoint(&self) -> Option<Place> {
        self.take(self.0.most)
    }

    /// Room for one end of a pipe. What is never needed may take no more than half is left of.
    pub(crate) fn for_pipe(&self) -> Option<Place> {
        self.take(self.0.most / 2)
    }

    fn take(&self, most: usize) -> Option<Place> {
        let used = self.0.used.get();
        (used < most).then(|| {
            self.0.used.set(used + 1);
            Place(self.clone())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let used = &self.0.0.used;
        used.set(used.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_room_for_endpoints() {
        let budget = Budget::new(40, 2);
        let clients: Vec<_> = std::iter::from_fn(|| budget.for_client()).collect();
        assert_eq!(clients.len(), 12);
        let endpoints: Vec<_> = std::iter::from_fn(|| budget.for_endpoint()).collect();
        assert_eq!(endpoints.len(), 3);
        drop(endpoints);
        assert!(budget.for_client().is_none());
        drop(clients);
        assert!(budget.for_client().is_some());
    }

    #[test]
    fn a_large_limit_keeps_a_small_reserve() {
        let budget = Budget::new(1 << 20, 1);
        assert_eq!(budget.0.most, (1 << 20) - 1024);
    }
}
