//! From this process to the next, and from the one before to this.
//!
//! The order of things: the next one is started and given sockets and knowledge, and accepts as soon
//! as it knows its endpoints; only then does this one stop accepting. At no moment is nobody there,
//! and whatever goes wrong before leaves this one as it was.

use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use weir_core::control::{Control, Memory};

use super::StartError;
use super::gate::Handed;
use crate::control::state::{self, Left, StateDir};
use crate::control::{AskUpgrade, Handle};
use crate::observe::journal::{Journal, Kind, Level};
use crate::process::handover::{self, Legacy};
use crate::process::heir::{self, Heir};
use crate::process::service;
use crate::worker::Lent;

/// What an earlier process, or whoever started this one, left.
#[derive(Debug, Default)]
pub(super) struct Inheritance {
    pub(super) sockets: Vec<handover::Left>,
    /// What the elder knew.
    known: Option<Known>,
    /// Who waits for us to serve.
    pub(super) elder: Option<UnixStream>,
}

/// What is known, on its way from one process to the next. Each is text of its own form and version.
#[derive(Debug, Deserialize, Serialize)]
struct Known {
    seen: String,
    rollouts: String,
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
        Ok(Self { sockets, known: Some(known), elder: Some(elder) })
    }

    /// Goes on where an earlier process left off: the elder, or, after a crash or a restart, the one that
    /// kept its state in the directory.
    pub(super) fn restore(
        &self,
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

/// Sockets as they are handed over.
fn by_address(lent: Vec<Lent>) -> impl Iterator<Item = handover::Left> {
    lent.into_iter().map(|(listener, address, socket)| {
        let (listener, configured) = (Some(listener.as_str().to_owned()), address.to_string());
        let role = handover::Role { kind: handover::Kind::Datagrams, listener, configured };
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
pub(super) struct Succession {
    heir: Option<Heir>,
    handed: Rc<Handed>,
    ask: AskLent,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    ended: oneshot::Receiver<Result<u32, String>>,
    replies: Vec<oneshot::Sender<Result<u32, String>>>,
}

impl Succession {
    /// And how it is asked.
    pub(super) fn new(
        handed: Rc<Handed>,
        ask: AskLent,
        handle: &Handle,
    ) -> (Self, mpsc::UnboundedReceiver<AskUpgrade>) {
        let (upgrade, asked) = mpsc::unbounded_channel();
        handle.upgrade_by(upgrade);
        // Only an upgrade needs to know, and then it says what it cannot find.
        (Self { heir: Heir::of_this_process().ok(), handed, ask, under_way: None }, asked)
    }

    /// Starts an heir, unless one is starting: then whoever asks hears of that.
    pub(super) fn begin(&mut self, handle: &Handle, by: &str, reply: Option<oneshot::Sender<Result<u32, String>>>) {
        if let Some(under_way) = &mut self.under_way {
            under_way.replies.extend(reply);
            return;
        }
        handle.note_upgrade(Level::Info, &format!("upgrade: {by} asked for it; another process is started"), None);
        let (done, ended) = oneshot::channel();
        let asked = (self.ask)();
        match self.legacy(handle) {
            Ok((heir, mut legacy)) => {
                tokio::task::spawn_local(async move {
                    for lent in asked {
                        // A worker that is gone serves nothing.
                        legacy.sockets.extend(by_address(lent.await.unwrap_or_default()));
                    }
                    legacy.sockets = joined(legacy.sockets);
                    let work = move || {
                        // Nobody waits only if this process is on its way out.
                        let _ = done.send(heir.succeed(&legacy));
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
        self.under_way = Some(UnderWay { ended, replies: reply.into_iter().collect() });
    }

    fn legacy(&self, handle: &Handle) -> Result<(Heir, Legacy), String> {
        let heir = self.heir.clone().ok_or("the system does not tell by which program this process was started")?;
        let (seen, rollouts) = handle.known();
        let known = serde_json::to_string(&Known { seen, rollouts }).map_err(|error| error.to_string())?;
        let sockets = self.handed.legacy().map_err(|error| format!("cannot duplicate sockets: {error}"))?;
        Ok((heir, Legacy { sockets, known }))
    }

    /// Waits until an heir serves: its process number. Those that fail are told of.
    pub(super) async fn succeeded(&mut self, handle: &Handle) -> u32 {
        loop {
            let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
            let ended = (&mut under_way.ended).await.unwrap_or_else(|_| Err("its thread ended".to_owned()));
            let replies = self.under_way.take().map(|under_way| under_way.replies).unwrap_or_default();
            for reply in replies {
                // Whoever asked may have gone; the journal has it.
                let _ = reply.send(ended.clone());
            }
            match ended {
                Ok(process) => {
                    let message =
                        format!("upgrade: process {process} serves from now on, this one finishes what it has");
                    handle.note_upgrade(Level::Info, &message, Some(process));
                    return process;
                }
                Err(why) => {
                    let message = format!("upgrade failed, and this process goes on: {why}");
                    handle.note_upgrade(Level::Error, &message, None);
                }
            }
        }
    }

    /// Nothing more is handed over: closing a socket closes it.
    pub(super) fn end(&self) {
        self.handed.let_go();
    }
}
