//! The trunk: one request, one straight line. Each step takes what the step before made.
//!
//! look -> route -> pick -> lease -> exchange -> settle -> reply. `Routed`, `Picked`, `Leased` and
//! `Answered` can only be made by their own step, so steps cannot be left out or swapped.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use weir_core::balance::{self, Pick, Tried};
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
use crate::env::Env;
use crate::http1::framing::Framing;
use crate::http1::head::{Known, RequestHead};

/// A request that has found its route.
pub(crate) struct Routed<'w> {
    pub(crate) cluster: &'w Cluster,
    pub(crate) timeout: Duration,
}

/// An attempt that has found its endpoint.
pub(crate) struct Picked<'w> {
    pub(crate) pick: Pick<'w>,
    pub(crate) cluster: &'w Cluster,
    pub(crate) timeout: Duration,
}

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

/// Attempts at most: one, and one more where the first cannot have been seen.
const ATTEMPTS: u8 = 2;

/// Takes one request from its head to the end of its answer.
pub(crate) async fn forward<E: Env>(
    worker: &Worker<E>,
    world: &Rc<World>,
    index: usize,
    client: &mut Client<E::Stream>,
    heads: &mut Heads,
) -> Fate {
    let listener = &*world.snapshot.listeners[index];
    let mut story = Story::begin(Instant::now());
    let trusted = !listener.config.trusted_proxies.is_empty() && listener.config.trusts(client.peer.address.ip());
    story.id = request_id(worker, listener, &heads.request, trusted);
    let mut upload = upload(listener, &heads.request);
    let (outcome, flight) = match route(world, listener, heads, &mut upload, &mut story) {
        Ok(routed) => {
            let flight = LaneFlight::begin(&listener.targets[story.route.unwrap_or_default()].1, worker.index);
            let tried = attempt_until_settled(worker, listener, &routed, client, heads, &mut upload, &mut story, trusted);
            (tried.await, flight)
        }
        Err(reason) => (Err(reason), LaneFlight::begin(&listener.unrouted, worker.index)),
    };
    let fate = match outcome {
        Ok(answered) => reply::finish(worker, listener, client, heads, answered, &mut upload, &mut story).await,
        Err(reason) => reply::refuse(worker, listener, client, &heads.request, reason, &upload, &mut story).await,
    };
    story.body_in = upload.passed;
    flight.settle(&story);
    reply::tell(worker, world, listener, client, &heads.request, &story);
    fate
}

/// Step 5: the first route that matches.
fn route<'w>(
    world: &'w World,
    listener: &'w Listener,
    heads: &Heads,
    upload: &mut Relay,
    story: &mut Story,
) -> Result<Routed<'w>, Reason> {
    let request = &heads.request;
    let view = RequestView {
        method: request.method(),
        host: request.host(),
        path: request.path(),
        headers: &request.fields,
    };
    let index = listener.routes.find(&view).ok_or(Reason::NoRoute)?;
    story.route = Some(index);
    let route = &listener.config.routes[index];
    if let Some(most) = route.body_bytes {
        upload.allow(most);
    }
    if let Framing::Length(length) = request.framing
        && !upload.allows(length)
    {
        return Err(Reason::BodyTooLarge);
    }
    let cluster = &world.snapshot.clusters[listener.targets[index].0];
    Ok(Routed { cluster, timeout: route.timeout })
}

#[expect(clippy::too_many_arguments, reason = "the trunk's own state, each with one owner")]
async fn attempt_until_settled<'w, E: Env>(
    worker: &Worker<E>,
    listener: &Listener,
    routed: &Routed<'w>,
    client: &mut Client<E::Stream>,
    heads: &mut Heads,
    upload: &mut Relay,
    story: &mut Story,
    trusted: bool,
) -> Result<Answered<'w, E::Stream>, Reason> {
    let mut tried = Tried::default();
    let mut fresh = false;
    let mut failed = None;
    loop {
        // With nobody else to ask, what the first attempt ended in is the answer.
        let picked = pick(worker, routed, &tried).map_err(|refusal| failed.unwrap_or(refusal))?;
        story.attempts += 1;
        story.endpoint = Some(picked.pick.member.address());
        let attempt = match exchange::lease(worker, &picked, fresh).await {
            Ok(leased) => exchange::exchange(worker, listener, leased, client, heads, upload, story, trusted).await,
            Err(failure) => Err(failure),
        };
        let failure = match attempt {
            Ok(answered) => return Ok(answered),
            Err(failure) => failure,
        };
        if failure.reason.meaning().side != Side::Downstream {
            picked.pick.member.load.of(worker.index).failures[failure.reason.index()].add(1);
        }
        match verdict(&heads.request, upload, failure, story.attempts) {
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
    let pick = balance::pick(routed.cluster, tried, &mut cursors, &mut dice).map_err(|refusal| refusal.reason)?;
    Ok(Picked { pick, cluster: routed.cluster, timeout: routed.timeout })
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

fn upload(listener: &Listener, request: &RequestHead) -> Relay {
    let outgoing = if request.framing == Framing::Chunked { Outgoing::Chunked } else { Outgoing::Plain };
    Relay::new(request.framing, outgoing, listener.config.limits.body_bytes)
}

fn request_id<E: Env>(
    worker: &Worker<E>,
    listener: &Listener,
    request: &RequestHead,
    trusted: bool,
) -> Option<RequestId> {
    if !listener.config.headers.request_id {
        return None;
    }
    let given = trusted.then(|| request.fields.all(Known::XRequestId).next().and_then(RequestId::given)).flatten();
    Some(given.unwrap_or_else(|| RequestId::roll(&mut worker.dice.borrow_mut())))
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
