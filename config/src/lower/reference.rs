//! Names that others refer to: clusters and releases.

use std::cell::Cell;
use std::collections::HashMap;

use super::listener::scalar;
use crate::mistake::Mistake;
use crate::nearest::nearest;
use crate::report::{Path, Report};
use crate::yaml::{Node, Span};

/// The names given in one list of the file, whether or not what they name came out well.
pub(super) struct References<'a> {
    /// `cluster`.
    noun: &'static str,
    /// The code of a name that is not there.
    unknown: &'static str,
    named: HashMap<&'a str, Named>,
    /// In file order, for hints and warnings that do not depend on hashing.
    order: Vec<&'a str>,
}

struct Named {
    span: Span,
    at: usize,
    used: Cell<bool>,
}

impl<'a> References<'a> {
    pub(super) fn new(noun: &'static str, unknown: &'static str) -> Self {
        Self { noun, unknown, named: HashMap::new(), order: Vec::new() }
    }

    /// Notes the name of the item `at` of the list; of two alike the first counts.
    pub(super) fn enter(&mut self, name: Option<&'a Node>, at: usize) {
        if let Some(name) = name
            && let Some(text) = scalar(name)
            && !self.named.contains_key(text)
        {
            self.named.insert(text, Named { span: name.span, at, used: Cell::new(false) });
            self.order.push(text);
        }
    }

    /// The name that `node` refers to; reported if there is none.
    pub(super) fn resolve<'n>(&self, node: &'n Node, path: &Path<'_>, report: &mut Report) -> Option<&'n str> {
        let text = scalar(node)?;
        if crate::grammar::name(text).is_err() {
            return None;
        }
        if let Some(named) = self.named.get(text) {
            named.used.set(true);
            return Some(text);
        }
        report.push(self.missing(node, text, report), path);
        None
    }

    fn missing(&self, node: &Node, text: &str, report: &Report) -> Mistake {
        let mistake = Mistake::error(self.unknown, node.span, format!("there is no {} named {text:?}", self.noun));
        if self.order.is_empty() {
            return mistake.hint(format!("there is none at all: `{}s` is where they are described", self.noun));
        }
        let near = report.worth_a_hint().then(|| nearest(text, self.order.iter().copied())).flatten();
        mistake.hint(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("{}s: {}", self.noun, first_few(&self.order)),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether there is one of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// Names that nothing refers to, where they stand, and their places in the list.
    pub(super) fn unused(&self) -> impl Iterator<Item = (&'a str, Span, usize)> {
        self.order.iter().filter_map(|name| {
            let named = self.named.get(name).filter(|named| !named.used.get())?;
            Some((*name, named.span, named.at))
        })
    }
}

fn first_few(names: &[&str]) -> String {
    let more = if names.len() > 8 { ", …" } else { "" };
    names[..names.len().min(8)].join(", ") + more
}
