//! One attempt in the counts: begun, answered, and settled once, whatever ends it.
//!
//! What an attempt says of its endpoint ([`Class`]) is counted when it is over, be it because the
//! answer was passed on, broke off, never came, or because the client went. Only then a success
//! ends a row of failures.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;
use weir_core::attempt::{Class, Outcome};
use weir_core::control::{Event, Tried, Whose};
use weir_core::grpc::Code;
use weir_core::limits::Permit;
use weir_core::live::{Sample, TrialPermit};
use weir_core::load::EndpointLoad;
use weir_core::reason::{Reason, Side};
use weir_core::retry::RetryPermit;
use weir_core::snapshot::{Cluster, Member};

use super::Worker;
use super::story::Story;
use crate::env::Env;

/// An attempt under way.
pub(crate) struct Flight<'w, E: Env> {
    worker: &'w Worker<E>,
    cluster: &'w Cluster,
    member: &'w Member,
    began: Instant,
    outcome: Option<Outcome>,
    /// From the request's last byte to the head of the answer.
    took: Option<Duration>,
    /// Tells its request from others.
    tag: u64,
    held: Held,
}

/// What an attempt takes of limits; given back when it is over.
#[expect(dead_code, reason = "held, and given back by being dropped")]
pub(crate) struct Held {
    /// Of what the endpoint may have under way.
    pub(crate) room: Permit,
    /// Of the retry budget, and of the limit of retries.
    pub(crate) retry: Option<(Option<RetryPermit>, Permit)>,
    /// The endpoint is on probation.
    pub(crate) trial: Option<TrialPermit>,
}

impl<'w, E: Env> Flight<'w, E> {
    pub(crate) fn begin(
        worker: &'w Worker<E>,
        cluster: &'w Cluster,
        member: &'w Member,
        held: Held,
        story: &Story,
    ) -> Self {
        let load = member.load.of(worker.index);
        load.requests.add(1);
        load.in_flight.add(1);
        let tag = worker.env.at(story.began).as_nanos();
        Self { worker, cluster, member, began: story.tried, outcome: None, took: None, tag, held }
    }

    pub(crate) fn load(&self) -> &'w EndpointLoad {
        self.member.load.of(self.worker.index)
    }

    /// The head of an answer is here; `asked`: since when nothing more was to be sent.
    pub(crate) fn answered(&mut self, outcome: Outcome, asked: Instant, now: Instant, story: &Story, client: IpAddr) {
        // A call's answer is 200 whatever became of it.
        let status = if let Outcome::Answered(status) = outcome { status } else { 200 };
        if let Some(answers) = self.load().answers.get(usize::from(status / 100).wrapping_sub(1)) {
            answers.add(1);
        }
        self.took = Some(now.saturating_duration_since(asked));
        self.outcome = Some(outcome);
        self.sample(outcome, now, story, client);
    }

    /// A gRPC call is over, and this is what became of it.
    pub(crate) fn called(&mut self, code: Code, story: &Story, client: IpAddr) {
        self.outcome = Some(Outcome::Called(code));
        self.sample(Outcome::Called(code), Instant::now(), story, client);
    }

    /// The connection is a tunnel from here on: this attempt is over. What the endpoint may have
    /// under way stays taken.
    pub(crate) fn tunnelled(mut self) -> Permit {
        std::mem::replace(&mut self.held.room, Permit::UNLIMITED)
    }

    /// A connection came about for a stream of bytes, of which nothing more is to be said: this
    /// attempt is over. What the endpoint may have under way stays taken.
    pub(crate) fn connected(mut self, now: Instant) -> Permit {
        self.took = Some(now.saturating_duration_since(self.began));
        self.outcome = Some(Outcome::Connected);
        std::mem::replace(&mut self.held.room, Permit::UNLIMITED)
    }

    /// No answer came, or not to its end; or one that an operator made up ([`Outcome::Answered`]).
    pub(crate) fn failed(&mut self, outcome: Outcome, story: &Story, client: IpAddr) {
        if let Outcome::Failed(reason) = outcome
            && (reason.meaning().side == Side::Upstream || reason == Reason::ConnectLocal)
        {
            self.load().failures[reason].add(1);
        }
        self.outcome = Some(outcome);
        self.sample(outcome, Instant::now(), story, client);
    }

    /// What went over the wire.
    pub(crate) fn moved(&self, sent: u64, received: u64) {
        self.load().bytes_sent.add(sent);
        self.load().bytes_received.add(received);
    }

    /// Keeps a failure as evidence.
    fn sample(&self, outcome: Outcome, now: Instant, story: &Story, client: IpAddr) {
        if !outcome.class().is_failure() {
            return;
        }
        let mut request = [0; 36];
        if let Some(id) = &story.id {
            let id = id.as_bytes();
            let len = id.len().min(request.len());
            request[..len].copy_from_slice(&id[..len]);
        }
        let took = now.saturating_duration_since(self.began);
        self.member.live.samples.keep(Sample { at: self.worker.env.at(now), outcome, took, request, client });
    }

    /// Tells a row of failures that is long enough.
    fn suspect(&self, class: Class) {
        let Some(row) = self.member.live.streak.note(class, self.tag) else { return };
        if self.cluster.config.outlier.as_ref().is_some_and(|outlier| row.reaches(&outlier.consecutive)) {
            self.worker.report(Event::Suspected(self.member.id));
        }
    }
}

impl<E: Env> Drop for Flight<'_, E> {
    fn drop(&mut self) {
        let load = self.load();
        load.in_flight.sub(1);
        let class = self.outcome.map_or(Class::Ours, Outcome::class);
        load.classes[class.index()].add(1);
        if let (Class::Success | Class::ClientError, Some(took)) = (class, self.took) {
            self.cluster.load.of(self.worker.index).latency.observe(took);
            load.latency.observe(self.worker.env.at(self.began) + took, took);
        } else if class.is_failure() {
            let now = Instant::now();
            load.latency.fail(self.worker.env.at(now), now.saturating_duration_since(self.began));
        }
        self.suspect(class);
        if let (Some(trial), Some(outcome)) = (&self.held.trial, self.outcome) {
            let whose = Whose::Endpoint(self.member.id);
            self.worker.report(Event::Tried(Tried { whose, epoch: trial.epoch(), outcome }));
        }
    }
}

/// A request under way, in its cluster's counts.
pub(crate) struct ClusterFlight<'w>(&'w weir_core::load::ClusterLoad);

impl<'w> ClusterFlight<'w> {
    pub(crate) fn begin(cluster: &'w Cluster, worker: usize) -> Self {
        let load = cluster.load.of(worker);
        load.requests.add(1);
        load.in_flight.add(1);
        if cluster.available.panic.is_some() {
            load.panicked.add(1);
        }
        Self(load)
    }
}

impl ClusterFlight<'_> {
    /// It is over; `saved`: by another attempt than the first.
    pub(crate) fn settle(self, saved: bool) {
        if saved {
            self.0.saved.add(1);
        }
    }
}

impl Drop for ClusterFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.sub(1);
    }
}
