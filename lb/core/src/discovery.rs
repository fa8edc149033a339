//! One source of endpoints: when it is looked at, what of its answers is in force, and how long.
//!
//! A pure state machine. It knows neither DNS nor files: whoever looks tells it [`Answer`]s. The
//! rules, and the complaints about others that they answer:
//!
//! * The next look is due when the shortest TTL on the way to the answer has passed, within the
//!   cluster's bounds, 10 % sooner or later so that a fleet does not ask in step, but never more
//!   than half a second later: a change is seen within its TTL and a second.
//! * A failure is looked at again after 1 s, then 2, 4, 8, 16 and 30 s.
//! * What is new is used at once. What an answer lacks is given no new work at once: removal wins.
//!   But it is forgotten only when so many answers in a row lack it as the cluster wants
//!   (`confirm_removal`): until then its checks and connections are kept, so that a server which
//!   tells another part of a long list each time costs nothing.
//! * A failure takes nobody out. "No such name" and "no records" are failures too: what was told
//!   before stays in force for `max_stale`, shown as stale, and is then given up. A list that
//!   shrinks to nothing is so never believed at its first word.

mod srv;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{Address, Endpoint, Family, Resolve, SourceKind};

pub use srv::{SrvRecord, srv_shares};

use crate::time::Moment;

/// What one look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The endpoints, or why there are none.
    pub result: Result<Told, Failure>,
    /// How it was come by.
    pub trace: Arc<Trace>,
}

/// What a source tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Every endpoint, in any order. Names tell at least one; a file may tell none.
    pub endpoints: Vec<Endpoint>,
    /// The shortest TTL on the way to them; `None` for what does not age: a change will be told.
    pub ttl: Option<Duration>,
    /// Addresses of which this answer says nothing, whether it has them or not.
    pub silent: Silent,
}

/// Which addresses an answer says nothing of, because a part of the look failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silent {
    /// It is complete.
    None,
    /// Those of this family; never [`Family::Both`].
    Of(Family),
    /// All that it does not have.
    All,
}

impl Silent {
    fn of(self, address: &Address) -> bool {
        match (self, address.ip().map(|address| address.ip())) {
            (Self::None, _) => false,
            (Self::All | Self::Of(Family::Both), _) => true,
            (Self::Of(family), Some(ip)) => ip.is_ipv4() == (family == Family::V4),
            (Self::Of(_), None) => false,
        }
    }
}

/// Why a look told no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which kind.
    pub kind: FailureKind,
    /// In words, as far as there is more to say. The first line is what is shown on one line.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.words())?;
        self.detail.lines().next().map_or(Ok(()), |first| write!(f, ": {first}"))
    }
}

/// Which way a look failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// There is no such name.
    NxDomain,
    /// The name has no record of that type, or no address that can be used.
    Empty,
    /// The server failed, or those behind it.
    ServFail,
    /// The server does not answer us.
    Refused,
    /// No answer in time.
    Timeout,
    /// The answer did not fit, and could not be had over TCP.
    Truncated,
    /// No server could be reached.
    Unreachable,
    /// The server's answer makes no sense, or another code than these.
    BadAnswer,
    /// The file cannot be read.
    Unreadable,
    /// The file has mistakes.
    Invalid,
}

impl FailureKind {
    /// All of them, for metrics.
    pub const ALL: [Self; 10] = [
        Self::NxDomain,
        Self::Empty,
        Self::ServFail,
        Self::Refused,
        Self::Timeout,
        Self::Truncated,
        Self::Unreachable,
        Self::BadAnswer,
        Self::Unreadable,
        Self::Invalid,
    ];

    /// The word in metrics, events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NxDomain => "nxdomain",
            Self::Empty => "empty",
            Self::ServFail => "servfail",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Truncated => "truncated",
            Self::Unreachable => "unreachable",
            Self::BadAnswer => "bad_answer",
            Self::Unreadable => "unreadable",
            Self::Invalid => "invalid",
        }
    }

    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NxDomain => "there is no such name (NXDOMAIN)",
            Self::Empty => "the name has no usable address",
            Self::ServFail => "the DNS server failed (SERVFAIL)",
            Self::Refused => "the DNS server refused to answer (REFUSED)",
            Self::Timeout => "no answer in time",
            Self::Truncated => "the answer was truncated",
            Self::Unreachable => "no DNS server could be reached",
            Self::BadAnswer => "the DNS server gave no proper answer",
            Self::Unreadable => "the file cannot be read",
            Self::Invalid => "the file has mistakes",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an answer was come by, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// What was asked, in order; a file is one step.
    pub steps: Vec<Step>,
    /// Who was asked; empty for a file.
    pub servers: Vec<SocketAddr>,
    /// From the first question to the last answer.
    pub took: Duration,
}

/// One question of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was asked: a name and a type, or a file.
    pub asked: String,
    /// What came back: each record on the way to the answer with its TTL, as `name TTL type value`.
    /// The first [`RECORDS_SHOWN`] of them.
    pub records: Vec<String>,
    /// Why nothing did.
    pub failure: Option<FailureKind>,
}

/// Records of one question that a trace shows.
pub const RECORDS_SHOWN: usize = 32;

/// Endpoints taken from one source; of a longer list, those with the lowest addresses.
pub const FOUND_MAX: usize = 1024;

/// The first pause after a failure, and the least.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause after failures.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A look is never put off by more than this beyond the TTL.
const LATE_MAX: Duration = Duration::from_millis(500);
/// A look without an answer is given up this long after its timeout.
const LOST_GRACE: Duration = Duration::from_secs(5);

/// The state a source is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing was heard yet.
    Pending,
    /// The newest look told endpoints.
    Resolved,
    /// The newest look failed; what was told before is in force.
    Stale,
    /// The newest look failed, and nothing is in force: there never was anything, or it was given
    /// up.
    Unresolved,
}

impl State {
    /// The word in metrics, events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Resolved => "resolved",
            Self::Stale => "stale",
            Self::Unresolved => "unresolved",
        }
    }
}

/// How long what was told is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// One look may take so long; `None`: it lasts, and answers as often as there is something new.
    pub timeout: Option<Duration>,
    /// The shortest time between two looks.
    pub min_ttl: Duration,
    /// The longest.
    pub max_ttl: Duration,
    /// How long the last good answer outlives failures; `None` is for ever.
    pub max_stale: Option<Duration>,
    /// Answers in a row without an address, or failures, before anything is given up.
    pub confirm_removal: u8,
}

impl Rules {
    /// Those for a source of a cluster. A file is watched, and one that cannot be read or has
    /// mistakes says nothing about the endpoints: what it told before stays.
    #[must_use]
    pub const fn new(kind: &SourceKind, resolve: &Resolve) -> Self {
        let Resolve { timeout, min_ttl, max_ttl, max_stale, confirm_removal, .. } = *resolve;
        match kind {
            SourceKind::Name { .. } | SourceKind::Srv(_) => {
                Self { timeout: Some(timeout), min_ttl, max_ttl, max_stale, confirm_removal }
            }
            SourceKind::File(_) => Self { timeout: None, min_ttl, max_ttl, max_stale: None, confirm_removal: 1 },
        }
    }
}

/// What is known of one source.
#[derive(Clone, Debug)]
pub struct Discovery {
    rules: Rules,
    in_force: BTreeMap<Address, InForce>,
    plan: Plan,
    /// Of the newest look; older answers are ignored.
    number: u64,
    /// When it was first looked at.
    began: Option<Moment>,
    /// The newest answer, and when it came.
    last: Option<(Moment, Answer)>,
    /// When what is in force was last told, and the TTL it was told with.
    told: Option<(Moment, Option<Duration>)>,
    /// Failures in a row, and when the first of them came.
    failures: u32,
    failing_since: Option<Moment>,
}

/// An endpoint that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct InForce {
    endpoint: Endpoint,
    /// Answers in a row that lack it.
    missing: u8,
    /// Since when answers say nothing of it.
    unsaid: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Look then.
    At(Moment),
    /// Being looked at; given up then, if ever.
    Asked { lost_at: Option<Moment> },
}

/// What changed by an answer, or by time. Addresses in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Used from now on.
    pub added: Vec<Address>,
    /// Lacking for the first time: no new work from now on.
    pub missing: Vec<Address>,
    /// Told again before they were forgotten.
    pub back: Vec<Address>,
    /// Forgotten.
    pub removed: Vec<Address>,
    /// Of those that stay, some have another weight, priority or zone.
    pub altered: bool,
    /// What people should hear of beside that.
    pub turn: Option<Turn>,
}

/// A turn in a source's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It told something for the first time.
    First,
    /// It fails from now on, or in another way than before.
    Failing,
    /// It told something again, after failing for so long.
    Recovered(Duration),
    /// What it told is given up, after failing for so long.
    GivenUp(Duration),
}

impl Change {
    /// Whether the endpoints of the cluster are others now.
    #[must_use]
    pub const fn changes_endpoints(&self) -> bool {
        self.altered || !self.is_quiet()
    }

    /// Whether nobody came or went.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.added.is_empty() && self.missing.is_empty() && self.back.is_empty() && self.removed.is_empty()
    }
}

impl Discovery {
    /// Nothing is known; to be looked at now.
    #[must_use]
    pub const fn new(now: Moment, rules: Rules) -> Self {
        Self {
            rules,
            in_force: BTreeMap::new(),
            plan: Plan::At(now),
            number: 0,
            began: None,
            last: None,
            told: None,
            failures: 0,
            failing_since: None,
        }
    }

    /// An earlier process found these and has failed to find any for so long, if it has: they are in force
    /// until an answer says otherwise, or as long as it would have kept them. To be looked at now.
    #[must_use]
    pub fn recalled(now: Moment, rules: Rules, endpoints: Vec<Endpoint>, failing: Option<Duration>) -> Self {
        let known = |endpoint: Endpoint| (endpoint.address.clone(), InForce { endpoint, missing: 0, unsaid: None });
        Self {
            in_force: endpoints.into_iter().take(FOUND_MAX).map(known).collect(),
            failing_since: failing.map(|failing| now.before(failing)),
            ..Self::new(now, rules)
        }
    }

    /// The source or its rules are others now: it is looked at anew. What is in force stays.
    pub const fn redefine(&mut self, now: Moment, rules: Rules) {
        self.rules = rules;
        self.plan = Plan::At(now);
    }

    /// When [`Self::pass`] and [`Self::look`] are next to be called.
    #[must_use]
    pub fn due(&self) -> Option<Moment> {
        let next = match self.plan {
            Plan::At(at) => Some(at),
            Plan::Asked { lost_at } => lost_at,
        };
        next.into_iter().chain(self.gives_up_at()).min()
    }

    /// Whether it is time to look; then that look has this number, which no other look ever had.
    pub fn look(&mut self, now: Moment, number: u64) -> bool {
        if !matches!(self.plan, Plan::At(at) if at <= now) {
            return false;
        }
        self.number = number;
        self.began.get_or_insert(now);
        self.plan = Plan::Asked { lost_at: self.rules.timeout.map(|timeout| now + timeout + LOST_GRACE) };
        true
    }

    /// Takes in the answer to look `number`; `draw` is a uniform 64-bit number.
    pub fn hear(&mut self, now: Moment, number: u64, answer: Answer, draw: u64) -> Change {
        if number != self.number || !matches!(self.plan, Plan::Asked { .. }) {
            return Change::default();
        }
        let change = match &answer.result {
            Ok(told) => self.take_in(now, told),
            Err(failure) => self.fail(now, failure.kind),
        };
        if self.rules.timeout.is_some() {
            let pause = match &answer.result {
                Ok(told) => self.pause_for(told.ttl, draw),
                Err(_) => self.retry_pause(draw),
            };
            self.plan = Plan::At(now + pause);
        }
        self.last = Some((now, answer));
        change
    }

    /// Lets time pass: a look that never came back has failed, and what is stale too long is given
    /// up.
    pub fn pass(&mut self, now: Moment, draw: u64) -> Change {
        if let Plan::Asked { lost_at: Some(lost_at) } = self.plan
            && lost_at <= now
        {
            let failure = Failure { kind: FailureKind::Timeout, detail: "the look did not come back".into() };
            return self.hear(now, self.number, Answer { result: Err(failure), trace: Arc::default() }, draw);
        }
        match self.gives_up_at() {
            Some(at) if at <= now => self.give_up(now),
            _ => Change::default(),
        }
    }

    fn take_in(&mut self, now: Moment, told: &Told) -> Change {
        let mut change = Change::default();
        let mut news: BTreeMap<&Address, &Endpoint> = BTreeMap::new();
        for endpoint in told.endpoints.iter().rev() {
            // Of an address told twice, the first counts.
            news.insert(&endpoint.address, endpoint);
        }
        while news.len() > FOUND_MAX {
            news.pop_last();
        }
        self.in_force.retain(|address, known| {
            let Some(endpoint) = news.remove(address) else {
                return known.misses(now, told.silent.of(address), &self.rules, &mut change);
            };
            if std::mem::take(&mut known.missing) > 0 {
                change.back.push(address.clone());
            }
            change.altered |= known.endpoint != *endpoint;
            known.endpoint.clone_from(endpoint);
            known.unsaid = None;
            true
        });
        for (address, endpoint) in news {
            change.added.push(address.clone());
            self.in_force.insert(address.clone(), InForce { endpoint: endpoint.clone(), missing: 0, unsaid: None });
        }
        let first = self.told.is_none();
        self.told = Some((now, told.ttl));
        self.failures = 0;
        change.turn = match self.failing_since.take() {
            _ if first => Some(Turn::First),
            Some(since) => Some(Turn::Recovered(now.since(since))),
            None => None,
        };
        change
    }

    fn fail(&mut self, now: Moment, kind: FailureKind) -> Change {
        let before = match &self.last {
            Some((_, Answer { result: Err(failure), .. })) if self.failures > 0 => Some(failure.kind),
            _ => None,
        };
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        match self.gives_up_at() {
            Some(at) if at <= now => self.give_up(now),
            _ => Change { turn: (before != Some(kind)).then_some(Turn::Failing), ..Change::default() },
        }
    }

    fn give_up(&mut self, now: Moment) -> Change {
        let removed = std::mem::take(&mut self.in_force).into_keys().collect();
        let failing = self.failing_since.map_or(Duration::ZERO, |since| now.since(since));
        Change { removed, turn: Some(Turn::GivenUp(failing)), ..Change::default() }
    }

    /// A TTL within the bounds, 10 % less or more, but hardly more.
    fn pause_for(&self, ttl: Option<Duration>, draw: u64) -> Duration {
        let Rules { min_ttl, max_ttl, .. } = self.rules;
        let ttl = ttl.unwrap_or(max_ttl).min(max_ttl).max(min_ttl);
        let sooner = ttl / 10;
        (ttl - sooner + part(sooner + sooner.min(LATE_MAX), draw)).max(min_ttl)
    }

    /// Doubled with each failure, up to a bound, and up to 10 % more.
    fn retry_pause(&self, draw: u64) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(5);
        let pause = (RETRY_MIN * 2u32.pow(doublings)).min(RETRY_MAX);
        (pause + part(pause / 10, draw)).max(self.rules.min_ttl)
    }
}

impl InForce {
    /// An answer lacks it. Says whether it stays.
    fn misses(&mut self, now: Moment, silent: bool, rules: &Rules, change: &mut Change) -> bool {
        let stays = if silent {
            let since = *self.unsaid.get_or_insert(now);
            rules.max_stale.is_none_or(|most| now.since(since) < most)
        } else {
            self.unsaid = None;
            self.missing = self.missing.saturating_add(1);
            self.missing < rules.confirm_removal
        };
        if !stays {
            change.removed.push(self.endpoint.address.clone());
        } else if !silent && self.missing == 1 {
            change.missing.push(self.endpoint.address.clone());
        }
        stays
    }
}

/// What people may see.
impl Discovery {
    /// The endpoints in force in the order of their addresses, and whether each is in the newest
    /// answer.
    pub fn endpoints(&self) -> impl Iterator<Item = (&Endpoint, bool)> {
        self.in_force.values().map(|known| (&known.endpoint, known.missing == 0))
    }

    /// The state it is in.
    #[must_use]
    pub fn state(&self) -> State {
        match (&self.last, self.failures) {
            (None, _) => State::Pending,
            (Some(_), 0) => State::Resolved,
            (Some(_), _) if self.in_force.is_empty() => State::Unresolved,
            (Some(_), _) => State::Stale,
        }
    }

    /// The newest answer, and when it came.
    #[must_use]
    pub const fn last(&self) -> Option<&(Moment, Answer)> {
        self.last.as_ref()
    }

    /// When the TTL of what is in force ends; `None` if nothing is, or it does not age.
    #[must_use]
    pub fn expires_at(&self) -> Option<Moment> {
        let (at, ttl) = self.told.filter(|_| !self.in_force.is_empty())?;
        ttl.map(|ttl| at + ttl)
    }

    /// Since when looks fail, if the newest did.
    #[must_use]
    pub const fn failing_since(&self) -> Option<Moment> {
        self.failing_since
    }

    /// Looks that failed in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Until when what is in force is kept, if looks go on to fail; `None`: for ever, or they do
    /// not fail, or nothing is in force.
    #[must_use]
    pub fn keeps_until(&self) -> Option<Moment> {
        let since = self.failing_since.filter(|_| !self.in_force.is_empty())?;
        self.rules.max_stale.map(|most| since + most)
    }

    /// The same, once so many looks have failed that it may be given up.
    fn gives_up_at(&self) -> Option<Moment> {
        self.keeps_until().filter(|_| self.failures >= u32::from(self.rules.confirm_removal))
    }

    /// When it is next looked at; `None` while it is.
    #[must_use]
    pub const fn next_look(&self) -> Option<Moment> {
        match self.plan {
            Plan::At(at) => Some(at),
            Plan::Asked { .. } => None,
        }
    }

    /// Until when the process's readiness waits for its first answer; `None` once there is one.
    #[must_use]
    pub fn awaited_until(&self, timeout: Duration) -> Option<Moment> {
        let began = self.began.filter(|_| self.last.is_none())?;
        Some(began + timeout)
    }
}

/// Whether an address told by DNS can be connected to: one that blocks a name (`0.0.0.0`), or
/// stands for many hosts, would lead to this host itself, or nowhere.
#[must_use]
pub const fn usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    }
}

/// A part of `whole` by chance, from nothing to all of it.
fn part(whole: Duration, draw: u64) -> Duration {
    // The draw is below 2^64, so the part is not above the whole; that is below 2^64 ns for pauses
    // under five centuries.
    let nanos = whole.as_nanos().saturating_mul(u128::from(draw)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
