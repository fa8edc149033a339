//! What is wrong on this host and on the way to endpoints, and what to do about it.
//!
//! Three steps, each in its own room: [`gather`] looks (ports, names, endpoints, sockets, limits,
//! clock) and changes nothing, [`facts`] is what was seen, [`findings`] judges it by pure
//! functions. The same for `weir doctor`, which runs on its own or beside an instance, and for
//! `/api/v1/doctor`, where the instance looks at itself.
//!
//! Bounded: in time ([`LOOK_MAX`]), in connections at once, in endpoints, names and sockets.

mod facts;
mod findings;
mod gather;
mod report;
mod tell;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{Address, ClusterName, Config, SourceKind};
use weir_core::discovery::State;

use crate::control::Handle;
use crate::env::Env;
use crate::process::clock::Apart;
pub use report::{Finding, Report, Severity};

/// A look takes no longer than this, whatever hangs.
pub const LOOK_MAX: Duration = Duration::from_secs(25);

/// What is to be looked at.
pub struct Subject {
    config: Arc<Config>,
    /// The configuration's file.
    file: PathBuf,
    live: Option<Live>,
}

/// What a running instance knows of itself.
struct Live {
    members: Vec<Member>,
    /// By name: for how long they go by old answers.
    stale: BTreeMap<(ClusterName, SourceKind), Duration>,
    lag: Duration,
    started: Apart,
}

/// An endpoint.
#[derive(Clone, Debug)]
struct Member {
    cluster: ClusterName,
    address: Address,
    host: Option<Arc<str>>,
}

/// When a process began, by its clocks.
#[derive(Clone, Copy, Debug)]
pub struct Began(Apart);

impl Began {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self(Apart::now())
    }
}

impl Subject {
    /// This host, for the configuration in `file`.
    #[must_use]
    pub fn configured(config: Config, file: PathBuf) -> Self {
        Self { config: Arc::new(config), file, live: None }
    }

    /// The instance itself.
    #[must_use]
    pub fn running(handle: &Handle, began: Began) -> Self {
        let snapshot = handle.snapshot();
        let members = snapshot.clusters.iter().flat_map(|cluster| {
            cluster.members.iter().map(|member| Member {
                cluster: cluster.config.name.clone(),
                address: member.address().clone(),
                host: member.host.clone(),
            })
        });
        let stale = handle.view(|control| {
            let stale = control.sources().filter(|source| source.state() == State::Stale);
            let since = |source: &weir_core::control::discovered::SourceView<'_>| {
                let key = (source.key.cluster.clone(), source.key.kind.clone());
                (key, source.stale_for().unwrap_or_default())
            };
            stale.map(|source| since(&source)).collect()
        });
        let live = Live { members: members.collect(), stale, lag: handle.lag(), started: began.0 };
        Self { config: Arc::clone(&snapshot.config), file: handle.source().path().to_owned(), live: Some(live) }
    }
}

/// Looks, and says what it found. Blocks the thread it is on for moments: not for one that has
/// other work. Must run where tasks can be spawned locally.
pub async fn examine<E: Env>(env: E, subject: Subject) -> Report {
    let began = env.now();
    let facts = gather::facts(&env, &subject).await;
    let findings = findings::all(&facts);
    Report::new(findings, &facts, env.now().since(began))
}
