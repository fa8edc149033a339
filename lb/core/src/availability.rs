//! Members' statuses -> who may be picked, and in which shares. Pure; run when statuses or members
//! change, not per request.
//!
//! Three rules after each other: whose status lets him in ([`Tier`]); how much each priority level
//! gets, and whether it is in panic ([`priority`]); how much of that goes to which zone ([`zones`]).
//! What comes out are [`Group`]s: mostly one, so that a pick draws no more than it must.

mod panic;
pub mod priority;
pub mod zones;

use std::collections::BTreeMap;
use std::fmt;

use weir_config::model::{self, PanicMode, ZoneName};

pub use panic::PanicWhy;
pub use zones::{Inactive, Locality, WHOLE, ZoneRow, ZoneState, Zones};

use crate::balance::{Table, Tables};
use crate::dice::Dice;
use crate::endpoint::Status;
use crate::reason::Reason;
use crate::snapshot::Member;
use priority::{Count, Load};

/// Who may be picked now, as indices into the cluster's members.
#[derive(Clone, Debug)]
pub struct Available {
    /// Who is picked from, by priority, the own zone first. Shares add up to [`WHOLE`], or there
    /// is no group. One without a share is for those who tried all others.
    pub groups: Vec<Group>,
    /// Members on probation: each is tried by a request at a time.
    pub trials: Vec<u32>,
    /// Which members those are, or why there are none.
    pub tier: Tier,
    /// If levels that get traffic are in panic: their counts.
    pub panic: Option<PanicWhy>,
    /// For people: each priority level that has endpoints.
    pub levels: Vec<Level>,
    /// Where each member sits.
    seats: Box<[Seat]>,
}

/// Members that are picked from as one.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their priority.
    pub priority: u8,
    /// Their zone, if zones are told apart.
    pub zone: Locality,
    /// Indices, ascending; not empty.
    pub usable: Vec<u32>,
    /// The part of requests that goes here, of [`WHOLE`].
    pub share: u32,
    /// The priority gets no traffic: for whoever tried all of those that do.
    pub reserve: bool,
    /// What the policy worked out.
    pub(crate) table: Table,
    /// The shares up to this one.
    until: u32,
}

/// A priority level, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// 0 is asked first.
    pub priority: u8,
    /// Its endpoints, by what decides.
    pub count: Count,
    /// What it gets.
    pub load: Load,
    /// How that is divided between zones.
    pub zones: Zones,
}

/// A member's place: of which group, and which of its usable.
#[derive(Clone, Copy, Debug)]
struct Seat {
    group: u32,
    place: u32,
}

impl Seat {
    const NONE: Self = Self { group: u32::MAX, place: u32::MAX };
}

/// Which members may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Those known to be healthy (in panic, others too).
    Healthy,
    /// None is known to be healthy, so those not judged yet (in panic, others too).
    Unknown,
    /// Nobody's status lets him in; it is panic, so those it says.
    Panic,
    /// Nobody's status lets him in, but some are on probation: their trials are all there is.
    Trials,
    /// Nobody, for this reason.
    Nobody(Reason),
}

impl Tier {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unknown => "unknown",
            Self::Panic => "panic",
            Self::Trials => "trials",
            Self::Nobody(reason) => reason.as_str(),
        }
    }
}

impl Available {
    /// The group and place of the member at `index`, if it is in one.
    pub(crate) fn seat(&self, index: usize) -> Option<(usize, usize)> {
        let seat = self.seats.get(index)?;
        (seat.group != u32::MAX).then_some((seat.group as usize, seat.place as usize))
    }

    /// The group a request goes to, by its share. One group, or one with all, costs no draw.
    pub(crate) fn draw(&self, hash: Option<u64>, dice: &mut Dice) -> usize {
        if self.groups.first().is_none_or(|first| first.until == WHOLE) {
            return 0;
        }
        let point = hash.map_or_else(|| dice.below(WHOLE.into()), |hash| hash % u64::from(WHOLE)) as u32;
        self.groups.partition_point(|group| group.until <= point).min(self.groups.len() - 1)
    }

    /// All members that are in groups, by group.
    pub fn usable(&self) -> impl Iterator<Item = u32> {
        self.groups.iter().flat_map(|group| &group.usable).copied()
    }

    /// Why `member`, which is at `index`, is not picked by a request's first attempt; `None` if it
    /// may be.
    #[must_use]
    pub fn why_not(&self, index: usize, member: &Member) -> Option<WhyNot> {
        if let Some((group, _)) = self.seat(index) {
            let group = &self.groups[group];
            return match group {
                Group { reserve: true, .. } => Some(WhyNot::Reserve),
                Group { share: 0, .. } => Some(WhyNot::OtherZone),
                _ => None,
            };
        }
        Some(match member.status {
            _ if !member.weighs() => WhyNot::NoWeight,
            Status::Unhealthy => WhyNot::Unhealthy,
            Status::Ejected => WhyNot::Ejected,
            Status::Probation => WhyNot::Probation,
            Status::Draining => WhyNot::Draining,
            // Whoever is healthy sits in a group.
            Status::Unknown | Status::Healthy => WhyNot::NotJudged,
        })
    }
}

/// Who of `members` may be picked: the healthy ones; if there are none, those not judged yet (a
/// cold start must serve); never those with weight 0 or being drained. `own` is the zone this
/// instance stands in; `tables` are of these members.
#[must_use]
pub fn of(members: &[Member], cluster: &model::Cluster, own: Option<&ZoneName>, tables: &Tables) -> Available {
    let status = let_in(members);
    let levels = sort(members, status);
    let counts: Vec<Count> = levels.values().map(Sorted::count).collect();
    let threshold = if cluster.panic.mode == PanicMode::Off { 0 } else { cluster.panic.threshold };
    let mut loads = priority::loads(&counts, cluster.overprovisioning, threshold);
    let used = |(sorted, load): (&Sorted, &Load)| {
        if load.panic && load.percent > 0 {
            panic::used(cluster.panic, members, &sorted.available, &sorted.rest)
        } else {
            sorted.available.clone()
        }
    };
    let used: Vec<Vec<u32>> = levels.values().zip(&loads).map(used).collect();
    priority::pass_on(&mut loads, |level| !used[level].is_empty());
    let available = counts.iter().map(|count| count.available).sum();
    let setting = zones::Setting::new(&cluster.zone_aware, own, cluster.balance.hashes(), members, available);

    let mut plan = Plan::default();
    for (((&priority, sorted), load), usable) in levels.iter().zip(loads).zip(used) {
        let (zones, parts) = setting.divide(members, sorted.all(), usable, load.panic && load.percent > 0);
        plan.levels.push(Level { priority, count: sorted.count(), load, zones });
        plan.groups(priority, load, parts, |usable| Table::new(cluster, members, usable, tables.of(priority)));
    }

    let trials: Vec<u32> = (0..).zip(members).filter(|(_, m)| on_trial(m)).map(|(at, _)| at).collect();
    let tier = match status {
        Some(Status::Healthy) => Tier::Healthy,
        Some(_) => Tier::Unknown,
        None if !plan.groups.is_empty() => Tier::Panic,
        None if !trials.is_empty() => Tier::Trials,
        None => Tier::Nobody(nobody(members, cluster)),
    };
    let panic = panic_of(&plan.levels, cluster.panic);
    let seats = seats(members.len(), &plan.groups);
    Available { groups: plan.groups, trials, tier, panic, levels: plan.levels, seats }
}

/// The status that lets members in; `None` if nobody has it.
fn let_in(members: &[Member]) -> Option<Status> {
    let has = |status| members.iter().any(|member| member.status == status && member.weighs());
    [Status::Healthy, Status::Unknown].into_iter().find(|&status| has(status))
}

fn on_trial(member: &Member) -> bool {
    member.status == Status::Probation && member.trial.is_some() && member.weighs()
}

/// A priority level's members that count, ascending.
#[derive(Debug, Default)]
struct Sorted {
    available: Vec<u32>,
    rest: Vec<u32>,
}

impl Sorted {
    fn count(&self) -> Count {
        Count { available: self.available.len() as u32, of: (self.available.len() + self.rest.len()) as u32 }
    }

    /// All of them, ascending.
    fn all(&self) -> impl Iterator<Item = u32> {
        let (mut available, mut rest) = (self.available.iter().peekable(), self.rest.iter().peekable());
        std::iter::from_fn(move || {
            let first = available.next_if(|index| rest.peek().is_none_or(|other| index < other));
            first.or_else(|| rest.next()).copied()
        })
    }
}

/// Members by priority. Whoever is drained on purpose, and whoever is not judged yet while others
/// are healthy, says nothing about how the level is, and does not count.
fn sort(members: &[Member], let_in: Option<Status>) -> BTreeMap<u8, Sorted> {
    let mut levels: BTreeMap<u8, Sorted> = BTreeMap::new();
    for (index, member) in (0..).zip(members).filter(|(_, member)| member.weighs()) {
        match member.status {
            status if Some(status) == let_in => levels.entry(member.priority).or_default().available.push(index),
            Status::Draining | Status::Unknown => {}
            Status::Healthy | Status::Unhealthy | Status::Ejected | Status::Probation => {
                levels.entry(member.priority).or_default().rest.push(index);
            }
        }
    }
    levels
}

#[derive(Default)]
struct Plan {
    levels: Vec<Level>,
    groups: Vec<Group>,
    /// Shares given, of [`WHOLE`].
    given: u32,
}

impl Plan {
    /// Adds a level's groups.
    fn groups(&mut self, priority: u8, load: Load, parts: Vec<zones::Part>, table: impl Fn(&[u32]) -> Table) {
        let percent = u32::from(load.percent);
        let reserve = percent == 0;
        let (base, mut within) = (self.given, 0);
        for zones::Part { zone, usable, share } in parts {
            within += share;
            let until = base + percent * 100 * within / WHOLE;
            if !usable.is_empty() {
                let table = table(&usable);
                let share = until - self.given;
                self.groups.push(Group { priority, zone, usable, share, reserve, table, until });
                self.given = until;
            }
        }
    }
}

fn seats(members: usize, groups: &[Group]) -> Box<[Seat]> {
    let mut seats = vec![Seat::NONE; members].into_boxed_slice();
    for (at, group) in (0..).zip(groups) {
        for (place, &index) in (0..).zip(&group.usable) {
            seats[index as usize] = Seat { group: at, place };
        }
    }
    seats
}

fn panic_of(levels: &[Level], panic: model::Panic) -> Option<PanicWhy> {
    let in_panic = || levels.iter().filter(|level| level.load.panic && level.load.percent > 0);
    in_panic().next()?;
    Some(PanicWhy {
        available: in_panic().map(|level| level.count.available).sum(),
        of: in_panic().map(|level| level.count.of).sum(),
        threshold: panic.threshold,
        mode: panic.mode,
    })
}

/// Why there is nobody to pick.
fn nobody(members: &[Member], cluster: &model::Cluster) -> Reason {
    let has = |statuses: &[Status]| members.iter().any(|member| member.weighs() && statuses.contains(&member.status));
    if members.is_empty() && !cluster.sources.is_empty() {
        Reason::Unresolved
    } else if has(&[Status::Ejected, Status::Probation]) {
        Reason::AllEjected
    } else if has(&[Status::Draining]) {
        Reason::AllDraining
    } else if has(&[Status::Unhealthy]) {
        Reason::NoHealthyEndpoint
    } else {
        Reason::NoEndpoint
    }
}

/// Why a member is not picked by a request's first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// Its weight is 0.
    NoWeight,
    /// Its checks fail.
    Unhealthy,
    /// Its traffic failed.
    Ejected,
    /// It is on probation.
    Probation,
    /// It is given no new work.
    Draining,
    /// It is not judged yet, and others are known to be healthy.
    NotJudged,
    /// Its priority is not asked while those before it carry all traffic.
    Reserve,
    /// The own zone, or others, carry all traffic.
    OtherZone,
}

impl WhyNot {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoWeight => "no_weight",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
            Self::Probation => "probation",
            Self::Draining => "draining",
            Self::NotJudged => "not_judged",
            Self::Reserve => "reserve",
            Self::OtherZone => "other_zone",
        }
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoWeight => "its weight is 0",
            Self::Unhealthy => "its health checks fail",
            Self::Ejected => "its traffic failed, so it was taken out for a time",
            Self::Probation => "it is on probation: one request at a time decides",
            Self::Draining => "it is being drained",
            Self::NotJudged => "it is not judged yet, and others are known to be healthy",
            Self::Reserve => "its priority is asked only as far as those before it are not available",
            Self::OtherZone => "this instance's own zone carries its traffic",
        })
    }
}
