//! Mistakes as text for human eyes, in the shape that Rust's compiler has made familiar.

use std::fmt::{self, Write as _};

use super::{MAX_TOLD, Mistake, Mistakes, Place, Severity, Style};

/// Widest excerpt of a source line, in columns of the screen.
const WINDOW: usize = 120;
/// What is kept of it before the marked place when the line is longer.
const LEAD: usize = 40;
/// A tab is shown as this many spaces.
const TAB: usize = 4;

pub(super) fn render(mistakes: &Mistakes, style: Style) -> String {
    let paint = Paint { on: style == Style::Colour };
    let lines: Vec<&str> = mistakes.text.lines().collect();
    let told = &mistakes.list[..mistakes.list.len().min(MAX_TOLD)];
    let widest = told.iter().map(|m| m.place.line.max(m.related.as_ref().map_or(0, |(place, _)| place.line))).max();
    let gutter = widest.unwrap_or(1).max(1).ilog10() as usize + 1;
    let page = Page { file: &mistakes.file, lines: &lines, gutter, paint };
    let mut out = String::new();
    for mistake in told {
        page.tell(&mut out, mistake);
        out.push('\n');
    }
    out.push_str(&count(mistakes));
    out
}

fn count(mistakes: &Mistakes) -> String {
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let (errors, all) = (mistakes.errors(), mistakes.len());
    let mut out = match (errors, all - errors) {
        (0, 0) => "no mistakes".to_owned(),
        (0, warnings) => plural(warnings, "warning"),
        (errors, 0) => plural(errors, "error"),
        (errors, warnings) => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
    };
    let _ = write!(out, " in {}", Printable(&mistakes.file));
    if all > MAX_TOLD {
        let _ = write!(out, " (the first {MAX_TOLD} are shown)");
    }
    out.push('\n');
    out
}

/// What stays the same from one mistake to the next.
struct Page<'a> {
    file: &'a str,
    lines: &'a [&'a str],
    gutter: usize,
    paint: Paint,
}

// Writing to a `String` cannot fail, hence the `let _ =` below.
impl Page<'_> {
    fn tell(&self, out: &mut String, mistake: &Mistake) {
        let colour = match mistake.severity {
            Severity::Error => RED,
            Severity::Warning => YELLOW,
        };
        let head = format!("{}[{}]", mistake.severity.as_str(), mistake.code);
        let message = format!(": {}", Printable(&mistake.message));
        let _ = writeln!(out, "{}{}", self.paint.with(colour, &head), self.paint.with(BOLD, &message));
        self.excerpt(out, "-->", mistake.place, '^', colour, "");
        if let Some((place, what)) = &mistake.related {
            self.excerpt(out, ":::", *place, '-', BLUE, what);
        }
        if let Some(hint) = &mistake.hint {
            let lead = self.paint.with(BLUE, &format!("{:>1$} =", "", self.gutter));
            let _ = writeln!(out, "{lead} {}: {}", self.paint.with(BOLD, "hint"), Printable(hint));
        }
    }

    fn excerpt(&self, out: &mut String, arrow: &str, place: Place, mark: char, colour: &str, label: &str) {
        let Self { gutter, paint, .. } = *self;
        let arrow = paint.with(BLUE, &format!("{:>gutter$}{arrow}", ""));
        let _ = writeln!(out, "{arrow} {}:{}:{}", Printable(self.file), place.line, place.column);
        let Some(line) = (place.line as usize).checked_sub(1).and_then(|at| self.lines.get(at)) else {
            return;
        };
        let shown = Excerpt::of(line, place);
        let bar = paint.with(BLUE, &format!("{:>gutter$} |", ""));
        let number = paint.with(BLUE, &format!("{:>gutter$} |", place.line));
        let marks: String = std::iter::repeat_n(mark, shown.marks).collect();
        let label = if label.is_empty() { String::new() } else { format!(" {}", Printable(label)) };
        let _ = writeln!(out, "{bar}");
        let _ = writeln!(out, "{number} {}", shown.line);
        let _ = writeln!(out, "{bar} {:>2$}{}", "", paint.with(colour, &format!("{marks}{label}")), shown.before);
    }
}

/// A source line as shown, and where its marks go, in columns of the screen.
struct Excerpt {
    line: String,
    before: usize,
    marks: usize,
}

impl Excerpt {
    fn of(line: &str, place: Place) -> Self {
        let first = place.column.max(1) as usize - 1;
        let last = if place.end_line > place.line { usize::MAX } else { (place.end_column as usize).max(2) - 1 };
        // Most of a very long line is never looked at.
        let skip = if line.chars().take(WINDOW + 1).count() > WINDOW { first.saturating_sub(LEAD) } else { 0 };
        let mut shown = String::new();
        if skip > 0 {
            shown.push('…');
        }
        let (mut screen, mut before, mut marks) = (usize::from(skip > 0), None, 0);
        let mut chars = line.chars().enumerate().skip(skip);
        let mut cut = false;
        for (at, c) in chars.by_ref() {
            let wide = width(c);
            if screen + wide > WINDOW {
                cut = true;
                break;
            }
            if at == first {
                before = Some(screen);
            }
            if at >= first && at < last {
                marks += wide;
            }
            screen += wide;
            match c {
                '\t' => shown.push_str(&" ".repeat(TAB)),
                c if c.is_control() => shown.push('\u{fffd}'),
                c => shown.push(c),
            }
        }
        if cut {
            shown.push('…');
        }
        let trimmed = shown.trim_end().len();
        shown.truncate(trimmed);
        Self { line: shown, before: before.unwrap_or(screen), marks: marks.max(1) }
    }
}

/// Columns that a character takes on a terminal, near enough: East Asian wide blocks and emoji
/// take two, combining marks none.
fn width(c: char) -> usize {
    match c {
        '\t' => TAB,
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// Text from a file on its way to a terminal: control characters are escaped.
pub(super) struct Printable<'a>(pub(super) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

const RED: &str = "1;31";
const YELLOW: &str = "1;33";
const BLUE: &str = "1;34";
const BOLD: &str = "1";

#[derive(Clone, Copy)]
struct Paint {
    on: bool,
}

impl Paint {
    fn with(self, colour: &str, text: &str) -> String {
        if self.on { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::span_at;

    fn shown(text: &str, marked: &str) -> (String, String) {
        let at = text.find(marked).unwrap();
        let mistake = Mistake::error("test", span_at(text, at, marked.len()), "a message");
        let told = render(&Mistakes::new("f", text, vec![mistake]), Style::Plain);
        let lines: Vec<&str> = told.lines().collect();
        (lines[3].to_owned(), lines[4].to_owned())
    }

    #[test]
    fn marks_stand_under_what_they_mark() {
        assert_eq!(shown("a: bad", "bad"), ("1 | a: bad".into(), "  |    ^^^".into()));
        assert_eq!(shown("\ta: bad", "bad"), ("1 |     a: bad".into(), "  |        ^^^".into()));
        assert_eq!(shown("é: bad", "bad"), ("1 | é: bad".into(), "  |    ^^^".into()));
        assert_eq!(shown("堰: bad", "bad"), ("1 | 堰: bad".into(), "  |     ^^^".into()));
        assert_eq!(shown("a: 堰堰", "堰堰"), ("1 | a: 堰堰".into(), "  |    ^^^^".into()));
        assert_eq!(shown("a: b\u{1b}[31mad", "b"), ("1 | a: b\u{fffd}[31mad".into(), "  |    ^".into()));
        assert_eq!(shown("a: bad\r\nb: c", "bad"), ("1 | a: bad".into(), "  |    ^^^".into()));
    }

    #[test]
    fn what_spans_lines_is_marked_on_its_first() {
        assert_eq!(shown("a: |\n  b\n  c\n", "|\n  b\n  c\n"), ("1 | a: |".into(), "  |    ^".into()));
    }

    #[test]
    fn long_lines_are_cut_to_what_matters() {
        let text = format!("{}bad{}", "x".repeat(500), "y".repeat(500));
        let (line, marks) = shown(&text, "bad");
        assert!(line.starts_with("1 | …xxx") && line.ends_with("yyy…") && line.chars().count() < 130, "{line}");
        assert_eq!(marks.find('^').unwrap(), line.chars().position(|c| c == 'b').unwrap());
        let huge = "z".repeat(1 << 20);
        let (line, marks) = shown(&huge, &huge);
        assert!(line.chars().count() < 130 && marks.len() < 130);
    }

    #[test]
    fn colour_only_adds_colour() {
        let text = "a: bad";
        let mistake = Mistake::error("test", span_at(text, 3, 3), "a \u{1b}message")
            .hint("a hint")
            .related(span_at(text, 0, 1), "here");
        let mistakes = Mistakes::new("f", text, vec![mistake]);
        let (plain, coloured) = (mistakes.render(Style::Plain), mistakes.render(Style::Colour));
        assert!(coloured.contains("\u{1b}[1;31merror[test]\u{1b}[0m"), "{coloured:?}");
        let mut stripped = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            stripped.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        stripped.push_str(rest);
        assert_eq!(stripped, plain);
    }
}
