//! Two outputs of the same command on two machines: what may differ, and what may not.
//!
//! Addresses, times, durations, ids, counts and directories differ; words, states, statuses,
//! order, and numbers that belong together (`4 of 6`, `1 -> 2`) do not.

/// Whether each line of `shown` is in `actual`, in that order. A line that is `…` stands for any
/// lines, and `…` at the end of a line for the rest of it.
pub(crate) fn matches(shown: &str, actual: &str) -> bool {
    let mut actual = actual.lines().map(normal);
    shown.lines().filter(|line| !line.trim().is_empty() && line.trim() != "…").all(|line| {
        match line.trim_end().strip_suffix('…') {
            Some(start) => {
                let start = normal(start);
                actual.any(|line| line.starts_with(&start))
            }
            None => {
                let line = normal(line);
                actual.any(|other| other == line)
            }
        }
    })
}

/// A line without what may differ.
pub(crate) fn normal(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let fixed = |at: Option<&&str>| at.is_some_and(|word| matches!(*word, "of" | "->" | "HTTP/1.1" | "exit"));
    let mut out: Vec<String> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| words.get(at));
        let is_count = word.bytes().all(|b| b.is_ascii_digit());
        let keeps = at == 0 || fixed(before) || fixed(words.get(at + 1));
        out.push(match is_count {
            true if keeps => (*word).to_owned(),
            true => "N".to_owned(),
            false if before == Some(&"on") && word.contains(':') && !word.contains('.') => "HOST".to_owned(),
            false => part(word),
        });
    }
    out.join(" ")
}

/// A word without what may differ.
fn part(word: &str) -> String {
    let (lead, rest) = split_at(word, |c| matches!(c, '(' | '"' | '\'' | '`' | '['));
    if rest.starts_with('/') && rest.len() > 1 {
        let name = rest.rsplit('/').next().unwrap_or_default();
        return format!("{lead}{}", numbers(name));
    }
    format!("{lead}{}", numbers(rest))
}

fn split_at(word: &str, lead: impl Fn(char) -> bool) -> (&str, &str) {
    let at = word.find(|c| !lead(c)).unwrap_or(word.len());
    word.split_at(at)
}

/// Addresses, moments, durations and numbers of a word, each by one letter word.
fn numbers(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        if is_uuid(rest) {
            out.push_str("ID");
            rest = &rest[36..];
        } else if c.is_ascii_digit() && !before.is_ascii_alphabetic() && before != '-' {
            let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(rest.len());
            let number = rest[..end].trim_end_matches([':', '.']);
            let tail = &rest[number.len()..];
            let unit = ["µs", "ns", "ms", "s", "m", "h", "d"].into_iter().find(|unit| tail.starts_with(unit));
            if tail.starts_with('-') && number.len() == 4 {
                // 2026-11-23T05:14:27.252Z
                out.push_str("TIME");
                let end = tail.find('Z').map_or(tail.len(), |z| z + 1);
                rest = &tail[end..];
            } else if number.matches('.').count() == 3 {
                out.push_str("ADDR");
                rest = tail;
            } else if let Some(unit) = unit {
                if !out.ends_with("DUR") {
                    out.push_str("DUR");
                }
                rest = &tail[unit.len()..];
                before = ' ';
                continue;
            } else {
                out.push('N');
                rest = tail;
            }
            before = 'N';
            continue;
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
        before = c;
    }
    out
}

fn is_uuid(text: &str) -> bool {
    text.len() >= 36
        && text.bytes().take(36).enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

#[test]
fn what_may_differ_differs() {
    for (a, b) in [
        ("weir 0.1.0 on lb-1:675 · up 34s", "weir 0.1.0 on host:9 · up 1m02s"),
        ("  az-a  127.0.0.1:40941  healthy   33s  1  0  247", "az-a 127.64.1.2:1 healthy 5s 2 0 9"),
        ("2026-11-23T05:14:27.252Z #13   WARN  shop/127.0.0.1:1", "2027-01-01T00:00:00.000Z #4 WARN shop/127.9.9.9:44"),
        ("/tmp/a/weir.yaml:23:5: error[x]", "weir.yaml:7:12: error[x]"),
        ("X-Request-Id: 0ff6e7ee-b1f0-4ed5-b2cf-0f56f6b45064", "X-Request-Id: c4947a8b-7f3e-4cb0-af8b-8f5efbffbd75"),
    ] {
        assert_eq!(normal(a), normal(b));
    }
    for (a, b) in [
        ("4 of 6 healthy", "5 of 6 healthy"),
        ("HTTP/1.1 200 OK", "HTTP/1.1 503 OK"),
        ("shop-v1-3 in az-b", "shop-v1-4 in az-b"),
        ("weight 1 -> 2", "weight 1 -> 3"),
        ("503 no_route: x", "404 no_route: x"),
    ] {
        assert_ne!(normal(a), normal(b));
    }
}

#[test]
fn lines_may_be_left_out_but_not_moved() {
    let actual = "a 1\nb 2s\nc\n";
    assert!(matches("a 9\n…\nc\n", actual));
    assert!(matches("b …\n", actual));
    assert!(!matches("c\na 1\n", actual));
    assert!(!matches("d\n", actual));
}
