//! From this process to the next, and from the one before to this.
//!
//! The order of things: the next one is started and given sockets and knowledge. As soon as it knows its
//! endpoints it says so; this one then rests (its admin address waits, it does nothing about rollouts and
//! keeps nothing) and says the last it knows; the next one accepts; only then does this one stop
//! accepting. At no moment is nobody there, at none do both act, and whatever goes wrong before leaves
//! this one as it was. What it counts while it finishes what it has it tells until its end.

mod elder;
mod heir;

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_core::control::Last;

use crate::control::state;
pub(super) use elder::{Elder, Inheritance};
pub(super) use heir::{AskLent, Bequest, Succession};

/// An elder that was asked for its last words has so long to say them.
const LAST_MAX: Duration = Duration::from_secs(10);

/// What is known, on its way from one process to the next. Each is text of its own form and version.
#[derive(Debug, Deserialize, Serialize)]
struct Known {
    seen: String,
    rollouts: String,
    /// `None`: of a version that knows nothing of counts, and says no last words.
    #[serde(default)]
    counts: Option<String>,
}

impl Known {
    fn text(last: &Last) -> io::Result<String> {
        let counts = state::counts::text(&last.totals);
        let known = Self {
            seen: state::memory::text(&last.memory),
            rollouts: state::rollouts_text(&last.rollouts),
            counts: Some(counts.unwrap_or_default()),
        };
        serde_json::to_string(&known).map_err(io::Error::other)
    }

    fn last(text: &str) -> Result<Last, String> {
        let Self { seen, rollouts, counts } = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(Last {
            memory: state::memory::parse(&seen)?,
            rollouts: state::rollouts(&rollouts)?,
            // Said of what came first, if it cannot be understood.
            totals: counts.and_then(|counts| state::counts::parse(&counts).ok()).unwrap_or_default(),
        })
    }
}
