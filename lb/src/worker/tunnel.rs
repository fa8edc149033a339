//! Tunnels: what a connection becomes once an endpoint has agreed to speak something else on it
//! (`Upgrade`, CONNECT). From there on bytes are passed on as they are, in both directions.
//!
//! Until then it is a request like others, on the [trunk](super::forward): routed, limited, tried
//! again. Nothing that a client sends behind its head is passed on before the endpoint agrees, and
//! what it says to a client whose wish is not granted is an answer like others. A tunnel may last
//! for days, so it holds only what it needs: no heads, no buffers, no generation.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Poll, ready};

use tokio::time::Instant;
use weir_config::model::{ClusterName, ListenerName, Route, RouteName};
use weir_core::endpoint::EndpointKey;
use weir_core::limits::Permit;
use weir_core::load::{ClusterLoad, EndpointLoad, LaneLoad, ListenerLoad};
use weir_core::reason::Reason;
use weir_core::release::{Decided, Release};
use weir_core::retry::Denied;
use weir_core::snapshot::Listener;
use weir_core::trace::Context;

use super::client::{Client, Heads};
use super::edits::Facts;
use super::exchange::Answered;
use super::forward::Inbound;
use super::headers::{self, Backward, RequestId};
use super::pool::Upstream;
use super::room::Admitted;
use super::serve::Guard;
use super::story::Story;
use super::tcp::{Both, Patience, Tools, UnderWay};
use super::{Worker, World, release};
use crate::env::{Env, Stream};
use crate::http1::framing::Framing;
use crate::http1::head::{Asked, Known, RequestHead, ResponseHead, Span, Version};
use crate::observe::access::{Line, Request};
use crate::transport::Transport;

/// What whoever asks wants beside an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing.
    #[default]
    Answer,
    /// To speak this protocol: where its name stands in the head.
    Upgrade(Span),
    /// To speak with somebody else.
    Connect,
}

/// The word in `upgrades` that lets CONNECT in.
const CONNECT: &str = "connect";

impl Wish {
    /// What `head` wishes for, as far as `route` grants it. What it does not grant is not asked
    /// for: the request goes on without.
    ///
    /// # Errors
    /// CONNECT is nothing without a tunnel.
    pub(crate) fn of(head: &RequestHead, route: &Route) -> Result<Self, Reason> {
        if head.is_connect() {
            let granted = route.upgrades.iter().any(|word| word == CONNECT);
            return if granted { Ok(Self::Connect) } else { Err(Reason::MethodNotSupported) };
        }
        // An endpoint that changed protocols in the middle of a body would take the rest of it for
        // the new one.
        if !head.upgrade || head.version != Version::Http11 || head.framing != Framing::None {
            return Ok(Self::Answer);
        }
        let fields = &head.fields;
        let named =
            fields.all(Known::Upgrade).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        let granted = named.into_iter().find(|name| is_granted(name, head, route));
        Ok(granted.map_or(Self::Answer, |name| Self::Upgrade(Span::within(&fields.bytes, name))))
    }

    /// How the answer's end is told.
    pub(crate) fn asked(self, head: &RequestHead) -> Asked {
        match self {
            Self::Upgrade(_) => Asked::Upgrade,
            Self::Connect => Asked::Connect,
            Self::Answer if head.is_head() => Asked::Head,
            Self::Answer => Asked::Plain,
        }
    }

    /// The protocol that is asked for by `Upgrade`.
    pub(crate) fn protocol(self, head: &RequestHead) -> Option<&[u8]> {
        if let Self::Upgrade(name) = self { Some(head.fields.text(name)) } else { None }
    }

    /// Whether `response` grants it: a tunnel begins behind its head.
    pub(crate) const fn is_granted(self, response: &ResponseHead) -> bool {
        match self {
            Self::Answer => false,
            Self::Upgrade(_) => response.status == 101,
            Self::Connect => matches!(response.status, 200..=299),
        }
    }

    /// Whether an answer with 101 changes to what was asked for, and to nothing else.
    pub(crate) fn is_answered_by(self, request: &RequestHead, response: &ResponseHead) -> bool {
        let mut names = response.fields.all(Known::Upgrade);
        let same = |name: &[u8]| self.protocol(request).is_some_and(|asked| asked.eq_ignore_ascii_case(name));
        response.status != 101 || (names.next().is_some_and(same) && names.next().is_none())
    }
}

/// Whether a request may change to the protocol `name` on `route`. HTTP/2 is not changed to: its
/// requests would pass by every check of ours.
fn is_granted(name: &[u8], head: &RequestHead, route: &Route) -> bool {
    let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
    let listed = route.upgrades.iter().any(|word| word != CONNECT && is(word));
    listed && !is("h2c") && !is("h2") && (!is("websocket") || head.method() == "GET")
}

/// A tunnel that is open. Reset when dropped, unless all was passed on.
pub(crate) struct Tunnel<S: Stream> {
    upstream: Box<Upstream<Transport<S>>>,
    whole: bool,
    patience: Patience,
    counted: Counted,
    told: Told,
    body_in: u64,
    body_out: u64,
}

/// A tunnel in the counts of whom it concerns.
struct Counted {
    listener: UnderWay<ListenerLoad>,
    lane: UnderWay<LaneLoad>,
    endpoint: UnderWay<EndpointLoad>,
    _cluster: UnderWay<ClusterLoad>,
    /// Of what the cluster and the endpoint may have under way.
    _rooms: [Permit; 2],
}

/// What its access line says, beside what comes of it.
struct Told {
    began: Instant,
    opened: Option<Instant>,
    listener: ListenerName,
    route: Option<RouteName>,
    cluster: ClusterName,
    endpoint: Arc<EndpointKey>,
    release: Option<(Arc<Release>, Decided)>,
    attempts: u16,
    denied: Option<Denied>,
    status: u16,
    id: Option<RequestId>,
    trace: Option<Context>,
    /// The client's address, as a trusted proxy tells it.
    client: Option<IpAddr>,
    /// Method, host and target, one after the other, and where the first two end.
    asked: Box<[u8]>,
    ends: [u32; 2],
}

impl<S: Stream> Drop for Tunnel<S> {
    fn drop(&mut self) {
        if !self.whole {
            self.upstream.wire.io.abort_on_close();
        }
    }
}

/// An endpoint that has agreed.
pub(crate) struct Agreed<S: Stream> {
    upstream: Box<Upstream<Transport<S>>>,
    /// Of what it may have under way.
    room: Permit,
}

/// An endpoint has agreed: its answer is passed on, and the attempt is over.
pub(crate) fn agree<E: Env>(
    worker: &Worker<E>,
    listener: &Listener,
    answered: Answered<'_, E>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Agreed<E::Stream> {
    let Inbound { client, heads, story, wish, .. } = inbound;
    let Heads { request, response } = &mut **heads;
    let leased = answered.into_leased();
    let (mut upstream, flight) = (leased.upstream, leased.flight);
    story.status = response.status;
    story.ended = story.answered;
    let edits = story.route.map(|at| &listener.config.routes[at].response_headers).filter(|edits| !edits.is_empty());
    let facts =
        Facts::of(&client.peer, request, story, leased.cluster.config.name.as_str()).of_tls(client.secure.as_deref());
    let backward = Backward {
        head: response,
        // It has no body, and says nothing of one.
        framing: Framing::UntilClose,
        version: request.version,
        closing: false,
        id: story.id.as_ref(),
        fields: &story.fields,
        upgrade: wish.protocol(request),
        edits: edits.map(|edits| (edits, facts)),
    };
    headers::response(client.wire.outbox.tail(), &backward);
    let take = |count: &mut u64| std::mem::take(count);
    flight.moved(take(&mut upstream.wire.sent), take(&mut upstream.wire.received));
    let load = listener.load.of(worker.index);
    load.bytes_received.add(take(&mut client.wire.received));
    load.tunnelled.add(1);
    Agreed { upstream, room: flight.tunnelled() }
}

/// The request is over, and the tunnel begins.
pub(crate) fn open<E: Env>(
    worker: &Worker<E>,
    world: &World,
    listener: &Listener,
    agreed: Agreed<E::Stream>,
    admitted: Admitted<'_>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Option<Box<Tunnel<E::Stream>>> {
    let Inbound { client, heads, story, .. } = inbound;
    let (request, Agreed { upstream, room }) = (&heads.request, agreed);
    // A route was found, a cluster behind it, and an endpoint of that: it has answered.
    let (_, lane) = story.towards(listener)?;
    let cluster = admitted.routed.cluster;
    let member = cluster.members.get(story.endpoint?)?;
    let timeouts = &listener.config.timeouts;
    let counted = Counted {
        listener: UnderWay::begin(&listener.load, worker.index, |load| &load.tunnels),
        lane: UnderWay::begin(lane, worker.index, |lane| &lane.in_flight),
        endpoint: UnderWay::begin(&member.load, worker.index, |load| &load.in_flight),
        _cluster: UnderWay::begin(&cluster.load, worker.index, |load| &load.in_flight),
        _rooms: [room, admitted.leave(worker, story)],
    };
    let told = Told::of(world, listener, request, cluster.config.name.clone(), Arc::clone(&member.key), story);
    // What each side has sent ahead belongs to the tunnel, the head before it does not.
    let (body_in, head) = (client.wire.inbox.len() as u64, client.wire.outbox.len() as u64);
    let last = timeouts.max_session.map(|most| Instant::now() + most);
    let (patience, body_out) = (Patience { idle: timeouts.tunnel_idle, last }, 0u64.wrapping_sub(head));
    Some(Box::new(Tunnel { upstream, whole: false, patience, counted, told, body_in, body_out }))
}

/// Serves a tunnel to its end in the place of the connection it was, in a task of its own: that of
/// a request has room for all that comes with one.
pub(crate) async fn pass<E: Env>(guard: Guard<E>, client: Client<E::Stream>, tunnel: Box<Tunnel<E::Stream>>) {
    guard.register().await;
    let _busy = guard.busy();
    through(&guard.worker, client, tunnel).await;
}

/// Serves a tunnel to its end; counted by whoever calls.
pub(crate) async fn through<E: Env>(
    worker: &Worker<E>,
    mut client: Client<E::Stream>,
    mut tunnel: Box<Tunnel<E::Stream>>,
) {
    // Until both sides have said their last word, whatever ends it must look like no end.
    client.busy = true;
    let ended = tunnel.run(worker, &mut client).await;
    tunnel.whole = ended.is_ok();
    client.busy = ended.is_err();
    tunnel.settle(worker, &client, ended.err());
}

impl<S: Stream> Tunnel<S> {
    /// Passes on what comes, in both directions, until both are over.
    async fn run<E: Env<Stream = S>>(&mut self, worker: &Worker<E>, client: &mut Client<S>) -> Result<(), Reason> {
        let mut both = Both::new(client.wire.io.splices() && self.upstream.wire.io.splices());
        let tools = Tools { scratch: &worker.scratch, pipes: &worker.pipes };
        let mut half_closed = false;
        self.wait(client, false);
        poll_fn(|context| {
            let over = both.poll(&mut client.wire, &mut self.upstream.wire, tools, context);
            let moved = self.count(client);
            if over.is_ready() {
                return over;
            }
            if worker.is_cutting() {
                return Poll::Ready(Err(Reason::DrainDeadline));
            }
            if client.wire.is_blocked() {
                self.upstream.wire.io.hoard(context);
            }
            if self.upstream.wire.is_blocked() {
                client.wire.io.hoard(context);
            }
            if moved || half_closed != both.is_half_closed() {
                half_closed = both.is_half_closed();
                self.wait(client, half_closed);
            }
            ready!(client.deadline.poll(context));
            Poll::Ready(Err(self.patience.over()))
        })
        .await
    }

    /// From now on the clock runs, and no memory is held for what may never come.
    fn wait(&mut self, client: &mut Client<S>, half_closed: bool) {
        client.deadline.set(self.patience.until(half_closed));
        for wire in [&mut client.wire, &mut self.upstream.wire] {
            wire.inbox.release();
            wire.outbox.release();
        }
    }

    /// Counts what has moved since it was last asked; whether anything has.
    fn count(&mut self, client: &mut Client<S>) -> bool {
        let take = |count: &mut u64| std::mem::take(count);
        let (received, sent) = (take(&mut client.wire.received), take(&mut client.wire.sent));
        let wire = &mut self.upstream.wire;
        let (from, to) = (take(&mut wire.received), take(&mut wire.sent));
        if received + sent + from + to == 0 {
            return false;
        }
        let listener = self.counted.listener.load();
        listener.bytes_received.add(received);
        listener.bytes_sent.add(sent);
        self.counted.endpoint.load().bytes_received.add(from);
        self.counted.endpoint.load().bytes_sent.add(to);
        self.body_in += received;
        self.body_out = self.body_out.wrapping_add(sent);
        true
    }

    /// Counts the tunnel, and writes its line if one is wanted.
    fn settle<E: Env<Stream = S>>(&self, worker: &Worker<E>, client: &Client<S>, reason: Option<Reason>) {
        let class = usize::from(self.told.status / 100).saturating_sub(1);
        if let Some(requests) = self.counted.lane.load().requests.get(class) {
            requests.add(1);
        }
        if let Some(reason) = reason {
            self.counted.listener.load().reasons[reason].add(1);
        }
        self.tell(worker, client, reason);
    }

    fn tell<E: Env<Stream = S>>(&self, worker: &Worker<E>, client: &Client<S>, reason: Option<Reason>) {
        let world = worker.world();
        let Some(log) = &world.snapshot.config.access_log else { return };
        if reason.is_none() && log.sample < 1.0 && worker.dice.borrow_mut().unit() >= log.sample {
            return;
        }
        let told = &self.told;
        let [method, host, target] = told.asked();
        let line = Line {
            wall: worker.env.wall(),
            took: told.began.elapsed(),
            first_byte: told.opened.map(|opened| opened - told.began),
            peer: client.peer.address,
            told: told.client,
            tls: client.tls_line(),
            listener: told.listener.as_str(),
            route: told.route.as_ref().map(RouteName::as_str),
            server_name: None,
            datagrams: None,
            cluster: Some(told.cluster.as_str()),
            endpoint: Some(&told.endpoint.address),
            gray: told.release.as_ref().map(|(release, decided)| release::line(release, *decided)),
            attempts: told.attempts,
            denied: told.denied.map(Denied::as_str),
            request: Some(Request {
                // ASCII, as parsed.
                method: std::str::from_utf8(method).unwrap_or_default(),
                host: std::str::from_utf8(host).unwrap_or_default(),
                target,
                version: if client.wire.io.is_stream() { "HTTP/2.0" } else { "HTTP/1.1" },
                status: told.status,
                grpc: None,
                tunnel: true,
            }),
            reason: reason.map(Reason::as_str),
            id: told.id.as_ref().map(RequestId::as_str),
            trace: told.trace,
            body_in: self.body_in,
            // Less than nothing where not even the head was taken.
            body_out: if self.body_out > i64::MAX as u64 { 0 } else { self.body_out },
        };
        worker.access.borrow_mut().record(log.format, &line);
    }
}

impl Told {
    fn of(
        world: &World,
        listener: &Listener,
        request: &RequestHead,
        cluster: ClusterName,
        endpoint: Arc<EndpointKey>,
        story: &Story,
    ) -> Self {
        let (method, host, target) = (request.method(), request.host(), request.target());
        // A head is bounded far below 4 GiB.
        let ends = [method.len() as u32, (method.len() + host.len()) as u32];
        Self {
            began: story.began,
            opened: story.answered,
            listener: listener.config.name.clone(),
            route: story.route.and_then(|route| listener.config.routes[route].name.clone()),
            cluster,
            endpoint,
            release: story.gray.map(|gray| (Arc::clone(&world.snapshot.releases[gray.release]), gray.decided)),
            attempts: story.attempts,
            denied: story.denied,
            status: story.status,
            id: story.id,
            trace: story.trace.as_ref().map(|trace| trace.context),
            client: story.told,
            asked: [method.as_bytes(), host.as_bytes(), target].concat().into(),
            ends,
        }
    }

    fn asked(&self) -> [&[u8]; 3] {
        let [method, host] = self.ends.map(|end| end as usize);
        [&self.asked[..method], &self.asked[method..host], &self.asked[host..]]
    }
}
