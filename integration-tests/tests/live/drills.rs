//! Rehearsals by command: they do what they say, end by themselves, and report.

use std::time::{Duration, Instant};

use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::pace::Pace;
use weir_integration_tests::wait;

use crate::stage::{Live, Stage, figure};

/// A command of `weir` that must succeed; what it said.
fn weir(live: &Live, arguments: &[&str]) -> String {
    let output = live.weir.command(arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "weir {arguments:?}: {said}");
    said
}

/// Waits for the closing report in the journal.
fn report(live: &Live) -> String {
    wait::until("the closing report", || {
        let journal = live.journal();
        journal.lines().find(|line| line.contains("p99")).map(str::to_owned)
    })
}

#[test]
fn a_zone_that_is_gone_for_a_while_costs_no_get_and_comes_back_by_itself() {
    let live = Stage::zones(&[("az-a", 2), ("az-b", 2), ("az-c", 2)])
        .cluster("outlier_detection: {base_ejection_time: 1s}")
        .cluster("slow_start: off")
        .route("timeout: 1s")
        .start();
    let load = Pace::gets(live.web, 150);
    load.more(300);
    weir(&live, &["drill", "zone", "az-b", "--for", "3s"]);
    let begun = load.elapsed();
    let told = report(&live);
    let ended = load.elapsed();
    load.more(50);
    for nth in 2..4 {
        wait::until_true("its return", || ["healthy", "unknown"].contains(&live.word(nth).as_str()));
    }
    load.more(150);
    let report = load.finish();
    figure("drill: a zone of three is gone for 3 s", &report, None);
    report.assert_no_error();
    let during = report.between(begun + Duration::from_millis(100), ended.saturating_sub(Duration::from_millis(500)));
    assert!(!during.by().keys().any(|name| name.starts_with("az-b")), "{:?}", during.by());
    assert!(report.by().keys().any(|name| name.starts_with("az-b")));
    assert!(told.contains("requests") && told.contains("errors"), "{told}");
    live.nobody_ejected_but(&[2, 3]);
}

#[test]
fn latency_is_added_and_goes() {
    let live = Stage::of(2).start();
    weir(&live, &["drill", "latency", "--cluster", "shop", "--delay", "400ms", "--for", "2s"]);
    let begun = Instant::now();
    assert_eq!(RawClient::once(live.web, &get("/")).unwrap().status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(390), "{:?}", begun.elapsed());
    report(&live);
    wait::until_true("it is quick again", || {
        let begun = Instant::now();
        RawClient::once(live.web, &get("/")).unwrap().status == 200 && begun.elapsed() < Duration::from_millis(200)
    });
}

#[test]
fn aborts_are_answered_on_the_route_for_whom_they_are_meant() {
    let live = Stage::of(2).start();
    weir(&live, &["drill", "abort", "--route", "web", "--status", "503", "--header", "x-tester: yes", "--for", "60s"]);
    let tester = "GET / HTTP/1.1\r\nHost: a\r\nX-Tester: yes\r\n\r\n";
    let answer = RawClient::once(live.web, tester).unwrap();
    assert_eq!((answer.status, answer.reason()), (503, Some("fault_injected")));
    assert_eq!(RawClient::once(live.web, &get("/")).unwrap().status, 200, "nobody else");
    // It is shown, and can be ended by hand.
    let shown = weir(&live, &["status"]);
    assert!(shown.contains("drill") || shown.contains("abort"), "{shown}");
    weir(&live, &["drill", "stop"]);
    wait::until_true("its end", || RawClient::once(live.web, tester).unwrap().status == 200);
}

#[test]
fn half_of_the_requests_are_half_of_the_requests() {
    let live = Stage::of(2).start();
    weir(&live, &["drill", "abort", "--route", "web", "--status", "500", "--percent", "50", "--for", "60s"]);
    let load = Pace::gets(live.web, 200);
    load.more(400);
    let report = load.finish();
    let share = report.failed().len() as f64 / report.total() as f64;
    assert!((share - 0.5).abs() < 0.12, "{report}");
}

#[test]
fn a_drill_has_an_end_or_is_refused() {
    let live = Stage::of(2).start();
    let output = live.weir.command(&["drill", "zone", "az-b"]);
    let refused = !output.status.success();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(refused || said.contains("until"), "{said}");
}
