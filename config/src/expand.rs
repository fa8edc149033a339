//! `${VAR}` and `${VAR:-default}` in text values.
//!
//! Done after parsing, in text values only: what a variable holds can never become YAML, and a
//! key is never a variable. `$$` stands for one `$`; a `$` before anything else is itself.

use crate::grammar::Wrong;
use crate::report::{Path, Report};
use crate::yaml::{Node, Text, Value};

/// Looks a variable up.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Longest text that comes out.
const MAX_EXPANDED: usize = 64 << 10;

/// Replaces the variables of every text under `node`.
pub(crate) fn expand(node: &mut Node, env: Lookup<'_>, path: &Path<'_>, report: &mut Report) {
    let span = node.span;
    match &mut node.value {
        Value::Text(text) if text.text.contains('$') => match expand_text(&text.text, env) {
            Ok(Some(expanded)) => *text = expanded,
            Ok(None) => {}
            Err(wrong) => {
                report.wrong(span, path, wrong);
                node.value = Value::Broken;
            }
        },
        Value::List(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                expand(item, env, &path.item(at), report);
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                expand(value, env, &path.key(&key.text), report);
            }
        }
        _ => {}
    }
}

/// The text with its variables replaced; `None` if there are none.
fn expand_text(text: &str, env: Lookup<'_>) -> Result<Option<Text>, Wrong> {
    let (mut out, mut rest, mut expanded) = (String::new(), text, false);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(next) = after.strip_prefix('$') {
            out.push('$');
            rest = next;
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = inner.find('}').ok_or_else(|| {
                Wrong::new("bad_variable", "this ${ has no }").hint("write $$ for a $ that begins no variable")
            })?;
            out.push_str(&variable(&inner[..end], env)?);
            expanded = true;
            rest = &inner[end + 1..];
        } else {
            out.push('$');
            rest = after;
        }
        if out.len() > MAX_EXPANDED {
            return Err(Wrong::new(
                "expanded_too_long",
                "with its variables replaced, this text is longer than 64 KiB",
            ));
        }
    }
    out.push_str(rest);
    Ok((out != text || expanded).then_some(Text { text: out, expanded }))
}

fn variable(inner: &str, env: Lookup<'_>) -> Result<String, Wrong> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let named = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !named || name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
        return Err(Wrong::new("bad_variable", format!("{name:?} is no variable name"))
            .hint("as in ${WEIR_ZONE} or ${WEIR_ZONE:-az-a}"));
    }
    // As in a shell, `:-` counts an empty variable as unset.
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Wrong::new("unset_variable", format!("the environment variable {name} is not set"))
            .hint(format!("set it, or give a default: ${{{name}:-…}}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".into()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${A}".into()),
            _ => None,
        }
    }

    #[test]
    fn variables() {
        let table = [
            ("plain", Ok("plain")),
            ("${A}", Ok("one")),
            ("x${A}y${A}", Ok("xoneyone")),
            ("${B:-two}", Ok("two")),
            ("${A:-two}", Ok("one")),
            ("${EMPTY:-two}", Ok("two")),
            ("${EMPTY}", Ok("")),
            ("${B:-}", Ok("")),
            ("$$", Ok("$")),
            ("$${A}", Ok("${A}")),
            ("$A $", Ok("$A $")),
            ("${TRICK}", Ok("${A}")),
            ("${B}", Err("unset_variable")),
            ("${A", Err("bad_variable")),
            ("${}", Err("bad_variable")),
            ("${1A}", Err("bad_variable")),
            ("${A B}", Err("bad_variable")),
        ];
        for (text, expected) in table {
            let found = expand_text(text, &env).map(|t| t.map_or_else(|| text.to_owned(), |t| t.text));
            assert_eq!(found.map_err(|wrong| wrong.code), expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn what_comes_out_is_bounded() {
        let long = |_: &str| Some("x".repeat(60 << 10));
        assert!(expand_text("${A}", &long).is_ok());
        assert_eq!(expand_text("${A}${A}", &long).unwrap_err().code, "expanded_too_long");
    }
}
