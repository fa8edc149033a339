//! Counters that no worker writes, from one process to the next: what control counts, what belongs to
//! the process, what the kernel told of ways to endpoints.
//!
//! These can only be added to, so what was added is remembered. Series that are not there by this
//! process's configuration are left out.

use std::sync::Mutex;
use std::sync::PoisonError;

use prometheus::IntCounterVec;
use prometheus::core::Collector as _;
use weir_core::carry::{Kind, Row, Subject, Totals};

use super::Metrics;
use super::table::{self, Metric};

/// What was added to counters so far.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Totals>);

/// The only name within such a subject.
const COUNT: &str = "count";

impl Ledger {
    /// By how much what is told of this series is more than was told before.
    fn rise(&self, subject: &Subject, told: &Totals) -> u64 {
        let Some(row) = told.get(subject) else { return 0 };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).rise(subject, COUNT, row.get(COUNT))
    }
}

/// The subject of one series.
fn subject(metric: &Metric, labels: &[&str]) -> Subject {
    let mut names = vec![metric.name];
    names.extend(labels);
    Subject::new(Kind::Metric, &names)
}

fn note(all: &mut Totals, metric: &Metric, labels: &[&str], count: u64) {
    let mut row = Row::default();
    row.set(COUNT, count);
    all.note(subject(metric, labels), row);
}

/// Shows each series of a counter: its labels in the order of the table.
fn each_series(metric: &Metric, counter: &IntCounterVec, mut see: impl FnMut(&[&str], u64)) {
    for family in counter.collect() {
        for series in family.get_metric() {
            let value =
                |name: &&str| series.get_label().iter().find(|pair| pair.name() == *name).map(|pair| pair.value());
            let labels: Vec<&str> = metric.labels.iter().filter_map(value).collect();
            see(&labels, series.get_counter().get_value() as u64);
        }
    }
}

impl Metrics {
    /// All that is counted here, as totals.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut all = Totals::default();
        for (metric, counter) in self.control.counters() {
            each_series(&metric, counter, |labels, count| note(&mut all, &metric, labels, count));
        }
        for (cluster, row) in self.control.durations() {
            all.note(subject(&table::CHECK_DURATION, &[&cluster]), row);
        }
        for (metric, labels, count) in self.counts.counters() {
            note(&mut all, &metric, labels, count.load(std::sync::atomic::Ordering::Relaxed));
        }
        for (address, [segments, retransmitted]) in self.sockets.totals() {
            note(&mut all, &table::UPSTREAM_SEGMENTS, &[&address], segments);
            note(&mut all, &table::UPSTREAM_RETRANSMITTED, &[&address], retransmitted);
        }
        all
    }

    /// Goes on from what another process has counted, or counted since it was last told.
    pub fn carry(&self, told: &Totals) {
        for (metric, counter) in self.control.counters() {
            each_series(&metric, counter, |labels, _| {
                let more = self.ledger.rise(&subject(&metric, labels), told);
                counter.with_label_values(labels).inc_by(more);
            });
        }
        self.control.carry_durations(|cluster| told.get(&subject(&table::CHECK_DURATION, &[cluster])));
        for (metric, labels, count) in self.counts.counters() {
            let more = self.ledger.rise(&subject(&metric, labels), told);
            count.fetch_add(more, std::sync::atomic::Ordering::Relaxed);
        }
        self.sockets.carry(|address| {
            let of = |metric: &Metric| told.get(&subject(metric, &[address])).map_or(0, |row| row.get(COUNT));
            [of(&table::UPSTREAM_SEGMENTS), of(&table::UPSTREAM_RETRANSMITTED)]
        });
    }
}
