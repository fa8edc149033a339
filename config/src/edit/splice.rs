//! Which bytes of the text change for a weight.

use super::{Refusal, entry, lost, refuse};
use crate::model::Share;
use crate::yaml::{Key, Node, Span, Value};

/// These bytes are exchanged for others.
pub(super) struct Splice {
    offset: usize,
    len: usize,
    with: String,
}

/// The text with every splice in it; they do not overlap.
pub(super) fn apply(text: &str, mut splices: Vec<Splice>) -> String {
    splices.sort_by_key(|splice| splice.offset);
    let (mut new, mut done) = (String::with_capacity(text.len() + 32), 0);
    for Splice { offset, len, with } in splices {
        new.push_str(text.get(done..offset).unwrap_or_default());
        new.push_str(&with);
        done = offset + len;
    }
    new.push_str(text.get(done..).unwrap_or_default());
    new
}

/// What gives `canary` this weight; nothing if it has it.
pub(super) fn splice(text: &str, canary: &Node, weight: Share) -> Result<Option<Splice>, Refusal> {
    let Some((key, value)) = entry(canary, "weight") else {
        return insert(text, canary, weight).map(Some);
    };
    if value.borrowed {
        let message = "this canary's weight stands here and is brought there by an alias or a merge (`<<`)";
        return Err(refuse("weight_from_alias", value.span, message, "write the canary's weight out where it belongs"));
    }
    let number = match &value.value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        Value::Text(found) if found.text.contains("${") => {
            let message = "this weight comes from a variable";
            let remedy = "write a number in its place, or set the variable for the instance and restart it";
            return Err(refuse("weight_from_variable", value.span, message, remedy));
        }
        other => {
            let mark = if value.span.len > 0 { value.mark() } else { key.span };
            let message = format!("expected a number as the weight, found {}", other.kind());
            return Err(refuse("weight_not_number", mark, message, "write a number, as in `weight: 5`"));
        }
    };
    if Share::of_percent(number) == Some(weight) {
        return Ok(None);
    }
    let Span { offset, len, .. } = value.span;
    Ok(Some(Splice { offset, len, with: weight.to_string() }))
}

/// A weight for a canary that has none: after its `from`, or else its `cluster`.
fn insert(text: &str, canary: &Node, weight: Share) -> Result<Splice, Refusal> {
    let own = |name| entry(canary, name).filter(|(_, value)| !value.borrowed);
    let after = own("from").or_else(|| own("cluster")).filter(|_| !canary.borrowed);
    let Some((key, value)) = after else {
        let message = "this canary comes from an alias or a merge (`<<`), and has no place for a weight of its own";
        return Err(refuse("weight_from_alias", canary.mark(), message, "write the canary out, with its weight"));
    };
    let end = value.span.offset + value.span.len;
    let (Some(before), Some(rest)) = (text.get(..key.span.offset), text.get(end..)) else {
        return Err(lost(canary.mark()));
    };
    let lead = &before[before.rfind('\n').map_or(0, |at| at + 1)..];
    let entry = format!("{}: {weight}", like(key, text, "weight"));
    let in_braces = text.get(canary.span.offset..).is_some_and(|at| at.starts_with('{'));
    Ok(match (in_braces, own_line(lead, rest)) {
        (false, _) => block_line(text, end, key.span, &entry),
        (true, true) => flow_line(text, end, lead, &entry),
        (true, false) => Splice { offset: end, len: 0, with: format!(", {entry}") },
    })
}

/// `name`, quoted as this key is.
fn like(key: &Key, text: &str, name: &str) -> String {
    match text.as_bytes().get(key.span.offset) {
        Some(b'"') => format!("\"{name}\""),
        Some(b'\'') => format!("'{name}'"),
        _ => name.to_owned(),
    }
}

/// Whether an entry of a map in braces, and the comma after it, have a line for themselves.
fn own_line(lead: &str, rest: &str) -> bool {
    let rest = rest.lines().next().unwrap_or_default().trim_start();
    let after = rest.strip_prefix(',').map(str::trim_start);
    lead.trim().is_empty() && after.is_some_and(|after| after.is_empty() || after.starts_with('#'))
}

fn flow_line(text: &str, end: usize, lead: &str, entry: &str) -> Splice {
    let (offset, line_end) = next_line(text, end);
    Splice { offset, len: 0, with: format!("{lead}{entry},{line_end}") }
}

fn block_line(text: &str, end: usize, key: Span, entry: &str) -> Splice {
    let indent = " ".repeat(key.column.max(1) as usize - 1);
    match next_line(text, end) {
        (offset, line_end) if text[..offset].ends_with('\n') => {
            Splice { offset, len: 0, with: format!("{indent}{entry}{line_end}") }
        }
        // The last line ends with the file.
        (offset, line_end) => Splice { offset, len: 0, with: format!("{line_end}{indent}{entry}") },
    }
}

/// Where the line after the one with `from` begins, and how lines end there.
fn next_line(text: &str, from: usize) -> (usize, &'static str) {
    let end = text[from..].find('\n').map(|at| from + at);
    let before = end.or_else(|| text.find('\n')).map_or("", |at| &text[..at]);
    (end.map_or(text.len(), |at| at + 1), if before.ends_with('\r') { "\r\n" } else { "\n" })
}
