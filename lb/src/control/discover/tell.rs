//! News of sources in JSON.

use std::time::Duration;

use serde_json::{Value, json};
use weir_config::model::Address;
use weir_core::control::discovered::{DiscoveryNotice, News};
use weir_core::discovery::{Failure, Trace};

use crate::control::tell::millis;
use crate::observe::journal::Level;

/// How much the news matters, and its fields.
#[must_use]
pub fn notice(notice: &DiscoveryNotice) -> (Level, Value) {
    let DiscoveryNotice { key, news, trace: how } = notice;
    let mut fields = json!({
        "cluster": key.cluster.as_str(),
        "source": key.kind.to_string(),
        "state": state(news),
    });
    let more = match news {
        News::Resolved { endpoints, ttl } => json!({ "endpoints": endpoints, "ttl_seconds": seconds(*ttl) }),
        News::Changed { added, gone, endpoints, ttl } => json!({
            "added": addresses(added),
            "gone": addresses(gone),
            "endpoints": endpoints,
            "ttl_seconds": seconds(*ttl),
        }),
        News::Removed(removed) => json!({ "removed": addresses(removed) }),
        News::Failing { failure: why, keeps, lasts, next } => json!({
            "failure": failure(why),
            "endpoints": keeps,
            "kept_for_seconds": seconds(*lasts),
            "next_look_seconds": seconds(*next),
        }),
        News::GivenUp { removed, failure: why, failing } => json!({
            "failure": failure(why),
            "removed": addresses(removed),
            "failing_seconds": failing.as_secs_f64(),
        }),
        News::Recovered { failed, endpoints, ttl } => json!({
            "failing_seconds": failed.as_secs_f64(),
            "endpoints": endpoints,
            "ttl_seconds": seconds(*ttl),
        }),
    };
    if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
        fields.extend(more);
    }
    fields["trace"] = trace(how);
    let level = if matches!(news, News::Failing { .. } | News::GivenUp { .. }) { Level::Warn } else { Level::Info };
    (level, fields)
}

/// How an answer was come by: `{took_ms, servers, steps: [{asked, records, failure}]}`.
#[must_use]
pub fn trace(trace: &Trace) -> Value {
    let steps: Vec<Value> = trace
        .steps
        .iter()
        .map(|step| {
            let failure = step.failure.map(|kind| kind.as_str());
            json!({ "asked": step.asked, "records": step.records, "failure": failure })
        })
        .collect();
    let servers: Vec<String> = trace.servers.iter().map(ToString::to_string).collect();
    json!({ "took_ms": millis(trace.took), "servers": servers, "steps": steps })
}

const fn state(news: &News) -> &'static str {
    match news {
        News::Resolved { .. } => "resolved",
        News::Changed { .. } => "changed",
        News::Removed(_) => "removed",
        News::Failing { .. } => "failing",
        News::GivenUp { .. } => "given_up",
        News::Recovered { .. } => "recovered",
    }
}

fn failure(failure: &Failure) -> Value {
    json!({ "kind": failure.kind.as_str(), "words": failure.kind.words(), "detail": failure.detail })
}

fn seconds(duration: Option<Duration>) -> Option<f64> {
    duration.map(|duration| duration.as_secs_f64())
}

/// The first of a list; events are kept in memory.
fn addresses(list: &[Address]) -> Vec<String> {
    const SHOWN: usize = 64;
    list.iter().take(SHOWN).map(ToString::to_string).collect()
}
