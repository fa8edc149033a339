//! What names and files tell, counted where answers come in.

use std::collections::BTreeSet;
use std::time::SystemTime;

use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGaugeVec, Registry};
use weir_config::model::Config;
use weir_core::control::{SourceKey, SourceView};
use weir_core::discovery::{FailureKind, State};

use super::control::{opts, unix_seconds};
use super::table;

const STATES: [State; 4] = [State::Pending, State::Resolved, State::Stale, State::Unresolved];
/// The result of an answer that failed in no way.
const TOLD: &str = "told";

/// Written by control alone. Clones count into the same metrics.
#[derive(Clone)]
pub(super) struct DiscoveryMetrics {
    state: IntGaugeVec,
    endpoints: IntGaugeVec,
    answers: IntCounterVec,
    told_at: GaugeVec,
}

impl DiscoveryMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            state: IntGaugeVec::new(opts(&table::DISCOVERY_STATE), table::DISCOVERY_STATE.labels)?,
            endpoints: IntGaugeVec::new(opts(&table::DISCOVERY_ENDPOINTS), table::DISCOVERY_ENDPOINTS.labels)?,
            answers: IntCounterVec::new(opts(&table::DISCOVERY_ANSWERS), table::DISCOVERY_ANSWERS.labels)?,
            told_at: GaugeVec::new(opts(&table::DISCOVERY_TIME), table::DISCOVERY_TIME.labels)?,
        })
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.state.clone()))?;
        registry.register(Box::new(self.endpoints.clone()))?;
        registry.register(Box::new(self.answers.clone()))?;
        registry.register(Box::new(self.told_at.clone()))
    }

    /// Every series of `next`'s sources exists from now on, but the time of an answer that never
    /// came; those of sources only `previous` had are gone.
    pub(super) fn adopt(&self, previous: Option<&Config>, next: &Config) {
        let sources = |config: &Config| -> BTreeSet<[String; 2]> {
            let names = config.clusters.iter().flat_map(|cluster| {
                cluster.sources.iter().map(|source| [cluster.name.to_string(), source.kind.to_string()])
            });
            names.collect()
        };
        let (before, now) = (previous.map(sources).unwrap_or_default(), sources(next));
        for [cluster, source] in now.difference(&before) {
            self.show(cluster, source, State::Pending, 0);
            results().for_each(|result| _ = self.answers.with_label_values(&[&**cluster, source, result]));
        }
        for [cluster, source] in before.difference(&now) {
            let labels = [&**cluster, &**source];
            // A series that was never made is as good as removed.
            STATES.iter().for_each(|state| _ = self.state.remove_label_values(&[cluster, source, state.as_str()]));
            results().for_each(|result| _ = self.answers.remove_label_values(&[cluster, source, result]));
            let _ = self.endpoints.remove_label_values(&labels);
            let _ = self.told_at.remove_label_values(&labels);
        }
    }

    pub(super) const fn answers(&self) -> &IntCounterVec {
        &self.answers
    }

    /// Counts an answer of a source.
    pub(super) fn answered(&self, key: &SourceKey, failure: Option<FailureKind>, wall: SystemTime) {
        let (cluster, source) = (key.cluster.as_str(), key.kind.to_string());
        let result = failure.map_or(TOLD, FailureKind::as_str);
        self.answers.with_label_values(&[cluster, &source, result]).inc();
        if failure.is_none() {
            let told_at: Gauge = self.told_at.with_label_values(&[cluster, &*source]);
            told_at.set(unix_seconds(wall));
        }
    }

    /// Shows where a source stands.
    pub(super) fn stands(&self, view: &SourceView<'_>) {
        let endpoints = i64::try_from(view.discovery.endpoints().count()).unwrap_or(i64::MAX);
        self.show(view.key.cluster.as_str(), &view.key.kind.to_string(), view.state(), endpoints);
    }

    fn show(&self, cluster: &str, source: &str, state: State, endpoints: i64) {
        for one in STATES {
            self.state.with_label_values(&[cluster, source, one.as_str()]).set((one == state).into());
        }
        self.endpoints.with_label_values(&[cluster, source]).set(endpoints);
    }
}

fn results() -> impl Iterator<Item = &'static str> {
    std::iter::once(TOLD).chain(FailureKind::ALL.into_iter().map(FailureKind::as_str))
}
