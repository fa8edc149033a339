//! What a route does besides sending a request on, and who may come: answers, changes, limits.

use super::dial::once;
use super::listener::scalar;
use super::{Fields, non_zero};
use crate::check;
use crate::grammar;
use crate::mistake::Mistake;
use crate::model::{
    Access, FixedReply, HeaderEdits, HeaderTemplate, PathRewrite, RateKey, RateLimit, Redirect, Reply, Rewrite,
};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::{Key, Node};

/// The answer a route gives itself, if it does.
pub(super) fn reply(route: &Fields<'_>, matched: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Option<Reply> {
    if let Some(node) = route.get("redirect") {
        return redirect(route, node, matched, &path.key("redirect"), report).map(Reply::Redirect);
    }
    let fields = Fields::of(route.get("respond")?, &shape::RESPOND)?;
    let text = |name| fields.text(name).or_else(|| fields.default_text(name).map(str::to_owned)).unwrap_or_default();
    let body = fields.text("body").unwrap_or_default();
    // The table keeps the number within its type.
    let status = fields.number("status") as u16;
    if matches!(status, 204 | 205 | 304)
        && !body.is_empty()
        && let Some(node) = fields.get("body")
    {
        let message = format!("an answer with status {status} has no body");
        let mistake = Mistake::error("body_without_place", node.mark(), message);
        report.push(mistake.hint("remove `body`, or give another status"), &path.key("respond").key("body"));
    }
    Some(Reply::Fixed(FixedReply { status, body, content_type: text("content_type") }))
}

fn redirect(
    route: &Fields<'_>,
    node: &Node,
    matched: &Fields<'_>,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Redirect> {
    if route.word("redirect") == Some("https") {
        let scheme = Some("https".to_owned());
        let path = PathRewrite::Keep;
        return Some(Redirect { status: None, scheme, host: None, port: None, path, strip_query: false });
    }
    let fields = Fields::of(node, &shape::REDIRECT)?;
    // The table keeps these numbers within their types.
    let status = fields.integer("status").map(|status| status as u16);
    if let (Some(status @ 304..=306), Some(node)) = (status, fields.get("status")) {
        let mistake = Mistake::error("bad_status", node.mark(), format!("{status} is no redirect"));
        report.push(mistake.hint("301, 302, 303, 307 or 308"), &path.key("status"));
    }
    Some(Redirect {
        status,
        scheme: fields.word("scheme").map(str::to_owned),
        host: fields.text("host").and_then(|host| grammar::host(&host).ok()),
        port: fields.integer("port").map(|port| port as u16),
        path: path_rewrite(&fields, matched, path, report),
        strip_query: fields.bool("strip_query"),
    })
}

/// Warns of keys that are about what is sent on, on a route that sends nothing on.
pub(super) fn warn_of_reply(route: &Fields<'_>, path: &Path<'_>, report: &mut Report) {
    let headers = route.object("headers", &shape::ROUTE_HEADERS);
    let of_route =
        ["timeout", "retry", "body_bytes", "rewrite", "upgrade"].map(|name| (route.get(name), path.key(name)));
    let path = path.key("headers");
    for (node, path) in of_route.into_iter().chain([(headers.get("request"), path.key("request"))]) {
        if let (Some(node), Path::Key(_, name)) = (node, path) {
            let message = format!("`{name}` has no effect: this route answers itself, and asks no endpoint");
            report.push(Mistake::warning("no_effect", node.mark(), message).hint("remove it"), &path);
        }
    }
}

/// How a request is changed before it is sent on.
pub(super) fn rewrite(route: &Fields<'_>, matched: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Rewrite {
    let fields = route.object("rewrite", &shape::REWRITE);
    Rewrite { path: path_rewrite(&fields, matched, &path.key("rewrite"), report), host: fields.text("host") }
}

/// What becomes of the path, by the keys `path` and `path_prefix`, on a route that matches so.
fn path_rewrite(fields: &Fields<'_>, matched: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> PathRewrite {
    if let Some(whole) = fields.text("path") {
        return PathRewrite::Whole(whole);
    }
    let (Some(node), Some(prefix)) = (fields.get("path_prefix"), fields.text("path_prefix")) else {
        return PathRewrite::Keep;
    };
    if matched.get("path_prefix").is_none() {
        let (why, hint) = match matched.get("path") {
            Some(_) => ("the route takes one path only", "give `path` for the whole, or match a `path_prefix`"),
            None => ("the route matches no `path_prefix`", "match `path_prefix: /` to put it before every path"),
        };
        let mistake =
            Mistake::error("prefix_without_match", node.mark(), format!("{why}, so there is no prefix to replace"));
        report.push(mistake.hint(hint), &path.key("path_prefix"));
    }
    PathRewrite::Prefix(prefix)
}

/// What becomes of the header fields of request and answer.
pub(super) fn header_edits(route: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> (HeaderEdits, HeaderEdits) {
    let (fields, path) = (route.object("headers", &shape::ROUTE_HEADERS), path.key("headers"));
    let mut edits = |name| edits(&fields.object(name, &shape::HEADER_EDITS), &path.key(name), report);
    (edits("request"), edits("response"))
}

fn edits(fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> HeaderEdits {
    let field = |(key, node): &(Key, Node)| -> Option<(String, HeaderTemplate)> {
        let value = check::text(node, &shape::HEADER_TEMPLATE).ok()?;
        Some((grammar::edited_header(&key.text).ok()?, grammar::header_template(&value).ok()?))
    };
    let removed = fields.items("remove").iter().filter_map(scalar);
    let edits = HeaderEdits {
        remove: removed.filter_map(|name| grammar::edited_header(name).ok()).collect(),
        set: fields.entries("set").iter().filter_map(field).collect(),
        add: fields.entries("add").iter().filter_map(field).collect(),
    };
    for (at, node) in fields.items("remove").iter().enumerate() {
        let name = scalar(node).and_then(|name| grammar::edited_header(name).ok());
        if let Some(name) = name.filter(|name| edits.set.iter().any(|(other, _)| other == name)) {
            let message = format!("`{name}` is removed and set; setting it takes the place of all there are");
            let mistake = Mistake::warning("no_effect", node.mark(), message);
            report.push(mistake.hint("remove it from this list"), &path.key("remove").item(at));
        }
    }
    edits
}

/// Who is let in.
pub(super) fn access(fields: &Fields<'_>) -> Access {
    let nets = |name| {
        let items = fields.items(name).iter().filter_map(scalar);
        items.filter_map(|text| grammar::cidr(text).ok()).collect()
    };
    Access { allow: nets("allow"), deny: nets("deny") }
}

/// How many requests are taken.
pub(super) fn rate_limit(owner: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Option<RateLimit> {
    let fields = Fields::of(owner.get("rate_limit")?, &shape::RATE_LIMIT)?;
    let requests = non_zero(fields.integer("requests")?);
    let header = fields.object("key", &shape::RATE_KEY).text("header");
    let key = match (header, fields.word("key")) {
        (Some(header), _) => RateKey::Header(header.to_ascii_lowercase()),
        (None, Some("everybody")) => RateKey::Everybody,
        (None, _) => RateKey::ClientAddress,
    };
    if key == RateKey::Everybody
        && let Some(node) = fields.get("max_keys")
    {
        let message = "`max_keys` has no effect: everybody shares one bucket";
        let mistake = Mistake::warning("no_effect", node.mark(), message);
        report.push(mistake.hint("remove it"), &path.key("rate_limit").key("max_keys"));
    }
    // The table keeps the number within its type.
    let max_keys = fields.number("max_keys") as u32;
    Some(RateLimit {
        requests,
        per: fields.duration("per"),
        burst: fields.limit("burst").unwrap_or(requests),
        key,
        max_keys,
    })
}

/// Which protocols a request may change to.
pub(super) fn upgrades(route: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Vec<String> {
    if route.get("upgrade").is_none() {
        return vec!["websocket".to_owned()];
    }
    once(route.items("upgrade"), grammar::upgrade, &path.key("upgrade"), report)
}
