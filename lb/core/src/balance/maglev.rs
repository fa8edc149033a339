//! Maglev's table (Eisenbud et al., NSDI 2016), weighted as Envoy does it: who leaves takes few
//! keys of others along, and finding an endpoint is one look.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use xxhash_rust::xxh64::xxh64;

/// The table of `size` slots (a prime) over `entries` of name and share: for each slot, the
/// index of its entry. Shares are relative; entries without a share, and a table without entries,
/// get no slot. Nothing but names and shares matters, in particular not the order.
///
/// Each entry takes slots in an order of its own, the heaviest one in each round, the others in as
/// many rounds as their share is of the heaviest; in the first round everybody takes one.
#[must_use]
pub fn table(entries: &[(String, f64)], size: u32) -> Vec<u32> {
    let size = u64::from(size.max(2));
    let mut order: Vec<u32> = (0..).zip(entries).filter(|(_, (_, share))| *share > 0.0).map(|(at, _)| at).collect();
    order.sort_by_key(|&at| &entries[at as usize].0);
    let shares = || order.iter().map(|&at| entries[at as usize].1);
    let (sum, most) = (shares().sum::<f64>(), shares().fold(0.0, f64::max));
    let mut rows: Vec<Row> = order.iter().map(|&at| Row::new(&entries[at as usize], at, sum, size)).collect();

    // By round, and within a round by name.
    let mut turns: BinaryHeap<Reverse<(u64, usize)>> = (0..rows.len()).map(|at| Reverse((1, at))).collect();
    let mut table = vec![u32::MAX; size as usize];
    for _ in 0..size {
        let Some(Reverse((round, at))) = turns.pop() else { return Vec::new() };
        let row = &mut rows[at];
        let slot = row.take(&table, size);
        table[slot] = row.entry;
        row.target += most / sum;
        turns.push(Reverse((row.round_after(round), at)));
    }
    table
}

/// The slot for a hash at the `step`th look: other slots, should the first be of no use.
#[must_use]
pub const fn slot(hash: u64, step: u32, size: usize) -> usize {
    // Envoy's `hash ^= ~0 - attempt + 1`.
    let hash = if step == 0 { hash } else { hash ^ (step as u64).wrapping_neg() };
    (hash % size as u64) as usize
}

struct Row {
    entry: u32,
    share: f64,
    /// It has its turn when round × share comes to this.
    target: f64,
    offset: u64,
    skip: u64,
    /// How far it is in its order of slots.
    next: u64,
}

impl Row {
    fn new((name, share): &(String, f64), entry: u32, sum: f64, size: u64) -> Self {
        let (offset, skip) = (xxh64(name.as_bytes(), 0) % size, xxh64(name.as_bytes(), 1) % (size - 1) + 1);
        Self { entry, share: share / sum, target: 0.0, offset, skip, next: 0 }
    }

    /// The first slot of its order that is free.
    fn take(&mut self, table: &[u32], size: u64) -> usize {
        loop {
            let slot = ((self.offset + self.skip * self.next) % size) as usize;
            self.next += 1;
            if table[slot] == u32::MAX {
                return slot;
            }
        }
    }

    /// The first round after `round` in which it has a turn. Rounding must not come between this
    /// and going through all rounds one by one, so it is tested as that would test it.
    fn round_after(&self, round: u64) -> u64 {
        let has_turn = |round: u64| round as f64 * self.share >= self.target;
        let mut turn = ((self.target / self.share) as u64).max(round + 1);
        while turn > round + 1 && has_turn(turn - 1) {
            turn -= 1;
        }
        while !has_turn(turn) {
            turn += 1;
        }
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Envoy's source goes: all rounds, one by one.
    fn by_the_book(entries: &[(String, f64)], size: u32) -> Vec<u32> {
        let (size, sum) = (u64::from(size), entries.iter().map(|(_, share)| share).sum::<f64>());
        let mut rows: Vec<Row> = (0..).zip(entries).map(|(at, entry)| Row::new(entry, at, sum, size)).collect();
        rows.sort_by_key(|row| &entries[row.entry as usize].0);
        let most = rows.iter().fold(0.0, |most: f64, row| most.max(row.share));
        let (mut table, mut left) = (vec![u32::MAX; size as usize], size);
        for round in 1.. {
            for row in &mut rows {
                if left == 0 {
                    return table;
                }
                if round as f64 * row.share >= row.target {
                    row.target += most;
                    let slot = row.take(&table, size);
                    table[slot] = row.entry;
                    left -= 1;
                }
            }
        }
        table
    }

    #[test]
    fn rounds_that_are_jumped_over_would_have_been_idle() {
        for shares in [&[1.0][..], &[1.0, 1.0, 1.0], &[1.0, 2.0], &[10_000.0, 1.0, 1.0, 7.0], &[3.0, 7.0, 11.0, 0.5]] {
            let entries: Vec<(String, f64)> =
                shares.iter().enumerate().map(|(at, share)| (format!("10.0.0.{at}:80"), *share)).collect();
            for size in [11, 1009, 65_537] {
                assert_eq!(table(&entries, size), by_the_book(&entries, size), "{shares:?} in {size}");
            }
        }
    }
}
