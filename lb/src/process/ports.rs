//! Who holds a port: from `/proc`, for the message when one is taken.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;

use super::owners::{self, Owner};

/// What a port is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Udp,
}

impl Kind {
    const fn tables(self) -> [&'static str; 2] {
        match self {
            Self::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
            Self::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        }
    }

    /// The state of a socket that takes what comes from anybody.
    const fn open(self) -> &'static str {
        match self {
            Self::Tcp => "0A",
            Self::Udp => "07",
        }
    }
}

/// The process that takes what comes to `address`'s port, as far as this user may see.
pub(crate) fn holder(kind: Kind, address: SocketAddr) -> Option<Owner> {
    let inodes: HashSet<u64> = kind
        .tables()
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| open(kind, line, address.port())).collect::<Vec<_>>())
        .collect();
    // Several may share it; the first is enough to go on.
    owners::of(&inodes).into_values().min_by_key(|owner| owner.pid)
}

/// The inode of a line of the kernel's table, if it is a socket that takes what comes to `port`.
fn open(kind: Kind, line: &str, port: u16) -> Option<u64> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let local = columns.next()?;
    let _remote = columns.next()?;
    let state = columns.next()?;
    let (_, hex) = local.rsplit_once(':')?;
    let matches = state == kind.open() && u16::from_str_radix(hex, 16) == Ok(port);
    // After the state: queues, timer, retransmits, uid, timeout, inode.
    matches.then(|| columns.nth(5)?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn we_find_ourselves() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = format!("(pid {})", std::process::id());
        let held = holder(Kind::Tcp, listener.local_addr().unwrap()).unwrap().to_string();
        assert!(held.ends_with(&ours), "{held}");
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let held = holder(Kind::Udp, socket.local_addr().unwrap()).unwrap().to_string();
        assert!(held.ends_with(&ours), "{held}");
    }

    #[test]
    fn a_line_of_the_kernels_table() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0";
        assert_eq!(open(Kind::Tcp, line, 8080), Some(12_345));
        assert_eq!(open(Kind::Tcp, line, 8081), None);
        assert_eq!(open(Kind::Tcp, &line.replace(" 0A ", " 01 "), 8080), None);
        assert_eq!(open(Kind::Udp, "garbage", 1), None);
    }
}
