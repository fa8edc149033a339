//! Steps 9 and 10: a connection to the endpoint, the request out, the head of its answer in.
//!
//! Both directions are moved by one task, in turn, so that an endpoint may answer before it has
//! read everything, and a client that waits for `100 Continue` is not waited for.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use weir_config::model::Address;
use weir_core::endpoint::EndpointId;
use weir_core::load::EndpointLoad;
use weir_core::reason::Reason;
use weir_core::snapshot::{Cluster, Listener};

use super::Worker;
use super::budget::Place;
use super::client::{Client, Heads};
use super::forward::{Failure, Inbound, Picked, Safety};
use super::headers::{self, Backward, Onward};
use super::pool::Upstream;
use super::relay::{Broken, Relay};
use crate::env::{Env, Stream, Unconnected};
use crate::http1::framing::Framing;
use crate::http1::head::{ResponseHead, Version};
use crate::http1::parse::{self, HeadEnd, RESPONSE_HEAD_MAX};

/// An attempt that has its connection.
pub(crate) struct Leased<'w, S> {
    pub(crate) upstream: Upstream<S>,
    /// It has served before, so the endpoint may have closed it without our knowing yet.
    reused: bool,
    endpoint: EndpointId,
    address: &'w Address,
    cluster: &'w Cluster,
    timeout: Duration,
    pub(crate) flight: Flight<'w>,
}

/// A leased connection on which the head of an answer has arrived.
pub(crate) struct Answered<'w, S>(Leased<'w, S>);

impl<'w, S> Answered<'w, S> {
    /// The connection, from which the rest of the answer is to be read.
    pub(crate) fn into_leased(self) -> Leased<'w, S> {
        self.0
    }
}

impl<S: Stream> Leased<'_, S> {
    /// Gives the connection back for the next request.
    pub(crate) fn keep<E: Env<Stream = S>>(self, worker: &Worker<E>) {
        let most = self.cluster.config.pool.max_idle;
        worker.pool.borrow_mut().give(self.endpoint, self.upstream, Instant::now(), most);
    }
}

/// Step 9: an idle connection to the endpoint, or a new one. `fresh` wants a new one.
pub(crate) async fn lease<'w, E: Env>(
    worker: &Worker<E>,
    picked: &Picked<'w>,
    fresh: bool,
) -> Result<Leased<'w, E::Stream>, Failure> {
    let Picked { pick, cluster, timeout: answer_timeout, .. } = picked;
    let member = pick.member;
    let load = member.load.of(worker.index);
    let flight = Flight::begin(load);
    let config = &cluster.config;
    let idle =
        if fresh { None } else { worker.pool.borrow_mut().take(member.id, Instant::now(), config.pool.idle_timeout) };
    let reused = idle.is_some();
    let upstream = match idle {
        Some(upstream) => {
            load.reuses.add(1);
            upstream
        }
        None => {
            let place = place(worker).ok_or(LOCAL_FAILURE)?;
            let connected =
                timeout(config.connect.timeout, worker.env.connect(member.address(), &config.connect)).await;
            let reason = match connected {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(connect_failure(&error)),
                Err(_) => Err(Reason::ConnectTimeout),
            };
            let stream = reason.map_err(|reason| Failure { reason, safety: Safety::NothingSent })?;
            Upstream::new(stream, Arc::clone(&member.load), worker.index, place)
        }
    };
    Ok(Leased {
        upstream,
        reused,
        endpoint: member.id,
        address: member.address(),
        cluster,
        timeout: *answer_timeout,
        flight,
    })
}

/// No descriptor to be had: nothing was sent, and no other endpoint would fare better.
const LOCAL_FAILURE: Failure = Failure { reason: Reason::ConnectLocal, safety: Safety::Sent };

/// Room for one more connection to an endpoint; idle ones to others make room.
fn place<E: Env>(worker: &Worker<E>) -> Option<Place> {
    worker.budget.for_endpoint().or_else(|| {
        worker.pool.borrow_mut().clear();
        worker.budget.for_endpoint()
    })
}

/// Whose fault a connection is that could not be opened.
fn connect_failure(error: &io::Error) -> Reason {
    Unconnected::from(error).reason()
}

/// Step 10: sends the request and waits for the head of the answer.
pub(crate) async fn exchange<'w, E: Env>(
    worker: &Worker<E>,
    listener: &Listener,
    mut leased: Leased<'w, E::Stream>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<Answered<'w, E::Stream>, Failure> {
    let Inbound { client, heads, upload, story, trusted } = inbound;
    let Heads { request, response } = &mut **heads;
    let onward = Onward {
        head: request,
        policy: &listener.config.headers,
        peer: &client.peer,
        trusted: *trusted,
        endpoint: leased.address,
        id: story.id.as_ref(),
    };
    headers::request(leased.upstream.wire.outbox.tail(), &onward);
    let mut sending = Sending::new(listener, leased.timeout, request.expects_continue);
    let mut end = HeadEnd::default();
    let to_head = request.is_head();
    let version = request.version;
    let outcome = poll_fn(|context| {
        if let Poll::Ready(failed) = sending.poll(worker, client, &mut leased.upstream, upload, context) {
            return Poll::Ready(Err(failed));
        }
        loop {
            match poll_head(worker, &mut leased.upstream, &mut end, to_head, response, context) {
                Poll::Ready(Ok(())) if response.is_informational() => {
                    end = HeadEnd::default();
                    if !sending.relay_informational(client, response, version) {
                        return Poll::Ready(Err(Reason::UpstreamProtocol));
                    }
                }
                Poll::Ready(ended) => return Poll::Ready(ended),
                Poll::Pending => {
                    // A client that does not take its informational answers need not have them.
                    let _ = client.wire.poll_flush(context);
                    if sending.over && client.poll_gone(&worker.scratch, context) {
                        return Poll::Ready(Err(Reason::ClientGone));
                    }
                    if worker.is_cutting() {
                        return Poll::Ready(Err(Reason::DrainDeadline));
                    }
                    let late = client.deadline.poll(context);
                    return late.map(|()| Err(sending.late(&leased.upstream)));
                }
            }
        }
    })
    .await;
    match outcome {
        Ok(()) => {
            story.answered = Some(Instant::now());
            leased.flight.answered(response.status);
            Ok(Answered(leased))
        }
        Err(reason) => {
            let silent = leased.upstream.wire.received == 0;
            let stale = leased.reused && silent && reason == Reason::UpstreamReset;
            Err(Failure { reason, safety: if stale { Safety::StaleConnection } else { Safety::Sent } })
        }
    }
}

/// Reads until the head of an answer is complete.
fn poll_head<E: Env>(
    worker: &Worker<E>,
    upstream: &mut Upstream<E::Stream>,
    end: &mut HeadEnd,
    to_head: bool,
    response: &mut ResponseHead,
    context: &mut Context<'_>,
) -> Poll<Result<(), Reason>> {
    let mut parse = |bytes: &[u8]| match end.find(bytes) {
        Err(_) => Err(Reason::UpstreamProtocol),
        Ok(Some(length)) if length > RESPONSE_HEAD_MAX => Err(Reason::UpstreamProtocol),
        Ok(Some(length)) => parse::response(&bytes[..length], to_head, response).map(|()| Some(length)),
        Ok(None) if bytes.len() > RESPONSE_HEAD_MAX => Err(Reason::UpstreamProtocol),
        Ok(None) => Ok(None),
    };
    let wire = &mut upstream.wire;
    if !wire.inbox.is_empty()
        && let Some(used) = parse(wire.inbox.as_slice())?
    {
        wire.inbox.consume(used);
        return Poll::Ready(Ok(()));
    }
    loop {
        let read = wire.poll_take(&worker.scratch, context, |bytes, inbox, _| {
            if bytes.is_empty() {
                // The end before an answer; in the middle of its head it is no answer either.
                return Err(if inbox.is_empty() { Reason::UpstreamReset } else { Reason::UpstreamProtocol });
            }
            if inbox.is_empty() {
                let found = parse(bytes)?;
                inbox.push(&bytes[found.unwrap_or(0)..]);
                return Ok(found);
            }
            inbox.push(bytes);
            let found = parse(inbox.as_slice())?;
            inbox.consume(found.unwrap_or(0));
            Ok(found)
        });
        match read {
            Poll::Ready(Ok(Ok(Some(_)))) => return Poll::Ready(Ok(())),
            Poll::Ready(Ok(Ok(None))) => {}
            Poll::Ready(Ok(Err(reason))) => return Poll::Ready(Err(reason)),
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Reason::UpstreamReset)),
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// The request on its way out, and how long that and the answer may take.
struct Sending<'l> {
    listener: &'l Listener,
    timeout: Duration,
    /// The client sends no body before it is told to.
    waits: bool,
    began: Instant,
    /// The last time something moved; the clock of `stream_idle`.
    moved: Instant,
    /// Since when the endpoint has not read: time that is not the client's.
    blocked: Option<Instant>,
    passed: u64,
    /// Nothing more will be sent: all of it has been, or the endpoint has stopped reading.
    over: bool,
    informational: u8,
}

/// A body may be as slow as it likes for this long before its rate is looked at.
const RATE_GRACE: Duration = Duration::from_secs(10);
/// Informational answers to one request; more is an endpoint gone mad.
const INFORMATIONAL_MAX: u8 = 32;

impl<'l> Sending<'l> {
    fn new(listener: &'l Listener, timeout: Duration, waits: bool) -> Self {
        let now = Instant::now();
        Self {
            listener,
            timeout,
            waits,
            began: now,
            moved: now,
            blocked: None,
            passed: 0,
            over: false,
            informational: 0,
        }
    }

    /// Sends what can be sent. Ready only with a reason to give up.
    fn poll<E: Env>(
        &mut self,
        worker: &Worker<E>,
        client: &mut Client<E::Stream>,
        upstream: &mut Upstream<E::Stream>,
        upload: &mut Relay,
        context: &mut Context<'_>,
    ) -> Poll<Reason> {
        if self.over {
            return Poll::Pending;
        }
        let before = upstream.wire.sent;
        match upload.poll(&mut client.wire, &mut upstream.wire, &worker.scratch, context) {
            // What an endpoint that stopped reading has to say may be waiting to be read.
            Poll::Ready(Ok(()) | Err(Broken::Sink)) => {
                self.over = true;
                client.deadline.set_after(Instant::now(), self.timeout);
            }
            Poll::Ready(Err(broken)) => return Poll::Ready(upload_failure(&broken)),
            Poll::Pending => {
                if upload.passed != self.passed || upstream.wire.sent != before {
                    self.passed = upload.passed;
                    self.moved = Instant::now();
                }
                self.keep_clock(!upstream.wire.outbox.is_empty());
                client.deadline.set(self.until(upstream));
            }
        }
        Poll::Pending
    }

    /// The endpoint has to speak before the client sends its body.
    const fn waits_for_endpoint(&self) -> bool {
        self.waits && self.passed == 0 && self.informational == 0
    }

    /// Stops the client's clock while it is the endpoint that does not read.
    fn keep_clock(&mut self, blocked: bool) {
        match self.blocked {
            None if blocked => self.blocked = Some(Instant::now()),
            Some(since) if !blocked => {
                self.began += since.elapsed();
                self.blocked = None;
            }
            _ => {}
        }
    }

    /// When this has taken too long, if nothing moves until then.
    fn until<S>(&self, upstream: &Upstream<S>) -> Instant {
        if self.waits_for_endpoint() {
            return self.began + self.timeout;
        }
        let idle = self.moved + self.listener.config.timeouts.stream_idle;
        let rate = self.listener.config.limits.body_min_rate;
        if rate == 0 || !upstream.wire.outbox.is_empty() {
            return idle;
        }
        let earned = Duration::from_secs_f64(self.passed as f64 / f64::from(rate));
        idle.min(self.began + earned.max(RATE_GRACE))
    }

    /// Why it took too long: the endpoint has not answered, or not read; or the client has not sent.
    fn late<S>(&self, upstream: &Upstream<S>) -> Reason {
        let endpoints_turn = self.over || self.waits_for_endpoint() || !upstream.wire.outbox.is_empty();
        if endpoints_turn { Reason::UpstreamTimeout } else { Reason::BodyTimeout }
    }

    /// Sends an informational answer on to a client that knows such answers; false if there have
    /// been too many.
    fn relay_informational<S: Stream>(
        &mut self,
        client: &mut Client<S>,
        response: &ResponseHead,
        version: Version,
    ) -> bool {
        self.informational = self.informational.saturating_add(1);
        if self.waits && self.informational == 1 {
            // Only now is the client asked for its body: its clock begins.
            self.began = Instant::now();
            self.moved = self.began;
        }
        if version == Version::Http11 {
            let backward = Backward { head: response, framing: Framing::None, version, closing: false, id: None };
            headers::response(client.wire.outbox.tail(), &backward);
        }
        self.informational <= INFORMATIONAL_MAX
    }
}

/// Why a request's body did not arrive.
pub(crate) const fn upload_failure(broken: &Broken) -> Reason {
    match broken {
        Broken::Source => Reason::ClientGone,
        Broken::Sink => Reason::UpstreamReset,
        Broken::BadChunk => Reason::BadChunk,
        Broken::TooLarge => Reason::BodyTooLarge,
    }
}

/// An attempt under way, in its endpoint's counts.
pub(crate) struct Flight<'w>(&'w EndpointLoad);

impl<'w> Flight<'w> {
    fn begin(load: &'w EndpointLoad) -> Self {
        load.requests.add(1);
        load.in_flight.add(1);
        Self(load)
    }

    fn answered(&self, status: u16) {
        if let Some(answers) = self.0.answers.get(usize::from(status / 100).wrapping_sub(1)) {
            answers.add(1);
        }
    }

    /// The answer broke off.
    pub(crate) fn failed(&self, reason: Reason) {
        self.0.failures[reason].add(1);
    }

    /// What went over the wire.
    pub(crate) fn moved(&self, sent: u64, received: u64) {
        self.0.bytes_sent.add(sent);
        self.0.bytes_received.add(received);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.sub(1);
    }
}
