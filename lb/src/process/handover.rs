//! From one process to the next: listening sockets and what is known, over a socket between them.
//!
//! The elder starts the younger with one end as its standard input, so nobody else can listen in
//! and there is no path to protect. The younger says which form it speaks; it is told of each
//! socket, gets them by `SCM_RIGHTS`, then what is known. Once it could serve it says so, and hears the
//! last of what the elder did; when it serves, it says that. Until then the elder goes on as if nothing
//! were; if the younger ends or is silent for too long, for good. Afterwards the elder tells news of
//! what it finishes, until it ends.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
    /// The service manager opened it and goes on with it when we end.
    #[serde(default)]
    pub(crate) theirs: bool,
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
}

#[derive(Deserialize, Serialize)]
struct Inventory {
    sockets: Vec<(Role, usize)>,
}

/// The elder's side: gives everything away. The other end is to be [`ready`] afterwards.
///
/// # Errors
/// When the younger ends, is silent, or speaks another form.
pub(crate) fn give(younger: &UnixStream, legacy: &Legacy) -> io::Result<()> {
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
    say(younger, legacy.known.as_bytes())
}

/// The elder's side: waits until the younger could serve, says its `last` to it, and waits until it
/// serves. One of an earlier version serves without asking.
///
/// # Errors
/// When it ends before it does, or does not within these times, or there is nothing to say.
pub(crate) fn await_ready(
    younger: &UnixStream,
    (settles, serves): (Duration, Duration),
    last: impl FnOnce() -> io::Result<String>,
) -> io::Result<()> {
    younger.set_read_timeout(Some(settles))?;
    match hear(younger)?.as_slice() {
        READY => return Ok(()),
        SETTLED => {}
        _ => return Err(invalid("it says something else than that it could serve".to_owned())),
    }
    say(younger, last()?.as_bytes())?;
    younger.set_read_timeout(Some(serves))?;
    match hear(younger)?.as_slice() {
        READY => Ok(()),
        _ => Err(invalid("it says something else than that it serves".to_owned())),
    }
}

/// The younger's side: what the elder left.
///
/// # Errors
/// When the elder ends, is silent, or makes no sense.
pub(crate) fn take(elder: &UnixStream) -> io::Result<Legacy> {
    elder.set_read_timeout(Some(SILENCE_MAX))?;
    elder.set_write_timeout(Some(SILENCE_MAX))?;
    say(elder, &worded(&Hello { version: VERSION })?)?;
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

/// A conversation that goes on while both serve.
#[derive(Debug)]
pub(crate) struct Line(tokio::net::UnixStream);

impl Line {
    /// The same, without waiting for each other.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn new(other: UnixStream) -> io::Result<Self> {
        other.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(other).map(Self)
    }

    /// The younger's side: it could serve.
    ///
    /// # Errors
    /// When the elder has ended.
    pub(crate) async fn settled(&mut self) -> io::Result<()> {
        self.say(SETTLED).await
    }

    /// The younger's side: it serves.
    ///
    /// # Errors
    /// When the elder has ended; nobody needs to know then.
    pub(crate) async fn ready(&mut self) -> io::Result<()> {
        self.say(READY).await
    }

    /// The elder's side: news.
    ///
    /// # Errors
    /// When the younger has ended, or does not want to hear.
    pub(crate) async fn tell(&mut self, news: &str) -> io::Result<()> {
        self.say(news.as_bytes()).await
    }

    /// The younger's side: what the elder says next; `None` when it has ended.
    ///
    /// # Errors
    /// When it makes no sense.
    pub(crate) async fn hear(&mut self) -> io::Result<Option<String>> {
        let length = match self.0.read_u32().await {
            Ok(length) => bounded(length)?,
            Err(error) if gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Not made at once: a length is only a claim.
        let mut message = Vec::new();
        match (&mut self.0).take(length.into()).read_to_end(&mut message).await {
            Ok(read) if read == length as usize => {}
            Ok(_) => return Ok(None),
            Err(error) if gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        String::from_utf8(message).map(Some).map_err(|error| invalid(error.to_string()))
    }

    async fn say(&mut self, message: &[u8]) -> io::Result<()> {
        self.0.write_u32(length(message)?).await?;
        self.0.write_all(message).await
    }
}

/// Whether the other is no more. One that is killed with words unread resets.
fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

const SETTLED: &[u8] = b"settled";
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
    to.write_all(&length(message)?.to_be_bytes())?;
    to.write_all(message)
}

fn length(message: &[u8]) -> io::Result<u32> {
    let length = u32::try_from(message.len()).ok().filter(|length| *length <= BYTES_MAX);
    length.ok_or_else(|| invalid("what is known is too long".to_owned()))
}

fn bounded(length: u32) -> io::Result<u32> {
    if length > BYTES_MAX { Err(invalid(format!("a message of {length} bytes is no sense"))) } else { Ok(length) }
}

fn hear(mut from: &UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = bounded(u32::from_be_bytes(length))?;
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

    const SOON: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));

    fn converse(what: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what);
    }

    fn role(listener: &str) -> Role {
        let (listener, configured) = (Some(listener.to_owned()), "127.0.0.1:0".to_owned());
        Role { kind: Kind::Streams, listener, configured, theirs: false }
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
            give(&elder, &legacy).unwrap();
            await_ready(&elder, SOON, || Ok("last".to_owned())).unwrap();
            elder
        });
        let taken = take(&younger).unwrap();
        converse(async {
            let mut line = Line::new(younger).unwrap();
            line.settled().await.unwrap();
            assert_eq!(line.hear().await.unwrap().unwrap(), "last");
            line.ready().await.unwrap();
            let mut elder = Line::new(giving.join().unwrap()).unwrap();
            elder.tell("news").await.unwrap();
            assert_eq!(line.hear().await.unwrap().unwrap(), "news");
            drop(elder);
            assert_eq!(line.hear().await.unwrap(), None, "it has ended");
        });
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
        for said in [&br#"{"version":2}"#[..], b"GET / HTTP/1.1", b""] {
            let (elder, younger) = UnixStream::pair().unwrap();
            say(&younger, said).unwrap();
            let error = give(&elder, &Legacy::default()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
        let (elder, younger) = UnixStream::pair().unwrap();
        say(&younger, b"hold on").unwrap();
        let silent = || Ok(String::new());
        assert!(await_ready(&elder, SOON, silent).is_err());
        (&younger).write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(await_ready(&elder, SOON, silent).is_err());
        // One of an earlier version does not ask; one that ends while the elder says its last serves nobody.
        let (elder, younger) = UnixStream::pair().unwrap();
        say(&younger, READY).unwrap();
        await_ready(&elder, SOON, silent).unwrap();
        let (elder, younger) = UnixStream::pair().unwrap();
        say(&younger, SETTLED).unwrap();
        let last = || {
            drop(younger);
            Ok("last".to_owned())
        };
        assert!(await_ready(&elder, SOON, last).is_err());
    }
}
