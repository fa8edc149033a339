//! The way of a flow to its endpoint: let in, an endpoint picked, a socket connected.
//!
//! As a TCP session's, but nothing waits: a datagram that finds no room is dropped, as it would be
//! by any router, and its client asks again.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use weir_config::model::HashKey;
use weir_core::balance::{self, Ask, Pick, Tried};
use weir_core::drill::{self, End, Injected};
use weir_core::hash;
use weir_core::limits::Permit;
use weir_core::live::TrialPermit;
use weir_core::reason::Reason;
use weir_core::snapshot::{Breaker, Cluster, Listener, Member};

use super::super::tcp::{self, NOTHING, UnderWay};
use super::super::{Worker, World};
use super::Lost;
use super::attempt::Attempt;
use super::session::{Open, Session, Upstream};
use crate::env::{Env, Unconnected};

/// Endpoints tried for one flow at once, where the system says at once that one cannot be reached.
const TRIES: usize = 3;

/// Finds an endpoint for a new flow of `client`, or for one that `lost` its endpoint.
///
/// # Errors
/// Where there is none, who failed so far; all else is counted and told.
pub(super) fn open<E: Env>(
    worker: &Worker<E>,
    world: &World,
    listener: &Arc<Listener>,
    client: SocketAddr,
    lost: Lost,
) -> Result<Open, Lost> {
    // A UDP listener has one route.
    let Some(target) = listener.targets.first() else { return Err(lost) };
    let clusters = &world.snapshot.clusters;
    let release = target.release.map(|at| {
        let release = &world.snapshot.releases[at];
        (Arc::clone(release), tcp::decide(release, clusters, client.ip(), &mut worker.dice.borrow_mut()))
    });
    let version = release.as_ref().map_or(0, |(_, decided)| decided.version);
    let Some((cluster, lane)) = target.to.get(version) else { return Err(lost) };
    let cluster = &clusters[*cluster];
    let mut session = Session::begin(worker.index, listener, lane, &cluster.config, release, client);
    session.attempts = lost.attempts;
    let mut opening = Opening { worker, world, cluster, client, session, lost };
    match opening.link() {
        Ok(linked) => Ok(opening.opened(linked)),
        Err(reason) => {
            opening.session.settle(worker, Some(reason));
            Err(opening.lost)
        }
    }
}

/// A flow on its way to an endpoint.
struct Opening<'w, E: Env> {
    worker: &'w Worker<E>,
    world: &'w World,
    cluster: &'w Cluster,
    client: SocketAddr,
    session: Session,
    lost: Lost,
}

/// What a flow takes for as long as it has its endpoint.
struct Linked {
    attempt: Attempt,
    upstream: Rc<Upstream>,
    counted: UnderWay<weir_core::load::ClusterLoad>,
    rooms: [Permit; 4],
    delay: std::time::Duration,
}

/// An endpoint, and the right to it.
struct Picked<'w> {
    member: &'w Member,
    index: usize,
    room: Permit,
    trial: Option<TrialPermit>,
}

impl<'w, E: Env> Opening<'w, E> {
    fn link(&mut self) -> Result<Linked, Reason> {
        let mut delay = self.rehearsed()?;
        let (room, mut breaker) = self.enter()?;
        let counted = UnderWay::begin(&self.cluster.load, self.worker.index, |load| &load.in_flight);
        counted.load().requests.add(1);
        if self.cluster.available.panic.is_some() {
            counted.load().panicked.add(1);
        }
        let mut tried = self.tried();
        let mut failed = None;
        for _ in 0..TRIES {
            let picked = match self.pick(&tried) {
                Err(_) if failed.is_some() => break,
                picked => picked?,
            };
            let (member, index) = (picked.member, picked.index);
            self.session.attempts += 1;
            self.session.endpoint = Some(Arc::clone(&member.key));
            if self.session.attempts > 1 {
                counted.load().retries.add(1);
            }
            let injected = self.injected(member);
            delay = delay.saturating_add(injected.delay);
            let [own, all] = self.connections(member)?;
            let place = self.worker.budget.for_client().ok_or(Reason::ConnectLocal)?;
            let Picked { room: endpoint, trial, .. } = picked;
            let mut attempt = Attempt::begin(self.worker.index, self.cluster, member, trial, breaker.take());
            if injected.end.is_some() {
                // As it is when nobody is there: what was sent is gone.
                attempt.failed(self.worker, Reason::ConnectTimeout, self.client.ip());
                self.lost_one(member);
                return Err(Reason::ConnectTimeout);
            }
            match self.connect(member) {
                Ok(socket) => {
                    let upstream = Rc::new(Upstream { socket, _place: place });
                    return Ok(Linked { attempt, upstream, counted, rooms: [room, endpoint, own, all], delay });
                }
                Err(reason) => {
                    attempt.failed(self.worker, reason, self.client.ip());
                    if reason == Reason::ConnectLocal {
                        return Err(reason);
                    }
                    self.lost_one(member);
                    tried.push(index);
                    failed = Some(reason);
                }
            }
        }
        Err(failed.unwrap_or(Reason::NoHealthyEndpoint))
    }

    fn opened(self, linked: Linked) -> Open {
        let Linked { attempt, upstream, counted, rooms, delay } = linked;
        let held = (!delay.is_zero()).then(|| (delay, Vec::new()));
        let (session, avoid) = (self.session, self.lost.avoid);
        Open { session, attempt, upstream, avoid, held, task: None, counted, _rooms: rooms }
    }

    /// What an operator injected before a flow goes anywhere: how long it is held back.
    fn rehearsed(&self) -> Result<std::time::Duration, Reason> {
        let drills = &self.world.snapshot.drills;
        if drills.is_empty() {
            return Ok(std::time::Duration::ZERO);
        }
        let name = &self.session.listener.config.name;
        let injected = drill::at_route(drills, name, 0, NOTHING.headers, &mut self.worker.dice.borrow_mut());
        injected.end.map_or(Ok(injected.delay), |_: End| Err(Reason::FaultInjected))
    }

    fn injected(&self, member: &Member) -> Injected {
        let drills = &self.world.snapshot.drills;
        if drills.is_empty() {
            return Injected::default();
        }
        drill::at_endpoint(drills, member, Some(NOTHING.headers), &mut self.worker.dice.borrow_mut())
    }

    /// Past the cluster's breaker and its limit.
    fn enter(&self) -> Result<(Permit, Option<TrialPermit>), Reason> {
        let trial = match &self.cluster.breaker {
            Breaker::Closed => None,
            Breaker::Open { .. } => return Err(Reason::BreakerOpen),
            Breaker::HalfOpen(trial) => Some(trial.take().ok_or(Reason::BreakerOpen)?),
        };
        let budget = &self.cluster.live.requests;
        let room = budget.enter().ok_or_else(|| {
            budget.count_refusal();
            Reason::QueueFull
        })?;
        Ok((room, trial))
    }

    /// Those among the members that failed this flow; nobody, if all have.
    fn tried(&mut self) -> Tried {
        let members = self.cluster.members.iter().enumerate();
        let mut tried = Tried::default();
        if !self.lost.avoid.is_empty() {
            members.filter(|(_, member)| self.lost.avoid.contains(&member.id)).for_each(|(index, _)| tried.push(index));
        }
        if !tried.is_empty() && self.pick(&tried).is_err() {
            self.lost = Lost::default();
            return Tried::default();
        }
        tried
    }

    fn pick(&self, tried: &Tried) -> Result<Picked<'w>, Reason> {
        // All that a flow has to be known by, whatever requests to this cluster go by.
        let hash = hash::key_of(&[HashKey::SourceAddress], &NOTHING, None, self.client.ip());
        let (worker, now) = (self.worker.index, self.worker.env.now());
        // Should it fail, the next datagram goes elsewhere.
        let ask = Ask { tried, hash, sticky: None, may_try: tried.is_empty(), worker, now };
        let (mut cursors, mut dice) = (self.worker.cursors.borrow_mut(), self.worker.dice.borrow_mut());
        loop {
            let picked = balance::pick(self.cluster, &ask, &mut cursors, &mut dice);
            let Pick { member, index, trial, .. } = picked.map_err(|refusal| refusal.reason)?;
            // Another worker may have taken the last room meanwhile; then it is not picked again.
            if let Some(room) = member.live.requests.take() {
                return Ok(Picked { member, index, room, trial });
            }
        }
    }

    /// The right to one more of what the endpoint and its cluster may have open.
    fn connections(&self, member: &Member) -> Result<[Permit; 2], Reason> {
        let live = &self.cluster.live;
        let take = || Some([member.live.connections.take()?, live.connections.take()?]);
        take().ok_or_else(|| {
            live.connections.count_refusal();
            Reason::QueueFull
        })
    }

    fn connect(&self, member: &Member) -> Result<crate::env::DatagramSocket, Reason> {
        // The configuration has no Unix sockets behind UDP.
        let to = member.address().ip().ok_or(Reason::ConnectLocal)?;
        let connected = self.worker.env.connect_datagrams(to, &self.cluster.config.connect);
        connected.map_err(|error| Unconnected::from(&error).reason())
    }

    fn lost_one(&mut self, member: &Member) {
        /// Remembered of one flow; with more the first are asked again.
        const MOST: usize = 16;
        if self.lost.avoid.len() == MOST {
            self.lost.avoid.remove(0);
        }
        self.lost.avoid.push(member.id);
        self.lost.attempts = self.session.attempts;
    }
}
