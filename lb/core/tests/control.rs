//! Stories of the control loop, one rule each.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::*;
use weir_config::model::{Balance, Cluster, Config, HealthCheck, HttpCheck};
use weir_core::availability::Tier;
use weir_core::balance::{Ask, Cursors, Refusal, Tried, pick};
use weir_core::control::*;
use weir_core::dice::Dice;
use weir_core::endpoint::Status;
use weir_core::health::Verdict;
use weir_core::reason::Reason;
use weir_core::time::Moment;

fn status(life: &Life, n: usize) -> Status {
    life.control.endpoints().find(|view| view.key.address == address(n)).expect("configured").status
}

fn transition(effects: &[Effect]) -> Option<(Status, Status)> {
    match effects {
        [] => None,
        [Effect::Transition(transition)] => Some((transition.from, transition.to)),
        _ => panic!("one transition at the most: {effects:?}"),
    }
}

/// A life in which everybody was found healthy.
fn healthy(config: Config) -> Life {
    let mut life = Life::of(config);
    while life.control.endpoints().any(|view| view.status != Status::Healthy) {
        match life.under_way.pop() {
            Some(order) => drop(life.answer(&order, PASSED)),
            None => life.tick(),
        }
    }
    life
}

fn fell(life: &mut Life, n: usize) {
    for _ in 0..3 {
        let order = life.await_probe(n);
        life.answer(&order, REFUSED);
    }
    assert_eq!(status(life, n), Status::Unhealthy);
}

fn other_check() -> HealthCheck {
    let http = HttpCheck {
        method: "GET".into(),
        path: "/health".into(),
        host: None,
        headers: vec![],
        expected_statuses: vec![200..=299],
        expected_body: None,
    };
    HealthCheck { kind: weir_config::model::CheckKind::Http(http), ..check() }
}

#[test]
fn out_after_exactly_three_and_back_after_exactly_two() {
    let mut life = healthy(shop(endpoints(&[1, 1]), vec![check()]));
    for _ in 0..3 {
        for (result, wanted) in [
            (REFUSED, None),
            (REFUSED, None),
            (REFUSED, Some((Status::Healthy, Status::Unhealthy))),
            (PASSED, None),
            (PASSED, Some((Status::Unhealthy, Status::Healthy))),
        ] {
            let order = life.await_probe(0);
            assert_eq!(transition(&life.answer(&order, result)), wanted);
        }
    }
}

#[test]
fn inconclusive_probes_change_nothing_and_are_asked_again_soon() {
    let mut life = healthy(shop(endpoints(&[1]), vec![check()]));
    for result in [REFUSED, REFUSED] {
        let order = life.await_probe(0);
        life.answer(&order, result);
    }
    for cause in [Inconclusive::Late, Inconclusive::LocalResource] {
        let order = life.await_probe(0);
        assert_eq!(transition(&life.answer(&order, ProbeResult::Inconclusive(cause))), None);
        assert_eq!(life.control.next_due(), Some(life.now + Duration::from_secs(1)));
    }
    let order = life.await_probe(0);
    assert!(transition(&life.answer(&order, REFUSED)).is_some(), "the streak went on");
}

#[test]
fn a_cold_start_serves_and_the_first_outcome_decides() {
    let mut life = Life::of(shop(endpoints(&[1, 1]), vec![check()]));
    assert!(!life.control.settled());
    assert_eq!(life.publish().unwrap().clusters[0].available.tier, Tier::Unknown);
    let order = life.await_probe(1);
    assert_eq!(transition(&life.answer(&order, REFUSED)), Some((Status::Unknown, Status::Unhealthy)));
    let order = life.await_probe(0);
    life.answer(&order, REFUSED);
    assert!(life.control.settled());
    let snapshot = life.publish().unwrap();
    assert_eq!(snapshot.clusters[0].available.tier, Tier::Nobody(Reason::NoHealthyEndpoint));
    let refused = pick(&snapshot.clusters[0], &Ask::new(&Tried::new()), &mut Cursors::new(), &mut Dice::new(1));
    assert_eq!(refused.unwrap_err(), Refusal { reason: Reason::NoHealthyEndpoint, all_tried: false, all_busy: false });
}

#[test]
fn all_checks_must_pass() {
    let mut life = Life::of(shop(endpoints(&[1]), vec![check(), other_check()]));
    let (first, second) = (life.await_probe(0), life.await_probe(0));
    assert_ne!(first.id.check, second.id.check);
    assert_eq!(transition(&life.answer(&first, PASSED)), None, "the other one has not spoken");
    assert_eq!(transition(&life.answer(&second, PASSED)), Some((Status::Unknown, Status::Healthy)));
}

#[test]
fn health_survives_a_reload() {
    let mut life = healthy(shop(endpoints(&[1, 1, 1]), vec![check()]));
    fell(&mut life, 1);
    let before = life.publish().unwrap();
    let mut changed = shop(endpoints(&[1, 7, 1]), vec![check()]);
    let mut cluster = Cluster::clone(&changed.clusters[0]);
    cluster.endpoints.rotate_left(1);
    cluster.balance = Balance::Random;
    changed.clusters = vec![cluster.into()];
    assert!(life.configure(changed).is_empty());
    assert_eq!(status(&life, 1), Status::Unhealthy);
    let after = life.publish().unwrap();
    assert!(Arc::ptr_eq(&before.clusters[0].members[1].load, &after.clusters[0].members[0].load));
    assert!(Arc::ptr_eq(&before.listeners[0], &after.listeners[0]));
    assert_eq!(before.clusters[0].id, after.clusters[0].id);
}

#[test]
fn a_sick_endpoint_does_not_come_back_clean() {
    let all = || shop(endpoints(&[1, 1]), vec![check()]);
    let mut life = healthy(all());
    fell(&mut life, 1);
    life.configure(shop(endpoints(&[1]), vec![check()]));
    life.now = life.now + Duration::from_secs(599);
    life.configure(all());
    assert_eq!(status(&life, 1), Status::Unhealthy);
    life.configure(shop(endpoints(&[1]), vec![check()]));
    life.now = life.now + FORGET_AFTER;
    life.configure(all());
    assert_eq!(status(&life, 1), Status::Unknown, "for ever is too long");
}

#[test]
fn those_who_left_are_remembered_in_bounded_number() {
    let mut life = Life::new(1);
    for block in 0..12 {
        let endpoints = (block * 1000..block * 1000 + 1000).map(|n| endpoint(n, 1)).collect();
        life.configure(shop(endpoints, vec![check()]));
    }
}

#[test]
fn a_changed_check_inherits_the_verdict_until_it_has_spoken() {
    let mut life = healthy(shop(endpoints(&[1, 1]), vec![check()]));
    fell(&mut life, 1);
    let cancelled = life.await_probe(1);
    life.configure(shop(endpoints(&[1, 1]), vec![other_check()]));
    assert_eq!((status(&life, 0), status(&life, 1)), (Status::Healthy, Status::Unhealthy));
    assert!(life.answer(&cancelled, PASSED).is_empty(), "an answer to the old question");
    life.under_way.clear();
    let order = life.await_probe(1);
    assert_eq!(*order.check, other_check());
    assert_eq!(transition(&life.answer(&order, PASSED)), None);
    let order = life.await_probe(1);
    assert_eq!(transition(&life.answer(&order, PASSED)), Some((Status::Unhealthy, Status::Healthy)));
}

#[test]
fn a_check_that_is_changed_again_and_again_is_still_asked() {
    let mut life = healthy(shop(endpoints(&[1]), vec![check()]));
    life.under_way.clear();
    let end = life.now + Duration::from_secs(5);
    for round in 0.. {
        life.configure(shop(endpoints(&[1]), vec![if round % 2 == 0 { other_check() } else { check() }]));
        if !life.under_way.is_empty() {
            break;
        }
        assert!(life.now <= end, "the turn it had is kept, if it comes sooner");
        life.now = life.now + Duration::from_millis(10);
    }
}

#[test]
fn the_view_tells_since_when_and_why() {
    let mut life = healthy(shop(endpoints(&[1, 1]), vec![check()]));
    fell(&mut life, 1);
    let at = life.now;
    life.await_probe(0);
    let view = life.control.endpoints().nth(1).unwrap();
    assert_eq!((view.status, view.since), (Status::Unhealthy, at));
    assert!(matches!(view.evidence, Evidence::Probe { result: REFUSED, streak: 3, threshold: 3, .. }));
    assert_eq!((view.checks[0].verdict, view.checks[0].streak, view.checks[0].threshold), (Verdict::Unhealthy, 0, 2));
    assert_eq!(view.checks[0].last.map(|(at, outcome)| (at, outcome.result)), Some((at, REFUSED)));
    assert_eq!(view.checks[0].next_due, Some(at + Duration::from_secs(10)));
    assert_eq!(life.control.endpoint(view.key).map(|view| view.id), Some(view.id));
}

#[test]
fn an_added_check_does_not_put_the_healthy_out() {
    let mut life = healthy(shop(endpoints(&[1]), vec![check()]));
    assert!(life.configure(shop(endpoints(&[1]), vec![other_check(), check()])).is_empty());
    assert_eq!(status(&life, 0), Status::Healthy);
}

#[test]
fn removing_the_check_that_failed_brings_it_back() {
    let mut life = healthy(shop(endpoints(&[1, 1]), vec![check()]));
    fell(&mut life, 1);
    let effects = life.configure(shop(endpoints(&[1, 1]), vec![]));
    assert_eq!(transition(&effects), Some((Status::Unhealthy, Status::Healthy)));
    assert_eq!(life.control.next_due(), None, "nothing to probe");
}

#[test]
fn first_probes_are_spread_over_one_interval() {
    let mut life = Life::of(shop((0..1000).map(|n| endpoint(n, 1)).collect(), vec![check()]));
    let mut by_second = [0; 5];
    while life.control.next_due().is_some_and(|due| due < seconds(5)) {
        life.tick();
        for order in std::mem::take(&mut life.under_way) {
            by_second[(order.due.as_nanos() / 1_000_000_000) as usize] += 1;
            // Answered much later, so that only first probes count.
            life.now = order.due;
            life.answer(&order, PASSED);
        }
    }
    assert!(by_second.iter().all(|&second| (199..=201).contains(&second)), "{by_second:?}");
}

#[test]
fn no_more_probes_than_allowed_and_none_is_starved() {
    let mut config = shop((0..100).map(|n| endpoint(n, 1)).collect(), vec![check()]);
    config.max_concurrent_probes = count(3);
    let mut life = Life::of(config);
    life.now = seconds(6);
    life.step(Event::Tick);
    let mut asked = Vec::new();
    while asked.len() < 100 {
        assert_eq!(life.under_way.len(), 3.min(100 - asked.len()));
        assert!(life.control.next_due() > Some(life.now), "no busy waiting");
        let order = life.under_way.remove(0);
        life.answer(&order, PASSED);
        asked.push(order.id.endpoint);
    }
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 100);
}

#[test]
fn a_lost_probe_is_asked_again() {
    let mut life = Life::of(shop(endpoints(&[1]), vec![check()]));
    let lost = life.await_probe(0);
    let given_up = life.now + Duration::from_secs(2) + LOST_GRACE;
    assert_eq!(life.control.next_due(), Some(given_up));
    life.tick();
    assert!(life.control.settled(), "readiness does not wait for what may never come");
    let again = life.await_probe(0);
    assert_eq!(again.due, given_up);
    assert!(life.answer(&lost, REFUSED).is_empty(), "too late");
    assert!(transition(&life.answer(&again, PASSED)).is_some());
}

#[test]
fn an_unchanged_configuration_publishes_nothing() {
    let config = || shop(endpoints(&[1]), vec![check()]);
    let mut life = Life::of(config());
    assert!(life.publish().is_some());
    assert!(life.publish().is_none());
    life.configure(config());
    assert!(life.publish().is_none());
}

#[test]
fn only_what_changed_is_made_anew() {
    let two = |weight| {
        let clusters = vec![cluster("blog", endpoints(&[weight]), vec![]), cluster("shop", endpoints(&[1]), vec![])];
        config(vec![listener("web", vec![to("shop"), to("blog"), to("shop")])], clusters)
    };
    let mut life = Life::of(two(1));
    let before = life.publish().unwrap();
    life.configure(two(2));
    let after = life.publish().unwrap();
    assert!(!Arc::ptr_eq(&before.clusters[0], &after.clusters[0]));
    assert!(Arc::ptr_eq(&before.clusters[1], &after.clusters[1]));
    assert!(Arc::ptr_eq(&before.listeners[0], &after.listeners[0]));
    let listener = &after.listeners[0];
    assert!(Arc::ptr_eq(&listener.targets[0].to[0].1, &listener.targets[2].to[0].1), "one lane a cluster");
    assert_eq!(listener.lanes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["blog", "shop"]);
    let mut swapped = two(2);
    swapped.clusters.reverse();
    life.configure(swapped);
    let swapped = life.publish().unwrap();
    assert_eq!(swapped.listeners[0].targets.iter().map(|target| target.to[0].0).collect::<Vec<_>>(), [0, 1, 0]);
    assert!(Arc::ptr_eq(&swapped.listeners[0].targets[0].to[0].1, &listener.targets[0].to[0].1), "counts go on");
    assert!(Arc::ptr_eq(&swapped.clusters[1], &after.clusters[0]));
}

#[test]
fn another_port_is_probed_if_the_check_says_so() {
    let check = HealthCheck { port: Some(9000.try_into().unwrap()), ..check() };
    let order = Life::of(shop(endpoints(&[1]), vec![check])).await_probe(0);
    assert_eq!((order.address.ip().unwrap().port(), order.key.address.ip().unwrap().port()), (9000, 80));
}

#[test]
fn time_does_not_run_backwards() {
    let mut life = Life::of(shop(endpoints(&[1]), vec![check()]));
    life.now = seconds(20);
    life.step(Event::Tick);
    let order = life.await_probe(0);
    life.now = Moment::ZERO;
    life.answer(&order, PASSED);
    assert_eq!(life.control.next_due(), Some(seconds(25)));
}
