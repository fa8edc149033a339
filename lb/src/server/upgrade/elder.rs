//! What is before this process: what an earlier one, or whoever started this one, left, and what the
//! earlier one says until it ends.

use std::io;
use std::os::unix::net::UnixStream;

use serde_json::json;
use tokio::time::timeout;
use weir_core::carry::Totals;
use weir_core::control::{Control, Last, Memory};

use super::super::StartError;
use super::{Known, LAST_MAX};
use crate::control::Handle;
use crate::control::state::{self, Left, StateDir};
use crate::observe::journal::{Journal, Kind, Level};
use crate::observe::metrics::Metrics;
use crate::process::handover::{self, Legacy, Line};
use crate::process::heir;
use crate::process::service;

/// What an earlier process, or whoever started this one, left.
#[derive(Debug, Default)]
pub(in crate::server) struct Inheritance {
    pub(in crate::server) sockets: Vec<handover::Left>,
    /// What the elder knew.
    known: Option<Known>,
    /// What it had counted.
    pub(in crate::server) totals: Totals,
    /// Who waits for us to serve.
    elder: Option<UnixStream>,
}

impl Inheritance {
    /// Of the elder, if there is one; else of the service manager.
    pub(in crate::server) fn take() -> Result<Self, StartError> {
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
    pub(in crate::server) fn elder(&mut self) -> Option<Elder> {
        let says_its_last = self.known.as_ref().is_some_and(|known| known.counts.is_some());
        self.elder.take().map(|line| Elder { line, says_its_last })
    }

    /// Goes on where an earlier process left off: the elder, or, after a crash or a restart, the one that
    /// kept its state in the directory.
    pub(in crate::server) fn restore(
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
pub(in crate::server) struct Elder {
    line: UnixStream,
    says_its_last: bool,
}

impl Elder {
    /// To be called once this process could serve: takes over, and listens to the elder until it ends.
    pub(in crate::server) async fn succeed(self, handle: Handle, metrics: Metrics) {
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
        let told = last.is_some();
        if let Some(last) = &last {
            metrics.carry(&last.totals);
        }
        handle.succeed(last).await;
        // It may be gone: then there is nobody who has to know.
        let _ = line.ready().await;
        if told {
            Self::listen(&mut line, &handle, &metrics).await;
        }
    }

    /// Its last words.
    async fn last(line: &mut Line, handle: &Handle) -> Option<Last> {
        let asked = async {
            // Of one that has ended the next line hears as well.
            let _ = line.settled().await;
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
