//! An endpoint in this process that does what its script says and records each byte it gets.

use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::message::{Broken, Framing, Request, Source};
use crate::{place, wait};

/// What a backend does with one connection.
type Script = dyn Fn(&mut Peer) + Send + Sync;

/// A scripted endpoint. Stops when dropped: its port refuses, its connections are reset.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    listener: TcpListener,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    /// What came on each connection, in order of acceptance.
    received: Mutex<Vec<Vec<u8>>>,
    streams: Mutex<Vec<TcpStream>>,
}

/// A lock that a panicking script cannot spoil for the asserting test.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend {
    /// Runs `script` for each connection, on a thread of its own; the connection closes when it
    /// returns.
    ///
    /// # Panics
    /// When no port is free.
    pub fn raw(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        Self::raw_at(place::address(), script)
    }

    /// The same at a given address.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn raw_at(address: SocketAddr, script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("cannot bind {address}: {error}"));
        // Who finds no room among those that wait tries again a second later, and then after two.
        let _ = SockRef::from(&listener).listen(4096);
        Self::raw_on(listener, script)
    }

    /// The same on a listener that the test made.
    ///
    /// # Panics
    /// When the listener has no address.
    pub fn raw_on(listener: TcpListener, script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared::default());
        let script: Arc<Script> = Arc::new(script);
        let (ours, accepting) = (Arc::clone(&shared), listener.try_clone().expect("a second handle"));
        thread::spawn(move || accept(&accepting, &ours, &script));
        Self { address, listener, shared }
    }

    /// Reads requests one after the other and answers each by `answer`, until a side closes.
    pub fn scripted(answer: impl Fn(&mut Peer, &Request) + Send + Sync + 'static) -> Self {
        Self::scripted_at(place::address(), answer)
    }

    /// The same at a given address.
    pub fn scripted_at(address: SocketAddr, answer: impl Fn(&mut Peer, &Request) + Send + Sync + 'static) -> Self {
        Self::raw_at(address, move |peer| {
            while peer.is_open() {
                let Ok(request) = peer.request() else { return };
                answer(peer, &request);
            }
        })
    }

    /// Answers each request with these bytes.
    pub fn fixed(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::scripted(move |peer, _| peer.send(&answer))
    }

    /// Answers each request with 200 and this text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::fixed(ok(text))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Connections open now, as far as their scripts have noticed.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// The requests read so far, over all connections, in order of their end.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// The only request so far.
    ///
    /// # Panics
    /// When there was none, or more than one.
    #[must_use]
    pub fn only_request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "the backend got {requests:#?}");
        requests.remove(0)
    }

    /// The bytes received on each connection so far, verbatim.
    #[must_use]
    pub fn received(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.received).clone()
    }

    /// All bytes received so far as text.
    #[must_use]
    pub fn received_text(&self) -> String {
        self.received().iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // From now on the port refuses; and the accepting thread wakes, even if no packet comes here.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        for stream in lock(&self.shared.streams).drain(..) {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, script: &Arc<Script>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut peer) = Peer::new(stream, shared) else {
            continue;
        };
        let script = Arc::clone(script);
        thread::spawn(move || script(&mut peer));
    }
}

/// An answer with 200 and `text`.
#[must_use]
pub fn ok(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

/// The backend's end of one connection.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    source: Source,
    nth: usize,
    noted: usize,
    closed: bool,
    shared: Arc<Shared>,
}

impl Peer {
    fn new(stream: TcpStream, shared: &Arc<Shared>) -> io::Result<Self> {
        stream.set_read_timeout(Some(2 * wait::PATIENCE))?;
        stream.set_nodelay(true)?;
        let source = Source::new(stream.try_clone()?, true);
        lock(&shared.streams).push(stream.try_clone()?);
        let nth = {
            let mut received = lock(&shared.received);
            received.push(Vec::new());
            received.len() - 1
        };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        Ok(Self { stream, source, nth, noted: 0, closed: false, shared: Arc::clone(shared) })
    }

    /// Which connection of its backend this is, from 0.
    #[must_use]
    pub fn nth(&self) -> usize {
        self.nth
    }

    /// Whether the script has not closed it yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.closed
    }

    fn note(&mut self) {
        let new = &self.source.received()[self.noted..];
        lock(&self.shared.received)[self.nth].extend_from_slice(new);
        self.noted += new.len();
    }

    /// Reads a whole request.
    ///
    /// # Errors
    /// [`Broken`] says how the connection ended instead.
    pub fn request(&mut self) -> Result<Request, Broken> {
        let mut request = self.request_head()?;
        let body = self.source.body(request.framing);
        self.note();
        (request.body, request.trailers) = body?;
        lock(&self.shared.requests).push(request.clone());
        Ok(request)
    }

    /// Reads a request's head only; the request is not recorded as one.
    ///
    /// # Errors
    /// [`Broken`] says how the connection ended instead.
    pub fn request_head(&mut self) -> Result<Request, Broken> {
        let head = self.source.request_head();
        self.note();
        head
    }

    /// Reads a request's body.
    ///
    /// # Errors
    /// [`Broken`] says how the connection ended instead.
    pub fn body(&mut self, framing: Framing) -> Result<Vec<u8>, Broken> {
        let body = self.source.body(framing);
        self.note();
        body.map(|(body, _)| body)
    }

    /// Sends these bytes; a connection that is gone is not an error, the script's next read tells.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends as long as the other side takes it; false when it is gone.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Closes in an orderly way.
    pub fn close(&mut self) {
        self.closed = true;
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Ends our direction, goes on reading.
    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Resets the connection.
    pub fn reset(&mut self) {
        self.closed = true;
        // The other handles of the socket must go first: the RST is sent when the last one closes.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        let ours = self.stream.local_addr().ok();
        let peer = self.stream.peer_addr().ok();
        lock(&self.shared.streams).retain(|s| s.local_addr().ok() != ours || s.peer_addr().ok() != peer);
    }

    /// Whether the other side has closed or reset it, as far as can be seen without reading on.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        is_gone(&self.stream)
    }

    /// What was received behind the last message.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.source.rest()
    }

    /// The connection, to write to it from elsewhere.
    ///
    /// # Panics
    /// When the system has no descriptor left.
    #[must_use]
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("a second handle")
    }

    /// Something to look at the connection by from elsewhere.
    ///
    /// # Panics
    /// When the system has no descriptor left.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.stream.try_clone().expect("a second handle"))
    }

    /// Whether its backend has stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::SeqCst)
    }

    /// Reads no more and answers nothing, until the backend stops.
    pub fn freeze(&mut self) {
        while !self.shared.stopped.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
        self.closed = true;
    }

    /// Reads on but answers nothing, until the other side closes or the backend stops.
    pub fn hang(&mut self) {
        while self.source.more().is_ok_and(|got| got > 0) {
            self.note();
        }
        self.note();
        self.closed = true;
    }
}

impl io::Read for Peer {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.take(into);
        self.note();
        count
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let ours = self.stream.local_addr().ok();
        let peer = self.stream.peer_addr().ok();
        lock(&self.shared.streams).retain(|s| s.local_addr().ok() != ours || s.peer_addr().ok() != peer);
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection to be looked at. While it lives, a reset of the connection waits.
#[derive(Debug)]
pub struct Handle(TcpStream);

impl Handle {
    /// Whether the other side has closed or reset it, as far as can be seen without reading on.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        is_gone(&self.0)
    }
}

fn is_gone(stream: &TcpStream) -> bool {
    // MSG_PEEK | MSG_DONTWAIT of Linux.
    let mut byte = [MaybeUninit::uninit()];
    match SockRef::from(stream).recv_with_flags(&mut byte, 0x02 | 0x40) {
        Ok(got) => got == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}
