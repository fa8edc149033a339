//! Datagram sockets: many datagrams a system call, and answers from the very address that was asked.
//!
//! What is received is read in place and sent on from there: a [`Batch`] is one worker's buffer
//! for all its sockets. Where the kernel joined datagrams of one sender (GRO), they are sent on
//! joined (GSO), with as many system calls as it took to receive them.

use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// An address bound for datagrams, which nobody reads yet.
#[derive(Debug)]
pub struct ReservedDatagrams(Socket);

/// A socket for datagrams.
#[derive(Debug)]
pub struct DatagramSocket {
    io: UdpSocket,
    /// The only one it talks to, if it is connected.
    peer: Option<SocketAddr>,
}

/// Datagrams just received, and the buffer for them.
pub struct Batch {
    state: UdpSocketState,
    buffer: Vec<u8>,
    metas: [RecvMeta; MOST],
}

/// One or several datagrams of one sender.
#[derive(Clone, Copy, Debug)]
pub struct Received<'b> {
    /// Who sent them.
    pub from: SocketAddr,
    /// The address of ours they were sent to, if the system told.
    pub to: Option<IpAddr>,
    /// Their bytes, one after the other.
    pub bytes: &'b [u8],
    /// The length of each but the last, which may be shorter.
    each: usize,
    ecn: Option<EcnCodepoint>,
}

/// Datagrams (or joined ones) received by one system call.
const MOST: usize = quinn_udp::BATCH_SIZE;
/// Room for each: more than the longest datagram there can be (65 527 bytes over IPv6), so none is
/// ever cut; and what the kernel joins at the most.
const ROOM: usize = 65_536;
/// What may wait in a listener's socket while its worker does something else. The kernel takes no
/// more of it than `net.core.rmem_max`.
const WAITING: usize = 4 << 20;

impl ReservedDatagrams {
    /// Binds `address`, alone or (`shared`) beside others of ours.
    pub(super) fn bind(address: SocketAddr, shared: bool) -> io::Result<Self> {
        let socket = open(address)?;
        if address.is_ipv6() {
            // As it is with TCP: `[::]` is IPv6 alone.
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        socket.set_reuse_port(shared)?;
        socket.set_recv_buffer_size(WAITING)?;
        socket.bind(&address.into())?;
        Ok(Self(socket))
    }

    /// Takes over a socket that another process bound.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn adopt(socket: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        // Whoever opened it may not have known that we answer from the address that was asked.
        if socket.domain()? == Domain::IPV6 {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        Ok(Self(socket))
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// Begins to read, on the calling thread's runtime.
    ///
    /// # Errors
    /// Those of the system.
    pub fn listen(self) -> io::Result<DatagramSocket> {
        Ok(DatagramSocket { io: UdpSocket::from_std(self.0.into())?, peer: None })
    }
}

/// A socket for datagrams that is neither bound nor connected.
fn open(family: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(family);
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    // Old kernels have neither; then datagrams come one by one, and congestion is not told on.
    let _ = setsockopt(&socket, sockopt::UdpGroSegment, &true);
    let _ = if family.is_ipv4() { socket.set_recv_tos_v4(true) } else { socket.set_recv_tclass_v6(true) };
    Ok(socket)
}

impl DatagramSocket {
    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        self.io.as_fd().try_clone_to_owned()
    }

    /// A socket that talks to `to` alone, and hears when nobody is there; from `origin`, if one is
    /// given (port 0 is any).
    pub(super) fn connect(to: SocketAddr, origin: Option<SocketAddr>) -> io::Result<Self> {
        let socket = open(to)?;
        if let Some(origin) = origin {
            socket.bind(&origin.into())?;
        }
        socket.connect(&to.into())?;
        Ok(Self { io: UdpSocket::from_std(socket.into())?, peer: Some(to) })
    }

    /// Waits until there is something to receive, be it an error.
    ///
    /// # Errors
    /// When the runtime is gone.
    pub async fn ready(&self) -> io::Result<()> {
        self.io.ready(HEARD).await.map(drop)
    }

    /// Sends one datagram to whom it is connected to.
    ///
    /// # Errors
    /// Those of the system: also one that was heard since it was last used.
    pub fn say(&self, datagram: &[u8]) -> io::Result<()> {
        // Not the runtime's own: that would first wait to be told that there is room.
        Ok(rustix::net::send(&self.io, datagram, SendFlags::DONTWAIT).map(drop)?)
    }
}

/// An error wakes nobody who waits for data alone.
const HEARD: Interest = Interest::READABLE.add(Interest::ERROR);

impl Batch {
    /// An empty one.
    ///
    /// # Errors
    /// When the system gives no socket to ask for what it can do.
    pub fn new() -> io::Result<Self> {
        Self::with(MOST)
    }

    /// One that receives one at a time.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn small() -> io::Result<Self> {
        Self::with(1)
    }

    fn with(rooms: usize) -> io::Result<Self> {
        // What it sets on this socket is not for ours: it forbids fragments, and large datagrams
        // with them. Sending and receiving go by what the state knows, on any socket.
        let probe = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
        let state = UdpSocketState::new(UdpSockRef::from(&probe))?;
        // Its pages cost nothing until something is received into them.
        Ok(Self { state, buffer: vec![0; rooms * ROOM], metas: [RecvMeta::default(); MOST] })
    }

    /// Receives what waits in `socket`, at the most `most` times; how often it did. After as many
    /// there may be more; after fewer, [`DatagramSocket::ready`] waits for more.
    ///
    /// # Errors
    /// `WouldBlock` where nothing waits; of a connected socket, what it heard of the other side.
    pub fn receive(&mut self, socket: &DatagramSocket, most: usize) -> io::Result<usize> {
        let most = most.min(self.buffer.len() / ROOM);
        let mut rooms = self.buffer.chunks_exact_mut(ROOM);
        let mut rooms: [IoSliceMut<'_>; MOST] =
            std::array::from_fn(|_| IoSliceMut::new(rooms.next().unwrap_or_default()));
        let count = Cell::new(0);
        let mut receive = || {
            count.set(self.state.recv(UdpSockRef::from(&socket.io), &mut rooms[..most], &mut self.metas)?);
            // Fewer than asked for were there: what comes later is told. Saves asking once more.
            if count.get() < most { Err(io::Error::from(io::ErrorKind::WouldBlock)) } else { Ok(()) }
        };
        // One after the other: of two at once the runtime knows nothing here.
        let mut received = socket.io.try_io(Interest::READABLE, &mut receive);
        if count.get() == 0 && received.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            received = socket.io.try_io(Interest::ERROR, receive);
        }
        if count.get() > 0 { Ok(count.get()) } else { received.map(|()| 0) }
    }

    /// What was received last, at a place among as many as [`Self::receive`] said.
    #[must_use]
    pub fn at(&self, place: usize) -> Received<'_> {
        let RecvMeta { addr, len, stride, ecn, dst_ip, .. } = self.metas[place];
        let room = &self.buffer[place * ROOM..(place + 1) * ROOM];
        Received { from: addr, to: dst_ip, bytes: &room[..len.min(ROOM)], each: stride, ecn }
    }

    /// Sends on what was received, by `socket`: to whom it is connected to; or to `to`, from the
    /// address `from` of ours.
    ///
    /// # Errors
    /// Those of the system. Of several datagrams, some may have been sent.
    pub fn send(
        &self,
        socket: &DatagramSocket,
        what: &Received<'_>,
        to: Option<SocketAddr>,
        from: Option<IpAddr>,
    ) -> io::Result<()> {
        let destination = match (to.or(socket.peer), socket.peer) {
            // The cheapest way: nothing has to be looked up.
            (_, Some(_)) if !what.is_joined() && what.ecn.is_none() => return socket.say(what.bytes),
            (Some(to), _) => to,
            (None, _) => return Err(io::ErrorKind::NotConnected.into()),
        };
        let transmit = |contents, segment_size| {
            let transmit = Transmit { destination, ecn: what.ecn, contents, segment_size, src_ip: from };
            self.state.try_send(UdpSockRef::from(&socket.io), &transmit)
        };
        if what.is_joined() {
            match transmit(what.bytes, Some(what.each)) {
                // They do not fit through this way, or its device cannot take joined ones.
                Err(error) if is_not_for_joined(&error) => {}
                sent => return sent,
            }
        }
        what.each().try_for_each(|datagram| transmit(datagram, None))
    }
}

fn is_not_for_joined(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::INVAL | Errno::IO | Errno::MSGSIZE))
}

impl<'b> Received<'b> {
    /// How many datagrams these are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        if self.is_joined() { self.bytes.len().div_ceil(self.each) as u64 } else { 1 }
    }

    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let bytes = self.bytes;
        // An empty datagram is one too.
        let empty = bytes.is_empty().then_some(bytes);
        empty.into_iter().chain(bytes.chunks(self.each.max(1)))
    }

    const fn is_joined(&self) -> bool {
        self.each > 0 && self.each < self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn received(batch: &mut Batch, socket: &DatagramSocket) -> io::Result<usize> {
        loop {
            tokio::time::timeout(Duration::from_secs(5), socket.ready()).await??;
            match batch.receive(socket, MOST) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                ended => return ended,
            }
        }
    }

    fn listen(address: &str) -> (DatagramSocket, SocketAddr) {
        let reserved = ReservedDatagrams::bind(address.parse().unwrap(), false).unwrap();
        let address = reserved.local_addr().unwrap();
        (reserved.listen().unwrap(), address)
    }

    #[tokio::test]
    async fn datagrams_of_every_length_pass_whole_and_are_told_where_they_were_sent_to() {
        let mut batch = Batch::new().unwrap();
        for (bind, to) in [("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "::1")] {
            let (ours, bound) = listen(bind);
            let to = SocketAddr::new(to.parse().unwrap(), bound.port());
            let client = DatagramSocket::connect(to, None).unwrap();
            for len in [0, 1, 1500, 9000, 65_507] {
                client.say(&vec![7; len]).unwrap();
                assert_eq!(received(&mut batch, &ours).await.unwrap(), 1);
                let heard = batch.at(0);
                assert_eq!((heard.bytes.len(), heard.count(), heard.to), (len, 1, Some(to.ip())));
                batch.send(&ours, &heard, Some(heard.from), heard.to).unwrap();
                // A connected socket hears nobody but whom it is connected to.
                assert_eq!(received(&mut batch, &client).await.unwrap(), 1);
                assert_eq!((batch.at(0).bytes.len(), batch.at(0).from), (len, to));
            }
        }
    }

    #[tokio::test]
    async fn what_came_joined_goes_on_joined() {
        let mut batch = Batch::new().unwrap();
        let (ours, address) = listen("127.0.0.1:0");
        let (endpoint, there) = listen("127.0.0.1:0");
        let client = DatagramSocket::connect(address, None).unwrap();
        let onward = DatagramSocket::connect(there, None).unwrap();
        let bytes: Vec<u8> = (0..2500u32).map(|at| at as u8).collect();
        let joined = Received { from: address, to: None, bytes: &bytes, each: 1000, ecn: None };
        assert_eq!((joined.count(), joined.each().map(<[u8]>::len).collect::<Vec<_>>()), (3, vec![1000, 1000, 500]));
        batch.send(&client, &joined, None, None).unwrap();
        let mut heard = Vec::new();
        let mut datagrams = 0;
        while heard.len() < bytes.len() {
            for place in 0..received(&mut batch, &ours).await.unwrap() {
                batch.send(&onward, &batch.at(place), None, None).unwrap();
            }
            for place in 0..received(&mut batch, &endpoint).await.unwrap() {
                heard.extend_from_slice(batch.at(place).bytes);
                datagrams += batch.at(place).count();
            }
        }
        assert_eq!((heard, datagrams), (bytes, 3));
    }

    #[tokio::test]
    async fn who_is_connected_hears_that_nobody_is_there() {
        let mut batch = Batch::new().unwrap();
        let (gone, address) = listen("127.0.0.1:0");
        drop(gone);
        let client = DatagramSocket::connect(address, None).unwrap();
        client.say(b"hello").unwrap();
        let error = received(&mut batch, &client).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn an_empty_datagram_is_one() {
        let from = ([127, 0, 0, 1], 1).into();
        let empty = Received { from, to: None, bytes: &[], each: 0, ecn: None };
        assert_eq!((empty.count(), empty.each().count()), (1, 1));
    }
}
