//! The admin address: health of this process, metrics, status, events, reload, drains,
//! rehearsals. HTTP over hyper, on the control thread.
//!
//! Reading changes nothing; what changes something is POST (or DELETE). Not for the public: it is bound to
//! loopback unless told otherwise, elsewhere asks for a token or a certificate (`access`), and refuses
//! requests that a web page elsewhere made a browser send (`guard`).

mod access;
mod admit;
mod api;
mod body;
mod buckets;
mod debug;
mod diagnosis;
mod doors;
mod explain;
mod guard;
pub mod index;
mod live;
pub mod moves;
mod orders;
mod page;
mod preview;
mod problems;
mod query;
mod releases;
mod reloads;
pub mod status;

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use crate::control::Handle;
use crate::doctor::Began;
use crate::env::Env;
use crate::observe::metrics::Metrics;
use crate::observe::runtime::Seen;
use diagnosis::Diagnosis;
use live::Live;
use preview::Desk;

pub(crate) use doors::Door;

/// Scrapes rendered at once: each has a thread, and goes on when whoever asked has gone.
const SCRAPES_MAX: usize = 2;
/// Where another process is asked for.
const UPGRADE: &str = "/api/v1/upgrade";
/// Largest head.
const HEAD_MAX: usize = 16 << 10;

/// The admin API, before it is served.
pub struct Admin {
    handle: Handle,
    metrics: Metrics,
    began: Began,
    ask_workers: AskWorkers,
}

/// Asks each worker how it does; they answer when they get to it.
pub(crate) type AskWorkers = Box<dyn Fn() -> Vec<oneshot::Receiver<(Seen, Instant)>>>;

impl Admin {
    /// Answers about what `handle` talks to.
    #[must_use]
    pub fn new(handle: Handle, metrics: Metrics) -> Self {
        Self { handle, metrics, began: Began::now(), ask_workers: Box::new(Vec::new) }
    }

    /// The same; workers can be asked by `ask`.
    pub(crate) fn with_workers(self, ask: AskWorkers) -> Self {
        Self { ask_workers: ask, ..self }
    }
}

/// What answers.
struct Service<E: Env> {
    env: E,
    handle: Handle,
    metrics: Metrics,
    instance: String,
    diagnosis: Diagnosis,
    live: Live,
    previews: Desk,
    connections: RefCell<doors::Connections>,
    refusals: admit::Refusals,
    ask_workers: AskWorkers,
    /// Scrapes that may begin now.
    scrapes: Arc<Semaphore>,
    /// Whether a profile is being taken.
    profiling: Cell<bool>,
    /// Requests under way, but those that wait for another process.
    under_way: Cell<usize>,
    /// Connections that have not asked anything yet.
    silent: Cell<usize>,
}

impl<E: Env> Service<E> {
    fn new(env: E, Admin { handle, metrics, began, ask_workers }: Admin) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let instance = format!("{}:{}", host.trim(), std::process::id());
        let (connections, refusals) = (RefCell::default(), admit::Refusals::default());
        let (diagnosis, profiling) = (Diagnosis::new(began), Cell::new(false));
        let (live, previews) = (Live::default(), Desk::default());
        Self {
            env,
            handle,
            metrics,
            instance,
            diagnosis,
            live,
            previews,
            connections,
            refusals,
            ask_workers,
            scrapes: Arc::new(Semaphore::new(SCRAPES_MAX)),
            profiling,
            under_way: Cell::new(0),
            silent: Cell::new(0),
        }
    }

    /// Looks once a second at what happens, for whoever follows it.
    async fn watch(&self) {
        self.live.run(&self.handle, &self.instance, || self.clock()).await;
    }
}

#[cfg(test)]
mod tests;
