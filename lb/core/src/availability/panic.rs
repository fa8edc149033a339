//! Panic: who is used when too few endpoints are left.
//!
//! Then what is known of them is believed less: the few that are left would break under the load
//! of all, and so many fail at once that the cause is likely not theirs.

use std::fmt;

use weir_config::model::{Panic, PanicMode};

use crate::endpoint::Status;
use crate::snapshot::Member;

/// Why a cluster is in panic: the counts of its priority levels that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanicWhy {
    /// Endpoints that may be picked by their status.
    pub available: u32,
    /// Endpoints that count: not those drained, and not those with weight 0.
    pub of: u32,
    /// Fewer than this many per cent are panic.
    pub threshold: u8,
    /// Who is used.
    pub mode: PanicMode,
}

impl fmt::Display for PanicWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { available, of, threshold, mode } = self;
        write!(f, "{available} of {of} endpoints are available, less than {threshold} %: ")?;
        f.write_str(match mode {
            PanicMode::Off => "only they are used",
            PanicMode::AllHosts => "all are used, whatever is known of them",
            PanicMode::LeastBad => "the least bad of the others are used too",
        })
    }
}

/// Who of a level in panic is used, ascending: those `available` and, by `panic`'s mode, all of
/// the `rest` or as many of them, least bad first, as reach the threshold. Whom nothing was seen to
/// answer at is never the least bad: load on those that are left is not eased by asking nobody.
pub(super) fn used(panic: Panic, members: &[Member], available: &[u32], rest: &[u32]) -> Vec<u32> {
    let of = available.len() + rest.len();
    let mut rest = rest.to_vec();
    if panic.mode == PanicMode::LeastBad {
        rest.retain(|&index| members[index as usize].reachable);
    }
    let most = match panic.mode {
        PanicMode::Off => 0,
        PanicMode::AllHosts => rest.len(),
        PanicMode::LeastBad => {
            (of * usize::from(panic.threshold)).div_ceil(100).max(1).saturating_sub(available.len()).min(rest.len())
        }
    };
    rest.sort_by_cached_key(|&index| badness(&members[index as usize]));
    let mut used: Vec<u32> = available.iter().chain(&rest[..most]).copied().collect();
    used.sort_unstable();
    used
}

/// The less, the sooner used: whoever was let back on trial before whoever is out for its traffic,
/// and that before whoever fails its checks; among equals whoever failed less often in a row.
fn badness(member: &Member) -> (u8, u16) {
    let status = match member.status {
        Status::Healthy => 0,
        Status::Probation => 1,
        Status::Ejected => 2,
        Status::Unknown => 3,
        Status::Unhealthy => 4,
        Status::Draining => 5,
    };
    (status, member.live.streak.row().any_5xx)
}
