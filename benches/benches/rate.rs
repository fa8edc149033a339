//! What one decision of a rate limit costs: of one bucket for all, of one key, of many, and of more
//! than there is room for.

#![allow(missing_docs, reason = "made by criterion's macros")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use weir_config::model::{RateKey, RateLimit};
use weir_core::rate::Limiter;
use weir_core::route::Headers;
use weir_core::time::Moment;

struct NoFields;

impl Headers for NoFields {
    fn get(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

fn limiter(key: RateKey, max_keys: u32) -> Limiter {
    let many = NonZeroU32::MAX;
    let limit = RateLimit { requests: many, per: Duration::from_secs(1), burst: many, key, max_keys };
    Limiter::new(&limit, None, 7)
}

fn rate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rate");
    let cases = [
        ("everybody", RateKey::Everybody, 1, 1),
        ("one_client", RateKey::ClientAddress, 100_000, 1),
        ("50_000_clients", RateKey::ClientAddress, 100_000, 50_000),
        ("more_than_fit", RateKey::ClientAddress, 1_000, 50_000),
    ];
    for (name, key, max_keys, clients) in cases {
        let limiter = limiter(key, max_keys);
        let mut n = 0u32;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                n = (n + 1) % clients;
                let client = IpAddr::V4(Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b1)));
                limiter.take(black_box(client), &NoFields, Moment::from_nanos(u64::from(n) * 1000))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, rate);
criterion_main!(benches);
