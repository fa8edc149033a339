//! Smooth weighted round robin: exact shares, without runs of one endpoint.
//!
//! nginx's rule: at each turn every `current` grows by its weight, the largest wins and loses the
//! total. To stay cheap with thousands of endpoints the rule runs over classes of them, with plain
//! rotation inside: one class when all weights are equal; each its own class when they are few; and
//! else a class for each binary digit of the weights: whoever has that digit is in it, and it
//! weighs digit times count. An endpoint then gets the sum of its digits, which is its weight.

use super::Choice;
use super::told::{Recorder, Step};
use crate::dice::Dice;
use crate::endpoint::EndpointId;

/// The immutable half: classes and their weights, shared by all workers.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    classes: Box<[Class]>,
    total: i64,
}

#[derive(Clone, Debug)]
struct Class {
    of: Of,
    /// Of all its places together.
    weight: i64,
    places: Places,
}

/// What a class stands for; by this a cursor finds its way from one version to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    All,
    One(EndpointId),
    Digit(u32),
}

#[derive(Clone, Debug)]
enum Places {
    All(u32),
    One(u32),
    Some(Box<[u32]>),
}

impl Places {
    fn len(&self) -> u32 {
        match self {
            Self::All(count) => *count,
            Self::One(_) => 1,
            Self::Some(places) => places.len() as u32,
        }
    }

    fn get(&self, at: u32) -> usize {
        match self {
            Self::All(_) => at as usize,
            Self::One(place) => *place as usize,
            Self::Some(places) => places[at as usize] as usize,
        }
    }
}

impl Turns {
    /// Up to here every endpoint is a class of its own, which gives nginx's very sequence; a turn
    /// costs about a nanosecond a class.
    const SINGLES: usize = 32;

    /// Turns over `shares` (weight over 0), in the order of their places.
    pub(super) fn new(shares: impl ExactSizeIterator<Item = (EndpointId, u32)> + Clone) -> Self {
        let first = shares.clone().next().map(|(_, weight)| weight);
        let classes: Box<[Class]> = if shares.clone().all(|(_, weight)| Some(weight) == first) {
            let count = shares.len() as u32;
            Box::new([Class { of: Of::All, weight: i64::from(count), places: Places::All(count) }])
        } else if shares.len() <= Self::SINGLES {
            let single = |(place, (id, weight)): (u32, (EndpointId, u32))| Class {
                of: Of::One(id),
                weight: weight.into(),
                places: Places::One(place),
            };
            (0..).zip(shares).map(single).collect()
        } else {
            (0..u32::BITS).filter_map(|digit| Class::of_digit(digit, shares.clone())).collect()
        };
        let total = classes.iter().map(|class| class.weight).sum();
        Self { classes, total }
    }
}

impl Class {
    fn of_digit(digit: u32, shares: impl Iterator<Item = (EndpointId, u32)>) -> Option<Self> {
        let places: Box<[u32]> =
            (0..).zip(shares).filter(|(_, (_, weight))| weight >> digit & 1 == 1).map(|(place, _)| place).collect();
        let weight = (places.len() as i64) << digit;
        (weight > 0).then_some(Self { of: Of::Digit(digit), weight, places: Places::Some(places) })
    }
}

/// The moving half: one worker's place in one cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    version: u64,
    hands: Vec<Hand>,
}

#[derive(Clone, Copy, Debug)]
struct Hand {
    of: Of,
    current: i64,
    /// The next of the class's places.
    at: u32,
}

impl Cursor {
    /// Turns a cursor is advanced by at the most when it starts.
    const HEAD_START: u64 = 256;

    /// Turns of endpoints that are full which are passed over in order.
    const FULL: usize = 8;

    /// Makes the cursor fit `turns`. Classes that were there before keep their claim, so that a
    /// cluster which changes all the time is still served fairly.
    pub(super) fn follow(&mut self, version: u64, turns: &Turns, dice: &mut Dice) {
        if self.version == version && !self.hands.is_empty() {
            return;
        }
        let old = std::mem::take(&mut self.hands);
        let hand = |class: &Class| match old.iter().find(|hand| hand.of == class.of) {
            // A claim from heavier days must not shut others out for longer than one round.
            Some(hand) => Hand {
                current: hand.current.clamp(-turns.total, turns.total),
                at: hand.at % class.places.len().max(1),
                ..*hand
            },
            None => Hand { of: class.of, current: 0, at: dice.below(class.places.len().into()) as u32 },
        };
        self.hands = turns.classes.iter().map(hand).collect();
        self.version = version;
        if old.is_empty() {
            let ahead = dice.below((turns.total.unsigned_abs()).min(Self::HEAD_START));
            for _ in 0..ahead {
                self.turn(turns);
            }
        }
        self.level();
    }

    /// Only differences between claims matter; what members who left took along is shared out.
    fn level(&mut self) {
        let sum: i64 = self.hands.iter().map(|hand| hand.current).sum();
        let mean = sum / self.hands.len().max(1) as i64;
        self.hands.iter_mut().for_each(|hand| hand.current -= mean);
    }

    /// The place whose turn it is among those that fit; `None` if none does.
    pub(super) fn next(&mut self, turns: &Turns, choice: &Choice<'_>, recorder: &mut impl Recorder) -> Option<usize> {
        let mut last = 0;
        for _ in 0..=choice.tried.len() + Self::FULL {
            last = self.turn(turns);
            let fits = choice.fits(last);
            recorder.step(|| Step::Turn { index: choice.index(last), fits });
            if fits {
                return Some(last);
            }
        }
        let next = (last..choice.usable.len()).chain(0..last).find(|&place| choice.fits(place));
        recorder.step(|| Step::Counted { index: next.map(|place| choice.index(place)) });
        next
    }

    fn turn(&mut self, turns: &Turns) -> usize {
        let (mut best, mut most) = (0, i64::MIN);
        for (at, (hand, class)) in self.hands.iter_mut().zip(&turns.classes).enumerate() {
            hand.current += class.weight;
            if hand.current > most {
                (best, most) = (at, hand.current);
            }
        }
        let (hand, class) = (&mut self.hands[best], &turns.classes[best]);
        hand.current -= turns.total;
        let place = class.places.get(hand.at);
        hand.at = if hand.at + 1 < class.places.len() { hand.at + 1 } else { 0 };
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(weights: &[u32]) -> Turns {
        let shares: Vec<(EndpointId, u32)> = (0..).map(EndpointId).zip(weights.iter().copied()).collect();
        Turns::new(shares.into_iter())
    }

    /// A cursor at the start of the round, whatever the dice say.
    fn at_zero(turns: &Turns) -> Cursor {
        let hands = turns.classes.iter().map(|class| Hand { of: class.of, current: 0, at: 0 }).collect();
        Cursor { version: 1, hands }
    }

    #[test]
    fn the_published_sequence() {
        let turns = turns(&[5, 1, 1]);
        let mut cursor = at_zero(&turns);
        let order: String = (0..14).map(|_| ['a', 'b', 'c'][cursor.turn(&turns)]).collect();
        assert_eq!(order, "aabacaaaabacaa");
    }

    #[test]
    fn one_round_gives_each_exactly_its_weight() {
        let many: Vec<u32> = (0..1000).map(|at| at % 37 + 1).collect();
        for weights in [&[1, 1, 1][..], &[3, 1, 2], &[10_000, 1], &many] {
            let turns = turns(weights);
            let mut cursor = at_zero(&turns);
            let mut got = vec![0; weights.len()];
            let round: u32 =
                if weights.iter().all(|w| *w == weights[0]) { weights.len() as u32 } else { weights.iter().sum() };
            (0..round).for_each(|_| got[cursor.turn(&turns)] += 1);
            let wanted: Vec<u32> =
                weights.iter().map(|w| if round as usize == weights.len() { 1 } else { *w }).collect();
            assert_eq!(got, wanted);
        }
    }

    #[test]
    fn a_cursor_rebuilt_at_each_turn_is_fair() {
        let turns = turns(&[3, 2, 1]);
        let (mut cursor, mut dice, mut got) = (Cursor::default(), Dice::new(5), [0; 3]);
        for version in 1..=6000 {
            cursor.follow(version, &turns, &mut dice);
            got[cursor.turn(&turns)] += 1;
        }
        assert_eq!(got, [3000, 2000, 1000]);
    }

    #[test]
    fn workers_do_not_start_in_step() {
        let turns = turns(&[1; 100]);
        let mut starts: Vec<usize> = (0..8)
            .map(|worker| {
                let mut cursor = Cursor::default();
                cursor.follow(1, &turns, &mut Dice::new(worker));
                cursor.turn(&turns)
            })
            .collect();
        starts.sort_unstable();
        starts.dedup();
        assert!(starts.len() > 5, "{starts:?}");
    }
}
