//! The licence list of deny.toml, held against the dependency graph. `cargo deny check` does more;
//! this needs no other tool.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::{read, root};

/// The list `allow` of deny.toml.
fn allowed() -> BTreeSet<String> {
    let text = read("deny.toml");
    let (_, rest) = text.split_once("\nallow = [").expect("deny.toml has a list of licences");
    let (list, _) = rest.split_once(']').expect("the list ends");
    let quoted = |line: &str| line.split('"').nth(1).map(str::to_owned);
    list.lines().filter_map(quoted).collect()
}

/// Whether an SPDX expression can be met with these licences. AND binds closer than OR.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let text = expression.replace('/', " OR ");
    let text = text.trim();
    let parts = |word: &str| -> Vec<String> {
        let mut parts = vec![String::new()];
        let mut depth = 0;
        for token in text.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
            match token {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            if depth == 0 && token == word {
                parts.push(String::new());
            } else if let Some(part) = parts.last_mut() {
                part.push_str(token);
                part.push(' ');
            }
        }
        parts
    };
    let (any, all) = (parts("OR"), parts("AND"));
    if any.len() > 1 {
        return any.iter().any(|part| is_met(part, allowed));
    }
    if all.len() > 1 {
        return all.iter().all(|part| is_met(part, allowed));
    }
    match text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        Some(inside) => is_met(inside, allowed),
        None => allowed.contains(text),
    }
}

/// What the packages we build with say of themselves.
fn graph() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_licence_is_on_the_list_and_the_list_is_used() {
    let (allowed, graph) = (allowed(), graph());
    let resolved: BTreeSet<&str> =
        graph["resolve"]["nodes"].as_array().unwrap().iter().filter_map(|node| node["id"].as_str()).collect();
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in graph["packages"].as_array().unwrap() {
        if resolved.contains(package["id"].as_str().unwrap()) {
            let licence = package["license"].as_str().unwrap_or("(none)");
            found.entry(licence).or_default().push(package["name"].as_str().unwrap());
        }
    }
    assert!(found.values().map(Vec::len).sum::<usize>() > 50, "the graph is too small to be true: {found:?}");
    for (licence, packages) in &found {
        assert!(is_met(licence, &allowed), "{licence} is not on the list of deny.toml: {packages:?}");
    }
}

#[test]
fn expressions_are_understood() {
    let allowed: BTreeSet<String> = ["MIT", "ISC"].map(str::to_owned).into();
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("(MIT OR ISC) AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception OR ISC", true),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}
