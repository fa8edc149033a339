//! What attempts came to within the last so much time: a ring of buckets that slides.

use std::ops::{AddAssign, Index, SubAssign};
use std::time::Duration;

use crate::attempt::Class;
use crate::time::Moment;

/// Attempts by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u32; Class::COUNT]);

impl Counts {
    /// Of each class in order, as [`Class::ALL`].
    #[must_use]
    pub const fn new(by_class: [u32; Class::COUNT]) -> Self {
        Self(by_class)
    }

    /// Of one class.
    #[must_use]
    pub const fn get(&self, class: Class) -> u32 {
        self.0[class.index()]
    }

    /// Those that say something of the endpoint.
    #[must_use]
    pub fn requests(&self) -> u32 {
        self.sum(Class::counts)
    }

    /// Those of them that failed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.sum(Class::is_failure)
    }

    /// Whether there are none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&count| count == 0)
    }

    /// Each class of which there are some.
    pub fn iter(&self) -> impl Iterator<Item = (Class, u32)> + '_ {
        Class::ALL.into_iter().zip(self.0).filter(|&(_, count)| count > 0)
    }

    fn sum(&self, of: impl Fn(Class) -> bool) -> u32 {
        self.iter().filter(|&(class, _)| of(class)).fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}

impl Index<Class> for Counts {
    type Output = u32;

    fn index(&self, class: Class) -> &u32 {
        &self.0[class.index()]
    }
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count = count.saturating_add(more));
    }
}

impl SubAssign<&Self> for Counts {
    fn sub_assign(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, less)| *count = count.saturating_sub(less));
    }
}

/// The last so much time, in up to 30 buckets of at least 1 s. What is fed at a moment counts in
/// the bucket of that moment; a bucket is emptied as a whole when its time comes round again, and a
/// gap empties all it covers. So the window reaches back by its span, less up to one bucket.
#[derive(Clone, Debug)]
pub struct Window {
    span: Duration,
    /// Of one bucket, in nanoseconds; over 0.
    width: u64,
    buckets: Box<[Counts]>,
    /// Number of the latest bucket since the origin of time.
    latest: u64,
    /// Of all buckets.
    sum: Counts,
}

impl Window {
    /// Buckets at the most: a finer ring costs memory for each endpoint and decides no better.
    pub const BUCKETS_MAX: u64 = 30;

    /// Counts come once a second, so there is nothing finer to tell.
    const WIDTH_MIN: u64 = 1_000_000_000;

    /// An empty one.
    #[must_use]
    pub fn new(span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).max(1);
        let width = nanos.div_ceil(Self::BUCKETS_MAX).max(Self::WIDTH_MIN);
        let buckets = vec![Counts::default(); nanos.div_ceil(width) as usize].into();
        Self { span, width, buckets, latest: 0, sum: Counts::default() }
    }

    /// How far it reaches back.
    #[must_use]
    pub const fn span(&self) -> Duration {
        self.span
    }

    /// Takes in what was counted since the last time.
    pub fn feed(&mut self, now: Moment, counts: &Counts) {
        self.slide(now);
        let at = (self.latest % self.buckets.len() as u64) as usize;
        self.buckets[at] += counts;
        self.sum += counts;
    }

    /// What the window holds now.
    pub fn read(&mut self, now: Moment) -> &Counts {
        self.slide(now);
        &self.sum
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets.fill(Counts::default());
        self.sum = Counts::default();
    }

    fn slide(&mut self, now: Moment) {
        let (bucket, count) = (now.as_nanos() / self.width, self.buckets.len() as u64);
        // Time that ran backwards would be a mistake of the caller's; it must not empty anything.
        let passed = bucket.saturating_sub(self.latest);
        if self.sum.is_empty() {
            self.latest = self.latest.max(bucket);
            return;
        }
        for step in 1..=passed.min(count) {
            let gone = std::mem::take(&mut self.buckets[((self.latest + step) % count) as usize]);
            self.sum -= &gone;
        }
        self.latest += passed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn failed(count: u32) -> Counts {
        let mut by_class = [0; Class::COUNT];
        by_class[Class::Error.index()] = count;
        Counts::new(by_class)
    }

    fn seconds(n: u64) -> Moment {
        Duration::from_secs(n).into()
    }

    #[test]
    fn buckets_of_a_second_or_more_and_thirty_at_the_most() {
        for (span, width, buckets) in
            [(1, 1.0, 1), (10, 1.0, 10), (30, 1.0, 30), (60, 2.0, 30), (300, 10.0, 30), (86_400, 2880.0, 30)]
        {
            let window = Window::new(Duration::from_secs(span));
            assert_eq!((window.width, window.buckets.len()), ((width * 1e9) as u64, buckets), "{span} s");
        }
    }

    #[test]
    fn it_slides_bucket_by_bucket_and_a_gap_empties_it() {
        let mut window = Window::new(Duration::from_secs(10));
        for second in 0..20 {
            window.feed(seconds(second), &failed(1));
        }
        assert_eq!(window.read(seconds(19)).failures(), 10);
        assert_eq!(window.read(seconds(24)).failures(), 5);
        assert_eq!(window.read(seconds(29)).failures(), 0);
        window.feed(seconds(29), &failed(3));
        assert_eq!(window.read(seconds(1_000_000)).failures(), 0);
        assert!(window.buckets.iter().all(Counts::is_empty));
    }

    #[test]
    fn the_sum_is_always_that_of_the_last_buckets() {
        let mut dice = Dice::new(5);
        let mut window = Window::new(Duration::from_secs(10));
        let mut fed: Vec<(u64, u32)> = Vec::new();
        let mut now = 0;
        for _ in 0..5000 {
            now += [0, 0, 1, 1, 1, 2, 7, 30][dice.below(8) as usize];
            let count = dice.below(5) as u32;
            window.feed(seconds(now), &failed(count));
            fed.push((now, count));
            let wanted: u32 = fed.iter().rev().take_while(|(at, _)| at + 10 > now).map(|(_, count)| count).sum();
            assert_eq!(window.read(seconds(now)).failures(), wanted, "at {now}");
            if dice.below(200) == 0 {
                window.clear();
                fed.clear();
            }
        }
    }

    #[test]
    fn what_says_nothing_of_the_endpoint_is_in_no_share() {
        let counts = Counts::new([1, 2, 4, 8, 16, 32, 64, 128, 256]);
        assert_eq!(
            (counts.requests(), counts.failures()),
            (1 + 4 + 8 + 16 + 32 + 64 + 128, 4 + 8 + 16 + 32 + 64 + 128)
        );
        assert_eq!((counts[Class::ClientError], counts.iter().count()), (2, 9));
    }
}
