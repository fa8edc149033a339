//! What the evidence comes to, with the numbers and in words.

use std::time::Duration;

use weir_config::model::JudgeRules;

use super::bounds::{self, Difference};
use super::{Arm, Judge, QUANTILES, Quantile, Totals};
use crate::health::outlier::wilson;

/// What is said of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It is no worse: it may get more.
    Promote,
    /// Enough requests, and yet not decided.
    Hold,
    /// It is worse.
    Rollback,
    /// Too few requests to say anything.
    InsufficientData,
}

impl Kind {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Promote, Self::Hold, Self::Rollback, Self::InsufficientData];

    /// As in a sentence.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Hold => "hold",
            Self::Rollback => "rollback",
            Self::InsufficientData => "insufficient data",
        }
    }

    /// The word in logs, metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Hold => "hold",
            Self::Rollback => "rollback",
            Self::InsufficientData => "insufficient_data",
        }
    }
}

/// What is said of a canary, and what it is said from.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The word.
    pub kind: Kind,
    /// Why, in words with counts; begins in lower case and ends without a full stop.
    pub why: String,
    /// The canary's buckets at this weight.
    pub canary: ArmView,
    /// Its cohort.
    pub stable: ArmView,
    /// How much larger the canary's share of errors is; `None` without requests in both.
    pub difference: Option<Difference>,
    /// The chance of such evidence on errors, were the canary no worse; may be looked at always.
    pub p_errors: f64,
    /// The same on latency.
    pub p_latency: f64,
    /// The chance that an answer of the canary took longer than one of the cohort; 0.5 is alike.
    pub slower: Option<f64>,
    /// Requests in each arm that are probably still needed; 0 if decided, or nobody knows.
    pub missing: u64,
    /// How long those take at the rate seen; `None` if decided, or nobody knows.
    pub expected: Option<Duration>,
}

/// One arm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmView {
    /// Requests finished.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// The share that failed, as it is at least and at most (0 to 1).
    pub error_share: (f64, f64),
    /// Requests a second.
    pub rate: f64,
    /// As in [`QUANTILES`].
    pub latency: [Option<Quantile>; QUANTILES.len()],
}

impl ArmView {
    fn of(arm: &Arm, lasted: Duration, score: f64) -> Self {
        let seconds = lasted.as_secs_f64();
        Self {
            requests: arm.requests,
            errors: arm.errors,
            error_share: bounds::share(arm.errors, arm.requests, score),
            rate: if seconds > 0.0 { arm.requests as f64 / seconds } else { 0.0 },
            latency: QUANTILES.map(|quantile| arm.latency.quantile(quantile, score)),
        }
    }

    fn failed(&self) -> String {
        let percent = 100.0 * self.errors as f64 / self.requests.max(1) as f64;
        format!("{percent:.2} % ({} of {})", self.errors, self.requests)
    }
}

/// What is looked at.
struct Case<'a> {
    rules: &'a JudgeRules,
    /// Of this step.
    total: Totals,
    current: &'a Totals,
    /// A p-value at most this speaks against it, on errors and on latency.
    enough: [bool; 2],
    verdict: Verdict,
    score: f64,
}

impl Judge {
    /// What the evidence comes to.
    #[must_use]
    pub fn verdict(&self, rules: &JudgeRules) -> Verdict {
        let score = wilson::score(rules.confidence / 100.0);
        let total = self.previous.and(&self.current);
        let [p_errors, p_latency] = [self.errors.p_value(), self.latency.p_value()];
        let errors = |arm: &Arm| (arm.errors, arm.requests);
        let verdict = Verdict {
            kind: Kind::InsufficientData,
            why: String::new(),
            canary: ArmView::of(&total.canary, total.lasted, score),
            stable: ArmView::of(&total.stable, total.lasted, score),
            difference: bounds::difference(errors(&total.canary), errors(&total.stable), score),
            p_errors,
            p_latency,
            slower: total.canary.latency.slower_than(&total.stable.latency),
            missing: 0,
            expected: None,
        };
        let enough = holm([p_errors, p_latency], 1.0 - rules.confidence / 100.0);
        let mut case = Case { rules, total, current: &self.current, enough, verdict, score };
        let decided = case.too_little().or_else(|| case.worse()).or_else(|| case.no_worse());
        let (kind, why) = decided.unwrap_or_else(|| case.undecided(self));
        Verdict { kind, why, ..case.verdict }
    }
}

/// Which of two p-values are small enough, with a chance of `alpha` at most for any false alarm
/// (Holm 1979).
fn holm(p: [f64; 2], alpha: f64) -> [bool; 2] {
    let first = p[0].min(p[1]) <= alpha / 2.0;
    p.map(|p| first && p <= alpha)
}

impl Case<'_> {
    fn too_little(&mut self) -> Option<(Kind, String)> {
        let Verdict { canary, stable, missing, expected, .. } = &mut self.verdict;
        let wanted = u64::from(self.rules.min_requests);
        let lacks = |arm: &ArmView| wanted.saturating_sub(arm.requests);
        *missing = lacks(canary).max(lacks(stable));
        if *missing == 0 {
            return None;
        }
        if stable.requests == 0 && canary.requests >= wanted {
            *missing = 0;
            return Some((Kind::InsufficientData, "nobody is left in stable to compare it with".to_owned()));
        }
        let arms = [&*canary, &*stable];
        let took = arms.map(|arm| match (lacks(arm), arm.rate > 0.0) {
            (0, _) => Some(0.0),
            (lacks, true) => Some(lacks as f64 / arm.rate),
            (_, false) => None,
        });
        *expected = took[0].zip(took[1]).and_then(|(a, b)| seconds(a.max(b)));
        let (has, cohort) = (canary.requests, stable.requests);
        let why = format!("{has} requests, and {cohort} of its cohort; each needs {wanted}");
        Some((Kind::InsufficientData, why))
    }

    fn worse(&self) -> Option<(Kind, String)> {
        let Verdict { canary, stable, p_errors, p_latency, .. } = &self.verdict;
        if self.enough[0] && self.exceeds_margin() {
            let (own, others) = (canary.failed(), stable.failed());
            return Some((
                Kind::Rollback,
                format!("more errors: {own} against {others} of its cohort, p = {p_errors:.1e}"),
            ));
        }
        if self.enough[1] {
            let (name, own, other) = self.slowest()?;
            let why = format!("slower: {name} {own:.1?} against {other:.1?} of its cohort, p = {p_latency:.1e}");
            return Some((Kind::Rollback, why));
        }
        None
    }

    /// Whether it has more errors than the operator lets pass, at this weight or of late; without
    /// those that one user may have made alone.
    fn exceeds_margin(&self) -> bool {
        let exceeds = |totals: &Totals| {
            let Totals { canary, stable, forgiven, .. } = totals;
            let share = |errors: u64, requests: u64| errors as f64 / requests.max(1) as f64;
            let more =
                share(canary.errors.saturating_sub(*forgiven), canary.requests) - share(stable.errors, stable.requests);
            totals.has(self.rules.min_requests) && more * 100.0 > self.rules.error_margin
        };
        exceeds(&self.total) || exceeds(self.current)
    }

    /// The quantile that is furthest above the cohort's.
    fn slowest(&self) -> Option<(&'static str, Duration, Duration)> {
        let arms = self.verdict.canary.latency.iter().zip(&self.verdict.stable.latency).zip(["p50", "p90", "p99"]);
        let both =
            arms.filter_map(|((own, other), name)| Some((name, own.as_ref()?.estimate, other.as_ref()?.estimate)));
        let ratio = |(_, own, other): &(&str, Duration, Duration)| own.as_secs_f64() / other.as_secs_f64().max(1e-9);
        both.max_by(|a, b| ratio(a).total_cmp(&ratio(b)))
    }

    fn no_worse(&self) -> Option<(Kind, String)> {
        let Verdict { canary, stable, difference, .. } = &self.verdict;
        let most = difference.as_ref()?.most * 100.0;
        // That it is worse may be proven by now; but it is not by more than the operator allows.
        if most > self.rules.error_margin || self.late().is_some() {
            return None;
        }
        let latency = self.slowest().map(|(name, own, other)| format!("; {name} {own:.1?} against {other:.1?}"));
        let (own, others) = (canary.failed(), stable.failed());
        let why = format!(
            "no worse than its cohort: errors {own} against {others}, {most:.2} points more at most{}",
            latency.unwrap_or_default()
        );
        Some((Kind::Promote, why))
    }

    /// A quantile that may well be above the margin: the median and nine of ten by their estimate,
    /// 99 of 100, which few requests say little about, by its interval.
    fn late(&self) -> Option<(&'static str, Duration, Duration)> {
        let above = |own: Duration, other: Duration| {
            own.as_secs_f64() > other.as_secs_f64() * (1.0 + self.rules.latency_margin / 100.0)
        };
        let arms = self.verdict.canary.latency.iter().zip(&self.verdict.stable.latency);
        arms.zip(["p50", "p90", "p99"]).find_map(|((own, other), name)| {
            let (own, other) = (own.as_ref()?, other.as_ref()?);
            let is_late = match name {
                "p99" => other.most.is_some_and(|most| above(own.least, most)),
                _ => above(own.estimate, other.estimate),
            };
            is_late.then_some((name, own.estimate, other.estimate))
        })
    }

    fn undecided(&mut self, judge: &Judge) -> (Kind, String) {
        let most = self.verdict.difference.map_or(1.0, |difference| difference.most) * 100.0;
        let factor = [self.until_bound(), self.until_evidence(judge)].into_iter().flatten().min_by(f64::total_cmp);
        if let Some(factor) = factor {
            let has = self.verdict.canary.requests.min(self.verdict.stable.requests) as f64;
            self.verdict.missing = (has * (factor - 1.0)).ceil() as u64;
            self.verdict.expected = seconds(self.total.lasted.as_secs_f64() * (factor - 1.0));
        }
        let Verdict { canary, stable, .. } = &self.verdict;
        let (own, others, margin) = (canary.failed(), stable.failed(), self.rules.error_margin);
        let why = match self.late().filter(|_| most <= margin) {
            Some((name, own, other)) => format!(
                "not decided: {name} {own:.1?} against {other:.1?} of its cohort; {} % more are allowed",
                self.rules.latency_margin
            ),
            None => format!(
                "not decided: errors {own} against {others} of its cohort, which may be {most:.2} points more; {margin} are allowed"
            ),
        };
        (Kind::Hold, why)
    }

    /// How many times the requests so far let the errors' bound fall to the margin, should the
    /// shares stay what they are.
    fn until_bound(&self) -> Option<f64> {
        let Totals { canary, stable, .. } = &self.total;
        let at = |factor: f64| {
            let times = |count: u64| (count as f64 * factor) as u64;
            let arm = |arm: &Arm| (times(arm.errors), times(arm.requests));
            bounds::difference(arm(canary), arm(stable), self.score).map(|difference| difference.most * 100.0)
        };
        let falls = |factor: &f64| at(*factor).is_some_and(|most| most <= self.rules.error_margin);
        // By tenths: nobody asks for more than a rough answer.
        std::iter::successors(Some(1.1), |factor| Some(factor * 1.1)).take_while(|factor| *factor < 1000.0).find(falls)
    }

    /// The same for evidence against it, should it grow as it did.
    fn until_evidence(&self, judge: &Judge) -> Option<f64> {
        let wanted = (2.0 / (1.0 - self.rules.confidence / 100.0)).ln();
        let now = judge.errors.now([judge.users.worst_but_one()]);
        (now > 0.5 && self.exceeds_margin()).then(|| (wanted / now).max(1.1))
    }
}

fn seconds(seconds: f64) -> Option<Duration> {
    // Past a month it is not known.
    (seconds.is_finite() && seconds < 30.0 * 86_400.0).then(|| Duration::from_secs(seconds.max(1.0).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holm_spends_alpha_once() {
        for (p, wanted) in [
            ([0.03, 0.9], [false, false]),
            ([0.02, 0.9], [true, false]),
            ([0.02, 0.04], [true, true]),
            ([0.04, 0.02], [true, true]),
            ([0.04, 0.03], [false, false]),
        ] {
            assert_eq!(holm(p, 0.05), wanted, "{p:?}");
        }
    }
}
