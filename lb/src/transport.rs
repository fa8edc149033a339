//! What carries a conversation's bytes: a socket as it is, or TLS on one; and how one to an endpoint
//! is opened.

mod open;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

pub(crate) use open::{Unopened, Way, connector, open};

use crate::env::Stream;

/// A byte stream to a client or an endpoint.
#[derive(Debug)]
pub(crate) enum Transport<S: Stream> {
    /// The socket itself.
    Plain(S),
    /// TLS on it. Boxed: it is twenty times as large as a socket.
    Tls(Box<TlsStream<S>>),
}

/// Does the same with whichever stream it is.
macro_rules! each {
    ($transport:expr, $stream:ident => $does:expr) => {
        match $transport {
            Transport::Plain($stream) => $does,
            Transport::Tls($stream) => $does,
        }
    };
}

impl<S: Stream> Stream for Transport<S> {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.local_addr(),
            Self::Tls(stream) => stream.get_ref().0.local_addr(),
        }
    }

    fn abort_on_close(&self) {
        match self {
            Self::Plain(stream) => stream.abort_on_close(),
            Self::Tls(stream) => stream.get_ref().0.abort_on_close(),
        }
    }
}

impl<S: Stream> AsyncRead for Transport<S> {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, into))
    }
}

impl<S: Stream> AsyncWrite for Transport<S> {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    #[inline]
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
