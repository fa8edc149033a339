//! Parsed heads: one byte buffer and spans into it. Reused from request to request, so that a
//! head costs one copy and no allocation.

use weir_core::grpc::Code;
use weir_core::route::Headers;

use super::framing::Framing;

/// A stretch of a head's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) const EMPTY: Self = Self { start: 0, end: 0 };

    /// Where `part`, a slice of `whole`, lies in it.
    pub(crate) fn within(whole: &[u8], part: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        debug_assert!(part.is_empty() || start + part.len() <= whole.len());
        // Heads are bounded far below 4 GiB by the listener's limits.
        if part.is_empty() { Self::EMPTY } else { Self { start: start as u32, end: (start + part.len()) as u32 } }
    }

    /// The bytes of `whole` it covers; nothing if it does not lie within.
    pub(crate) fn of(self, whole: &[u8]) -> &[u8] {
        whole.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Fields a proxy has something to do with; told apart once, when the head is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Connection,
    ContentLength,
    Expect,
    Forwarded,
    GrpcTimeout,
    Host,
    /// Hop-by-hop by definition, and of no use to us: `Keep-Alive`, `Proxy-Connection`, `TE`,
    /// `Trailer` stays, `Proxy-Authenticate` stays.
    HopByHop,
    /// Ours to write where requests are traced; elsewhere as it came.
    TraceParent,
    TraceState,
    TransferEncoding,
    /// Hop-by-hop too, but a tunnel may come of it.
    Upgrade,
    XForwardedClientCert,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    /// Further ones: `X-Forwarded-Port`, `-Prefix` and what else people believe.
    XForwardedOther,
    XRequestId,
    XRequestDeadline,
    XWeirReason,
    XWeirDecision,
    Other,
}

impl Known {
    pub(crate) fn of(name: &[u8]) -> Self {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        // By length first: most fields are told apart by it alone.
        match name.len() {
            2 if is(b"te") => Self::HopByHop,
            4 if is(b"host") => Self::Host,
            6 if is(b"expect") => Self::Expect,
            7 if is(b"upgrade") => Self::Upgrade,
            9 if is(b"forwarded") => Self::Forwarded,
            10 if is(b"connection") => Self::Connection,
            10 if is(b"keep-alive") => Self::HopByHop,
            10 if is(b"tracestate") => Self::TraceState,
            11 if is(b"traceparent") => Self::TraceParent,
            12 if is(b"x-request-id") => Self::XRequestId,
            12 if is(b"grpc-timeout") => Self::GrpcTimeout,
            13 if is(b"x-weir-reason") => Self::XWeirReason,
            14 if is(b"content-length") => Self::ContentLength,
            15 if is(b"x-forwarded-for") => Self::XForwardedFor,
            15 if is(b"x-weir-decision") => Self::XWeirDecision,
            16 if is(b"x-forwarded-host") => Self::XForwardedHost,
            16 if is(b"proxy-connection") => Self::HopByHop,
            17 if is(b"transfer-encoding") => Self::TransferEncoding,
            17 if is(b"x-forwarded-proto") => Self::XForwardedProto,
            21 if is(b"x-request-deadline-ms") => Self::XRequestDeadline,
            23 if is(b"x-forwarded-client-cert") => Self::XForwardedClientCert,
            13.. if is_forwarded(name) => Self::XForwardedOther,
            _ => Self::Other,
        }
    }
}

/// Whether a name begins as those do in which proxies tell of clients, also as it reads to those who
/// take `_` for `-`, as CGI made of both.
fn is_forwarded(name: &[u8]) -> bool {
    let same = |(its, known): (&u8, &u8)| its.to_ascii_lowercase() == *known || (*its == b'_' && *known == b'-');
    name.iter().zip(b"x-forwarded-").all(same)
}

/// One header field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) known: Known,
}

/// The fields of a head and the bytes they lie in.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    pub(crate) bytes: Vec<u8>,
    pub(crate) list: Vec<Field>,
    /// Names that `Connection` lists: hop-by-hop in this message, whatever they are.
    pub(crate) nominated: Vec<Span>,
}

impl Fields {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
        self.nominated.clear();
    }

    pub(crate) fn text(&self, span: Span) -> &[u8] {
        span.of(&self.bytes)
    }

    pub(crate) fn name(&self, field: &Field) -> &[u8] {
        field.name.of(&self.bytes)
    }

    pub(crate) fn value(&self, field: &Field) -> &[u8] {
        field.value.of(&self.bytes)
    }

    pub(crate) fn all(&self, known: Known) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.list.iter().filter(move |field| field.known == known).map(|field| self.value(field))
    }

    /// Whether `Connection` takes this field away.
    pub(crate) fn is_nominated(&self, field: &Field) -> bool {
        !self.nominated.is_empty()
            && self.nominated.iter().any(|name| self.text(*name).eq_ignore_ascii_case(self.name(field)))
    }
}

impl Headers for Fields {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.list
            .iter()
            .find(|field| self.name(field).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| self.value(field))
    }
}

/// HTTP/1.0 or 1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    #[default]
    Http11,
}

/// A request's head, checked: whatever is in here may be forwarded.
#[derive(Debug, Default)]
pub(crate) struct RequestHead {
    pub(crate) fields: Fields,
    pub(crate) method: Span,
    /// The target in origin form or `*`, or of CONNECT the authority: what is sent on.
    pub(crate) target: Span,
    /// The target without its query; CONNECT has none.
    pub(crate) path: Span,
    /// `Host`, or the authority of a target in absolute or authority form: with port, as sent.
    pub(crate) authority: Span,
    /// The same without port and brackets' port.
    pub(crate) host: Span,
    pub(crate) version: Version,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    /// `Connection` lists `Upgrade`.
    pub(crate) upgrade: bool,
}

impl RequestHead {
    /// Forgets everything but its memory.
    pub(crate) fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { fields, ..Self::default() };
    }

    /// The method. ASCII by the grammar of a token, so never empty-handed.
    pub(crate) fn method(&self) -> &str {
        std::str::from_utf8(self.fields.text(self.method)).unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &str {
        if self.path.is_empty() {
            return self.empty_path();
        }
        // Bytes over 0x7f were refused when the head was parsed.
        std::str::from_utf8(self.fields.text(self.path)).unwrap_or_default()
    }

    pub(crate) fn target(&self) -> &[u8] {
        if self.target.is_empty() { self.empty_path().as_bytes() } else { self.fields.text(self.target) }
    }

    /// What a target in absolute form without a path is sent on as (RFC 9112 3.2.4); CONNECT asks
    /// for no path at all.
    fn empty_path(&self) -> &'static str {
        match self.fields.text(self.method) {
            b"OPTIONS" => "*",
            b"CONNECT" => "",
            _ => "/",
        }
    }

    /// The host with its port, as sent; empty if there is none.
    pub(crate) fn authority(&self) -> &[u8] {
        self.fields.text(self.authority)
    }

    pub(crate) fn host(&self) -> &str {
        std::str::from_utf8(self.fields.text(self.host)).unwrap_or_default()
    }

    pub(crate) fn is_head(&self) -> bool {
        self.fields.text(self.method) == b"HEAD"
    }

    pub(crate) fn is_connect(&self) -> bool {
        self.fields.text(self.method) == b"CONNECT"
    }
}

/// What an answer is an answer to: it decides where it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Asked {
    #[default]
    Plain,
    /// HEAD: whatever the answer says of its body, there is none.
    Head,
    /// Another protocol: 101 ends HTTP on the connection.
    Upgrade,
    /// CONNECT: so does 2xx.
    Connect,
}

/// An answer's head, checked.
#[derive(Debug, Default)]
pub(crate) struct ResponseHead {
    pub(crate) fields: Fields,
    pub(crate) status: u16,
    pub(crate) phrase: Span,
    pub(crate) framing: Framing,
    /// Whether the endpoint keeps its connection open after this.
    pub(crate) keep_alive: bool,
}

impl ResponseHead {
    /// What became of a gRPC call, where its head says so: then no message follows.
    pub(crate) fn called(&self) -> Option<Code> {
        (self.status == 200).then(|| self.fields.get("grpc-status").map(Code::parse)).flatten()
    }

    /// Whether another answer follows. 101 passes as an answer only where it was asked for, and
    /// then it is the last one.
    pub(crate) const fn is_informational(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}
