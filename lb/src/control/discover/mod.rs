//! Looks at sources of endpoints as the core orders, and gives back what was found.
//!
//! It decides nothing: when to look, what of an answer is in force and for how long, is
//! `weir_core::discovery`. Names go through the world's door ([`Env::lookup`]), files are read and
//! watched here.

mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use weir_config::model::{Source, SourceKind};
use weir_core::control::{Found, Look, SourceKey};
use weir_core::discovery::Answer;

use crate::env::{Env, Lookup};

/// Names looked up at once; each takes some sockets. The rest wait their turn.
const LOOKS_MAX: usize = 64;

/// What the file at the absolute `path` tells now.
pub(crate) async fn once(path: &Path, source: &Source) -> Option<Answer> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let follow = file::follow(path, source, move |answer| _ = tell.send(answer));
    tokio::select! {
        answer = told.recv() => answer,
        () = follow => None,
    }
}

/// Looks at sources, on the thread of the control loop.
pub struct Discoverer<E: Env> {
    env: E,
    /// Relative paths of files count from here.
    folder: PathBuf,
    results: mpsc::UnboundedSender<Found>,
    permits: Rc<Semaphore>,
    /// The newest look at each source.
    under_way: BTreeMap<Arc<SourceKey>, AbortHandle>,
    // Dropped with the discoverer, and its looks with it.
    tasks: JoinSet<()>,
}

impl<E: Env> Discoverer<E> {
    /// A discoverer that reports to `results`. That channel needs no bound: a name gives one
    /// result for each order, and a file one for each change, several times a second at the most.
    pub fn new(env: E, folder: PathBuf, results: mpsc::UnboundedSender<Found>) -> Self {
        let permits = Rc::new(Semaphore::new(LOOKS_MAX));
        Self { env, folder, results, permits, under_way: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Looks as ordered, now; an older look at the same source is given up. Should one panic, no
    /// result comes: the core asks again.
    pub fn start(&mut self, look: Look) {
        // Reap, so that the set holds only what runs.
        while self.tasks.try_join_next().is_some() {}
        let Look { key, number, source, cluster } = look;
        self.stop(&key);
        let (env, results, about) = (self.env.clone(), self.results.clone(), Arc::clone(&key));
        // Sending fails only when the loop has ended, and then nobody wants it.
        let tell = move |answer| _ = results.send(Found { key: Arc::clone(&about), number, answer });
        let task = match &source.kind {
            SourceKind::File(path) => {
                let path = self.folder.join(path);
                self.tasks.spawn_local(async move { file::follow(&path, &source, tell).await })
            }
            SourceKind::Name { .. } | SourceKind::Srv(_) => {
                let permits = Rc::clone(&self.permits);
                let what = Lookup { source, resolve: cluster.resolve.clone() };
                self.tasks.spawn_local(async move {
                    // The semaphore is never closed.
                    let _permit = permits.acquire().await;
                    tell(env.lookup(&what).await);
                })
            }
        };
        self.under_way.insert(key, task);
    }

    /// No longer looks at a source.
    pub fn stop(&mut self, key: &SourceKey) {
        if let Some(task) = self.under_way.remove(key) {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
