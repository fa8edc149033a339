//! Clusters, and references to them.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use super::listener::scalar;
use super::{Fields, Names, balancing, dial, endpoints, health, lint, resilience};
use crate::mistake::Mistake;
use crate::model::{Cluster, ClusterName, ZoneName};
use crate::nearest::nearest;
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::{Node, Span};

/// The clusters of a file, by name: those that came out well and those that only have a name.
pub(super) struct Clusters<'a> {
    good: Vec<Cluster>,
    named: HashMap<&'a str, Named>,
    /// In file order, for hints and warnings that do not depend on hashing.
    order: Vec<&'a str>,
}

struct Named {
    span: Span,
    at: usize,
    used: Cell<bool>,
}

impl Clusters<'_> {
    pub(super) fn into_clusters(self) -> Vec<Arc<Cluster>> {
        self.good.into_iter().map(Arc::new).collect()
    }

    /// The cluster that `node` names; reported if there is none.
    pub(super) fn resolve(&self, node: &Node, path: &Path<'_>, report: &mut Report) -> Option<ClusterName> {
        let text = scalar(node)?;
        let name = ClusterName::new(text).ok()?;
        if let Some(named) = self.named.get(text) {
            named.used.set(true);
            return Some(name);
        }
        // Without any cluster, that is the mistake, and it is reported.
        if !self.named.is_empty() {
            let mistake = Mistake::error("unknown_cluster", node.span, format!("there is no cluster named {text:?}"));
            let near = report.worth_a_hint().then(|| nearest(text, self.order.iter().copied())).flatten();
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("clusters: {}", first_few(&self.order)),
            };
            report.push(mistake.hint(hint), path);
        }
        None
    }
}

fn first_few(names: &[&str]) -> String {
    let more = if names.len() > 8 { ", …" } else { "" };
    names[..names.len().min(8)].join(", ") + more
}

pub(super) fn warn_unused(clusters: &Clusters<'_>, report: &mut Report) {
    let root = Path::Root.key("clusters");
    for name in &clusters.order {
        let Some(Named { span, at, used }) = clusters.named.get(name) else {
            continue;
        };
        if !used.get() {
            let message = format!("no route sends anything to the cluster {name:?}");
            let mistake = Mistake::warning("unused_cluster", *span, message);
            report.push(mistake.hint("its endpoints are checked all the same"), &root.item(*at).key("name"));
        }
    }
}

/// The clusters of a file, for an instance that stands in `zone`.
pub(super) fn lower_all<'a>(fields: &Fields<'a>, zone: Option<&ZoneName>, report: &mut Report) -> Clusters<'a> {
    let mut clusters = Clusters { good: Vec::new(), named: HashMap::new(), order: Vec::new() };
    let (root, mut names) = (Path::Root.key("clusters"), Names::default());
    for (at, node) in fields.items("clusters").iter().enumerate() {
        let path = root.item(at);
        let Some(fields) = Fields::of(node, &shape::CLUSTER) else {
            continue;
        };
        names.claim(fields.get("name"), "clusters", &path, report);
        if let Some(name) = fields.get("name")
            && let Some(text) = scalar(name)
            && !clusters.named.contains_key(text)
        {
            clusters.named.insert(text, Named { span: name.span, at, used: Cell::new(false) });
            clusters.order.push(text);
        }
        clusters.good.extend(lower(&fields, zone, &path, report));
    }
    clusters
}

fn lower(fields: &Fields<'_>, zone: Option<&ZoneName>, path: &Path<'_>, report: &mut Report) -> Option<Cluster> {
    let found = endpoints::lower(fields, path, report);
    let health_checks = health::lower_all(fields, path, report);
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
        name: ClusterName::new(&fields.text("name")?).ok()?,
    };
    // A value that could not be read counts as its default; that must not be taken at its word.
    if !report.has_errors() {
        lint::warn(&cluster, fields, zone, path, report);
    }
    Some(cluster)
}
