//! What an edit does to a text, line by line, in the form that `patch` and everybody's eyes know
//! ("unified").

use std::fmt::Write as _;

/// Lines shown around a change.
const CONTEXT: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// What a line of [`unified`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Where a piece begins: its lines by number.
    Place,
    /// In both texts.
    Same,
    /// In the old text only.
    Gone,
    /// In the new text only.
    New,
}

/// What leads from `old` to `new`, both known as `name`; nothing if they are the same. Each line goes
/// through `dress`, for whoever wants colours.
#[must_use]
pub fn unified(name: &str, old: &str, new: &str, dress: &dyn Fn(Sort, &str) -> String) -> String {
    let lines = lines(old, new);
    let mut text = String::new();
    let changed: Vec<usize> = (0..lines.len()).filter(|at| !matches!(lines[*at], Line::Same(_))).collect();
    if changed.is_empty() {
        return text;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "--- {name}\n+++ {name}");
    let mut rest = &changed[..];
    while let [first, ..] = *rest {
        let close = rest.windows(2).take_while(|pair| pair[1] - pair[0] <= 2 * CONTEXT + 1).count();
        let (from, to) = (first.saturating_sub(CONTEXT), (rest[close] + CONTEXT + 1).min(lines.len()));
        hunk(&mut text, &lines, from, to, dress);
        rest = &rest[close + 1..];
    }
    text
}

fn hunk(text: &mut String, lines: &[Line<'_>], from: usize, to: usize, dress: &dyn Fn(Sort, &str) -> String) {
    let old = |lines: &[Line<'_>]| lines.iter().filter(|line| !matches!(line, Line::New(_))).count();
    let new = |lines: &[Line<'_>]| lines.iter().filter(|line| !matches!(line, Line::Gone(_))).count();
    let (before, inside) = (&lines[..from], &lines[from..to]);
    let head = format!("@@ -{},{} +{},{} @@", old(before) + 1, old(inside), new(before) + 1, new(inside));
    let _ = writeln!(text, "{}", dress(Sort::Place, &head));
    for line in inside {
        let (sign, line, sort) = match *line {
            Line::Same(line) => (' ', line, Sort::Same),
            Line::Gone(line) => ('-', line, Sort::Gone),
            Line::New(line) => ('+', line, Sort::New),
        };
        let ends = line.ends_with('\n');
        let _ = writeln!(text, "{}", dress(sort, &format!("{sign}{}", line.trim_end_matches(['\r', '\n']))));
        if !ends {
            text.push_str("\\ No newline at end of file\n");
        }
    }
}

/// Both texts in one. Where they part, the least number of lines is passed over until they meet
/// again: edits are small, and this one's cost grows with their size only.
fn lines<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::with_capacity(new.len());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
            continue;
        }
        let (left, right) = (old.len() - i, new.len() - j);
        let meet = |passed: usize| {
            (passed.saturating_sub(right)..=passed.min(left)).map(move |gone| (gone, passed - gone)).find(
                |(gone, come)| {
                    (i + gone == old.len() && j + come == new.len())
                        || (i + gone < old.len() && j + come < new.len() && old[i + gone] == new[j + come])
                },
            )
        };
        // They meet at their ends at the latest.
        let (gone, come) = (1..left + right).find_map(meet).unwrap_or((left, right));
        lines.extend(old[i..i + gone].iter().map(|line| Line::Gone(line)));
        lines.extend(new[j..j + come].iter().map(|line| Line::New(line)));
        (i, j) = (i + gone, j + come);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(old: &str, new: &str) -> String {
        unified("f", old, new, &|_, line| line.to_owned())
    }

    #[test]
    fn changes_stand_among_their_neighbours() {
        let old = "1\n2\n3\n4\nweight: 5\n6\n7\n8\n9\n";
        let expected = "--- f\n+++ f\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-weight: 5\n+weight: 10\n 6\n 7\n 8\n";
        assert_eq!(patch(old, &old.replace("5", "10")), expected);
        assert_eq!(patch(old, old), "");
    }

    #[test]
    fn lines_that_are_put_in_are_no_replacements() {
        assert_eq!(patch("a\nb\nc\n", "a\nnew\nb\nc\n"), "--- f\n+++ f\n@@ -1,3 +1,4 @@\n a\n+new\n b\n c\n");
        let both = patch("a\nb\nc 5\nd\n", "a\nnew\nb\nc 6\nd\n");
        assert_eq!(both, "--- f\n+++ f\n@@ -1,4 +1,5 @@\n a\n+new\n b\n-c 5\n+c 6\n d\n");
    }

    #[test]
    fn what_is_far_apart_has_its_own_hunk() {
        let old: String = (1..=30).map(|n| format!("{n}\n")).collect();
        let new = old.replace("\n5\n", "\nfive\n").replace("\n25\n", "\ntwentyfive\n");
        let patch = patch(&old, &new);
        assert_eq!(patch.matches("@@ -").count(), 2, "{patch}");
        assert!(patch.contains("@@ -2,7 +2,7 @@") && patch.contains("@@ -22,7 +22,7 @@"), "{patch}");
    }

    #[test]
    fn the_last_line_may_lack_its_end() {
        let expected = "--- f\n+++ f\n@@ -1,2 +1,3 @@\n a\n-b\n\\ No newline at end of file\n+b\n+c\n\\ No newline at end of file\n";
        assert_eq!(patch("a\nb", "a\nb\nc"), expected);
        assert_eq!(patch("a\r\n", "b\r\n"), "--- f\n+++ f\n@@ -1,1 +1,1 @@\n-a\n+b\n");
    }
}
