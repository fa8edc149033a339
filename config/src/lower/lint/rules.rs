//! Rules and limits that can never be reached.

use super::{Lint, key_of};
use crate::mistake::Mistake;
use crate::model::{EjectionAction, FailureWindow, Outlier};
use crate::report::Path;
use crate::shape;
use crate::yaml::{Node, Span};

/// More requests a second than one endpoint is ever given.
const MAX_RATE: f64 = 100_000.0;

const NEVER: &str = "never_fires";

impl Lint<'_> {
    pub(super) fn outlier(&mut self) {
        let Some(outlier) = &self.cluster.outlier else {
            return;
        };
        let top = ["outlier_detection"];
        if outlier.action != EjectionAction::Observe && self.count() == Some(1) {
            let message = "this cluster has one endpoint, and the last that may be used is never ejected";
            return self.say(&top, NEVER, message, "remove it, or write `action: observe` to be told only");
        }
        let row = &outlier.consecutive;
        let rows = [row.any_5xx, row.gateway, row.local_origin];
        if rows.iter().all(Option::is_none) && outlier.windows.is_empty() {
            let message = "all of its rules are off, so nothing is ever ejected";
            return self.say(&top, NEVER, message, "`outlier_detection: off` says so");
        }
        let percent = outlier.max_ejection_percent;
        if let Some(count) = self.count()
            && usize::from(percent) * count < 100
        {
            let message = format!("{percent} % of {count} endpoints is less than one; one may be out all the same");
            let hint = format!("{} is the least that means one of {count}", 100usize.div_ceil(count.max(1)));
            self.say(&["outlier_detection", "max_ejection_percent"], "less_than_one", message, &hint);
        }
        self.rows(outlier);
        self.windows(outlier);
    }

    /// Each kind of failure contains the next: the narrower rule acts only if its row is shorter.
    fn rows(&mut self, outlier: &Outlier) {
        let row = &outlier.consecutive;
        let rows = [
            ("consecutive_5xx", row.any_5xx, "a 5xx or worse"),
            ("consecutive_gateway", row.gateway, "a gateway failure"),
            ("consecutive_local_origin", row.local_origin, ""),
        ];
        for (at, (name, narrow, _)) in rows.iter().enumerate() {
            let wider = rows[..at].iter().find(|(_, wide, _)| wide.zip(*narrow).is_some_and(|(w, n)| w <= n));
            if let Some((wide, row, what)) = wider {
                let row = row.map_or(0, std::num::NonZeroU32::get);
                let message = format!("`{wide}` acts first: each of these is {what}, and {row} of those are enough");
                self.say(&["outlier_detection", name], NEVER, message, "give it a smaller number, or `off`");
            }
        }
    }

    fn windows(&mut self, outlier: &Outlier) {
        let fields = self.fields.object("outlier_detection", &shape::OUTLIER);
        // Without errors there is a window for each item.
        let items = fields.items("failure_percentage");
        if items.len() != outlier.windows.len() {
            return;
        }
        let path = self.path.key("outlier_detection");
        let path = path.key("failure_percentage");
        for (at, (node, window)) in items.iter().zip(&outlier.windows).enumerate() {
            self.window(node, window, &path.item(at));
            if outlier.confidence > 0.0 && window.threshold >= 100.0 {
                let message = "no number of requests makes it sure that 100 % fail, so this is never reached";
                let hint = "give `threshold` up to 99, or `confidence: 0` for the plain ratio";
                self.warn_at(key_of(node, "threshold"), message, hint, &path.item(at).key("threshold"));
            }
            let acts_first = |other: &FailureWindow| {
                other != window
                    && other.window == window.window
                    && other.threshold <= window.threshold
                    && other.minimum_requests <= window.minimum_requests
            };
            if let Some(first) = outlier.windows.iter().position(acts_first) {
                let message = "another window of this length acts whenever this one would";
                let mistake = Mistake::warning(NEVER, node.mark(), message).hint("remove this one");
                self.report.push(mistake.related(items[first].mark(), "this one acts first"), &path.item(at));
            }
        }
    }

    /// What holds for the windows of endpoints and for that of a cluster.
    fn window(&mut self, node: &Node, window: &FailureWindow, path: &Path<'_>) {
        let FailureWindow { threshold, window, minimum_requests } = window;
        if *threshold < 1.0 {
            let message = format!("a threshold of {threshold} is {threshold} per cent");
            let hint = format!("for {} % write {}", threshold * 100.0, threshold * 100.0);
            if let Some(span) = key_of(node, "threshold") {
                let mistake = Mistake::warning("tiny_threshold", span, message).hint(hint);
                self.report.push(mistake, &path.key("threshold"));
            }
        }
        if f64::from(minimum_requests.get()) / window.as_secs_f64() > MAX_RATE {
            let message = format!("{minimum_requests} requests in {window:?} are more than there will be");
            self.warn_at(
                key_of(node, "minimum_requests"),
                &message,
                "lower it, or take a longer `window`",
                &path.key("minimum_requests"),
            );
        }
    }

    fn warn_at(&mut self, span: Option<Span>, message: &str, hint: &str, path: &Path<'_>) {
        if let Some(span) = span {
            self.report.push(Mistake::warning(NEVER, span, message).hint(hint), path);
        }
    }

    pub(super) fn breaker(&mut self) {
        let breaker = &self.cluster.breaker;
        let each = breaker.per_endpoint;
        let limits = [breaker.max_connections, breaker.max_requests, each.max_connections, each.max_requests];
        let top = "circuit_breaker";
        for key in ["max_pending_requests", "queue_timeout"] {
            if limits.iter().all(Option::is_none) {
                let why = "nobody waits, as there is no limit on connections or requests";
                self.no_effect(&[top, key], why, "give `max_requests`, or remove it");
            }
        }
        if breaker.max_pending_requests == 0 {
            self.no_effect(&[top, "queue_timeout"], "nobody waits, as `max_pending_requests` is 0", "remove it");
        }
        if let (Some(count), Some(all), Some(each)) = (self.count(), breaker.max_connections, each.max_connections)
            && u64::from(all.get()) > u64::from(each.get()) * count as u64
        {
            let message = format!("`max_connections` is never reached: each of {count} endpoints takes {each}");
            self.say(&[top, "max_connections"], NEVER, message, "lower it, or raise that of `per_endpoint`");
        }
        if let Some(rate) = &breaker.failure_rate
            && let Some(node) = self.fields.object(top, &shape::BREAKER).get("failure_rate")
        {
            let path = self.path.key(top);
            self.window(node, &rate.window, &path.key("failure_rate"));
        }
    }
}
