//! What names and files tell of endpoints, and how that was come by.

use std::time::Duration;

use serde_json::{Value, json};
use weir_config::model::Address;
use weir_core::control::discovered::{DiscoveryNotice, News};
use weir_core::discovery::{Step, Trace};

use super::{millis, with};
use crate::observe::journal::Level;

pub(super) fn news(notice: &DiscoveryNotice) -> (Level, Value) {
    let seconds = |time: &Option<Duration>| time.map(|time| time.as_secs_f64());
    let (level, fields) = match &notice.news {
        News::Resolved { endpoints, ttl } => {
            (Level::Info, json!({ "what": "resolved", "endpoints": endpoints, "ttl_seconds": seconds(ttl) }))
        }
        News::Changed { added, gone, endpoints, ttl } => (
            Level::Info,
            json!({
                "what": "changed",
                "added": list(added),
                "gone": list(gone),
                "endpoints": endpoints,
                "ttl_seconds": seconds(ttl),
            }),
        ),
        News::Removed(removed) => (Level::Info, json!({ "what": "removed", "removed": list(removed) })),
        News::Failing { failure, keeps, lasts, next } => (
            Level::Warn,
            json!({
                "what": "failing",
                "failure": failure.kind.as_str(),
                "detail": failure.detail,
                "keeps": keeps,
                "keeps_seconds": seconds(lasts),
                "next_look_seconds": seconds(next),
            }),
        ),
        News::GivenUp { removed, failure, failing } => (
            Level::Error,
            json!({
                "what": "given_up",
                "removed": list(removed),
                "failure": failure.kind.as_str(),
                "detail": failure.detail,
                "failing_seconds": failing.as_secs_f64(),
            }),
        ),
        News::Recovered { failed, endpoints, ttl } => (
            Level::Info,
            json!({
                "what": "recovered",
                "failed_seconds": failed.as_secs_f64(),
                "endpoints": endpoints,
                "ttl_seconds": seconds(ttl),
            }),
        ),
    };
    let whose = json!({
        "cluster": notice.key.cluster.as_str(),
        "source": notice.key.kind.to_string(),
        "trace": trace(&notice.trace),
    });
    (level, with(fields, whose))
}

/// The first of a list: events are kept in memory.
fn list(addresses: &[Address]) -> Vec<String> {
    const SHOWN: usize = 64;
    addresses.iter().take(SHOWN).map(ToString::to_string).collect()
}

/// How an answer was come by.
#[must_use]
pub fn trace(trace: &Trace) -> Value {
    let step = |step: &Step| {
        json!({
            "asked": step.asked,
            "records": step.records,
            "failure": step.failure.map(|failure| failure.as_str()),
        })
    };
    json!({
        "steps": trace.steps.iter().map(step).collect::<Vec<Value>>(),
        "servers": trace.servers.iter().map(ToString::to_string).collect::<Vec<String>>(),
        "took_ms": millis(trace.took),
    })
}
