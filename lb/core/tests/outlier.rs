//! Ejection by live traffic: the rules by their published vectors, and one story for each
//! complaint about them that Weir answers.

mod support;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use support::*;
use weir_config::model::{Cluster, Endpoint, FailureWindow, Outlier, Weight, ZoneName};
use weir_core::attempt::{Class, Outcome};
use weir_core::availability::Tier;
use weir_core::control::*;
use weir_core::endpoint::Status;
use weir_core::health::outlier::pool::HOLD;
use weir_core::health::outlier::{Case, Charge, Counts, Pool, Rule, Spare, What, Window, decide, judge, most_out};
use weir_core::live::{Row, Sample};

const GOOD: Outcome = Outcome::Answered(200);
const BAD: Outcome = Outcome::Answered(500);

fn counts(good: u32, bad: u32) -> Counts {
    let mut by_class = [0; Class::COUNT];
    (by_class[Class::Success.index()], by_class[Class::Error.index()]) = (good, bad);
    Counts::new(by_class)
}

fn window(threshold: f64, seconds: u64, requests: u32) -> FailureWindow {
    FailureWindow { threshold, window: Duration::from_secs(seconds), minimum_requests: count(requests) }
}

/// Only these windows, and nothing in a row.
fn only(windows: Vec<FailureWindow>) -> Outlier {
    let mut rules = outlier();
    rules.consecutive.any_5xx = None;
    Outlier { windows, ..rules }
}

// The rules alone.

/// Seconds of failures until the five-minute rule is met, after five minutes without any.
fn latency(share: u64, a_second: u64, confidence: f64) -> u64 {
    let rules = Outlier { confidence, ..only(vec![window(30.0, 300, 50)]) };
    let mut windows = [Window::new(Duration::from_secs(300))];
    (1..=900)
        .find(|&second| {
            let bad = if second > 300 { a_second * share / 100 } else { 0 };
            windows[0].feed(seconds(second), &counts((a_second - bad) as u32, bad as u32));
            judge(&rules, Row::default(), &mut windows, seconds(second)).is_some()
        })
        .expect("it is found out")
        - 300
}

#[test]
fn the_five_minute_window_slides() {
    // What a window of fixed five-minute buckets needs at worst: 390, 450 and 557 s.
    for (share, most) in [(100, 90), (60, 150), (35, 257)] {
        let took = latency(share, 100, 0.0);
        assert!((most - 10..=most).contains(&took), "{share} %: {took} s");
        let sure = latency(share, 1000, 0.95);
        assert!((took..=most + 3).contains(&sure), "{share} %, sure: {sure} s");
    }
}

#[test]
fn each_rule_begins_exactly_at_its_threshold() {
    let rules = Outlier { confidence: 0.0, ..only(vec![window(50.0, 10, 20)]) };
    for (good, bad, wanted) in [(10, 10, true), (11, 10, false), (9, 10, false), (0, 20, true), (0, 19, false)] {
        let mut windows = [Window::new(Duration::from_secs(10))];
        windows[0].feed(seconds(1), &counts(good, bad));
        assert_eq!(judge(&rules, Row::default(), &mut windows, seconds(1)).is_some(), wanted, "{good} {bad}");
    }
    let row = |any_5xx, gateway, local_origin, distinct| Row { any_5xx, gateway, local_origin, distinct };
    let mut rules = outlier();
    rules.consecutive.gateway = Some(count(3));
    rules.consecutive.local_origin = Some(count(2));
    for (row, wanted) in [
        (row(4, 2, 1, true), None),
        (row(5, 2, 1, true), Some("consecutive_5xx")),
        (row(7, 2, 1, true), Some("consecutive_5xx")),
        (row(4, 3, 1, true), Some("consecutive_gateway")),
        (row(2, 2, 2, true), Some("consecutive_local_origin")),
        (row(9, 9, 9, false), None),
    ] {
        let charge = judge(&rules, row, &mut [], seconds(1));
        assert_eq!(charge.map(|charge| charge.rule.as_str()), wanted, "{row:?}");
    }
}

#[test]
fn what_says_nothing_of_the_endpoint_counts_neither_way() {
    let mut life = Life::of(judged_shop(3, outlier()));
    for _ in 0..20 {
        for class in [Class::ClientError, Class::Ours] {
            life.attempts(0, class, 10);
        }
        life.attempts(0, Class::Shed, 3);
        life.pass_seconds(1);
    }
    assert_eq!(life.status(0), Status::Ejected, "429 counts in shares, where nothing else does");
    let Evidence::Traffic(ejection) = life.view(0).evidence else { panic!("by its traffic") };
    let Cause::Charge(Charge { failures, requests, .. }) = ejection.cause else { panic!("by a rule") };
    assert_eq!((failures, requests), (21, 21));
}

fn case(who: usize, bound: f64, failures: u32) -> Case {
    let rule = Rule::Consecutive { kind: weir_core::health::outlier::charge::Kind::Any5xx, threshold: 5 };
    let charge = Charge { rule, counts: Counts::default(), failures, requests: failures, ratio: 1.0, bound, needed: 5 };
    Case { who, charge, permille: 1000 }
}

#[test]
fn the_worst_goes_first() {
    let cases = vec![case(0, 0.5, 9), case(1, 0.9, 5), case(2, 0.5, 10), case(3, 0.9, 5)];
    let rules = Outlier { max_ejection_percent: 50, ..outlier() };
    let pool = Pool { total: 6, usable: 6, ..Pool::default() };
    let decided: Vec<_> = decide(&rules, &pool, cases, false).iter().map(|one| (one.who, one.what)).collect();
    let (out, cap) = (What::Eject, What::Spare(Spare::Cap));
    assert_eq!(decided, [(1, out), (3, out), (2, out), (0, cap)]);
}

#[test]
fn e1_the_cap_is_in_hosts_and_at_least_one() {
    for (percent, of, most) in
        [(10, 3, 1), (34, 3, 1), (66, 3, 1), (67, 3, 2), (100, 3, 3), (0, 3, 1), (34, 9, 3), (10, 1, 1), (34, 0, 0)]
    {
        let rules = Outlier { max_ejection_percent: percent, ..outlier() };
        assert_eq!(most_out(&rules, of), most, "{percent} % of {of}");
    }
    for (percent, most) in [(34, 1), (66, 1), (67, 2), (100, 2)] {
        let rules = Outlier { max_ejection_percent: percent, correlated_percent: 100, ..outlier() };
        let mut life = Life::of(judged_shop(3, rules));
        (0..3).for_each(|n| drop(life.attempts(n, Class::Timeout, 6)));
        life.pass_seconds(2);
        assert_eq!(life.those(Status::Ejected).len(), most, "{percent} %");
        let limits = life.control.clusters().next().unwrap().limits.unwrap();
        assert_eq!((limits.out as usize, limits.total), (most, 3));
        assert_eq!(limits.to_string(), format!("{most} of at most {} of 3 out", limits.most));
    }
}

#[test]
fn e2_the_last_usable_is_never_ejected() {
    for n in [1, 2, 4] {
        let rules = Outlier { max_ejection_percent: 100, correlated_percent: 100, ..outlier() };
        let mut life = Life::of(judged_shop(n, rules));
        for _ in 0..20 {
            (0..n).for_each(|n| drop(life.attempts(n, Class::Connect, 5)));
            life.pass_seconds(1);
        }
        assert_eq!(life.those(Status::Healthy).len(), 1, "of {n}");
        let told: Vec<_> = charged(&life);
        assert_eq!(told.len(), 1, "a refusal is told once: {told:?}");
        assert_eq!(told[0].1, What::Spare(Spare::Last));
    }
}

#[test]
fn e2_who_cannot_be_used_does_not_count_as_one_that_is_left() {
    let mut config = judged_shop(3, Outlier { max_ejection_percent: 100, ..outlier() });
    let mut shop = Cluster::clone(&config.clusters[0]);
    shop.endpoints[2].weight = Weight::new(0).unwrap();
    config.clusters = vec![shop.into()];
    let mut life = Life::of(config);
    eject(&mut life, 0);
    assert!(life.attempts(1, Class::Error, 20).is_empty(), "the other one has no weight");
}

// Stories.

#[test]
fn e3_a_passing_probe_never_ends_an_ejection() {
    let mut shop = cluster("shop", endpoints(&[1, 1, 1]), vec![check()]);
    shop.outlier = Some(outlier());
    let mut life = Life::of(of_shop(shop));
    while life.those(Status::Healthy).len() < 3 {
        match life.under_way.pop() {
            Some(order) => drop(life.answer(&order, PASSED)),
            None => life.tick(),
        }
    }
    let at = life.now;
    eject(&mut life, 1);
    for _ in 0..200 {
        match life.under_way.pop() {
            Some(order) => drop(life.answer(&order, PASSED)),
            None => life.tick(),
        }
        let out = life.now.since(at) < Duration::from_secs(30);
        assert_eq!(life.status(1), if out { Status::Ejected } else { Status::Probation });
    }
    assert!(life.now.since(at) > Duration::from_secs(100), "long on probation, for want of requests");
    bring_back(&mut life, 1);
}

#[test]
fn probes_and_traffic_are_separate_memories() {
    let mut shop = cluster("shop", endpoints(&[1, 1, 1]), vec![check()]);
    shop.outlier = Some(outlier());
    let mut life = Life::of(of_shop(shop));
    while life.those(Status::Healthy).len() < 3 {
        match life.under_way.pop() {
            Some(order) => drop(life.answer(&order, PASSED)),
            None => life.tick(),
        }
    }
    eject(&mut life, 0);
    for (result, wanted) in [
        (REFUSED, Status::Ejected),
        (REFUSED, Status::Ejected),
        (REFUSED, Status::Unhealthy),
        (PASSED, Status::Unhealthy),
        (PASSED, Status::Ejected),
    ] {
        let order = life.await_probe(0);
        life.answer(&order, result);
        assert_eq!(life.status(0), wanted);
    }
    let view = life.view(0);
    assert!(matches!(view.evidence, Evidence::Traffic(_)), "what shows is why it is out: {}", view.evidence);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever came before: so many failures in a row, and there is a decision.
    #[test]
    fn e4_enough_failures_are_decided_on_within_a_second(
        before in prop::collection::vec((0usize..3, 0usize..Class::COUNT, 0u64..1500), 0..60),
        told in any::<bool>(),
        who in 0usize..3,
    ) {
        let mut life = Life::of(judged_shop(3, outlier()));
        for (n, class, pause) in before {
            life.attempt(n, Class::ALL[class], life.now.as_nanos());
            life.pass(Duration::from_millis(pause));
        }
        let decided = |life: &Life| {
            let spared = charged(life).iter().any(|(address, _)| *address == support::address(who).to_string());
            spared || life.status(who) != Status::Healthy
        };
        life.attempt(who, Class::Success, 0);
        for request in 0..5 {
            match told {
                true => drop(life.attempt(who, Class::Error, request)),
                // Suspicions may be lost on the way.
                false => {
                    let view = life.view(who);
                    view.load.of(0).classes[Class::Error.index()].add(1);
                    view.live.streak.note(Class::Error, request);
                }
            }
        }
        let within = if told { Duration::from_secs(1) } else { Duration::from_secs(5) };
        life.pass(within);
        prop_assert!(decided(&life));
    }
}

#[test]
fn e4_the_second_time_needs_no_more_failures_than_the_first() {
    let mut life = Life::of(judged_shop(3, outlier()));
    for _ in 0..5 {
        assert!(life.attempts(0, Class::Error, 4).is_empty(), "four are not enough");
        life.attempt(0, Class::Success, 0);
        eject(&mut life, 0);
        bring_back(&mut life, 0);
    }
}

#[test]
fn e5_who_is_ejected_cannot_be_picked_from_the_next_snapshot_on() {
    let mut life = Life::of(judged_shop(3, outlier()));
    eject(&mut life, 1);
    let cluster = Arc::clone(&life.publish().unwrap().clusters[0]);
    assert_eq!(cluster.available.tier, Tier::Healthy);
    assert!(cluster.available.usable().eq([0, 2]));
}

/// Who is out after 30 s in which each endpoint failed so many per cent of 100 requests a second.
fn out_after(failing: &[u64], rules: Outlier) -> Vec<usize> {
    let mut life = Life::of(judged_shop(failing.len(), rules));
    for _ in 0..30 {
        for request in 0..100 {
            for (n, &share) in failing.iter().enumerate() {
                let bad = request * share / 100 != (request + 1) * share / 100;
                life.attempt(n, if bad { Class::Error } else { Class::Success }, request);
            }
        }
        life.pass_seconds(1);
    }
    life.those(Status::Ejected)
}

#[test]
fn e6_tiny_deviations_are_none_and_real_ones_are_found() {
    assert!(out_after(&[0, 0, 0, 0, 1], outlier()).is_empty());
    assert_eq!(out_after(&[60, 0, 0, 0, 0], outlier()), [0]);
    assert!(out_after(&[29, 5, 5, 5, 5], outlier()).is_empty(), "below every floor");
}

#[test]
fn e7_a_rule_that_stands_there_is_applied() {
    let mut rules = only(vec![window(30.0, 10, 20)]);
    assert_eq!(out_after(&[0, 0, 40], rules.clone()), [2]);
    rules.windows.clear();
    assert!(out_after(&[0, 0, 100], rules).is_empty());
}

#[test]
fn e8_the_last_host_is_never_shut_and_one_that_was_is_tried_again() {
    let mut life = Life::of(judged_shop(2, outlier()));
    eject(&mut life, 0);
    for _ in 0..60 {
        life.attempts(1, Class::Connect, 3);
        life.pass_seconds(1);
        let usable = life.those(Status::Healthy);
        assert_eq!(usable, [1], "somebody is left to ask");
    }
    assert_eq!(life.status(0), Status::Probation);
}

#[test]
fn e9_the_rule_is_told_in_the_words_it_is_applied_by() {
    let mut life = Life::of(judged_shop(3, outlier()));
    let sample = |at: u64| Sample {
        at: seconds(at),
        outcome: BAD,
        took: Duration::from_millis(7),
        request: [b'a'; 36],
        client: [192, 0, 2, 1].into(),
    };
    (0..12).for_each(|second| life.view(1).live.samples.keep(sample(second)));
    let effects = life.attempts(1, Class::Connect, 5);
    let [Effect::Transition(Transition { evidence, .. })] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(
        evidence.to_string(),
        "5 failures in a row (5 connect); the rule: 5 failures in a row (5xx or no answer); out for 30.0s, \
         time 1 in a row, 1 of at most 1 of 3 out; one good answer among the last 5 would have kept it"
    );
    let Evidence::Traffic(ejection) = evidence else { panic!("{evidence:?}") };
    assert_eq!(
        ejection.samples.iter().map(|sample| sample.at).collect::<Vec<_>>(),
        (7..12).map(seconds).collect::<Vec<_>>()
    );
    life.pass(HOLD);
    for _ in 0..3 {
        for class in [Class::Timeout, Class::Gateway] {
            life.attempts(0, class, 4);
            life.attempts(0, Class::Success, 1);
        }
        life.pass_seconds(1);
    }
    let told = life.notices.iter().map(ToString::to_string).find(|told| told.contains("10.0.0.0:80"));
    assert_eq!(
        told.as_deref(),
        Some(
            "shop/10.0.0.0:80 stays although a rule is met, since as many are out as may be (1 of at most 1 of 3 \
             out): 16 of 20 attempts within 10s failed, at least 58.4 % (8 gateway, 8 timeout); the rule: 50 % of \
             at least 20 attempts within 10s, 95 % sure; with 14 failures of 20 instead of 16 it would have stayed"
        )
    );
}

#[test]
fn e10_no_single_failure_and_no_single_request_takes_anybody_out() {
    let mut life = Life::of(judged_shop(3, outlier()));
    for second in 0..120 {
        // One request, however often it was tried.
        (0..7).for_each(|_| drop(life.attempt(0, Class::Error, 1)));
        if second % 10 == 9 {
            life.attempt(0, Class::Success, 2);
        }
        life.attempt(1, Class::Connect, second);
        life.attempt(1, Class::Success, second);
        life.pass_seconds(1);
        if life.now < seconds(3) {
            assert!(life.those(Status::Ejected).is_empty());
        }
    }
    assert!(!life.those(Status::Ejected).contains(&2));
    let mut life = Life::of(judged_shop(3, outlier()));
    life.attempt(0, Class::Connect, 1);
    life.pass_seconds(400);
    assert!(life.those(Status::Ejected).is_empty() && charged(&life).is_empty());
}

#[test]
fn e11_trials_are_bounded_by_how_many_are_under_way() {
    let mut life = Life::of(judged_shop(3, outlier()));
    eject(&mut life, 0);
    assert!(life.trial(0).is_none(), "out is out");
    life.pass_seconds(30);
    assert_eq!(life.status(0), Status::Probation);
    let trial = life.trial(0).unwrap();
    let hanging = trial.take();
    assert!(hanging.is_some() && trial.take().is_none(), "a hanging one keeps the others away");
    drop(hanging);
    assert!(trial.take().is_some());
    // A reload neither gives away nor loses a slot.
    let held = trial.take();
    let mut changed = judged_shop(3, outlier());
    let mut shop = Cluster::clone(&changed.clusters[0]);
    shop.overprovisioning += 1;
    changed.clusters = vec![shop.into()];
    life.configure(changed);
    assert!(life.trial(0).unwrap().take().is_none());
    drop(held);
}

#[test]
fn e11_a_bad_trial_is_out_for_longer_and_late_ends_count_for_nothing() {
    let mut life = Life::of(judged_shop(3, outlier()));
    eject(&mut life, 0);
    life.pass_seconds(30);
    let (old, whose) = (life.trial(0).unwrap().epoch, Whose::Endpoint(life.id(0)));
    assert!(life.try_out(0, GOOD).is_empty());
    assert!(life.try_out(0, Outcome::Answered(404)).is_empty(), "says nothing");
    let effects = life.try_out(0, BAD);
    assert_eq!(told(&effects), [(Status::Probation, Status::Ejected)]);
    let [Effect::Transition(Transition { evidence, .. })] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(
        evidence.to_string(),
        "on probation a request failed (answered 500) after 1 of 3 good ones; out for 60.0s, time 2 in a row, \
         1 of at most 1 of 3 out; a good answer would have kept it on probation"
    );
    life.pass_seconds(59);
    assert_eq!(life.status(0), Status::Ejected);
    life.pass_seconds(1);
    for _ in 0..5 {
        assert!(life.step(Event::Tried(Tried { whose, epoch: old, outcome: BAD })).is_empty());
    }
    assert_eq!(life.status(0), Status::Probation);
}

#[test]
fn e12_switching_ejection_on_changes_nothing_while_nothing_fails() {
    let plain = |rules: Option<Outlier>| {
        let mut shop = cluster("shop", endpoints(&[1, 2, 3, 0]), Vec::new());
        shop.outlier = rules;
        let mut life = Life::of(of_shop(shop));
        for _ in 0..20 {
            (0..4).for_each(|n| drop(life.attempts(n, Class::Success, 10)));
            life.pass_seconds(1);
        }
        assert!(life.notices.is_empty());
        let cluster = Arc::clone(&life.publish().unwrap().clusters[0]);
        let members: Vec<_> =
            cluster.members.iter().map(|m| (m.status, m.weight, m.permille, m.priority, m.trial.is_some())).collect();
        let usable: Vec<u32> = cluster.available.usable().collect();
        (members, usable, cluster.available.levels.clone(), cluster.breaker.as_str())
    };
    assert_eq!(plain(None), plain(Some(outlier())));
}

#[test]
fn a_dead_zone_is_out_within_ten_seconds() {
    let zones = ["a", "b", "c"];
    let endpoints = (0..9).map(|n| Endpoint { zone: Some(ZoneName::new(zones[n % 3]).unwrap()), ..endpoint(n, 1) });
    let mut shop = cluster("shop", endpoints.collect(), Vec::new());
    shop.outlier = Some(outlier());
    let mut life = Life::of(of_shop(shop));
    for second in 0..20 {
        for n in 0..9 {
            life.attempts(n, if second >= 10 && n % 3 == 2 { Class::Connect } else { Class::Success }, 7);
        }
        life.pass_seconds(1);
    }
    assert_eq!(life.those(Status::Ejected), [2, 5, 8]);
    let held = life.notices.iter().any(|notice| matches!(notice, Notice::Traffic(TrafficNotice::Held { .. })));
    assert!(!held, "the zone is the cause: none other is waited for");
    // The rule by standard deviation, of 0 % and 100 %: a third of the pool is within 1.9 of it.
    let rates = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0_f64];
    let mean = rates.iter().sum::<f64>() / 9.0;
    let sigma = (rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / 9.0).sqrt();
    assert!(rates.iter().all(|&rate| rate >= mean - 1.9 * sigma), "it would eject nobody");
}

#[test]
fn a_common_cause_is_waited_for_once() {
    let rules = Outlier { max_ejection_percent: 60, ..outlier() };
    let mut life = Life::of(judged_shop(10, rules));
    let begin = life.now;
    let mut out = Vec::new();
    while life.now.since(begin) < Duration::from_secs(60) {
        for n in life.those(Status::Healthy) {
            life.attempts(n, Class::Reset, 3);
        }
        life.pass_seconds(1);
        out.push(life.those(Status::Healthy).len());
    }
    let held = usize::try_from(HOLD.as_secs()).unwrap();
    assert!(out[1..held - 1].iter().all(|&left| left >= 7), "held: {out:?}");
    assert!(out[held + 2..29].iter().all(|&left| left == 4), "then the worst go, up to the cap: {out:?}");
    let holds = life.notices.iter().filter(|notice| matches!(notice, Notice::Traffic(TrafficNotice::Held { .. })));
    assert_eq!(holds.count(), 1, "once per incident");
    let refusals = charged(&life).len();
    assert!(refusals <= 3 * 10, "each told once for each reason: {refusals}");
}
