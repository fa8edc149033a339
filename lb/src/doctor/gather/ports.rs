//! Whether the addresses we want can be had, and who has them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Access, access};
use weir_config::model::{Address, Config, Protocol};

use crate::doctor::facts::{Bind, Port};
use crate::env::Env;
use crate::process::owners::{self, Owner};
use crate::process::ports::{self, Kind};

/// Every address that is wanted, and, if a balancer that runs the configuration in `file` has one
/// of them, its number.
pub(super) fn wanted<E: Env>(env: &E, config: &Config, file: &Path) -> (Vec<Port>, Option<u32>) {
    let mut pid = None;
    // Whose a socket is, is hidden from who is neither its owner nor root.
    let mut judge = |taken: Option<Owner>| match taken.or_else(|| owners::running(file)) {
        Some(owner) if owner.runs(file) => {
            pid = Some(owner.pid);
            Bind::Ours
        }
        taken => Bind::Taken(taken),
    };
    let ports = each(config, |address, protocol| match (address, protocol) {
        (Address::Unix(path), _) => unix(path, &mut judge),
        (Address::Ip(at), Protocol::Udp) => {
            let bound = env.reserve_datagrams(*at, NonZeroUsize::MIN, false).map(drop);
            bind(bound, || ports::holder(Kind::Udp, *at), &mut judge)
        }
        (Address::Ip(at), _) => {
            let bound = env.reserve(address, NonZeroUsize::MIN, false).map(drop);
            bind(bound, || ports::holder(Kind::Tcp, *at), &mut judge)
        }
    });
    (ports, pid)
}

/// The same from within the balancer that has them.
pub(super) fn ours(config: &Config) -> Vec<Port> {
    each(config, |_, _| Bind::Ours)
}

fn each(config: &Config, mut bind: impl FnMut(&Address, Protocol) -> Bind) -> Vec<Port> {
    let mut ports = Vec::new();
    let mut port = |whose: String, key: String, address: &Address, protocol: Protocol| {
        let kind = match (address, protocol) {
            (Address::Unix(_), _) => "unix",
            (Address::Ip(_), Protocol::Udp) => "udp",
            (Address::Ip(_), _) => "tcp",
        };
        let bind = bind(address, protocol);
        ports.push(Port { whose, key, kind, address: address.to_string(), bind });
    };
    for listener in &config.listeners {
        for address in &listener.bind {
            let key = format!("`bind` of listener {}", listener.name);
            port(format!("listener {}", listener.name), key, address, listener.protocol);
        }
    }
    for address in config.admin.iter().flat_map(|admin| &admin.bind) {
        port("admin".into(), "`admin`".into(), address, Protocol::Http);
    }
    ports
}

fn bind(
    bound: io::Result<()>,
    holder: impl FnOnce() -> Option<Owner>,
    judge: &mut impl FnMut(Option<Owner>) -> Bind,
) -> Bind {
    match bound.map_err(|error| (error.kind(), error)) {
        Ok(()) => Bind::Free,
        Err((io::ErrorKind::AddrInUse, _)) => judge(holder()),
        Err((io::ErrorKind::PermissionDenied, _)) => Bind::Denied,
        Err((io::ErrorKind::AddrNotAvailable, _)) => Bind::NotHere,
        Err((_, error)) => Bind::Failed(error.to_string()),
    }
}

/// Not by binding it: that would leave a file, or remove one.
fn unix(path: &Path, judge: &mut impl FnMut(Option<Owner>) -> Bind) -> Bind {
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            Bind::Failed("there is a file of that name that is no socket".into())
        }
        Ok(_) if UnixStream::connect(path).is_ok() => judge(holder_of(path)),
        // A socket that a process left behind is replaced.
        Ok(_) | Err(_) => {
            let folder = path.parent().unwrap_or_else(|| Path::new("/"));
            match access(folder, Access::WRITE_OK | Access::EXEC_OK) {
                Ok(()) => Bind::Free,
                Err(rustix::io::Errno::ACCESS) => Bind::Denied,
                Err(rustix::io::Errno::NOENT) => Bind::Failed("its directory does not exist".into()),
                Err(error) => Bind::Failed(io::Error::from(error).to_string()),
            }
        }
    }
}

/// The process that accepts on a Unix socket.
fn holder_of(path: &Path) -> Option<Owner> {
    let table = fs::read_to_string("/proc/net/unix").ok()?;
    let inodes: HashSet<u64> = table.lines().filter_map(|line| inode(line, path)).collect();
    owners::of(&inodes).into_values().min_by_key(|owner| owner.pid)
}

/// Number, references, protocol, flags, type, state, inode, path.
fn inode(line: &str, wanted: &Path) -> Option<u64> {
    let mut columns = line.split_ascii_whitespace();
    let flags = columns.nth(3)?;
    let inode = columns.nth(2)?.parse().ok()?;
    let path = columns.next()?;
    // 0x10000: it accepts.
    (flags == "00010000" && Path::new(path) == wanted).then_some(inode)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_unix_socket_is_free_taken_or_no_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.sock");
        let mut seen = Vec::new();
        let mut look = |path: &Path| {
            unix(path, &mut |owner| {
                seen.push(owner.map(|owner| owner.pid));
                Bind::Taken(None)
            })
        };
        assert_eq!(look(&path), Bind::Free);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(look(&path), Bind::Taken(None));
        drop(listener);
        assert_eq!(look(&path), Bind::Free, "left behind");
        assert!(path.exists());
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(matches!(look(&folder.path().join("file")), Bind::Failed(_)));
        assert!(matches!(look(&folder.path().join("no/such.sock")), Bind::Failed(_)));
        assert_eq!(seen, [Some(std::process::id())]);
    }
}
