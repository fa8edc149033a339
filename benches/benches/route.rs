//! What finding a route costs, among ten and among ten thousand. It should be the same.

#![allow(missing_docs, reason = "made by criterion's macros")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use weir_benches::{config, routes_yaml, snapshot};
use weir_core::dice::Dice;
use weir_core::route::{Headers, RequestView};

/// A request without header fields.
struct NoFields;

impl Headers for NoFields {
    fn get(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

fn routes(criterion: &mut Criterion) {
    let host_only = |yaml: String| -> String {
        let lines = yaml.lines().map(|line| match (line.find(", path_prefix"), line.find('}')) {
            (Some(from), Some(to)) => format!("{}{}\n", &line[..from], &line[to..]),
            _ => format!("{line}\n"),
        });
        lines.collect()
    };
    let path_only = |yaml: String| -> String {
        let lines = yaml.lines().map(|line| match (line.find("host:"), line.find("path_prefix")) {
            (Some(from), Some(to)) => format!("{}{}\n", &line[..from], &line[to..]),
            _ => format!("{line}\n"),
        });
        lines.collect()
    };
    type Change<'c> = &'c dyn Fn(String) -> String;
    let kinds: [(&str, Change<'_>); 3] =
        [("host", &host_only), ("path", &path_only), ("host_and_path", &std::convert::identity)];
    for (name, change) in kinds {
        let mut group = criterion.benchmark_group(format!("route/{name}"));
        for count in [10, 10_000] {
            let snapshot = snapshot(config(&change(routes_yaml("127.0.0.1:8080", "10.0.0.1:80", count))));
            let table = &snapshot.listeners[0].routes;
            assert_eq!(table.len(), count as usize);
            // More than any cache of branches remembers, prepared so that only the look-up is timed.
            let mut dice = Dice::new(7);
            let asked: Vec<(String, String)> = (0..4096)
                .map(|_| {
                    let n = dice.below(u64::from(count));
                    (format!("h{n}.example"), format!("/p{n}/cart"))
                })
                .collect();
            let mut next = asked.iter().cycle();
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.iter(|| {
                    let (host, path) = next.next()?;
                    let found = table.find(&RequestView { method: "GET", host, path, headers: &NoFields });
                    debug_assert!(found.is_some());
                    found
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, routes);
criterion_main!(benches);
