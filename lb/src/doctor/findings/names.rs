//! Names that are not resolved, or not as they should be.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::discovery::FailureKind;

use super::{Area, Says, listed, shown};
use crate::doctor::facts::{Answer, Name, Server};
use crate::doctor::report::Finding;

const DNS: Area = Area("dns");

pub(super) fn judge(names: &[Name]) -> Vec<Finding> {
    let mut found: Vec<Finding> = names.iter().filter_map(unresolved).collect();
    found.extend(names.iter().filter_map(disagreement));
    found.extend(poor_servers(names));
    found
}

fn host(source: &str) -> &str {
    let name = source.strip_prefix("srv:").unwrap_or(source);
    name.rsplit_once(':').map_or(name, |(host, _)| host)
}

/// What one server said, after how long.
fn said(server: &Server) -> String {
    format!("{} says {} after {}", server.address, words(&server.answer), shown(server.answer.took))
}

fn words(answer: &Answer) -> String {
    match &answer.result {
        Ok(addresses) => {
            let ttl = answer.ttl.map(|ttl| format!(" (TTL {} s)", ttl.as_secs())).unwrap_or_default();
            format!("{}{ttl}", listed(addresses))
        }
        Err((FailureKind::Timeout, _)) => "nothing".to_owned(),
        Err((kind, _)) => kind.as_str().to_uppercase(),
    }
}

fn unresolved(name: &Name) -> Option<Finding> {
    let (kind, detail) = name.answer.result.as_ref().err()?;
    let Name { cluster, source, .. } = name;
    let more =
        if detail.is_empty() { String::new() } else { format!(": {}", detail.lines().next().unwrap_or_default()) };
    let mut evidence = match &name.servers[..] {
        [] => format!("{}{more}, after {}", kind.words(), shown(name.answer.took)),
        servers => servers.iter().map(said).collect::<Vec<_>>().join("; "),
    };
    if !name.search.is_empty() && !host(source).contains('.') {
        evidence += &format!("; search path: {}", name.search.join(", "));
    }
    let effect = match name.stale {
        Some(age) => {
            format!("for {} cluster {cluster} has gone by the old answer; after `max_stale` it has none", shown(age))
        }
        None => format!("cluster {cluster} gets no endpoint of it: without others, requests end in `unresolved` (503)"),
    };
    let server = name.servers.first().map_or_else(String::new, |server| {
        let port = if server.address.port() == 53 { String::new() } else { format!(" -p {}", server.address.port()) };
        format!("@{}{port} ", server.address.ip())
    });
    let dig = format!("`dig {server}{}`", host(source));
    let fix = match kind {
        FailureKind::NxDomain => {
            format!(
                "correct the name in `endpoints` of cluster {cluster}, or add it to its zone; {dig} shows when it is there"
            )
        }
        FailureKind::Empty => format!(
            "give the name an address, or ask for those it has: `resolve: {{family: both}}` of cluster {cluster}; {dig}"
        ),
        FailureKind::Timeout | FailureKind::Unreachable => format!(
            "let UDP and TCP port 53 to the server through, or name servers that answer: `/etc/resolv.conf`, or \
             `resolve: {{servers: [...]}}` of cluster {cluster}; {dig}"
        ),
        FailureKind::Refused => format!("let the server answer this host (BIND: `allow-query`), or ask another; {dig}"),
        FailureKind::ServFail => {
            format!("the server cannot reach, or does not believe, those it asks: see its log; {dig}")
        }
        FailureKind::Truncated => format!("let TCP port 53 to the server through: long answers need it; {dig}"),
        FailureKind::BadAnswer => format!("what answers there may be no DNS server; {dig}"),
        FailureKind::Unreadable | FailureKind::Invalid => format!("mend the file of cluster {cluster}"),
    };
    let cause = format!("{source} of cluster {cluster} is not resolved: {}", kind.words());
    Some(DNS.bad("unresolved", Says { cause, evidence, effect, fix }))
}

/// What a server says is there, if it says so at all: "there is none" is an answer.
fn view(server: &Server) -> Option<BTreeSet<&str>> {
    match &server.answer.result {
        Ok(addresses) => Some(addresses.iter().map(String::as_str).collect()),
        Err((FailureKind::NxDomain | FailureKind::Empty, _)) => Some(BTreeSet::new()),
        Err(_) => None,
    }
}

fn disagreement(name: &Name) -> Option<Finding> {
    let views: Vec<BTreeSet<&str>> = name.servers.iter().filter_map(view).collect();
    let first = views.first()?;
    if views.iter().all(|view| view == first) {
        return None;
    }
    let Name { cluster, source, servers, .. } = name;
    Some(DNS.warning(
        "servers_disagree",
        Says {
            cause: format!("DNS servers disagree about {source} of cluster {cluster}"),
            evidence: servers.iter().map(said).collect::<Vec<_>>().join("; "),
            effect: "which endpoints get traffic depends on which server answers first; it may change with each look".into(),
            fix: format!(
                "bring the servers to one view (`dig +short SOA` of the zone at each: do the serials differ?), or name those \
                 that are right: `resolve: {{servers: [...]}}` of cluster {cluster}"
            ),
        },
    ))
}

/// Servers that do not answer, or slowly, where others do.
fn poor_servers(names: &[Name]) -> Vec<Finding> {
    let mut failing: BTreeMap<_, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for name in names.iter().filter(|name| name.answer.result.is_ok()) {
        for server in &name.servers {
            let (silent, slow) = failing.entry(server.address).or_default();
            if view(server).is_none() {
                silent.push(format!(
                    "asked for {} it says {} after {}",
                    name.source,
                    words(&server.answer),
                    shown(server.answer.took)
                ));
            } else if server.answer.took > name.timeout / 2 {
                slow.push(format!(
                    "{} took {} of the {} that a look may take",
                    name.source,
                    shown(server.answer.took),
                    shown(name.timeout)
                ));
            }
        }
    }
    let mut found = Vec::new();
    for (server, (silent, slow)) in failing {
        let dig = format!("`dig @{} -p {} .`", server.ip(), server.port());
        if !silent.is_empty() {
            let cause = format!("DNS server {server} does not answer; others do");
            let effect = "each look waits for it or asks twice; when the others fail too, names go stale".to_owned();
            let fix = format!("mend it, or take it out of `/etc/resolv.conf` or `resolve: {{servers: ...}}`; {dig}");
            found.push(DNS.warning("server_silent", Says { cause, evidence: listed(&silent), effect, fix }));
        } else if !slow.is_empty() {
            let cause = format!("DNS server {server} is slow");
            let effect = "looks are near their timeout: then endpoints go stale".to_owned();
            let fix = format!("a nearer server, or a larger `resolve: {{timeout: ...}}`; {dig}");
            found.push(DNS.warning("server_slow", Says { cause, evidence: listed(&slow), effect, fix }));
        }
    }
    found
}
