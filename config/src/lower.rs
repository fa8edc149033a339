//! Tree to model: references, names that must differ, ports, sums; and then the values.
//!
//! `check` has said what is wrong with single values. Here such a value counts as its default,
//! so that the rest can still be looked at; the config that comes out is thrown away then.

mod actions;
mod admin;
mod balancing;
mod certificates;
mod cluster;
mod dial;
mod endpoints;
mod health;
mod lint;
mod listener;
mod meaning;
mod ports;
mod protocols;
mod redirect;
mod reference;
mod release;
mod resilience;
mod retry;
mod route;
mod serving;
mod shadow;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::HashMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::check;
use crate::files::Files;
use crate::grammar;
use crate::mistake::Mistake;
use crate::model::{AccessLog, Config, Endpoint, LogFormat, LogTarget, Shutdown, ZoneName};
use crate::report::{Path, Report};
use crate::shape::{self, Kind, Object};
use crate::yaml::{Key, Node, Span, Text, Value};

/// The config that `root` describes; `None` if there is not even a trace of one.
pub(crate) fn lower(root: &Node, files: &Files<'_>, report: &mut Report) -> Option<Config> {
    if let Some(mistake) = no_config(root) {
        report.push(mistake, &Path::Root);
        return None;
    }
    check::check(root, &Kind::Object(&shape::CONFIG), &Path::Root, report);
    let fields = Fields::of(root, &shape::CONFIG)?;
    let zone = fields.text("zone").and_then(|zone| ZoneName::new(&zone).ok());
    let clusters = cluster::lower_all(&fields, zone.as_ref(), files, report);
    let releases = release::lower_all(&fields, &clusters, files, report);
    let targets = listener::Targets { clusters: &clusters, releases: &releases, files };
    let listeners = listener::lower_all(&fields, targets, report);
    ports::check(&fields, report);
    // With errors about, a cluster may well be unused because of one of them.
    if !report.has_errors() {
        release::warn_unused(&releases, report);
        cluster::warn_unused(&clusters, report);
    }
    let admin = admin::lower(&fields, files, report);
    let config = Config {
        admin,
        zone,
        workers: fields.integer("workers").and_then(|n| NonZeroU16::new(n as u16)),
        max_concurrent_probes: non_zero(fields.number("max_concurrent_probes")),
        shutdown: shutdown(&fields),
        access_log: access_log(&fields),
        listeners: listeners.into_iter().map(Arc::new).collect(),
        releases: releases.into_releases(),
        clusters: clusters.into_clusters(),
    };
    if !report.has_errors() {
        tcp::warn(&config, &fields, report);
        serving::warn(&config, &fields, report);
    }
    Some(config)
}

/// The endpoints of a file of their own.
pub(crate) fn lower_endpoints(root: &Node, report: &mut Report) -> Vec<Endpoint> {
    if matches!(root.value, Value::Null) {
        let span = Span { line: 1, column: 1, ..Span::default() };
        let mistake = Mistake::error("empty_file", span, "the file holds no list of endpoints");
        report.push(mistake.hint("`[]` is a list without endpoints"), &Path::Root);
        return Vec::new();
    }
    check::check(root, &shape::ENDPOINT_FILE, &Path::Root, report);
    endpoints::lower_file(root, report)
}

fn no_config(root: &Node) -> Option<Mistake> {
    match &root.value {
        Value::Map(_) | Value::Broken => None,
        Value::Null => {
            let span = Span { line: 1, column: 1, ..Span::default() };
            Some(
                Mistake::error("empty_file", span, "the file holds no config")
                    .hint("the least there is: one listener with a cluster, and one cluster with an endpoint"),
            )
        }
        other => Some(
            Mistake::error(
                "not_a_map",
                root.mark(),
                format!("a config is a map from keys to values, found {}", other.kind()),
            )
            .hint("it begins with keys such as `listeners:` and `clusters:`"),
        ),
    }
}

fn shutdown(fields: &Fields<'_>) -> Shutdown {
    let fields = fields.object("shutdown", &shape::SHUTDOWN);
    Shutdown { delay: fields.duration("delay"), timeout: fields.duration("timeout") }
}

fn access_log(fields: &Fields<'_>) -> Option<AccessLog> {
    let node = fields.get("access_log")?;
    let target = |path: &str| match path {
        "-" => LogTarget::Stdout,
        path => LogTarget::File(PathBuf::from(path)),
    };
    if let Value::Text(Text { text, .. }) = &node.value {
        // The defaults of the long form hold for the short one.
        let log = AccessLog { target: target(text), format: LogFormat::Json, sample: 1.0 };
        return (text != "off").then_some(log);
    }
    let fields = Fields::of(node, &shape::ACCESS_LOG)?;
    let format = match fields.word("format") {
        Some("text") => LogFormat::Text,
        _ => LogFormat::Json,
    };
    Some(AccessLog { target: target(&fields.text("path")?), format, sample: fields.decimal("sample") })
}

/// `n` as a count; zero was reported where it is not allowed.
fn non_zero(n: u64) -> NonZeroU32 {
    u32::try_from(n).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

/// The values of one object, read by the names of its table.
struct Fields<'a> {
    entries: &'a [(Key, Node)],
    object: &'static Object,
}

impl<'a> Fields<'a> {
    fn of(node: &'a Node, object: &'static Object) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => Some(Self { entries, object }),
            Value::Null if object.may_be_empty() => Some(Self { entries: &[], object }),
            _ => None,
        }
    }

    fn get(&self, name: &'static str) -> Option<&'a Node> {
        #[cfg(test)]
        tests::note_read(self.object.title, name);
        debug_assert!(self.object.key(name).is_some(), "{name} is not in the table of {}", self.object.title);
        self.entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }

    /// The value, and what kind of those that may stand there it is.
    fn typed(&self, name: &'static str) -> Option<(&'a Node, &'static Kind)> {
        let (node, mut kind) = (self.get(name)?, &self.object.key(name)?.kind);
        while let Kind::Any(kinds) = kind {
            kind = check::fitting(node, kinds)?;
        }
        Some((node, kind))
    }

    /// An object without any key given.
    const fn empty(object: &'static Object) -> Self {
        Self { entries: &[], object }
    }

    /// An inner object; an empty one if there is none.
    fn object(&self, name: &'static str, object: &'static Object) -> Self {
        self.get(name).and_then(|node| Self::of(node, object)).unwrap_or_else(|| Self::empty(object))
    }

    fn text(&self, name: &'static str) -> Option<String> {
        match self.typed(name)? {
            (node, Kind::Text(rule)) => check::text(node, rule).ok(),
            _ => None,
        }
    }

    fn word(&self, name: &'static str) -> Option<&'static str> {
        match self.typed(name)? {
            (node, Kind::Word(words)) => check::word(node, words).ok(),
            _ => None,
        }
    }

    /// Whether it is switched off, by word or by default.
    fn is_off(&self, name: &'static str) -> bool {
        match self.get(name) {
            Some(_) => self.word(name) == Some("off"),
            None => self.default_text(name) == Some("off"),
        }
    }

    fn bool(&self, name: &'static str) -> bool {
        self.get(name)
            .and_then(|node| check::boolean(node).ok())
            .unwrap_or_else(|| shape::default_bool(self.object, name))
    }

    fn duration(&self, name: &'static str) -> Duration {
        self.duration_if(name).unwrap_or_else(|| shape::default_duration(self.object, name))
    }

    fn duration_if(&self, name: &'static str) -> Option<Duration> {
        match self.typed(name)? {
            (node, Kind::Duration { zero }) => check::duration(node, *zero).ok(),
            _ => None,
        }
    }

    /// A time to live, or its default.
    fn ttl(&self, name: &'static str) -> Duration {
        let given = self.get(name).and_then(|node| check::ttl(node).ok());
        given.unwrap_or_else(|| shape::default_ttl(self.object, name))
    }

    /// A whole number or a size, in its range.
    fn integer(&self, name: &'static str) -> Option<u64> {
        match self.typed(name)? {
            (node, Kind::Integer(range)) => check::integer(node, range).ok(),
            (node, Kind::Size { zero, max }) => check::size(node, *zero, *max).ok(),
            _ => None,
        }
    }

    /// As `integer`, or its default.
    fn number(&self, name: &'static str) -> u64 {
        self.integer(name).unwrap_or_else(|| shape::default_number(self.object, name))
    }

    /// A count of at least one, or its default.
    fn count(&self, name: &'static str) -> NonZeroU32 {
        non_zero(self.number(name))
    }

    /// A limit, if there is one.
    fn limit(&self, name: &'static str) -> Option<NonZeroU32> {
        self.integer(name).map(non_zero)
    }

    /// A number that may have a fraction, or its default.
    fn decimal(&self, name: &'static str) -> f64 {
        self.decimal_if(name).unwrap_or_else(|| shape::default_decimal(self.object, name))
    }

    fn decimal_if(&self, name: &'static str) -> Option<f64> {
        match self.typed(name)? {
            (node, Kind::Number(range)) => check::decimal(node, range).ok(),
            _ => None,
        }
    }

    /// The items of a list; the one item of a short form.
    fn items(&self, name: &'static str) -> &'a [Node] {
        match self.typed(name) {
            Some((Node { value: Value::List(items), .. }, Kind::List(_))) => items,
            Some((Node { value: Value::Null | Value::Broken, .. }, _)) => &[],
            Some((one, Kind::List(list))) if list.or_one => std::slice::from_ref(one),
            _ => &[],
        }
    }

    /// The entries of a map with keys of the operator's choice.
    fn entries(&self, name: &'static str) -> &'a [(Key, Node)] {
        match self.get(name) {
            Some(Node { value: Value::Map(entries), .. }) => entries,
            _ => &[],
        }
    }

    fn default_text(&self, name: &str) -> Option<&'static str> {
        shape::default_text(self.object, name)
    }
}

/// Reports two bounds, the lower named first, that are the wrong way round.
fn in_order(fields: &Fields<'_>, (low, high): (&'static str, &'static str), path: &Path<'_>, report: &mut Report) {
    let (given_low, given_high) = (fields.get(low), fields.get(high));
    let (Some(node), Some(least), Some(most)) = (given_high.or(given_low), amount(fields, low), amount(fields, high))
    else {
        return;
    };
    if least > most {
        let told = |name: &'static str| match fields.get(name).map(|node| &node.value) {
            Some(Value::Text(Text { text, .. })) => text.clone(),
            Some(Value::Integer(number)) => number.to_string(),
            _ => format!("{} by default", fields.default_text(name).unwrap_or_default()),
        };
        let message = format!("`{high}` is {}, which is less than `{low}` with {}", told(high), told(low));
        let mistake = Mistake::error("bounds_crossed", node.mark(), message);
        let name = if given_high.is_some() { high } else { low };
        report.push(mistake.hint(format!("raise `{high}` or lower `{low}`")), &path.key(name));
    }
}

/// A duration or a number, given or by default, as something to compare; `None` if it could not be
/// read.
fn amount(fields: &Fields<'_>, name: &'static str) -> Option<u128> {
    if fields.get(name).is_some() {
        return fields.duration_if(name).map(|it| it.as_micros()).or_else(|| fields.integer(name).map(u128::from));
    }
    let text = fields.default_text(name)?;
    grammar::duration(text).map(|it| it.as_micros()).or_else(|_| grammar::size(text).map(u128::from)).ok()
}

/// Reports a duration that is given and too short.
fn at_least(fields: &Fields<'_>, name: &'static str, least: Duration, path: &Path<'_>, report: &mut Report) {
    if let (Some(node), Some(value)) = (fields.get(name), fields.duration_if(name))
        && value < least
    {
        let message = format!("`{name}` is {value:?}; it is at least {least:?}");
        report.push(Mistake::error("duration_too_short", node.mark(), message), &path.key(name));
    }
}

/// Names that must differ, and where each was first given.
#[derive(Default)]
struct Names<'a> {
    seen: HashMap<&'a str, Span>,
}

impl<'a> Names<'a> {
    /// Reports `node`'s name if it was given before.
    fn claim(&mut self, node: Option<&'a Node>, what: &str, path: &Path<'_>, report: &mut Report) {
        let Some(Node { value: Value::Text(Text { text, .. }), span, .. }) = node else {
            return;
        };
        match self.seen.get(text.as_str()) {
            None => {
                self.seen.insert(text, *span);
            }
            Some(first) => {
                let mistake = Mistake::error("duplicate_name", *span, format!("there are two {what} named {text:?}"))
                    .hint("a name must be unique; rename one of them")
                    .related(*first, "first given here");
                report.push(mistake, &path.key("name"));
            }
        }
    }
}
