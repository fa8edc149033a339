//! Other weights for a release, looked at and not taken: who would move, and what to write or type to
//! make it so.
//!
//! The configuration in force is changed as `weir release set` would change the file, and compared as
//! `weir diff` compares. Nothing is written.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use weir_config::Mistakes;
use weir_config::edit::unified;
use weir_config::model::{ReleaseName, Share};

use super::moves::{Moved, Traffic};
use super::query::{Query, Wrong};
use super::status::{self, Clock, Status};
use super::{buckets, releases};
use crate::control::Handle;
use crate::control::source::Source;

/// Previews worked out at once: a file with a million users takes its time, and its thread.
const AT_ONCE: usize = 1;
/// Canaries that can be given a weight in one preview.
const WEIGHTS_MAX: usize = 16;

/// Where previews are worked out, one after the other.
pub(super) struct Desk(Arc<Semaphore>);

impl Default for Desk {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// All that is needed to work one out elsewhere.
struct Task {
    source: Source,
    text: Arc<str>,
    release: String,
    weights: Vec<(String, Share)>,
    traffic: Option<Traffic>,
    status: Status,
}

impl Desk {
    /// `GET /api/v1/releases/NAME:preview?weights=CLUSTER=PERCENT[,…]`. `None`: there is no such release.
    pub(super) async fn answer(
        &self,
        release: &str,
        query: &Query,
        (handle, instance, clock): (&Handle, &str, Clock),
    ) -> Option<Result<Value, Wrong>> {
        let traffic = traffic(handle, release, clock)?;
        let weights = match weights(query) {
            Ok(weights) => weights,
            Err(wrong) => return Some(Err(wrong)),
        };
        let task = Task {
            source: handle.source().clone(),
            text: handle.in_force().text,
            release: release.to_owned(),
            weights,
            traffic,
            status: status::of(handle, instance, clock),
        };
        let failed = |why: String| Wrong {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            parameter: None,
            detail: why,
            remedy: "try again".into(),
        };
        let Ok(permit) = Arc::clone(&self.0).acquire_owned().await else {
            return Some(Err(failed("no more previews are worked out".into())));
        };
        let worked_out = tokio::task::spawn_blocking(move || {
            // Held to the end, also when nobody waits for it any more.
            let _permit = permit;
            task.work_out()
        });
        Some(worked_out.await.unwrap_or_else(|error| Err(failed(error.to_string()))))
    }
}

/// What is known of its requests; `None` if there is no such release.
fn traffic(handle: &Handle, release: &str, clock: Clock) -> Option<Option<Traffic>> {
    let value = releases::one(ReleaseName::new(release).ok()?.as_str(), handle)?;
    let rates = value["versions"].as_array()?.iter().filter_map(|version| version["requests_per_second"].as_f64());
    let rates: Vec<f64> = rates.collect();
    let counts = buckets::of(handle, release, clock)?;
    let requests = counts["requests"].as_array()?.iter().filter_map(Value::as_u64).collect();
    // Before the first minute is over, nothing is known.
    Some((!rates.is_empty()).then(|| Traffic { per_second: rates.iter().sum(), requests }))
}

fn weights(query: &Query) -> Result<Vec<(String, Share)>, Wrong> {
    const REMEDY: &str = "write weights=CLUSTER=PERCENT, several with commas, as in weights=orders-v2=20";
    query.only(&["weights"])?;
    let list = query.get("weights").unwrap_or_default();
    let one = |text: &str| {
        let (cluster, percent) = text.split_once('=')?;
        let share = percent.trim().parse::<f64>().ok().and_then(Share::of_percent)?;
        Some((cluster.trim().to_owned(), share))
    };
    let weights: Option<Vec<_>> = list.split(',').map(one).collect();
    match weights {
        Some(weights) if weights.len() <= WEIGHTS_MAX => Ok(weights),
        Some(_) => Err(Wrong::new("weights", format!("more than {WEIGHTS_MAX} weights at once"), REMEDY)),
        None => Err(Wrong::new("weights", format!("{list:?} is no list of weights from 0 to 100"), REMEDY)),
    }
}

impl Task {
    fn work_out(self) -> Result<Value, Wrong> {
        let Self { source, text, release, weights, traffic, status } = self;
        let named: Vec<(&str, Share)> = weights.iter().map(|(name, share)| (name.as_str(), *share)).collect();
        let new = source.set_weights(&text, &release, &named).map_err(|mistakes| refused(&mistakes))?;
        let old = source.understand(&text).map_err(|mistakes| refused(&mistakes))?.config;
        let parsed = source.understand(&new).map_err(|mistakes| refused(&mistakes))?;
        let of =
            |config: &weir_config::Config| config.releases.iter().find(|one| one.name.as_str() == release).cloned();
        let moved = match (of(&old), of(&parsed.config)) {
            (Some(old), Some(new)) => Some(Moved::of(&old, &new, traffic.as_ref(), Some(&status))),
            _ => None,
        };
        let changes = weir_config::diff(&old, &parsed.config);
        let mut value = changes.to_json();
        value["release"] = release.clone().into();
        value["weights"] = weights
            .iter()
            .map(|(name, share)| (name.clone(), share.percent().into()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        value["text"] = changes.to_string().into();
        value["moves"] = moved.map(|moved| moved.to_json()).unwrap_or_default().into();
        value["patch"] = unified(&source.shown(), &text, &new, &|_, line| line.to_owned()).into();
        let wishes: Vec<String> = weights.iter().map(|(name, share)| format!("{name}={}", share.percent())).collect();
        value["command"] = format!("weir release set {release} {}", wishes.join(" ")).into();
        value["warnings"] = parsed.warnings.to_json()["mistakes"].clone();
        value["applied"] = json!(false);
        Ok(value)
    }
}

fn refused(mistakes: &Mistakes) -> Wrong {
    let first = mistakes.iter().next();
    Wrong {
        status: StatusCode::UNPROCESSABLE_ENTITY,
        parameter: Some("weights"),
        detail: first.map(|mistake| mistake.message.clone()).unwrap_or_default(),
        remedy: first.and_then(|mistake| mistake.hint.clone()).unwrap_or_else(|| "try other weights".into()),
    }
}
