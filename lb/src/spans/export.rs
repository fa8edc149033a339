//! The thread that sends spans: gathers what workers hand over, and posts it by the batch.
//!
//! One batch is under way at a time; meanwhile what comes waits in the queue, and over its bound it
//! is dropped. A batch that does not get through is tried again a few times, then dropped too.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until, timeout};
use weir_core::dice::Dice;

use super::post::{Failed, Poster, Step};
use super::protobuf::Partial;
use super::queue::{Parcel, Shared, Target};
use super::span;
use super::verdict::{self, News, TRIES_MAX, Told, Verdict};
use crate::env::Env;
use crate::observe::spans::{Dropped, Failure};

/// At the end, what waits gets this long to get through.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Without spans there is nothing to wait for.
const NEVER: Duration = Duration::from_secs(3600);

/// The other end of the queue.
#[derive(Debug)]
pub(crate) struct Exporter {
    parcels: UnboundedReceiver<Parcel>,
    shared: Arc<Shared>,
}

impl Exporter {
    pub(super) const fn new(parcels: UnboundedReceiver<Parcel>, shared: Arc<Shared>) -> Self {
        Self { parcels, shared }
    }

    #[cfg(test)]
    pub(super) const fn parcels(&mut self) -> &mut UnboundedReceiver<Parcel> {
        &mut self.parcels
    }

    /// Sends from a thread of its own, until every worker has gone.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start<E: Env>(self, env: E) -> io::Result<Sending> {
        let (end, ended) = sync_channel(1);
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new().name("weir-traces".into()).spawn(move || {
            match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime.block_on(self.run(env)),
                Err(error) => tracing::error!(%error, "cannot start the runtime that exports traces"),
            }
            // Nobody waits any more if it took too long.
            let _ = end.try_send(());
        })?;
        Ok(Sending { shared, ended })
    }

    /// Sends until every worker has gone.
    pub(crate) async fn run<E: Env>(mut self, env: E) {
        let dice = env.dice("traces");
        let mut sender = Sender {
            shared: Arc::clone(&self.shared),
            poster: Poster::new(env),
            dice,
            told: Told::default(),
            ends: None,
        };
        let mut pending = Pending::default();
        loop {
            let target = sender.target();
            let otlp = target.as_ref().map(|target| &target.otlp);
            // Without a receiver they are dropped at once, and counted.
            let batch = otlp.map_or(usize::MAX, |otlp| otlp.batch as usize);
            let due = pending.since.map(|since| since + otlp.map_or(Duration::ZERO, |otlp| otlp.interval));
            if pending.lengths.len() < batch {
                tokio::select! {
                    biased;
                    parcel = self.parcels.recv() => match parcel {
                        Some(parcel) => {
                            pending.take_in(parcel);
                            continue;
                        }
                        None => break,
                    },
                    () = self.shared.changed.notified() => continue,
                    () = sleep_until(due.unwrap_or_else(|| Instant::now() + NEVER)) => {}
                }
            }
            sender.send(&mut pending, batch).await;
        }
        while !pending.lengths.is_empty() {
            let batch = sender.target().map_or(usize::MAX, |target| target.otlp.batch as usize);
            sender.send(&mut pending, batch).await;
        }
    }
}

/// The thread that sends, for whoever ends the process.
#[derive(Debug)]
pub(crate) struct Sending {
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

impl Sending {
    /// Every worker has gone: what waits is sent, if that can be done in a moment.
    pub(crate) fn finish(self) {
        self.shared.wanted(|wanted| wanted.stop = true);
        self.shared.changed.notify_one();
        if self.ended.recv_timeout(LAST_WORDS + Duration::from_secs(1)).is_err() {
            tracing::warn!("traces cannot be exported: the last spans are lost");
        }
    }
}

/// Spans that are to go with the next batch, or one of the next.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    lengths: Vec<u32>,
    /// The first came in.
    since: Option<Instant>,
}

impl Pending {
    fn take_in(&mut self, parcel: Parcel) {
        self.since.get_or_insert_with(Instant::now);
        if self.bytes.is_empty() {
            self.bytes = parcel.bytes;
        } else {
            self.bytes.extend_from_slice(&parcel.bytes);
        }
        self.lengths.extend(parcel.lengths);
    }

    /// Takes the first spans out, at most so many; and how many those are.
    fn take(&mut self, most: usize) -> (Vec<u8>, usize) {
        let count = most.clamp(1, self.lengths.len().max(1)).min(self.lengths.len());
        let bytes = self.lengths.drain(..count).map(|length| length as usize).sum::<usize>().min(self.bytes.len());
        let rest = self.bytes.split_off(bytes);
        if self.lengths.is_empty() {
            self.since = None;
        }
        (std::mem::replace(&mut self.bytes, rest), count)
    }
}

/// Sends batches, one after the other.
struct Sender<E: Env> {
    shared: Arc<Shared>,
    poster: Poster<E>,
    dice: Dice,
    told: Told,
    /// By when it must be over, once the process ends.
    ends: Option<Instant>,
}

impl<E: Env> Sender<E> {
    fn target(&self) -> Option<Arc<Target>> {
        self.shared.wanted(|wanted| wanted.target.clone())
    }

    /// Whether the process ends; from then on the clock runs.
    fn is_stopping(&mut self) -> bool {
        if self.ends.is_none() && self.shared.wanted(|wanted| wanted.stop) {
            self.ends = Some(Instant::now() + LAST_WORDS);
        }
        self.ends.is_some()
    }

    /// Sends one batch, however that ends.
    async fn send(&mut self, pending: &mut Pending, most: usize) {
        let (spans, count) = pending.take(most);
        if count == 0 {
            return;
        }
        let counts = Arc::clone(&self.shared.counts);
        match self.deliver(&spans, count).await {
            Ok(rejected) => {
                counts.spans.exported(count - rejected);
                counts.spans.lost(Dropped::Rejected, rejected);
            }
            Err(why) => counts.spans.lost(why, count),
        }
        self.shared.done(count);
    }

    /// How many of the spans were rejected; or why all of them are lost.
    async fn deliver(&mut self, spans: &[u8], count: usize) -> Result<usize, Dropped> {
        for number in 1.. {
            // Looked at anew each time: a reload may have brought another.
            let Some(target) = self.target() else { return Err(Dropped::Off) };
            let stopping = self.is_stopping();
            let left = self.ends.map(|ends| ends.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Dropped::Shutdown);
            }
            let body = Bytes::from(span::request(&target.resource, spans));
            let patience = left.map_or(target.otlp.timeout, |left| left.min(target.otlp.timeout));
            let posted = tokio::select! {
                posted = timeout(patience, self.poster.post(&target.otlp, body)) => Some(posted),
                () = other(&self.shared, &target), if !stopping => None,
            };
            let answer = match posted {
                // The process ends while nobody answers, or a reload has brought another receiver.
                None => continue,
                Some(Ok(answered)) => answered,
                Some(Err(_)) => Err(Failed { step: Step::Timeout, words: "no answer in time".into() }),
            };
            let said = answer.as_ref().ok().map(|(said, _)| said);
            match (verdict::judge(said), &answer) {
                (Verdict::Sent, Ok((_, body))) => return Ok(self.taken(&target, body, count)),
                (Verdict::Refused, Ok((said, _))) => {
                    self.shared.counts.spans.failed(Failure::Status);
                    let words = format!("it answered {}: {count} spans are lost", said.status);
                    self.tell(&target, News::Status(said.status), &words);
                    return Err(Dropped::Rejected);
                }
                (verdict, answer) => {
                    let (failure, news, words) = match answer {
                        Ok((said, _)) => {
                            (Failure::Status, News::Status(said.status), format!("it answered {}", said.status))
                        }
                        Err(failed) => (failure(failed.step), News::Silent(failed.step), failed.words.clone()),
                    };
                    self.shared.counts.spans.failed(failure);
                    self.tell(&target, news, &words);
                    if number >= TRIES_MAX || stopping {
                        return Err(if stopping { Dropped::Shutdown } else { Dropped::Unreachable });
                    }
                    let asked = if let Verdict::Again(asked) = verdict { asked } else { None };
                    let until = Instant::now() + verdict::pause(number, asked, &mut self.dice);
                    tokio::select! {
                        () = sleep_until(until) => {}
                        // The process ends, or another receiver is to have them.
                        () = self.shared.changed.notified() => {}
                    }
                }
            }
        }
        Err(Dropped::Unreachable)
    }

    /// The receiver has them; some of them it may have thrown away.
    fn taken(&mut self, target: &Target, answer: &[u8], count: usize) -> usize {
        let partial = Partial::read(answer);
        let rejected = usize::try_from(partial.rejected).unwrap_or(usize::MAX).min(count);
        if rejected > 0 {
            self.shared.counts.spans.failed(Failure::Partial);
            let words = format!("it took not all spans, but rejected {rejected} of {count}: {}", partial.message);
            self.tell(target, News::Partial, &words);
        } else if self.told.tells_well() {
            tracing::info!(endpoint = %target.otlp.endpoint, "traces are exported again");
        } else if !partial.message.is_empty() && self.told.tells(News::Warning, Instant::now()) {
            tracing::info!(endpoint = %target.otlp.endpoint, "the receiver of traces warns: {}", partial.message);
        }
        rejected
    }

    /// Tells of trouble, but not of the same over and over.
    fn tell(&mut self, target: &Target, news: News, words: &str) {
        if self.told.tells(news, Instant::now()) {
            tracing::warn!(endpoint = %target.otlp.endpoint, "cannot export traces: {words}");
        }
    }
}

/// Ready once the process ends, or something else is wanted than `target`.
async fn other(shared: &Shared, target: &Arc<Target>) {
    let same = |before: &Arc<Target>| Arc::ptr_eq(before, target);
    while shared.wanted(|wanted| !wanted.stop && wanted.target.as_ref().is_some_and(same)) {
        shared.changed.notified().await;
    }
}

const fn failure(step: Step) -> Failure {
    match step {
        Step::Timeout => Failure::Timeout,
        Step::Resolve => Failure::Resolve,
        Step::Connect => Failure::Connect,
        Step::Tls => Failure::Tls,
        Step::Exchange => Failure::Broken,
    }
}
