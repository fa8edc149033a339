//! What control counts: reloads, probes, transitions, and how late its thread runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus::{Gauge, IntCounterVec, IntGauge, Opts, Registry};
use weir_config::model::{CheckKind, Config};
use weir_core::breaker::Change;
use weir_core::carry::Row;
use weir_core::control::{BreakerNotice, Notice, ReleaseView, SourceKey, SourceView, TrafficNotice};
use weir_core::discovery::FailureKind;
use weir_core::endpoint::{EndpointKey, Status};
use weir_core::health::outlier::{Spare, What};
use weir_core::health::{ProbeOutcome, ProbeResult};
use weir_core::load::{Histogram, Shards};

use super::discovery::DiscoveryMetrics;
use super::family::{Family, FamilyText};
use super::releases::CanaryMetrics;
use super::table::{self, Metric};

/// When each endpoint's state last changed, as Unix time in seconds. Written by control, read by
/// a scrape; a lock is good enough for a few writes a second.
pub(super) type TransitionTimes = Arc<Mutex<BTreeMap<Arc<EndpointKey>, f64>>>;

/// How long probes took, by cluster. Written by control, read by a scrape.
type CheckDurations = Arc<Mutex<BTreeMap<String, Shards<Histogram>>>>;

/// How a reload ended, for the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// A new configuration is in force.
    Applied,
    /// It says the same as the one in force.
    Unchanged,
    /// It was refused.
    Rejected,
}

impl Reload {
    const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Rejected];

    /// The label, and the word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Rejected => "rejected",
        }
    }
}

/// Written by control alone. Clones count into the same metrics.
#[derive(Clone)]
pub struct ControlMetrics {
    ready: IntGauge,
    config_ok: IntGauge,
    config_time: Gauge,
    reloads: IntCounterVec,
    lag: Gauge,
    admin_refused: IntCounterVec,
    checks: IntCounterVec,
    check_durations: CheckDurations,
    transitions: IntCounterVec,
    transitions_at: TransitionTimes,
    ejections: IntCounterVec,
    spared: IntCounterVec,
    breakers: IntCounterVec,
    discovery: DiscoveryMetrics,
    canaries: CanaryMetrics,
}

/// Rules by which endpoints are taken out, as [`weir_core::control::Cause`] names them.
const RULES: [&str; 5] =
    ["consecutive_5xx", "consecutive_gateway", "consecutive_local_origin", "failure_percentage", "probation"];
const BREAKER_STATES: [&str; 3] = ["closed", "open", "half_open"];

impl ControlMetrics {
    /// New metrics, all 0, registered nowhere yet.
    ///
    /// # Errors
    /// Never with the table as it is; the crate cannot know.
    pub fn new() -> Result<Self, prometheus::Error> {
        let this = Self {
            ready: IntGauge::with_opts(opts(&table::READY))?,
            config_ok: IntGauge::with_opts(opts(&table::CONFIG_OK))?,
            config_time: Gauge::with_opts(opts(&table::CONFIG_TIME))?,
            reloads: IntCounterVec::new(opts(&table::CONFIG_RELOADS), table::CONFIG_RELOADS.labels)?,
            lag: Gauge::with_opts(opts(&table::LAG))?,
            admin_refused: IntCounterVec::new(opts(&table::ADMIN_REFUSED), table::ADMIN_REFUSED.labels)?,
            checks: IntCounterVec::new(opts(&table::CHECKS), table::CHECKS.labels)?,
            check_durations: CheckDurations::default(),
            transitions: IntCounterVec::new(opts(&table::TRANSITIONS), table::TRANSITIONS.labels)?,
            transitions_at: TransitionTimes::default(),
            ejections: IntCounterVec::new(opts(&table::EJECTIONS), table::EJECTIONS.labels)?,
            spared: IntCounterVec::new(opts(&table::SPARED), table::SPARED.labels)?,
            breakers: IntCounterVec::new(opts(&table::BREAKER_CHANGES), table::BREAKER_CHANGES.labels)?,
            discovery: DiscoveryMetrics::new()?,
            canaries: CanaryMetrics::new()?,
        };
        for result in Reload::ALL {
            this.reloads.with_label_values(&[result.as_str()]);
        }
        for why in ["no_credential", "wrong_token", "read_only", "host", "origin", "tls"] {
            this.admin_refused.with_label_values(&[why]);
        }
        Ok(this)
    }

    pub(crate) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.ready.clone()))?;
        registry.register(Box::new(self.config_ok.clone()))?;
        registry.register(Box::new(self.config_time.clone()))?;
        registry.register(Box::new(self.reloads.clone()))?;
        registry.register(Box::new(self.lag.clone()))?;
        registry.register(Box::new(self.admin_refused.clone()))?;
        registry.register(Box::new(self.checks.clone()))?;
        registry.register(Box::new(self.transitions.clone()))?;
        registry.register(Box::new(self.ejections.clone()))?;
        registry.register(Box::new(self.spared.clone()))?;
        registry.register(Box::new(self.breakers.clone()))?;
        self.canaries.register(registry)?;
        self.discovery.register(registry)
    }

    pub(super) fn transitions_at(&self) -> TransitionTimes {
        Arc::clone(&self.transitions_at)
    }

    /// Says whether the process is ready.
    pub fn set_ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }

    /// Counts one attempt to load the configuration, ended at `wall`.
    pub fn reloaded(&self, result: Reload, wall: SystemTime) {
        self.reloads.with_label_values(&[result.as_str()]).inc();
        self.config_ok.set((result != Reload::Rejected).into());
        if result != Reload::Rejected {
            self.config_time.set(unix_seconds(wall));
        }
    }

    /// Shows how late the control thread ran.
    pub fn set_lag(&self, lag: Duration) {
        self.lag.set(lag.as_secs_f64());
    }

    /// How late the control thread ran, as last shown.
    #[must_use]
    pub fn lag(&self) -> Duration {
        Duration::try_from_secs_f64(self.lag.get()).unwrap_or_default()
    }

    /// Counts a request that the admin API refused.
    pub fn refused_admin(&self, why: &'static str) {
        self.admin_refused.with_label_values(&[why]).inc();
    }

    /// Every series of `next`'s clusters exists from now on; those of clusters only `previous`
    /// had are gone.
    pub fn adopt(&self, previous: Option<&Config>, next: &Config) {
        for cluster in &next.clusters {
            for check in &cluster.health_checks {
                for result in ["passed", "failed", "inconclusive"] {
                    self.checks.with_label_values(&[cluster.name.as_str(), kind(&check.kind), result]);
                }
                self.durations_of(cluster.name.as_str(), |_| {});
            }
            let name = cluster.name.as_str();
            for (counter, values) in self.by_cluster() {
                for value in values {
                    counter.with_label_values(&[name, value]);
                }
            }
        }
        let gone = previous.into_iter().flat_map(|config| &config.clusters);
        for cluster in gone.filter(|old| !next.clusters.iter().any(|new| new.name == old.name)) {
            let name = cluster.name.as_str();
            // A series that was never made is as good as removed.
            for result in ["passed", "failed", "inconclusive"] {
                for kind in ["http", "tcp"] {
                    let _ = self.checks.remove_label_values(&[name, kind, result]);
                }
            }
            self.check_durations.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
            for (counter, values) in self.by_cluster() {
                for value in values {
                    let _ = counter.remove_label_values(&[name, value]);
                }
            }
        }
        self.discovery.adopt(previous, next);
        let mut times = self.transitions_at.lock().unwrap_or_else(PoisonError::into_inner);
        times.retain(|key, _| next.clusters.iter().any(|cluster| cluster.name == key.cluster));
    }

    /// Counters by cluster and one more label, with all values of that.
    fn by_cluster(&self) -> [(&IntCounterVec, Vec<&'static str>); 4] {
        [
            (&self.transitions, Status::ALL.map(Status::as_str).to_vec()),
            (&self.ejections, RULES.to_vec()),
            (&self.spared, Spare::ALL.map(Spare::as_str).to_vec()),
            (&self.breakers, BREAKER_STATES.to_vec()),
        ]
    }

    /// Every counter, with what it is in the table.
    pub(super) fn counters(&self) -> [(Metric, &IntCounterVec); 8] {
        [
            (table::CONFIG_RELOADS, &self.reloads),
            (table::ADMIN_REFUSED, &self.admin_refused),
            (table::CHECKS, &self.checks),
            (table::TRANSITIONS, &self.transitions),
            (table::EJECTIONS, &self.ejections),
            (table::SPARED, &self.spared),
            (table::BREAKER_CHANGES, &self.breakers),
            (table::DISCOVERY_ANSWERS, self.discovery.answers()),
        ]
    }

    fn durations_of(&self, cluster: &str, look: impl FnOnce(&Shards<Histogram>)) {
        let mut all = self.check_durations.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(cluster) {
            Some(durations) => look(durations),
            None => look(all.entry(cluster.to_owned()).or_insert_with(|| Shards::new(1))),
        }
    }

    /// How long probes took, as totals by cluster.
    pub(super) fn durations(&self) -> Vec<(String, Row)> {
        let all = self.check_durations.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(cluster, durations)| (cluster.clone(), Row::of(durations))).collect()
    }

    /// Goes on from what `told` says of a cluster.
    pub(super) fn carry_durations<'t>(&self, told: impl Fn(&str) -> Option<&'t Row>) {
        for (cluster, durations) in &*self.check_durations.lock().unwrap_or_else(PoisonError::into_inner) {
            told(cluster).into_iter().for_each(|row| row.lift(durations.carried()));
        }
    }

    pub(super) fn collect_durations(&self) -> FamilyText {
        let mut family = Family::new(&table::CHECK_DURATION);
        for (cluster, durations) in &*self.check_durations.lock().unwrap_or_else(PoisonError::into_inner) {
            family.histogram(&[cluster], durations.iter());
        }
        family.finish()
    }

    /// Counts one endpoint of `cluster` taken out by `rule`.
    pub fn ejected(&self, cluster: &str, rule: &str) {
        self.ejections.with_label_values(&[cluster, rule]).inc();
    }

    /// Counts an answer of a source of endpoints, which came at `wall`.
    pub fn answered(&self, key: &SourceKey, failure: Option<FailureKind>, wall: SystemTime) {
        self.discovery.answered(key, failure, wall);
    }

    /// Shows where a source of endpoints stands.
    pub fn stands(&self, view: &SourceView<'_>) {
        self.discovery.stands(view);
    }

    /// Shows what is judged of canaries, and where their rollouts stand.
    pub fn canaries<'c>(&self, releases: impl Iterator<Item = ReleaseView<'c>>) {
        self.canaries.show(releases);
    }

    /// Counts what is told beside changes of state.
    pub fn noticed(&self, notice: &Notice) {
        match notice {
            Notice::Traffic(TrafficNotice::Charged { key, what: What::Spare(why), .. }) => {
                self.spared.with_label_values(&[key.cluster.as_str(), why.as_str()]).inc();
            }
            Notice::Breaker(BreakerNotice { cluster, change }) => {
                let to = match change {
                    Change::Opened { .. } => "open",
                    Change::HalfOpened { .. } => "half_open",
                    Change::Closed { .. } | Change::Removed => "closed",
                };
                self.breakers.with_label_values(&[cluster.as_str(), to]).inc();
            }
            _ => {}
        }
    }

    /// Counts one probe of `cluster`.
    pub fn probed(&self, cluster: &str, check: &CheckKind, outcome: &ProbeOutcome) {
        let result = match outcome.result {
            ProbeResult::Passed => "passed",
            ProbeResult::Failed(_) => "failed",
            ProbeResult::Inconclusive(_) => "inconclusive",
        };
        self.checks.with_label_values(&[cluster, kind(check), result]).inc();
        if result != "inconclusive" {
            self.durations_of(cluster, |durations| durations.of(0).observe(outcome.took));
        }
    }

    /// Counts one change of state, at `wall`.
    pub fn transition(&self, key: &Arc<EndpointKey>, to: Status, wall: SystemTime) {
        self.transitions.with_label_values(&[key.cluster.as_str(), to.as_str()]).inc();
        let mut times = self.transitions_at.lock().unwrap_or_else(PoisonError::into_inner);
        times.insert(Arc::clone(key), unix_seconds(wall));
    }
}

pub(super) fn opts(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

const fn kind(check: &CheckKind) -> &'static str {
    match check {
        CheckKind::Tcp(_) => "tcp",
        CheckKind::Grpc(_) => "grpc",
        CheckKind::Udp(_) => "udp",
        CheckKind::Http(_) => "http",
    }
}

pub(super) fn unix_seconds(wall: SystemTime) -> f64 {
    wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
