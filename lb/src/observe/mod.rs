//! What can be seen from outside: the journal of what happened, the metrics of how much, the log
//! lines of both. Observes only; decides nothing.

pub mod access;
pub(crate) mod decision;
pub mod journal;
pub mod log;
pub mod metrics;
pub mod runtime;

use std::sync::atomic::AtomicU64;

/// Counts of the whole process that belong to no listener and no endpoint.
///
/// Written by whoever meets the event, on any thread; read by [`metrics`].
#[derive(Debug, Default)]
pub struct ProcessCounts {
    /// Panics caught; each cost one connection.
    pub panics: AtomicU64,
    /// Lines of the access log thrown away since its writer could not keep up.
    pub access_log_dropped: AtomicU64,
}
