//! Every metric, by what it is about, with the alerts that go by it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use weir::observe::metrics::table::{ALL, LABELS, Metric};

use super::{expect, row};
use crate::dashboards::text;
use crate::monitoring::rules;

const HEAD: &str = "# Reference: metrics

What `GET /metrics` on the admin address says. What holds for all of them is in [metrics.md](../metrics.md), dashboards
and alerts are in [monitoring.md](../monitoring.md); *alerts* are those of `deploy/prometheus/` that go by the metric,
each with what to do. Every metric is there since 0.1.0.

";

const ABOUT: [(&str, &str); 6] = [
    ("The instance", "The process as a whole: its configuration, its control loop, what it exports."),
    ("Listeners", "What clients see: connections, requests and answers, by listener and cluster."),
    ("Clusters", "What a cluster is given, and what its rules make of it."),
    ("Endpoints", "Each endpoint: its state, its share, and every attempt at it."),
    ("Releases", "Stable and canaries side by side."),
    ("Process and host", "What the kernel says of the process and of its host."),
];

#[test]
fn metrics_are_the_tables() {
    let alerts = alerts();
    let mut page = HEAD.to_owned();
    for (at, (name, what)) in ABOUT.iter().enumerate() {
        let _ = write!(
            page,
            "## {name}\n\n{what}\n\n| metric | type | labels | meaning | alerts |\n|---|---|---|---|---|\n"
        );
        for metric in ALL.iter().filter(|metric| about(metric) == at) {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("[`{label}`](#{label})")).collect();
            let links = alerts.get(metric.name).into_iter().flatten();
            let links: Vec<String> =
                links.map(|name| format!("[{name}](../alerts.md#{})", name.to_lowercase())).collect();
            let name = format!("<a id=\"{0}\"></a>`{0}`", metric.name);
            page += &row(&[&name, &kind(metric), &labels.join(", "), metric.help, &links.join(", ")]);
        }
        page.push('\n');
    }
    page += "## Labels\n\n| label | says |\n|---|---|\n";
    for (label, says) in LABELS {
        page += &row(&[&format!("<a id=\"{label}\"></a>`{label}`"), says]);
    }
    expect("metrics", &page);
}

/// Which part of [`ABOUT`] it belongs to.
fn about(metric: &Metric) -> usize {
    let has = |label| metric.labels.contains(&label);
    let of_host = ["process_", "weir_host_", "weir_clock_"].iter().any(|start| metric.name.starts_with(start));
    match () {
        () if of_host => 5,
        () if has("release") => 4,
        () if has("endpoint") => 3,
        () if has("listener") => 1,
        () if has("cluster") => 2,
        () => 0,
    }
}

/// Its type, and its unit where its name says one.
fn kind(metric: &Metric) -> String {
    let kind = format!("{:?}", metric.kind).to_ascii_lowercase();
    let name = metric.name.trim_end_matches("_total");
    let unit = match () {
        () if name.ends_with("_timestamp_seconds") || name.ends_with("_after_seconds") => "seconds, Unix time",
        () if name.ends_with("start_time_seconds") => "seconds, Unix time",
        () if name.ends_with("_seconds") => "seconds",
        () if name.contains("_bytes") => "bytes",
        () if name.ends_with("_ratio") => "0 to 1",
        () => return kind,
    };
    format!("{kind}, {unit}")
}

/// The alerts that go by each metric, through recording rules too.
fn alerts() -> BTreeMap<&'static str, BTreeSet<String>> {
    let rules = rules();
    let recorded: BTreeMap<&str, &str> = rules
        .iter()
        .filter(|rule| rule["record"].is_string())
        .map(|rule| (text(rule, "record"), text(rule, "expr")))
        .collect();
    let mut alerts: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule["alert"].is_string()) {
        let mut seen = BTreeSet::new();
        let mut open = vec![text(rule, "expr")];
        while let Some(expression) = open.pop() {
            for word in expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':') {
                let parts = ["_bucket", "_count", "_sum"].iter().find_map(|part| word.strip_suffix(part));
                let metric = |name: &str| ALL.iter().find(|metric| metric.name == name);
                if let Some(metric) = metric(word).or_else(|| parts.and_then(metric)) {
                    alerts.entry(metric.name).or_default().insert(text(rule, "alert").to_owned());
                }
                if let Some(more) = recorded.get(word).filter(|_| seen.insert(word)) {
                    open.push(more);
                }
            }
        }
    }
    assert!(alerts.len() > 10, "are alerts still found? {alerts:?}");
    alerts
}
