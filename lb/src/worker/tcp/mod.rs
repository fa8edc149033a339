//! A TCP session: a client's connection, one endpoint's, and the bytes between them.
//!
//! look -> decide -> admit -> (pick -> dial) -> both directions -> tell. What is in brackets is
//! [`open`], which may try another endpoint while nothing was sent. A session may last for days,
//! so from its first byte on it holds only what it needs, and no generation.

mod both;
mod hello;
mod name;
mod open;
mod pipes;
mod watch;
mod way;

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::Instant;
use weir_config::model::{self, ListenerTimeouts, OnSick, Protocol};
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
use super::gate;
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
use watch::Watch;
pub(super) use watch::Watches;
pub(super) use way::Tools;

/// What a stream of bytes has for whoever looks at requests.
pub(super) const NOTHING: RequestView<'static> = RequestView { method: "", host: "", path: "", headers: &NoHeaders };

struct NoHeaders;

impl Headers for NoHeaders {
    fn get(&self, _name: &str) -> Option<&[u8]> {
        None
    }
}

/// Once one side has said its last word, this long without a byte is the end: who has gone without
/// closing should not hold two sockets for as long as an idle session may.
const HALF_CLOSED_IDLE: Duration = Duration::from_secs(300);

/// How long a session or a tunnel may last: without a byte, and whatever it does.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub(super) idle: Duration,
    pub(super) last: Option<Instant>,
}

impl Patience {
    /// Until when it may last if nothing moves from now on.
    pub(super) fn until(self, half_closed: bool) -> Instant {
        let idle = if half_closed { self.idle.min(HALF_CLOSED_IDLE) } else { self.idle };
        let late = Instant::now() + idle;
        self.last.map_or(late, |last| last.min(late))
    }

    /// What ends it, once that has passed.
    pub(super) fn over(self) -> Reason {
        let over = self.last.is_some_and(|last| Instant::now() >= last);
        if over { Reason::SessionTimeout } else { Reason::IdleTimeout }
    }
}

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
    let mut story = Story::begin(Instant::now());
    let Some((mut world, mut index)) = client.bound.place_of(worker, Protocol::Tcp) else { return };
    let mut named = Ok(None);
    if name::is_wanted(&world.snapshot.listeners[index]) {
        let patience = world.snapshot.listeners[index].config.timeouts.header;
        drop(world);
        named = name::asked(worker, &mut client, patience).await;
        story.began = Instant::now();
        let Some(place) = client.bound.place_of(worker, Protocol::Tcp) else { return };
        (world, index) = place;
    }
    let (mut session, cluster) = Session::begin(worker, &world, index, named, story, &client);
    let linked = match cluster {
        Ok(cluster) => session.link(worker, &world, &world.snapshot.clusters[cluster], &mut client).await,
        Err(reason) => Err(reason),
    };
    let watch = linked.as_ref().ok().and_then(|_| session.watch(worker, &world));
    // From here on an old generation is not needed.
    drop(world);
    let ended = match linked {
        Ok(mut link) => {
            let ended = session.pass(worker, &mut client, &mut link, watch.as_ref()).await;
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
    /// Where it goes; nowhere if no route takes it.
    cluster: Option<Arc<model::Cluster>>,
    /// That its client asked for by SNI.
    name: Option<Box<str>>,
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
    /// A session of a client that asked for a name, or for none, or was not to be waited for; and
    /// the index of the cluster it goes to.
    fn begin<E: Env>(
        worker: &Worker<E>,
        world: &World,
        index: usize,
        named: Result<Option<Box<str>>, Reason>,
        mut story: Story,
        client: &Client<E::Stream>,
    ) -> (Self, Result<usize, Reason>) {
        let listener = &world.snapshot.listeners[index];
        let address = client.peer.address.ip();
        let routed = named.as_ref().map_err(|reason| *reason).and_then(|name| {
            let asked = RequestView { host: name.as_deref().unwrap_or_default(), ..NOTHING };
            listener.routes.find(&asked).ok_or(Reason::NoRoute)
        });
        story.route = routed.ok();
        let target = routed.map(|route| &listener.targets[route]);
        let release = target.ok().and_then(|target| target.release).map(|at| {
            let release = &world.snapshot.releases[at];
            (Arc::clone(release), decide(release, &world.snapshot.clusters, address, &mut worker.dice.borrow_mut()))
        });
        let version = release.as_ref().map_or(0, |(_, decided)| decided.version);
        let to = target.and_then(|target| target.to.get(version).ok_or(Reason::NoRoute));
        let lane = to.map_or(&listener.unrouted, |(_, lane)| lane);
        let session = Self {
            listener: Arc::clone(listener),
            cluster: to.ok().map(|(cluster, _)| Arc::clone(&world.snapshot.clusters[*cluster].config)),
            name: named.ok().flatten(),
            release,
            endpoint: None,
            lane: UnderWay::begin(lane, worker.index, |lane| &lane.in_flight),
            story,
        };
        let let_in = gate::session(worker, listener, session.story.route, address);
        (session, to.and_then(|(cluster, _)| let_in.map(|()| *cluster)))
    }

    fn route(&self) -> Option<&model::Route> {
        self.story.route.map(|route| &self.listener.config.routes[route])
    }

    /// Watches its endpoint, where that is wanted.
    fn watch<'w, E: Env>(&self, worker: &'w Worker<E>, world: &Rc<World>) -> Option<Watch<'w>> {
        if self.listener.config.on_unhealthy == OnSick::Keep {
            return None;
        }
        let key = self.endpoint.as_ref()?;
        let mut members = world.snapshot.clusters.iter().flat_map(|cluster| &cluster.members);
        let member = members.find(|member| Arc::ptr_eq(&member.key, key))?;
        let watch = worker.watches.watch(member.id, member.status);
        let newest = worker.world();
        if !Rc::ptr_eq(&newest, world) {
            // What came about while it was being connected.
            worker.watches.look(&newest.snapshot);
        }
        Some(watch)
    }

    /// The connection to an endpoint, or why there is none.
    async fn link<E: Env>(
        &mut self,
        worker: &Worker<E>,
        world: &World,
        cluster: &Cluster,
        client: &mut Client<E::Stream>,
    ) -> Result<Link<E::Stream>, Reason> {
        let route = self.story.route.unwrap_or_default();
        open::rehearse(worker, world, &self.listener, route, client).await?;
        let entered = room::enter(worker, cluster, self.story.began, None, client).await;
        let (room, trial) = entered.map_err(|refused| refused.reason)?;
        let counted = UnderWay::begin(&cluster.load, worker.index, |load| &load.in_flight);
        counted.load().requests.add(1);
        if cluster.available.panic.is_some() {
            counted.load().panicked.add(1);
        }
        let policy = &self.listener.config.routes[route].retry;
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
        watch: Option<&Watch<'_>>,
    ) -> Result<(), Reason> {
        let ListenerTimeouts { stream_idle: idle, max_session, .. } = self.listener.config.timeouts;
        let patience = Patience { idle, last: max_session.map(|most| self.story.began + most) };
        let mut both = Both::new(client.wire.io.splices() && link.upstream.wire.io.splices());
        let tools = Tools { scratch: &worker.scratch, pipes: &worker.pipes };
        let mut half_closed = false;
        client.deadline.set(patience.until(false));
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
            if watch.is_some_and(|watch| watch.is_sick(context.waker())) {
                return Poll::Ready(Err(Reason::EndpointUnhealthy));
            }
            if moved || half_closed != both.is_half_closed() {
                half_closed = both.is_half_closed();
                client.deadline.set(patience.until(half_closed));
                client.wire.outbox.release();
                link.upstream.wire.outbox.release();
            }
            ready!(client.deadline.poll(context));
            Poll::Ready(Err(patience.over()))
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
            route: self.route().and_then(|route| route.name.as_ref()).map(|name| name.as_str()),
            server_name: self.name.as_deref(),
            cluster: self.cluster.as_ref().map(|cluster| cluster.name.as_str()),
            endpoint: self.endpoint.as_ref().map(|key| &key.address),
            gray: self.release.as_ref().map(|(release, decided)| release::line(release, *decided)),
            attempts: story.attempts,
            denied: story.denied.map(Denied::as_str),
            request: None,
            datagrams: None,
            reason: story.reason.map(Reason::as_str),
            id: None,
            trace: None,
            body_in: story.body_in,
            body_out: story.body_out,
        };
        worker.access.borrow_mut().record(log.format, &line);
    }
}

/// Which version of `release` a client gets, of whom nothing is known but the address. A session
/// takes no cookie: whoever would be handed an id by one has none, and is stable's, unless a list
/// names them.
pub(super) fn decide(release: &Release, clusters: &[Arc<Cluster>], client: IpAddr, dice: &mut Dice) -> Decided {
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
