//! Stories of drains and rehearsals, and of the counts that are looked at meanwhile.

mod support;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use support::*;
use weir_config::model::{ClusterName, Config, Endpoint, ListenerName, ZoneName};
use weir_core::availability::Tier;
use weir_core::control::drills::{AFTER_DEFAULT, DRILL_DEFAULT, DRILLS_MAX, DrillWish, REPORTS_MAX, Stage};
use weir_core::control::orders::{Done, DrainScope, Refused};
use weir_core::control::*;
use weir_core::drill::{Scope, Trouble};
use weir_core::endpoint::{EndpointKey, Status};
use weir_core::time::Moment;

const MINUTE: Duration = Duration::from_secs(60);

fn zone(name: &str) -> ZoneName {
    ZoneName::new(name).expect("a name")
}

fn name(name: &str) -> ClusterName {
    ClusterName::new(name).expect("a name")
}

fn key(n: usize) -> EndpointKey {
    EndpointKey { cluster: name("shop"), address: address(n) }
}

/// Two endpoints in each of these zones, numbered through.
fn in_zones(zones: &[&str]) -> Vec<Endpoint> {
    let place = |(n, at): (usize, &&str)| Endpoint { zone: Some(zone(at)), ..endpoint(n, 1) };
    zones.iter().flat_map(|zone| [zone, zone]).enumerate().map(place).collect()
}

fn three_zones() -> Config {
    shop(in_zones(&["az-a", "az-b", "az-c"]), vec![])
}

fn drain(scope: DrainScope) -> Order {
    Order::Drain { scope, lasts: None, force: false, by: "ada".into() }
}

fn drain_zone(name: &str) -> Order {
    drain(DrainScope::Zone(zone(name), None))
}

fn undrain(scope: DrainScope) -> Order {
    Order::Undrain { scope, by: "ada".into() }
}

fn wish(trouble: Trouble, scope: Scope) -> DrillWish {
    let by = "ada".into();
    DrillWish { trouble, scope, share: 10_000, header: None, lasts: DRILL_DEFAULT, after: AFTER_DEFAULT, by }
}

fn statuses(life: &Life) -> Vec<Status> {
    life.control.endpoints().map(|view| view.status).collect()
}

fn draining(life: &Life) -> Vec<usize> {
    statuses(life).iter().enumerate().filter(|(_, s)| **s == Status::Draining).map(|(n, _)| n).collect()
}

/// Lets time pass, with the ticks that control wants.
fn pass(life: &mut Life, time: Duration) {
    let end = life.now + time;
    while life.now < end {
        let latest = life.now + TICK_AT_LEAST;
        life.now = life.control.next_due().map_or(latest, |due| due.min(latest)).max(life.now).min(end);
        life.step(Event::Tick);
    }
}

fn told(life: &mut Life) -> Vec<String> {
    life.notices.drain(..).map(|notice| notice.to_string()).collect()
}

#[test]
fn a_drained_endpoint_gets_nothing_and_comes_back() {
    let mut life = Life::of(three_zones());
    let done = life.order(drain(DrainScope::Endpoint(key(1))));
    assert!(matches!(done, Ok(Done::Drained(_, 1))), "{done:?}");
    assert_eq!(life.publish().unwrap().clusters[0].available.groups[0].usable, [0, 2, 3, 4, 5]);
    let evidence = life.control.endpoint(&key(1)).unwrap().evidence.to_string();
    assert_eq!(evidence, "ada drained endpoint shop/10.0.0.1:80");
    assert_eq!(
        told(&mut life),
        ["endpoint shop/10.0.0.1:80 is drained by ada until told otherwise: 1 endpoint given no new work"]
    );
    let done = life.order(undrain(DrainScope::Endpoint(key(1))));
    assert!(matches!(done, Ok(Done::Undrained(_, 1, 0))), "{done:?}");
    assert_eq!(life.publish().unwrap().clusters[0].available.groups[0].usable, [0, 1, 2, 3, 4, 5]);
    let evidence = life.control.endpoint(&key(1)).unwrap().evidence.to_string();
    assert_eq!(evidence, "ada ended the drain of endpoint shop/10.0.0.1:80");
}

#[test]
fn a_drain_survives_reloads_and_takes_in_who_comes_later() {
    let mut life = Life::of(three_zones());
    life.order(drain_zone("az-b")).unwrap();
    assert_eq!(draining(&life), [2, 3]);
    let mut more = in_zones(&["az-a", "az-b", "az-c", "az-b"]);
    more[0].zone = Some(zone("az-b"));
    let transitions = life.configure(shop(more.clone(), vec![]));
    assert_eq!(draining(&life), [0, 2, 3, 6, 7]);
    assert_eq!(transitions.len(), 3);
    // Who leaves the zone, or the configuration, is drained no longer; who comes back is.
    more[0].zone = None;
    let (left, gone) = (more[..2].to_vec(), more.clone());
    life.configure(shop(left, vec![]));
    assert_eq!(statuses(&life), [Status::Healthy; 2]);
    life.configure(shop(gone, vec![]));
    assert_eq!(draining(&life), [2, 3, 6, 7]);
    life.order(undrain(DrainScope::Zone(zone("az-b"), None))).unwrap();
    assert_eq!(draining(&life), [0usize; 0]);
}

#[test]
fn a_drain_with_an_end_ends() {
    let mut life = Life::of(three_zones());
    let scope = DrainScope::Zone(zone("az-a"), Some(name("shop")));
    let order = |lasts| Order::Drain { scope: scope.clone(), lasts: Some(lasts), force: false, by: "ada".into() };
    life.order(order(MINUTE)).unwrap();
    pass(&mut life, MINUTE / 2);
    // Ordered again, it has another end.
    life.order(order(MINUTE)).unwrap();
    assert_eq!(life.control.drains().count(), 1);
    pass(&mut life, MINUTE - Duration::from_nanos(1));
    assert_eq!(draining(&life), [0, 1]);
    life.notices.clear();
    pass(&mut life, Duration::from_nanos(1));
    assert_eq!(draining(&life), [0usize; 0]);
    assert_eq!(told(&mut life), ["the drain of zone az-a of cluster shop is over, its time is up: 2 endpoints back"]);
    for lasts in [Duration::ZERO, Duration::from_secs(31 * 24 * 3600)] {
        assert!(matches!(life.order(order(lasts)), Err(Refused::Time(..))));
    }
}

#[test]
fn e2_nobody_drains_the_last_usable_endpoint_unless_forced() {
    let mut life = Life::of(shop(in_zones(&["az-a", "az-b"]), vec![]));
    life.order(drain_zone("az-a")).unwrap();
    let refused = life.order(drain_zone("az-b")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cluster shop would be left without an endpoint that can be used; force does it all the same"
    );
    life.order(drain(DrainScope::Endpoint(key(2)))).unwrap();
    assert!(matches!(life.order(drain(DrainScope::Endpoint(key(3)))), Err(Refused::LastUsable(_))));
    assert_eq!(draining(&life), [0, 1, 2]);
    let scope = DrainScope::Zone(zone("az-b"), None);
    life.order(Order::Drain { scope, lasts: None, force: true, by: "ada".into() }).unwrap();
    assert!(matches!(life.publish().unwrap().clusters[0].available.tier, Tier::Nobody(_)));
    // What cannot be used anyway may be drained.
    life.order(drain(DrainScope::Endpoint(key(0)))).unwrap();
}

#[test]
fn what_is_unknown_is_refused_with_a_hint() {
    let mut life = Life::of(three_zones());
    let mut refuse = |order| life.order(order).unwrap_err().to_string();
    let other = |cluster: &str, n| DrainScope::Endpoint(EndpointKey { cluster: name(cluster), address: address(n) });
    for (order, text) in [
        (drain_zone("az-d"), "there is no zone \"az-d\"; did you mean az-a?"),
        (drain_zone("x"), "there is no zone \"x\"; there are: az-a, az-b, az-c"),
        (drain(other("shpo", 1)), "there is no cluster \"shpo\"; did you mean shop?"),
        (drain(other("shop", 9)), "there is no endpoint \"shop/10.0.0.9:80\"; did you mean shop/10.0.0.0:80?"),
        (undrain(DrainScope::Zone(zone("az-a"), None)), "zone az-a is not drained"),
        (Order::EndDrill { id: 4, by: "ada".into() }, "there is no drill \"4\"; there is none at all"),
        (
            Order::Drill(wish(Trouble::Reset, Scope::Route(ListenerName::new("wbe").unwrap(), None))),
            "there is no listener \"wbe\"; did you mean web?",
        ),
        (
            Order::Drill(wish(Trouble::Reset, Scope::Route(ListenerName::new("web").unwrap(), Some(1)))),
            "there is no route \"web/2\"; listener web has routes 1 to 1",
        ),
        (
            Order::Drill(wish(Trouble::Unreachable, Scope::Route(ListenerName::new("web").unwrap(), None))),
            "a route has no connections to cut; drill its cluster, or abort",
        ),
    ] {
        assert_eq!(refuse(order), text);
    }
    life.order(drain_zone("az-a")).unwrap();
    let refused = life.order(undrain(DrainScope::Endpoint(key(0)))).unwrap_err().to_string();
    assert_eq!(refused, "endpoint shop/10.0.0.0:80 is not drained by itself: zone az-a is");
}

#[test]
fn a_drill_has_an_end_and_a_report() {
    let mut life = Life::of(three_zones());
    let snapshot = life.publish().unwrap();
    let lane = Arc::clone(&snapshot.listeners[0].lanes[0].1);
    let serve = |requests: u64, errors: u64, took: u64| {
        lane.of(0).requests[1].add(requests - errors);
        lane.of(1).requests[4].add(errors);
        (0..requests).for_each(|_| lane.of(1).duration.observe(Duration::from_millis(took)));
    };
    pass(&mut life, MINUTE * 2);
    serve(100, 0, 7);
    pass(&mut life, MINUTE);
    let drill = wish(Trouble::Unreachable, Scope::Zone(zone("az-b")));
    let Ok(Done::Began(drill, warnings)) = life.order(Order::Drill(drill)) else { panic!("not begun") };
    assert!(warnings.is_empty());
    assert_eq!(life.publish().unwrap().drills, [Arc::clone(&drill)]);
    serve(50, 5, 70);
    pass(&mut life, MINUTE);
    assert!(life.publish().unwrap().drills.is_empty());
    serve(20, 0, 7);
    pass(&mut life, AFTER_DEFAULT);
    let view = life.control.drill(drill.id).unwrap();
    assert!(matches!(view.stage, Stage::Reported { by: None, .. }));
    let report = &view.clusters[0];
    let after = report.after.clone().unwrap();
    let counts = |stretch: &tally::Stretch| (stretch.requests, stretch.errors, stretch.lasted.as_secs());
    assert_eq!((counts(&report.during), counts(&after)), ((50, 5, 60), (20, 0, 30)));
    assert_eq!((report.before.requests, report.before.errors), (100, 0));
    assert_eq!(
        told(&mut life),
        [
            "drill 1 by ada for 1m: no connection at zone az-b",
            "drill 1 ended after 60.0s, its time was up: no connection at zone az-b",
            "report of drill 1 (no connection at zone az-b): cluster shop: errors 0 of 100 before, 5 of 50 during, \
         0 of 20 after; p99 10.0ms before, 99.0ms during, 9.9ms after"
                .replace("10.0ms before, 99.0ms during, 9.9ms after", &p99s(report))
                .as_str()
        ]
    );
}

fn p99s(report: &drills::ClusterReport) -> String {
    let p99 = |stretch: &tally::Stretch| stretch.p99.expect("there was traffic");
    let after = report.after.clone().expect("it is over");
    let ms = |time: Duration| time.as_millis();
    // The buckets are 5 to 10 and 50 to 100 ms.
    assert!((5..=10).contains(&ms(p99(&report.before))) && (50..=100).contains(&ms(p99(&report.during))));
    format!("{:.1?} before, {:.1?} during, {:.1?} after", p99(&report.before), p99(&report.during), p99(&after))
}

#[test]
fn a_drill_can_be_ended_early_and_twice() {
    let mut life = Life::of(three_zones());
    let drill = DrillWish { lasts: MINUTE, ..wish(Trouble::Abort(503), Scope::Cluster(name("shop"))) };
    life.order(Order::Drill(drill)).unwrap();
    pass(&mut life, Duration::from_secs(7));
    for _ in 0..2 {
        life.order(Order::EndDrill { id: 1, by: "bob".into() }).unwrap();
        assert!(life.publish().is_none_or(|snapshot| snapshot.drills.is_empty()));
    }
    let ended = told(&mut life).remove(1);
    assert_eq!(ended, "drill 1 ended after 7.0s, by bob: status 503 instead of an answer at cluster shop");
    pass(&mut life, MINUTE);
    assert!(life.control.next_due().is_none_or(|due| due > life.now));
}

#[test]
fn a_drill_on_a_route_ends_when_a_reload_moves_the_route() {
    let mut life = Life::of(three_zones());
    let scope = Scope::Route(ListenerName::new("web").unwrap(), Some(0));
    life.order(Order::Drill(wish(Trouble::Abort(503), scope))).unwrap();
    let mut config = three_zones();
    config.clusters.push(Arc::new(cluster("other", endpoints(&[1]), vec![])));
    life.configure(config.clone());
    assert_eq!(life.publish().unwrap().drills.len(), 1);
    let path = weir_config::model::PathMatch::Exact("/x".into());
    let first = route(weir_config::model::RouteMatch { path, ..Default::default() }, "shop");
    config.listeners = vec![Arc::new(listener("web", vec![first, to("shop")]))];
    life.configure(config);
    assert_eq!(life.publish().unwrap().drills.len(), 0);
    assert!(told(&mut life)[1].contains("by a reload that changed its route"));
}

#[test]
fn drills_are_bounded() {
    let mut life = Life::of(three_zones());
    let drill = |lasts| Order::Drill(DrillWish { lasts, ..wish(Trouble::Reset, Scope::Cluster(name("shop"))) });
    for _ in 0..DRILLS_MAX {
        life.order(drill(MINUTE)).unwrap();
    }
    assert!(matches!(life.order(drill(MINUTE)), Err(Refused::TooMany(DRILLS_MAX, _))));
    pass(&mut life, MINUTE * 2);
    for _ in 0..DRILLS_MAX {
        life.order(drill(MINUTE)).unwrap();
        pass(&mut life, MINUTE * 2);
    }
    assert_eq!(life.control.drills().count(), REPORTS_MAX);
    for lasts in [Duration::ZERO, Duration::from_secs(24 * 3600 + 1)] {
        assert!(matches!(life.order(drill(lasts)), Err(Refused::Time(..))));
    }
}

#[test]
fn a_drill_that_takes_the_last_endpoints_says_so() {
    let mut life = Life::of(shop(in_zones(&["az-a"]), vec![]));
    let drill = wish(Trouble::Unreachable, Scope::Zone(zone("az-a")));
    let Ok(Done::Began(_, warnings)) = life.order(Order::Drill(drill)) else { panic!("not begun") };
    assert_eq!(warnings, ["cluster shop has no other endpoint that can be used"]);
}

#[test]
fn x5_the_retry_budget_counts_the_last_window_only() {
    let mut life = Life::of(three_zones());
    let cluster = Arc::clone(&life.publish().unwrap().clusters[0]);
    let budget = cluster.config.retry_budget;
    let requests = || cluster.load.sum(|load| &load.requests);
    let spend = || (0..1000).map_while(|_| cluster.live.retry.take(&budget, 10_000, requests())).count();
    cluster.load.of(0).requests.add(1000);
    assert_eq!(spend(), 100);
    // Long after, with no traffic, the budget is its least again, not a tenth of all there ever was.
    pass(&mut life, MINUTE);
    assert_eq!(spend(), 20);
    pass(&mut life, Duration::from_secs(5));
    assert_eq!(spend(), 0);
    cluster.load.of(1).requests.add(300);
    assert_eq!(spend(), 10);
    pass(&mut life, Duration::from_secs(11));
    assert_eq!(spend(), 20);
}

#[test]
fn latency_is_learned_from_enough_attempts_only() {
    let mut life = Life::of(three_zones());
    let cluster = Arc::clone(&life.publish().unwrap().clusters[0]);
    let observe = |count: usize, millis| {
        (0..count).for_each(|_| cluster.load.of(0).latency.observe(Duration::from_millis(millis)));
    };
    observe(49, 7);
    pass(&mut life, MINUTE / 2);
    assert_eq!((cluster.live.median(), cluster.live.usual()), (None, None));
    observe(1, 7);
    pass(&mut life, Duration::from_secs(5));
    let within = |time: Option<Duration>, from, to| (from..=to).contains(&time.unwrap().as_millis());
    assert!(within(cluster.live.median(), 5, 10) && within(cluster.live.usual(), 5, 10));
    // What was usual more than a minute ago is forgotten once there is something newer.
    pass(&mut life, MINUTE * 2);
    assert!(within(cluster.live.median(), 5, 10));
    observe(100, 70);
    pass(&mut life, Duration::from_secs(5));
    assert!(within(cluster.live.median(), 50, 100));
}

#[test]
fn a_process_without_traffic_is_quiet() {
    let mut life = Life::of(three_zones());
    let cluster = Arc::clone(&life.publish().unwrap().clusters[0]);
    pass(&mut life, MINUTE);
    assert_eq!(life.control.next_due(), None);
    cluster.load.of(0).requests.add(1);
    pass(&mut life, TICK_AT_LEAST);
    assert_eq!(life.control.next_due(), Some(life.now + Duration::from_secs(1)));
    pass(&mut life, MINUTE);
    assert_eq!(life.control.next_due(), None);
    assert!(life.publish().is_none(), "counts are no news");
}

proptest! {
    /// Whatever is ordered, configured and waited for: an endpoint is drained if and only if a
    /// drain in force contains it, and no drain or drill outlives its time.
    #[test]
    fn drains_hold_exactly_what_they_name(steps in prop::collection::vec((0..8u8, 0..4usize, 1..200u64), 1..60)) {
        let zones = ["az-a", "az-b", "az-c", "az-d"];
        let mut life = Life::of(shop(in_zones(&zones), vec![]));
        for (kind, at, time) in steps {
            let lasts = Some(Duration::from_secs(time));
            let scope = if kind % 2 == 0 { DrainScope::Endpoint(key(at)) } else { DrainScope::Zone(zone(zones[at]), None) };
            let order = match kind {
                0 | 1 => Order::Drain { scope, lasts, force: true, by: "ada".into() },
                2 | 3 => Order::Drain { scope, lasts: None, force: at > 1, by: "ada".into() },
                4 => undrain(scope),
                5 => Order::Drill(wish(Trouble::Reset, Scope::Zone(zone(zones[at])))),
                6 => {
                    let mut zones = zones;
                    zones.rotate_left(at);
                    life.configure(shop(in_zones(&zones[..=time as usize % 4]), vec![]));
                    continue;
                }
                _ => {
                    pass(&mut life, Duration::from_secs(time));
                    continue;
                }
            };
            let before = statuses(&life);
            if life.order(order).is_err() {
                prop_assert_eq!(before, statuses(&life), "what is refused changes nothing");
            }
            let now: Moment = life.now;
            prop_assert!(life.control.drains().all(|drain| drain.until.is_none_or(|until| until > now)));
            prop_assert!(life.control.drills().all(|view| view.stage != Stage::Running || view.drill.until > now));
            for view in life.control.endpoints() {
                let held = life.control.drains().any(|drain| match &drain.scope {
                    DrainScope::Endpoint(key) => key == &**view.key,
                    DrainScope::Zone(zone, _) => view.zone == Some(zone),
                });
                prop_assert_eq!(held, view.status == Status::Draining);
            }
        }
    }
}
