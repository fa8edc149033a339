//! Steps 9 and 10: a connection to the endpoint, the request out, the head of its answer in.
//!
//! Both directions are moved by one task, in turn, so that an endpoint may answer before it has
//! read everything, and a client that waits for `100 Continue` is not waited for.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use weir_core::drill::{End, Injected};
use weir_core::limits::Permit;
use weir_core::reason::Reason;
use weir_core::retry::Safety;
use weir_core::snapshot::{Cluster, Listener, Member};

use super::Worker;
use super::affinity::Affinity;
use super::attempts::{self, Failure, GiveUp, Patience, Picked, Tries};
use super::budget::Place;
use super::client::{Client, Heads};
use super::flight::{Flight, Held};
use super::forward::Inbound;
use super::headers::{self, Backward, Onward};
use super::pool::Upstream;
use super::relay::{Broken, Relay};
use super::room;
use super::story::Story;
use crate::env::{Env, Stream};
use crate::http1::framing::Framing;
use crate::http1::head::{ResponseHead, Version};
use crate::http1::parse::{self, HeadEnd, RESPONSE_HEAD_MAX};
use crate::tls::Use;
use crate::transport::Transport;

/// An attempt that has its connection.
pub(crate) struct Leased<'w, E: Env> {
    pub(crate) upstream: Box<Upstream<Transport<E::Stream>>>,
    /// It has served before, so the endpoint may have closed it without our knowing yet.
    reused: bool,
    member: &'w Member,
    /// Its index among its cluster's members.
    index: usize,
    cluster: &'w Cluster,
    pub(crate) flight: Flight<'w, E>,
}

/// A leased connection on which the head of an answer has arrived.
pub(crate) struct Answered<'w, E: Env>(Leased<'w, E>);

impl<'w, E: Env> Answered<'w, E> {
    /// The connection, from which the rest of the answer is to be read.
    pub(crate) fn into_leased(self) -> Leased<'w, E> {
        self.0
    }

    /// The cookie that keeps the session here, if one is wanted.
    pub(crate) fn cookie(&self, affinity: Affinity) -> Option<Vec<u8>> {
        affinity.cookie(self.0.cluster, self.0.member)
    }

    /// Gives the answer up for another attempt; the connection is kept if the rest of the answer
    /// is here already.
    pub(crate) fn discard(self, worker: &Worker<E>, response: &ResponseHead, sent: bool) {
        let mut leased = self.0;
        let inbox = &mut leased.upstream.wire.inbox;
        let whole = match response.framing {
            Framing::None => true,
            Framing::Length(length) if inbox.len() as u64 >= length => {
                // It fits an inbox, so it fits a usize.
                inbox.consume(length as usize);
                true
            }
            _ => false,
        };
        if whole && sent && response.keep_alive && leased.upstream.is_spent() {
            leased.keep(worker, Instant::now());
        }
    }
}

impl<E: Env> Leased<'_, E> {
    /// Gives the connection back for the next request; not if others wait for one.
    pub(crate) fn keep(self, worker: &Worker<E>, now: Instant) {
        if self.cluster.live.room.waiting() == 0 {
            let most = self.cluster.config.pool.max_idle;
            worker.pool.borrow_mut().give(self.member.id, self.upstream, now, most);
        }
    }
}

/// Step 9: an idle connection to the endpoint, or a new one.
pub(crate) async fn lease<'w, E: Env>(
    worker: &'w Worker<E>,
    picked: Picked<'w>,
    injected: Injected,
    tries: &mut Tries<'_>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<Leased<'w, E>, Failure> {
    let Picked { cluster, member, index, room, trial, retry, fresh, .. } = picked;
    let client = inbound.client.peer.address.ip();
    let mut flight = Flight::begin(worker, cluster, member, Held { room, retry, trial }, &inbound.story);
    if injected != Injected::default()
        && let Err(failure) = rehearse(worker, cluster, index, injected, tries, inbound).await
    {
        flight.failed(failure.outcome, &inbound.story, client);
        return Err(failure);
    }
    let idle =
        if fresh { None } else { worker.pool.borrow_mut().take(member.id, &cluster.config, inbound.story.tried) };
    let connection = match idle {
        Some(upstream) => {
            flight.load().reuses.add(1);
            Ok((upstream, true))
        }
        None => dial(worker, cluster, index, tries, inbound).await.map(|upstream| (upstream, false)),
    };
    match connection {
        Ok((upstream, reused)) => Ok(Leased { upstream, reused, member, index, cluster, flight }),
        Err(failure) => {
            if failure.telling {
                flight.failed(failure.outcome, &inbound.story, client);
            }
            Err(failure)
        }
    }
}

/// A new connection, in what time is left.
async fn dial<E: Env>(
    worker: &Worker<E>,
    cluster: &Cluster,
    index: usize,
    tries: &mut Tries<'_>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<Box<Upstream<Transport<E::Stream>>>, Failure> {
    let member = &cluster.members[index];
    let permits = permits(worker, cluster, member, tries.deadline, inbound.client).await?;
    let place = place(worker).ok_or(LOCAL_FAILURE)?;
    let how = &cluster.config.connect;
    let most = how.timeout.min(tries.left(Instant::now()));
    let mut connecting = pin!(worker.connect(cluster, member, Use::Http));
    let soon = tries.dial_patience(inbound.story.attempts).filter(|soon| *soon < most);
    let mut connected = timeout(soon.unwrap_or(most), &mut connecting).await;
    if let (Err(_), Some(soon)) = (&connected, soon)
        && !tries.give_up_dial(worker, index, &inbound.story)
    {
        connected = timeout(most - soon, connecting).await;
    }
    let reason = match connected {
        Ok(Ok(transport)) => {
            return Ok(Upstream::new(
                transport,
                Arc::clone(&member.load),
                worker.index,
                &cluster.config,
                place,
                permits,
            ));
        }
        Ok(Err(unopened)) => unopened.reason(),
        Err(_) => Reason::ConnectTimeout,
    };
    let failure = Failure::new(reason, Safety::NothingSent);
    let short = reason == Reason::ConnectTimeout && most < how.timeout && tries.is_short(most);
    Err(if short { failure.not_telling() } else { failure })
}

/// The right to one more connection, to the endpoint and to its cluster. Waits if there is none.
pub(crate) async fn permits<E: Env>(
    worker: &Worker<E>,
    cluster: &Cluster,
    member: &Member,
    deadline: Option<Instant>,
    client: &mut Client<E::Stream>,
) -> Result<[Permit; 2], Failure> {
    let live = &cluster.live;
    // Looked at before anything is taken: what is taken and given back wakes whoever is first in
    // the queue, which may be the one that asks, over and over.
    let take = || {
        let full = member.live.connections.is_full() || live.connections.is_full();
        if full { None } else { Some([member.live.connections.take()?, live.connections.take()?]) }
    };
    if let Some(permits) = take() {
        return Ok(permits);
    }
    // One of ours that idles at another endpoint of the cluster may be in the way.
    if live.connections.is_full() {
        worker.pool.borrow_mut().forget_any(cluster.members.iter().map(|member| member.id));
    }
    room::wait(worker, cluster, &live.room, deadline, client, take).await.map_err(|refused| {
        live.connections.count_refusal();
        // The endpoint has seen nothing of it, and it is not for want of trying.
        Failure::new(refused.reason, Safety::NothingSent)
    })
}

/// What an operator injected at the endpoint.
async fn rehearse<E: Env>(
    worker: &Worker<E>,
    cluster: &Cluster,
    index: usize,
    injected: Injected,
    tries: &mut Tries<'_>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<(), Failure> {
    let failed = |reason| Failure::new(reason, Safety::NothingSent);
    room::pause(worker, inbound.client, injected.delay).await.map_err(failed)?;
    if injected.end == Some(End::Unreachable) {
        // As it is when nobody is there to refuse.
        let most = cluster.config.connect.timeout.min(tries.left(Instant::now()));
        let soon = tries.dial_patience(inbound.story.attempts).filter(|soon| *soon < most);
        room::pause(worker, inbound.client, soon.unwrap_or(most)).await.map_err(failed)?;
        if let Some(soon) = soon
            && !tries.give_up_dial(worker, index, &inbound.story)
        {
            room::pause(worker, inbound.client, most - soon).await.map_err(failed)?;
        }
    }
    injected.end.map_or(Ok(()), |end| Err(attempts::ended(end)))
}

/// No descriptor to be had: nothing was sent, and no other endpoint would fare better.
pub(crate) const LOCAL_FAILURE: Failure = Failure::new(Reason::ConnectLocal, Safety::Sent);

/// Room for one more connection to an endpoint; idle ones to others make room.
pub(crate) fn place<E: Env>(worker: &Worker<E>) -> Option<Place> {
    worker.budget.for_endpoint().or_else(|| {
        worker.pool.borrow_mut().clear();
        worker.budget.for_endpoint()
    })
}

/// Step 10: sends the request and waits for the head of the answer.
pub(crate) async fn exchange<'w, E: Env>(
    worker: &Worker<E>,
    listener: &Listener,
    mut leased: Leased<'w, E>,
    tries: &mut Tries<'_>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<Answered<'w, E>, Failure> {
    let Inbound { client, heads, upload, story, trusted } = inbound;
    let Heads { request, response } = &mut **heads;
    let onward = Onward {
        head: request,
        policy: &listener.config.headers,
        peer: &client.peer,
        trusted: *trusted,
        endpoint: leased.member.address(),
        id: story.id.as_ref(),
        left: tries.left(story.tried),
        shadow: false,
    };
    headers::request(leased.upstream.wire.outbox.tail(), &onward);
    upload.replay(&mut leased.upstream.wire);
    let mut sending = Sending::new(listener, tries, story, request.expects_continue);
    let mut end = HeadEnd::default();
    let to_head = request.is_head();
    let version = request.version;
    let outcome = poll_fn(|context| {
        if let Poll::Ready(failed) = sending.poll(worker, client, &mut leased.upstream, upload, tries, context) {
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
                    ready!(client.deadline.poll(context));
                    let replayable = upload.is_replayable();
                    match sending.late(&leased.upstream, || tries.give_up_slow(worker, leased.index, replayable, story))
                    {
                        Late::Failed(reason) => return Poll::Ready(Err(reason)),
                        Late::WaitOn(until) => client.deadline.set(until),
                    }
                }
            }
        }
    })
    .await;
    let client = client.peer.address.ip();
    match outcome {
        Ok(()) => {
            let now = Instant::now();
            story.answered = Some(now);
            leased.flight.answered(response.status, sending.asked, now, story, client);
            Ok(Answered(leased))
        }
        Err(reason) => {
            let silent = leased.upstream.wire.received == 0;
            let stale = leased.reused && silent && reason == Reason::UpstreamReset;
            let safety = if stale { Safety::StaleConnection } else { Safety::Sent };
            let late = matches!(reason, Reason::UpstreamTimeout | Reason::PerTryTimeout);
            let short = late && !sending.hard && tries.is_short(sending.asked.elapsed());
            let failure = Failure::new(reason, safety);
            // A connection gone stale says of its endpoint only that it had nothing to do.
            if stale || short {
                return Err(failure.not_telling());
            }
            leased.flight.failed(failure.outcome, story, client);
            Err(failure)
        }
    }
}

/// Reads until the head of an answer is complete.
pub(crate) fn poll_head<E: Env>(
    worker: &Worker<E>,
    upstream: &mut Upstream<Transport<E::Stream>>,
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
    /// How long the answer may take before another endpoint is asked.
    patience: Option<Patience>,
    /// It is the operator who says how long.
    hard: bool,
    /// By when there must be an answer, whoever gives it; known once all is sent.
    deadline: Instant,
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
    /// Since when.
    asked: Instant,
    informational: u8,
}

/// What follows when an answer takes too long.
enum Late {
    Failed(Reason),
    /// Nobody else can be asked: then rather late than never.
    WaitOn(Instant),
}

/// A body may be as slow as it likes for this long before its rate is looked at.
const RATE_GRACE: Duration = Duration::from_secs(10);
/// Informational answers to one request; more is an endpoint gone mad.
const INFORMATIONAL_MAX: u8 = 32;

impl<'l> Sending<'l> {
    fn new(listener: &'l Listener, tries: &Tries<'_>, story: &Story, waits: bool) -> Self {
        let now = story.tried;
        let patience = tries.patience(story.attempts);
        Self {
            listener,
            timeout: tries.left(now),
            patience,
            hard: patience.is_some_and(|patience| patience.hard),
            deadline: now,
            waits,
            began: now,
            moved: now,
            blocked: None,
            passed: 0,
            over: false,
            asked: now,
            informational: 0,
        }
    }

    /// Sends what can be sent. Ready only with a reason to give up.
    fn poll<E: Env>(
        &mut self,
        worker: &Worker<E>,
        client: &mut Client<E::Stream>,
        upstream: &mut Upstream<Transport<E::Stream>>,
        upload: &mut Relay,
        tries: &mut Tries<'_>,
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
                // Without a body it was asked when the attempt began, as nearly as matters.
                self.asked = if upload.begun { Instant::now() } else { self.began };
                self.deadline = tries.all_sent(self.asked);
                let until = self.patience.map_or(self.deadline, |patience| self.asked + patience.after);
                client.deadline.set(until.min(self.deadline));
            }
            Poll::Ready(Err(broken)) => return Poll::Ready(upload_failure(&broken)),
            Poll::Pending => {
                if upload.passed != self.passed || upstream.wire.sent != before {
                    self.passed = upload.passed;
                    self.moved = Instant::now();
                }
                self.keep_clock(!upstream.wire.outbox.is_empty());
                let until = self.until(upstream);
                client.deadline.set(tries.deadline.map_or(until, |deadline| until.min(deadline)));
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
            return self.began + self.patience.map_or(self.timeout, |patience| patience.after.min(self.timeout));
        }
        let idle = self.moved + self.listener.config.timeouts.stream_idle;
        let rate = self.listener.config.limits.body_min_rate;
        if rate == 0 || !upstream.wire.outbox.is_empty() {
            return idle;
        }
        let earned = Duration::from_secs_f64(self.passed as f64 / f64::from(rate));
        idle.min(self.began + earned.max(RATE_GRACE))
    }

    /// It took too long. What next: the endpoint has not answered, or not read; or the client has
    /// not sent. `elsewhere`: whether another endpoint is ready to be asked instead.
    fn late<S>(&mut self, upstream: &Upstream<S>, elsewhere: impl FnOnce() -> GiveUp) -> Late {
        let waits = self.waits_for_endpoint();
        if !self.over && !waits {
            let blocked = !upstream.wire.outbox.is_empty();
            return Late::Failed(if blocked { Reason::UpstreamTimeout } else { Reason::BodyTimeout });
        }
        let (since, deadline) =
            if self.over { (self.asked, self.deadline) } else { (self.began, self.began + self.timeout) };
        let now = Instant::now();
        match self.patience.take() {
            Some(patience) if now < deadline => match if patience.hard { GiveUp::Now } else { elsewhere() } {
                GiveUp::Now => Late::Failed(Reason::PerTryTimeout),
                GiveUp::AskAgain(pause) => {
                    self.patience = Some(Patience { after: now + pause - since, ..patience });
                    Late::WaitOn(deadline.min(now + pause))
                }
                GiveUp::Never => Late::WaitOn(deadline),
            },
            _ => Late::Failed(Reason::UpstreamTimeout),
        }
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
            let backward =
                Backward { head: response, framing: Framing::None, version, closing: false, id: None, fields: &[] };
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
