//! The trunk: one request, one straight line. Each step takes what the step before made.
//!
//! look -> route -> pick -> lease -> exchange -> settle -> reply. `Routed`, `Picked`, `Leased` and
//! `Answered` can only be made by their own step, so steps cannot be left out or swapped.

use std::time::Duration;

use tokio::time::Instant;
use weir_core::balance::{self, Ask, Pick, Tried};
use weir_core::load::{LaneLoad, Shards};
use weir_core::reason::{Reason, Side};
use weir_core::route::RequestView;
use weir_core::snapshot::{Cluster, Listener};

use super::client::{Client, Heads};
use super::exchange::{self, Answered};
use super::headers::RequestId;
use super::relay::{Outgoing, Relay};
use super::reply::{self, Fate};
use super::story::Story;
use super::{Worker, World};
use crate::env::{Env, Stream};
use crate::http1::framing::Framing;
use crate::http1::head::{Known, RequestHead};

/// A request as it came in, and its story so far.
pub(crate) struct Inbound<'r, S: Stream> {
    pub(crate) client: &'r mut Client<S>,
    pub(crate) heads: &'r mut Heads,
    /// Its body, on the way to an endpoint.
    pub(crate) upload: Relay,
    pub(crate) story: Story,
    /// Whether what its peer says about those before it is believed.
    pub(crate) trusted: bool,
}

/// A request that has found its route.
pub(crate) struct Routed<'w> {
    cluster: &'w Cluster,
    timeout: Duration,
}

/// An attempt that has found its endpoint.
pub(crate) struct Picked<'w> {
    pub(crate) pick: Pick<'w>,
    pub(crate) cluster: &'w Cluster,
    pub(crate) timeout: Duration,
    /// Nobody else can make one.
    _made: Made,
}

#[derive(Clone, Copy)]
struct Made;

/// Why an attempt gave no answer, and what the endpoint can have seen of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    pub(crate) safety: Safety,
}

/// What the endpoint can have seen of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Safety {
    /// Nothing: there was no connection.
    NothingSent,
    /// Perhaps the head, on a connection that had idled and that the endpoint closed.
    StaleConnection,
    /// Perhaps everything.
    Sent,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Another attempt, at another endpoint.
    Elsewhere,
    /// Another attempt on a new connection; the endpoint itself did nothing wrong.
    Afresh,
    GiveUp,
}

/// Attempts at most: one, and two more where those before cannot have been seen.
const ATTEMPTS: u8 = 3;

/// Takes one request from its head to the end of its answer.
pub(crate) async fn forward<E: Env>(
    worker: &Worker<E>,
    world: &World,
    index: usize,
    client: &mut Client<E::Stream>,
    heads: &mut Heads,
) -> Fate {
    let listener = &*world.snapshot.listeners[index];
    let mut inbound = Inbound::new(worker, listener, client, heads);
    let routed = route(world, listener, &mut inbound);
    let lane = inbound.story.route.map_or(&listener.unrouted, |route| &listener.targets[route].1);
    let flight = LaneFlight::begin(lane, worker.index);
    let outcome = match routed {
        Ok(routed) => attempt_until_settled(worker, listener, routed, &mut inbound).await,
        Err(reason) => Err(reason),
    };
    let fate = match outcome {
        Ok(answered) => reply::finish(worker, listener, answered, &mut inbound).await,
        Err(reason) => reply::refuse(worker, listener, reason, &mut inbound).await,
    };
    let Inbound { mut story, upload, .. } = inbound;
    story.body_in = upload.passed;
    flight.settle(&story);
    reply::tell(worker, world, listener, client, &heads.request, &story);
    fate
}

impl<'r, S: Stream> Inbound<'r, S> {
    fn new<E: Env<Stream = S>>(
        worker: &Worker<E>,
        listener: &Listener,
        client: &'r mut Client<S>,
        heads: &'r mut Heads,
    ) -> Self {
        let Listener { config, .. } = listener;
        let request = &heads.request;
        let trusted = !config.trusted_proxies.is_empty() && config.trusts(client.peer.address.ip());
        let mut story = Story::begin(Instant::now());
        if config.headers.request_id {
            let given = request.fields.all(Known::XRequestId).next().filter(|_| trusted);
            let id = given.and_then(RequestId::given);
            story.id = Some(id.unwrap_or_else(|| RequestId::roll(&mut worker.dice.borrow_mut())));
        }
        let outgoing = if request.framing == Framing::Chunked { Outgoing::Chunked } else { Outgoing::Plain };
        let upload = Relay::new(request.framing, outgoing, config.limits.body_bytes);
        Self { client, heads, upload, story, trusted }
    }
}

/// Step 5: the first route that matches.
fn route<'w, S: Stream>(
    world: &'w World,
    listener: &Listener,
    inbound: &mut Inbound<'_, S>,
) -> Result<Routed<'w>, Reason> {
    let request = &inbound.heads.request;
    let view =
        RequestView { method: request.method(), host: request.host(), path: request.path(), headers: &request.fields };
    let index = listener.routes.find(&view).ok_or(Reason::NoRoute)?;
    inbound.story.route = Some(index);
    let route = &listener.config.routes[index];
    if let Some(most) = route.body_bytes {
        inbound.upload.allow(most);
    }
    match request.framing {
        Framing::Length(length) if !inbound.upload.allows(length) => Err(Reason::BodyTooLarge),
        _ => {
            let cluster = &world.snapshot.clusters[listener.targets[index].0];
            Ok(Routed { cluster, timeout: route.timeout })
        }
    }
}

/// Steps 8 to 11, until there is an answer or none is to be had.
async fn attempt_until_settled<'w, E: Env>(
    worker: &Worker<E>,
    listener: &Listener,
    routed: Routed<'w>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<Answered<'w, E::Stream>, Reason> {
    let mut tried = Tried::default();
    let mut fresh = false;
    let mut failed = None;
    loop {
        // With nobody else to ask, what the attempt before ended in is the answer.
        let picked = pick(worker, &routed, &tried).map_err(|refusal| failed.unwrap_or(refusal))?;
        inbound.story.attempts += 1;
        inbound.story.endpoint = Some(picked.pick.index);
        let attempt = match exchange::lease(worker, &picked, fresh).await {
            Ok(leased) => exchange::exchange(worker, listener, leased, inbound).await,
            Err(failure) => Err(failure),
        };
        let failure = match attempt {
            Ok(answered) => return Ok(answered),
            Err(failure) => failure,
        };
        if failure.reason.meaning().side == Side::Upstream || failure.reason == Reason::ConnectLocal {
            picked.pick.member.load.of(worker.index).failures[failure.reason].add(1);
        }
        match verdict(&inbound.heads.request, &inbound.upload, failure, inbound.story.attempts) {
            Verdict::Elsewhere => tried.push(picked.pick.index),
            Verdict::Afresh => fresh = true,
            Verdict::GiveUp => return Err(failure.reason),
        }
        failed = Some(failure.reason);
    }
}

/// Step 8: the endpoint of this attempt.
fn pick<'w, E: Env>(worker: &Worker<E>, routed: &Routed<'w>, tried: &Tried) -> Result<Picked<'w>, Reason> {
    let (mut cursors, mut dice) = (worker.cursors.borrow_mut(), worker.dice.borrow_mut());
    let ask = Ask { tried, hash: None, sticky: None, may_try: false, worker: worker.index, now: worker.env.now() };
    let pick = balance::pick(routed.cluster, &ask, &mut cursors, &mut dice).map_err(|refusal| refusal.reason)?;
    Ok(Picked { pick, cluster: routed.cluster, timeout: routed.timeout, _made: Made })
}

/// Step 11: may it be tried again? A request is never executed twice by our doing: only where
/// the endpoint cannot have seen it, or where seeing it twice changes nothing.
fn verdict(request: &RequestHead, upload: &Relay, failure: Failure, attempts: u8) -> Verdict {
    match failure.safety {
        _ if attempts >= ATTEMPTS => Verdict::GiveUp,
        Safety::NothingSent => Verdict::Elsewhere,
        Safety::StaleConnection if request.is_idempotent() && !upload.begun => Verdict::Afresh,
        Safety::StaleConnection | Safety::Sent => Verdict::GiveUp,
    }
}

/// A request under way in a lane's counts.
struct LaneFlight<'w>(&'w LaneLoad);

impl<'w> LaneFlight<'w> {
    fn begin(lane: &'w Shards<LaneLoad>, worker: usize) -> Self {
        let lane = lane.of(worker);
        lane.in_flight.add(1);
        Self(lane)
    }

    fn settle(self, story: &Story) {
        self.0.requests[story.class()].add(1);
        self.0.duration.observe(story.began.elapsed());
        if let Some(answered) = story.answered {
            self.0.first_byte.observe(answered - story.began);
        }
    }
}

impl Drop for LaneFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.sub(1);
    }
}
