//! The memory of an incident: the last things that happened, in order, each with its evidence.
//!
//! A bounded ring, written on the control thread, read by the admin API. Each event also goes out
//! as one structured log line. Not an audit log: it lives as long as the process.

mod kind;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

pub use kind::{Kind, Told};

/// Events kept; the oldest go first.
pub const CAPACITY: usize = 10_000;

/// How much an event matters to whoever is on call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// All is as intended.
    Info,
    /// Worth a look.
    Warn,
    /// Something is lost or refused.
    Error,
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Rises by one with each event, from 1.
    pub id: u64,
    /// The wall clock, UTC.
    #[serde(serialize_with = "as_rfc3339")]
    pub time: Timestamp,
    /// What kind of thing.
    pub kind: Kind,
    /// How much it matters.
    pub level: Level,
    /// One sentence for people.
    pub message: String,
    /// The evidence, for programs.
    pub fields: Map<String, Value>,
}

/// Who asked for something, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asker {
    /// `loopback`, `uid 1000`, `token admin.token`, `certificate CN=ops`.
    pub who: String,
    /// Their address, or the process on the other end of a Unix socket.
    pub from: String,
}

/// The journal: a handle; clones share one ring.
#[derive(Clone)]
pub struct Journal(Rc<RefCell<Ring>>);

struct Ring {
    clock: Box<dyn Fn() -> SystemTime>,
    events: VecDeque<Rc<Event>>,
    last: u64,
    capacity: usize,
    asker: Option<Value>,
}

/// A stretch of the journal.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// In the order they happened.
    pub events: Vec<Rc<Event>>,
    /// The newest event there is, 0 if none ever was.
    pub last: u64,
    /// Events after `since` that have left the ring.
    pub lost: u64,
}

impl Journal {
    /// An empty journal that takes its time from `clock`.
    #[must_use]
    pub fn new(clock: impl Fn() -> SystemTime + 'static) -> Self {
        Self::with_capacity(CAPACITY, clock)
    }

    fn with_capacity(capacity: usize, clock: impl Fn() -> SystemTime + 'static) -> Self {
        Self(Rc::new(RefCell::new(Ring {
            clock: Box::new(clock),
            events: VecDeque::new(),
            last: 0,
            capacity,
            asker: None,
        })))
    }

    /// Notes that something happened, and logs it. `fields` that is no JSON object is left out.
    pub fn record(&self, kind: Kind, level: Level, message: impl Into<String>, fields: Value) {
        let mut fields = match fields {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        #[cfg(test)]
        kind.assert_told(level, &fields);
        let mut ring = self.0.borrow_mut();
        if let Some(asker) = &ring.asker {
            fields.insert("asked_by".to_owned(), asker.clone());
        }
        ring.last += 1;
        let time = timestamp((ring.clock)());
        let event = Rc::new(Event { id: ring.last, time, kind, level, message: message.into(), fields });
        if ring.events.len() >= ring.capacity {
            ring.events.pop_front();
        }
        ring.events.push_back(Rc::clone(&event));
        drop(ring);
        log(&event);
    }

    /// Whatever is recorded until this is called again was asked for by `asker`; its events say so, as
    /// `asked_by`.
    pub fn on_behalf(&self, asker: Option<&Asker>) {
        let told = asker.map(|Asker { who, from }| serde_json::json!({ "who": who, "from": from }));
        self.0.borrow_mut().asker = told;
    }

    /// Up to `limit` events: those right after event `since`, or without it the newest.
    #[must_use]
    pub fn read(&self, since: Option<u64>, limit: usize) -> Stretch {
        let ring = self.0.borrow();
        let first = ring.events.front().map_or(ring.last + 1, |event| event.id);
        let (skip, lost) = match since {
            // Ids have no gaps, so an event's place follows from its id.
            Some(since) => (
                usize::try_from(since.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX),
                first.saturating_sub(since.saturating_add(1)),
            ),
            None => (ring.events.len().saturating_sub(limit), 0),
        };
        let events = ring.events.iter().skip(skip).take(limit).cloned().collect();
        Stretch { events, last: ring.last, lost }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({} events)", self.0.borrow().last)
    }
}

/// `time` for people and JSON; a clock beyond the year 9999 reads as the epoch.
#[must_use]
pub fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// RFC 3339 in UTC with milliseconds: the one form of time in logs and the API.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

fn as_rfc3339<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

fn log(event: &Event) {
    let (id, kind, message) = (event.id, event.kind.as_str(), event.message.as_str());
    // `json` is merged into the line by our own formatter; see `observe::log`.
    let json = serde_json::to_string(&event.fields).unwrap_or_default();
    match event.level {
        Level::Info => tracing::info!(target: "weir::journal", event = kind, id, json, "{message}"),
        Level::Warn => tracing::warn!(target: "weir::journal", event = kind, id, json, "{message}"),
        Level::Error => tracing::error!(target: "weir::journal", event = kind, id, json, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn journal(capacity: usize, events: u64) -> Journal {
        let journal = Journal::with_capacity(capacity, || SystemTime::UNIX_EPOCH);
        for n in 0..events {
            journal.record(Kind::Started, Level::Info, format!("event {n}"), json!({ "generation": n }));
        }
        journal
    }

    fn ids(stretch: &Stretch) -> Vec<u64> {
        stretch.events.iter().map(|event| event.id).collect()
    }

    #[test]
    fn reads_after_an_id_or_the_newest() {
        let journal = journal(10, 5);
        for (since, limit, expected) in [
            (None, 2, vec![4, 5]),
            (None, 99, vec![1, 2, 3, 4, 5]),
            (Some(0), 3, vec![1, 2, 3]),
            (Some(3), 99, vec![4, 5]),
            (Some(5), 99, vec![]),
            (Some(99), 99, vec![]),
        ] {
            assert_eq!(ids(&journal.read(since, limit)), expected, "since {since:?} limit {limit}");
        }
    }

    #[test]
    fn the_ring_is_bounded_and_says_what_it_lost() {
        let journal = journal(3, 5);
        let stretch = journal.read(Some(0), 99);
        assert_eq!((ids(&stretch), stretch.lost, stretch.last), (vec![3, 4, 5], 2, 5));
        assert_eq!(journal.read(Some(2), 99).lost, 0);
        assert_eq!(ids(&journal.read(Some(u64::MAX - 1), 9)), Vec::<u64>::new());
    }

    #[test]
    fn an_event_reads_well_as_json() {
        let stretch = journal(3, 1).read(None, 1);
        let value = serde_json::to_value(&*stretch.events[0]).unwrap();
        assert_eq!(
            value,
            json!({"id": 1, "time": "1970-01-01T00:00:00.000Z", "kind": "started", "level": "info",
                   "message": "event 0", "fields": {"generation": 0}})
        );
    }

    #[test]
    fn what_was_asked_for_says_by_whom() {
        let journal = journal(3, 1);
        journal.on_behalf(Some(&Asker { who: "token a".into(), from: "10.0.0.9:1".into() }));
        journal.record(Kind::Drain, Level::Info, "drained", json!({}));
        journal.on_behalf(None);
        journal.record(Kind::Drain, Level::Info, "by itself", json!({}));
        let asked = journal
            .read(Some(0), 9)
            .events
            .iter()
            .map(|event| event.fields.get("asked_by").cloned())
            .collect::<Vec<_>>();
        assert_eq!(asked, [None, Some(json!({"who": "token a", "from": "10.0.0.9:1"})), None]);
    }

    #[test]
    fn an_empty_journal_is_no_special_case() {
        let stretch = journal(3, 0).read(Some(0), 9);
        assert_eq!((stretch.events.len(), stretch.last, stretch.lost), (0, 0, 0));
    }
}
