//! Each ```yaml block goes through `weir check`.
//!
//! A block that is a part of a config says where it belongs: `yaml in=cluster`, `in=listener`,
//! `in=route`, `in=health_check`, `in=releases` or `in=top`; the rest is put around it. `yaml wrong=CODE` is a
//! mistake that is shown on purpose; `yaml peer=NAME` is for another program ([`crate::peers`]).

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use weir_integration_tests::weir::binary;

use crate::markdown::{Block, blocks};
use crate::{pages, read, root, tree};

/// A whole config around a part of one.
fn whole(block: &Block) -> String {
    let indented = |by: usize| -> String {
        let line = |line: &str| match line {
            "" => "\n".to_owned(),
            line => format!("{:by$}{line}\n", ""),
        };
        block.text.lines().map(line).collect()
    };
    let listener = "listeners:\n  - name: web\n    bind: 127.0.0.1:8080\n";
    let cluster = "clusters:\n  - name: shop\n";
    let endpoints = "    endpoints: [10.0.1.11:8080]\n";
    match block.word("in") {
        None => block.text.clone(),
        Some("top") => format!("{}{listener}    cluster: shop\n{cluster}{endpoints}", block.text),
        Some("releases") => {
            let named = ["orders-v1", "orders-v2", "orders-v3"].into_iter().filter(|name| block.text.contains(name));
            let clusters: String = named.map(|name| format!("  - name: {name}\n{endpoints}")).collect();
            format!("{listener}    release: orders\n{}clusters:\n{clusters}", block.text)
        }
        Some("listener") => format!("{listener}{}{cluster}{endpoints}", indented(4)),
        Some("route") => format!("{listener}    routes:\n{}{cluster}{endpoints}", indented(6)),
        Some("cluster") => format!("{listener}    cluster: shop\n{cluster}{}", indented(4)),
        Some("health_check") => {
            format!("{listener}    cluster: shop\n{cluster}{endpoints}    health_checks:\n{}", indented(6))
        }
        Some(other) => panic!("{}: what is in={other}?", block.place()),
    }
}

/// Files that examples lead to, beside those of the tested examples.
fn files() -> Vec<PathBuf> {
    let all = tree::files("config/examples");
    all.into_iter().filter(|path| path.extension().is_some_and(|extension| extension != "yaml")).collect()
}

/// Puts them into a directory.
pub(crate) fn put_files(directory: &Path) {
    for beside in files() {
        std::fs::copy(root().join(&beside), directory.join(beside.file_name().unwrap())).unwrap();
    }
}

/// What `weir check --format json` says to `text`, and whether it exits with 0.
pub(crate) fn check(text: &str) -> (Value, bool) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.yaml");
    std::fs::write(&path, text).unwrap();
    put_files(directory.path());
    let output =
        Command::new(binary()).args(["check", "--format", "json"]).arg(&path).output().expect("the binary starts");
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.success())
}

#[test]
fn every_config_on_a_page_is_valid() {
    let mut seen = 0;
    let ours = |block: &Block| block.language() == "yaml" && block.word("peer").is_none();
    for block in pages().iter().flat_map(|page| blocks(page)).filter(ours) {
        let (verdict, good) = check(&whole(&block));
        match block.word("wrong") {
            None => {
                assert!(good, "{}: {verdict:#}", block.place());
                assert_eq!(verdict["warnings"], 0, "{}: {verdict:#}", block.place());
            }
            Some(code) => {
                assert!(!good, "{}: this should be wrong", block.place());
                assert_eq!(verdict["mistakes"][0]["code"], code, "{}: {verdict:#}", block.place());
            }
        }
        seen += 1;
    }
    assert!(seen >= 6, "only {seen} blocks: are they still found?");
}

#[test]
fn every_example_is_valid() {
    for path in tree::files("config/examples").iter().filter(|path| path.extension().is_some_and(|it| it == "yaml")) {
        let (verdict, good) = check(&read(path));
        assert!(good, "{}: {verdict:#}", path.display());
    }
}
