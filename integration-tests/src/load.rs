//! A steady load over kept-open connections that counts each way a request or a connection can fail.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::client::RawClient;
use crate::message::Broken;

/// What is sent, by how many.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub to: SocketAddr,
    /// Kept-open connections, each with a thread of its own.
    pub connections: usize,
    /// The request, sent again and again.
    pub request: String,
    /// Between an answer and the next request.
    pub pause: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests answered, by status.
    pub answers: BTreeMap<u16, u64>,
    /// Requests without a whole answer, by kind.
    pub failures: BTreeMap<String, u64>,
    /// Connections the other side closed between two requests, or announced to close.
    pub closed: u64,
}

impl Tally {
    /// Requests answered with 200.
    #[must_use]
    pub fn ok(&self) -> u64 {
        self.answers.get(&200).copied().unwrap_or_default()
    }

    /// Requests answered otherwise, or not at all.
    #[must_use]
    pub fn failed(&self) -> u64 {
        let others: u64 = self.answers.iter().filter(|(status, _)| **status != 200).map(|(_, n)| n).sum();
        others + self.failures.values().sum::<u64>()
    }

    fn add(&mut self, other: &Self) {
        for (status, n) in &other.answers {
            *self.answers.entry(*status).or_default() += n;
        }
        for (kind, n) in &other.failures {
            *self.failures.entry(kind.clone()).or_default() += n;
        }
        self.closed += other.closed;
    }
}

/// A load under way.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    total: Arc<Mutex<Tally>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts it; it runs until [`Self::finish`].
    ///
    /// # Panics
    /// When a thread cannot be started.
    #[must_use]
    pub fn start(plan: &Plan) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let total = Arc::new(Mutex::new(Tally::default()));
        let threads = (0..plan.connections)
            .map(|_| {
                let (plan, stop, answered, total) =
                    (plan.clone(), Arc::clone(&stop), Arc::clone(&answered), Arc::clone(&total));
                let run = move || {
                    let tally = one_connection(&plan, &stop, &answered);
                    total.lock().unwrap_or_else(PoisonError::into_inner).add(&tally);
                };
                thread::Builder::new().stack_size(256 * 1024).spawn(run).expect("a thread")
            })
            .collect();
        Self { stop, answered, total, threads }
    }

    /// Requests answered so far, with whatever status.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Waits until `n` more requests are answered.
    pub fn more_answers(&self, n: u64) {
        let target = self.answered() + n;
        crate::wait::until_true("more answers under load", || self.answered() >= target);
    }

    /// Lets each connection finish its request, then tells what came of it.
    ///
    /// # Panics
    /// When a thread panicked.
    #[must_use]
    pub fn finish(self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("a load thread does not panic");
        }
        self.total.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn one_connection(plan: &Plan, stop: &AtomicBool, answered: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    let mut fail = |kind: String| *tally.failures.entry(kind).or_default() += 1;
    let mut closed = 0;
    let mut answers: BTreeMap<u16, u64> = BTreeMap::new();
    let mut connection: Option<RawClient> = None;
    while !stop.load(Ordering::SeqCst) {
        let client = match connection.as_mut() {
            Some(client) if client.is_closed() => {
                closed += 1;
                connection = None;
                continue;
            }
            Some(client) => client,
            None => match RawClient::try_connect(plan.to) {
                Ok(client) => connection.insert(client),
                Err(error) => {
                    fail(format!("connect: {}", error.kind()));
                    thread::sleep(Duration::from_millis(20));
                    continue;
                }
            },
        };
        let outcome = client.try_send(&plan.request).map_err(|error| Broken::Io(error.kind().to_string()));
        match outcome.and_then(|()| client.response_to(&plan.request)) {
            Ok(response) => {
                *answers.entry(response.status).or_default() += 1;
                answered.fetch_add(1, Ordering::SeqCst);
                if response.closes() {
                    closed += 1;
                    connection = None;
                }
            }
            Err(broken) => {
                fail(broken.to_string());
                connection = None;
            }
        }
        thread::sleep(plan.pause);
    }
    tally.answers = answers;
    tally.closed = closed;
    tally
}
