//! YAML text into a tree that knows where each of its parts stands.
//!
//! The only user of `serde_yaml`; whoever wants another YAML reader changes this file alone.
//! Knows nothing of what the keys mean. Syntax stops at the first mistake, for what follows a
//! broken bracket means nothing; everything after syntax is left to later steps, which can then
//! report all of it at once. Duplicate keys are let through for the same reason.
//!
//! The text is an operator's file but may be anything: size, depth, number of values and what
//! aliases expand to are bounded, each with its own message.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::budget::BudgetBreach;
use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Error, Location, Spanned};

use crate::mistake::Mistake;

/// Longest text, in bytes.
pub const MAX_TEXT: usize = 4 << 20;
/// Deepest nesting of lists and maps.
pub const MAX_DEPTH: usize = 64;
/// Most values in one file, aliases not counted.
pub const MAX_NODES: usize = 500_000;
/// Most parser events that aliases may expand to.
pub const MAX_ALIASED: usize = 100_000;

/// A stretch of the text. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// In bytes.
    pub(crate) offset: usize,
    /// In bytes.
    pub(crate) len: usize,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
    /// It stands elsewhere, at `span`; an alias or a merge (`<<`) brought it here.
    pub(crate) borrowed: bool,
}

/// A key of a map; always text, whatever YAML took it for.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// What YAML's core schema makes of a value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(Text),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
    /// Reported already; nothing more is said about it.
    Broken,
}

/// A text value.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// A `${VAR}` stood in it: then it may be taken for a number or a boolean too.
    pub(crate) expanded: bool,
}

impl Value {
    /// What it is, in words that fit after "found".
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Broken => "something broken",
        }
    }
}

impl Node {
    /// Where to point at: the whole of a scalar, the first key of a map, the start of a list.
    pub(crate) fn mark(&self) -> Span {
        match &self.value {
            Value::Map(entries) => entries.first().map_or(self.span, |(key, _)| key.span),
            Value::List(_) => Span { len: self.span.len.min(1), ..self.span },
            _ => self.span,
        }
    }
}

/// Reads `text`, which is one YAML document.
///
/// # Errors
/// The one mistake that ended it.
pub(crate) fn read(text: &str) -> Result<Node, Box<Mistake>> {
    check_text(text)?;
    let mut node: Node =
        serde_yaml::from_str_with_options(text, options()).map_err(|error| Box::new(explain(&error, text)))?;
    name_keys(&mut node, text);
    Ok(node)
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_events: 4 * MAX_NODES,
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
            max_documents: 2,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: MAX_ALIASED,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Merge,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        ignore_binary_tag_for_string: true,
        with_snippet: false,
    }
}

/// What no YAML reader needs to see.
fn check_text(text: &str) -> Result<(), Box<Mistake>> {
    if text.len() > MAX_TEXT {
        let message = format!("the file has {} bytes; at most {MAX_TEXT} (4 MiB) are read", text.len());
        return Err(Box::new(Mistake::error(
            "file_too_large",
            Span { line: 1, column: 1, ..Span::default() },
            message,
        )));
    }
    let bad = text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'));
    let Some((offset, c)) = bad else { return Ok(()) };
    let span = span_at(text, offset, c.len_utf8());
    let message = format!("the file holds the control character U+{:04X}; YAML is text", c as u32);
    Err(Box::new(
        Mistake::error("control_character", span, message)
            .hint("remove it; in a double-quoted text an escape such as \"\\u0007\" may stand for it"),
    ))
}

/// The span of `len` bytes from `offset`.
pub(crate) fn span_at(text: &str, offset: usize, len: usize) -> Span {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Span {
        offset,
        len,
        line: 1 + before.bytes().filter(|byte| *byte == b'\n').count() as u32,
        column: 1 + before[line_start..].chars().count() as u32,
    }
}

impl Span {
    fn of(location: &Location) -> Self {
        let span = location.span();
        Self {
            offset: span.byte_offset().unwrap_or(0) as usize,
            len: span.byte_len().unwrap_or(0) as usize,
            line: location.line() as u32,
            column: location.column() as u32,
        }
    }
}

/// Gives keys that YAML took for numbers or booleans their text back, as it stands in the file.
fn name_keys(node: &mut Node, text: &str) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| name_keys(item, text)),
        Value::Map(entries) => {
            for (key, value) in entries {
                if key.text.is_empty()
                    && let Some(raw) = text.get(key.span.offset..key.span.offset + key.span.len)
                {
                    key.text = raw.trim_matches(['"', '\'']).to_owned();
                }
                name_keys(value, text);
            }
        }
        _ => {}
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, referenced } = Spanned::<Value>::deserialize(deserializer)?;
        let span = Span::of(&defined);
        Ok(Self { value, span, borrowed: span.offset != Span::of(&referenced).offset })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let text = match node.value {
            Value::Text(Text { text, .. }) => text,
            Value::List(_) | Value::Map(_) => return Err(serde::de::Error::custom(KEY_NOT_TEXT)),
            // The text itself is taken from the file afterwards.
            _ => String::new(),
        };
        Ok(Self { text, span: node.span })
    }
}

const KEY_NOT_TEXT: &str = "a key must be plain text, not a list or a map";

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Build)
    }
}

struct Build;

impl<'de> Visitor<'de> for Build {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(i128::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(i128::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(Text { text: value.to_owned(), expanded: false }))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(Text { text: value, expanded: false }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

/// The reader's error in our words where ours are better, with its place.
fn explain(error: &Error, text: &str) -> Mistake {
    let error = error.without_snippet();
    let span = error.location().map_or_else(Span::default, |location| Span::of(&location));
    let span = Span { line: span.line.max(1), column: span.column.max(1), ..span };
    let mistake = |code, message: String| Mistake::error(code, span, message);
    match error {
        Error::AliasError { error, locations, .. } => {
            // Where the alias stands says more than where its value was defined.
            let mistake = explain(error, text);
            match locations.primary_location() {
                Some(at) => mistake.in_place(Span::of(&at)),
                None => mistake,
            }
        }
        Error::MultipleDocuments { .. } => several_documents(span),
        Error::Budget { breach, .. } => over_budget(breach, span),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => aliases_explode(span),
        Error::UnknownAnchor { .. } => {
            mistake("unknown_anchor", "this alias names an anchor that is not defined above it".into())
                .hint("a `*` at the start of a value begins an alias; put the value in quotes if that is not meant")
        }
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            mistake("bad_merge", "`<<` merges a map or a list of maps; this is neither".into())
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            mistake("recursive_alias", "this alias stands inside of the value it refers to".into())
        }
        other => syntax(other, span, text),
    }
}

fn syntax(error: &Error, span: Span, text: &str) -> Mistake {
    let whole = error.to_string();
    if whole.contains(KEY_NOT_TEXT) {
        return Mistake::error("key_not_text", span, KEY_NOT_TEXT);
    }
    // The reader has limits of its own against flow collections nested without end.
    if whole.contains("recursion limit") || whole.contains("nesting") {
        return too_deep(span);
    }
    // The reader repeats the place we print ourselves.
    let reason = match whole.rfind(" at line ") {
        Some(at) => &whole[..at],
        None => &whole,
    };
    let reason = reason.lines().next().unwrap_or("this is not YAML").trim_end_matches([':', ',', ' ']);
    let mistake = Mistake::error("syntax", span, format!("not valid YAML: {reason}"));
    let line = text.lines().nth(span.line as usize - 1).unwrap_or("");
    if line[..line.len() - line.trim_start().len()].contains('\t') {
        return mistake.hint("YAML indents with spaces; there is a tab at the start of this line");
    }
    if reason.contains("expected ':'") {
        return mistake.hint("a key is followed by a colon and a space, as in `name: web`");
    }
    mistake
}

fn several_documents(span: Span) -> Mistake {
    Mistake::error("several_documents", span, "a second YAML document begins here; a config is one document")
        .hint("remove the `---`, or keep each config in a file of its own")
}

fn aliases_explode(span: Span) -> Mistake {
    let message = format!("the aliases of this file expand to more than {MAX_ALIASED} values");
    Mistake::error("alias_limit", span, message).hint("write the repeated part out, or use fewer levels of aliases")
}

fn too_deep(span: Span) -> Mistake {
    Mistake::error("too_deep", span, format!("lists and maps are nested more than {MAX_DEPTH} deep here"))
}

fn over_budget(breach: &BudgetBreach, span: Span) -> Mistake {
    let mistake = |code, message| Mistake::error(code, span, message);
    match breach {
        BudgetBreach::Depth { .. } => {
            mistake("too_deep", format!("lists and maps are nested more than {MAX_DEPTH} deep here"))
        }
        BudgetBreach::Documents { .. } => several_documents(span),
        BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => {
            mistake("too_many_values", format!("the file holds more than {MAX_NODES} values"))
        }
        BudgetBreach::Aliases { .. }
        | BudgetBreach::Anchors { .. }
        | BudgetBreach::AliasAnchorRatio { .. }
        | BudgetBreach::MergeKeys { .. } => aliases_explode(span),
        _ => mistake("too_many_values", "the file is larger than what is read".to_owned()),
    }
}

/// The mistake of a text that is not UTF-8 from `offset` on.
pub(crate) fn not_utf8(lossy: &str, offset: usize) -> Mistake {
    Mistake::error("not_utf8", span_at(lossy, offset, '\u{fffd}'.len_utf8()), "the file is not UTF-8 from here on")
        .hint("save it as UTF-8 (a UTF-16 file must be converted)")
}

/// What is said if a config can neither be read nor be faulted.
pub(crate) fn unreadable() -> Mistake {
    Mistake::error("unreadable", Span { line: 1, column: 1, ..Span::default() }, "this config cannot be read")
}
