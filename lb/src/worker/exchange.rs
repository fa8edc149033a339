//! Step 10: the request out, the head of its answer in.
//!
//! Both directions are moved by one task, in turn, so that an endpoint may answer before it has
//! read everything, and a client that waits for `100 Continue` is not waited for.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;
use weir_core::attempt::Outcome;
use weir_core::reason::Reason;
use weir_core::retry::Safety;
use weir_core::snapshot::Listener;

use super::Worker;
use super::affinity::Affinity;
use super::attempts::{Failure, GiveUp, Patience, Tries};
use super::client::{Client, Heads};
use super::edits::Facts;
use super::forward::Inbound;
use super::headers::{self, Backward, Onward};
use super::lease::Leased;
use super::pool::Upstream;
use super::relay::{Broken, Relay};
use super::story::Story;
use super::trace::Traced;
use crate::env::{Env, Stream};
use crate::http1::framing::Framing;
use crate::http1::head::{Asked, ResponseHead, Version};
use crate::http1::parse::{self, HeadEnd, RESPONSE_HEAD_MAX};
use crate::http2::Lost;
use crate::transport::Transport;

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

/// Step 10: sends the request and waits for the head of the answer.
pub(crate) async fn exchange<'w, E: Env>(
    worker: &Worker<E>,
    listener: &Listener,
    mut leased: Leased<'w, E>,
    tries: &mut Tries<'_>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<Answered<'w, E>, Failure> {
    let Inbound { client, heads, upload, story, trusted, wish } = inbound;
    let Heads { request, response } = &mut **heads;
    let onward = Onward {
        head: request,
        policy: &listener.config.headers,
        route: tries.route(listener),
        facts: Facts::of(&client.peer, request, story, leased.cluster.config.name.as_str())
            .of_tls(client.secure.as_deref()),
        peer: &client.peer,
        certificate: client.certificate(),
        trusted: *trusted,
        endpoint: leased.member.address(),
        id: story.id.as_ref(),
        left: tries.left(story.tried),
        shadow: false,
        upgrade: wish.protocol(request),
        call_left: tries.call_left(story.tried),
        trace: story.trace.as_ref().map(Traced::of_attempt),
    };
    headers::request(leased.upstream.wire.outbox.tail(), &onward);
    upload.replay(&mut leased.upstream.wire);
    let mut sending = Sending::new(listener, tries, story, request.expects_continue);
    let mut end = HeadEnd::default();
    let asked = wish.asked(request);
    let version = request.version;
    let outcome = poll_fn(|context| {
        if let Poll::Ready(failed) = sending.poll(worker, client, &mut leased.upstream, upload, tries, context) {
            return Poll::Ready(Err(failed));
        }
        loop {
            match poll_head(worker, &mut leased.upstream, &mut end, asked, response, context) {
                Poll::Ready(Ok(())) if response.is_informational() => {
                    end = HeadEnd::default();
                    if !sending.relay_informational(client, response, version) {
                        return Poll::Ready(Err(Reason::UpstreamProtocol));
                    }
                }
                Poll::Ready(Ok(())) if !wish.is_answered_by(request, response) => {
                    return Poll::Ready(Err(Reason::UpstreamProtocol));
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
            story.code = story.grpc.then(|| response.called()).flatten();
            let outcome = story.code.map_or(Outcome::Answered(response.status), Outcome::Called);
            leased.flight.answered(outcome, sending.asked, now, story, client);
            Ok(Answered(leased))
        }
        Err(reason) => {
            let silent = leased.upstream.wire.received == 0;
            let lost = leased.upstream.wire.io.lost();
            if lost.is_of_all() {
                leased.upstream.give_up_session();
            }
            if lost == Lost::Unsayable {
                return Err(Failure::new(Reason::BadRequest, Safety::Sent).not_telling());
            }
            let is_reset = leased.reused && silent && reason == Reason::UpstreamReset;
            // An endpoint that ends one stream of many knows what it does.
            let stale = is_reset && lost != Lost::Stream && !lost.is_unseen();
            let safety = match lost.is_unseen() {
                true if leased.reused => Safety::Unseen,
                true if upload.is_replayable() => Safety::NothingSent,
                _ if stale => Safety::StaleConnection,
                _ => Safety::Sent,
            };
            let late = matches!(reason, Reason::UpstreamTimeout | Reason::PerTryTimeout);
            let short = late && !sending.hard && tries.is_short(sending.asked.elapsed());
            let failure = Failure::new(reason, safety);
            // A connection gone stale says of its endpoint only that it had nothing to do.
            if stale || short || lost.is_unseen() {
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
    asked: Asked,
    response: &mut ResponseHead,
    context: &mut Context<'_>,
) -> Poll<Result<(), Reason>> {
    let mut parse = |bytes: &[u8]| match end.find(bytes) {
        Err(_) => Err(Reason::UpstreamProtocol),
        Ok(Some(length)) if length > RESPONSE_HEAD_MAX => Err(Reason::UpstreamProtocol),
        Ok(Some(length)) => parse::response(&bytes[..length], asked, response).map(|()| Some(length)),
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
    /// Its body may be a conversation: it is not slow because it is quiet.
    converses: bool,
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
            converses: story.grpc,
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
                if upstream.wire.is_blocked() {
                    client.wire.io.hoard(context);
                }
                self.keep_clock(upstream.wire.is_blocked());
                let until = self.until(upstream);
                client.deadline.set(tries.send_by().map_or(until, |deadline| until.min(deadline)));
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
    fn until<S: Stream>(&self, upstream: &Upstream<S>) -> Instant {
        if self.waits_for_endpoint() {
            return self.began + self.patience.map_or(self.timeout, |patience| patience.after.min(self.timeout));
        }
        let idle = self.moved + self.listener.config.timeouts.stream_idle;
        let rate = self.listener.config.limits.body_min_rate;
        if rate == 0 || self.converses || upstream.wire.is_blocked() {
            return idle;
        }
        let earned = Duration::from_secs_f64(self.passed as f64 / f64::from(rate));
        idle.min(self.began + earned.max(RATE_GRACE))
    }

    /// It took too long. What next: the endpoint has not answered, or not read; or the client has
    /// not sent. `elsewhere`: whether another endpoint is ready to be asked instead.
    fn late<S: Stream>(&mut self, upstream: &Upstream<S>, elsewhere: impl FnOnce() -> GiveUp) -> Late {
        let waits = self.waits_for_endpoint();
        if !self.over && !waits {
            let blocked = upstream.wire.is_blocked();
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
            let backward = Backward {
                head: response,
                framing: Framing::None,
                version,
                closing: false,
                id: None,
                fields: &[],
                upgrade: None,
                edits: None,
            };
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
