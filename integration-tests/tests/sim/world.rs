//! The simulated world as Weir sees it: turmoil's network, virtual time, seeded chance.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use turmoil::net::{TcpListener, TcpStream};
use weir::env::{Env, Stream};
use weir_config::model::{Address, Connect};
use weir_core::dice::Dice;
use weir_core::time::Moment;

/// A world told from a seed; made inside of its host.
#[derive(Clone, Debug)]
pub(crate) struct Sim {
    origin: Instant,
    seed: u64,
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        Self { origin: Instant::now(), seed }
    }
}

/// What is ready without waiting.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

impl Env for Sim {
    type Reserved = TcpListener;
    type Listener = TcpListener;
    type Stream = SimStream;

    fn reserve(&self, address: &Address, workers: NonZeroUsize, _: bool) -> io::Result<Vec<TcpListener>> {
        let address = address.ip().ok_or(io::ErrorKind::Unsupported)?;
        assert_eq!(workers.get(), 1, "a simulated host has no shared ports");
        let bound = at_once(TcpListener::bind(address)).expect("binding does not wait")?;
        Ok(vec![bound])
    }

    fn bound_addr(&self, reserved: &TcpListener) -> io::Result<Address> {
        reserved.local_addr().map(Address::Ip)
    }

    async fn listen(&self, reserved: TcpListener) -> io::Result<TcpListener> {
        Ok(reserved)
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(SimStream, SocketAddr)> {
        let (stream, peer) = listener.accept().await?;
        Ok((SimStream(stream), peer))
    }

    fn accept_waiting(&self, listener: &TcpListener) -> Option<(SimStream, SocketAddr)> {
        let (stream, peer) = at_once(listener.accept())?.ok()?;
        Some((SimStream(stream), peer))
    }

    async fn connect(&self, to: &Address, _: &Connect) -> io::Result<SimStream> {
        let to = to.ip().ok_or(io::ErrorKind::Unsupported)?;
        TcpStream::connect(to).await.map(SimStream)
    }

    fn at(&self, instant: Instant) -> Moment {
        Moment::from(instant.saturating_duration_since(self.origin))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.origin.elapsed()
    }

    fn dice(&self, who: &str) -> Dice {
        let name = who.bytes().fold(self.seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Dice::new(name)
    }
}

/// A connection. (turmoil's own type cannot be given a trait of ours.)
#[derive(Debug)]
pub(crate) struct SimStream(TcpStream);

impl Stream for SimStream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn abort_on_close(&self) {
        // turmoil's connections cannot be reset by hand; the live tests see to that.
    }
}

impl AsyncRead for SimStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
