//! How endpoints are found and connected to.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::listener::scalar;
use super::{Fields, at_least, in_order};
use crate::grammar::{self, Wrong};
use crate::mistake::Mistake;
use crate::model::{Connect, Family, Pool, Resolve};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::{Node, Span};

/// A name without a TTL to speak of is not asked for more often than that.
const MIN_TTL: Duration = Duration::from_millis(100);
/// `TCP_KEEPIDLE` counts whole seconds, from 1 to 32 767.
const KEEPALIVE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(9 * 3600);
/// `TCP_USER_TIMEOUT` counts milliseconds, and 0 means the system's.
const MIN_USER_TIMEOUT: Duration = Duration::from_millis(1);

pub(super) fn connect(cluster: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Connect {
    let (fields, path) = (cluster.object("connect", &shape::CONNECT), path.key("connect"));
    at_least(&fields, "user_timeout", MIN_USER_TIMEOUT, &path, report);
    let keepalive = (!fields.is_off("keepalive")).then(|| fields.duration("keepalive"));
    if let (Some(node), Some(idle)) = (fields.get("keepalive"), keepalive)
        && !KEEPALIVE.contains(&idle)
    {
        let mistake = Mistake::error("out_of_range", node.mark(), "keepalive is from 1s to 9h");
        report.push(mistake.hint("`off` sends no probes"), &path.key("keepalive"));
    }
    Connect {
        timeout: fields.duration("timeout"),
        keepalive,
        user_timeout: fields.duration_if("user_timeout"),
        local_addresses: once(
            fields.items("local_address"),
            grammar::local_address,
            &path.key("local_address"),
            report,
        ),
        source_ports: fields.text("source_ports").and_then(|text| grammar::ports(&text).ok()),
    }
}

pub(super) fn pool(cluster: &Fields<'_>) -> Pool {
    let fields = cluster.object("pool", &shape::POOL);
    // The table keeps the number within its type.
    Pool { idle_timeout: fields.duration("idle_timeout"), max_idle: fields.number("max_idle") as u32 }
}

pub(super) fn resolve(cluster: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Resolve {
    let (fields, path) = (cluster.object("resolve", &shape::RESOLVE), path.key("resolve"));
    at_least(&fields, "min_ttl", MIN_TTL, &path, report);
    in_order(&fields, ("min_ttl", "max_ttl"), &path, report);
    Resolve {
        servers: once(fields.items("servers"), grammar::dns_server, &path.key("servers"), report),
        family: match fields.word("family") {
            Some("ipv4") => Family::V4,
            Some("ipv6") => Family::V6,
            _ => Family::Both,
        },
        timeout: fields.duration("timeout"),
        min_ttl: fields.duration("min_ttl"),
        max_ttl: fields.duration("max_ttl"),
        max_stale: (fields.word("max_stale") != Some("forever")).then(|| fields.duration("max_stale")),
        // The table keeps the number within its type.
        confirm_removal: fields.number("confirm_removal") as u8,
    }
}

/// The values of a list in which none may stand twice.
pub(super) fn once<T: Clone + Eq + Hash>(
    items: &[Node],
    read: impl Fn(&str) -> Result<T, Wrong>,
    path: &Path<'_>,
    report: &mut Report,
) -> Vec<T> {
    let (mut values, mut seen) = (Vec::with_capacity(items.len()), HashMap::<T, Span>::new());
    for (at, node) in items.iter().enumerate() {
        let Some(value) = scalar(node).and_then(|text| read(text).ok()) else {
            continue;
        };
        match seen.get(&value) {
            Some(first) => {
                let mistake = Mistake::error("duplicate_item", node.span, "this is in the list twice");
                report.push(mistake.hint("keep one of them").related(*first, "first given here"), &path.item(at));
            }
            None => {
                seen.insert(value.clone(), node.span);
                values.push(value);
            }
        }
    }
    values
}
