//! A stream to an endpoint: HTTP/1.1 text as its request, and its answer as HTTP/1.1 text.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, uri};
use tokio::io::ReadBuf;
use weir_config::model::ListenerLimits;
use weir_core::route::Headers as _;

use super::sink::Sink;
use super::source::Source;
use super::websocket;
use super::{Form, Lost, Malformed, append, broken};
use crate::http1::framing::Framing;
use crate::http1::head::{Known, RequestHead};
use crate::http1::parse::{self, HeadEnd};
use crate::http1::push;

/// A stream to an endpoint.
pub(crate) struct ClientStream {
    state: State,
    /// Text of the answer's head that has not been read yet.
    head: Vec<u8>,
    source: Option<Source>,
    sink: Option<Sink>,
    lost: Cell<Lost>,
}

enum State {
    /// The request's head is still to come.
    Asking(Box<Asking>),
    /// The answer's is.
    Asked {
        response: ResponseFuture,
        to_head: bool,
        tunnel: bool,
        upgrade: Option<Upgrade>,
    },
    Answered,
    /// It could not be asked.
    Failed,
}

/// What HTTP/1 knows as an upgrade, and HTTP/2 as extended CONNECT (RFC 8441).
struct Upgrade {
    protocol: Box<[u8]>,
    /// For whoever asked by a key that HTTP/2 has none of.
    accept: Option<String>,
}

struct Asking {
    send: SendRequest<Bytes>,
    scheme: uri::Scheme,
    text: Vec<u8>,
}

/// Our own request heads: whatever a listener let in, and what we add to it.
const LIMITS: ListenerLimits = ListenerLimits {
    connections: None,
    connections_per_client: None,
    header_bytes: u32::MAX,
    header_count: u16::MAX,
    uri_bytes: u32::MAX,
    body_bytes: None,
    body_min_rate: 0,
};
/// More text than any head of ours has.
const HEAD_MAX: usize = 1024 * 1024;

impl ClientStream {
    /// A stream on the connection that `send` leads to.
    pub(crate) fn new(send: SendRequest<Bytes>, secure: bool) -> Self {
        let scheme = if secure { uri::Scheme::HTTPS } else { uri::Scheme::HTTP };
        let state = State::Asking(Box::new(Asking { send, scheme, text: Vec::new() }));
        Self { state, head: Vec::new(), source: None, sink: None, lost: Cell::default() }
    }

    /// What became of it.
    pub(crate) fn lost(&self) -> Lost {
        self.lost.get()
    }

    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.state {
            State::Asked { .. } if self.head.is_empty() => {
                ready!(self.poll_head(context)).map_err(|error| self.lose(error))?;
            }
            // Whoever could not write may still wait for what there is to read: there is nothing.
            State::Failed => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            _ => {}
        }
        if let (Some(source), Some(sink)) = (&mut self.source, &self.sink) {
            source.may_need_no_more(!sink.is_over());
        }
        if !self.head.is_empty() {
            let count = self.head.len().min(into.remaining());
            into.put_slice(&self.head[..count]);
            self.head.drain(..count);
            if !self.head.is_empty() || into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            // A body that is here already goes into the same read.
            return match self.source.as_mut().map(|source| source.poll_read(context, into)) {
                Some(Poll::Ready(Err(error))) => Poll::Ready(Err(self.lose(error))),
                _ => Poll::Ready(Ok(())),
            };
        }
        let Some(source) = &mut self.source else { return Poll::Pending };
        match ready!(source.poll_read(context, into)) {
            Ok(true) => Poll::Ready(Ok(())),
            // The end of a stream is that of its message; what ends by it is read no further.
            Ok(false) if source.is_raw() => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(error) => Poll::Ready(Err(self.lose(error))),
        }
    }

    /// Takes over what has come while nobody can take it on.
    pub(crate) fn hoard(&mut self, context: &mut Context<'_>) {
        if let Some(source) = &mut self.source {
            source.hoard(context);
        }
    }

    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(sink) = &mut self.sink {
            return sink.poll_write(context, bytes);
        }
        match &mut self.state {
            State::Asking(asking) => {
                let ready = ready!(asking.send.poll_ready(context));
                let taken = ready.map_err(|error| self.lose(error)).and_then(|()| self.take_head(bytes));
                Poll::Ready(taken.inspect_err(|_| self.fail()))
            }
            State::Failed => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            State::Asked { .. } | State::Answered => Poll::Ready(Ok(bytes.len())),
        }
    }

    pub(crate) fn shut(&mut self) -> io::Result<()> {
        self.sink.as_mut().map_or(Ok(()), Sink::shut)
    }

    fn fail(&mut self) {
        self.state = State::Failed;
        if self.lost.get() == Lost::Nothing {
            self.lost.set(Lost::Unsayable);
        }
    }

    fn lose(&self, error: h2::Error) -> io::Error {
        self.lost.set(Lost::by(&error));
        broken(error)
    }

    /// Takes text of the request's head; once it is whole, sends it. How much was taken.
    fn take_head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let State::Asking(asking) = &mut self.state else { return Ok(0) };
        let before = asking.text.len();
        asking.text.extend_from_slice(bytes);
        let Some(length) = HeadEnd::default().find(&asking.text).map_err(|_| Malformed)? else {
            return if asking.text.len() > HEAD_MAX { Err(Malformed.into()) } else { Ok(bytes.len()) };
        };
        let mut head = RequestHead::default();
        parse::request(&asking.text[..length], &LIMITS, &mut head).map_err(|_| Malformed)?;
        let (request, tunnel) = request(&head, &asking.scheme)?;
        let framing = if tunnel { Framing::UntilClose } else { head.framing };
        let is_over = matches!(framing, Framing::None | Framing::Length(0));
        let (response, stream) = match asking.send.send_request(request, is_over) {
            Ok(sent) => sent,
            Err(error) => return Err(self.lose(error)),
        };
        self.sink = Some(Sink::new(stream, framing));
        self.state = State::Asked { response, to_head: head.is_head(), tunnel, upgrade: Upgrade::of(&head) };
        Ok(length - before)
    }

    /// The next head of an answer, as text.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let State::Asked { response, to_head, tunnel, upgrade } = &mut self.state else { return Poll::Ready(Ok(())) };
        if let Poll::Ready(Some(informational)) = response.poll_informational(context) {
            let informational = informational?;
            // Nothing is switched to by it here (RFC 9113 8.6), and nobody may think so.
            if informational.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Poll::Ready(Err(h2::Reason::PROTOCOL_ERROR.into()));
            }
            head_text(&informational, Framing::None, None, &mut self.head);
            return Poll::Ready(Ok(()));
        }
        let response = ready!(Pin::new(response).poll(context))?;
        let (to_head, tunnel) = (*to_head, *tunnel && response.status().is_success());
        let upgrade = upgrade.take().filter(|_| tunnel);
        self.state = State::Answered;
        let (parts, body) = response.into_parts();
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let bodiless = to_head || matches!(parts.status.as_u16(), 204 | 304);
        let framing = match length {
            _ if tunnel => Framing::UntilClose,
            _ if bodiless => Framing::None,
            Some(length) => Framing::Length(length),
            None if body.is_end_stream() => Framing::Length(0),
            None => Framing::Chunked,
        };
        let response = Response::from_parts(parts, ());
        head_text(&response, framing, upgrade.as_ref(), &mut self.head);
        let form = match framing {
            Framing::None => None,
            Framing::Chunked => Some(Form::Chunked),
            Framing::Length(_) => Some(Form::Sized),
            Framing::UntilClose => Some(Form::Raw),
        };
        self.source = form.map(|form| Source::new(body, form));
        Poll::Ready(Ok(()))
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.as_mut().filter(|sink| !sink.is_over()) {
            sink.reset(h2::Reason::CANCEL);
        }
    }
}

impl fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStream").field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl Upgrade {
    /// What a request's head asks for, if it does.
    fn of(head: &RequestHead) -> Option<Self> {
        let fields = &head.fields;
        let protocol = fields.all(Known::Upgrade).next()?.into();
        let key = fields.get("sec-websocket-key");
        Some(Self { protocol, accept: key.map(websocket::accept) })
    }
}

/// A request's head as a stream has it, and whether it asks for a tunnel.
fn request(head: &RequestHead, scheme: &uri::Scheme) -> Result<(Request<()>, bool), Malformed> {
    let fields = &head.fields;
    let upgrade = fields.all(Known::Upgrade).next();
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_2;
    *request.method_mut() = Method::from_bytes(head.method().as_bytes()).map_err(|_| Malformed)?;
    let is_connect = request.method() == Method::CONNECT;
    let mut parts = uri::Parts::default();
    parts.authority = Some(uri::Authority::try_from(fields.text(head.authority)).map_err(|_| Malformed)?);
    if !is_connect {
        parts.scheme = Some(scheme.clone());
        parts.path_and_query = Some(path_and_query(head.target())?);
    }
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Malformed)?;
    if let Some(upgrade) = upgrade {
        // Its settings may still be on their way; an endpoint that does not take such requests
        // resets their streams.
        let protocol = std::str::from_utf8(upgrade).map_err(|_| Malformed)?;
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(h2::ext::Protocol::from(protocol));
    }
    let mut is_grpc = false;
    let map = request.headers_mut();
    map.reserve(fields.list.len());
    for field in &fields.list {
        let name = fields.name(field);
        let is_sent = match field.known {
            Known::Connection | Known::HopByHop | Known::Host | Known::TransferEncoding | Known::Upgrade => false,
            Known::ContentLength => head.framing != Framing::Chunked,
            _ => upgrade.is_none() || !name.eq_ignore_ascii_case(b"sec-websocket-key"),
        };
        if is_sent {
            let value = fields.value(field);
            is_grpc |= name.eq_ignore_ascii_case(b"content-type") && value.starts_with(b"application/grpc");
            append(map, name, value)?;
        }
    }
    if is_grpc {
        // Hop-by-hop, so it was not sent on; gRPC servers refuse calls without it.
        map.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    Ok((request, is_connect || upgrade.is_some()))
}

/// A target as `:path`. HTTP/1 lets pass what stands in no URI; here it is encoded (RFC 3986 2.1), for
/// no stream takes it as it is.
fn path_and_query(target: &[u8]) -> Result<uri::PathAndQuery, Malformed> {
    const NEVER: &[u8] = b"\"<>\\^`{|}";
    if !target.iter().any(|byte| NEVER.contains(byte)) {
        return uri::PathAndQuery::try_from(target).map_err(|_| Malformed);
    }
    let mut encoded = Vec::with_capacity(target.len() + 16);
    for byte in target {
        if NEVER.contains(byte) {
            let digit = |half: u8| b"0123456789ABCDEF"[usize::from(half)];
            encoded.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            encoded.push(*byte);
        }
    }
    uri::PathAndQuery::try_from(encoded).map_err(|_| Malformed)
}

/// Writes an answer's head out as HTTP/1.1 text.
fn head_text(response: &Response<()>, framing: Framing, upgrade: Option<&Upgrade>, out: &mut Vec<u8>) {
    let status = if upgrade.is_some() { StatusCode::SWITCHING_PROTOCOLS } else { response.status() };
    push(out, &[b"HTTP/1.1 ", status.as_str().as_bytes(), b" "]);
    push(out, &[status.canonical_reason().unwrap_or_default().as_bytes(), b"\r\n"]);
    for (name, value) in response.headers() {
        let is_sent = match *name {
            header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => false,
            header::CONTENT_LENGTH => framing != Framing::Chunked && framing != Framing::UntilClose,
            // Space at its ends is not part of it to HTTP/1, and is left out there.
            _ => true,
        };
        if is_sent {
            push(out, &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
    }
    if let Some(Upgrade { protocol, accept }) = upgrade {
        push(out, &[b"connection: Upgrade\r\nupgrade: ", protocol, b"\r\n"]);
        if let Some(accept) = accept {
            push(out, &[b"sec-websocket-accept: ", accept.as_bytes(), b"\r\n"]);
        }
    }
    match framing {
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(0) if !response.headers().contains_key(header::CONTENT_LENGTH) => {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
}
