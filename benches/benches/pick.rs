//! What one pick costs, per policy and number of endpoints. It should not depend on the latter.

#![allow(missing_docs, reason = "made by criterion's macros")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use weir_benches::{config, endpoints_yaml, snapshot};
use weir_config::model::Balance;
use weir_core::balance::{Ask, Cursors, Tried, pick};
use weir_core::dice::Dice;

fn picks(criterion: &mut Criterion) {
    for (name, balance) in
        [("round_robin", Balance::RoundRobin), ("least_request", Balance::LeastRequest), ("random", Balance::Random)]
    {
        let mut group = criterion.benchmark_group(format!("pick/{name}"));
        for endpoints in [10, 1_000, 10_000] {
            let snapshot = snapshot(config(&endpoints_yaml(endpoints, balance)));
            let cluster = &*snapshot.clusters[0];
            let (mut cursors, mut dice) = (Cursors::new(), Dice::new(7));
            group.bench_function(BenchmarkId::from_parameter(endpoints), |bencher| {
                bencher
                    .iter(|| pick(cluster, &Ask::new(&Tried::new()), &mut cursors, &mut dice).map(|pick| pick.index));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, picks);
criterion_main!(benches);
