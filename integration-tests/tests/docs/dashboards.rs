//! `deploy/grafana/*.json` are made of `deploy/grafana/source/*.yaml`: what a panel shows stands
//! there once, in a line or two; what all panels have in common stands here.
//!
//! `UPDATE_EXPECT=1` writes the dashboards anew. What a key of a source means is seen where it is
//! read below. What is made is for Grafana 10 and later.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{read, root};

/// The four, by the names of their files.
pub(crate) const DASHBOARDS: [&str; 4] = ["overview", "cluster", "release", "instance"];

/// What Grafana 10.0 writes; later ones bring it up to date when they read it.
const SCHEMA: u32 = 38;
/// A dashboard is so many columns wide.
const COLUMNS: u64 = 24;

#[test]
fn the_dashboards_are_made_of_their_sources() {
    for name in DASHBOARDS {
        let source = serde_yaml::from_str(&read(format!("deploy/grafana/source/{name}.yaml"))).unwrap();
        let made = serde_json::to_string_pretty(&dashboard(&source)).unwrap() + "\n";
        let path = format!("deploy/grafana/weir-{name}.json");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(root().join(&path), &made).unwrap();
        }
        assert!(
            Path::new(&root().join(&path)).exists() && read(&path) == made,
            "{path}: UPDATE_EXPECT=1 writes it anew"
        );
    }
}

fn dashboard(source: &Value) -> Value {
    let uid = text(source, "uid");
    let mut variables = vec![json!({
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "regex": "",
        "current": {}, "hide": 0, "includeAll": false, "multi": false, "options": [], "refresh": 1, "skipUrlSync": false
    })];
    variables.extend(list(source, "variables").iter().map(|name| variable(name.as_str().unwrap())));
    // One place for the address of the runbook: everybody has another.
    let runbook = "https://weir.example/docs/alerts.md";
    variables.push(json!({
        "name": "runbook", "label": "Runbook", "type": "constant", "query": runbook, "hide": 2, "skipUrlSync": true
    }));
    json!({
        "uid": uid,
        "title": text(source, "title"),
        "description": text(source, "about"),
        "tags": ["weir"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "id": null,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "timezone": "",
        "templating": {"list": variables},
        "annotations": {"list": annotations(uid)},
        "links": [
            {"type": "dashboards", "title": "Weir", "tags": ["weir"], "asDropdown": false, "includeVars": true, "keepTime": true,
             "targetBlank": false, "icon": "external link", "tooltip": "", "url": ""},
            {"type": "link", "title": "Runbook", "url": "${runbook}", "tags": [], "asDropdown": false, "includeVars": false,
             "keepTime": false, "targetBlank": true, "icon": "doc", "tooltip": "What each alert means, and what to do"}
        ],
        "panels": panels(list(source, "rows"))
    })
}

/// A variable that is asked of Prometheus, by its word in a source.
fn variable(word: &str) -> Value {
    let (name, label, query, all) = match word {
        "instance" => ("instance", "Instance", "label_values(weir_build_info, instance)", true),
        "one_instance" => ("instance", "Instance", "label_values(weir_build_info, instance)", false),
        "cluster" => ("cluster", "Cluster", "label_values(weir_cluster_endpoints, cluster)", true),
        "one_cluster" => ("cluster", "Cluster", "label_values(weir_cluster_endpoints, cluster)", false),
        "zone" => ("zone", "Zone", "label_values(weir_zone_endpoints{cluster=~\"$cluster\"}, zone)", true),
        "one_release" => ("release", "Release", "label_values(weir_release_weight, release)", false),
        _ => panic!("no variable {word}"),
    };
    let mut variable = json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(), "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "regex": "", "refresh": 2, "sort": 1, "hide": 0, "multi": all, "includeAll": all, "options": [],
        "current": {}, "skipUrlSync": false
    });
    if all {
        // Endpoints without a zone too: `.*` matches an empty label, a list of values does not.
        variable["allValue"] = json!(".*");
        variable["current"] = json!({"selected": true, "text": ["All"], "value": ["$__all"]});
    }
    variable
}

/// What is marked on every graph: what changed, at the moment it did.
fn annotations(uid: &str) -> Vec<Value> {
    let instances = if uid == "weir-instance" { "instance=\"$instance\"" } else { "instance=~\"$instance\"" };
    let mark = |name: &str, color: &str, expr: &str, text: &str, at_value: bool| {
        json!({
            "name": name, "enable": true, "iconColor": color, "datasource": datasource(), "expr": expr,
            "titleFormat": name, "textFormat": text, "tagKeys": "instance", "useValueForTime": at_value, "step": "10s"
        })
    };
    let mut marks = vec![
        json!({
            "name": "Annotations & Alerts", "builtIn": 1, "enable": true, "hide": true, "iconColor": "rgba(0, 211, 255, 1)",
            "type": "dashboard", "datasource": {"type": "grafana", "uid": "-- Grafana --"}
        }),
        mark(
            "Reloads",
            "blue",
            &format!("weir_config_last_reload_success_timestamp_seconds{{{instances}}} * 1000"),
            "a configuration was accepted on {{instance}}",
            true,
        ),
        mark(
            "Starts and upgrades",
            "green",
            &format!("process_start_time_seconds{{{instances}}} * 1000 and on (job, instance) weir_build_info"),
            "another process serves on {{instance}}",
            true,
        ),
        mark(
            "Refused reloads",
            "orange",
            &format!("increase(weir_config_reloads_total{{{instances}, result=\"rejected\"}}[1m]) > 0"),
            "a configuration was refused on {{instance}}",
            false,
        ),
        mark(
            "Critical alerts",
            "red",
            "ALERTS{alertname=~\"Weir.+\", alertstate=\"firing\", severity=\"critical\"}",
            "{{alertname}} {{cluster}} {{zone}}",
            false,
        ),
    ];
    if uid == "weir-release" {
        marks.push(mark(
            "Weights",
            "purple",
            &format!("changes(weir_release_weight{{{instances}, release=\"$release\"}}[1m]) > 0"),
            "{{version}} has another share",
            false,
        ));
    }
    marks
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// Rows, and below each its panels from left to right.
fn panels(rows: &[Value]) -> Vec<Value> {
    let (mut panels, mut y, mut id) = (Vec::new(), 0, 0);
    for row in rows {
        let mut next = || {
            id += 1;
            id
        };
        let collapsed = flag(row, "collapsed");
        let mut head = json!({
            "id": next(), "type": "row", "title": text(row, "title"), "collapsed": collapsed, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        });
        y += 1;
        let (mut inside, mut x, mut tallest) = (Vec::new(), 0, 0);
        let mut below = y;
        for source in list(row, "panels") {
            let (width, height) = size(source);
            if x + width > COLUMNS {
                (x, below, tallest) = (0, below + tallest, 0);
            }
            let mut panel = crate::panels::panel(source);
            panel["id"] = json!(next());
            panel["gridPos"] = json!({"x": x, "y": below, "w": width, "h": height});
            inside.push(panel);
            (x, tallest) = (x + width, tallest.max(height));
        }
        if collapsed {
            head["panels"] = json!(inside);
            panels.push(head);
        } else {
            panels.push(head);
            panels.append(&mut inside);
            y = below + tallest;
        }
    }
    panels
}

fn size(source: &Value) -> (u64, u64) {
    let usual = match kind(source) {
        "stat" | "bargauge" => 4,
        _ => 8,
    };
    (source["width"].as_u64().expect("a panel has a width"), source["height"].as_u64().unwrap_or(usual))
}

/// The type of a panel.
pub(crate) fn kind(source: &Value) -> &str {
    source["type"].as_str().unwrap_or("timeseries")
}

pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

pub(crate) fn flag(value: &Value, key: &str) -> bool {
    value[key].as_bool().unwrap_or(false)
}

pub(crate) fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The pairs of a mapping, in the order they are written in.
pub(crate) fn pairs<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    value[key].as_object().into_iter().flat_map(Map::iter)
}

/// A dashboard as it lies in `deploy/`, and all of its panels, rows too.
pub(crate) fn made(name: &str) -> (Value, Vec<Value>) {
    let board: Value = serde_json::from_str(&read(format!("deploy/grafana/weir-{name}.json"))).unwrap();
    let all = list(&board, "panels").iter().flat_map(|panel| std::iter::once(panel).chain(list(panel, "panels")));
    let all = all.cloned().collect();
    (board, all)
}

#[test]
fn every_panel_has_its_place_and_says_what_it_shows() {
    let mut uids = Vec::new();
    for name in DASHBOARDS {
        let (board, panels) = made(name);
        uids.push(text(&board, "uid").to_owned());
        let known: Vec<&str> =
            list(&board["templating"], "list").iter().map(|variable| text(variable, "name")).collect();
        let mut taken = std::collections::BTreeMap::new();
        let mut titles = std::collections::BTreeSet::new();
        for panel in &panels {
            let title = text(panel, "title");
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("x") + place("w") <= COLUMNS, "{name}: {title} is too far right");
            let nested = !list(&board, "panels").contains(panel);
            for (x, y) in (place("x")..place("x") + place("w"))
                .flat_map(|x| (place("y")..place("y") + place("h")).map(move |y| (x, y)))
            {
                // What lies in a closed row moves what is below when it is opened.
                let before = if nested { None } else { taken.insert((x, y), title) };
                assert!(before.is_none(), "{name}: {title} lies on {before:?}");
            }
            if panel["type"] == "row" {
                continue;
            }
            assert!(titles.insert(title), "{name}: {title} is there twice");
            assert!(panel["description"].as_str().is_some_and(|about| about.ends_with('.')), "{name}: {title}");
            assert!(!list(panel, "targets").is_empty(), "{name}: {title} shows nothing");
            for target in list(panel, "targets") {
                for word in text(target, "expr").split('$').skip(1) {
                    let word: String = word.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    let built_in = word.starts_with("__") || word.parse::<u8>().is_ok();
                    assert!(built_in || known.contains(&&*word), "{name}: {title} asks for ${word}");
                }
            }
        }
        let ids: std::collections::BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{name}: ids");
        let all = board.to_string();
        for (at, _) in all.match_indices("\"/d/") {
            let uid: String = all[at + 4..].chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect();
            assert!(DASHBOARDS.iter().any(|name| format!("weir-{name}") == uid), "{name}: there is no {uid}");
        }
    }
    uids.dedup();
    assert_eq!(uids.len(), DASHBOARDS.len());
}
