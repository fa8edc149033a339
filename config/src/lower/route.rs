//! Routes and what they match.

use super::listener::{Targets, scalar};
use super::{Fields, actions, retry};
use crate::check;
use crate::grammar;
use crate::model::{HeaderMatch, HeaderTest, PathMatch, Route, RouteMatch, RouteName, Target};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::{Key, Node, Value};

pub(super) fn lower(
    fields: &Fields<'_>,
    node: &Node,
    targets: Targets<'_>,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Route> {
    let matched = fields.object("match", &shape::MATCH);
    let timeout = fields.duration("timeout");
    let retry = retry::lower(fields, timeout, &path.key("retry"), report);
    let (rewrite, (request_headers, response_headers)) =
        (actions::rewrite(fields, &matched, path, report), actions::header_edits(fields, path, report));
    let reply = actions::reply(fields, &matched, path, report).map(Target::Reply);
    if reply.is_some() && !report.has_errors() {
        actions::warn_of_reply(fields, path, report);
    }
    let target = reply.or_else(|| targets.resolve(fields, path, report))?;
    Some(Route {
        name: fields.text("name").and_then(|name| RouteName::new(&name).ok()),
        matches: matches(&matched),
        target,
        timeout,
        retry,
        body_bytes: fields.integer("body_bytes"),
        rewrite,
        request_headers,
        response_headers,
        access: actions::access(fields),
        rate_limit: actions::rate_limit(fields, path, report),
        upgrades: actions::upgrades(fields, path, report),
        line: node.mark().line,
    })
}

fn matches(fields: &Fields<'_>) -> RouteMatch {
    let hosts = fields.items("host").iter().filter_map(scalar).filter_map(|text| grammar::host_pattern(text).ok());
    let methods = fields.items("method").iter().filter_map(scalar).filter_map(|text| grammar::method(text).ok());
    let sni = fields.items("sni").iter().filter_map(scalar).filter_map(|text| grammar::sni_pattern(text).ok());
    let exact = fields.text("path").map(PathMatch::Exact);
    let prefix = fields.text("path_prefix").map(prefix);
    RouteMatch {
        hosts: hosts.collect(),
        path: exact.or(prefix).unwrap_or_default(),
        methods: methods.collect(),
        headers: headers(fields.entries("header")),
        sni: sni.collect(),
    }
}

/// `/` is a prefix of every path, and `/a/` means what lies under `/a`, as `/a` does.
fn prefix(text: String) -> PathMatch {
    match text.trim_end_matches('/') {
        "" => PathMatch::Any,
        trimmed => PathMatch::Prefix(trimmed.to_owned()),
    }
}

pub(super) fn headers(entries: &[(Key, Node)]) -> Vec<HeaderMatch> {
    let mut headers: Vec<HeaderMatch> = Vec::new();
    for (key, node) in entries {
        let Ok(name) = grammar::header_name(&key.text) else {
            continue;
        };
        let test = match &node.value {
            Value::Map(_) => {
                let Some(fields) = Fields::of(node, &shape::HEADER_PRESENCE) else {
                    continue;
                };
                if fields.bool("present") { HeaderTest::Present } else { HeaderTest::Absent }
            }
            _ => match check::text(node, &shape::HEADER_VALUE) {
                Ok(value) => HeaderTest::Exact(value),
                Err(_) => continue,
            },
        };
        headers.push(HeaderMatch { name, test });
    }
    headers
}

/// The headers of a map from names to values, in order.
pub(super) fn header_values(entries: &[(Key, Node)]) -> Vec<(String, String)> {
    let header = |(key, node): &(Key, Node)| {
        Some((grammar::header_name(&key.text).ok()?, check::text(node, &shape::HEADER_VALUE).ok()?))
    };
    entries.iter().filter_map(header).collect()
}
