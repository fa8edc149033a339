//! Wires control, workers and admin; the only place that knows all three.
//!
//! [`run`] is `weir run`: one thread for control and admin, one for each worker. [`Server`] is the
//! same for whoever embeds it, and, with one worker on the calling thread, for simulations.

mod gate;
mod upgrade;

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use weir_config::model::Address;
use weir_core::control::Control;

use crate::admin::{Admin, AskWorkers, Door};
use crate::control::source::Source;
use crate::control::state::{StateDir, StateError};
use crate::control::{AskUpgrade, First, Handle, Rejection, Shell, Trigger};
use crate::env::{Env, Os};
use crate::observe::ProcessCounts;
use crate::observe::access::{AccessLog, AccessWriter};
use crate::observe::decision::Report;
use crate::observe::journal::Journal;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::control::ControlMetrics;
use crate::process::signals::{Asked, Signals};
use crate::process::{limits, ports, service};
use crate::spans::{self, Exporter, SpanWriter};
use crate::worker::budget::Budget;
use crate::worker::{Ended, Order, Published, Worker, Writers};
use gate::{AdminGate, Gate, Handed};
use upgrade::{Bequest, Elder, Inheritance, Succession};

/// Reports of workers that wait for control; more are dropped, and said again if they still hold.
const REPORTS_MAX: usize = 1024;

/// What `weir run` is told.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The configuration file.
    pub config_path: PathBuf,
    /// Where the admin API listens, over what the file says.
    pub admin: Option<Address>,
    /// Where rollouts are kept over restarts, if anywhere.
    pub state_dir: Option<PathBuf>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration, or what it asks of this host, cannot be had.
    #[error("{}", .0.text.trim_end())]
    Rejected(Box<Rejection>),
    /// The directory for state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The system gave no thread, runtime or signal handler.
    #[error("{what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// A whole balancer: sockets reserved, nothing served yet.
pub struct Server<E: Env> {
    env: E,
    shell: Shell<E, Gate<E>>,
    handle: Handle,
    published: Published,
    counts: Arc<ProcessCounts>,
    reports: mpsc::Sender<Report>,
    admin: (Admin, mpsc::UnboundedReceiver<Door<E::Reserved>>),
    access: Option<AccessLog>,
    traces: (SpanWriter, Exporter),
    orders: Vec<mpsc::UnboundedSender<Order<E::Reserved>>>,
    seats: Vec<mpsc::UnboundedReceiver<Order<E::Reserved>>>,
    /// What goes to the next process, how the admin API is told, and who waits for this process.
    heir: (Rc<Handed>, mpsc::UnboundedSender<Door<E::Reserved>>, Option<Elder>),
    metrics: Metrics,
}

impl<E: Env> Server<E> {
    /// Reserves every socket that the `first` configuration asks for. `workers` and `admin` stand
    /// over what it says; without `access` there is no access log, without `state` rollouts begin
    /// anew.
    ///
    /// # Errors
    /// Everything that is missing, at once.
    pub fn bind(
        env: E,
        first: First,
        workers: NonZeroUsize,
        admin: Option<Address>,
        access: Option<AccessLog>,
        state: Option<StateDir>,
    ) -> Result<Self, StartError> {
        Self::bind_after(Inheritance::default(), env, first, workers, admin, access, state)
    }

    /// The same, as the heir of another process.
    fn bind_after(
        mut inheritance: Inheritance,
        env: E,
        first: First,
        workers: NonZeroUsize,
        admin: Option<Address>,
        access: Option<AccessLog>,
        state: Option<StateDir>,
    ) -> Result<Self, StartError> {
        let (orders, seats): (Vec<_>, Vec<_>) = (0..workers.get()).map(|_| mpsc::unbounded_channel()).unzip();
        let (reports, heard) = mpsc::channel(REPORTS_MAX);
        let counts = Arc::new(ProcessCounts::default());
        let mut control = Control::new(workers.get(), env.dice("control"));
        let journal = {
            let env = env.clone();
            Journal::new(move || env.wall())
        };
        let no_metrics = |error| StartError::System {
            what: "cannot make the metrics",
            source: io::Error::other::<prometheus::Error>(error),
        };
        let metrics = ControlMetrics::new().map_err(no_metrics)?;
        inheritance.restore(state.as_ref(), &mut control, env.now(), &journal);
        let elder = inheritance.elder();
        let Inheritance { sockets, totals, .. } = inheritance;
        let handed = Rc::new(Handed::new(sockets));
        let (doors, opened) = mpsc::unbounded_channel();
        let admin_gate = AdminGate::new(admin, doors.clone(), Rc::clone(&handed));
        let access_log = access.as_ref().map(AccessLog::remote);
        let (spans, remote, exporter) = spans::pair(Arc::clone(&counts));
        let gate = Gate::new(env.clone(), orders.clone(), access_log, admin_gate, remote, Rc::clone(&handed));
        let mut shell = Shell::begin(env.clone(), gate, control, first, journal, metrics.clone())
            .map_err(|rejection| StartError::Rejected(Box::new(rejection)))?;
        shell.listen_to(heard);
        if elder.is_some() {
            // As long as we know nobody to serve them with, clients are better off where they are.
            shell.open_once_settled();
        }
        if let Some(state) = state {
            let keeper = state.keeper();
            let system = |source| StartError::System { what: "cannot start the thread that keeps state", source };
            shell.keep_in(keeper.map_err(system)?);
        }
        let handle = shell.handle();
        let published = Published { truth: shell.truth(), book: shell.book() };
        let metrics = Metrics::new(Registry::new(), Arc::clone(&published.truth), &metrics, Arc::clone(&counts));
        let metrics = metrics.map_err(no_metrics)?;
        metrics.carry(&totals);
        let admin = Admin::new(handle.clone(), metrics.clone()).with_workers(ask(orders.clone()));
        let admin = (admin, opened);
        let traces = (spans, exporter);
        let heir = (handed, doors, elder);
        Ok(Self { env, shell, handle, published, counts, reports, admin, access, traces, orders, seats, heir, metrics })
    }

    /// How to talk to it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves with every worker on the calling thread, until dropped or until [`Handle::stop`].
    /// Must run where tasks can be spawned locally.
    pub async fn run_local(self) {
        let Self { env, shell, published, counts, reports, admin, access, traces, seats, orders: _orders, .. } = self;
        let (spans, exporter) = traces;
        for (index, seat) in seats.into_iter().enumerate() {
            let writers = writers(access.as_ref(), &spans, &counts);
            let budget = Budget::new(limits::open_files(), 1);
            let (published, counts, reports) = (published.clone(), Arc::clone(&counts), reports.clone());
            let worker = Worker::new(env.clone(), index, published, counts, reports, writers, budget);
            tokio::task::spawn_local(worker.run(seat));
        }
        drop(spans);
        tokio::task::spawn_local(exporter.run(env.clone()));
        tokio::task::spawn_local(admin.0.serve(env.clone(), admin.1));
        shell.run().await;
    }
}

impl Server<Os> {
    /// Serves with one thread for each worker until a signal says stop; how many requests were
    /// cut. Must run where tasks can be spawned locally.
    ///
    /// # Errors
    /// When the system gives no thread or signal handler.
    pub async fn run(self) -> Result<usize, StartError> {
        let Self {
            env,
            shell,
            handle,
            published,
            counts,
            reports,
            admin,
            access,
            traces,
            orders,
            seats,
            heir,
            metrics,
        } = self;
        let (handed, doors, elder) = heir;
        let system = |what| move |source| StartError::System { what, source };
        let mut signals = Signals::new().map_err(system("cannot handle signals"))?;
        let (spans, exporter) = traces;
        let sending = exporter.start(env.clone()).map_err(system("cannot start the thread that exports traces"))?;
        let (mut ends, mut begins) = (Vec::new(), Vec::new());
        let workers = seats.len();
        for (index, seat) in seats.into_iter().enumerate() {
            let (report, ended) = oneshot::channel();
            let (begin, begun) = oneshot::channel();
            let writers = writers(access.as_ref(), &spans, &counts);
            let (env, published) = (env.clone(), published.clone());
            let (counts, reports) = (Arc::clone(&counts), reports.clone());
            let make = move || {
                Worker::new(env, index, published, counts, reports, writers, Budget::new(limits::open_files(), workers))
            };
            let work = move || work(make, seat, begin, report);
            let thread = std::thread::Builder::new().name(format!("weir-worker-{index}")).spawn(work);
            ends.push((thread.map_err(system("cannot start a worker"))?, ended));
            begins.push(begun);
        }
        for begun in begins {
            // Without its workers a process would be ready, and serve nobody.
            let begun = begun.await.unwrap_or_else(|_| Err(io::Error::other("its thread ended")));
            begun.map_err(system("cannot start a worker"))?;
        }
        tokio::task::spawn_local(admin.0.serve(env.clone(), admin.1));
        let shell = tokio::task::spawn_local(shell.run());
        let (threads, ends): (Vec<_>, Vec<_>) = ends.into_iter().unzip();

        let is_heir = elder.is_some();
        if let Some(elder) = elder {
            let (handle, metrics) = (handle.clone(), metrics.clone());
            tokio::task::spawn_local(async move {
                handle.settled().await;
                elder.succeed(handle, metrics).await;
            });
        }
        let ask = ask_for_datagrams(orders.clone());
        let (mut succession, asked) = Succession::new(handed, ask, doors.clone(), metrics, &handle);
        let end = until_end(&mut signals, &handle, access.as_ref(), (&mut succession, asked), is_heir).await;
        let mut telling = None;
        let end = match end {
            End::HandedOver(process, bequest) => {
                env.hand_over();
                service::heir(process);
                // Whoever asked for it is still answered.
                let _ = doors.send(Door::CloseAll);
                handle.retire().await;
                let (finished, told) = oneshot::channel();
                telling = Some((finished, tokio::task::spawn_local(bequest.run(told))));
                None
            }
            End::Stopped(why) => {
                service::stopping();
                succession.abandon(&handle).await;
                Some(why)
            }
        };
        succession.end();
        let cut = drain(&mut signals, &handle, &orders, ends, end).await;
        if let Some((finished, telling)) = telling {
            drop(finished);
            // A panic was told of already.
            let _ = telling.await;
        }
        handle.stop().await;
        // With it goes what keeps state, once that is written; a panic was told of already.
        let _ = shell.await;
        for thread in threads {
            // A worker that panicked has been counted as cut already.
            let _ = thread.join();
        }
        // The last end but theirs: now all that will come has come.
        drop(spans);
        sending.finish();
        Ok(cut)
    }
}

/// `weir run`: everything from the file to the exit code.
#[must_use]
pub fn run(options: &RunOptions) -> ExitCode {
    limits::raise_open_files();
    match start(options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(3),
        Err(error) => {
            eprintln!("weir: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &RunOptions) -> anyhow::Result<usize> {
    let inheritance = Inheritance::take()?;
    let source = Source::new(&options.config_path);
    let text = source.read()?;
    let weir_config::Parsed { config, warnings } =
        source.load(&text).map_err(|mistakes| anyhow::anyhow!("{}", Rejection::of_text(&mistakes).text.trim_end()))?;
    for warning in warnings.iter() {
        tracing::warn!("{}:{warning}", warnings.file());
    }
    let workers = config.workers.map(NonZeroUsize::from);
    let workers = workers.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let runtime = local_runtime()?;
    runtime.block_on(async {
        let access = AccessLog::start()?;
        let state = options.state_dir.as_deref().map(StateDir::open).transpose()?;
        let first = First { source, text, config };
        let (env, admin) = (Os::new(), options.admin.clone());
        let server = Server::bind_after(inheritance, env, first, workers, admin, Some(access), state)?;
        Ok(server.run().await?)
    })
}

/// One thread's runtime: tasks stay on it, so nothing they share needs a lock.
fn local_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// A worker's thread. Tells whether it could `begin`, and later how it ended.
fn work(
    make: impl FnOnce() -> Rc<Worker<Os>>,
    seat: mpsc::UnboundedReceiver<Order<<Os as Env>::Reserved>>,
    begin: oneshot::Sender<io::Result<()>>,
    report: oneshot::Sender<Ended>,
) {
    // Nobody waits for either only if the process is on its way out.
    match local_runtime() {
        Ok(runtime) => {
            let _ = begin.send(Ok(()));
            let _ = report.send(runtime.block_on(async { make().run(seat).await }));
        }
        Err(error) => _ = begin.send(Err(error)),
    }
}

/// Why a process serves no more.
enum End {
    /// A signal said so.
    Stopped(&'static str),
    /// Another process serves, and is told what this one counts.
    HandedOver(u32, Box<Bequest>),
}

async fn until_end<R: 'static>(
    signals: &mut Signals,
    handle: &Handle,
    access: Option<&AccessLog>,
    (succession, mut asked): (&mut Succession<R>, mpsc::UnboundedReceiver<AskUpgrade>),
    is_heir: bool,
) -> End {
    // Half of what may pass without a sign of life, whatever else there is to do.
    let mut alive = service::watchdog().map(|most| tokio::time::interval(most / 2));
    if let Some(alive) = &mut alive {
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut serves = false;
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Asked::Stop(why) => return End::Stopped(why),
                Asked::Reload => {
                    let handle = handle.clone();
                    // Before it serves, the service manager waits for something else.
                    if serves {
                        service::reloading();
                    }
                    // Its verdict is in the journal and the log.
                    tokio::task::spawn_local(async move {
                        handle.reload(Trigger::Signal).await;
                        if serves {
                            service::ready("serving");
                        }
                    });
                }
                Asked::Reopen => {
                    if let Some(access) = access {
                        access.reopen();
                        tracing::info!("SIGUSR1: log files opened again");
                    }
                }
                Asked::Upgrade => succession.begin(handle, "SIGUSR2", None),
            },
            Some((by, reply)) = asked.recv() => succession.begin(handle, &by, Some(reply)),
            (process, bequest) = succession.succeeded(handle) => return End::HandedOver(process, Box::new(bequest)),
            () = handle.serves(), if !serves => {
                serves = true;
                // The service manager hears of an heir from whom it knows.
                if !is_heir {
                    service::ready("serving");
                }
            }
            () = beat(&mut alive) => service::alive(),
        }
    }
}

/// The next of them, or never.
async fn beat(beats: &mut Option<Interval>) {
    match beats {
        Some(beats) => _ = beats.tick().await,
        None => std::future::pending().await,
    }
}

/// Not ready, then no new connections, then nothing: how many requests did not make it.
async fn drain<R>(
    signals: &mut Signals,
    handle: &Handle,
    orders: &[mpsc::UnboundedSender<Order<R>>],
    ends: Vec<oneshot::Receiver<Ended>>,
    stopped: Option<&'static str>,
) -> usize {
    let shutdown = handle.snapshot().config.shutdown.clone();
    // Who only made room for another process was not asked to stop yet.
    let mut may_be_asked = stopped.is_none();
    let (delay, patience, order): (_, _, fn() -> Order<R>) = match stopped {
        Some(why) => {
            handle.drain_started(why);
            (shutdown.delay, shutdown.timeout, || Order::Drain)
        }
        None => {
            handle.drain_started("another process serves");
            (Duration::ZERO, shutdown.upgrade_timeout, || Order::HandOver)
        }
    };
    let tell = |order: fn() -> Order<R>| {
        for worker in orders {
            // A worker that is gone needs no order.
            let _ = worker.send(order());
        }
    };
    let mut hurried = wait(signals, delay).await;
    tell(order);
    let mut ends = ends;
    let mut cut = 0;
    let mut until = Instant::now() + patience;
    while !hurried && !ends.is_empty() {
        tokio::select! {
            () = collect(&mut ends, &mut cut) => {}
            _ = stop_asked_again(signals) => match std::mem::take(&mut may_be_asked) {
                true => {
                    until = until.min(Instant::now() + shutdown.timeout);
                    tracing::info!("asked to stop: what goes on here may do so for {:?} more", shutdown.timeout);
                }
                false => hurried = true,
            },
            () = tokio::time::sleep_until(until) => break,
        }
    }
    if !ends.is_empty() {
        if hurried {
            tracing::warn!("asked to stop a second time: stopping now");
        }
        tell(|| Order::Cut);
        collect(&mut ends, &mut cut).await;
    }
    handle.drain_finished(cut as u64);
    cut
}

/// Takes in the workers that have ended, in order; adds up what they cut.
async fn collect(ends: &mut Vec<oneshot::Receiver<Ended>>, cut: &mut usize) {
    while let Some(end) = ends.last_mut() {
        *cut += match end.await {
            Ok(ended) => ended.cut,
            // Its thread died: whatever it served is lost.
            Err(_) => 1,
        };
        ends.pop();
    }
}

/// Waits, unless asked to stop a second time: then true.
async fn wait(signals: &mut Signals, pause: Duration) -> bool {
    if pause.is_zero() {
        return false;
    }
    tokio::select! {
        asked = stop_asked_again(signals) => asked,
        () = tokio::time::sleep(pause) => false,
    }
}

async fn stop_asked_again(signals: &mut Signals) -> bool {
    while !matches!(signals.next().await, Asked::Stop(_)) {}
    true
}

/// Asks workers how they do.
fn ask<R: 'static>(workers: Vec<mpsc::UnboundedSender<Order<R>>>) -> AskWorkers {
    Box::new(move || {
        let ask = |worker: &mpsc::UnboundedSender<Order<R>>| {
            let (tell, told) = oneshot::channel();
            // A worker that is gone tells nothing.
            let _ = worker.send(Order::Tell(tell));
            told
        };
        workers.iter().map(ask).collect()
    })
}

/// Asks workers for the sockets of UDP listeners.
fn ask_for_datagrams<R: 'static>(workers: Vec<mpsc::UnboundedSender<Order<R>>>) -> upgrade::AskLent {
    Box::new(move || {
        let ask = |worker: &mpsc::UnboundedSender<Order<R>>| {
            let (tell, told) = oneshot::channel();
            // A worker that is gone tells nothing.
            let _ = worker.send(Order::LendDatagrams(tell));
            told
        };
        workers.iter().map(ask).collect()
    })
}

fn writers(access: Option<&AccessLog>, spans: &SpanWriter, counts: &Arc<ProcessCounts>) -> Writers {
    let access = match access {
        Some(log) => log.writer(Arc::clone(counts)),
        None => AccessWriter::nowhere(Arc::clone(counts)),
    };
    Writers { access, spans: spans.another() }
}

/// Why an address cannot be bound, and what to do about it.
fn cannot_bind(kind: ports::Kind, address: &Address, error: &io::Error) -> String {
    let Address::Ip(address) = *address else { return cannot_bind_socket(error) };
    match error.kind() {
        io::ErrorKind::AddrInUse => match ports::holder(kind, address) {
            Some(holder) => format!("the port is taken by {holder}; stop it or choose another port"),
            None if kind == ports::Kind::Udp => "the port is taken by another process; `ss -lunp` shows which".into(),
            None => "the port is taken by another process; `ss -ltnp` shows which".into(),
        },
        io::ErrorKind::PermissionDenied => {
            format!("not allowed: ports under 1024 need CAP_NET_BIND_SERVICE or root ({error})")
        }
        io::ErrorKind::AddrNotAvailable => format!("this host has no address {} ({error})", address.ip()),
        _ => error.to_string(),
    }
}

/// The same of a Unix socket.
fn cannot_bind_socket(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process takes connections there; `ss -lxp` shows which. Stop it or choose another path".into()
        }
        io::ErrorKind::NotFound => format!("the directory does not exist ({error})"),
        io::ErrorKind::PermissionDenied => format!("no right to make a file in this directory ({error})"),
        _ => error.to_string(),
    }
}
