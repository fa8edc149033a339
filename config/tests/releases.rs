//! The gray rule in numbers: who moves when a weight is edited, how evenly ids fall, and the vectors
//! that other languages compare with.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use weir_config::model::{Bucket, Release};
use weir_config::release::moves::{Move, moves, verdict_of};
use weir_config::{Config, Mistakes, Source, parse};

fn read(releases: &str) -> Result<Config, Mistakes> {
    let clusters: Vec<String> =
        ["v1", "v2", "v3", "v4"].iter().map(|name| format!("{{name: {name}, endpoints: ['10.0.0.1:80']}}")).collect();
    let text = format!(
        "listeners: [{{name: web, bind: '0.0.0.0:8080', release: gray}}]\nclusters: [{}]\n{releases}\n",
        clusters.join(", ")
    );
    let files = |name: &str| match name {
        "beta.txt" => Ok(b"1001\nann\n".to_vec()),
        "more.txt" => Ok(b"1001\nbob\neve\n".to_vec()),
        other => Err(std::io::Error::other(other.to_owned())),
    };
    parse(&text, &Source { name: "any", env: &|_| None, files: &files }).map(|parsed| parsed.config)
}

/// A release with these keys beside its name and key.
fn release(keys: &str) -> Release {
    let config = read(&format!("releases: [{{name: gray, key: {{header: x-user-id}}, {keys}}}]"));
    (*config.unwrap_or_else(|mistakes| panic!("{keys}: {mistakes}")).releases[0]).clone()
}

fn two(first: (u16, f64), second: (u16, f64)) -> Release {
    let canary =
        |cluster: &str, (from, weight): (u16, f64)| format!("{{cluster: {cluster}, from: {from}, weight: {weight}}}");
    release(&format!("stable: v1, canaries: [{}, {}]", canary("v2", first), canary("v3", second)))
}

/// As `v1>v2 500-999`, with `!` where users are thrown out of a canary.
fn shown(moves: &[Move]) -> Vec<String> {
    let range = |range: &std::ops::RangeInclusive<u16>| format!("{}-{}", range.start(), range.end());
    let one = |one: &Move| {
        let ranges: Vec<_> = one.ranges.iter().map(range).collect();
        format!("{}{}>{} {} {}", if one.expels { "!" } else { "" }, one.from, one.to, one.share, ranges.join(","))
    };
    moves.iter().map(|it| one(it).trim_end().to_owned()).collect()
}

/// Computed by another implementation of XXH64 too; the docs have them.
#[test]
fn the_published_vectors() {
    let table = [
        ("orders", "alice@example.com", 8490),
        ("orders", "1", 3459),
        ("orders", "2", 618),
        ("orders", "1001", 3609),
        ("orders-2026-11", "42", 4174),
        ("orders-2026-11", "1001", 6279),
        ("orders-2026-11", "550e8400-e29b-41d4-a716-446655440000", 7059),
        ("orders-2026-11", "192.0.2.7", 91),
        ("orders-2026-11", "Ünal", 6546),
        ("лето", "用户", 5898),
        ("", "x", 9817),
    ];
    for (salt, id, bucket) in table {
        assert_eq!(Bucket::of(salt, id.as_bytes()).get(), bucket, "{salt:?} {id:?}");
    }
}

#[test]
fn moves_in_words() {
    let one = |keys: &str| release(&format!("stable: v1, canaries: [{{cluster: v2, {keys}}}]"));
    let none = release("stable: v1");
    let table: &[(Release, Release, &[&str])] = &[
        (one("weight: 5"), one("weight: 5"), &[]),
        (one("weight: 5"), one("weight: 10"), &["v1>v2 5 500-999"]),
        (one("weight: 10"), one("weight: 5.5"), &["!v2>v1 4.5 550-999"]),
        (one("weight: 10"), none.clone(), &["!v2>v1 10 0-999"]),
        (none.clone(), one("from: 9990, weight: 0.2"), &["v1>v2 0.2 0-9,9990-9999"]),
        (one("weight: 5"), one("from: 200, weight: 5"), &["!v2>v1 2 0-199", "v1>v2 2 500-699"]),
        (one("weight: 0"), one("weight: 100"), &["v1>v2 100 0-9999"]),
        // The canary is made stable: its users stay where they are.
        (one("weight: 5"), release("stable: v2"), &["v1>v2 95 500-9999"]),
        (one("weight: 5"), release("stable: v4, canaries: [{cluster: v2, weight: 5}]"), &["v1>v4 95 500-9999"]),
        (one("weight: 5"), release("stable: v1, canaries: [{cluster: v3, weight: 5}]"), &["!v2>v3 5 0-499"]),
        (two((0, 5.0), (5000, 5.0)), two((0, 20.0), (5000, 5.0)), &["v1>v2 15 500-1999"]),
        (two((0, 5.0), (500, 5.0)), two((100, 4.0), (500, 5.0)), &["!v2>v1 1 0-99"]),
        (two((0, 50.0), (5000, 0.0)), two((0, 0.0), (0, 50.0)), &["!v2>v3 50 0-4999"]),
        // Another salt: in v2 are half of all before and after, and only half of these are the same.
        (
            one("weight: 50"),
            release("salt: other, stable: v1, canaries: [{cluster: v2, weight: 50}]"),
            &["!v2>v1 25", "v1>v2 25"],
        ),
        (none.clone(), release("salt: other, stable: v1"), &[]),
    ];
    for (old, new, expected) in table {
        assert_eq!(shown(&moves(old, new)), *expected, "{:?} -> {:?}", old.canaries, new.canaries);
    }
}

#[test]
fn whose_an_id_is() {
    let it = release(
        "canonical: {case: lower}, stable: v1, never: {users: [nobody]}, canaries: [\
         {cluster: v2, from: 0, weight: 50, first: [{users: file:beta.txt}, {users: [nobody, Eve]}], never: {users: [ann, carl]}}, \
         {cluster: v3, from: 5000, weight: 50, first: {users: [ann, 1001]}}]",
    );
    let version = |id: &str| verdict_of(&it, id.as_bytes()).map(|verdict| verdict.version);
    assert_eq!(version("1001"), Some(1), "the first that has it");
    assert_eq!(version(" Ann "), Some(2), "v2 refuses her, v3 does not");
    assert_eq!(version("EVE"), Some(1), "lists are in canonical form too");
    assert_eq!(version("nobody"), Some(0), "never wins");
    assert_eq!((version(""), version("  ")), (None, None));
    for n in 0..1000 {
        let id = n.to_string();
        let bucket = Bucket::of("gray", id.as_bytes());
        let verdict = verdict_of(&it, id.as_bytes()).unwrap();
        assert_eq!((verdict.bucket, verdict.version), (bucket, if bucket.get() < 5000 { 1 } else { 2 }));
    }
    let carl = (0..).map(|n| format!("carl{n}")).find(|id| Bucket::of("gray", id.as_bytes()).get() < 5000).unwrap();
    let refused = release(&format!("stable: v1, canaries: [{{cluster: v2, weight: 50, never: {{users: [{carl}]}}}}]"));
    assert_eq!(verdict_of(&refused, carl.as_bytes()).unwrap().version, 0);
}

#[test]
fn ids_fall_evenly() {
    const IDS: u32 = 200_000;
    let it = two((0, 5.0), (7000, 25.0));
    type Form = fn(u32) -> String;
    let forms: [Form; 3] =
        [|n| n.to_string(), |n| format!("user{n:08}@example.com"), |n| format!("{:032x}", u128::from(n) << 64)];
    for form in forms {
        let mut counts = [0u32; 3];
        for n in 0..IDS {
            counts[verdict_of(&it, form(n).as_bytes()).unwrap().version] += 1;
        }
        for (count, percent) in counts.into_iter().zip([70.0, 5.0, 25.0]) {
            let found = f64::from(count) * 100.0 / f64::from(IDS);
            assert!((found - percent).abs() <= 0.2, "{}: {found} % instead of {percent} %", form(1));
        }
    }
}

/// The buckets of a range, by hand.
fn buckets(from: u16, count: u16) -> BTreeSet<u16> {
    (0..count).map(|step| (from + step) % 10_000).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    /// Fifty edits a case, a thousand in all: each moves the buckets of the edit, and nobody else.
    #[test]
    fn an_edit_moves_its_own_buckets_only(
        from in (0u16..5000, 5000u16..10_000),
        edits in proptest::collection::vec((any::<bool>(), 0u16..=10_000), 50),
    ) {
        // Neither reaches where the other begins.
        let room = (from.1 - from.0, 10_000 - (from.1 - from.0));
        let (mut now, mut before) = ((0u16, 0u16), None::<Release>);
        for (which, weight) in edits {
            let last = now;
            if which { now.0 = weight % (room.0 + 1) } else { now.1 = weight % (room.1 + 1) };
            let next = two((from.0, f64::from(now.0) / 100.0), (from.1, f64::from(now.1) / 100.0));
            let old = before.replace(next.clone()).unwrap_or_else(|| two((from.0, 0.0), (from.1, 0.0)));
            let (at, cluster, was, is) = if which { (from.0, "v2", last.0, now.0) } else { (from.1, "v3", last.1, now.1) };
            let edited: BTreeSet<u16> = if is > was {
                buckets(at, is).difference(&buckets(at, was)).copied().collect()
            } else {
                buckets(at, was).difference(&buckets(at, is)).copied().collect()
            };
            let moves = moves(&old, &next);
            let moved: BTreeSet<u16> = moves.iter().flat_map(|one| one.ranges.iter().cloned().flatten()).collect();
            prop_assert_eq!(&moved, &edited);
            for one in &moves {
                let (out, to) = if is > was { ("v1", cluster) } else { (cluster, "v1") };
                prop_assert_eq!((one.from.as_str(), one.to.as_str()), (out, to));
                prop_assert_eq!(one.expels, is < was);
                prop_assert_eq!(usize::from(one.share.buckets()), edited.len());
            }
            // And so do users.
            for n in 0..200u32 {
                let id = n.to_string();
                let (a, b) = (verdict_of(&old, id.as_bytes()).unwrap(), verdict_of(&next, id.as_bytes()).unwrap());
                prop_assert_eq!(a.bucket, b.bucket);
                prop_assert_eq!(a.version != b.version, edited.contains(&a.bucket.get()));
            }
        }
    }

    /// Whatever two canaries are written, either it is refused or no bucket has two owners; and what
    /// a refusal proposes is taken.
    #[test]
    fn what_fits_fits(from in (0u16..10_000, 0u16..10_000), weight in (0u16..=10_000, 0u16..=10_000)) {
        let text = |from: (u16, u16), weight: (u16, u16)| format!(
            "releases: [{{name: gray, key: source_address, stable: v1, canaries: [{{cluster: v2, from: {}, weight: {}}}, {{cluster: v3, from: {}, weight: {}}}]}}]",
            from.0, f64::from(weight.0) / 100.0, from.1, f64::from(weight.1) / 100.0
        );
        let shared = buckets(from.0, weight.0).intersection(&buckets(from.1, weight.1)).count();
        let Err(mistakes) = read(&text(from, weight)) else {
            prop_assert_eq!(shared, 0);
            return Ok(());
        };
        prop_assert!(shared > 0);
        let mistake = mistakes.iter().next().unwrap();
        if u32::from(weight.0) + u32::from(weight.1) > 10_000 {
            prop_assert_eq!(mistake.code, "weights_over_100");
            return Ok(());
        }
        prop_assert_eq!(mistake.code, "overlapping_canaries");
        prop_assert!(mistake.message.contains(&format!("both own {shared} bucket")), "{}", mistake.message);
        let hint = mistake.hint.clone().unwrap();
        let proposed = |what: &str| hint.split(what).nth(1).and_then(|rest| rest.split('`').next()).map(str::to_owned);
        if let Some(other) = proposed("`from: ") {
            prop_assert!(read(&text((from.0, other.parse().unwrap()), weight)).is_ok(), "{hint}");
        }
        if let Some(other) = proposed("`weight: ") {
            let other = (other.parse::<f64>().unwrap() * 100.0).round() as u16;
            let weight = if hint.ends_with("for v2") { (other, weight.1) } else { (weight.0, other) };
            prop_assert!(read(&text(from, weight)).is_ok(), "{hint}");
        }
        prop_assert!(hint.contains("what fits"), "{hint}");
    }
}
