//! One connection from accept to close: its requests, one after the other; or, where TCP is spoken,
//! its one [session](super::tcp).

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::Instant;
use weir_config::model::Protocol;
use weir_core::clients::Seat;
use weir_core::load::{ListenerLoad, Shards};
use weir_core::reason::Reason;
use weir_core::snapshot::Listener;

use super::Worker;
use super::accept::Bound;
use super::arrive;
use super::budget::Place;
use super::client::{Client, Next, Patience};
use super::forward::{self, Served};
use super::gate;
use super::http2;
use super::reply::{self, Fate};
use super::tcp;
use super::tunnel;
use crate::env::{Env, Stream};
use crate::transport::Transport;

/// Serves a new connection in a task of its own, if there is room for it.
pub(crate) fn spawn<E: Env>(worker: &Rc<Worker<E>>, stream: E::Stream, peer: SocketAddr, bound: &Rc<Bound>) {
    let Some((world, index)) = bound.place(&**worker) else { return };
    let listener = &world.snapshot.listeners[index];
    let load = listener.load.of(worker.index);
    load.accepted.add(1);
    let place = worker.budget.for_client().filter(|_| has_room(listener));
    let Some(place) = place else {
        load.rejected.add(1);
        stream.abort_on_close();
        return;
    };
    let mut guard = Guard::new(worker, Arc::clone(&listener.load), place, peer);
    // Whose it is may be told only later.
    if listener.config.proxy_protocol.is_none() {
        match seat(listener, peer.ip()) {
            Ok(seat) => guard.seat = seat,
            Err(reason) => {
                load.reasons[reason].add(1);
                stream.abort_on_close();
                return;
            }
        }
    }
    if arrive::says_something(listener) {
        drop(tokio::task::spawn_local(arrive::arrive(guard, stream, peer, Rc::clone(bound))));
        return;
    }
    let client = Client::new(Transport::Plain(stream), peer, Rc::clone(bound), Instant::now());
    match listener.config.protocol {
        Protocol::Http => drop(tokio::task::spawn_local(connection(guard, client))),
        Protocol::Tcp | Protocol::Udp => drop(tokio::task::spawn_local(tcp::session(guard, client))),
    }
}

/// One more connection of `client`, if it may have one.
pub(super) fn seat(listener: &Listener, client: IpAddr) -> Result<Option<Seat>, Reason> {
    if !gate::admits(listener, client) {
        return Err(Reason::AccessDenied);
    }
    let Some(most) = listener.config.limits.connections_per_client else { return Ok(None) };
    listener.clients.enter(client, most).map(Some).ok_or(Reason::TooManyConnections)
}

/// Whether the listener's own limit allows one more.
fn has_room(listener: &Listener) -> bool {
    listener.config.limits.connections.is_none_or(|most| {
        let open = listener.load.sum(|load| &load.open);
        // A sum over gauges that are being written may dip below zero.
        open < u64::from(most.get()) || open > i64::MAX as u64
    })
}

pub(super) async fn connection<E: Env>(guard: Guard<E>, mut client: Client<E::Stream>) {
    let worker = &guard.worker;
    guard.register().await;
    let mut first = true;
    loop {
        let Some((world, index)) = client.bound.place_of(&**worker, Protocol::Http) else { return };
        // Copied, not shared: an idle connection must not keep an old generation alive, and a
        // count of its holders would be one cache line for all workers to fight over.
        let patience = Patience::of(&world.snapshot.listeners[index].config);
        drop(world);
        let next = client.next(worker, &patience).await;
        let Some((world, index)) = client.bound.place_of(&**worker, Protocol::Http) else { return };
        let (heads, served) = match next {
            Next::Closed => return client.part(),
            Next::Request(mut heads) => {
                let _busy = guard.busy();
                client.busy = true;
                let served = forward::forward(worker, &world, index, &mut client, &mut heads).await;
                (heads, served)
            }
            Next::Refused(_, Reason::BadVersion) if first && http2::is_preface(client.wire.inbox.as_slice()) => {
                drop(world);
                return http2::connection(guard, client).await;
            }
            Next::Refused(heads, reason) => {
                let _busy = guard.busy();
                let fate = reply::refuse_head(worker, &world, index, &mut client, &heads, reason).await;
                (heads, Served::Answered(fate))
            }
        };
        first = false;
        worker.take_back_heads(heads);
        let fate = match served {
            Served::Answered(fate) => fate,
            Served::Tunnel(tunnel) => return drop(tokio::task::spawn_local(tunnel::pass(guard, client, tunnel))),
        };
        let load = world.snapshot.listeners[index].load.of(worker.index);
        load.bytes_received.add(std::mem::take(&mut client.wire.received));
        load.bytes_sent.add(std::mem::take(&mut client.wire.sent));
        match fate {
            Fate::Keep => client.busy = false,
            Fate::Close { unread } => return client.close(worker, unread).await,
            Fate::Abort => return client.abort(),
        }
    }
}

/// Counts a connection for as long as its task lives, however it ends.
pub(super) struct Guard<E: Env> {
    pub(super) worker: Rc<Worker<E>>,
    load: Arc<Shards<ListenerLoad>>,
    slot: Slot<E>,
    /// Whose it is, as far as is known.
    pub(super) peer: SocketAddr,
    /// Of what its client may have open.
    pub(super) seat: Option<Seat>,
    _place: Place,
}

impl<E: Env> Guard<E> {
    fn new(worker: &Rc<Worker<E>>, load: Arc<Shards<ListenerLoad>>, place: Place, peer: SocketAddr) -> Self {
        load.of(worker.index).open.add(1);
        Self { worker: Rc::clone(worker), load, slot: Slot::new(worker), peer, seat: None, _place: place }
    }

    /// Leaves the task's waker with the worker, so that it can be woken to end.
    pub(super) async fn register(&self) {
        self.slot.register().await;
    }

    pub(super) fn busy(&self) -> Busy<'_, E> {
        self.slot.busy()
    }
}

impl<E: Env> Drop for Guard<E> {
    fn drop(&mut self) {
        self.load.of(self.worker.index).open.sub(1);
        self.worker.pool.borrow_mut().part(self.peer);
    }
}

/// A task that the worker waits for when it drains, and can wake: of a connection, or of one stream
/// of a connection.
pub(super) struct Slot<E: Env> {
    worker: Rc<Worker<E>>,
    at: usize,
}

impl<E: Env> Slot<E> {
    pub(super) fn new(worker: &Rc<Worker<E>>) -> Self {
        let at = worker.connections.borrow_mut().insert(None);
        Self { worker: Rc::clone(worker), at }
    }

    /// Leaves the task's waker with the worker, so that it can be woken to end.
    pub(super) async fn register(&self) {
        poll_fn(|context| {
            self.worker.connections.borrow_mut()[self.at] = Some(context.waker().clone());
            Poll::Ready(())
        })
        .await;
    }

    pub(super) fn busy(&self) -> Busy<'_, E> {
        self.worker.busy.set(self.worker.busy.get() + 1);
        Busy(&self.worker)
    }
}

impl<E: Env> Drop for Slot<E> {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(self.at);
        self.worker.one_ended();
        if std::thread::panicking() {
            self.worker.counts.panics.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// A request or a session under way.
pub(super) struct Busy<'w, E: Env>(&'w Worker<E>);

impl<E: Env> Drop for Busy<'_, E> {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use arc_swap::ArcSwap;
    use tokio::task::LocalSet;
    use weir_core::control::{Control, Event};
    use weir_core::dice::Dice;
    use weir_core::time::Moment;

    use super::*;
    use crate::env::Os;
    use crate::observe::ProcessCounts;
    use crate::observe::access::AccessWriter;
    use crate::worker::Published;
    use crate::worker::budget::Budget;

    const CONFIG: &str = "\
listeners: [{name: web, bind: '127.0.0.1:80', cluster: app}]
clusters: [{name: app, endpoints: ['127.0.0.1:81']}]
";

    #[tokio::test]
    async fn a_panic_costs_one_connection_and_is_counted() {
        let mut control = Control::new(1, Dice::new(1));
        let config = Arc::new(weir_config::parse_str(CONFIG).unwrap().config);
        control.step(Moment::ZERO, Event::Configured(config), &mut Vec::new());
        let snapshot = control.publish(Moment::ZERO).unwrap();
        let load = Arc::clone(&snapshot.listeners[0].load);
        let counts = Arc::new(ProcessCounts::default());
        let access = AccessWriter::nowhere(Arc::clone(&counts));
        let truth = Arc::new(ArcSwap::new(snapshot));
        let (reports, _heard) = tokio::sync::mpsc::channel(1);
        let published = Published { truth, book: Arc::default() };
        let worker = Worker::new(Os::new(), 0, published, Arc::clone(&counts), reports, access, Budget::new(100, 1));
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let guard = || Guard::new(&worker, Arc::clone(&load), worker.budget.for_client().unwrap(), peer);
        let (doomed, other) = (guard(), guard());
        let tasks = LocalSet::new();
        let death = tasks.run_until(async move {
            tokio::task::spawn_local(async move {
                let _busy = doomed.busy();
                panic!("on purpose: this message belongs to a test")
            })
            .await
        });
        assert!(death.await.is_err_and(|error| error.is_panic()));
        assert_eq!(counts.panics.load(Relaxed), 1);
        assert_eq!((load.of(0).open.get(), worker.connections.borrow().len(), worker.busy.get()), (1, 1, 0));
        drop(other);
        assert_eq!((load.of(0).open.get(), worker.connections.borrow().len()), (0, 0));
    }
}
