//! What one process leaves to the next.

mod support;

use std::time::Duration;

use proptest::prelude::*;
use support::*;
use weir_config::model::{Config, FailureRate, FailureWindow, ZoneName};
use weir_core::attempt::Class;
use weir_core::control::memory::{MEMORY_MAX, StandingMemory, WELL_MAX};
use weir_core::control::orders::DrainScope;
use weir_core::control::{Memory, Order};
use weir_core::endpoint::Status;
use weir_core::health::Verdict;
use weir_core::snapshot::Breaker;

/// Six endpoints with a check, judged by their traffic too.
fn shop() -> Config {
    let mut shop = cluster("shop", endpoints(&[1; 6]), vec![check().into()]);
    shop.outlier = Some(outlier());
    shop.breaker.failure_rate = Some(FailureRate {
        window: FailureWindow { threshold: 90.0, window: Duration::from_secs(10), minimum_requests: count(1000) },
        open: Duration::from_secs(5),
        max_open: Duration::from_secs(60),
        trials: count(1),
        successes: count(3),
    });
    of_shop(shop)
}

/// One in which number 0 fails its checks, and number 1 its requests.
fn troubled() -> Life {
    let mut life = Life::of(shop());
    for n in 0..6 {
        let order = life.await_probe(n);
        life.answer(&order, if n == 0 { NOT_WELL } else { PASSED });
    }
    life.pass_seconds(1);
    life.attempts(1, Class::Error, 20);
    life.pass_seconds(2);
    assert_eq!((life.status(0), life.status(1), life.status(2)), (Status::Unhealthy, Status::Ejected, Status::Healthy));
    life
}

/// The next process, so much later by a clock of its own.
fn successor(memory: Memory, later: Duration) -> Life {
    let mut life = Life::new(2);
    life.now = seconds(100_000);
    life.control.recall(life.now, memory.aged(later));
    life.configure(shop());
    life
}

#[test]
fn the_next_process_knows_what_this_one_knew_before_it_asks_anybody() {
    let before = troubled();
    let mut life = successor(before.control.memory(), Duration::ZERO);
    let statuses = |life: &Life| (0..6).map(|n| life.status(n)).collect::<Vec<_>>();
    assert_eq!(statuses(&life), statuses(&before));
    assert!(life.control.settled(), "it is ready at once");
    assert_eq!(life.control.memory(), before.control.memory(), "and leaves the same to the one after it");
    let why = life.view(0).evidence.to_string();
    assert!(why.ends_with("(so the process before this one found)"), "{why}");
    assert_eq!(why.matches("before").count(), 1);

    // Probes and requests have the last word, as ever.
    let order = life.await_probe(0);
    life.answer(&order, PASSED);
    let order = life.await_probe(0);
    life.answer(&order, PASSED);
    assert_eq!(life.status(0), Status::Healthy);
    life.pass_seconds(30);
    assert_eq!(life.status(1), Status::Probation, "its time goes on");
}

#[test]
fn what_is_old_is_believed_less() {
    let before = troubled();
    let memory = before.control.memory();
    let out = |memory: &Memory| {
        memory.endpoints.iter().find_map(|its| match its.standing {
            StandingMemory::Out(left) => Some(left),
            StandingMemory::In | StandingMemory::Reduced(_) => None,
        })
    };
    let left = out(&memory).unwrap();
    assert_eq!(out(&memory.clone().aged(Duration::from_secs(3))), Some(left - Duration::from_secs(3)));
    assert_eq!(out(&memory.clone().aged(left * 2)), Some(Duration::ZERO));

    let mut life = successor(memory.clone(), WELL_MAX + Duration::from_secs(1));
    assert_eq!(life.status(0), Status::Unhealthy, "the bad news stands");
    assert_eq!(life.status(2), Status::Unknown, "the good is asked for again");
    assert!(!life.control.settled());
    life.pass_seconds(1);
    assert_eq!(life.status(1), Status::Probation, "it served its time meanwhile");

    assert_eq!(memory.aged(MEMORY_MAX + Duration::from_nanos(1)), Memory::default());
}

#[test]
fn a_breaker_stays_open_and_a_drain_in_force() {
    let mut before = Life::of(shop());
    for n in 0..6 {
        let order = before.await_probe(n);
        before.answer(&order, PASSED);
    }
    before.pass_seconds(1);
    (0..6).for_each(|n| drop(before.attempts(n, Class::Timeout, 300)));
    before.pass_seconds(1);
    let scope = DrainScope::Endpoint(before.view(5).key.as_ref().clone());
    let order = Order::Drain { scope, lasts: None, force: true, by: "alice".into() };
    before.order(order).unwrap();
    let memory = before.control.memory();
    assert_eq!((memory.breakers.len(), memory.drains.len()), (1, 1), "{memory:?}");

    let mut life = successor(memory.clone(), Duration::ZERO);
    assert_eq!(life.status(5), Status::Draining);
    assert_eq!(&*life.control.drains().next().unwrap().by, "alice");
    let snapshot = life.publish().unwrap();
    assert!(matches!(snapshot.clusters[0].breaker, Breaker::Open { .. }), "{:?}", snapshot.clusters[0].breaker);
    life.pass_seconds(60);
    let snapshot = life.publish().unwrap();
    assert!(matches!(snapshot.clusters[0].breaker, Breaker::HalfOpen(_)), "trials decide");
}

#[test]
fn whom_the_file_names_no_more_is_not_made_known() {
    let memory = troubled().control.memory();
    let mut life = Life::new(2);
    life.control.recall(life.now, memory);
    let other = cluster("other", endpoints(&[1; 2]), vec![check().into()]);
    life.configure(config(vec![listener("web", vec![to("other")])], vec![other]));
    assert_eq!(life.those(Status::Unknown).len(), 2);
    assert_eq!(life.control.memory().endpoints.len(), 2);
}

proptest! {
    /// Whatever is remembered, of whatever age: no invariant breaks, then or later.
    #[test]
    fn any_memory_can_be_lived_with(
        seen in prop::collection::vec((0u8..3, 0u32..5, 0u8..3, 0u64..100, 0u32..10), 6),
        age in 0u64..700,
        zoned in any::<bool>(),
    ) {
        let mut memory = troubled().control.memory();
        for (its, (verdict, streak, standing, left, times)) in memory.endpoints.iter_mut().zip(seen) {
            let verdict = [Verdict::Unknown, Verdict::Healthy, Verdict::Unhealthy][usize::from(verdict)];
            its.checks = vec![(verdict, streak); usize::from(standing)];
            its.times = times;
            its.standing = match standing {
                0 => StandingMemory::In,
                1 => StandingMemory::Reduced(left as u16),
                _ => StandingMemory::Out(Duration::from_secs(left)),
            };
        }
        if zoned {
            memory.drains.push(weir_core::control::memory::DrainMemory {
                scope: DrainScope::Zone(ZoneName::new("nowhere").unwrap(), None),
                stood: Duration::from_secs(7),
                left: Some(Duration::from_secs(9)),
                by: "alice".into(),
            });
        }
        let mut life = successor(memory, Duration::from_secs(age));
        life.publish();
        for n in 0..6 {
            let order = life.await_probe(n);
            life.answer(&order, PASSED);
        }
        life.pass_seconds(120);
        life.publish();
    }
}
