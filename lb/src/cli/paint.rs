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

/// Text from a running instance, free of terminal control.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Our own colours are the only control characters that may pass.
pub(super) fn harmless_but_colours(text: &str) -> String {
    text.split('\x1b').map(harmless).collect::<Vec<_>>().join("\x1b")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words() {
        let text = "one two three four five six seven eight";
        assert_eq!(wrapped(text, 4, None), text);
        assert_eq!(wrapped(text, 4, Some(40)), "one two three four five six seven\n    eight");
        assert_eq!(wrapped("x", 4, Some(1)), "x");
    }
}
