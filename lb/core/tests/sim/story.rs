//! What happened in a life, in a form that two lives can be compared by.

use weir_core::control::Effect;
use weir_core::endpoint::Status;
use weir_core::snapshot::Snapshot;
use weir_core::time::Moment;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) probes: usize,
    pub(crate) transitions: usize,
    pub(crate) ejections: usize,
    pub(crate) generations: u64,
    /// Of everything, in order.
    pub(crate) hash: u64,
}

impl Story {
    pub(crate) fn tell(&mut self, now: Moment, effect: &Effect) {
        self.mix(now.as_nanos());
        match effect {
            Effect::Probe(order) => {
                self.probes += 1;
                self.mix(u64::from(order.id.endpoint.0) << 32 | u64::from(order.id.epoch));
                self.mix(order.due.as_nanos());
            }
            Effect::Transition(transition) => {
                self.transitions += 1;
                self.ejections += usize::from(transition.to == Status::Ejected);
                self.mix(
                    u64::from(transition.key.address.ip().expect("an IP address").port()) << 8 | transition.to as u64,
                );
            }
            Effect::Notice(notice) => notice.to_string().bytes().for_each(|byte| self.mix(byte.into())),
            Effect::Look(_) | Effect::LookAway(_) | Effect::Remember(_) => {}
        }
    }

    pub(crate) fn publish(&mut self, snapshot: &Snapshot) {
        self.generations = snapshot.generation;
        snapshot.clusters.iter().for_each(|cluster| self.mix(cluster.version));
    }

    pub(crate) fn pick(&mut self, index: usize) {
        self.mix(index as u64);
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    }
}
