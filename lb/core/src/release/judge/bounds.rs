//! What shares, and the difference of two, are at least and at most.

use crate::health::outlier::wilson;

/// Wilson's score interval of `hits` in `of`; 0 to 1 of nothing.
#[must_use]
pub fn share(hits: u64, of: u64, score: f64) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let least = |hits: u64| wilson::lower_bound_of(hits.min(of) as f64, of as f64, score);
    (least(hits), 1.0 - least(of.saturating_sub(hits)))
}

/// A difference of two shares, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// As counted.
    pub estimate: f64,
    /// At least this.
    pub least: f64,
    /// At most this.
    pub most: f64,
}

/// How much larger the first share is than the second, each `(hits, of)`: Newcombe's hybrid of two
/// score intervals (1998, method 10). `None` if either is of nothing.
#[must_use]
pub fn difference(first: (u64, u64), second: (u64, u64), score: f64) -> Option<Difference> {
    let ratio = |(hits, of): (u64, u64)| (of > 0).then(|| hits.min(of) as f64 / of as f64);
    let (a, b) = (ratio(first)?, ratio(second)?);
    let ((a_least, a_most), (b_least, b_most)) = (share(first.0, first.1, score), share(second.0, second.1, score));
    let estimate = a - b;
    Some(Difference {
        estimate,
        least: estimate - (a - a_least).hypot(b_most - b),
        most: estimate + (a_most - a).hypot(b - b_least),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_those_that_were_published() {
        // Newcombe 1998, table II, method 10: 56/70 against 48/80.
        let of = difference((56, 70), (48, 80), 1.959_964).unwrap();
        assert!((of.estimate - 0.2).abs() < 1e-12);
        assert!((of.least - 0.0524).abs() < 5e-5 && (of.most - 0.3339).abs() < 5e-5, "{of:?}");
        // 10/10 against 0/10: limits where nothing varies.
        let of = difference((10, 10), (0, 10), 1.959_964).unwrap();
        assert!((of.least - 0.6075).abs() < 5e-5 && (of.most - 1.0).abs() < 1e-12, "{of:?}");
        assert_eq!(difference((0, 0), (1, 2), 1.96), None);
    }

    #[test]
    fn shares_of_nothing_may_be_anything() {
        assert_eq!(share(0, 0, 1.96), (0.0, 1.0));
        let (least, most) = share(0, 384, 1.96);
        assert!(least.abs() < 1e-12 && most < 0.01);
    }
}
