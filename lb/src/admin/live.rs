//! What happens now, for whoever looks: a stream of Server-Sent Events.
//!
//! Counts are looked at once a second, however many look on, and kept for five minutes; the state of
//! everything is gathered only when it changed and only while somebody looks. Each piece is rendered
//! once and shared. Whoever reads too slowly is let go, and comes back with the id of the last event
//! seen. Nothing here is on the way of a request.

mod sample;
mod state;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::body::AnswerBody;
use super::releases;
use super::status::Clock;
use crate::control::Handle;
use crate::observe::journal::Journal;
use sample::{Look, Sampler};
use state::Mark;

/// Streams at once.
pub(super) const VIEWERS_MAX: usize = 16;
/// Pieces that may wait for one: so many seconds without reading are borne.
const WAITING_MAX: usize = 16;
/// A stream ends after this long and its reader comes again: before the connection has to go, and so
/// that who may look is asked again.
const STREAM_AGE: Duration = Duration::from_secs(100);
/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Events told at once: to a newcomer, and in one second.
const EVENTS_MAX: usize = 500;
/// What a reader waits before it comes again, if it knows no better.
const RETRY: &str = "retry: 1000\n\n";

/// The streams, and what they share.
#[derive(Default)]
pub(super) struct Live(RefCell<Inner>);

#[derive(Default)]
struct Inner {
    sampler: Sampler,
    viewers: Vec<mpsc::Sender<Bytes>>,
    /// The newest event that was told.
    event: u64,
    state: Option<(Mark, Value)>,
    releases: Value,
}

impl Live {
    /// Looks once a second, for ever.
    pub(super) async fn run(&self, handle: &Handle, instance: &str, clock: impl Fn() -> Clock) {
        let mut ticks = interval(EVERY);
        // After a pause the rate of a second matters, not the seconds that were missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.0.borrow_mut().tick(handle, instance, clock());
        }
    }

    /// One more stream, which goes on after event `since`; `None` if there are too many.
    pub(super) fn join(&self, handle: &Handle, instance: &str, clock: Clock, since: Option<u64>) -> Option<AnswerBody> {
        let inner = &mut *self.0.borrow_mut();
        inner.viewers.retain(|viewer| !viewer.is_closed());
        if inner.viewers.len() >= VIEWERS_MAX {
            return None;
        }
        let (sender, pieces) = mpsc::channel(WAITING_MAX);
        // It is empty: the first piece has room.
        let _ = sender.try_send(inner.welcome(handle, instance, clock, since));
        inner.viewers.push(sender);
        Some(AnswerBody::Stream { pieces, end: Box::pin(sleep(STREAM_AGE)), working: None })
    }
}

impl Inner {
    fn tick(&mut self, handle: &Handle, instance: &str, clock: Clock) {
        let look = Look::at(&handle.snapshot());
        let sample = self.sampler.take(clock.now, millis(clock.wall), look).map(|sample| frame("sample", sample));
        self.viewers.retain(|viewer| !viewer.is_closed());
        if self.viewers.is_empty() {
            // Who comes is told all anew.
            self.state = None;
            self.event = handle.journal().read(None, 0).last;
            return;
        }
        let (events, last) = events(handle.journal(), Some(self.event));
        // A comment where there is no news: a reader notices a line that went dead.
        let mut piece = sample.unwrap_or_else(|| ": still here\n\n".to_owned()) + &events;
        self.event = last;
        if self.refresh(handle, instance, clock)
            && let Some((_, state)) = &self.state
        {
            piece += &frame("state", state);
        }
        let releases = releases::all(handle);
        if releases != self.releases {
            piece += &frame("releases", &releases);
            self.releases = releases;
        }
        let piece = Bytes::from(piece);
        self.viewers.retain(|viewer| viewer.try_send(piece.clone()).is_ok());
    }

    /// Gathers the state again if it may have changed; whether it did.
    fn refresh(&mut self, handle: &Handle, instance: &str, clock: Clock) -> bool {
        let mark = Mark::of(handle, clock.wall);
        if self.state.as_ref().is_some_and(|(before, _)| *before == mark) {
            return false;
        }
        let state = state::of(handle, instance, clock);
        let changed = self.state.as_ref().is_none_or(|(_, before)| *before != state);
        self.state = Some((mark, state));
        changed
    }

    /// All that a newcomer has to know.
    fn welcome(&mut self, handle: &Handle, instance: &str, clock: Clock, since: Option<u64>) -> Bytes {
        // The others hear of it with the next tick, which must still find a difference: so it is not kept.
        let state = match &self.state {
            Some((mark, state)) if *mark == Mark::of(handle, clock.wall) => state.clone(),
            _ => state::of(handle, instance, clock),
        };
        let history: Vec<&Value> = self.sampler.history().collect();
        let (events, _) = events(handle.journal(), since);
        let releases = frame("releases", &releases::all(handle));
        let history = frame("history", &serde_json::json!(history));
        Bytes::from(format!("{RETRY}{}{releases}{history}{events}", frame("state", &state)))
    }
}

/// Events after `since` (or the newest) as frames with ids, and the id to go on from.
fn events(journal: &Journal, since: Option<u64>) -> (String, u64) {
    let last = journal.read(None, 0).last;
    // An id of the process before this one: its reader begins anew.
    let since = since.filter(|since| *since <= last);
    let stretch = journal.read(since, EVENTS_MAX);
    let mut text = String::new();
    for event in &stretch.events {
        // Neither writing to a String nor an event as JSON can fail.
        let _ = write!(text, "id: {}\nevent: event\ndata: {}\n\n", event.id, serde_json::json!(&**event));
    }
    let told = stretch.events.last().map_or_else(|| since.unwrap_or(last), |event| event.id);
    (text, told)
}

/// JSON has no line ends of its own, so one `data` line holds it.
fn frame(name: &str, value: &Value) -> String {
    format!("event: {name}\ndata: {value}\n\n")
}

fn millis(wall: SystemTime) -> u64 {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::journal::{Kind, Level};

    #[test]
    fn events_go_on_where_the_reader_was() {
        let journal = Journal::new(|| SystemTime::UNIX_EPOCH);
        assert_eq!(events(&journal, None), (String::new(), 0));
        for n in 1..=3 {
            journal.record(Kind::Started, Level::Info, format!("line\n{n}"), json!({}));
        }
        let (text, last) = events(&journal, Some(1));
        assert_eq!((text.matches("id: ").count(), last), (2, 3));
        assert!(text.starts_with("id: 2\nevent: event\ndata: {\"id\":2,"), "{text}");
        assert!(text.contains(r"line\n2"), "a line end is escaped: {text}");
        assert_eq!(events(&journal, Some(3)), (String::new(), 3));
        assert_eq!(events(&journal, Some(99)).0.matches("id: ").count(), 3, "an id of another process");
    }
}
