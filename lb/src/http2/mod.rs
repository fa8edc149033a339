//! HTTP/2, behind the seam that HTTP/1 stands on: a stream reads as the text of one HTTP/1.1
//! message and is written that of the other, so that routing, limits, retries and checks are the
//! same code for both versions, and what one version refuses cannot come in by the other.
//!
//! Frames, HPACK and flow control are the `h2` crate's; here is what messages mean. RFC 9113 8.
//! [`server`] is a client's stream, [`client`] one to an endpoint; a body comes in by [`source`]
//! and goes out by [`sink`]; [`frames`] looks at what comes and is part of neither, [`link`] has it look at
//! what comes from endpoints. Who serves a
//! connection and keeps those to endpoints is the worker's business.

pub(crate) mod client;
pub(crate) mod frames;
pub(crate) mod link;
pub(crate) mod server;
mod sink;
mod source;
pub(crate) mod websocket;

use std::fmt;
use std::io;

use http::{HeaderMap, HeaderName, HeaderValue};

/// How a body's end is told in HTTP/1's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// So many bytes.
    Sized,
    /// In chunks, with trailers behind them.
    Chunked,
    /// All bytes till the stream ends: a tunnel.
    Raw,
}

/// What the other side of a stream has lost, as far as it matters to whoever may ask again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Nothing.
    #[default]
    Nothing,
    /// It did not look at the request, and takes others: `REFUSED_STREAM`.
    Refused,
    /// It did not look at the request, and takes no others: a GOAWAY before it.
    Leaving,
    /// It ended this stream.
    Stream,
    /// The connection is gone.
    Connection,
    /// Nothing: the request cannot be said in HTTP/2, and was not sent.
    Unsayable,
}

impl Lost {
    fn by(error: &h2::Error) -> Self {
        if error.is_remote() && error.is_go_away() {
            Self::Leaving
        } else if error.is_reset() && error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM) {
            Self::Refused
        } else if error.is_reset() {
            Self::Stream
        } else {
            Self::Connection
        }
    }

    /// Whether the other side said that it has not looked at the request.
    pub(crate) const fn is_unseen(self) -> bool {
        matches!(self, Self::Refused | Self::Leaving)
    }

    /// Whether its connection is to be given no more streams.
    pub(crate) const fn is_of_all(self) -> bool {
        matches!(self, Self::Leaving | Self::Connection)
    }
}

/// What is in a message cannot be sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message is malformed")
    }
}

impl From<Malformed> for io::Error {
    fn from(_: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, "the message is malformed")
    }
}

/// Whatever breaks a stream is a reset to whoever reads or writes it.
fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

/// Appends a field.
///
/// # Errors
/// If no stream takes it.
fn append(map: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    let name = HeaderName::from_bytes(name).map_err(|_| Malformed)?;
    let value = HeaderValue::from_bytes(value).map_err(|_| Malformed)?;
    map.try_append(name, value).map(drop).map_err(|_| Malformed)
}

/// Whether a field value is one: no space at either end (RFC 9113 8.2.1); what else cannot be in
/// it, `h2` has refused.
fn is_value(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !is_space(value.first()) && !is_space(value.last())
}
