//! When a route's failed attempts are made again.

use std::num::NonZeroU16;
use std::time::Duration;

use super::{Fields, in_order};
use crate::grammar::{RetryCondition, retry_condition};
use crate::mistake::Mistake;
use crate::model::{Retry, RetryOn};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::{Node, Text, Value};

/// The `retry` of a route whose requests may take `timeout` in all.
pub(super) fn lower(route: &Fields<'_>, timeout: Duration, path: &Path<'_>, report: &mut Report) -> Retry {
    let fields = route.object("retry", &shape::RETRY);
    let attempts = match (route.is_off("retry"), route.integer("retry")) {
        (true, _) => 1,
        (false, Some(attempts)) => attempts,
        (false, None) => fields.number("attempts"),
    };
    let backoff = fields.object("backoff", &shape::BACKOFF);
    in_order(&backoff, ("base", "max"), &path.key("backoff"), report);
    let retry = Retry {
        // The table keeps these numbers within their types.
        attempts: NonZeroU16::new(attempts as u16).unwrap_or(NonZeroU16::MIN),
        on: conditions(&fields),
        per_try_timeout: fields.duration_if("per_try_timeout"),
        backoff_base: backoff.duration("base"),
        backoff_max: backoff.duration("max"),
        body_bytes: fields.number("body_bytes") as u32,
    };
    if !report.has_errors() {
        warn(&retry, &fields, timeout, path, report);
    }
    retry
}

fn conditions(fields: &Fields<'_>) -> RetryOn {
    let Some(_) = fields.get("on") else {
        return Retry::default().on;
    };
    let mut on =
        RetryOn { connect_failure: false, reset: false, timeout: false, statuses: Vec::new(), grpc: Vec::new() };
    for condition in fields.items("on").iter().filter_map(condition) {
        match condition {
            RetryCondition::ConnectFailure => on.connect_failure = true,
            RetryCondition::Reset => on.reset = true,
            RetryCondition::Timeout => on.timeout = true,
            RetryCondition::Statuses(statuses) => on.statuses.extend(statuses),
            RetryCondition::Grpc(code) => on.grpc.push(code),
        }
    }
    on.statuses.sort_unstable();
    on.statuses.dedup();
    on.grpc.sort_unstable();
    on.grpc.dedup();
    on
}

fn condition(node: &Node) -> Option<RetryCondition> {
    match &node.value {
        Value::Integer(status) => retry_condition(&status.to_string()).ok(),
        Value::Text(Text { text, .. }) => retry_condition(text).ok(),
        _ => None,
    }
}

fn warn(retry: &Retry, fields: &Fields<'_>, timeout: Duration, path: &Path<'_>, report: &mut Report) {
    if let Some(per_try) = retry.per_try_timeout
        && let Some(node) = fields.get("per_try_timeout")
        && per_try >= timeout
    {
        let message = format!("an attempt may take {per_try:?}, all of them together {timeout:?}");
        let mistake = Mistake::warning("no_time_to_retry", node.mark(), message);
        let hint = "an attempt that takes too long then leaves no time for another; give it less than `timeout`";
        report.push(mistake.hint(hint), &path.key("per_try_timeout"));
    }
    if retry.attempts.get() > 1 {
        return;
    }
    for name in ["on", "backoff", "body_bytes"] {
        if let Some(node) = fields.get(name) {
            let message = format!("`{name}` has no effect: with 1 attempt nothing is tried again");
            let mistake = Mistake::warning("no_effect", node.mark(), message);
            report.push(mistake.hint("give `attempts` 2 or more, or write `retry: off`"), &path.key(name));
        }
    }
}
