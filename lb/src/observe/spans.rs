//! What became of spans, in numbers.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::metrics::table::{self, Metric};

/// Why spans were thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// As many waited as may.
    QueueFull,
    /// No receiver took them, however often it was tried.
    Unreachable,
    /// The receiver did not want them.
    Rejected,
    /// A reload has taken the receiver away.
    Off,
    /// The process ended before they got through.
    Shutdown,
}

impl Dropped {
    /// As in metrics, in the order of the enum.
    pub(crate) const NAMES: [&'static str; 5] = ["queue_full", "unreachable", "rejected", "off", "shutdown"];
}

/// Why an export failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Its name could not be looked up.
    Resolve,
    /// No connection.
    Connect,
    /// No TLS.
    Tls,
    /// No answer in time.
    Timeout,
    /// The connection broke.
    Broken,
    /// An answer that was no success.
    Status,
    /// A success, but not of all.
    Partial,
}

impl Failure {
    /// As in metrics, in the order of the enum.
    pub(crate) const NAMES: [&'static str; 7] =
        ["resolve", "connect", "tls", "timeout", "broken", "status", "partial_success"];
}

/// Counts of the export; written by workers when they hand over, and by the thread that sends.
#[derive(Debug, Default)]
pub(crate) struct SpanCounts {
    /// Spans that wait.
    pub(crate) waiting: AtomicU64,
    exported: AtomicU64,
    dropped: [AtomicU64; Dropped::NAMES.len()],
    failures: [AtomicU64; Failure::NAMES.len()],
}

impl SpanCounts {
    pub(crate) fn exported(&self, spans: usize) {
        self.exported.fetch_add(spans as u64, Relaxed);
    }

    pub(crate) fn lost(&self, why: Dropped, spans: usize) {
        self.dropped[why as usize].fetch_add(spans as u64, Relaxed);
    }

    pub(crate) fn failed(&self, why: Failure) {
        self.failures[why as usize].fetch_add(1, Relaxed);
    }

    /// Every counter, with what it is in the table of metrics, and its labels.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (Metric, &[&'static str], &AtomicU64)> {
        let by = |metric: Metric, names: &'static [&'static str], counts| {
            names.chunks(1).zip(counts).map(move |(labels, count)| (metric, labels, count))
        };
        let none: &[&'static str] = &[];
        let dropped = by(table::SPANS_DROPPED, &Dropped::NAMES, self.dropped.iter());
        let failures = by(table::EXPORT_FAILURES, &Failure::NAMES, self.failures.iter());
        std::iter::once((table::SPANS_EXPORTED, none, &self.exported)).chain(dropped).chain(failures)
    }

    /// Spans a receiver has.
    pub(crate) fn sent(&self) -> u64 {
        self.exported.load(Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn dropped(&self, why: Dropped) -> u64 {
        self.dropped[why as usize].load(Relaxed)
    }

    /// Spans thrown away, by why.
    pub(crate) fn all_dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Dropped::NAMES.into_iter().zip(self.dropped.iter().map(|count| count.load(Relaxed)))
    }

    /// Exports that failed, by why.
    pub(crate) fn all_failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Failure::NAMES.into_iter().zip(self.failures.iter().map(|count| count.load(Relaxed)))
    }
}
