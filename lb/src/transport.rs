//! What carries a conversation's bytes: a socket as it is, TLS on one, or one stream of an HTTP/2
//! connection; and how one to an endpoint is opened.

mod open;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

pub(crate) use open::{Unopened, Way, connect, connector, open, secure};

use crate::env::Stream;
use crate::http2::Lost;
use crate::http2::client::ClientStream;
use crate::http2::server::ServerStream;

/// A byte stream to a client or an endpoint. What is large is boxed, so that a socket costs no more
/// than it is.
#[derive(Debug)]
pub(crate) enum Transport<S: Stream> {
    /// The socket itself.
    Plain(S),
    /// TLS on it.
    Tls(Box<TlsStream<S>>),
    /// A client's stream.
    Served(Box<ServerStream>),
    /// A stream to an endpoint.
    Asked(Box<ClientStream>),
}

impl<S: Stream> Transport<S> {
    /// Whether it is one stream of many on a connection.
    pub(crate) const fn is_stream(&self) -> bool {
        matches!(self, Self::Served(_) | Self::Asked(_))
    }

    /// Whether nobody can read what goes over it.
    pub(crate) const fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether the other side chose HTTP/2 by ALPN.
    pub(crate) fn has_chosen_http2(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            Self::Plain(_) | Self::Served(_) | Self::Asked(_) => false,
        }
    }

    /// Whether a client takes any 2xx for a tunnel that is open, though its request reads as one of GET.
    pub(crate) fn asks_for_tunnel(&self) -> bool {
        matches!(self, Self::Served(stream) if stream.asks_for_tunnel())
    }

    /// Whether a client reset its stream before it had an answer.
    pub(crate) const fn is_given_up(&self) -> bool {
        match self {
            Self::Served(stream) => stream.is_given_up(),
            Self::Plain(_) | Self::Tls(_) | Self::Asked(_) => false,
        }
    }

    /// Takes over what has come by a stream while nobody can take it on, so that it burdens no other
    /// stream of its connection; of a connection of its own the kernel keeps it.
    pub(crate) fn hoard(&mut self, context: &mut Context<'_>) {
        match self {
            Self::Plain(_) | Self::Tls(_) => {}
            Self::Served(stream) => stream.hoard(context),
            Self::Asked(stream) => stream.hoard(context),
        }
    }

    /// What a stream to an endpoint has lost; of a connection of its own nothing is known.
    pub(crate) fn lost(&self) -> Lost {
        match self {
            Self::Asked(stream) => stream.lost(),
            Self::Plain(_) | Self::Tls(_) | Self::Served(_) => Lost::Nothing,
        }
    }
}

impl<S: Stream> Stream for Transport<S> {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.local_addr(),
            Self::Tls(stream) => stream.get_ref().0.local_addr(),
            Self::Served(_) | Self::Asked(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn abort_on_close(&self) {
        match self {
            Self::Plain(stream) => stream.abort_on_close(),
            Self::Tls(stream) => stream.get_ref().0.abort_on_close(),
            Self::Served(stream) => stream.abort_on_close(),
            // Dropped before its end, it is reset whatever was sent.
            Self::Asked(_) => {}
        }
    }

    fn splices(&self) -> bool {
        matches!(self, Self::Plain(stream) if stream.splices())
    }

    fn poll_splice_in(&self, pipe: BorrowedFd<'_>, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_splice_in(pipe, most, cx),
            Self::Tls(_) | Self::Served(_) | Self::Asked(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    fn poll_splice_out(&self, pipe: BorrowedFd<'_>, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_splice_out(pipe, most, cx),
            Self::Tls(_) | Self::Served(_) | Self::Asked(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }
}

impl<S: Stream> AsyncRead for Transport<S> {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Served(stream) => stream.poll_read(cx, into),
            Self::Asked(stream) => stream.poll_read(cx, into),
        }
    }
}

impl<S: Stream> AsyncWrite for Transport<S> {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Served(stream) => stream.poll_write(cx, bytes),
            Self::Asked(stream) => stream.poll_write(cx, bytes),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Served(stream) => stream.poll_write(cx, first(pieces)),
            Self::Asked(stream) => stream.poll_write(cx, first(pieces)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Served(_) | Self::Asked(_) => false,
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            // Its connection does that.
            Self::Served(_) | Self::Asked(_) => Poll::Ready(Ok(())),
        }
    }

    #[inline]
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Served(stream) => Poll::Ready(stream.shut()),
            Self::Asked(stream) => Poll::Ready(stream.shut()),
        }
    }
}

/// The first piece with something in it.
fn first<'p>(pieces: &'p [IoSlice<'_>]) -> &'p [u8] {
    pieces.iter().find(|piece| !piece.is_empty()).map_or(&[], |piece| piece)
}
