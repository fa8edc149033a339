//! Every metric: name, type, labels, help; and how a scrape comes about.
//!
//! Workers count into shards of their own ([`weir_core::load`]); nothing here is called for a
//! request. A scrape walks the snapshot in force and sums the shards. What control counts lies in
//! [`control::ControlMetrics`]. The registry is a parameter: there is no global one.

mod clusters;
pub mod control;
mod discovery;
mod family;
mod limits;
mod process;
mod releases;
mod snapshot;
mod sockets;
pub mod table;
mod tls;

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::{Registry, TextEncoder};
use weir_core::snapshot::Snapshot;

use super::ProcessCounts;
use control::ControlMetrics;
use process::ProcessCollector;
use sockets::SocketCollector;
use snapshot::SnapshotCollector;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// So many endpoints have series of their own, over all clusters, the small ones first; the rest
/// get one set a zone and cluster: a scrape must stay a scrape. Details of each are in the API.
pub const ENDPOINT_SERIES_MAX: usize = 1000;

/// Everything a scrape shows. Clones show the same.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    snapshot: Arc<SnapshotCollector>,
    process: Arc<ProcessCollector>,
    sockets: Arc<SocketCollector>,
}

impl Metrics {
    /// Shows every metric of [`table::ALL`]; those of control are registered with `registry`.
    ///
    /// # Errors
    /// When the registry already holds one of that name.
    pub fn new(
        registry: Registry,
        truth: Arc<ArcSwap<Snapshot>>,
        control: &ControlMetrics,
        counts: Arc<ProcessCounts>,
    ) -> Result<Self, prometheus::Error> {
        control.register(&registry)?;
        let sockets = Arc::new(SocketCollector::new(Arc::clone(&truth)));
        let snapshot = Arc::new(SnapshotCollector::new(truth, control.transitions_at()));
        Ok(Self { registry, snapshot, process: Arc::new(ProcessCollector::new(counts)), sockets })
    }

    /// The exposition text, format 0.0.4. With a thousand endpoints this takes some milliseconds:
    /// not for a thread that has probes to run.
    ///
    /// # Errors
    /// When a metric cannot be encoded: a mistake of ours.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = TextEncoder::new().encode_to_string(&self.registry.gather())?;
        for family in self.process.collect().into_iter().chain(self.snapshot.collect()).chain(self.sockets.collect()) {
            family.write(&mut text);
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
