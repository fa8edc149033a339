//! Bytes -> checked heads. `httparse` cuts the tokens; what they may mean is decided here.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};
use weir_config::model::ListenerLimits;
use weir_core::reason::Reason;

use super::framing::{self, Framing};
use super::head::{Asked, Field, Fields, Known, RequestHead, ResponseHead, Span, Version};
use super::host;

/// More fields than any limit allows; the arrays for them stand on the stack.
const FIELDS_MAX: usize = 256;
/// An endpoint's head, in bytes: more is no honest answer.
pub(crate) const RESPONSE_HEAD_MAX: usize = 64 * 1024;

/// Looks for the end of a head, remembering how far it has looked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadEnd {
    looked: usize,
    line: usize,
}

/// A line feed without a carriage return before it: some take it for a line's end, others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BareLineFeed;

impl HeadEnd {
    /// The length of the head that `bytes` begins with, if its end is there.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, BareLineFeed> {
        while let Some(step) = memchr::memchr(b'\n', bytes.get(self.looked..).unwrap_or_default()) {
            let at = self.looked + step;
            if at == 0 || bytes[at - 1] != b'\r' {
                return Err(BareLineFeed);
            }
            let is_empty_line = at - 1 == self.line;
            self.looked = at + 1;
            self.line = at + 1;
            if is_empty_line {
                return Ok(Some(at + 1));
            }
        }
        self.looked = bytes.len();
        Ok(None)
    }

    /// Whether the first line is complete.
    pub(crate) const fn has_line(self) -> bool {
        self.line > 0
    }
}

/// Parses `bytes`, a whole request head, into `head`.
///
/// # Errors
/// The reason to refuse it.
pub(crate) fn request(bytes: &[u8], limits: &ListenerLimits, head: &mut RequestHead) -> Result<(), Reason> {
    let fields = &mut head.fields;
    fields.clear();
    fields.bytes.extend_from_slice(bytes);
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_MAX];
    let allowed = usize::from(limits.header_count).min(FIELDS_MAX);
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(&fields.bytes, &mut slots[..allowed]) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Err(Reason::BadRequest),
        Err(httparse::Error::TooManyHeaders) => return Err(Reason::HeaderTooLarge),
        Err(httparse::Error::Version) => return Err(bad_version(bytes)),
        Err(_) => return Err(Reason::BadRequest),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Reason::BadRequest);
    };
    let all = fields.bytes.as_slice();
    head.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    head.method = Span::within(all, method.as_bytes());
    let is_connect = method == "CONNECT";
    let target = target.as_bytes();
    if target.len() > limits.uri_bytes as usize {
        return Err(Reason::UriTooLong);
    }
    let (whole, authority) = split_target(method, target)?;
    head.target = Span::within(all, whole);
    head.path = if is_connect { Span::EMPTY } else { Span::within(all, without_query(whole)) };
    let authority = authority.map(|authority| Span::within(all, authority));
    let list = parsed.headers.iter().map(|header| field(all, header));
    fields.list.extend(list);

    (head.authority, head.host) = authority_of(fields, head.version, authority)?;
    Persistence { stays: head.keep_alive, upgrade: head.upgrade } = connection(fields, head.version);
    head.framing = framing::of_request(fields, head.version)?;
    head.expects_continue = expectation(fields, head.version)?;
    // RFC 9110 9.3.6: what follows CONNECT is no body of it. Who says it is, means to be misread.
    if is_connect && head.framing != Framing::None { Err(Reason::AmbiguousFraming) } else { Ok(()) }
}

/// Parses `bytes`, a whole answer head, into `head`.
///
/// # Errors
/// `UpstreamProtocol`.
pub(crate) fn response(bytes: &[u8], asked: Asked, head: &mut ResponseHead) -> Result<(), Reason> {
    let fields = &mut head.fields;
    fields.clear();
    fields.bytes.extend_from_slice(bytes);
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, &fields.bytes, &mut slots) {
        Ok(Status::Complete(_)) => {}
        _ => return Err(Reason::UpstreamProtocol),
    }
    let (Some(status), Some(minor)) = (parsed.code, parsed.version) else { return Err(Reason::UpstreamProtocol) };
    // 101 hands the connection over: only where somebody asked for that.
    if !(100..=599).contains(&status) || (status == 101 && asked != Asked::Upgrade) {
        return Err(Reason::UpstreamProtocol);
    }
    let all = fields.bytes.as_slice();
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    head.status = status;
    head.phrase = Span::within(all, parsed.reason.unwrap_or_default().as_bytes());
    let list = parsed.headers.iter().map(|header| field(all, header));
    fields.list.extend(list);
    head.keep_alive = connection(fields, version).stays;
    head.framing = framing::of_response(fields, version, status, asked)?;
    Ok(())
}

/// Whether a trailer section is field lines, and calls `keep` for each that may be sent on:
/// nothing that frames, routes or authenticates a message (RFC 9110 6.5.1).
pub(crate) fn trailers(section: &[u8], mut keep: impl FnMut(&[u8], &[u8])) -> bool {
    if section.is_empty() {
        return true;
    }
    let mut slots = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut whole = section.to_vec();
    whole.extend_from_slice(b"\r\n");
    match httparse::parse_headers(&whole, &mut slots) {
        Ok(Status::Complete((_, headers))) => {
            for header in headers.iter().filter(|header| is_trailer(header.name.as_bytes())) {
                keep(header.name.as_bytes(), header.value);
            }
            true
        }
        _ => false,
    }
}

fn is_trailer(name: &[u8]) -> bool {
    const NEVER: [&[u8]; 12] = [
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"max-forwards",
        b"proxy-authorization",
        b"range",
        b"set-cookie",
        b"te",
        b"trailer",
    ];
    Known::of(name) == Known::Other && !NEVER.iter().any(|never| name.eq_ignore_ascii_case(never))
}

fn field(all: &[u8], header: &Header<'_>) -> Field {
    let name = header.name.as_bytes();
    Field { name: Span::within(all, name), value: Span::within(all, trim(header.value)), known: Known::of(name) }
}

/// The target to send on and, from a target in absolute form, its authority.
fn split_target<'t>(method: &str, target: &'t [u8]) -> Result<(&'t [u8], Option<&'t [u8]>), Reason> {
    if target.iter().any(|byte| !(0x21..=0x7e).contains(byte) || *byte == b'#') {
        return Err(Reason::BadRequest);
    }
    if method == "CONNECT" {
        // Host and port (RFC 9112 3.2.3); whether it is a host is seen further on.
        let port = target.rsplit(|byte| *byte == b':').next().unwrap_or_default();
        let is_port = port.len() < target.len() && !port.is_empty() && port.iter().all(u8::is_ascii_digit);
        return if is_port { Ok((target, Some(target))) } else { Err(Reason::BadRequest) };
    }
    match target {
        [b'/', ..] => Ok((target, None)),
        b"*" if method == "OPTIONS" => Ok((target, None)),
        _ => {
            let rest = ["http://", "https://"].iter().find_map(|scheme| {
                let (start, rest) = target.split_at_checked(scheme.len())?;
                start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
            });
            let rest = rest.ok_or(Reason::BadRequest)?;
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            match path {
                [b'/', ..] => Ok((path, Some(authority))),
                // An empty path is sent on as `/` (RFC 9112 3.2.1).
                [] => Ok((b"", Some(authority))),
                // `http://host?query`: nobody sends it but to see who disagrees with whom.
                _ => Err(Reason::BadRequest),
            }
        }
    }
}

fn without_query(target: &[u8]) -> &[u8] {
    &target[..memchr::memchr(b'?', target).unwrap_or(target.len())]
}

/// RFC 9112 3.2: one `Host`, whatever the target says; a target in absolute form overrides it. The
/// authority that counts, and the host in it; both empty where 1.0 allows that.
fn authority_of(fields: &Fields, version: Version, absolute: Option<Span>) -> Result<(Span, Span), Reason> {
    let mut hosts = fields.list.iter().filter(|field| field.known == Known::Host);
    let host = hosts.next().map(|field| field.value);
    if hosts.next().is_some() || (host.is_none() && version == Version::Http11) {
        return Err(Reason::BadHost);
    }
    let split = |authority: Span| match host::split(fields.text(authority)) {
        Some(host) => Ok((authority, Span::within(&fields.bytes, host))),
        None => Err(Reason::BadHost),
    };
    let host = host.map(split).transpose()?;
    match absolute {
        Some(absolute) => split(absolute),
        None => Ok(host.unwrap_or((Span::EMPTY, Span::EMPTY))),
    }
}

/// What `Connection` says of the connection itself.
struct Persistence {
    /// It stays open.
    stays: bool,
    /// It is to speak something else.
    upgrade: bool,
}

/// Reads `Connection`, and notes the fields it nominates.
fn connection(fields: &mut Fields, version: Version) -> Persistence {
    let (mut close, mut keep, mut upgrade) = (false, false, false);
    let Fields { bytes, list, nominated } = fields;
    for field in list.iter().filter(|field| field.known == Known::Connection) {
        for token in field.value.of(bytes).split(|byte| *byte == b',').map(trim) {
            match token {
                b"" => {}
                token if token.eq_ignore_ascii_case(b"close") => close = true,
                token if token.eq_ignore_ascii_case(b"keep-alive") => keep = true,
                token if token.eq_ignore_ascii_case(b"upgrade") => upgrade = true,
                // What frames or addresses a message is never hop-by-hop: a client that says so
                // wants the next hop to read another message than we did.
                token if Known::of(token) == Known::Other => nominated.push(Span::within(bytes, token)),
                _ => {}
            }
        }
    }
    let stays = match version {
        Version::Http11 => !close,
        Version::Http10 => keep && !close,
    };
    Persistence { stays, upgrade }
}

fn expectation(fields: &Fields, version: Version) -> Result<bool, Reason> {
    let mut expects = false;
    for value in fields.all(Known::Expect) {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Reason::UnknownExpectation);
        }
        expects = true;
    }
    // RFC 9110 10.1.1: a 1.0 client's expectation is ignored.
    Ok(expects && version == Version::Http11)
}

/// A request line with some other version, or one that is none.
fn bad_version(bytes: &[u8]) -> Reason {
    let line = &bytes[..memchr::memchr(b'\r', bytes).unwrap_or(bytes.len())];
    let mut parts = line.split(|byte| *byte == b' ').skip(2);
    let version = parts.next().and_then(|version| version.strip_prefix(b"HTTP/"));
    let is_version = |text: &[u8]| !text.is_empty() && text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    if parts.next().is_none() && version.is_some_and(is_version) { Reason::BadVersion } else { Reason::BadRequest }
}

const fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ListenerLimits = ListenerLimits {
        connections: None,
        connections_per_client: None,
        header_bytes: 4096,
        header_count: 8,
        uri_bytes: 64,
        body_bytes: None,
        body_min_rate: 0,
    };

    fn parse(text: &str) -> Result<RequestHead, Reason> {
        let mut head = RequestHead::default();
        request(text.as_bytes(), &LIMITS, &mut head).map(|()| head)
    }

    #[test]
    fn a_plain_request() {
        let head = parse("GET /a/b?c=d HTTP/1.1\r\nHost: Shop.example:80\r\nConnection: x-a, close\r\nX-A: 1\r\n\r\n")
            .unwrap();
        assert_eq!((head.method(), head.path(), head.host()), ("GET", "/a/b", "Shop.example"));
        assert_eq!(head.target(), b"/a/b?c=d");
        assert_eq!(head.framing, Framing::None);
        assert!(!head.keep_alive);
        assert!(head.fields.is_nominated(&head.fields.list[2]));
        assert!(!head.fields.is_nominated(&head.fields.list[0]));
    }

    #[test]
    fn absolute_targets_override_host() {
        let head = parse("GET http://a.example:1/x?y HTTP/1.1\r\nHost: b.example\r\n\r\n").unwrap();
        assert_eq!((head.host(), head.target()), ("a.example", &b"/x?y"[..]));
        assert_eq!(head.fields.text(head.authority), b"a.example:1");
        let head = parse("OPTIONS http://a.example HTTP/1.1\r\nHost: b.example\r\n\r\n").unwrap();
        assert_eq!((head.target(), head.path()), (&b"*"[..], "*"));
        let head = parse("GET http://a.example HTTP/1.1\r\nHost: b.example\r\n\r\n").unwrap();
        assert_eq!((head.target(), head.path()), (&b"/"[..], "/"));
    }

    #[test]
    fn connect_asks_for_a_place_and_no_path() {
        let head = parse("CONNECT [::1]:443 HTTP/1.1\r\nHost: other\r\n\r\n").unwrap();
        assert_eq!((head.host(), head.path(), head.target()), ("[::1]", "", &b"[::1]:443"[..]));
        assert!(head.is_connect() && !head.upgrade);
    }

    #[test]
    fn upgrades_are_seen() {
        let head = parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, upgrade\r\nUpgrade: x\r\n\r\n").unwrap();
        assert!(head.upgrade && head.keep_alive);
        assert!(!parse("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n").unwrap().upgrade);
        let mut head = ResponseHead::default();
        let answer = b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: Upgrade\r\nContent-Length: 5\r\n\r\n";
        response(answer, Asked::Upgrade, &mut head).unwrap();
        assert_eq!((head.framing, head.is_informational()), (Framing::None, false));
        for asked in [Asked::Plain, Asked::Head, Asked::Connect] {
            assert_eq!(response(answer, asked, &mut head), Err(Reason::UpstreamProtocol));
        }
    }

    #[test]
    fn refusals() {
        let host = "Host: a\r\n";
        for (text, reason) in [
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), Reason::BadHost),
            (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), Reason::BadHost),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), Reason::BadHost),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned(), Reason::BadHost),
            ("GET http:// HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Reason::BadHost),
            (format!("GET / HTTP/2.0\r\n{host}\r\n"), Reason::BadVersion),
            (format!("GET / HTTP/1.2\r\n{host}\r\n"), Reason::BadVersion),
            (format!("GET / http/1.1\r\n{host}\r\n"), Reason::BadRequest),
            (format!("GET /\r\n{host}\r\n"), Reason::BadRequest),
            (format!("GET  / HTTP/1.1\r\n{host}\r\n"), Reason::BadRequest),
            (format!("GET /a b HTTP/1.1\r\n{host}\r\n"), Reason::BadRequest),
            (format!("GET /#a HTTP/1.1\r\n{host}\r\n"), Reason::BadRequest),
            (format!("GET /\u{e4} HTTP/1.1\r\n{host}\r\n"), Reason::BadRequest),
            (format!("GET x HTTP/1.1\r\n{host}\r\n"), Reason::BadRequest),
            (format!("GET * HTTP/1.1\r\n{host}\r\n"), Reason::BadRequest),
            (format!("G(T / HTTP/1.1\r\n{host}\r\n"), Reason::BadRequest),
            (format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(64)), Reason::UriTooLong),
            (format!("GET / HTTP/1.1\r\n{host}{}\r\n", "A: b\r\n".repeat(8)), Reason::HeaderTooLarge),
            (format!("GET / HTTP/1.1\r\n{host}A : b\r\n\r\n"), Reason::BadRequest),
            (format!("GET / HTTP/1.1\r\n{host}A: b\r\n c\r\n\r\n"), Reason::BadRequest),
            (format!("GET / HTTP/1.1\r\n{host}A: b\0\r\n\r\n"), Reason::BadRequest),
            (format!("GET / HTTP/1.1\r\n{host}A: b\rc\r\n\r\n"), Reason::BadRequest),
            (format!("GET / HTTP/1.1\r\n{host}: b\r\n\r\n"), Reason::BadRequest),
            (format!("GET / HTTP/1.1\r\n A: b\r\n{host}\r\n"), Reason::BadRequest),
            (format!("GET / HTTP/1.1\r\n{host}Expect: x\r\n\r\n"), Reason::UnknownExpectation),
            (format!("CONNECT a HTTP/1.1\r\n{host}\r\n"), Reason::BadRequest),
            (format!("CONNECT a: HTTP/1.1\r\n{host}\r\n"), Reason::BadRequest),
            (format!("CONNECT /a:1 HTTP/1.1\r\n{host}\r\n"), Reason::BadHost),
            (format!("CONNECT http://a:1 HTTP/1.1\r\n{host}\r\n"), Reason::BadHost),
            (format!("CONNECT a:1 HTTP/1.1\r\n{host}Content-Length: 1\r\n\r\n"), Reason::AmbiguousFraming),
            (format!("CONNECT a:1 HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n"), Reason::AmbiguousFraming),
        ] {
            assert_eq!(parse(&text).err(), Some(reason), "{text:?}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_in_pieces_and_bare_line_feeds_are_seen() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for step in 1..text.len() {
            let mut end = HeadEnd::default();
            let found = (1..).map(|n| (n * step).min(text.len())).find_map(|n| end.find(&text[..n]).unwrap());
            assert_eq!(found, Some(text.len() - 4));
        }
        for text in ["\n", "GET /\n", "GET /\r\nA: b\n", "GET /\r\nA: b\r\n\n"] {
            assert_eq!(HeadEnd::default().find(text.as_bytes()), Err(BareLineFeed), "{text:?}");
        }
    }

    #[test]
    fn answers() {
        let mut head = ResponseHead::default();
        response(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Asked::Plain, &mut head).unwrap();
        assert_eq!((head.status, head.framing, head.keep_alive), (200, Framing::Length(3), true));
        response(b"HTTP/1.0 404\r\n\r\n", Asked::Plain, &mut head).unwrap();
        assert_eq!((head.status, head.framing, head.keep_alive), (404, Framing::UntilClose, false));
        for bad in ["HTTP/1.1 101 Switch\r\n\r\n", "HTTP/1.1 999 No\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "junk\r\n\r\n"]
        {
            assert_eq!(response(bad.as_bytes(), Asked::Plain, &mut head), Err(Reason::UpstreamProtocol), "{bad}");
        }
    }

    #[test]
    fn trailers_that_would_frame_or_route_are_left_out() {
        let mut kept = Vec::new();
        let section = b"X-Sum: 1\r\nContent-Length: 5\r\nHost: b\r\nSet-Cookie: a\r\nGrpc-Status: 0\r\n";
        assert!(trailers(section, |name, value| kept.push((name.to_vec(), value.to_vec()))));
        assert_eq!(kept, [(b"X-Sum".to_vec(), b"1".to_vec()), (b"Grpc-Status".to_vec(), b"0".to_vec())]);
        assert!(!trailers(b"no colon\r\n", |_, _| {}));
    }
}
