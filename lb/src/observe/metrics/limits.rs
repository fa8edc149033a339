//! Rate limits of listeners and routes.

use std::sync::Arc;

use weir_core::rate::Limiter;
use weir_core::snapshot::Listener;

use super::family::{Family, FamilyText};
use super::table;

pub(super) fn collect(listeners: &[Arc<Listener>], families: &mut Vec<FamilyText>) {
    let mut limited = Family::new(&table::RATE_LIMITED);
    let mut displaced = Family::new(&table::RATE_DISPLACED);
    for listener in listeners {
        let mut add = |route: &str, limiter: &Limiter| {
            let labels = [listener.config.name.as_str(), route];
            limited.count(&labels, limiter.refused());
            displaced.count(&labels, limiter.displaced());
        };
        if let Some(limiter) = &listener.limit {
            add("", limiter);
        }
        for (at, (route, target)) in listener.config.routes.iter().zip(&listener.targets).enumerate() {
            if let Some(limiter) = &target.limit {
                // As in `weir explain`: its name, or its number from 1.
                add(&route.name.as_ref().map_or_else(|| (at + 1).to_string(), ToString::to_string), limiter);
            }
        }
    }
    families.extend([limited, displaced].map(Family::finish));
}
