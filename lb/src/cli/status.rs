//! `weir status`: the state of everything, as tables.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::client::Client;
use super::paint::{Paint, harmless_but_colours};
use super::table::{Cell, Table, age};
use super::{Format, Instance, emit, failed};
use crate::admin::status::{Cluster, Endpoint, Listener, Status};

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
        let status = Client::new(&self.instance.admin).and_then(|client| client.get::<Status>("/api/v1/status"));
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
    text.push('\n');
    text.push_str(&listeners(&status.listeners, paint));
    for cluster in &status.clusters {
        text.push('\n');
        text.push_str(&render_cluster(cluster, paint));
    }
    text
}

fn listeners(listeners: &[Listener], paint: Paint) -> String {
    let mut table = Table::new(&["LISTENER", "ADDRESS", "ROUTES", ">OPEN", ">ACCEPTED", ">REJECTED"]);
    for listener in listeners {
        for address in &listener.addresses {
            let bound =
                address.bound.as_deref().map_or_else(|| format!("{} (not bound)", address.configured), Into::into);
            table.row([
                Cell::plain(&listener.name),
                Cell::plain(bound),
                Cell::plain(listener.routes),
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
        "healthy" => String::new(),
        "unknown" => paint.state("unknown", " · none judged healthy yet, using those not judged"),
        reason => paint.state("unhealthy", &format!(" · using none: {reason}")),
    };
    let all = cluster.endpoints.len();
    let mut text = format!("{} {}", paint.dim("CLUSTER"), paint.bold(&cluster.name));
    let _ = writeln!(text, " · {} · {} of {all} healthy{state}", cluster.balance, cluster.healthy);
    let head = ["ZONE", "ENDPOINT", "STATUS", ">SINCE", ">WEIGHT", ">ACTIVE", ">REQUESTS", ">FAILURES", "REASON"];
    let mut table = Table::new(&head);
    for endpoint in by_zone(&cluster.endpoints) {
        table.row([
            Cell::plain(endpoint.zone.as_deref().unwrap_or("-")),
            Cell::plain(&endpoint.address),
            Cell::state(&endpoint.status),
            Cell::plain(age(endpoint.since_seconds)),
            Cell::plain(endpoint.weight),
            Cell::plain(endpoint.in_flight),
            Cell::plain(endpoint.requests),
            Cell::plain(endpoint.failures),
            Cell::plain(reason(endpoint)),
        ]);
    }
    text + &table.render("  ", paint)
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

/// Why the status is what it is, and what the newest probe adds to that.
fn reason(endpoint: &Endpoint) -> String {
    let wavering = endpoint.checks.iter().find(|check| check.streak > 0 && check.verdict != "unknown");
    match wavering.and_then(|check| Some((check, check.last.as_ref()?))) {
        Some((check, last)) => {
            format!("{}; now {} of {} against it: {}", endpoint.reason, check.streak, check.threshold, last.words)
        }
        None => endpoint.reason.clone(),
    }
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
