//! Keys, rules, lists and steps, as a person would say them.

use weir_config::model::{self, HashKey, HeaderTest, IdKey, RateKey, RateLimit, Rule, Share};
use weir_config::release::JwtFrom;
use weir_config::release::rule::Range;
use weir_core::balance::told::{Cost, Looked, Step};
use weir_core::release::{List, Why};
use weir_core::snapshot::Cluster;

/// A rate limit: how many requests of whom.
pub(super) fn limit(limit: &RateLimit) -> String {
    let RateLimit { requests, per, burst, key, .. } = limit;
    let whose = match key {
        RateKey::ClientAddress => "by client address".to_owned(),
        RateKey::Header(name) => format!("by header {name}"),
        RateKey::Everybody => "for everybody together".to_owned(),
    };
    format!("{requests} in {per:?} and {burst} at once, {whose}")
}

/// Where a user's id may be.
pub(super) fn id_key(key: &IdKey) -> String {
    match key {
        IdKey::Header(name) => format!("header {name}"),
        IdKey::Cookie(name) => format!("cookie {name}"),
        IdKey::Query(name) => format!("query {name}"),
        IdKey::PathSegment(at) => format!("path segment {at}"),
        IdKey::Jwt(jwt) => {
            let from = match &jwt.from {
                JwtFrom::Header(name) => format!("header {name}"),
                JwtFrom::Cookie(name) => format!("cookie {name}"),
            };
            format!("jwt claim {} in {from}", jwt.claim)
        }
        IdKey::SourceAddress => "source address".into(),
    }
}

/// Whom a rule takes.
pub(super) fn rule(rule: &Rule) -> String {
    match rule {
        Rule::Header { name, test: HeaderTest::Exact(value) } => format!("header {name}: {value}"),
        Rule::Header { name, test: HeaderTest::Present } => format!("header {name} present"),
        Rule::Header { name, test: HeaderTest::Absent } => format!("header {name} absent"),
        Rule::Cookie { name, value: Some(value) } => format!("cookie {name}={value}"),
        Rule::Cookie { name, value: None } => format!("cookie {name} present"),
        Rule::Networks(networks) => {
            let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
            format!("cidr {}", networks.join(", "))
        }
        Rule::Users(users) => {
            let file = users.file().map(|file| format!(" of {}", file.display())).unwrap_or_default();
            match users.len() {
                1 => format!("1 user{file}"),
                many => format!("{many} users{file}"),
            }
        }
    }
}

/// The rule at a place of a list, and the list's name.
pub(super) fn listed(release: &model::Release, list: List, at: usize) -> (String, Option<&Rule>) {
    let of = |canary: usize, word: &str, rules: fn(&model::Canary) -> &[Rule]| {
        let canary = release.canaries.get(canary);
        let name = canary.map_or("?", |canary| canary.cluster.as_str());
        (format!("{name} {word}"), canary.and_then(|canary| rules(canary).get(at)))
    };
    match list {
        List::NeverAny => ("never".into(), release.never.get(at)),
        List::Never(canary) => of(canary, "never", |canary| &canary.never),
        List::First(canary) => of(canary, "first", |canary| &canary.first),
    }
}

/// What decided on a version.
pub(super) const fn why(why: Why) -> &'static str {
    match why {
        Why::Never => "a never list takes it: it gets stable, whatever its bucket",
        Why::First => "a first list takes it, whatever its bucket",
        Why::Bucket => "its bucket belongs to this canary",
        Why::Stable => "its bucket belongs to no canary",
        Why::Unattributed => "it has no id, so it is nobody's user",
    }
}

/// The buckets of a range: `0-499`, or `9900-9999, 0-399` where it wraps.
pub(super) fn buckets(range: Range) -> String {
    let Some(last) = range.share.buckets().checked_sub(1) else { return "none".into() };
    let (first, end) = (range.from.get(), range.from.further(last).get());
    match range.share {
        Share::ALL => "all".into(),
        _ if first == end => first.to_string(),
        _ if first < end => format!("{first}-{end}"),
        _ => format!("{first}-9999, {}", if end == 0 { "0".into() } else { format!("0-{end}") }),
    }
}

/// A key that policies hash.
pub(super) fn hash_key(key: &HashKey) -> String {
    match key {
        HashKey::Header(name) => format!("header {name}"),
        HashKey::Cookie(name) => format!("cookie {name}"),
        HashKey::Query(name) => format!("query {name}"),
        HashKey::SourceAddress => "source address".into(),
    }
}

/// One step of a pick in `cluster`.
pub(super) fn step(cluster: &Cluster, step: &Step) -> String {
    let name =
        |index: usize| cluster.members.get(index).map_or_else(|| "?".into(), |member| member.address().to_string());
    let group = |at: usize| {
        let group = cluster.available.groups.get(at);
        group.map_or_else(|| "?".into(), |group| format!("priority {}, {}", group.priority, group.zone))
    };
    let no = |fits: bool| if fits { "" } else { ": of no use, it was tried, is full or was drawn before" };
    match *step {
        Step::Hash { hash, own: true } => format!("looks up the request's key: hash {hash:016x}"),
        Step::Hash { hash, own: false } => format!("the request has none of the hash keys: chance, {hash:016x}"),
        Step::Session { index: Some(index), fits: true } => format!("its session cookie names {}", name(index)),
        Step::Session { index: Some(index), fits: false } => {
            format!("its session cookie names {}, which may not be picked now", name(index))
        }
        Step::Session { index: None, .. } => "its session cookie names nobody who is there".into(),
        Step::Trial { index, took: true } => format!("{} is on probation: this is its trial", name(index)),
        Step::Trial { index, took: false } => format!("{} is on probation, and has its trials under way", name(index)),
        Step::Group { group: at } => format!("drawn by share: {}", group(at)),
        Step::Elsewhere { group: at } => format!("nobody left there; next: {}", group(at)),
        Step::Turn { index, fits } => format!("turn of {}{}", name(index), no(fits)),
        Step::Draw { index, fits } => format!("drawn by weight: {}{}", name(index), no(fits)),
        Step::Counted { index: Some(index) } => format!("counted out among those left: {}", name(index)),
        Step::Counted { index: None } => "counted out: nobody is left".into(),
        Step::Compared { first, second, second_is_better, tie } => {
            let better = name(if second_is_better { second.index } else { first.index });
            let how = if tie { "no difference, by chance" } else { "better" };
            format!("{} against {}: {how} {better}", cost(&name(first.index), first), cost(&name(second.index), second))
        }
        Step::Look { step, slot, of, index, found } => {
            let found = match found {
                Looked::Takes => "",
                Looked::NotUsable => ", who may not be picked",
                Looked::NoRoom => ", who was tried or is full",
                Looked::Ramping => ", who ramps up and does not take this key yet",
            };
            format!("look {}: place {slot} of {of} is {}'s{found}", step + 1, name(index))
        }
        Step::Bounded { index, slots } => {
            format!("{} has the {slots} requests that bounded load allows it", name(index))
        }
        Step::Order { index } => format!("next in the key's own order: {}", name(index)),
    }
}

fn cost(name: &str, cost: Cost) -> String {
    let latency = cost.latency.map(|nanos| format!(", {:.1} ms", nanos / 1e6)).unwrap_or_default();
    format!("{name} ({} under way, weight {}{latency})", cost.active, cost.capacity as f64 / 1000.0)
}

/// An id as text.
pub(super) fn id(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether what a key finds is a credential, and must not be kept.
pub(super) fn is_secret(key: &IdKey) -> bool {
    const SECRET: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];
    matches!(key, IdKey::Header(name) if SECRET.contains(&name.as_str()))
}
