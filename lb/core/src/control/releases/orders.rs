//! What an operator wants of a canary: wait, go on, give it up.

use std::sync::Arc;

use weir_config::model::{ClusterName, ReleaseName};

use super::{Control, Effect, ReleaseChange, notice};
use crate::control::orders::{Done, Refused};
use crate::release::rollout::Plan;

/// What an operator wants of a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseOrder {
    /// Which release.
    pub release: ReleaseName,
    /// Which canary; may be left out if there is one.
    pub canary: Option<ClusterName>,
    /// What.
    pub action: Action,
    /// Who wants it, for the record.
    pub by: Arc<str>,
}

/// What may be wanted of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Keep the weight.
    Pause,
    /// Go on; from the first step, if it was closed.
    Resume,
    /// Give it to nobody.
    Abort,
}

impl Action {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::Pause, Self::Resume, Self::Abort];

    /// The word on the command line and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
        }
    }
}

impl Control {
    pub(in crate::control) fn order_release(
        &mut self,
        order: ReleaseOrder,
        effects: &mut Vec<Effect>,
    ) -> Result<Done, Refused> {
        let ReleaseOrder { release: name, canary, action, by } = order;
        let names = || self.releases.iter().map(|release| release.config.name.as_str()).collect();
        let found = self.releases.iter().position(|release| release.config.name == name);
        let release = found.ok_or_else(|| Refused::unknown("release", name.as_str(), names()))?;
        let release = &mut self.releases[release];
        let canaries = || release.canaries.iter().map(|canary| canary.cluster.as_str()).collect::<Vec<_>>();
        let at = match &canary {
            Some(wanted) => release.canaries.iter().position(|canary| canary.cluster == *wanted),
            None if release.canaries.len() > 1 => return Err(Refused::WhichCanary(canaries().join(", "))),
            None => (!release.canaries.is_empty()).then_some(0),
        };
        let unknown = || Refused::unknown("canary", canary.as_ref().map_or("of it", ClusterName::as_str), canaries());
        let at = at.ok_or_else(unknown)?;
        let (wanted, canary) = (&release.config.canaries[at], &mut release.canaries[at]);
        let (plan, before) = (Plan::of(wanted), canary.state.in_force());
        let paused = canary.state.phase == crate::release::rollout::Phase::Paused;
        let done = match action {
            Action::Pause => canary.state.pause(&plan),
            Action::Resume => canary.state.resume(&plan),
            Action::Abort => canary.state.abort(),
        };
        let transition = done.map_err(|why| Refused::Rollout { canary: wanted.cluster.clone(), why })?;
        // Whoever was only paused goes on with what is known of it.
        if !paused {
            canary.follow(&transition, &release.config.judge);
        }
        let cluster = wanted.cluster.clone();
        let change = ReleaseChange::Rollout { transition: transition.clone(), by: Some(by) };
        effects.push(notice::effect(&name, &cluster, change));
        if canary.state.in_force() != before {
            release.republish();
            self.changed = true;
        }
        self.remember(effects);
        Ok(Done::Release { release: name, canary: cluster, transition })
    }
}
