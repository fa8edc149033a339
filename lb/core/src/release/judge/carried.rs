//! What was counted at a canary's step, from one process to the next: numbers by name.
//!
//! Evidence goes by [`super::Kept`]; these are the counts beside it. Without them a step would begin to
//! count anew, and a rollout be late by as much as it takes to see enough requests again.

use std::time::Duration;

use super::{Arm, Judge, Latencies, Totals};
use crate::carry::Row;

impl Judge {
    /// What was counted at this step.
    #[must_use]
    pub fn counted(&self) -> Row {
        let Totals { lasted, canary, stable, forgiven } = self.previous.and(&self.current);
        let mut before = self.before.clone();
        before.add(&self.current.stable.latency);
        let mut row = Row::default();
        row.set("nanos", u64::try_from(lasted.as_nanos()).unwrap_or(u64::MAX));
        row.set("forgiven", forgiven);
        note(&mut row, "before", &before);
        for (name, arm) in [("canary", &canary), ("stable", &stable)] {
            row.set(format_args!("{name}.requests"), arm.requests);
            row.set(format_args!("{name}.errors"), arm.errors);
            note(&mut row, name, &arm.latency);
        }
        row
    }

    /// Goes on with what another process counted at this step.
    pub fn count_on(&mut self, row: &Row) {
        let arm = |name: &str| Arm {
            requests: row.get(&format!("{name}.requests")),
            errors: row.get(&format!("{name}.errors")),
            latency: noted(row, name),
        };
        self.before = noted(row, "before");
        self.previous = Totals {
            lasted: Duration::from_nanos(row.get("nanos")),
            canary: arm("canary"),
            stable: arm("stable"),
            forgiven: row.get("forgiven"),
        };
    }
}

fn note(row: &mut Row, name: &str, latencies: &Latencies) {
    for (at, count) in latencies.counts().iter().enumerate() {
        row.set(format_args!("{name}.{at}"), *count);
    }
}

fn noted(row: &Row, name: &str) -> Latencies {
    let mut latencies = Latencies::default();
    for (at, count) in latencies.counts_mut().iter_mut().enumerate() {
        *count = row.get(&format!("{name}.{at}"));
    }
    latencies
}

#[cfg(test)]
mod tests {
    use weir_config::model::JudgeRules;

    use super::super::Period;
    use super::*;

    #[test]
    fn a_step_is_judged_by_all_that_was_counted_at_it() {
        let rules = JudgeRules { min_requests: 200, confidence: 95.0, error_margin: 1.0, latency_margin: 25.0 };
        let arm = |requests: u64| {
            let mut latency = Latencies::default();
            (0..requests).for_each(|at| latency.observe(Duration::from_micros(900 + at * 7)));
            Arm { requests, errors: requests / 100, latency }
        };
        let period = Period { lasted: Duration::from_secs(10), canary: arm(300), stable: arm(310), users: Vec::new() };
        let (mut alone, mut first) = (Judge::default(), Judge::default());
        (0..3).for_each(|_| alone.take(&rules, &period));
        (0..2).for_each(|_| first.take(&rules, &period));
        let mut second = Judge::restored(first.kept());
        second.count_on(&first.counted());
        let (one, other) = (second.verdict(&rules), first.verdict(&rules));
        assert_eq!((&one.canary, &one.stable, one.kind), (&other.canary, &other.stable, other.kind));
        second.take(&rules, &period);
        let (one, other) = (second.verdict(&rules), alone.verdict(&rules));
        assert_eq!((&one.canary, &one.stable, one.kind), (&other.canary, &other.stable, other.kind));
        assert_eq!(second.counted(), alone.counted());
    }
}
