//! The three doors to the world: network, clock, chance. One trait, so that a whole server runs
//! over real sockets ([`Os`]) or inside a simulation, in the same test binary.
//!
//! Timers use `tokio::time` directly: it is virtual wherever the world is.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use weir_config::model::{Address, Connect};
use weir_core::dice::Dice;
use weir_core::time::Moment;

/// A byte stream to a client or an endpoint.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Our address on it.
    ///
    /// # Errors
    /// When the socket is no longer connected.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Makes the coming close an abort (RST), which no peer can take for a clean end.
    fn abort_on_close(&self);
}

/// The world a server lives in.
pub trait Env: Clone + Send + 'static {
    /// An address that is bound but not served: what makes a reload a transaction.
    type Reserved: Send + 'static;
    /// A socket that accepts.
    type Listener: 'static;
    /// A connection.
    type Stream: Stream;

    /// Binds `address` once for each of `workers`. `beside_ours`: an overlapping address (its
    /// wildcard, or the wildcard's address) is already ours.
    ///
    /// # Errors
    /// Those of the system; `AddrInUse` also where another process would share its port with us.
    fn reserve(&self, address: SocketAddr, workers: NonZeroUsize, beside_ours: bool)
    -> io::Result<Vec<Self::Reserved>>;

    /// The address that was bound: where the system chose the port, the chosen one.
    ///
    /// # Errors
    /// Those of the system.
    fn bound_addr(&self, reserved: &Self::Reserved) -> io::Result<SocketAddr>;

    /// Lets connections in: from now on they wait to be accepted.
    ///
    /// # Errors
    /// Those of the system.
    fn admit(&self, _reserved: &Self::Reserved) -> io::Result<()> {
        Ok(())
    }

    /// Begins to accept, on the calling thread's runtime. Lets connections in, if
    /// [`Self::admit`] has not.
    fn listen(&self, reserved: Self::Reserved) -> impl Future<Output = io::Result<Self::Listener>>;

    /// The next connection.
    fn accept(&self, listener: &Self::Listener) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>>;

    /// A connection that already waits, without waiting for one.
    fn accept_waiting(&self, listener: &Self::Listener) -> Option<(Self::Stream, SocketAddr)>;

    /// Connects, as `how` says; its timeout is the caller's to keep.
    fn connect(&self, to: &Address, how: &Connect) -> impl Future<Output = io::Result<Self::Stream>>;

    /// The time since this world began.
    fn now(&self) -> Moment {
        self.at(Instant::now())
    }

    /// When in this world's time `instant` is.
    fn at(&self, instant: Instant) -> Moment;

    /// The wall clock, for people and logs only; nothing is decided by it.
    fn wall(&self) -> SystemTime;

    /// Dice for `who`.
    fn dice(&self, who: &str) -> Dice;
}

/// The real world.
#[derive(Clone, Copy, Debug)]
pub struct Os {
    origin: Instant,
}

impl Os {
    /// The real world, beginning now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for Os {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a connection could not be opened, by whose cause it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unconnected {
    /// The other side refused it.
    Refused,
    /// The other side, or the way to it, did not answer.
    TimedOut,
    /// The other side took it back.
    Reset,
    /// This host has no descriptor, port or memory left for it: no packet left, and of the other
    /// side it says nothing.
    Local,
    /// Anything else, mostly that there is no way there.
    Unreachable,
}

impl From<&io::Error> for Unconnected {
    fn from(error: &io::Error) -> Self {
        const LOCAL: [Errno; 6] =
            [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM, Errno::AGAIN];
        match error.kind() {
            _ if error.raw_os_error().is_some_and(|errno| LOCAL.contains(&Errno::from_raw_os_error(errno))) => {
                Self::Local
            }
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::ConnectionReset => Self::Reset,
            _ => Self::Unreachable,
        }
    }
}

/// Connections the kernel holds for us between two accepts; the kernel caps it at `somaxconn`.
const BACKLOG: i32 = 4096;

impl Env for Os {
    type Reserved = Socket;
    type Listener = TcpListener;
    type Stream = TcpStream;

    fn reserve(
        &self,
        address: SocketAddr,
        workers: NonZeroUsize,
        beside_ours: bool,
    ) -> io::Result<Vec<Self::Reserved>> {
        // SO_REUSEPORT would let us share a port with a stranger of the same user in silence, and
        // each of us would get half of the connections: so first ask for the port alone.
        let chosen =
            if beside_ours { address } else { open(address, false)?.local_addr()?.as_socket().unwrap_or(address) };
        (0..workers.get()).map(|_| open(chosen, true)).collect()
    }

    fn bound_addr(&self, reserved: &Socket) -> io::Result<SocketAddr> {
        reserved.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    fn admit(&self, reserved: &Socket) -> io::Result<()> {
        reserved.listen(BACKLOG)
    }

    async fn listen(&self, reserved: Socket) -> io::Result<TcpListener> {
        self.admit(&reserved)?;
        TcpListener::from_std(reserved.into())
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        listener.accept().await
    }

    fn accept_waiting(&self, listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match listener.poll_accept(&mut context) {
            std::task::Poll::Ready(accepted) => accepted.ok(),
            std::task::Poll::Pending => None,
        }
    }

    async fn connect(&self, to: &Address, _how: &Connect) -> io::Result<TcpStream> {
        let to = to.ip().ok_or(io::ErrorKind::Unsupported)?;
        let stream = TcpStream::connect(to).await?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
        Ok(stream)
    }

    fn at(&self, instant: Instant) -> Moment {
        Moment::from(instant.saturating_duration_since(self.origin))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn dice(&self, who: &str) -> Dice {
        use std::hash::{BuildHasher, RandomState};
        // The standard library's per-process random keys: the one chance it offers.
        Dice::new(RandomState::new().hash_one((who, std::process::id())))
    }
}

impl Stream for TcpStream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }

    fn abort_on_close(&self) {
        // If the socket is already gone there is nothing left to abort.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

/// Bytes the kernel takes from us before it could send them. More would only hide from us whether
/// the other side reads: with a buffer of megabytes a slow but steady reader looks like a stall.
const UNSENT_MAX: u32 = 128 * 1024;

/// A bound, non-blocking socket. It does not listen: a reload that is refused must not have taken
/// a single connection.
fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` is IPv6 alone: with `0.0.0.0` beside it in the file both mean what they say.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    // What is accepted inherits these, at no system call per connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
