//! What people may see of health: every endpoint with its checks, for the API.

use std::sync::Arc;

use weir_config::model::{self, HealthCheck, Weight, ZoneName};

use super::known::{Check, Known};
use super::schedule::Plan;
use super::{Control, Ejection, Evidence, Limits, ProbeOutcome};
use crate::endpoint::{EndpointId, EndpointKey, Status};
use crate::health::Verdict;
use crate::health::outlier::State;
use crate::live::EndpointLive;
use crate::load::{EndpointLoad, Shards};
use crate::snapshot::Breaker;
use crate::time::Moment;

/// One endpoint of the configuration.
#[derive(Clone, Debug)]
pub struct EndpointView<'c> {
    /// Its number.
    pub id: EndpointId,
    /// Who it is.
    pub key: &'c Arc<EndpointKey>,
    /// Where it stands.
    pub zone: Option<&'c ZoneName>,
    /// Its share.
    pub weight: Weight,
    /// What its health comes to.
    pub status: Status,
    /// Since when.
    pub since: Moment,
    /// Why.
    pub evidence: Evidence,
    /// Its counts.
    pub load: &'c Arc<Shards<EndpointLoad>>,
    /// What workers share of it.
    pub live: &'c Arc<EndpointLive>,
    /// Fail-over order.
    pub priority: u8,
    /// How much of its weight it gets now, of 1 000.
    pub permille: u16,
    /// Since when it ramps up, if it does.
    pub ramping_since: Option<Moment>,
    /// Why it is out by its traffic, and until when; also while its status shows something that
    /// goes before that.
    pub ejection: Option<&'c Arc<Ejection>>,
    /// On probation: good requests in a row so far.
    pub probation: Option<u32>,
    /// In the order of the configuration.
    pub checks: Vec<CheckView<'c>>,
}

/// One check of one endpoint.
#[derive(Clone, Debug)]
pub struct CheckView<'c> {
    /// What is asked.
    pub check: &'c Arc<HealthCheck>,
    /// What it says.
    pub verdict: Verdict,
    /// Consecutive conclusive outcomes against that.
    pub streak: u32,
    /// How many of them change it.
    pub threshold: u32,
    /// The latest outcome, and when it came.
    pub last: Option<(Moment, ProbeOutcome)>,
    /// When it is next asked; `None` while a probe is under way.
    pub next_due: Option<Moment>,
}

/// One cluster of the configuration, as its traffic shows it.
#[derive(Clone, Debug)]
pub struct ClusterView<'c> {
    /// What the operator wrote.
    pub config: &'c Arc<model::Cluster>,
    /// How many of its endpoints are out, and may be; `None` without outlier detection.
    pub limits: Option<Limits>,
    /// Many turned bad at once: until then nobody is taken out.
    pub held_until: Option<Moment>,
    /// Its failure-rate breaker.
    pub breaker: Breaker,
}

impl Control {
    /// Every cluster of the configuration, in its order.
    pub fn clusters(&self) -> impl Iterator<Item = ClusterView<'_>> {
        self.clusters.iter().enumerate().map(|(at, cluster)| ClusterView {
            config: &cluster.config,
            limits: cluster.config.outlier.as_ref().map(|rules| self.limits(at, rules)),
            held_until: cluster.judged.held(self.now),
            breaker: cluster.judged.breaker(),
        })
    }

    /// Every endpoint of the configuration, in its order.
    pub fn endpoints(&self) -> impl Iterator<Item = EndpointView<'_>> {
        let ids = self.clusters.iter().flat_map(|cluster| &cluster.endpoints);
        ids.filter_map(|id| Some(view(*id, self.known.get(id)?)))
    }

    /// One endpoint, if it is in the configuration.
    #[must_use]
    pub fn endpoint(&self, key: &EndpointKey) -> Option<EndpointView<'_>> {
        let id = self.by_key.get(key)?;
        self.known.get(id).filter(|known| known.place.is_some()).map(|known| view(*id, known))
    }
}

fn view(id: EndpointId, known: &Known) -> EndpointView<'_> {
    EndpointView {
        id,
        key: &known.key,
        zone: known.zone.as_ref(),
        weight: known.weight,
        status: known.status,
        since: known.since,
        evidence: known.evidence.clone(),
        load: &known.load,
        live: &known.live,
        priority: known.priority,
        permille: known.permille,
        ramping_since: known.ramp,
        ejection: known.traffic.ejection.as_ref(),
        probation: match known.traffic.standing.state() {
            State::Probation { good, .. } => Some(*good),
            State::In | State::Reduced { .. } | State::Ejected { .. } => None,
        },
        checks: known.checks.iter().map(check_view).collect(),
    }
}

fn check_view(check: &Check) -> CheckView<'_> {
    CheckView {
        check: &check.definition,
        verdict: check.opinion.verdict(),
        streak: check.opinion.streak(),
        threshold: check.opinion.threshold(&check.definition),
        last: check.last,
        next_due: match check.plan {
            Plan::Due(at) => Some(at),
            Plan::Idle | Plan::Asked { .. } => None,
        },
    }
}
