//! A TCP session: a client's connection, one endpoint's, and the bytes between them.
//!
//! look -> decide -> admit -> (pick -> dial) -> both directions -> tell. What is in brackets is
//! [`open`], which may try another endpoint while nothing was sent. A session may last for days,
//! so from its first byte on it holds only what it needs, and no generation.

mod both;
mod open;
mod pipes;
mod way;

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::Instant;
use weir_config::model::{self, Protocol};
use weir_core::attempt::Outcome;
use weir_core::dice::Dice;
use weir_core::endpoint::EndpointKey;
use weir_core::limits::Permit;
use weir_core::load::{ClusterLoad, Count, EndpointLoad, LaneLoad, Shards};
use weir_core::reason::Reason;
use weir_core::release::{self as rule, Asked, Assigned, Decided, Release, Why};
use weir_core::retry::Denied;
use weir_core::route::{Headers, RequestView};
use weir_core::snapshot::{Cluster, Listener};

use super::client::Client;
use super::pool::Upstream;
use super::serve::Guard;
use super::story::Story;
use super::{Worker, World, release, room};
use crate::env::{Env, Stream};
use crate::observe::access::Line;
use crate::transport::Transport;
pub(super) use both::Both;
use open::Opened;
pub(super) use pipes::Pipes;
pub(super) use way::Tools;

/// What a stream of bytes has for whoever looks at requests.
const NOTHING: RequestView<'static> = RequestView { method: "", host: "", path: "", headers: &NoHeaders };

struct NoHeaders;

impl Headers for NoHeaders {
    fn get(&self, _name: &str) -> Option<&[u8]> {
        None
    }
}

/// Once one side has said its last word, this long without a byte is the end: who has gone without
/// closing should not hold two sockets for as long as an idle session may.
pub(super) const HALF_CLOSED_IDLE: Duration = Duration::from_secs(300);

/// One thing under way, in the gauge that counts those.
pub(super) struct UnderWay<T> {
    load: Arc<Shards<T>>,
    worker: usize,
    gauge: fn(&T) -> &Count,
}

impl<T> UnderWay<T> {
    pub(super) fn begin(load: &Arc<Shards<T>>, worker: usize, gauge: fn(&T) -> &Count) -> Self {
        gauge(load.of(worker)).add(1);
        Self { load: Arc::clone(load), worker, gauge }
    }

    pub(super) fn load(&self) -> &T {
        self.load.of(self.worker)
    }
}

impl<T> Drop for UnderWay<T> {
    fn drop(&mut self) {
        (self.gauge)(self.load.of(self.worker)).sub(1);
    }
}

/// Serves a client's connection to its end.
pub(super) async fn session<E: Env>(guard: Guard<E>, mut client: Client<E::Stream>) {
    let worker = &*guard.worker;
    guard.register().await;
    let _busy = guard.busy();
    // Until both sides have said their last word, whatever ends it must look like no end.
    client.busy = true;
    let Some((world, index)) = client.bound.place_of(worker, Protocol::Tcp) else { return };
    let (mut session, cluster) = Session::begin(worker, &world, index, &client);
    let linked = session.link(worker, &world, &world.snapshot.clusters[cluster], &mut client).await;
    // From here on an old generation is not needed.
    drop(world);
    let ended = match linked {
        Ok(mut link) => {
            let ended = session.pass(worker, &mut client, &mut link).await;
            link.whole = ended.is_ok();
            ended
        }
        Err(reason) => Err(reason),
    };
    client.busy = ended.is_err();
    session.settle(worker, &client, ended.err());
}

/// What a session needs for as long as it lasts.
struct Session {
    listener: Arc<Listener>,
    cluster: Arc<model::Cluster>,
    release: Option<(Arc<Release>, Decided)>,
    endpoint: Option<Arc<EndpointKey>>,
    lane: UnderWay<LaneLoad>,
    story: Story,
}

/// A session's connection to its endpoint. Reset when dropped, unless all was passed on.
struct Link<S: Stream> {
    upstream: Box<Upstream<Transport<S>>>,
    whole: bool,
    /// In the endpoint's counts.
    endpoint: UnderWay<EndpointLoad>,
    /// In the cluster's.
    _cluster: UnderWay<ClusterLoad>,
    /// Of what the endpoint and the cluster may have under way.
    _rooms: [Permit; 2],
}

impl<S: Stream> Drop for Link<S> {
    fn drop(&mut self) {
        if !self.whole {
            self.upstream.wire.io.abort_on_close();
        }
    }
}

impl Session {
    /// A session, and the index of the cluster it goes to.
    fn begin<E: Env>(worker: &Worker<E>, world: &World, index: usize, client: &Client<E::Stream>) -> (Self, usize) {
        let listener = &world.snapshot.listeners[index];
        // A TCP listener has one route.
        let target = &listener.targets[0];
        let release = target.release.map(|at| {
            let release = &world.snapshot.releases[at];
            let address = client.peer.address.ip();
            (Arc::clone(release), decide(release, &world.snapshot.clusters, address, &mut worker.dice.borrow_mut()))
        });
        let version = release.as_ref().map_or(0, |(_, decided)| decided.version);
        let (cluster, lane) = &target.to[version];
        let session = Self {
            listener: Arc::clone(listener),
            cluster: Arc::clone(&world.snapshot.clusters[*cluster].config),
            release,
            endpoint: None,
            lane: UnderWay::begin(lane, worker.index, |lane| &lane.in_flight),
            story: Story::begin(Instant::now()),
        };
        (session, *cluster)
    }

    /// The connection to an endpoint, or why there is none.
    async fn link<E: Env>(
        &mut self,
        worker: &Worker<E>,
        world: &World,
        cluster: &Cluster,
        client: &mut Client<E::Stream>,
    ) -> Result<Link<E::Stream>, Reason> {
        open::rehearse(worker, world, &self.listener, client).await?;
        let entered = room::enter(worker, cluster, self.story.began, None, client).await;
        let (room, trial) = entered.map_err(|refused| refused.reason)?;
        let counted = UnderWay::begin(&cluster.load, worker.index, |load| &load.in_flight);
        counted.load().requests.add(1);
        if cluster.available.panic.is_some() {
            counted.load().panicked.add(1);
        }
        let policy = &self.listener.config.routes[0].retry;
        let opened = open::open(worker, world, policy, cluster, client, &mut self.story).await;
        let outcome = opened.as_ref().map_or_else(|reason| Outcome::Failed(*reason), |_| Outcome::Connected);
        open::tell_trial(worker, cluster, trial.as_ref(), outcome);
        self.endpoint = self.story.endpoint.map(|at| Arc::clone(&cluster.members[at].key));
        let Opened { upstream, under_way, room: own } = opened?;
        self.story.answered = Some(Instant::now());
        if self.story.attempts > 1 {
            counted.load().saved.add(1);
        }
        Ok(Link { upstream, whole: false, endpoint: under_way, _cluster: counted, _rooms: [room, own] })
    }

    /// Passes on what comes, in both directions, until both are over.
    async fn pass<E: Env>(
        &mut self,
        worker: &Worker<E>,
        client: &mut Client<E::Stream>,
        link: &mut Link<E::Stream>,
    ) -> Result<(), Reason> {
        let idle = self.listener.config.timeouts.stream_idle;
        let mut both = Both::new(client.wire.io.splices() && link.upstream.wire.io.splices());
        let tools = Tools { scratch: &worker.scratch, pipes: &worker.pipes };
        let mut half_closed = false;
        client.deadline.set_after(Instant::now(), idle);
        poll_fn(|context| {
            let wire = &mut link.upstream.wire;
            let over = both.poll(&mut client.wire, wire, tools, context);
            let moved = self.count(worker, client, link);
            if over.is_ready() {
                return over;
            }
            if worker.is_cutting() {
                return Poll::Ready(Err(Reason::DrainDeadline));
            }
            if moved || half_closed != both.is_half_closed() {
                half_closed = both.is_half_closed();
                let patience = if half_closed { idle.min(HALF_CLOSED_IDLE) } else { idle };
                client.deadline.set_after(Instant::now(), patience);
                client.wire.outbox.release();
                link.upstream.wire.outbox.release();
            }
            ready!(client.deadline.poll(context));
            Poll::Ready(Err(Reason::IdleTimeout))
        })
        .await
    }

    /// Counts what has moved since it was last asked; whether anything has.
    fn count<E: Env>(
        &mut self,
        worker: &Worker<E>,
        client: &mut Client<E::Stream>,
        link: &mut Link<E::Stream>,
    ) -> bool {
        let take = |count: &mut u64| std::mem::take(count);
        let (received, sent) = (take(&mut client.wire.received), take(&mut client.wire.sent));
        let wire = &mut link.upstream.wire;
        let (from, to) = (take(&mut wire.received), take(&mut wire.sent));
        if received + sent + from + to == 0 {
            return false;
        }
        let listener = self.listener.load.of(worker.index);
        listener.bytes_received.add(received);
        listener.bytes_sent.add(sent);
        link.endpoint.load().bytes_received.add(from);
        link.endpoint.load().bytes_sent.add(to);
        self.story.body_in += received;
        self.story.body_out += sent;
        true
    }

    /// Counts the session, and writes its line if one is wanted.
    fn settle<E: Env>(mut self, worker: &Worker<E>, client: &Client<E::Stream>, reason: Option<Reason>) {
        let now = Instant::now();
        let story = &mut self.story;
        story.reason = reason;
        // No client sees a status of a session; it is the class it is counted in.
        story.status = reason.map_or(200, |reason| reason.meaning().status);
        let lane = self.lane.load();
        lane.requests[story.class()].add(1);
        lane.duration.observe(now - story.began);
        if let Some(connected) = story.answered {
            lane.first_byte.observe(connected - story.began);
        }
        if let Some((release, decided)) = &self.release {
            release::count(worker.index, release, *decided, story, now);
        }
        if let Some(reason) = reason {
            self.listener.load.of(worker.index).reasons[reason].add(1);
        }
        self.tell(worker, client, now);
    }

    fn tell<E: Env>(&self, worker: &Worker<E>, client: &Client<E::Stream>, now: Instant) {
        let world = worker.world();
        let Some(log) = &world.snapshot.config.access_log else { return };
        let story = &self.story;
        if story.reason.is_none() && log.sample < 1.0 && worker.dice.borrow_mut().unit() >= log.sample {
            return;
        }
        let line = Line {
            wall: worker.env.wall(),
            took: now - story.began,
            first_byte: story.answered.map(|connected| connected - story.began),
            peer: client.peer.address,
            told: None,
            tls: client.tls_line(),
            listener: self.listener.config.name.as_str(),
            route: None,
            cluster: Some(self.cluster.name.as_str()),
            endpoint: self.endpoint.as_ref().map(|key| &key.address),
            gray: self.release.as_ref().map(|(release, decided)| release::line(release, *decided)),
            attempts: story.attempts,
            denied: story.denied.map(Denied::as_str),
            request: None,
            reason: story.reason.map(Reason::as_str),
            id: None,
            body_in: story.body_in,
            body_out: story.body_out,
        };
        worker.access.borrow_mut().record(log.format, &line);
    }
}

/// Which version of `release` a client gets, of whom nothing is known but the address. A session
/// takes no cookie: whoever would be handed an id by one has none, and is stable's, unless a list
/// names them.
fn decide(release: &Release, clusters: &[Arc<Cluster>], client: IpAddr, dice: &mut Dice) -> Decided {
    let asked = Asked { view: NOTHING, query: None, client };
    let decided = rule::decide(release, clusters, &asked, dice, &mut ());
    let Decided { assigned, version } = decided;
    if assigned.handed.is_none() {
        return decided;
    }
    match assigned.why {
        Why::Bucket | Why::Stable | Why::Unattributed => {
            let assigned = Assigned { version: 0, bucket: None, why: Why::Unattributed, handed: None };
            Decided { assigned, version: 0 }
        }
        Why::Never | Why::First => Decided { assigned: Assigned { bucket: None, handed: None, ..assigned }, version },
    }
}

#[cfg(test)]
mod tests;
