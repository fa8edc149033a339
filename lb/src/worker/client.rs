//! The client's side of a connection: step 3 of the trunk, bytes -> a checked head, and how a
//! connection ends.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite as _;
use tokio::time::Instant;
use weir_config::model::{Listener, ListenerLimits, ListenerTimeouts};
use weir_core::reason::Reason;
use weir_core::snapshot::Cluster;

use super::Worker;
use super::accept::Bound;
use super::deadline::Deadline;
use super::headers::Peer;
use crate::env::{Env, Stream};
use crate::http1::head::{RequestHead, ResponseHead};
use crate::http1::parse::{self, HeadEnd};
use crate::http1::wire::{Buffer, Scratch, Wire};
use crate::observe::access::Tls;
use crate::proxy::Ends;
use crate::tls::Secure;
use crate::transport::Transport;

/// A client's connection.
pub(crate) struct Client<S: Stream> {
    pub(crate) wire: Wire<Transport<S>>,
    pub(crate) peer: Peer,
    /// Its TLS, if it came by TLS.
    pub(crate) secure: Option<Rc<Secure>>,
    pub(crate) bound: Rc<Bound>,
    pub(crate) deadline: Deadline,
    /// Since when it has nothing to do.
    pub(crate) since: Instant,
    /// A request is under way: whatever ends the connection now must not look like the end of an
    /// answer, be it a panic or the end of the process.
    pub(crate) busy: bool,
    /// It has sent its last byte; it may still be waiting for an answer.
    half_closed: bool,
}

impl<S: Stream> Drop for Client<S> {
    fn drop(&mut self) {
        if self.busy {
            self.wire.io.abort_on_close();
        }
    }
}

/// The heads of a request and its answer: lent to a connection for as long as a request is under
/// way, so that idle connections hold none.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
}

/// How long a listener waits for a request, and how much of it it takes.
pub(crate) struct Patience {
    idle: Duration,
    header: Duration,
    limits: ListenerLimits,
}

impl Patience {
    pub(crate) fn of(listener: &Listener) -> Self {
        let ListenerTimeouts { idle, header, .. } = listener.timeouts;
        Self { idle, header, limits: listener.limits.clone() }
    }
}

/// What the wait for a request ended in.
pub(crate) enum Next {
    /// A head that may be forwarded.
    Request(Box<Heads>),
    /// One that may not.
    Refused(Box<Heads>, Reason),
    /// Nothing more will come.
    Closed,
}

/// How long we read on after our last word so that the client can read it: data that arrives at a
/// closed socket resets the connection and takes our answer with it. First without a byte, then
/// over all.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_MAX: Duration = Duration::from_secs(30);

impl<S: Stream> Client<S> {
    pub(crate) fn new(io: Transport<S>, peer: SocketAddr, bound: Rc<Bound>, now: Instant) -> Self {
        let deadline = Deadline::new(now + LINGER);
        Self {
            wire: Wire::new(io),
            peer: Peer::new(peer),
            secure: None,
            bound,
            deadline,
            since: now,
            busy: false,
            half_closed: false,
        }
    }

    /// One stream of a connection, as if it were one.
    pub(crate) fn stream(io: Transport<S>, peer: Peer, secure: Option<Rc<Secure>>, bound: &Rc<Bound>) -> Self {
        let now = Instant::now();
        let (deadline, bound) = (Deadline::new(now + LINGER), Rc::clone(bound));
        Self { wire: Wire::new(io), peer, secure, bound, deadline, since: now, busy: true, half_closed: false }
    }

    /// Whether it speaks over TLS.
    pub(crate) const fn is_secure(&self) -> bool {
        self.secure.is_some()
    }

    /// Its TLS, for the access log.
    pub(crate) fn tls_line(&self) -> Option<Tls<'_>> {
        let Secure { version, cipher, server_name, .. } = self.secure.as_deref()?;
        Some(Tls { version, cipher, server_name: server_name.as_deref() })
    }

    /// Its certificate, as endpoints are told of it.
    pub(crate) fn certificate(&self) -> Option<&str> {
        self.secure.as_ref()?.certificate.as_deref()
    }

    /// What endpoints of `cluster` are told of where this comes from, if they are.
    pub(crate) fn ends(&self, cluster: &Cluster) -> Option<Ends> {
        cluster.config.proxy_protocol?;
        // Over a Unix socket, and with nobody to tell more, there are no such ends.
        let to = self.peer.to.or_else(|| self.wire.io.local_addr().ok())?;
        Some(Ends { from: self.peer.address, to })
    }

    /// The next request's head.
    pub(crate) async fn next<E: Env<Stream = S>>(&mut self, worker: &Worker<E>, patience: &Patience) -> Next {
        let mut reading = Reading { heads: None, end: HeadEnd::default(), began: false, going: false };
        self.deadline.set_after(self.since, patience.idle);
        poll_fn(|context| reading.poll(self, worker, patience, context)).await
    }

    /// Whether the client has reset the connection while it waits for an answer. What it sends
    /// ahead meanwhile is kept; that it closed its side is no sign that it has gone.
    pub(crate) fn poll_gone(&mut self, scratch: &Scratch, context: &mut Context<'_>) -> bool {
        while !self.half_closed && self.wire.inbox.len() < Scratch::SIZE {
            let read = self.wire.poll_take(scratch, context, |bytes, inbox, _| {
                inbox.push(bytes);
                bytes.is_empty()
            });
            match read {
                Poll::Pending => return false,
                Poll::Ready(Ok(ended)) => self.half_closed = ended,
                Poll::Ready(Err(_)) => return true,
            }
        }
        false
    }

    /// Ends the connection so that what was sent arrives.
    pub(crate) async fn close<E: Env<Stream = S>>(mut self, worker: &Worker<E>, unread: bool) {
        self.busy = false;
        let shut = poll_fn(|context| Pin::new(&mut self.wire.io).poll_shutdown(context)).await;
        if shut.is_err() || (!unread && self.wire.inbox.is_empty()) {
            return;
        }
        self.deadline.set(Instant::now() + LINGER);
        let last = Instant::now() + LINGER_MAX;
        let Self { wire, deadline, .. } = &mut self;
        poll_fn(|context| {
            loop {
                match wire.poll_take(&worker.scratch, context, |bytes, _, _| bytes.len()) {
                    Poll::Ready(Ok(count)) if count > 0 && Instant::now() < last => {
                        deadline.set(last.min(Instant::now() + LINGER));
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending if worker.is_cutting() => return Poll::Ready(()),
                    Poll::Pending => return deadline.poll(context),
                }
            }
        })
        .await;
    }

    /// Ends a connection on which nothing is under way: who speaks TLS is told so, for an end that is
    /// not announced may be anybody's doing. A socket that is merely closed says as much by itself.
    pub(crate) fn part(&mut self) {
        if let Transport::Tls(stream) = &mut self.wire.io {
            // What does not fit the socket now is not worth waiting for.
            let mut context = Context::from_waker(std::task::Waker::noop());
            let _ = Pin::new(stream).poll_shutdown(&mut context);
        }
    }

    /// Ends the connection so that nobody can take it for a complete answer.
    pub(crate) fn abort(mut self) {
        self.busy = true;
    }
}

struct Reading {
    heads: Option<Box<Heads>>,
    end: HeadEnd,
    /// The first byte of the request is here.
    began: bool,
    /// The connection is to close, unless a request comes within the grace.
    going: bool,
}

impl Reading {
    fn poll<E: Env>(
        &mut self,
        client: &mut Client<E::Stream>,
        worker: &Worker<E>,
        patience: &Patience,
        context: &mut Context<'_>,
    ) -> Poll<Next> {
        let secure = client.is_secure();
        let Client { wire, deadline, bound, .. } = client;
        // What a pipelining client sent ahead.
        self.skip_empty_lines(&mut wire.inbox);
        if !wire.inbox.is_empty() {
            match self.parse(wire.inbox.as_slice(), worker, &patience.limits) {
                Ok(Some(used)) => {
                    wire.inbox.consume(used);
                    return self.done(None);
                }
                Ok(None) => self.begin(deadline, patience),
                Err(reason) => return self.done(Some(reason)),
            }
        }
        loop {
            let read = wire.poll_take(&worker.scratch, context, |bytes, inbox, _| {
                if bytes.is_empty() {
                    return None;
                }
                if !inbox.is_empty() {
                    inbox.push(bytes);
                    self.skip_empty_lines(inbox);
                    let parsed = self.parse(inbox.as_slice(), worker, &patience.limits);
                    if let Ok(Some(used)) = parsed {
                        inbox.consume(used);
                    }
                    return Some(parsed);
                }
                // The usual case: a whole head in one read, parsed where it lies.
                let skipped = bytes.chunks_exact(2).take_while(|pair| pair == b"\r\n").count() * 2;
                let parsed = self.parse(&bytes[skipped..], worker, &patience.limits);
                let used = if let Ok(Some(used)) = parsed { used } else { 0 };
                inbox.push(&bytes[skipped + used..]);
                Some(parsed)
            });
            match read {
                Poll::Ready(Ok(Some(Ok(Some(_))))) => return self.done(None),
                Poll::Ready(Ok(Some(Err(reason)))) => return self.done(Some(reason)),
                // Empty lines alone are no beginning.
                Poll::Ready(Ok(Some(Ok(None)))) if wire.inbox.is_empty() => {}
                Poll::Ready(Ok(Some(Ok(None)))) => self.begin(deadline, patience),
                Poll::Ready(Ok(None) | Err(_)) => return Poll::Ready(Next::Closed),
                Poll::Pending => break,
            }
        }
        if !self.began && !self.going && (worker.is_draining() || bound.is_closed(secure)) {
            self.going = true;
            deadline.set(Instant::now() + worker.idle_grace());
        }
        if deadline.poll(context).is_pending() && !worker.is_cutting() {
            if !self.began {
                wire.inbox.release();
                wire.outbox.release();
            }
            return Poll::Pending;
        }
        if self.began && !worker.is_cutting() {
            self.heads.get_or_insert_with(|| worker.lend_heads());
            self.done(Some(Reason::HeaderTimeout))
        } else {
            Poll::Ready(Next::Closed)
        }
    }

    /// RFC 9112 2.2: empty lines before a request are ignored.
    fn skip_empty_lines(&mut self, inbox: &mut Buffer) {
        while inbox.as_slice().starts_with(b"\r\n") {
            inbox.consume(2);
            self.end = HeadEnd::default();
        }
    }

    /// The clock for the head runs from its first byte.
    fn begin(&mut self, deadline: &mut Deadline, patience: &Patience) {
        if !self.began {
            self.began = true;
            deadline.set_after(Instant::now(), patience.header);
        }
    }

    /// The length of the head `bytes` begins with, parsed, if it is complete.
    fn parse<E: Env>(
        &mut self,
        bytes: &[u8],
        worker: &Worker<E>,
        limits: &ListenerLimits,
    ) -> Result<Option<usize>, Reason> {
        let found = self.end.find(bytes);
        let heads = self.heads.get_or_insert_with(|| worker.lend_heads());
        let length = found.map_err(|_| {
            heads.request.fields.clear();
            Reason::BadRequest
        })?;
        let so_far = length.unwrap_or(bytes.len());
        if so_far > limits.header_bytes as usize {
            return Err(if self.end.has_line() { Reason::HeaderTooLarge } else { Reason::UriTooLong });
        }
        if !self.end.has_line() && so_far > limits.uri_bytes as usize + REQUEST_LINE_REST {
            return Err(Reason::UriTooLong);
        }
        match length {
            Some(length) => parse::request(&bytes[..length], limits, &mut heads.request).map(|()| Some(length)),
            None => Ok(None),
        }
    }

    fn done(&mut self, refused: Option<Reason>) -> Poll<Next> {
        let heads = self.heads.take().unwrap_or_default();
        Poll::Ready(match refused {
            None => Next::Request(heads),
            Some(reason) => Next::Refused(heads, reason),
        })
    }
}

/// What a request line may hold beside its target: method, version, spaces.
const REQUEST_LINE_REST: usize = 64;
