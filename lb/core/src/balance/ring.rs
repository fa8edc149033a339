//! Consistent hashing on a ring (Karger et al., STOC 1997), with points as Envoy sets them.

use std::fmt::Write as _;

use xxhash_rust::xxh64::xxh64;

/// The ring over `entries` of name and share: points by hash, each with the index of its entry.
/// Shares are relative; entries without one get no point. Nothing but names and shares matters, in
/// particular not the order.
///
/// The lightest entry gets as many whole points as make at least `least` in all, the others by
/// their share; `most` bounds the whole ring.
#[must_use]
pub fn points(entries: &[(String, f64)], least: u32, most: u32) -> Vec<(u64, u32)> {
    let mut order: Vec<u32> = (0..).zip(entries).filter(|(_, (_, share))| *share > 0.0).map(|(at, _)| at).collect();
    order.sort_by_key(|&at| &entries[at as usize].0);
    let sum: f64 = order.iter().map(|&at| entries[at as usize].1).sum();
    let share = |at: u32| entries[at as usize].1 / sum;
    let lightest = order.iter().map(|&at| share(at)).fold(1.0, f64::min);
    let scale = ((lightest * f64::from(least)).ceil() / lightest).min(most.into());

    let mut points = Vec::with_capacity(scale.ceil() as usize);
    let (mut name, mut target) = (String::new(), 0.0);
    for &at in &order {
        // What rounding leaves of one entry goes on to the next.
        target += scale * share(at);
        name.clear();
        // Writing to a string cannot fail.
        let _ = write!(name, "{}_", entries[at as usize].0);
        let stem = name.len();
        for number in 0u64.. {
            if points.len() as f64 >= target {
                break;
            }
            name.truncate(stem);
            let _ = write!(name, "{number}");
            points.push((xxh64(name.as_bytes(), 0), at));
        }
    }
    points.sort_unstable();
    points
}
