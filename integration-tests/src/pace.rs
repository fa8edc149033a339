//! An open-loop load: so many requests a second, whatever became of those before. Each is written
//! down with when it was due, how long it took from then, and what came of it.
//!
//! A closed loop ([`crate::load`]) asks less when answers are slow, and so hides what users see.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::RawClient;
use crate::message::Broken;
use crate::wait;

/// More requests than this under way at once is a test that drowns.
const WORKERS_MAX: usize = 512;

/// One request and what came of it.
#[derive(Clone, Debug)]
pub struct Shot {
    /// Which, from 0.
    pub nth: u64,
    /// When it was due, since the start.
    pub at: Duration,
    /// From then to the end of its answer.
    pub took: Duration,
    /// What the client got.
    pub seen: Seen,
}

/// What the client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An answer.
    Answer {
        /// Its status.
        status: u16,
        /// Why Weir answered by itself, if it did.
        reason: Option<String>,
        /// Its body.
        text: String,
    },
    /// None, or not to its end.
    Broken(String),
}

impl Shot {
    /// Whether it is a 200.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self.seen, Seen::Answer { status: 200, .. })
    }

    /// Who answered, if it is a 200.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        match &self.seen {
            Seen::Answer { status: 200, text, .. } => Some(text),
            _ => None,
        }
    }

    /// What went wrong in a word or two: status and reason, or how it broke.
    #[must_use]
    pub fn kind(&self) -> String {
        match &self.seen {
            Seen::Answer { status, reason: Some(reason), .. } => format!("{status} {reason}"),
            Seen::Answer { status, reason: None, .. } => status.to_string(),
            Seen::Broken(how) => how.clone(),
        }
    }
}

/// All that came of a load.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order they were due.
    pub shots: Vec<Shot>,
}

impl Report {
    /// Requests.
    #[must_use]
    pub fn total(&self) -> usize {
        self.shots.len()
    }

    /// Those that are no 200.
    #[must_use]
    pub fn failed(&self) -> Vec<&Shot> {
        self.shots.iter().filter(|shot| !shot.is_ok()).collect()
    }

    /// How many of each kind went wrong.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for shot in self.failed() {
            *kinds.entry(shot.kind()).or_default() += 1;
        }
        kinds
    }

    /// How many each replica answered.
    #[must_use]
    pub fn by(&self) -> BTreeMap<&str, usize> {
        let mut by = BTreeMap::new();
        for name in self.shots.iter().filter_map(Shot::by) {
            *by.entry(name).or_default() += 1;
        }
        by
    }

    /// The part of what was answered with 200 that `name` answered, 0 to 1.
    #[must_use]
    pub fn share(&self, name: &str) -> f64 {
        let all = self.shots.iter().filter(|shot| shot.is_ok()).count();
        let its = self.shots.iter().filter(|shot| shot.by() == Some(name)).count();
        if all == 0 { 0.0 } else { its as f64 / all as f64 }
    }

    /// Those due in this time since the start.
    #[must_use]
    pub fn between(&self, from: Duration, to: Duration) -> Self {
        let shots = self.shots.iter().filter(|shot| (from..to).contains(&shot.at)).cloned().collect();
        Self { shots }
    }

    /// The time that this share of the requests, 0 to 1, did not exceed.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let mut times: Vec<Duration> = self.shots.iter().map(|shot| shot.took).collect();
        times.sort_unstable();
        let at = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1));
        times.get(at - 1).copied().unwrap_or_default()
    }

    /// Panics if a request was not answered with 200, and tells of the first few.
    ///
    /// # Panics
    /// See above.
    pub fn assert_no_error(&self) {
        let failed = self.failed();
        let first: Vec<&&Shot> = failed.iter().take(5).collect();
        assert!(failed.is_empty(), "{self}\nthe first of them: {first:#?}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.quantile(0.5), self.quantile(0.99));
        let failed = self.failed().len();
        write!(f, "{} requests, {failed} errors, p50 {p50:.1?}, p99 {p99:.1?}", self.total())?;
        if failed > 0 {
            write!(f, ", {:?}", self.kinds())?;
        }
        Ok(())
    }
}

/// Makes request `nth`.
pub type Make = dyn Fn(u64) -> Vec<u8> + Send + Sync;

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    begun: Instant,
    stop: AtomicBool,
    idle: AtomicUsize,
    done: AtomicUsize,
    shots: Mutex<Vec<Shot>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A load under way. Ends when dropped.
#[derive(Debug)]
pub struct Pace {
    shared: Arc<Shared>,
    pacer: Option<JoinHandle<()>>,
}

impl Pace {
    /// Sends `per_second` requests a second to `to`, evenly, until [`Self::finish`].
    #[must_use]
    pub fn start(to: SocketAddr, per_second: u32, make: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            to,
            begun: Instant::now(),
            stop: AtomicBool::new(false),
            idle: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            shots: Mutex::default(),
        });
        let ours = Arc::clone(&shared);
        let make: Arc<Make> = Arc::new(make);
        let pacer = Some(thread::spawn(move || pace(&ours, per_second, &make)));
        Self { shared, pacer }
    }

    /// The same with `GET /` and an `X-Id`.
    #[must_use]
    pub fn gets(to: SocketAddr, per_second: u32) -> Self {
        Self::start(to, per_second, |nth| numbered("GET", nth, "", b""))
    }

    /// Since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.begun.elapsed()
    }

    /// Requests whose end was seen so far.
    #[must_use]
    pub fn done(&self) -> usize {
        self.shared.done.load(Ordering::SeqCst)
    }

    /// Waits for the end of `n` more requests.
    pub fn more(&self, n: usize) {
        let target = self.done() + n;
        wait::until_true("more requests under load", || self.done() >= target);
    }

    /// Goes on for this long: load is the one thing that takes its time.
    pub fn last(&self, time: Duration) {
        thread::sleep(time);
    }

    /// What came of the requests so far.
    #[must_use]
    pub fn so_far(&self) -> Report {
        let mut shots = lock(&self.shared.shots).clone();
        shots.sort_by_key(|shot| shot.nth);
        Report { shots }
    }

    /// Sends no more, waits for what is under way.
    ///
    /// # Panics
    /// When a thread of it did.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(pacer) = self.pacer.take() {
            pacer.join().expect("the load does not panic");
        }
        self.so_far()
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

/// A request with an `X-Id` of its number, further fields (each with its line end) and a body.
#[must_use]
pub fn numbered(method: &str, nth: u64, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = match method {
        "GET" | "HEAD" => String::new(),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    let mut request =
        format!("{method} /{nth} HTTP/1.1\r\nHost: shop.example\r\nX-Id: {nth}\r\n{fields}{length}\r\n").into_bytes();
    request.extend_from_slice(body);
    request
}

fn pace(shared: &Arc<Shared>, per_second: u32, make: &Arc<Make>) {
    let (give, take) = channel::<(u64, Duration)>();
    let take = Arc::new(Mutex::new(take));
    let mut workers: Vec<JoinHandle<()>> = Vec::new();
    let apart = Duration::from_secs(1) / per_second;
    let mut nth = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        let due = apart * u32::try_from(nth).expect("a test does not last that long");
        if let Some(early) = due.checked_sub(shared.begun.elapsed()) {
            thread::sleep(early);
        }
        if claim(&shared.idle).is_err() {
            assert!(workers.len() < WORKERS_MAX, "{WORKERS_MAX} requests under way: {per_second}/s is too much");
            workers.push(worker(shared, &take, make));
        }
        send(&give, nth, due);
        nth += 1;
    }
    drop(give);
    for worker in workers {
        worker.join().expect("a worker of the load does not panic");
    }
}

fn send(give: &Sender<(u64, Duration)>, nth: u64, due: Duration) {
    give.send((nth, due)).expect("workers take until the sender is gone");
}

/// One of the idle workers is spoken for.
fn claim(idle: &AtomicUsize) -> Result<usize, usize> {
    idle.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |idle| idle.checked_sub(1))
}

fn worker(shared: &Arc<Shared>, take: &Arc<Mutex<Receiver<(u64, Duration)>>>, make: &Arc<Make>) -> JoinHandle<()> {
    let (shared, take, make) = (Arc::clone(shared), Arc::clone(take), Arc::clone(make));
    let run = move || {
        let mut connection = None;
        loop {
            let job = lock(&take).recv();
            let Ok((nth, at)) = job else { return };
            let seen = shoot(&mut connection, shared.to, &make(nth));
            let took = shared.begun.elapsed().saturating_sub(at);
            lock(&shared.shots).push(Shot { nth, at, took, seen });
            shared.done.fetch_add(1, Ordering::SeqCst);
            shared.idle.fetch_add(1, Ordering::SeqCst);
        }
    };
    thread::Builder::new().stack_size(256 * 1024).spawn(run).expect("a thread")
}

fn shoot(connection: &mut Option<RawClient>, to: SocketAddr, request: &[u8]) -> Seen {
    // A connection closed between two requests is the other side's right: it is not a failure.
    if connection.as_ref().is_some_and(RawClient::is_closed) {
        *connection = None;
    }
    let client = match connection {
        Some(client) => client,
        None => match RawClient::try_connect(to) {
            Ok(client) => connection.insert(client),
            Err(error) => return Seen::Broken(format!("connect: {}", error.kind())),
        },
    };
    let method = request.split(|b| *b == b' ').next().map(String::from_utf8_lossy).unwrap_or_default();
    let sent = client.try_send(request).map_err(|error| Broken::Io(error.kind().to_string()));
    match sent.and_then(|()| client.response_to(&method)) {
        Ok(answer) => {
            let closes = answer.closes();
            let seen =
                Seen::Answer { status: answer.status, reason: answer.reason().map(str::to_owned), text: answer.text() };
            if closes {
                *connection = None;
            }
            seen
        }
        Err(broken) => {
            *connection = None;
            Seen::Broken(broken.to_string())
        }
    }
}
