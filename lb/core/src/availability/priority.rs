//! How traffic is divided over priority levels, and which of them are in panic.
//!
//! Envoy's rules (`load_balancer_impl.cc`), whole numbers and all: where its page and its code
//! disagree, as its code does. Only numbers here; who the endpoints are is the caller's business.

/// What is counted of one priority level. Drained endpoints and those with weight 0 count nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that may be picked by their status.
    pub available: u32,
    /// All.
    pub of: u32,
}

impl Count {
    /// Whether fewer than `threshold` per cent are available.
    const fn below(self, threshold: u8) -> bool {
        (self.available as u64) * 100 < threshold as u64 * self.of as u64
    }

    /// How far the level can carry all traffic, in per cent: `overprovisioning` × available / all.
    fn health(self, overprovisioning: u32) -> u64 {
        let health = u64::from(overprovisioning) * u64::from(self.available);
        health.checked_div(self.of.into()).map_or(0, |health| health.min(100))
    }
}

/// What one priority level gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Of all traffic, in per cent.
    pub percent: u8,
    /// Too few of it are available.
    pub panic: bool,
}

/// Loads of `levels`, in order of priority: each takes what its health carries of what those
/// before left over. The sum is 100, or 0 if nobody is to be used at all.
///
/// A level is in panic below `threshold` per cent available (0 is never), but only while the levels
/// together cannot carry everything; if all are, loads follow the number of endpoints.
#[must_use]
pub fn loads(levels: &[Count], overprovisioning: u32, threshold: u8) -> Vec<Load> {
    let healths: Vec<u64> = levels.iter().map(|level| level.health(overprovisioning)).collect();
    let carried = healths.iter().sum::<u64>().min(100);
    let in_panic = |level: &Count| carried < 100 && level.of > 0 && level.below(threshold);
    let percents = if levels.iter().all(|level| level.of == 0 || in_panic(level)) {
        let sizes: Vec<u64> = levels.iter().map(|level| level.of.into()).collect();
        percents(&sizes, sizes.iter().sum())
    } else {
        percents(&healths, carried)
    };
    levels.iter().zip(percents).map(|(level, percent)| Load { percent, panic: in_panic(level) }).collect()
}

/// Passes on the traffic of levels in which nobody is used, even in panic: to the first that gets
/// some, or else to the first of all that has somebody.
pub(super) fn pass_on(loads: &mut [Load], has_somebody: impl Fn(usize) -> bool) {
    let heirs = || (0..loads.len()).filter(|&at| has_somebody(at));
    let Some(heir) = heirs().find(|&at| loads[at].percent > 0).or_else(|| heirs().next()) else { return };
    for at in (0..loads.len()).filter(|&at| !has_somebody(at)) {
        loads[heir].percent += std::mem::take(&mut loads[at].percent);
    }
}

/// In order, the part of `whole` each has, as far as 100 reaches; the first that has any gets what
/// rounding leaves.
fn percents(parts: &[u64], whole: u64) -> Vec<u8> {
    let mut left = 100;
    let share = |part: &u64| {
        let share = (part * 100).checked_div(whole).unwrap_or(0).min(left);
        left -= share;
        share as u8
    };
    let mut shares: Vec<u8> = parts.iter().map(share).collect();
    if let Some(first) = parts.iter().position(|&part| part > 0) {
        shares[first] += left as u8;
    }
    shares
}
