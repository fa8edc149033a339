//! A replica goes bad under load, in each way there is: what clients see of it, how long until it
//! gets no more, and how it comes back.

use std::time::{Duration, Instant};

use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::netns::Netns;
use weir_integration_tests::nginx::{Nginx, Server};
use weir_integration_tests::pace::Pace;
use weir_integration_tests::replica::{FullBacklog, HEALTH, Mood};
use weir_integration_tests::{place, wait};

use crate::stage::{Live, Stage, figure};

const SOON: Duration = Duration::from_secs(10);
const RATE: u32 = 150;

/// Retries as they are by default, but sooner: 40 % of a second for an attempt.
fn quick(stage: Stage) -> Stage {
    impatient(stage).cluster("slow_start: off")
}

fn impatient(stage: Stage) -> Stage {
    stage.route("timeout: 1s").cluster("connect: {timeout: 300ms}")
}

/// Enough requests for the retry budget's share to be above its minimum.
fn warm(load: &Pace) {
    load.more(3 * RATE as usize);
}

/// Under load, `spoil` befalls endpoint `nth`: no GET may fail, it is taken out soon, nobody else is.
fn costs_nothing(scenario: &str, live: &mut Live, nth: usize, spoil: impl FnOnce(&mut Live)) {
    let load = Pace::gets(live.web, RATE);
    warm(&load);
    let since = Instant::now();
    spoil(live);
    let ejected = live.becomes(nth, "ejected", since);
    load.more(RATE as usize);
    let report = load.finish();
    figure(scenario, &report, Some(ejected));
    assert!(ejected < SOON, "out after {ejected:?}\n{}", live.journal());
    live.nobody_ejected_but(&[nth]);
    assert!(report.failed().is_empty(), "{report}\n{}", live.journal());
}

#[test]
fn one_of_six_is_killed_and_no_get_fails() {
    let mut shop: Vec<Nginx> = Vec::new();
    let mut stage = Stage::default();
    for n in 1..=6 {
        let address = place::address();
        shop.push(Nginx::start(vec![Server { address, text: format!("n{n}") }]));
        stage = stage.endpoint(address);
    }
    let mut live = quick(stage).cluster("outlier_detection: {base_ejection_time: 2s}").start();
    costs_nothing("one of six nginx killed (-9)", &mut live, 2, |_| shop[2].kill());
    shop[2].revive();
    // Probation needs requests.
    let load = Pace::gets(live.web, RATE);
    live.is_now(2, "healthy");
    load.finish().assert_no_error();
    assert!(live.changes(2).contains(&"probation".to_owned()), "{:?}", live.changes(2));
}

#[test]
fn one_of_six_hangs_after_accept_and_no_get_fails() {
    let mut live = quick(Stage::of(6)).start();
    costs_nothing("one of six hangs after accept", &mut live, 2, |live| live.replicas[2].set(Mood::HangAfterAccept));
}

#[test]
fn one_of_six_hangs_after_the_request_and_no_get_fails() {
    let mut live = quick(Stage::of(6)).start();
    costs_nothing("one of six hangs after the request", &mut live, 2, |live| {
        live.replicas[2].set(Mood::HangAfterRequest);
    });
}

#[test]
fn one_of_six_resets_and_no_get_fails() {
    for (what, mood) in [("on accept", Mood::ResetOnAccept), ("before its answer", Mood::ResetBeforeAnswer)] {
        let mut live = quick(Stage::of(6)).start();
        costs_nothing(&format!("one of six resets {what}"), &mut live, 2, |live| live.replicas[2].set(mood));
    }
}

#[test]
fn one_of_six_is_blackholed_and_no_get_fails() {
    let far = Netns::new();
    let mut live = quick(Stage::of(5).replica(None, far.listen(0))).start();
    costs_nothing("one of six blackholed (nft drop)", &mut live, 5, |_| far.cut());
}

#[test]
fn one_of_six_is_reset_by_its_firewall_and_no_get_fails() {
    let far = Netns::new();
    let mut live = quick(Stage::of(5).replica(None, far.listen(0))).start();
    let victim = live.replicas[5].address();
    costs_nothing("one of six rejected (nft RST)", &mut live, 5, |_| far.reset(victim));
}

#[test]
fn one_of_six_with_a_full_backlog_costs_no_get() {
    let full = FullBacklog::new();
    let mut live = quick(Stage::of(5)).start();
    let last = format!("      - \"{}\"\n", live.addresses[4]);
    let with_it = live.yaml.replace(&last, &format!("{last}      - \"{}\"\n", full.address()));
    live.addresses.push(full.address().to_string());
    costs_nothing("one of six with a full backlog", &mut live, 5, |live| live.weir.replace(&with_it));
}

#[test]
fn one_of_ten_is_slow_and_is_taken_out_for_its_timeouts() {
    let mut live = quick(Stage::of(10)).start();
    costs_nothing("one of ten slow (2 s)", &mut live, 4, |live| {
        live.replicas[4].set(Mood::Slow(Duration::from_secs(2)));
    });
}

#[test]
fn one_that_flaps_is_out_again_and_again_and_no_get_fails() {
    let live = quick(Stage::of(6))
        .cluster("outlier_detection: {base_ejection_time: 1s, jitter: 0, probation: {requests: 1, successes: 3}}")
        .start();
    let load = Pace::gets(live.web, RATE);
    warm(&load);
    let since = Instant::now();
    live.replicas[1].set(Mood::Flapping { up: Duration::from_millis(1500), down: Duration::from_millis(1500) });
    wait::until_true("two ejections", || {
        live.changes(1).iter().filter(|to| *to == "ejected").count() >= 2 || since.elapsed() > Duration::from_secs(25)
    });
    let report = load.finish();
    let times = ejection_times(&live, 1);
    figure("one of six flaps (1.5 s up, 1.5 s down)", &report, None);
    live.nobody_ejected_but(&[1]);
    assert!(report.failed().is_empty(), "{report}\n{}", live.journal());
    assert!(times.len() >= 2, "{}", live.journal());
}

/// When endpoint `nth` was ejected, by the journal.
fn ejection_times(live: &Live, nth: usize) -> Vec<String> {
    let events = live.weir.events("endpoint_transition");
    let its = events
        .iter()
        .filter(|event| event["fields"]["endpoint"] == live.addresses[nth] && event["fields"]["to"] == "ejected");
    its.map(|event| event["time"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn one_that_answers_500_costs_a_handful_of_errors_and_comes_back_without_a_stampede() {
    let live = impatient(Stage::of(6))
        .cluster("outlier_detection: {base_ejection_time: 2s, jitter: 0}")
        .cluster("slow_start: {window: 4s}")
        .start();
    let load = Pace::gets(live.web, RATE);
    warm(&load);
    let since = Instant::now();
    live.replicas[2].set(Mood::status(500));
    let ejected = live.becomes(2, "ejected", since);
    live.replicas[2].set(Mood::Well);
    live.is_now(2, "healthy");
    let back = load.elapsed();
    let ramp = Duration::from_secs(4);
    load.last(ramp + Duration::from_secs(3));
    let report = load.finish();
    figure("one of six answers 500 for a moment", &report, Some(ejected));
    let shares: Vec<f64> = (0..6u32)
        .map(|n| report.between(back + n * Duration::from_secs(1), back + (n + 1) * Duration::from_secs(1)).share("r3"))
        .collect();
    println!("figure | share of the returning one, second by second | {shares:.3?}");
    let fair = 1.0 / 6.0;
    assert!(shares.iter().all(|share| *share < 1.6 * fair), "never more than its share: {shares:?}");
    assert!(shares[0] < 0.7 * fair, "it begins with little: {shares:?}");
    assert!(shares[5] > 0.6 * fair, "it ends with its share: {shares:?}");
    assert!(report.failed().len() <= 10, "{report}");
    live.nobody_ejected_but(&[2]);
}

#[test]
fn a_zone_of_three_of_nine_is_cut_off_and_out_within_ten_seconds() {
    let far = Netns::new();
    let mut stage = Stage::zones(&[("az-a", 3)]);
    for nth in 0..3 {
        stage = stage.replica(Some("az-b"), far.listen(nth));
    }
    for _ in 0..3 {
        stage = stage.replica(Some("az-c"), std::net::TcpListener::bind(place::address()).unwrap());
    }
    let live = quick(stage).cluster("outlier_detection: {base_ejection_time: 3s}").start();
    let load = Pace::gets(live.web, RATE);
    warm(&load);
    let since = Instant::now();
    far.cut();
    let out = (3..6).map(|nth| live.becomes(nth, "ejected", since)).max().unwrap();
    load.more(2 * RATE as usize);
    far.heal();
    for nth in 3..6 {
        live.is_now(nth, "healthy");
    }
    let back = load.elapsed();
    load.more(2 * RATE as usize);
    let report = load.finish();
    figure("a zone of three of nine cut off", &report, Some(out));
    assert!(out < SOON, "all out after {out:?}\n{}", live.journal());
    live.nobody_ejected_but(&[3, 4, 5]);
    // A third of all requests turns bad at once: the retry budget has to bear nearly all of it until
    // the zone is out.
    assert!(report.failed().len() * 100 <= report.total(), "{report}\n{}", live.journal());
    let by = report.between(back, Duration::MAX);
    assert!(by.share("az-b-1") > 0.0, "{:?}", by.by());
}

#[test]
fn e1_the_limit_is_told_in_hosts() {
    // Two of three fail; 34 % of three is one.
    let live =
        quick(Stage::of(3)).cluster("outlier_detection: {base_ejection_time: 20s, correlated_percent: 100}").start();
    let load = Pace::gets(live.web, RATE);
    load.more(50);
    live.replicas[0].set(Mood::status(500));
    live.replicas[1].set(Mood::status(500));
    wait::until_true("the limit in words", || live.journal().contains("1 of at most 1 of 3 out"));
    let limit = &live.cluster()["ejection"];
    assert_eq!((&limit["out"], &limit["most"], &limit["of"]), (&1.into(), &1.into(), &3.into()), "{limit}");
    load.more(2 * RATE as usize);
    drop(load);
    let out = (0..3).filter(|nth| live.changes(*nth).contains(&"ejected".to_owned())).count();
    assert_eq!(out, 1, "{}", live.journal());
}

#[test]
fn e2_the_only_one_is_never_taken_out() {
    let live = quick(Stage::of(1)).start();
    live.replicas[0].set(Mood::status(500));
    let load = Pace::gets(live.web, RATE);
    load.more(3 * RATE as usize);
    let report = load.finish();
    assert_eq!(report.kinds().keys().collect::<Vec<_>>(), ["500"], "it is asked, and answers: {report}");
    live.nobody_ejected_but(&[]);
    // But it is said that it would have been.
    assert!(live.journal().contains("last"), "{}", live.journal());
}

#[test]
fn e3_a_passing_probe_does_not_bring_back_whose_traffic_fails() {
    let live = quick(Stage::of(3))
        .cluster("outlier_detection: {base_ejection_time: 3s, jitter: 0}")
        .cluster(&format!(
            "health_checks: [{{interval: 100ms, fast_interval: 100ms, http_health_check: {{path: {HEALTH}}}}}]"
        ))
        .start();
    let load = Pace::gets(live.web, RATE);
    load.more(50);
    let since = Instant::now();
    live.replicas[0].set(Mood::status(500));
    live.becomes(0, "ejected", since);
    let out = Instant::now();
    // Its probes pass all the time; only traffic may show that it is well, and only then.
    live.replicas[0].set(Mood::Well);
    wait::until_true("its probation", || live.changes(0).contains(&"probation".to_owned()));
    assert!(out.elapsed() > Duration::from_millis(2500), "back after {:?}\n{}", out.elapsed(), live.journal());
    live.is_now(0, "healthy");
    let changes = live.changes(0);
    let after: Vec<&str> = changes.iter().map(String::as_str).skip_while(|to| *to != "ejected").collect();
    assert_eq!(after, ["ejected", "probation", "healthy"], "{}", live.journal());
    drop(load);
}

#[test]
fn e4_five_failures_take_it_out_the_first_time_and_every_time() {
    let live = quick(Stage::of(3))
        .cluster("balance: round_robin")
        .cluster("outlier_detection: {base_ejection_time: 500ms, jitter: 0}")
        .start();
    for round in 1..=3 {
        live.replicas[0].set(Mood::status(500));
        let before = live.replicas[0].count();
        let load = Pace::gets(live.web, 60);
        wait::until_true("one more ejection", || live.changes(0).iter().filter(|to| *to == "ejected").count() >= round);
        drop(load);
        let needed = live.replicas[0].count() - before;
        // Decided within a second: what came in the meantime is at most that second's share.
        assert!((5..=5 + 20).contains(&needed), "round {round}: {needed}\n{}", live.journal());
        live.replicas[0].set(Mood::Well);
        let load = Pace::gets(live.web, 60);
        live.is_now(0, "healthy");
        drop(load);
    }
}

#[test]
fn e5_one_that_is_out_gets_nothing_more() {
    let live = quick(Stage::of(6)).cluster("outlier_detection: {base_ejection_time: 30s}").start();
    let load = Pace::gets(live.web, RATE);
    load.more(100);
    // Together, as when a rack goes: two of six are the limit of 34 %.
    live.replicas[0].set(Mood::ResetBeforeAnswer);
    live.replicas[1].set(Mood::ResetBeforeAnswer);
    let since = Instant::now();
    live.becomes(0, "ejected", since);
    live.becomes(1, "ejected", since);
    // What was picked before the snapshot was swapped may still arrive.
    load.more(20);
    let before = [live.replicas[0].begun(), live.replicas[1].begun()];
    load.more(2 * RATE as usize);
    let after = [live.replicas[0].begun(), live.replicas[1].begun()];
    assert_eq!(before, after, "{}", live.journal());
    let report = load.finish();
    figure("two of six reset", &report, None);
    live.nobody_ejected_but(&[0, 1]);
}

#[test]
fn e6_one_error_in_a_hundred_takes_nobody_out() {
    let live = quick(Stage::of(3)).start();
    live.replicas[0].set(Mood::Status { code: 500, percent: 2, retry_after: None });
    let load = Pace::gets(live.web, 300);
    load.more(1500);
    let report = load.finish();
    assert!(!report.failed().is_empty(), "{report}");
    live.nobody_ejected_but(&[]);
}

#[test]
fn e7_a_rule_is_enforced_unless_it_says_observe() {
    let live = quick(Stage::of(3)).cluster("outlier_detection: {action: observe}").start();
    live.replicas[0].set(Mood::status(500));
    let load = Pace::gets(live.web, RATE);
    wait::until_true("what would have been done", || live.journal().contains("only watched"));
    load.more(RATE as usize);
    drop(load);
    live.nobody_ejected_but(&[]);
    let off = quick(Stage::of(3)).cluster("outlier_detection: off").start();
    off.replicas[0].set(Mood::status(500));
    let load = Pace::gets(off.web, RATE);
    load.more(3 * RATE as usize);
    drop(load);
    off.nobody_ejected_but(&[]);
}

#[test]
fn e7_a_share_of_failures_over_its_threshold_takes_it_out() {
    // Never five in a row: only the windows can tell.
    let live = quick(Stage::of(3)).cluster("outlier_detection: {consecutive_5xx: off}").start();
    let load = Pace::gets(live.web, RATE);
    load.more(50);
    let since = Instant::now();
    live.replicas[0].set(Mood::Status { code: 500, percent: 75, retry_after: None });
    let ejected = live.becomes(0, "ejected", since);
    let report = load.finish();
    figure("one of three fails 75 %", &report, Some(ejected));
    assert!(ejected < SOON, "{ejected:?}");
    live.nobody_ejected_but(&[0]);
}

#[test]
fn e8_when_all_are_bad_somebody_is_still_asked() {
    let live =
        quick(Stage::of(3)).cluster("outlier_detection: {base_ejection_time: 10s, max_ejection_percent: 100}").start();
    let load = Pace::gets(live.web, RATE);
    load.more(50);
    for replica in &live.replicas {
        replica.set(Mood::status(500));
    }
    wait::until_true("ejections", || (0..3).any(|nth| live.changes(nth).contains(&"ejected".to_owned())));
    load.more(RATE as usize);
    for replica in &live.replicas {
        replica.set(Mood::Well);
    }
    let well = load.elapsed();
    load.more(RATE as usize);
    let report = load.finish();
    // The last is never taken out: nobody had to wait for an ejection's end.
    let after = report.between(well + Duration::from_millis(500), Duration::MAX);
    after.assert_no_error();
    assert!(!report.kinds().keys().any(|kind| kind.contains("all_ejected")), "{report}");
}

#[test]
fn e7_a_rule_that_can_never_fire_is_told_before_it_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("weir.yaml");
    std::fs::write(
        &file,
        "listeners: [{name: web, bind: '127.0.0.1:0', cluster: shop}]\nclusters:\n  - name: shop\n    endpoints: ['127.0.0.1:1']\n    \
         outlier_detection: {consecutive_5xx: 7}\n",
    )
    .unwrap();
    let output =
        std::process::Command::new(weir_integration_tests::weir::binary()).arg("check").arg(&file).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // The only endpoint is never taken out.
    assert!(output.status.success() && said.contains("warning"), "{said}");
}

#[test]
fn e9_what_is_told_of_a_rule_is_what_is_configured_and_done() {
    let live = quick(Stage::of(3))
        .cluster("balance: round_robin")
        .cluster("outlier_detection: {consecutive_5xx: 3, base_ejection_time: 7s, jitter: 0}")
        .start();
    live.replicas[0].set(Mood::status(500));
    let load = Pace::gets(live.web, 30);
    live.is_now(0, "ejected");
    drop(load);
    let journal = live.journal();
    let line = journal.lines().find(|line| line.contains("to ejected")).unwrap();
    assert!(line.contains("the rule: 3 failures in a row") && line.contains("out for 7.0s"), "{line}");
    assert!((3..=3 + 10).contains(&live.replicas[0].count()), "{}", live.replicas[0].count());
}

#[test]
fn e10_one_failure_takes_nobody_out() {
    let live = quick(Stage::of(2)).cluster("balance: round_robin").start();
    live.replicas[0].set(Mood::status(500));
    for _ in 0..4 {
        let _ = RawClient::once(live.web, &get("/")).unwrap();
    }
    live.replicas[0].set(Mood::Well);
    for _ in 0..20 {
        assert_eq!(RawClient::once(live.web, &get("/")).unwrap().status, 200);
    }
    live.nobody_ejected_but(&[]);
}

#[test]
fn e11_probation_lets_one_request_through_at_a_time() {
    let live = quick(Stage::of(3)).cluster("outlier_detection: {base_ejection_time: 1s, jitter: 0}").start();
    let load = Pace::gets(live.web, 300);
    load.more(50);
    let since = Instant::now();
    live.replicas[0].set(Mood::HangAfterRequest);
    live.becomes(0, "ejected", since);
    // All that was sent before has ended when it comes on probation; and it still hangs.
    wait::until_true("nothing under way at it", || live.replicas[0].under_way().now() == 0);
    let begun = live.replicas[0].begun();
    live.is_now(0, "probation");
    wait::until_true("its second ejection", || live.changes(0).iter().filter(|to| *to == "ejected").count() >= 2);
    let tried = live.replicas[0].begun() - begun;
    let report = load.finish();
    assert_eq!(tried, 1, "one request found out that it still hangs\n{}", live.journal());
    figure("one of three hangs, comes on probation, hangs", &report, None);
}

#[test]
fn reduce_takes_weight_and_not_the_endpoint() {
    let live = quick(Stage::of(4)).cluster("outlier_detection: {action: reduce, base_ejection_time: 2s}").start();
    let load = Pace::gets(live.web, RATE);
    load.more(50);
    live.replicas[0].set(Mood::status(500));
    wait::until_true("word of a reduced weight", || live.journal().contains("of its weight"));
    load.more(50);
    let begun = load.elapsed();
    load.more(3 * RATE as usize);
    let report = load.finish().between(begun, Duration::MAX);
    live.nobody_ejected_but(&[]);
    let share = report.failed().len() as f64 / report.total() as f64;
    assert!(share > 0.0 && share < 0.2, "half of its quarter at the most: {report}");
}
