//! Holds a tree against the shape: are these keys known, and is what stands there of their kind?
//!
//! Says everything about one value that can be said without looking at any other. What is left
//! for `lower` are references, names that must differ, and sums.

use std::collections::HashMap;

use crate::grammar::{self, Wrong};
use crate::mistake::Mistake;
use crate::nearest::nearest;
use crate::report::{Path, Report};
use crate::shape::{self, Integer, Kind, List, Need, Number, Object, Rule, Words};
use crate::yaml::{Key, Node, Text, Value};

/// Reports all that is wrong with `node` as a `kind`.
pub(crate) fn check(node: &Node, kind: &Kind, path: &Path<'_>, report: &mut Report) {
    if matches!(node.value, Value::Broken) {
        return;
    }
    let result = match kind {
        Kind::Bool => boolean(node).map(drop),
        Kind::Integer(range) => integer(node, range).map(drop),
        Kind::Number(range) => decimal(node, range).map(drop),
        Kind::Duration { zero } => duration(node, *zero).map(drop),
        Kind::Ttl => ttl(node).map(drop),
        Kind::Size { zero, max } => size(node, *zero, *max).map(drop),
        Kind::Text(rule) => text(node, rule).map(drop),
        Kind::Word(words) => word(node, words).map(drop),
        Kind::Object(object) => return check_object(node, object, path, report),
        Kind::List(list) => return check_list(node, list, path, report),
        Kind::Map(rule, of) => return check_map(node, rule, of, path, report),
        Kind::Any(kinds) => match fitting(node, kinds) {
            Some(kind) => return check(node, kind, path, report),
            None => Err(none_of(node, kind, kinds)),
        },
    };
    if let Err(wrong) = result {
        report.wrong(node.mark(), path, wrong);
    }
}

/// The one of `kinds` that `node` is: one of whose words it is, or else the first whose YAML type
/// fits, or else a number in quotes.
pub(crate) fn fitting<'k>(node: &Node, kinds: &'k [Kind]) -> Option<&'k Kind> {
    let is_word = |kind: &&Kind| matches!(kind, Kind::Word(words) if word_of(node, words).is_some());
    let number_as_text = |kind: &&Kind| match (kind, &node.value) {
        (Kind::Integer(_) | Kind::Number(_), Value::Text(Text { text, .. })) => text.parse::<f64>().is_ok(),
        _ => false,
    };
    kinds
        .iter()
        .find(is_word)
        .or_else(|| kinds.iter().find(|kind| fits(node, kind)))
        .or_else(|| kinds.iter().find(number_as_text))
}

/// What to say of what is none of `kinds`.
fn none_of(node: &Node, all: &Kind, kinds: &[Kind]) -> Wrong {
    let Value::Text(Text { text, .. }) = &node.value else {
        return wrong_type(node, all);
    };
    let words = kinds.iter().filter_map(|kind| match kind {
        Kind::Word(words) => Some(words.known.iter().map(|(word, _)| *word)),
        _ => None,
    });
    let words: Vec<_> = words.flatten().collect();
    if words.is_empty() {
        return wrong_type(node, all);
    }
    let wrong = Wrong::new("unknown_word", format!("{text:?} is not {}", all.noun()));
    match nearest(text, words) {
        Some(near) => wrong.hint(format!("did you mean `{near}`?")),
        None => wrong,
    }
}

/// Whether the YAML type of `node` is that of `kind`. Words have none: they are looked for first.
fn fits(node: &Node, kind: &Kind) -> bool {
    match (kind, &node.value) {
        (Kind::Object(_) | Kind::Map(..), Value::Map(_)) => true,
        (Kind::List(_), Value::List(_)) => true,
        (Kind::List(list), Value::Null) if list.or_one => false,
        (Kind::List(list), _) => list.or_one && fits(node, &list.of),
        (Kind::Any(kinds), _) => fitting(node, kinds).is_some(),
        (Kind::Text(rule), Value::Integer(_) | Value::Float(_) | Value::Bool(_)) => rule.loose,
        (Kind::Text(_), Value::Text(_)) => true,
        (Kind::Duration { .. }, Value::Text(Text { text, .. })) => {
            text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        }
        (Kind::Integer(_) | Kind::Number(_) | Kind::Duration { .. }, Value::Integer(_) | Value::Float(_)) => true,
        (Kind::Bool, Value::Bool(_)) => true,
        _ => false,
    }
}

fn check_object(node: &Node, object: &'static Object, path: &Path<'_>, report: &mut Report) {
    let entries: &[(Key, Node)] = match &node.value {
        Value::Map(entries) => entries,
        Value::Null if object.may_be_empty() => &[],
        _ => return report.wrong(node.mark(), path, wrong_type(node, &Kind::Object(object))),
    };
    check_duplicates(entries, false, path, report);
    for (key, value) in entries {
        match object.key(&key.text) {
            Some(known) => check(value, &known.kind, &path.key(known.name), report),
            None => report.push(unknown_key(key, object, entries, report), &path.key(&key.text)),
        }
    }
    let given = |name: &str| entries.iter().find(|(key, _)| key.text == name);
    for key in object.keys {
        if let Need::Required(hint) = key.need
            && given(key.name).is_none()
            && !has_slip(entries, object, &[key.name])
        {
            let message = format!("{} needs the key `{}`", object.noun, key.name);
            report.push(Mistake::error("missing_key", node.mark(), message).hint(hint), path);
        }
    }
    for choice in object.choices {
        check_choice(choice, node, object, entries, path, report);
    }
}

fn check_choice(
    choice: &shape::Choice,
    node: &Node,
    object: &Object,
    entries: &[(Key, Node)],
    path: &Path<'_>,
    report: &mut Report,
) {
    let mut given = entries.iter().map(|(key, _)| key).filter(|key| choice.of.contains(&key.text.as_str()));
    match (given.next(), choice.needed) {
        (None, Some((code, hint))) => {
            let planned = |(key, _): &(Key, Node)| object.later.contains(&key.text.as_str());
            if !has_slip(entries, object, choice.of) && !entries.iter().any(planned) {
                let message = format!("{} needs {}", object.noun, list_keys(choice.of, "or"));
                report.push(Mistake::error(code, node.mark(), message).hint(hint), path);
            }
        }
        (Some(first), _) => {
            if let Some(second) = given.find(|key| key.text != first.text) {
                let not = if choice.of.len() > 2 { "no two" } else { "not both" };
                let message = format!("{} has one of {}, {not}", object.noun, list_keys(choice.of, "and"));
                let mistake = Mistake::error(choice.both, second.span, message).hint("remove one of them");
                report.push(mistake.related(first.span, "the other one"), path);
            }
        }
        (None, None) => {}
    }
}

/// Whether one of `names` is there but mistyped; that is reported already, with the right hint.
fn has_slip(entries: &[(Key, Node)], object: &Object, names: &[&str]) -> bool {
    let slip = |key: &Key| object.key(&key.text).is_none() && nearest(&key.text, names.iter().copied()).is_some();
    entries.iter().any(|(key, _)| slip(key))
}

fn list_keys(keys: &[&str], joint: &str) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    match keys.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} {joint} {last}", first.join(", ")),
        _ => keys.concat(),
    }
}

fn check_duplicates(entries: &[(Key, Node)], without_case: bool, path: &Path<'_>, report: &mut Report) {
    let fold = |text: &str| {
        if without_case { text.to_ascii_lowercase() } else { text.to_owned() }
    };
    let mut seen: HashMap<String, &Key> = HashMap::with_capacity(entries.len());
    for (key, _) in entries {
        let Some(first) = seen.insert(fold(&key.text), key) else {
            continue;
        };
        let message = if first.text == key.text {
            format!("the key `{}` is given twice", key.text)
        } else {
            format!("`{}` is `{}` again: header names are compared without case", key.text, first.text)
        };
        let mistake = Mistake::error("duplicate_key", key.span, message)
            .hint("keep one of them")
            .related(first.span, "first given here");
        report.push(mistake, &path.key(&key.text));
        seen.insert(fold(&key.text), first);
    }
}

fn unknown_key(key: &Key, object: &Object, entries: &[(Key, Node)], report: &Report) -> Mistake {
    let name = &key.text;
    if object.later.contains(&name.as_str()) {
        let message = format!("`{name}` is not supported by this version");
        return Mistake::error("unsupported_key", key.span, message).hint("remove it");
    }
    let mistake = Mistake::error("unknown_key", key.span, format!("{} has no key `{name}`", object.noun));
    if object.keys.is_empty() {
        return mistake.hint(format!("{} has no keys: write {{}}", object.noun));
    }
    let free = object.keys.iter().map(|key| key.name).filter(|name| entries.iter().all(|(key, _)| key.text != *name));
    match report.worth_a_hint().then(|| nearest(name, free)).flatten() {
        Some(near) => mistake.hint(format!("did you mean `{near}`?")),
        None => {
            let known: Vec<_> = object.keys.iter().map(|key| key.name).collect();
            mistake.hint(format!("known keys: {}", known.join(", ")))
        }
    }
}

fn check_list(node: &Node, list: &'static List, path: &Path<'_>, report: &mut Report) {
    match &node.value {
        Value::List(items) => {
            if let (true, Some((code, message))) = (items.is_empty(), list.empty) {
                report.push(Mistake::error(code, node.mark(), message), path);
            }
            for (at, item) in items.iter().enumerate() {
                check(item, &list.of, &path.item(at), report);
            }
        }
        Value::Null => report.wrong(node.mark(), path, wrong_type(node, &Kind::List(list))),
        Value::Map(_) if !fits(node, &list.of) => {
            report.wrong(node.mark(), path, wrong_type(node, &Kind::List(list)));
        }
        _ if list.or_one => check(node, &list.of, path, report),
        _ => report.wrong(node.mark(), path, wrong_type(node, &Kind::List(list))),
    }
}

fn check_map(node: &Node, rule: &'static Rule, of: &'static Kind, path: &Path<'_>, report: &mut Report) {
    let Value::Map(entries) = &node.value else {
        return report.wrong(node.mark(), path, wrong_type(node, &Kind::Map(rule, of)));
    };
    check_duplicates(entries, rule.without_case, path, report);
    for (key, value) in entries {
        let path = path.key(&key.text);
        if let Err(wrong) = (rule.check)(&key.text) {
            report.wrong(key.span, &path, wrong);
        }
        check(value, of, &path, report);
    }
}

/// `true` or `false`.
pub(crate) fn boolean(node: &Node) -> Result<bool, Wrong> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        Value::Text(Text { text, expanded: true }) if text == "true" || text == "false" => Ok(text == "true"),
        Value::Text(Text { text, .. }) => {
            let wrong = wrong_type(node, &Kind::Bool);
            Err(match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => wrong.hint("write true, without quotes"),
                "no" | "off" | "n" | "false" => wrong.hint("write false, without quotes"),
                _ => wrong,
            })
        }
        _ => Err(wrong_type(node, &Kind::Bool)),
    }
}

/// A whole number in its range.
pub(crate) fn integer(node: &Node, range: &Integer) -> Result<u64, Wrong> {
    let value = match &node.value {
        Value::Integer(value) => *value,
        Value::Text(Text { text, expanded }) => match text.parse::<i128>() {
            Ok(value) if *expanded => value,
            Ok(value) => return Err(wrong_type(node, &INTEGER).hint(format!("without quotes: {value}"))),
            Err(_) => return Err(without_percent(wrong_type(node, &INTEGER), text)),
        },
        _ => return Err(wrong_type(node, &INTEGER)),
    };
    let Integer { min, max, below, above } = *range;
    let special = match value {
        value if value < i128::from(min) => below,
        value if value > i128::from(max) => above,
        // It is within the range of `u64`.
        value => return Ok(value as u64),
    };
    Err(match special {
        Some((code, message)) if message.contains(&max.to_string()) => Wrong::new(code, message),
        Some((code, message)) if max >= u64::from(u32::MAX) => Wrong::new(code, message),
        Some((code, message)) => Wrong::new(code, message).hint(format!("from {min} to {max}")),
        None if max == u64::MAX => Wrong::new("out_of_range", format!("{value} is out of range; it is at least {min}")),
        None => Wrong::new("out_of_range", format!("{value} is out of range; it is from {min} to {max}")),
    })
}

/// What `wrong_type` calls a whole number.
const INTEGER: Kind = Kind::Integer(Integer { min: 0, max: u64::MAX, below: None, above: None });

/// A number in its range, which may have a fraction.
pub(crate) fn decimal(node: &Node, range: &'static Number) -> Result<f64, Wrong> {
    let wrong = || wrong_type(node, &Kind::Number(range));
    let value = match &node.value {
        Value::Integer(value) => *value as f64,
        Value::Float(value) => *value,
        Value::Text(Text { text, expanded }) => match text.parse::<f64>() {
            Ok(value) if *expanded => value,
            Ok(value) => return Err(wrong().hint(format!("without quotes: {value}"))),
            Err(_) => return Err(without_percent(wrong(), text)),
        },
        _ => return Err(wrong()),
    };
    if range.contains(value) {
        return Ok(value);
    }
    let wrong = Wrong::new(range.code, format!("{value} is out of range; it is {}", range.range));
    Err(if range.share && value > 1.0 && value <= 100.0 {
        wrong.hint(format!("for {value} % write {}", value / 100.0))
    } else {
        wrong
    })
}

/// What to say of `30%`.
fn without_percent(wrong: Wrong, text: &str) -> Wrong {
    match text.strip_suffix('%').map(str::trim).filter(|number| number.parse::<f64>().is_ok()) {
        Some(number) => wrong.hint(format!("without the sign: {number}")),
        None => wrong,
    }
}

/// A duration over zero, or from zero if `zero`.
pub(crate) fn duration(node: &Node, zero: bool) -> Result<std::time::Duration, Wrong> {
    let value = match &node.value {
        Value::Text(Text { text, .. }) => grammar::duration(text)?,
        Value::Integer(value) => grammar::duration(&value.to_string())?,
        Value::Float(value) => grammar::duration(&value.to_string())?,
        _ => return Err(wrong_type(node, &Kind::Duration { zero })),
    };
    if value.is_zero() && !zero {
        return Err(Wrong::new("zero_duration", "this duration must be longer than zero")
            .hint(format!("at most {}h; there is no value for \"never\"", grammar::MAX_DURATION.as_secs() / 3600)));
    }
    Ok(value)
}

/// A duration over zero for which something is kept elsewhere.
pub(crate) fn ttl(node: &Node) -> Result<std::time::Duration, Wrong> {
    let text = match &node.value {
        Value::Text(Text { text, .. }) => text.clone(),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        _ => return Err(wrong_type(node, &Kind::Ttl)),
    };
    let value = grammar::ttl(&text)?;
    if value.is_zero() {
        return Err(Wrong::new("zero_duration", "this duration must be longer than zero").hint("at most 400d"));
    }
    Ok(value)
}

/// A size in bytes.
pub(crate) fn size(node: &Node, zero: bool, max: u64) -> Result<u64, Wrong> {
    let value = match &node.value {
        Value::Integer(value) => grammar::size(&value.to_string())?,
        Value::Text(Text { text, .. }) => grammar::size(text)?,
        _ => return Err(wrong_type(node, &Kind::Size { zero, max })),
    };
    if value == 0 && !zero {
        return Err(Wrong::new("zero_size", "this size must be larger than zero; nothing would pass"));
    }
    if value > max {
        return Err(Wrong::new("out_of_range", format!("{value} bytes are too many; at most {max} are possible")));
    }
    Ok(value)
}

/// Text that keeps its rule. For a loose rule that is any scalar.
pub(crate) fn text(node: &Node, rule: &'static Rule) -> Result<String, Wrong> {
    let text = match &node.value {
        Value::Text(Text { text, .. }) => text.clone(),
        Value::Bool(value) if rule.loose => value.to_string(),
        Value::Integer(value) if rule.loose => value.to_string(),
        Value::Integer(value) => {
            let wrong = wrong_type(node, &Kind::Text(rule));
            // What is wrong with it as text is more to the point than its type, if it is wrong.
            return Err((rule.check)(&value.to_string())
                .err()
                .unwrap_or_else(|| wrong.hint(format!("put it in quotes: \"{value}\""))));
        }
        Value::Bool(value) => {
            return Err(wrong_type(node, &Kind::Text(rule)).hint(format!("put it in quotes: \"{value}\"")));
        }
        Value::Float(_) => return Err(wrong_type(node, &Kind::Text(rule)).hint("put it in quotes")),
        _ => return Err(wrong_type(node, &Kind::Text(rule))),
    };
    (rule.check)(&text)?;
    Ok(text)
}

/// The place of a word among the known ones.
pub(crate) fn word(node: &Node, words: &'static Words) -> Result<&'static str, Wrong> {
    if let Some(word) = word_of(node, words) {
        return Ok(word);
    }
    let version = |words: &Words| words.known.iter().any(|(word, _)| word.parse::<f64>().is_ok());
    let text = match &node.value {
        Value::Text(Text { text, .. }) => text,
        Value::Float(value) if version(words) => &value.to_string(),
        _ => return Err(wrong_type(node, &Kind::Word(words))),
    };
    let known = shape::list_words(words);
    if words.later.contains(&text.as_str()) {
        let message = format!("`{text}` is not supported by this version");
        return Err(Wrong::new("unsupported_word", message).hint(format!("known: {known}")));
    }
    let wrong = Wrong::new("unknown_word", format!("{text:?} is not {}", words.noun));
    Err(match nearest(text, words.known.iter().map(|(word, _)| *word)) {
        Some(near) => wrong.hint(format!("did you mean `{near}`? known: {known}")),
        None => wrong.hint(format!("known: {known}")),
    })
}

/// The word that `node` is, if it is one.
fn word_of(node: &Node, words: &Words) -> Option<&'static str> {
    let text = match &node.value {
        Value::Text(Text { text, .. }) => text.as_str(),
        Value::Bool(true) => "on",
        Value::Bool(false) => "off",
        // A version is a number to YAML.
        Value::Float(value) => {
            return words.known.iter().map(|(word, _)| *word).find(|word| *word == value.to_string());
        }
        _ => return None,
    };
    words.known.iter().find(|(word, _)| *word == text).map(|(word, _)| *word)
}

fn wrong_type(node: &Node, expected: &Kind) -> Wrong {
    let wrong = Wrong::new("wrong_type", format!("expected {}, found {}", expected.noun(), node.value.kind()));
    match (&node.value, expected) {
        (Value::Null, _) => wrong.hint("give a value, or remove the key to use the default"),
        // What stands in braces without quotes is a map to YAML.
        (Value::Map(entries), Kind::Text(_)) if entries.iter().all(|(_, node)| matches!(node.value, Value::Null)) => {
            let inner: Vec<_> = entries.iter().map(|(key, _)| key.text.as_str()).collect();
            wrong.hint(format!("put it in quotes: \"{{{}}}\"", inner.join(", ")))
        }
        (Value::Map(_) | Value::Text(_), Kind::List(_)) => wrong.hint("put a `-` in front of each item"),
        _ => wrong,
    }
}
