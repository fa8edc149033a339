//! A cluster's limits and its failure-rate breaker, as control sets and publishes them.

mod support;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use support::*;
use weir_config::model::{Cluster, Config, FailureRate, FailureWindow};
use weir_core::attempt::{Class, Outcome};
use weir_core::control::{BreakerNotice, Event, Notice, Tried, Whose};
use weir_core::endpoint::{ClusterId, Status};
use weir_core::snapshot::Breaker;

fn rate() -> FailureRate {
    FailureRate {
        window: FailureWindow { threshold: 50.0, window: Duration::from_secs(10), minimum_requests: count(20) },
        open: Duration::from_secs(5),
        max_open: Duration::from_secs(60),
        trials: count(1),
        successes: count(3),
    }
}

fn broken_shop(rate: Option<FailureRate>) -> Config {
    let mut shop = cluster("shop", endpoints(&[1, 1]), Vec::new());
    shop.breaker.failure_rate = rate;
    of_shop(shop)
}

fn told_of_breakers(life: &Life) -> Vec<&'static str> {
    let notices = life.notices.iter().filter_map(|notice| match notice {
        Notice::Breaker(BreakerNotice { change, .. }) => Some(change.state()),
        _ => None,
    });
    notices.collect()
}

/// The cluster as workers see it.
fn seen(life: &mut Life) -> (ClusterId, Breaker) {
    if let Some(snapshot) = life.publish() {
        life.published = Some(snapshot);
    }
    let cluster = &life.published.as_ref().expect("published").clusters[0];
    (cluster.id, cluster.breaker.clone())
}

fn try_out(life: &mut Life, outcome: Outcome) {
    let (id, Breaker::HalfOpen(trial)) = seen(life) else { panic!("half open") };
    let permit = trial.take().expect("nobody else tries");
    assert!(trial.take().is_none(), "a trial at a time");
    let epoch = permit.epoch();
    drop(permit);
    life.step(Event::Tried(Tried { whose: Whose::Cluster(id), epoch, outcome }));
}

/// A life in which the breaker is just open.
fn open() -> Life {
    let mut life = Life::of(broken_shop(Some(rate())));
    assert!(matches!(seen(&mut life).1, Breaker::Closed));
    for n in [0, 1] {
        life.attempts(n, Class::Success, 5);
        life.attempts(n, Class::Timeout, 10);
    }
    life.pass_seconds(1);
    life
}

#[test]
fn it_opens_is_tried_by_one_at_a_time_and_closes() {
    let mut life = open();
    let (_, Breaker::Open { until }) = seen(&mut life) else { panic!("open") };
    while life.now < until {
        life.tick();
    }
    assert_eq!(life.now, until, "half open when it was told, not at the next beat");
    for _ in 0..3 {
        try_out(&mut life, Outcome::Answered(204));
    }
    assert!(matches!(seen(&mut life).1, Breaker::Closed));
    assert_eq!(told_of_breakers(&life), ["open", "half_open", "closed"]);
    assert_eq!(life.those(Status::Healthy), [0, 1], "endpoints are another matter");
    let words = life.notices[0].to_string();
    assert!(words.starts_with("the breaker of shop is open for "), "{words}");
    assert!(words.ends_with(": 20 of 30 attempts within 10s failed, 50 % are enough"), "{words}");
}

#[test]
fn a_bad_trial_opens_it_for_longer_and_only_trials_decide() {
    let mut life = open();
    let mut before = Duration::ZERO;
    for _ in 0..3 {
        let (_, Breaker::Open { until }) = seen(&mut life) else { panic!("open") };
        let pause = until.since(life.now);
        assert!(pause > before * 13 / 10, "{pause:?} after {before:?}");
        before = pause;
        // What ends late is of requests from before.
        life.attempts(0, Class::Success, 1000);
        life.pass(pause);
        try_out(&mut life, Outcome::Answered(200));
        try_out(&mut life, Outcome::Answered(500));
    }
}

#[test]
fn an_open_breaker_survives_a_reload_and_ends_with_its_rule() {
    let mut life = open();
    let stays = FailureRate { open: Duration::from_secs(7), ..rate() };
    life.configure(broken_shop(Some(stays)));
    assert!(matches!(seen(&mut life).1, Breaker::Open { .. }));
    life.configure(broken_shop(None));
    assert!(matches!(seen(&mut life).1, Breaker::Closed));
    assert_eq!(told_of_breakers(&life), ["open", "closed"]);
    life.pass_seconds(60);
    assert!(life.control.next_due().is_none(), "nothing is left of it");
}

#[test]
fn limits_are_set_and_lifted_with_the_configuration() {
    let limited = |requests, retries, each| {
        let mut shop = cluster("shop", endpoints(&[1, 1]), Vec::new());
        shop.breaker.max_requests = NonZeroU32::new(requests);
        shop.breaker.max_retries = NonZeroU32::new(retries);
        shop.breaker.per_endpoint.max_connections = NonZeroU32::new(each);
        of_shop(shop)
    };
    let mut life = Life::of(limited(9, 3, 4));
    let snapshot = life.publish().expect("a configuration");
    let cluster = &snapshot.clusters[0];
    let most = || {
        let each = cluster.members.iter().map(|member| member.live.connections.most()).collect::<Vec<_>>();
        (cluster.live.requests.most(), cluster.live.connections.most(), cluster.live.retries.most(), each)
    };
    assert_eq!(most(), (Some(9), None, Some(3), vec![Some(4); 2]));
    let held: Vec<_> = (0..9).filter_map(|_| cluster.live.requests.take()).collect();
    assert!(held.len() == 9 && cluster.live.requests.take().is_none());
    life.configure(limited(10, 0, 0));
    assert_eq!(most(), (Some(10), None, None, vec![None; 2]), "the same budgets, with other bounds");
    assert!(cluster.live.requests.take().is_some());
    let again: Arc<Cluster> = Arc::clone(&life.publish().expect("another configuration").clusters[0].config);
    assert_eq!(again.breaker.max_requests, NonZeroU32::new(10));
}
