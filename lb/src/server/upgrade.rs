//! From this process to the next, and from the one before to this.
//!
//! The order of things: the next one is started and given sockets and knowledge. As soon as it knows its
//! endpoints it says so; this one then rests (its admin address waits, it does nothing about rollouts and
//! keeps nothing) and says the last it knows; the next one accepts; only then does this one stop
//! accepting. At no moment is nobody there, at none do both act, and whatever goes wrong before leaves
//! this one as it was. What it counts while it finishes what it has it tells until its end.

use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use weir_core::carry::Totals;
use weir_core::control::{Control, Last, Memory};

use super::StartError;
use super::gate::Handed;
use crate::admin::Door;
use crate::control::state::{self, Left, StateDir};
use crate::control::{AskUpgrade, Handle};
use crate::observe::journal::{Journal, Kind, Level};
use crate::observe::metrics::Metrics;
use crate::process::handover::{self, Legacy, Line};
use crate::process::heir::{self, Heir};
use crate::process::service;
use crate::worker::Lent;

/// What an earlier process, or whoever started this one, left.
#[derive(Debug, Default)]
pub(super) struct Inheritance {
    pub(super) sockets: Vec<handover::Left>,
    /// What the elder knew.
    known: Option<Known>,
    /// What it had counted.
    pub(super) totals: Totals,
    /// Who waits for us to serve.
    elder: Option<UnixStream>,
}

/// What is known, on its way from one process to the next. Each is text of its own form and version.
#[derive(Debug, Deserialize, Serialize)]
struct Known {
    seen: String,
    rollouts: String,
    /// `None`: of a version that knows nothing of counts, and says no last words.
    #[serde(default)]
    counts: Option<String>,
}

impl Known {
    fn text(last: &Last) -> io::Result<String> {
        let counts = state::counts::text(&last.totals);
        let known = Self {
            seen: state::memory::text(&last.memory),
            rollouts: state::rollouts_text(&last.rollouts),
            counts: Some(counts.unwrap_or_default()),
        };
        serde_json::to_string(&known).map_err(io::Error::other)
    }

    fn last(text: &str) -> Result<Last, String> {
        let Self { seen, rollouts, counts } = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(Last {
            memory: state::memory::parse(&seen)?,
            rollouts: state::rollouts(&rollouts)?,
            totals: state::counts::parse(&counts.unwrap_or_default())?,
        })
    }
}

impl Inheritance {
    /// Of the elder, if there is one; else of the service manager.
    pub(super) fn take() -> Result<Self, StartError> {
        let failed = |what| move |source| StartError::System { what, source };
        let elder = heir::elder().map_err(failed("cannot take over from the process before"))?;
        let Some(elder) = elder else {
            let sockets = service::sockets().map_err(failed("cannot use the sockets of the service manager"))?;
            return Ok(Self { sockets, ..Self::default() });
        };
        let Legacy { sockets, known } =
            handover::take(&elder).map_err(failed("cannot take over from the process before"))?;
        let known = serde_json::from_str(&known).map_err(io::Error::other);
        let known = known.map_err(failed("cannot understand the process before"))?;
        Ok(Self { sockets, known: Some(known), elder: Some(elder), totals: Totals::default() })
    }

    /// Who waits for us, and whether it has last words.
    pub(super) fn elder(&mut self) -> Option<Elder> {
        let says_its_last = self.known.as_ref().is_some_and(|known| known.counts.is_some());
        self.elder.take().map(|line| Elder { line, says_its_last })
    }

    /// Goes on where an earlier process left off: the elder, or, after a crash or a restart, the one that
    /// kept its state in the directory.
    pub(super) fn restore(
        &mut self,
        state: Option<&StateDir>,
        control: &mut Control,
        now: weir_core::time::Moment,
        journal: &Journal,
    ) {
        if let Some(known) = &self.known {
            let (memory, rollouts) = (state::memory::parse(&known.seen), state::rollouts(&known.rollouts));
            match (memory, rollouts) {
                (Ok(memory), Ok(rollouts)) => {
                    tell(journal, &memory, "the process before this one handed over");
                    control.recall(now, memory);
                    control.restore_rollouts(rollouts);
                    match known.counts.as_deref().map(state::counts::parse) {
                        Some(Ok(totals)) => {
                            control.carry(&totals);
                            self.totals = totals;
                        }
                        Some(Err(why)) => {
                            let message = format!(
                                "counters begin at 0: what the process before this one has counted cannot be understood: {why}"
                            );
                            journal.record(Kind::State, Level::Warn, message, json!({ "what": "counters" }));
                        }
                        None => {
                            let message = "counters begin at 0: the process before this one is of a version that does not hand them over";
                            journal.record(Kind::State, Level::Info, message.to_owned(), json!({ "what": "counters" }));
                        }
                    }
                }
                (Err(why), _) | (_, Err(why)) => {
                    let message = format!("what the process before this one knew cannot be understood: {why}");
                    journal.record(Kind::State, Level::Error, message, json!({ "what": "not_understood" }));
                }
            }
            return;
        }
        let Some(state) = state else { return };
        let broken = |words, so| {
            let message = format!("{words}; {so}");
            journal.record(Kind::State, Level::Error, message, json!({ "what": "set_aside" }));
        };
        match state.read() {
            Left::Nothing => {}
            Left::Kept(states) => control.restore_rollouts(states),
            Left::Broken(words) => broken(words, "rollouts begin at their first step"),
        }
        match state.read_seen() {
            Left::Nothing => {}
            Left::Kept((memory, age)) => {
                // Drains are wishes: whoever starts a process anew starts without them.
                let memory = Memory { drains: Vec::new(), ..memory.aged(age) };
                if !memory.endpoints.is_empty() {
                    tell(journal, &memory, &format!("{:.1?} ago an earlier process knew", age));
                }
                control.recall(now, memory);
            }
            Left::Broken(words) => broken(words, "endpoints are strangers"),
        }
    }
}

fn tell(journal: &Journal, memory: &Memory, whose: &str) {
    let (endpoints, breakers, drains) = (memory.endpoints.len(), memory.breakers.len(), memory.drains.len());
    let message =
        format!("{whose} {endpoints} endpoints, {breakers} breakers that are not closed, {drains} drains by hand");
    let fields = json!({ "what": "remembered", "endpoints": endpoints, "breakers": breakers, "drains": drains });
    journal.record(Kind::State, Level::Info, message, fields);
}

/// The process before this one, while it lasts.
pub(super) struct Elder {
    line: UnixStream,
    says_its_last: bool,
}

/// An elder that was asked for its last words has so long to say them.
const LAST_MAX: Duration = Duration::from_secs(10);

impl Elder {
    /// To be called once this process could serve: takes over, and listens to the elder until it ends.
    pub(super) async fn succeed(self, handle: Handle, metrics: Metrics) {
        let Self { line, says_its_last } = self;
        let mut line = match Line::new(line) {
            Ok(line) => line,
            Err(error) => {
                handle.note_state(
                    Level::Error,
                    &format!("cannot talk to the process before this one: {error}"),
                    "handed_over",
                );
                return handle.succeed(None).await;
            }
        };
        let last = if says_its_last { Self::last(&mut line, &handle).await } else { None };
        if let Some(last) = &last {
            metrics.carry(&last.totals);
        }
        handle.succeed(last).await;
        // It may be gone: then there is nobody who has to know.
        let _ = line.ready().await;
        if says_its_last {
            Self::listen(&mut line, &handle, &metrics).await;
        }
    }

    /// Its last words.
    async fn last(line: &mut Line, handle: &Handle) -> Option<Last> {
        let asked = async {
            line.settled().await.map_err(|error| error.to_string())?;
            let text = line.hear().await.map_err(|error| error.to_string())?.ok_or("it has ended")?;
            Known::last(&text)
        };
        let said = timeout(LAST_MAX, asked).await.unwrap_or_else(|_| Err("it is silent".to_owned()));
        let without = |why| {
            let message = format!(
                "the process before this one did not say its last ({why}): rollouts and counters go on from what it told when this one was started"
            );
            handle.note_state(Level::Warn, &message, "last_words");
        };
        said.map_err(without).ok()
    }

    /// What it counts while it finishes what it has.
    async fn listen(line: &mut Line, handle: &Handle, metrics: &Metrics) {
        let why = loop {
            let news = match line.hear().await {
                Ok(Some(news)) => news,
                Ok(None) => {
                    let message = "the process before this one has ended; what it counted is in our counters";
                    return handle.note_state(Level::Info, message, "before_ended");
                }
                Err(error) => break error.to_string(),
            };
            match state::counts::parse(&news) {
                Ok(totals) => {
                    metrics.carry(&totals);
                    handle.carry(totals).await;
                }
                Err(why) => break why,
            }
        };
        let message =
            format!("the process before this one cannot be understood any more, and what it counts is lost: {why}");
        handle.note_state(Level::Warn, &message, "counters");
    }
}

/// Between two tellings of what was counted.
const NEWS_EVERY: Duration = Duration::from_secs(1);
/// The first ones come sooner: until then it is we who take most requests.
const FIRST_NEWS: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(300)];
/// The next process has so long to take them.
const NEWS_MAX: Duration = Duration::from_secs(2);

/// Tells the process after this one what is counted here.
pub(super) struct Bequest {
    line: UnixStream,
    handle: Handle,
    metrics: Metrics,
}

impl Bequest {
    /// Tells it now and then, and once more when `finished` says that everything is.
    pub(super) async fn run(self, mut finished: oneshot::Receiver<()>) {
        let Ok(mut line) = Line::new(self.line) else { return };
        let (mut told, mut last) = (Totals::default(), false);
        for pause in FIRST_NEWS.into_iter().chain(std::iter::repeat(NEWS_EVERY)) {
            tokio::select! {
                () = sleep(pause) => {}
                _ = &mut finished => last = true,
            }
            let totals = all_totals(&self.handle, &self.metrics);
            let news = totals.since(&told);
            if let Some(text) = state::counts::text(&news).filter(|_| !news.0.is_empty()) {
                // One of an earlier version does not want to hear, or it has ended.
                if !matches!(timeout(NEWS_MAX, line.tell(&text)).await, Ok(Ok(()))) {
                    return;
                }
            }
            if last {
                return;
            }
            told = totals;
        }
    }
}

/// Everything that is counted.
fn all_totals(handle: &Handle, metrics: &Metrics) -> Totals {
    let mut totals = handle.totals();
    totals.merge(&metrics.totals());
    totals
}

/// Sockets as they are handed over.
fn by_address(lent: Vec<Lent>) -> impl Iterator<Item = handover::Left> {
    lent.into_iter().map(|(listener, address, socket)| {
        let (listener, configured) = (Some(listener.as_str().to_owned()), address.to_string());
        let role = handover::Role { kind: handover::Kind::Datagrams, listener, configured, theirs: false };
        handover::Left { role, sockets: vec![socket] }
    })
}

/// Those of one address together.
fn joined(all: Vec<handover::Left>) -> Vec<handover::Left> {
    let mut joined: Vec<handover::Left> = Vec::new();
    for left in all {
        match joined.iter_mut().find(|other| other.role == left.role) {
            Some(other) => other.sockets.extend(left.sockets),
            None => joined.push(left),
        }
    }
    joined
}

/// Asks each worker for the sockets that only it knows.
pub(super) type AskLent = Box<dyn Fn() -> Vec<oneshot::Receiver<Vec<Lent>>>>;

/// Starts heirs when asked to, one at a time.
pub(super) struct Succession<R> {
    heir: Option<Heir>,
    handed: Rc<Handed>,
    ask: AskLent,
    metrics: Metrics,
    doors: mpsc::UnboundedSender<Door<R>>,
    under_way: Option<UnderWay>,
}

/// An heir that serves: its number, and the line to it.
type Served = Result<(u32, UnixStream), String>;

struct UnderWay {
    ended: oneshot::Receiver<Served>,
    replies: Vec<oneshot::Sender<Result<u32, String>>>,
    /// The line to it, once there is one: whoever shuts it down ends it.
    line: Arc<OnceLock<UnixStream>>,
}

/// Whoever wants the last words, and gets them.
type AskLast = std::sync::mpsc::Sender<io::Result<String>>;

/// A stop waits so long for the end of an heir that does not serve yet.
const ABANDON_MAX: Duration = Duration::from_secs(2);

impl<R: 'static> Succession<R> {
    /// And how it is asked.
    pub(super) fn new(
        handed: Rc<Handed>,
        ask: AskLent,
        doors: mpsc::UnboundedSender<Door<R>>,
        metrics: Metrics,
        handle: &Handle,
    ) -> (Self, mpsc::UnboundedReceiver<AskUpgrade>) {
        let (upgrade, asked) = mpsc::unbounded_channel();
        handle.upgrade_by(upgrade);
        // Only an upgrade needs to know, and then it says what it cannot find.
        (Self { heir: Heir::of_this_process().ok(), handed, ask, metrics, doors, under_way: None }, asked)
    }

    /// Starts an heir, unless one is starting: then whoever asks hears of that.
    pub(super) fn begin(&mut self, handle: &Handle, by: &str, reply: Option<oneshot::Sender<Result<u32, String>>>) {
        if let Some(under_way) = &mut self.under_way {
            under_way.replies.extend(reply);
            return;
        }
        handle.note_upgrade(Level::Info, &format!("upgrade: {by} asked for it; another process is started"), None);
        handle.hold();
        let (done, ended) = oneshot::channel();
        let asked = (self.ask)();
        let line = Arc::new(OnceLock::new());
        match self.legacy(handle) {
            Ok((heir, mut legacy)) => {
                let (could_serve, wanted) = oneshot::channel();
                tokio::task::spawn_local(say_last(wanted, handle.clone(), self.doors.clone(), self.metrics.clone()));
                let line = Arc::clone(&line);
                tokio::task::spawn_local(async move {
                    for lent in asked {
                        // A worker that is gone serves nothing.
                        legacy.sockets.extend(by_address(lent.await.unwrap_or_default()));
                    }
                    legacy.sockets = joined(legacy.sockets);
                    let work = move || {
                        let begun = |stream| _ = line.set(stream);
                        let (served, child) = match heir.succeed(&legacy, begun, || ask_last(could_serve)) {
                            Ok((child, line)) => (Ok((child.id(), line)), Some(child)),
                            Err(why) => (Err(why), None),
                        };
                        // Nobody waits only if this process is on its way out.
                        let _ = done.send(served);
                        // It may end before this process does, and nobody else takes note of it.
                        let _ = child.map(|mut child| child.wait());
                    };
                    // Without a thread `done` is gone, and whoever waits hears of that.
                    if let Err(error) = std::thread::Builder::new().name("weir-upgrade".into()).spawn(work) {
                        tracing::error!(%error, "cannot start a thread");
                    }
                });
            }
            // Somebody waits: it is held below.
            Err(why) => drop(done.send(Err(why))),
        }
        self.under_way = Some(UnderWay { ended, replies: reply.into_iter().collect(), line });
    }

    fn legacy(&self, handle: &Handle) -> Result<(Heir, Legacy), String> {
        let heir = self.heir.clone().ok_or("the system does not tell by which program this process was started")?;
        let mut known = handle.known();
        known.totals.merge(&self.metrics.totals());
        let known = Known::text(&known).map_err(|error| error.to_string())?;
        let sockets = self.handed.legacy().map_err(|error| format!("cannot duplicate sockets: {error}"))?;
        Ok((heir, Legacy { sockets, known }))
    }

    /// Waits until an heir serves: its process number, and how to tell it more. Those that fail are
    /// told of.
    pub(super) async fn succeeded(&mut self, handle: &Handle) -> (u32, Bequest) {
        loop {
            let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
            let ended = (&mut under_way.ended).await.unwrap_or_else(|_| Err("its thread ended".to_owned()));
            // Nothing is waited for from here on: whoever polls this may poll something else next.
            let replies = self.under_way.take().map(|under_way| under_way.replies).unwrap_or_default();
            match ended {
                Ok((process, line)) => {
                    let message =
                        format!("upgrade: process {process} serves from now on, this one finishes what it has");
                    handle.note_upgrade(Level::Info, &message, Some(process));
                    answer(replies, &Ok(process));
                    return (process, Bequest { line, handle: handle.clone(), metrics: self.metrics.clone() });
                }
                Err(why) => {
                    let (handle, doors) = (handle.clone(), self.doors.clone());
                    tokio::task::spawn_local(async move {
                        // Before anybody is told that all is as it was.
                        handle.wake_up().await;
                        let _ = doors.send(Door::Resume);
                        let message = format!("upgrade failed, and this process goes on: {why}");
                        handle.note_upgrade(Level::Error, &message, None);
                        answer(replies, &Err(why));
                    });
                }
            }
        }
    }

    /// This process is told to stop: an heir that does not serve yet is not to outlive it.
    pub(super) async fn abandon(&mut self, handle: &Handle) {
        let Some(UnderWay { ended, replies, line }) = self.under_way.take() else { return };
        if let Some(line) = line.get() {
            // It may be shut down already.
            let _ = line.shutdown(std::net::Shutdown::Both);
        }
        let ended = timeout(ABANDON_MAX, ended).await;
        let message = match &ended {
            Ok(Ok(Ok((process, _)))) => format!("this process stops, and {process} serves already"),
            _ => "upgrade failed: this process was told to stop".to_owned(),
        };
        handle.note_upgrade(Level::Warn, &message, None);
        answer(replies, &Err(message));
    }

    /// Nothing more is handed over: closing a socket closes it.
    pub(super) fn end(&self) {
        self.handed.let_go();
    }
}

fn answer(replies: Vec<oneshot::Sender<Result<u32, String>>>, with: &Result<u32, String>) {
    for reply in replies {
        // Whoever asked may have gone; the journal has it.
        let _ = reply.send(with.clone());
    }
}

/// On the thread that talks to an heir: it could serve, and wants our last words.
fn ask_last(could_serve: oneshot::Sender<AskLast>) -> io::Result<String> {
    let (say, said) = std::sync::mpsc::channel();
    let gone = || io::Error::other("this process has no last words");
    could_serve.send(say).map_err(|_| gone())?;
    said.recv_timeout(LAST_MAX).map_err(|_| gone())?
}

/// Once an heir could serve: lets the admin address wait, rests, and says what there is to be said. Of what
/// is counted from then on the heir hears when it serves, and until then nobody is told anything.
async fn say_last<R>(
    wanted: oneshot::Receiver<AskLast>,
    handle: Handle,
    doors: mpsc::UnboundedSender<Door<R>>,
    metrics: Metrics,
) {
    // It never came so far.
    let Ok(say) = wanted.await else { return };
    let (paused, quiet) = oneshot::channel();
    let _ = doors.send(Door::Pause(paused));
    // Without an admin address there is nobody to wait for.
    let _ = quiet.await;
    let Some(mut last) = handle.rest().await else { return };
    last.totals.merge(&metrics.totals());
    if say.send(Known::text(&last)).is_err() {
        // Too late: its end was told of, and with it this process woken up, perhaps before it rested.
        handle.wake_up().await;
        let _ = doors.send(Door::Resume);
    }
}
