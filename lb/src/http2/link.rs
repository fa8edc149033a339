//! A connection to an endpoint as the frames' reader has it: without frames that say nothing, and not
//! too many at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Counts, Frames, Strained};
use crate::http1::wire::Io;

/// Both directions of a connection.
#[derive(Debug)]
pub(crate) struct Link<S> {
    io: S,
    incoming: Strained,
    counts: Counts,
}

impl<S> Link<S> {
    pub(crate) fn new(io: S) -> Self {
        Self { io, incoming: Strained::new(Frames::of_server()), counts: Counts::default() }
    }
}

impl<S: Io> AsyncRead for Link<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, incoming, counts } = self.get_mut();
        *counts = Counts::default();
        incoming.poll_read(|cx, into| Pin::new(&mut *io).poll_read(cx, into), cx, into, counts)
    }
}

impl<S: Io> AsyncWrite for Link<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
