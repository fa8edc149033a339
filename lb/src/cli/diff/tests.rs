//! Releases by hand, and who moves between them.

use std::sync::Arc;

use weir_config::model::*;

use super::moves::{Pair, version_of};

/// A release called `orders` with stable `v1`.
pub(super) fn release(canaries: Vec<Canary>) -> Release {
    Release {
        name: ReleaseName::new("orders").unwrap(),
        key: vec![IdKey::Header("x-user-id".into())],
        canonical: Canonical { trim: true, lower: false },
        salt: "s".into(),
        stable: ClusterName::new("v1").unwrap(),
        canaries,
        never: Vec::new(),
        anonymous: Anonymous::Stable,
        on_unhealthy: OnUnhealthy::Stable,
        judge: JudgeRules { min_requests: 200, confidence: 95.0, error_margin: 1.0, latency_margin: 25.0 },
        mirror: None,
        line: 1,
    }
}

/// `from` and `weight` in buckets.
pub(super) fn canary(cluster: &str, from: u16, weight: u16) -> Canary {
    Canary {
        cluster: ClusterName::new(cluster).unwrap(),
        from: Bucket::new(from).unwrap(),
        weight: Share::of_buckets(weight).unwrap(),
        first: Vec::new(),
        never: Vec::new(),
        rollout: None,
    }
}

fn told(old: &Release, new: &Release) -> Vec<String> {
    let words = |its: super::moves::Move| {
        let out = if its.out { " OUT" } else { "" };
        format!("{}->{} {:.2} {}{out}", its.from, its.to, its.share, its.ranges())
    };
    Pair { old, new }.moves().into_iter().map(words).collect()
}

#[test]
fn moves_are_the_buckets_that_change_hands() {
    let two = |a: u16, b: u16| release(vec![canary("v2", 0, a), canary("v3", 5_000, b)]);
    let promoted = Release { stable: ClusterName::new("v2").unwrap(), ..release(vec![]) };
    for (old, new, expected) in [
        (two(500, 0), two(1_000, 0), vec!["v1->v2 5.00 buckets 500-999"]),
        (two(1_000, 0), two(0, 0), vec!["v2->v1 10.00 buckets 0-999 OUT"]),
        (two(1, 0), two(0, 0), vec!["v2->v1 0.01 bucket 0 OUT"]),
        (two(500, 500), two(400, 600), vec!["v1->v3 1.00 buckets 5500-5599", "v2->v1 1.00 buckets 400-499 OUT"]),
        (
            two(500, 0),
            release(vec![canary("v2", 9_900, 500)]),
            vec!["v1->v2 1.00 buckets 9900-9999", "v2->v1 1.00 buckets 400-499 OUT"],
        ),
        (two(500, 0), release(vec![canary("v3", 0, 500)]), vec!["v2->v3 5.00 buckets 0-499 OUT"]),
        (release(vec![canary("v2", 0, 2_000)]), promoted, vec!["v1->v2 80.00 buckets 2000-9999"]),
        (two(500, 500), two(500, 500), vec![]),
    ] {
        assert_eq!(told(&old, &new), expected);
    }
}

#[test]
fn another_salt_moves_by_shares() {
    let old = release(vec![canary("v2", 0, 1_000)]);
    let new = Release { salt: "t".into(), ..old.clone() };
    assert_eq!(told(&old, &new), ["v1->v2 9.00 buckets ", "v2->v1 9.00 buckets  OUT"]);
}

#[test]
fn lists_of_ids_come_before_buckets() {
    let users = |ids: &[&str]| vec![Rule::Users(Arc::new(Users::new(ids.iter().map(|id| id.as_bytes()), None)))];
    let mut release = release(vec![canary("v2", 0, 10_000), canary("v3", 0, 0)]);
    release.never = users(&["nobody"]);
    release.canaries[0].never = users(&["ann"]);
    release.canaries[1].first = users(&["bob", "nobody"]);
    for (id, version) in [("x", 1), ("ann", 0), ("bob", 2), ("nobody", 0)] {
        assert_eq!(version_of(&release, id.as_bytes()), version, "{id}");
    }
}
