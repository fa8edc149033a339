//! As much of Markdown as our documents use: fenced blocks, links, headings, marked tables.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use crate::{pages, read, root};

/// A fenced block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) page: PathBuf,
    /// The line of its fence, from 1.
    pub(crate) line: usize,
    /// What stands behind the fence: language first, then words for the tests.
    pub(crate) info: String,
    pub(crate) text: String,
}

impl Block {
    /// Its language.
    pub(crate) fn language(&self) -> &str {
        self.info.split_whitespace().next().unwrap_or_default()
    }

    /// The value of `name=value` behind the language; empty for a bare `name`.
    pub(crate) fn word(&self, name: &str) -> Option<&str> {
        self.info.split_whitespace().skip(1).find_map(|word| match word.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (word == name).then_some(""),
        })
    }

    /// Where it stands, for messages.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.page.display(), self.line)
    }
}

/// The fenced blocks of a page.
pub(crate) fn blocks(page: &Path) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (at, line) in read(page).lines().enumerate() {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(info), None) => {
                open = Some(Block {
                    page: page.to_owned(),
                    line: at + 1,
                    info: info.trim().to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block is not closed", page.display());
    blocks
}

/// What stands between `<!-- begin NAME -->` and `<!-- end NAME -->`, if the page has both.
pub(crate) fn marked<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<!-- begin {name} -->\n"))?;
    let (inside, _) = rest.split_once(&format!("<!-- end {name} -->"))?;
    Some(inside)
}

/// The anchors of a page: those made of its headings, and those that are written.
fn anchors(page: &Path) -> HashSet<String> {
    let heading = |line: &str| -> String {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let text = read(page);
    let written = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned);
    text.lines().filter(|line| line.starts_with('#')).map(heading).chain(written).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut known: HashMap<PathBuf, HashSet<String>> = HashMap::new();
    for page in pages().into_iter().chain([PathBuf::from("README.zh-CN.md")]) {
        let text = read(&page);
        for (at, _) in text.match_indices("](") {
            let Some((target, _)) = text[at + 2..].split_once(')') else {
                continue;
            };
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = match path {
                "" => page.clone(),
                path => plain(&page.parent().unwrap_or_else(|| Path::new("")).join(path)),
            };
            assert!(root().join(&there).exists(), "{}: nothing at {target}", page.display());
            if !anchor.is_empty() {
                let anchors = known.entry(there).or_insert_with_key(|there| anchors(there));
                assert!(anchors.contains(anchor), "{}: no heading for {target}", page.display());
            }
        }
    }
}

/// The same path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}
