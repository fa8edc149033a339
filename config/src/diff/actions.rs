//! What a route does besides sending on, and who may come.

use super::{ChangeKind, Notes, Touches, show};
use crate::model::{Access, FixedReply, HeaderEdits, PathRewrite, RateKey, RateLimit, Redirect, Reply, Rewrite};

/// An answer of the route's own, as `redirect to https` or `answer 404`.
pub(super) fn reply(value: &Reply) -> String {
    match value {
        Reply::Redirect(redirect) => self::redirect(redirect),
        Reply::Fixed(FixedReply { status, body, content_type: _ }) if body.is_empty() => format!("answer {status}"),
        Reply::Fixed(FixedReply { status, body, content_type }) => {
            format!("answer {status} with {} bytes of {content_type}", body.len())
        }
    }
}

fn redirect(redirect: &Redirect) -> String {
    let Redirect { status, scheme, host, port, path, strip_query } = redirect;
    let path = match path {
        PathRewrite::Keep => String::new(),
        PathRewrite::Whole(path) => path.clone(),
        PathRewrite::Prefix(prefix) => format!("{}/*", prefix.trim_end_matches('/')),
    };
    let scheme = scheme.as_ref().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let place = format!("{scheme}{}{port}{path}", host.as_deref().unwrap_or_default());
    let status = status.map(|status| format!(" ({status})")).unwrap_or_default();
    let query = if *strip_query { " without query" } else { "" };
    format!("redirect to {place}{query}{status}")
}

pub(super) fn rewrite(old: &Rewrite, new: &Rewrite, notes: &mut Notes) {
    let Rewrite { path, host } = new;
    notes.field(Touches::NewRequests, "rewrite path", &old.path, path, |path| match path {
        PathRewrite::Keep => "none".to_owned(),
        PathRewrite::Whole(path) => format!("={path}"),
        PathRewrite::Prefix(prefix) => format!("{}/*", prefix.trim_end_matches('/')),
    });
    notes.field(Touches::NewRequests, "rewrite host", &old.host, host, show::or("none"));
}

/// Their values may be secrets; their names are told.
pub(super) fn header_edits(name: &str, old: &HeaderEdits, new: &HeaderEdits, notes: &mut Notes) {
    if old == new {
        return;
    }
    let show = |edits: &HeaderEdits| {
        let HeaderEdits { remove, set, add } = edits;
        let removed = remove.iter().map(|name| format!("-{name}"));
        let set = set.iter().map(|(name, _)| format!("={name}"));
        let added = add.iter().map(|(name, _)| format!("+{name}"));
        let told: Vec<_> = removed.chain(set).chain(added).collect();
        if told.is_empty() { "none".to_owned() } else { told.join(" ") }
    };
    let (before, after) = (show(old), show(new));
    let change = if before == after { format!("other values for {after}") } else { format!("{before} -> {after}") };
    notes.push(ChangeKind::Changed, Touches::NewRequests, &format!("{name} headers {change}"));
}

pub(super) fn access(touches: Touches, old: &Access, new: &Access, notes: &mut Notes) {
    let Access { allow, deny } = new;
    notes.field(touches, "allow", &old.allow, allow, |nets| show::list_or(nets, "everybody"));
    notes.field(touches, "deny", &old.deny, deny, |nets| show::list(nets));
}

pub(super) fn rate_limit(touches: Touches, old: &Option<RateLimit>, new: &Option<RateLimit>, notes: &mut Notes) {
    notes.field(touches, "rate_limit", old, new, |limit| {
        let Some(RateLimit { requests, per, burst, key, max_keys }) = limit else {
            return "none".to_owned();
        };
        let of = match key {
            RateKey::ClientAddress => format!("each client address, {max_keys} at the most"),
            RateKey::Header(name) => format!("each {name}, {max_keys} at the most"),
            RateKey::Everybody => "everybody".to_owned(),
        };
        format!("{requests} per {}, burst {burst}, of {of}", show::duration(per))
    });
}
