//! The trunk: one request, one straight line. Each step takes what the step before made.
//!
//! look -> route -> admit -> (pick -> lease -> exchange -> settle) -> reply; what is in brackets is
//! an attempt ([`super::attempts`]). `Routed`, `Admitted`, `Picked`, `Leased` and `Answered` can
//! only be made by their own step, so steps cannot be left out or swapped.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use weir_config::model::{self, Reply, Target};
use weir_core::grpc;
use weir_core::load::{LaneLoad, Shards};
use weir_core::reason::Reason;
use weir_core::route::{Headers as _, RequestView};
use weir_core::snapshot::{Cluster, Listener};
use weir_core::trust::{self, Chain};

use super::answer;
use super::attempts;
use super::client::{Client, Heads};
use super::decision;
use super::gate;
use super::headers::{self, RequestId};
use super::mirror;
use super::relay::{Outgoing, Relay};
use super::release;
use super::reply::{self, Fate};
use super::room;
use super::story::Story;
use super::tunnel::{self, Tunnel, Wish};
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
    /// What it asks for beside an answer, and may have.
    pub(crate) wish: Wish,
}

/// A request that has found its route.
pub(crate) struct Routed<'w> {
    pub(crate) cluster: &'w Cluster,
    /// The route's place in its listener.
    pub(crate) index: usize,
    /// For all its attempts: the route's, or what whoever asks has left if that is less.
    pub(crate) timeout: Duration,
    /// By when whoever makes a gRPC call has told that it must be over, however long it takes to
    /// be sent.
    pub(crate) until: Option<Instant>,
    /// Nobody else can make one.
    _made: Made,
}

/// No call is given more than a day: more is more than clocks are made for.
const CALL_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Copy)]
struct Made;

impl Routed<'_> {
    /// By when it must have its answer, if all of it had been sent by `sent`.
    pub(crate) fn answer_by(&self, sent: Instant) -> Instant {
        let usual = sent + self.timeout;
        self.until.map_or(usual, |until| until.min(usual))
    }
}

/// Why we answer a request ourselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    /// Another status than the reason's; 0 is none at all, a reset.
    pub(crate) status: Option<u16>,
    /// When it may be worth asking again.
    pub(crate) retry_after: Option<Duration>,
}

impl Refused {
    /// Whoever finds a breaker half open with its trials under way, or no room, may ask again
    /// after this long.
    pub(crate) const SOON: Duration = Duration::from_secs(1);

    /// It may be worth asking again after `pause`.
    pub(crate) const fn until(reason: Reason, pause: Duration) -> Self {
        Self { reason, status: None, retry_after: Some(pause) }
    }

    /// By a fault that an operator injected; 0 is a reset.
    pub(crate) const fn injected(status: u16) -> Self {
        Self { reason: Reason::FaultInjected, status: Some(status), retry_after: None }
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        let soon = matches!(reason, Reason::QueueFull | Reason::QueueTimeout);
        Self { reason, status: None, retry_after: soon.then_some(Self::SOON) }
    }
}

/// What comes instead of an endpoint's answer.
enum Instead<'w> {
    Refused(Refused),
    /// What its route answers itself.
    Reply(&'w Reply),
}

impl<R: Into<Refused>> From<R> for Instead<'_> {
    fn from(refused: R) -> Self {
        Self::Refused(refused.into())
    }
}

/// Takes one request from its head to the end of its answer.
pub(crate) async fn forward<E: Env>(
    worker: &Rc<Worker<E>>,
    world: &Rc<World>,
    index: usize,
    client: &mut Client<E::Stream>,
    heads: &mut Heads,
) -> Served<E::Stream> {
    let listener = &*world.snapshot.listeners[index];
    let mut inbound = Inbound::new(worker, listener, client, heads);
    let routed = route(worker, world, listener, &mut inbound);
    let lane = inbound.story.towards(listener).map_or(&listener.unrouted, |(_, lane)| lane);
    let flight = LaneFlight::begin(lane, worker.index);
    let admitted = match routed {
        Ok(routed) => room::admit(worker, world, listener, routed, &mut inbound).await.map_err(Instead::from),
        Err(instead) => Err(instead),
    };
    let fate = match admitted {
        Ok(admitted) => {
            let ended = match attempts::until_settled(worker, world, listener, &admitted, &mut inbound).await {
                Ok(answered) if inbound.wish.is_granted(&inbound.heads.response) => {
                    Err(tunnel::agree(worker, listener, answered, &mut inbound))
                }
                Ok(answered) if inbound.takes_success_for_a_tunnel() && inbound.heads.response.is_success() => {
                    answered.discard(worker, &inbound.heads.response, true);
                    Ok(reply::refuse(worker, listener, Reason::MethodNotSupported.into(), &mut inbound).await)
                }
                Ok(answered) => Ok(reply::finish(worker, listener, answered, &mut inbound).await),
                Err(refused) => Ok(reply::refuse(worker, listener, refused, &mut inbound).await),
            };
            match ended {
                Ok(fate) => {
                    admitted.settle(worker, &inbound.story);
                    fate
                }
                Err(agreed) => {
                    let tunnel = tunnel::open(worker, world, listener, agreed, admitted, &mut inbound);
                    return begin(worker, world, index, inbound, tunnel);
                }
            }
        }
        Err(Instead::Refused(refused)) => reply::refuse(worker, listener, refused, &mut inbound).await,
        Err(Instead::Reply(with)) => answer::give(worker, listener, with, &mut inbound).await,
    };
    mirror::send(worker, world, listener, &inbound);
    let Inbound { mut story, upload, .. } = inbound;
    story.body_in = upload.passed;
    // One look at the clock ends the request and begins the wait for the next.
    client.since = story.ended.unwrap_or_else(Instant::now);
    flight.settle(&story, client.since);
    release::settle(worker, world, &story, client.since);
    reply::tell(worker, world, listener, client, &heads.request, &story);
    decision::end(worker, world, index, client, &heads.request, &mut story);
    Served::Answered(fate)
}

/// What has become of a request.
pub(crate) enum Served<S: Stream> {
    /// It was answered, or cut.
    Answered(Fate),
    /// Its connection is a tunnel, which is still to be [passed](tunnel::pass).
    Tunnel(Box<Tunnel<S>>),
}

/// The request is over where its tunnel begins: what is told of requests alone is told now.
fn begin<E: Env>(
    worker: &Worker<E>,
    world: &World,
    index: usize,
    inbound: Inbound<'_, E::Stream>,
    tunnel: Option<Box<Tunnel<E::Stream>>>,
) -> Served<E::Stream> {
    let Inbound { client, heads, mut story, .. } = inbound;
    release::settle(worker, world, &story, story.ended.unwrap_or_else(Instant::now));
    decision::end(worker, world, index, client, &heads.request, &mut story);
    tunnel.map_or(Served::Answered(Fate::Abort), Served::Tunnel)
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
        story.secure = client.is_secure();
        if trusted {
            believe(config, client.peer.address.ip(), request, &mut story);
        }
        if config.headers.request_id {
            let given = request.fields.all(Known::XRequestId).next().filter(|_| trusted);
            let id = given.and_then(RequestId::given);
            story.id = Some(id.unwrap_or_else(|| RequestId::roll(&mut worker.dice.borrow_mut())));
        }
        story.grpc = request.fields.get("content-type").is_some_and(grpc::is_call);
        decision::begin(worker, listener, &mut story);
        let outgoing = if request.framing == Framing::Chunked { Outgoing::Chunked } else { Outgoing::Plain };
        let upload = Relay::new(request.framing, outgoing, config.limits.body_bytes);
        Self { client, heads, upload, story, trusted, wish: Wish::Answer }
    }

    /// Whether the client takes any answer with 2xx for an open tunnel: it asked by extended CONNECT
    /// (RFC 8441 5), the only way to ask for another protocol over HTTP/2.
    fn takes_success_for_a_tunnel(&self) -> bool {
        self.client.wire.io.is_stream() && self.heads.request.upgrade
    }

    /// Who asks, as trusted proxies tell it.
    pub(crate) fn client_address(&self) -> IpAddr {
        self.story.client(self.client.peer.address.ip())
    }
}

/// Takes in what a trusted proxy says of the client.
fn believe(listener: &model::Listener, peer: IpAddr, request: &RequestHead, story: &mut Story) {
    let chain = match Chain::of(listener) {
        Chain::XForwardedFor => Known::XForwardedFor,
        Chain::Forwarded => Known::Forwarded,
    };
    let client = trust::client(listener, peer, request.fields.all(chain));
    story.told = Some(client).filter(|client| *client != peer);
    let mut told = request.fields.all(Known::XForwardedProto);
    // Two would be two opinions.
    if let (Some(scheme), None) = (told.next(), told.next()) {
        let is = |its: &[u8]| scheme.eq_ignore_ascii_case(its);
        story.secure = is(b"https") || (story.secure && !is(b"http"));
    }
}

/// Step 5: the first route that matches, and the version of the release it may lead to.
fn route<'w, E: Env>(
    worker: &Worker<E>,
    world: &'w World,
    listener: &'w Listener,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<Routed<'w>, Instead<'w>> {
    gate::request(worker, &listener.access, listener.limit.as_deref(), inbound)?;
    let request = &inbound.heads.request;
    let view =
        RequestView { method: request.method(), host: request.host(), path: request.path(), headers: &request.fields };
    let index = listener.routes.find(&view).ok_or(Reason::NoRoute)?;
    inbound.story.route = Some(index);
    let (route, target) = (&listener.config.routes[index], &listener.targets[index]);
    gate::request(worker, &target.access, target.limit.as_deref(), inbound)?;
    if let Target::Reply(with) = &route.target {
        let misleads = matches!(with, Reply::Fixed(fixed) if matches!(fixed.status, 200..=299))
            && inbound.takes_success_for_a_tunnel();
        return Err(if misleads { Reason::MethodNotSupported.into() } else { Instead::Reply(with) });
    }
    inbound.wish = Wish::of(&inbound.heads.request, route)?;
    if inbound.wish == Wish::Answer && inbound.takes_success_for_a_tunnel() {
        return Err(Reason::MethodNotSupported.into());
    }
    if let Some(release) = target.release {
        release::decide(worker, world, release, inbound);
    }
    if let Some(most) = route.body_bytes {
        inbound.upload.allow(most);
    }
    let Some((cluster, _)) = inbound.story.towards(listener) else { return Err(Reason::NoRoute.into()) };
    match inbound.heads.request.framing {
        Framing::Length(length) if !inbound.upload.allows(length) => Err(Reason::BodyTooLarge.into()),
        _ => {
            let cluster = &world.snapshot.clusters[*cluster];
            let told = if inbound.trusted { headers::deadline(&inbound.heads.request.fields) } else { None };
            let timeout = told.map_or(route.timeout, |told| told.min(route.timeout));
            let call = if inbound.story.grpc { headers::grpc_timeout(&inbound.heads.request.fields) } else { None };
            let until = call.map(|told| inbound.story.began + told.min(CALL_MAX));
            Ok(Routed { cluster, index, timeout, until, _made: Made })
        }
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

    fn settle(self, story: &Story, now: Instant) {
        self.0.requests[story.class()].add(1);
        self.0.duration.observe(now - story.began);
        if let Some(answered) = story.answered {
            self.0.first_byte.observe(answered - story.began);
        }
        if let Some(code) = story.code {
            self.0.calls[usize::from(code.get())].add(1);
        }
    }
}

impl Drop for LaneFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.sub(1);
    }
}
