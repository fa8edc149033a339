//! What systemd is told of this process, and what it gives it. Nothing happens where it is not there.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use weir_config::model::Address;

use super::handover::{Kind, Left, Role};

/// It serves.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its configuration again; [`ready`] follows, whatever came of it.
pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// It finishes what is under way.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the service from now on.
pub(crate) fn heir(process: u32) {
    tell(&[NotifyState::MainPid(process), NotifyState::Ready]);
}

/// It lives; to be said at least twice in [`watchdog`].
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How long it may be silent, if anybody listens.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|pause| !pause.is_zero())
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// Sockets that were opened for this process before it was started (`LISTEN_FDS`).
///
/// # Errors
/// When one of them is none that a listener could have; its number, and why.
pub(crate) fn sockets() -> io::Result<Vec<Left>> {
    let mut given = ListenFd::from_env();
    (0..given.len()).map(|at| one(&mut given, at)).collect()
}

fn one(given: &mut ListenFd, at: usize) -> io::Result<Left> {
    if let Ok(Some(socket)) = given.take_tcp_listener(at) {
        let address = socket.local_addr()?;
        return Ok(left(Kind::Streams, address.into(), socket.into()));
    }
    if let Ok(Some(socket)) = given.take_unix_listener(at) {
        let path = socket.local_addr()?.as_pathname().map(Into::into);
        let path = path.ok_or_else(|| io::Error::other(format!("socket {at} of LISTEN_FDS has no path")))?;
        return Ok(left(Kind::Streams, Address::Unix(path), socket.into()));
    }
    if let Ok(Some(socket)) = given.take_udp_socket(at) {
        let address: SocketAddr = socket.local_addr()?;
        return Ok(left(Kind::Datagrams, address.into(), socket.into()));
    }
    Err(io::Error::other(format!("socket {at} of LISTEN_FDS listens neither for TCP nor UDP nor on a Unix socket")))
}

fn left(kind: Kind, address: Address, socket: OwnedFd) -> Left {
    Left { role: Role { kind, listener: None, configured: address.to_string(), theirs: true }, sockets: vec![socket] }
}
