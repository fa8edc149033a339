//! Documents are executed: each YAML block is checked, each console block run against the real
//! binary, each table made from the code it describes, each file of `deploy/` read by the tool it
//! is for, and the map in ARCHITECTURE.md held against the imports.
//!
//! `UPDATE_EXPECT=1 cargo test -p weir-integration-tests --test docs` writes the tables anew.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod chinese;
mod commands;
mod configs;
mod dashboards;
mod deploy;
mod desk;
mod licenses;
mod loose;
mod markdown;
mod monitoring;
mod panels;
mod peers;
mod reference;
mod scene;
mod session;
mod tables;
mod tidy;
mod tree;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies in the repository").to_owned()
}

/// The text of a file, by its path from the root.
fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every document, by its path from the root.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(PathBuf::from).into();
    pages.extend(tree::files("docs").into_iter().filter(|path| path.extension().is_some_and(|e| e == "md")));
    pages
}
