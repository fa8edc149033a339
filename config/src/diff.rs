//! What a reload would change, in words, before it is done.
//!
//! Structs are taken apart field by field without `..`, so a field that is added to the model
//! does not compile until somebody says here what its change touches.

mod actions;
mod admin;
mod balancing;
mod cluster;
mod health;
mod listener;
mod release;
mod resilience;
mod show;
mod tls;
mod tracing;

pub(crate) use show::{date, duration as shown, matches as shown_match, size as shown_size};

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;

use serde_json::{Value, json};

use crate::model::{Config, Shutdown};
use crate::release::moves::Move;

/// What of the traffic a change touches. Larger is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Touches {
    /// No traffic at all.
    Nothing,
    /// Requests that begin after the reload.
    NewRequests,
    /// Client connections that begin after the reload.
    NewConnections,
    /// Client connections that are open: they are drained.
    Connections,
}

impl Touches {
    /// As `new_requests`; for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::NewRequests => "new_requests",
            Self::NewConnections => "new_connections",
            Self::Connections => "connections",
        }
    }

    const fn heading(self) -> &'static str {
        match self {
            Self::Nothing => "Touches no traffic:",
            Self::NewRequests => "Touches new requests:",
            Self::NewConnections => "Touches new connections:",
            Self::Connections => "Touches open connections, which are drained:",
        }
    }
}

/// Whether something came, went or became different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is different.
    Changed,
}

impl ChangeKind {
    /// As `added`; for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }

    const fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Came, went or became different.
    pub kind: ChangeKind,
    /// In words: `cluster orders-v1: endpoint 10.0.1.11:8080 (az-a): weight 1 -> 2`.
    pub what: String,
    /// What of the traffic it touches.
    pub touches: Touches,
    /// A reload does not bring it about, only a new process.
    pub needs_restart: bool,
    /// It throws users out of a canary that they were in; how many are not always known.
    pub expels: bool,
    /// The users that it moves from one cluster to another, if it is that.
    pub moves: Option<Move>,
}

/// All differences between two configs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    list: Vec<Change>,
}

impl Changes {
    /// Whether the two configs mean the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many differences there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// One by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Change> {
        self.list.iter()
    }

    /// The most that any of them touches.
    #[must_use]
    pub fn touches(&self) -> Touches {
        self.list.iter().map(|change| change.touches).max().unwrap_or(Touches::Nothing)
    }

    /// Whether any of them throws users out of a canary that they were in.
    #[must_use]
    pub fn expels(&self) -> bool {
        self.list.iter().any(|change| change.expels)
    }

    /// For programs: `{changed, touches, needs_restart, expels, changes: [...]}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let change = |change: &Change| {
            let mut object = json!({
                "kind": change.kind.as_str(),
                "touches": change.touches.as_str(),
                "needs_restart": change.needs_restart,
                "expels": change.expels,
                "what": change.what,
            });
            if let Some(one) = &change.moves {
                object["users"] = json!({
                    "from": one.from.as_str(),
                    "to": one.to.as_str(),
                    "percent": one.share.percent(),
                    "buckets": one.ranges.iter().map(|range| [*range.start(), *range.end()]).collect::<Vec<_>>(),
                });
            }
            object
        };
        json!({
            "changed": !self.is_empty(),
            "touches": self.touches().as_str(),
            "needs_restart": self.list.iter().any(|change| change.needs_restart),
            "expels": self.expels(),
            "changes": self.list.iter().map(change).collect::<Vec<_>>(),
        })
    }

    fn count(&self, touches: Touches) -> usize {
        self.list.iter().filter(|change| change.touches == touches).count()
    }
}

impl<'a> IntoIterator for &'a Changes {
    type Item = &'a Change;
    type IntoIter = std::slice::Iter<'a, Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// For human eyes: grouped by what they touch, the worst first, then a summary.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "no change: both mean the same");
        }
        let groups = [Touches::Connections, Touches::NewConnections, Touches::NewRequests, Touches::Nothing];
        for touches in groups {
            if self.count(touches) == 0 {
                continue;
            }
            writeln!(f, "{}", touches.heading())?;
            for change in self.list.iter().filter(|change| change.touches == touches) {
                let restart = if change.needs_restart { " (needs a restart)" } else { "" };
                let out = if change.expels { " (takes users out of a canary)" } else { "" };
                writeln!(f, "  {} {}{restart}{out}", change.kind.sign(), change.what)?;
            }
            writeln!(f)?;
        }
        let all = self.len();
        write!(f, "{all} change{}: ", if all == 1 { "" } else { "s" })?;
        let words = ["open connections", "new connections", "new requests", "no traffic"];
        let counts = groups.into_iter().zip(words).map(|(touches, word)| (self.count(touches), word));
        let told: Vec<_> = counts.filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} to {word}")).collect();
        writeln!(f, "{}", told.join(", "))
    }
}

/// What leads from `old` to `new`.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Changes {
    let mut notes = Notes::default();
    let Config {
        admin,
        zone,
        workers,
        max_concurrent_probes,
        shutdown,
        access_log,
        tracing,
        listeners,
        clusters,
        releases,
    } = new;
    let root = notes.subject("");
    admin::diff(old.admin.as_ref(), admin.as_ref(), root);
    let root = notes.subject("");
    root.field(Touches::NewRequests, "zone", &old.zone, zone, show::or("none"));
    root.restart("workers", &old.workers, workers, show::or("one per core"));
    let probes = (&old.max_concurrent_probes, max_concurrent_probes);
    root.field(Touches::Nothing, "max_concurrent_probes", probes.0, probes.1, show::plain);
    root.field(Touches::Nothing, "access_log", &old.access_log, access_log, show::access_log);
    tracing::diff(old.tracing.as_ref(), tracing.as_ref(), &mut notes);
    let Shutdown { delay, timeout, upgrade_timeout } = shutdown;
    let shutdown = notes.subject("shutdown");
    shutdown.field(Touches::Nothing, "delay", &old.shutdown.delay, delay, show::duration);
    shutdown.field(Touches::Nothing, "timeout", &old.shutdown.timeout, timeout, show::duration);
    let upgrade = (&old.shutdown.upgrade_timeout, upgrade_timeout);
    shutdown.field(Touches::Nothing, "upgrade_timeout", upgrade.0, upgrade.1, show::duration);
    for pair in pairs(&old.listeners, listeners, |listener| listener.name.clone()) {
        listener::diff(pair, (old, new), &mut notes);
    }
    for pair in pairs(&old.clusters, clusters, |cluster| cluster.name.clone()) {
        cluster::diff(pair, &mut notes);
    }
    for pair in pairs(&old.releases, releases, |release| release.name.clone()) {
        release::diff(pair, &mut notes);
    }
    Changes { list: notes.list }
}

/// The same thing in the old config and in the new one.
enum Pair<'a, T> {
    Added(&'a T),
    Removed(&'a T),
    Both(&'a T, &'a T),
}

/// Pairs what has the same key; the second of one key with the second. In the order of the old,
/// then of the new.
fn pairs<'a, T, K: Hash + Eq>(old: &'a [T], new: &'a [T], key: impl Fn(&T) -> K) -> Vec<Pair<'a, T>> {
    let mut by_key: HashMap<K, Vec<usize>> = HashMap::with_capacity(new.len());
    for (at, item) in new.iter().enumerate().rev() {
        by_key.entry(key(item)).or_default().push(at);
    }
    let mut taken = HashSet::with_capacity(new.len());
    let mut pairs: Vec<_> = old
        .iter()
        .map(|item| match by_key.get_mut(&key(item)).and_then(Vec::pop) {
            Some(at) => {
                taken.insert(at);
                Pair::Both(item, &new[at])
            }
            None => Pair::Removed(item),
        })
        .collect();
    pairs.extend(new.iter().enumerate().filter(|(at, _)| !taken.contains(at)).map(|(_, item)| Pair::Added(item)));
    pairs
}

/// The differences so far, and what they are about.
#[derive(Default)]
struct Notes {
    list: Vec<Change>,
    subject: String,
}

impl Notes {
    /// Says what the next changes are about.
    fn subject(&mut self, subject: &str) -> &mut Self {
        subject.clone_into(&mut self.subject);
        self
    }

    fn push(&mut self, kind: ChangeKind, touches: Touches, what: &str) -> &mut Self {
        let what = if self.subject.is_empty() { what.to_owned() } else { format!("{}: {what}", self.subject) };
        self.list.push(Change { kind, what, touches, needs_restart: false, expels: false, moves: None });
        self
    }

    /// The newest change throws users out of a canary.
    fn expels(&mut self) {
        if let Some(change) = self.list.last_mut() {
            change.expels = true;
        }
    }

    /// The newest change is that these users move.
    fn moves(&mut self, moves: Move) {
        if let Some(change) = self.list.last_mut() {
            change.expels = moves.expels;
            change.moves = Some(moves);
        }
    }

    fn added(&mut self, touches: Touches, what: &str) {
        self.push(ChangeKind::Added, touches, what);
    }

    fn removed(&mut self, touches: Touches, what: &str) {
        self.push(ChangeKind::Removed, touches, what);
    }

    /// Notes a field if it became different.
    fn field<T: PartialEq>(&mut self, touches: Touches, name: &str, old: &T, new: &T, show: impl Fn(&T) -> String) {
        if old != new {
            self.push(ChangeKind::Changed, touches, &format!("{name} {} -> {}", show(old), show(new)));
        }
    }

    /// As `field`, for what stays as it is for the life of the process.
    fn restart<T: PartialEq>(&mut self, name: &str, old: &T, new: &T, show: impl Fn(&T) -> String) {
        let before = self.list.len();
        self.field(Touches::Nothing, name, old, new, show);
        self.list[before..].iter_mut().for_each(|change| change.needs_restart = true);
    }
}

/// The keys of one object within the subject; all of them are about how requests are handed on.
struct Group<'n> {
    name: &'static str,
    notes: &'n mut Notes,
}

impl<'n> Group<'n> {
    const fn new(name: &'static str, notes: &'n mut Notes) -> Self {
        Self { name, notes }
    }

    fn field<T: PartialEq>(&mut self, name: &str, old: &T, new: &T, show: impl Fn(&T) -> String) {
        self.notes.field(Touches::NewRequests, &format!("{} {name}", self.name), old, new, show);
    }

    /// For what is switched on or off as a whole; `show` says `None` when it is off.
    fn whole<T: PartialEq>(&mut self, old: &T, new: &T, show: impl Fn(&T) -> Option<String>) {
        let show = |value: &T| show(value).unwrap_or_else(|| "off".to_owned());
        self.notes.field(Touches::NewRequests, self.name, old, new, show);
    }
}
