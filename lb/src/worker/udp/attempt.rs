//! One endpoint in one flow, in the counts: what was asked of it, and what came of it.
//!
//! What a request's attempt is to HTTP, without an end of its own: the first answer is a success,
//! and who refuses later has failed once more.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;
use weir_config::model;
use weir_core::attempt::{Class, Outcome};
use weir_core::control::{Event, Tried, Whose};
use weir_core::endpoint::{ClusterId, EndpointId};
use weir_core::live::{EndpointLive, Sample, TrialPermit};
use weir_core::load::{ClusterLoad, EndpointLoad, Shards};
use weir_core::reason::{Reason, Side};
use weir_core::snapshot::{Cluster, Member};

use super::super::Worker;
use crate::env::Env;

/// An endpoint that a flow goes to.
pub(super) struct Attempt {
    pub(super) id: EndpointId,
    worker: usize,
    load: Arc<Shards<EndpointLoad>>,
    live: Arc<EndpointLive>,
    cluster: ClusterId,
    config: Arc<model::Cluster>,
    cluster_load: Arc<Shards<ClusterLoad>>,
    began: Instant,
    /// What came of it was told at least once.
    told: bool,
    /// The endpoint is on probation.
    trial: Option<TrialPermit>,
    /// The cluster's breaker is half open.
    breaker: Option<TrialPermit>,
}

impl Attempt {
    pub(super) fn begin(
        worker: usize,
        cluster: &Cluster,
        member: &Member,
        trial: Option<TrialPermit>,
        breaker: Option<TrialPermit>,
    ) -> Self {
        let load = member.load.of(worker);
        for count in [&load.requests, &load.in_flight, &load.connects, &load.connections] {
            count.add(1);
        }
        Self {
            id: member.id,
            worker,
            load: Arc::clone(&member.load),
            live: Arc::clone(&member.live),
            cluster: cluster.id,
            config: Arc::clone(&cluster.config),
            cluster_load: Arc::clone(&cluster.load),
            began: Instant::now(),
            told: false,
            trial,
            breaker,
        }
    }

    pub(super) fn load(&self) -> &EndpointLoad {
        self.load.of(self.worker)
    }

    /// It answered, for the first time.
    pub(super) fn succeeded<E: Env>(&mut self, worker: &Worker<E>) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.began);
        self.load().latency.observe(worker.env.at(now), took);
        self.cluster_load.of(self.worker).latency.observe(took);
        self.tell(worker, Outcome::Connected);
    }

    /// It refused, or gave no answer where one was expected.
    pub(super) fn failed<E: Env>(&mut self, worker: &Worker<E>, reason: Reason, client: IpAddr) {
        let (outcome, now) = (Outcome::Failed(reason), Instant::now());
        if self.told {
            // What the flow wanted since it was answered.
            self.load().requests.add(1);
        }
        if reason.meaning().side == Side::Upstream {
            self.load().failures[reason].add(1);
        }
        if outcome.class().is_failure() {
            let (at, took) = (worker.env.at(now), now.saturating_duration_since(self.began));
            self.live.samples.keep(Sample { at, outcome, took, request: [0; 36], client });
            self.load().latency.fail(at, took);
        }
        self.tell(worker, outcome);
    }

    fn tell<E: Env>(&mut self, worker: &Worker<E>, outcome: Outcome) {
        let class = outcome.class();
        self.load().classes[class.index()].add(1);
        self.told = true;
        let tag = worker.env.at(self.began).as_nanos();
        if let Some(row) = self.live.streak.note(class, tag)
            && self.config.outlier.as_ref().is_some_and(|outlier| row.reaches(&outlier.consecutive))
        {
            worker.report(Event::Suspected(self.id));
        }
        let trials =
            [(Whose::Endpoint(self.id), self.trial.take()), (Whose::Cluster(self.cluster), self.breaker.take())];
        for (whose, trial) in trials {
            if let Some(trial) = trial {
                worker.report(Event::Tried(Tried { whose, epoch: trial.epoch(), outcome }));
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let load = self.load.of(self.worker);
        load.in_flight.sub(1);
        load.connections.sub(1);
        if !self.told {
            // Many who are spoken to by datagrams never answer: that says nothing of them.
            load.classes[Class::Ours.index()].add(1);
        }
    }
}
