//! Where mistakes are collected, and the way through the tree to where we are.

use std::fmt::Write as _;

use crate::grammar::Wrong;
use crate::mistake::{MAX_TOLD, Mistake, Severity};
use crate::yaml::Span;

/// Most mistakes that are kept; a file with more is not read by anybody to the end.
const MAX_KEPT: usize = 10_000;

/// The mistakes so far.
#[derive(Default)]
pub(crate) struct Report {
    list: Vec<Mistake>,
    errors: bool,
}

impl Report {
    pub(crate) fn push(&mut self, mistake: Mistake, path: &Path<'_>) {
        self.errors |= mistake.severity == Severity::Error;
        if self.list.len() < MAX_KEPT {
            self.list.push(mistake.at(path.to_text()));
        }
    }

    pub(crate) fn wrong(&mut self, span: Span, path: &Path<'_>, wrong: Wrong) {
        let mut mistake = Mistake::error(wrong.code, span, wrong.message);
        mistake.hint = wrong.hint;
        self.push(mistake, path);
    }

    /// Whether it is worth the time to look for what was meant.
    pub(crate) fn worth_a_hint(&self) -> bool {
        self.list.len() < MAX_TOLD
    }

    pub(crate) const fn has_errors(&self) -> bool {
        self.errors
    }

    pub(crate) fn into_list(self) -> Vec<Mistake> {
        self.list
    }
}

/// The way from the root to a value. Lives on the stack and becomes text only for a mistake.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    Root,
    Key(&'a Self, &'a str),
    Item(&'a Self, usize),
}

impl Path<'_> {
    pub(crate) const fn key<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path::Key(self, name)
    }

    pub(crate) const fn item(&self, at: usize) -> Path<'_> {
        Path::Item(self, at)
    }

    /// As `clusters[0].endpoints.az-a[1]`.
    pub(crate) fn to_text(self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    // Writing to a `String` cannot fail.
    fn write(self, out: &mut String) {
        match self {
            Path::Root => {}
            Path::Key(parent, name) => {
                parent.write(out);
                let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
                match (plain && !name.is_empty(), out.is_empty()) {
                    (true, true) => out.push_str(name),
                    (true, false) => {
                        let _ = write!(out, ".{name}");
                    }
                    (false, _) => {
                        let _ = write!(out, "[{name:?}]");
                    }
                }
            }
            Path::Item(parent, at) => {
                parent.write(out);
                let _ = write!(out, "[{at}]");
            }
        }
    }
}
