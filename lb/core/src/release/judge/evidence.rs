//! How strongly counts speak against a canary, however often one looks.
//!
//! An e-process is a wager against "the canary is no worse" that cannot be expected to gain while
//! that is true. By Ville's inequality (1939) it then ever reaches 20 with a chance of 1 in 20 at
//! most, so it may be looked at after every request, for weeks, and ended whenever one likes.
//!
//! The wager, per period: of `n_c` requests of the canary and `n_s` of its cohort `k` were hits
//! (errors, or slow ones). Were both alike, the canary's part `k_c` would be hypergeometric, whose
//! moments a Binomial(`k`, `p`) with `p = n_c / (n_c + n_s)` bounds (Hoeffding 1963). So
//! `θ^k_c / (1 - p + pθ)^k` is 1 on average at the most for each odds ratio `θ > 1`, and no more
//! if the canary is the better one. That is Fisher's conditional test as a "safe test" (Turner, Ly,
//! Grünwald 2021): the base rate cancels out, and may drift from period to period. Which `θ` is
//! the true one nobody knows, so a mixture is wagered (Robbins 1970; the mixture SPRT).
//!
//! Long evidence for a canary would have to be lost again before any against it shows. So a new
//! wager begins with each stretch (a step of a rollout, an hour), and stretch `j` gets
//! `1 / (j (j + 1))` of the stake, which sums to 1: the guarantee holds over all of them together.

/// The odds ratios wagered on.
pub const ODDS: [f64; 7] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0];

/// Stretches whose wagers are kept; older ones count as lost, which only lowers the evidence.
pub const STRETCHES_MAX: usize = 8;

/// What one period showed: hits of requests, in both arms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// The canary's hits,
    pub canary: u64,
    /// of so many.
    pub canary_of: u64,
    /// Its cohort's hits,
    pub stable: u64,
    /// of so many.
    pub stable_of: u64,
}

impl Hits {
    fn share(&self) -> Option<f64> {
        let of = self.canary_of.saturating_add(self.stable_of);
        (of > 0).then(|| self.canary_of as f64 / of as f64)
    }

    fn add(&mut self, more: &Self) {
        self.canary += more.canary;
        self.canary_of += more.canary_of;
        self.stable += more.stable;
        self.stable_of += more.stable_of;
    }
}

/// What a wager on `odds` gains (its logarithm) by `canary` of `all` hits, where the canary had this
/// `share` of the requests.
fn gain(odds: f64, share: f64, canary: f64, all: f64) -> f64 {
    canary * odds.ln() - all * (share * (odds - 1.0)).ln_1p()
}

/// The wagers of one stretch.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch<const N: usize> {
    /// From 1.
    pub number: u32,
    /// By question and odds ratio: the logarithm of what a stake of 1 has come to.
    pub logs: [[f64; ODDS.len()]; N],
}

/// Evidence on `N` questions that are one question in truth, such as three quantiles of one
/// latency.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence<const N: usize> {
    /// The newest last; never empty.
    pub stretches: Vec<Stretch<N>>,
    /// The logarithm of the most it ever came to; at least 0.
    pub best: f64,
    /// What the newest stretch showed.
    seen: [Hits; N],
}

impl<const N: usize> Default for Evidence<N> {
    fn default() -> Self {
        Self::kept(Vec::new(), 0.0)
    }
}

impl<const N: usize> Evidence<N> {
    /// As it was kept.
    #[must_use]
    pub fn kept(mut stretches: Vec<Stretch<N>>, best: f64) -> Self {
        if stretches.is_empty() {
            stretches.push(Stretch { number: 1, logs: [[0.0; ODDS.len()]; N] });
        }
        Self { stretches, best: best.max(0.0), seen: [Hits::default(); N] }
    }

    /// Takes in one period. `forgiven` are hits of this stretch that one user of the canary may
    /// have made alone: they do not count, which only lowers the evidence and costs no guarantee.
    pub fn take(&mut self, period: &[Hits; N], forgiven: [u64; N]) {
        for (at, hits) in period.iter().enumerate() {
            let Some(share) = hits.share() else { continue };
            self.seen[at].add(hits);
            let (canary, all) = (hits.canary as f64, hits.canary.saturating_add(hits.stable) as f64);
            for stretch in &mut self.stretches {
                for (log, odds) in stretch.logs[at].iter_mut().zip(ODDS) {
                    *log += gain(odds, share, canary, all);
                }
            }
        }
        self.best = self.best.max(self.weigh(self.losses(forgiven)));
    }

    /// A new stretch begins; what is forgiven of the one that ends stays forgiven.
    pub fn begin(&mut self, forgiven: [u64; N]) {
        self.forgive(forgiven);
        let number = self.stretches.last().map_or(0, |last| last.number).saturating_add(1);
        self.stretches.push(Stretch { number, logs: [[0.0; ODDS.len()]; N] });
        let over = self.stretches.len().saturating_sub(STRETCHES_MAX);
        self.stretches.drain(..over);
    }

    /// Takes what is forgiven so far off the wagers, for good.
    pub fn forgive(&mut self, forgiven: [u64; N]) {
        let losses = self.losses(forgiven);
        for stretch in &mut self.stretches {
            for (logs, losses) in stretch.logs.iter_mut().zip(&losses) {
                logs.iter_mut().zip(losses).for_each(|(log, loss)| *log -= loss);
            }
        }
        self.seen = [Hits::default(); N];
    }

    /// The chance of such evidence, at any time, were the canary no worse: a p-value that may be
    /// looked at always.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        (-self.best).exp().min(1.0)
    }

    /// The logarithm of what it comes to now, as [`Self::take`] has it.
    #[must_use]
    pub fn now(&self, forgiven: [u64; N]) -> f64 {
        self.weigh(self.losses(forgiven))
    }

    /// What wagers lose by hits that are forgiven.
    fn losses(&self, forgiven: [u64; N]) -> [[f64; ODDS.len()]; N] {
        std::array::from_fn(|at| {
            let hits = &self.seen[at];
            let away = forgiven[at].min(hits.canary) as f64;
            let share = hits.share().unwrap_or(0.0);
            ODDS.map(|odds| gain(odds, share, away, away))
        })
    }

    fn weigh(&self, losses: [[f64; ODDS.len()]; N]) -> f64 {
        let each = -((N * ODDS.len()) as f64).ln();
        let wagers = self.stretches.iter().flat_map(|stretch| {
            let stake = each - stake_of(stretch.number);
            let logs = stretch.logs.iter().flatten().zip(losses.iter().flatten());
            logs.map(move |(log, loss)| stake + log - loss)
        });
        // What is left for stretches to come is not wagered yet: it stays what it is.
        let begun = self.stretches.last().map_or(0, |last| last.number);
        log_sum(wagers.chain([-(f64::from(begun) + 1.0).ln()]))
    }
}

/// The logarithm of what the stake is divided by for this stretch.
fn stake_of(number: u32) -> f64 {
    (f64::from(number) * (f64::from(number) + 1.0)).ln()
}

/// The logarithm of the sum of what these are logarithms of.
fn log_sum(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    most + logs.map(|log| (log - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// n! as a logarithm.
    fn factorial(n: u64) -> f64 {
        (1..=n).map(|i| (i as f64).ln()).sum()
    }

    fn choose(n: u64, k: u64) -> f64 {
        factorial(n) - factorial(k) - factorial(n - k)
    }

    #[test]
    fn no_wager_gains_on_average_while_both_are_alike() {
        // Exactly, over all ways in which k hits can fall.
        for (canary_of, stable_of) in [(1u64, 1u64), (3, 7), (20, 20), (5, 60), (40, 2)] {
            for k in 0..=(canary_of + stable_of) {
                for odds in ODDS {
                    let share = canary_of as f64 / (canary_of + stable_of) as f64;
                    let ways = k.saturating_sub(stable_of)..=k.min(canary_of);
                    let mean: f64 = ways
                        .map(|canary| {
                            let chance = choose(canary_of, canary) + choose(stable_of, k - canary)
                                - choose(canary_of + stable_of, k);
                            (chance + gain(odds, share, canary as f64, k as f64)).exp()
                        })
                        .sum();
                    assert!(mean <= 1.0 + 1e-9, "{canary_of} {stable_of} {k} {odds}: {mean}");
                }
            }
        }
    }

    #[test]
    fn nothing_seen_proves_nothing() {
        let mut evidence = Evidence::<3>::default();
        assert!(evidence.now([0; 3]).abs() < 1e-12);
        (0..20).for_each(|_| evidence.begin([0; 3]));
        assert!(evidence.now([0; 3]) < 0.0, "old stretches are lost");
        assert_eq!((evidence.stretches.len(), evidence.p_value()), (STRETCHES_MAX, 1.0));
    }

    #[test]
    fn a_late_turn_is_seen_soon() {
        let good = Hits { canary: 3, canary_of: 1000, stable: 5, stable_of: 1000 };
        let bad = Hits { canary: 50, canary_of: 1000, stable: 5, stable_of: 1000 };
        let mut evidence = Evidence::<1>::default();
        (0..1000).for_each(|_| evidence.take(&[good], [0]));
        assert!(evidence.p_value() > 0.05);
        evidence.begin([0]);
        evidence.take(&[bad], [0]);
        assert!(evidence.p_value() < 0.001, "{}", evidence.p_value());
    }

    #[test]
    fn what_one_user_did_counts_once() {
        let hits = Hits { canary: 101, canary_of: 1000, stable: 1, stable_of: 1000 };
        let (mut all, mut forgiving) = (Evidence::<1>::default(), Evidence::<1>::default());
        all.take(&[hits], [0]);
        forgiving.take(&[hits], [100]);
        assert!(all.p_value() < 1e-9 && forgiving.p_value() > 0.5);
        forgiving.begin([100]);
        forgiving.take(&[Hits::default()], [0]);
        assert!(forgiving.p_value() > 0.5, "for good");
    }
}
