//! What a TCP listener cannot do: it sees connections and bytes, no requests.

use std::time::Duration;

use super::Fields;
use crate::mistake::Mistake;
use crate::model::{Anonymous, Config, IdKey, Listener, Protocol, Release, ReleaseName, Rule, Target};
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
            mistake.hint("give `cluster: NAME` or `release: NAME` instead, or `protocol: http` if HTTP is spoken"),
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

fn refuse(fields: &Fields<'_>, name: &'static str, why: &str, path: &Path<'_>, report: &mut Report) {
    if let Some(node) = fields.get(name) {
        let message = format!("`{name}` is about requests, and this listener's `protocol` is tcp: {why}");
        let hint = format!("remove `{name}`, or give `protocol: http`");
        report.push(Mistake::error("http_key_on_tcp", node.mark(), message).hint(hint), &path.key(name));
    }
}

/// Warns of what releases go by that no client of a TCP listener has.
pub(super) fn warn(config: &Config, fields: &Fields<'_>, report: &mut Report) {
    let path = Path::Root.key("listeners");
    for ((at, node), listener) in fields.items("listeners").iter().enumerate().zip(&config.listeners) {
        let Some(name) = divided_by(listener) else {
            continue;
        };
        let release = config.releases.iter().find(|release| release.name == *name);
        let place = Fields::of(node, &shape::LISTENER).and_then(|fields| fields.get("release"));
        if let (Some(release), Some(place)) = (release, place) {
            let path = path.item(at);
            let warning = |message| Mistake::warning("http_rule_on_tcp", place.mark(), message);
            if !release.key.contains(&IdKey::SourceAddress) {
                let message = format!(
                    "of a tcp client only the address is known, and {name} has no key `source_address`: \
                     every session is stable's that no list names"
                );
                report.push(warning(message).hint("add `source_address` to its `key`"), &path.key("release"));
            }
            let dead = dead(release);
            // What has no effect here may be there for requests.
            if !dead.is_empty() && !has_requests(config, name) {
                let message = format!(
                    "of a tcp client only the address is known, so in {name} these have no effect: {}",
                    dead.join(", ")
                );
                let hint = "go by `source_address`, and by `cidr` and `users` in lists";
                report.push(warning(message).hint(hint), &path.key("release"));
            }
        }
    }
}

/// The release that a TCP listener's sessions go by, if there is one.
fn divided_by(listener: &Listener) -> Option<&ReleaseName> {
    match (listener.protocol, &listener.routes.first()?.target) {
        (Protocol::Tcp, Target::Release(name)) => Some(name),
        _ => None,
    }
}

fn has_requests(config: &Config, name: &ReleaseName) -> bool {
    let with_requests = config.listeners.iter().filter(|listener| listener.protocol == Protocol::Http);
    let mut targets = with_requests.flat_map(|listener| &listener.routes).map(|route| &route.target);
    targets.any(|target| matches!(target, Target::Release(its) if its == name))
}

/// What of a release means nothing to a stream of bytes.
fn dead(release: &Release) -> Vec<&'static str> {
    let keys = release.key.iter().map(|key| match key {
        IdKey::Header(_) => Some("the key `header`"),
        IdKey::Cookie(_) => Some("the key `cookie`"),
        IdKey::Query(_) => Some("the key `query`"),
        IdKey::PathSegment(_) => Some("the key `path_segment`"),
        IdKey::Jwt(_) => Some("the key `jwt`"),
        IdKey::SourceAddress => None,
    });
    let lists = release.canaries.iter().flat_map(|canary| canary.first.iter().chain(&canary.never));
    let rules = lists.chain(&release.never).map(|rule| match rule {
        Rule::Header { .. } => Some("rules by `header`"),
        Rule::Cookie { .. } => Some("rules by `cookie`"),
        Rule::Networks(_) | Rule::Users(_) => None,
    });
    let cookie = matches!(release.anonymous, Anonymous::Cookie(_)).then_some("`sticky_cookie`");
    let mirror = release.mirror.is_some().then_some("`mirror`");
    let mut dead: Vec<_> = keys.chain(rules).flatten().chain(cookie).chain(mirror).collect();
    dead.sort_unstable();
    dead.dedup();
    dead
}

/// `timeouts.stream_idle` where it is not written.
pub(super) fn stream_idle(protocol: Protocol) -> Duration {
    match protocol {
        Protocol::Http => shape::default_duration(&shape::LISTENER_TIMEOUTS, "stream_idle"),
        Protocol::Tcp | Protocol::Udp => STREAM_IDLE,
    }
}
