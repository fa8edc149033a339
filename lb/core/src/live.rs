//! What all workers share of a cluster and of an endpoint, beside their own counts: failures in a
//! row, samples of them, limits, trials, what was learned.
//!
//! Nothing here is written while all goes well: a success only reads that there is no streak, and
//! a line nobody writes is in every core's cache. Kept by identity, like [`crate::load`]: the same
//! `Arc` for as long as the thing lives, whatever the generation.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use weir_config::model::Consecutive;

use crate::attempt::{Class, Outcome};
use crate::limits::{Budget, Queue};
use crate::time::Moment;

/// What workers share of one endpoint.
#[derive(Debug)]
pub struct EndpointLive {
    /// Failures in a row.
    pub streak: Streak,
    /// The latest failures, as evidence.
    pub samples: Samples,
    /// Requests under way, if limited.
    pub requests: Arc<Budget>,
    /// Open connections, if limited.
    pub connections: Arc<Budget>,
}

impl EndpointLive {
    /// Nothing happened yet; no limits. `room` is its cluster's ([`ClusterLive::room`]).
    #[must_use]
    pub fn new(room: &Arc<Queue>) -> Self {
        Self {
            streak: Streak::default(),
            samples: Samples::default(),
            requests: Arc::new(Budget::new(None, Arc::clone(room))),
            connections: Arc::new(Budget::new(None, Arc::clone(room))),
        }
    }
}

/// What workers share of one cluster.
#[derive(Debug)]
pub struct ClusterLive {
    /// Requests under way, if limited.
    pub requests: Arc<Budget>,
    /// Open connections to all endpoints, if limited.
    pub connections: Arc<Budget>,
    /// Retries under way, if limited (over the retry budget, which always holds).
    pub retries: Arc<Budget>,
    /// Who waits to be let in: for one of [`Self::requests`].
    pub queue: Arc<Queue>,
    /// Who was let in and waits for an endpoint with room: for a connection, or one of the
    /// endpoints' limits.
    pub room: Arc<Queue>,
    /// Bounds of retries over requests.
    pub retry: Arc<crate::retry::Spent>,
    median: AtomicU64,
    usual: AtomicU64,
}

impl ClusterLive {
    /// Nothing happened yet; no limits.
    #[must_use]
    pub fn new() -> Self {
        let (queue, room) = (Queue::new(), Queue::new());
        let unlimited = |queue| Arc::new(Budget::new(None, Arc::clone(queue)));
        Self {
            requests: unlimited(&queue),
            connections: unlimited(&room),
            retries: unlimited(&room),
            retry: Arc::default(),
            median: AtomicU64::new(0),
            usual: AtomicU64::new(0),
            queue,
            room,
        }
    }

    /// How many wait, for whatever.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.queue.waiting() + self.room.waiting()
    }

    /// The median of its attempts' times to the head of an answer, if it is known.
    #[must_use]
    pub fn median(&self) -> Option<Duration> {
        Some(self.median.load(Relaxed)).filter(|&nanos| nanos > 0).map(Duration::from_nanos)
    }

    /// The 99th percentile of the same.
    #[must_use]
    pub fn usual(&self) -> Option<Duration> {
        Some(self.usual.load(Relaxed)).filter(|&nanos| nanos > 0).map(Duration::from_nanos)
    }

    /// Tells what was learned: median and 99th percentile. Only control may call this.
    pub fn learn(&self, median: Duration, usual: Duration) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.median.store(nanos(median), Relaxed);
        self.usual.store(nanos(usual), Relaxed);
    }
}

impl Default for ClusterLive {
    fn default() -> Self {
        Self::new()
    }
}

/// Failures in a row, of three kinds of which each contains the next, over all workers. One word,
/// so that it is one decision: written on failures and on the success that ends them.
#[derive(Debug, Default)]
pub struct Streak(AtomicU64);

/// A reading of a [`Streak`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// 5xx answers, or none at all.
    pub any_5xx: u16,
    /// 502, 503 and 504, or none at all.
    pub gateway: u16,
    /// No answer at all.
    pub local_origin: u16,
    /// Whether they were of two requests at the least.
    pub distinct: bool,
}

impl Row {
    /// Whether it is as long as `rule` allows, or longer.
    #[must_use]
    pub fn reaches(self, rule: &Consecutive) -> bool {
        let reached =
            |limit: Option<NonZeroU32>, count: u16| limit.is_some_and(|limit| u32::from(count) >= limit.get());
        self.distinct
            && (reached(rule.any_5xx, self.any_5xx)
                || reached(rule.gateway, self.gateway)
                || reached(rule.local_origin, self.local_origin))
    }
}

impl Streak {
    const TAG: u64 = 0x7fff;

    /// Takes in one outcome; `request` tells requests apart. The row it makes if it is a failure,
    /// `None` otherwise. 429 neither adds to a row nor ends it, nor does what says nothing.
    pub fn note(&self, class: Class, request: u64) -> Option<Row> {
        match class {
            Class::Success => {
                // Mostly there is none: then the line stays shared.
                if self.0.load(Relaxed) != 0 {
                    self.0.store(0, Relaxed);
                }
                None
            }
            Class::ClientError | Class::Shed | Class::Ours => None,
            Class::Error | Class::Gateway | Class::Connect | Class::Timeout | Class::Reset => {
                let next = |word| Some(Self::after(word, class, request));
                // The closure always gives a value, so both arms are a reading.
                let before = self.0.fetch_update(SeqCst, SeqCst, next).unwrap_or_else(|word| word);
                Some(Self::read(Self::after(before, class, request)))
            }
        }
    }

    /// The row as it is.
    #[must_use]
    pub fn row(&self) -> Row {
        Self::read(self.0.load(Relaxed))
    }

    /// Ends the row: a decision was made of it.
    pub fn clear(&self) {
        self.0.store(0, Relaxed);
    }

    fn after(word: u64, class: Class, request: u64) -> u64 {
        let row = Self::read(word);
        let add = |count: u16, counts: bool| if counts { count.saturating_add(1) } else { 0 };
        let gateway = class != Class::Error;
        let local = gateway && class != Class::Gateway;
        // Never 0, so that a tag can be told from none.
        let tag = (request.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 49) | 1;
        let first = word & Self::TAG;
        let distinct = row.distinct || (first != 0 && first != tag);
        Self::write(
            Row {
                any_5xx: add(row.any_5xx, true),
                gateway: add(row.gateway, gateway),
                local_origin: add(row.local_origin, local),
                distinct,
            },
            if first == 0 { tag } else { first },
        )
    }

    fn read(word: u64) -> Row {
        Row {
            any_5xx: (word >> 48) as u16,
            gateway: (word >> 32) as u16,
            local_origin: (word >> 16) as u16,
            distinct: word >> 15 & 1 == 1,
        }
    }

    fn write(row: Row, tag: u64) -> u64 {
        u64::from(row.any_5xx) << 48
            | u64::from(row.gateway) << 32
            | u64::from(row.local_origin) << 16
            | u64::from(row.distinct) << 15
            | (tag & Self::TAG)
    }
}

/// One failed attempt, as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it ended.
    pub at: Moment,
    /// How.
    pub outcome: Outcome,
    /// From its start.
    pub took: Duration,
    /// The request's id, as far as it is text of at most 36 bytes; unused bytes are 0.
    pub request: [u8; 36],
    /// The client, without port.
    pub client: IpAddr,
}

/// The latest failures of one endpoint; at most [`Samples::MOST`]. Written by workers, and only if
/// nobody else is just writing: evidence is not worth waiting for.
#[derive(Debug, Default)]
pub struct Samples {
    ring: Mutex<Vec<Sample>>,
    next: AtomicU32,
}

impl Samples {
    /// So many are kept.
    pub const MOST: usize = 10;

    /// Keeps a sample, in place of the oldest.
    pub fn keep(&self, sample: Sample) {
        let Ok(mut ring) = self.ring.try_lock() else { return };
        if ring.len() < Self::MOST {
            ring.push(sample);
        } else {
            let at = self.next.fetch_add(1, Relaxed) as usize % Self::MOST;
            ring[at] = sample;
        }
    }

    /// The samples since `since`, oldest first.
    #[must_use]
    pub fn since(&self, since: Moment) -> Vec<Sample> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let mut samples: Vec<Sample> = ring.iter().filter(|sample| sample.at >= since).copied().collect();
        samples.sort_by_key(|sample| sample.at);
        samples
    }
}

/// How many trial requests may be under way at an endpoint on probation, or at a cluster whose
/// breaker is half open. Made anew for each probation, so what comes back late is not counted.
#[derive(Debug)]
pub struct Trial {
    /// Which probation.
    pub epoch: u64,
    under_way: AtomicU32,
    most: u32,
}

impl Trial {
    /// At most `most` at once.
    #[must_use]
    pub const fn new(epoch: u64, most: u32) -> Self {
        Self { epoch, under_way: AtomicU32::new(0), most }
    }

    /// The right to one trial, if there is room.
    pub fn take(self: &Arc<Self>) -> Option<TrialPermit> {
        let taken = self.under_way.fetch_update(SeqCst, SeqCst, |now| (now < self.most).then_some(now + 1));
        taken.ok().map(|_| TrialPermit(Arc::clone(self)))
    }

    /// Whether there is room for one.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.under_way.load(Relaxed) < self.most
    }

    /// Trials under way.
    #[must_use]
    pub fn under_way(&self) -> u32 {
        self.under_way.load(Relaxed)
    }
}

/// The right to one trial; given back when dropped, whatever became of it.
#[derive(Debug)]
pub struct TrialPermit(Arc<Trial>);

impl TrialPermit {
    /// Which probation it belongs to.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }
}

impl Drop for TrialPermit {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_contains_the_next() {
        let streak = Streak::default();
        for class in [Class::Error, Class::Gateway, Class::Timeout] {
            streak.note(class, 7);
        }
        assert_eq!(streak.row(), Row { any_5xx: 3, gateway: 2, local_origin: 1, distinct: false });
        assert_eq!(streak.note(Class::Reset, 8).map(|row| row.distinct), Some(true));
        assert_eq!(streak.note(Class::Gateway, 9).map(|row| (row.gateway, row.local_origin)), Some((4, 0)));
        for neither in [Class::Shed, Class::ClientError, Class::Ours] {
            assert_eq!(streak.note(neither, 1), None);
        }
        assert_eq!(streak.row().any_5xx, 5);
        streak.note(Class::Success, 1);
        assert_eq!(streak.row(), Row::default());
    }

    #[test]
    fn a_trial_is_bounded_and_comes_back() {
        let trial = Arc::new(Trial::new(3, 1));
        let permit = trial.take().unwrap();
        assert!(trial.take().is_none());
        assert_eq!(permit.epoch(), 3);
        drop(permit);
        assert!(trial.take().is_some());
    }

    #[test]
    fn the_oldest_sample_goes_first() {
        let samples = Samples::default();
        for nanos in 0..25 {
            samples.keep(Sample {
                at: Moment::from_nanos(nanos),
                outcome: Outcome::Answered(500),
                took: Duration::ZERO,
                request: [0; 36],
                client: [127, 0, 0, 1].into(),
            });
        }
        let kept: Vec<u64> = samples.since(Moment::from_nanos(20)).iter().map(|sample| sample.at.as_nanos()).collect();
        assert_eq!(kept, [20, 21, 22, 23, 24]);
        assert_eq!(samples.since(Moment::ZERO).len(), 10);
    }
}
