//! How a thread's runtime does: what it has to do, and whether it gets to it.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What a worker tells of itself, and when.
pub type Asked = oneshot::Sender<(Seen, Instant)>;

/// One thread, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections of clients that are open.
    pub connections: usize,
    /// Requests and sessions under way.
    pub requests: usize,
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Tasks of other threads' making that wait to be taken up.
    pub queued: usize,
    /// How often it had nothing to do, so far.
    pub parks: u64,
    /// How long it had something to do, so far.
    pub busy: Duration,
}

impl Seen {
    /// Of the calling thread's runtime; nothing, if it has none. Of connections and requests only
    /// its owner knows.
    #[must_use]
    pub fn here() -> Self {
        let Ok(runtime) = Handle::try_current() else { return Self::default() };
        let metrics = runtime.metrics();
        Self {
            tasks: metrics.num_alive_tasks(),
            queued: metrics.global_queue_depth(),
            parks: metrics.worker_park_count(0),
            busy: metrics.worker_total_busy_duration(0),
            ..Self::default()
        }
    }
}
