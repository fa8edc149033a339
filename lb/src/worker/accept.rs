//! Step 1: sockets -> connections, each in a task of its own.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use weir_config::model::{Address, ListenerName, Protocol};
use weir_core::snapshot::Listener;

use super::{Worker, World, serve};
use crate::env::Env;

/// A socket this worker accepts on, as its connections know it.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The listener it was opened for.
    pub(crate) listener: ListenerName,
    /// The address as it stands in the configuration: what finds the listener in a newer world.
    pub(crate) address: Address,
    closed: Cell<bool>,
    /// What is spoken there and whether over TLS, once that has changed.
    speaks: Cell<Option<(Protocol, bool)>>,
    /// The last world that knew it, or in which something else was spoken there.
    last: RefCell<Option<(Rc<World>, usize)>>,
}

impl Bound {
    /// Whether an HTTP connection with or without TLS is to end: it is closed, or no HTTP is spoken
    /// there any more, or not in that way.
    pub(crate) fn is_closed(&self, secure: bool) -> bool {
        self.closed.get() || self.speaks.get().is_some_and(|speaks| speaks != (Protocol::Http, secure))
    }

    /// Where a new connection finds its listener: in the newest world, or in the last that knew it.
    pub(crate) fn place<E: Env>(&self, worker: &Worker<E>) -> Option<(Rc<World>, usize)> {
        let world = worker.world();
        match world.listener_of(self) {
            Some(index) => Some((world, index)),
            None => self.last.borrow().clone(),
        }
    }

    /// The same for a connection that speaks `protocol`: in the newest world in which its address
    /// does.
    pub(crate) fn place_of<E: Env>(&self, worker: &Worker<E>, protocol: Protocol) -> Option<(Rc<World>, usize)> {
        let world = worker.world();
        let speaks = |world: &World, index: usize| world.snapshot.listeners[index].config.protocol == protocol;
        match world.listener_of(self) {
            Some(index) if speaks(&world, index) => Some((world, index)),
            _ => self.last.borrow().clone().filter(|(world, index)| speaks(world, *index)),
        }
    }

    /// Remembers `older` if it knew this address and `newer` does not, or speaks something else
    /// there; whether its connections have to know.
    pub(crate) fn follow(&self, older: &Rc<World>, newer: &World) -> bool {
        let Some(index) = older.listener_of(self) else { return false };
        let speech = |listener: &Listener| (listener.config.protocol, listener.config.tls.is_some());
        let spoke = speech(&older.snapshot.listeners[index]);
        let speaks = newer.listener_of(self).map(|index| speech(&newer.snapshot.listeners[index]));
        if speaks == Some(spoke) {
            return false;
        }
        if speaks.is_none_or(|(protocol, _)| protocol != spoke.0) {
            *self.last.borrow_mut() = Some((Rc::clone(older), index));
        }
        self.speaks.set(speaks);
        speaks.is_some()
    }
}

/// The accept loop of one socket, and the hand that ends it.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) bound: Rc<Bound>,
    stop: oneshot::Sender<()>,
}

impl Door {
    pub(crate) fn open<E: Env>(
        worker: &Rc<Worker<E>>,
        listener: ListenerName,
        address: Address,
        socket: E::Reserved,
    ) -> Self {
        let bound = Rc::new(Bound {
            listener,
            address,
            closed: Cell::new(false),
            speaks: Cell::default(),
            last: RefCell::default(),
        });
        let (stop, stopped) = oneshot::channel();
        tokio::task::spawn_local(accept(Accepting::new(worker), Rc::clone(&bound), socket, stopped));
        Self { bound, stop }
    }

    /// Stops accepting, and lets the connections know.
    pub(crate) fn close(self) {
        self.bound.closed.set(true);
        // If the loop has ended already there is nobody to tell.
        let _ = self.stop.send(());
    }
}

/// An accept loop, counted for as long as it lives.
pub(super) struct Accepting<E: Env>(Rc<Worker<E>>);

impl<E: Env> Accepting<E> {
    pub(super) fn new(worker: &Rc<Worker<E>>) -> Self {
        worker.accepting.set(worker.accepting.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl<E: Env> Drop for Accepting<E> {
    fn drop(&mut self) {
        self.0.accepting.set(self.0.accepting.get() - 1);
        self.0.one_ended();
    }
}

async fn accept<E: Env>(
    accepting: Accepting<E>,
    bound: Rc<Bound>,
    socket: E::Reserved,
    mut stop: oneshot::Receiver<()>,
) {
    let worker = &accepting.0;
    let socket = match worker.env.listen(socket).await {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(listener = %bound.listener, address = %bound.address, %error, "cannot accept");
            return;
        }
    };
    let mut pause = PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stop => break,
            accepted = worker.env.accept(&socket) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = PAUSE_MIN;
                serve::spawn(worker, stream, peer, &bound);
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(listener = %bound.listener, %error, pause_ms = pause.as_millis() as u64, "accept failed");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
    // Who is in the queue has a connection as far as they know, and who is in the middle of the
    // handshake will have one: closing now would reset them.
    let late = async {
        while let Ok((stream, peer)) = worker.env.accept(&socket).await {
            serve::spawn(worker, stream, peer, &bound);
        }
    };
    let _ = tokio::time::timeout(LATECOMERS, late).await;
    while let Some((stream, peer)) = worker.env.accept_waiting(&socket) {
        serve::spawn(worker, stream, peer, &bound);
    }
}

/// Pauses after an accept that failed for want of descriptors or memory: at once is no better.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a socket that is to close still accepts.
const LATECOMERS: Duration = Duration::from_millis(50);

/// Errors of the one connection that was to be accepted, not of the socket.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
}
