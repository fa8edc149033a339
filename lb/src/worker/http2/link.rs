//! A connection's bytes for the frames' reader: first what was read before it was known what is
//! spoken, then the socket's; and what they amount to.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http1::wire::{Io, Wire};
use crate::http2::frames::{Counts, Frames, Strained};

/// Both directions of a connection.
pub(super) struct Link<'c, S> {
    pub(super) wire: &'c mut Wire<S>,
    pub(super) traffic: &'c RefCell<Traffic>,
}

/// What went over a connection.
pub(super) struct Traffic {
    incoming: Strained,
    outgoing: Frames,
    since: Passed,
}

/// What went over it since that was last asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    /// Bytes.
    pub(super) received: u64,
    pub(super) sent: u64,
    /// Frames.
    pub(super) frames_received: Counts,
    pub(super) frames_sent: Counts,
}

impl Traffic {
    pub(super) fn new() -> Self {
        Self { incoming: Strained::new(Frames::of_client()), outgoing: Frames::of_server(), since: Passed::default() }
    }

    pub(super) fn take(&mut self) -> Passed {
        std::mem::take(&mut self.since)
    }
}

impl<S: Io> AsyncRead for Link<'_, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { wire, traffic } = self.get_mut();
        let Traffic { incoming, since, .. } = &mut *traffic.borrow_mut();
        let received = &mut since.received;
        let read = |context: &mut Context<'_>, into: &mut ReadBuf<'_>| {
            let before = into.filled().len();
            if wire.inbox.is_empty() {
                ready!(Pin::new(&mut wire.io).poll_read(context, into))?;
            } else {
                let count = wire.inbox.len().min(into.remaining());
                into.put_slice(&wire.inbox.as_slice()[..count]);
                wire.inbox.consume(count);
            }
            *received += (into.filled().len() - before) as u64;
            Poll::Ready(Ok(()))
        };
        incoming.poll_read(read, cx, into, &mut since.frames_received)
    }
}

impl<S: Io> AsyncWrite for Link<'_, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { wire, traffic } = self.get_mut();
        let count = ready!(Pin::new(&mut wire.io).poll_write(cx, bytes))?;
        let Traffic { outgoing, since, .. } = &mut *traffic.borrow_mut();
        since.sent += count as u64;
        outgoing.count(&bytes[..count], &mut since.frames_sent);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire.io).poll_shutdown(cx)
    }
}
