//! A worker: one thread with its own sockets, pool, dice and cursors. It observes, and obeys what
//! control published; it decides nothing about health and never waits for another thread.
//!
//! The way of a request: [`accept`] (1), [`client`] (3), [`forward`] (4 to 11, the trunk) with
//! [`exchange`] (9, 10), [`reply`] (12). That of a TCP session: [`accept`], [`tcp`];
//! that of a tunnel: as a request, then [`tunnel`].

pub(crate) mod accept;
mod affinity;
mod answer;
mod arrive;
mod attempts;
pub(crate) mod budget;
mod choice;
mod client;
mod deadline;
mod decision;
mod edits;
mod exchange;
mod flight;
mod forward;
mod gate;
mod headers;
mod http2;
mod lease;
mod mirror;
mod pool;
mod relay;
mod release;
mod replay;
mod reply;
mod room;
mod serve;
mod sessions;
mod story;
mod tcp;
mod trace;
mod tunnel;
mod udp;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use slab::Slab;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval};
use weir_config::model::{Address, ListenerName, Protocol};
use weir_core::balance::Cursors;
use weir_core::control::Event;
use weir_core::dice::Dice;
use weir_core::endpoint::{EndpointId, Status};
use weir_core::snapshot::{Cluster, Member, Snapshot};

use crate::env::{Env, ReservedDatagrams};
use crate::http1::wire::Scratch;
use crate::observe::ProcessCounts;
use crate::observe::access::AccessWriter;
use crate::observe::decision::Report;
use crate::observe::runtime::{Asked, Seen};
use crate::proxy::Ends;
use crate::spans::SpanWriter;
use crate::tls::{Book, Use};
use crate::transport::{self, Transport, Unopened, Way};
use accept::{Bound, Door};
use budget::Budget;
use client::Heads;
use headers::RequestId;
use pool::Pool;
use tcp::{Pipes, Watches};

/// What a worker is told to do.
#[derive(Debug)]
pub(crate) enum Order<R> {
    /// Accept on a socket, for the listener and configured address it belongs to.
    Open(ListenerName, Address, R),
    /// Take UDP flows on a socket.
    OpenDatagrams(ListenerName, Address, ReservedDatagrams),
    /// Stop accepting there; its connections end when they are idle.
    Close(ListenerName, Address),
    /// Stop taking UDP flows there; those there are go on until they are idle.
    CloseDatagrams(ListenerName, Address),
    /// Tell how it does.
    Tell(Asked),
    /// Tell the sockets of UDP listeners, for a process that is to take over: only here is known which of
    /// them are in use, where a listener came back while flows of it went on.
    LendDatagrams(oneshot::Sender<Vec<Lent>>),
    /// Stop accepting anywhere; end when the last connection has.
    Drain,
    /// The same, but another process has the sockets and serves whoever comes.
    HandOver,
    /// Stop now.
    Cut,
}

/// Another descriptor of a socket, with the listener and configured address it belongs to.
pub(crate) type Lent = (ListenerName, Address, OwnedFd);

/// What control publishes and workers read.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    /// For every request.
    pub(crate) truth: Arc<ArcSwap<Snapshot>>,
    /// For every connection with TLS.
    pub(crate) book: Arc<ArcSwap<Book>>,
}

/// Where a worker tells of its requests.
pub(crate) struct Writers {
    pub(crate) access: AccessWriter,
    pub(crate) spans: SpanWriter,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Requests that were under way and are lost.
    pub(crate) cut: usize,
}

/// A worker's handle on one generation.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) snapshot: Arc<Snapshot>,
}

impl World {
    /// The index of the listener that `bound` belongs to now, if any.
    pub(crate) fn listener_of(&self, bound: &Bound) -> Option<usize> {
        self.snapshot.listeners.iter().position(|listener| {
            listener.config.protocol != Protocol::Udp
                && listener.config.bind.contains(&bound.address)
                // Two listeners may both ask for "any port"; all other addresses are unique.
                && (!is_any_port(&bound.address) || listener.config.name == bound.listener)
        })
    }
}

/// The state of one worker. Used by its own thread alone.
pub(crate) struct Worker<E: Env> {
    pub(crate) env: E,
    /// Its number, from 0: which shard of every count is its own.
    pub(crate) index: usize,
    pub(crate) counts: Arc<ProcessCounts>,
    /// To control: what was seen here and is decided there.
    reports: mpsc::Sender<Report>,
    pub(crate) budget: Budget,
    pub(crate) scratch: Scratch,
    pipes: Pipes,
    watches: Watches,
    pub(crate) dice: RefCell<Dice>,
    pub(crate) cursors: RefCell<Cursors>,
    pub(crate) pool: RefCell<Pool<Transport<E::Stream>>>,
    pub(crate) access: RefCell<AccessWriter>,
    pub(crate) spans: RefCell<SpanWriter>,
    pub(crate) udp: udp::Desk,
    truth: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    book: RefCell<Cache<Arc<ArcSwap<Book>>, Arc<Book>>>,
    world: RefCell<Rc<World>>,
    /// One for each address; more where another process left more sockets than we have workers.
    doors: RefCell<HashMap<(ListenerName, Address), Vec<Door>>>,
    /// One for each connection, to wake the idle ones when they are to end.
    connections: RefCell<Slab<Option<Waker>>>,
    busy: Cell<usize>,
    draining: Cell<bool>,
    /// A connection between two requests has so long for another, once it is to end.
    idle_grace: Cell<Duration>,
    cutting: Cell<bool>,
    /// Accept loops that have not ended.
    accepting: Cell<usize>,
    drained: tokio::sync::Notify,
    called: Arc<Called>,
    #[expect(clippy::vec_box, reason = "lent and taken back by the box: moving one moves a pointer")]
    heads: RefCell<Vec<Box<Heads>>>,
    /// For one head at a time, on its way from HTTP/2 to the parser. Never kept across a suspension.
    text: RefCell<Vec<u8>>,
}

/// Between two looks at what idles in the pool.
const SWEEP: Duration = Duration::from_secs(1);
/// Whoever has nothing to say within this time has probably nothing to say.
const IDLE_GRACE: Duration = Duration::from_secs(1);
/// The same when nobody is in a hurry, since another process serves already.
const IDLE_GRACE_HANDED_OVER: Duration = Duration::from_secs(5);
/// For the last words of requests that are cut.
const CUT_GRACE: Duration = Duration::from_millis(100);
/// Between two flushes of the access log and of spans.
const FLUSH: Duration = Duration::from_millis(250);
/// Heads kept for reuse: as many requests as one worker has under way at once, within reason.
const HEADS_KEPT: usize = 256;

impl<E: Env> Worker<E> {
    pub(crate) fn new(
        env: E,
        index: usize,
        Published { truth, book }: Published,
        counts: Arc<ProcessCounts>,
        reports: mpsc::Sender<Report>,
        writers: Writers,
        budget: Budget,
    ) -> Rc<Self> {
        let dice = env.dice(&format!("worker-{index}"));
        let mut truth = Cache::new(truth);
        let world = Rc::new(World { snapshot: Arc::clone(truth.load()) });
        let called = Arc::new(Called::default());
        called.lend(index, &world.snapshot);
        Rc::new(Self {
            env,
            index,
            counts,
            reports,
            pipes: Pipes::new(budget.clone()),
            watches: Watches::default(),
            budget,
            scratch: Scratch::new(),
            dice: RefCell::new(dice),
            cursors: RefCell::default(),
            pool: RefCell::new(Pool::new()),
            access: RefCell::new(writers.access),
            spans: RefCell::new(writers.spans),
            udp: udp::Desk::default(),
            truth: RefCell::new(truth),
            book: RefCell::new(Cache::new(book)),
            world: RefCell::new(world),
            doors: RefCell::default(),
            connections: RefCell::default(),
            busy: Cell::new(0),
            draining: Cell::new(false),
            idle_grace: Cell::new(IDLE_GRACE),
            cutting: Cell::new(false),
            accepting: Cell::new(0),
            drained: tokio::sync::Notify::new(),
            called,
            heads: RefCell::default(),
            text: RefCell::default(),
        })
    }

    /// Lives until told to stop and everything it served has ended.
    pub(crate) async fn run(self: Rc<Self>, mut orders: UnboundedReceiver<Order<E::Reserved>>) -> Ended {
        let mut sweep = interval(SWEEP);
        let mut flush = interval(FLUSH);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.is_done() {
                break;
            }
            tokio::select! {
                // In this order, and not by chance: a seed must replay the same story.
                biased;
                order = orders.recv() => match order {
                    Some(Order::Open(listener, address, socket)) => self.open(listener, address, socket),
                    Some(Order::Close(listener, address)) => self.close(listener, address),
                    Some(Order::OpenDatagrams(listener, address, socket)) => {
                        udp::serve(&self, listener, address, socket);
                    }
                    Some(Order::CloseDatagrams(listener, address)) => self.udp.close(&listener, &address),
                    // Whoever asked may have lost patience.
                    Some(Order::Tell(asked)) => _ = asked.send((self.seen(), Instant::now())),
                    Some(Order::Drain) => self.drain(),
                    // Whoever asked may have gone.
                    Some(Order::LendDatagrams(reply)) => drop(reply.send(self.udp.lend())),
                    Some(Order::HandOver) => self.hand_over(),
                    Some(Order::Cut) | None => break,
                },
                _ = sweep.tick() => self.sweep(),
                _ = flush.tick() => self.flush(),
                () = self.called.0.notified() => self.give_way(),
                () = self.drained.notified() => {}
            }
        }
        let cut = self.busy.get() + self.udp.flows();
        self.cut().await;
        self.flush();
        Ended { cut }
    }

    fn seen(&self) -> Seen {
        let requests = self.busy.get() + self.udp.flows();
        Seen { connections: self.connections.borrow().len(), requests, ..Seen::here() }
    }

    /// Hands over what is told of requests.
    fn flush(&self) {
        self.access.borrow_mut().flush();
        self.spans.borrow_mut().flush();
    }

    /// Draining, and nothing left to drain.
    fn is_done(&self) -> bool {
        self.draining.get() && self.accepting.get() == 0 && self.connections.borrow().is_empty()
    }

    /// Ends what is left. Each request under way gets a moment to say so in its log line.
    async fn cut(&self) {
        self.drain();
        self.cutting.set(true);
        self.wake_all();
        self.udp.call();
        let all_gone = async {
            while !self.is_done() {
                self.drained.notified().await;
            }
        };
        // Whoever is not done by then is dropped, which resets its connection.
        let _ = tokio::time::timeout(CUT_GRACE, all_gone).await;
    }

    /// The newest generation. One comparison of pointers, unless there is a newer one.
    pub(crate) fn world(&self) -> Rc<World> {
        let mut truth = self.truth.borrow_mut();
        let snapshot = truth.load();
        let world = self.world.borrow();
        if Arc::ptr_eq(snapshot, &world.snapshot) {
            return Rc::clone(&world);
        }
        let newer = Rc::new(World { snapshot: Arc::clone(snapshot) });
        let changed = self.doors.borrow().values().flatten().filter(|door| door.bound.follow(&world, &newer)).count();
        drop(world);
        self.called.lend(self.index, &newer.snapshot);
        self.watches.look(&newer.snapshot);
        *self.world.borrow_mut() = Rc::clone(&newer);
        if changed > 0 {
            self.wake_all();
        }
        newer
    }

    /// Tells control what was seen. Lost if control has more to hear than it can: what matters is
    /// seen again.
    pub(crate) fn report(&self, event: Event) {
        let _ = self.reports.try_send(Report::Event(event));
    }

    /// Tells control of the way of a request. Lost if control is busy: what is seen of endpoints
    /// goes before.
    pub(crate) fn report_way(&self, way: Report) {
        if self.reports.capacity() * 2 > self.reports.max_capacity() {
            let _ = self.reports.try_send(way);
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// How long a connection between two requests is left, once it is to end. A request that is on
    /// its way then is lost on its client, so it is better told with an answer.
    pub(crate) fn idle_grace(&self) -> Duration {
        self.idle_grace.get()
    }

    /// Whether requests under way are to end now.
    pub(crate) fn is_cutting(&self) -> bool {
        self.cutting.get()
    }

    /// One accept loop, or the last connection, has ended.
    fn one_ended(&self) {
        if self.is_done() {
            self.drained.notify_one();
        }
    }

    /// A new connection to an endpoint; its timeout is the caller's to keep.
    /// With PROXY protocol the endpoint is told of `ends`; without any, that it is for ourselves.
    /// `request` is whose it is, in log lines.
    pub(crate) async fn connect(
        &self,
        cluster: &Cluster,
        member: &Member,
        ends: Option<Ends>,
        for_what: Use,
        request: Option<&RequestId>,
    ) -> Result<Transport<E::Stream>, Unopened> {
        let config = &cluster.config;
        let proxy = config.proxy_protocol.map(|version| (version, ends));
        let tls = if config.tls.is_none() { None } else { transport::connector(&self.book(), config)? };
        let request = request.map(RequestId::as_str);
        let (connect, tls, host) = (&config.connect, tls.as_deref(), member.host.as_deref());
        transport::open(&self.env, member.address(), Way { connect, proxy, tls, host, for_what, request }).await
    }

    /// What TLS is spoken now.
    pub(crate) fn book(&self) -> Arc<Book> {
        Arc::clone(self.book.borrow_mut().load())
    }

    pub(crate) fn lend_heads(&self) -> Box<Heads> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn take_back_heads(&self, mut heads: Box<Heads>) {
        heads.request.clear();
        heads.response.fields.clear();
        let mut kept = self.heads.borrow_mut();
        if kept.len() < HEADS_KEPT {
            kept.push(heads);
        }
    }

    fn open(self: &Rc<Self>, listener: ListenerName, address: Address, socket: E::Reserved) {
        let door = Door::open(self, listener.clone(), address.clone(), socket);
        self.doors.borrow_mut().entry((listener, address)).or_default().push(door);
    }

    fn close(&self, listener: ListenerName, address: Address) {
        // What the bound's connections still ask for is answered by the last world that knew it.
        self.world();
        if let Some(doors) = self.doors.borrow_mut().remove(&(listener, address)) {
            doors.into_iter().for_each(Door::close);
        }
        self.wake_all();
    }

    /// What comes from now on is for the other process: also datagrams of flows that are here.
    fn hand_over(&self) {
        self.idle_grace.set(IDLE_GRACE_HANDED_OVER);
        self.udp.fall_deaf();
        self.drain();
    }

    fn drain(&self) {
        self.draining.set(true);
        for (_, doors) in self.doors.borrow_mut().drain() {
            doors.into_iter().for_each(Door::close);
        }
        self.udp.drain();
        self.wake_all();
    }

    fn wake_all(&self) {
        for (_, waker) in self.connections.borrow().iter() {
            if let Some(waker) = waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Somebody, perhaps at another worker, waits for a connection: one that idles here may be
    /// what is in the way.
    fn give_way(&self) {
        let world = self.world();
        let mut pool = self.pool.borrow_mut();
        for cluster in world.snapshot.clusters.iter().filter(|cluster| cluster.live.room.waiting() > 0) {
            for member in cluster.members.iter().filter(|member| member.live.connections.is_full()) {
                pool.forget_any([member.id].into_iter());
            }
            if cluster.live.connections.is_full() {
                pool.forget_any(cluster.members.iter().map(|member| member.id));
            }
        }
    }

    fn sweep(&self) {
        let world = self.world();
        let now = Instant::now();
        let mut kept: HashMap<EndpointId, Duration> = HashMap::new();
        for cluster in &world.snapshot.clusters {
            let timeout = cluster.config.pool.idle_timeout;
            let usable = cluster.members.iter().filter(|member| is_in_service(member.status));
            kept.extend(usable.map(|member| (member.id, timeout)));
        }
        self.pool.borrow_mut().sweep(now, |endpoint| kept.get(&endpoint).copied());
        self.cursors.borrow_mut().keep(world.snapshot.clusters.iter().map(AsRef::as_ref));
    }
}

/// Whether the system chose the port, so that more than one listener may have asked for this.
fn is_any_port(address: &Address) -> bool {
    address.ip().is_some_and(|address| address.port() == 0)
}

/// Wakes a worker when somebody waits for a connection of which it may have an idle one.
#[derive(Debug, Default)]
struct Called(tokio::sync::Notify);

impl Called {
    /// Wants to be called for every cluster of `snapshot`.
    fn lend(self: &Arc<Self>, worker: usize, snapshot: &Snapshot) {
        let waker = Waker::from(Arc::clone(self));
        snapshot.clusters.iter().for_each(|cluster| cluster.live.room.lend(worker, &waker));
    }
}

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// Whether connections to an endpoint of this status are worth keeping.
const fn is_in_service(status: Status) -> bool {
    match status {
        Status::Unknown | Status::Healthy | Status::Probation => true,
        Status::Unhealthy | Status::Ejected | Status::Draining => false,
    }
}
