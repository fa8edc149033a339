//! What a new configuration and a change of weights cost the control loop, by number of endpoints.

#![allow(missing_docs, reason = "made by criterion's macros")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use weir_benches::{config, control, endpoints_yaml};
use weir_config::model::Balance;
use weir_core::control::Event;
use weir_core::time::Moment;

fn publishing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    group.sample_size(20);
    for endpoints in [1_000, 10_000] {
        let yaml = endpoints_yaml(endpoints, Balance::RoundRobin);
        let first = config(&yaml);
        let second = Arc::new(config(&yaml.replace("weight: 5", "weight: 6")));
        group.bench_function(BenchmarkId::new("first", endpoints), |bencher| {
            bencher.iter_batched(
                || first.clone(),
                |config| control(config).publish(Moment::ZERO),
                BatchSize::LargeInput,
            );
        });
        group.bench_function(BenchmarkId::new("changed_weights", endpoints), |bencher| {
            bencher.iter_batched(
                || {
                    let mut control = control(first.clone());
                    black_box(control.publish(Moment::ZERO));
                    control
                },
                |mut control| {
                    control.step(Moment::ZERO, Event::Configured(Arc::clone(&second)), &mut Vec::new());
                    let snapshot = control.publish(Moment::ZERO);
                    (control, snapshot)
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, publishing);
criterion_main!(benches);
