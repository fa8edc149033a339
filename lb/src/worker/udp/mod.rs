//! UDP: the flows of one socket of one worker, from the first datagram to the access line.
//!
//! The kernel gives each client's datagrams to the same of our sockets, one a worker, so a flow is
//! one worker's. Here are its [`Door`]s and what they do with time; [`pass`] moves datagrams, [`open`]
//! finds an endpoint for a flow, [`session`] is what is counted and told of it. Which datagrams
//! belong together is decided in [`weir_core::udp`].

mod attempt;
mod open;
mod pass;
mod session;

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::HashSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use weir_config::model::{Address, ListenerName, OnSick, Protocol};
use weir_core::endpoint::{EndpointId, Status};
use weir_core::load::ListenerLoad;
use weir_core::reason::Reason;
use weir_core::snapshot::{Listener, Snapshot};
use weir_core::udp::{FlowId, Table};

use super::accept::Accepting;
use super::tcp::UnderWay;
use super::{Lent, Worker, World, is_any_port};
use crate::env::{Batch, DatagramSocket, Env, ReservedDatagrams};
use session::Open;

/// What a worker has for UDP.
#[derive(Default)]
pub(crate) struct Desk {
    doors: RefCell<Vec<Rc<Door>>>,
    /// Of all its sockets; made with the first of them.
    batch: RefCell<Option<Batch>>,
}

impl Desk {
    /// Flows that a client may still want something of.
    pub(crate) fn flows(&self) -> usize {
        self.doors.borrow().iter().map(|door| door.open.get()).sum()
    }

    /// Stops taking new flows at one address; those there are go on.
    pub(crate) fn close(&self, listener: &ListenerName, address: &Address) {
        self.doors.borrow().iter().filter(|door| door.is_for(listener, address)).for_each(|door| door.close());
    }

    /// Stops taking new flows anywhere.
    pub(crate) fn drain(&self) {
        self.doors.borrow().iter().for_each(|door| door.close());
    }

    /// Another descriptor of each socket on which flows are taken.
    pub(crate) fn lend(&self) -> Vec<Lent> {
        let doors = self.doors.borrow();
        let open = doors.iter().filter(|door| !door.closed.get());
        // One that cannot be duplicated is missed by the heir, which says so.
        open.filter_map(|door| Some((door.name.clone(), door.address.clone(), door.socket.share().ok()?))).collect()
    }

    /// Stops receiving from clients; what endpoints still answer is passed on.
    pub(crate) fn fall_deaf(&self) {
        self.doors.borrow().iter().for_each(|door| {
            door.deaf.set(true);
            door.called.notify_one();
        });
    }

    /// Makes all look around: something has changed.
    pub(crate) fn call(&self) {
        self.doors.borrow().iter().for_each(|door| door.called.notify_one());
    }

    fn batch(&self) -> io::Result<RefMut<'_, Batch>> {
        let mut batch = self.batch.borrow_mut();
        if batch.is_none() {
            *batch = Some(Batch::new()?);
        }
        // It was just made, if there was none.
        RefMut::filter_map(batch, Option::as_mut).map_err(|_| io::ErrorKind::OutOfMemory.into())
    }
}

/// Takes flows at a socket.
pub(crate) fn serve<E: Env>(
    worker: &Rc<Worker<E>>,
    listener: ListenerName,
    address: Address,
    socket: ReservedDatagrams,
) {
    let mut doors = worker.udp.doors.borrow_mut();
    // Of a listener that was gone and came back, while flows of it went on: their sockets have the
    // clients that the kernel gives them, so they stay, and the new one goes. Beside one that is open it is
    // of another process that had more workers: it has clients of its own, and is served as well.
    let back = doors.iter().filter(|door| door.closed.get() && door.is_for(&listener, &address));
    let back = back.map(|door| (door.closed.set(false), door.generation.set(None)));
    if back.count() > 0 {
        return;
    }
    let socket = match socket.listen().and_then(|socket| worker.udp.batch().map(|_| socket)) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%listener, %address, %error, "cannot take datagrams");
            return;
        }
    };
    let door = Rc::new(Door {
        name: listener,
        address,
        socket,
        listener: RefCell::default(),
        generation: Cell::new(None),
        table: RefCell::default(),
        open: Cell::new(0),
        closed: Cell::new(false),
        deaf: Cell::new(false),
        called: Notify::new(),
    });
    doors.push(Rc::clone(&door));
    tokio::task::spawn_local(live(Accepting::new(worker), Rc::clone(worker), door));
}

/// One listening socket, and its flows.
struct Door {
    /// The listener it was opened for.
    name: ListenerName,
    /// The address as it stands in the configuration.
    address: Address,
    socket: DatagramSocket,
    /// As the last generation that knew it has it.
    listener: RefCell<Option<Arc<Listener>>>,
    /// The generation that was looked at last.
    generation: Cell<Option<u64>>,
    table: RefCell<Table<Kept>>,
    /// How many of the flows have an endpoint.
    open: Cell<usize>,
    closed: Cell<bool>,
    /// Whether another process receives what clients send.
    deaf: Cell<bool>,
    called: Notify,
}

/// What is kept with a flow.
struct Kept {
    state: State,
    /// In the listener's gauge, which bounds flows.
    _counted: UnderWay<ListenerLoad>,
}

enum State {
    /// It has an endpoint.
    Open(Box<Open>),
    /// It had one, which failed: its next datagram goes elsewhere.
    Lost(Lost),
}

/// What a flow without an endpoint has behind it.
#[derive(Clone, Debug, Default)]
struct Lost {
    /// Who failed it, since one answered.
    avoid: Vec<EndpointId>,
    attempts: u16,
}

/// Receives of one socket before others have their turn.
const TURN: usize = 8;
/// After an error of the system at a listening socket.
const PAUSE: Duration = Duration::from_millis(5);
/// Looks for flows that are over, in the time a flow may idle.
const LOOKS: u32 = 16;
const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Lives until it is closed and its flows are over.
async fn live<E: Env>(accepting: Accepting<E>, worker: Rc<Worker<E>>, door: Rc<Door>) {
    door.follow(&worker);
    let mut pause = door.pause();
    let mut look = looks(pause);
    let mut turn = 0;
    while !door.is_over(&worker) {
        tokio::select! {
            biased;
            () = door.called.notified() => drop(door.follow(&worker)),
            _ = look.tick(), if !door.table.borrow().is_empty() => {
                door.look(&worker);
                if pause != door.pause() {
                    pause = door.pause();
                    look = looks(pause);
                }
            }
            ready = door.socket.ready(), if !door.deaf.get() => {
                if let Err(error) = ready.and_then(|()| door.receive(&worker)) {
                    tracing::warn!(listener = %door.name, address = %door.address, %error, "cannot receive");
                    sleep(PAUSE).await;
                }
                turn += 1;
                if turn % TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    door.end_all(&worker, Reason::DrainDeadline);
    worker.udp.doors.borrow_mut().retain(|other| !Rc::ptr_eq(other, &door));
    // Last: with it the worker may be done.
    drop(accepting);
}

fn looks(pause: Duration) -> Interval {
    let mut looks = interval(pause);
    // While there are no flows nobody looks, and nobody has to make up for it.
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

impl Door {
    fn is_for(&self, listener: &ListenerName, address: &Address) -> bool {
        self.address == *address && (!is_any_port(address) || self.name == *listener)
    }

    fn close(&self) {
        self.closed.set(true);
        self.called.notify_one();
    }

    fn is_over<E: Env>(&self, worker: &Worker<E>) -> bool {
        self.closed.get() && (self.open.get() == 0 || worker.is_cutting())
    }

    /// The listener, unless no generation ever knew it. Borrowed: a count of its holders would be
    /// one cache line for all workers to fight over.
    fn listener(&self) -> Option<Ref<'_, Arc<Listener>>> {
        Ref::filter_map(self.listener.borrow(), Option::as_ref).ok()
    }

    fn pause(&self) -> Duration {
        let idle = self.listener().map_or(LOOK_MAX, |listener| listener.config.udp.idle);
        (idle / LOOKS).clamp(LOOK_MIN, LOOK_MAX)
    }

    /// Looks at the newest generation, once.
    fn follow<E: Env>(&self, worker: &Worker<E>) -> Rc<World> {
        let world = worker.world();
        if self.generation.replace(Some(world.snapshot.generation)) == Some(world.snapshot.generation) {
            return world;
        }
        let ours = world.snapshot.listeners.iter().find(|listener| self.is_of(listener));
        if let Some(listener) = ours {
            *self.listener.borrow_mut() = Some(Arc::clone(listener));
        }
        if self.listener().is_some_and(|listener| listener.config.on_unhealthy == OnSick::Close) {
            self.close_sick(worker, &world.snapshot);
        }
        world
    }

    fn is_of(&self, listener: &Listener) -> bool {
        let config = &listener.config;
        config.protocol == Protocol::Udp
            && config.bind.contains(&self.address)
            && (!is_any_port(&self.address) || config.name == self.name)
    }

    /// Ends flows whose endpoint fails its checks: their next datagram opens a new one.
    fn close_sick<E: Env>(&self, worker: &Worker<E>, snapshot: &Snapshot) {
        let members = snapshot.clusters.iter().flat_map(|cluster| &cluster.members);
        let sick: HashSet<EndpointId> =
            members.filter(|member| member.status == Status::Unhealthy).map(|member| member.id).collect();
        if sick.is_empty() {
            return;
        }
        let theirs = self.table.borrow().list(|flow| match &flow.with.state {
            State::Open(open) => sick.contains(&open.endpoint()),
            State::Lost(_) => false,
        });
        theirs.into_iter().for_each(|id| self.end(worker, id, Some(Reason::EndpointUnhealthy)));
    }

    /// What time brings.
    fn look<E: Env>(&self, worker: &Worker<E>) {
        self.follow(worker);
        let Some(listener) = self.listener() else { return };
        let now = worker.env.now();
        loop {
            let expired = self.table.borrow_mut().expire(now, &listener.config.udp);
            let Some(flow) = expired else { break };
            let silence = flow.silence();
            if let State::Open(mut open) = flow.with.state {
                self.open.set(self.open.get() - 1);
                if let Some(reason) = silence {
                    open.failed(worker, reason);
                }
                open.settle(worker, silence);
            }
        }
    }

    /// Ends one flow.
    fn end<E: Env>(&self, worker: &Worker<E>, id: FlowId, reason: Option<Reason>) {
        let flow = self.table.borrow_mut().remove(id);
        if let Some(State::Open(open)) = flow.map(|flow| flow.with.state) {
            self.open.set(self.open.get() - 1);
            open.settle(worker, reason);
        }
    }

    fn end_all<E: Env>(&self, worker: &Worker<E>, reason: Reason) {
        let all = self.table.borrow().list(|_| true);
        all.into_iter().for_each(|id| self.end(worker, id, Some(reason)));
    }

    /// A flow's endpoint failed it.
    fn lose<E: Env>(&self, worker: &Worker<E>, id: FlowId, reason: Reason) {
        let mut table = self.table.borrow_mut();
        let Some(flow) = table.get_mut(id) else { return };
        flow.lose();
        let State::Open(open) = &mut flow.with.state else { return };
        open.failed(worker, reason);
        let lost = State::Lost(open.lost());
        let State::Open(open) = std::mem::replace(&mut flow.with.state, lost) else { return };
        drop(table);
        self.open.set(self.open.get() - 1);
        open.settle(worker, Some(reason));
    }
}
