//! The examples are documentation, so they must be true.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::path::Path;

/// Files beside the examples.
fn beside(name: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name))
}

#[test]
fn every_example_parses_without_a_warning() {
    for entry in Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let source = weir_config::Source { name: &path.display().to_string(), env: &|_| None, files: &beside };
        let parsed = weir_config::parse(&text, &source).unwrap();
        assert!(parsed.warnings.is_empty(), "{}", parsed.warnings);
    }
}
