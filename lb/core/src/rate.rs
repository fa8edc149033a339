//! How often somebody may ask: token buckets, exact over all workers, without a lock.
//!
//! A bucket is one number, the moment at which it will be full again: the generic cell rate
//! algorithm (ITU-T I.371, "virtual scheduling"). Taking a token pushes that moment one interval
//! away; whoever would push it further than the bucket holds is refused, and pushes nothing.
//! Where many have a bucket of their own they lie in a [`table`] of fixed size.
//!
//! Decides and counts; who is asked for, and what becomes of those who are refused, is the data
//! path's. What a limit knows is lost with the process, and shared with no other instance.

mod table;

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use weir_config::model::{RateKey, RateLimit};

use crate::route::Headers;
use crate::time::Moment;
use table::Table;

/// A limit in force: its numbers, and the buckets of all who asked.
#[derive(Debug)]
pub struct Limiter {
    pace: Pace,
    key: RateKey,
    max_keys: u32,
    buckets: Arc<Buckets>,
}

/// What outlives a reload.
#[derive(Debug)]
struct Buckets {
    kind: Kind,
    /// Already knows a secret, so that nobody outside can tell whose keys lie together.
    hasher: DefaultHasher,
    refused: AtomicU64,
    /// Displaced by an earlier process; this one's are in the table.
    displaced: AtomicU64,
}

#[derive(Debug)]
enum Kind {
    One(AtomicU64),
    Many(Table),
}

/// How fast tokens come, and how many are kept. In [ticks](TICKS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// From one token to the next.
    interval: u64,
    /// All a bucket holds: `burst` intervals.
    full: u64,
}

/// Ticks in a nanosecond. Intervals are rounded down to a tick, so a limit of 100 000 a second is
/// off by less than a millionth; and a clock of ticks runs for 36 years.
const TICKS: u64 = 16;

impl Pace {
    fn new(limit: &RateLimit) -> Self {
        let per = limit.per.as_nanos().saturating_mul(TICKS.into());
        let interval = u64::try_from(per / u128::from(limit.requests.get())).unwrap_or(u64::MAX).max(1);
        // No bucket takes longer than ten years to fill: whoever waits for that waits for ever.
        let full = interval.saturating_mul(limit.burst.get().into()).min(u64::MAX / 4);
        Self { interval: interval.min(full), full }
    }

    /// One token out of a bucket that will be full at `filled`: when it will be full then; or
    /// how long until there is one.
    ///
    /// A bucket cannot be emptier than empty: one that was filled at another pace, before a
    /// reload, holds nobody back for longer than this pace would.
    const fn take(self, filled: u64, now: u64) -> Result<u64, Duration> {
        let latest = now + self.full;
        let filled = if filled > latest { latest } else { filled };
        let next = if filled > now { filled } else { now } + self.interval;
        if next > latest { Err(Duration::from_nanos((next - latest).div_ceil(TICKS))) } else { Ok(next) }
    }

    /// Tokens in a bucket that will be full at `filled`.
    const fn left(self, filled: u64, now: u64) -> u64 {
        let missing = filled.saturating_sub(now);
        self.full.saturating_sub(missing) / self.interval
    }
}

/// One token out of the bucket in `cell`.
fn take(cell: &AtomicU64, pace: Pace, now: u64) -> Result<(), Duration> {
    let mut filled = cell.load(Relaxed);
    loop {
        let next = pace.take(filled, now)?;
        match cell.compare_exchange_weak(filled, next, Relaxed, Relaxed) {
            Ok(_) => return Ok(()),
            Err(newer) => filled = newer,
        }
    }
}

impl Limiter {
    /// What `limit` allows. The buckets are those of `before` if it is the same limit with other
    /// numbers; `secret` keeps those outside from knowing which keys share what.
    #[must_use]
    pub fn new(limit: &RateLimit, before: Option<&Self>, secret: u128) -> Self {
        let RateLimit { key, max_keys, .. } = limit;
        let same = before.filter(|before| before.key == *key && before.max_keys == *max_keys);
        let buckets = same.map_or_else(|| Arc::new(Buckets::new(limit, secret)), |same| Arc::clone(&same.buckets));
        Self { pace: Pace::new(limit), key: key.clone(), max_keys: *max_keys, buckets }
    }

    /// Takes a token for a request (or a connection) of `client`.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&self, client: IpAddr, headers: &dyn Headers, now: Moment) -> Result<(), Duration> {
        let now = ticks(now);
        let taken = match &self.buckets.kind {
            Kind::One(cell) => take(cell, self.pace, now),
            Kind::Many(table) => table.take(self.hash(client, headers), self.pace, now),
        };
        if taken.is_err() {
            self.buckets.refused.fetch_add(1, Relaxed);
        }
        taken
    }

    /// How many tokens are left for such a request. Takes none.
    #[must_use]
    pub fn left(&self, client: IpAddr, headers: &dyn Headers, now: Moment) -> u64 {
        let filled = match &self.buckets.kind {
            Kind::One(cell) => cell.load(Relaxed),
            Kind::Many(table) => table.look(self.hash(client, headers)),
        };
        self.pace.left(filled, ticks(now))
    }

    /// Requests refused since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.buckets.refused.load(Relaxed)
    }

    /// Buckets that were in use and had to make room for others: a table that is too small.
    #[must_use]
    pub fn displaced(&self) -> u64 {
        let here = match &self.buckets.kind {
            Kind::One(_) => 0,
            Kind::Many(table) => table.displaced(),
        };
        here + self.buckets.displaced.load(Relaxed)
    }

    /// Adds what was counted before this process.
    pub(crate) fn add_earlier(&self, refused: u64, displaced: u64) {
        self.buckets.refused.fetch_add(refused, Relaxed);
        self.buckets.displaced.fetch_add(displaced, Relaxed);
    }

    /// Whose bucket it is.
    fn hash(&self, client: IpAddr, headers: &dyn Headers) -> u64 {
        let mut hasher = self.buckets.hasher.clone();
        match &self.key {
            RateKey::Everybody => {}
            RateKey::ClientAddress => match client.to_canonical() {
                IpAddr::V4(address) => hasher.write_u32(address.to_bits()),
                // Whoever has one address of a /64 has all of them.
                IpAddr::V6(address) => hasher.write_u64((address.to_bits() >> 64) as u64),
            },
            RateKey::Header(name) => {
                if let Some(value) = headers.get(name) {
                    hasher.write(value);
                    // A value that is there and empty is another than none.
                    hasher.write_u8(0xff);
                }
            }
        }
        hasher.finish()
    }
}

impl Buckets {
    fn new(limit: &RateLimit, secret: u128) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write_u128(secret);
        let kind = match limit.key {
            RateKey::Everybody => Kind::One(AtomicU64::new(0)),
            RateKey::ClientAddress | RateKey::Header(_) => Kind::Many(Table::new(limit.max_keys)),
        };
        Self { kind, hasher, refused: AtomicU64::new(0), displaced: AtomicU64::new(0) }
    }
}

const fn ticks(now: Moment) -> u64 {
    // Far from its end the sum in `Pace::take` cannot overflow.
    let ticks = now.as_nanos().saturating_mul(TICKS);
    if ticks > u64::MAX / 2 { u64::MAX / 2 } else { ticks }
}

#[cfg(test)]
mod tests;
