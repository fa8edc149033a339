//! Clusters, their endpoints and checks.

use std::sync::Arc;

use super::{ChangeKind, Notes, Pair, Touches, pairs, show};
use crate::model::{Balance, CheckKind, Cluster, Connect, Endpoint, HealthCheck, HttpCheck, Pool};

pub(super) fn diff(pair: Pair<'_, Arc<Cluster>>, notes: &mut Notes) {
    let endpoints = |cluster: &Cluster| match cluster.endpoints.len() {
        1 => "1 endpoint".to_owned(),
        n => format!("{n} endpoints"),
    };
    match pair {
        // Traffic reaches it by a route, which is a change of its own.
        Pair::Added(new) => {
            notes.subject("").added(Touches::Nothing, &format!("cluster {}: new, {}", new.name, endpoints(new)));
        }
        Pair::Removed(old) => {
            let what = format!("cluster {}: removed with its {}", old.name, endpoints(old));
            notes.subject("").removed(Touches::NewRequests, &what);
        }
        Pair::Both(old, new) => both(old, new, notes),
    }
}

fn both(old: &Cluster, new: &Cluster, notes: &mut Notes) {
    let Cluster { name, balance, endpoints, health_checks, connect, pool, slow_start: _, .. } = new;
    let subject = format!("cluster {name}");
    notes.subject(&subject);
    notes.field(Touches::NewRequests, "balance", &old.balance, balance, |balance| self::balance(*balance).to_owned());
    let Connect { timeout, .. } = connect;
    notes.field(Touches::NewRequests, "connect timeout", &old.connect.timeout, timeout, show::duration);
    let Pool { idle_timeout, max_idle } = pool;
    notes.field(Touches::NewRequests, "pool idle_timeout", &old.pool.idle_timeout, idle_timeout, show::duration);
    notes.field(Touches::NewRequests, "pool max_idle", &old.pool.max_idle, max_idle, show::plain);
    for pair in pairs(&old.endpoints, endpoints, |endpoint| endpoint.address.clone()) {
        endpoint(pair, &subject, notes);
    }
    for pair in pairs(&old.health_checks, health_checks, |check| check_name(check)) {
        health_check(pair, &subject, notes);
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

fn endpoint(pair: Pair<'_, Endpoint>, cluster: &str, notes: &mut Notes) {
    let name = |endpoint: &Endpoint| match &endpoint.zone {
        Some(zone) => format!("endpoint {} ({zone})", endpoint.address),
        None => format!("endpoint {}", endpoint.address),
    };
    match pair {
        Pair::Added(new) => {
            let what = format!("{}: new, weight {}", name(new), new.weight.get());
            notes.subject(cluster).added(Touches::NewRequests, &what);
        }
        Pair::Removed(old) => {
            notes.subject(cluster).removed(Touches::NewRequests, &format!("{}: removed", name(old)));
        }
        Pair::Both(old, new) => {
            let Endpoint { address: _, zone, weight, .. } = new;
            notes.subject(&format!("{cluster}: {}", name(new)));
            notes.field(Touches::NewRequests, "zone", &old.zone, zone, show::or("none"));
            notes.field(Touches::NewRequests, "weight", &old.weight, weight, |weight| weight.get().to_string());
        }
    }
}

/// A check is known by what it asks and where.
fn check_name(check: &HealthCheck) -> String {
    let kind = show::check_kind(&check.kind);
    match check.port {
        Some(port) => format!("health check {kind} on port {port}"),
        None => format!("health check {kind}"),
    }
}

fn health_check(pair: Pair<'_, Arc<HealthCheck>>, cluster: &str, notes: &mut Notes) {
    match pair {
        Pair::Added(new) => {
            notes.subject(cluster).added(Touches::NewRequests, &format!("{}: new", check_name(new)));
        }
        Pair::Removed(old) => {
            notes.subject(cluster).removed(Touches::NewRequests, &format!("{}: removed", check_name(old)));
        }
        Pair::Both(old, new) => check_fields(old, new, cluster, notes),
    }
}

fn check_fields(old: &HealthCheck, new: &HealthCheck, cluster: &str, notes: &mut Notes) {
    // The port is part of its identity.
    let HealthCheck {
        timeout,
        interval,
        fast_interval,
        down_interval,
        jitter_percent,
        unhealthy_threshold,
        healthy_threshold,
        port: _,
        kind,
    } = new;
    let touches = Touches::NewRequests;
    notes.subject(&format!("{cluster}: {}", check_name(new)));
    notes.field(touches, "timeout", &old.timeout, timeout, show::duration);
    notes.field(touches, "interval", &old.interval, interval, show::duration);
    notes.field(touches, "fast_interval", &old.fast_interval, fast_interval, show::duration);
    notes.field(touches, "down_interval", &old.down_interval, down_interval, show::duration);
    notes.field(touches, "jitter", &old.jitter_percent, jitter_percent, show::plain);
    notes.field(touches, "unhealthy_threshold", &old.unhealthy_threshold, unhealthy_threshold, show::plain);
    notes.field(touches, "healthy_threshold", &old.healthy_threshold, healthy_threshold, show::plain);
    // TCP and HTTP differ in their identity already.
    if let (CheckKind::Http(old), CheckKind::Http(new)) = (&old.kind, kind) {
        http_fields(old, new, notes);
    }
}

fn http_fields(old: &HttpCheck, new: &HttpCheck, notes: &mut Notes) {
    // Method and path are part of its identity.
    let HttpCheck { method: _, path: _, host, headers, expected_statuses, expected_body } = new;
    let touches = Touches::NewRequests;
    let statuses = |ranges: &Vec<std::ops::RangeInclusive<u16>>| {
        let range = |range: &std::ops::RangeInclusive<u16>| match (range.start(), range.end()) {
            (start, end) if start == end => start.to_string(),
            (start, end) => format!("{start}-{end}"),
        };
        ranges.iter().map(range).collect::<Vec<_>>().join(", ")
    };
    notes.field(touches, "host", &old.host, host, show::or("the endpoint's address"));
    notes.field(touches, "expected_statuses", &old.expected_statuses, expected_statuses, statuses);
    notes.field(touches, "expected_body", &old.expected_body, expected_body, show::quoted);
    // Their values may be secrets.
    if old.headers != *headers {
        notes.push(ChangeKind::Changed, touches, "the headers it sends");
    }
}
