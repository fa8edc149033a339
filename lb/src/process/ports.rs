//! Who holds a port: from `/proc`, for the message when one is taken.

use std::fs;
use std::net::SocketAddr;

/// The process that listens on `address`'s port, as far as this user may see: `nginx (pid 4711)`.
pub(crate) fn holder(address: SocketAddr) -> Option<String> {
    let inodes: Vec<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| listening(line, address.port())).collect::<Vec<_>>())
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(process.path().join("fd")).ok()?.flatten().any(|descriptor| {
            fs::read_link(descriptor.path())
                .ok()
                .and_then(|link| inode_of(link.to_str()?))
                .is_some_and(|inode| inodes.contains(&inode))
        });
        holds.then(|| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!("{} (pid {pid})", name.trim())
        })
    })
}

/// The inode of a line of `/proc/net/tcp`, if it is a socket that listens on `port`.
fn listening(line: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    let mut columns = line.split_ascii_whitespace().skip(1);
    let local = columns.next()?;
    let _remote = columns.next()?;
    let state = columns.next()?;
    let (_, hex) = local.rsplit_once(':')?;
    let matches = state == LISTEN && u16::from_str_radix(hex, 16) == Ok(port);
    // After the state: queues, timer, retransmits, uid, timeout, inode.
    matches.then(|| columns.nth(5)?.parse().ok()).flatten()
}

fn inode_of(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn we_find_ourselves() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let held = holder(listener.local_addr().unwrap()).unwrap();
        assert!(held.ends_with(&format!("(pid {})", std::process::id())), "{held}");
    }

    #[test]
    fn a_line_of_the_kernels_table() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0";
        assert_eq!(listening(line, 8080), Some(12_345));
        assert_eq!(listening(line, 8081), None);
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), 8080), None);
        assert_eq!(listening("garbage", 1), None);
    }
}
