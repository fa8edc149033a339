//! What a worker keeps of a flow that has an endpoint, and what is counted and told at its end.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;
use weir_config::model;
use weir_core::endpoint::{EndpointId, EndpointKey};
use weir_core::limits::Permit;
use weir_core::load::{ClusterLoad, LaneLoad};
use weir_core::reason::Reason;
use weir_core::release::{Decided, Release};
use weir_core::snapshot::Listener;

use super::super::budget::Place;
use super::super::release;
use super::super::story::Story;
use super::super::tcp::UnderWay;
use super::super::{Worker, World};
use super::Lost;
use super::attempt::Attempt;
use crate::env::{DatagramSocket, Env, Received};
use crate::observe::access::Line;

/// A flow, for counts and the access line.
pub(super) struct Session {
    pub(super) listener: Arc<Listener>,
    pub(super) cluster: Arc<model::Cluster>,
    pub(super) release: Option<(Arc<Release>, Decided)>,
    pub(super) client: SocketAddr,
    pub(super) began: Instant,
    pub(super) attempts: u16,
    /// The endpoint of the last attempt.
    pub(super) endpoint: Option<Arc<EndpointKey>>,
    lane: UnderWay<LaneLoad>,
    answered: Option<Instant>,
    moved: Moved,
}

/// What went either way.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    bytes_in: u64,
    bytes_out: u64,
    datagrams_in: u64,
    datagrams_out: u64,
}

impl Session {
    pub(super) fn begin(
        worker: usize,
        listener: &Arc<Listener>,
        lane: &Arc<weir_core::load::Shards<LaneLoad>>,
        cluster: &Arc<model::Cluster>,
        release: Option<(Arc<Release>, Decided)>,
        client: SocketAddr,
    ) -> Self {
        Self {
            listener: Arc::clone(listener),
            cluster: Arc::clone(cluster),
            release,
            client,
            began: Instant::now(),
            attempts: 0,
            endpoint: None,
            lane: UnderWay::begin(lane, worker, |lane| &lane.in_flight),
            answered: None,
            moved: Moved::default(),
        }
    }

    /// Counts the flow, and writes its line if one is wanted.
    pub(super) fn settle<E: Env>(&self, worker: &Worker<E>, reason: Option<Reason>) {
        let now = Instant::now();
        let mut story = Story::begin(self.began);
        story.answered = self.answered;
        story.reason = reason;
        // No client sees a status of a flow; it is the class it is counted in.
        story.status = reason.map_or(200, |reason| reason.meaning().status);
        let lane = self.lane.load();
        lane.requests[story.class()].add(1);
        lane.duration.observe(now - self.began);
        if let Some(answered) = self.answered {
            lane.first_byte.observe(answered - self.began);
        }
        if let Some((release, decided)) = &self.release {
            release::count(worker.index, release, *decided, &story, now);
        }
        if let Some(reason) = reason {
            self.listener.load.of(worker.index).reasons[reason].add(1);
        }
        self.tell(worker, reason, now);
    }

    fn tell<E: Env>(&self, worker: &Worker<E>, reason: Option<Reason>, now: Instant) {
        let world: Rc<World> = worker.world();
        let Some(log) = &world.snapshot.config.access_log else { return };
        if reason.is_none() && log.sample < 1.0 && worker.dice.borrow_mut().unit() >= log.sample {
            return;
        }
        let line = Line {
            server_name: None,
            tls: None,
            wall: worker.env.wall(),
            took: now - self.began,
            first_byte: self.answered.map(|answered| answered - self.began),
            peer: self.client,
            told: None,
            listener: self.listener.config.name.as_str(),
            route: None,
            cluster: Some(self.cluster.name.as_str()),
            endpoint: self.endpoint.as_ref().map(|key| &key.address),
            gray: self.release.as_ref().map(|(release, decided)| release::line(release, *decided)),
            attempts: self.attempts,
            denied: None,
            request: None,
            datagrams: Some((self.moved.datagrams_in, self.moved.datagrams_out)),
            reason: reason.map(Reason::as_str),
            id: None,
            trace: None,
            body_in: self.moved.bytes_in,
            body_out: self.moved.bytes_out,
        };
        worker.access.borrow_mut().record(log.format, &line);
    }
}

/// A flow's own socket to its endpoint: the way back of its answers, and of errors.
pub(super) struct Upstream {
    pub(super) socket: DatagramSocket,
    pub(super) _place: Place,
}

/// A flow with its endpoint.
pub(super) struct Open {
    pub(super) session: Session,
    pub(super) attempt: Attempt,
    pub(super) upstream: Rc<Upstream>,
    /// Who failed it before.
    pub(super) avoid: Vec<EndpointId>,
    /// A rehearsal: what is held back for so long.
    pub(super) held: Option<(Duration, Vec<Vec<u8>>)>,
    pub(super) task: Option<AbortHandle>,
    pub(super) counted: UnderWay<ClusterLoad>,
    /// Of what the cluster and the endpoint may have under way, and open.
    pub(super) _rooms: [Permit; 4],
}

/// Bytes of a flow that a rehearsed delay holds back; what comes beyond is dropped.
const HELD_MAX: usize = 64 << 10;

impl Open {
    pub(super) const fn endpoint(&self) -> EndpointId {
        self.attempt.id
    }

    pub(super) fn upstream(&self) -> Rc<Upstream> {
        Rc::clone(&self.upstream)
    }

    /// Runs `listen` for as long as the flow has this endpoint.
    pub(super) fn attend(&mut self, listen: impl Future<Output = ()> + 'static) {
        self.task = Some(tokio::task::spawn_local(listen).abort_handle());
    }

    /// So many bytes, in so many datagrams, went to the endpoint.
    pub(super) fn asked(&mut self, bytes: usize, datagrams: u64) {
        self.session.moved.bytes_in += bytes as u64;
        self.session.moved.datagrams_in += datagrams;
        self.attempt.load().bytes_sent.add(bytes as u64);
    }

    /// So many came from it.
    pub(super) fn answered(&mut self, bytes: usize, datagrams: u64) {
        self.session.moved.bytes_out += bytes as u64;
        self.session.moved.datagrams_out += datagrams;
        self.attempt.load().bytes_received.add(bytes as u64);
    }

    /// The endpoint answered, for the first time.
    pub(super) fn succeeded<E: Env>(&mut self, worker: &Worker<E>) {
        self.session.answered = Some(Instant::now());
        self.avoid.clear();
        self.attempt.succeeded(worker);
        if self.session.attempts > 1 {
            self.counted.load().saved.add(1);
        }
    }

    pub(super) fn failed<E: Env>(&mut self, worker: &Worker<E>, reason: Reason) {
        self.attempt.failed(worker, reason, self.session.client.ip());
    }

    /// What its flow has behind it, once this endpoint failed it.
    pub(super) fn lost(&mut self) -> Lost {
        let mut avoid = std::mem::take(&mut self.avoid);
        avoid.push(self.attempt.id);
        let attempts = if self.session.answered.is_some() { 0 } else { self.session.attempts };
        Lost { avoid, attempts }
    }

    pub(super) fn settle<E: Env>(self, worker: &Worker<E>, reason: Option<Reason>) {
        self.session.settle(worker, reason);
    }

    pub(super) fn delay(&self) -> Duration {
        self.held.as_ref().map_or(Duration::ZERO, |(delay, _)| *delay)
    }

    pub(super) const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Holds datagrams back; whether there is room for them.
    pub(super) fn hold(&mut self, heard: &Received<'_>) -> bool {
        let Some((_, held)) = &mut self.held else { return false };
        let bytes: usize = held.iter().map(Vec::len).sum();
        if bytes + heard.bytes.len() > HELD_MAX {
            return false;
        }
        held.extend(heard.each().map(<[u8]>::to_vec));
        true
    }

    /// Sends what was held back. An error is heard again when it is waited for answers.
    pub(super) fn release(&mut self) {
        let Some((_, held)) = self.held.take() else { return };
        for datagram in held {
            if self.upstream.socket.say(&datagram).is_ok() {
                self.asked(datagram.len(), 1);
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
