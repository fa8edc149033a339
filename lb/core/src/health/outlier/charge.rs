//! What stands against one endpoint: the rule it broke, and the numbers that say so.

use std::fmt;
use std::time::Duration;

use weir_config::model::{FailureWindow, Outlier};

use super::wilson::{lower_bound, needed, reaches, score};
use super::window::{Counts, Window};
use crate::live::Row;
use crate::time::Moment;

/// A rule as it was applied. Displays as what it asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Failures in a row, of at least two requests.
    Consecutive {
        /// Which failures.
        kind: Kind,
        /// So many.
        threshold: u32,
    },
    /// A share of failures within a time.
    Share {
        /// In per cent.
        threshold: f64,
        /// The last so much time.
        window: Duration,
        /// Fewer attempts say nothing.
        minimum_requests: u32,
        /// How sure it must be, 0 to 1; 0 is the plain ratio.
        confidence: f64,
    },
}

/// Which failures in a row; each kind contains the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 5xx answers, or none.
    Any5xx,
    /// 502, 503 and 504, or none.
    Gateway,
    /// No answer.
    LocalOrigin,
}

impl Rule {
    /// The word in events, metrics and the API: the name of its setting.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Consecutive { kind: Kind::Any5xx, .. } => "consecutive_5xx",
            Self::Consecutive { kind: Kind::Gateway, .. } => "consecutive_gateway",
            Self::Consecutive { kind: Kind::LocalOrigin, .. } => "consecutive_local_origin",
            Self::Share { .. } => "failure_percentage",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consecutive { kind, threshold } => {
                let of = match kind {
                    Kind::Any5xx => "5xx or no answer",
                    Kind::Gateway => "502, 503, 504 or no answer",
                    Kind::LocalOrigin => "no answer",
                };
                write!(f, "{threshold} failures in a row ({of})")
            }
            Self::Share { threshold, window, minimum_requests, confidence } => {
                write!(f, "{threshold} % of at least {minimum_requests} attempts within {window:?}")?;
                if *confidence > 0.0 { write!(f, ", {:.4} % sure", Rounded(confidence * 100.0)) } else { Ok(()) }
            }
        }
    }
}

/// A number without the noughts at its end.
struct Rounded(f64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = 10f64.powi(f.precision().unwrap_or(1) as i32);
        write!(f, "{}", (self.0 * digits).round() / digits)
    }
}

/// What stands against one endpoint. Displays as one clause for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    /// The rule that is met.
    pub rule: Rule,
    /// What its attempts came to: within the rule's window, or for failures in a row within the
    /// shortest window there is.
    pub counts: Counts,
    /// Failures: in a row, or within the window.
    pub failures: u32,
    /// Of so many attempts that count.
    pub requests: u32,
    /// The share that failed, 0 to 1.
    pub ratio: f64,
    /// What the share behind it is at least, 0 to 1, at the wanted confidence.
    pub bound: f64,
    /// The fewest failures of as many attempts that the rule asks for.
    pub needed: u32,
}

impl Charge {
    /// What would have changed the decision. One clause for people.
    #[must_use]
    pub fn counterfactual(&self) -> String {
        match self.rule {
            Rule::Consecutive { threshold, .. } => {
                format!("one good answer among the last {threshold} would have kept it")
            }
            Rule::Share { .. } => {
                let (less, failures, requests) = (self.needed.saturating_sub(1), self.failures, self.requests);
                format!("with {less} failures of {requests} instead of {failures} it would have stayed")
            }
        }
    }
}

impl fmt::Display for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { failures, requests, rule, .. } = self;
        match rule {
            Rule::Consecutive { .. } => write!(f, "{failures} failures in a row")?,
            Rule::Share { window, confidence, .. } => {
                write!(f, "{failures} of {requests} attempts within {window:?} failed, ")?;
                let at_least = if *confidence > 0.0 { "at least " } else { "" };
                write!(f, "{at_least}{:.1} %", Rounded(self.bound * 100.0))?;
            }
        }
        let failed = self.counts.iter().filter(|(class, _)| class.is_failure());
        for (at, (class, count)) in failed.enumerate() {
            write!(f, "{}{count} {}", if at == 0 { " (" } else { ", " }, class.as_str())?;
        }
        f.write_str(if self.counts.failures() > 0 { "); " } else { "; " })?;
        write!(f, "the rule: {rule}")
    }
}

/// What stands against an endpoint, if anything does: of the rules that are met, the one with the
/// highest bound.
#[must_use]
pub fn judge(rules: &Outlier, row: Row, windows: &mut [Window], now: Moment) -> Option<Charge> {
    let score = score(rules.confidence);
    let mut worst: Option<Charge> = None;
    for rule in &rules.windows {
        let Some(window) = windows.iter_mut().find(|window| window.span() == rule.window) else { continue };
        let charge = share(rule, rules.confidence, score, *window.read(now));
        worst = worse(worst, charge);
    }
    for (kind, length, threshold) in [
        (Kind::Any5xx, row.any_5xx, rules.consecutive.any_5xx),
        (Kind::Gateway, row.gateway, rules.consecutive.gateway),
        (Kind::LocalOrigin, row.local_origin, rules.consecutive.local_origin),
    ] {
        let (Some(threshold), failures) = (threshold, u32::from(length)) else { continue };
        if row.distinct && failures >= threshold.get() {
            let shortest = windows.iter_mut().min_by_key(|window| window.span());
            let charge = Charge {
                rule: Rule::Consecutive { kind, threshold: threshold.get() },
                counts: shortest.map(|window| *window.read(now)).unwrap_or_default(),
                failures,
                requests: failures,
                ratio: 1.0,
                bound: lower_bound(failures, failures, score),
                needed: threshold.get(),
            };
            worst = worse(worst, Some(charge));
        }
    }
    worst
}

/// The one with the higher bound; the first of equals.
fn worse(one: Option<Charge>, other: Option<Charge>) -> Option<Charge> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.bound > one.bound { other } else { one }),
        (one, other) => one.or(other),
    }
}

fn share(rule: &FailureWindow, confidence: f64, score: f64, counts: Counts) -> Option<Charge> {
    let (failures, requests) = (counts.failures(), counts.requests());
    let minimum_requests = rule.minimum_requests.get();
    if failures == 0 || requests < minimum_requests {
        return None;
    }
    let bound = lower_bound(failures, requests, score);
    reaches(bound, rule.threshold).then(|| Charge {
        rule: Rule::Share { threshold: rule.threshold, window: rule.window, minimum_requests, confidence },
        counts,
        failures,
        requests,
        ratio: f64::from(failures) / f64::from(requests),
        bound,
        needed: needed(requests, rule.threshold, score).unwrap_or(failures),
    })
}
