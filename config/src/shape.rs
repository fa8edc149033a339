//! The shape of a config: one table of every object's keys.
//!
//! From this table, and from nothing else, come the check of what a file holds (`check`), the
//! JSON Schema ([`schema()`]), the page to read ([`reference()`]) and the defaults that the parser uses, so that
//! they cannot drift apart. `lower` may read a key only if it stands here.

mod effect;
mod reference;
mod schema;
mod table;

use std::time::Duration;

use crate::grammar::Wrong;

pub use reference::reference;
#[cfg(test)]
pub(crate) use schema::objects;
pub use schema::schema;
pub(crate) use table::*;

/// A map with known keys.
pub(crate) struct Object {
    /// Singular, for messages: "a cluster".
    pub(crate) noun: &'static str,
    /// Its name among the schema's definitions.
    pub(crate) title: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) keys: &'static [Key],
    /// Keys of which one alone may be given.
    pub(crate) choices: &'static [Choice],
    /// Keys that are planned: known, refused, with a message of their own.
    pub(crate) later: &'static [&'static str],
}

/// Several keys that exclude each other.
pub(crate) struct Choice {
    pub(crate) of: &'static [&'static str],
    /// One of them must be given; otherwise the code and the hint of what to say.
    pub(crate) needed: Option<(&'static str, &'static str)>,
    /// The code when more than one is given.
    pub(crate) both: &'static str,
}

/// One key of an object.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// One line.
    pub(crate) doc: &'static str,
    pub(crate) kind: Kind,
    pub(crate) need: Need,
    /// As YAML.
    pub(crate) example: &'static str,
}

/// Whether a key must be given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It must; the hint says how.
    Required(&'static str),
    /// It need not; then it counts as this YAML.
    Default(&'static str),
    /// It need not; what happens then is no value one could write.
    Optional(&'static str),
}

/// What may stand for a value.
pub(crate) enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer(Integer),
    /// A number that may have a fraction.
    Number(&'static Number),
    /// A duration. Zero is refused unless it means something.
    Duration { zero: bool },
    /// A duration for which something is kept elsewhere: over zero, up to 400 days.
    Ttl,
    /// A size in bytes, from 1 unless `zero`.
    Size { zero: bool, max: u64 },
    /// Text with a grammar.
    Text(&'static Rule),
    /// One of some words, each with its line of documentation.
    Word(&'static Words),
    /// An object.
    Object(&'static Object),
    /// A list.
    List(&'static List),
    /// A map from names that the operator chooses.
    Map(&'static Rule, &'static Self),
    /// The first whose YAML type fits.
    Any(&'static [Self]),
}

/// The range of a whole number.
pub(crate) struct Integer {
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// Code and message when the number is below `min` or above `max`, where there is more to
    /// say than the range.
    pub(crate) below: Option<(&'static str, &'static str)>,
    pub(crate) above: Option<(&'static str, &'static str)>,
}

/// The range of a number that may have a fraction.
pub(crate) struct Number {
    /// In words, as "from 0 to 1".
    pub(crate) range: &'static str,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Whether `min` and `max` themselves are refused.
    pub(crate) without: (bool, bool),
    /// The code when it is out of its range.
    pub(crate) code: &'static str,
    /// A part of one, which people like to give in per cent.
    pub(crate) share: bool,
}

/// A list.
pub(crate) struct List {
    pub(crate) of: Kind,
    /// One item may stand there without a list around it.
    pub(crate) or_one: bool,
    /// Code and message if it is empty and must not be.
    pub(crate) empty: Option<(&'static str, &'static str)>,
}

/// Some words. Where `on` or `off` is one, `true` and `false` are too: what YAML 1.1 makes of them.
pub(crate) struct Words {
    pub(crate) noun: &'static str,
    pub(crate) known: &'static [(&'static str, &'static str)],
    /// Planned words: known, refused, with a message of their own.
    pub(crate) later: &'static [&'static str],
}

/// The grammar of a text.
pub(crate) struct Rule {
    /// With article, for messages: "an IP address and port".
    pub(crate) noun: &'static str,
    pub(crate) check: fn(&str) -> Result<(), Wrong>,
    /// An approximation that an editor can use; it never refuses what `check` takes.
    pub(crate) pattern: Option<&'static str>,
    /// Numbers and booleans count as the text they are written with.
    pub(crate) loose: bool,
    /// As keys of a map, two that differ in case alone are the same.
    pub(crate) without_case: bool,
}

impl Rule {
    const fn new(noun: &'static str, check: fn(&str) -> Result<(), Wrong>) -> Self {
        Self { noun, check, pattern: None, loose: false, without_case: false }
    }

    const fn pattern(self, pattern: &'static str) -> Self {
        Self { pattern: Some(pattern), ..self }
    }
}

impl Object {
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Whether `{}` is one.
    pub(crate) fn may_be_empty(&self) -> bool {
        self.keys.iter().all(|key| !matches!(key.need, Need::Required(_)))
            && self.choices.iter().all(|choice| choice.needed.is_none())
    }
}

impl Number {
    pub(crate) fn contains(&self, value: f64) -> bool {
        let (no_min, no_max) = self.without;
        (self.min..=self.max).contains(&value) && !(no_min && value == self.min) && !(no_max && value == self.max)
    }
}

impl Kind {
    /// What it is, with article, for "expected …".
    pub(crate) fn noun(&self) -> String {
        match self {
            Self::Bool => "true or false".into(),
            Self::Integer(_) => "a whole number".into(),
            Self::Number(number) => format!("a number {}", number.range),
            Self::Duration { .. } => "a duration such as 5s".into(),
            Self::Ttl => "a duration such as 30d".into(),
            Self::Size { .. } => "a size such as 64KiB".into(),
            Self::Text(rule) => rule.noun.into(),
            // Some are named by what they are.
            Self::Word(words) if words.noun.starts_with('`') => words.noun.into(),
            Self::Word(words) => format!("{} ({})", words.noun, list_words(words)),
            Self::Object(object) => format!("{} (a map)", object.noun),
            Self::List(list) if list.or_one => format!("{} or a list of them", list.of.noun()),
            Self::List(_) => "a list".into(),
            Self::Map(rule, _) => format!("a map from {}", rule.noun),
            Self::Any(kinds) => kinds.iter().map(Self::noun).collect::<Vec<_>>().join(", or "),
        }
    }
}

pub(crate) fn list_words(words: &Words) -> String {
    words.known.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}

/// The default of a key as a duration.
///
/// The table is constant and a test parses every default, so zero never comes out of a typo.
pub(crate) fn default_duration(object: &Object, name: &str) -> Duration {
    default_text(object, name).and_then(|text| crate::grammar::duration(text).ok()).unwrap_or_default()
}

/// The default of a key as a time to live; as [`default_duration`].
pub(crate) fn default_ttl(object: &Object, name: &str) -> Duration {
    default_text(object, name).and_then(|text| crate::grammar::ttl(text).ok()).unwrap_or_default()
}

/// The default of a key as a number, sizes included; as [`default_duration`].
pub(crate) fn default_number(object: &Object, name: &str) -> u64 {
    default_text(object, name).and_then(|text| crate::grammar::size(text).ok()).unwrap_or_default()
}

/// The default of a key as a number that may have a fraction; as [`default_duration`].
pub(crate) fn default_decimal(object: &Object, name: &str) -> f64 {
    default_text(object, name).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The default of a key as a boolean.
pub(crate) fn default_bool(object: &Object, name: &str) -> bool {
    default_text(object, name) == Some("true")
}

/// The default of a key as it is written.
pub(crate) fn default_text(object: &Object, name: &str) -> Option<&'static str> {
    match object.key(name)?.need {
        Need::Default(text) => Some(text),
        Need::Required(_) | Need::Optional(_) => None,
    }
}
