//! The HTTP/1.1 probe: one small request, and as much of the answer as the verdict needs.
//!
//! Not a general client: no keep-alive, no redirects, and the body says something only where the check
//! expects something in it. What is left of it once the verdict is there is still taken, for a moment:
//! an endpoint that is cut off in its answer writes an error into its log, probe after probe.
//! Everything is bounded, since the endpoint may be sick in any way.

use std::io::{self, Write as _};
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use weir_config::model::{Address, HttpCheck};
use weir_core::health::{ProbeFailure, ProbeResult};

use crate::env::Stream;

/// Largest head of an answer, interim answers included.
const HEAD_MAX: usize = 64 << 10;
/// As much of a body as is searched.
const BODY_MAX: usize = 64 << 10;
/// Most header fields.
const FIELDS_MAX: usize = 100;
/// Least room for each read.
const READ: usize = 4 << 10;

/// How long the rest of an answer is taken whose verdict is there.
const REST_TIME: Duration = Duration::from_millis(100);

/// What an answer may still have after its verdict.
pub(super) struct Rest {
    framing: Framing,
    /// What came of the body together with its head.
    raw: Vec<u8>,
}

impl Rest {
    /// Takes it, as far as it comes soon and is not large.
    pub(super) async fn take<S: Stream>(mut self, stream: &mut S) {
        let mut decoder = Decoder::new(self.framing);
        let mut body = Vec::new();
        let taken = async {
            while decoder.decode(&self.raw, &mut body) == Ok(false) && body.len() < BODY_MAX {
                self.raw.clear();
                if !matches!(read_more(stream, &mut self.raw).await, Ok(1..)) {
                    return;
                }
            }
        };
        // What does not come soon is cut off after all.
        let _ = timeout(REST_TIME, taken).await;
    }
}

/// Sends the request of `check` and judges the answer; what is left of it, if it is worth taking.
pub(super) async fn ask<S: Stream>(
    stream: &mut S,
    check: &HttpCheck,
    address: &Address,
) -> (ProbeResult, Option<Rest>) {
    let mut rest = None;
    match judged(stream, check, address, &mut rest).await {
        Ok(()) => (ProbeResult::Passed, rest),
        Err(failure) => (ProbeResult::Failed(failure), rest),
    }
}

async fn judged<S: Stream>(
    stream: &mut S,
    check: &HttpCheck,
    address: &Address,
    rest: &mut Option<Rest>,
) -> Result<(), ProbeFailure> {
    let mut buffer = request(check, address);
    let written = stream.write_all(&buffer).await;
    buffer.clear();
    // Some answer and close before they have read everything: what they said still counts.
    let answer = match (read_head(stream, &mut buffer).await, written) {
        (Ok(answer), _) => answer,
        (Err(_), Err(error)) => return Err(broken(&error)),
        (Err(failure), Ok(())) => return Err(failure),
    };
    let bodiless = check.method == "HEAD" || matches!(answer.status, 204 | 304);
    let framing = if bodiless { Framing::Length(0) } else { answer.framing };
    buffer.drain(..answer.head_len);
    let is_expected = check.expected_statuses.iter().any(|range| range.contains(&answer.status));
    let (true, Some(expected)) = (is_expected, &check.expected_body) else {
        *rest = Some(Rest { framing, raw: buffer });
        return if is_expected { Ok(()) } else { Err(ProbeFailure::Status(answer.status)) };
    };
    if body_contains(stream, buffer, framing, expected.as_bytes()).await? { Ok(()) } else { Err(ProbeFailure::Body) }
}

/// The bytes of the request.
fn request(check: &HttpCheck, address: &Address) -> Vec<u8> {
    let given = |name: &str| check.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let mut bytes = Vec::with_capacity(READ);
    // Writing to a Vec cannot fail.
    let _ = write!(bytes, "{} {} HTTP/1.1\r\n", check.method, check.path);
    let _ = match &check.host {
        _ if given("host") => Ok(()),
        Some(host) => write!(bytes, "Host: {host}\r\n"),
        None => match address {
            Address::Ip(address) => write!(bytes, "Host: {address}\r\n"),
            Address::Unix(_) => write!(bytes, "Host: localhost\r\n"),
        },
    };
    if !given("user-agent") {
        bytes.extend_from_slice(
            concat!("User-Agent: weir/", env!("CARGO_PKG_VERSION"), " (health check)\r\n").as_bytes(),
        );
    }
    for (name, value) in &check.headers {
        let _ = write!(bytes, "{name}: {value}\r\n");
    }
    if matches!(&*check.method, "POST" | "PUT" | "PATCH") {
        bytes.extend_from_slice(b"Content-Length: 0\r\n");
    }
    bytes.extend_from_slice(b"Connection: close\r\n\r\n");
    bytes
}

/// What the verdict needs of an answer's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    framing: Framing,
    head_len: usize,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// After this many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// Where the connection does.
    Close,
}

/// Reads until the head of the final answer is in `buffer`, from its start.
async fn read_head<S: Stream>(stream: &mut S, buffer: &mut Vec<u8>) -> Result<Answer, ProbeFailure> {
    let mut searched = 0;
    let mut interim = 0;
    loop {
        // Parsing only once the end is there keeps an answer that comes byte by byte cheap.
        while let Some(end) = end_of_head(buffer, searched) {
            match parse_head(&buffer[..end])? {
                Some(answer) if answer.status >= 200 => return Ok(answer),
                Some(_) => {
                    interim += end;
                    buffer.drain(..end);
                    searched = 0;
                }
                // Blank lines before the status line.
                None => searched = end,
            }
        }
        searched = searched.max(buffer.len().saturating_sub(3));
        if interim + buffer.len() >= HEAD_MAX {
            return Err(ProbeFailure::Protocol);
        }
        if read_more(stream, buffer).await? == 0 {
            // Cut in the middle of a head is as good as no answer.
            return Err(ProbeFailure::Reset);
        }
    }
}

/// The place after the first blank line that ends at or after `from`.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes.get(from..)?).map(|at| from + at).find_map(|at| match bytes[..at] {
        [.., b'\n'] | [.., b'\n', b'\r'] => Some(at + 1),
        _ => None,
    })
}

fn parse_head(bytes: &[u8]) -> Result<Option<Answer>, ProbeFailure> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let head_len = match response.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(ProbeFailure::Protocol),
    };
    let status = response.code.ok_or(ProbeFailure::Protocol)?;
    // A protocol switch nobody asked for.
    if status == 101 {
        return Err(ProbeFailure::Protocol);
    }
    Ok(Some(Answer { status, framing: framing(response.headers)?, head_len }))
}

fn framing(fields: &[httparse::Header<'_>]) -> Result<Framing, ProbeFailure> {
    let mut framing = Framing::Close;
    for field in fields {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if !field.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(ProbeFailure::Protocol);
            }
            framing = Framing::Chunked;
        } else if field.name.eq_ignore_ascii_case("content-length") && framing != Framing::Chunked {
            let digits = std::str::from_utf8(field.value.trim_ascii()).ok();
            let length = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
            let length = Framing::Length(length.and_then(|d| d.parse().ok()).ok_or(ProbeFailure::Protocol)?);
            if matches!(framing, Framing::Length(_)) && framing != length {
                return Err(ProbeFailure::Protocol);
            }
            framing = length;
        }
    }
    Ok(framing)
}

/// Whether `expected` occurs in the first 64 KiB of the body, of which `raw` is the beginning.
async fn body_contains<S: Stream>(
    stream: &mut S,
    mut raw: Vec<u8>,
    framing: Framing,
    expected: &[u8],
) -> Result<bool, ProbeFailure> {
    let mut body = Vec::new();
    let mut decoder = Decoder::new(framing);
    let finder = memmem::Finder::new(expected);
    loop {
        // What is new, and as much before it as a match could begin in.
        let from = body.len().saturating_sub(expected.len().saturating_sub(1));
        let ended = decoder.decode(&raw, &mut body)?;
        body.truncate(BODY_MAX);
        if finder.find(&body[from.min(body.len())..]).is_some() {
            return Ok(true);
        }
        if ended || body.len() >= BODY_MAX {
            return Ok(false);
        }
        raw.clear();
        if read_more(stream, &mut raw).await? == 0 {
            return Ok(false);
        }
    }
}

/// Takes the framing off a body, piece by piece.
enum Decoder {
    Close,
    Length(u64),
    ChunkSize { size: u64, digits: u8 },
    ChunkExtension { size: u64, len: u16 },
    ChunkData(u64),
    ChunkEnd,
}

impl Decoder {
    const fn new(framing: Framing) -> Self {
        match framing {
            Framing::Close => Self::Close,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::ChunkSize { size: 0, digits: 0 },
        }
    }

    /// Appends the body's part of `raw` to `body`; says whether the body has ended.
    fn decode(&mut self, mut raw: &[u8], body: &mut Vec<u8>) -> Result<bool, ProbeFailure> {
        loop {
            match self {
                Self::Close => {
                    body.extend_from_slice(raw);
                    return Ok(false);
                }
                Self::Length(left) | Self::ChunkData(left) => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(raw.len());
                    body.extend_from_slice(&raw[..take]);
                    raw = &raw[take..];
                    *left -= take as u64;
                    if *left > 0 {
                        return Ok(false);
                    }
                    if matches!(self, Self::Length(_)) {
                        return Ok(true);
                    }
                    *self = Self::ChunkEnd;
                }
                _ => {
                    let Some((&byte, rest)) = raw.split_first() else {
                        return Ok(false);
                    };
                    raw = rest;
                    if self.step(byte)? {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// One byte between chunks; says whether the last chunk has come. Trailers do not matter here.
    fn step(&mut self, byte: u8) -> Result<bool, ProbeFailure> {
        *self = match (&*self, byte) {
            (&Self::ChunkSize { size: 0, digits: 1.. } | &Self::ChunkExtension { size: 0, .. }, b'\n') => {
                return Ok(true);
            }
            (&Self::ChunkSize { size, digits: 1.. } | &Self::ChunkExtension { size, .. }, b'\n') => {
                Self::ChunkData(size)
            }
            (&Self::ChunkSize { size, digits: 1.. }, b';' | b' ' | b'\t' | b'\r') => {
                Self::ChunkExtension { size, len: 0 }
            }
            (&Self::ChunkSize { size, digits: digits @ ..15 }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(ProbeFailure::Protocol)?;
                Self::ChunkSize { size: size * 16 + u64::from(digit), digits: digits + 1 }
            }
            (&Self::ChunkExtension { size, len: len @ ..4096 }, _) => Self::ChunkExtension { size, len: len + 1 },
            (Self::ChunkEnd, b'\r') => Self::ChunkEnd,
            (Self::ChunkEnd, b'\n') => Self::ChunkSize { size: 0, digits: 0 },
            _ => return Err(ProbeFailure::Protocol),
        };
        Ok(false)
    }
}

async fn read_more<S: Stream>(stream: &mut S, buffer: &mut Vec<u8>) -> Result<usize, ProbeFailure> {
    buffer.reserve(READ);
    stream.read_buf(buffer).await.map_err(|error| broken(&error))
}

fn broken(error: &io::Error) -> ProbeFailure {
    match error.kind() {
        io::ErrorKind::TimedOut => ProbeFailure::Timeout,
        _ => ProbeFailure::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(framing: Framing, pieces: &[&str]) -> Result<(String, bool), ProbeFailure> {
        let (mut decoder, mut body, mut ended) = (Decoder::new(framing), Vec::new(), false);
        for piece in pieces {
            ended = decoder.decode(piece.as_bytes(), &mut body)?;
        }
        Ok((String::from_utf8(body).unwrap(), ended))
    }

    #[test]
    fn bodies_lose_their_framing() {
        let cases: [(Framing, &[&str], &str, bool); 7] = [
            (Framing::Close, &["ab", "cd"], "abcd", false),
            (Framing::Length(3), &["ab", "cd"], "abc", true),
            (Framing::Length(0), &[""], "", true),
            (Framing::Chunked, &["3\r\nabc\r\n0\r\n\r\n"], "abc", true),
            (Framing::Chunked, &["3;x=y\r", "\na", "bc\r", "\n1\nd\n0\n"], "abcd", true),
            (Framing::Chunked, &["A\r\n0123456789\r\n"], "0123456789", false),
            (Framing::Chunked, &[""], "", false),
        ];
        for (framing, pieces, body, ended) in cases {
            assert_eq!(decode(framing, pieces), Ok((body.to_owned(), ended)), "{framing:?} {pieces:?}");
        }
    }

    #[test]
    fn broken_chunks_are_a_protocol_failure() {
        for text in ["\r\n", "x\r\n", "-1\r\n", "3\r\nabcd\r\n", "fffffffffffffffff\r\n"] {
            assert_eq!(decode(Framing::Chunked, &[text]), Err(ProbeFailure::Protocol), "{text:?}");
        }
    }

    #[test]
    fn heads_end_at_a_blank_line() {
        for (text, end) in
            [("a\r\n\r\nb", Some(5)), ("a\n\nb", Some(3)), ("a\r\nb\r\n", None), ("", None), ("\r\n", None)]
        {
            assert_eq!(end_of_head(text.as_bytes(), 0), end, "{text:?}");
        }
        assert_eq!(end_of_head(b"a\r\n\r\n", 4), Some(5));
    }

    #[test]
    fn ambiguous_lengths_are_a_protocol_failure() {
        let head = |fields: &str| parse_head(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
        for bad in
            ["Content-Length: 1\r\nContent-Length: 2\r\n", "Content-Length: +1\r\n", "Transfer-Encoding: gzip\r\n"]
        {
            assert_eq!(head(bad), Err(ProbeFailure::Protocol), "{bad}");
        }
        let framing = head("Content-Length: 9\r\nTransfer-Encoding: Chunked\r\n").unwrap().unwrap().framing;
        assert_eq!(framing, Framing::Chunked);
    }

    #[test]
    fn the_request_is_what_the_operator_wrote() {
        let mut check = HttpCheck {
            method: "GET".into(),
            path: "/healthz?deep=1".into(),
            host: None,
            headers: vec![("X-Probe".into(), "1".into())],
            expected_statuses: vec![200..=299],
            expected_body: None,
        };
        let address = &Address::Ip(([10, 0, 0, 1], 80).into());
        let text = String::from_utf8(request(&check, address)).unwrap();
        assert!(text.starts_with("GET /healthz?deep=1 HTTP/1.1\r\nHost: 10.0.0.1:80\r\nUser-Agent: weir/"), "{text}");
        assert!(text.ends_with("\r\nX-Probe: 1\r\nConnection: close\r\n\r\n"), "{text}");
        check.host = Some("shop.example".into());
        assert!(String::from_utf8(request(&check, address)).unwrap().contains("\r\nHost: shop.example\r\n"));
        check.headers.push(("HOST".into(), "other".into()));
        let text = String::from_utf8(request(&check, address)).unwrap();
        assert!(text.contains("HOST: other") && !text.contains("Host: shop.example"));
    }
}
