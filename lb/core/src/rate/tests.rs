//! Buckets by table, by chance and by several threads at once.

use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::sync::Barrier;
use std::sync::atomic::AtomicU32;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

struct Fields(Option<&'static [u8]>);

impl Headers for Fields {
    fn get(&self, _name: &str) -> Option<&[u8]> {
        self.0
    }
}

const NONE: Fields = Fields(None);

fn limit(requests: u32, per: Duration, burst: u32, key: RateKey) -> RateLimit {
    let number = |number| NonZeroU32::new(number).unwrap();
    RateLimit { requests: number(requests), per, burst: number(burst), key, max_keys: 1000 }
}

fn limiter(requests: u32, burst: u32, key: RateKey) -> Limiter {
    Limiter::new(&limit(requests, Duration::from_secs(1), burst, key), None, 7)
}

fn client(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(nanos: u64) -> Moment {
    Moment::from_nanos(nanos)
}

#[test]
fn a_burst_then_the_pace_and_how_long_to_wait() {
    let limiter = limiter(10, 3, RateKey::ClientAddress);
    let one = client("192.0.2.1");
    let ask = |nanos| limiter.take(one, &NONE, at(nanos));
    let start = 5 * SECOND;
    assert_eq!(limiter.left(one, &NONE, at(start)), 3);
    assert_eq!([ask(start), ask(start), ask(start)], [Ok(()); 3]);
    assert_eq!(ask(start), Err(Duration::from_millis(100)));
    assert_eq!(ask(start + 60_000_000), Err(Duration::from_millis(40)));
    assert_eq!(limiter.left(one, &NONE, at(start + 99_999_999)), 0);
    assert_eq!(ask(start + 100_000_000), Ok(()));
    assert_eq!(ask(start + 100_000_000), Err(Duration::from_millis(100)));
    assert_eq!(limiter.refused(), 3);
    assert_eq!(limiter.left(one, &NONE, at(start + 10 * SECOND)), 3);
    assert_eq!(limiter.left(client("192.0.2.2"), &NONE, at(start)), 3);
}

#[test]
fn who_shares_a_bucket() {
    let shares = |key: RateKey, one: (&str, Fields), other: (&str, Fields)| {
        let limiter = limiter(1, 1, key);
        limiter.take(client(one.0), &one.1, at(0)).unwrap();
        limiter.take(client(other.0), &other.1, at(0)).is_err()
    };
    let address = || RateKey::ClientAddress;
    let header = || RateKey::Header("x-api-key".into());
    assert!(shares(address(), ("10.0.0.1", NONE), ("::ffff:10.0.0.1", NONE)));
    assert!(!shares(address(), ("10.0.0.1", NONE), ("10.0.0.2", NONE)));
    assert!(shares(address(), ("2001:db8::1", NONE), ("2001:db8::ffff:0:0:2", NONE)));
    assert!(!shares(address(), ("2001:db8::1", NONE), ("2001:db8:0:1::1", NONE)));
    assert!(shares(header(), ("10.0.0.1", Fields(Some(b"k"))), ("10.0.0.2", Fields(Some(b"k")))));
    assert!(!shares(header(), ("10.0.0.1", Fields(Some(b"k"))), ("10.0.0.1", Fields(Some(b"l")))));
    assert!(shares(header(), ("10.0.0.1", NONE), ("10.0.0.2", NONE)));
    assert!(!shares(header(), ("10.0.0.1", NONE), ("10.0.0.1", Fields(Some(b"")))));
    assert!(shares(RateKey::Everybody, ("10.0.0.1", NONE), ("2001:db8::1", Fields(Some(b"k")))));
}

#[test]
fn other_numbers_keep_the_buckets_and_hold_nobody_back_for_longer_than_they_would() {
    let slow = limit(1, Duration::from_secs(3600), 10, RateKey::ClientAddress);
    let one = client("10.0.0.1");
    let before = Limiter::new(&slow, None, 1);
    (0..10).for_each(|_| before.take(one, &NONE, at(SECOND)).unwrap());
    let quick = RateLimit { requests: NonZeroU32::new(100).unwrap(), per: Duration::from_secs(1), ..slow.clone() };
    let after = Limiter::new(&quick, Some(&before), 2);
    assert_eq!(after.take(one, &NONE, at(SECOND)), Err(Duration::from_millis(10)));
    let afresh = |limit: &RateLimit| Limiter::new(limit, Some(&before), 2).take(one, &NONE, at(SECOND));
    assert_eq!(afresh(&RateLimit { key: RateKey::Header("x".into()), ..slow.clone() }), Ok(()));
    assert_eq!(afresh(&RateLimit { max_keys: 10, ..slow }), Ok(()));
}

#[test]
fn more_names_than_slots_get_no_more_than_the_slots_allow() {
    let small = RateLimit { max_keys: 64, ..limit(1, Duration::from_secs(1000), 5, RateKey::ClientAddress) };
    let limiter = Limiter::new(&small, None, 3);
    let address = |n: u64| IpAddr::V6(Ipv6Addr::from_bits(u128::from(n) << 64));
    // Far more names than slots, all within a moment.
    let admitted = (0..100_000).filter(|&n| limiter.take(address(n), &NONE, at(0)).is_ok()).count();
    assert!(admitted <= 64 * 5, "{admitted}");
    assert!(limiter.displaced() > 0);
    // Whoever used it up does not get it back by that.
    assert!((0..64).all(|n| limiter.take(address(n), &NONE, at(0)).is_err()));
}

#[test]
fn whoever_is_held_back_is_not_forgotten_while_others_come_and_go() {
    let limiter = Limiter::new(
        &RateLimit { max_keys: 8, ..limit(10, Duration::from_secs(1), 5, RateKey::ClientAddress) },
        None,
        3,
    );
    let greedy = client("2001:db8::");
    let address = |n: u64| IpAddr::V6(Ipv6Addr::from_bits(u128::from(n) << 64));
    let mut admitted = 0;
    for n in 0..10_000u64 {
        let now = at(n * 1_000_000);
        admitted += u64::from(limiter.take(greedy, &NONE, now).is_ok());
        // A newcomer every twenty milliseconds: their buckets are full again before they have to go.
        if n % 20 == 0 {
            limiter.take(address(n), &NONE, now).unwrap();
        }
    }
    assert!(admitted <= 5 + 100, "{admitted}");
}

#[test]
fn no_worker_gets_a_token_that_another_has() {
    // All of them begin with a key nobody knows, at once, over and over; and others displace it.
    const WORKERS: usize = 4;
    for key in [RateKey::Everybody, RateKey::ClientAddress] {
        for round in 0..200u32 {
            let tight = RateLimit { max_keys: 8, ..limit(1, Duration::from_secs(1000), 20, key.clone()) };
            let limiter = Limiter::new(&tight, None, round.into());
            let (admitted, barrier) = (AtomicU32::new(0), Barrier::new(WORKERS));
            std::thread::scope(|scope| {
                for _ in 0..WORKERS {
                    scope.spawn(|| {
                        barrier.wait();
                        for _ in 0..20 {
                            if limiter.take(client("192.0.2.1"), &NONE, at(0)).is_ok() {
                                admitted.fetch_add(1, Relaxed);
                            }
                        }
                    });
                }
            });
            assert_eq!(admitted.into_inner(), 20, "{key:?}");
        }
    }
}

#[test]
fn workers_that_displace_each_others_keys_never_give_out_more_than_there_is() {
    const WORKERS: u64 = 4;
    let tight = RateLimit { max_keys: 8, ..limit(1, Duration::from_secs(1000), 10, RateKey::ClientAddress) };
    for round in 0..50 {
        let limiter = Limiter::new(&tight, None, round);
        let admitted = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (limiter, admitted) = (&limiter, &admitted);
                scope.spawn(move || {
                    for n in 0..2000u64 {
                        let address = IpAddr::V6(Ipv6Addr::from_bits(u128::from((n * 7 + worker) % 24) << 64));
                        if limiter.take(address, &NONE, at(0)).is_ok() {
                            admitted.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert!(admitted.into_inner() <= 8 * 10);
    }
}

proptest! {
    #[test]
    fn never_more_than_the_burst_and_what_came_since(
        requests in 1u32..5000,
        per in 1_000_000u64..10 * SECOND,
        burst in 1u32..50,
        gaps in proptest::collection::vec(0u64..20_000_000, 1..400),
    ) {
        let limit = limit(requests, Duration::from_nanos(per), burst, RateKey::ClientAddress);
        let (limiter, pace) = (Limiter::new(&limit, None, 1), Pace::new(&limit));
        let mut now = SECOND;
        let mut admitted = Vec::new();
        for gap in gaps {
            now += gap;
            if limiter.take(client("10.0.0.1"), &NONE, at(now)).is_ok() {
                admitted.push(now);
            }
        }
        // In each interval that begins and ends with a request that was let in.
        for (from, first) in admitted.iter().enumerate() {
            for (to, last) in admitted.iter().enumerate().skip(from) {
                let came = (last - first) * TICKS / pace.interval;
                prop_assert!((to - from + 1) as u64 <= u64::from(burst) + came);
            }
        }
        // The interval is no coarser than a tick.
        prop_assert!(u128::from(pace.interval) * u128::from(requests) <= u128::from(per * TICKS));
        prop_assert!(u128::from(pace.interval + 1) * u128::from(requests) > u128::from(per * TICKS));
    }

    #[test]
    fn who_keeps_to_the_pace_is_never_refused(
        requests in 1u32..5000,
        per in 1_000_000u64..10 * SECOND,
        burst in 1u32..5,
        extra in proptest::collection::vec(0u64..1000, 1..300),
    ) {
        let limit = limit(requests, Duration::from_nanos(per), burst, RateKey::ClientAddress);
        let limiter = Limiter::new(&limit, None, 1);
        let mut now = 0;
        for extra in extra {
            prop_assert_eq!(limiter.take(client("10.0.0.1"), &NONE, at(now)), Ok(()));
            now += per.div_ceil(requests.into()) + extra;
        }
    }

    #[test]
    fn whoever_waits_as_long_as_told_is_let_in(
        requests in 1u32..100_000,
        burst in 1u32..5,
        gaps in proptest::collection::vec(0u64..10_000_000, 1..100),
    ) {
        let limiter = limiter(requests, burst, RateKey::Everybody);
        let mut now = 0;
        for gap in gaps {
            now += gap;
            if let Err(pause) = limiter.take(client("10.0.0.1"), &NONE, at(now)) {
                now += pause.as_nanos() as u64 - 1;
                prop_assert!(limiter.take(client("10.0.0.1"), &NONE, at(now)).is_err());
                now += 1;
                prop_assert!(limiter.take(client("10.0.0.1"), &NONE, at(now)).is_ok());
            }
        }
    }

    #[test]
    fn no_numbers_are_too_large(requests in any::<u32>(), burst in any::<u32>(), per in any::<u64>(), now in any::<u64>()) {
        let limit = limit(requests.max(1), Duration::from_nanos(per), burst.max(1), RateKey::ClientAddress);
        let limiter = Limiter::new(&limit, None, 1);
        prop_assert_eq!(limiter.take(client("10.0.0.1"), &NONE, at(now)), Ok(()));
        let _ = limiter.take(client("10.0.0.1"), &NONE, at(now));
        let _ = limiter.left(client("10.0.0.1"), &NONE, at(0));
    }
}
