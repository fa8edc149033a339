//! Zones: the own one first, the others by what they can bear; and zones and endpoints that are
//! drained by hand, under load, without a loss.

use std::time::{Duration, Instant};

use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::netns::Netns;
use weir_integration_tests::pace::{Pace, Report};
use weir_integration_tests::replica::Mood;
use weir_integration_tests::wait;

use crate::stage::{Live, Stage, figure};

const RATE: u32 = 200;

/// The part of the answers that came from a zone.
fn share(report: &Report, zone: &str) -> f64 {
    report.by().into_iter().filter(|(name, _)| name.starts_with(zone)).map(|(name, _)| report.share(name)).sum()
}

fn shares(live: &Live, requests: usize) -> [f64; 3] {
    let load = Pace::gets(live.web, RATE);
    load.more(requests);
    let report = load.finish();
    report.assert_no_error();
    ["az-a", "az-b", "az-c"].map(|zone| share(&report, zone))
}

fn about(seen: [f64; 3], expected: [f64; 3]) {
    let near = seen.iter().zip(expected).all(|(seen, expected)| (seen - expected).abs() < 0.07);
    assert!(near, "{seen:.3?} is not about {expected:.3?}");
}

#[test]
fn the_own_zone_serves_its_own_while_it_can() {
    let live = Stage::zones(&[("az-a", 3), ("az-b", 3), ("az-c", 3)]).top("zone: az-b").start();
    about(shares(&live, 600), [0.0, 1.0, 0.0]);
    let off =
        Stage::zones(&[("az-a", 3), ("az-b", 3), ("az-c", 3)]).top("zone: az-b").cluster("zone_aware: off").start();
    about(shares(&off, 600), [0.333, 0.333, 0.333]);
}

#[test]
fn a_small_own_zone_is_not_asked_for_more_than_it_can_bear() {
    // A third of the users stand here, a seventh of the endpoints: 1/7 : 1/3 of what we have stays.
    let live = Stage::zones(&[("az-a", 1), ("az-b", 3), ("az-c", 3)]).top("zone: az-a").start();
    about(shares(&live, 1200), [0.429, 0.286, 0.286]);
}

#[test]
fn told_shares_of_users_are_believed() {
    // L = 40, 40, 20; U = 25, 50, 25: 62.5 % stays, the rest 2 : 1.
    let live = Stage::zones(&[("az-a", 1), ("az-b", 2), ("az-c", 1)])
        .top("zone: az-a")
        .cluster("zone_aware: {shares: {az-a: 2, az-b: 2, az-c: 1}}")
        .start();
    about(shares(&live, 1200), [0.625, 0.25, 0.125]);
}

#[test]
fn an_own_zone_that_goes_dark_is_left_in_seconds() {
    let far = Netns::new();
    let mut stage = Stage::default();
    for nth in 0..2 {
        stage = stage.replica(Some("az-a"), far.listen(nth));
    }
    for zone in ["az-b", "az-b", "az-c", "az-c"] {
        stage =
            stage.replica(Some(zone), std::net::TcpListener::bind(weir_integration_tests::place::address()).unwrap());
    }
    let live = stage
        .top("zone: az-a")
        .route("timeout: 1s")
        .cluster("connect: {timeout: 300ms}")
        .cluster("health_checks: [{timeout: 300ms, interval: 300ms, fast_interval: 200ms, http_health_check: {path: /healthz}}]")
        .start();
    let load = Pace::gets(live.web, 100);
    load.more(300);
    far.cut();
    let since = Instant::now();
    for nth in 0..2 {
        wait::until_true("its way out", || live.changes(nth).iter().any(|to| to == "ejected" || to == "unhealthy"));
    }
    let out = since.elapsed();
    load.more(100);
    let report = load.finish();
    figure("the own zone, two of six, goes dark", &report, Some(out));
    live.nobody_ejected_but(&[0, 1]);
    // All that was asked went there, and the retry budget has to bear nearly all of it until it is out.
    assert!(out < Duration::from_secs(5), "{out:?}");
    assert!(report.failed().len() * 20 <= report.total(), "{report}");
    let settled =
        report.between(report.shots.last().unwrap().at.saturating_sub(Duration::from_millis(500)), Duration::MAX);
    settled.assert_no_error();
}

#[test]
fn x4_why_zones_are_not_used_is_told() {
    let told = |live: &Live| {
        let level = live.cluster()["levels"][0].clone();
        let word = |key: &str| level[key].as_str().unwrap_or_default().to_owned();
        (word("zone_state"), word("zone_reason"), level["zones"].as_array().map_or(0, Vec::len))
    };
    let working = told(&Stage::zones(&[("az-a", 2), ("az-b", 2)]).top("zone: az-a").start());
    let nowhere = told(&Stage::zones(&[("az-a", 2), ("az-b", 2)]).start());
    let too_few = told(&Stage::zones(&[("az-a", 1), ("az-b", 1)]).top("zone: az-a").start());
    let stranger = told(&Stage::zones(&[("az-a", 2), ("az-b", 2)]).top("zone: az-x").start());
    let off = told(&Stage::zones(&[("az-a", 2), ("az-b", 2)]).top("zone: az-a").cluster("zone_aware: off").start());
    for (state, reason, zones) in [&working, &nowhere, &too_few, &stranger, &off] {
        assert!(!state.is_empty() && !reason.is_empty() && *zones >= 2, "{state}: {reason}: {zones}");
    }
    let reasons = [&working, &nowhere, &too_few, &stranger, &off].map(|(_, reason, _)| reason);
    println!("{reasons:#?}");
    for (nth, reason) in reasons.iter().enumerate() {
        assert!(!reasons[nth + 1..].contains(reason), "each cause has words of its own: {reasons:#?}");
    }
}

#[test]
fn e12_ejection_and_zones_do_not_switch_each_other_on() {
    for (outlier, zones, expected) in [
        ("off", "on", [1.0, 0.0, 0.0]),
        ("{base_ejection_time: 5s}", "on", [1.0, 0.0, 0.0]),
        ("{base_ejection_time: 5s}", "off", [0.333, 0.333, 0.333]),
        ("off", "off", [0.333, 0.333, 0.333]),
    ] {
        let live = Stage::zones(&[("az-a", 2), ("az-b", 2), ("az-c", 2)])
            .top("zone: az-a")
            .cluster(&format!("outlier_detection: {outlier}"))
            .cluster(&format!("zone_aware: {zones}"))
            .start();
        about(shares(&live, 300), expected);
    }
}

#[test]
fn a_drained_endpoint_finishes_its_work_and_gets_no_more() {
    let live = Stage::of(4).start();
    let load = Pace::gets(live.web, RATE);
    load.more(100);
    // One request is under way there while it is drained.
    let mut busy = RawClient::connect(live.web);
    for replica in &live.replicas {
        replica.set(Mood::Slow(Duration::from_millis(1500)));
    }
    busy.send(get("/busy"));
    wait::until_true("the request at an endpoint", || {
        live.replicas.iter().flat_map(|replica| replica.executed()).any(|executed| executed.target == "/busy")
    });
    for replica in &live.replicas {
        replica.set(Mood::Well);
    }
    let at = live.replicas.iter().position(|r| r.executed().iter().any(|executed| executed.target == "/busy")).unwrap();
    live.says(&["drain", &format!("shop/{}", live.addresses[at])]);
    live.is_now(at, "draining");
    load.more(20);
    let before = live.replicas[at].begun();
    assert_eq!(busy.response().unwrap().text(), live.replicas[at].name(), "its work is finished");
    load.more(RATE as usize);
    assert_eq!(live.replicas[at].begun(), before, "nothing new");
    live.says(&["undrain", &format!("shop/{}", live.addresses[at])]);
    live.is_now(at, "healthy");
    wait::until_true("new requests", || live.replicas[at].begun() > before);
    let report = load.finish();
    figure("an endpoint of four drained and undrained", &report, None);
    report.assert_no_error();
}

#[test]
fn a_drained_zone_is_empty_and_nothing_is_lost() {
    let live = Stage::zones(&[("az-a", 2), ("az-b", 2), ("az-c", 2)]).top("zone: az-b").start();
    let load = Pace::gets(live.web, RATE);
    load.more(200);
    live.says(&["drain", "zone", "az-b"]);
    for nth in 2..4 {
        live.is_now(nth, "draining");
    }
    load.more(20);
    let begun = load.elapsed();
    load.more(RATE as usize);
    // A reload does not bring it back.
    live.weir.replace(&live.yaml.replace("zone: az-b", "zone: az-b\n# changed"));
    live.says(&["reload"]);
    load.more(RATE as usize);
    let ended = load.elapsed();
    live.says(&["undrain", "zone", "az-b"]);
    for nth in 2..4 {
        live.is_now(nth, "healthy");
    }
    load.more(RATE as usize);
    let report = load.finish();
    figure("a zone of three drained and undrained", &report, None);
    report.assert_no_error();
    assert_eq!(share(&report.between(begun, ended), "az-b"), 0.0, "{:?}", report.between(begun, ended).by());
}
