//! From one process to the next: listening sockets and what is known, over a socket between them.
//!
//! The elder starts the younger with one end as its standard input, so nobody else can listen in
//! and there is no path to protect. The younger says which form it speaks; it is told of each
//! socket, gets them by `SCM_RIGHTS`, then what is known. When it serves, it says so. Until then
//! the elder goes on as if nothing were; if the younger ends or is silent for too long, for good.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

/// Tells a process that its standard input is an elder.
pub(crate) const VARIABLE: &str = "WEIR_SUCCESSOR";
/// The form below. A younger process that speaks another is not given anything.
const VERSION: u32 = 1;
/// Descriptors in one message; the kernel takes 253.
const FDS_MAX: usize = 128;
/// Longest message: far over what any configuration comes to.
const BYTES_MAX: u32 = 256 << 20;
/// Between two words of one conversation.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A listening address that is handed over: what it is to the configuration, and a socket for each
/// worker of the elder.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) role: Role,
    pub(crate) sockets: Vec<OwnedFd>,
}

/// What a socket is for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Role {
    pub(crate) kind: Kind,
    /// The listener; none for the admin address, and where whoever opened it knows of no listeners.
    pub(crate) listener: Option<String>,
    /// The address as configured.
    pub(crate) configured: String,
}

/// What a socket takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Streams,
    Datagrams,
    Admin,
}

/// All that a process leaves.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    pub(crate) sockets: Vec<Left>,
    /// What is known, as text.
    pub(crate) known: String,
}

#[derive(Deserialize, Serialize)]
struct Hello {
    version: u32,
    /// The number of the process that says so.
    process: u32,
}

#[derive(Deserialize, Serialize)]
struct Inventory {
    sockets: Vec<(Role, usize)>,
}

/// The elder's side: gives everything away, and returns the number of the process that took it. The
/// other end is to be [`ready`] afterwards.
///
/// # Errors
/// When the younger ends, is silent, or speaks another form.
pub(crate) fn give(younger: &UnixStream, legacy: &Legacy) -> io::Result<u32> {
    younger.set_read_timeout(Some(SILENCE_MAX))?;
    younger.set_write_timeout(Some(SILENCE_MAX))?;
    let hello: Hello = understood(&hear(younger)?)?;
    if hello.version != VERSION {
        let (its, ours) = (hello.version, VERSION);
        return Err(invalid(format!("it takes over in form {its}, and this process hands over in form {ours}")));
    }
    let sockets = legacy.sockets.iter().map(|left| (left.role.clone(), left.sockets.len())).collect();
    say(younger, &worded(&Inventory { sockets })?)?;
    let fds: Vec<BorrowedFd<'_>> = legacy.sockets.iter().flat_map(|left| &left.sockets).map(AsFd::as_fd).collect();
    fds.chunks(FDS_MAX).try_for_each(|some| give_some(younger, some))?;
    say(younger, legacy.known.as_bytes())?;
    Ok(hello.process)
}

/// The elder's side: waits until the younger serves.
///
/// # Errors
/// When it ends before it does, or is not ready within this time.
pub(crate) fn await_ready(younger: &UnixStream, within: Duration) -> io::Result<()> {
    younger.set_read_timeout(Some(within))?;
    match hear(younger)?.as_slice() {
        READY => Ok(()),
        _ => Err(invalid("it says something else than that it is ready".to_owned())),
    }
}

/// The younger's side: what the elder left.
///
/// # Errors
/// When the elder ends, is silent, or makes no sense.
pub(crate) fn take(elder: &UnixStream) -> io::Result<Legacy> {
    elder.set_read_timeout(Some(SILENCE_MAX))?;
    elder.set_write_timeout(Some(SILENCE_MAX))?;
    say(elder, &worded(&Hello { version: VERSION, process: std::process::id() })?)?;
    let inventory: Inventory = understood(&hear(elder)?)?;
    let mut left = inventory.sockets.iter().map(|(_, count)| count).sum::<usize>();
    let mut fds = Vec::new();
    while left > 0 {
        let some = left.min(FDS_MAX);
        take_some(elder, some, &mut fds)?;
        left -= some;
    }
    let mut fds = fds.into_iter();
    let sockets = inventory.sockets.into_iter();
    let sockets = sockets.map(|(role, count)| Left { role, sockets: fds.by_ref().take(count).collect() }).collect();
    let known = String::from_utf8(hear(elder)?).map_err(|error| invalid(error.to_string()))?;
    Ok(Legacy { sockets, known })
}

/// The younger's side: it serves.
///
/// # Errors
/// When the elder has ended; nobody needs to know then.
pub(crate) fn ready(elder: &UnixStream) -> io::Result<()> {
    say(elder, READY)
}

const READY: &[u8] = b"ready";

fn give_some(younger: &UnixStream, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut buffer = SendAncillaryBuffer::new(&mut space);
    if !buffer.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(invalid("descriptors do not fit into a message".to_owned()));
    }
    // Descriptors travel with a byte at least.
    rustix::net::sendmsg(younger, &[IoSlice::new(b"+")], &mut buffer, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn take_some(elder: &UnixStream, count: usize, fds: &mut Vec<OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut buffer = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(elder, &mut [IoSliceMut::new(&mut byte)], &mut buffer, flags)?;
    let before = fds.len();
    for message in buffer.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.bytes == 1 && fds.len() - before == count {
        return Ok(());
    }
    Err(invalid(format!("{} of {count} sockets came; is the limit on open files too low?", fds.len() - before)))
}

/// One message: its length, then it.
fn say(mut to: &UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).ok().filter(|length| *length <= BYTES_MAX);
    let length = length.ok_or_else(|| invalid("what is known is too long".to_owned()))?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(message)
}

fn hear(mut from: &UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > BYTES_MAX {
        return Err(invalid(format!("a message of {length} bytes is no sense")));
    }
    // Not made at once: a length is only a claim.
    let mut message = Vec::new();
    from.take(length.into()).read_to_end(&mut message)?;
    if message.len() == length as usize { Ok(message) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn worded(what: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(what).map_err(|error| invalid(error.to_string()))
}

fn understood<T: for<'a> Deserialize<'a>>(message: &[u8]) -> io::Result<T> {
    serde_json::from_slice(message).map_err(|error| invalid(error.to_string()))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

    fn role(listener: &str) -> Role {
        Role { kind: Kind::Streams, listener: Some(listener.to_owned()), configured: "127.0.0.1:0".to_owned() }
    }

    #[test]
    fn sockets_and_what_is_known_arrive() {
        let (elder, younger) = UnixStream::pair().unwrap();
        let listeners: Vec<TcpListener> = (0..300).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        // More than go into one message, and shared out unevenly.
        let mut sockets = listeners.into_iter().map(OwnedFd::from);
        let first = Left { role: role("first"), sockets: sockets.by_ref().take(1).collect() };
        let second = Left { role: role("second"), sockets: sockets.collect() };
        let legacy = Legacy { sockets: vec![first, second], known: "x".repeat(1 << 20) };
        let giving = thread::spawn(move || {
            assert_eq!(give(&elder, &legacy).unwrap(), std::process::id());
            await_ready(&elder, Duration::from_secs(10)).unwrap();
        });
        let taken = take(&younger).unwrap();
        ready(&younger).unwrap();
        giving.join().unwrap();
        assert_eq!(taken.known.len(), 1 << 20);
        let names: Vec<_> =
            taken.sockets.iter().map(|left| (left.role.listener.as_deref().unwrap(), left.sockets.len())).collect();
        assert_eq!(names, [("first", 1), ("second", 299)]);
        // The elder's copies are closed by now: these are all that keep the ports.
        TcpStream::connect(addresses[299]).unwrap();
        drop(taken);
        assert!(TcpStream::connect(addresses[299]).is_err());
    }

    #[test]
    fn a_younger_one_that_ends_or_speaks_otherwise_is_given_nothing() {
        let (elder, younger) = UnixStream::pair().unwrap();
        drop(younger);
        assert_eq!(give(&elder, &Legacy::default()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        for said in [&br#"{"version":2,"process":1}"#[..], b"GET / HTTP/1.1", b""] {
            let (elder, younger) = UnixStream::pair().unwrap();
            say(&younger, said).unwrap();
            let error = give(&elder, &Legacy::default()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
        let (elder, younger) = UnixStream::pair().unwrap();
        say(&younger, b"hold on").unwrap();
        assert!(await_ready(&elder, Duration::from_secs(1)).is_err());
        (&younger).write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(await_ready(&elder, Duration::from_secs(1)).is_err());
    }
}
