//! How an endpoint is picked, and what is done when few are left.

use super::{Group, Notes, show};
use crate::model::{Hash, HashKey, Panic, PanicMode, SlowStart, Sticky, ZoneAware, ZoneName};

/// Keys that move to another endpoint lose what that one remembers of them: the words say which
/// setting it is, not how many move.
pub(super) fn hash(old: &Hash, new: &Hash, notes: &mut Notes) {
    let Hash { keys, bounded_load, table_size, minimum_ring_size, maximum_ring_size } = new;
    let mut group = Group::new("hash", notes);
    group.field("key", &old.keys, keys, |keys| keys.iter().map(key).collect::<Vec<_>>().join(", "));
    group.field("bounded_load", &old.bounded_load, bounded_load, show::or("off"));
    group.field("table_size", &old.table_size, table_size, show::plain);
    group.field("minimum_ring_size", &old.minimum_ring_size, minimum_ring_size, show::plain);
    group.field("maximum_ring_size", &old.maximum_ring_size, maximum_ring_size, show::plain);
}

fn key(key: &HashKey) -> String {
    match key {
        HashKey::Header(name) => format!("header {name}"),
        HashKey::Cookie(name) => format!("cookie {name}"),
        HashKey::Query(name) => format!("query {name}"),
        HashKey::SourceAddress => "source_address".to_owned(),
    }
}

pub(super) fn sticky(old: Option<&Sticky>, new: Option<&Sticky>, notes: &mut Notes) {
    let mut group = Group::new("sticky", notes);
    let (Some(old), Some(new)) = (old, new) else {
        return group.whole(&old, &new, |sticky| sticky.map(|sticky| format!("cookie {}", sticky.cookie)));
    };
    let Sticky { cookie, ttl, path } = new;
    group.field("cookie", &old.cookie, cookie, show::plain);
    group.field("ttl", &old.ttl, ttl, show::duration_or("the browser's session"));
    group.field("path", &old.path, path, show::plain);
}

pub(super) fn panic(old: Panic, new: Panic, notes: &mut Notes) {
    let Panic { mode, threshold } = new;
    let mut group = Group::new("panic", notes);
    group.field("mode", &old.mode, &mode, |mode| panic_mode(*mode).to_owned());
    group.field("threshold", &old.threshold, &threshold, show::plain);
}

const fn panic_mode(mode: PanicMode) -> &'static str {
    match mode {
        PanicMode::Off => "off",
        PanicMode::AllHosts => "all_hosts",
        PanicMode::LeastBad => "least_bad",
    }
}

pub(super) fn zone_aware(old: &ZoneAware, new: &ZoneAware, notes: &mut Notes) {
    let ZoneAware { enabled, min_endpoints, shares } = new;
    let mut group = Group::new("zone_aware", notes);
    group.whole(&old.enabled, enabled, |enabled| enabled.then(|| "on".to_owned()));
    group.field("min_endpoints", &old.min_endpoints, min_endpoints, show::plain);
    group.field("shares", &old.shares, shares, |shares| self::shares(shares));
}

fn shares(shares: &[(ZoneName, u32)]) -> String {
    if shares.is_empty() {
        return "equal".to_owned();
    }
    shares.iter().map(|(zone, share)| format!("{zone} {share}")).collect::<Vec<_>>().join(", ")
}

pub(super) fn slow_start(old: Option<SlowStart>, new: Option<SlowStart>, notes: &mut Notes) {
    let mut group = Group::new("slow_start", notes);
    let (Some(old), Some(new)) = (old, new) else {
        return group.whole(&old, &new, |ramp| ramp.map(|ramp| show::duration(&ramp.window)));
    };
    let SlowStart { window, aggression, minimum_percent } = new;
    group.field("window", &old.window, &window, show::duration);
    group.field("aggression", &old.aggression, &aggression, show::plain);
    group.field("minimum_percent", &old.minimum_percent, &minimum_percent, show::plain);
}
