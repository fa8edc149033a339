//! The control loop: gathers events, steps the core, carries out effects, publishes once a batch.
//!
//! The shell around `weir_core::control::Control`. It decides nothing about health; it reads the
//! file, runs the probes, keeps the journal, and is the only one that stores a new truth.
//! Everything here lives on one thread; [`Handle`] is how the rest of that thread talks to it.

mod attempts;
mod certificates;
mod decisions;
pub mod discover;
pub mod explain;
mod handle;
pub(crate) mod lag;
mod notes;
pub mod probe;
mod reload;
pub mod source;
pub mod state;
mod succession;
pub mod tell;
mod tokens;

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde_json::json;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::sleep;
use weir_config::model::{Address, Config, ListenerName};
use weir_core::carry::Totals;
use weir_core::control::orders::{Done, Refused};
use weir_core::control::{Control, Effect, Event, Found, Last, Memory, Order, Probed, TICK_AT_LEAST};
use weir_core::snapshot::Snapshot;
use weir_core::time::Moment;

pub use attempts::{Attempt, KEPT as RELOADS_KEPT};
pub use certificates::{Ending, endings};
pub(crate) use handle::AskUpgrade;
pub use handle::{Handle, Phase};
pub use reload::{Applied, InForce, LastReload, Rejection, ReloadOutcome, Trigger, in_numbers};

use crate::env::Env;
use crate::observe::decision::Report;
use crate::observe::journal::{Asker, Journal, Kind, Level};
use crate::observe::metrics::control::ControlMetrics;
use crate::tls::Book;
use attempts::Attempts;
use decisions::Decisions;
use discover::Discoverer;
use lag::Lag;
use probe::{Finished, Prober};
use source::Source;
use state::Keeper;
use succession::Other;

/// The sockets of the listeners, as control sees them: what makes a reload a transaction.
pub trait Sockets {
    /// What has been bound for a configuration that is not in force yet.
    type Reserved;

    /// Binds what `config` needs and is not bound yet.
    ///
    /// # Errors
    /// Every address that cannot be bound; then nothing is kept.
    fn reserve(&mut self, config: &Config) -> Result<Self::Reserved, Vec<ReserveError>>;

    /// Serves what was reserved, and stops serving what `snapshot` no longer has.
    fn open(&mut self, reserved: Self::Reserved, snapshot: &Arc<Snapshot>);

    /// What is being served.
    fn bound(&self) -> Vec<BoundListener>;
}

/// Something the configuration asks of this host that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReserveError {
    /// The listener and the address that cannot be bound; nothing if it is not about one.
    pub address: Option<(ListenerName, Address)>,
    /// Why, in words; who holds it, if that is known.
    pub message: String,
}

impl ReserveError {
    /// `address` of `listener` cannot be bound.
    #[must_use]
    pub fn address(listener: ListenerName, address: Address, message: String) -> Self {
        Self { address: Some((listener, address)), message }
    }

    /// A file cannot be used; `message` says which, and why.
    #[must_use]
    pub const fn file(message: String) -> Self {
        Self { address: None, message }
    }
}

impl std::fmt::Display for ReserveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            Some((listener, address)) => write!(f, "listener {listener}: cannot bind {address}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// An address that is being served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundListener {
    /// Whose address it is.
    pub name: ListenerName,
    /// As configured.
    pub configured: Address,
    /// As bound: where the system chose the port, the chosen one.
    pub actual: Address,
}

/// What the loop is asked to do.
enum Command {
    Reload {
        trigger: Trigger,
        asker: Option<Asker>,
        reply: oneshot::Sender<ReloadOutcome>,
    },
    Order {
        order: Box<Order>,
        asker: Option<Asker>,
        reply: oneshot::Sender<Result<Done, Refused>>,
    },
    FileChanged,
    /// Another process is about to take over: what there is to be told, after which nothing more is done
    /// that only one may do.
    Rest(oneshot::Sender<Last>),
    /// It did not come to serve.
    WakeUp,
    /// Takes over from another process; answered once it serves.
    Succeed(Option<Box<Last>>, oneshot::Sender<()>),
    /// What another process has counted since it was last told.
    Carry(Box<Totals>),
    Retire,
    Stop,
}

/// Commands that may wait; whoever asks faster waits in turn.
const COMMANDS_MAX: usize = 32;
/// Results of probes taken in before what they come to is published.
const BATCH_MAX: usize = 1024;
/// Between two looks at when certificates expire.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(60 * 60);
/// What is seen of endpoints is kept so often.
const KEPT_EVERY: Duration = Duration::from_secs(1);
/// Between two ticks: the grain of the timers underneath.
const TICK_MIN: Duration = Duration::from_millis(1);
/// Between two ticks when the core wants none.
const TICK_MAX: Duration = TICK_AT_LEAST;

/// What the loop and its handles share. Written by the loop (and `phase` by handles), read by the
/// admin API; all on one thread, borrowed for moments.
struct Shared {
    control: RefCell<Control>,
    truth: Arc<ArcSwap<Snapshot>>,
    /// Swapped before the truth that needs it.
    book: Arc<ArcSwap<Book>>,
    source: Source,
    in_force: RefCell<InForce>,
    last_reload: RefCell<LastReload>,
    attempts: RefCell<Attempts>,
    bound: RefCell<Vec<BoundListener>>,
    phase: Cell<Phase>,
    journal: Journal,
    decisions: RefCell<Decisions>,
    metrics: ControlMetrics,
    started: SystemTime,
    /// Called once it serves.
    served: Notify,
    /// Called once it could serve, if another process has to be asked first.
    settled: Notify,
    /// Another process is started and reads the file: this one leaves it alone meanwhile.
    held: Cell<bool>,
    upgrade_by: RefCell<Option<mpsc::UnboundedSender<AskUpgrade>>>,
}

/// The configuration a process begins with.
pub struct First {
    /// Where it comes from.
    pub source: Source,
    /// As read from there.
    pub text: Arc<str>,
    /// What [`Source::understand`] made of it.
    pub config: Config,
}

/// The control loop and all it owns.
pub struct Shell<E: Env, S: Sockets> {
    env: E,
    sockets: S,
    shared: Rc<Shared>,
    reserved: Option<S::Reserved>,
    prober: Prober<E>,
    discoverer: Discoverer<E>,
    lag: Rc<Lag>,
    results: mpsc::UnboundedReceiver<Finished>,
    found: mpsc::UnboundedReceiver<Found>,
    /// What workers saw and do not decide: [`Event::Suspected`], [`Event::Tried`]; and the ways of
    /// requests.
    reports: mpsc::Receiver<Report>,
    commands: mpsc::Receiver<Command>,
    sender: mpsc::Sender<Command>,
    /// Where what outlives the process is kept, if anywhere.
    keeper: Option<Keeper>,
    /// What of endpoints was kept last (its generation), and when it is looked at again.
    kept: (u64, Moment),
    /// Whether another process serves, and keeps what is kept.
    other: Other,
    effects: Vec<Effect>,
    /// What was told of the certificates in force, and when they are looked at again.
    certificates: (certificates::Told, Moment),
    /// The text last looked at, in force or refused: what a file event is compared with.
    seen: Seen,
    /// The file may have changed.
    look_later: bool,
}

/// What was found where the configuration should be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(Arc<str>),
    Unreadable(String),
}

impl<E: Env, S: Sockets> Shell<E, S> {
    /// Binds the sockets of the first configuration and makes the first truth of it. Nothing is
    /// served before [`Self::run`].
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn begin(
        env: E,
        mut sockets: S,
        mut control: Control,
        First { source, text, config }: First,
        journal: Journal,
        metrics: ControlMetrics,
    ) -> Result<Self, Rejection> {
        let config = Arc::new(config);
        let book = Book::default().next(&config).map_err(|wrong| Rejection::of_book(&wrong))?;
        let reserved = sockets.reserve(&config).map_err(|errors| Rejection::of_sockets(&errors))?;
        let mut effects = Vec::new();
        let now = env.now();
        control.step(now, Event::Configured(Arc::clone(&config)), &mut effects);
        let snapshot = control.publish(now).ok_or_else(Rejection::of_ourselves)?;
        metrics.adopt(None, &config);
        metrics.canaries(control.releases());
        metrics.reloaded(crate::observe::metrics::control::Reload::Applied, env.wall());

        let lag = Rc::new(Lag::default());
        let (report, results) = mpsc::unbounded_channel();
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (_, reports) = mpsc::channel(1);
        let mut attempts = Attempts::default();
        attempts.note(Attempt::first(env.wall(), snapshot.generation, in_numbers(&config)));
        let shared = Shared {
            control: RefCell::new(control),
            in_force: RefCell::new(InForce::new(Arc::clone(&text), snapshot.generation, env.wall())),
            last_reload: RefCell::new(LastReload::applied(Trigger::Start, env.wall())),
            attempts: RefCell::new(attempts),
            truth: Arc::new(ArcSwap::new(snapshot)),
            book: Arc::new(ArcSwap::from_pointee(book)),
            source,
            bound: RefCell::default(),
            phase: Cell::new(Phase::Starting),
            journal,
            decisions: RefCell::default(),
            metrics,
            started: env.wall(),
            served: Notify::new(),
            settled: Notify::new(),
            held: Cell::default(),
            upgrade_by: RefCell::default(),
        };
        let prober = Prober::new(env.clone(), Arc::clone(&shared.book), Rc::clone(&lag), report);
        let (tell, found) = mpsc::unbounded_channel();
        let folder = shared.source.path().parent().unwrap_or_else(|| Path::new("/")).to_owned();
        let discoverer = Discoverer::new(env.clone(), folder, tell);
        let seen = Seen::Text(text);
        let (shared, reserved) = (Rc::new(shared), Some(reserved));
        Ok(Self {
            env,
            sockets,
            shared,
            reserved,
            prober,
            discoverer,
            lag,
            results,
            found,
            reports,
            commands,
            sender,
            keeper: None,
            kept: (0, Moment::ZERO),
            other: Other::None,
            effects,
            certificates: (certificates::Told::default(), Moment::ZERO),
            seen,
            look_later: false,
        })
    }

    /// Listens to what workers report.
    pub(crate) fn listen_to(&mut self, reports: mpsc::Receiver<Report>) {
        self.reports = reports;
    }

    /// From now on, keeps what outlives the process there.
    pub fn keep_in(&mut self, keeper: Keeper) {
        self.keeper = Some(keeper);
    }

    /// The truth; what workers read.
    #[must_use]
    pub fn truth(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.shared.truth)
    }

    /// The TLS that goes with it.
    #[must_use]
    pub fn book(&self) -> Arc<ArcSwap<Book>> {
        Arc::clone(&self.shared.book)
    }

    /// How to talk to the loop.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(self.sender.clone(), Rc::clone(&self.shared))
    }

    /// Serves, until somebody says stop. Must run where tasks can be spawned locally.
    pub async fn run(mut self) {
        if self.other == Other::None {
            self.open_first();
        }
        let lag = Rc::clone(&self.lag);
        let (env, metrics) = (self.env.clone(), self.shared.metrics.clone());
        let (source, sender) = (self.shared.source.clone(), self.sender.clone());
        tokio::select! {
            // In this order, and not by chance: a seed must replay the same story.
            biased;
            () = lag.watch(&env, |worst| metrics.set_lag(worst)) => {}
            () = source::watch(&source, async || _ = sender.send(Command::FileChanged).await) => {}
            () = self.serve() => {}
        }
    }

    fn open_first(&mut self) {
        let snapshot = self.shared.truth.load_full();
        let Some(reserved) = self.reserved.take() else { return };
        self.sockets.open(reserved, &snapshot);
        let config = &snapshot.config;
        self.shared.journal.record(
            Kind::Started,
            Level::Info,
            format!(
                "weir {} runs {} with {}",
                env!("CARGO_PKG_VERSION"),
                self.shared.source.shown(),
                in_numbers(config)
            ),
            json!({ "generation": snapshot.generation, "config": self.shared.source.path(), "zone": config.zone.as_ref().map(|zone| zone.as_str()) }),
        );
        tokens::warn_of_readable(config, &self.shared.source, &self.shared.journal);
        self.note_listeners();
    }

    async fn serve(&mut self) {
        self.carry_out();
        // With nothing to wait for we are ready at once.
        self.publish();
        loop {
            let pause = self.until_next_tick();
            tokio::select! {
                // Results cannot starve the timer: without it there are no more of them.
                biased;
                Some(command) = self.commands.recv() => match command {
                    Command::Reload { reply, .. } if self.leaves_the_file() => {
                        self.look_later = true;
                        let _ = reply.send(ReloadOutcome::Rejected(Rejection::upgrading()));
                    }
                    Command::Reload { trigger, asker, reply } => {
                        self.shared.journal.on_behalf(asker.as_ref());
                        let outcome = self.reload(trigger);
                        self.shared.journal.on_behalf(None);
                        // Whoever asked may have gone; the journal has it.
                        let _ = reply.send(outcome);
                    }
                    Command::Order { order, asker, reply } => {
                        self.shared.journal.on_behalf(asker.as_ref());
                        let verdict = self.order(*order);
                        self.shared.journal.on_behalf(None);
                        // Whoever asked may look at once: what was ordered is the truth by then.
                        self.publish();
                        let _ = reply.send(verdict);
                    }
                    Command::FileChanged => self.look_later = true,
                    Command::Rest(reply) => {
                        let last = self.rest();
                        // Whoever asked has given up: then nobody takes over.
                        if reply.send(last).is_err() {
                            self.wake_up();
                        }
                    }
                    Command::WakeUp => self.wake_up(),
                    Command::Succeed(last, reply) => {
                        self.succeed(last.map(|last| *last));
                        let _ = reply.send(());
                    }
                    Command::Carry(totals) => self.shared.control.borrow_mut().carry(&totals),
                    Command::Retire => self.keeper = None,
                    Command::Stop => return,
                },
                Some(report) = self.reports.recv() => self.take_reports(report),
                Some(finished) = self.results.recv() => self.take_in(finished),
                Some(found) = self.found.recv() => self.step(Event::Found(Box::new(found))),
                () = sleep(pause) => self.step(Event::Tick),
            }
            if self.look_later && !self.leaves_the_file() {
                self.look_later = false;
                self.look_at_file();
            }
            self.publish();
            self.keep_seen();
            self.look_at_certificates();
        }
    }

    /// Keeps what is seen of endpoints, for a process that may come after a crash of this one.
    fn keep_seen(&mut self) {
        let now = self.env.now();
        let (kept, due) = &mut self.kept;
        let keeper = self.keeper.as_ref().filter(|_| self.other == Other::None);
        if let Some(keeper) = keeper.filter(|_| now >= *due) {
            let generation = self.shared.truth.load().generation;
            let changed = std::mem::replace(kept, generation) != generation;
            let memory = changed.then(|| self.shared.control.borrow().memory());
            // Drains are wishes, and die with whom they were told.
            keeper.keep_seen(memory.map(|memory| Memory { drains: Vec::new(), ..memory }).as_ref());
            *due = now + KEPT_EVERY;
        }
    }

    /// Tells of certificates whose end is near; days matter, so an hour is soon enough.
    fn look_at_certificates(&mut self) {
        let now = self.env.now();
        let (told, next) = &mut self.certificates;
        if now >= *next {
            *next = now + CERTIFICATES_EVERY;
            told.look(&self.shared.truth.load().config, self.env.wall(), &self.shared.journal);
        }
    }

    fn until_next_tick(&self) -> Duration {
        let due = self.shared.control.borrow().next_due();
        let longest = if self.keeper.is_some() { KEPT_EVERY } else { TICK_MAX };
        due.map_or(longest, |due| due.since(self.env.now()).clamp(TICK_MIN, longest))
    }

    /// Takes in this result and those that wait behind it.
    fn take_in(&mut self, first: Finished) {
        let mut next = Some(first);
        let mut room = BATCH_MAX;
        while let Some(Finished { id, key, check, outcome }) = next {
            self.shared.metrics.probed(key.cluster.as_str(), &check.kind, &outcome);
            self.step(Event::Probed(Probed { id, outcome }));
            room -= 1;
            next = if room > 0 { self.results.try_recv().ok() } else { None };
        }
    }

    /// Takes in this report and those that wait behind it.
    fn take_reports(&mut self, first: Report) {
        let mut next = Some(first);
        let mut room = BATCH_MAX;
        while let Some(report) = next {
            match report {
                Report::Event(event) => self.step(event),
                Report::Decision(decision) => self.shared.keep(*decision, self.env.now(), self.env.wall()),
            }
            room -= 1;
            next = if room > 0 { self.reports.try_recv().ok() } else { None };
        }
    }

    fn step(&mut self, event: Event) {
        if let Event::Found(found) = &event {
            let failure = found.answer.result.as_ref().err().map(|failure| failure.kind);
            self.shared.metrics.answered(&found.key, failure, self.env.wall());
        }
        self.shared.control.borrow_mut().step(self.env.now(), event, &mut self.effects);
        self.carry_out();
    }

    fn order(&mut self, order: Order) -> Result<Done, Refused> {
        let verdict = self.shared.control.borrow_mut().order(self.env.now(), order, &mut self.effects);
        self.carry_out();
        verdict
    }

    fn carry_out(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Probe(order) => self.prober.start(order, &self.shared.truth.load().drills),
                Effect::Look(look) => self.discoverer.start(look),
                Effect::LookAway(key) => self.discoverer.stop(&key),
                Effect::Transition(transition) => {
                    self.shared.note_transition(&transition, self.env.now(), self.env.wall())
                }
                Effect::Notice(notice) => self.shared.note(&notice, self.env.now()),
                Effect::Remember(states) => {
                    if let Some(keeper) = self.keeper() {
                        keeper.keep(states);
                    }
                }
            }
        }
    }

    /// Makes what was decided the truth.
    fn publish(&mut self) {
        let (next, settled) = {
            let mut control = self.shared.control.borrow_mut();
            (control.publish(self.env.now()), control.settled())
        };
        if let Some(snapshot) = next {
            self.shared.truth.store(snapshot);
        }
        if settled && self.shared.phase.get() == Phase::Starting {
            if self.other == Other::Before {
                self.shared.settled.notify_one();
            } else {
                self.open_first();
                self.shared.become_ready();
            }
        }
    }

    /// Tells the journal which addresses are served that were not, and the other way round.
    fn note_listeners(&self) {
        let bound = self.sockets.bound();
        let before = self.shared.bound.replace(bound.clone());
        let note = |kind, did: &str, list: &[BoundListener], not_in: &[BoundListener]| {
            for one in list.iter().filter(|one| !not_in.contains(one)) {
                self.shared.journal.record(
                    kind,
                    Level::Info,
                    format!("listener {} {did} {}", one.name, one.actual),
                    json!({ "listener": one.name.as_str(), "address": one.actual.to_string(), "configured": one.configured.to_string() }),
                );
            }
        };
        note(Kind::ListenerClosed, "no longer accepts on", &before, &bound);
        note(Kind::ListenerOpened, "accepts on", &bound, &before);
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) mod tests;
