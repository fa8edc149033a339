//! Draws by weight in constant time.

use super::Choice;
use super::told::{Recorder, Step};
use crate::dice::Dice;

/// Draws places by weight. With equal weights there is nothing to remember; otherwise an alias
/// table (Walker 1977, built as by Vose 1991) in whole numbers, so that shares are exact.
#[derive(Clone, Debug)]
pub(super) enum Draw {
    Even { places: u64 },
    Uneven { total: u64, slots: Box<[Slot]> },
}

/// A column of the alias table: its own place below the mark, the other one above.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    mark: u64,
    other: u32,
}

impl Draw {
    /// Draws missed (somebody tried, full, or drawn before) until an exact count is cheaper.
    const MISSES: usize = 4;

    /// Among more places than this an exact count takes too long: then it is the first that fits,
    /// from anywhere. They are missed because they are full, and whoever comes next is as good.
    const COUNTED: usize = 256;

    pub(super) fn new(weights: impl ExactSizeIterator<Item = u32> + Clone) -> Self {
        let mut rest = weights.clone();
        let first = rest.next();
        if rest.all(|weight| Some(weight) == first) {
            return Self::Even { places: weights.len() as u64 };
        }
        let total = weights.clone().map(u64::from).sum();
        Self::Uneven { total, slots: alias_table(weights, total) }
    }

    /// A place by weight that fits and is not `except`; `None` if there is none.
    pub(super) fn one(
        &self,
        choice: &Choice<'_>,
        except: Option<usize>,
        dice: &mut Dice,
        recorder: &mut impl Recorder,
    ) -> Option<usize> {
        let fits = |place: usize| Some(place) != except && choice.fits(place);
        for _ in 0..Self::MISSES {
            let place = self.any(dice);
            let fits = fits(place);
            recorder.step(|| Step::Draw { index: choice.index(place), fits });
            if fits {
                return Some(place);
            }
        }
        let place = Self::counted(choice, fits, dice);
        recorder.step(|| Step::Counted { index: place.map(|place| choice.index(place)) });
        place
    }

    /// Without a table: any place that `fits`, by weight if they are few.
    #[cold]
    fn counted(choice: &Choice<'_>, fits: impl Fn(usize) -> bool, dice: &mut Dice) -> Option<usize> {
        let places = choice.usable.len();
        if places > Self::COUNTED {
            let start = dice.below(places as u64) as usize;
            return (start..places).chain(0..start).find(|&place| fits(place));
        }
        // Whom the draws miss has most of the weight: count out the others.
        let weight = |place: usize| choice.member(place).capacity();
        let left = || (0..places).filter(|&place| fits(place));
        let mut mark = dice.below(left().map(weight).sum());
        left().find(|&place| match mark.checked_sub(weight(place)) {
            Some(rest) => {
                mark = rest;
                false
            }
            None => true,
        })
    }

    fn any(&self, dice: &mut Dice) -> usize {
        match self {
            Self::Even { places } => dice.below(*places) as usize,
            Self::Uneven { total, slots } => {
                let column = dice.below(slots.len() as u64) as usize;
                let Slot { mark, other } = slots[column];
                if dice.below(*total) < mark { column } else { other as usize }
            }
        }
    }
}

/// Every column has the height `total`; each weight counts once per column, so that an average
/// weight fills exactly one. Small ones are filled up with what large ones have over.
fn alias_table(weights: impl ExactSizeIterator<Item = u32>, total: u64) -> Box<[Slot]> {
    let columns = weights.len() as u64;
    let mut slots: Box<[Slot]> =
        (0u32..).zip(weights).map(|(place, weight)| Slot { mark: u64::from(weight) * columns, other: place }).collect();
    let (mut small, mut large): (Vec<u32>, Vec<u32>) =
        (0..slots.len() as u32).partition(|&place| slots[place as usize].mark < total);
    while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
        slots[low as usize].other = high;
        let left = slots[high as usize].mark - (total - slots[low as usize].mark);
        slots[high as usize].mark = left;
        if left < total {
            large.pop();
            small.push(high);
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alias_table_gives_each_its_exact_share() {
        for weights in [vec![5, 1, 1], vec![1, 2, 3, 4], vec![10_000, 1, 1, 7, 9_999], vec![1, 10_000]] {
            let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            let slots = alias_table(weights.iter().copied(), total);
            let mut heights = vec![0; weights.len()];
            for (place, slot) in slots.iter().enumerate() {
                heights[place] += slot.mark.min(total);
                heights[slot.other as usize] += total - slot.mark.min(total);
            }
            let wanted: Vec<u64> = weights.iter().map(|&weight| u64::from(weight) * weights.len() as u64).collect();
            assert_eq!(heights, wanted, "{weights:?}");
        }
    }
}
