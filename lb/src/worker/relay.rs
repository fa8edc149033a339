//! A body on its way from one wire to another: how it comes in, how it goes out, and nothing else.

use std::io;
use std::task::{Context, Poll, ready};

use super::replay::Kept;
use crate::http1::chunked::{Decoder, size_line};
use crate::http1::framing::Framing;
use crate::http1::parse;
use crate::http1::wire::{Io, Scratch, Wire};

/// A body on its way.
#[derive(Debug)]
pub(crate) struct Relay {
    incoming: Incoming,
    outgoing: Outgoing,
    done: bool,
    /// It will never arrive whole, so what follows it on its wire cannot be told from it.
    pub(crate) broken: bool,
    /// Some of it has been taken.
    pub(crate) begun: bool,
    /// What was sent of it, if it may have to be sent again.
    kept: Kept,
    /// Bytes of the body passed on, without framing.
    pub(crate) passed: u64,
    /// Most bytes of body that may pass.
    limit: u64,
}

#[derive(Debug)]
enum Incoming {
    Length(u64),
    Chunked(Box<Decoder>),
    UntilClose,
}

/// How a body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// As it is: its length is told in the head, or the connection's close is its end.
    Plain,
    /// In chunks.
    Chunked,
}

/// Why a body did not arrive whole.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The sender's connection failed or ended before the body did.
    Source,
    /// The receiver's connection failed.
    Sink,
    /// The sender's chunks are malformed.
    BadChunk,
    /// More than the limit.
    TooLarge,
}

impl Relay {
    /// A body with `framing`, sent on as `outgoing`, of at most `limit` bytes.
    pub(crate) fn new(framing: Framing, outgoing: Outgoing, limit: Option<u64>) -> Self {
        let (incoming, done) = match framing {
            Framing::None | Framing::Length(0) => (Incoming::Length(0), true),
            Framing::Length(length) => (Incoming::Length(length), false),
            Framing::Chunked => (Incoming::Chunked(Box::default()), false),
            Framing::UntilClose => (Incoming::UntilClose, false),
        };
        Self {
            incoming,
            outgoing,
            done,
            broken: false,
            begun: false,
            kept: Kept::default(),
            passed: 0,
            limit: limit.unwrap_or(u64::MAX),
        }
    }

    /// Keeps up to `most` bytes of what is sent, to be able to send it again.
    pub(crate) fn keep(&mut self, most: usize) {
        if !self.done && !self.begun && !self.kept.keeps(most) {
            self.kept = Kept::up_to(most);
        }
    }

    /// Whether everything that was sent can be sent again.
    pub(crate) const fn is_replayable(&self) -> bool {
        !self.begun || self.kept.is_whole()
    }

    /// All of the body as it was sent, if it was sent whole and is kept.
    pub(crate) fn copy(&self) -> Option<&[u8]> {
        (self.is_whole() && self.is_replayable()).then(|| self.kept.as_slice())
    }

    /// The field `name` of what came behind a body that has arrived in chunks, if it was there.
    pub(crate) fn trailer(&self, name: &[u8]) -> Option<Vec<u8>> {
        let Incoming::Chunked(decoder) = &self.incoming else { return None };
        let mut found = None;
        let take = |field: &[u8], value: &[u8]| {
            if field.eq_ignore_ascii_case(name) {
                found = Some(value.to_vec());
            }
        };
        parse::trailers(decoder.trailers(), take).then_some(found).flatten()
    }

    /// Sends what was sent before, to another receiver.
    pub(crate) fn replay<S>(&mut self, to: &mut Wire<S>) {
        // What broke was the receiver: nothing that came in is lost while it is kept.
        self.broken = false;
        to.outbox.tail().extend_from_slice(self.kept.as_slice());
    }

    /// Sets the limit anew.
    pub(crate) const fn allow(&mut self, most: u64) {
        self.limit = most;
    }

    /// Whether a body of `length` bytes may pass.
    pub(crate) const fn allows(&self, length: u64) -> bool {
        length <= self.limit
    }

    /// Whether the whole body has been read and nothing went wrong with it.
    pub(crate) const fn is_whole(&self) -> bool {
        self.done && !self.broken
    }

    /// Moves what can be moved; ready when the whole body has been written out, and also ready
    /// when it never will be.
    pub(crate) fn poll<A: Io, B: Io>(
        &mut self,
        from: &mut Wire<A>,
        to: &mut Wire<B>,
        scratch: &Scratch,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        let moved = self.poll_move(from, to, scratch, context);
        self.broken |= matches!(moved, Poll::Ready(Err(_)));
        moved
    }

    fn poll_move<A: Io, B: Io>(
        &mut self,
        from: &mut Wire<A>,
        to: &mut Wire<B>,
        scratch: &Scratch,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            // What is here already goes into the same write as the head before it.
            if !self.done && !from.inbox.is_empty() && to.outbox.len() < Scratch::SIZE {
                let used = self.pass(from.inbox.as_slice(), to, context)?;
                from.inbox.consume(used);
                continue;
            }
            ready!(to.poll_flush(context)).map_err(|_| Broken::Sink)?;
            if self.done {
                return Poll::Ready(Ok(()));
            }
            let read = from.poll_take(scratch, context, |bytes, inbox, context| {
                if bytes.is_empty() {
                    return self.end(to);
                }
                let used = self.pass(bytes, to, context)?;
                inbox.push(&bytes[used..]);
                Ok(())
            });
            ready!(read).map_err(|_| Broken::Source)??;
        }
    }

    /// Takes as much of `input` as belongs to this body and sends it on; how much that was.
    fn pass<S: Io>(&mut self, input: &[u8], to: &mut Wire<S>, context: &mut Context<'_>) -> Result<usize, Broken> {
        self.begun = true;
        let used = match &mut self.incoming {
            Incoming::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= take as u64;
                self.done = *left == 0;
                let data = &input[..take];
                if self.kept.is_whole() {
                    // Through the outbox: only a flush may fail while something is to be kept, so
                    // that what is kept and what was taken are the same.
                    self.kept.add(data);
                    to.outbox.push(data);
                } else {
                    send(data, self.outgoing, to, context)?;
                }
                self.passed += take as u64;
                take
            }
            Incoming::UntilClose => {
                send(input, self.outgoing, to, context)?;
                self.passed += input.len() as u64;
                input.len()
            }
            Incoming::Chunked(_) => self.pass_chunks(input, to)?,
        };
        if self.passed > self.limit { Err(Broken::TooLarge) } else { Ok(used) }
    }

    /// All data in `input` goes out as one chunk, or plainly.
    fn pass_chunks<S>(&mut self, input: &[u8], to: &mut Wire<S>) -> Result<usize, Broken> {
        let Incoming::Chunked(decoder) = &mut self.incoming else { return Ok(0) };
        let out = to.outbox.tail();
        let before = out.len();
        if self.outgoing == Outgoing::Chunked {
            // Room for the size line; how much data there is turns out only further down.
            size_line(out, input.len(), 0);
        }
        let start = out.len();
        let used = decoder.decode(input, |data| out.extend_from_slice(data)).map_err(|_| Broken::BadChunk)?;
        let data = out.len() - start;
        self.passed += data as u64;
        self.done = decoder.is_done();
        if self.outgoing == Outgoing::Chunked {
            if data == 0 {
                out.truncate(before);
            } else {
                let mut line = Vec::with_capacity(18);
                size_line(&mut line, data, start - before - 2);
                out[before..start].copy_from_slice(&line);
                out.extend_from_slice(b"\r\n");
            }
            if self.done {
                out.extend_from_slice(b"0\r\n");
                let keep = |name: &[u8], value: &[u8]| {
                    for part in [name, b": ", value, b"\r\n"] {
                        out.extend_from_slice(part);
                    }
                };
                if !parse::trailers(decoder.trailers(), keep) {
                    return Err(Broken::BadChunk);
                }
                out.extend_from_slice(b"\r\n");
            }
        }
        self.kept.add(&out[before..]);
        Ok(used)
    }

    /// The sender's stream has ended.
    fn end<S>(&mut self, to: &mut Wire<S>) -> Result<(), Broken> {
        match self.incoming {
            Incoming::UntilClose => {
                self.done = true;
                if self.outgoing == Outgoing::Chunked {
                    to.outbox.push(b"0\r\n\r\n");
                }
                Ok(())
            }
            _ => Err(Broken::Source),
        }
    }
}

fn send<S: Io>(data: &[u8], outgoing: Outgoing, to: &mut Wire<S>, context: &mut Context<'_>) -> Result<(), Broken> {
    match outgoing {
        Outgoing::Plain => to.write_through(context, data).map_err(|_: io::Error| Broken::Sink),
        Outgoing::Chunked if data.is_empty() => Ok(()),
        Outgoing::Chunked => {
            let out = to.outbox.tail();
            size_line(out, data.len(), 0);
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// What comes out when `input` is relayed, and whether it arrived whole.
    async fn relay(
        input: &[u8],
        framing: Framing,
        outgoing: Outgoing,
        limit: Option<u64>,
    ) -> (Vec<u8>, Result<(), Broken>) {
        let (mut sender, from) = duplex(1 << 16);
        let (to, mut receiver) = duplex(1 << 16);
        let (mut from, mut to) = (Wire::new(from), Wire::new(to));
        let scratch = Scratch::new();
        sender.write_all(input).await.unwrap();
        drop(sender);
        let mut relay = Relay::new(framing, outgoing, limit);
        let result = poll_fn(|context| relay.poll(&mut from, &mut to, &scratch, context)).await;
        drop(to);
        let mut out = Vec::new();
        receiver.read_to_end(&mut out).await.unwrap();
        (out, result)
    }

    #[tokio::test]
    async fn chunks_are_made_anew() {
        let input = b"5;ext=1\r\nhello\r\n0001\r\n!\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n";
        let (out, result) = relay(input, Framing::Chunked, Outgoing::Chunked, None).await;
        assert!(result.is_ok());
        assert_eq!(out, b"06\r\nhello!\r\n0\r\nX-Sum: 1\r\n\r\n");
        let (out, _) = relay(input, Framing::Chunked, Outgoing::Plain, None).await;
        assert_eq!(out, b"hello!");
    }

    #[tokio::test]
    async fn the_rest_of_a_body_is_never_made_up() {
        for (input, framing) in [(&b"hel"[..], Framing::Length(5)), (b"5\r\nhello\r\n", Framing::Chunked)] {
            let (out, result) = relay(input, framing, Outgoing::Chunked, None).await;
            assert!(matches!(result, Err(Broken::Source)));
            assert!(!out.ends_with(b"0\r\n\r\n"));
        }
        let (out, result) = relay(b"hello", Framing::UntilClose, Outgoing::Chunked, None).await;
        assert!(result.is_ok());
        assert_eq!(out, b"5\r\nhello\r\n0\r\n\r\n");
    }

    #[tokio::test]
    async fn a_body_that_breaks_at_its_very_end_is_broken() {
        // All of it has been read, yet where the next message begins cannot be told.
        let (mut sender, from) = duplex(1 << 16);
        let (mut from, mut to) = (Wire::new(from), Wire::new(duplex(1 << 16).0));
        sender.write_all(b"0\r\nno colon\r\n\r\n").await.unwrap();
        let mut relay = Relay::new(Framing::Chunked, Outgoing::Chunked, None);
        let scratch = Scratch::new();
        let result = poll_fn(|context| relay.poll(&mut from, &mut to, &scratch, context)).await;
        assert!(matches!(result, Err(Broken::BadChunk)));
        assert!(relay.broken);
    }

    #[tokio::test]
    async fn limits_and_bad_chunks() {
        let (_, result) = relay(b"5\r\nhello\r\n0\r\n\r\n", Framing::Chunked, Outgoing::Chunked, Some(4)).await;
        assert!(matches!(result, Err(Broken::TooLarge)));
        let (_, result) =
            relay(b"5\r\nhello\r\n0\r\nno colon\r\n\r\n", Framing::Chunked, Outgoing::Chunked, None).await;
        assert!(matches!(result, Err(Broken::BadChunk)));
    }
}
