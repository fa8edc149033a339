//! Colours, where somebody can see them.

use std::io::{self, IsTerminal};

/// Colours text, or does not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    /// For standard output: on a terminal, unless NO_COLOR says no (<https://no-color.org>).
    pub(super) fn for_stdout() -> Self {
        Self { on: wanted() && io::stdout().is_terminal() }
    }

    /// The same for standard error.
    pub(super) fn for_stderr() -> Self {
        Self { on: wanted() && io::stderr().is_terminal() }
    }

    #[cfg(test)]
    pub(super) const fn plain() -> Self {
        Self { on: false }
    }

    pub(super) const fn is_on(self) -> bool {
        self.on
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// What is the case, and what is not.
    pub(super) fn yes(self, text: &str) -> String {
        self.with("32", text)
    }

    /// What is wrong.
    pub(super) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    /// A state, or a level, in the colour everybody expects.
    pub(super) fn state(self, word: &str, text: &str) -> String {
        match word {
            "healthy" | "serving" | "applied" | "info" => self.with("32", text),
            "unknown" | "starting" | "draining" | "probation" | "half_open" | "running" | "warn" => {
                self.with("33", text)
            }
            "unhealthy" | "ejected" | "open" | "rejected" | "error" => self.with("31", text),
            _ => text.to_owned(),
        }
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Columns of the terminal that standard output goes to, if it is one.
pub(super) fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// Text in lines of at most `width` columns, as far as its words allow; all but the first indented.
pub(super) fn wrapped(text: &str, indent: usize, width: Option<usize>) -> String {
    let room = width.unwrap_or(usize::MAX).saturating_sub(indent).max(30);
    let (mut lines, mut column) = (String::new(), 0);
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > room {
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', indent));
            column = 0;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
}

/// Text from a running instance, free of terminal control, and in the order in which it is written.
pub(super) fn harmless(text: &str) -> String {
    const TURNS: [std::ops::RangeInclusive<char>; 2] = ['\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
    let harms = |c: char| (c.is_control() && c != '\n' && c != '\t') || TURNS.iter().any(|turns| turns.contains(&c));
    text.chars().map(|c| if harms(c) { '\u{fffd}' } else { c }).collect()
}

/// The same, but our own colours pass; no other sequence that begins with an escape does.
pub(super) fn harmless_but_colours(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let mut clean = harmless(parts.next().unwrap_or_default());
    for part in parts {
        clean.push(if is_colour(part) { '\x1b' } else { '\u{fffd}' });
        clean += &harmless(part);
    }
    clean
}

/// Whether what follows an escape is a colour of ours.
fn is_colour(text: &str) -> bool {
    const OURS: [&str; 7] = ["0", "1", "2", "31", "32", "33", "34"];
    let codes = text.strip_prefix('[').and_then(|rest| rest.split_once('m')).map(|(codes, _)| codes);
    codes.is_some_and(|codes| codes.split(';').all(|code| OURS.contains(&code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_colours_reach_the_terminal() {
        let ours = Paint { on: true }.bad("red");
        assert_eq!(harmless_but_colours(&ours), ours);
        assert_eq!(harmless_but_colours("\x1b[1;34mx\x1b[0m"), "\x1b[1;34mx\x1b[0m");
        for evil in [
            "\x1b[2J",
            "\x1b]0;title\x07",
            "\x1b]52;c;aGk=\x1b\\",
            "\x1b[8m",
            "\x1bc",
            "\x1b",
            "\u{9b}31m",
            "\u{202e}x",
        ] {
            for clean in [harmless(evil), harmless_but_colours(evil)] {
                assert!(!clean.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}']), "{evil:?} became {clean:?}");
            }
        }
    }

    #[test]
    fn long_lines_are_broken_between_words() {
        let text = "one two three four five six seven eight";
        assert_eq!(wrapped(text, 4, None), text);
        assert_eq!(wrapped(text, 4, Some(40)), "one two three four five six seven\n    eight");
        assert_eq!(wrapped("x", 4, Some(1)), "x");
    }
}
