//! Sockets that take clients' connections: TCP, one for each worker, and Unix, one for all.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use socket2::{Domain, Protocol, SockAddr, Type};
use tokio::net::{TcpListener, UnixListener};
use weir_config::model::Address;

use super::{Gone, Socket, UNSENT_MAX};

/// Connections the kernel holds for us between two accepts; the kernel caps it at `somaxconn`.
const BACKLOG: i32 = 4096;
/// Everybody on this host may connect, as to a port; who may not, has no right on the directory.
const SOCKET_MODE: u32 = 0o666;
/// Where a client counts as coming from that came over a Unix socket.
const THIS_HOST: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0));

/// A bound socket, for one worker.
#[derive(Debug)]
pub struct Reserved {
    // Before the socket: while that is open, its file's number belongs to no other.
    file: Option<Arc<SocketFile>>,
    socket: socket2::Socket,
}

/// A socket that accepts.
#[derive(Debug)]
pub enum Listening {
    /// Over TCP.
    Tcp(TcpListener),
    /// Over a Unix socket, whose file goes with the last that accepts on it.
    Unix(UnixFile, UnixListener),
}

/// Holds the file of a Unix socket.
#[derive(Debug)]
pub struct UnixFile(#[expect(dead_code, reason = "held, for what its end does")] Option<Arc<SocketFile>>);

/// The file of a Unix socket of ours; removed with this, if it is still ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    number: (u64, u64),
    gone: Gone,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.gone.load(Ordering::SeqCst) && number(&self.path).is_ok_and(|number| number == self.number) {
            // Who removed it meanwhile has done what was to be done.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What tells one file from another of the same name.
fn number(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Binds `address` once for each of `workers`.
pub(super) fn reserve(
    address: &Address,
    workers: NonZeroUsize,
    beside_ours: bool,
    gone: &Gone,
) -> io::Result<Vec<Reserved>> {
    match address {
        Address::Ip(address) => tcp(*address, workers, beside_ours),
        Address::Unix(path) => unix(path, workers, beside_ours, gone),
    }
}

/// Takes over sockets of one address.
pub(super) fn adopt(sockets: Vec<OwnedFd>, theirs: bool, gone: &Gone) -> io::Result<Vec<Reserved>> {
    let mut file: Option<Arc<SocketFile>> = None;
    let adopt = |socket: OwnedFd| {
        let socket = socket2::Socket::from(socket);
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        if let Some(path) = address.as_pathname() {
            // The elder's file: from now on it goes with us, with the last of all its sockets.
            if file.is_none() && !theirs {
                let held = SocketFile { path: path.into(), number: number(path)?, gone: Arc::clone(gone) };
                file = Some(Arc::new(held));
            }
        } else if address.as_socket().is_some() {
            // Whoever opened it may not have known what is set here.
            socket.set_tcp_nodelay(true)?;
            socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
        }
        Ok(Reserved { file: file.clone(), socket })
    };
    sockets.into_iter().map(adopt).collect()
}

fn tcp(address: SocketAddr, workers: NonZeroUsize, beside_ours: bool) -> io::Result<Vec<Reserved>> {
    // SO_REUSEPORT would let us share a port with a stranger of the same user in silence, and
    // each of us would get half of the connections: so first ask for the port alone.
    let chosen = if beside_ours { address } else { open(address, false)?.local_addr()?.as_socket().unwrap_or(address) };
    (0..workers.get()).map(|_| Ok(Reserved { file: None, socket: open(chosen, true)? })).collect()
}

/// One socket, which all workers accept on: the kernel has no way to share out the connections of
/// a Unix socket.
fn unix(path: &Path, workers: NonZeroUsize, beside_ours: bool, gone: &Gone) -> io::Result<Vec<Reserved>> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let address = SockAddr::unix(path)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
        make_way(path, &address, beside_ours)?;
        socket.bind(&address)?;
    }
    let file = Arc::new(SocketFile { path: path.into(), number: number(path)?, gone: Arc::clone(gone) });
    // Nobody can connect yet: that waits for `listen`.
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    (0..workers.get()).map(|_| Ok(Reserved { file: Some(Arc::clone(&file)), socket: socket.try_clone()? })).collect()
}

/// Removes the socket that a process left behind which is no more.
fn make_way(path: &Path, address: &SockAddr, ours: bool) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name that is no socket"));
    }
    if !ours {
        let caller = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        match caller.connect(address) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            // Somebody takes connections there, or we cannot tell.
            Ok(()) | Err(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    fs::remove_file(path)
}

impl Reserved {
    pub(super) fn address(&self) -> io::Result<Address> {
        let address = self.socket.local_addr()?;
        match (address.as_socket(), address.as_pathname()) {
            (Some(address), _) => Ok(address.into()),
            (None, Some(path)) => Ok(Address::Unix(path.into())),
            (None, None) => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }

    pub(super) fn admit(&self) -> io::Result<()> {
        self.socket.listen(BACKLOG)
    }

    pub(super) fn listen(self) -> io::Result<Listening> {
        self.admit()?;
        if self.socket.domain()? == Domain::UNIX {
            return Ok(Listening::Unix(UnixFile(self.file), UnixListener::from_std(self.socket.into())?));
        }
        TcpListener::from_std(self.socket.into()).map(Listening::Tcp)
    }
}

impl Listening {
    pub(super) async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| (Socket::Tcp(stream), peer)),
            Self::Unix(_, listener) => listener.accept().await.map(|(stream, _)| (Socket::Unix(stream), THIS_HOST)),
        }
    }

    /// A connection that already waits.
    pub(super) fn accept_waiting(&self) -> Option<(Socket, SocketAddr)> {
        use std::task::{Context, Poll, Waker};

        let mut context = Context::from_waker(Waker::noop());
        let accepted = match self {
            Self::Tcp(listener) => {
                listener.poll_accept(&mut context).map_ok(|(stream, peer)| (Socket::Tcp(stream), peer))
            }
            Self::Unix(_, listener) => {
                listener.poll_accept(&mut context).map_ok(|(stream, _)| (Socket::Unix(stream), THIS_HOST))
            }
        };
        match accepted {
            Poll::Ready(accepted) => accepted.ok(),
            Poll::Pending => None,
        }
    }
}

/// A bound, non-blocking socket. It does not listen: a reload that is refused must not have taken
/// a single connection.
fn open(address: SocketAddr, shared: bool) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    fn refused(path: &Path) -> io::ErrorKind {
        unix(path, TWO, false, &Gone::default()).map(drop).unwrap_err().kind()
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.sock");
        // What a process leaves that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let ours = unix(&path, TWO, false, &Gone::default()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert_eq!(ours[0].address().unwrap(), Address::Unix(path.as_path().into()));
        ours[0].admit().unwrap();
        assert_eq!(refused(&path), io::ErrorKind::AddrInUse, "somebody takes connections there");

        let file = directory.path().join("file");
        fs::write(&file, "precious").unwrap();
        assert_eq!(refused(&file), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        assert_eq!(refused(&directory.path().join("no/such/directory")), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_file_goes_with_the_last_that_has_the_socket_unless_it_is_another_s() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.sock");
        let mut ours = unix(&path, TWO, false, &Gone::default()).unwrap();
        ours.pop();
        assert!(path.exists());
        drop(ours);
        assert!(!path.exists());

        let ours = unix(&path, TWO, false, &Gone::default()).unwrap();
        let newer = unix(&path, TWO, true, &Gone::default()).unwrap();
        drop(ours);
        assert!(path.exists(), "by now it is the newer one's");
        drop(newer);
        assert!(!path.exists());
    }
}
