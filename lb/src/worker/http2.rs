//! A client's HTTP/2 connection: its streams, each a request in a task of its own, and how it ends.
//!
//! The connection's own task moves frames and keeps the clocks; a stream's task is the same trunk
//! that serves HTTP/1.

mod calm;
mod link;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Ping, PingPong, RecvStream};
use http::Request;
use tokio::time::{Instant, timeout};
use weir_config::model::{Http2, Listener, Protocol};
use weir_core::reason::Reason;

use self::calm::Calm;
use self::link::{Link, Passed, Traffic};
use super::Worker;
use super::accept::Bound;
use super::client::Client;
use super::deadline::Deadline;
use super::forward::{self, Served};
use super::headers::Peer;
use super::reply::{self, Fate};
use super::serve::{Guard, Slot};
use super::tunnel::{self, Tunnel};
use crate::env::{Env, Stream as _};
use crate::http1::parse;
use crate::http1::wire::Wire;
use crate::http2::server::{self, ServerStream};
use crate::http2::websocket;
use crate::tls::Secure;
use crate::transport::Transport;

/// What a client may send of one stream before we have passed it on.
const STREAM_WINDOW: u32 = 256 * 1024;
/// And of all of a connection's: what a client can make us hold.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What we hold of one answer that the client does not take.
const SEND_BUFFER: usize = 64 * 1024;
/// What a field costs in a header list beside its name and its value (RFC 9113 6.5.2).
const FIELD_COST: u32 = 32;
/// After our last word a connection is kept for this long: whoever is there says goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// And so much is read of what it still sends.
const LINGER_MAX: usize = 1024 * 1024;

/// Whether `bytes` begin as a connection does that speaks HTTP/2 without having asked: with prior
/// knowledge (RFC 9113 3.3).
pub(super) fn is_preface(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PRI * HTTP/2.0\r\n\r\n")
}

/// What a connection's streams share.
struct Shared<E: Env> {
    worker: Rc<Worker<E>>,
    peer: Peer,
    secure: Option<Rc<Secure>>,
    bound: Rc<Bound>,
    /// Streams under way.
    open: Cell<u32>,
    /// Streams that ever were.
    begun: Cell<u32>,
    /// Those that the client reset before it had an answer.
    given_up: Cell<u32>,
}

/// Serves a client's connection that begins, or will begin, with HTTP/2's preface.
pub(super) async fn connection<E: Env>(guard: Guard<E>, mut client: Client<E::Stream>) {
    let worker = Rc::clone(&guard.worker);
    guard.register().await;
    let Some((world, index)) = client.bound.place_of(&*worker, Protocol::Http) else { return };
    let listener = std::sync::Arc::clone(&world.snapshot.listeners[index]);
    drop(world);
    let mut peer = client.peer;
    // A stream knows no address of ours.
    peer.to = peer.to.or_else(|| client.wire.io.local_addr().ok());
    let shared = Rc::new(Shared {
        worker: Rc::clone(&worker),
        peer,
        secure: client.secure.clone(),
        bound: Rc::clone(&client.bound),
        open: Cell::new(0),
        begun: Cell::new(0),
        given_up: Cell::new(0),
    });
    let Client { wire, deadline, .. } = &mut client;
    let traffic = RefCell::new(Traffic::new());
    let link = Link { wire, traffic: &traffic };
    let handshake = builder(&listener.config).handshake::<_, Bytes>(link);
    let Ok(Ok(mut connection)) = timeout(listener.config.timeouts.header, handshake).await else { return };
    let mut clocks = Clocks::new(&worker, &listener.config, connection.ping_pong());
    let cut = poll_fn(|context| {
        loop {
            match connection.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    shared.open.set(shared.open.get() + 1);
                    shared.begun.set(shared.begun.get().saturating_add(1));
                    tokio::task::spawn_local(stream(Open(Rc::clone(&shared)), request, respond));
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(clocks.abused),
                Poll::Pending => break,
            }
        }
        let load = listener.load.of(worker.index);
        let passed = traffic.borrow_mut().take();
        load.bytes_received.add(passed.received);
        load.bytes_sent.add(passed.sent);
        match clocks.poll(&shared, passed, deadline, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Turn::Cut) => Poll::Ready(true),
            Poll::Ready(turn) => {
                match turn {
                    Turn::Abuse => {
                        load.reasons[Reason::Http2Abuse].add(1);
                        connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                    }
                    _ => connection.graceful_shutdown(),
                }
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await;
    drop(connection);
    if !cut {
        linger(&worker, wire, deadline).await;
    }
}

/// Reads on for a moment, so that what is still on its way here does not take our last words with it.
async fn linger<E: Env>(worker: &Worker<E>, wire: &mut Wire<Transport<E::Stream>>, deadline: &mut Deadline) {
    deadline.set(Instant::now() + GOODBYE);
    let mut left = LINGER_MAX;
    poll_fn(|context| {
        loop {
            match wire.poll_take(&worker.scratch, context, |bytes, _, _| bytes.len()) {
                Poll::Ready(Ok(count)) if count > 0 && count < left => left -= count,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if worker.is_cutting() => return Poll::Ready(()),
                Poll::Pending => return deadline.poll(context),
            }
        }
    })
    .await;
}

fn builder(listener: &Listener) -> Builder {
    let limits = &listener.limits;
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(listener.http2.max_concurrent_streams)
        // What is too much by our own limits is told as it is to HTTP/1; beyond this `h2` says 431.
        .max_header_list_size(limits.header_bytes.saturating_add(FIELD_COST * u32::from(limits.header_count)))
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol();
    builder
}

/// What is due on a connection.
enum Turn {
    /// It is to take no new streams, and to end with its last.
    Drain,
    /// The client does what brings nobody anything.
    Abuse,
    /// It ends now.
    Cut,
}

/// When a connection has idled, lived or been silent for too long.
struct Clocks {
    settings: Http2,
    idle: Duration,
    ping: Option<PingPong>,
    /// The last time the client was heard.
    heard: Instant,
    /// Since when it has been waiting for an answer to a ping.
    pinged: Option<Instant>,
    /// Since when there has been no stream.
    free_since: Option<Instant>,
    old_at: Option<Instant>,
    /// Since when no new streams are taken.
    leaving: Option<Instant>,
    calm: Calm,
    /// Requests given up that were looked at.
    given_up: u32,
    /// It ends because of what the client does.
    abused: bool,
}

impl Clocks {
    fn new<E: Env>(worker: &Worker<E>, listener: &Listener, ping: Option<PingPong>) -> Self {
        let now = Instant::now();
        let settings = listener.http2.clone();
        // A tenth more or less, so that connections that came together do not go together.
        let jitter = 0.9 + 0.2 * worker.dice.borrow_mut().unit();
        let old_at = settings.max_connection_age.map(|age| now + age.mul_f64(jitter));
        let idle = listener.timeouts.idle;
        Self {
            settings,
            idle,
            ping,
            heard: now,
            pinged: None,
            free_since: Some(now),
            old_at,
            leaving: None,
            calm: Calm::new(now),
            given_up: 0,
            abused: false,
        }
    }

    fn poll<E: Env>(
        &mut self,
        shared: &Shared<E>,
        passed: Passed,
        deadline: &mut Deadline,
        context: &mut Context<'_>,
    ) -> Poll<Turn> {
        let now = Instant::now();
        let worker = &shared.worker;
        if worker.is_cutting() {
            return Poll::Ready(Turn::Cut);
        }
        if passed.received > 0 {
            self.heard = now;
        }
        self.free_since = if shared.open.get() > 0 { None } else { self.free_since.or(Some(now)) };
        if !self.abused && self.is_abused(shared, passed, now) {
            self.abused = true;
            self.leaving = Some(now);
            return Poll::Ready(Turn::Abuse);
        }
        if self.leaving.is_none() {
            let idle = self.free_since.is_some_and(|since| now >= since + self.idle);
            let old = self.old_at.is_some_and(|at| now >= at);
            if idle || old || worker.is_draining() || shared.bound.is_closed(shared.secure.is_some()) {
                self.leaving = Some(now);
                return Poll::Ready(Turn::Drain);
            }
        }
        if self.poll_ping(now, context) {
            return Poll::Ready(Turn::Cut);
        }
        deadline.set(self.next(now));
        if deadline.poll(context).is_pending() {
            return Poll::Pending;
        }
        if self.leaving.is_some() && self.free_since.is_some_and(|since| now >= since + GOODBYE) {
            return Poll::Ready(Turn::Cut);
        }
        // What is due is seen the next time, at once.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_abused<E: Env>(&mut self, shared: &Shared<E>, passed: Passed, now: Instant) -> bool {
        let given_up = shared.given_up.get();
        let more = given_up - std::mem::replace(&mut self.given_up, given_up);
        let mocked = self.calm.is_mocked(more, given_up, shared.begun.get(), now);
        mocked || self.calm.is_flooded(passed.frames_received.overhead, passed.frames_sent.parts, now)
    }

    /// Asks a silent client whether it is there; whether it is not.
    fn poll_ping(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let (Some(ping), Some(interval)) = (&mut self.ping, self.settings.ping_interval) else { return false };
        if self.pinged.is_some() {
            match ping.poll_pong(context) {
                Poll::Ready(Ok(_)) => self.pinged = None,
                Poll::Ready(Err(_)) => return true,
                Poll::Pending => {}
            }
        }
        match self.pinged {
            Some(since) => now >= since + self.settings.ping_timeout,
            None if now >= self.heard + interval => {
                if ping.send_ping(Ping::opaque()).is_ok() {
                    self.pinged = Some(now);
                    // Its answer wakes whoever asked for it.
                    let _ = ping.poll_pong(context);
                }
                false
            }
            None => false,
        }
    }

    /// When something is due next.
    fn next(&self, now: Instant) -> Instant {
        let ping = match (self.pinged, self.settings.ping_interval) {
            (Some(since), Some(_)) => Some(since + self.settings.ping_timeout),
            (None, Some(interval)) => Some(self.heard + interval),
            (_, None) => None,
        };
        let patience = if self.leaving.is_some() { GOODBYE } else { self.idle };
        let free = self.free_since.map(|since| since.max(self.leaving.unwrap_or(since)) + patience);
        let old = self.old_at.filter(|_| self.leaving.is_none());
        [ping, free, old].into_iter().flatten().min().unwrap_or(now + self.idle)
    }
}

/// A stream under way, in its connection's count.
struct Open<E: Env>(Rc<Shared<E>>);

impl<E: Env> Drop for Open<E> {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// Serves one request.
async fn stream<E: Env>(open: Open<E>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let shared = &open.0;
    let worker = &shared.worker;
    let slot = Slot::new(worker);
    slot.register().await;
    // Opened and reset in one breath: nobody needs to be asked.
    if poll_fn(|context| Poll::Ready(respond.poll_reset(context).is_ready())).await {
        shared.given_up.set(shared.given_up.get().saturating_add(1));
        return;
    }
    let Some((world, index)) = shared.bound.place_of(&**worker, Protocol::Http) else {
        // Its listener is gone; nobody has looked at it.
        return respond.send_reset(h2::Reason::REFUSED_STREAM);
    };
    let limits = &world.snapshot.listeners[index].config.limits;
    let ended = request.body().is_end_stream();
    let mut heads = worker.lend_heads();
    let mut text = worker.text.take();
    let key = || {
        let mut dice = worker.dice.borrow_mut();
        websocket::key(u128::from(dice.roll()) << 64 | u128::from(dice.roll()))
    };
    let read = server::request_text(&request, ended, key, &mut text);
    let parsed = parse::request(&text, limits, &mut heads.request).and_then(|()| {
        let fits = text.len() <= limits.header_bytes as usize;
        if fits { Ok(()) } else { Err(Reason::HeaderTooLarge) }
    });
    worker.text.replace(text);
    let Ok((asked, framing)) = read else {
        respond.send_reset(h2::Reason::PROTOCOL_ERROR);
        worker.take_back_heads(heads);
        return;
    };
    let stream = ServerStream::new(request.into_body(), respond, asked, framing);
    let mut client =
        Client::stream(Transport::Served(Box::new(stream)), shared.peer, shared.secure.clone(), &shared.bound);
    let busy = slot.busy();
    client.busy = true;
    let served = match parsed {
        Ok(()) => forward::forward(worker, &world, index, &mut client, &mut heads).await,
        Err(reason) => Served::Answered(reply::refuse_head(worker, &world, index, &mut client, &heads, reason).await),
    };
    worker.take_back_heads(heads);
    let fate = match served {
        Served::Answered(fate) => fate,
        Served::Tunnel(tunnel) => {
            drop((busy, world));
            return drop(tokio::task::spawn_local(pass(open, slot, client, tunnel)));
        }
    };
    client.busy = fate == Fate::Abort;
    if client.wire.io.is_given_up() {
        shared.given_up.set(shared.given_up.get().saturating_add(1));
    }
}

/// What was a request's task goes on in another one.
async fn pass<E: Env>(open: Open<E>, slot: Slot<E>, client: Client<E::Stream>, tunnel: Box<Tunnel<E::Stream>>) {
    slot.register().await;
    let _busy = slot.busy();
    tunnel::through(&open.0.worker, client, tunnel).await;
}
