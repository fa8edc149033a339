//! The gray rule: `bucket = XXH64(salt ‖ 0x00 ‖ id, seed 0) mod 10 000`.
//!
//! A canary owns the buckets from its first one on, as many as its weight says, wrapping; stable
//! owns the rest. So more weight takes users only from stable, less gives the newest back to
//! stable, and no other canary is touched. Any team can compute it in any language.

use std::fmt;

use xxhash_rust::xxh64::Xxh64;

/// Into so many shares are users divided: a hundredth of a per cent each.
pub const BUCKETS: u16 = 10_000;

/// One of [`BUCKETS`] shares of the users, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket with this number, if there is one.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < BUCKETS { Some(Self(number)) } else { None }
    }

    /// The bucket of `id`, which is in its canonical form, under `salt`.
    #[must_use]
    pub fn of(salt: &str, id: &[u8]) -> Self {
        let mut hash = Xxh64::new(0);
        hash.update(salt.as_bytes());
        hash.update(&[0]);
        hash.update(id);
        // Less than BUCKETS, which fits.
        Self((hash.digest() % u64::from(BUCKETS)) as u16)
    }

    /// All of them, ascending.
    pub fn all() -> impl ExactSizeIterator<Item = Self> + Clone {
        (0..BUCKETS).map(Self)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// How many buckets lie between `from` and it, going up and wrapping.
    #[must_use]
    pub const fn after(self, from: Self) -> u16 {
        (self.0 + BUCKETS - from.0) % BUCKETS
    }

    /// The bucket `steps` further on, wrapping.
    #[must_use]
    pub const fn further(self, steps: u16) -> Self {
        Self(((self.0 as u32 + steps as u32) % BUCKETS as u32) as u16)
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A share of the users in buckets: 0 to [`BUCKETS`]. Shown in per cent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

impl Share {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(BUCKETS);

    /// So many buckets, if there are.
    #[must_use]
    pub const fn of_buckets(buckets: u16) -> Option<Self> {
        if buckets <= BUCKETS { Some(Self(buckets)) } else { None }
    }

    /// So many per cent, if it is 0 to 100 with two decimals at most.
    #[must_use]
    pub fn of_percent(percent: f64) -> Option<Self> {
        let buckets = (percent * 100.0).round();
        let exact = (percent * 100.0 - buckets).abs() < 1e-6;
        ((0.0..=f64::from(BUCKETS)).contains(&buckets) && exact).then_some(Self(buckets as u16))
    }

    /// In buckets.
    #[must_use]
    pub const fn buckets(self) -> u16 {
        self.0
    }

    /// In per cent.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl fmt::Display for Share {
    /// Per cent without the sign, as in `5`, `0.5` or `12.25`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.percent().fmt(f)
    }
}

/// Buckets from one on, wrapping: what a canary owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub from: Bucket,
    /// How many.
    pub share: Share,
}

impl Range {
    /// Whether `bucket` is in it.
    #[must_use]
    pub const fn contains(self, bucket: Bucket) -> bool {
        bucket.after(self.from) < self.share.0
    }

    /// Whether any bucket is in both.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        let both = self.share.0 > 0 && other.share.0 > 0;
        both && (self.contains(other.from) || other.contains(self.from))
    }
}

/// Which of `ranges`, that do not overlap, owns `bucket`: a version, 0 being stable, 1 the first
/// range.
#[must_use]
pub fn owner(ranges: &[Range], bucket: Bucket) -> usize {
    ranges.iter().position(|range| range.contains(bucket)).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_wrap() {
        let range =
            |from, buckets| Range { from: Bucket::new(from).unwrap(), share: Share::of_buckets(buckets).unwrap() };
        let wrapping = range(9_999, 2);
        let inside: Vec<u16> = Bucket::all().filter(|bucket| wrapping.contains(*bucket)).map(Bucket::get).collect();
        assert_eq!(inside, [0, 9_999]);
        assert!(wrapping.overlaps(range(0, 1)) && range(0, 1).overlaps(wrapping));
        assert!(!wrapping.overlaps(range(1, 9_998)) && wrapping.overlaps(range(1, 9_999)));
        assert!(!range(5, 0).overlaps(range(0, 10_000)), "nothing overlaps with nothing");
        assert!(Bucket::all().all(|bucket| range(17, 10_000).contains(bucket)));
        assert_eq!(owner(&[range(0, 10), range(9_000, 1_000)], Bucket::new(9_500).unwrap()), 2);
        assert_eq!(owner(&[range(0, 10)], Bucket::new(10).unwrap()), 0);
    }

    #[test]
    fn shares_have_two_decimals() {
        for (percent, buckets) in [(0.0, 0), (0.01, 1), (5.0, 500), (12.25, 1_225), (99.99, 9_999), (100.0, 10_000)] {
            let share = Share::of_percent(percent).unwrap();
            assert_eq!(share.buckets(), buckets);
            assert_eq!(share.to_string(), percent.to_string());
        }
        for nonsense in [-0.01, 100.01, 0.005, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::of_percent(nonsense), None, "{nonsense}");
        }
    }
}
