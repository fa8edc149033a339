//! Probes and their outcomes in JSON: the same form in events and in the status.

use serde_json::{Value, json};
use weir_config::model::{CheckKind, HealthCheck};
use weir_core::control::Evidence;
use weir_core::health::{ProbeOutcome, ProbeResult};

/// The evidence of a transition, as far as it is more than words; null where it is not.
#[must_use]
pub fn evidence(evidence: &Evidence) -> Value {
    match evidence {
        Evidence::Probe { check, asked, result, streak, threshold, took } => {
            let mut value = outcome(&ProbeOutcome { result: *result, took: *took });
            value["check"] = (*check).into();
            value["asked"] = asked.kind.to_string().into();
            value["streak"] = (*streak).into();
            value["threshold"] = (*threshold).into();
            value
        }
        _ => Value::Null,
    }
}

/// How a probe ended: `{result, layer, status, took_ms, words}`.
#[must_use]
pub fn outcome(outcome: &ProbeOutcome) -> Value {
    use weir_core::health::ProbeFailure;
    let (layer, status) = match outcome.result {
        ProbeResult::Failed(failure @ ProbeFailure::Status(status)) => (Some(failure.layer()), Some(status)),
        ProbeResult::Failed(failure) => (Some(failure.layer()), None),
        ProbeResult::Passed | ProbeResult::Inconclusive(_) => (None, None),
    };
    json!({
        "result": outcome.result.as_str(),
        "layer": layer,
        "status": status,
        "took_ms": millis(outcome.took),
        "words": outcome.result.to_string(),
    })
}

/// What a check asks, in a few words: `GET /healthz` or `tcp`, and the port if it is another.
#[must_use]
pub fn check(check: &HealthCheck) -> String {
    let port = check.port.map(|port| format!(" on port {port}")).unwrap_or_default();
    match &check.kind {
        CheckKind::Tcp => format!("tcp{port}"),
        CheckKind::Http(http) => format!("{} {}{port}", http.method, http.path),
    }
}

/// Milliseconds, to the microsecond.
#[must_use]
pub fn millis(duration: std::time::Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_core::health::{Inconclusive, ProbeFailure};

    use super::*;

    #[test]
    fn outcomes_keep_their_parts() {
        let tell = |result| outcome(&ProbeOutcome { result, took: Duration::from_micros(1500) });
        let failed = tell(ProbeResult::Failed(ProbeFailure::Status(503)));
        assert_eq!(
            (&failed["result"], &failed["layer"], &failed["status"]),
            (&"status".into(), &"l7".into(), &503.into())
        );
        assert_eq!(failed["took_ms"], 1.5);
        assert_eq!(tell(ProbeResult::Passed)["layer"], Value::Null);
        assert_eq!(tell(ProbeResult::Inconclusive(Inconclusive::Late))["result"], "late");
    }
}
