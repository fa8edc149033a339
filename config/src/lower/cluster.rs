//! Clusters, and references to them.

use std::sync::Arc;

use super::reference::References;
use super::{Fields, Names, balancing, dial, endpoints, health, lint, protocols, resilience, tls};
use crate::files::Files;
use crate::mistake::Mistake;
use crate::model::{Cluster, ClusterName, ZoneName};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::Node;

/// The clusters of a file: those that came out well, and the names of all.
pub(super) struct Clusters<'a> {
    good: Vec<Cluster>,
    names: References<'a>,
}

impl Clusters<'_> {
    pub(super) fn into_clusters(self) -> Vec<Arc<Cluster>> {
        self.good.into_iter().map(Arc::new).collect()
    }

    /// The cluster that `node` names; reported if there is none.
    pub(super) fn resolve(&self, node: &Node, path: &Path<'_>, report: &mut Report) -> Option<ClusterName> {
        // Without any cluster, that is the mistake, and it is reported.
        if self.names.is_empty() {
            return None;
        }
        self.names.resolve(node, path, report).and_then(|name| ClusterName::new(name).ok())
    }

    /// Whether there is one of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.has(name)
    }
}

pub(super) fn warn_unused(clusters: &Clusters<'_>, report: &mut Report) {
    let root = Path::Root.key("clusters");
    for (name, span, at) in clusters.names.unused() {
        let message = format!("no route sends anything to the cluster {name:?}");
        let mistake = Mistake::warning("unused_cluster", span, message);
        report.push(mistake.hint("its endpoints are checked all the same"), &root.item(at).key("name"));
    }
}

/// The clusters of a file, for an instance that stands in `zone`.
pub(super) fn lower_all<'a>(
    fields: &Fields<'a>,
    zone: Option<&ZoneName>,
    files: &Files<'_>,
    report: &mut Report,
) -> Clusters<'a> {
    let mut clusters = Clusters { good: Vec::new(), names: References::new("cluster", "unknown_cluster") };
    let (root, mut names) = (Path::Root.key("clusters"), Names::default());
    for (at, node) in fields.items("clusters").iter().enumerate() {
        let path = root.item(at);
        let Some(fields) = Fields::of(node, &shape::CLUSTER) else {
            continue;
        };
        names.claim(fields.get("name"), "clusters", &path, report);
        clusters.names.enter(fields.get("name"), at);
        clusters.good.extend(lower(&fields, zone, files, &path, report));
    }
    clusters
}

fn lower(
    fields: &Fields<'_>,
    zone: Option<&ZoneName>,
    files: &Files<'_>,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Cluster> {
    let found = endpoints::lower(fields, path, report);
    let health_checks = health::lower_all(fields, path, report);
    protocols::check_version(fields, path, report);
    let cluster = Cluster {
        balance: balancing::balance(fields),
        hash: balancing::hash(fields, path, report),
        sticky: balancing::sticky(fields),
        endpoints: found.fixed,
        sources: found.sources,
        resolve: dial::resolve(fields, path, report),
        health_checks: health_checks.into_iter().map(Arc::new).collect(),
        outlier: resilience::outlier(fields, path, report),
        breaker: resilience::breaker(fields, path, report),
        retry_budget: resilience::retry_budget(fields, path, report),
        panic: balancing::panic(fields),
        zone_aware: balancing::zone_aware(fields, path, report),
        // The table keeps the number within its type.
        overprovisioning: fields.number("overprovisioning") as u32,
        connect: dial::connect(fields, path, report),
        pool: dial::pool(fields),
        slow_start: balancing::slow_start(fields),
        protocol: protocols::http_version(fields),
        tls: tls::client(fields, files, path, report),
        proxy_protocol: protocols::proxy_out(fields),
        name: ClusterName::new(&fields.text("name")?).ok()?,
    };
    // A value that could not be read counts as its default; that must not be taken at its word.
    if !report.has_errors() {
        lint::warn(&cluster, fields, zone, path, report);
    }
    Some(cluster)
}
