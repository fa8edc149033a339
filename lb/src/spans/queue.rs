//! From workers to the thread that sends: bounded, and nobody waits.
//!
//! Each worker gathers spans in a buffer of its own and hands it over at its tick, or when it is
//! large. What waits is counted in spans over all workers; what is over the bound is dropped there.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use weir_config::model::{ClusterName, Config, ListenerName, Otlp};
use weir_core::trace::TraceId;

use super::export::Exporter;
use super::span::{self, Attributes, Span};
use crate::observe::ProcessCounts;
use crate::observe::exemplars::Exemplar;
use crate::observe::spans::Dropped;

/// A buffer is handed over when it has this many bytes, or at the worker's next tick.
const BATCH: usize = 32 * 1024;
/// Exemplars kept until then: more would only replace each other.
const EXEMPLARS_MAX: usize = 64;

/// What is wanted of whoever sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) otlp: Otlp,
    /// `Resource`, in the form of the wire.
    pub(super) resource: Vec<u8>,
}

/// What both sides know.
#[derive(Debug)]
pub(super) struct Shared {
    /// Spans handed over that are not done with.
    pub(super) waiting: AtomicUsize,
    /// As many as may be.
    pub(super) limit: AtomicUsize,
    pub(super) wanted: Mutex<Wanted>,
    /// That changed.
    pub(super) changed: Notify,
    pub(super) counts: Arc<ProcessCounts>,
}

/// Beside the channel and not in it: whoever wants something must not wait behind spans.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) target: Option<Arc<Target>>,
    pub(super) stop: bool,
}

impl Shared {
    pub(super) fn wanted<T>(&self, look: impl FnOnce(&mut Wanted) -> T) -> T {
        look(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// So many spans wait no longer.
    pub(super) fn done(&self, spans: usize) {
        let left = self.waiting.fetch_sub(spans, Relaxed).saturating_sub(spans);
        self.counts.spans.waiting.store(left as u64, Relaxed);
    }
}

/// Spans as they are handed over.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    /// One after the other, each as a field of `ScopeSpans`.
    pub(super) bytes: Vec<u8>,
    /// How long each is.
    pub(super) lengths: Vec<u32>,
}

/// Both ends: for the workers, for whoever knows the configuration, and for who sends.
pub(crate) fn pair(counts: Arc<ProcessCounts>) -> (SpanWriter, Remote, Exporter) {
    let (sender, receiver): (_, UnboundedReceiver<Parcel>) = unbounded_channel();
    let shared = Arc::new(Shared {
        waiting: AtomicUsize::new(0),
        limit: AtomicUsize::new(0),
        wanted: Mutex::default(),
        changed: Notify::new(),
        counts,
    });
    let writer = SpanWriter { parcel: Parcel::default(), exemplars: Vec::new(), sender, shared: Arc::clone(&shared) };
    (writer, Remote(Arc::clone(&shared)), Exporter::new(receiver, shared))
}

/// Says where spans go.
#[derive(Clone, Debug)]
pub(crate) struct Remote(Arc<Shared>);

impl Remote {
    /// They go where `config` says from now on; those that wait go there too, if that is anywhere.
    pub(crate) fn retarget(&self, config: &Config) {
        let wanted = config.tracing.as_ref().and_then(|tracing| Some((tracing, tracing.otlp.clone()?)));
        self.0.limit.store(wanted.as_ref().map_or(0, |(_, otlp)| otlp.queue as usize), Relaxed);
        let target = wanted.map(|(tracing, otlp)| {
            let zone = config.zone.as_ref().map(|zone| zone.as_str());
            Arc::new(Target { otlp, resource: span::resource(&tracing.service_name, zone) })
        });
        // What stays is not interrupted.
        let changed = self.0.wanted(|wanted| {
            let changed = wanted.target != target;
            if changed {
                wanted.target = target;
            }
            changed
        });
        if changed {
            self.0.changed.notify_one();
        }
    }
}

/// A worker's end.
#[derive(Debug)]
pub(crate) struct SpanWriter {
    parcel: Parcel,
    exemplars: Vec<(ListenerName, ClusterName, Exemplar)>,
    sender: UnboundedSender<Parcel>,
    shared: Arc<Shared>,
}

impl SpanWriter {
    /// An end of the same queue, for another worker.
    pub(crate) fn another(&self) -> Self {
        Self {
            parcel: Parcel::default(),
            exemplars: Vec::new(),
            sender: self.sender.clone(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Adds a span, with what `more` says of it.
    pub(crate) fn put(&mut self, span: &Span<'_>, more: impl FnOnce(&mut Attributes<'_>)) {
        let before = self.parcel.bytes.len();
        span.put(&mut self.parcel.bytes, more);
        // A span is bounded far below 4 GiB by the length of its texts.
        self.parcel.lengths.push((self.parcel.bytes.len() - before) as u32);
    }

    /// A sampled request that took so long: an example for the histogram it is counted in.
    pub(crate) fn example(
        &mut self,
        listener: &ListenerName,
        cluster: &ClusterName,
        took: Duration,
        trace: TraceId,
        at: SystemTime,
    ) {
        if self.exemplars.len() < EXEMPLARS_MAX {
            let exemplar = Exemplar { trace: span::hex(trace), took, at };
            self.exemplars.push((listener.clone(), cluster.clone(), exemplar));
        }
    }

    /// Whether so much has gathered that it should be handed over at once.
    pub(crate) fn is_large(&self) -> bool {
        self.parcel.bytes.len() >= BATCH
    }

    /// Hands over what has gathered.
    pub(crate) fn flush(&mut self) {
        if !self.exemplars.is_empty() {
            self.shared.counts.exemplars.take_in(&mut self.exemplars);
        }
        if self.parcel.lengths.is_empty() {
            return;
        }
        let (shared, mut parcel) = (&self.shared, std::mem::take(&mut self.parcel));
        let all = parcel.lengths.len();
        let before = shared.waiting.fetch_add(all, Relaxed);
        let room = shared.limit.load(Relaxed).saturating_sub(before).min(all);
        if room < all {
            shared.waiting.fetch_sub(all - room, Relaxed);
            shared.counts.spans.lost(Dropped::QueueFull, all - room);
            parcel.lengths.truncate(room);
            parcel.bytes.truncate(parcel.lengths.iter().map(|length| *length as usize).sum());
        }
        if room == 0 {
            return;
        }
        shared.counts.spans.waiting.store((before + room) as u64, Relaxed);
        // There is nobody who sends only in a world without a network.
        if self.sender.send(parcel).is_err() {
            shared.done(room);
            shared.counts.spans.lost(Dropped::Shutdown, room);
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_core::dice::Dice;
    use weir_core::trace::{Context, SpanId};

    use super::super::span::Kind;
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_the_rest_is_counted() {
        let config = "listeners: [{name: web, bind: '127.0.0.1:80', cluster: app}]\n\
                      clusters: [{name: app, endpoints: ['127.0.0.1:81']}]\n\
                      tracing: {otlp: {endpoint: 'http://127.0.0.1:1', queue: 5, batch: 2}}\n";
        let config = weir_config::parse_str(config).unwrap().config;
        let counts = Arc::new(ProcessCounts::default());
        let (mut writer, remote, mut exporter) = pair(Arc::clone(&counts));
        remote.retarget(&config);
        let mut dice = Dice::new(1);
        let mut put = |writer: &mut SpanWriter, spans: usize| {
            for _ in 0..spans {
                let context = Context { trace: TraceId::roll(&mut dice), span: SpanId::roll(&mut dice), flags: 1 };
                let now = SystemTime::UNIX_EPOCH;
                let (kind, name) = (Kind::Server, "GET");
                let span = Span { context, parent: None, state: "", name, kind, from: now, to: now, error: None };
                writer.put(&span, |more| more.text("url.path", [b'x'; 5000]));
            }
            writer.flush();
        };
        put(&mut writer, 3);
        put(&mut writer.another(), 4);
        put(&mut writer, 1);
        assert_eq!(counts.spans.dropped(Dropped::QueueFull), 3);
        assert_eq!(counts.spans.waiting.load(Relaxed), 5);
        let got: Vec<_> = std::iter::from_fn(|| exporter.parcels().try_recv().ok()).collect();
        assert_eq!(got.iter().map(|parcel| parcel.lengths.len()).collect::<Vec<_>>(), [3, 2]);
        for Parcel { bytes, lengths } in got {
            assert_eq!(bytes.len(), lengths.iter().map(|length| *length as usize).sum::<usize>());
            // However long what a client sends.
            assert!(lengths.iter().all(|length| *length < 1200), "{lengths:?}");
        }
    }
}
