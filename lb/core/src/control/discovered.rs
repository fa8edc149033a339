//! Endpoints that are found: the sources of all clusters, and what their answers change.
//!
//! Members of a cluster are those with a fixed address and, after them, those in force of each of
//! its sources. Who comes is adopted like one that a configuration names, so history is found
//! again by identity; who is no longer told drains, and departs when its source forgets it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{self, Address, ClusterName, Source, SourceKind};

use super::memory::{Past, SourceMemory};
use super::notice::Notice;
use super::{Control, Effect};
use crate::discovery::{Answer, Change, Discovery, Failure, Rules, State, Trace, Turn};
use crate::time::Moment;

/// Which source: a cluster has each only once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey {
    /// Whose.
    pub cluster: ClusterName,
    /// What is looked at.
    pub kind: SourceKind,
}

impl fmt::Display for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.kind, self.cluster)
    }
}

/// A source to be looked at, now. Names are looked up once; a file is read and then watched, and
/// every change of it is told under the same number, until it is to be left or another look at it
/// is ordered.
#[derive(Clone, Debug)]
pub struct Look {
    /// To be given back with the answer.
    pub key: Arc<SourceKey>,
    /// To be given back with the answer.
    pub number: u64,
    /// What to look at, and what its endpoints are like.
    pub source: Source,
    /// Its cluster: how to resolve.
    pub cluster: Arc<model::Cluster>,
}

/// The end of a look.
#[derive(Clone, Debug)]
pub struct Found {
    /// As ordered.
    pub key: Arc<SourceKey>,
    /// As ordered; an older one is ignored.
    pub number: u64,
    /// What it came to.
    pub answer: Answer,
}

/// One member that a cluster shall have.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) endpoint: model::Endpoint,
    /// The name it was found by.
    pub(super) host: Option<Arc<str>>,
    /// Whether its source no longer tells it.
    pub(super) gone: bool,
}

/// The sources of the configuration in force.
#[derive(Debug, Default)]
pub(super) struct Sources {
    known: BTreeMap<Arc<SourceKey>, Known>,
    /// Those with something due, by when.
    due: BTreeSet<(Moment, Arc<SourceKey>)>,
    /// Looks so far.
    looks: u64,
}

#[derive(Debug)]
struct Known {
    discovery: Discovery,
    source: Source,
    resolve: model::Resolve,
    /// Under which it stands in `due`.
    due: Option<Moment>,
}

impl Sources {
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Until when somebody still waits for a first answer: when the last such wait ends.
    pub(super) fn awaited_until(&self) -> Option<Moment> {
        self.known.values().filter_map(|known| known.discovery.awaited_until(known.resolve.timeout)).max()
    }

    /// What is to be left of them to the next process.
    pub(super) fn memory(&self, now: Moment) -> impl Iterator<Item = SourceMemory> {
        self.known.iter().filter_map(move |(key, known)| {
            let told = known.discovery.endpoints().filter(|&(_, told)| told);
            let endpoints: Vec<_> = told.map(|(endpoint, _)| endpoint.clone()).collect();
            let failing = known.discovery.failing_since().map(|since| now.since(since));
            (!endpoints.is_empty()).then(|| SourceMemory { key: (**key).clone(), endpoints, failing })
        })
    }

    /// Keeps `due` in line with a source.
    fn plan(&mut self, key: &Arc<SourceKey>) {
        let Some(known) = self.known.get_mut(key) else { return };
        let next = known.discovery.due();
        if next == known.due {
            return;
        }
        if let Some(before) = std::mem::replace(&mut known.due, next) {
            self.due.remove(&(before, Arc::clone(key)));
        }
        if let Some(next) = next {
            self.due.insert((next, Arc::clone(key)));
        }
    }

    /// Takes over the sources of a new configuration; says which are left.
    fn adopt(&mut self, now: Moment, config: &model::Config, past: &mut Past) -> Vec<Arc<SourceKey>> {
        let mut left: BTreeSet<Arc<SourceKey>> = self.known.keys().cloned().collect();
        for cluster in &config.clusters {
            for source in &cluster.sources {
                let key = Arc::new(SourceKey { cluster: cluster.name.clone(), kind: source.kind.clone() });
                left.remove(&key);
                let rules = Rules::new(&source.kind, &cluster.resolve);
                match self.known.get_mut(&key) {
                    Some(known) if known.source == *source && known.resolve == cluster.resolve => continue,
                    Some(known) => {
                        (known.source, known.resolve) = (source.clone(), cluster.resolve.clone());
                        known.discovery.redefine(now, rules);
                    }
                    None => {
                        let (source, resolve) = (source.clone(), cluster.resolve.clone());
                        let discovery = match past.source(&key) {
                            Some(its) => Discovery::recalled(now, rules, its.endpoints, its.failing),
                            None => Discovery::new(now, rules),
                        };
                        let known = Known { discovery, source, resolve, due: None };
                        self.known.insert(Arc::clone(&key), known);
                    }
                }
                self.plan(&key);
            }
        }
        for key in &left {
            if let Some(Known { due: Some(due), .. }) = self.known.remove(key) {
                self.due.remove(&(due, Arc::clone(key)));
            }
        }
        left.into_iter().collect()
    }

    /// The members of a cluster. Of an address that occurs twice the first counts, a fixed one
    /// before a found one, and one that is told before one that is not any more.
    pub(super) fn members(&self, cluster: &model::Cluster) -> Vec<Wanted> {
        let mut members: Vec<Wanted> =
            cluster.endpoints.iter().map(|fixed| Wanted { endpoint: fixed.clone(), host: None, gone: false }).collect();
        if cluster.sources.is_empty() {
            return members;
        }
        let mut places: BTreeMap<Address, usize> =
            members.iter().enumerate().map(|(at, member)| (member.endpoint.address.clone(), at)).collect();
        for source in &cluster.sources {
            let key = SourceKey { cluster: cluster.name.clone(), kind: source.kind.clone() };
            let Some(known) = self.known.get(&key) else { continue };
            for (endpoint, told) in known.discovery.endpoints() {
                let wanted = || Wanted { endpoint: endpoint.clone(), host: source.kind.host().cloned(), gone: !told };
                match places.get(&endpoint.address) {
                    Some(&at) if members[at].gone && told => members[at] = wanted(),
                    Some(_) => {}
                    None => {
                        places.insert(endpoint.address.clone(), members.len());
                        members.push(wanted());
                    }
                }
            }
        }
        members
    }

    /// Whether `due` holds exactly what is due.
    pub(super) fn is_in_order(&self) -> bool {
        let planned = self.known.iter().filter_map(|(key, known)| Some((known.due?, Arc::clone(key))));
        self.due.iter().cloned().eq(planned.collect::<BTreeSet<_>>())
            && self.known.values().all(|known| known.due == known.discovery.due())
    }
}

impl Control {
    /// Takes over the sources of `config`, before its clusters are.
    pub(super) fn adopt_sources(&mut self, config: &model::Config, effects: &mut Vec<Effect>) {
        let left = self.sources.adopt(self.now, config, &mut self.past);
        effects.extend(left.into_iter().map(Effect::LookAway));
    }

    /// Takes in an answer.
    pub(super) fn found(&mut self, found: Found, effects: &mut Vec<Effect>) {
        let Found { key, number, answer } = found;
        let draw = self.dice.roll();
        if let Some(known) = self.sources.known.get_mut(&key) {
            let change = known.discovery.hear(self.now, number, answer, draw);
            self.take_over(&key, &change, effects);
        }
    }

    /// What time alone brings, and the looks that are due.
    pub(super) fn look(&mut self, effects: &mut Vec<Effect>) {
        while let Some((at, key)) = self.sources.due.first().cloned()
            && at <= self.now
        {
            // What is due is known.
            let Some(known) = self.sources.known.get_mut(&key) else { return };
            let draw = self.dice.roll();
            let change = known.discovery.pass(self.now, draw);
            let number = self.sources.looks + 1;
            if known.discovery.look(self.now, number) {
                self.sources.looks = number;
                let source = known.source.clone();
                let Some(cluster) = self.clusters.iter().find(|cluster| cluster.config.name == key.cluster) else {
                    return;
                };
                let cluster = Arc::clone(&cluster.config);
                effects.push(Effect::Look(Look { key: Arc::clone(&key), number, source, cluster }));
            }
            self.take_over(&key, &change, effects);
        }
    }

    fn take_over(&mut self, key: &Arc<SourceKey>, change: &Change, effects: &mut Vec<Effect>) {
        self.sources.plan(key);
        if change.changes_endpoints()
            && let Some(at) = self.clusters.iter().position(|cluster| cluster.config.name == key.cluster)
        {
            self.refill(at, effects);
        }
        if let Some(known) = self.sources.known.get(key) {
            effects.extend(news(self.now, key, change, &known.discovery).map(Effect::Notice));
        }
    }

    /// Every source of the configuration, cluster by cluster.
    pub fn sources(&self) -> impl Iterator<Item = SourceView<'_>> {
        let now = self.now;
        self.sources.known.iter().map(move |(key, known)| SourceView { key, discovery: &known.discovery, now })
    }
}

/// One source of the configuration, for people.
#[derive(Clone, Copy, Debug)]
pub struct SourceView<'c> {
    /// Which.
    pub key: &'c Arc<SourceKey>,
    /// All there is to know of it.
    pub discovery: &'c Discovery,
    now: Moment,
}

impl SourceView<'_> {
    /// The state it is in.
    #[must_use]
    pub fn state(&self) -> State {
        self.discovery.state()
    }

    /// For how long what is in force would be fresh; zero if it no longer is.
    #[must_use]
    pub fn ttl_left(&self) -> Option<Duration> {
        self.discovery.expires_at().map(|at| at.since(self.now))
    }

    /// For how long looks have failed, if the newest did.
    #[must_use]
    pub fn stale_for(&self) -> Option<Duration> {
        self.discovery.failing_since().map(|since| self.now.since(since))
    }

    /// In how long it is next looked at; `None` while it is.
    #[must_use]
    pub fn next_look_in(&self) -> Option<Duration> {
        self.discovery.next_look().map(|at| at.since(self.now))
    }
}

/// News of a source. Displays as one sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoveryNotice {
    /// Which source.
    pub key: Arc<SourceKey>,
    /// What happened.
    pub news: News,
    /// How the answer was come by.
    pub trace: Arc<Trace>,
}

/// What happened to a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It told something for the first time.
    Resolved {
        /// Endpoints told.
        endpoints: usize,
        /// For how long they are believed.
        ttl: Option<Duration>,
    },
    /// It tells others than before.
    Changed {
        /// New, or told again: used from now on.
        added: Vec<Address>,
        /// No longer told: no new work from now on.
        gone: Vec<Address>,
        /// Endpoints told.
        endpoints: usize,
        /// For how long they are believed.
        ttl: Option<Duration>,
    },
    /// Endpoints that were no longer told are forgotten.
    Removed(Vec<Address>),
    /// It fails.
    Failing {
        /// How.
        failure: Failure,
        /// Endpoints told before, which stay in force.
        keeps: usize,
        /// For how long they do, if it goes on; `None` is for ever.
        lasts: Option<Duration>,
        /// In how long it is looked at again; `None`: when it changes.
        next: Option<Duration>,
    },
    /// What it told is given up.
    GivenUp {
        /// Who.
        removed: Vec<Address>,
        /// How it fails.
        failure: Failure,
        /// For how long.
        failing: Duration,
    },
    /// It tells something again.
    Recovered {
        /// For how long it did not.
        failed: Duration,
        /// Endpoints told.
        endpoints: usize,
        /// For how long they are believed.
        ttl: Option<Duration>,
    },
}

/// What people should hear of a change, in order.
fn news<'c>(
    now: Moment,
    key: &'c Arc<SourceKey>,
    change: &'c Change,
    discovery: &'c Discovery,
) -> impl Iterator<Item = Notice> + use<'c> {
    let answer = discovery.last().map(|(_, answer)| answer);
    let failure = answer.and_then(|answer| answer.result.as_ref().err().cloned());
    let ttl = answer.and_then(|answer| answer.result.as_ref().ok()).and_then(|told| told.ttl);
    let endpoints = discovery.endpoints().filter(|&(_, told)| told).count();
    let turn = change.turn.and_then(|turn| match turn {
        Turn::First => Some(News::Resolved { endpoints, ttl }),
        Turn::Recovered(failed) => Some(News::Recovered { failed, endpoints, ttl }),
        Turn::Failing => Some(News::Failing {
            failure: failure.clone()?,
            keeps: discovery.endpoints().count(),
            lasts: discovery.keeps_until().map(|at| at.since(now)),
            next: discovery.next_look().map(|at| at.since(now)),
        }),
        Turn::GivenUp(failing) => {
            Some(News::GivenUp { removed: change.removed.clone(), failure: failure.clone()?, failing })
        }
    });
    let added: Vec<Address> = change.added.iter().chain(&change.back).cloned().collect();
    let first = matches!(change.turn, Some(Turn::First));
    let changed = (!(first || added.is_empty() && change.missing.is_empty())).then(|| News::Changed {
        added,
        gone: change.missing.clone(),
        endpoints,
        ttl,
    });
    let given_up = matches!(change.turn, Some(Turn::GivenUp(_)));
    let removed = (!given_up && !change.removed.is_empty()).then(|| News::Removed(change.removed.clone()));
    let trace = answer.map(|answer| Arc::clone(&answer.trace)).unwrap_or_default();
    turn.into_iter()
        .chain(changed)
        .chain(removed)
        .map(move |news| Notice::Discovery(DiscoveryNotice { key: Arc::clone(key), news, trace: Arc::clone(&trace) }))
}

impl fmt::Display for DiscoveryNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, news, .. } = self;
        match news {
            News::Resolved { endpoints, ttl } => {
                write!(f, "{key} tells {}{}", count(*endpoints), fresh(*ttl))
            }
            News::Changed { added, gone, endpoints, ttl } => {
                write!(f, "{key} tells {} now{}", count(*endpoints), fresh(*ttl))?;
                if !added.is_empty() {
                    write!(f, "; new: {}", list(added))?;
                }
                if gone.is_empty() { Ok(()) } else { write!(f, "; gone, no new work for: {}", list(gone)) }
            }
            News::Removed(removed) => write!(f, "{key} no longer tells {}: removed", list(removed)),
            News::Failing { failure, keeps, lasts, next } => {
                write!(f, "{key} cannot be had: {failure}")?;
                match (keeps, lasts) {
                    (0, _) => f.write_str("; nothing was told before")?,
                    (_, Some(lasts)) => write!(f, "; {} told before stay for {lasts:.0?} more", count(*keeps))?,
                    (_, None) => write!(f, "; {} told before stay", count(*keeps))?,
                }
                next.map_or(Ok(()), |next| write!(f, "; next look in {next:.1?}"))
            }
            News::GivenUp { removed, failure, failing } => {
                write!(f, "{key} could not be had for {failing:.0?} ({failure}): given up {}", list(removed))
            }
            News::Recovered { failed, endpoints, ttl } => {
                write!(f, "{key} is back after {failed:.1?}: tells {}{}", count(*endpoints), fresh(*ttl))
            }
        }
    }
}

fn count(endpoints: usize) -> String {
    format!("{endpoints} endpoint{}", if endpoints == 1 { "" } else { "s" })
}

fn fresh(ttl: Option<Duration>) -> String {
    ttl.map(|ttl| format!(" (TTL {ttl:.0?})")).unwrap_or_default()
}

/// The first few of a list, and how many more there are.
fn list(addresses: &[Address]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = addresses.iter().take(SHOWN).map(ToString::to_string).collect();
    match addresses.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
