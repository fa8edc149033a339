//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use crate::root;

/// Every file under `directory`, by its path from the root, in order. Build output is left out.
pub(crate) fn files(directory: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&root().join(directory), &mut found);
    let root = root();
    let mut found: Vec<PathBuf> =
        found.into_iter().map(|path| path.strip_prefix(&root).expect("it lies under the root").to_owned()).collect();
    found.sort();
    found
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", "node_modules"].contains(&&*name) && !name.starts_with('.') {
                walk(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

/// Every Rust file of the workspace.
pub(crate) fn sources() -> Vec<PathBuf> {
    let rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let rooms = ["config", "lb", "benches", "integration-tests"];
    rooms.into_iter().flat_map(files).filter(rust).collect()
}
