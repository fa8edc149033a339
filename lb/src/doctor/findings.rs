//! What is wrong with what was seen: pure functions from facts to findings.
//!
//! Each finding says the cause, what shows it, what comes of it, and the command or setting that
//! mends it. What follows from another finding is left out: who reads this at night wants the
//! cause, not its echoes. A healthy host gets no finding at all.

mod endpoints;
mod host;
mod names;
mod ports;
mod sockets;

use std::time::Duration;

use super::facts::Facts;
use super::report::{Finding, Severity};

/// The areas, in the order they are shown where nothing tells them apart.
const AREAS: [&str; 8] = ["ports", "dns", "endpoints", "sockets", "limits", "certificates", "clock", "scheduler"];

/// Everything that is wrong, worst first.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut all = ports::judge(&facts.ports);
    all.extend(names::judge(&facts.names));
    all.extend(sockets::judge(&facts.sockets));
    all.extend(host::judge(facts));
    // What keeps this host from dialling at all, or an endpoint from accepting, is told of once.
    let exhausted = all.iter().any(|one| matches!(&*one.code, "ports_used_up" | "files_used_up"));
    all.extend(endpoints::judge(facts, exhausted));
    all.sort_by_key(|one| (one.severity, AREAS.iter().position(|area| *area == one.area)));
    all
}

/// A finding of one area.
struct Area(&'static str);

/// What a finding says.
struct Says {
    cause: String,
    evidence: String,
    effect: String,
    fix: String,
}

impl Area {
    fn bad(&self, code: &str, says: Says) -> Finding {
        self.finding(Severity::Bad, code, says)
    }

    fn warning(&self, code: &str, says: Says) -> Finding {
        self.finding(Severity::Warning, code, says)
    }

    fn finding(&self, severity: Severity, code: &str, says: Says) -> Finding {
        let Says { cause, evidence, effect, fix } = says;
        Finding { severity, area: self.0.into(), code: code.into(), cause, evidence, effect, fix }
    }
}

/// A time as people say it.
fn shown(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000..60_000_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => match time.as_secs() {
            seconds @ 0..7_200 => format!("{} min", seconds / 60),
            seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
            seconds => format!("{} days", seconds / 86_400),
        },
    }
}

/// The first of a list, and how many more there are.
fn listed<T: std::fmt::Display>(all: &[T]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<String> = all.iter().take(SHOWN).map(ToString::to_string).collect();
    match all.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A share of a whole, in per cent.
const fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 { 0 } else { ((part as u128 * 100) / whole as u128) as u64 }
}

#[cfg(test)]
mod tests;
