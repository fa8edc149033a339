//! Step 12: what the client gets, an endpoint's answer or one of ours, and what is told of it.
//!
//! A [`Reason`] gives status, header and body of a local answer; those that routes give because they
//! were told to are [`super::answer`]'s.

use std::future::poll_fn;
use std::io::Write;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use weir_core::attempt::Outcome;
use weir_core::grpc::{self, Code};
use weir_core::reason::{Meaning, Reason, Side};
use weir_core::retry::Denied;
use weir_core::route::Headers;
use weir_core::snapshot::{Listener, Member};

use super::client::{Client, Heads};
use super::edits::{self, Facts};
use super::exchange::{Answered, upload_failure};
use super::forward::{Inbound, Refused};
use super::headers::{self, Backward, Peer};
use super::lease::Leased;
use super::relay::{Broken, Outgoing, Relay};
use super::release;
use super::story::Story;
use super::{Worker, World};
use crate::env::{Env, Stream};
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, Version};
use crate::observe::access::{Line, Request};
use crate::tls::Secure;

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It waits for the next request.
    Keep,
    /// It ends cleanly; `unread` bytes may still come.
    Close {
        /// The client may still be sending.
        unread: bool,
    },
    /// It ends in a way nobody can take for a complete answer.
    Abort,
}

/// Sends an endpoint's answer on, and the rest of the request to it.
pub(crate) async fn finish<E: Env>(
    worker: &Worker<E>,
    listener: &Listener,
    answered: Answered<'_, E>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Fate {
    let Inbound { client, heads, upload, story, .. } = inbound;
    let Heads { request, response } = &mut **heads;
    let mut leased = answered.into_leased();
    let (framing, outgoing) = match (response.framing, request.version) {
        (Framing::Chunked | Framing::UntilClose, Version::Http11) => (Framing::Chunked, Outgoing::Chunked),
        (Framing::Chunked | Framing::UntilClose, Version::Http10) => (Framing::UntilClose, Outgoing::Plain),
        (framing, _) => (framing, Outgoing::Plain),
    };
    // Whoever answers before the whole request is there may never read the rest of it.
    let early = !upload.is_whole();
    // What was sent behind a CONNECT that is not granted was meant for a tunnel.
    let meant_otherwise = request.is_connect();
    let closing = !request.keep_alive
        || early
        || meant_otherwise
        || framing == Framing::UntilClose
        || worker.is_draining()
        || client.bound.is_closed(client.is_secure());
    let edits = story.route.map(|at| &listener.config.routes[at].response_headers).filter(|edits| !edits.is_empty());
    let facts =
        Facts::of(&client.peer, request, story, leased.cluster.config.name.as_str()).of_tls(client.secure.as_deref());
    let backward = Backward {
        head: response,
        framing,
        version: request.version,
        closing,
        id: story.id.as_ref(),
        fields: &story.fields,
        upgrade: None,
        edits: edits.map(|edits| (edits, facts)),
    };
    headers::response(client.wire.outbox.tail(), &backward);
    story.status = response.status;

    let mut download = Relay::new(response.framing, outgoing, None);
    let mut both = Both { upload_over: upload.broken, ..Both::default() };
    let streamed = poll_fn(|context| {
        let over = both.poll(worker, client, &mut leased, upload, &mut download, context);
        if over.is_pending() {
            if both.upload_over && client.poll_gone(&worker.scratch, context) {
                return Poll::Ready(Err(Reason::ClientGone));
            }
            if worker.is_cutting() {
                return Poll::Ready(Err(Reason::DrainDeadline));
            }
            if both.has_moved(&download, upload, client.wire.sent) {
                client.deadline.set_after(Instant::now(), listener.config.timeouts.stream_idle);
            }
            let late = client.deadline.poll(context);
            return late.map(|()| Err(both.stalled(client, &leased)));
        }
        over
    })
    .await;
    story.body_out = download.passed;
    let Leased { upstream, flight, .. } = &mut leased;
    let now = Instant::now();
    story.ended = Some(now);
    flight.moved(std::mem::take(&mut upstream.wire.sent), std::mem::take(&mut upstream.wire.received));
    match streamed {
        Ok(()) => {
            if story.grpc && story.code.is_none() {
                story.code = download.trailer(b"grpc-status").as_deref().map(Code::parse);
                if let Some(code) = story.code {
                    flight.called(code, story, client.peer.address.ip());
                }
            }
            let spent = upload.is_whole() && upstream.is_spent();
            if response.keep_alive && response.framing != Framing::UntilClose && spent {
                leased.keep(worker, now);
            }
            // Who expected the connection to stay may have sent the next request already.
            if closing { Fate::Close { unread: early || request.keep_alive } } else { Fate::Keep }
        }
        Err(reason) => {
            if reason.meaning().side == Side::Upstream {
                flight.failed(Outcome::Failed(reason), story, client.peer.address.ip());
            }
            story.reason = Some(reason);
            Fate::Abort
        }
    }
}

/// Both directions of an exchange whose answer has begun.
#[derive(Default)]
struct Both {
    upload_over: bool,
    /// How far it had come when it was last looked at.
    seen: Option<(u64, u64, u64)>,
}

impl Both {
    fn poll<E: Env>(
        &mut self,
        worker: &Worker<E>,
        client: &mut Client<E::Stream>,
        leased: &mut Leased<'_, E>,
        upload: &mut Relay,
        download: &mut Relay,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Result<(), Reason>> {
        let upstream = &mut leased.upstream.wire;
        if !self.upload_over {
            match upload.poll(&mut client.wire, upstream, &worker.scratch, context) {
                Poll::Pending => {}
                // What an endpoint that stopped reading has to say is still worth reading.
                Poll::Ready(Ok(()) | Err(Broken::Sink)) => self.upload_over = true,
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(upload_failure(&broken))),
            }
        }
        download.poll(upstream, &mut client.wire, &worker.scratch, context).map_err(|broken| match broken {
            Broken::Sink => Reason::ClientGone,
            Broken::Source | Broken::BadChunk | Broken::TooLarge => Reason::UpstreamCut,
        })
    }

    /// Whose fault it is that nothing moves: of who does not read, or of who does not send.
    fn stalled<E: Env>(&self, client: &Client<E::Stream>, leased: &Leased<'_, E>) -> Reason {
        if client.wire.is_blocked() {
            Reason::ClientGone
        } else if !self.upload_over && !leased.upstream.wire.is_blocked() {
            Reason::BodyTimeout
        } else {
            Reason::UpstreamStalled
        }
    }

    /// Whether anything has moved since it was last asked; yes the first time.
    fn has_moved(&mut self, download: &Relay, upload: &Relay, sent: u64) -> bool {
        let now = Some((download.passed, upload.passed, sent));
        std::mem::replace(&mut self.seen, now) != now
    }
}

/// Answers a request ourselves.
pub(crate) async fn refuse<E: Env>(
    worker: &Worker<E>,
    listener: &Listener,
    refused: Refused,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Fate {
    let Inbound { client, heads, upload, story, .. } = inbound;
    let request = &heads.request;
    let Refused { reason, status, retry_after } = refused;
    story.reason = Some(reason);
    let meaning = reason.meaning();
    let meaning = Meaning { status: status.unwrap_or(meaning.status), ..meaning };
    if meaning.status == 0 {
        return Fate::Abort;
    }
    let ending = ending(worker, client, request, upload);
    story.status = meaning.status;
    if story.grpc {
        // A call is answered by HTTP whatever becomes of it.
        story.status = 200;
        story.code = Some(status.map_or_else(|| Code::of(reason), Code::of_http));
    }
    let says = Says { meaning, retry_after, closing: ending.closing };
    story.body_out = local_answer(listener, client, request, &says, story) as u64;
    end(listener, client, request, ending).await
}

/// How the connection goes on after an answer of our own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// Some of the request may still come.
    unread: bool,
    pub(super) closing: bool,
}

/// Skips the request's body if that can be done; how the connection goes on after the answer.
pub(super) fn ending<E: Env>(
    worker: &Worker<E>,
    client: &mut Client<E::Stream>,
    request: &RequestHead,
    upload: &Relay,
) -> Ending {
    let unread = request.is_connect() || !take_body(client, request, upload);
    let closing = unread || !request.keep_alive || worker.is_draining() || client.bound.is_closed(client.is_secure());
    Ending { unread, closing }
}

/// Sends the answer that is written.
pub(super) async fn end<S: Stream>(
    listener: &Listener,
    client: &mut Client<S>,
    request: &RequestHead,
    Ending { unread, closing }: Ending,
) -> Fate {
    match flush(client, listener).await {
        Ok(()) if closing => Fate::Close { unread: unread || request.keep_alive },
        Ok(()) => Fate::Keep,
        Err(()) => Fate::Abort,
    }
}

/// Answers a head that could not be understood, and ends the connection.
pub(crate) async fn refuse_head<E: Env>(
    worker: &Worker<E>,
    world: &World,
    index: usize,
    client: &mut Client<E::Stream>,
    heads: &Heads,
    reason: Reason,
) -> Fate {
    let listener = &*world.snapshot.listeners[index];
    let request = &heads.request;
    let meaning = reason.meaning();
    let mut story = Story::begin(Instant::now());
    story.reason = Some(reason);
    story.status = meaning.status;
    if listener.config.headers.request_id {
        story.id = Some(headers::RequestId::roll(&mut worker.dice.borrow_mut()));
    }
    let says = Says { meaning, retry_after: None, closing: true };
    story.body_out = local_answer(listener, client, request, &says, &story) as u64;
    let flushed = flush(client, listener).await;
    let lane = listener.unrouted.of(worker.index);
    lane.requests[story.class()].add(1);
    lane.duration.observe(story.began.elapsed());
    tell(worker, world, listener, client, request, &story);
    match flushed {
        Ok(()) => Fate::Close { unread: true },
        Err(()) => Fate::Abort,
    }
}

/// Skips the request's body if all of it is here already; whether it is out of the way.
fn take_body<S: Stream>(client: &mut Client<S>, request: &RequestHead, upload: &Relay) -> bool {
    match request.framing {
        _ if upload.is_whole() => true,
        Framing::Length(length) if !upload.begun && !upload.broken && client.wire.inbox.len() as u64 >= length => {
            // It fits an inbox, so it fits a usize.
            client.wire.inbox.consume(length as usize);
            true
        }
        _ => false,
    }
}

async fn flush<S: Stream>(client: &mut Client<S>, listener: &Listener) -> Result<(), ()> {
    client.deadline.set_after(Instant::now(), listener.config.timeouts.stream_idle);
    poll_fn(|context| match client.wire.poll_flush(context) {
        Poll::Pending => client.deadline.poll(context).map(Err),
        Poll::Ready(written) => Poll::Ready(written.map_err(drop)),
    })
    .await
}

/// What an answer of our own says.
struct Says {
    meaning: Meaning,
    retry_after: Option<Duration>,
    closing: bool,
}

/// Appends an answer of our own; the length of its body.
fn local_answer<S: Stream>(
    listener: &Listener,
    client: &mut Client<S>,
    request: &RequestHead,
    says: &Says,
    story: &Story,
) -> usize {
    let out = client.wire.outbox.tail();
    let start = out.len();
    let body = match story.code {
        Some(code) => {
            call_head(out, code, says);
            String::new()
        }
        None => answer_head(out, request, says, story),
    };
    if listener.config.headers.reason {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "X-Weir-Reason: {}\r\n", says.meaning.name);
    }
    if let Some(id) = &story.id {
        let _ = write!(out, "X-Request-Id: {}\r\n", id.as_str());
    }
    if let Some(kept) = &story.kept {
        kept.push_field(out);
    }
    edit(out, start, listener, (&client.peer, client.secure.as_deref()), request, story);
    headers::connection(out, request.version, says.closing);
    out.extend_from_slice(b"\r\n");
    if request.is_head() {
        return 0;
    }
    out.extend_from_slice(body.as_bytes());
    body.len()
}

/// The answer to a call that comes to nothing: its status in the head, and no message.
fn call_head(out: &mut Vec<u8>, code: Code, says: &Says) {
    headers::push_status(out, 200);
    let message = grpc::message(says.meaning.help);
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "OK\r\nContent-Type: application/grpc\r\ngrpc-status: {}\r\ngrpc-message: {message}\r\n",
        code.get()
    );
    headers::push_length(out, 0);
    if let Some(pause) = says.retry_after {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        headers::push_number(out, b"grpc-retry-pushback-ms: ", millis.max(1));
    }
}

/// The first part of the head of an answer to anybody else; its body.
fn answer_head(out: &mut Vec<u8>, request: &RequestHead, says: &Says, story: &Story) -> String {
    let meaning = says.meaning;
    let json = wants_json(request);
    let body = if json {
        let id = serde_json::Value::from(story.id.as_ref().map_or("", |id| id.as_str()));
        let Meaning { status, name, help, .. } = meaning;
        // Names and helps are ours and hold nothing to escape.
        format!("{{\"status\":{status},\"reason\":\"{name}\",\"message\":\"{help}\",\"request_id\":{id}}}\n")
    } else {
        format!("{} {}: {}\n", meaning.status, meaning.name, meaning.help)
    };
    headers::push_status(out, meaning.status);
    let phrase = http::StatusCode::from_u16(meaning.status).ok().and_then(|status| status.canonical_reason());
    let kind = if json { "application/json" } else { "text/plain; charset=utf-8" };
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{}\r\nContent-Type: {kind}\r\n", phrase.unwrap_or_default());
    headers::push_length(out, body.len() as u64);
    if let Some(pause) = says.retry_after {
        // Whole seconds, and never at once.
        headers::push_number(out, b"Retry-After: ", pause.as_secs_f64().ceil().max(1.0) as u64);
    }
    body
}

/// What the route changes in an answer of our own, the head of which `out` holds from `start` on.
pub(super) fn edit(
    out: &mut Vec<u8>,
    start: usize,
    listener: &Listener,
    (peer, secure): (&Peer, Option<&Secure>),
    request: &RequestHead,
    story: &Story,
) {
    let Some(route) = story.route.map(|at| &listener.config.routes[at]) else { return };
    if !route.response_headers.is_empty() {
        let facts = Facts::of(peer, request, story, "").of_tls(secure);
        edits::apply(out, start, &route.response_headers, &facts);
    }
}

/// Whether the client would rather read JSON.
fn wants_json(request: &RequestHead) -> bool {
    request.fields.get("accept").is_some_and(|accept| accept.windows(4).any(|part| part.eq_ignore_ascii_case(b"json")))
}

/// Counts the reason, and writes the access line if one is wanted.
pub(crate) fn tell<E: Env>(
    worker: &Worker<E>,
    world: &World,
    listener: &Listener,
    client: &Client<E::Stream>,
    request: &RequestHead,
    story: &Story,
) {
    if let Some(reason) = story.reason {
        listener.load.of(worker.index).reasons[reason].add(1);
    }
    let Some(log) = &world.snapshot.config.access_log else { return };
    let must = story.reason.is_some() || story.is_failure() || story.status == 0;
    if must || log.sample >= 1.0 || worker.dice.borrow_mut().unit() < log.sample {
        let route = story.route.map(|index| &listener.config.routes[index]);
        let cluster = story.towards(listener).map(|(cluster, _)| &*world.snapshot.clusters[*cluster]);
        let line = Line {
            wall: worker.env.wall(),
            took: story.began.elapsed(),
            first_byte: story.answered.map(|answered| answered - story.began),
            peer: client.peer.address,
            told: story.told,
            tls: client.tls_line(),
            listener: listener.config.name.as_str(),
            route: route.and_then(|route| route.name.as_ref()).map(|name| name.as_str()),
            server_name: None,
            cluster: cluster.map(|cluster| cluster.config.name.as_str()),
            endpoint: story.endpoint.and_then(|at| cluster?.members.get(at)).map(Member::address),
            gray: story.gray.map(|gray| release::line(&world.snapshot.releases[gray.release], gray.decided)),
            attempts: story.attempts,
            denied: story.denied.map(Denied::as_str),
            request: Some(Request {
                method: request.method(),
                host: request.host(),
                target: request.target(),
                version: match request.version {
                    _ if client.wire.io.is_stream() => "HTTP/2.0",
                    Version::Http10 => "HTTP/1.0",
                    Version::Http11 => "HTTP/1.1",
                },
                status: story.status,
                grpc: story.code.map(Code::get),
                tunnel: false,
            }),
            datagrams: None,
            reason: story.reason.map(Reason::as_str),
            id: story.id.as_ref().map(headers::RequestId::as_str),
            body_in: story.body_in,
            body_out: story.body_out,
        };
        worker.access.borrow_mut().record(log.format, &line);
    }
}
