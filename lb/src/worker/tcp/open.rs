//! The way of a session to its endpoint: let in, an endpoint picked, a connection opened; and if
//! none comes about, at another endpoint, for nothing was sent.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use tokio::time::{Instant, timeout};
use weir_config::model::{HashKey, Retry};
use weir_core::attempt::Outcome;
use weir_core::balance::{Refusal, Tried};
use weir_core::control::{self, Event, Whose};
use weir_core::drill::{self, End, Injected};
use weir_core::hash;
use weir_core::limits::Permit;
use weir_core::live::TrialPermit;
use weir_core::load::EndpointLoad;
use weir_core::reason::Reason;
use weir_core::retry::{self, Denied, Nature, Safety};
use weir_core::snapshot::{Cluster, Listener, Member};

use super::super::attempts::{DIAL_MIN, Failure, USUAL_TIMES};
use super::super::choice::{Choice, Chosen};
use super::super::client::Client;
use super::super::flight::{Flight, Held};
use super::super::lease;
use super::super::pool::{Counted, Upstream};
use super::super::room;
use super::super::story::Story;
use super::super::{Worker, World};
use super::{NOTHING, UnderWay};
use crate::env::{Env, Stream};
use crate::tls::Use;
use crate::transport::Transport;

/// A session's connection to its endpoint, and what is taken for as long as it lasts.
pub(super) struct Opened<S: Stream> {
    pub(super) upstream: Box<Upstream<Transport<S>>>,
    /// In the endpoint's counts.
    pub(super) under_way: UnderWay<EndpointLoad>,
    /// Of what the endpoint may have under way.
    pub(super) room: Permit,
}

/// An attempt that has found its endpoint.
struct Picked<'w> {
    member: &'w Member,
    index: usize,
    room: Permit,
    trial: Option<TrialPermit>,
    /// Of the limit of retries, if it is one.
    retry: Option<Permit>,
}

impl<'w> From<Chosen<'w>> for Picked<'w> {
    fn from(Chosen { member, index, room, trial, .. }: Chosen<'w>) -> Self {
        Self { member, index, room, trial, retry: None }
    }
}

/// Nothing has been sent, whatever failed; and once something has, nothing is tried again.
const NATURE: Nature = Nature { repeatable: false, replayable: false };

/// What an operator injected before a session goes anywhere.
pub(super) async fn rehearse<E: Env>(
    worker: &Worker<E>,
    world: &World,
    listener: &Listener,
    route: usize,
    client: &mut Client<E::Stream>,
) -> Result<(), Reason> {
    let drills = &world.snapshot.drills;
    if drills.is_empty() {
        return Ok(());
    }
    let injected =
        drill::at_route(drills, &listener.config.name, route, NOTHING.headers, &mut worker.dice.borrow_mut());
    room::pause(worker, client, injected.delay).await?;
    // There is no answer to abort with: whatever it was to be, the connection is reset.
    injected.end.map_or(Ok(()), |_| Err(Reason::FaultInjected))
}

/// Opens a connection to an endpoint of `cluster`.
pub(super) async fn open<E: Env>(
    worker: &Worker<E>,
    world: &World,
    policy: &Retry,
    cluster: &Cluster,
    client: &mut Client<E::Stream>,
    story: &mut Story,
) -> Result<Opened<E::Stream>, Reason> {
    // All that a session has to be known by, whatever requests to this cluster go by.
    let hash = hash::key_of(&[HashKey::SourceAddress], &NOTHING, None, client.peer.address.ip());
    let mut tries = Tries { world, cluster, policy, hash, tried: Tried::default(), next: None };
    let mut picked = tries.first(worker, client).await?;
    loop {
        let index = picked.index;
        story.attempts += 1;
        story.endpoint = Some(index);
        story.tried = if story.attempts == 1 { story.began } else { Instant::now() };
        match tries.attempt(worker, picked, client, story).await {
            Ok(opened) => return Ok(opened),
            Err(failure) => picked = tries.again(worker, index, failure, client, story).await?,
        }
    }
}

/// The attempts of one session.
struct Tries<'w> {
    world: &'w World,
    cluster: &'w Cluster,
    policy: &'w Retry,
    hash: Option<u64>,
    tried: Tried,
    /// For the attempt that is under way: where it goes if it takes too long.
    next: Option<Picked<'w>>,
}

impl<'w> Tries<'w> {
    /// The first endpoint; waits for one with room if all have as much as they may.
    async fn first<E: Env>(&self, worker: &Worker<E>, client: &mut Client<E::Stream>) -> Result<Picked<'w>, Reason> {
        match self.pick(worker) {
            Err(Refusal { all_busy: true, .. }) => {
                let take = || self.pick(worker).ok();
                let waited = room::wait(worker, self.cluster, &self.cluster.live.room, None, client, take).await;
                waited.map_err(|refused| refused.reason)
            }
            picked => picked.map_err(|refusal| refusal.reason),
        }
    }

    fn pick<E: Env>(&self, worker: &Worker<E>) -> Result<Picked<'w>, Refusal> {
        self.choice(worker).pick(worker, &self.tried).map(Picked::from)
    }

    /// What is gone by at this moment.
    fn choice<E: Env>(&self, worker: &Worker<E>) -> Choice<'w> {
        Choice {
            cluster: self.cluster,
            hash: self.hash.map(|hash| (0, hash)),
            session: None,
            // Should it fail, it goes elsewhere.
            may_try: self.tried.is_empty() && self.policy.attempts.get() > 1,
            reuses: false,
            kept: false,
            now: worker.env.now(),
        }
    }

    /// One connection to one endpoint.
    async fn attempt<E: Env>(
        &mut self,
        worker: &Worker<E>,
        picked: Picked<'w>,
        client: &mut Client<E::Stream>,
        story: &Story,
    ) -> Result<Opened<E::Stream>, Failure> {
        let Picked { member, index, room, trial, retry } = picked;
        let held = Held { room, retry: retry.map(|own| (None, own)), trial };
        let mut flight = Flight::begin(worker, self.cluster, member, held, story);
        match self.dial(worker, member, index, client, story).await {
            Ok(upstream) => {
                let under_way = UnderWay::begin(&member.load, worker.index, |load| &load.in_flight);
                Ok(Opened { upstream, under_way, room: flight.connected(Instant::now()) })
            }
            Err(failure) => {
                flight.failed(failure.outcome, story, client.peer.address.ip());
                Err(failure)
            }
        }
    }

    async fn dial<E: Env>(
        &mut self,
        worker: &Worker<E>,
        member: &Member,
        index: usize,
        client: &mut Client<E::Stream>,
        story: &Story,
    ) -> Result<Box<Upstream<Transport<E::Stream>>>, Failure> {
        let injected = self.injected(worker, member);
        let before = |reason| Failure::new(reason, Safety::NothingSent);
        room::pause(worker, client, injected.delay).await.map_err(before)?;
        match injected.end {
            None => {}
            // As it is when nobody is there to refuse.
            Some(End::Unreachable) => {
                let pause = pin!(std::future::pending::<()>());
                return match self.patiently(worker, index, story, pause).await {
                    Some(()) | None => Err(before(Reason::ConnectTimeout)),
                };
            }
            Some(End::Reset | End::Abort(_)) => return Err(Failure::new(Reason::UpstreamReset, Safety::Sent)),
        }
        let permits = lease::permits(worker, self.cluster, member, None, client).await?;
        let place = lease::place(worker).ok_or(lease::LOCAL_FAILURE)?;
        let connecting = worker.connect(self.cluster, member, client.ends(self.cluster), Use::Bytes, None);
        match self.patiently(worker, index, story, connecting).await {
            Some(Ok(transport)) => {
                let load = Arc::clone(&member.load);
                let opened = Counted::new(load, worker.index, &self.cluster.config, place, permits);
                Ok(Upstream::new(transport, opened))
            }
            Some(Err(unopened)) => Err(before(unopened.reason())),
            None => Err(before(Reason::ConnectTimeout)),
        }
    }

    /// What comes of `connecting` within the time a connection may take; or within what
    /// connections to this cluster usually take, if another endpoint can be asked instead, which
    /// then is picked already.
    async fn patiently<E: Env, T>(
        &mut self,
        worker: &Worker<E>,
        index: usize,
        story: &Story,
        connecting: impl Future<Output = T>,
    ) -> Option<T> {
        let most = self.cluster.config.connect.timeout;
        let mut connecting = pin!(connecting);
        let usual = self.cluster.live.usual().map(|usual| (usual * USUAL_TIMES).max(DIAL_MIN));
        let Some(soon) = usual.filter(|soon| *soon < most) else { return timeout(most, connecting).await.ok() };
        if let Ok(ended) = timeout(soon, &mut connecting).await {
            return Some(ended);
        }
        let failure = Failure::new(Reason::ConnectTimeout, Safety::NothingSent);
        self.next = self.reserve(worker, index, failure, story.attempts).ok();
        if self.next.is_some() { None } else { timeout(most - soon, connecting).await.ok() }
    }

    fn injected<E: Env>(&self, worker: &Worker<E>, member: &Member) -> Injected {
        let drills = &self.world.snapshot.drills;
        if drills.is_empty() {
            return Injected::default();
        }
        drill::at_endpoint(drills, member, Some(NOTHING.headers), &mut worker.dice.borrow_mut())
    }

    /// Whom to try next, after a pause where one is due; or why the session is given up.
    async fn again<E: Env>(
        &mut self,
        worker: &Worker<E>,
        index: usize,
        failure: Failure,
        client: &mut Client<E::Stream>,
        story: &mut Story,
    ) -> Result<Picked<'w>, Reason> {
        let attempts = story.attempts;
        let next = match self.next.take() {
            Some(next) => Ok(next),
            None => self.reserve(worker, index, failure, attempts),
        };
        let load = self.cluster.load.of(worker.index);
        match next {
            Ok(next) => {
                load.retries.add(1);
                if attempts > 1 {
                    let pause = retry::pause(self.policy, attempts, &mut worker.dice.borrow_mut());
                    room::pause(worker, client, pause).await?;
                }
                Ok(next)
            }
            Err(denied) => {
                if denied != Denied::NotListed {
                    load.denied[denied as usize].add(1);
                    story.denied = Some(denied);
                }
                Err(match failure.outcome {
                    Outcome::Failed(reason) => reason,
                    Outcome::Answered(_) | Outcome::Called(_) | Outcome::Connected => Reason::Internal,
                })
            }
        }
    }

    /// Another endpoint, and the right to try it.
    fn reserve<E: Env>(
        &mut self,
        worker: &Worker<E>,
        index: usize,
        failure: Failure,
        attempts: u16,
    ) -> Result<Picked<'w>, Denied> {
        retry::may_repeat(self.policy, NATURE, attempts, failure.outcome, failure.safety)?;
        if !self.tried.contains(index) {
            self.tried.push(index);
        }
        let elsewhere = self.choice(worker).pick_elsewhere(worker, &self.tried, index);
        let chosen = elsewhere.ok_or(Denied::NobodyElse)?;
        let own = self.cluster.live.retries.take().ok_or(Denied::Budget)?;
        Ok(Picked { retry: Some(own), ..chosen.into() })
    }
}

/// Tells what the trial of a half-open breaker came to.
pub(super) fn tell_trial<E: Env>(worker: &Worker<E>, cluster: &Cluster, trial: Option<&TrialPermit>, outcome: Outcome) {
    if let Some(trial) = trial {
        let whose = Whose::Cluster(cluster.id);
        worker.report(Event::Tried(control::Tried { whose, epoch: trial.epoch(), outcome }));
    }
}
