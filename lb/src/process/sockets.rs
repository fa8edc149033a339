//! The TCP sockets of this host's network, as the kernel lists them: by netlink's `sock_diag`,
//! which is what `ss` asks.
//!
//! One question tells state, addresses, queues and what TCP measured of each connection. It costs
//! a microsecond or so for each socket and nothing on the data path, but it is no work for a
//! thread that has probes to run. Whose a socket is tells [`super::owners`].

mod diag;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// Address families, as the kernel numbers them.
const INET: u8 = 2;
const INET6: u8 = 10;
/// The kernel answers at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(2);
/// What it sends in one piece.
const BATCH: usize = 64 << 10;

/// One TCP socket.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    /// Where it stands.
    pub(crate) state: State,
    /// Our side.
    pub(crate) local: SocketAddr,
    /// The other side; unspecified where there is none.
    pub(crate) remote: SocketAddr,
    /// Unique in the life of the kernel.
    pub(crate) cookie: u64,
    /// Of a listening socket, connections that wait to be accepted; else bytes to be read.
    pub(crate) waiting: u32,
    /// Of a listening socket, how many may wait; else bytes not acknowledged.
    pub(crate) room: u32,
    /// The number by which its process holds it; 0 if no process does.
    pub(crate) inode: u32,
    /// What TCP measured, of a connection.
    pub(crate) info: Option<TcpInfo>,
}

/// What TCP measured of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TcpInfo {
    /// The smoothed round trip.
    pub(crate) rtt: Duration,
    /// The congestion window, in segments.
    pub(crate) window: u32,
    /// Segments thought lost now.
    pub(crate) lost: u32,
    /// Segments sent again, since it was opened.
    pub(crate) retransmitted: u32,
    /// Segments sent, since it was opened.
    pub(crate) segments: u32,
    /// Since when nothing was heard from the other side.
    pub(crate) heard: Duration,
}

/// The states of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum State {
    Established = 1,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Closed,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynReceived,
}

impl State {
    /// All of them, as the kernel numbers them from 1.
    pub(crate) const ALL: [Self; 12] = [
        Self::Established,
        Self::SynSent,
        Self::SynReceived,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Closed,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
        Self::NewSynReceived,
    ];

    /// The word in metrics and the API, as `ss` has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn_sent",
            Self::SynReceived | Self::NewSynReceived => "syn_received",
            Self::FinWait1 => "fin_wait_1",
            Self::FinWait2 => "fin_wait_2",
            Self::TimeWait => "time_wait",
            Self::Closed => "closed",
            Self::CloseWait => "close_wait",
            Self::LastAck => "last_ack",
            Self::Listen => "listen",
            Self::Closing => "closing",
        }
    }
}

const fn bit(state: State) -> u32 {
    1 << state as u32
}

/// Tells `each` of every TCP socket there is, of at most `most`; whether those were all.
///
/// # Errors
/// Those of the system: a kernel without `inet_diag`, a sandbox that forbids it.
pub(crate) fn each(most: usize, mut each: impl FnMut(Socket)) -> io::Result<bool> {
    let all = State::ALL.into_iter().fold(0, |bits, state| bits | bit(state));
    let mut left = most;
    for family in [INET, INET6] {
        let door = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        set_socket_timeout(&door, Timeout::Recv, Some(PATIENCE))?;
        rustix::net::send(&door, &diag::question(family, all), SendFlags::empty())?;
        let mut batch = vec![0; BATCH];
        loop {
            let (read, _) = rustix::net::recv(&door, &mut batch[..], RecvFlags::empty())?;
            let told = diag::read(&batch[..read.min(BATCH)], &mut |socket| {
                if left > 0 {
                    left -= 1;
                    each(socket);
                }
            });
            match told {
                diag::Batch::Done => break,
                diag::Batch::Refused(code) => return Err(io::Error::from_raw_os_error(code)),
                diag::Batch::More if left == 0 => return Ok(false),
                diag::Batch::More => {}
            }
        }
    }
    Ok(true)
}

/// A counter of `/proc/net/netstat`, whose lines come in pairs: names, then numbers.
pub(crate) fn counter(netstat: &str, name: &str) -> Option<u64> {
    let lines: Vec<&str> = netstat.lines().collect();
    lines.chunks_exact(2).find_map(|pair| {
        let at = pair[0].split_ascii_whitespace().position(|column| column == name)?;
        pair[1].split_ascii_whitespace().nth(at)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn counters_stand_under_their_names() {
        let text = "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 1 7\nIpExt: InOctets\nIpExt: 9\n";
        assert_eq!(counter(text, "ListenOverflows"), Some(7));
        assert_eq!(counter(text, "InOctets"), Some(9));
        assert_eq!(counter(text, "Nothing"), None);
    }

    #[test]
    fn our_own_sockets_are_there_with_what_tcp_measured() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let client = TcpStream::connect(at).unwrap();
        let mut found = Vec::new();
        assert!(each(usize::MAX, |socket| found.push(socket)).unwrap());
        let listening = found.iter().find(|socket| socket.local == at && socket.state == State::Listen).unwrap();
        assert_eq!((listening.waiting, listening.room > 0), (1, true));
        let ours = found.iter().find(|socket| socket.remote == at).unwrap();
        assert_eq!((ours.local, ours.state), (client.local_addr().unwrap(), State::Established));
        assert!(ours.info.unwrap().segments > 0);
        let mut few = 0;
        assert!(!each(1, |_| few += 1).unwrap());
        assert_eq!(few, 1);
    }
}
