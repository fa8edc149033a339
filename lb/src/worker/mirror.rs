//! Copies of a release's requests, sent to another cluster once the client has its answer.
//!
//! Nobody waits for a copy, nobody gets its answer, and nothing is tried twice: where there is no
//! room for one, it is dropped and counted.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::io::{Empty, Join, Sink, empty, join, sink};
use tokio::time::{Instant, timeout};
use weir_core::attempt::Outcome;
use weir_core::balance::{self, Ask, Tried};
use weir_core::limits::Permit;
use weir_core::reason::Reason;
use weir_core::release::Mirror;
use weir_core::release::load::MirrorLoad;
use weir_core::snapshot::{Breaker, Cluster, Listener};

use super::edits::Facts;
use super::exchange::poll_head;
use super::flight::{ClusterFlight, Flight, Held};
use super::forward::Inbound;
use super::headers::{self, Onward};
use super::lease;
use super::pool::Upstream;
use super::relay::{Outgoing, Relay};
use super::release::Gray;
use super::story::Story;
use super::trace::Traced;
use super::{Worker, World};
use crate::env::Env;
use crate::http1::framing::Framing;
use crate::http1::head::{Asked, ResponseHead};
use crate::http1::parse::HeadEnd;
use crate::http1::wire::Wire;
use crate::transport::Transport;

/// Bytes of an answer's body that are read, so that its connection can be used again.
const BODY_MAX: u64 = 1 << 20;

/// Informational answers before the final one.
const INFORMATIONAL_MAX: usize = 8;

/// A copy on its way.
struct Copy {
    release: usize,
    /// Among the cluster's members.
    member: usize,
    /// Head and body.
    bytes: Vec<u8>,
    to_head: bool,
    client: IpAddr,
    /// What the client got.
    status: u16,
    _under_way: Permit,
    room: Permit,
}

/// Sends a copy of a request that is over, if one is wanted.
pub(crate) fn send<E: Env>(
    worker: &Rc<Worker<E>>,
    world: &Rc<World>,
    listener: &Listener,
    inbound: &Inbound<'_, E::Stream>,
) {
    let Some(Gray { release, mirrored: true, .. }) = inbound.story.gray else { return };
    let Some(mirror) = &world.snapshot.releases[release].mirror else { return };
    match copy(worker, world, listener, inbound, release, mirror) {
        Some(copy) => _ = tokio::task::spawn_local(run(Rc::clone(worker), Rc::clone(world), copy)),
        None => mirror.load.of(worker.index).dropped.add(1),
    }
}

fn copy<E: Env>(
    worker: &Worker<E>,
    world: &World,
    listener: &Listener,
    inbound: &Inbound<'_, E::Stream>,
    release: usize,
    mirror: &Mirror,
) -> Option<Copy> {
    let Inbound { client, heads, upload, story, trusted, .. } = inbound;
    let under_way = mirror.budget.take()?;
    let body = upload.copy()?;
    let cluster = &*world.snapshot.clusters[mirror.cluster];
    if !matches!(cluster.breaker, Breaker::Closed) || worker.is_draining() {
        return None;
    }
    let (member, room) = pick(worker, cluster)?;
    let mut bytes = Vec::new();
    let onward = Onward {
        head: &heads.request,
        policy: &listener.config.headers,
        route: listener.config.routes.get(story.route?)?,
        facts: Facts::of(&client.peer, &heads.request, story, cluster.config.name.as_str())
            .of_tls(client.secure.as_deref()),
        peer: &client.peer,
        certificate: client.certificate(),
        trusted: *trusted,
        endpoint: cluster.members[member].address(),
        id: story.id.as_ref(),
        left: world.snapshot.releases[release].config.mirror.as_ref()?.timeout,
        shadow: true,
        upgrade: None,
        call_left: None,
        trace: story.trace.as_ref().map(Traced::of_request),
    };
    headers::request(&mut bytes, &onward);
    bytes.extend_from_slice(body);
    let to_head = heads.request.is_head();
    let (client, status) = (client.peer.address.ip(), story.status);
    Some(Copy { release, member, bytes, to_head, client, status, _under_way: under_way, room })
}

/// An endpoint that has room, and that room.
fn pick<E: Env>(worker: &Worker<E>, cluster: &Cluster) -> Option<(usize, Permit)> {
    let (mut cursors, mut dice) = (worker.cursors.borrow_mut(), worker.dice.borrow_mut());
    let now = worker.env.now();
    // Trials are for requests that somebody waits for.
    let ask = Ask { tried: &Tried::default(), hash: None, sticky: None, may_try: false, worker: worker.index, now };
    let index = balance::pick(cluster, &ask, &mut cursors, &mut dice).ok()?.index;
    cluster.members[index].live.requests.take().map(|room| (index, room))
}

async fn run<E: Env>(worker: Rc<Worker<E>>, world: Rc<World>, copy: Copy) {
    let release = &world.snapshot.releases[copy.release];
    let (Some(mirror), Some(config)) = (&release.mirror, &release.config.mirror) else { return };
    let cluster = &*world.snapshot.clusters[mirror.cluster];
    let load = mirror.load.of(worker.index);
    let (client, status) = (copy.client, copy.status);
    let _counted = ClusterFlight::begin(cluster, worker.index);
    let story = Story::begin(Instant::now());
    let held = Held { room: copy.room, retry: None, trial: None };
    let mut flight = Flight::begin(&*worker, cluster, &cluster.members[copy.member], held, &story);
    let exchange = exchange(&worker, cluster, copy.member, &copy.bytes, copy.to_head);
    let answered = timeout(config.timeout, exchange).await.unwrap_or(Err(Reason::UpstreamTimeout));
    match answered {
        Ok(answered) => {
            flight.answered(Outcome::Answered(answered), story.began, Instant::now(), &story, client);
            count(load, answered, status);
        }
        Err(reason) => {
            flight.failed(Outcome::Failed(reason), &story, client);
            count(load, 0, status);
        }
    }
}

fn count(load: &MirrorLoad, answered: u16, status: u16) {
    let class = |status: u16| if (100..600).contains(&status) { usize::from(status / 100) - 1 } else { 5 };
    load.copies[class(answered)].add(1);
    load.differed.add(u64::from(class(answered) != class(status)));
}

/// The status of the answer, all of which was read.
async fn exchange<E: Env>(
    worker: &Worker<E>,
    cluster: &Cluster,
    member: usize,
    bytes: &[u8],
    to_head: bool,
) -> Result<u16, Reason> {
    let id = cluster.members[member].id;
    let idle = worker.pool.borrow_mut().take(id, &cluster.config, None, Instant::now());
    if let Some(mut upstream) = idle {
        let answered = ask(worker, &mut upstream, bytes, to_head).await;
        // One that idled and had been closed says nothing of its endpoint.
        if answered.is_ok() || upstream.wire.received > 0 {
            return finish(worker, cluster, member, upstream, answered?).await;
        }
    }
    let mut upstream = dial(worker, cluster, member).await?;
    let response = ask(worker, &mut upstream, bytes, to_head).await?;
    finish(worker, cluster, member, upstream, response).await
}

/// The head of the answer.
async fn ask<E: Env>(
    worker: &Worker<E>,
    upstream: &mut Upstream<Transport<E::Stream>>,
    bytes: &[u8],
    to_head: bool,
) -> Result<ResponseHead, Reason> {
    upstream.wire.received = 0;
    upstream.wire.outbox.tail().extend_from_slice(bytes);
    poll_fn(|context| upstream.wire.poll_flush(context)).await.map_err(|_| Reason::UpstreamReset)?;
    let asked = if to_head { Asked::Head } else { Asked::Plain };
    let mut response = ResponseHead::default();
    for _ in 0..INFORMATIONAL_MAX {
        let mut end = HeadEnd::default();
        poll_fn(|context| poll_head(worker, upstream, &mut end, asked, &mut response, context)).await?;
        if !response.is_informational() {
            return Ok(response);
        }
    }
    Err(Reason::UpstreamProtocol)
}

/// Reads the rest of the answer, and gives the connection back.
async fn finish<E: Env>(
    worker: &Worker<E>,
    cluster: &Cluster,
    member: usize,
    mut upstream: Box<Upstream<Transport<E::Stream>>>,
    response: ResponseHead,
) -> Result<u16, Reason> {
    let mut body = Relay::new(response.framing, Outgoing::Plain, Some(BODY_MAX));
    let mut nowhere = Wire::<Nowhere>::new(join(empty(), sink()));
    let read = poll_fn(|context| body.poll(&mut upstream.wire, &mut nowhere, &worker.scratch, context)).await;
    let reusable = response.keep_alive && response.framing != Framing::UntilClose && upstream.is_spent();
    if read.is_ok() && reusable && cluster.live.room.waiting() == 0 {
        let id = cluster.members[member].id;
        (upstream.wire.received, upstream.wire.sent) = (0, 0);
        worker.pool.borrow_mut().give(id, upstream, Instant::now(), cluster.config.pool.max_idle);
    }
    Ok(response.status)
}

/// Where the bodies of answers go.
type Nowhere = Join<Empty, Sink>;

/// A stream of a connection, or a new connection, where there is room for it at once.
async fn dial<E: Env>(
    worker: &Worker<E>,
    cluster: &Cluster,
    member: usize,
) -> Result<Box<Upstream<Transport<E::Stream>>>, Reason> {
    let member = &cluster.members[member];
    if let Some((stream, in_use)) = worker.pool.borrow_mut().sessions.stream(member.id, &cluster.config) {
        return Ok(Upstream::stream(Transport::Asked(Box::new(stream)), in_use));
    }
    let full = member.live.connections.is_full() || cluster.live.connections.is_full();
    let permits = if full { None } else { member.live.connections.take().zip(cluster.live.connections.take()) };
    let (own, shared) = permits.ok_or(Reason::QueueFull)?;
    let place = worker.budget.for_endpoint().ok_or(Reason::ConnectLocal)?;
    let connecting = lease::connect(worker, cluster, member, (None, None), (place, [own, shared]));
    timeout(cluster.config.connect.timeout, connecting).await.unwrap_or(Err(Reason::ConnectTimeout))
}
