//! What a release can go by at a listener without requests: it sees addresses, and nothing else.

use std::time::Duration;

use super::Fields;
use crate::mistake::Mistake;
use crate::model::{Anonymous, Config, IdKey, Protocol, Release, ReleaseName, Rule, Target};
use crate::report::{Path, Report};
use crate::shape;

/// Without a byte in either direction a session is given up after this long, as Envoy does it;
/// with no such bound, each client that vanishes without a word would hold two sockets for ever.
const STREAM_IDLE: Duration = Duration::from_secs(3600);

/// Warns of what releases go by that no client of a TCP or UDP listener has.
pub(super) fn warn(config: &Config, fields: &Fields<'_>, report: &mut Report) {
    let path = Path::Root.key("listeners");
    for ((at, node), listener) in fields.items("listeners").iter().enumerate().zip(&config.listeners) {
        let (Some(fields), path) = (Fields::of(node, &shape::LISTENER), path.item(at)) else {
            continue;
        };
        if listener.protocol == Protocol::Http {
            continue;
        }
        release(&fields, listener.protocol, config, &path, report);
        let path = path.key("routes");
        for (at, node) in fields.items("routes").iter().enumerate() {
            if let Some(route) = Fields::of(node, &shape::ROUTE) {
                release(&route, listener.protocol, config, &path.item(at), report);
            }
        }
    }
}

/// Warns of the release that the key `release` names, if there is one.
fn release(fields: &Fields<'_>, protocol: Protocol, config: &Config, path: &Path<'_>, report: &mut Report) {
    let (Some(place), Some(name)) = (fields.get("release"), fields.text("release")) else {
        return;
    };
    let Some(release) = config.releases.iter().find(|release| release.name.as_str() == name) else {
        return;
    };
    let known = format!("of a {} client only the address is known", protocol.as_str());
    let warning = |message| Mistake::warning("http_rule_on_tcp", place.mark(), message);
    if !release.key.contains(&IdKey::SourceAddress) {
        let message =
            format!("{known}, and {name} has no key `source_address`: every session is stable's that no list names");
        report.push(warning(message).hint("add `source_address` to its `key`"), &path.key("release"));
    }
    let dead = dead(release);
    // What has no effect here may be there for requests.
    if !dead.is_empty() && !has_requests(config, &release.name) {
        let message = format!("{known}, so in {name} these have no effect: {}", dead.join(", "));
        let hint = "go by `source_address`, and by `cidr` and `users` in lists";
        report.push(warning(message).hint(hint), &path.key("release"));
    }
}

fn has_requests(config: &Config, name: &ReleaseName) -> bool {
    let with_requests = config.listeners.iter().filter(|listener| listener.protocol == Protocol::Http);
    let mut targets = with_requests.flat_map(|listener| &listener.routes).map(|route| &route.target);
    targets.any(|target| matches!(target, Target::Release(its) if its == name))
}

/// What of a release means nothing to a stream of bytes or datagrams.
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
