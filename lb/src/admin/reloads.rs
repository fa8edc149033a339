//! `GET /api/v1/reloads`: the newest attempts to load the configuration.

use serde_json::{Value, json};

use crate::control::{Attempt, Handle, RELOADS_KEPT};
use crate::observe::journal::{rfc3339, timestamp};

/// All that are kept, the newest first.
pub(super) fn of(handle: &Handle) -> Value {
    let one = |attempt: &Attempt| {
        json!({
            "at": rfc3339(timestamp(attempt.at)),
            "trigger": attempt.trigger.as_str(),
            "result": attempt.result,
            "generation": attempt.generation,
            "message": attempt.message,
            "text": attempt.text,
            "warnings_text": attempt.warnings,
        })
    };
    let list: Vec<Value> = handle.attempts().iter().map(one).collect();
    json!({ "reloads": list, "kept": RELOADS_KEPT })
}
