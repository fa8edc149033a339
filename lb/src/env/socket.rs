//! A connection of this host: over TCP, or over a Unix socket to somebody beside us.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::pipe::{SpliceFlags, splice};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::Stream;

/// A connection.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// Does the same with whichever stream it is.
macro_rules! either {
    ($socket:expr, $stream:ident => $does:expr) => {
        match $socket {
            Socket::Tcp($stream) => $does,
            Socket::Unix($stream) => $does,
        }
    };
}

impl Stream for Socket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr(),
            Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn credentials(&self) -> Option<(u32, Option<i32>)> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(stream) => stream.peer_cred().ok().map(|peer| (peer.uid(), peer.pid())),
        }
    }

    fn abort_on_close(&self) {
        // If the socket is already gone there is nothing left to abort. A Unix socket needs no
        // telling: closed with bytes unread, it is a reset to the other side.
        if let Self::Tcp(stream) = self {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    fn splices(&self) -> bool {
        true
    }

    fn poll_splice_in(&self, pipe: BorrowedFd<'_>, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        either!(self, stream => loop {
            ready!(stream.poll_read_ready(cx))?;
            let spliced = stream.try_io(Interest::READABLE, || Ok(splice(stream, None, pipe, None, most, SPLICE)?));
            if !is_to_be_tried_again(&spliced) {
                return Poll::Ready(spliced);
            }
        })
    }

    fn poll_splice_out(&self, pipe: BorrowedFd<'_>, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        either!(self, stream => loop {
            ready!(stream.poll_write_ready(cx))?;
            let spliced = stream.try_io(Interest::WRITABLE, || Ok(splice(pipe, None, stream, None, most, SPLICE)?));
            if !is_to_be_tried_again(&spliced) {
                return Poll::Ready(spliced);
            }
        })
    }
}

/// Nobody waits in the kernel, and pages change hands where they can.
const SPLICE: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// Whether to ask the runtime again whether the socket is ready.
fn is_to_be_tried_again(spliced: &io::Result<usize>) -> bool {
    matches!(spliced, Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted))
}

impl AsyncRead for Socket {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, into))
    }
}

impl AsyncWrite for Socket {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    #[inline]
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
