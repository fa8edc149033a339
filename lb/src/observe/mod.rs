//! What can be seen from outside: the journal of what happened, the metrics of how much, the log
//! lines of both. Observes only; decides nothing.

pub mod access;
pub(crate) mod decision;
pub(crate) mod exemplars;
pub mod journal;
pub mod log;
pub mod metrics;
pub mod runtime;
pub(crate) mod spans;

use std::sync::atomic::AtomicU64;

use exemplars::Exemplars;
use metrics::table::{self, Metric};
use spans::SpanCounts;

/// Counts of the whole process that belong to no listener and no endpoint.
///
/// Written by whoever meets the event, on any thread; read by [`metrics`].
#[derive(Debug, Default)]
pub struct ProcessCounts {
    /// Panics caught; each cost one connection.
    pub panics: AtomicU64,
    /// Lines of the access log thrown away since its writer could not keep up.
    pub access_log_dropped: AtomicU64,
    /// What became of spans.
    pub(crate) spans: SpanCounts,
    /// Traces that stand for what histograms count.
    pub(crate) exemplars: Exemplars,
}

impl ProcessCounts {
    /// Every counter, with what it is in the table of metrics, and its labels.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (Metric, &[&'static str], &AtomicU64)> {
        let none: &[&'static str] = &[];
        let own = [(table::PANICS, none, &self.panics), (table::ACCESS_LOG_DROPPED, none, &self.access_log_dropped)];
        own.into_iter().chain(self.spans.counters())
    }
}
