//! What is done when things go wrong: retries, limits, ejection.

use super::{Group, Notes, show};
use crate::grammar::grpc_word;
use crate::model::{
    Breaker, Consecutive, EjectionAction, EndpointLimits, FailureRate, FailureWindow, Outlier, Retry, RetryBudget,
    RetryOn,
};

pub(super) fn retry(old: &Retry, new: &Retry, notes: &mut Notes) {
    let Retry { attempts, on, per_try_timeout, backoff_base, backoff_max, body_bytes } = new;
    let mut group = Group::new("retry", notes);
    group.field("attempts", &old.attempts, attempts, show::plain);
    group.field("on", &old.on, on, retry_on);
    group.field("per_try_timeout", &old.per_try_timeout, per_try_timeout, show::duration_or("learned"));
    group.field("backoff base", &old.backoff_base, backoff_base, show::duration);
    group.field("backoff max", &old.backoff_max, backoff_max, show::duration);
    group.field("body_bytes", &old.body_bytes, body_bytes, |n| show::size(*n));
}

fn retry_on(on: &RetryOn) -> String {
    let RetryOn { connect_failure, reset, timeout, statuses, grpc } = on;
    let words = [(*connect_failure, "connect-failure"), (*reset, "reset-before-response"), (*timeout, "timeout")];
    let words = words.into_iter().filter(|(on, _)| *on).map(|(_, word)| word.to_owned());
    // Statuses that follow each other are one range.
    let ranges = statuses.chunk_by(|a, b| a + 1 == *b).filter_map(|chunk| match (chunk.first()?, chunk.last()?) {
        (first, last) if first == last => Some(first.to_string()),
        (first, last) => Some(format!("{first}-{last}")),
    });
    let calls = grpc.iter().filter_map(|code| grpc_word(*code)).map(str::to_owned);
    words.chain(ranges).chain(calls).collect::<Vec<_>>().join(", ")
}

pub(super) fn retry_budget(old: RetryBudget, new: RetryBudget, notes: &mut Notes) {
    let RetryBudget { concurrent_percent, min_concurrent, percent, min_retries, window } = new;
    let mut group = Group::new("retry_budget", notes);
    group.field("concurrent_percent", &old.concurrent_percent, &concurrent_percent, show::plain);
    group.field("min_concurrent", &old.min_concurrent, &min_concurrent, show::plain);
    group.field("percent", &old.percent, &percent, show::plain);
    group.field("min_retries", &old.min_retries, &min_retries, show::plain);
    group.field("window", &old.window, &window, show::duration);
}

pub(super) fn outlier(old: Option<&Outlier>, new: Option<&Outlier>, notes: &mut Notes) {
    let mut group = Group::new("outlier_detection", notes);
    let (Some(old), Some(new)) = (old, new) else {
        return group.whole(&old, &new, |outlier| outlier.map(rules));
    };
    let Outlier {
        consecutive: Consecutive { any_5xx, gateway, local_origin },
        windows,
        confidence,
        action,
        max_ejection_percent,
        correlated_percent,
        base_ejection_time,
        max_ejection_time,
        jitter_percent,
        probation_requests,
        probation_successes,
    } = new;
    group.field("consecutive_5xx", &old.consecutive.any_5xx, any_5xx, show::or("off"));
    group.field("consecutive_gateway", &old.consecutive.gateway, gateway, show::or("off"));
    group.field("consecutive_local_origin", &old.consecutive.local_origin, local_origin, show::or("off"));
    group.field("failure_percentage", &old.windows, windows, |windows| self::windows(windows));
    group.field("confidence", &old.confidence, confidence, show::plain);
    group.field("action", &old.action, action, |action| self::action(*action).to_owned());
    group.field("max_ejection_percent", &old.max_ejection_percent, max_ejection_percent, show::plain);
    group.field("correlated_percent", &old.correlated_percent, correlated_percent, show::plain);
    group.field("base_ejection_time", &old.base_ejection_time, base_ejection_time, show::duration);
    group.field("max_ejection_time", &old.max_ejection_time, max_ejection_time, show::duration);
    group.field("jitter", &old.jitter_percent, jitter_percent, show::plain);
    group.field("probation requests", &old.probation_requests, probation_requests, show::plain);
    group.field("probation successes", &old.probation_successes, probation_successes, show::plain);
}

/// What is switched on with it, so that nobody is surprised.
fn rules(outlier: &Outlier) -> String {
    let Consecutive { any_5xx, gateway, local_origin } = outlier.consecutive;
    let rows = [(any_5xx, "5xx"), (gateway, "gateway failures"), (local_origin, "local-origin failures")];
    let rows = rows.into_iter().filter_map(|(row, what)| row.map(|row| format!("{row} {what} in a row")));
    let windows = outlier.windows.iter().map(window);
    let rules: Vec<_> = rows.chain(windows).collect();
    format!("{} ({})", action(outlier.action), if rules.is_empty() { "no rule".to_owned() } else { rules.join(", ") })
}

fn windows(windows: &[FailureWindow]) -> String {
    if windows.is_empty() {
        return "off".to_owned();
    }
    windows.iter().map(window).collect::<Vec<_>>().join(", ")
}

fn window(FailureWindow { threshold, window, minimum_requests }: &FailureWindow) -> String {
    format!("{threshold} % of {minimum_requests} in {}", show::duration(window))
}

const fn action(action: EjectionAction) -> &'static str {
    match action {
        EjectionAction::Observe => "observe",
        EjectionAction::Reduce => "reduce",
        EjectionAction::Eject => "eject",
    }
}

pub(super) fn breaker(old: &Breaker, new: &Breaker, notes: &mut Notes) {
    let Breaker {
        max_connections,
        max_requests,
        max_pending_requests,
        max_retries,
        queue_timeout,
        per_endpoint,
        failure_rate,
    } = new;
    let mut group = Group::new("circuit_breaker", notes);
    group.field("max_connections", &old.max_connections, max_connections, show::or("none"));
    group.field("max_requests", &old.max_requests, max_requests, show::or("none"));
    group.field("max_pending_requests", &old.max_pending_requests, max_pending_requests, show::plain);
    group.field("max_retries", &old.max_retries, max_retries, show::or("none"));
    group.field("queue_timeout", &old.queue_timeout, queue_timeout, show::duration);
    let EndpointLimits { max_connections, max_requests } = per_endpoint;
    let before = &old.per_endpoint;
    group.field("per_endpoint max_connections", &before.max_connections, max_connections, show::or("none"));
    group.field("per_endpoint max_requests", &before.max_requests, max_requests, show::or("none"));
    self::failure_rate(old.failure_rate.as_ref(), failure_rate.as_ref(), notes);
}

fn failure_rate(old: Option<&FailureRate>, new: Option<&FailureRate>, notes: &mut Notes) {
    let mut group = Group::new("circuit_breaker failure_rate", notes);
    let (Some(old), Some(new)) = (old, new) else {
        return group.whole(&old, &new, |rate| rate.map(|rate| window(&rate.window)));
    };
    let FailureRate {
        window: FailureWindow { threshold, window, minimum_requests },
        open,
        max_open,
        trials,
        successes,
    } = new;
    group.field("threshold", &old.window.threshold, threshold, show::plain);
    group.field("window", &old.window.window, window, show::duration);
    group.field("minimum_requests", &old.window.minimum_requests, minimum_requests, show::plain);
    group.field("open", &old.open, open, show::duration);
    group.field("max_open", &old.max_open, max_open, show::duration);
    group.field("trials", &old.trials, trials, show::plain);
    group.field("successes", &old.successes, successes, show::plain);
}
