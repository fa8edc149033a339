//! Tells people when a cluster goes into panic and comes out of it.

use std::fmt;
use std::time::Duration;

use weir_config::model::{ClusterName, ZoneName};

use crate::availability::PanicWhy;
use crate::endpoint::Status;
use crate::snapshot::{Cluster, Member};
use crate::time::Moment;

/// What happened to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PanicNotice {
    /// Too few of its endpoints are left.
    Began {
        /// Whose.
        cluster: ClusterName,
        /// The counts, and what is done about it.
        why: PanicWhy,
        /// What the others are, and how many of each.
        others: Vec<(Status, u32)>,
        /// The zone they all stand in, if it is one and there are more.
        zone: Option<ZoneName>,
    },
    /// Enough are back.
    Ended {
        /// Whose.
        cluster: ClusterName,
        /// How long it was.
        lasted: Duration,
        /// Endpoints that may be picked.
        available: u32,
        /// Endpoints that count.
        of: u32,
    },
}

impl PanicNotice {
    /// Its cluster.
    #[must_use]
    pub const fn cluster(&self) -> &ClusterName {
        match self {
            Self::Began { cluster, .. } | Self::Ended { cluster, .. } => cluster,
        }
    }
}

impl fmt::Display for PanicNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Began { cluster, why, others, zone } => {
                write!(f, "cluster {cluster} is in panic: {why}")?;
                for (at, (status, count)) in others.iter().enumerate() {
                    write!(f, "{} {count} {status}", if at == 0 { "; of the others" } else { "," })?;
                }
                match zone {
                    Some(zone) => write!(f, "; all of them in zone {zone}"),
                    None => Ok(()),
                }
            }
            Self::Ended { cluster, lasted, available, of } => write!(
                f,
                "cluster {cluster} is no longer in panic after {:.1} s: {available} of {of} endpoints are available",
                lasted.as_secs_f64()
            ),
        }
    }
}

/// The moment panic began, if `cluster` is in panic; and what there is to tell, if it was not
/// before (`since` says when it began) or is no more.
pub(super) fn follow(cluster: &Cluster, since: Option<Moment>, now: Moment) -> (Option<Moment>, Option<PanicNotice>) {
    let name = || cluster.config.name.clone();
    match (cluster.available.panic, since) {
        (Some(_), Some(_)) | (None, None) => (since, None),
        (Some(why), None) => {
            let others: Vec<&Member> = cluster.members.iter().filter(|member| is_missing(member)).collect();
            let count = |status| others.iter().filter(|member| member.status == status).count() as u32;
            let counts = Status::ALL.map(|status| (status, count(status)));
            let notice = PanicNotice::Began {
                cluster: name(),
                why,
                others: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
                zone: only_zone(&others, &cluster.members),
            };
            (Some(now), Some(notice))
        }
        (None, Some(since)) => {
            let counts = || cluster.available.levels.iter().map(|level| level.count);
            let (available, of) = (counts().map(|count| count.available).sum(), counts().map(|count| count.of).sum());
            let notice = PanicNotice::Ended { cluster: name(), lasted: now.since(since), available, of };
            (None, Some(notice))
        }
    }
}

fn is_missing(member: &Member) -> bool {
    member.weighs() && matches!(member.status, Status::Unhealthy | Status::Ejected | Status::Probation)
}

/// The zone all of `missing` stand in, if others of `members` stand elsewhere.
fn only_zone(missing: &[&Member], members: &[Member]) -> Option<ZoneName> {
    let zone = missing.first()?.zone.as_ref()?;
    let same = |member: &Member| member.zone.as_ref() == Some(zone);
    (missing.iter().all(|member| same(member)) && !members.iter().all(same)).then(|| zone.clone())
}
