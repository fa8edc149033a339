//! Buckets of many, in memory that does not grow.
//!
//! A key's hash names the set of eight slots it may lie in; it lies in whichever of them has its
//! hash. A new key takes a slot nobody has, else that of the fullest bucket in its set: one that is
//! full says no more than none, so as long as keys that are not full have room, nothing is lost.
//!
//! What if they have not: because the limit is too small, or because somebody asks under more names
//! than there are slots? A newcomer takes over the bucket of whom it displaces, as it stands. So
//! buckets are never refilled by being forgotten. All keys together, however many, get what the
//! slots allow; and whoever is held back and wants to be forgotten has to empty seven other buckets
//! first, only to take over one of those. The price is that under such an attack a newcomer may
//! find its first bucket half empty, and that is the right side to err on.
//!
//! Every step is one compare-and-swap on one number: a slot's key, or its bucket. Between the two
//! another worker may displace the key, so that a token is taken out of a stranger's bucket: one
//! too few for somebody, never one too many for anybody. Two workers may put the same new key into
//! two slots; both look again, agree on the first, and pour what was taken from the other into it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};
use std::time::Duration;

use super::{Pace, take};

/// Slots of fixed number.
#[derive(Debug)]
pub(super) struct Table {
    /// Made when first needed: of a limit that few come to, few are.
    segments: Box<[OnceLock<Box<Segment>>]>,
    sets: u64,
    displaced: AtomicU64,
}

/// Slots in a set.
const WAYS: usize = 8;
/// Sets in a segment: a kilobyte.
const SETS: usize = 8;

type Segment = [Set; SETS];

/// Two lines of cache: the keys in one, their buckets in the other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Set {
    /// Hashes; 0 is nobody's.
    keys: [AtomicU64; WAYS],
    /// When each will be full again.
    filled: [AtomicU64; WAYS],
}

impl Table {
    /// A table for `keys` keys, rounded up to whole sets.
    pub(super) fn new(keys: u32) -> Self {
        let sets = (keys as usize).div_ceil(WAYS).max(1);
        let segments = (0..sets.div_ceil(SETS)).map(|_| OnceLock::new()).collect();
        Self { segments, sets: sets as u64, displaced: AtomicU64::new(0) }
    }

    /// One token of `key`.
    pub(super) fn take(&self, key: u64, pace: Pace, now: u64) -> Result<(), Duration> {
        let key = key.max(1);
        let set = self.set(key);
        loop {
            let at = match set.find(key) {
                Some(at) => at,
                None => match self.claim(set, key, now) {
                    Some(at) => at,
                    // Somebody else was quicker: the set is another one now.
                    None => continue,
                },
            };
            let taken = take(&set.filled[at], pace, now);
            if taken.is_err() || set.keys[at].load(Acquire) == key {
                return taken;
            }
        }
    }

    /// When the bucket of `key` will be full.
    pub(super) fn look(&self, key: u64) -> u64 {
        let key = key.max(1);
        let (segment, at) = self.place(key);
        let set = self.segments[segment].get().map(|segment| &segment[at]);
        set.and_then(|set| Some(set.filled[set.find(key)?].load(Relaxed))).unwrap_or(0)
    }

    pub(super) fn displaced(&self) -> u64 {
        self.displaced.load(Relaxed)
    }

    fn set(&self, key: u64) -> &Set {
        let (segment, at) = self.place(key);
        &self.segments[segment].get_or_init(Box::default)[at]
    }

    fn place(&self, key: u64) -> (usize, usize) {
        // The high half of the product: as even as the hash is, for any number of sets.
        let set = ((u128::from(key) * u128::from(self.sets)) >> 64) as usize;
        (set / SETS, set % SETS)
    }

    /// A slot for a key that has none; none if another worker changed the set meanwhile.
    fn claim(&self, set: &Set, key: u64, now: u64) -> Option<usize> {
        let (at, its, filled) = set.fullest();
        set.keys[at].compare_exchange(its, key, AcqRel, Acquire).ok()?;
        if its != 0 && filled > now {
            self.displaced.fetch_add(1, Relaxed);
        }
        let first = set.find(key)?;
        if first != at {
            // Another worker put it there as well. What was taken counts, wherever it was taken.
            set.filled[first].fetch_max(set.filled[at].load(Relaxed), Relaxed);
        }
        for other in (first + 1..WAYS).filter(|other| *other != at) {
            if set.keys[other].load(Acquire) == key {
                set.filled[first].fetch_max(set.filled[other].load(Relaxed), Relaxed);
            }
        }
        Some(first)
    }
}

impl Set {
    /// The first slot of `key`.
    fn find(&self, key: u64) -> Option<usize> {
        self.keys.iter().position(|its| its.load(Acquire) == key)
    }

    /// The first slot nobody has, else that of the fullest bucket: with its key, and when it will
    /// be full.
    fn fullest(&self) -> (usize, u64, u64) {
        let mut found = (0, 0, u64::MAX);
        for at in 0..WAYS {
            let (key, filled) = (self.keys[at].load(Acquire), self.filled[at].load(Relaxed));
            if key == 0 {
                return (at, key, filled);
            }
            if at == 0 || filled < found.2 {
                found = (at, key, filled);
            }
        }
        found
    }
}
