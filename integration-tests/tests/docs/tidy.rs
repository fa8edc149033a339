//! The map in ARCHITECTURE.md, held against the code; and that every file is part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::markdown::marked;
use crate::{read, root, tree};

/// Longest file, in lines. One that outgrows it is two files.
const LINES_MAX: usize = 700;

/// Files that may be longer, and why.
const LONGER: &[(&str, &str)] = &[];

/// A file without comments, text and test modules: what it really uses.
fn code(path: &Path) -> String {
    let text = read(path);
    let code: String = text.lines().map(|line| format!("{}\n", line.split("//").next().unwrap_or_default())).collect();
    match code.find("\n#[cfg(test)]\nmod tests {") {
        Some(at) => code[..at].to_owned(),
        None => code,
    }
}

/// The table of ARCHITECTURE.md: module -> what it may import.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = read("ARCHITECTURE.md");
    let table = marked(&text, "imports").expect("ARCHITECTURE.md has a table of imports");
    let quoted = |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split('|');
        let names = quoted(cells.next()?);
        let imports = quoted(cells.next()?);
        Some(names.into_iter().map(move |name| (name, imports.clone())).collect::<Vec<_>>())
    };
    table.lines().filter(|line| line.starts_with("| `")).filter_map(row).flatten().collect()
}

/// The module of `lb/src` a file belongs to: `worker` for `lb/src/worker/pool.rs`.
fn module(path: &Path) -> String {
    let first = path.strip_prefix("lb/src").unwrap().components().next().unwrap();
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The modules named behind `crate::`, as `worker` or, in a list, each of them.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        // `weir_core::crate::` does not exist; `$crate::` in macros would be ours too.
        let rest = &code[at + "crate::".len()..];
        let name = |text: &str| -> String {
            text.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
        };
        match rest.strip_prefix('{') {
            Some(list) => {
                let inside = list.split('}').next().unwrap_or_default();
                found.extend(inside.split(',').map(name).filter(|name| !name.is_empty()));
            }
            None => _ = found.insert(name(rest)),
        }
    }
    found
}

#[test]
fn modules_import_what_the_map_allows() {
    let table = table();
    let mut wrong = Vec::new();
    let mut used: BTreeSet<(String, String)> = BTreeSet::new();
    for path in tree::sources().iter().filter(|path| path.starts_with("lb/src")) {
        let module = module(path);
        if ["main", "lib"].contains(&module.as_str()) {
            continue;
        }
        let allowed = table.get(&module).unwrap_or_else(|| panic!("{module} is not in the table of ARCHITECTURE.md"));
        for import in imports(&code(path)) {
            if import != module && !allowed.contains(&import) {
                wrong.push(format!("{} imports {import}", path.display()));
            }
            used.insert((module.clone(), import));
        }
    }
    assert!(wrong.is_empty(), "not allowed by ARCHITECTURE.md: {wrong:#?}");
    // A permission nobody uses is one too many.
    for (module, allowed) in &table {
        for import in allowed {
            assert!(used.contains(&(module.clone(), import.clone())), "{module} does not import {import}");
        }
    }
}

#[test]
fn the_clock_and_the_servers_library_stay_in_their_rooms() {
    let places: [(&str, &[&str]); 4] = [
        // Elsewhere `tokio::time`, which is virtual wherever the world is.
        ("std::time::Instant", &[]),
        // Certificates are read with the date in hand; what was kept is as old as its file.
        ("SystemTime::now", &["env.rs", "observe/log.rs", "control/source.rs", "control/state.rs"]),
        // Not on the data path: lb/src/http1 is.
        ("hyper::", &["admin/", "cli/client.rs", "demo/", "spans/post.rs"]),
        ("hyper_util::", &["admin/", "cli/client.rs", "demo/", "spans/post.rs"]),
    ];
    for path in tree::sources().iter().filter(|path| path.starts_with("lb/src")) {
        let (code, short) = (code(path), path.strip_prefix("lb/src").unwrap().display().to_string());
        for (what, homes) in places {
            let test = ["tests.rs", "testing.rs"].iter().any(|name| short.ends_with(name));
            let at_home = test || homes.iter().any(|home| short.starts_with(home));
            assert!(at_home || !code.contains(what), "{short} uses {what}");
        }
    }
}

/// The dependencies of a manifest, without those of its tests.
fn dependencies(manifest: &str) -> Vec<String> {
    let text = read(manifest);
    let lines = text.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let name = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(name)
        .collect()
}

#[test]
fn the_core_is_pure_by_its_manifest() {
    assert_eq!(dependencies("lb/core/Cargo.toml"), ["weir-config", "thiserror", "xxhash-rust"]);
    let config = dependencies("config/Cargo.toml");
    assert!(config.iter().all(|name| !name.starts_with("weir")), "arrows point back: {config:?}");
    for name in ["tokio", "hyper", "notify", "tracing", "rustix", "socket2"] {
        assert!(!config.iter().any(|dependency| dependency == name), "weir-config is pure, without {name}");
    }
}

#[test]
fn yaml_is_read_in_one_file() {
    let users: Vec<PathBuf> = tree::sources()
        .into_iter()
        .filter(|path| code(path).contains("serde_yaml::"))
        .filter(|path| path.starts_with("config/src"))
        .collect();
    assert_eq!(users, [PathBuf::from("config/src/yaml.rs")]);
}

#[test]
fn nothing_is_unsafe() {
    for path in tree::sources() {
        let code = code(&path);
        let word = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let found = code.match_indices("unsafe {").chain(code.match_indices("unsafe fn")).any(|(at, _)| word(at));
        assert!(!found || path.ends_with("tests/docs/tidy.rs"), "{}", path.display());
    }
}

#[test]
fn no_file_outgrows_its_reader() {
    for path in tree::sources() {
        let lines = read(&path).lines().count();
        let listed = LONGER.iter().any(|(longer, _)| path == Path::new(longer));
        assert!(lines <= LINES_MAX || listed, "{}: {lines} lines", path.display());
        assert!(lines > LINES_MAX || !listed, "{} is short enough now", path.display());
    }
}

/// Whether Cargo finds a file by itself.
fn is_root(path: &Path) -> bool {
    let text = path.display().to_string();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    matches!(&*name, "lib.rs" | "main.rs") || ["tests", "bin"].contains(&&*folder) || text.contains("benches/benches/")
}

/// The files that the `mod name;` lines of a file stand for, also within a `mod group { … }`.
fn declared_by(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().unwrap();
    let name = path.file_stem().unwrap().to_string_lossy();
    let home = match is_root(path) || name == "mod" {
        true => folder.to_owned(),
        false => folder.join(&*name),
    };
    let mut group = None;
    let mut declared = Vec::new();
    for line in read(path).lines() {
        if line == "}" {
            group = None;
        }
        let line = line.trim_start();
        let visibilities = ["pub(crate) ", "pub(super) ", "pub "];
        let line = visibilities.iter().find_map(|visibility| line.strip_prefix(visibility)).unwrap_or(line);
        let Some(module) = line.strip_prefix("mod ") else {
            continue;
        };
        if let Some(module) = module.strip_suffix(" {") {
            group = Some(module.to_owned());
        } else if let Some(module) = module.strip_suffix(';') {
            let home = group.as_ref().map_or_else(|| home.clone(), |group| home.join(group));
            declared.push(home.join(format!("{module}.rs")));
            declared.push(home.join(module).join("mod.rs"));
        }
    }
    declared
}

#[test]
fn every_file_is_declared() {
    let sources = tree::sources();
    let declared: BTreeSet<PathBuf> = sources.iter().flat_map(|path| declared_by(path)).collect();
    let lost: Vec<_> = sources.iter().filter(|path| !is_root(path) && !declared.contains(*path)).collect();
    assert!(lost.is_empty(), "nobody declares {lost:#?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    for path in tree::sources() {
        assert!(read(&path).starts_with("//!"), "{} begins without a word", path.display());
    }
}

#[test]
fn the_map_names_what_is_there() {
    let text = read("ARCHITECTURE.md");
    for path in
        text.split('`').skip(1).step_by(2).filter(|word| word.contains('/') && !word.contains([' ', '*', '{', '<']))
    {
        let path = path.trim_end_matches('/');
        let looks_like_one = ["config", "lb", "deploy", "benches", "integration-tests", "docs"]
            .iter()
            .any(|room| path.starts_with(&format!("{room}/")));
        assert!(!looks_like_one || root().join(path).exists(), "ARCHITECTURE.md speaks of {path}");
    }
}
