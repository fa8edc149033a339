//! A socket with what was read and not used, and what was written and not taken.
//!
//! Reading goes through a scratch buffer that all connections of a worker share, so an idle
//! connection holds no buffer at all, and a body that flows freely is never copied.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream, whichever world it is of.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Io for S {}

/// The buffer every read of a worker goes through. Never borrowed across a suspension.
pub(crate) struct Scratch(RefCell<Box<[u8]>>);

impl Scratch {
    /// 64 KiB: what a socket's receive buffer gives at a time when a body streams.
    pub(crate) const SIZE: usize = 64 * 1024;

    pub(crate) fn new() -> Self {
        Self(RefCell::new(vec![0; Self::SIZE].into_boxed_slice()))
    }

    /// Reads once from `io` and gives what came to `take`; 0 bytes are the end of the stream.
    pub(crate) fn poll_read<S: AsyncRead + Unpin, T>(
        &self,
        io: &mut S,
        context: &mut Context<'_>,
        take: impl FnOnce(&[u8], &mut Context<'_>) -> T,
    ) -> Poll<io::Result<T>> {
        let mut buffer = self.0.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer);
        ready!(Pin::new(io).poll_read(context, &mut read))?;
        Poll::Ready(Ok(take(read.filled(), context)))
    }
}

/// Bytes in order, taken from the front.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Kept when empty up to this much; a larger one is given back.
    const KEEP: usize = 16 * 1024;

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
            if self.bytes.capacity() > Self::KEEP {
                self.bytes = Vec::new();
            }
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.tail().extend_from_slice(bytes);
    }

    /// For appending in place.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        // Without this a buffer that is never quite emptied would grow for ever.
        if self.start > self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        &mut self.bytes
    }

    /// Gives the memory back if nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

/// A socket and its two buffers.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    pub(crate) io: S,
    /// Read and not used yet.
    pub(crate) inbox: Buffer,
    /// Written and not taken by the socket yet.
    pub(crate) outbox: Buffer,
    /// What was written has not all been taken by the socket beneath.
    held_back: bool,
    /// Bytes read and written since they were last asked for.
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl<S> Wire<S> {
    /// Whether the other side has not taken all that is there for it.
    pub(crate) fn is_blocked(&self) -> bool {
        self.held_back || !self.outbox.is_empty()
    }
}

impl<S: Io> Wire<S> {
    pub(crate) fn new(io: S) -> Self {
        Self { io, inbox: Buffer::default(), outbox: Buffer::default(), held_back: false, received: 0, sent: 0 }
    }

    /// Reads once and gives what came to `take`, with the inbox for what it
    /// leaves. No bytes are the end of the stream.
    pub(crate) fn poll_take<T>(
        &mut self,
        scratch: &Scratch,
        context: &mut Context<'_>,
        take: impl FnOnce(&[u8], &mut Buffer, &mut Context<'_>) -> T,
    ) -> Poll<io::Result<T>> {
        let Self { io, inbox, received, .. } = self;
        scratch.poll_read(io, context, |bytes, context| {
            *received += bytes.len() as u64;
            take(bytes, inbox, context)
        })
    }

    /// Writes the outbox out.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(context, self.outbox.as_slice()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count as u64;
            self.outbox.consume(count);
        }
        // TLS holds back what the socket did not take; a socket has nothing to flush.
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.held_back = flushed.is_pending();
        flushed
    }

    /// Writes `bytes` now as far as the socket takes them, if nothing is waiting before them; what
    /// it does not take goes to the outbox.
    pub(crate) fn write_through(&mut self, context: &mut Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        while self.outbox.is_empty() && !bytes.is_empty() {
            match Pin::new(&mut self.io).poll_write(context, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.sent += count as u64;
                    bytes = &bytes[count..];
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        self.outbox.push(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Buffer;

    #[test]
    fn a_buffer_gives_back_what_it_got_in_order() {
        let mut buffer = Buffer::default();
        buffer.push(b"hello ");
        buffer.consume(2);
        buffer.push(b"world");
        assert_eq!(buffer.as_slice(), b"llo world");
        buffer.consume(100);
        assert!(buffer.is_empty());
        buffer.push(&[0; Buffer::KEEP * 2]);
        buffer.consume(Buffer::KEEP * 2);
        assert_eq!(buffer.tail().capacity(), 0);
    }

    #[test]
    fn a_buffer_that_is_never_empty_does_not_grow() {
        let mut buffer = Buffer::default();
        buffer.push(b"x");
        for _ in 0..10_000 {
            buffer.push(&[0; 100]);
            buffer.consume(100);
        }
        assert_eq!(buffer.len(), 1);
        assert!(buffer.tail().capacity() < 1000);
    }
}
