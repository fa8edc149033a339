//! News for people that is no change of an endpoint's status. One variant for each area, which
//! has an enum of its own; each displays as one sentence.

use std::fmt;

use super::panic::PanicNotice;

/// Something people should hear of.
#[derive(Clone, Debug)]
pub enum Notice {
    /// Panic of a cluster began or ended.
    Panic(PanicNotice),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(notice) => notice.fmt(f),
        }
    }
}
