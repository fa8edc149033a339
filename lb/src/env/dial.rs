//! Opening a connection to an endpoint, the way its cluster wants it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Type};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use weir_config::model::Connect;

use super::{DatagramSocket, UNSENT_MAX};

/// Probes of a silent connection before it is given up.
const KEEPALIVE_PROBES: u32 = 5;
/// The pause between them, as a part of the idle time before the first.
const KEEPALIVE_PART: u32 = 6;
/// The longest time the kernel takes for either.
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);
/// Local ports tried for one connection: some microseconds each, and the thread has other work.
/// The next connection goes on where this one ended.
const PORTS_TRIED_MAX: u32 = 256;

/// Whose turn it is among local addresses and ports. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<AtomicU32>);

impl Turn {
    fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Opens a TCP connection.
pub(super) async fn tcp(to: SocketAddr, how: &Connect, turn: &Turn) -> io::Result<TcpStream> {
    if how.local_addresses.is_empty() && how.source_ports.is_none() {
        return open(to, how)?.connect(to).await;
    }
    let origins = Origins::new(to, how);
    for _ in 0..origins.count.min(PORTS_TRIED_MAX) {
        match from(origins.at(turn.next()), to, how).await {
            // This port is taken, or this address has no free port to there: the next may.
            Err(error) if is(&error, Errno::ADDRINUSE) || is(&error, Errno::ADDRNOTAVAIL) => {}
            ended => return ended,
        }
    }
    Err(Errno::ADDRNOTAVAIL.into())
}

/// Opens a socket for datagrams to and from `to` alone.
pub(super) fn datagrams(to: SocketAddr, how: &Connect, turn: &Turn) -> io::Result<DatagramSocket> {
    if how.local_addresses.is_empty() && how.source_ports.is_none() {
        return DatagramSocket::connect(to, None);
    }
    let origins = Origins::new(to, how);
    for _ in 0..origins.count.min(PORTS_TRIED_MAX) {
        match DatagramSocket::connect(to, Some(origins.at(turn.next()))) {
            // Unlike with TCP, a port serves one endpoint at a time.
            Err(error) if is(&error, Errno::ADDRINUSE) || is(&error, Errno::ADDRNOTAVAIL) => {}
            ended => return ended,
        }
    }
    Err(Errno::ADDRNOTAVAIL.into())
}

/// Opens a connection to a Unix socket.
pub(super) async fn unix(to: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(to).await.map_err(|error| {
        if is(&error, Errno::AGAIN) {
            // For any other socket this error would mean that we have no port left.
            return io::Error::new(io::ErrorKind::ResourceBusy, "its queue of waiting connections is full");
        }
        error
    })
}

/// Where connections to one address may come from.
struct Origins<'c> {
    addresses: Vec<IpAddr>,
    first_port: u16,
    ports: u32,
    count: u32,
    how: &'c Connect,
}

impl<'c> Origins<'c> {
    fn new(to: SocketAddr, how: &'c Connect) -> Self {
        let mut addresses: Vec<IpAddr> =
            how.local_addresses.iter().copied().filter(|address| address.is_ipv4() == to.is_ipv4()).collect();
        if addresses.is_empty() {
            addresses.push(if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() });
        }
        let (first_port, ports) = match &how.source_ports {
            Some(range) => (*range.start(), range.len().max(1) as u32),
            None => (0, 1),
        };
        let count = ports.saturating_mul(u32::try_from(addresses.len()).unwrap_or(u32::MAX));
        Self { addresses, first_port, ports, count, how }
    }

    /// The origin whose turn is `turn`: one address after the other, then the next port.
    fn at(&self, turn: u32) -> SocketAddr {
        // Never empty, and no more addresses than a list in a file.
        let addresses = self.addresses.len() as u32;
        let address = self.addresses[(turn % addresses) as usize];
        let port = if self.how.source_ports.is_some() { (turn / addresses) % self.ports } else { 0 };
        SocketAddr::new(address, self.first_port.saturating_add(port as u16))
    }
}

/// Connects from `origin`; port 0 is any.
async fn from(origin: SocketAddr, to: SocketAddr, how: &Connect) -> io::Result<TcpStream> {
    let socket = open(to, how)?;
    if origin.port() != 0 {
        // One port serves connections to many endpoints, and one that waits in TIME_WAIT is no
        // obstacle to one elsewhere.
        socket.set_reuseaddr(true)?;
        socket.bind(origin)?;
    } else if !origin.ip().is_unspecified() {
        // The port is chosen when it is known where to: else one port could serve one connection
        // only, and a busy host would run out of them.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(origin)?;
    }
    socket.connect(to).await
}

/// A socket for a connection to `to`, with all its options.
fn open(to: SocketAddr, how: &Connect) -> io::Result<TcpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    if let Some(idle) = how.keepalive {
        socket.set_tcp_keepalive(&keepalive(idle))?;
    }
    if how.user_timeout.is_some() {
        socket.set_tcp_user_timeout(how.user_timeout)?;
    }
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// The kernel counts in whole seconds, from one.
fn keepalive(idle: Duration) -> socket2::TcpKeepalive {
    let whole = |time: Duration| time.clamp(Duration::from_secs(1), KEEPALIVE_MAX);
    socket2::TcpKeepalive::new()
        .with_time(whole(idle))
        .with_interval(whole(idle / KEEPALIVE_PART))
        .with_retries(KEEPALIVE_PROBES)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

#[cfg(test)]
mod tests;
