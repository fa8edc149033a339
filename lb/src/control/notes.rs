//! What control decides, put into the journal and counted.

use std::time::SystemTime;

use serde_json::json;
use weir_core::control::discovered::DiscoveryNotice;
use weir_core::control::{Evidence, Notice, Transition};
use weir_core::endpoint::Status;
use weir_core::time::Moment;

use super::{Shared, tell};
use crate::observe::journal::{Kind, Level};

impl Shared {
    pub(super) fn note_transition(&self, transition: &Transition, now: Moment, wall: SystemTime) {
        let Transition { key, zone, from, to, evidence } = transition;
        self.metrics.transition(key, *to, wall);
        if let (Status::Ejected, Evidence::Traffic(ejection)) = (to, evidence) {
            self.metrics.ejected(key.cluster.as_str(), ejection.cause.as_str());
        }
        let level = if matches!(to, Status::Unhealthy | Status::Ejected) { Level::Warn } else { Level::Info };
        let place = zone.as_ref().map(|zone| format!(" in {zone}")).unwrap_or_default();
        let mut fields = json!({
            "cluster": key.cluster.as_str(),
            "endpoint": key.address.to_string(),
            "zone": zone.as_ref().map(|zone| zone.as_str()),
            "from": from.as_str(),
            "to": to.as_str(),
            "evidence": evidence.to_string(),
        });
        if let Some((name, more)) = tell::evidence(evidence, now) {
            fields[name] = more;
        }
        let message = format!("{key}{place} went from {from} to {to}: {evidence}");
        self.journal.record(Kind::EndpointTransition, level, message, fields);
    }

    /// Brings the metrics of canaries in line with what control knows of them.
    pub(super) fn show_canaries(&self) {
        self.metrics.canaries(self.control.borrow().releases());
    }

    pub(super) fn note(&self, notice: &Notice, now: Moment) {
        self.metrics.noticed(notice);
        if let Notice::Discovery(DiscoveryNotice { key, .. }) = notice {
            let control = self.control.borrow();
            control.sources().filter(|view| view.key == key).for_each(|view| self.metrics.stands(&view));
        }
        if let Notice::Release(_) = notice {
            self.show_canaries();
        }
        let (kind, level, fields) = tell::notice(notice, now);
        self.journal.record(kind, level, notice.to_string(), fields);
    }
}
