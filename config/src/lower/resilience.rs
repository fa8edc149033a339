//! What is done when things go wrong: ejection, limits, budgets.

use std::time::Duration;

use super::{Fields, at_least, in_order};
use crate::mistake::Mistake;
use crate::model::{
    Breaker, Consecutive, EjectionAction, EndpointLimits, FailureRate, FailureWindow, Outlier, RetryBudget,
};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::Node;

/// Counts are kept by the second.
const MIN_WINDOW: Duration = Duration::from_secs(1);
/// Each window costs every endpoint memory of its own.
const MAX_WINDOWS: usize = 8;

pub(super) fn outlier(cluster: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Option<Outlier> {
    if cluster.is_off("outlier_detection") {
        return None;
    }
    let (fields, path) = (cluster.object("outlier_detection", &shape::OUTLIER), path.key("outlier_detection"));
    in_order(&fields, ("base_ejection_time", "max_ejection_time"), &path, report);
    let probation = fields.object("probation", &shape::PROBATION);
    let row = |name| (!fields.is_off(name)).then(|| fields.count(name));
    // The table keeps the numbers within their types.
    Some(Outlier {
        consecutive: Consecutive {
            any_5xx: row("consecutive_5xx"),
            gateway: row("consecutive_gateway"),
            local_origin: row("consecutive_local_origin"),
        },
        windows: windows(&fields, &path, report),
        confidence: fields.decimal("confidence"),
        action: match fields.word("action") {
            Some("observe") => EjectionAction::Observe,
            Some("reduce") => EjectionAction::Reduce,
            _ => EjectionAction::Eject,
        },
        max_ejection_percent: fields.number("max_ejection_percent") as u8,
        correlated_percent: fields.number("correlated_percent") as u8,
        base_ejection_time: fields.duration("base_ejection_time"),
        max_ejection_time: fields.duration("max_ejection_time"),
        jitter_percent: fields.number("jitter") as u8,
        probation_requests: probation.count("requests"),
        probation_successes: probation.count("successes"),
    })
}

fn windows(fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Vec<FailureWindow> {
    let name = "failure_percentage";
    let Some(node) = fields.get(name) else {
        return default_windows();
    };
    let (items, path) = (fields.items(name), path.key(name));
    let mut windows: Vec<(&Node, FailureWindow)> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let (path, Some(fields)) = (path.item(at), Fields::of(item, &shape::FAILURE_WINDOW)) else {
            continue;
        };
        at_least(&fields, "window", MIN_WINDOW, &path, report);
        if !is_readable(&fields) {
            continue;
        }
        let window = failure_window(&fields);
        if let Some((first, _)) = windows.iter().find(|(_, other)| *other == window) {
            let mistake = Mistake::error("duplicate_item", item.mark(), "this window is in the list twice");
            report.push(mistake.hint("keep one of them").related(first.mark(), "first given here"), &path);
            continue;
        }
        windows.push((item, window));
    }
    if windows.len() > MAX_WINDOWS {
        let message = format!("there are {} failure windows; at most {MAX_WINDOWS} are kept", windows.len());
        report.push(Mistake::error("too_many_windows", node.mark(), message), &path);
    }
    windows.into_iter().map(|(_, window)| window).collect()
}

/// As the table says it: a test reads both.
fn default_windows() -> Vec<FailureWindow> {
    let window = |threshold, window, minimum| FailureWindow {
        threshold,
        window: Duration::from_secs(window),
        minimum_requests: super::non_zero(minimum),
    };
    vec![window(50.0, 10, 20), window(30.0, 300, 50)]
}

/// Whether every value came out as it was meant.
fn is_readable(fields: &Fields<'_>) -> bool {
    let given = |name| fields.get(name).is_some();
    fields.decimal_if("threshold").is_some()
        && given("window") == fields.duration_if("window").is_some()
        && given("minimum_requests") == fields.integer("minimum_requests").is_some()
}

fn failure_window(fields: &Fields<'_>) -> FailureWindow {
    FailureWindow {
        threshold: fields.decimal("threshold"),
        window: fields.duration("window"),
        minimum_requests: fields.count("minimum_requests"),
    }
}

pub(super) fn breaker(cluster: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Breaker {
    let (fields, path) = (cluster.object("circuit_breaker", &shape::BREAKER), path.key("circuit_breaker"));
    let each = fields.object("per_endpoint", &shape::ENDPOINT_LIMITS);
    Breaker {
        max_connections: fields.limit("max_connections"),
        max_requests: fields.limit("max_requests"),
        // The table keeps the number within its type.
        max_pending_requests: fields.number("max_pending_requests") as u32,
        max_retries: fields.limit("max_retries"),
        queue_timeout: fields.duration("queue_timeout"),
        per_endpoint: EndpointLimits {
            max_connections: each.limit("max_connections"),
            max_requests: each.limit("max_requests"),
        },
        failure_rate: failure_rate(&fields, &path, report),
    }
}

fn failure_rate(breaker: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Option<FailureRate> {
    let fields = breaker.object("failure_rate", &shape::FAILURE_RATE);
    if breaker.is_off("failure_rate") {
        return None;
    }
    let path = path.key("failure_rate");
    at_least(&fields, "window", MIN_WINDOW, &path, report);
    in_order(&fields, ("open", "max_open"), &path, report);
    Some(FailureRate {
        window: failure_window(&fields),
        open: fields.duration("open"),
        max_open: fields.duration("max_open"),
        trials: fields.count("trials"),
        successes: fields.count("successes"),
    })
}

pub(super) fn retry_budget(cluster: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> RetryBudget {
    let (fields, path) = (cluster.object("retry_budget", &shape::RETRY_BUDGET), path.key("retry_budget"));
    at_least(&fields, "window", MIN_WINDOW, &path, report);
    // The table keeps these numbers within their types.
    RetryBudget {
        concurrent_percent: fields.number("concurrent_percent") as u16,
        min_concurrent: fields.number("min_concurrent") as u32,
        percent: fields.number("percent") as u16,
        min_retries: fields.number("min_retries") as u32,
        window: fields.duration("window"),
    }
}
