//! A client's stream: its request as HTTP/1.1 text, and HTTP/1.1 text as its answer.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, StreamId};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::io::ReadBuf;

use super::sink::Sink;
use super::source::Source;
use super::{Form, Malformed, append, broken, is_value};
use crate::http1::framing::Framing;
use crate::http1::head::{Asked, Known, ResponseHead};
use crate::http1::parse::{self, HeadEnd, RESPONSE_HEAD_MAX};
use crate::http1::push;

/// A client's stream.
pub(crate) struct ServerStream {
    source: Source,
    answer: Answer,
    asked: Asked,
    /// Nobody may take what was sent for a whole answer.
    abort: Cell<bool>,
    /// The client reset it before there was an answer.
    given_up: bool,
    id: StreamId,
}

enum Answer {
    /// Its head is still to come, perhaps after informational ones.
    Head {
        respond: SendResponse<Bytes>,
        text: Vec<u8>,
    },
    Body(Sink),
    /// There is none, for it could not be sent.
    Lost,
}

impl ServerStream {
    pub(crate) fn new(body: RecvStream, respond: SendResponse<Bytes>, asked: Asked, framing: Framing) -> Self {
        let form = match framing {
            Framing::Chunked => Form::Chunked,
            Framing::None | Framing::Length(_) | Framing::UntilClose => Form::Sized,
        };
        let (id, source) = (respond.stream_id(), Source::new(body, form));
        Self {
            source,
            answer: Answer::Head { respond, text: Vec::new() },
            asked,
            abort: Cell::new(false),
            given_up: false,
            id,
        }
    }

    /// Whether any 2xx says that it is a tunnel now: extended CONNECT (RFC 8441 4).
    pub(crate) fn asks_for_tunnel(&self) -> bool {
        self.asked == Asked::Upgrade
    }

    /// Whether the client has reset it before there was an answer.
    pub(crate) const fn is_given_up(&self) -> bool {
        self.given_up
    }

    pub(crate) fn abort_on_close(&self) {
        self.abort.set(true);
    }

    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match ready!(self.source.poll_read(context, into)) {
            Ok(more) if more || self.source.is_raw() => return Poll::Ready(Ok(())),
            Ok(_) => {}
            Err(error) => {
                self.given_up = matches!(self.answer, Answer::Head { .. });
                return Poll::Ready(Err(broken(error)));
            }
        }
        // Behind its request nothing comes but, perhaps, a reset.
        let reset = match &mut self.answer {
            Answer::Head { respond, .. } => respond.poll_reset(context),
            Answer::Body(sink) => sink.poll_reset(context),
            Answer::Lost => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        };
        let reset = ready!(reset);
        self.given_up = reset.is_ok() && matches!(self.answer, Answer::Head { .. });
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    /// Takes over what has come while nobody can take it on.
    pub(crate) fn hoard(&mut self, context: &mut Context<'_>) {
        self.source.hoard(context);
    }

    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.answer {
            Answer::Body(sink) => sink.poll_write(context, bytes),
            Answer::Lost => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Answer::Head { .. } => Poll::Ready(self.take_head(bytes).inspect_err(|_| self.answer = Answer::Lost)),
        }
    }

    pub(crate) fn shut(&mut self) -> io::Result<()> {
        match &mut self.answer {
            Answer::Body(sink) => sink.shut(),
            Answer::Head { .. } | Answer::Lost => Ok(()),
        }
    }

    /// Takes text of a head; once it is whole, sends it. How much was taken.
    fn take_head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Answer::Head { text, .. } = &mut self.answer else { return Ok(0) };
        let before = text.len();
        let mut end = HeadEnd::default();
        let found = if before == 0 {
            end.find(bytes)
        } else {
            text.extend_from_slice(bytes);
            end.find(text)
        };
        let Some(length) = found.map_err(|_| Malformed)? else {
            if before == 0 {
                text.extend_from_slice(bytes);
            }
            // Ours to write, and endpoints' heads are bounded too.
            return if text.len() > 2 * RESPONSE_HEAD_MAX { Err(Malformed.into()) } else { Ok(bytes.len()) };
        };
        let mut head = ResponseHead::default();
        let whole = if before == 0 { &bytes[..length] } else { &text[..length] };
        parse::response(whole, self.asked, &mut head).map_err(|_| Malformed)?;
        text.clear();
        let used = length - before;
        let (response, tunnel) = response(self.asked, &head)?;
        let Answer::Head { respond, .. } = &mut self.answer else { return Ok(used) };
        if head.is_informational() {
            respond.send_informational(response).map_err(broken)?;
            return Ok(used);
        }
        let framing = if tunnel { Framing::UntilClose } else { head.framing };
        let is_over = matches!(framing, Framing::None | Framing::Length(0));
        let stream = respond.send_response(response, is_over).map_err(broken)?;
        self.answer = Answer::Body(Sink::new(stream, framing));
        if tunnel {
            self.source.become_raw();
        }
        Ok(used)
    }
}

/// An answer's head as a stream has it, and whether a tunnel begins with it.
fn response(asked: Asked, head: &ResponseHead) -> Result<(Response<()>, bool), Malformed> {
    let tunnel = match asked {
        Asked::Upgrade => head.status == 101,
        Asked::Connect => (200..300).contains(&head.status),
        Asked::Plain | Asked::Head => false,
    };
    let mut response = Response::new(());
    let status = if asked == Asked::Upgrade && tunnel { 200 } else { head.status };
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Malformed)?;
    let fields = &head.fields;
    let map = response.headers_mut();
    map.reserve(fields.list.len());
    for field in &fields.list {
        let is_sent = match field.known {
            Known::Connection | Known::HopByHop | Known::TransferEncoding | Known::Upgrade => false,
            // Where there is no body it says how long one would have been.
            Known::ContentLength => !tunnel && head.framing != Framing::Chunked,
            _ => !(tunnel && fields.name(field).eq_ignore_ascii_case(b"sec-websocket-accept")),
        };
        if is_sent {
            append(map, fields.name(field), fields.value(field))?;
        }
    }
    Ok((response, tunnel))
}

impl Drop for ServerStream {
    fn drop(&mut self) {
        match &mut self.answer {
            Answer::Head { respond, .. } => respond.send_reset(h2::Reason::INTERNAL_ERROR),
            Answer::Body(sink) if self.abort.get() || !sink.is_over() => sink.reset(h2::Reason::INTERNAL_ERROR),
            Answer::Body(_) | Answer::Lost => {}
        }
    }
}

impl fmt::Debug for ServerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerStream").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Writes a request's head out as HTTP/1.1 text: what it asked for, and how its body comes in.
/// `key`: a fresh `Sec-WebSocket-Key`, which HTTP/2 has none of.
///
/// # Errors
/// If it is malformed (RFC 9113 8.1.1): then the stream is to be reset.
pub(crate) fn request_text<B>(
    request: &Request<B>,
    ended: bool,
    key: impl FnOnce() -> String,
    out: &mut Vec<u8>,
) -> Result<(Asked, Framing), Malformed> {
    let protocol = request.extensions().get::<h2::ext::Protocol>();
    let asked = match (request.method(), protocol) {
        (&Method::CONNECT, Some(_)) => Asked::Upgrade,
        (&Method::CONNECT, None) => Asked::Connect,
        (&Method::HEAD, _) => Asked::Head,
        _ => Asked::Plain,
    };
    if protocol.is_some_and(|protocol| !is_protocol(protocol.as_str())) {
        return Err(Malformed);
    }
    let authority = authority(request)?;
    if asked != Asked::Connect && request.uri().scheme_str() == Some("") {
        return Err(Malformed);
    }
    out.clear();
    request_line(request, asked, authority, out)?;
    if let Some(authority) = authority {
        push(out, &[b"host: ", authority, b"\r\n"]);
    }
    let length = fields(request, out)?;
    if asked == Asked::Upgrade
        && let Some(protocol) = protocol
    {
        push(out, &[b"connection: Upgrade\r\nupgrade: ", protocol.as_str().as_bytes(), b"\r\n"]);
        if protocol.as_str().eq_ignore_ascii_case("websocket") {
            push(out, &[b"sec-websocket-key: ", key().as_bytes(), b"\r\n"]);
        }
    }
    let framing = match (asked, length) {
        // What follows is a tunnel's, once there is one.
        (Asked::Connect | Asked::Upgrade, None) => Framing::None,
        (Asked::Connect | Asked::Upgrade, Some(_)) => return Err(Malformed),
        (_, Some(length)) if ended && length > 0 => return Err(Malformed),
        (_, Some(0)) | (_, None) if ended => Framing::None,
        (_, Some(length)) => Framing::Length(length),
        (_, None) => Framing::Chunked,
    };
    if framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok((asked, framing))
}

/// Whether `:protocol` is what `Upgrade` may name (RFC 9110 7.8): `h2` looks at all other fields, and
/// lets pass whatever is in this one, line ends too.
fn is_protocol(text: &str) -> bool {
    // Names of fields are tokens, as its parts are.
    text.split('/').all(|part| HeaderName::from_bytes(part.as_bytes()).is_ok())
}

fn request_line<B>(
    request: &Request<B>,
    asked: Asked,
    authority: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let method = if asked == Asked::Upgrade { "GET" } else { request.method().as_str() };
    let target = match asked {
        Asked::Connect => authority.ok_or(Malformed)?,
        // Absolute forms have no place in `:path`, and an empty one is malformed (RFC 9113 8.3.1).
        _ if path.starts_with('/') || (path == "*" && request.method() == Method::OPTIONS) => path.as_bytes(),
        _ => return Err(Malformed),
    };
    push(out, &[method.as_bytes(), b" ", target, b" HTTP/1.1\r\n"]);
    Ok(())
}

/// `:authority`, or `host` where there is none; they must not differ.
fn authority<B>(request: &Request<B>) -> Result<Option<&[u8]>, Malformed> {
    let mut hosts = request.headers().get_all(header::HOST).into_iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Malformed);
    }
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => Err(Malformed),
        (Some(authority), _) => Ok(Some(authority)),
        (None, host) => Ok(host),
    }
}

/// Writes the fields; gives the length the body is said to have. Cookies that were sent apart come
/// together again (RFC 9113 8.2.3).
fn fields<B>(request: &Request<B>, out: &mut Vec<u8>) -> Result<Option<u64>, Malformed> {
    let mut length = None;
    for (name, value) in request.headers() {
        if !is_value(value.as_bytes()) {
            return Err(Malformed);
        }
        match *name {
            header::HOST | header::COOKIE => continue,
            // `h2` refuses these already; what frames an HTTP/1 message must never get here.
            header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => return Err(Malformed),
            header::CONTENT_LENGTH => {
                let told = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let told = told.and_then(|text| text.parse::<u64>().ok()).ok_or(Malformed)?;
                if length.replace(told).is_some() {
                    return Err(Malformed);
                }
            }
            _ => {}
        }
        push(out, &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    let mut cookies = request.headers().get_all(header::COOKIE).into_iter();
    if let Some(first) = cookies.next() {
        push(out, &[b"cookie: ", first.as_bytes()]);
        for crumb in cookies {
            push(out, &[b"; ", crumb.as_bytes()]);
        }
        out.extend_from_slice(b"\r\n");
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: http::request::Builder, ended: bool) -> Result<(String, Framing), Malformed> {
        let mut out = Vec::new();
        let (_, framing) = request_text(&request.body(()).unwrap(), ended, || "k".repeat(24), &mut out)?;
        Ok((String::from_utf8(out).unwrap(), framing))
    }

    fn get(path: &str) -> http::request::Builder {
        Request::get(format!("https://shop.example{path}"))
    }

    #[test]
    fn a_request_reads_as_http_1() {
        let request = get("/a?b=c").header("x-a", "1").header("cookie", "a=1").header("cookie", "b=2");
        let (text, framing) = text(request, true).unwrap();
        assert_eq!(text, "GET /a?b=c HTTP/1.1\r\nhost: shop.example\r\nx-a: 1\r\ncookie: a=1; b=2\r\n\r\n");
        assert_eq!(framing, Framing::None);
    }

    #[test]
    fn bodies_are_framed_by_what_is_told() {
        let post = || Request::post("http://a/");
        let (head, framing) = text(post().header("content-length", "5"), false).unwrap();
        assert!(head.ends_with("content-length: 5\r\n\r\n"));
        assert_eq!(framing, Framing::Length(5));
        let (head, framing) = text(post(), false).unwrap();
        assert!(head.ends_with("transfer-encoding: chunked\r\n\r\n"));
        assert_eq!(framing, Framing::Chunked);
        assert_eq!(text(post().header("content-length", "0"), true).unwrap().1, Framing::None);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_malformed() {
        let post = || Request::post("http://a/");
        let bad = [
            post().header("content-length", "5").header("content-length", "5"),
            post().header("content-length", "+5"),
            post().header("content-length", "5 "),
            post().header("transfer-encoding", "chunked"),
            post().header("connection", "close"),
            post().header("upgrade", "h2c"),
            post().header("host", "b"),
            post().header("host", "a").header("host", "a"),
            post().header("x", " a"),
            post().header("x", "a\t"),
        ];
        for request in bad {
            assert_eq!(text(request, false), Err(Malformed));
        }
        assert_eq!(text(post().header("content-length", "5"), true), Err(Malformed));
        assert_eq!(text(Request::get("*").header("host", "a"), true), Err(Malformed));
        assert!(text(Request::options("*").header("host", "a"), true).is_ok());
    }

    proptest::proptest! {
        /// Whatever a client says: what comes out is one request with as many fields, or none.
        #[test]
        fn one_request_is_one_request(
            path in "/[ -~]{0,20}",
            fields in proptest::collection::vec(("[a-z-]{1,8}", proptest::collection::vec(0u8..=255, 0..12)), 0..6),
            ended: bool,
        ) {
            let Ok(mut request) = Request::post(format!("http://a{path}")).body(()) else { return Ok(()) };
            for (name, value) in &fields {
                let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) else { return Ok(()) };
                request.headers_mut().append(name, value);
            }
            let mut out = Vec::new();
            let Ok((_, framing)) = request_text(&request, ended, || "k".repeat(24), &mut out) else { return Ok(()) };
            let limits = weir_config::model::ListenerLimits {
                connections: None,
                connections_per_client: None,
                header_bytes: 4096,
                header_count: 64,
                uri_bytes: 1024,
                body_bytes: None,
                body_min_rate: 0,
            };
            let mut head = crate::http1::head::RequestHead::default();
            if parse::request(&out, &limits, &mut head).is_err() {
                return Ok(());
            }
            proptest::prop_assert_eq!(HeadEnd::default().find(&out), Ok(Some(out.len())));
            proptest::prop_assert_eq!(head.framing == Framing::Chunked, framing == Framing::Chunked);
            let cookies = request.headers().get_all(header::COOKIE).iter().count().max(1) - 1;
            let ours = 1 + usize::from(framing == Framing::Chunked);
            proptest::prop_assert_eq!(head.fields.list.len(), request.headers().len() - cookies + ours);
        }
    }

    #[test]
    fn a_protocol_is_no_place_for_lines() {
        let upgrade = |protocol: &'static str| {
            let request = Request::connect("https://a/chat").extension(h2::ext::Protocol::from_static(protocol));
            text(request, false).is_ok()
        };
        assert!(upgrade("websocket") && upgrade("connect-udp") && upgrade("TLS/1.0"));
        for bad in ["", "web socket", "a\r\nx: y", "a\r\n\r\nGET / HTTP/1.1\r\n", "a,b", "a\0", "/"] {
            assert!(!upgrade(bad), "{bad:?}");
        }
    }

    #[test]
    fn tunnels() {
        let (head, _) = text(Request::connect("db.example:5432"), false).unwrap();
        assert_eq!(head, "CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\n");
        let upgrade = Request::connect("https://a/chat").extension(h2::ext::Protocol::from_static("websocket"));
        let (head, _) = text(upgrade.header("sec-websocket-version", "13"), false).unwrap();
        assert_eq!(
            head,
            "GET /chat HTTP/1.1\r\nhost: a\r\nsec-websocket-version: 13\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-key: kkkkkkkkkkkkkkkkkkkkkkkk\r\n\r\n"
        );
    }
}
