//! Every metric: name, type, labels, help; and how a scrape comes about.
//!
//! Workers count into shards of their own ([`weir_core::load`]); nothing here is called for a
//! request. A scrape walks the snapshot in force and sums the shards. What control counts lies in
//! [`control::ControlMetrics`]. The registry is a parameter: there is no global one.

mod carry;
mod clusters;
pub mod control;
mod discovery;
mod family;
mod limits;
mod openmetrics;
mod process;
mod releases;
mod snapshot;
mod sockets;
pub mod table;
mod tls;

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::Registry;
use weir_core::snapshot::Snapshot;

use super::ProcessCounts;
use control::ControlMetrics;
use family::{Exemplars, FamilyText};
use process::ProcessCollector;
use snapshot::SnapshotCollector;
use sockets::SocketCollector;

/// How a scrape is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text, 0.0.4.
    Text,
    /// OpenMetrics 1.0, which has exemplars.
    OpenMetrics,
}

impl Format {
    /// OpenMetrics for whoever says that it takes it, as Prometheus does.
    #[must_use]
    pub fn wanted(accept: Option<&str>) -> Self {
        let takes = |kind: &str| {
            let mut parts = kind.split(';').map(str::trim);
            parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"))
                && !parts.any(|part| part.replace(' ', "").trim_end_matches(['0', '.']) == "q=")
        };
        if accept.is_some_and(|accept| accept.split(',').any(takes)) { Self::OpenMetrics } else { Self::Text }
    }

    /// Its `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus::TEXT_FORMAT,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

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
    counts: Arc<ProcessCounts>,
    control: ControlMetrics,
    ledger: Arc<carry::Ledger>,
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
        let process = Arc::new(ProcessCollector::new(Arc::clone(&counts)));
        let (control, ledger) = (control.clone(), Arc::default());
        Ok(Self { registry, snapshot, process, sockets, counts, control, ledger })
    }

    /// The exposition text, format 0.0.4. With a thousand endpoints this takes some milliseconds:
    /// not for a thread that has probes to run.
    ///
    /// # Errors
    /// When a metric cannot be encoded: a mistake of ours.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        self.render_as(Format::Text)
    }

    /// The same in a format of choice.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_as(&self, format: Format) -> Result<String, prometheus::Error> {
        // Only one of the formats has a place for them.
        let exemplars = match format {
            Format::Text => Exemplars::new(),
            Format::OpenMetrics => self.counts.exemplars.read(),
        };
        let control = self.registry.gather();
        let mut families = control.iter().map(FamilyText::of).collect::<Result<Vec<_>, _>>()?;
        families.push(self.control.collect_durations());
        families.extend(self.process.collect());
        families.extend(self.snapshot.collect(&exemplars));
        families.extend(self.sockets.collect());
        let mut text = String::new();
        match format {
            Format::Text => families.iter().for_each(|family| family.write(&mut text)),
            Format::OpenMetrics => openmetrics::render(&families, &mut text),
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
