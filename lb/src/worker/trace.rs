//! The trace a request is part of: taken from its head or begun, told to endpoints, and, where it is
//! sampled, written down as spans when the request is over.
//!
//! What is read and decided is [`weir_core::trace`]'s. A request that is not sampled costs its ids;
//! one that is, an allocation for its attempts.

use std::time::SystemTime;

use tokio::time::Instant;
use weir_config::model::{Address, FollowParent, RouteName, Tracing};
use weir_core::attempt::Outcome;
use weir_core::reason::{Reason, Side};
use weir_core::retry::Denied;
use weir_core::rewrite;
use weir_core::route::Headers as _;
use weir_core::snapshot::{Cluster, Listener};
use weir_core::trace::{self, Context, SpanId, TraceId};

use super::attempts::Failure;
use super::client::Client;
use super::headers::{RequestId, TraceOnward};
use super::story::Story;
use super::{Worker, World, release};
use crate::env::{Env, Stream};
use crate::http1::head::{Fields, Known, RequestHead, ResponseHead, Version};
use crate::spans::{Kind, Parent, Span, SpanWriter};

/// What of a trace a request has.
#[derive(Debug)]
pub(crate) struct Traced {
    /// Its own.
    pub(crate) context: Context,
    /// What it follows, if it follows anything.
    parent: Option<Context>,
    /// What was told, and is not followed.
    stranger: Option<Context>,
    /// `tracestate` goes on.
    state: bool,
    /// The span of the latest attempt.
    attempt: SpanId,
    /// What spans will say, if there will be any.
    recorded: Option<Box<Recorded>>,
}

/// What is kept of a sampled request beside its story.
#[derive(Debug, Default)]
struct Recorded {
    attempts: Vec<Attempt>,
    /// There were more.
    more: bool,
}

#[derive(Debug)]
struct Attempt {
    span: SpanId,
    /// Its number, from 1. One that is made again on a fresh connection counts too.
    number: u16,
    /// Among its cluster's members.
    endpoint: usize,
    began: Instant,
    /// When it had a connection, and whether that was there before.
    connected: Option<(Instant, bool)>,
    /// When the head of an answer was there.
    answered: Option<Instant>,
    outcome: Option<Outcome>,
    /// When it had failed, or been given up for another; the one that is answered ends with the request.
    ended: Option<Instant>,
}

/// Attempts that get a span.
const ATTEMPTS_MAX: usize = 16;
/// A longer `tracestate` goes on, but is not exported.
const STATE_MAX: usize = 512;

impl Traced {
    /// What a copy of the request tells.
    pub(crate) const fn of_request(&self) -> TraceOnward {
        TraceOnward { context: self.context, state: self.state }
    }

    /// What the latest attempt tells.
    pub(crate) const fn of_attempt(&self) -> TraceOnward {
        TraceOnward { context: Context { span: self.attempt, ..self.context }, state: self.state }
    }

    /// The latest attempt, if it gets a span.
    fn latest(&mut self) -> Option<&mut Attempt> {
        let recorded = self.recorded.as_mut().filter(|recorded| !recorded.more)?;
        recorded.attempts.last_mut()
    }
}

/// Takes in what the head says of a trace, or begins one.
pub(super) fn begin<E: Env>(worker: &Worker<E>, tracing: &Tracing, trusted: bool, fields: &Fields) -> Traced {
    let mut told = fields.all(Known::TraceParent);
    let told = match (told.next(), told.next()) {
        (Some(only), None) => Context::parse(only),
        // Two would be two opinions.
        _ => None,
    };
    let follows = match tracing.parent {
        FollowParent::Trusted => trusted,
        FollowParent::Always => true,
        FollowParent::Never => false,
    };
    let (parent, stranger) = if follows { (told, None) } else { (None, told) };
    let dice = &mut *worker.dice.borrow_mut();
    let trace = parent.map_or_else(|| TraceId::roll(dice), |parent| parent.trace);
    let flags = trace::flags(parent.as_ref(), trace, tracing.ratio);
    let context = Context { trace, span: SpanId::roll(dice), flags };
    Traced {
        context,
        parent,
        stranger,
        state: parent.is_some() && trace::is_state(fields.all(Known::TraceState)),
        attempt: context.span,
        recorded: (context.is_sampled() && tracing.otlp.is_some()).then(Box::default),
    }
}

/// An attempt begins, at this one of its cluster's members.
pub(super) fn attempt_begins<E: Env>(worker: &Worker<E>, story: &mut Story, endpoint: usize) {
    let Some(traced) = &mut story.trace else { return };
    traced.attempt = SpanId::roll(&mut worker.dice.borrow_mut());
    let span = traced.attempt;
    let Some(recorded) = &mut traced.recorded else { return };
    let began = Instant::now();
    if let Some(before) = recorded.attempts.last_mut() {
        before.ended.get_or_insert(began);
    }
    if recorded.attempts.len() == ATTEMPTS_MAX {
        recorded.more = true;
        return;
    }
    let (number, connected, answered) = (story.attempts, None, None);
    recorded.attempts.push(Attempt { span, number, endpoint, began, connected, answered, outcome: None, ended: None });
}

/// It has a connection; `reused`: one that was there.
pub(super) fn connected(story: &mut Story, reused: bool) {
    if let Some(attempt) = story.trace.as_mut().and_then(Traced::latest) {
        attempt.connected = Some((Instant::now(), reused));
    }
}

/// It has failed; or an answer has begun, with this head.
pub(super) fn attempt_ends(story: &mut Story, response: &ResponseHead, failure: Option<&Failure>) {
    let (answered, code) = (story.answered, story.code);
    let Some(attempt) = story.trace.as_mut().and_then(Traced::latest) else { return };
    match failure {
        None => {
            attempt.outcome = Some(code.map_or(Outcome::Answered(response.status), Outcome::Called));
            attempt.answered = answered;
        }
        Some(failure) => {
            attempt.outcome = Some(failure.outcome);
            attempt.ended = Some(Instant::now());
        }
    }
}

/// Writes the spans of a request that is over, if it is sampled.
pub(super) fn end<E: Env>(
    worker: &Worker<E>,
    world: &World,
    index: usize,
    client: &Client<E::Stream>,
    request: &RequestHead,
    story: &mut Story,
) {
    let Some(recorded) = story.trace.as_mut().and_then(|traced| traced.recorded.take()) else { return };
    let Some(traced) = &story.trace else { return };
    let listener = &*world.snapshot.listeners[index];
    let now = Instant::now();
    let (wall, ended) = (worker.env.wall(), story.ended.unwrap_or(now));
    let clock = Clock { wall, now };
    let cluster = story.towards(listener).map(|(cluster, _)| &*world.snapshot.clusters[*cluster]);
    let about = About { world, listener, cluster, request, story, traced, clock, ended };
    let mut spans = worker.spans.borrow_mut();
    about.server(client, &mut spans);
    for attempt in &recorded.attempts {
        about.attempt(attempt, &mut spans);
    }
    if let Some(cluster) = cluster {
        let (listener, cluster) = (&listener.config.name, &cluster.config.name);
        spans.example(listener, cluster, ended - story.began, traced.context.trace, clock.at(ended));
    }
    if spans.is_large() {
        spans.flush();
    }
}

/// Places moments in the time of people.
#[derive(Clone, Copy)]
struct Clock {
    wall: SystemTime,
    now: Instant,
}

impl Clock {
    fn at(self, moment: Instant) -> SystemTime {
        self.wall.checked_sub(self.now.saturating_duration_since(moment)).unwrap_or(self.wall)
    }
}

/// Everything that spans of one request are made of. Names of attributes are those of
/// OpenTelemetry's semantic conventions for HTTP; what has no name there begins with `weir.`.
struct About<'a> {
    world: &'a World,
    listener: &'a Listener,
    cluster: Option<&'a Cluster>,
    request: &'a RequestHead,
    story: &'a Story,
    traced: &'a Traced,
    clock: Clock,
    ended: Instant,
}

impl About<'_> {
    /// The request as it came in.
    fn server<S: Stream>(&self, client: &Client<S>, spans: &mut SpanWriter) {
        let Self { listener, request, story, traced, clock, .. } = self;
        let route = story.route.and_then(|at| listener.config.routes[at].name.as_ref()).map(RouteName::as_str);
        let method = method(request);
        let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        let state = self.state();
        let error = self.error();
        let failed = story.is_failure()
            || story.status == 0
            || story.reason.is_some_and(|reason| reason.meaning().side == Side::Upstream);
        let span = Span {
            context: traced.context,
            parent: traced.parent.map(|parent| Parent { span: parent.span, remote: true }),
            state: &state,
            name: &name,
            kind: Kind::Server,
            from: clock.at(story.began),
            to: clock.at(self.ended),
            error: error.as_deref().filter(|_| failed),
        };
        spans.put(&span, |more| {
            more.text("http.request.method", method);
            if method == OTHER {
                more.text("http.request.method_original", request.method());
            }
            more.text("url.scheme", if story.secure { "https" } else { "http" });
            more.text("url.path", request.path());
            more.text("server.address", request.host());
            if let Some(port) = rewrite::port(request.authority()) {
                more.number("server.port", port.into());
            }
            let peer = client.peer.address;
            more.address("client.address", story.client(peer.ip()));
            more.address("network.peer.address", peer.ip());
            more.number("network.peer.port", peer.port().into());
            more.text("network.protocol.name", "http");
            more.text(
                "network.protocol.version",
                match request.version {
                    _ if client.wire.io.is_stream() => "2",
                    Version::Http10 => "1.0",
                    Version::Http11 => "1.1",
                },
            );
            more.maybe("user_agent.original", request.fields.get("user-agent"));
            if story.status != 0 {
                more.number("http.response.status_code", story.status.into());
            }
            if let Some(code) = story.code {
                more.text("rpc.system", "grpc");
                more.number("rpc.grpc.status_code", code.get().into());
            }
            more.maybe("error.type", error.as_deref());
            more.number("http.request.body.size", story.body_in);
            more.number("http.response.body.size", story.body_out);
            more.text("weir.listener", listener.config.name.as_str());
            more.maybe("weir.route", route);
            more.maybe("weir.cluster", self.cluster.map(|cluster| cluster.config.name.as_str()));
            more.maybe("weir.reason", story.reason.map(Reason::as_str));
            more.maybe("weir.request_id", story.id.as_ref().map(RequestId::as_bytes));
            more.number("weir.attempts", story.attempts.into());
            more.maybe("weir.retry_denied", story.denied.map(Denied::as_str));
            if let Some(gray) = story.gray {
                let line = release::line(&self.world.snapshot.releases[gray.release], gray.decided);
                more.text("weir.release", line.release);
                more.text("weir.release_version", line.version);
                if let Some(bucket) = line.bucket {
                    more.number("weir.bucket", bucket.into());
                }
                if line.moved_by_health {
                    more.flag("weir.moved_by_health");
                }
            }
            if let Some(stranger) = &traced.stranger {
                more.link(stranger);
            }
        });
    }

    /// One attempt.
    fn attempt(&self, attempt: &Attempt, spans: &mut SpanWriter) {
        let Self { request, story, traced, clock, ended, .. } = self;
        let Some(cluster) = self.cluster else { return };
        let Some(member) = cluster.members.get(attempt.endpoint) else { return };
        // One that was answered may have broken off later, with the request.
        let broken = story.reason.filter(|reason| attempt.ended.is_none() && reason.meaning().side == Side::Upstream);
        let outcome = broken.map_or(attempt.outcome, |reason| Some(Outcome::Failed(reason)));
        let status = match attempt.outcome {
            Some(Outcome::Answered(status)) => Some(status),
            Some(Outcome::Called(_)) => Some(200),
            _ => None,
        };
        let error = match outcome {
            Some(Outcome::Failed(reason)) => Some(reason.as_str().to_owned()),
            Some(Outcome::Answered(status)) if status >= 400 => Some(status.to_string()),
            Some(Outcome::Called(code)) if code.as_http() >= 400 => Some(code.to_string()),
            _ => None,
        };
        let method = method(request);
        let span = Span {
            context: Context { span: attempt.span, ..traced.context },
            parent: Some(Parent { span: traced.context.span, remote: false }),
            state: "",
            name: method,
            kind: Kind::Client,
            from: clock.at(attempt.began),
            to: clock.at(attempt.ended.unwrap_or(*ended)),
            error: error.as_deref(),
        };
        spans.put(&span, |more| {
            more.text("http.request.method", method);
            match member.address() {
                Address::Ip(address) => {
                    let scheme = if cluster.config.tls.is_some() { "https" } else { "http" };
                    more.text("url.full", format!("{scheme}://{address}{}", request.path()));
                    match &member.host {
                        Some(host) => more.text("server.address", &**host),
                        None => more.address("server.address", address.ip()),
                    }
                    more.number("server.port", address.port().into());
                    more.address("network.peer.address", address.ip());
                    more.number("network.peer.port", address.port().into());
                }
                unix @ Address::Unix(_) => more.text("server.address", unix.to_string()),
            }
            if attempt.number > 1 {
                more.number("http.request.resend_count", u64::from(attempt.number) - 1);
            }
            if let Some(status) = status {
                more.number("http.response.status_code", status.into());
            }
            if let Some(Outcome::Called(code)) = attempt.outcome {
                more.text("rpc.system", "grpc");
                more.number("rpc.grpc.status_code", code.get().into());
            }
            more.maybe("error.type", error.as_deref());
            more.text("weir.cluster", cluster.config.name.as_str());
            more.text("weir.endpoint", member.address().to_string());
            more.maybe("weir.zone", member.zone.as_ref().map(|zone| zone.as_str()));
            more.number("weir.attempt", attempt.number.into());
            more.maybe("weir.outcome", outcome.map(|outcome| outcome.class().as_str()));
            if let Some(Outcome::Failed(reason)) = outcome {
                more.text("weir.reason", reason.as_str());
            }
            if let Some((at, reused)) = attempt.connected {
                let which = if reused { "reused" } else { "new" };
                more.event(clock.at(at), "connected", Some(("weir.connection", which)));
            }
            if let Some(at) = attempt.answered {
                more.event(clock.at(at), "first_byte", None);
            }
        });
    }

    /// What it failed with: our reason, or what the answer says.
    fn error(&self) -> Option<String> {
        let Story { reason, code, status, .. } = self.story;
        match (reason, code) {
            (Some(reason), _) => Some(reason.as_str().to_owned()),
            (None, Some(code)) if code.as_http() >= 500 => Some(code.to_string()),
            (None, None) if *status >= 500 => Some(status.to_string()),
            (None, _) => None,
        }
    }

    /// The `tracestate` that came with the parent.
    fn state(&self) -> String {
        if !self.traced.state {
            return String::new();
        }
        let fields = self.request.fields.all(Known::TraceState).map(String::from_utf8_lossy);
        let joined = fields.filter(|field| !field.is_empty()).collect::<Vec<_>>().join(",");
        if joined.len() <= STATE_MAX { joined } else { String::new() }
    }
}

/// What a method is called that could be anything.
const OTHER: &str = "_OTHER";

/// The method, if it is one of those everybody knows: a name must not be a client's to choose.
fn method(request: &RequestHead) -> &str {
    match request.method() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH") => known,
        _ => OTHER,
    }
}
