//! What a look came to: findings, worst first, and what they were drawn from.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::facts::Facts;
use super::tell;

/// What a look came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// `well`, `warning` or `bad`: that of the worst finding.
    pub verdict: String,
    /// Worst first.
    pub findings: Vec<Finding>,
    /// What was looked at, a line for each area.
    pub looked_at: Vec<String>,
    /// How long that took, in milliseconds.
    pub took_ms: f64,
    /// Everything that was seen.
    pub facts: Value,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: `ports`, `dns`, `endpoints`, `sockets`, `limits`, `clock`, `scheduler` or
    /// `certificates`.
    pub area: String,
    /// Its kind, one word for programs.
    pub code: String,
    /// What is wrong, and why, on one line.
    pub cause: String,
    /// What was seen that shows it.
    pub evidence: String,
    /// What comes of it.
    pub effect: String,
    /// The command or setting that mends it.
    pub fix: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Traffic suffers, or will when the balancer starts.
    Bad,
    /// It works, but not for long, or not well.
    Warning,
}

impl Severity {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warning => "warning",
        }
    }
}

impl Report {
    pub(super) fn new(findings: Vec<Finding>, facts: &Facts, took: Duration) -> Self {
        let worst = findings.iter().map(|finding| finding.severity).min();
        Self {
            verdict: worst.map_or("well", Severity::as_str).to_owned(),
            findings,
            looked_at: tell::summary(facts),
            took_ms: tell::millis(took),
            facts: tell::facts(facts),
        }
    }

    /// How many findings are so bad.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}
