//! What is known of one endpoint, kept by identity: it outlives configurations.

use std::sync::Arc;

use weir_config::model::{HealthCheck, Weight, ZoneName};

use super::judge::Traffic;
use super::schedule::Plan;
use super::{Cause, Evidence, Transition};
use crate::attempt::Class;
use crate::endpoint::{EndpointKey, Status};
use crate::health::outlier::State;
use crate::health::{Opinion, ProbeOutcome, ProbeResult, Verdict, verdict};
use crate::live::EndpointLive;
use crate::load::{EndpointLoad, Shards};
use crate::time::Moment;

/// One endpoint. Written by control alone; of `load`, workers write the counts.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) key: Arc<EndpointKey>,
    pub(super) load: Arc<Shards<EndpointLoad>>,
    pub(super) live: Arc<EndpointLive>,
    pub(super) zone: Option<ZoneName>,
    /// The name it was found by.
    pub(super) host: Option<Arc<str>>,
    pub(super) weight: Weight,
    pub(super) priority: u8,
    /// Whether its source no longer tells it, and has not forgotten it yet.
    pub(super) gone: bool,
    pub(super) status: Status,
    /// As of the latest probe, or of what it is out for.
    pub(super) reachable: bool,
    /// An operator wants it out of service.
    pub(super) drained: bool,
    pub(super) since: Moment,
    /// Of the status.
    pub(super) evidence: Evidence,
    pub(super) checks: Vec<Check>,
    /// What the checks come to.
    pub(super) verdict: Verdict,
    /// What its traffic says.
    pub(super) traffic: Traffic,
    /// It was out, or is new to others that serve: it ramps up once it is healthy.
    pub(super) cold: bool,
    /// Since when it ramps up, if it does.
    pub(super) ramp: Option<Moment>,
    /// How much of its weight it gets, of 1 000.
    pub(super) permille: u16,
    /// When something is next to be done about it by itself; the same stands in `Judging`.
    pub(super) wake: Option<Moment>,
    /// Where it stands in the configuration; `None` if it left it.
    pub(super) place: Option<Place>,
    /// The configuration it was last seen in.
    pub(super) round: u64,
    /// When it left.
    pub(super) left: Moment,
    /// Epochs given to its checks so far.
    epochs: u32,
}

/// Indices of the cluster, and of the member in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) cluster: usize,
    pub(super) member: usize,
}

/// One check of one endpoint.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) definition: Arc<HealthCheck>,
    pub(super) epoch: u32,
    pub(super) opinion: Opinion,
    pub(super) plan: Plan,
    /// The latest answer, inconclusive ones included.
    pub(super) last: Option<(Moment, ProbeOutcome)>,
    /// Whether its first round is over: something conclusive was heard, or it was given up.
    pub(super) spoken: bool,
    /// Inconclusive outcomes in a row.
    pub(super) blanks: u8,
}

impl Known {
    pub(super) fn new(
        key: Arc<EndpointKey>,
        workers: usize,
        live: Arc<EndpointLive>,
        checks: &[Arc<HealthCheck>],
        now: Moment,
    ) -> Self {
        let (status, verdict, evidence) = if checks.is_empty() {
            (Status::Healthy, Verdict::Healthy, Evidence::NoChecks)
        } else {
            (Status::Unknown, Verdict::Unknown, Evidence::Added)
        };
        let mut known = Self {
            key,
            load: Arc::new(Shards::new(workers)),
            live,
            zone: None,
            host: None,
            weight: Weight::ONE,
            priority: 0,
            gone: false,
            status,
            reachable: true,
            since: now,
            evidence,
            checks: Vec::new(),
            verdict,
            traffic: Traffic::new(now),
            drained: false,
            cold: false,
            ramp: None,
            permille: 1000,
            wake: None,
            place: None,
            round: 0,
            left: now,
            epochs: 0,
        };
        known.adopt_checks(checks);
        known
    }

    /// Takes over new definitions of its checks. What was heard stays with a definition, wherever
    /// in the list it is now. A check that was replaced passes its verdict on, until the new
    /// definition meets its own thresholds. A check that is merely added must not put a healthy
    /// endpoint out of service before it has spoken.
    ///
    /// Plans stay with checks that stay in their place, and due times with all; the caller has
    /// taken them out of the schedule, and plans what is idle afterwards.
    pub(super) fn adopt_checks(&mut self, wanted: &[Arc<HealthCheck>]) {
        let mut old: Vec<Option<Check>> = std::mem::take(&mut self.checks).into_iter().map(Some).collect();
        let mut new: Vec<Option<Check>> = Vec::with_capacity(wanted.len());
        for (at, definition) in wanted.iter().enumerate() {
            new.push(old.get_mut(at).and_then(|slot| slot.take_if(|check| check.definition == *definition)));
        }
        for (check, definition) in new.iter_mut().zip(wanted).filter(|(check, _)| check.is_none()) {
            let moved = old.iter_mut().find_map(|slot| slot.take_if(|check| check.definition == *definition));
            *check = moved.map(|check| check.at_another_place(self.next_epoch()));
        }
        for (check, definition) in new.iter_mut().zip(wanted).filter(|(check, _)| check.is_none()) {
            let replaced = old.iter_mut().find_map(Option::take);
            *check = Some(match replaced {
                Some(check) => check.defined_anew(Arc::clone(definition), self.next_epoch()),
                None => Check::new(Arc::clone(definition), self.next_epoch(), self.verdict),
            });
        }
        self.checks = new.into_iter().flatten().collect();
    }

    pub(super) fn next_epoch(&mut self) -> u32 {
        self.epochs = self.epochs.wrapping_add(1);
        self.epochs
    }

    /// Whether anything is known to answer there, as far as that was seen.
    pub(super) fn is_reachable(&self) -> bool {
        let refuses = |check: &Check| {
            check.last.is_some_and(
                |(_, outcome)| matches!(outcome.result, ProbeResult::Failed(failure) if failure.layer() == "l4"),
            )
        };
        let out_for_want_of_it = || match &self.traffic.ejection.as_ref()?.cause {
            Cause::Charge(charge) => Some(charge.counts.get(Class::Connect) >= charge.failures),
            Cause::Trial { outcome, .. } => Some(outcome.class() == Class::Connect),
            Cause::Remembered(_) => None,
        };
        match self.status {
            Status::Unhealthy => !self.checks.iter().any(refuses),
            Status::Ejected => !out_for_want_of_it().unwrap_or(false),
            _ => true,
        }
    }

    /// The one word that everything known comes to: what is wished goes before what probes say, and
    /// that before what traffic says.
    pub(super) const fn status_of(&self) -> Status {
        match (self.verdict, self.traffic.standing.state()) {
            _ if self.drained || self.gone => Status::Draining,
            (Verdict::Unhealthy, _) => Status::Unhealthy,
            (_, State::Ejected { .. }) => Status::Ejected,
            (_, State::Probation { .. }) => Status::Probation,
            (Verdict::Unknown, _) => Status::Unknown,
            (Verdict::Healthy, _) => Status::Healthy,
        }
    }

    /// Brings the status in line with all that is known; if it changed, says so, with `evidence`,
    /// unless what shows is older than that.
    pub(super) fn judge(&mut self, now: Moment, evidence: Evidence) -> Option<Transition> {
        self.verdict = verdict(self.checks.iter().map(|check| check.opinion.verdict()));
        let to = self.status_of();
        if to == self.status {
            return None;
        }
        let from = std::mem::replace(&mut self.status, to);
        self.enter(from, now);
        let evidence = match (to, &self.traffic.ejection) {
            (Status::Ejected, Some(ejection)) => Evidence::Traffic(Arc::clone(ejection)),
            (Status::Probation, Some(ejection)) => Evidence::TimeServed(Arc::clone(ejection)),
            _ => evidence,
        };
        (self.since, self.evidence) = (now, evidence.clone());
        self.reachable = self.is_reachable();
        Some(Transition { key: Arc::clone(&self.key), zone: self.zone.clone(), from, to, evidence })
    }

    /// What a new status brings with it: who comes back begins anew, and slowly.
    fn enter(&mut self, from: Status, now: Moment) {
        match self.status {
            Status::Healthy => {
                if from != Status::Unknown {
                    self.traffic.forget(&self.load, &self.live, now);
                }
                self.ramp = std::mem::take(&mut self.cold).then_some(now);
            }
            Status::Unknown => self.ramp = None,
            Status::Unhealthy | Status::Ejected | Status::Probation | Status::Draining => {
                (self.cold, self.ramp) = (true, None);
            }
        }
    }
}

impl Check {
    fn new(definition: Arc<HealthCheck>, epoch: u32, verdict: Verdict) -> Self {
        let opinion = match verdict {
            Verdict::Unknown | Verdict::Unhealthy => Opinion::OPEN,
            Verdict::Healthy => Opinion::inherited(Verdict::Healthy),
        };
        Self { definition, epoch, opinion, plan: Plan::Idle, last: None, spoken: false, blanks: 0 }
    }

    /// A probe under way would come back to the old place, so it is not waited for.
    fn at_another_place(self, epoch: u32) -> Self {
        let plan = match self.plan {
            Plan::Due(at) => Plan::Due(at),
            Plan::Idle | Plan::Asked { .. } => Plan::Idle,
        };
        Self { epoch, plan, ..self }
    }

    fn defined_anew(self, definition: Arc<HealthCheck>, epoch: u32) -> Self {
        let opinion = Opinion::inherited(self.opinion.verdict());
        Self { definition, opinion, last: None, spoken: false, blanks: 0, ..self.at_another_place(epoch) }
    }
}
