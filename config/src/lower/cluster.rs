//! Clusters and their endpoints, and references to them.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::listener::scalar;
use super::{Fields, Names, health};
use crate::grammar;
use crate::mistake::Mistake;
use crate::model::*;
use crate::nearest::nearest;
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::{Node, Span, Value};

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

pub(super) fn lower_all<'a>(fields: &Fields<'a>, report: &mut Report) -> Clusters<'a> {
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
        clusters.good.extend(lower(&fields, &path, report));
    }
    clusters
}

fn lower(fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Option<Cluster> {
    let endpoints = endpoints(fields, path, report);
    let health_checks = health::lower_all(fields, path, report);
    let connect = fields.object("connect", &shape::CONNECT);
    let pool = fields.object("pool", &shape::POOL);
    if let Some(node) = fields.get("slow_start") {
        let message = "`slow_start` has no effect in this version";
        let mistake = Mistake::warning("no_effect", node.span, message);
        report.push(mistake.hint("a returning endpoint gets its full share at once"), &path.key("slow_start"));
    }
    Some(Cluster {
        balance: match fields.word("balance") {
            Some("least_request") => Balance::LeastRequest,
            Some("random") => Balance::Random,
            _ => Balance::RoundRobin,
        },
        endpoints,
        health_checks: health_checks.into_iter().map(Arc::new).collect(),
        hash: Hash {
            keys: vec![HashKey::SourceAddress],
            bounded_load: Some(125),
            table_size: 65_537,
            minimum_ring_size: 1024,
            maximum_ring_size: 8_388_608,
        },
        sticky: None,
        sources: Vec::new(),
        resolve: Resolve {
            servers: Vec::new(),
            family: Family::Both,
            timeout: Duration::from_secs(2),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            max_stale: Some(Duration::from_secs(600)),
            confirm_removal: 2,
        },
        outlier: None,
        breaker: Breaker {
            max_connections: None,
            max_requests: None,
            max_pending_requests: 1024,
            max_retries: None,
            queue_timeout: Duration::from_secs(1),
            per_endpoint: EndpointLimits::default(),
            failure_rate: None,
        },
        retry_budget: RetryBudget {
            concurrent_percent: 20,
            min_concurrent: 3,
            percent: 10,
            min_retries: 10,
            window: Duration::from_secs(10),
        },
        panic: Panic { mode: PanicMode::LeastBad, threshold: 50 },
        zone_aware: ZoneAware { enabled: true, min_endpoints: 3, shares: Vec::new() },
        overprovisioning: 140,
        connect: Connect {
            timeout: connect.duration("timeout"),
            keepalive: Some(Duration::from_secs(30)),
            user_timeout: None,
            local_addresses: Vec::new(),
            source_ports: None,
        },
        // The table keeps the number within its type.
        pool: Pool { idle_timeout: pool.duration("idle_timeout"), max_idle: pool.number("max_idle") as u32 },
        slow_start: fields.duration_if("slow_start").filter(|ramp| !ramp.is_zero()).map(|window| SlowStart {
            window,
            aggression: 1.0,
            minimum_percent: 5,
        }),
        name: ClusterName::new(&fields.text("name")?).ok()?,
    })
}

/// What becomes the endpoints of one cluster.
struct Endpoints {
    list: Vec<Endpoint>,
    seen: HashMap<Address, Span>,
    /// There are some that could not be read.
    incomplete: bool,
}

fn endpoints(fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Vec<Endpoint> {
    let Some(node) = fields.get("endpoints") else {
        return Vec::new();
    };
    let path = path.key("endpoints");
    let mut endpoints = Endpoints { list: Vec::new(), seen: HashMap::new(), incomplete: false };
    match &node.value {
        Value::List(items) => endpoints.take(items, None, &path, report),
        Value::Map(zones) => {
            for (key, node) in zones {
                match &node.value {
                    Value::List(items) => {
                        endpoints.take(items, ZoneName::new(&key.text).ok(), &path.key(&key.text), report)
                    }
                    _ => endpoints.incomplete = true,
                }
            }
        }
        _ => return Vec::new(),
    }
    if !endpoints.incomplete {
        check_usable(&endpoints.list, fields, node, &path, report);
    }
    endpoints.list
}

fn check_usable(list: &[Endpoint], fields: &Fields<'_>, node: &Node, path: &Path<'_>, report: &mut Report) {
    let name = fields.text("name").map_or_else(|| "this cluster".to_owned(), |name| format!("the cluster {name:?}"));
    if list.is_empty() {
        let mistake = Mistake::error("empty_cluster", node.mark(), format!("{name} has no endpoint"));
        report.push(mistake.hint("give at least one, or remove the cluster"), path);
    } else if list.iter().all(|endpoint| endpoint.weight.get() == 0) {
        let mistake =
            Mistake::error("all_weights_zero", node.mark(), format!("every endpoint of {name} has the weight 0"));
        report.push(mistake.hint("with a weight of 0 an endpoint takes no traffic; one must be over 0"), path);
    }
}

impl Endpoints {
    fn take(&mut self, items: &[Node], zone: Option<ZoneName>, path: &Path<'_>, report: &mut Report) {
        for (at, node) in items.iter().enumerate() {
            let path = path.item(at);
            let Some((endpoint, place)) = endpoint(node, zone.clone()) else {
                self.incomplete = true;
                continue;
            };
            if let Some(first) = self.seen.get(&endpoint.address) {
                let message = format!("the endpoint {} is in this cluster twice", endpoint.address);
                let mistake = Mistake::error("duplicate_endpoint", place, message)
                    .hint("for a larger share give it a weight")
                    .related(*first, "first given here");
                report.push(mistake, &path);
                continue;
            }
            self.seen.insert(endpoint.address.clone(), place);
            self.list.push(endpoint);
        }
    }
}

/// One endpoint, and where its address stands.
fn endpoint(node: &Node, zone: Option<ZoneName>) -> Option<(Endpoint, Span)> {
    if let Some(text) = scalar(node) {
        let address = grammar::endpoint_address(text).ok()?;
        return Some((Endpoint { address: address.into(), zone, weight: Weight::ONE, priority: 0 }, node.span));
    }
    let object = if zone.is_some() { &shape::ZONED_ENDPOINT } else { &shape::ENDPOINT };
    let fields = Fields::of(node, object)?;
    let place = fields.get("address")?;
    let own_zone = if zone.is_none() { fields.text("zone").and_then(|zone| ZoneName::new(&zone).ok()) } else { None };
    let endpoint = Endpoint {
        address: grammar::endpoint_address(scalar(place)?).ok()?.into(),
        priority: 0,
        zone: zone.or(own_zone),
        weight: Weight::new(fields.number("weight")).unwrap_or(Weight::ONE),
    };
    // A weight that could not be read says nothing about the sum.
    let readable = fields.get("weight").is_none() || fields.integer("weight").is_some();
    readable.then_some((endpoint, place.span))
}
