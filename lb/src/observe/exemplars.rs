//! For each bucket of a latency histogram, the trace of the last sampled request that fell into it:
//! the way from a dashboard's point to a request (OpenMetrics exemplars).
//!
//! Workers hand them over with their spans; a scrape reads them. Bounded by what has a histogram.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use weir_config::model::{ClusterName, ListenerName};
use weir_core::load::Histogram;

/// A request that stands for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exemplar {
    /// The id of its trace, as people write it.
    pub(crate) trace: String,
    pub(crate) took: Duration,
    /// When it ended.
    pub(crate) at: SystemTime,
}

/// One for each bucket, the last of which has no bound.
type Row = [Option<Exemplar>; Histogram::BOUNDS.len() + 1];

/// Rows kept; with more, all begin anew: those of names that are no more must go.
const ROWS_MAX: usize = 1000;

/// The newest of each bucket, by listener and cluster.
#[derive(Debug, Default)]
pub(crate) struct Exemplars(Mutex<BTreeMap<(ListenerName, ClusterName), Row>>);

impl Exemplars {
    /// Takes in what a worker has gathered; if a scrape is reading, next time.
    pub(crate) fn take_in(&self, gathered: &mut Vec<(ListenerName, ClusterName, Exemplar)>) {
        let Ok(mut rows) = self.0.try_lock() else { return };
        for (listener, cluster, exemplar) in gathered.drain(..) {
            if rows.len() >= ROWS_MAX {
                rows.clear();
            }
            let row = rows.entry((listener, cluster)).or_default();
            let bucket = Histogram::bucket(exemplar.took);
            row[bucket] = Some(exemplar);
        }
    }

    /// All there are, as text: by listener and cluster.
    pub(crate) fn read(&self) -> BTreeMap<(String, String), Row> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |((listener, cluster), row): (&(ListenerName, ClusterName), &Row)| {
            ((listener.as_str().to_owned(), cluster.as_str().to_owned()), row.clone())
        };
        rows.iter().map(text).collect()
    }
}
