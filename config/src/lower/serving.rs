//! What of a cluster means nothing to any listener that sends to it: there are bytes without HTTP, and
//! datagrams without connections. And what none of its datagrams could reach.

use super::Fields;
use crate::mistake::Mistake;
use crate::model::{Address, Cluster, ClusterName, Config, Listener, Protocol, Release, Target};
use crate::report::{Path, Report};
use crate::shape;

/// Warns of keys of clusters that nobody who sends to them can use, and refuses endpoints that cannot
/// be sent to.
pub(super) fn warn(config: &Config, fields: &Fields<'_>, report: &mut Report) {
    let path = Path::Root.key("clusters");
    for ((at, node), cluster) in fields.items("clusters").iter().enumerate().zip(&config.clusters) {
        let (Some(fields), path) = (Fields::of(node, &shape::CLUSTER), path.item(at)) else {
            continue;
        };
        let users: Vec<Protocol> = protocols(config, cluster).collect();
        if users.contains(&Protocol::Udp) {
            datagrams(cluster, &fields, &path, report);
        }
        let (Some(first), true) = (users.first(), users.iter().all(|protocol| *protocol != Protocol::Http)) else {
            continue;
        };
        let only = if users.iter().all(|protocol| protocol == first) { first.as_str() } else { "tcp and udp" };
        let mut say = |name: &'static str, why: &str| {
            if let Some(node) = fields.get(name).filter(|_| !fields.is_off(name)) {
                let message = format!("`{name}` has no effect: only {only} listeners send to this cluster, and {why}");
                report.push(Mistake::warning("no_effect", node.mark(), message).hint("remove it"), &path.key(name));
            }
        };
        say("protocol", "HTTP is nothing to them");
        if *first == Protocol::Udp && only != "tcp and udp" {
            say("tls", "it needs connections");
            say("proxy_protocol", "it needs connections");
        }
    }
}

/// Refuses endpoints of a cluster of datagrams that take connections alone.
fn datagrams(cluster: &Cluster, fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) {
    let socket = cluster.endpoints.iter().map(|endpoint| &endpoint.address).find(|to| matches!(to, Address::Unix(_)));
    if let (Some(socket), Some(node)) = (socket, fields.get("endpoints")) {
        let message = format!("{socket} is a socket of connections, and a udp listener sends to this cluster");
        let mistake = Mistake::error("wrong_protocol", node.mark(), message).hint("give IP:port, as in 10.0.1.21:53");
        report.push(mistake, &path.key("endpoints"));
    }
}

/// What those listeners speak that send to a cluster.
fn protocols<'a>(config: &'a Config, cluster: &'a Cluster) -> impl Iterator<Item = Protocol> + 'a {
    let sends = |listener: &&std::sync::Arc<Listener>| {
        listener.routes.iter().any(|route| match &route.target {
            Target::Cluster(name) => *name == cluster.name,
            Target::Release(name) => {
                config.releases.iter().any(|release| release.name == *name && leads_to(release, &cluster.name))
            }
            Target::Reply(_) => false,
        })
    };
    config.listeners.iter().filter(sends).map(|listener| listener.protocol)
}

fn leads_to(release: &Release, cluster: &ClusterName) -> bool {
    let mirror = release.mirror.as_ref().map(|mirror| &mirror.cluster);
    release.clusters().chain(mirror).any(|name| name == cluster)
}
