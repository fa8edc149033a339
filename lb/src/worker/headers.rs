//! What a head looks like on the other side: hop-by-hop fields gone, ours added, framing made anew.
//!
//! Writes bytes, decides nothing about routes, endpoints or connections.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir_config::model::{Address, HeaderEdits, HeaderPolicy, PathRewrite, Route};
use weir_core::dice::Dice;
use weir_core::grpc;
use weir_core::rewrite;
use weir_core::trace::Context;

use super::edits::{self, Facts};
use crate::http1::framing::Framing;
use crate::http1::head::{Field, Fields, Known, RequestHead, ResponseHead, Version};
use crate::http1::push;

/// The id a request carries from us to the endpoint, into the answer and into the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestId {
    text: [u8; Self::MAX],
    len: u8,
}

impl RequestId {
    /// Longest id taken over from a trusted peer.
    const MAX: usize = 64;

    /// A new one: a random UUID (RFC 9562, version 4).
    pub(crate) fn roll(dice: &mut Dice) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut bits = (u128::from(dice.roll()) << 64) | u128::from(dice.roll());
        bits = bits & !(0xf << 76) | 0x4 << 76;
        bits = bits & !(0x3 << 62) | 0x2 << 62;
        let mut text = [b'-'; Self::MAX];
        let mut shift = 128;
        for at in (0..36).filter(|at| !matches!(at, 8 | 13 | 18 | 23)) {
            shift -= 4;
            text[at] = HEX[(bits >> shift & 0xf) as usize];
        }
        Self { text, len: 36 }
    }

    /// One that somebody trusted gave, if it is printable and short.
    pub(crate) fn given(value: &[u8]) -> Option<Self> {
        let fits = !value.is_empty() && value.len() <= Self::MAX && value.iter().all(u8::is_ascii_graphic);
        fits.then(|| {
            let mut text = [0; Self::MAX];
            text[..value.len()].copy_from_slice(value);
            Self { text, len: value.len() as u8 }
        })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }

    pub(crate) fn as_str(&self) -> &str {
        // ASCII by both constructors.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// Who is at the other end of a client's connection: written out once, sent with each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Where it came to, if another proxy told that.
    pub(crate) to: Option<SocketAddr>,
    text: [u8; Self::MAX],
    len: u8,
}

impl Peer {
    /// The longest IPv6 address in words: eight groups of four digits, seven colons, and room for
    /// the form with an IPv4 address at its end.
    const MAX: usize = 45;

    pub(crate) fn new(mut address: SocketAddr) -> Self {
        // One that came to a socket of both families is what it is.
        if let IpAddr::V4(plain) = address.ip().to_canonical() {
            address.set_ip(plain.into());
        }
        let mut text = [0; Self::MAX];
        let mut rest = &mut text[..];
        // It fits; were it longer, it would be cut, not lost.
        let _ = write!(rest, "{}", address.ip());
        let len = (Self::MAX - rest.len()) as u8;
        Self { address, to: None, text, len }
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

/// Room for what we add to a head, so that writing it takes one allocation at most.
const ADDED: usize = 320;

/// What the request's head says on the endpoint's side.
pub(crate) struct Onward<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) policy: &'a HeaderPolicy,
    /// What it does to the request.
    pub(crate) route: &'a Route,
    pub(crate) facts: Facts<'a>,
    /// Where the request came from.
    pub(crate) peer: &'a Peer,
    /// The certificate it showed, if endpoints are to be told.
    pub(crate) certificate: Option<&'a str>,
    /// Whether what `peer` says about those before it is believed.
    pub(crate) trusted: bool,
    pub(crate) endpoint: &'a Address,
    pub(crate) id: Option<&'a RequestId>,
    /// The time that is left for an answer.
    pub(crate) left: Duration,
    /// It is a copy, whose answer nobody gets.
    pub(crate) shadow: bool,
    /// The protocol it asks to change to.
    pub(crate) upgrade: Option<&'a [u8]>,
    /// The time left of what whoever makes a gRPC call has told.
    pub(crate) call_left: Option<Duration>,
    /// The trace it is part of, where requests are traced.
    pub(crate) trace: Option<TraceOnward>,
}

/// What an endpoint is told of a trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceOnward {
    /// The trace, and the span of the attempt.
    pub(crate) context: Context,
    /// `tracestate` goes with it, as it came.
    pub(crate) state: bool,
}

/// Appends the request's head as the endpoint gets it.
pub(crate) fn request(out: &mut Vec<u8>, onward: &Onward<'_>) {
    let Onward { head, policy, route, id, .. } = *onward;
    let fields = &head.fields;
    out.reserve(fields.bytes.len() + ADDED);
    let start = out.len();
    push(out, &[fields.text(head.method), b" "]);
    push_target(out, head, route);
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    if let Some(host) = &route.rewrite.host {
        out.extend_from_slice(host.as_bytes());
    } else if head.authority.is_empty() {
        // An HTTP/1.0 client may leave it out; the endpoint speaks 1.1 and needs one.
        match onward.endpoint {
            Address::Ip(address) => push_display(out, address),
            Address::Unix(_) => out.extend_from_slice(b"localhost"),
        }
    } else {
        out.extend_from_slice(fields.text(head.authority));
    }
    out.extend_from_slice(b"\r\n");
    for field in fields.list.iter().filter(|field| is_onward(field.known, onward) && !fields.is_nominated(field)) {
        push(out, &[fields.name(field), b": ", fields.value(field), b"\r\n"]);
    }
    match head.framing {
        Framing::Length(length) => push_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        // Endpoints answer 411 to a POST that says nothing of its length.
        Framing::None if fields.all(Known::ContentLength).next().is_some() && !head.is_connect() => push_length(out, 0),
        Framing::None | Framing::UntilClose => {}
    }
    if policy.x_forwarded {
        x_forwarded(out, onward);
    }
    if policy.forwarded {
        forwarded(out, onward);
    }
    if let Some(certificate) = onward.certificate {
        client_certificate(out, onward, certificate);
    }
    if let Some(id) = id {
        push(out, &[b"X-Request-Id: ", id.as_bytes(), b"\r\n"]);
    }
    if let Some(trace) = onward.trace {
        push(out, &[b"traceparent: ", &trace.context.text(), b"\r\n"]);
    }
    if policy.deadline {
        let left = u64::try_from(onward.left.as_millis()).unwrap_or(u64::MAX);
        push_number(out, b"X-Request-Deadline-Ms: ", left);
    }
    if let Some(left) = onward.call_left {
        grpc_timeout_left(out, left);
    }
    if let Some(protocol) = onward.upgrade {
        upgrade(out, protocol);
    }
    if onward.shadow {
        out.extend_from_slice(b"X-Shadow: 1\r\n");
    }
    if !route.request_headers.is_empty() {
        edits::apply(out, start, &route.request_headers, &onward.facts);
    }
    out.extend_from_slice(b"\r\n");
}

/// The target that the route makes of the one that was asked for.
fn push_target(out: &mut Vec<u8>, head: &RequestHead, route: &Route) {
    let target = head.target();
    if route.rewrite.path == PathRewrite::Keep {
        return out.extend_from_slice(target);
    }
    let path = head.path();
    let rewritten = rewrite::path(&route.rewrite.path, &route.matches.path, path);
    let query = target.get(path.len()..).unwrap_or_default();
    push(out, &[rewritten.before.as_bytes(), rewritten.after.as_bytes(), query]);
}

/// The time that whoever sent the request has left for its answer, if it says so.
pub(crate) fn deadline(fields: &Fields) -> Option<Duration> {
    let text = std::str::from_utf8(fields.all(Known::XRequestDeadline).next()?).ok()?;
    text.parse().ok().map(Duration::from_millis)
}

/// The time that whoever makes a gRPC call has left for it, if they say so.
pub(crate) fn grpc_timeout(fields: &Fields) -> Option<Duration> {
    grpc::timeout(fields.all(Known::GrpcTimeout).next()?)
}

fn grpc_timeout_left(out: &mut Vec<u8>, left: Duration) {
    let (number, unit) = grpc::timeout_text(left);
    push_display(out, format_args!("grpc-timeout: {number}{}\r\n", char::from(unit)));
}

/// The connection changes to `protocol`, or is asked to.
fn upgrade(out: &mut Vec<u8>, protocol: &[u8]) {
    push(out, &[b"Connection: Upgrade\r\nUpgrade: ", protocol, b"\r\n"]);
}

/// Whether a field goes on as it is; those that do not are dropped or written anew.
fn is_onward(known: Known, onward: &Onward<'_>) -> bool {
    match known {
        Known::Other => true,
        Known::Connection
        | Known::ContentLength
        | Known::HopByHop
        | Known::Host
        | Known::TransferEncoding
        | Known::Upgrade
        | Known::XWeirReason
        | Known::XWeirDecision => false,
        Known::GrpcTimeout => onward.call_left.is_none(),
        Known::Expect => onward.head.expects_continue,
        // Written anew where we write them; believed or dropped where we do not.
        Known::XForwardedFor => onward.trusted && !onward.policy.x_forwarded,
        Known::XForwardedHost | Known::XForwardedProto | Known::XForwardedOther => onward.trusted,
        // A client that could write it could be anybody.
        Known::XForwardedClientCert => onward.trusted && onward.certificate.is_none(),
        Known::Forwarded => onward.trusted && !onward.policy.forwarded,
        Known::XRequestId => onward.id.is_none() && onward.trusted,
        Known::TraceParent => onward.trace.is_none(),
        Known::TraceState => onward.trace.is_none_or(|trace| trace.state),
        Known::XRequestDeadline => onward.trusted && !onward.policy.deadline,
    }
}

fn x_forwarded(out: &mut Vec<u8>, onward: &Onward<'_>) {
    let fields = &onward.head.fields;
    let has = |known| onward.trusted && fields.all(known).next().is_some();
    out.extend_from_slice(b"X-Forwarded-For: ");
    if onward.trusted {
        for value in fields.all(Known::XForwardedFor) {
            push(out, &[value, b", "]);
        }
    }
    push(out, &[onward.peer.text(), b"\r\n"]);
    if !has(Known::XForwardedProto) {
        let scheme: &[u8] = if onward.facts.secure { b"https" } else { b"http" };
        push(out, &[b"X-Forwarded-Proto: ", scheme, b"\r\n"]);
    }
    if !has(Known::XForwardedHost) && !onward.head.authority.is_empty() {
        push(out, &[b"X-Forwarded-Host: ", fields.text(onward.head.authority), b"\r\n"]);
    }
}

/// RFC 7239.
fn forwarded(out: &mut Vec<u8>, onward: &Onward<'_>) {
    let fields = &onward.head.fields;
    out.extend_from_slice(b"Forwarded: ");
    if onward.trusted {
        for value in fields.all(Known::Forwarded) {
            push(out, &[value, b", "]);
        }
    }
    match onward.peer.address.ip() {
        IpAddr::V4(_) => push(out, &[b"for=", onward.peer.text()]),
        IpAddr::V6(_) => push(out, &[b"for=\"[", onward.peer.text(), b"]\""]),
    }
    if !onward.head.authority.is_empty() {
        push(out, &[b";host=\"", fields.text(onward.head.authority), b"\""]);
    }
    let scheme: &[u8] = if onward.facts.secure { b"https" } else { b"http" };
    push(out, &[b";proto=", scheme, b"\r\n"]);
}

/// The certificate after those that trusted proxies tell of, as in a chain of hops.
fn client_certificate(out: &mut Vec<u8>, onward: &Onward<'_>, certificate: &str) {
    out.extend_from_slice(b"X-Forwarded-Client-Cert: ");
    if onward.trusted {
        for value in onward.head.fields.all(Known::XForwardedClientCert) {
            push(out, &[value, b","]);
        }
    }
    push(out, &[certificate.as_bytes(), b"\r\n"]);
}

/// What the answer's head says on the client's side.
pub(crate) struct Backward<'a> {
    pub(crate) head: &'a ResponseHead,
    /// How the body goes out: `UntilClose` where only the connection's close can end it.
    pub(crate) framing: Framing,
    pub(crate) version: Version,
    pub(crate) closing: bool,
    pub(crate) id: Option<&'a RequestId>,
    /// Whole fields of ours, with their line ends.
    pub(crate) fields: &'a [u8],
    /// The protocol that is spoken from here on.
    pub(crate) upgrade: Option<&'a [u8]>,
    /// What the route does to it.
    pub(crate) edits: Option<(&'a HeaderEdits, Facts<'a>)>,
}

/// Appends the answer's head as the client gets it.
pub(crate) fn response(out: &mut Vec<u8>, backward: &Backward<'_>) {
    let Backward { head, .. } = *backward;
    let bodiless = matches!(head.status, 100..=199 | 204);
    let fields = &head.fields;
    out.reserve(fields.bytes.len() + ADDED);
    let start = out.len();
    push_status(out, head.status);
    push(out, &[fields.text(head.phrase), b"\r\n"]);
    for field in &fields.list {
        if is_backward(field, backward) && !fields.is_nominated(field) {
            push(out, &[fields.name(field), b": ", fields.value(field), b"\r\n"]);
        }
    }
    match backward.framing {
        Framing::Length(length) => push_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        // To HEAD, and in a 304: the length the body would have had.
        Framing::None if !bodiless => {
            if let Some(length) = fields.all(Known::ContentLength).next() {
                push(out, &[b"Content-Length: ", length, b"\r\n"]);
            }
        }
        Framing::None | Framing::UntilClose => {}
    }
    if !head.is_informational() {
        if let Some(id) = backward.id {
            push(out, &[b"X-Request-Id: ", id.as_bytes(), b"\r\n"]);
        }
        out.extend_from_slice(backward.fields);
        if let Some((edits, facts)) = &backward.edits {
            edits::apply(out, start, edits, facts);
        }
        match backward.upgrade {
            Some(protocol) => upgrade(out, protocol),
            None => connection(out, backward.version, backward.closing),
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn is_backward(field: &Field, backward: &Backward<'_>) -> bool {
    match field.known {
        Known::Connection
        | Known::ContentLength
        | Known::HopByHop
        | Known::TransferEncoding
        | Known::Upgrade
        // Only our own answers carry a reason of ours.
        | Known::XWeirReason
        | Known::XWeirDecision => false,
        Known::XRequestId => backward.id.is_none(),
        _ => true,
    }
}

/// `Connection`, where the version's default does not say it.
pub(crate) fn connection(out: &mut Vec<u8>, version: Version, closing: bool) {
    match (version, closing) {
        (_, true) => out.extend_from_slice(b"Connection: close\r\n"),
        (Version::Http10, false) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (Version::Http11, false) => {}
    }
}

/// `HTTP/1.1 200 ` and nothing after the space.
pub(crate) fn push_status(out: &mut Vec<u8>, status: u16) {
    let digit = |place: u16| b'0' + (status / place % 10) as u8;
    push(out, &[b"HTTP/1.1 ", &[digit(100), digit(10), digit(1), b' ']]);
}

pub(crate) fn push_length(out: &mut Vec<u8>, length: u64) {
    push_number(out, b"Content-Length: ", length);
}

/// A field whose value is a number; `name` with its colon and space.
pub(crate) fn push_number(out: &mut Vec<u8>, name: &[u8], number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    push(out, &[name, &digits[at..], b"\r\n"]);
}

fn push_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests {
    use weir_config::model::ListenerLimits;

    use super::*;
    use crate::http1::head::Asked;
    use crate::http1::parse;

    const POLICY: HeaderPolicy = HeaderPolicy {
        x_forwarded: true,
        forwarded: false,
        request_id: true,
        reason: true,
        deadline: false,
        decision: 0.0,
    };
    const LIMITS: ListenerLimits = ListenerLimits {
        connections: None,
        connections_per_client: None,
        header_bytes: 4096,
        header_count: 100,
        uri_bytes: 1024,
        body_bytes: None,
        body_min_rate: 0,
    };

    fn onward(text: &str, policy: &HeaderPolicy, trusted: bool) -> String {
        by_route("", text, policy, trusted)
    }

    /// On a route with these keys.
    fn by_route(route: &str, text: &str, policy: &HeaderPolicy, trusted: bool) -> String {
        traced(None, route, text, policy, trusted)
    }

    /// The same of a request that is traced.
    fn traced(trace: Option<TraceOnward>, route: &str, text: &str, policy: &HeaderPolicy, trusted: bool) -> String {
        let config = format!(
            "listeners: [{{name: web, bind: '127.0.0.1:80', routes: [{{cluster: shop{route}}}]}}]\n\
             clusters: [{{name: shop, endpoints: ['127.0.0.1:1']}}]\n"
        );
        let config = weir_config::parse_str(&config).unwrap().config;
        let route = &config.listeners[0].routes[0];
        let mut head = RequestHead::default();
        parse::request(text.as_bytes(), &LIMITS, &mut head).unwrap();
        let id = RequestId::given(b"id-1").unwrap();
        let (peer, endpoint) = (&Peer::new(([192, 0, 2, 7], 5).into()), &Address::Ip(([10, 0, 0, 1], 80).into()));
        let (mut out, id) = (Vec::new(), Some(&id));
        let facts =
            Facts { request: &head, client: peer.address.ip(), id, secure: false, cluster: "shop", server_name: "" };
        let left = Duration::from_millis(1500);
        let (head, upgrade, call_left, shadow, certificate) = (&head, None, None, false, None);
        let onward = Onward {
            head,
            policy,
            route,
            facts,
            peer,
            certificate,
            trusted,
            endpoint,
            id,
            left,
            shadow,
            upgrade,
            call_left,
            trace,
        };
        request(&mut out, &onward);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hop_by_hop_fields_go_and_ours_come() {
        let text = "POST /x HTTP/1.1\r\nHost: a\r\nConnection: X-Hop, Host, Content-Length, keep-alive\r\nX-Hop: 1\r\n\
                    Keep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\nX-Stay: 2\r\nContent-Length: 03\r\n\
                    X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Request-Id: theirs\r\n\r\n";
        assert_eq!(
            onward(text, &POLICY, false),
            "POST /x HTTP/1.1\r\nHost: a\r\nX-Stay: 2\r\nContent-Length: 3\r\nX-Forwarded-For: 192.0.2.7\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Request-Id: id-1\r\n\r\n"
        );
        assert_eq!(
            onward(text, &POLICY, true),
            "POST /x HTTP/1.1\r\nHost: a\r\nX-Stay: 2\r\nX-Forwarded-Proto: https\r\nContent-Length: 3\r\n\
             X-Forwarded-For: 1.1.1.1, 192.0.2.7\r\nX-Forwarded-Host: a\r\nX-Request-Id: id-1\r\n\r\n"
        );
    }

    #[test]
    fn a_route_rewrites_what_endpoints_see() {
        let path = ", match: {path_prefix: /api}, rewrite: {path_prefix: /v1}";
        for (route, target, line) in [
            (path, "/api/x?y=/api", "GET /v1/x?y=/api"),
            (path, "/api?y", "GET /v1?y"),
            (path, "http://a/api/x?y", "GET /v1/x?y"),
            (", rewrite: {path: /whole}", "/api/x?y", "GET /whole?y"),
            (", rewrite: {path: /whole}", "http://a", "GET /whole"),
        ] {
            let onward = by_route(route, &format!("GET {target} HTTP/1.1\r\nHost: a:80\r\n\r\n"), &POLICY, false);
            assert!(onward.starts_with(&format!("{line} HTTP/1.1\r\nHost: a")), "{route} {target}: {onward}");
        }
        let star = by_route(", rewrite: {path: /w}", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &POLICY, false);
        assert!(star.starts_with("OPTIONS * HTTP/1.1\r\n"), "{star}");
        let host = by_route(", rewrite: {host: b.internal}", "GET / HTTP/1.1\r\nHost: a:80\r\n\r\n", &POLICY, false);
        assert!(host.starts_with("GET / HTTP/1.1\r\nHost: b.internal\r\n"), "{host}");
        assert!(host.contains("\r\nX-Forwarded-Host: a:80\r\n"), "{host}");
    }

    #[test]
    fn a_route_changes_what_we_write_too() {
        let route = ", headers: {request: {remove: [x-forwarded-for, x-old], set: {x-request-id: '{cluster}'}}}";
        let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Old: 1\r\n\r\n";
        let wanted = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n\
                      x-request-id: shop\r\n\r\n";
        assert_eq!(by_route(route, text, &POLICY, false), wanted);
    }

    #[test]
    fn nobody_but_a_trusted_proxy_tells_of_clients() {
        let names = [
            "X-Forwarded-Client-Cert",
            "X-Forwarded-Port",
            "x-forwarded-prefix",
            "X-Forwarded-Ssl",
            "X_Forwarded_Proto",
            "x_forwarded-for",
            "X-Request-Deadline-Ms",
        ];
        let lies: String = names.iter().map(|name| format!("{name}: lie\r\n")).collect();
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded: stays\r\n{lies}\r\n");
        let heard = |trusted| onward(&text, &POLICY, trusted).matches(": lie\r\n").count();
        assert_eq!((heard(false), heard(true)), (0, names.len()));
        assert!(onward(&text, &POLICY, false).contains("X-Forwarded: stays\r\n"));
    }

    #[test]
    fn a_trace_is_told_or_goes_on_as_it_came() {
        let theirs = "00-12345678901234567890123456789012-1234567890123456-01";
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\nTraceparent: {theirs}\r\ntracestate: k=v\r\n\r\n");
        let untraced = onward(&text, &POLICY, false);
        assert!(untraced.contains(&format!("Traceparent: {theirs}\r\ntracestate: k=v\r\n")), "{untraced}");
        let ours = theirs.replace("-1234567890123456-", "-00000000000000ab-");
        let context = Context::parse(ours.as_bytes()).unwrap();
        for state in [true, false] {
            let told = traced(Some(TraceOnward { context, state }), "", &text, &POLICY, false);
            assert!(told.contains(&format!("\r\ntraceparent: {ours}\r\n")) && !told.contains(theirs), "{told}");
            assert_eq!(told.contains("tracestate: k=v\r\n"), state);
        }
    }

    #[test]
    fn forwarded_is_written_when_asked_for() {
        let policy = HeaderPolicy { x_forwarded: false, forwarded: true, ..POLICY };
        let text = "GET / HTTP/1.1\r\nHost: a:80\r\nForwarded: for=1.1.1.1\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n";
        assert!(onward(text, &policy, false).contains("\r\nForwarded: for=192.0.2.7;host=\"a:80\";proto=http\r\n"));
        assert!(!onward(text, &policy, false).contains("X-Forwarded-For"));
        assert!(onward(text, &policy, true).contains("\r\nForwarded: for=1.1.1.1, for=192.0.2.7;"));
    }

    #[test]
    fn a_request_without_host_gets_the_endpoints() {
        assert!(
            onward("GET / HTTP/1.0\r\n\r\n", &POLICY, false).starts_with("GET / HTTP/1.1\r\nHost: 10.0.0.1:80\r\n")
        );
    }

    #[test]
    fn answers_are_framed_anew() {
        let mut head = ResponseHead::default();
        let text = b"HTTP/1.1 200 All right\r\nServer: s\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
                     X-Weir-Reason: no\r\nX-Request-Id: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        parse::response(text, Asked::Plain, &mut head).unwrap();
        let id = RequestId::given(b"id-1").unwrap();
        let render = |framing, version, closing| {
            let mut out = Vec::new();
            let (head, id) = (&head, Some(&id));
            let (fields, upgrade, edits) = (&[][..], None, None);
            response(&mut out, &Backward { head, framing, version, closing, id, fields, upgrade, edits });
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            render(Framing::Chunked, Version::Http11, false),
            "HTTP/1.1 200 All right\r\nServer: s\r\nTransfer-Encoding: chunked\r\nX-Request-Id: id-1\r\n\r\n"
        );
        assert_eq!(
            render(Framing::UntilClose, Version::Http10, true),
            "HTTP/1.1 200 All right\r\nServer: s\r\nX-Request-Id: id-1\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn the_longest_peer_fits() {
        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1";
        assert_eq!(Peer::new(longest.parse().unwrap()).text(), b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    }

    #[test]
    fn ids_are_uuids() {
        let id = RequestId::roll(&mut Dice::new(1));
        assert_eq!(id.as_str().len(), 36);
        assert_eq!((id.as_bytes()[14], &id.as_str()[8..9]), (b'4', "-"));
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert!(RequestId::given(b"a b").is_none() && RequestId::given(b"").is_none());
    }
}
