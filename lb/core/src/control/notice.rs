//! News for people that is no change of an endpoint's status. One variant for each area, which
//! has a type of its own; each displays as one sentence.

use std::fmt;

use super::discovered::DiscoveryNotice;

/// Something people should hear of.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A source of endpoints tells something new, or fails.
    Discovery(DiscoveryNotice),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovery(notice) => notice.fmt(f),
        }
    }
}
