//! What is after this process: another one is started, and told what there is to tell.

use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use weir_core::carry::Totals;

use super::super::gate::Handed;
use super::{Known, LAST_MAX};
use crate::admin::Door;
use crate::control::state;
use crate::control::{AskUpgrade, Handle};
use crate::observe::journal::Level;
use crate::observe::metrics::Metrics;
use crate::process::handover::{self, Legacy, Line};
use crate::process::heir::Heir;
use crate::worker::Lent;

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
pub(in crate::server) type AskLent = Box<dyn Fn() -> Vec<oneshot::Receiver<Vec<Lent>>>>;

/// Starts heirs when asked to, one at a time.
pub(in crate::server) struct Succession<R> {
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
    pub(in crate::server) fn new(
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
    pub(in crate::server) fn begin(
        &mut self,
        handle: &Handle,
        by: &str,
        reply: Option<oneshot::Sender<Result<u32, String>>>,
    ) {
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
                        // Nobody waits only if this process is on its way out.
                        let _ = done.send(heir.succeed(&legacy, begun, || ask_last(could_serve)));
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
    pub(in crate::server) async fn succeeded(&mut self, handle: &Handle) -> (u32, Bequest) {
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
    pub(in crate::server) async fn abandon(&mut self, handle: &Handle) {
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
    pub(in crate::server) fn end(&self) {
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
/// Between two tellings of what was counted.
const NEWS_EVERY: Duration = Duration::from_secs(1);
/// The first ones come sooner: until then it is we who take most requests.
const FIRST_NEWS: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(300)];
/// The next process has so long to take them.
const NEWS_MAX: Duration = Duration::from_secs(2);

/// Tells the process after this one what is counted here.
pub(in crate::server) struct Bequest {
    line: UnixStream,
    handle: Handle,
    metrics: Metrics,
}

impl Bequest {
    /// Tells it now and then, and once more when `finished` says that everything is.
    pub(in crate::server) async fn run(self, mut finished: oneshot::Receiver<()>) {
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
