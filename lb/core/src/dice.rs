//! Chance, from a seed.
//!
//! splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
//! Written here because a seed must replay the same story for ever, and crates' generators change.

/// A generator of 64-bit numbers with one word of state. Not for secrets.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that tell the story of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..sides`; 0 when `sides` is 0. Bias is below `sides / 2^64`.
    pub const fn below(&mut self, sides: u64) -> u64 {
        ((self.roll() as u128 * sides as u128) >> 64) as u64
    }

    /// A number in `0.0..1.0`.
    pub const fn unit(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Other dice, whose story does not depend on how often these are rolled later.
    pub const fn split(&mut self) -> Self {
        Self(self.roll())
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn a_seed_tells_the_published_story() {
        // First outputs of splitmix64 for seed 1234567, as printed by the reference C program.
        let mut dice = Dice::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| dice.roll()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn below_stays_below() {
        let mut dice = Dice::new(7);
        assert!((0..10_000).all(|_| dice.below(3) < 3));
        assert_eq!(dice.below(0), 0);
    }
}
