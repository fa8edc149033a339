//! How the rest of the control thread talks to the loop, and what it may look at.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use weir_core::carry::Totals;
use weir_core::control::orders::{Done, Refused};
use weir_core::control::{Control, Last, Order};
use weir_core::snapshot::Snapshot;
use weir_core::time::Moment;

use super::attempts::Attempt;
use super::explain::Explained;
use super::reload::{InForce, LastReload, Rejection, ReloadOutcome, Trigger};
use super::source::Source;
use super::{BoundListener, Command, Shared};
use crate::observe::journal::{Asker, Journal, Kind, Level};
use crate::tls::Acceptor;

/// Where in its life the process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Endpoints are still being judged for the first time.
    Starting,
    /// Ready for traffic.
    Serving,
    /// Taking no new work.
    Draining,
}

impl Phase {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }
}

/// Who asks for an upgrade, and who is told what came of it.
pub(crate) type AskUpgrade = (String, oneshot::Sender<Result<u32, String>>);

/// Talks to the control loop. Clones talk to the same.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    shared: Rc<Shared>,
    asker: Option<Asker>,
}

impl Handle {
    pub(super) fn new(commands: mpsc::Sender<Command>, shared: Rc<Shared>) -> Self {
        Self { commands, shared, asker: None }
    }

    /// The same; what is asked through it is told to be asked by `asker`.
    #[must_use]
    pub fn on_behalf(&self, asker: &Asker) -> Self {
        Self { asker: Some(asker.clone()), ..self.clone() }
    }

    /// Reads the file again and takes it, or not; waits for the verdict.
    pub async fn reload(&self, trigger: Trigger) -> ReloadOutcome {
        let (reply, verdict) = oneshot::channel();
        // Either fails only once the loop has ended.
        let _ = self.commands.send(Command::Reload { trigger, asker: self.asker.clone(), reply }).await;
        verdict.await.unwrap_or_else(|_| ReloadOutcome::Rejected(Rejection::stopping()))
    }

    /// Gives an order; waits for what became of it.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn order(&self, order: Order) -> Result<Done, Refused> {
        let (reply, verdict) = oneshot::channel();
        // Either fails only once the loop has ended.
        let _ = self.commands.send(Command::Order { order: Box::new(order), asker: self.asker.clone(), reply }).await;
        verdict.await.unwrap_or(Err(Refused::Stopping))
    }

    /// As if the file had been seen to change.
    #[cfg(test)]
    pub(super) async fn look_at_file(&self) {
        let _ = self.commands.send(Command::FileChanged).await;
        while self.commands.capacity() < self.commands.max_capacity() {
            tokio::task::yield_now().await;
        }
    }

    /// Ends the loop. What workers do is not touched.
    pub async fn stop(&self) {
        // Fails only once the loop has ended.
        let _ = self.commands.send(Command::Stop).await;
    }

    /// Lets another process take over; its number, once it serves. This one then ends by itself.
    ///
    /// # Errors
    /// In words, why none serves; then this process goes on.
    pub async fn upgrade(&self) -> Result<u32, String> {
        let by = self.asker.as_ref().map_or_else(|| "this process".into(), |asker| asker.who.clone());
        let (reply, verdict) = oneshot::channel();
        let asked = self.shared.upgrade_by.borrow().as_ref().is_some_and(|ask| ask.send((by, reply)).is_ok());
        if !asked {
            return Err("this process cannot be taken over: it is stopping, or embedded".to_owned());
        }
        verdict.await.unwrap_or_else(|_| Err("this process is stopping".to_owned()))
    }

    /// Who lets another process take over.
    pub(crate) fn upgrade_by(&self, ask: mpsc::UnboundedSender<AskUpgrade>) {
        *self.shared.upgrade_by.borrow_mut() = Some(ask);
    }

    /// Tells the journal of what goes from one process to the next.
    pub(crate) fn note_state(&self, level: Level, message: &str, what: &str) {
        self.shared.journal.record(Kind::State, level, message.to_owned(), json!({ "what": what }));
    }

    /// Tells the journal of an upgrade.
    pub(crate) fn note_upgrade(&self, level: Level, message: &str, process: Option<u32>) {
        self.shared.journal.record(Kind::Upgrade, level, message.to_owned(), json!({ "process": process }));
    }

    /// Another process is started: from now on the file is left alone, until [`Self::wake_up`].
    pub(crate) fn hold(&self) {
        self.shared.held.set(true);
    }

    /// What the process after this one is to know before it begins: it may take a while until it serves.
    #[must_use]
    pub(crate) fn known(&self) -> Last {
        let control = self.shared.control.borrow();
        Last { memory: control.memory(), rollouts: control.rollouts(), totals: control.totals() }
    }

    /// What is counted.
    #[must_use]
    pub(crate) fn totals(&self) -> Totals {
        self.shared.control.borrow().totals()
    }

    /// The process after this one could serve: the last of what it is to know. From now on nothing is
    /// kept, and nothing done about rollouts. `None` when the loop has ended.
    pub(crate) async fn rest(&self) -> Option<Last> {
        let (reply, last) = oneshot::channel();
        let _ = self.commands.send(Command::Rest(reply)).await;
        last.await.ok()
    }

    /// The process after this one does not serve: this one does again what it did.
    pub(crate) async fn wake_up(&self) {
        // Fails only once the loop has ended.
        let _ = self.commands.send(Command::WakeUp).await;
    }

    /// Waits until it could serve, and the process before it is to be asked.
    pub(crate) async fn settled(&self) {
        self.shared.settled.notified().await;
    }

    /// Takes over from the process before, with its last words if there are any; waits until it serves.
    pub(crate) async fn succeed(&self, last: Option<Last>) {
        let (reply, serves) = oneshot::channel();
        let _ = self.commands.send(Command::Succeed(last.map(Box::new), reply)).await;
        let _ = serves.await;
    }

    /// What the process before this one has counted since it was last told.
    pub(crate) async fn carry(&self, totals: Totals) {
        // Fails only once the loop has ended.
        let _ = self.commands.send(Command::Carry(Box::new(totals))).await;
    }

    /// Waits until it serves for the first time.
    pub(crate) async fn serves(&self) {
        self.shared.served.notified().await;
    }

    /// Another process serves: nothing is kept any more, and no file is read.
    pub(crate) async fn retire(&self) {
        // Fails only once the loop has ended.
        let _ = self.commands.send(Command::Retire).await;
    }

    /// From now on the process is not ready, and takes no new configuration. `why` ends the
    /// sentence "draining: ...".
    pub fn drain_started(&self, why: &str) {
        if self.shared.phase.replace(Phase::Draining) == Phase::Draining {
            return;
        }
        self.shared.metrics.set_ready(false);
        self.shared.journal.record(Kind::DrainStarted, Level::Info, format!("draining: {why}"), json!({ "why": why }));
    }

    /// Tells the journal how draining ended: how many requests had to be cut.
    pub fn drain_finished(&self, cut: u64) {
        let (level, message) = match cut {
            0 => (Level::Info, "drained: every request was finished".to_owned()),
            1 => (Level::Warn, "drained, but not all: 1 request was cut".to_owned()),
            _ => (Level::Warn, format!("drained, but not all: {cut} requests were cut")),
        };
        self.shared.journal.record(Kind::DrainFinished, level, message, json!({ "cut": cut }));
    }

    /// Where in its life the process stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.shared.phase.get()
    }

    /// The truth now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.truth.load_full()
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// Where the configuration comes from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.shared.source
    }

    /// The configuration's text in force.
    #[must_use]
    pub fn in_force(&self) -> InForce {
        self.shared.in_force.borrow().clone()
    }

    /// How the newest attempt to load the configuration ended.
    #[must_use]
    pub fn last_reload(&self) -> LastReload {
        self.shared.last_reload.borrow().clone()
    }

    /// The newest attempts to load the configuration, the newest first; at most [`super::RELOADS_KEPT`].
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.shared.attempts.borrow().newest_first().cloned().collect()
    }

    /// The addresses that are served.
    #[must_use]
    pub fn bound(&self) -> Vec<BoundListener> {
        self.shared.bound.borrow().clone()
    }

    /// The address and port `name` is served on, the first if there are several.
    #[must_use]
    pub fn bound_addr(&self, name: &str) -> Option<SocketAddr> {
        self.shared
            .bound
            .borrow()
            .iter()
            .filter(|bound| bound.name.as_str() == name)
            .find_map(|bound| bound.actual.ip())
    }

    /// When the process began, by the wall clock.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        self.shared.started
    }

    /// The way of the request that was told this name in `X-Weir-Decision`, if it is still kept.
    #[must_use]
    pub fn decision(&self, id: &str, now: Moment) -> Option<Rc<Explained>> {
        self.shared.kept(id, now)
    }

    /// TLS as the admin address speaks it, if it does.
    pub(crate) fn admin_acceptor(&self) -> Option<Arc<Acceptor>> {
        self.shared.book.load().admin().map(Arc::clone)
    }

    /// How late the control thread ran, the worst of the last 10 to 20 seconds.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.shared.metrics.lag()
    }

    /// Counts a request that the admin API refused.
    pub fn refused_admin(&self, why: &'static str) {
        self.shared.metrics.refused_admin(why);
    }

    /// Looks at what the core knows. `look` must not call this handle.
    pub fn view<T>(&self, look: impl FnOnce(&Control) -> T) -> T {
        look(&self.shared.control.borrow())
    }
}

impl Shared {
    pub(super) fn become_ready(&self) {
        self.phase.set(Phase::Serving);
        self.metrics.set_ready(true);
        self.served.notify_one();
        let snapshot = self.truth.load();
        self.journal.record(
            Kind::Ready,
            Level::Info,
            "ready: every endpoint has had its first verdict",
            json!({ "generation": snapshot.generation }),
        );
    }
}
