//! How sure a share can be: the lower bound of Wilson's score interval.
//!
//! With few attempts a high share says little: 2 of 3 is 67 %, and yet the truth may well be 25 %.
//! The bound is what the share is at least, at the wanted confidence, so that small samples do not
//! take anybody out.

/// The standard score that `confidence` (two-sided, 0 to under 1) asks for: 1.96 for 0.95. 0 gives
/// 0: the plain ratio.
///
/// Hastings' approximation of the normal quantile (Abramowitz and Stegun, 26.2.23): off by less
/// than 0.00045, which moves no bound by a tenth of a per cent.
#[must_use]
pub fn score(confidence: f64) -> f64 {
    if confidence <= 0.0 {
        return 0.0;
    }
    let tail = ((1.0 - confidence) / 2.0).max(f64::MIN_POSITIVE);
    let t = (-2.0 * tail.ln()).sqrt();
    let above = 0.010_328_f64.mul_add(t, 0.802_853).mul_add(t, 2.515_517);
    let below = 0.001_308_f64.mul_add(t, 0.189_269).mul_add(t, 1.432_788).mul_add(t, 1.0);
    (t - above / below).max(0.0)
}

/// What the share behind `failures` of `requests` is at least, 0 to 1 (Wilson 1927). 0 of nothing.
#[must_use]
pub fn lower_bound(failures: u32, requests: u32, score: f64) -> f64 {
    if requests == 0 { 0.0 } else { lower_bound_of(failures.min(requests).into(), requests.into(), score) }
}

/// The same of any numbers: `hits` at most `of`, which is over 0.
pub(crate) fn lower_bound_of(hits: f64, of: f64, score: f64) -> f64 {
    let (n, square) = (of, score * score);
    let share = hits / n;
    let middle = share + square / (2.0 * n);
    let margin = score * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    ((middle - margin) / (1.0 + square / n)).clamp(0.0, 1.0)
}

/// Whether a share (0 to 1) reaches `percent`. What rounding takes away is given back: 29 of 100
/// are 29 %.
#[must_use]
pub fn reaches(share: f64, percent: f64) -> bool {
    share * 100.0 + 1e-9 >= percent
}

/// The least failures of `requests` with which the bound reaches `percent`; `None` if not even all
/// are enough.
#[must_use]
pub fn needed(requests: u32, percent: f64, score: f64) -> Option<u32> {
    let enough = |failures| reaches(lower_bound(failures, requests, score), percent);
    if !enough(requests) {
        return None;
    }
    // The bound rises with the failures, so what is enough can be searched by halves.
    let (mut low, mut high) = (0, requests);
    while low < high {
        let middle = low + (high - low) / 2;
        if enough(middle) { high = middle } else { low = middle + 1 }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_tables() {
        for (confidence, wanted) in
            [(0.0, 0.0), (0.8, 1.281_552), (0.9, 1.644_854), (0.95, 1.959_964), (0.99, 2.575_829)]
        {
            let score = score(confidence);
            assert!((score - wanted).abs() < 4.5e-4, "{confidence}: {score}");
        }
        assert!(score(1.0 - f64::EPSILON).is_finite());
    }

    #[test]
    fn failures_needed_for_thirty_per_cent() {
        let score = score(0.95);
        for (needs, of) in [(4, 5), (6, 10), (11, 20), (22, 50), (39, 100), (73, 200), (171, 500)] {
            assert_eq!(needed(of, 30.0, score), Some(needs), "of {of}");
            assert!(!reaches(lower_bound(needs - 1, of, score), 30.0));
        }
        assert_eq!(needed(1, 30.0, score), None, "one failure proves nothing");
    }

    #[test]
    fn confidence_zero_is_the_plain_ratio() {
        for percent in 1..=100 {
            assert_eq!(needed(100, f64::from(percent), 0.0), Some(percent));
        }
        assert!((lower_bound(3, 10, 0.0) - 0.3).abs() < 1e-12);
        assert!(lower_bound(0, 0, 1.96).abs() < f64::EPSILON);
    }

    #[test]
    fn the_bound_rises_with_failures_and_never_leaves_its_bounds() {
        for n in [1, 7, 50, 4_000_000_000] {
            let bounds: Vec<f64> = (0..=20u32).map(|step| lower_bound(n / 20 * step, n, 1.96)).collect();
            assert!(bounds.windows(2).all(|two| two[0] <= two[1]), "{n}: {bounds:?}");
            assert!(bounds.iter().all(|bound| (0.0..=1.0).contains(bound)));
        }
    }
}
