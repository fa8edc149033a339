//! Clusters and their endpoints.

use std::sync::Arc;

use super::{Group, Notes, Pair, Touches, balancing, health, pairs, resilience, show};
use crate::model::{Balance, Cluster, Connect, Endpoint, Family, HttpVersion, Pool, ProxyOut, Resolve, Source};

pub(super) fn diff(pair: Pair<'_, Arc<Cluster>>, notes: &mut Notes) {
    match pair {
        // Traffic reaches it by a route, which is a change of its own.
        Pair::Added(new) => {
            notes.subject("").added(Touches::Nothing, &format!("cluster {}: new, {}", new.name, size(new)));
        }
        Pair::Removed(old) => {
            let what = format!("cluster {}: removed with its {}", old.name, size(old));
            notes.subject("").removed(Touches::NewRequests, &what);
        }
        Pair::Both(old, new) => both(old, new, notes),
    }
}

/// As `2 endpoints and 1 source`.
fn size(cluster: &Cluster) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let (fixed, found) = (cluster.endpoints.len(), cluster.sources.len());
    match (fixed, found) {
        (_, 0) => count(fixed, "endpoint"),
        (0, _) => count(found, "source"),
        _ => format!("{} and {}", count(fixed, "endpoint"), count(found, "source")),
    }
}

fn both(old: &Cluster, new: &Cluster, notes: &mut Notes) {
    let Cluster {
        name,
        balance,
        hash,
        sticky,
        endpoints,
        sources,
        resolve,
        health_checks,
        outlier,
        breaker,
        retry_budget,
        panic,
        zone_aware,
        overprovisioning,
        connect,
        pool,
        slow_start,
        protocol,
        tls,
        proxy_protocol,
    } = new;
    let subject = format!("cluster {name}");
    let touches = Touches::NewRequests;
    notes.subject(&subject);
    notes.field(touches, "balance", &old.balance, balance, |balance| self::balance(*balance).to_owned());
    balancing::hash(&old.hash, hash, notes);
    balancing::sticky(old.sticky.as_ref(), sticky.as_ref(), notes);
    resilience::outlier(old.outlier.as_ref(), outlier.as_ref(), notes);
    resilience::breaker(&old.breaker, breaker, notes);
    resilience::retry_budget(old.retry_budget, *retry_budget, notes);
    balancing::panic(old.panic, *panic, notes);
    balancing::zone_aware(&old.zone_aware, zone_aware, notes);
    notes.field(touches, "overprovisioning", &old.overprovisioning, overprovisioning, show::plain);
    self::connect(&old.connect, connect, notes);
    self::pool(&old.pool, pool, notes);
    balancing::slow_start(old.slow_start, *slow_start, notes);
    self::resolve(&old.resolve, resolve, notes);
    notes.field(touches, "protocol", &old.protocol, protocol, |version| match version {
        HttpVersion::H1 => "h1".to_owned(),
        HttpVersion::H2 => "h2".to_owned(),
        HttpVersion::Auto => "auto".to_owned(),
    });
    super::tls::client(old.tls.as_ref(), tls.as_ref(), notes);
    notes.field(touches, "proxy_protocol", &old.proxy_protocol, proxy_protocol, |version| match version {
        None => "off".to_owned(),
        Some(ProxyOut::V1) => "v1".to_owned(),
        Some(ProxyOut::V2) => "v2".to_owned(),
    });
    for pair in pairs(&old.endpoints, endpoints, |endpoint| endpoint.address.clone()) {
        endpoint(pair, &subject, notes);
    }
    for pair in pairs(&old.sources, sources, |source| source.kind.clone()) {
        source(pair, &subject, notes);
    }
    for pair in pairs(&old.health_checks, health_checks, |check| health::name(check)) {
        health::diff(pair, &subject, notes);
    }
}

const fn balance(balance: Balance) -> &'static str {
    match balance {
        Balance::RoundRobin => "round_robin",
        Balance::LeastRequest => "least_request",
        Balance::Random => "random",
        Balance::Ewma => "ewma",
        Balance::RingHash => "ring_hash",
        Balance::Maglev => "maglev",
    }
}

/// Connections that are open stay as they are.
fn connect(old: &Connect, new: &Connect, notes: &mut Notes) {
    let Connect { timeout, keepalive, user_timeout, local_addresses, source_ports } = new;
    let mut group = Group::new("connect", notes);
    group.field("timeout", &old.timeout, timeout, show::duration);
    group.field("keepalive", &old.keepalive, keepalive, show::duration_or("off"));
    group.field("user_timeout", &old.user_timeout, user_timeout, show::duration_or("the system's"));
    group.field("local_address", &old.local_addresses, local_addresses, |list| show::list_or(list, "the system's"));
    group.field("source_ports", &old.source_ports, source_ports, |ports| match ports {
        Some(ports) => format!("{}-{}", ports.start(), ports.end()),
        None => "the system's".to_owned(),
    });
}

fn pool(old: &Pool, new: &Pool, notes: &mut Notes) {
    let Pool { idle_timeout, max_idle } = new;
    let mut group = Group::new("pool", notes);
    group.field("idle_timeout", &old.idle_timeout, idle_timeout, show::duration);
    group.field("max_idle", &old.max_idle, max_idle, show::plain);
}

fn resolve(old: &Resolve, new: &Resolve, notes: &mut Notes) {
    let Resolve { servers, family, timeout, min_ttl, max_ttl, max_stale, confirm_removal } = new;
    let mut group = Group::new("resolve", notes);
    group.field("servers", &old.servers, servers, |list| show::list_or(list, "the system's"));
    group.field("family", &old.family, family, |family| self::family(*family).to_owned());
    group.field("timeout", &old.timeout, timeout, show::duration);
    group.field("min_ttl", &old.min_ttl, min_ttl, show::duration);
    group.field("max_ttl", &old.max_ttl, max_ttl, show::duration);
    group.field("max_stale", &old.max_stale, max_stale, show::duration_or("forever"));
    group.field("confirm_removal", &old.confirm_removal, confirm_removal, show::plain);
}

const fn family(family: Family) -> &'static str {
    match family {
        Family::Both => "any",
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

fn endpoint(pair: Pair<'_, Endpoint>, cluster: &str, notes: &mut Notes) {
    let name = |endpoint: &Endpoint| match &endpoint.zone {
        Some(zone) => format!("endpoint {} ({zone})", endpoint.address),
        None => format!("endpoint {}", endpoint.address),
    };
    match pair {
        Pair::Added(new) => {
            let what = format!("{}: new, weight {}{}", name(new), new.weight.get(), priority(new.priority));
            notes.subject(cluster).added(Touches::NewRequests, &what);
        }
        Pair::Removed(old) => {
            notes.subject(cluster).removed(Touches::NewRequests, &format!("{}: removed", name(old)));
        }
        Pair::Both(old, new) => {
            let Endpoint { address: _, zone, weight, priority } = new;
            notes.subject(&format!("{cluster}: {}", name(new)));
            notes.field(Touches::NewRequests, "zone", &old.zone, zone, show::or("none"));
            notes.field(Touches::NewRequests, "weight", &old.weight, weight, |weight| weight.get().to_string());
            notes.field(Touches::NewRequests, "priority", &old.priority, priority, show::plain);
        }
    }
}

/// What is found there comes and goes by itself; this is about where it is looked for.
fn source(pair: Pair<'_, Source>, cluster: &str, notes: &mut Notes) {
    let name = |source: &Source| match &source.zone {
        Some(zone) => format!("endpoints of {} ({zone})", source.kind),
        None => format!("endpoints of {}", source.kind),
    };
    match pair {
        Pair::Added(new) => {
            let what = format!("{}: new, weight {}{}", name(new), new.weight.get(), priority(new.priority));
            notes.subject(cluster).added(Touches::NewRequests, &what);
        }
        Pair::Removed(old) => {
            notes.subject(cluster).removed(Touches::NewRequests, &format!("{}: removed", name(old)));
        }
        Pair::Both(old, new) => {
            let Source { kind: _, zone, weight, priority } = new;
            notes.subject(&format!("{cluster}: {}", name(new)));
            notes.field(Touches::NewRequests, "zone", &old.zone, zone, show::or("none"));
            notes.field(Touches::NewRequests, "weight", &old.weight, weight, |weight| weight.get().to_string());
            notes.field(Touches::NewRequests, "priority", &old.priority, priority, show::plain);
        }
    }
}

/// The first is not worth a word.
fn priority(priority: u8) -> String {
    if priority == 0 { String::new() } else { format!(", priority {priority}") }
}
