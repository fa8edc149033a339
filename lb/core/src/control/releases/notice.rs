//! What people hear of canaries.

use std::fmt;
use std::sync::Arc;

use weir_config::model::{ClusterName, ReleaseName};
use weir_config::words;

use super::{Effect, Notice};
use crate::release::judge::{Kind, Verdict};
use crate::release::rollout::{State, Transition};

/// News of a canary.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseNotice {
    /// Its release.
    pub release: ReleaseName,
    /// Its cluster.
    pub canary: ClusterName,
    /// What is new.
    pub change: ReleaseChange,
}

/// What is new of a canary.
#[derive(Clone, Debug, PartialEq)]
pub enum ReleaseChange {
    /// The judge says something else.
    Verdict {
        /// What it said.
        before: Kind,
        /// What it says.
        verdict: Arc<Verdict>,
    },
    /// Its rollout took a turn.
    Rollout {
        /// Which.
        transition: Transition,
        /// Who ordered it; `None`: nobody.
        by: Option<Arc<str>>,
    },
    /// It stands where an earlier process left it.
    Restored(State),
}

impl fmt::Display for ReleaseNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "canary {} of release {} ", self.canary, self.release)?;
        match &self.change {
            ReleaseChange::Verdict { before, verdict } => {
                write!(f, "is judged {} (was {}): {}", verdict.kind.words(), before.words(), verdict.why)?;
                let Some(expected) = verdict.expected else { return Ok(()) };
                write!(f, "; decided in about {}", words::shown(expected))
            }
            ReleaseChange::Rollout { transition, by } => {
                transition.fmt(f)?;
                by.as_ref().map_or(Ok(()), |by| write!(f, " (by {by})"))
            }
            ReleaseChange::Restored(state) => {
                write!(f, "stands where it stood: {}", state.phase.as_str())?;
                match state.in_force() {
                    Some(weight) => write!(f, " at {weight} %, for {}", words::shown(state.held_for)),
                    None => f.write_str(", it gets nothing"),
                }
            }
        }
    }
}

pub(super) fn effect(release: &ReleaseName, canary: &ClusterName, change: ReleaseChange) -> Effect {
    let (release, canary) = (release.clone(), canary.clone());
    Effect::Notice(Notice::Release(ReleaseNotice { release, canary, change }))
}
