//! The doors to the world: network and names, clock, chance. One trait, so that a whole server runs
//! over real sockets ([`Os`]) or inside a simulation, in the same test binary.
//!
//! Timers use `tokio::time` directly: it is virtual wherever the world is.

mod datagrams;
mod dial;
mod dns;
mod listen;
mod socket;
mod unconnected;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use weir_config::model::{Address, Connect};
use weir_core::dice::Dice;
use weir_core::discovery::{Answer, Failure, FailureKind};
use weir_core::time::Moment;

pub use datagrams::{Batch, DatagramSocket, Received, ReservedDatagrams};
pub use dns::Lookup;
pub use listen::{Listening, Reserved, UnixFile};
pub use socket::Socket;
pub use unconnected::{Fault, Unconnected};

/// A byte stream to a client or an endpoint.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Our address on it.
    ///
    /// # Errors
    /// When the socket is no longer connected, or has no such address.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The user and the process on its other end, if it is a Unix socket of this host.
    fn credentials(&self) -> Option<(u32, Option<i32>)> {
        None
    }

    /// Makes the coming close an abort (RST), which no peer can take for a clean end.
    fn abort_on_close(&self);

    /// Whether the kernel can move its bytes from and to a pipe by itself.
    fn splices(&self) -> bool {
        false
    }

    /// Moves at most so many bytes that have come into an empty, non-blocking pipe; 0 is their end.
    ///
    /// # Errors
    /// Those of reading; `Unsupported` where it cannot be done.
    fn poll_splice_in(&self, _: BorrowedFd<'_>, _: usize, _: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Moves at most so many bytes from a pipe that holds them to the other side.
    ///
    /// # Errors
    /// Those of writing; `Unsupported` where it cannot be done.
    fn poll_splice_out(&self, _: BorrowedFd<'_>, _: usize, _: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
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
    /// wildcard, or the wildcard's address; or, until a moment ago, itself) is already ours.
    ///
    /// # Errors
    /// Those of the system; `AddrInUse` also where another process would share its port with us.
    fn reserve(&self, address: &Address, workers: NonZeroUsize, beside_ours: bool) -> io::Result<Vec<Self::Reserved>>;

    /// The address that was bound: where the system chose the port, the chosen one.
    ///
    /// # Errors
    /// Those of the system.
    fn bound_addr(&self, reserved: &Self::Reserved) -> io::Result<Address>;

    /// Sockets of one address that another process bound and handed over, of which each serves as one of
    /// [`Self::reserve`]. The file of a Unix socket goes with the last of them, unless it is `theirs` who
    /// opened it.
    ///
    /// # Errors
    /// Those of the system; `Unsupported` in a world with one process.
    fn adopt(&self, _: Vec<OwnedFd>, _theirs: bool) -> io::Result<Vec<Self::Reserved>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there is no other process in this world"))
    }

    /// Another descriptor of the same socket, to be handed over one day.
    ///
    /// # Errors
    /// As [`Self::adopt`].
    fn share(&self, _: &Self::Reserved) -> io::Result<OwnedFd> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there is no other process in this world"))
    }

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

    /// The next connection, and where it comes from; over a Unix socket that is 127.0.0.1, port 0.
    fn accept(&self, listener: &Self::Listener) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>>;

    /// A connection that already waits, without waiting for one.
    fn accept_waiting(&self, listener: &Self::Listener) -> Option<(Self::Stream, SocketAddr)>;

    /// Connects, as `how` says; its timeout is the caller's to keep.
    fn connect(&self, to: &Address, how: &Connect) -> impl Future<Output = io::Result<Self::Stream>>;

    /// [`Self::reserve`] for datagrams: a port may be bound for both.
    ///
    /// # Errors
    /// As [`Self::reserve`]; `Unsupported` in a world without datagrams.
    fn reserve_datagrams(&self, _: SocketAddr, _: NonZeroUsize, _: bool) -> io::Result<Vec<ReservedDatagrams>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there are no datagrams in this world"))
    }

    /// A socket that exchanges datagrams with `to` alone, from where `how` says, on the calling
    /// thread's runtime.
    ///
    /// # Errors
    /// Those of the system; `Unsupported` in a world without datagrams.
    fn connect_datagrams(&self, _to: SocketAddr, _how: &Connect) -> io::Result<DatagramSocket> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there are no datagrams in this world"))
    }

    /// Looks a name up in DNS, within the time that is given.
    fn lookup(&self, _what: &Lookup) -> impl Future<Output = Answer> {
        let failure = Failure { kind: FailureKind::Unreachable, detail: "there is no DNS in this world".into() };
        std::future::ready(Answer { result: Err(failure), trace: Arc::default() })
    }

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

    /// Bits that nobody can guess, whatever was told of others: a name that is a key. Nothing is
    /// decided by them.
    fn unguessable(&self) -> u128 {
        use std::hash::{BuildHasher, RandomState};
        // SipHash under the standard library's random keys: the one secret it offers.
        let keys = RandomState::new();
        u128::from(keys.hash_one(0u8)) << 64 | u128::from(keys.hash_one(1u8))
    }
}

/// The real world.
#[derive(Clone, Debug)]
pub struct Os {
    origin: Instant,
    turn: dial::Turn,
    resolvers: dns::Resolvers,
    /// Whether another process has the sockets now.
    gone: Gone,
}

impl Os {
    /// The real world, beginning now.
    #[must_use]
    pub fn new() -> Self {
        let now = Instant::now();
        // Not at the very beginning of time: what is remembered of another process happened before.
        let origin = now.checked_sub(PAST).unwrap_or(now);
        Self { origin, turn: dial::Turn::default(), resolvers: dns::Resolvers::default(), gone: Gone::default() }
    }

    /// From now on the sockets are another process's too: what ends here does not end there.
    pub(crate) fn hand_over(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }
}

impl Default for Os {
    fn default() -> Self {
        Self::new()
    }
}

impl Env for Os {
    type Reserved = Reserved;
    type Listener = Listening;
    type Stream = Socket;

    fn reserve(&self, address: &Address, workers: NonZeroUsize, beside_ours: bool) -> io::Result<Vec<Self::Reserved>> {
        listen::reserve(address, workers, beside_ours, &self.gone)
    }

    fn adopt(&self, sockets: Vec<OwnedFd>, theirs: bool) -> io::Result<Vec<Reserved>> {
        listen::adopt(sockets, theirs, &self.gone)
    }

    fn share(&self, reserved: &Reserved) -> io::Result<OwnedFd> {
        reserved.share()
    }

    fn bound_addr(&self, reserved: &Self::Reserved) -> io::Result<Address> {
        reserved.address()
    }

    fn admit(&self, reserved: &Self::Reserved) -> io::Result<()> {
        reserved.admit()
    }

    async fn listen(&self, reserved: Self::Reserved) -> io::Result<Self::Listener> {
        reserved.listen()
    }

    async fn accept(&self, listener: &Self::Listener) -> io::Result<(Socket, SocketAddr)> {
        listener.accept().await
    }

    fn accept_waiting(&self, listener: &Self::Listener) -> Option<(Socket, SocketAddr)> {
        listener.accept_waiting()
    }

    async fn connect(&self, to: &Address, how: &Connect) -> io::Result<Socket> {
        match to {
            Address::Ip(to) => dial::tcp(*to, how, &self.turn).await.map(Socket::Tcp),
            Address::Unix(to) => dial::unix(to).await.map(Socket::Unix),
        }
    }

    fn reserve_datagrams(
        &self,
        address: SocketAddr,
        workers: NonZeroUsize,
        beside_ours: bool,
    ) -> io::Result<Vec<ReservedDatagrams>> {
        // First alone, for the same reason as in `reserve`.
        let chosen = if beside_ours { address } else { ReservedDatagrams::bind(address, false)?.local_addr()? };
        (0..workers.get()).map(|_| ReservedDatagrams::bind(chosen, true)).collect()
    }

    fn connect_datagrams(&self, to: SocketAddr, how: &Connect) -> io::Result<DatagramSocket> {
        dial::datagrams(to, how, &self.turn)
    }

    async fn lookup(&self, what: &Lookup) -> Answer {
        dns::look_up(&self.resolvers, what).await
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

/// How far back this process can remember what another one saw.
const PAST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whether another process has the sockets.
type Gone = Arc<AtomicBool>;

/// Bytes the kernel takes from us before it could send them. More would only hide from us whether
/// the other side reads: with a buffer of megabytes a slow but steady reader looks like a stall.
const UNSENT_MAX: u32 = 128 * 1024;
