//! How state is written down: JSON, with a version, read strictly.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_config::model::{ClusterName, ReleaseName, Share};
use weir_core::release::judge;
use weir_core::release::judge::evidence::{Evidence, ODDS, Stretch};
use weir_core::release::rollout::{Kept, Phase, State, Wish};

/// Of the form below.
const VERSION: u32 = 1;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    version: u32,
    canaries: Vec<Canary>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Canary {
    release: String,
    canary: String,
    /// Fingerprints of what the operator wrote, hexadecimal.
    users: String,
    pace: String,
    step: usize,
    held_ms: u64,
    phase: String,
    why: Option<String>,
    keeps: bool,
    /// In hundredths of a per cent.
    weight: u16,
    errors: Wagers<1>,
    latency: Wagers<3>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Wagers<const N: usize> {
    best: f64,
    stretches: Vec<Wager>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Wager {
    number: u32,
    logs: Vec<[f64; ODDS.len()]>,
}

/// As text.
pub(super) fn text(states: &[Kept]) -> String {
    let whole = Whole { version: VERSION, canaries: states.iter().map(Canary::of).collect() };
    // Strings and numbers always have a form; those that are not finite are null, and refused later.
    serde_json::to_string_pretty(&whole).unwrap_or_default() + "\n"
}

/// From text.
///
/// # Errors
/// Why it cannot be understood.
pub(super) fn parse(text: &str) -> Result<Vec<Kept>, String> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let versioned: Versioned = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if versioned.version != VERSION {
        return Err(format!("its version is {}, and {VERSION} is known here", versioned.version));
    }
    let whole: Whole = serde_json::from_str(text).map_err(|error| error.to_string())?;
    whole.canaries.into_iter().map(Canary::meant).collect()
}

impl Canary {
    fn of(kept: &Kept) -> Self {
        let Kept { release, canary, state, evidence } = kept;
        let (why, keeps) = match &state.phase {
            Phase::Failed { why, keeps } => (Some(why.clone()), *keeps),
            _ => (None, false),
        };
        Self {
            release: release.as_str().to_owned(),
            canary: canary.as_str().to_owned(),
            users: format!("{:016x}", state.wish.users),
            pace: format!("{:016x}", state.wish.pace),
            step: state.step,
            held_ms: u64::try_from(state.held_for.as_millis()).unwrap_or(u64::MAX),
            phase: state.phase.as_str().to_owned(),
            why,
            keeps,
            weight: state.weight.buckets(),
            errors: Wagers::of(&evidence.errors),
            latency: Wagers::of(&evidence.latency),
        }
    }

    fn meant(self) -> Result<Kept, String> {
        let print = |text: &str| u64::from_str_radix(text, 16).map_err(|_| format!("{text:?} is no fingerprint"));
        let state = State {
            wish: Wish { users: print(&self.users)?, pace: print(&self.pace)? },
            step: self.step,
            held_for: Duration::from_millis(self.held_ms),
            weight: Share::of_buckets(self.weight).ok_or_else(|| format!("{} is no weight", self.weight))?,
            phase: match (self.phase.as_str(), self.why) {
                ("advancing", _) => Phase::Advancing,
                ("paused", _) => Phase::Paused,
                ("failed", why) => Phase::Failed { why: why.unwrap_or_default(), keeps: self.keeps },
                ("aborted", _) => Phase::Aborted,
                ("complete", _) => Phase::Complete,
                (other, _) => return Err(format!("{other:?} is no phase")),
            },
        };
        Ok(Kept {
            release: ReleaseName::new(&self.release).map_err(|error| error.to_string())?,
            canary: ClusterName::new(&self.canary).map_err(|error| error.to_string())?,
            state,
            evidence: judge::Kept { errors: self.errors.meant()?, latency: self.latency.meant()? },
        })
    }
}

impl<const N: usize> Wagers<N> {
    fn of(evidence: &Evidence<N>) -> Self {
        let wager = |stretch: &Stretch<N>| Wager { number: stretch.number, logs: stretch.logs.to_vec() };
        Self { best: evidence.best, stretches: evidence.stretches.iter().map(wager).collect() }
    }

    fn meant(self) -> Result<Evidence<N>, String> {
        let stretch = |Wager { number, logs }| {
            let logs = logs.try_into().map_err(|logs: Vec<_>| format!("{} wagers where {N} belong", logs.len()))?;
            Ok(Stretch { number, logs })
        };
        let stretches = self.stretches.into_iter().map(stretch).collect::<Result<_, String>>()?;
        Ok(Evidence::kept(stretches, self.best))
    }
}
