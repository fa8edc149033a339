//! How an endpoint is picked, and what is done when few are left.

use super::listener::scalar;
use super::{Fields, in_order};
use crate::mistake::Mistake;
use crate::model::{Balance, Hash, HashKey, Panic, PanicMode, SlowStart, Sticky, ZoneAware, ZoneName};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::Node;

pub(super) fn balance(cluster: &Fields<'_>) -> Balance {
    match cluster.word("balance") {
        Some("least_request") => Balance::LeastRequest,
        Some("random") => Balance::Random,
        Some("ewma") => Balance::Ewma,
        Some("ring_hash") => Balance::RingHash,
        Some("maglev") => Balance::Maglev,
        _ => Balance::RoundRobin,
    }
}

pub(super) fn hash(cluster: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Hash {
    let (fields, path) = (cluster.object("hash", &shape::HASH), path.key("hash"));
    in_order(&fields, ("minimum_ring_size", "maximum_ring_size"), &path, report);
    let keys = match fields.get("key") {
        Some(_) => fields.items("key").iter().filter_map(hash_key).collect(),
        None => vec![HashKey::SourceAddress],
    };
    // The table keeps these numbers within their types.
    let table_size = fields.number("table_size") as u32;
    if let Some(node) = fields.get("table_size")
        && !is_prime(table_size)
    {
        let mistake = Mistake::error("not_prime", node.mark(), format!("{table_size} is not a prime"));
        let hint = format!("the nearest is {}; else some endpoints would be left out", nearest_prime(table_size));
        report.push(mistake.hint(hint), &path.key("table_size"));
    }
    Hash {
        keys,
        bounded_load: (!fields.is_off("bounded_load")).then(|| fields.number("bounded_load") as u16),
        table_size,
        minimum_ring_size: fields.number("minimum_ring_size") as u32,
        maximum_ring_size: fields.number("maximum_ring_size") as u32,
    }
}

fn hash_key(node: &Node) -> Option<HashKey> {
    if scalar(node).is_some() {
        // The table knows one word, and has refused all others.
        return Some(HashKey::SourceAddress);
    }
    let fields = Fields::of(node, &shape::HASH_KEY)?;
    let header = fields.text("header").map(|name| HashKey::Header(name.to_ascii_lowercase()));
    let cookie = fields.text("cookie").map(HashKey::Cookie);
    let query = fields.text("query").map(HashKey::Query);
    header.or(cookie).or(query)
}

fn is_prime(n: u32) -> bool {
    n >= 2 && (2..).take_while(|d| u64::from(*d) * u64::from(*d) <= u64::from(n)).all(|d| !n.is_multiple_of(d))
}

/// There is one close to every number: no gap below 5 000 011 is longer than 154.
fn nearest_prime(n: u32) -> u32 {
    let near = |by: u32| [n.saturating_sub(by), n.saturating_add(by)].into_iter().find(|n| is_prime(*n));
    (0..200).find_map(near).unwrap_or(65_537)
}

pub(super) fn sticky(cluster: &Fields<'_>) -> Option<Sticky> {
    if cluster.is_off("sticky") {
        return None;
    }
    let fields = cluster.object("sticky", &shape::STICKY);
    let text = |name| fields.text(name).or_else(|| fields.default_text(name).map(str::to_owned)).unwrap_or_default();
    Some(Sticky { cookie: text("cookie"), ttl: fields.duration_if("ttl"), path: text("path") })
}

pub(super) fn panic(cluster: &Fields<'_>) -> Panic {
    let fields = cluster.object("panic", &shape::PANIC);
    let mode = match cluster.word("panic").or_else(|| fields.word("mode")) {
        Some("off") => PanicMode::Off,
        Some("all_hosts") => PanicMode::AllHosts,
        _ => PanicMode::LeastBad,
    };
    // The table keeps the number within its type.
    Panic { mode, threshold: fields.number("threshold") as u8 }
}

pub(super) fn zone_aware(cluster: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> ZoneAware {
    let fields = cluster.object("zone_aware", &shape::ZONE_AWARE);
    let share = |(key, node): &(crate::yaml::Key, Node)| {
        let share = crate::check::integer(node, &shape::ZONE_SHARE).ok()?;
        // The table keeps the number within its type.
        Some((ZoneName::new(&key.text).ok()?, share as u32))
    };
    let shares: Vec<_> = fields.entries("shares").iter().filter_map(share).collect();
    if let Some(node) = fields.get("shares")
        && !shares.is_empty()
        && shares.iter().all(|(_, share)| *share == 0)
    {
        let mistake = Mistake::error("all_weights_zero", node.mark(), "every zone has the share 0");
        let path = path.key("zone_aware");
        report.push(mistake.hint("traffic comes from somewhere: one must be over 0"), &path.key("shares"));
    }
    ZoneAware { enabled: !cluster.is_off("zone_aware"), min_endpoints: fields.number("min_endpoints") as u32, shares }
}

pub(super) fn slow_start(cluster: &Fields<'_>) -> Option<SlowStart> {
    if cluster.is_off("slow_start") {
        return None;
    }
    let fields = cluster.object("slow_start", &shape::SLOW_START);
    let window = match cluster.get("slow_start") {
        Some(_) => cluster.duration_if("slow_start").unwrap_or_else(|| fields.duration("window")),
        None => cluster.duration("slow_start"),
    };
    (!window.is_zero()).then(|| SlowStart {
        window,
        aggression: fields.decimal("aggression"),
        // The table keeps the number within its type.
        minimum_percent: fields.number("minimum_percent") as u8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes() {
        for prime in [2, 3, 5, 7, 17, 251, 65_537, 5_000_011] {
            assert!(is_prime(prime), "{prime}");
        }
        for (number, near) in
            [(0, 2), (1, 2), (4, 3), (9, 7), (65_536, 65_537), (65_535, 65_537), (5_000_000, 4_999_999)]
        {
            assert!(!is_prime(number), "{number}");
            assert_eq!(nearest_prime(number), near, "{number}");
        }
    }
}
