//! Picking by the request's key: the member its table tells, or the next in the key's own order
//! that may be picked and has room.

use std::sync::Arc;

use super::tables::Consistent;
use super::told::{Looked, Recorder, Step};
use super::{Choice, Why, bounded};
use crate::load::{ClusterLoad, EndpointLoad};
use crate::snapshot::{Cluster, Member};

/// What a hashing policy works out once per snapshot.
#[derive(Clone, Debug)]
pub(super) struct Hashed {
    table: Arc<Consistent>,
    /// If load is bounded: by how many per cent of the average.
    percent: Option<u16>,
    /// Then, the weights up to each place.
    until: Box<[u64]>,
    /// The largest permille of all. A member that ramps up takes that part of its keys which its
    /// own permille is of this.
    most: u16,
}

impl Hashed {
    /// Looks into the table; after so many nearly nobody in it can be picked, and the key's order
    /// of those who can decides.
    const LOOKS: u32 = 64;

    pub(super) fn new(table: &Arc<Consistent>, members: &[Member], usable: &[u32], percent: Option<u16>) -> Self {
        let usable = || usable.iter().map(|&index| &members[index as usize]);
        let mut sum = 0;
        let until = |member: &Member| {
            sum += member.capacity();
            sum
        };
        let until = if percent.is_some() { usable().map(until).collect() } else { Box::default() };
        let most = usable().map(|member| member.permille).max().unwrap_or(1000);
        Self { table: Arc::clone(table), percent, until, most }
    }

    pub(super) fn pick(
        &self,
        hash: u64,
        choice: &Choice<'_>,
        cluster: &Cluster,
        recorder: &mut impl Recorder,
    ) -> Option<(usize, Why)> {
        let order = Order::of(hash, choice.usable.len());
        let (place, why) = self.first(hash, choice, order, recorder)?;
        let Some(percent) = self.percent else {
            return Some((place, why));
        };
        // The request itself is among those counted.
        let active = ClusterLoad::active(&cluster.load).saturating_sub(1);
        let slots = bounded::total(active, percent);
        if !self.is_full(place, slots, choice) {
            return Some((place, why));
        }
        recorder.step(|| Step::Bounded { index: choice.index(place), slots: self.slots(place, slots) });
        // Each key goes on in an order of its own: the neighbour must not get all that does not
        // fit. If nothing fits anywhere, counts are a moment old: then stay with the key's own.
        let next =
            order.places().enumerate().find(|&(_, next)| choice.fits(next) && !self.is_full(next, slots, choice));
        let Why::Hash { passed_over, .. } = why else {
            return Some((place, why));
        };
        if let Some((_, place)) = next {
            recorder.step(|| Step::Order { index: choice.index(place) });
        }
        Some(match next {
            Some((more, place)) => (place, Why::Hash { passed_over: passed_over + 1 + more as u32 }),
            None => (place, why),
        })
    }

    /// The first by the table, or else by the key's order, that may be picked.
    fn first(
        &self,
        hash: u64,
        choice: &Choice<'_>,
        order: Order,
        recorder: &mut impl Recorder,
    ) -> Option<(usize, Why)> {
        for passed_over in 0..Self::LOOKS {
            let slot = self.table.slot(hash, passed_over)?;
            let index = self.table.member(slot) as usize;
            let place = choice.place(index);
            let found = match place {
                None => Looked::NotUsable,
                Some(place) if !choice.fits(place) => Looked::NoRoom,
                Some(place) if !self.takes(choice.member(place), hash) => Looked::Ramping,
                Some(_) => Looked::Takes,
            };
            recorder.step(|| Step::Look { step: passed_over, slot, of: self.table.len(), index, found });
            if let (Some(place), Looked::Takes) = (place, found) {
                return Some((place, Why::Hash { passed_over }));
            }
        }
        let (more, place) = order.places().enumerate().find(|&(_, place)| choice.fits(place))?;
        recorder.step(|| Step::Order { index: choice.index(place) });
        Some((place, Why::Hash { passed_over: Self::LOOKS + more as u32 }))
    }

    /// Whether a member that ramps up takes this key already. Always the same ones first.
    fn takes(&self, member: &Member, hash: u64) -> bool {
        member.permille >= self.most || mixed(hash) % u64::from(self.most) < member.permille.into()
    }

    fn is_full(&self, place: usize, slots: u64, choice: &Choice<'_>) -> bool {
        EndpointLoad::active(&choice.member(place).load) >= self.slots(place, slots)
    }

    /// Of all slots, those of the member at a place.
    fn slots(&self, place: usize, slots: u64) -> u64 {
        let before = if place == 0 { 0 } else { self.until[place - 1] };
        let whole = self.until.last().copied().unwrap_or(0);
        bounded::slots(slots, before, self.until[place] - before, whole)
    }
}

/// All places, each once, in an order that depends on the key. Made as it is walked.
#[derive(Clone, Copy, Debug)]
struct Order {
    first: u64,
    step: u64,
    places: u64,
}

impl Order {
    fn of(hash: u64, places: usize) -> Self {
        let places = places.max(1) as u64;
        let hash = mixed(hash);
        // A step with no divisor in common comes by every place.
        let mut step = (hash >> 32) % places;
        while !coprime(step, places) {
            step += 1;
        }
        Self { first: (hash & 0xffff_ffff) % places, step, places }
    }

    fn places(self) -> impl Iterator<Item = usize> {
        (0..self.places).map(move |at| ((self.first + at * self.step) % self.places) as usize)
    }
}

const fn coprime(mut one: u64, mut other: u64) -> bool {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one == 1
}

/// The hash, stirred (splitmix64's finish): what it decides here must not go with its slot.
const fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_comes_by_every_place_once() {
        for places in (1..40).chain([100, 1000]) {
            for hash in 0..50 {
                let mut seen: Vec<usize> = Order::of(hash, places).places().collect();
                seen.sort_unstable();
                assert!(seen.iter().copied().eq(0..places), "{places} places, key {hash}");
            }
        }
    }
}
