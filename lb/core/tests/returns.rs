//! Ways back into service, and what else outlasts an ejection: time outs, reduced weights, reloads,
//! slow start, rest.

mod support;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use support::*;
use weir_config::model::{Cluster, Config, EjectionAction, Outlier};
use weir_core::attempt::Class;
use weir_core::control::*;
use weir_core::endpoint::Status;
use weir_core::health::outlier::{Spare, Standing, What};
use weir_core::time::Moment;

#[test]
fn each_ejection_is_twice_as_long_up_to_the_longest_and_good_service_is_rewarded() {
    let rules = outlier();
    let mut standing = Standing::new(Moment::ZERO);
    let mut now = Moment::ZERO;
    for wanted in [30, 60, 120, 240, 300, 300, 300] {
        standing.charged(&rules, now);
        let until = standing.eject(&rules, now, 0);
        assert_eq!(until.since(now).as_secs(), wanted);
        now = until;
        standing.readmit(now);
    }
    // Base times of good service take them back one by one.
    for (served, wanted) in [(95, 60), (0, 120), (3000, 30)] {
        now = now + Duration::from_secs(served);
        standing.charged(&rules, now);
        let until = standing.eject(&rules, now, 0);
        assert_eq!(until.since(now).as_secs(), wanted, "after {served} s of service");
        now = until;
        standing.readmit(now);
    }
    let rules = Outlier { jitter_percent: 20, ..outlier() };
    for (draw, wanted) in [(0, 24), (u64::MAX, 36)] {
        assert_eq!(Standing::new(now).eject(&rules, now, draw).since(now).as_secs(), wanted);
    }
}

#[test]
fn who_comes_back_is_judged_by_what_it_does_then() {
    let mut life = Life::of(judged_shop(3, outlier()));
    life.attempts(0, Class::Error, 4);
    (0..30).for_each(|_| drop(life.attempts(0, Class::Timeout, 1)));
    life.pass_seconds(1);
    assert_eq!(life.status(0), Status::Ejected);
    life.attempts(0, Class::Timeout, 50);
    bring_back(&mut life, 0);
    life.pass_seconds(5);
    assert_eq!(life.status(0), Status::Healthy, "nothing old is held against it");
}

#[test]
fn reduce_halves_its_weight_and_gives_it_back() {
    let mut life = Life::of(judged_shop(3, Outlier { action: EjectionAction::Reduce, ..outlier() }));
    let mut seen = vec![1000];
    for second in 0..300 {
        life.attempts(0, if second < 75 { Class::Error } else { Class::Success }, 10);
        life.pass_seconds(1);
        let permille = life.view(0).permille;
        if seen.last() != Some(&permille) {
            seen.push(permille);
        }
        assert_eq!(life.status(0), Status::Healthy);
    }
    assert_eq!(
        seen,
        [1000, 500, 250, 125, 62, 31, 15, 10, 110, 210, 310, 410, 510, 610, 710, 810, 910, 1000],
        "down by halves, up by a tenth"
    );
    let words = life.notices.iter().filter_map(|notice| match notice {
        Notice::Traffic(notice) => Some(notice.as_str()),
        _ => None,
    });
    assert_eq!(words.collect::<Vec<_>>(), [vec!["weight_reduced"; 7], vec!["weight_restored"]].concat());
}

#[test]
fn observe_tells_once_and_does_nothing() {
    let mut life = Life::of(judged_shop(3, Outlier { action: EjectionAction::Observe, ..outlier() }));
    for _ in 0..30 {
        assert!(life.attempts(0, Class::Error, 10).is_empty());
        assert!(life.pass_seconds(1).is_empty());
    }
    assert_eq!(charged(&life), [(address(0).to_string(), What::Observe)]);
    let snapshot = life.publish().unwrap();
    assert!(snapshot.clusters[0].available.usable().eq([0, 1, 2]));
}

#[test]
fn switching_it_off_brings_everybody_back() {
    for action in [None, Some(EjectionAction::Observe), Some(EjectionAction::Reduce)] {
        let mut life = Life::of(judged_shop(6, outlier()));
        eject(&mut life, 0);
        life.pass_seconds(30);
        eject(&mut life, 1);
        assert_eq!((life.status(0), life.status(1)), (Status::Probation, Status::Ejected));
        let mut changed = judged_shop(6, outlier());
        let mut shop = Cluster::clone(&changed.clusters[0]);
        shop.outlier = action.map(|action| Outlier { action, ..outlier() });
        changed.clusters = vec![shop.into()];
        let effects = life.configure(changed);
        assert_eq!(told(&effects), [(Status::Probation, Status::Healthy), (Status::Ejected, Status::Healthy)]);
        assert_eq!(life.view(0).evidence, Evidence::RuleRemoved);
    }
}

#[test]
fn a_reload_forgets_nothing() {
    let changed = |percent| judged_shop(3, Outlier { max_ejection_percent: percent, ..outlier() });
    let mut life = Life::of(changed(34));
    eject(&mut life, 0);
    for reload in 0..10u8 {
        life.configure(changed(34 + reload));
        life.attempts(1, Class::Error, 3);
        life.attempts(1, Class::Success, 7);
        life.pass_seconds(1);
    }
    assert_eq!(life.status(0), Status::Ejected);
    life.pass_seconds(20);
    assert_eq!(life.status(0), Status::Probation);
    assert!(charged(&life).is_empty());
    for _ in 0..3 {
        life.attempts(1, Class::Error, 4);
        life.attempt(1, Class::Success, 1);
    }
    life.pass_seconds(12);
    life.attempts(1, Class::Error, 4);
    // After a while without traffic it is looked at each 5 s only. Alone, 16 of 19 within five
    // minutes would say nothing.
    life.pass_seconds(5);
    assert_eq!(charged(&life), [(address(1).to_string(), What::Spare(Spare::Cap))], "the window went on");
}

#[test]
fn who_leaves_and_comes_back_is_still_out() {
    let mut life = Life::of(judged_shop(3, outlier()));
    eject(&mut life, 2);
    life.configure(judged_shop(2, outlier()));
    life.pass_seconds(10);
    life.configure(judged_shop(3, outlier()));
    assert_eq!(life.status(2), Status::Ejected);
    life.configure(judged_shop(2, outlier()));
    life.pass_seconds(100);
    let effects = life.configure(judged_shop(3, outlier()));
    assert_eq!(told(&effects), [(Status::Ejected, Status::Probation)], "its time is over, its proof is not given");
}

#[test]
fn a_drain_goes_before_it_all() {
    let mut life = Life::of(judged_shop(4, outlier()));
    eject(&mut life, 0);
    let scope = orders::DrainScope::Endpoint((**life.view(0).key).clone());
    let by: Arc<str> = "a test".into();
    life.order(Order::Drain { scope: scope.clone(), lasts: None, force: false, by: Arc::clone(&by) }).unwrap();
    assert_eq!(life.status(0), Status::Draining);
    life.pass_seconds(100);
    life.order(Order::Undrain { scope, by }).unwrap();
    assert_eq!(life.status(0), Status::Probation, "the other memory went on");
}

#[test]
fn an_idle_process_rests() {
    let mut life = Life::of(judged_shop(100, outlier()));
    life.attempts(0, Class::Success, 10);
    life.pass_seconds(60);
    let due = life.control.next_due().unwrap();
    let ticks = (0..10).map(|_| life.tick()).count();
    assert!(life.now.since(due) >= Duration::from_secs(5) * (ticks as u32 - 1), "no more than one look each 5 s");
    let mut plain = Life::of(shop(endpoints(&[1, 1]), vec![]));
    plain.pass_seconds(60);
    assert!(plain.control.next_due().is_none(), "nobody wants to know");
}

#[test]
fn memory_of_counts_from_before_it_was_judged_is_not_used() {
    let mut off = judged_shop(3, outlier());
    let mut shop = Cluster::clone(&off.clusters[0]);
    shop.outlier = None;
    off.clusters = vec![shop.into()];
    let mut life = Life::of(off);
    for _ in 0..60 {
        life.view(0).load.of(0).classes[Class::Error.index()].add(100);
        life.pass_seconds(1);
    }
    life.configure(judged_shop(3, outlier()));
    life.pass_seconds(10);
    assert!(life.those(Status::Ejected).is_empty());
}

fn ramped(config: &mut Config) {
    let mut shop = Cluster::clone(&config.clusters[0]);
    let window = Duration::from_secs(30);
    shop.slow_start = Some(weir_config::model::SlowStart { window, aggression: 1.0, minimum_percent: 5 });
    shop.breaker.per_endpoint.max_requests = NonZeroU32::new(40);
    config.clusters = vec![shop.into()];
}

#[test]
fn who_comes_back_ramps_up_and_its_limit_with_it() {
    let mut config = judged_shop(3, outlier());
    ramped(&mut config);
    let mut life = Life::of(config);
    assert_eq!(life.view(0).permille, 1000, "not at the start of the process");
    eject(&mut life, 0);
    bring_back(&mut life, 0);
    for step in 0..20 {
        // A thirtieth of a second is a thousandth of its share; never less than five per cent.
        let wanted = (step * 50).max(50);
        assert_eq!(life.view(0).permille, wanted);
        assert_eq!(life.view(0).live.requests.most(), Some((40 * u32::from(wanted) / 1000).max(1)));
        if let Some(snapshot) = life.publish() {
            assert_eq!(snapshot.clusters[0].members[0].permille, wanted, "each step is published");
        }
        life.pass(Duration::from_millis(1500));
    }
    let view = life.view(0);
    assert_eq!((view.permille, view.live.requests.most(), view.ramping_since), (1000, Some(40), None));
}

#[test]
fn who_is_added_to_others_that_serve_ramps_up() {
    let config = |n| {
        let mut config = judged_shop(n, outlier());
        ramped(&mut config);
        config
    };
    let mut life = Life::of(config(2));
    assert_eq!((life.view(0).permille, life.view(1).permille), (1000, 1000));
    life.configure(config(3));
    assert_eq!((life.view(0).permille, life.view(2).permille), (1000, 50));
    life.pass_seconds(31);
    assert_eq!(life.view(2).permille, 1000);
}
