//! `weir status`: the state of everything, as tables.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::client::Client;
use super::paint::{Paint, harmless_but_colours};
use super::table::{Cell, Table, age};
use super::{Format, Instance, emit, failed};
use crate::admin::status::{Cluster, Endpoint, Level, Limit, Listener, Order, Source, Status, Zone};

/// `weir status`.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    instance: Instance,
    /// Only this cluster
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Form of the status
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Show {
    pub(super) fn run(self) -> ExitCode {
        let status = Client::new(&self.instance).and_then(|client| client.get::<Status>("/api/v1/status"));
        let mut status = match status {
            Ok(status) => status,
            Err(error) => return failed(&error.to_string()),
        };
        if let Some(name) = &self.cluster {
            let known: Vec<String> = status.clusters.iter().map(|cluster| cluster.name.clone()).collect();
            status.clusters.retain(|cluster| cluster.name == *name);
            if status.clusters.is_empty() {
                return failed(&format!("there is no cluster {name:?}; there are: {}", known.join(", ")));
            }
        }
        match self.format {
            Format::Json => emit(&format!("{}\n", serde_json::to_string_pretty(&status).unwrap_or_default())),
            Format::Text => emit(&harmless_but_colours(&render(&status, Paint::for_stdout()))),
        }
    }
}

fn render(status: &Status, paint: Paint) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} {} on {} · {} · up {} · generation {}",
        paint.bold("weir"),
        status.version,
        status.instance,
        paint.state(&status.phase, &status.phase),
        age(status.uptime_seconds),
        status.generation,
    );
    let config = &status.config;
    let _ = writeln!(text, "config {} · in force for {}", config.path, age(config.age_seconds));
    if config.last_reload.result == "rejected" {
        let message = paint.state("rejected", &config.last_reload.message);
        let _ = writeln!(text, "  newest attempt, at {}: {message}", config.last_reload.at);
    }
    for (word, orders) in [("drained", &status.drains), ("rehearsed", &status.drills)] {
        for order in orders {
            let _ = writeln!(text, "{}", paint.state("warn", &ordered(word, order)));
        }
    }
    text.push('\n');
    text.push_str(&listeners(&status.listeners, paint));
    for cluster in &status.clusters {
        text.push('\n');
        text.push_str(&render_cluster(cluster, paint));
    }
    text
}

fn ordered(word: &str, Order { words, by, left_seconds }: &Order) -> String {
    let left = left_seconds.map_or_else(|| "until told otherwise".into(), |left| format!("{} left", age(left)));
    format!("{word}: {words}, by {by}, {left}")
}

fn listeners(listeners: &[Listener], paint: Paint) -> String {
    // Where all speak HTTP, that is not worth a column.
    let others = listeners.iter().any(|listener| listener.protocol != "http");
    let kinds = if others { "PROTOCOL" } else { "ROUTES" };
    let mut table = Table::new(&["LISTENER", "ADDRESS", kinds, ">OPEN", ">ACCEPTED", ">REJECTED"]);
    for listener in listeners {
        for address in &listener.addresses {
            let bound =
                address.bound.as_deref().map_or_else(|| format!("{} (not bound)", address.configured), Into::into);
            table.row([
                Cell::plain(&listener.name),
                Cell::plain(bound),
                match (others, listener.routes) {
                    (false, routes) => Cell::plain(routes),
                    (true, routes) if listener.protocol == "http" => Cell::plain(format!("http, {routes} routes")),
                    (true, _) => Cell::plain(&listener.protocol),
                },
                Cell::plain(listener.connections),
                Cell::plain(listener.accepted),
                Cell::plain(listener.rejected),
            ]);
        }
    }
    table.render("", paint)
}

fn render_cluster(cluster: &Cluster, paint: Paint) -> String {
    let state = match cluster.using.as_str() {
        "healthy" | "panic" => String::new(),
        "unknown" => paint.state("unknown", " · none judged healthy yet, using those not judged"),
        "trials" => paint.state("probation", " · none left but those on probation"),
        reason => paint.state("unhealthy", &format!(" · using none: {reason}")),
    };
    let all = cluster.endpoints.len();
    let out =
        cluster.ejection.as_ref().map(|its| format!(" · {} ejected, at most {} of {}", its.out, its.most, its.of));
    let mut text = format!("{} {}", paint.dim("CLUSTER"), paint.bold(&cluster.name));
    let _ = writeln!(
        text,
        " · {} · {} of {all} healthy{}{state}",
        cluster.balance,
        cluster.healthy,
        out.unwrap_or_default()
    );
    for line in notes(cluster, paint) {
        let _ = writeln!(text, "  {line}");
    }
    text + &endpoints(&cluster.endpoints).render("  ", paint)
}

/// What there is to say of a cluster beside its endpoints; the ordinary is left out.
fn notes(cluster: &Cluster, paint: Paint) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(panic) = &cluster.panic {
        let text = format!("panic for {}: {}", age(panic.since_seconds), panic.words);
        notes.push(paint.state("unhealthy", &text));
    }
    if let Some(held) = cluster.ejection.as_ref().and_then(|ejection| ejection.held_seconds) {
        let text = format!("many turned bad at once: nobody is ejected for {held:.0}s, the cause may be common");
        notes.push(paint.state("warn", &text));
    }
    if let Some(breaker) = &cluster.breaker {
        let left = breaker.opens_seconds.map(|left| format!(", tries again in {left:.1}s")).unwrap_or_default();
        notes.push(paint.state(&breaker.state, &format!("breaker {}{left}", breaker.state.replace('_', " "))));
    }
    if !cluster.limits.is_empty() {
        let limits: Vec<String> = cluster.limits.iter().map(limit).collect();
        notes.push(format!("limits: {}; {} waiting", limits.join(", "), cluster.waiting));
    }
    notes.extend(traffic(cluster));
    for level in &cluster.levels {
        notes.extend(zones(level, cluster.levels.len() > 1));
    }
    notes.extend(cluster.sources.iter().map(|source| self::source(source, paint)));
    notes
}

fn limit(limit: &Limit) -> String {
    let refused = if limit.refused > 0 { format!(" ({} refused)", limit.refused) } else { String::new() };
    format!("{} {} of {}{refused}", limit.limit, limit.used, limit.most)
}

fn traffic(cluster: &Cluster) -> Option<String> {
    let traffic = &cluster.traffic;
    let mut parts = Vec::new();
    if let (Some(p50), Some(p99)) = (traffic.p50_ms, traffic.p99_ms) {
        parts.push(format!("answers begin after {p50:.1} ms (p50), {p99:.1} ms (p99)"));
    }
    if traffic.retries > 0 || !traffic.denied.is_empty() {
        parts.push(format!("{} retries for {} requests, {} saved", traffic.retries, traffic.requests, traffic.saved));
    }
    let denied: Vec<String> = traffic.denied.iter().map(|(why, count)| format!("{why} {count}")).collect();
    if !denied.is_empty() {
        parts.push(format!("not retried: {}", denied.join(", ")));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// How a level's traffic goes to zones, and why so; nothing where there is but one.
fn zones(level: &Level, several: bool) -> Option<String> {
    let zone = |zone: &Zone| {
        let name = zone.zone.as_deref().unwrap_or("-");
        format!("{name} {:.1} % ({} of {})", zone.share_percent, zone.usable, zone.of)
    };
    let priority =
        format!("priority {}: {} % of traffic, {} of {}", level.priority, level.percent, level.available, level.of);
    let zones: Vec<String> = level.zones.iter().map(zone).collect();
    match (several, zones.len() > 1) {
        (true, true) => Some(format!("{priority}; zones: {}; {}", zones.join(", "), level.zone_reason)),
        (true, false) => Some(priority),
        (false, true) => Some(format!("zones: {}; {}", zones.join(", "), level.zone_reason)),
        (false, false) => None,
    }
}

fn source(source: &Source, paint: Paint) -> String {
    let mut text = format!("{} {}, {} endpoints", source.source, source.state, source.endpoints);
    if let Some(ttl) = source.ttl_seconds {
        text += &format!(", fresh for {ttl:.0}s");
    }
    if let (Some(stale), Some(failure)) = (source.stale_seconds, &source.failure) {
        text += &format!(", failing for {} ({} times): {failure}", age(stale as u64), source.failures);
    }
    let state = match source.state.as_str() {
        "resolved" => "info",
        "unresolved" => "error",
        _ => "warn",
    };
    if state == "info" { text } else { paint.state(state, &text.replace('\n', "; ")) }
}

/// Columns that say nothing are left out.
fn endpoints(endpoints: &[Endpoint]) -> Table {
    let ranked = endpoints.iter().any(|endpoint| endpoint.priority > 0);
    let timed = endpoints.iter().any(|endpoint| endpoint.latency_ms.is_some());
    let all = [
        ("ZONE", true),
        ("ENDPOINT", true),
        ("STATUS", true),
        (">SINCE", true),
        (">PRIORITY", ranked),
        (">WEIGHT", true),
        (">ACTIVE", true),
        (">REQUESTS", true),
        (">FAILURES", true),
        (">LATENCY", timed),
        ("REASON", true),
    ];
    let heads: Vec<&str> = all.iter().filter(|(_, shown)| *shown).map(|(head, _)| *head).collect();
    let mut table = Table::new(&heads);
    for endpoint in by_zone(endpoints) {
        let latency = endpoint.latency_ms.map_or_else(|| "-".into(), |latency| format!("{latency:.1} ms"));
        let cells = [
            Cell::plain(endpoint.zone.as_deref().unwrap_or("-")),
            Cell::plain(&endpoint.address),
            Cell::state(&endpoint.status),
            Cell::plain(age(endpoint.since_seconds)),
            Cell::plain(endpoint.priority),
            Cell::plain(weight(endpoint)),
            Cell::plain(endpoint.in_flight),
            Cell::plain(endpoint.requests),
            Cell::plain(endpoint.failures),
            Cell::plain(latency),
            Cell::plain(reason(endpoint)),
        ];
        table.row(cells.into_iter().zip(all).filter(|(_, (_, shown))| *shown).map(|(cell, _)| cell));
    }
    table
}

/// Its share; while it gets less of it, how much.
fn weight(endpoint: &Endpoint) -> String {
    if endpoint.weight_percent < 100.0 {
        format!("{:.0} % of {}", endpoint.weight_percent, endpoint.weight)
    } else {
        endpoint.weight.to_string()
    }
}

/// Zones in the order of their first endpoint.
fn by_zone(endpoints: &[Endpoint]) -> Vec<&Endpoint> {
    let mut zones: Vec<Option<&str>> = Vec::new();
    for endpoint in endpoints {
        if !zones.contains(&endpoint.zone.as_deref()) {
            zones.push(endpoint.zone.as_deref());
        }
    }
    zones.iter().flat_map(|zone| endpoints.iter().filter(move |one| one.zone.as_deref() == *zone)).collect()
}

/// Why the status is what it is, what comes next, and what the newest probe adds to that.
fn reason(endpoint: &Endpoint) -> String {
    let mut parts = Vec::new();
    match (endpoint.status.as_str(), &endpoint.ejection) {
        ("ejected", Some(ejection)) => parts.push(format!("{:.0}s left", ejection.left_seconds.ceil())),
        ("probation", Some(ejection)) => {
            parts.push(format!("{} of {} good", ejection.good.unwrap_or_default(), ejection.needed));
        }
        _ => {}
    }
    parts.push(endpoint.reason.clone());
    let wavering = endpoint.checks.iter().find(|check| check.streak > 0 && check.verdict != "unknown");
    if let Some((check, last)) = wavering.and_then(|check| Some((check, check.last.as_ref()?))) {
        parts.push(format!("now {} of {} against it: {}", check.streak, check.threshold, last.words));
    }
    let failed: Vec<String> = endpoint
        .classes
        .iter()
        .filter(|(class, _)| !matches!(class.as_str(), "success" | "client_error" | "ours"))
        .map(|(class, count)| format!("{count} {class}"))
        .collect();
    if !failed.is_empty() {
        parts.push(format!("so far {}", failed.join(", ")));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status() -> Status {
        let endpoint = |address: &str, zone: Option<&str>, status: &str, streak: u32| {
            json!({
                "address": address, "zone": zone, "weight": 1, "status": status, "since": "", "since_seconds": 65,
                "reason": "the probe passed", "in_flight": 0, "requests": 1234, "failures": 2, "connections": 3,
                "checks": [{
                    "asks": "GET /", "verdict": status, "streak": streak, "threshold": 3, "next_seconds": 1.5,
                    "last": {"at": "", "passed": false, "result": "status", "words": "unexpected status 500", "took_ms": 1.0},
                }],
            })
        };
        serde_json::from_value(json!({
            "instance": "host:1", "version": "1.2.3", "phase": "serving", "started": "", "uptime_seconds": 7500,
            "zone": null, "generation": 4,
            "config": {"path": "/etc/weir.yaml", "hash": "", "generation": 2, "since": "", "age_seconds": 59,
                "last_reload": {"at": "noon", "trigger": "file", "result": "rejected", "message": "refused: line 3"}},
            "listeners": [{"name": "web", "addresses": [{"configured": "0.0.0.0:80", "bound": "0.0.0.0:80"}],
                "routes": 2, "connections": 5, "accepted": 100, "rejected": 0}],
            "clusters": [{"name": "orders", "balance": "round_robin", "using": "healthy", "healthy": 2, "endpoints": [
                endpoint("10.0.0.1:80", Some("az-a"), "healthy", 0),
                endpoint("10.0.0.2:8080", None, "unhealthy", 0),
                endpoint("10.0.0.3:80", Some("az-a"), "healthy", 2),
            ]}],
        }))
        .unwrap()
    }

    #[test]
    fn what_is_not_ordinary_is_said() {
        let mut status = serde_json::to_value(status()).unwrap();
        status["drains"] = json!([{"words": "zone az-b", "by": "ada", "left_seconds": 60}]);
        status["drills"] = json!([{"words": "drill 3: no connection at zone az-b", "by": "bob", "left_seconds": 9}]);
        let cluster = &mut status["clusters"][0];
        cluster["panic"] = json!({"since_seconds": 12, "words": "1 of 3 endpoints are available, less than 50 %"});
        cluster["ejection"] = json!({"out": 1, "most": 1, "of": 3, "held_seconds": 2.2});
        cluster["breaker"] = json!({"state": "open", "opens_seconds": 4.25});
        cluster["limits"] = json!([{"limit": "requests", "used": 3, "most": 10, "refused": 2}]);
        cluster["waiting"] = 4.into();
        cluster["traffic"] = json!({"requests": 100, "in_flight": 3, "retries": 7, "saved": 5, "denied": {"budget": 2},
            "retry_budget": "", "p50_ms": 2.0, "p99_ms": 31.26});
        let zone = |zone, share| {
            json!({"zone": zone, "usable": 1, "of": 2, "capacity_percent": 50.0,
            "instances_percent": 50.0, "share_percent": share})
        };
        cluster["levels"] = json!([{"priority": 0, "available": 2, "of": 4, "percent": 100, "panic": false,
            "zone_state": "spill", "zone_reason": "62.50 % stays", "zones": [zone("az-a", 62.5), zone("az-b", 37.5)]}]);
        cluster["sources"] = json!([{"source": "app.internal:80", "state": "stale", "endpoints": 2, "ttl_seconds": null,
            "stale_seconds": 61.0, "failures": 7, "failure": "no answer in time", "next_look_seconds": 1.0, "trace": null}]);
        let evidence = json!({});
        cluster["endpoints"][0]["status"] = "ejected".into();
        cluster["endpoints"][0]["ejection"] = json!({"rule": "consecutive_5xx", "left_seconds": 11.2, "times": 2,
            "good": null, "needed": 3, "evidence": evidence});
        cluster["endpoints"][0]["classes"] = json!({"success": 7, "connect": 2, "timeout": 1, "ours": 1});
        cluster["endpoints"][1]["priority"] = 1.into();
        cluster["endpoints"][2]["weight_percent"] = 35.0.into();
        cluster["endpoints"][2]["latency_ms"] = 3.26.into();
        let shown = render(&serde_json::from_value(status).unwrap(), Paint::plain());
        let expected = "\
drained: zone az-b, by ada, 1m00s left
rehearsed: drill 3: no connection at zone az-b, by bob, 9s left

LISTENER  ADDRESS     ROUTES  OPEN  ACCEPTED  REJECTED
web       0.0.0.0:80  2          5       100         0

CLUSTER orders · round_robin · 2 of 3 healthy · 1 ejected, at most 1 of 3
  panic for 12s: 1 of 3 endpoints are available, less than 50 %
  many turned bad at once: nobody is ejected for 2s, the cause may be common
  breaker open, tries again in 4.2s
  limits: requests 3 of 10 (2 refused); 4 waiting
  answers begin after 2.0 ms (p50), 31.3 ms (p99); 7 retries for 100 requests, 5 saved; not retried: budget 2
  zones: az-a 62.5 % (1 of 2), az-b 37.5 % (1 of 2); 62.50 % stays
  app.internal:80 stale, 2 endpoints, failing for 1m01s (7 times): no answer in time
  ZONE  ENDPOINT       STATUS     SINCE  PRIORITY     WEIGHT  ACTIVE  REQUESTS  FAILURES  LATENCY  REASON
  az-a  10.0.0.1:80    ejected    1m05s         0          1       0      1234         2        -  12s left; the probe passed; so far 2 connect, 1 timeout
  az-a  10.0.0.3:80    healthy    1m05s         0  35 % of 1       0      1234         2   3.3 ms  the probe passed; now 2 of 3 against it: unexpected status 500
  -     10.0.0.2:8080  unhealthy  1m05s         1          1       0      1234         2        -  the probe passed
";
        assert!(shown.ends_with(expected), "{shown}");
    }

    #[test]
    fn the_status_reads_as_tables() {
        let expected = "\
weir 1.2.3 on host:1 · serving · up 2h05m · generation 4
config /etc/weir.yaml · in force for 59s
  newest attempt, at noon: refused: line 3

LISTENER  ADDRESS     ROUTES  OPEN  ACCEPTED  REJECTED
web       0.0.0.0:80  2          5       100         0

CLUSTER orders · round_robin · 2 of 3 healthy
  ZONE  ENDPOINT       STATUS     SINCE  WEIGHT  ACTIVE  REQUESTS  FAILURES  REASON
  az-a  10.0.0.1:80    healthy    1m05s       1       0      1234         2  the probe passed
  az-a  10.0.0.3:80    healthy    1m05s       1       0      1234         2  the probe passed; now 2 of 3 against it: unexpected status 500
  -     10.0.0.2:8080  unhealthy  1m05s       1       0      1234         2  the probe passed
";
        assert_eq!(render(&status(), Paint::plain()), expected);
    }
}
