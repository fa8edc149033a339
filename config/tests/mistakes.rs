//! One bad file a mistake, each beside the text an operator gets to see.
//!
//! `UPDATE_EXPECT=1 cargo test -p weir-config --test mistakes` writes the texts anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use weir_config::{Mistakes, Severity, Source, Style};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    cases.sort();
    cases
}

/// Files that a case names, in a folder of their own.
fn beside(name: &str) -> std::io::Result<Vec<u8>> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes/files").join(name))
}

/// 1 January 2027: some of their certificates are too old by then, some too new.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_798_761_600)
}

/// What is said about the file: why it is refused, or what it is warned of.
fn said(path: &Path) -> (bool, Mistakes) {
    let bytes = fs::read(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let source = Source { name, env: &|_| None, files: &beside };
    let parsed = match std::str::from_utf8(&bytes) {
        Ok(text) => weir_config::parse_at(text, &source, Some(now())),
        Err(_) => weir_config::parse_bytes(&bytes, &source),
    };
    match parsed {
        Ok(parsed) => (true, parsed.warnings),
        Err(mistakes) => (false, mistakes),
    }
}

#[test]
fn each_bad_file_gets_its_message() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let (taken, mistakes) = said(&case);
        let name = case.file_stem().unwrap().to_str().unwrap();
        assert_eq!(taken, name.starts_with("warning_"), "{name}: {mistakes}");
        assert!(!mistakes.is_empty(), "{name} has nothing wrong with it");
        let (expect, found) = (case.with_extension("txt"), mistakes.render(Style::Plain));
        if update {
            fs::write(&expect, &found).unwrap();
        } else if fs::read_to_string(&expect).unwrap_or_default() != found {
            wrong.push(format!("{name}:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "not as expected (UPDATE_EXPECT=1 accepts):\n{}", wrong.join("\n"));
}

#[test]
fn each_text_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.is_dir() || path.with_extension("yaml").exists(), "{} is left over", path.display());
    }
}

#[test]
fn every_mistake_says_where() {
    let mut codes = BTreeSet::new();
    for case in cases() {
        for mistake in &said(&case).1 {
            let place = mistake.place;
            assert!(place.line >= 1 && place.column >= 1, "{mistake:?}");
            assert!((place.end_line, place.end_column) > (place.line, place.column), "{mistake:?}");
            assert!(!mistake.message.is_empty() && !mistake.message.ends_with('.'), "{mistake:?}");
            codes.insert(mistake.code);
        }
    }
    assert!(codes.len() >= 90, "only {} kinds of mistake are shown: {codes:?}", codes.len());
}

#[test]
fn the_json_says_the_same() {
    for case in cases() {
        let (taken, mistakes) = said(&case);
        let json = mistakes.to_json();
        assert_eq!(json["errors"].as_u64().unwrap() == 0, taken);
        let list = json["mistakes"].as_array().unwrap();
        assert_eq!(list.len(), mistakes.len());
        for (told, mistake) in list.iter().zip(&mistakes) {
            assert_eq!(told["code"], mistake.code);
            assert_eq!(told["line"], mistake.place.line);
            assert_eq!(told["severity"] == "error", mistake.severity == Severity::Error);
        }
    }
}
