//! What a TCP listener cannot do: it sees connections and bytes, no requests.

use std::time::Duration;

use super::Fields;
use super::listener::scalar;
use super::release::Releases;
use crate::mistake::Mistake;
use crate::model::{IdKey, Protocol};
use crate::report::{Path, Report};
use crate::shape;

/// Without a byte in either direction a session is given up after this long, as Envoy does it;
/// with no such bound, each client that vanishes without a word would hold two sockets for ever.
const STREAM_IDLE: Duration = Duration::from_secs(3600);

/// Keys of a listener that are about requests, and why each means nothing here.
const HTTP_ONLY: [(&str, &str); 2] = [
    ("headers", "there are no headers in a stream of bytes"),
    ("trusted_proxies", "nobody can say in a stream of bytes whom it comes from"),
];
const HTTP_ONLY_TIMEOUTS: [&str; 2] = ["header", "idle"];
const HTTP_ONLY_LIMITS: [&str; 5] = ["header_bytes", "header_count", "uri_bytes", "body_bytes", "body_min_rate"];

/// Reports keys of a TCP listener that only mean something where there are requests.
pub(super) fn check(fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) {
    if let Some(node) = fields.get("routes") {
        let message = "a tcp listener has no routes: there are no requests to match";
        let mistake = Mistake::error("routes_on_tcp", node.mark(), message);
        report.push(
            mistake.hint("give `cluster: NAME` instead, or `protocol: http` if HTTP is spoken"),
            &path.key("routes"),
        );
    }
    for (name, why) in HTTP_ONLY {
        refuse(fields, name, why, path, report);
    }
    let timeouts = fields.object("timeouts", &shape::LISTENER_TIMEOUTS);
    for name in HTTP_ONLY_TIMEOUTS {
        let hint = "a session without a byte in either direction ends after `stream_idle`";
        refuse(&timeouts, name, hint, &path.key("timeouts"), report);
    }
    let limits = fields.object("limits", &shape::LIMITS);
    for name in HTTP_ONLY_LIMITS {
        refuse(&limits, name, "there are no requests, only connections to limit", &path.key("limits"), report);
    }
}

/// Warns of a release that can tell no connection from another.
pub(super) fn warn(fields: &Fields<'_>, releases: &Releases<'_>, path: &Path<'_>, report: &mut Report) {
    if let Some(node) = fields.get("release")
        && let Some(release) = scalar(node).and_then(|name| releases.get(name))
        && !release.key.contains(&IdKey::SourceAddress)
    {
        let message = format!("no connection has an id for the release {}: all are stable's", release.name);
        let mistake = Mistake::warning("no_id_on_tcp", node.span, message);
        let hint = "of a connection only the address is known: add `source_address` to the release's `key`";
        report.push(mistake.hint(hint), &path.key("release"));
    }
}

fn refuse(fields: &Fields<'_>, name: &'static str, why: &str, path: &Path<'_>, report: &mut Report) {
    if let Some(node) = fields.get(name) {
        let message = format!("`{name}` is about requests, and this listener's `protocol` is tcp: {why}");
        let hint = format!("remove `{name}`, or give `protocol: http`");
        report.push(Mistake::error("http_key_on_tcp", node.mark(), message).hint(hint), &path.key(name));
    }
}

/// `timeouts.stream_idle` where it is not written.
pub(super) fn stream_idle(protocol: Protocol) -> Duration {
    match protocol {
        Protocol::Http => shape::default_duration(&shape::LISTENER_TIMEOUTS, "stream_idle"),
        Protocol::Tcp => STREAM_IDLE,
    }
}
