//! A release that goes by itself: up while v2 is good, back within seconds when it is not, and
//! whoever gives an order or edits the file has the last word.

use std::time::{Duration, Instant};

use weir_integration_tests::pace::Pace;
use weir_integration_tests::replica::Mood;
use weir_integration_tests::wait;

use super::{Live, Shop, at};
use crate::stage::figure;

/// As many, each asking seldom: what one user meets is no proof.
const USERS: u64 = 4_000;
const RATE: u32 = 300;

/// A judge that is soon sure, and no guard but on errors.
const JUDGE: &str = "judge: {min_requests: 30, error_margin: 15, latency_margin: 400}";

/// v2 may have `weight`, step by step.
pub(super) fn rollout(weight: &str, further: &str) -> String {
    let rollout = format!(
        "rollout: {{steps: [5, 25, 50, 100], hold: 2s, guard: {{window: 20s, min_requests: 20, latency_factor: 1000}}{further}}}"
    );
    at(&format!("{weight}, {rollout}"), JUDGE)
}

pub(super) fn load(live: &Live) -> Pace {
    Pace::start(live.shop.web, RATE, |nth| super::of_user(&format!("user-{}", nth % USERS)).into_bytes())
}

/// What v2 has now, in per cent.
pub(super) fn weight(live: &Live) -> f64 {
    live.weir.json("/api/v1/releases")["releases"][0]["versions"][1]["in_force"].as_f64().unwrap()
}

/// Waits until v2 has this, in per cent; how long that took.
pub(super) fn reaches(live: &Live, percent: f64) -> Duration {
    let since = Instant::now();
    wait::within(Duration::from_secs(120), &format!("v2 at {percent} %"), || {
        ((weight(live) - percent).abs() < 1e-6).then(|| since.elapsed())
    })
}

/// What the journal says of rollouts.
fn journal(live: &Live) -> String {
    let answer = live.weir.json("/api/v1/events?since=0&limit=10000");
    let events = answer["events"].as_array().unwrap().iter();
    events.map(|event| format!("{} {}\n", event["time"], event["message"])).collect()
}

#[test]
fn a_good_version_climbs_to_its_ceiling_and_no_further() {
    let live = Shop::new().start(&rollout("50", ""));
    assert!((weight(&live) - 5.0).abs() < 1e-6, "it begins at the first step");
    let load = load(&live);
    for percent in [25.0, 50.0] {
        let took = reaches(&live, percent);
        assert!(took > Duration::from_secs(1), "not before `hold`: {took:?}");
    }
    // The file is the ceiling: a higher one lets it climb on, a lower one holds at once.
    live.edit(&rollout("60", ""));
    reaches(&live, 60.0);
    live.edit(&rollout("10", ""));
    assert!((weight(&live) - 10.0).abs() < 1e-6, "{}", weight(&live));
    let report = load.finish();
    figure("rollout 5 -> 50 -> 60 -> 10 %", &report, None);
    assert!(report.failed().is_empty(), "{report}\n{}", journal(&live));
}

/// v2 fails half of its requests from now on; how long until nobody is there any more.
fn turns_bad(live: &Live) -> Duration {
    let since = Instant::now();
    live.shop.versions[1].set(Mood::Status { code: 500, percent: 50, retry_after: None });
    wait::until_true("v2 closed", || weight(live) == 0.0);
    since.elapsed()
}

#[test]
fn a_bad_version_is_back_at_nothing_within_seconds_and_stays_there() {
    let first = "canaries: [{cluster: v2, first: [{header: {x-employee: {present: true}}}], ";
    let release = |weight: &str| rollout(weight, "").replace("canaries: [{cluster: v2, ", first);
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().to_str().unwrap().to_owned();
    let mut live = Shop::new().start_with(&release("50"), &["--state-dir", &state], |_| {});
    let load = load(&live);
    reaches(&live, 25.0);
    assert_eq!(live.version("X-Employee: 1\r\n"), "v2");
    let took = turns_bad(&live);
    load.more(RATE as usize);
    let report = load.finish();
    figure("rollout: v2 begins to fail half", &report, Some(took));
    assert!(took < Duration::from_secs(15), "closed after {took:?}\n{}", journal(&live));
    assert!(report.failed().iter().all(|shot| shot.kind() == "500"), "{report}");
    assert_eq!(live.version("X-Employee: 1\r\n"), "v1", "employees too");

    live.shop.versions[1].set(Mood::Well);
    live.weir.restart();
    assert_eq!(weight(&live), 0.0, "a restart forgives nothing");
    assert_eq!(live.version("X-Employee: 1\r\n"), "v1");
    live.edit(&format!("{}\non_unhealthy: error", release("50")));
    assert_eq!(weight(&live), 0.0, "nor does an edit of something else");
    // The operator's edit of the canary begins anew, at the first step.
    live.edit(&release("49"));
    assert!((weight(&live) - 5.0).abs() < 1e-6, "{}", weight(&live));
    assert_eq!(live.version("X-Employee: 1\r\n"), "v2");
}

#[test]
fn or_it_is_kept_where_it_is_if_that_is_wished() {
    let live = Shop::new().start(&rollout("50", ", on_fail: pause"));
    let load = load(&live);
    live.shop.versions[1].set(Mood::Status { code: 500, percent: 50, retry_after: None });
    wait::until_true("the guard", || journal(&live).contains("guard"));
    load.more(RATE as usize);
    drop(load);
    assert!((weight(&live) - 5.0).abs() < 1e-6, "{}", weight(&live));
}

#[test]
fn a_step_survives_a_restart_with_a_state_directory_alone() {
    for (kept, percent) in [(true, 25.0), (false, 5.0)] {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().to_str().unwrap().to_owned();
        let arguments = if kept { vec!["--state-dir", &state] } else { Vec::new() };
        let mut live = Shop::new().start_with(&rollout("25", ""), &arguments, |_| {});
        let load = load(&live);
        reaches(&live, 25.0);
        drop(load.finish());
        live.weir.restart();
        assert!((weight(&live) - percent).abs() < 1e-6, "{kept}: {}", weight(&live));
    }
}

#[test]
fn orders_pause_resume_and_give_up() {
    let live = Shop::new().start(&rollout("50", ""));
    // Before there is anything to judge by: on a busy machine a step may be over before the order comes.
    live.says(&["release", "pause", "orders"]);
    let load = load(&live);
    load.last(Duration::from_secs(12));
    assert!((weight(&live) - 5.0).abs() < 1e-6, "paused: {}", weight(&live));
    live.says(&["release", "resume", "orders"]);
    reaches(&live, 25.0);
    live.says(&["release", "abort", "orders"]);
    assert_eq!(weight(&live), 0.0, "at once");
    live.says(&["release", "resume", "orders", "--canary", "v2"]);
    assert!((weight(&live) - 5.0).abs() < 1e-6, "from the first step on: {}", weight(&live));
    load.finish().assert_no_error();
    let status = live.says(&["release", "status", "orders"]);
    for word in ["v1", "v2", "5 %"] {
        assert!(status.contains(word), "{word} in {status}");
    }
}
