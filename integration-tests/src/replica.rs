//! A replica whose behaviour a test switches while requests come, and that writes down what it did.
//!
//! What counts as *executed* is what a shop would have sold: the request was read to its end and
//! the replica was in a mood to work on it, whether or not the answer ever arrived.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Handle, Peer, ok};
use crate::message::{Fields, Request};
use crate::place;

/// How a replica treats its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// 200, with its name.
    Well,
    /// So many per cent of the requests get this status, spread evenly; the others 200.
    Status {
        /// What is answered.
        code: u16,
        /// Of a hundred requests.
        percent: u8,
        /// The field of that name, in seconds.
        retry_after: Option<u64>,
    },
    /// Accepts and does nothing more; connections that were open get nothing either.
    HangAfterAccept,
    /// Reads requests, works on them, answers none.
    HangAfterRequest,
    /// Resets connections as soon as they are accepted, and those that were open at the next request.
    ResetOnAccept,
    /// Resets after a request's head, before its body.
    ResetOnHead,
    /// Reads the request, works on it, resets.
    ResetBeforeAnswer,
    /// Resets in the middle of the answer's body.
    ResetMidAnswer,
    /// Answers 200 so much later.
    Slow(Duration),
    /// Closes each connection after its first answer, without saying so in the answer.
    Closing,
    /// Well for the one time, resets everything for the other, again and again.
    Flapping {
        /// How long it is well.
        up: Duration,
        /// How long it is not.
        down: Duration,
    },
}

impl Mood {
    /// That status, always.
    #[must_use]
    pub const fn status(code: u16) -> Self {
        Self::Status { code, percent: 100, retry_after: None }
    }
}

/// A request that was executed.
#[derive(Clone, Debug)]
pub struct Executed {
    /// Its `X-Id`, or nothing.
    pub id: String,
    /// Its method.
    pub method: String,
    /// Its target.
    pub target: String,
    /// Its header.
    pub fields: Fields,
    /// Its body, without framing.
    pub body: Vec<u8>,
    /// When it had been read.
    pub at: Instant,
}

/// Something that goes up and down, and how high it was at the most.
#[derive(Debug, Default)]
pub struct Gauge {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Gauge {
    fn up(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(now, Ordering::SeqCst);
    }

    fn down(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    /// How much it is.
    #[must_use]
    pub fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    /// The most it was.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct Inner {
    name: String,
    mood: Mutex<(Mood, Instant)>,
    executed: Mutex<Vec<Executed>>,
    /// Requests whose head arrived, executed or not.
    begun: AtomicUsize,
    /// Requests for statuses by share.
    dealt: AtomicUsize,
    under_way: Vec<Arc<Gauge>>,
    connections: Vec<Arc<Connections>>,
    probes_pass: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One replica. Killed when dropped.
#[derive(Debug)]
pub struct Replica {
    address: SocketAddr,
    backend: Option<Backend>,
    under_way: Arc<Gauge>,
    connections: Arc<Connections>,
    inner: Arc<Inner>,
}

/// Where health probes ask; answered with 200 or 503, and never written down.
pub const HEALTH: &str = "/healthz";

impl Replica {
    /// A replica that is well, on an address of its own.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let address = place::address();
        Self::on(name, TcpListener::bind(address).expect("a free port"), &Totals::default())
    }

    /// The same on a listener that the test made; counts into `totals` too.
    ///
    /// # Panics
    /// When the listener has no address.
    #[must_use]
    pub fn on(name: &str, listener: TcpListener, totals: &Totals) -> Self {
        let address = listener.local_addr().expect("a listener has an address");
        let (under_way, connections) = (Arc::new(Gauge::default()), Arc::new(Connections::default()));
        let inner = Arc::new(Inner {
            name: name.to_owned(),
            mood: Mutex::new((Mood::Well, Instant::now())),
            executed: Mutex::default(),
            begun: AtomicUsize::new(0),
            dealt: AtomicUsize::new(0),
            under_way: vec![Arc::clone(&under_way), Arc::clone(&totals.under_way)],
            connections: vec![Arc::clone(&connections), Arc::clone(&totals.connections)],
            probes_pass: AtomicBool::new(true),
        });
        let backend = Some(serve(listener, &inner));
        Self { address, backend, under_way, connections, inner }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name: what it answers.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// From now on it does this.
    pub fn set(&self, mood: Mood) {
        *lock(&self.inner.mood) = (mood, Instant::now());
    }

    /// Whether its health probes are answered with 200 from now on, whatever its mood.
    pub fn probes_pass(&self, pass: bool) {
        self.inner.probes_pass.store(pass, Ordering::SeqCst);
    }

    /// As `kill -9`: its port refuses, its connections are reset.
    pub fn kill(&mut self) {
        self.backend = None;
    }

    /// Comes back on the same port, with its memory.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn revive(&mut self) {
        let address = self.address;
        let listener = crate::wait::until(&format!("port {address}"), || TcpListener::bind(address).ok());
        self.backend = Some(serve(listener, &self.inner));
    }

    /// What it executed so far.
    #[must_use]
    pub fn executed(&self) -> Vec<Executed> {
        lock(&self.inner.executed).clone()
    }

    /// How many it executed so far.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.inner.executed).len()
    }

    /// Requests whose head it got so far, executed or not.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.inner.begun.load(Ordering::SeqCst)
    }

    /// Requests under way at it.
    #[must_use]
    pub fn under_way(&self) -> &Gauge {
        &self.under_way
    }

    /// Connections open to it.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.connections
    }
}

/// What all replicas of a pool have together.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Requests under way.
    pub under_way: Arc<Gauge>,
    /// Connections open.
    pub connections: Arc<Connections>,
}

/// Connections that are open, and how many there were at the most: one that the other side has
/// closed is none, whether or not it was read to its end.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<Vec<Arc<Handle>>>,
    peak: AtomicUsize,
}

impl Connections {
    fn add(&self, handle: &Arc<Handle>) {
        let mut open = lock(&self.open);
        open.retain(|other| !other.is_gone());
        open.push(Arc::clone(handle));
        self.peak.fetch_max(open.len(), Ordering::SeqCst);
    }

    fn remove(&self, handle: &Arc<Handle>) {
        lock(&self.open).retain(|other| !Arc::ptr_eq(other, handle));
    }

    /// The most there were.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::SeqCst)
    }
}

fn serve(listener: TcpListener, inner: &Arc<Inner>) -> Backend {
    let inner = Arc::clone(inner);
    Backend::raw_on(listener, move |peer| {
        let handle = Arc::new(peer.handle());
        inner.connections.iter().for_each(|connections| connections.add(&handle));
        inner.connection(peer);
        inner.connections.iter().for_each(|connections| connections.remove(&handle));
    })
}

impl Inner {
    /// The mood at this moment; a flapping one is one of two.
    fn mood(&self) -> Mood {
        let (mood, since) = *lock(&self.mood);
        match mood {
            Mood::Flapping { up, down } => {
                let into = since.elapsed().as_nanos() % (up + down).as_nanos().max(1);
                if into < up.as_nanos() { Mood::Well } else { Mood::ResetOnAccept }
            }
            mood => mood,
        }
    }

    fn connection(&self, peer: &mut Peer) {
        match self.mood() {
            Mood::ResetOnAccept => return peer.reset(),
            Mood::HangAfterAccept => return self.hang(peer),
            _ => {}
        }
        while peer.is_open() {
            let Ok(head) = peer.request_head() else { return };
            if head.target == HEALTH {
                self.probe(peer);
                continue;
            }
            self.begun.fetch_add(1, Ordering::SeqCst);
            self.under_way.iter().for_each(|gauge| gauge.up());
            let mut counted = Counted { gauges: Some(&self.under_way) };
            self.one(peer, head, &mut counted);
        }
    }

    fn probe(&self, peer: &mut Peer) {
        match self.mood() {
            Mood::HangAfterAccept => self.hang(peer),
            Mood::ResetOnAccept => peer.reset(),
            _ if self.probes_pass.load(Ordering::SeqCst) => peer.send(ok("ok")),
            _ => peer.send(status(503, None)),
        }
    }

    fn one(&self, peer: &mut Peer, mut request: Request, counted: &mut Counted<'_>) {
        let mood = self.mood();
        match mood {
            Mood::HangAfterAccept => return self.hang(peer),
            Mood::ResetOnAccept | Mood::ResetOnHead => return peer.reset(),
            _ => {}
        }
        match peer.body(request.framing) {
            Ok(body) => request.body = body,
            Err(_) => return peer.close(),
        }
        self.note(request);
        let name = &self.name;
        match mood {
            Mood::Status { code, percent, retry_after } => {
                let nth = self.dealt.fetch_add(1, Ordering::SeqCst) % 100;
                // Evenly spread: 30 % is three of ten, not thirty in a row.
                let struck = (nth * 37) % 100 < usize::from(percent);
                counted.end();
                peer.send(if struck { status(code, retry_after) } else { ok(name) });
            }
            Mood::HangAfterRequest => self.hang(peer),
            Mood::ResetBeforeAnswer => peer.reset(),
            Mood::ResetMidAnswer => {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it");
                // So that the head is seen before the reset overtakes it.
                thread::sleep(Duration::from_millis(20));
                peer.reset();
            }
            Mood::Slow(time) => {
                thread::sleep(time);
                counted.end();
                peer.send(ok(name));
            }
            Mood::Closing => {
                counted.end();
                peer.send(ok(name));
                peer.close();
            }
            _ => {
                counted.end();
                peer.send(ok(name));
            }
        }
    }

    fn note(&self, request: Request) {
        let id = request.fields.get("x-id").unwrap_or_default().to_owned();
        let Request { method, target, fields, body, .. } = request;
        lock(&self.executed).push(Executed { id, method, target, fields, body, at: Instant::now() });
    }

    /// Does nothing while the mood stays; then the connection is reset.
    fn hang(&self, peer: &mut Peer) {
        let mood = self.mood();
        while self.mood() == mood && !peer.is_stopped() && !peer.is_gone() {
            thread::sleep(Duration::from_millis(10));
        }
        peer.reset();
    }
}

/// A request under way, until its answer is about to be sent: what a client may count on is that
/// its next request is not counted beside this one.
struct Counted<'a> {
    gauges: Option<&'a [Arc<Gauge>]>,
}

impl Counted<'_> {
    fn end(&mut self) {
        self.gauges.take().into_iter().flatten().for_each(|gauge| gauge.down());
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

fn status(code: u16, retry_after: Option<u64>) -> Vec<u8> {
    let retry_after = retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    format!("HTTP/1.1 {code} Sick\r\n{retry_after}Content-Length: 0\r\n\r\n").into_bytes()
}

/// A port whose backlog is full and that never accepts: further SYNs are dropped, as by a host
/// that is off.
#[derive(Debug)]
pub struct FullBacklog {
    address: SocketAddr,
    _socket: socket2::Socket,
    _fillers: Vec<TcpStream>,
}

impl FullBacklog {
    /// Fills it.
    ///
    /// # Panics
    /// When the system does not drop what is too much.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it takes a port and connections: no value to have by default")]
    pub fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&place::address().into()).expect("a free port");
        socket.listen(0).expect("a socket that listens");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("its address");
        let mut fillers = Vec::new();
        while let Ok(filler) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            fillers.push(filler);
            assert!(fillers.len() < 64, "the backlog never fills");
        }
        Self { address, _socket: socket, _fillers: fillers }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::RawClient;
    use crate::message::Broken;
    use crate::pace::{Pace, numbered};

    #[test]
    fn each_mood_is_what_a_client_sees() {
        let replica = Replica::new("one");
        let ask = || {
            let request = String::from_utf8(numbered("POST", 1, "", b"hi")).unwrap();
            let mut client = RawClient::connect(replica.address());
            client.patience(Duration::from_millis(200));
            let _ = client.try_send(&request);
            client.response_to(&request).map(|answer| answer.status)
        };
        let executed = |mood: Mood, expected: usize, sees: &dyn Fn(&Result<u16, Broken>) -> bool| {
            replica.set(mood);
            let before = replica.count();
            let seen = ask();
            assert!(sees(&seen), "{mood:?}: {seen:?}");
            assert_eq!(replica.count() - before, expected, "{mood:?}");
        };
        let gone = |seen: &Result<u16, Broken>| matches!(seen, Err(Broken::Reset(_) | Broken::Io(_)));
        let silent = |seen: &Result<u16, Broken>| *seen == Err(Broken::Silent);
        executed(Mood::Well, 1, &|seen| *seen == Ok(200));
        executed(Mood::status(503), 1, &|seen| *seen == Ok(503));
        executed(Mood::Slow(Duration::from_millis(20)), 1, &|seen| *seen == Ok(200));
        executed(Mood::Closing, 1, &|seen| *seen == Ok(200));
        executed(Mood::HangAfterAccept, 0, &silent);
        executed(Mood::HangAfterRequest, 1, &silent);
        executed(Mood::ResetOnAccept, 0, &gone);
        executed(Mood::ResetOnHead, 0, &gone);
        executed(Mood::ResetBeforeAnswer, 1, &gone);
        executed(Mood::ResetMidAnswer, 1, &gone);
    }

    #[test]
    fn a_share_of_statuses_is_exact_and_a_killed_one_comes_back() {
        let mut replica = Replica::new("one");
        replica.set(Mood::Status { code: 500, percent: 30, retry_after: None });
        let load = Pace::gets(replica.address(), 400);
        load.more(200);
        let report = load.finish();
        let failed = report.failed().len() as f64 / report.total() as f64;
        assert!((0.2..0.4).contains(&failed), "{report}");
        replica.kill();
        assert!(RawClient::try_connect(replica.address()).is_err());
        replica.revive();
        assert!(RawClient::try_connect(replica.address()).is_ok());
    }
}
