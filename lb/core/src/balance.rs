//! One entry for all policies: [`pick`].
//!
//! What can be worked out once is worked out when a snapshot is made ([`Table`], shared by all
//! workers); what moves with each pick is the worker's own ([`Cursors`], its dice). So a pick
//! costs the same with ten endpoints and with ten thousand, and allocates nothing.

mod least_request;
mod random;
mod round_robin;

use weir_config::model::Balance;

use crate::availability::Tier;
use crate::dice::Dice;
use crate::live::TrialPermit;
use crate::reason::Reason;
use crate::snapshot::{Cluster, Member};
use crate::time::Moment;

/// The endpoint one attempt goes to, and why that one.
#[derive(Debug)]
pub struct Pick<'c> {
    /// The endpoint.
    pub member: &'c Member,
    /// Its index among the cluster's members.
    pub index: usize,
    /// Why this one.
    pub why: Why,
    /// It is on probation, and this is its trial.
    pub trial: Option<TrialPermit>,
}

/// What one attempt asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Whom its request has tried.
    pub tried: &'a Tried,
    /// The request's hash key, if the policy hashes and the request has one.
    pub hash: Option<u64>,
    /// The endpoint its session stays on, by [`crate::hash::sticky`], if it has one.
    pub sticky: Option<u64>,
    /// It may be the trial of an endpoint on probation: should it fail, it can go elsewhere.
    pub may_try: bool,
    /// When.
    pub now: Moment,
}

impl<'a> Ask<'a> {
    /// For anybody who was not tried, at the origin of time.
    #[must_use]
    pub const fn new(tried: &'a Tried) -> Self {
        Self { tried, hash: None, sticky: None, may_try: false, now: Moment::ZERO }
    }
}

/// Why an endpoint was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The only one that may be picked.
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
}

/// Why nobody was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .reason.as_str())]
pub struct Refusal {
    /// The reason to answer with, unless an earlier attempt of the request gave a better one.
    pub reason: Reason,
    /// There are endpoints to pick, but this request has tried each of them.
    pub all_tried: bool,
    /// There are endpoints to pick, but each has as many requests as it may: worth waiting for.
    pub all_busy: bool,
}

/// Picks the endpoint for one attempt: never one that is unavailable or in `tried`.
///
/// # Errors
/// [`Refusal`] if the cluster has no endpoint to pick, or none that was not tried.
pub fn pick<'c>(
    cluster: &'c Cluster,
    ask: &Ask<'_>,
    cursors: &mut Cursors,
    dice: &mut Dice,
) -> Result<Pick<'c>, Refusal> {
    let choice = Choice { members: &cluster.members, usable: &cluster.available.usable, tried: ask.tried };
    let found = match (choice.usable, &cluster.table.0) {
        ([], _) => return Err(nobody(cluster.available.tier)),
        ([_], _) => choice.untried(0).then_some((0, Why::Only)),
        (_, Policy::RoundRobin(turns)) => {
            cursors.of(cluster, turns, dice).next(turns, &choice).map(|place| (place, Why::Turn))
        }
        (_, Policy::Random(draw)) => draw.one(&choice, None, dice).map(|place| (place, Why::Drawn)),
        (_, Policy::LeastRequest(draw)) => least_request::pick(draw, &choice, dice),
    };
    let (place, why) = found.ok_or(Refusal { reason: Reason::NoHealthyEndpoint, all_tried: true, all_busy: false })?;
    let index = choice.index(place);
    Ok(Pick { member: &cluster.members[index], index, why, trial: None })
}

fn nobody(tier: Tier) -> Refusal {
    let reason = match tier {
        Tier::Nobody(reason) => reason,
        Tier::Healthy | Tier::Unknown => Reason::NoEndpoint,
    };
    Refusal { reason, all_tried: false, all_busy: false }
}

/// Among whom a pick chooses. Policies speak of places: indices into `usable`.
struct Choice<'a> {
    members: &'a [Member],
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

    fn untried(&self, place: usize) -> bool {
        self.tried.is_empty() || !self.tried.contains(self.index(place))
    }
}

/// What a policy works out once per snapshot: depends on the usable members and their weights.
#[derive(Clone, Debug)]
pub struct Table(Policy);

#[derive(Clone, Debug)]
enum Policy {
    RoundRobin(round_robin::Turns),
    LeastRequest(random::Draw),
    Random(random::Draw),
}

impl Table {
    /// The table of `policy` over the members at the indices `usable`.
    ///
    /// # Panics
    /// If an index is out of range.
    #[must_use]
    pub fn new(policy: Balance, members: &[Member], usable: &[u32]) -> Self {
        let share = |&index: &u32| {
            let member = &members[index as usize];
            (member.id, member.weight.get())
        };
        let shares = usable.iter().map(share);
        Self(match policy {
            Balance::RoundRobin => Policy::RoundRobin(round_robin::Turns::new(shares)),
            Balance::LeastRequest => Policy::LeastRequest(random::Draw::new(shares.map(|(_, weight)| weight))),
            Balance::Random | Balance::Ewma | Balance::RingHash | Balance::Maglev => {
                Policy::Random(random::Draw::new(shares.map(|(_, weight)| weight)))
            }
        })
    }
}

/// Members one request has tried: their indices. Allocates from the ninth on.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    first: [u32; Self::INLINE],
    count: usize,
    more: Vec<u32>,
}

impl Tried {
    const INLINE: usize = 8;

    /// Nobody yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { first: [0; Self::INLINE], count: 0, more: Vec::new() }
    }

    /// Adds the member with that index ([`Pick::index`]).
    pub fn push(&mut self, index: usize) {
        let index = index as u32;
        match self.first.get_mut(self.count) {
            Some(free) => *free = index,
            None => self.more.push(index),
        }
        self.count += 1;
    }

    /// Whether the member with that index was tried.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        let inline = &self.first[..self.count.min(Self::INLINE)];
        inline.iter().chain(&self.more).any(|&tried| tried as usize == index)
    }

    /// How many tries there were.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nobody was tried.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Where one worker stands in each cluster's round robin. Each worker starts at an offset of its
/// own, so that workers do not march in step; the sequence is strict within a worker, not across.
#[derive(Debug, Default)]
pub struct Cursors(Vec<Option<Box<round_robin::Cursor>>>);

impl Cursors {
    /// No cluster seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Frees what is kept for clusters other than these; worth a call when a generation comes.
    pub fn keep<'c>(&mut self, clusters: impl IntoIterator<Item = &'c Cluster>) {
        let mut kept = Self::new();
        for cluster in clusters {
            let id = cluster.id.0 as usize;
            if let Some(cursor) = self.0.get_mut(id).and_then(Option::take) {
                *kept.slot(id) = Some(cursor);
            }
        }
        *self = kept;
    }

    fn of(&mut self, cluster: &Cluster, turns: &round_robin::Turns, dice: &mut Dice) -> &mut round_robin::Cursor {
        let cursor = self.slot(cluster.id.0 as usize).get_or_insert_default();
        cursor.follow(cluster.version, turns, dice);
        cursor
    }

    fn slot(&mut self, id: usize) -> &mut Option<Box<round_robin::Cursor>> {
        if id >= self.0.len() {
            self.0.resize_with(id + 1, || None);
        }
        &mut self.0[id]
    }
}

#[cfg(test)]
mod tests {
    use super::Tried;

    #[test]
    fn tried_remembers_more_than_fits_inline() {
        let mut tried = Tried::new();
        assert!(tried.is_empty() && !tried.contains(0));
        (0..20).for_each(|index| tried.push(index));
        assert_eq!(tried.len(), 20);
        assert!((0..20).all(|index| tried.contains(index)) && !tried.contains(20));
    }
}
