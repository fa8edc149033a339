//! What is wrong with a config: where, what, why, and what was probably meant.
//!
//! A mistake is found anywhere in this crate and told here: as text with the source line and the
//! place marked (`render`), or as JSON for editors and CI.

mod render;

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::yaml::Span;

/// Most mistakes that are told; the rest are counted.
pub const MAX_TOLD: usize = 100;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The config is refused.
    Error,
    /// The config is taken, but probably not what was meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place in the text. Lines and columns count from 1, columns in characters; the end is
/// exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// First line.
    pub line: u32,
    /// First column.
    pub column: u32,
    /// Last line.
    pub end_line: u32,
    /// Column after the last.
    pub end_column: u32,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of mistake, in `snake_case`; stable, for programs.
    pub code: &'static str,
    /// Where.
    pub place: Place,
    /// Where in the tree, as `clusters[0].endpoints.az-a[1].weight`; empty for the whole file.
    pub path: String,
    /// What is wrong, one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Another place that has to do with it, and how.
    pub related: Option<(Place, String)>,
    span: Span,
    related_span: Span,
}

impl Mistake {
    pub(crate) fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            place: Place::default(),
            path: String::new(),
            message: message.into(),
            hint: None,
            related: None,
            span,
            related_span: Span::default(),
        }
    }

    pub(crate) fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn in_place(self, span: Span) -> Self {
        Self { span, ..self }
    }

    pub(crate) fn at(mut self, path: String) -> Self {
        self.path = path;
        self
    }

    pub(crate) fn related(mut self, span: Span, what: impl Into<String>) -> Self {
        self.related = Some((Place::default(), what.into()));
        self.related_span = span;
        self
    }

    /// Fills in the places, for which the text is needed.
    fn locate(&mut self, text: &str) {
        self.place = Place::of(self.span, text);
        if let Some((place, _)) = &mut self.related {
            *place = Place::of(self.related_span, text);
        }
    }

    fn to_json(&self, file: &str) -> Value {
        let mut object = json!({
            "severity": self.severity.as_str(),
            "code": self.code,
            "file": file,
        });
        object_extend(&mut object, self.place.to_json());
        object_extend(&mut object, json!({ "path": self.path, "message": self.message, "hint": self.hint }));
        if let Some((place, what)) = &self.related {
            let mut related = place.to_json();
            object_extend(&mut related, json!({ "message": what }));
            object["related"] = related;
        }
        object
    }
}

/// `line:column: code: message`, one line; for logs.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column, .. } = self.place;
        write!(f, "{line}:{column}: {}[{}]: {}", self.severity.as_str(), self.code, render::Printable(&self.message))
    }
}

impl Place {
    fn of(span: Span, text: &str) -> Self {
        let covered = text.get(span.offset..span.offset.saturating_add(span.len)).unwrap_or("");
        // Block scalars and trailing space end on a later line than what one would point at.
        let covered = covered.trim_end();
        let (end_line, end_column) = match covered.rfind('\n') {
            None => (span.line, span.column + covered.chars().count().max(1) as u32),
            Some(at) => {
                let lines = covered.bytes().filter(|byte| *byte == b'\n').count() as u32;
                (span.line + lines, 1 + covered[at + 1..].chars().count() as u32)
            }
        };
        Self { line: span.line, column: span.column, end_line, end_column }
    }

    fn to_json(self) -> Value {
        json!({
            "line": self.line,
            "column": self.column,
            "end_line": self.end_line,
            "end_column": self.end_column,
        })
    }
}

fn object_extend(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

/// Everything that is wrong with one text, in the order of its lines.
#[derive(Clone, PartialEq, Eq)]
pub struct Mistakes {
    file: Arc<str>,
    text: Arc<str>,
    list: Vec<Mistake>,
}

impl Mistakes {
    /// The mistakes of `text`, which is shown as `file`.
    #[must_use]
    pub fn new(file: &str, text: &str, mut list: Vec<Mistake>) -> Self {
        list.iter_mut().for_each(|mistake| mistake.locate(text));
        list.sort_by_key(|mistake| (mistake.place.line, mistake.place.column));
        Self { file: file.into(), text: text.into(), list }
    }

    /// The name of the file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// One by one, errors and warnings.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.list.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many of them are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|mistake| mistake.severity == Severity::Error).count()
    }

    /// For human eyes: each with its source line and the place marked, then a count.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        render::render(self, style)
    }

    /// For programs: `{file, errors, warnings, mistakes: [...]}`, all of them.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mistakes: Vec<Value> = self.list.iter().map(|mistake| mistake.to_json(&self.file)).collect();
        json!({
            "file": &*self.file,
            "errors": self.errors(),
            "warnings": self.len() - self.errors(),
            "mistakes": mistakes,
        })
    }
}

impl<'a> IntoIterator for &'a Mistakes {
    type Item = &'a Mistake;
    type IntoIter = std::slice::Iter<'a, Mistake>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The plain rendering.
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

/// The plain rendering too, so that `unwrap` in a test is readable.
impl fmt::Debug for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

impl std::error::Error for Mistakes {}

/// Whether the text may hold ANSI colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// No escapes.
    #[default]
    Plain,
    /// ANSI colours.
    Colour,
}
