//! What one pick costs, per policy and number of endpoints. It should not depend on the latter.

#![allow(missing_docs, reason = "made by criterion's macros")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use weir_benches::{config, endpoints_yaml, snapshot};
use weir_config::model::{Balance, Cluster, Config};
use weir_core::balance::{Ask, Cursors, Tried, pick};
use weir_core::dice::Dice;
use weir_core::hash;

const POLICIES: [(&str, Balance); 6] = [
    ("round_robin", Balance::RoundRobin),
    ("least_request", Balance::LeastRequest),
    ("random", Balance::Random),
    ("ewma", Balance::Ewma),
    ("ring_hash", Balance::RingHash),
    ("maglev", Balance::Maglev),
];

fn with(balance: Balance, bounded: Option<u16>, endpoints: u32) -> Config {
    let mut config = config(&endpoints_yaml(endpoints, Balance::RoundRobin));
    let mut cluster = Cluster::clone(&config.clusters[0]);
    (cluster.balance, cluster.hash.bounded_load) = (balance, bounded);
    config.clusters[0] = cluster.into();
    config
}

fn picks(criterion: &mut Criterion) {
    let bounded = ("maglev_bounded", Balance::Maglev, Some(125));
    for (name, balance, bounded) in POLICIES.map(|(name, balance)| (name, balance, None)).into_iter().chain([bounded]) {
        let mut group = criterion.benchmark_group(format!("pick/{name}"));
        for endpoints in [10, 1_000, 10_000] {
            let snapshot = snapshot(with(balance, bounded, endpoints));
            let cluster = &*snapshot.clusters[0];
            let (mut cursors, mut dice, tried) = (Cursors::new(), Dice::new(7), Tried::new());
            let mut client = 0u32;
            group.bench_function(BenchmarkId::from_parameter(endpoints), |bencher| {
                bencher.iter(|| {
                    client = client.wrapping_add(1);
                    let hash = balance.hashes().then(|| hash::of(&client.to_be_bytes()));
                    let ask = Ask { hash, ..Ask::new(&tried) };
                    pick(cluster, &ask, &mut cursors, &mut dice).map(|pick| pick.index)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, picks);
criterion_main!(benches);
