//! The pages of `docs/reference/`: whole pages that the code writes about itself. What explains is
//! written by hand and stands beside them.

mod api;
mod events;
mod metrics;
mod reasons;

use crate::root;

/// Holds a page against what the code says, or writes it.
fn expect(name: &str, text: &str) {
    const AGAIN: &str = "`UPDATE_EXPECT=1 cargo test -p weir-integration-tests --test docs reference` writes it anew";
    let path = format!("docs/reference/{name}.md");
    let text = format!("<!-- Made from the code; {AGAIN}. -->\n\n{}\n", text.trim());
    if std::fs::read_to_string(root().join(&path)).is_ok_and(|found| found == text) {
        return;
    }
    assert!(std::env::var_os("UPDATE_EXPECT").is_some(), "{path} is not what the code says: {AGAIN}");
    std::fs::create_dir_all(root().join("docs/reference")).unwrap();
    std::fs::write(root().join(path), text).unwrap();
}

/// A row of a table: what stands in a cell may hold a bar.
fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

#[test]
fn configuration_is_the_schemas() {
    expect("configuration", &weir_config::reference());
}

#[test]
fn commands_are_the_programs() {
    expect("commands", &weir::cli::reference());
}
