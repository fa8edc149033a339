//! News for people that is no change of an endpoint's status. One variant for each area, which
//! has an enum of its own; each displays as one sentence.

use std::fmt;

use super::discovered::DiscoveryNotice;
use super::drills::DrillNotice;
use super::orders::OrderNotice;
use super::panic::PanicNotice;
use super::releases::ReleaseNotice;
use super::{BreakerNotice, TrafficNotice};

/// Something people should hear of.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// An operator's wish was carried out, or is over.
    Order(OrderNotice),
    /// A rehearsal began, ended, or has its report.
    Drill(DrillNotice),
    /// About endpoints, by their traffic.
    Traffic(TrafficNotice),
    /// About a cluster's failure-rate breaker.
    Breaker(BreakerNotice),
    /// Panic of a cluster began or ended.
    Panic(PanicNotice),
    /// A source of endpoints tells something new, or fails.
    Discovery(DiscoveryNotice),
    /// About a canary: what is judged of it, and its rollout.
    Release(ReleaseNotice),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(notice) => notice.fmt(f),
            Self::Drill(notice) => notice.fmt(f),
            Self::Traffic(notice) => notice.fmt(f),
            Self::Breaker(notice) => notice.fmt(f),
            Self::Panic(notice) => notice.fmt(f),
            Self::Discovery(notice) => notice.fmt(f),
            Self::Release(notice) => notice.fmt(f),
        }
    }
}
