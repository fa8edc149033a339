//! HTTP/2 connections to endpoints, each shared by many requests of one worker.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::sync::Notify;
use tokio::time::Instant;
use weir_config::model;
use weir_core::endpoint::EndpointId;

use super::deadline::Deadline;
use super::pool::{Counted, Opened};
use crate::http1::wire::Io;
use crate::http2::client::ClientStream;
use crate::http2::link::Link;

/// What an endpoint may send of one answer before the client has taken it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// And of all answers of a connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What we hold of one request that the endpoint does not take.
const SEND_BUFFER: usize = 64 * 1024;
/// Heads of answers, in bytes.
const HEAD_MAX: u32 = crate::http1::parse::RESPONSE_HEAD_MAX as u32;
/// Streams on one connection: beyond that another one spreads the load over the endpoint's threads.
const STREAMS_MAX: usize = 100;
/// An endpoint that owes an answer and says nothing for this long is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// And if it does not say so in this time, it is not.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that takes streams.
#[derive(Debug)]
struct Session {
    send: SendRequest<Bytes>,
    secure: bool,
    opened: Opened,
    streams: Rc<Streams>,
}

/// What a connection and its streams know of each other.
#[derive(Debug)]
pub(crate) struct Streams {
    open: Cell<usize>,
    /// It takes no more: it is closed, or the endpoint said so.
    closed: Cell<bool>,
    /// Since when none has been open.
    free_since: Cell<Instant>,
}

/// A stream's part in the count of its connection.
#[derive(Debug)]
pub(crate) struct InUse(Rc<Streams>);

impl InUse {
    fn begin(streams: &Rc<Streams>) -> Self {
        streams.open.set(streams.open.get() + 1);
        Self(Rc::clone(streams))
    }

    /// The connection is to be given no more streams.
    pub(crate) fn close(&self) {
        self.0.closed.set(true);
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.free_since.set(Instant::now());
    }
}

/// A worker's HTTP/2 connections to endpoints.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: HashMap<EndpointId, Vec<Session>>,
    /// Endpoints to which some are being opened, and who waits for those.
    opening: HashMap<EndpointId, Opening>,
    /// How many streams the last connection to an endpoint had room for, where that is few.
    room: HashMap<EndpointId, usize>,
    /// Those that could have chosen HTTP/2, and did not.
    declined: HashSet<EndpointId>,
}

/// Connections to one endpoint that are being opened.
#[derive(Debug, Default)]
struct Opening {
    notify: Rc<Notify>,
    under_way: usize,
    waiting: usize,
}

impl Sessions {
    /// A stream on a connection to `endpoint`, if one has room that `cluster` as it is now would open
    /// the same way; others are given no more streams.
    pub(crate) fn stream(
        &mut self,
        endpoint: EndpointId,
        cluster: &Arc<model::Cluster>,
    ) -> Option<(ClientStream, InUse)> {
        let sessions = self.open.get_mut(&endpoint)?;
        sessions.retain_mut(|session| !session.streams.closed.get() && session.opened.is_for(cluster));
        let session = sessions
            .iter()
            .find(|session| session.streams.open.get() < session.send.current_max_send_streams().min(STREAMS_MAX))?;
        Some((ClientStream::new(session.send.clone(), session.secure), InUse::begin(&session.streams)))
    }

    /// Whether one to `endpoint` may have room.
    pub(crate) fn has(&self, endpoint: EndpointId) -> bool {
        self.open.get(&endpoint).is_some_and(|sessions| !sessions.is_empty())
    }

    /// Whether to wait for a connection to `endpoint` that is being opened: as long as those that are have
    /// room for all who wait. Else it is the caller's to open one, until it [says](Self::opened) that it
    /// has; who waits says when it waits no more, too.
    pub(crate) fn opening(&mut self, endpoint: EndpointId) -> Option<Rc<Notify>> {
        let opening = self.opening.entry(endpoint).or_default();
        // Who opens one has a stream of it.
        let room = self.room.get(&endpoint).map_or(STREAMS_MAX, |room| *room) - 1;
        if opening.waiting < opening.under_way * room {
            opening.waiting += 1;
            return Some(Rc::clone(&opening.notify));
        }
        opening.under_way += 1;
        None
    }

    /// The connection that was being opened is there, or will not be.
    pub(crate) fn opened(&mut self, endpoint: EndpointId) {
        if let Some(opening) = self.opening.get_mut(&endpoint) {
            opening.under_way = opening.under_way.saturating_sub(1);
            opening.notify.notify_waiters();
            self.end_opening(endpoint);
        }
    }

    /// Somebody waits no more for a connection that is being opened.
    pub(crate) fn waited(&mut self, endpoint: EndpointId) {
        if let Some(opening) = self.opening.get_mut(&endpoint) {
            opening.waiting = opening.waiting.saturating_sub(1);
            self.end_opening(endpoint);
        }
    }

    fn end_opening(&mut self, endpoint: EndpointId) {
        self.opening.retain(|id, opening| *id != endpoint || opening.under_way > 0 || opening.waiting > 0);
    }

    /// Whether `endpoint` chose HTTP/1.1 the last time it could choose.
    pub(crate) fn has_declined(&self, endpoint: EndpointId) -> bool {
        self.declined.contains(&endpoint)
    }

    /// It chose HTTP/1.1.
    pub(crate) fn declines(&mut self, endpoint: EndpointId) {
        self.declined.insert(endpoint);
    }

    /// Lets those go that idled for too long, and those that lead to endpoints for which
    /// `idle_timeout` has no answer; streams under way go on.
    pub(crate) fn sweep(&mut self, now: Instant, idle_timeout: impl Fn(EndpointId) -> Option<Duration>) {
        self.declined.retain(|endpoint| idle_timeout(*endpoint).is_some());
        self.room.retain(|endpoint, _| idle_timeout(*endpoint).is_some());
        self.open.retain(|endpoint, sessions| {
            let Some(timeout) = idle_timeout(*endpoint) else { return false };
            sessions.retain(|session| {
                let Streams { open, closed, free_since } = &*session.streams;
                !closed.get() && (open.get() > 0 || now.saturating_duration_since(free_since.get()) < timeout)
            });
            !sessions.is_empty()
        });
    }

    /// Takes in a connection that was just opened, in a task of its own, and makes its first stream.
    ///
    /// # Errors
    /// If the other side does not take our first words.
    pub(crate) async fn begin<S: Io + 'static>(
        io: S,
        secure: bool,
        counted: Counted,
    ) -> io::Result<(NewSession, (ClientStream, InUse))> {
        let (send, mut connection) = builder().handshake(Link::new(io)).await.map_err(io::Error::other)?;
        // Its first words say how much may be asked at once; whoever speaks something else says so
        // before anything was asked.
        poll_fn(|context| match Pin::new(&mut connection).poll(context) {
            Poll::Ready(ended) => Poll::Ready(Err(ended.map_or_else(io::Error::other, |()| closed()))),
            Poll::Pending if send.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        let streams =
            Rc::new(Streams { open: Cell::new(0), closed: Cell::new(false), free_since: Cell::new(Instant::now()) });
        let first = (ClientStream::new(send.clone(), secure), InUse::begin(&streams));
        let (ping, opened) = (connection.ping_pong(), counted.opened());
        tokio::task::spawn_local(drive(connection, ping, Rc::clone(&streams), counted));
        Ok((NewSession(Session { send, secure, opened, streams }), first))
    }

    /// Keeps it for more streams.
    pub(crate) fn keep(&mut self, endpoint: EndpointId, session: NewSession) {
        match session.0.send.current_max_send_streams() {
            room @ 1..STREAMS_MAX => drop(self.room.insert(endpoint, room)),
            _ => drop(self.room.remove(&endpoint)),
        }
        self.open.entry(endpoint).or_default().push(session.0);
    }
}

fn closed() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// A connection of which nobody knows yet.
pub(crate) struct NewSession(Session);

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD_MAX)
        .max_send_buffer_size(SEND_BUFFER)
        // None before it is known how many the endpoint takes.
        .initial_max_send_streams(0)
        .enable_push(false);
    builder
}

/// Moves a connection's frames until it ends; counted as open till then.
async fn drive<S: Io>(
    mut connection: Connection<Link<S>, Bytes>,
    ping: Option<PingPong>,
    streams: Rc<Streams>,
    counted: Counted,
) {
    let mut pulse = Pulse { ping, deadline: Deadline::new(Instant::now() + PING_INTERVAL), pinged: false };
    poll_fn(|context| {
        if Pin::new(&mut connection).poll(context).is_ready() || pulse.is_lost(&streams, context) {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
    streams.closed.set(true);
    drop(counted);
}

/// Finds out whether an endpoint is still there that owes us something.
struct Pulse {
    ping: Option<PingPong>,
    deadline: Deadline,
    pinged: bool,
}

impl Pulse {
    fn is_lost(&mut self, streams: &Streams, context: &mut Context<'_>) -> bool {
        let Some(ping) = &mut self.ping else { return false };
        if self.pinged {
            match ping.poll_pong(context) {
                Poll::Ready(Ok(_)) => {
                    self.pinged = false;
                    self.deadline.set_after(Instant::now(), PING_INTERVAL);
                }
                Poll::Ready(Err(_)) => return true,
                Poll::Pending => {}
            }
        }
        while self.deadline.poll(context).is_ready() {
            if self.pinged {
                return true;
            }
            let asks = streams.open.get() > 0 && ping.send_ping(Ping::opaque()).is_ok();
            if asks {
                // Its answer wakes whoever asked for it.
                self.pinged = ping.poll_pong(context).is_pending();
            }
            self.deadline.set_after(Instant::now(), if asks { PING_TIMEOUT } else { PING_INTERVAL });
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_connections_are_opened_as_those_who_wait_need() {
        const ENDPOINT: EndpointId = EndpointId(7);
        let mut sessions = Sessions::default();
        let opens = |sessions: &mut Sessions, count: usize| -> usize {
            (0..count).filter(|_| sessions.opening(ENDPOINT).is_none()).count()
        };
        assert_eq!(opens(&mut sessions, 1), 1);
        assert_eq!(opens(&mut sessions, 99), 0, "they have a stream each of the first");
        assert_eq!(opens(&mut sessions, 101), 2, "and these of two more");
        for _ in 0..3 {
            sessions.opened(ENDPOINT);
        }
        for _ in 0..198 {
            sessions.waited(ENDPOINT);
        }
        assert!(sessions.opening.is_empty());
        // It has turned out to allow one stream on each.
        sessions.room.insert(ENDPOINT, 1);
        assert_eq!(opens(&mut sessions, 5), 5, "nobody waits for what is another's");
    }
}
