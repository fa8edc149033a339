//! Alerts, their runbook, and who is told: each alert is whole, has a section in docs/alerts.md,
//! and is seen to fire and not to fire by `promtool`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use weir_integration_tests::weir::binary;

use crate::dashboards::{DASHBOARDS, list, made, text};
use crate::{read, root};

const RULES: [&str; 2] = ["weir.rules.yml", "weir.slo.rules.yml"];
const TESTS: [&str; 2] = ["weir.test.yml", "weir.slo.test.yml"];
const RUNBOOK: &str = "https://weir.example/docs/alerts.md";

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every rule of ours.
pub(crate) fn rules() -> Vec<Value> {
    let of = |file: &&str| yaml(&format!("deploy/prometheus/{file}"));
    let groups = RULES.iter().map(of).flat_map(|file| list(&file, "groups").to_vec());
    groups.flat_map(|group| list(&group, "rules").to_vec()).collect()
}

fn alerts() -> Vec<Value> {
    rules().into_iter().filter(|rule| !rule["alert"].is_null()).collect()
}

fn names() -> BTreeSet<String> {
    alerts().iter().map(|alert| text(alert, "alert").to_owned()).collect()
}

fn run(tool: &str, directory: &str, arguments: &[&str]) {
    let output = Command::new(tool)
        .args(arguments)
        .current_dir(root().join(directory))
        .output()
        .unwrap_or_else(|error| panic!("cannot start {tool} ({error}); `make test` installs it"));
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {said}");
}

#[test]
fn prometheus_and_alertmanager_take_their_files() {
    run("promtool", "deploy/prometheus", &["check", "config", "prometheus.yml"]);
    run("promtool", "deploy/prometheus", &[&["check", "rules"][..], &RULES].concat());
    run("promtool", "deploy/prometheus", &[&["test", "rules"][..], &TESTS].concat());
    run("amtool", "deploy/alertmanager", &["check-config", "alertmanager.yml"]);
}

#[test]
fn every_alert_fires_and_does_not_fire() {
    let tests: String = TESTS.iter().map(|file| read(format!("deploy/prometheus/{file}"))).collect();
    for name in names() {
        // Each look at an alert, as far as the next.
        let looks: Vec<&str> = tests.split("- expr: ").filter(|look| look.contains(&format!("\"{name}\""))).collect();
        let (quiet, fires): (Vec<&str>, Vec<&str>) = looks.iter().partition(|look| look.contains("exp_samples: []"));
        assert!(!fires.is_empty(), "{name} is never seen to fire");
        assert!(!quiet.is_empty(), "{name} is never seen not to fire");
    }
}

#[test]
fn every_alert_says_what_to_do_and_for_whom() {
    let page = read("docs/alerts.md");
    for alert in alerts() {
        let name = text(&alert, "alert");
        assert!(["critical", "warning"].contains(&text(&alert["labels"], "severity")), "{name}");
        assert!(["edge", "apps"].contains(&text(&alert["labels"], "team")), "{name}");
        let annotations = &alert["annotations"];
        assert!(!text(annotations, "summary").is_empty() && text(annotations, "action").ends_with('.'), "{name}");
        assert_eq!(text(annotations, "runbook_url"), format!("{RUNBOOK}#{}", name.to_lowercase()), "{name}");
        let (_, section) = page
            .split_once(&format!("\n### {name}\n"))
            .unwrap_or_else(|| panic!("docs/alerts.md has no section {name}"));
        let section = section.split("\n### ").next().unwrap_or_default();
        for part in ["**Means.** ", "**Look.** ", "**Do.** "] {
            assert!(section.contains(part), "docs/alerts.md: {name} has no {part}");
        }
    }
    let names = names();
    for heading in page.lines().filter_map(|line| line.strip_prefix("### ")) {
        assert!(names.contains(heading), "docs/alerts.md has a section for {heading}, which is no alert");
    }
}

/// Commands in the runbook's prose: the verbs and flags are there.
#[test]
fn the_runbook_names_commands_that_exist() {
    let page = read("docs/alerts.md");
    for command in page.split('`').skip(1).step_by(2).filter(|code| code.starts_with("weir ")) {
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let help = |verbs: &[&str]| {
            let output = Command::new(binary()).args(verbs).arg("--help").output().unwrap();
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let verbs = words
            .iter()
            .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with("--"));
        let verbs: Vec<&str> = verbs.copied().collect();
        // The last of them may be a name: `weir drain zone ZONE`.
        let said = (1..=verbs.len()).rev().find_map(|n| help(&verbs[..n]));
        let said = said.unwrap_or_else(|| panic!("docs/alerts.md: there is no `{command}`"));
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(said.contains(flag), "docs/alerts.md: `{command}` has no {flag}");
        }
    }
}

#[test]
fn whom_alertmanager_keeps_quiet_exists() {
    let (names, config) = (names(), yaml("deploy/alertmanager/alertmanager.yml"));
    let labels = ["alertname", "team", "severity"];
    let mut matchers = Vec::new();
    for rule in list(&config, "inhibit_rules") {
        matchers.extend(list(rule, "source_matchers").iter().chain(list(rule, "target_matchers")).cloned());
    }
    for route in list(&config["route"], "routes") {
        matchers.extend(list(route, "matchers").iter().cloned());
    }
    for matcher in matchers.iter().map(|matcher| matcher.as_str().unwrap()) {
        let (label, rest) = matcher.split_once(['=', '!']).unwrap();
        assert!(labels.contains(&label), "{matcher}");
        let quoted = rest.split('"').nth(1).unwrap();
        if label != "alertname" {
            continue;
        }
        // A whole name, or a pattern that one matches.
        for one in quoted.split('|').filter(|one| one.chars().all(char::is_alphanumeric)) {
            assert!(names.contains(one), "{matcher}: there is no alert {one}");
        }
    }
}

#[test]
fn what_a_dashboard_takes_from_a_rule_is_recorded() {
    let records: BTreeSet<String> =
        rules().iter().filter_map(|rule| rule["record"].as_str().map(str::to_owned)).collect();
    let mut asked = BTreeSet::new();
    for name in DASHBOARDS {
        let (_, panels) = made(name);
        for target in panels.iter().flat_map(|panel| list(panel, "targets")) {
            let words = text(target, "expr").split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
            asked.extend(words.filter(|word| word.contains(':')).map(str::to_owned));
        }
    }
    assert!(!asked.is_empty() && asked.is_subset(&records), "{:?}", asked.difference(&records));
}
