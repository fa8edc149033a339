//! Rehearsals by command: they do what they say, end by themselves, and report.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::pace::Pace;
use weir_integration_tests::wait;
use weir_integration_tests::weir::binary;

use crate::stage::{Live, Stage, figure};

#[test]
fn a_zone_that_is_gone_for_a_while_comes_back_by_itself_and_there_is_a_report() {
    let live = Stage::zones(&[("az-a", 2), ("az-b", 2), ("az-c", 2)])
        .cluster("outlier_detection: {base_ejection_time: 1s}")
        .cluster("slow_start: off")
        .cluster("connect: {timeout: 300ms}")
        .route("timeout: 1s")
        .start();
    let load = Pace::gets(live.web, 150);
    load.more(300);
    let begun = load.elapsed();
    // It is followed to its end, and ends with its report.
    let told = live.says(&["drill", "zone", "az-b", "--for", "3s", "--after", "4s"]);
    let ended = begun + Duration::from_secs(3);
    load.more(150);
    let report = load.finish();
    figure("drill: a zone of three is gone for 3 s", &report, None);
    println!("{told}");
    // What was under way at the begin may still be answered.
    let during = report.between(begun + Duration::from_millis(500), ended.saturating_sub(Duration::from_millis(200)));
    assert!(!during.by().keys().any(|name| name.starts_with("az-b")), "{:?}", during.by());
    let after = report.between(ended + Duration::from_secs(3), Duration::MAX);
    after.assert_no_error();
    assert!(after.by().keys().any(|name| name.starts_with("az-b")), "{:?}\n{}", after.by(), live.journal());
    // Two of six at once: what the retry budget does not bear, and nothing more.
    assert!(report.failed().len() * 10 <= during.total(), "{report}");
    for word in ["before", "during", "after", "requests", "5xx", "p99"] {
        assert!(told.to_lowercase().contains(word), "{word} in\n{told}");
    }
    let journal = live.journal();
    assert!(journal.contains("drill"), "{journal}");
    live.nobody_ejected_but(&[2, 3]);
}

#[test]
fn latency_is_added_and_goes() {
    let live = Stage::of(2).start();
    let order =
        ["drill", "latency", "--cluster", "shop", "--delay", "400ms", "--for", "2s", "--after", "1s", "--detach"];
    live.says(&order);
    let begun = Instant::now();
    assert_eq!(RawClient::once(live.web, &get("/")).unwrap().status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(390), "{:?}", begun.elapsed());
    wait::until_true("it is quick again", || {
        let begun = Instant::now();
        RawClient::once(live.web, &get("/")).unwrap().status == 200 && begun.elapsed() < Duration::from_millis(200)
    });
}

#[test]
fn aborts_are_for_whom_they_are_meant_and_end_by_hand() {
    let live = Stage::of(2).start();
    let order = ["drill", "abort", "--route", "web", "--status", "503", "--header", "x-tester=yes", "--detach"];
    live.says(&order);
    let tester = "GET / HTTP/1.1\r\nHost: a\r\nX-Tester: yes\r\n\r\n";
    let answer = RawClient::once(live.web, tester).unwrap();
    assert_eq!((answer.status, answer.reason()), (503, Some("fault_injected")));
    assert_eq!(RawClient::once(live.web, &get("/")).unwrap().status, 200, "nobody else");
    let shown = live.says(&["drill", "list"]);
    assert!(shown.contains("status 503 instead of an answer"), "{shown}");
    let status = live.says(&["status"]);
    assert!(status.contains("status 503 instead of an answer"), "nobody can overlook it: {status}");
    live.says(&["drill", "end", "1"]);
    wait::until_true("its end", || RawClient::once(live.web, tester).unwrap().status == 200);
}

#[test]
fn half_of_the_requests_are_half_of_the_requests() {
    let live = Stage::of(2).start();
    live.says(&["drill", "abort", "--route", "web", "--status", "500", "--percent", "50", "--detach"]);
    let load = Pace::gets(live.web, 200);
    load.more(400);
    let report = load.finish();
    let share = report.failed().len() as f64 / report.total() as f64;
    assert!((share - 0.5).abs() < 0.12, "{report}");
}

#[test]
fn resets_at_an_endpoint_take_it_out_and_cost_no_get() {
    let live = Stage::of(6).start();
    let load = Pace::gets(live.web, 150);
    load.more(300);
    let since = Instant::now();
    live.says(&["drill", "reset", "--endpoint", &format!("shop/{}", live.addresses[1]), "--for", "10s", "--detach"]);
    let out = live.becomes(1, "ejected", since);
    load.more(100);
    let report = load.finish();
    figure("drill: an endpoint of six resets", &report, Some(out));
    report.assert_no_error();
    live.nobody_ejected_but(&[1]);
}

#[test]
fn a_drill_does_not_outlive_who_follows_it() {
    let live = Stage::of(2).start();
    let mut command = Command::new(binary());
    let command = command
        .args(["drill", "abort", "--route", "web", "--status", "503", "--for", "10m"])
        .env("WEIR_ADMIN_ADDR", live.weir.admin().to_string());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = || RawClient::once(live.web, &get("/")).unwrap().status;
    wait::until_true("its begin", || status() == 503);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    wait::until_true("its end", || status() == 200);
    child.wait().unwrap();
}

#[test]
fn a_drill_ends_though_nobody_says_so() {
    let live = Stage::of(2).start();
    live.says(&["drill", "unreachable", "--cluster", "shop", "--for", "1s", "--after", "1s", "--detach"]);
    let status = |live: &Live| RawClient::once(live.web, &get("/")).unwrap().status;
    assert!([503, 504].contains(&status(&live)));
    wait::until_true("its end", || status(&live) == 200);
}
