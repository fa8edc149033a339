//! Clusters as a whole: retries, limits, breakers.

use std::sync::Arc;

use weir_core::availability::WHOLE;
use weir_core::load::{ClusterLoad, Count};
use weir_core::retry::Denied;
use weir_core::snapshot::Cluster;

use super::family::{Family, FamilyText};
use super::snapshot::settled;
use super::table::{self, Metric};

pub(super) fn collect(clusters: &[Arc<Cluster>], families: &mut Vec<FamilyText>) {
    type Pick = fn(&ClusterLoad) -> &Count;
    let counts: [(Metric, Pick); 5] = [
        (table::CLUSTER_REQUESTS, |load| &load.requests),
        (table::CLUSTER_IN_FLIGHT, |load| &load.in_flight),
        (table::RETRIES, |load| &load.retries),
        (table::RETRIES_SAVED, |load| &load.saved),
        (table::PANICKED, |load| &load.panicked),
    ];
    for (metric, count) in counts {
        let mut family = Family::new(&metric);
        for cluster in clusters {
            family.count(&[cluster.config.name.as_str()], settled(cluster.load.sum(count)));
        }
        families.push(family.finish());
    }
    let mut latency = Family::new(&table::CLUSTER_LATENCY);
    let mut denied = Family::new(&table::RETRIES_DENIED);
    for cluster in clusters {
        let name = cluster.config.name.as_str();
        latency.histogram(&[name], cluster.load.iter().map(|load| &load.latency));
        for (at, why) in Denied::ALL.into_iter().enumerate() {
            denied.count(&[name, why.as_str()], cluster.load.sum(|load| &load.denied[at]));
        }
    }
    families.extend([latency, denied].map(Family::finish));
    limits(clusters, families);
    levels(clusters, families);
}

fn levels(clusters: &[Arc<Cluster>], families: &mut Vec<FamilyText>) {
    let mut panic = Family::new(&table::PANIC);
    let mut load = Family::new(&table::LEVEL_LOAD);
    let mut share = Family::new(&table::ZONE_SHARE);
    let mut local = Family::new(&table::ZONE_LOCAL);
    for cluster in clusters {
        let name = cluster.config.name.as_str();
        panic.count(&[name], cluster.available.panic.is_some().into());
        for level in &cluster.available.levels {
            let priority = level.priority.to_string();
            load.add(&[name, &priority], f64::from(level.load.percent) / 100.0);
            local.count(&[name, &priority, level.zones.state.as_str()], 1);
            for row in &level.zones.rows {
                let zone = row.zone.as_ref().map_or("", |zone| zone.as_str());
                share.add(&[name, &priority, zone], f64::from(row.share) / f64::from(WHOLE));
            }
        }
    }
    families.extend([panic, load, share, local].map(Family::finish));
}

fn limits(clusters: &[Arc<Cluster>], families: &mut Vec<FamilyText>) {
    let mut most = Family::new(&table::LIMIT);
    let mut used = Family::new(&table::LIMIT_USED);
    let mut remaining = Family::new(&table::LIMIT_REMAINING);
    let mut refused = Family::new(&table::LIMIT_REFUSED);
    let mut waiting = Family::new(&table::WAITING);
    let mut breaker = Family::new(&table::BREAKER);
    for cluster in clusters {
        let (name, live) = (cluster.config.name.as_str(), &cluster.live);
        for (limit, budget) in
            [("requests", &live.requests), ("connections", &live.connections), ("retries", &live.retries)]
        {
            // Without a limit nothing is counted: a 0 would be a lie.
            let Some(limited) = budget.most() else { continue };
            let labels = [name, limit];
            most.count(&labels, limited.into());
            used.count(&labels, budget.used().into());
            remaining.count(&labels, limited.saturating_sub(budget.used()).into());
            refused.count(&labels, budget.refused());
        }
        waiting.count(&[name], live.waiting().into());
        for state in ["closed", "open", "half_open"] {
            breaker.count(&[name, state], u64::from(cluster.breaker.as_str() == state));
        }
    }
    families.extend([most, used, remaining, refused, waiting, breaker].map(Family::finish));
}
