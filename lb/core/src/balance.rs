//! One entry for all policies: [`pick`].
//!
//! What can be worked out once is worked out when a snapshot is made ([`Table`] from who may be
//! picked, [`Tables`] from who is configured; shared by all workers); what moves with each pick is
//! the worker's own ([`Cursors`], its dice). So a pick costs the same with ten endpoints and with
//! ten thousand, and allocates nothing.

pub mod bounded;
mod cursors;
mod hashed;
pub mod maglev;
mod random;
pub mod ring;
mod round_robin;
mod tables;
pub mod told;
mod tried;
mod two;

use std::fmt;
use std::sync::Arc;

use weir_config::model::{self, Balance};

pub use cursors::Cursors;
pub use tables::Tables;
pub use tried::Tried;

use crate::availability::{Available, Tier};
use crate::dice::Dice;
use crate::endpoint::Status;
use crate::live::TrialPermit;
use crate::reason::Reason;
use crate::snapshot::{Cluster, Member};
use crate::time::Moment;
use tables::Consistent;
use told::{Recorder, Step};
use two::By;

/// The endpoint one attempt goes to, and why that one.
#[derive(Debug)]
pub struct Pick<'c> {
    /// The endpoint.
    pub member: &'c Member,
    /// Its index among the cluster's members.
    pub index: usize,
    /// Why this one.
    pub why: Why,
    /// It is on probation, and this is a trial of it.
    pub trial: Option<TrialPermit>,
}

/// What one attempt asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Whom its request has tried.
    pub tried: &'a Tried,
    /// The request's hash key ([`crate::hash::key_of`]), if the policy hashes and the request has one.
    pub hash: Option<u64>,
    /// The endpoint its session stays on, by [`crate::hash::sticky`], if it has one.
    pub sticky: Option<u64>,
    /// It may be the trial of an endpoint on probation: should it fail, it can go elsewhere. Only a
    /// request's first attempt ever is.
    pub may_try: bool,
    /// The worker that asks: latencies are as it saw them.
    pub worker: usize,
    /// When.
    pub now: Moment,
}

impl<'a> Ask<'a> {
    /// For anybody who was not tried, by worker 0 at the origin of time.
    #[must_use]
    pub const fn new(tried: &'a Tried) -> Self {
        Self { tried, hash: None, sticky: None, may_try: false, worker: 0, now: Moment::ZERO }
    }
}

/// Why an endpoint was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The only one of its group that may be picked.
    Only,
    /// Its turn in smooth weighted round robin.
    Turn,
    /// Drawn by weight.
    Drawn,
    /// The better of two draws; the loser's index.
    LeastOfTwo {
        /// The other draw.
        over: usize,
    },
    /// By the request's key.
    Hash {
        /// Looks at others before it, by the key's order: they may not be picked, were tried or
        /// have no room. 0: the key's own.
        passed_over: u32,
    },
    /// Its session stays on it.
    Sticky,
    /// On probation, and this request is the trial.
    Trial,
}

impl Why {
    /// The word in the access log and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Only => "only",
            Self::Turn => "turn",
            Self::Drawn => "drawn",
            Self::LeastOfTwo { .. } => "least_of_two",
            Self::Hash { .. } => "hash",
            Self::Sticky => "sticky",
            Self::Trial => "trial",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => f.write_str("the only one that may be picked"),
            Self::Turn => f.write_str("its turn by weight"),
            Self::Drawn => f.write_str("drawn by weight"),
            Self::LeastOfTwo { .. } => f.write_str("the better of two drawn by weight"),
            Self::Hash { passed_over: 0 } => f.write_str("by the request's key"),
            Self::Hash { passed_over } => {
                write!(f, "by the request's key, after {passed_over} others that were passed over")
            }
            Self::Sticky => f.write_str("its session stays on it"),
            Self::Trial => f.write_str("on probation: this request is its trial"),
        }
    }
}

/// Why nobody was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .reason.as_str())]
pub struct Refusal {
    /// The reason to answer with, unless an earlier attempt of the request gave a better one.
    pub reason: Reason,
    /// There are endpoints to pick, but this request has tried each of them.
    pub all_tried: bool,
    /// There are endpoints to pick, but each that was not tried has as many requests as it may:
    /// worth waiting for.
    pub all_busy: bool,
}

/// Picks the endpoint for one attempt: never one that is unavailable, full or in `tried`.
///
/// First the one its session stays on; then a trial of one on probation, if the attempt may be
/// one; then by the policy, in the group drawn for it; and if there is none left in it, in another.
///
/// # Errors
/// [`Refusal`] if the cluster has no endpoint to pick, or none that was not tried, or none with room.
pub fn pick<'c>(
    cluster: &'c Cluster,
    ask: &Ask<'_>,
    cursors: &mut Cursors,
    dice: &mut Dice,
) -> Result<Pick<'c>, Refusal> {
    pick_told(cluster, ask, cursors, dice, &mut ())
}

/// [`pick`], which tells `recorder` each of its steps.
///
/// # Errors
/// As [`pick`].
pub fn pick_told<'c>(
    cluster: &'c Cluster,
    ask: &Ask<'_>,
    cursors: &mut Cursors,
    dice: &mut Dice,
    recorder: &mut impl Recorder,
) -> Result<Pick<'c>, Refusal> {
    let hash = cluster.config.balance.hashes().then(|| ask.hash.unwrap_or_else(|| dice.roll()));
    if let Some(hash) = hash {
        recorder.step(|| Step::Hash { hash, own: ask.hash.is_some() });
    }
    let mut picker = Picker { cluster, available: &cluster.available, ask, hash, cursors, dice, recorder };
    if let Some(picked) = picker.stay() {
        return Ok(picked);
    }
    if let Some(picked) = picker.first_trial() {
        return Ok(picked);
    }
    let drawn = picker.available.draw(hash, picker.dice);
    if picker.available.groups.len() > 1 {
        picker.recorder.step(|| Step::Group { group: drawn });
    }
    match picker.pick_in(drawn) {
        Some(picked) => Ok(picked),
        None => picker.elsewhere(drawn),
    }
}

/// One pick under way.
struct Picker<'c, 'a, R> {
    cluster: &'c Cluster,
    available: &'c Available,
    ask: &'a Ask<'a>,
    /// The key, or chance in its place, if the policy hashes.
    hash: Option<u64>,
    cursors: &'a mut Cursors,
    dice: &'a mut Dice,
    recorder: &'a mut R,
}

impl<'c, 'a, R: Recorder> Picker<'c, 'a, R> {
    /// Trials looked at for one request: more of them find no room only if there is hardly any.
    const TRIALS: usize = 4;

    /// The endpoint the session stays on, if it may be picked.
    fn stay(&mut self) -> Option<Pick<'c>> {
        let index = self.cluster.tables.session(self.ask.sticky?);
        let seat = index.and_then(|index| self.available.seat(index));
        let fits =
            seat.is_some_and(|(group, place)| !self.available.groups[group].reserve && self.choice(group).fits(place));
        self.recorder.step(|| Step::Session { index, fits });
        let index = index?;
        fits.then(|| self.picked(index, Why::Sticky))
    }

    /// A trial, if the attempt may be one.
    fn first_trial(&mut self) -> Option<Pick<'c>> {
        if self.available.trials.is_empty() || !self.ask.may_try || !self.ask.tried.is_empty() {
            return None;
        }
        self.trial(Self::TRIALS)
    }

    /// A trial of one of `most` members on probation, whichever of them has room for one.
    fn trial(&mut self, most: usize) -> Option<Pick<'c>> {
        let trials = &self.available.trials;
        let start = if trials.len() > 1 { self.dice.below(trials.len() as u64) as usize } else { 0 };
        trials[start..].iter().chain(&trials[..start]).take(most).find_map(|&index| {
            let (index, member) = (index as usize, &self.cluster.members[index as usize]);
            let trial = member.trial.as_ref().filter(|_| fits(member, index, self.ask.tried));
            let permit = trial.and_then(|trial| self.recorder.take(trial));
            self.recorder.step(|| Step::Trial { index, took: permit.is_some() });
            Some(Pick { member, index, why: Why::Trial, trial: permit? })
        })
    }

    /// By the policy, from the group at an index.
    fn pick_in(&mut self, group: usize) -> Option<Pick<'c>> {
        let table = &self.available.groups.get(group)?.table;
        let choice = self.choice(group);
        let recorder = &mut *self.recorder;
        let (place, why) = match (choice.usable, &table.0) {
            ([_], _) => choice.fits(0).then_some((0, Why::Only)),
            (_, Policy::RoundRobin(turns)) => {
                let cursor = self.cursors.of(self.cluster, group, turns, self.dice);
                cursor.next(turns, &choice, recorder).map(|place| (place, Why::Turn))
            }
            (_, Policy::Random(draw)) => draw.one(&choice, None, self.dice, recorder).map(|place| (place, Why::Drawn)),
            (_, Policy::LeastRequest(draw)) => two::pick(By::Requests, draw, &choice, self.ask, self.dice, recorder),
            (_, Policy::Ewma(draw)) => two::pick(By::Latency, draw, &choice, self.ask, self.dice, recorder),
            (_, Policy::Hashed(hashed)) => hashed.pick(self.hash.unwrap_or_default(), &choice, self.cluster, recorder),
        }?;
        Some(self.picked(choice.index(place), why))
    }

    /// When there is nobody in the group `drawn`: any other that gets traffic, or could; and if
    /// those were all tried (and not only full), the ones in reserve and whoever is on probation.
    #[cold]
    fn elsewhere(&mut self, drawn: usize) -> Result<Pick<'c>, Refusal> {
        let groups = &self.available.groups;
        let others = |reserve| (0..groups.len()).filter(move |&at| at != drawn && groups[at].reserve == reserve);
        if let Some(picked) = others(false).find_map(|group| self.instead_in(group)) {
            return Ok(picked);
        }
        if self.somebody_is_full() {
            return Err(Refusal { reason: Reason::QueueFull, all_tried: false, all_busy: true });
        }
        let last = others(true).find_map(|group| self.instead_in(group)).or_else(|| self.trial(usize::MAX));
        last.ok_or_else(|| self.refusal())
    }

    fn instead_in(&mut self, group: usize) -> Option<Pick<'c>> {
        self.recorder.step(|| Step::Elsewhere { group });
        self.pick_in(group)
    }

    /// Whether somebody in the groups was not tried, and is passed over for being full.
    fn somebody_is_full(&self) -> bool {
        let groups = self.available.groups.iter().filter(|group| !group.reserve);
        groups.flat_map(|group| &group.usable).any(|&index| !self.ask.tried.contains(index as usize))
    }

    fn refusal(&self) -> Refusal {
        let (reason, all_tried) = match self.available.tier {
            Tier::Nobody(reason) => (reason, false),
            Tier::Trials => (Reason::AllEjected, false),
            Tier::Healthy | Tier::Unknown | Tier::Panic => (Reason::NoHealthyEndpoint, true),
        };
        Refusal { reason, all_tried, all_busy: false }
    }

    fn choice<'s>(&self, group: usize) -> Choice<'s>
    where
        'c: 's,
        'a: 's,
    {
        Choice {
            members: &self.cluster.members,
            available: self.available,
            group,
            usable: &self.available.groups[group].usable,
            tried: self.ask.tried,
        }
    }

    fn picked(&mut self, index: usize, why: Why) -> Pick<'c> {
        let member = &self.cluster.members[index];
        // In panic those on probation are picked like others; what comes of it counts as a trial.
        let trial = member.trial.as_ref().filter(|_| member.status == Status::Probation);
        let trial = trial.and_then(|trial| self.recorder.take(trial)).flatten();
        Pick { member, index, why, trial }
    }
}

fn fits(member: &Member, index: usize, tried: &Tried) -> bool {
    (tried.is_empty() || !tried.contains(index)) && !member.live.requests.is_full()
}

/// Among whom a pick chooses. Policies speak of places: indices into `usable`.
struct Choice<'a> {
    members: &'a [Member],
    available: &'a Available,
    group: usize,
    usable: &'a [u32],
    tried: &'a Tried,
}

impl<'a> Choice<'a> {
    fn index(&self, place: usize) -> usize {
        self.usable[place] as usize
    }

    fn member(&self, place: usize) -> &'a Member {
        &self.members[self.index(place)]
    }

    /// The place of the member at `index`, if it is one of these.
    fn place(&self, index: usize) -> Option<usize> {
        self.available.seat(index).filter(|(group, _)| *group == self.group).map(|(_, place)| place)
    }

    /// Whether it was not tried and is not full.
    fn fits(&self, place: usize) -> bool {
        let index = self.index(place);
        fits(&self.members[index], index, self.tried)
    }
}

/// What a policy works out once per snapshot: depends on the usable members and their weights.
#[derive(Clone, Debug)]
pub(crate) struct Table(Policy);

#[derive(Clone, Debug)]
enum Policy {
    RoundRobin(round_robin::Turns),
    LeastRequest(random::Draw),
    Ewma(random::Draw),
    Random(random::Draw),
    Hashed(hashed::Hashed),
}

impl Table {
    /// The table of a cluster's policy over the members at the indices `usable`; `consistent` is
    /// their level's, if the policy hashes.
    pub(crate) fn new(
        cluster: &model::Cluster,
        members: &[Member],
        usable: &[u32],
        consistent: Option<&Arc<Consistent>>,
    ) -> Self {
        let weights = weights(members, usable);
        let draw = || random::Draw::new(weights.iter().copied());
        Self(match (cluster.balance, consistent) {
            (Balance::RoundRobin, _) => {
                let ids = usable.iter().map(|&index| members[index as usize].id);
                Policy::RoundRobin(round_robin::Turns::new(ids.zip(weights.iter().copied())))
            }
            (Balance::LeastRequest, _) => Policy::LeastRequest(draw()),
            (Balance::Ewma, _) => Policy::Ewma(draw()),
            (Balance::RingHash | Balance::Maglev, Some(table)) => {
                Policy::Hashed(hashed::Hashed::new(table, members, usable, cluster.hash.bounded_load))
            }
            // Every level with somebody to pick has a table.
            (Balance::Random | Balance::RingHash | Balance::Maglev, _) => Policy::Random(draw()),
        })
    }
}

/// Weights as they count now. While nobody ramps up they are those of the configuration: the same
/// proportions in smaller numbers, and so in the same order as ever.
fn weights(members: &[Member], usable: &[u32]) -> Vec<u32> {
    let usable = || usable.iter().map(|&index| &members[index as usize]);
    if usable().all(|member| member.permille == 1000) {
        usable().map(|member| member.weight.get().into()).collect()
    } else {
        usable().map(|member| member.capacity() as u32).collect()
    }
}
