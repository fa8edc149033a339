//! What people are told beside changes of status.

use std::fmt;

use super::{BreakerNotice, TrafficNotice};

/// Something people should know. Displays as one sentence.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// About endpoints, from their traffic.
    Traffic(TrafficNotice),
    /// About a cluster's failure-rate breaker.
    Breaker(BreakerNotice),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Traffic(notice) => notice.fmt(f),
            Self::Breaker(notice) => notice.fmt(f),
        }
    }
}
