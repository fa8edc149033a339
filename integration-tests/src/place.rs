//! Loopback addresses nobody else uses.
//!
//! All of 127/8 is ours on Linux, and outgoing connections leave from 127.0.0.1: so a port on
//! another address of 127/8 stays free even while it is not bound, which is what a replica that
//! dies and comes back needs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A loopback IP address for one thing. A process has 250 of them, then they come around again;
/// other test processes have others.
#[must_use]
pub fn ip() -> IpAddr {
    let nth = NEXT.fetch_add(1, Ordering::Relaxed);
    // 127.64.0.0 to 127.127.255.255: six bits and eight from the process id, eight from the count.
    let pid = std::process::id();
    IpAddr::V4(Ipv4Addr::new(127, 64 + ((pid >> 8) & 63) as u8, (pid & 255) as u8, 1 + (nth % 250) as u8))
}

/// A free port on an address of its own.
#[must_use]
pub fn address() -> SocketAddr {
    on(ip())
}

/// A free port on `ip`.
///
/// # Panics
/// When the system has none.
#[must_use]
pub fn on(ip: IpAddr) -> SocketAddr {
    TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr()).expect("a free loopback port")
}

/// An address where connections are refused.
#[must_use]
pub fn refusing() -> SocketAddr {
    address()
}
