//! README.zh-CN.md says what README.md says: the same headings, blocks, links, images, tables and
//! words in code, in the same order. What is said between them nobody but a reader can compare; that
//! a sentence was added or dropped shows in the number of its paragraphs and items.

use std::path::Path;

use crate::markdown::blocks;
use crate::read;

const ENGLISH: &str = "README.md";
const CHINESE: &str = "README.zh-CN.md";

/// Lines outside of fenced blocks.
fn prose(page: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in read(page).lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// The shape of a page: a word for each heading (with its level), paragraph, item and row.
fn shape(page: &str) -> Vec<String> {
    let mut shape: Vec<String> = Vec::new();
    let mut before_was_text = false;
    for line in prose(page) {
        let is_head = line.starts_with('#');
        let starts_item = line.starts_with("- ") || line.starts_with('|');
        let is_text = !line.trim().is_empty() && !is_head && !starts_item;
        if is_head {
            shape.push(line.chars().take_while(|c| *c == '#').collect());
        } else if starts_item {
            shape.push(line.chars().take(1).collect());
        } else if is_text && !before_was_text {
            shape.push("text".to_owned());
        }
        before_was_text = is_text || starts_item;
    }
    shape
}

/// Where links and images lead, in order. The links from one language to the other differ.
fn links(page: &str) -> Vec<String> {
    let text = prose(page).join("\n");
    let target = |(at, _): (usize, &str)| text[at + 2..].split(')').next().unwrap_or_default().to_owned();
    text.match_indices("](").map(target).filter(|target| target != ENGLISH && target != CHINESE).collect()
}

/// Words in code, sorted: another language puts them in another order within a sentence.
fn codes(page: &str) -> Vec<String> {
    let text = prose(page).join(" ");
    let mut codes: Vec<String> = text.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    codes.sort();
    codes
}

/// The numbers of the table of measurements: whoever measures anew tells both.
fn cells(page: &str) -> Vec<String> {
    let number = |cell: &str| cell.chars().filter(|c| c.is_ascii_digit() || matches!(c, '.' | '*')).collect::<String>();
    let rows = prose(page).into_iter().filter(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('|').skip(2).map(number).collect::<Vec<_>>()).collect()
}

#[test]
fn the_chinese_readme_keeps_up() {
    for page in [ENGLISH, CHINESE] {
        let head: Vec<String> = read(page).lines().take(4).map(str::to_owned).collect();
        let both = head.iter().any(|line| line.contains("English") && line.contains("简体中文"));
        assert!(both, "{page} begins without a link to the other language");
    }
    assert_eq!(shape(CHINESE), shape(ENGLISH), "headings, paragraphs, items and rows");
    let block = |page: &str| -> Vec<(String, String)> {
        blocks(Path::new(page)).into_iter().map(|block| (block.info, block.text)).collect()
    };
    for (chinese, english) in block(CHINESE).iter().zip(&block(ENGLISH)) {
        assert_eq!(chinese, english, "a block of {CHINESE} is not that of {ENGLISH}");
    }
    assert_eq!(block(CHINESE).len(), block(ENGLISH).len());
    assert_eq!(links(CHINESE), links(ENGLISH), "links");
    assert_eq!(codes(CHINESE), codes(ENGLISH), "words in code");
    assert_eq!(cells(CHINESE), cells(ENGLISH), "numbers in tables");
}
