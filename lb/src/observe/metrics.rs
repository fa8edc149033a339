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
mod openmetrics;
mod process;
mod releases;
mod snapshot;
pub mod table;
mod tls;

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::{Registry, TextEncoder};
use weir_core::snapshot::Snapshot;

use super::ProcessCounts;
use control::ControlMetrics;

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
    counts: Arc<ProcessCounts>,
}

impl Metrics {
    /// Registers every metric of [`table::ALL`] with `registry`.
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
        registry.register(Box::new(snapshot::SnapshotCollector::new(truth, control.transitions_at())?))?;
        registry.register(Box::new(process::ProcessCollector::new(Arc::clone(&counts))?))?;
        Ok(Self { registry, counts })
    }

    /// The exposition text, format 0.0.4. With ten thousand endpoints this takes a good part of a
    /// second: not for a thread that has probes to run.
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
        let families = self.registry.gather();
        match format {
            Format::Text => TextEncoder::new().encode_to_string(&families),
            Format::OpenMetrics => Ok(openmetrics::render(&families, &self.counts.exemplars.read())),
        }
    }
}

#[cfg(test)]
mod tests;
