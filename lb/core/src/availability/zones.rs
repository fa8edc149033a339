//! Zone-aware routing: as much as possible stays in the zone this instance stands in, and no zone
//! gets more than its endpoints can carry.
//!
//! Envoy's proportional rule (`ZoneAwareLoadBalancerBase`), for every priority level and by
//! capacity (weight, times how much of it counts now) instead of heads. All instances are thought
//! to apply it, each in its own zone: then every endpoint gets its share, whoever sent it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use weir_config::model::{ZoneAware, ZoneName};

use crate::snapshot::Member;

/// Whole traffic in the unit of shares: a hundredth of a per cent.
pub const WHOLE: u32 = 10_000;

/// Which endpoints of a level a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locality {
    /// All of them: zones are not told apart.
    All,
    /// Those in the zone this instance stands in.
    Local(ZoneName),
    /// Those in another zone, or those of which it is not known.
    Other(Option<ZoneName>),
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all zones"),
            Self::Local(zone) => write!(f, "own zone {zone}"),
            Self::Other(Some(zone)) => write!(f, "zone {zone}"),
            Self::Other(None) => f.write_str("no zone"),
        }
    }
}

/// How a level's traffic is divided between zones, and why so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zones {
    /// Whether the own zone is preferred.
    pub state: ZoneState,
    /// The own zone first, then by name, then those without zone.
    pub rows: Vec<ZoneRow>,
}

/// Whether the own zone is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneState {
    /// It can carry what comes from the instances in it: all stays.
    Local,
    /// It cannot: so much of [`WHOLE`] stays, the rest goes where there is room.
    Spill(u32),
    /// It is not, for this reason: traffic goes by weight alone.
    Inactive(Inactive),
}

/// Why the own zone is not preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inactive {
    /// The configuration says so.
    Off,
    /// It is not told which zone this instance stands in.
    NoOwnZone,
    /// The policy picks by the request's key: the same key goes to the same endpoint from everywhere.
    Hashed,
    /// The level is in panic: zones count no more.
    Panic,
    /// No endpoint of the level stands in this instance's zone.
    NotInCluster,
    /// All endpoints of the level stand in one zone.
    SingleZone,
    /// Fewer endpoints of the cluster are available than zones are told apart for.
    TooFew {
        /// So many are.
        available: u32,
        /// So many must be.
        least: u32,
    },
    /// The configured shares of instances leave this instance's zone out.
    NoShare,
}

impl ZoneState {
    /// The word in the API and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Spill(_) => "spill",
            Self::Inactive(why) => match why {
                Inactive::Off => "off",
                Inactive::NoOwnZone => "no_own_zone",
                Inactive::Hashed => "hashed",
                Inactive::Panic => "panic",
                Inactive::NotInCluster => "not_in_cluster",
                Inactive::SingleZone => "single_zone",
                Inactive::TooFew { .. } => "too_few",
                Inactive::NoShare => "no_share",
            },
        }
    }
}

impl fmt::Display for ZoneState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("all stays in the own zone: it can carry what its instances send"),
            Self::Spill(share) => write!(
                f,
                "{:.2} % stays in the own zone, as much as it can carry; the rest goes where there is room",
                f64::from(*share) / 100.0
            ),
            Self::Inactive(why) => write!(f, "by weight alone: {why}"),
        }
    }
}

impl fmt::Display for Inactive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("zone_aware is off"),
            Self::NoOwnZone => f.write_str("the configuration does not tell which zone this instance stands in"),
            Self::Hashed => f.write_str("the policy picks by the request's key, the same from every zone"),
            Self::Panic => f.write_str("in panic, zones do not count"),
            Self::NotInCluster => f.write_str("no endpoint stands in this instance's zone"),
            Self::SingleZone => f.write_str("all endpoints stand in one zone"),
            Self::TooFew { available, least } => {
                write!(f, "{available} endpoints are available, fewer than zone_aware.min_endpoints ({least})")
            }
            Self::NoShare => f.write_str("zone_aware.shares gives this instance's zone no share"),
        }
    }
}

/// One zone of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneRow {
    /// Its name; `None`: endpoints of which no zone is told.
    pub zone: Option<ZoneName>,
    /// Endpoints that may be picked.
    pub usable: u32,
    /// Endpoints that count: not those drained, and not those with weight 0.
    pub of: u32,
    /// Their part of what all usable ones of the level can carry, of [`WHOLE`].
    pub capacity: u32,
    /// The part of all instances' traffic that comes from this zone, of [`WHOLE`].
    pub instances: u32,
    /// The part of this instance's traffic to the level that goes there, of [`WHOLE`].
    pub share: u32,
}

/// A part of a level that is picked from as one.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) zone: Locality,
    /// Ascending.
    pub(super) usable: Vec<u32>,
    /// Of [`WHOLE`].
    pub(super) share: u32,
}

/// What is the same for all levels of a cluster.
pub(super) struct Setting<'a> {
    wish: &'a ZoneAware,
    own: Option<&'a ZoneName>,
    hashes: bool,
    available: u32,
    /// Zones any of its endpoints stands in, and the own.
    named: BTreeSet<&'a ZoneName>,
}

impl<'a> Setting<'a> {
    /// For a cluster of `members`, of which `available` may be picked; `own` is this instance's zone.
    pub(super) fn new(
        wish: &'a ZoneAware,
        own: Option<&'a ZoneName>,
        hashes: bool,
        members: &'a [Member],
        available: u32,
    ) -> Self {
        let weighing = members.iter().filter(|member| member.weighs());
        let named = weighing.filter_map(|member| member.zone.as_ref()).chain(own).collect();
        Self { wish, own, hashes, available, named }
    }

    /// Divides a level: `usable` of the endpoints that `count`, both ascending.
    pub(super) fn divide(
        &self,
        members: &'a [Member],
        count: impl Iterator<Item = u32>,
        usable: Vec<u32>,
        panic: bool,
    ) -> (Zones, Vec<Part>) {
        let zones = self.sort(members, count, &usable);
        let capacities = parts_of(WHOLE, &zones.iter().map(|zone| zone.capacity).collect::<Vec<_>>());
        let instances: Vec<u32> = self.instances(&zones);
        let inactive = self.inactive(&zones, instances.first().copied(), panic);
        let shares = match inactive {
            Some(_) => capacities.clone(),
            None => shares(&instances, &capacities),
        };
        let state = match (inactive, shares.first()) {
            (Some(why), _) => ZoneState::Inactive(why),
            (None, None | Some(&WHOLE)) => ZoneState::Local,
            (None, Some(&local)) => ZoneState::Spill(local),
        };
        let row = |(((zone, &capacity), &instances), &share): (((&Sorted<'_>, _), _), _)| ZoneRow {
            zone: zone.name.cloned(),
            usable: zone.usable.len() as u32,
            of: zone.of,
            capacity,
            instances,
            share,
        };
        let rows = zones.iter().zip(&capacities).zip(&instances).zip(&shares).map(row).collect();
        let parts = if inactive.is_some() {
            vec![Part { zone: Locality::All, usable, share: WHOLE }]
        } else {
            self.parts(zones, &shares)
        };
        (Zones { state, rows }, parts)
    }

    /// The level's zones, the own one first (if it is one of them).
    fn sort(&self, members: &'a [Member], count: impl Iterator<Item = u32>, usable: &[u32]) -> Vec<Sorted<'a>> {
        let mut zones: BTreeMap<Option<&ZoneName>, Sorted<'a>> = BTreeMap::new();
        let mut usable = usable.iter().copied().peekable();
        for index in count {
            let member = &members[index as usize];
            let name = member.zone.as_ref();
            let zone = zones.entry(name).or_insert_with(|| Sorted { name, ..Sorted::default() });
            zone.of += 1;
            if usable.next_if_eq(&index).is_some() {
                zone.usable.push(index);
                zone.capacity += member.capacity();
            }
        }
        let mut zones: Vec<Sorted<'a>> = zones.into_values().collect();
        zones.sort_by_key(|zone| (self.own.is_none() || zone.name != self.own, zone.name.is_none()));
        zones
    }

    /// How the traffic of all instances is divided between `zones`, of [`WHOLE`].
    fn instances(&self, zones: &[Sorted<'_>]) -> Vec<u32> {
        let of = |zone: &Sorted<'_>| match (zone.name, &*self.wish.shares) {
            (None, _) => 0,
            (Some(_), []) => 1,
            (Some(name), given) => {
                given.iter().filter(|(zone, _)| zone == name).map(|(_, share)| u64::from(*share)).sum()
            }
        };
        let whole: u64 = match &*self.wish.shares {
            [] => self.named.len() as u64,
            given => given.iter().map(|(_, share)| u64::from(*share)).sum(),
        };
        zones.iter().map(|zone| (of(zone) * u64::from(WHOLE)).checked_div(whole).unwrap_or(0) as u32).collect()
    }

    fn inactive(&self, zones: &[Sorted<'_>], instances_here: Option<u32>, panic: bool) -> Option<Inactive> {
        let least = self.wish.min_endpoints;
        let Some(own) = self.own else {
            return Some(if self.wish.enabled { Inactive::NoOwnZone } else { Inactive::Off });
        };
        if !self.wish.enabled {
            Some(Inactive::Off)
        } else if self.hashes {
            Some(Inactive::Hashed)
        } else if panic {
            Some(Inactive::Panic)
        } else if zones.first().is_none_or(|first| first.name != Some(own)) {
            Some(Inactive::NotInCluster)
        } else if zones.len() == 1 {
            Some(Inactive::SingleZone)
        } else if self.available < least {
            Some(Inactive::TooFew { available: self.available, least })
        } else if instances_here == Some(0) {
            Some(Inactive::NoShare)
        } else {
            None
        }
    }

    fn parts(&self, zones: Vec<Sorted<'_>>, shares: &[u32]) -> Vec<Part> {
        let part = |(zone, &share): (Sorted<'_>, &u32)| Part {
            zone: match zone.name {
                Some(name) if self.own == Some(name) => Locality::Local(name.clone()),
                name => Locality::Other(name.cloned()),
            },
            usable: zone.usable,
            share,
        };
        zones.into_iter().zip(shares).map(part).filter(|part| !part.usable.is_empty()).collect()
    }
}

/// One zone of a level, sorted out.
#[derive(Debug, Default)]
struct Sorted<'a> {
    name: Option<&'a ZoneName>,
    of: u32,
    usable: Vec<u32>,
    capacity: u64,
}

/// How an instance in the first of some zones divides its traffic between them, of [`WHOLE`].
/// `instances` is the part of all instances' traffic that comes from each zone, `capacities` the
/// part of it that each can carry, both of [`WHOLE`]. The sum is [`WHOLE`] if there is capacity;
/// where there is none, nothing goes.
#[must_use]
pub fn shares(instances: &[u32], capacities: &[u32]) -> Vec<u32> {
    let (Some(&sent), Some(&carried)) = (instances.first(), capacities.first()) else {
        return Vec::new();
    };
    let others_carry = capacities[1..].iter().any(|&capacity| capacity > 0);
    let local = match carried {
        0 => 0,
        _ if carried >= sent || !others_carry => WHOLE,
        _ => (u64::from(carried) * u64::from(WHOLE) / u64::from(sent)) as u32,
    };
    // What each other zone can carry beyond what its own instances send it.
    let mut room: Vec<u64> =
        capacities.iter().zip(instances).skip(1).map(|(can, sends)| can.saturating_sub(*sends).into()).collect();
    if room.iter().all(|&room| room == 0) {
        room = capacities[1..].iter().map(|&capacity| capacity.into()).collect();
    }
    let mut shares = vec![local];
    shares.extend(parts_of(WHOLE - local, &room));
    shares
}

/// `whole` divided in proportion to `of`, exactly; zeros get nothing, and if all are, nobody does.
fn parts_of(whole: u32, of: &[u64]) -> Vec<u32> {
    let sum = of.iter().map(|&part| u128::from(part)).sum::<u128>();
    let (mut before, mut given) = (0u128, 0u32);
    let part = |part: &u64| {
        before += u128::from(*part);
        let until = (u128::from(whole) * before).checked_div(sum).unwrap_or(0) as u32;
        until - std::mem::replace(&mut given, until)
    };
    of.iter().map(part).collect()
}
