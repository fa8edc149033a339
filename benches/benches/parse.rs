//! What reading a configuration costs.

#![allow(missing_docs, reason = "made by criterion's macros")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::{endpoints_yaml, routes_yaml};
use weir_config::model::Balance;

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    group.sample_size(20);
    for (name, text) in [
        ("endpoints/10", endpoints_yaml(10, Balance::RoundRobin)),
        ("endpoints/10000", endpoints_yaml(10_000, Balance::RoundRobin)),
        ("routes/10000", routes_yaml("127.0.0.1:8080", "10.0.0.1:80", 10_000)),
    ] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| weir_config::parse_str(&text).map(|parsed| parsed.config).map_err(drop));
        });
    }
    group.finish();
}

criterion_group!(benches, parsing);
criterion_main!(benches);
