//! HTTP/1 messages as tests see them: parsed strictly, so that a sloppy answer is a failed test.

use std::fmt;
use std::io::{self, Read};
use std::net::TcpStream;

/// Header or trailer fields in order, names as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The value of the only field of that name.
    ///
    /// # Panics
    /// When the field is there twice.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "field {name} is there {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// The values of all fields of that name, in order.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }
}

/// A start line and fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The request or status line.
    pub start: String,
    /// The header fields.
    pub fields: Fields,
}

/// How a body's end was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There cannot be a body.
    Nothing,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// A request as a backend got it.
#[derive(Clone, Debug)]
pub struct Request {
    /// As received.
    pub method: String,
    /// As received.
    pub target: String,
    /// `HTTP/1.1` or another.
    pub version: String,
    /// The header fields.
    pub fields: Fields,
    /// How the body's end was told.
    pub framing: Framing,
    /// Without framing.
    pub body: Vec<u8>,
    /// After a chunked body.
    pub trailers: Fields,
}

/// An answer as a client got it.
#[derive(Clone, Debug)]
pub struct Response {
    /// Interim (1xx) answers before it.
    pub interim: Vec<Head>,
    /// The status line.
    pub start: String,
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub fields: Fields,
    /// How the body's end was told.
    pub framing: Framing,
    /// Without framing.
    pub body: Vec<u8>,
    /// After a chunked body.
    pub trailers: Fields,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Why Weir answered by itself, if it did.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.fields.get("x-weir-reason")
    }

    /// Whether the connection ends after it.
    #[must_use]
    pub fn closes(&self) -> bool {
        let connection = self.fields.all("connection").join(",").to_ascii_lowercase();
        let says = |word: &str| connection.split(',').any(|item| item.trim() == word);
        says("close")
            || self.framing == Framing::UntilClose
            || (self.start.starts_with("HTTP/1.0") && !says("keep-alive"))
    }
}

/// Why a message could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The connection ended in an orderly way before the first byte.
    Closed,
    /// The connection ended in an orderly way in the middle.
    Truncated,
    /// The connection was reset; how many bytes of the message had come.
    Reset(usize),
    /// Nothing came for the time a test waits.
    Silent,
    /// It is not HTTP/1 as a strict reader takes it.
    Malformed(String),
    /// Another error of the socket.
    Io(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Bytes from a socket, buffered; remembers everything it received.
#[derive(Debug)]
pub struct Source {
    stream: TcpStream,
    received: Vec<u8>,
    at: usize,
    keep: bool,
}

impl Source {
    /// Reads from `stream`; keeps what was read for [`Self::received`] if `keep`.
    #[must_use]
    pub fn new(stream: TcpStream, keep: bool) -> Self {
        Self { stream, received: Vec::new(), at: 0, keep }
    }

    /// Everything received so far.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// What was received but belongs to no message yet.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.received[self.at..]
    }

    /// Receives more; the number of bytes, 0 at the end of the connection.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn more(&mut self) -> io::Result<usize> {
        if !self.keep && self.at == self.received.len() {
            self.received.clear();
            self.at = 0;
        }
        let mut buffer = [0; 16 * 1024];
        let got = self.stream.read(&mut buffer)?;
        self.received.extend_from_slice(&buffer[..got]);
        Ok(got)
    }

    /// Takes bytes that belong to no message; how many, 0 at the end of the connection.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn take(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest().is_empty() && self.more()? == 0 {
            return Ok(0);
        }
        let count = into.len().min(self.rest().len());
        into[..count].copy_from_slice(&self.received[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }

    fn need(&mut self, began: usize) -> Result<(), Broken> {
        match self.more() {
            Ok(0) if began == 0 && self.rest().is_empty() => Err(Broken::Closed),
            Ok(0) => Err(Broken::Truncated),
            Ok(_) => Ok(()),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Broken::Reset(began + self.rest().len()),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Broken::Silent,
                _ => Broken::Io(error.to_string()),
            }),
        }
    }

    fn line(&mut self, began: &mut usize) -> Result<String, Broken> {
        loop {
            if let Some(end) = self.rest().iter().position(|&b| b == b'\n') {
                let line = self.rest()[..end].to_vec();
                self.at += end + 1;
                *began += end + 1;
                let line =
                    line.strip_suffix(b"\r").ok_or_else(|| Broken::Malformed(format!("bare LF after {line:?}")))?;
                return String::from_utf8(line.to_vec()).map_err(|_| Broken::Malformed("not UTF-8".into()));
            }
            self.need(*began)?;
        }
    }

    fn exactly(&mut self, length: usize, began: &mut usize) -> Result<Vec<u8>, Broken> {
        while self.rest().len() < length {
            self.need(*began)?;
        }
        let bytes = self.rest()[..length].to_vec();
        self.at += length;
        *began += length;
        Ok(bytes)
    }

    fn fields(&mut self, began: &mut usize) -> Result<Fields, Broken> {
        let mut fields = Vec::new();
        loop {
            let line = self.line(began)?;
            if line.is_empty() {
                return Ok(Fields(fields));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| Broken::Malformed(format!("no field: {line:?}")))?;
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(token) {
                return Err(Broken::Malformed(format!("no field name: {name:?}")));
            }
            if value.bytes().any(|b| (b < 32 && b != b'\t') || b == 127) {
                return Err(Broken::Malformed(format!("control character in {line:?}")));
            }
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    /// Reads a start line and fields.
    ///
    /// # Errors
    /// [`Broken`] says how it ended instead.
    pub fn head(&mut self) -> Result<Head, Broken> {
        let mut began = 0;
        let start = self.line(&mut began)?;
        let fields = self.fields(&mut began)?;
        Ok(Head { start, fields })
    }

    /// Reads a body of that framing, with its trailers.
    ///
    /// # Errors
    /// [`Broken`] says how it ended instead.
    pub fn body(&mut self, framing: Framing) -> Result<(Vec<u8>, Fields), Broken> {
        // The head came before, so an end here is never one before the first byte.
        let mut began = 1;
        match framing {
            Framing::Nothing => Ok((Vec::new(), Fields::default())),
            Framing::Length(length) => {
                Ok((self.exactly(usize::try_from(length).unwrap(), &mut began)?, Fields::default()))
            }
            Framing::Chunked => self.chunks(&mut began),
            Framing::UntilClose => loop {
                match self.need(began) {
                    Ok(()) => {}
                    Err(Broken::Truncated) => {
                        let body = self.rest().to_vec();
                        self.at = self.received.len();
                        return Ok((body, Fields::default()));
                    }
                    Err(broken) => return Err(broken),
                }
            },
        }
    }

    fn chunks(&mut self, began: &mut usize) -> Result<(Vec<u8>, Fields), Broken> {
        let mut body = Vec::new();
        loop {
            let line = self.line(began)?;
            let digits = line.split(';').next().unwrap_or_default();
            let size =
                usize::from_str_radix(digits, 16).map_err(|_| Broken::Malformed(format!("no chunk size: {line:?}")))?;
            if size == 0 {
                return Ok((body, self.fields(began)?));
            }
            body.extend(self.exactly(size, began)?);
            if !self.line(began)?.is_empty() {
                return Err(Broken::Malformed("bytes after a chunk".into()));
            }
        }
    }

    /// Reads one request, head and body.
    ///
    /// # Errors
    /// [`Broken`] says how it ended instead.
    pub fn request(&mut self) -> Result<Request, Broken> {
        let mut request = self.request_head()?;
        (request.body, request.trailers) = self.body(request.framing)?;
        Ok(request)
    }

    /// Reads one request's head.
    ///
    /// # Errors
    /// [`Broken`] says how it ended instead.
    pub fn request_head(&mut self) -> Result<Request, Broken> {
        let head = self.head()?;
        let mut words = head.start.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Broken::Malformed(format!("no request line: {:?}", head.start)));
        };
        let framing = match framing(&head.fields)? {
            Framing::UntilClose => Framing::Nothing,
            framing => framing,
        };
        Ok(Request {
            method: method.to_owned(),
            target: target.to_owned(),
            version: version.to_owned(),
            framing,
            body: Vec::new(),
            trailers: Fields::default(),
            fields: head.fields,
        })
    }

    /// Reads the final answer to a request with `method`, with the interim ones before it.
    ///
    /// # Errors
    /// [`Broken`] says how it ended instead.
    pub fn response(&mut self, method: &str) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        loop {
            let head = self.head()?;
            let status = status(&head.start)?;
            if (100..200).contains(&status) {
                interim.push(head);
                continue;
            }
            let framing = match framing(&head.fields)? {
                _ if method == "HEAD" || status == 204 || status == 304 => Framing::Nothing,
                framing => framing,
            };
            let (body, trailers) = self.body(framing)?;
            return Ok(Response { interim, start: head.start, status, fields: head.fields, framing, body, trailers });
        }
    }
}

fn status(start: &str) -> Result<u16, Broken> {
    let bad = || Broken::Malformed(format!("no status line: {start:?}"));
    let rest = start.strip_prefix("HTTP/1.1 ").or_else(|| start.strip_prefix("HTTP/1.0 ")).ok_or_else(bad)?;
    let code = rest.get(..3).ok_or_else(bad)?;
    if rest.len() > 3 && !rest[3..].starts_with(' ') {
        return Err(bad());
    }
    code.parse().map_err(|_| bad())
}

/// What the fields say of the body's end; a strict reader refuses whatever says it twice.
fn framing(fields: &Fields) -> Result<Framing, Broken> {
    let lengths = fields.all("content-length");
    let codings = fields.all("transfer-encoding");
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(Framing::UntilClose),
        ([length], []) => {
            length.parse().map(Framing::Length).map_err(|_| Broken::Malformed(format!("no Content-Length: {length:?}")))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        _ => Err(Broken::Malformed(format!("ambiguous framing: {lengths:?} {codings:?}"))),
    }
}
