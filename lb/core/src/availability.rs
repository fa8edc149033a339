//! Members' statuses -> who may be picked. Pure; run when statuses or members change, not per request.

use std::fmt;

use crate::endpoint::Status;
use crate::reason::Reason;
use crate::snapshot::Member;

/// Who may be picked now, as indices into the cluster's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    /// Indices with a weight over 0, ascending.
    pub usable: Vec<u32>,
    /// Which members those are, or why there are none.
    pub tier: Tier,
}

/// Which members may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Those known to be healthy.
    Healthy,
    /// None is known to be healthy, so those not judged yet.
    Unknown,
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
            Self::Nobody(reason) => reason.as_str(),
        }
    }

    /// The status a member of this tier has.
    const fn status(self) -> Option<Status> {
        match self {
            Self::Healthy => Some(Status::Healthy),
            Self::Unknown => Some(Status::Unknown),
            Self::Nobody(_) => None,
        }
    }
}

/// Who of `members` may be picked: the healthy ones; if there are none, those not judged yet (a
/// cold start must serve); never those with weight 0.
#[must_use]
pub fn of(members: &[Member]) -> Available {
    let tier = tier(members);
    let usable = match tier.status() {
        Some(status) => {
            (0u32..).zip(members).filter(|(_, m)| m.status == status && weighs(m)).map(|(at, _)| at).collect()
        }
        None => Vec::new(),
    };
    Available { usable, tier }
}

fn tier(members: &[Member]) -> Tier {
    let (mut unknown, mut unhealthy) = (false, false);
    for member in members.iter().filter(|member| weighs(member)) {
        match member.status {
            Status::Healthy => return Tier::Healthy,
            Status::Unknown => unknown = true,
            Status::Unhealthy | Status::Ejected | Status::Probation | Status::Draining => unhealthy = true,
        }
    }
    match (unknown, unhealthy) {
        (true, _) => Tier::Unknown,
        (false, true) => Tier::Nobody(Reason::NoHealthyEndpoint),
        // Only names and files may leave a cluster without a member.
        (false, false) if members.is_empty() => Tier::Nobody(Reason::Unresolved),
        (false, false) => Tier::Nobody(Reason::NoEndpoint),
    }
}

const fn weighs(member: &Member) -> bool {
    member.weight.get() > 0
}

/// Why a member is not picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// Its weight is 0.
    NoWeight,
    /// Its checks fail.
    Unhealthy,
    /// It is not judged yet, and others are known to be healthy.
    NotJudged,
}

impl WhyNot {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoWeight => "no_weight",
            Self::Unhealthy => "unhealthy",
            Self::NotJudged => "not_judged",
        }
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoWeight => "its weight is 0",
            Self::Unhealthy => "its health checks fail",
            Self::NotJudged => "it is not judged yet, and others are known to be healthy",
        })
    }
}

/// Why `member` is not picked while its cluster is in `tier`; `None` if it may be.
#[must_use]
pub fn why_not(member: &Member, tier: Tier) -> Option<WhyNot> {
    match member.status {
        _ if !weighs(member) => Some(WhyNot::NoWeight),
        Status::Unhealthy | Status::Ejected | Status::Probation | Status::Draining => Some(WhyNot::Unhealthy),
        Status::Unknown if tier == Tier::Healthy => Some(WhyNot::NotJudged),
        Status::Unknown | Status::Healthy => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use weir_config::model::{ClusterName, Weight};

    use super::*;
    use crate::endpoint::{EndpointId, EndpointKey};
    use crate::limits::Queue;
    use crate::live::EndpointLive;
    use crate::load::Shards;

    fn members(of: &[(Status, u64)]) -> Vec<Member> {
        let cluster = ClusterName::new("shop").unwrap();
        let member = |(at, &(status, weight)): (u16, &(Status, u64))| Member {
            key: Arc::new(EndpointKey {
                cluster: cluster.clone(),
                address: SocketAddr::from(([127, 0, 0, 1], at)).into(),
            }),
            id: EndpointId(at.into()),
            zone: None,
            weight: Weight::new(weight).unwrap(),
            permille: 1000,
            priority: 0,
            status,
            trial: None,
            live: Arc::new(EndpointLive::new(&Queue::new())),
            load: Arc::new(Shards::new(1)),
        };
        (0..).zip(of).map(member).collect()
    }

    #[test]
    fn who_may_be_picked() {
        use Status::{Healthy, Unhealthy, Unknown};
        let table = [
            (vec![(Healthy, 1), (Unhealthy, 1), (Healthy, 2)], Tier::Healthy, vec![0, 2]),
            (vec![(Healthy, 1), (Unknown, 1)], Tier::Healthy, vec![0]),
            (vec![(Unhealthy, 1), (Unknown, 1)], Tier::Unknown, vec![1]),
            (vec![(Healthy, 0), (Unknown, 1)], Tier::Unknown, vec![1]),
            (vec![(Unhealthy, 1), (Unhealthy, 0)], Tier::Nobody(Reason::NoHealthyEndpoint), vec![]),
            (vec![(Healthy, 0), (Healthy, 0)], Tier::Nobody(Reason::NoEndpoint), vec![]),
            (vec![], Tier::Nobody(Reason::Unresolved), vec![]),
        ];
        for (given, tier, usable) in table {
            let members = members(&given);
            let available = of(&members);
            assert_eq!((available.tier, &available.usable), (tier, &usable), "{given:?}");
            for (at, member) in (0..).zip(&members) {
                assert_eq!(why_not(member, tier).is_none(), usable.contains(&at), "{given:?}, member {at}");
            }
        }
    }
}
