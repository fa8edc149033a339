//! One health probe: connect, ask, judge.
//!
//! A probe says what it saw; what that means for the endpoint is decided in `weir_core::health`.
//! What goes wrong on our own side (no descriptor left, a thread that did not get to run) says
//! nothing about the endpoint and is reported as inconclusive.

mod grpc;
mod http;
mod http2;
mod tcp;
mod udp;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use weir_config::model::{Address, CheckKind, HealthCheck, HttpVersion};
use weir_core::control::{ProbeId, ProbeOrder};
use weir_core::dice::Dice;
use weir_core::drill::{self, Drill, Injected};
use weir_core::endpoint::EndpointKey;
use weir_core::health::{Inconclusive, ProbeFailure, ProbeOutcome, ProbeResult};

use super::lag::Lag;
use crate::env::{Env, Stream};
use crate::tls::{Book, Use};
use crate::transport::{self, Unopened, Way};

/// A probe that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Which one it was.
    pub id: ProbeId,
    /// Of which endpoint.
    pub key: Arc<EndpointKey>,
    /// What was asked.
    pub check: Arc<HealthCheck>,
    /// What came of it.
    pub outcome: ProbeOutcome,
}

/// Runs probes, each in a task of its own. How many at once, and when, is the core's decision: it
/// orders no more than may run.
pub struct Prober<E: Env> {
    env: E,
    book: Arc<ArcSwap<Book>>,
    lag: Rc<Lag>,
    results: mpsc::UnboundedSender<Finished>,
    dice: Dice,
    // Dropped with the prober, and its probes with it.
    tasks: JoinSet<()>,
}

impl<E: Env> Prober<E> {
    /// A prober that reports to `results`. That channel needs no bound: it holds at most one
    /// result for each probe that was ordered.
    pub fn new(env: E, book: Arc<ArcSwap<Book>>, lag: Rc<Lag>, results: mpsc::UnboundedSender<Finished>) -> Self {
        let dice = env.dice("probes");
        Self { env, book, lag, results, dice, tasks: JoinSet::new() }
    }

    /// Probes as ordered, now; what is rehearsed befalls probes too. Should the probe panic, no
    /// result comes: the core gives it up.
    pub fn start(&mut self, order: ProbeOrder, drills: &[Arc<Drill>]) {
        // Reap, so that the set holds only what runs.
        while self.tasks.try_join_next().is_some() {}
        let injected = drill::at_probe(drills, &order.key, order.zone.as_ref(), &mut self.dice);
        let (env, lag, results) = (self.env.clone(), Rc::clone(&self.lag), self.results.clone());
        let tls = transport::connector(&self.book.load(), &order.cluster);
        self.tasks.spawn_local(async move {
            let ProbeOrder { id, key, address, check, cluster, host, .. } = order;
            let proxy = cluster.proxy_protocol.map(|version| (version, None));
            let outcome = match &tls {
                Ok(tls) => {
                    let for_what = match check.kind {
                        CheckKind::Tcp(_) | CheckKind::Udp(_) => Use::Bytes,
                        CheckKind::Http(_) => Use::Http,
                        CheckKind::Grpc(_) => Use::Calls,
                    };
                    let (connect, tls, host) = (&cluster.connect, tls.as_deref(), host.as_deref());
                    let way = Way { connect, proxy, tls, host, for_what, request: None };
                    rehearsed(&env, &lag, &address, way, cluster.protocol, &check, injected).await
                }
                Err(unopened) => ProbeOutcome { result: Unopened::probed(unopened), took: Duration::ZERO },
            };
            // Fails only when the loop has ended, and then nobody wants it.
            let _ = results.send(Finished { id, key, check, outcome });
        });
    }
}

/// One attempt, as it would be if what is injected were true.
async fn rehearsed<E: Env>(
    env: &E,
    lag: &Lag,
    address: &Address,
    way: Way<'_>,
    version: HttpVersion,
    check: &HealthCheck,
    injected: Injected,
) -> ProbeOutcome {
    if injected == Injected::default() {
        return attempt(env, lag, address, way, version, check).await;
    }
    if injected.end.is_some() {
        // Waiting for it would only make rehearsals slower.
        let result = ProbeResult::Failed(ProbeFailure::ConnectTimeout);
        return ProbeOutcome { result, took: Duration::ZERO };
    }
    if injected.delay >= check.timeout {
        sleep(check.timeout).await;
        return ProbeOutcome { result: ProbeResult::Failed(ProbeFailure::Timeout), took: check.timeout };
    }
    sleep(injected.delay).await;
    let mut outcome = attempt(env, lag, address, way, version, check).await;
    outcome.took += injected.delay;
    if outcome.took > check.timeout && outcome.result == ProbeResult::Passed {
        outcome.result = ProbeResult::Failed(ProbeFailure::Timeout);
    }
    outcome
}

/// One attempt: `check` at `address`.
pub(crate) async fn attempt<E: Env>(
    env: &E,
    lag: &Lag,
    address: &Address,
    way: Way<'_>,
    version: HttpVersion,
    check: &HealthCheck,
) -> ProbeOutcome {
    let (began, stalled_before) = (env.now(), lag.stalled());
    let (connected, heard, left) = (Cell::new(false), Cell::new(None), Cell::new(None));
    let asked = async {
        if let CheckKind::Udp(dialogue) = &check.kind {
            return udp::ask(env, address, way.connect, dialogue, &connected).await;
        }
        let mut stream = match transport::open(env, address, way).await {
            Ok(stream) => stream,
            Err(unopened) => return unopened.probed(),
        };
        connected.set(true);
        let result = match &check.kind {
            CheckKind::Tcp(dialogue) => tcp::ask(&mut stream, dialogue, &heard).await,
            // Asked above, without a stream.
            CheckKind::Udp(_) => ProbeResult::Passed,
            CheckKind::Grpc(grpc) => {
                let secure = stream.is_secure();
                grpc::ask(&mut stream, grpc, address, secure, check.timeout).await
            }
            CheckKind::Http(http) if version == HttpVersion::H2 || stream.has_chosen_http2() => {
                let secure = stream.is_secure();
                http2::ask(&mut stream, http, address, secure).await
            }
            CheckKind::Http(http) => {
                let (result, rest) = http::ask(&mut stream, http, address).await;
                if let Some(rest) = rest {
                    left.set(Some((stream, rest)));
                    return result;
                }
                result
            }
        };
        // A thousand closes a second would leave a thousand ports a second in TIME_WAIT.
        stream.abort_on_close();
        result
    };
    let result = timeout(check.timeout, asked).await;
    let took = env.now().since(began);
    // The verdict is there, and its time is taken: this has no part in either.
    if let Some((mut stream, rest)) = left.take() {
        rest.take(&mut stream).await;
        stream.abort_on_close();
    }
    let result = result.unwrap_or_else(|_| {
        timed_out(check.timeout, took, lag.stalled().saturating_sub(stalled_before), connected.get())
    });
    // Who said something else has answered.
    let result = match (result, heard.get()) {
        (ProbeResult::Failed(ProbeFailure::Timeout), Some(heard)) => {
            ProbeResult::Failed(ProbeFailure::Unexpected(heard))
        }
        (result, _) => result,
    };
    ProbeOutcome { result, took }
}

/// A probe was given up after `took`, while this thread stood still for `stalled`. If we ourselves
/// were late by more than a quarter of `limit` (and 100 ms), the endpoint may well have answered.
fn timed_out(limit: Duration, took: Duration, stalled: Duration, connected: bool) -> ProbeResult {
    let late = took.saturating_sub(limit).max(stalled);
    if late > (limit / 4).max(Duration::from_millis(100)) {
        ProbeResult::Inconclusive(Inconclusive::Late)
    } else if connected {
        ProbeResult::Failed(ProbeFailure::Timeout)
    } else {
        ProbeResult::Failed(ProbeFailure::ConnectTimeout)
    }
}

#[cfg(test)]
mod tests;
