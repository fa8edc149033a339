//! What workers write and everybody may read: counts, per worker, merged by whoever looks.
//!
//! Written by workers, each its own shard; read by workers (picking) and control (metrics).
//! A shard has one writer, so a count is a plain load and store: no lock, no shared cache line,
//! no read-modify-write on the request path.

use std::ops::Index;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::attempt::Class;
use crate::grpc::Code;
use crate::reason::Reason;
use crate::time::Moment;
use crate::tls::{Handshake, Unshaken};

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`. Only the shard's own worker may call this.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes `n` away. Only the shard's own worker may call this.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Replaces the number. Only the shard's own worker may call this.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The number now; it may be a moment old.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One `T` for each worker, each on cache lines of its own; and one for what an earlier process
/// counted, if there was one ([`crate::carry`]).
#[derive(Debug)]
pub struct Shards<T> {
    workers: Box<[Aligned<T>]>,
    carried: OnceLock<Box<T>>,
}

/// 128 bytes: two lines, since x86 fetches lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Aligned<T>(T);

impl<T: Default> Shards<T> {
    /// Shards for `workers` workers, at least one.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers.max(1)).map(|_| Aligned::default()).collect(), carried: OnceLock::new() }
    }

    /// What an earlier process counted. Only control may write it.
    pub fn carried(&self) -> &T {
        self.carried.get_or_init(Box::default)
    }
}

impl<T> Shards<T> {
    /// The shard of worker number `worker` (from 0). Out of range gives the last.
    #[must_use]
    pub fn of(&self, worker: usize) -> &T {
        &self.workers[worker.min(self.workers.len() - 1)].0
    }

    /// All shards, with that of an earlier process.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.workers.iter().map(|shard| &shard.0).chain(self.carried.get().map(Box::as_ref))
    }

    /// The sum of one count over all workers, and what an earlier process counted.
    pub fn sum(&self, count: impl Fn(&T) -> &Count) -> u64 {
        let carried = self.carried.get().map_or(0, |shard| count(shard).get());
        self.now(count).wrapping_add(carried)
    }

    /// The sum of a gauge: of this process alone.
    fn now(&self, gauge: impl Fn(&T) -> &Count) -> u64 {
        // Wrapping: a gauge whose parts are read at different moments may dip below zero.
        self.workers.iter().fold(0u64, |sum, shard| sum.wrapping_add(gauge(&shard.0).get()))
    }
}

/// One count for each [`Reason`].
#[derive(Debug)]
pub struct ByReason([Count; Reason::COUNT]);

impl Default for ByReason {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

impl Index<Reason> for ByReason {
    type Output = Count;

    fn index(&self, reason: Reason) -> &Count {
        &self.0[reason.index()]
    }
}

/// What one worker knows of one endpoint.
#[derive(Debug, Default)]
pub struct EndpointLoad {
    /// Attempts under way (a gauge).
    pub in_flight: Count,
    /// Attempts begun.
    pub requests: Count,
    /// Answers by class: 1xx (final only: none), 2xx, 3xx, 4xx, 5xx at index class - 1.
    pub answers: [Count; 5],
    /// Connections opened.
    pub connects: Count,
    /// Connections open (a gauge), idle ones included.
    pub connections: Count,
    /// Attempts that took an idle connection.
    pub reuses: Count,
    /// Attempts ended, by what they say of the endpoint.
    pub classes: [Count; Class::COUNT],
    /// Times to the head of an answer, recent ones counting more.
    pub latency: PeakEwma,
    /// Attempts that failed without an answer: refused, timed out, reset, malformed, cut.
    pub failures: ByReason,
    /// Bytes sent to it.
    pub bytes_sent: Count,
    /// Bytes received from it.
    pub bytes_received: Count,
}

impl EndpointLoad {
    /// Attempts under way over all workers.
    #[must_use]
    pub fn active(shards: &Shards<Self>) -> u64 {
        gauge(shards.now(|load| &load.in_flight))
    }
}

/// A gauge read while its worker writes can only be off by what happens meanwhile, but a sum that
/// seems negative would win every comparison: clamp it.
const fn gauge(sum: u64) -> u64 {
    if sum > i64::MAX as u64 { 0 } else { sum }
}

/// What one worker knows of one cluster.
#[derive(Debug, Default)]
pub struct ClusterLoad {
    /// Requests that were let in.
    pub requests: Count,
    /// Requests under way (a gauge).
    pub in_flight: Count,
    /// Attempts after the first.
    pub retries: Count,
    /// Requests that a retry saved: their last attempt was not their first, and it was answered.
    pub saved: Count,
    /// Attempts that were not made again, by why: [`crate::retry::Denied`].
    pub denied: [Count; crate::retry::Denied::COUNT],
    /// Requests served while the cluster was in panic.
    pub panicked: Count,
    /// Of attempts that were answered (but 429 and 5xx): from the request's last byte to the
    /// answer's head.
    pub latency: Histogram,
}

impl ClusterLoad {
    /// Requests under way over all workers.
    #[must_use]
    pub fn active(shards: &Shards<Self>) -> u64 {
        gauge(shards.now(|load| &load.in_flight))
    }
}

/// Latency of one endpoint as one worker sees it: jumps up with the slow, comes down with time
/// (peak EWMA: tower, Finagle, Linkerd). One writer.
#[derive(Debug, Default)]
pub struct PeakEwma {
    /// Nanoseconds; 0 is nothing known.
    nanos: Count,
    /// When it was written.
    at: Count,
}

impl PeakEwma {
    /// What is written loses to e^-1 in this time.
    pub const DECAY: Duration = Duration::from_secs(10);

    /// A failure counts as so many times what was known, of at least this, and as at most that:
    /// forgotten within half a minute by an endpoint that is well again.
    const FAILURE: u32 = 10;
    const FAILURE_MIN: Duration = Duration::from_millis(1);
    const FAILURE_MAX: Duration = Duration::from_secs(5);

    /// Takes in one time. Only the shard's own worker may call this.
    pub fn observe(&self, now: Moment, took: Duration) {
        let took = took.as_nanos() as f64;
        let before = self.nanos.get() as f64;
        let after = if took >= before {
            took
        } else {
            let kept = self.kept(now);
            before * kept + took * (1.0 - kept)
        };
        self.nanos.set(after.max(1.0) as u64);
        self.at.set(now.as_nanos());
    }

    /// Takes in a failure that took so long: it counts as ten times what was known, so that who
    /// fails quickly is not taken for quick. Only the shard's own worker may call this.
    pub fn fail(&self, now: Moment, took: Duration) {
        let known = Duration::from_nanos(self.read(now).unwrap_or(0.0) as u64).max(Self::FAILURE_MIN);
        self.observe(now, (known * Self::FAILURE).min(Self::FAILURE_MAX).max(took));
    }

    /// Nanoseconds as of `now`: what was written, less with time. `None`: nothing known.
    #[must_use]
    pub fn read(&self, now: Moment) -> Option<f64> {
        let nanos = self.nanos.get();
        (nanos > 0).then(|| nanos as f64 * self.kept(now))
    }

    fn kept(&self, now: Moment) -> f64 {
        let age = now.since(Moment::from_nanos(self.at.get()));
        (-age.as_secs_f64() / Self::DECAY.as_secs_f64()).exp()
    }
}

/// What one worker knows of one listener.
#[derive(Debug, Default)]
pub struct ListenerLoad {
    /// Connections accepted.
    pub accepted: Count,
    /// Connections open (a gauge).
    pub open: Count,
    /// Connections closed at once because the limit was reached.
    pub rejected: Count,
    /// Bytes received from clients.
    pub bytes_received: Count,
    /// Bytes sent to clients.
    pub bytes_sent: Count,
    /// Datagrams received from clients.
    pub datagrams_received: Count,
    /// Datagrams sent to clients.
    pub datagrams_sent: Count,
    /// Requests that ended in a reason, local answers and aborts; and connections that ended in one
    /// before their first request.
    pub reasons: ByReason,
    /// TLS handshakes under way (a gauge).
    pub shaking: Count,
    /// TLS handshakes that succeeded, by [`Handshake`].
    pub shaken: [Count; Handshake::COUNT],
    /// TLS handshakes that failed, by [`Unshaken`].
    pub unshaken: [Count; Unshaken::COUNT],
    /// Tunnels open (a gauge).
    pub tunnels: Count,
    /// Tunnels opened.
    pub tunnelled: Count,
}

/// What one worker knows of the requests from one listener to one cluster (or to none).
#[derive(Debug, Default)]
pub struct LaneLoad {
    /// Requests under way (a gauge).
    pub in_flight: Count,
    /// Requests finished by the class of the status the client got, at index class - 1; index 5:
    /// aborted before a status.
    pub requests: [Count; 6],
    /// From the request's head to the end of its answer.
    pub duration: Histogram,
    /// From the request's head to the head of the endpoint's answer.
    pub first_byte: Histogram,
    /// gRPC calls finished, by status.
    pub calls: [Count; Code::COUNT],
}

/// A latency histogram with fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Count; Self::BOUNDS.len() + 1],
    sum_nanos: Count,
}

impl Histogram {
    /// Upper bounds in seconds; the last bucket has none.
    pub const BOUNDS: [f64; 15] =
        [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

    /// The same in nanoseconds, so that observing needs no floating point.
    const NANOS: [u64; Self::BOUNDS.len()] = {
        let mut nanos = [0; Self::BOUNDS.len()];
        let mut i = 0;
        while i < nanos.len() {
            nanos[i] = (Self::BOUNDS[i] * 1e9) as u64;
            i += 1;
        }
        nanos
    };

    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        self.buckets[Self::bucket(took)].add(1);
        self.sum_nanos.add(nanos(took));
    }

    /// The bucket of a duration.
    #[must_use]
    pub fn bucket(took: Duration) -> usize {
        let nanos = nanos(took);
        Self::NANOS.partition_point(|&bound| bound < nanos)
    }

    /// Counts by bucket, not cumulative; the last has no upper bound.
    pub fn buckets(&self) -> impl Iterator<Item = u64> + '_ {
        self.buckets.iter().map(Count::get)
    }

    /// Each count by its bucket, and last the sum of all durations, in nanoseconds.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Count> {
        self.buckets.iter().chain(std::iter::once(&self.sum_nanos))
    }

    /// Sum of all durations in nanoseconds.
    #[must_use]
    pub fn sum_nanos(&self) -> u64 {
        self.sum_nanos.get()
    }

    /// Sum of all durations in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_nanos.get() as f64 / 1e9
    }
}

fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

/// A latency histogram fine enough to compare two versions by: eight buckets an octave, so bounds
/// are at most 12.5 % apart, from 8 µs to 67 s.
#[derive(Debug)]
pub struct FineHistogram(Box<[Count]>);

impl FineHistogram {
    /// How many buckets there are.
    pub const BUCKETS: usize = 27 * 8;

    /// The bucket of a duration.
    #[must_use]
    pub fn bucket(took: Duration) -> usize {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(8);
        let octave = micros.ilog2();
        // The three bits after the first.
        let part = (micros >> (octave - 3)) & 7;
        (octave as usize * 8 + part as usize).min(Self::BUCKETS - 1)
    }

    /// The least duration that lies over a bucket; the last one has no bound and says its lower.
    #[must_use]
    pub const fn bound(bucket: usize) -> Duration {
        let at = if bucket + 1 < Self::BUCKETS { bucket + 1 } else { Self::BUCKETS - 1 };
        let (octave, part) = (at / 8, at % 8);
        if octave < 3 { Duration::from_micros(8) } else { Duration::from_micros((8 + part as u64) << (octave - 3)) }
    }

    /// Counts one duration. Only the shard's own worker may call this.
    pub fn observe(&self, took: Duration) {
        self.0[Self::bucket(took)].add(1);
    }

    /// Counts by bucket.
    pub fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        self.parts().map(Count::get)
    }

    /// Each count by its bucket.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Count> {
        self.0.iter()
    }
}

impl Default for FineHistogram {
    fn default() -> Self {
        Self((0..Self::BUCKETS).map(|_| Count::default()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_belongs_below_it() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(500));
        histogram.observe(Duration::from_micros(501));
        histogram.observe(Duration::from_secs(31));
        let buckets: Vec<u64> = histogram.buckets().collect();
        assert_eq!((buckets[0], buckets[1], buckets[15]), (1, 1, 1));
        assert!((histogram.sum_seconds() - 31.001_001).abs() < 1e-9);
    }

    #[test]
    fn fine_buckets_meet() {
        for micros in [8_u64, 9, 15, 16, 17, 100, 1_000, 12_345, 1_000_000, 66_000_000] {
            let took = Duration::from_micros(micros);
            let bucket = FineHistogram::bucket(took);
            assert!(took < FineHistogram::bound(bucket) || bucket == FineHistogram::BUCKETS - 1, "{micros}");
            assert!(took >= FineHistogram::bound(bucket - 1), "{micros}");
            assert_eq!(FineHistogram::bucket(FineHistogram::bound(bucket)), bucket + 1, "{micros}");
        }
        assert_eq!(FineHistogram::bucket(Duration::ZERO), FineHistogram::bucket(Duration::from_micros(8)));
        assert_eq!(FineHistogram::bucket(Duration::MAX), FineHistogram::BUCKETS - 1);
    }

    #[test]
    fn who_fails_quickly_is_not_quick() {
        let (quick, failing) = (PeakEwma::default(), PeakEwma::default());
        let at = |seconds| Moment::from(Duration::from_secs(seconds));
        for ewma in [&quick, &failing] {
            ewma.observe(at(1), Duration::from_millis(20));
        }
        failing.fail(at(1), Duration::from_micros(10));
        assert_eq!(failing.read(at(1)), Some(200e6));
        (0..20).for_each(|_| failing.fail(at(1), Duration::from_micros(10)));
        assert_eq!(failing.read(at(1)), Some(5e9), "not for ever");
        assert!(failing.read(at(80)) < quick.read(at(20)), "well again, it is asked again");
        let unknown = PeakEwma::default();
        unknown.fail(at(1), Duration::from_micros(10));
        assert_eq!(unknown.read(at(1)), Some(10e6));
    }

    #[test]
    fn a_gauge_that_seems_negative_reads_as_idle() {
        let shards: Shards<EndpointLoad> = Shards::new(2);
        shards.of(0).in_flight.sub(1);
        assert_eq!(EndpointLoad::active(&shards), 0);
        shards.of(1).in_flight.add(3);
        assert_eq!(EndpointLoad::active(&shards), 2);
    }
}
