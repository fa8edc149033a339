//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, SODA 2018): nobody gets
//! much more than the average, however the keys fall.
//!
//! Slots are divided as HAProxy does (`hash-balance-factor`), exactly by weight.

/// Slots for all together, when `active` requests are under way and one more comes: `percent`
/// (100 and more) of these, rounded up.
#[must_use]
pub const fn total(active: u64, percent: u16) -> u64 {
    (active.saturating_add(1).saturating_mul(percent as u64)).div_ceil(100)
}

/// The slots, of `total`, of whoever has `weight`, when those before in the list have `before`
/// and all together `whole`: at least one. It is full when it has as many requests under way.
#[must_use]
pub const fn slots(total: u64, before: u64, weight: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 1;
    }
    // The sum over all is exactly `total`.
    let (total, whole) = (total as u128, whole as u128);
    let upto = (before as u128 + weight as u128) * total / whole;
    let slots = (upto - before as u128 * total / whole) as u64;
    if slots == 0 { 1 } else { slots }
}
