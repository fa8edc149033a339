//! What deciding on a version costs: by bucket, and with lists of a thousand and of a million users.

#![allow(missing_docs, reason = "made by criterion's macros")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use weir_config::model::{
    Anonymous, Bucket, Canary, Canonical, ClusterName, HeaderTest, IdKey, JudgeRules, OnUnhealthy, Release,
    ReleaseName, Rule, Share, Users,
};
use weir_core::dice::Dice;
use weir_core::load::Shards;
use weir_core::release::{self, Asked};
use weir_core::route::{Headers, RequestView};

/// A usual request: the id is the sixth of eight fields.
struct Fields {
    id: String,
}

const BEFORE: [(&str, &str); 7] = [
    ("accept", "*/*"),
    ("accept-encoding", "gzip, br"),
    ("accept-language", "en"),
    ("user-agent", "bench"),
    ("referer", "https://shop.example/"),
    ("cookie", "theme=dark; session=5f3c9a"),
    ("x-request-id", "00112233445566778899aabbccddeeff"),
];

impl Headers for Fields {
    fn get(&self, name: &str) -> Option<&[u8]> {
        let before = BEFORE.iter().find(|(its, _)| *its == name).map(|(_, value)| value.as_bytes());
        before.or_else(|| (name == "x-user-id").then_some(self.id.as_bytes()))
    }
}

fn name(name: &str) -> ClusterName {
    ClusterName::new(name).expect("a name")
}

fn made(listed: usize) -> release::Release {
    let ids: Vec<String> = (0..listed).map(|n| format!("user-{n}")).collect();
    let users = Rule::Users(Arc::new(Users::new(ids.iter().map(|id| id.as_bytes()), None)));
    let employee = Rule::Header { name: "x-employee".into(), test: HeaderTest::Exact("true".into()) };
    let weight = Share::of_percent(5.0).expect("a share");
    let first = if listed == 0 { Vec::new() } else { vec![employee, users] };
    let from = Bucket::new(0).expect("a bucket");
    let canary = Canary { cluster: name("v2"), from, weight, first, never: Vec::new(), rollout: None };
    let config = Release {
        name: ReleaseName::new("orders").expect("a name"),
        key: vec![IdKey::Header("x-user-id".into()), IdKey::Cookie("uid".into())],
        canonical: Canonical { trim: true, lower: false },
        salt: "orders-2026-11".into(),
        stable: name("v1"),
        canaries: vec![canary],
        never: Vec::new(),
        anonymous: Anonymous::Stable,
        on_unhealthy: OnUnhealthy::Stable,
        judge: JudgeRules { min_requests: 200, confidence: 95.0, error_margin: 1.0, latency_margin: 25.0 },
        mirror: None,
        line: 1,
    };
    let loads = (0..2).map(|_| Arc::new(Shards::new(1))).collect();
    release::Release::new(Arc::new(config), vec![0, 1], &[Some(weight)], loads, Arc::new(Shards::new(1)), None)
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("release");
    group.measurement_time(Duration::from_secs(3));
    for listed in [0, 1_000, 1_000_000] {
        let release = made(listed);
        // Other users each time, half of them in the list: no cache holds a million.
        let mut dice = Dice::new(7);
        let fields: Vec<Fields> =
            (0..65_536).map(|_| Fields { id: format!("user-{}", dice.below(2_000_000)) }).collect();
        let mut next = fields.iter().cycle();
        group.bench_function(BenchmarkId::new("listed", listed), |bencher| {
            bencher.iter(|| {
                let headers = next.next()?;
                let view = RequestView { method: "GET", host: "shop.example", path: "/orders", headers };
                let asked = Asked { view, query: None, client: IpAddr::V4(Ipv4Addr::LOCALHOST) };
                Some(release::assign(&release, &asked, &mut dice, &mut ()))
            });
        });
    }
}

criterion_group!(benches, decide);
criterion_main!(benches);
