//! The body of a stream as HTTP/1 has it: what goes out, no faster than the other side takes it.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;

use super::{Malformed, append, broken};
use crate::http1::chunked::Decoder;
use crate::http1::framing::Framing;
use crate::http1::parse;

/// A body that goes out.
pub(super) struct Sink {
    stream: SendStream<Bytes>,
    state: State,
}

enum State {
    /// So many bytes are left.
    Sized(u64),
    Chunked(Box<Decoder>),
    /// A tunnel, till it is shut.
    Raw,
    Over,
}

/// Bytes of a body that are handed over at a time.
const PIECE_MAX: usize = 64 * 1024;

impl Sink {
    /// For a body with this framing; one without a body is over.
    pub(super) fn new(stream: SendStream<Bytes>, framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Over,
            Framing::Length(length) => State::Sized(length),
            Framing::Chunked => State::Chunked(Box::default()),
            Framing::UntilClose => State::Raw,
        };
        Self { stream, state }
    }

    /// Whether all of it has been handed over.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    pub(super) fn reset(&mut self, reason: h2::Reason) {
        self.stream.send_reset(reason);
    }

    /// Ready when the other side has reset the stream.
    pub(super) fn poll_reset(&mut self, context: &mut Context<'_>) -> Poll<Result<h2::Reason, h2::Error>> {
        self.stream.poll_reset(context)
    }

    /// Takes what the other side has room for.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(PIECE_MAX)];
        match &mut self.state {
            // Behind its end nothing is sent.
            State::Over => Poll::Ready(Ok(bytes.len())),
            State::Sized(left) => {
                let wanted = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                let count = ready!(poll_room(&mut self.stream, context, wanted))?;
                *left -= count as u64;
                let is_last = *left == 0;
                self.stream.send_data(Bytes::copy_from_slice(&bytes[..count]), is_last).map_err(broken)?;
                if is_last {
                    self.state = State::Over;
                }
                Poll::Ready(Ok(count))
            }
            State::Raw => {
                let count = ready!(poll_room(&mut self.stream, context, bytes.len()))?;
                self.stream.send_data(Bytes::copy_from_slice(&bytes[..count]), false).map_err(broken)?;
                Poll::Ready(Ok(count))
            }
            State::Chunked(_) => self.poll_chunks(context, bytes),
        }
    }

    /// Chunks of HTTP/1 become data. Size lines and the end need no room at the other side.
    fn poll_chunks(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let State::Chunked(decoder) = &mut self.state else { return Poll::Ready(Ok(0)) };
        let mut used = skip_framing(decoder, bytes)?;
        if used == bytes.len() && !decoder.is_done() {
            return Poll::Ready(Ok(used));
        }
        let mut data = Vec::new();
        if !decoder.is_done() {
            let room = match poll_room(&mut self.stream, context, bytes.len() - used) {
                Poll::Pending if used > 0 => return Poll::Ready(Ok(used)),
                room => ready!(room)?,
            };
            data.reserve(room.min(bytes.len() - used));
            while used < bytes.len() && !decoder.is_done() {
                let most = decoder.data_left().min(room - data.len()).min(bytes.len() - used);
                if most == 0 {
                    break;
                }
                used += take(decoder, &bytes[used..used + most], |piece| data.extend_from_slice(piece))?;
                used += skip_framing(decoder, &bytes[used..])?;
            }
        }
        let trailers = if decoder.is_done() { Some(trailers(decoder.trailers())?) } else { None };
        match trailers {
            None => self.stream.send_data(Bytes::from(data), false).map_err(broken)?,
            Some(trailers) if trailers.is_empty() => {
                self.state = State::Over;
                self.stream.send_data(Bytes::from(data), true).map_err(broken)?;
            }
            Some(trailers) => {
                self.state = State::Over;
                if !data.is_empty() {
                    self.stream.send_data(Bytes::from(data), false).map_err(broken)?;
                }
                self.stream.send_trailers(trailers).map_err(broken)?;
            }
        }
        Poll::Ready(Ok(used))
    }

    /// Nothing more will be written: the end of a tunnel.
    pub(super) fn shut(&mut self) -> io::Result<()> {
        if matches!(self.state, State::Raw) {
            self.state = State::Over;
            self.stream.send_data(Bytes::new(), true).map_err(broken)?;
        }
        Ok(())
    }
}

/// How much of `wanted` (at least 1) the other side, and our own buffer, have room for.
fn poll_room(stream: &mut SendStream<Bytes>, context: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
    stream.reserve_capacity(wanted);
    let mut room = stream.capacity();
    while room == 0 {
        match ready!(stream.poll_capacity(context)) {
            Some(more) => room = more.map_err(broken)?,
            None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
    Poll::Ready(Ok(room.min(wanted)))
}

fn take<'b>(decoder: &mut Decoder, bytes: &'b [u8], data: impl FnMut(&'b [u8])) -> io::Result<usize> {
    decoder.decode(bytes, data).map_err(|_| Malformed.into())
}

/// Reads on to where data is next, or to the end.
fn skip_framing(decoder: &mut Decoder, bytes: &[u8]) -> io::Result<usize> {
    let mut used = 0;
    while used < bytes.len() && decoder.data_left() == 0 && !decoder.is_done() {
        used += take(decoder, &bytes[used..=used], |_| {})?;
    }
    Ok(used)
}

fn trailers(section: &[u8]) -> Result<HeaderMap, Malformed> {
    let mut map = HeaderMap::new();
    let mut fit = Ok(());
    let read = parse::trailers(section, |name, value| fit = fit.and_then(|()| append(&mut map, name, value)));
    if read { fit.map(|()| map) } else { Err(Malformed) }
}
