//! `weir explain-error`: what a reason means, whose fault it is, where to look, which setting.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use weir_core::reason::Reason;

use super::paint::{Paint, width, wrapped};
use super::table::{Cell, Table};
use super::{Format, emit, usage};

/// `weir explain-error`.
#[derive(Debug, Args)]
pub(super) struct ExplainError {
    /// The reason, as in X-Weir-Reason, the access log or a metric's label; without: the list
    reason: Option<String>,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl ExplainError {
    pub(super) fn run(self) -> ExitCode {
        let paint = Paint::for_stdout();
        let Some(word) = &self.reason else {
            let text = match self.format {
                Format::Text => list(paint),
                Format::Json => format!("{:#}\n", Value::from_iter(Reason::ALL.map(told))),
            };
            return emit(&text);
        };
        // As people type it: the metric's label, a header's line, in whatever case.
        let wanted = word.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        match Reason::ALL.into_iter().find(|reason| reason.as_str() == wanted) {
            Some(reason) => emit(&match self.format {
                Format::Text => page(reason, width(), paint),
                Format::Json => format!("{:#}\n", told(reason)),
            }),
            None => {
                let nearest = weir_config::nearest(&wanted, Reason::ALL.iter().map(|reason| reason.as_str()));
                let meant = nearest.map(|name| format!(" Did you mean `{name}`?")).unwrap_or_default();
                usage(&format!("there is no reason `{word}`.{meant} `weir explain-error` lists them"))
            }
        }
    }
}

fn status(status: u16) -> String {
    if status == 0 { "connection closed".to_owned() } else { status.to_string() }
}

fn list(paint: Paint) -> String {
    let mut table = Table::new(&["REASON", "STATUS", "WHOSE", "MEANING"]);
    for reason in Reason::ALL {
        let meaning = reason.meaning();
        let status = if meaning.status == 0 { "-".to_owned() } else { meaning.status.to_string() };
        let whose = reason.advice().whose.as_str();
        table.row([Cell::plain(meaning.name), Cell::plain(status), Cell::plain(whose), Cell::plain(meaning.help)]);
    }
    table.render("", paint)
}

fn page(reason: Reason, width: Option<usize>, paint: Paint) -> String {
    let (meaning, advice) = (reason.meaning(), reason.advice());
    let mut text = format!("{}  {}\n", paint.bold(meaning.name), status(meaning.status));
    let mut line = |name: &str, says: &str| {
        text += &format!("  {} {}\n", paint.dim(&format!("{name:<9}")), wrapped(says, 12, width));
    };
    line("meaning", meaning.help);
    line("whose", advice.whose.words());
    line("look at", advice.look);
    if !advice.settings.is_empty() {
        line("settings", &advice.settings.join(", "));
    }
    line("do", advice.change);
    text
}

fn told(reason: Reason) -> Value {
    let (meaning, advice) = (reason.meaning(), reason.advice());
    json!({
        "reason": meaning.name,
        "status": (meaning.status != 0).then_some(meaning.status),
        "meaning": meaning.help,
        "whose": advice.whose.as_str(),
        "look_at": advice.look,
        "settings": advice.settings,
        "advice": advice.change,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition that `node` leads to by `key`, through references, lists and choices.
    fn under<'s>(schema: &'s Value, node: &'s Value, key: &str) -> Option<&'s Value> {
        if let Some(found) = node["properties"].get(key) {
            return Some(found);
        }
        let named = node["$ref"].as_str().and_then(|name| schema.pointer(name.trim_start_matches('#')));
        let choices = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|name| node[name].as_array()).flatten();
        named.into_iter().chain(node.get("items")).chain(choices).find_map(|node| under(schema, node, key))
    }

    #[test]
    fn every_setting_exists() {
        let schema = weir_config::schema();
        for reason in Reason::ALL {
            for path in reason.advice().settings {
                let found = path.split('.').try_fold(&schema, |node, key| under(&schema, node, key));
                assert!(found.is_some(), "{reason:?}: there is no key {path}");
            }
        }
    }

    #[test]
    fn a_page_has_every_part() {
        let text = page(Reason::ConnectRefused, None, Paint::plain());
        for part in ["connect_refused  503", "meaning", "whose", "look at", "settings", "do "] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(list(Paint::plain()).lines().count(), Reason::COUNT + 1);
    }
}
