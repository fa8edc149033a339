//! Limits that hold exactly, and the breaker that gives a failing cluster a pause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::load::{Load, Plan, Tally};
use weir_integration_tests::message::Response;
use weir_integration_tests::pace::Pace;
use weir_integration_tests::replica::Mood;
use weir_integration_tests::wait;

use crate::stage::{Live, Stage, figure};

const CLIENTS: usize = 200;

/// Two hundred clients at once, until so many requests are answered.
fn crowd(live: &Live, answers: u64) -> Tally {
    let plan = Plan { to: live.web, connections: CLIENTS, request: get("/"), pause: Duration::ZERO };
    let load = Load::start(&plan);
    load.more_answers(answers);
    load.finish()
}

fn slow(stage: Stage, time: Duration) -> Live {
    let live = stage.cluster("outlier_detection: off").start();
    for replica in &live.replicas {
        replica.set(Mood::Slow(time));
    }
    live
}

#[test]
fn max_requests_is_exact_among_two_hundred_clients() {
    let live =
        slow(Stage::of(3).cluster("circuit_breaker: {max_requests: 7, queue_timeout: 20s}"), Duration::from_millis(5));
    let tally = crowd(&live, 3000);
    assert_eq!(tally.failed(), 0, "who waits is served: {tally:?}");
    assert_eq!(live.totals.under_way.peak(), 7, "all of it is used, and never more");
}

#[test]
fn max_requests_of_an_endpoint_is_exact() {
    let live = slow(
        Stage::of(3).cluster("circuit_breaker: {per_endpoint: {max_requests: 4}, queue_timeout: 20s}"),
        Duration::from_millis(5),
    );
    let tally = crowd(&live, 3000);
    assert_eq!(tally.failed(), 0, "{tally:?}");
    let peaks: Vec<usize> = live.replicas.iter().map(|replica| replica.under_way().peak()).collect();
    assert!(peaks.iter().all(|peak| *peak <= 4), "{peaks:?}");
    assert_eq!(live.totals.under_way.peak(), 12, "all of it is used");
}

#[test]
fn max_connections_is_exact_among_two_hundred_clients() {
    for (limits, each, all) in [("max_connections: 9", 9, 9), ("per_endpoint: {max_connections: 3}", 3, 9)] {
        let live = slow(
            Stage::of(3).cluster(&format!("circuit_breaker: {{{limits}, queue_timeout: 20s}}")),
            Duration::from_millis(5),
        );
        let tally = crowd(&live, 3000);
        assert_eq!(tally.failed(), 0, "{limits}: {tally:?}");
        let peaks: Vec<usize> = live.replicas.iter().map(|replica| replica.connections().peak()).collect();
        assert!(peaks.iter().all(|peak| *peak <= each), "{limits}: {peaks:?}");
        assert!(live.totals.connections.peak() <= all, "{limits}: {}", live.totals.connections.peak());
    }
}

#[test]
fn who_waits_too_long_is_told_when_to_come_again() {
    let live =
        slow(Stage::of(1).cluster("circuit_breaker: {max_requests: 1, queue_timeout: 300ms}"), Duration::from_secs(4));
    let mut first = RawClient::connect(live.web);
    first.send(get("/"));
    wait::until_true("the first at the endpoint", || live.replicas[0].under_way().now() == 1);
    let begun = Instant::now();
    let answer = RawClient::once(live.web, &get("/")).unwrap();
    let waited = begun.elapsed();
    assert_eq!((answer.status, answer.reason()), (503, Some("queue_timeout")));
    assert!(waited >= Duration::from_millis(280) && waited < Duration::from_secs(3), "{waited:?}");
    assert!(retry_after(&answer) >= 1, "{answer:?}");
    assert_eq!(first.response().unwrap().status, 200);
}

#[test]
fn more_than_may_wait_are_sent_away_at_once() {
    let live = slow(
        Stage::of(1).cluster("circuit_breaker: {max_requests: 1, max_pending_requests: 2, queue_timeout: 20s}"),
        Duration::from_secs(2),
    );
    let mut inside: Vec<RawClient> = Vec::new();
    for waiting in 0..3 {
        let mut client = RawClient::connect(live.web);
        client.send(get("/"));
        inside.push(client);
        if waiting == 0 {
            wait::until_true("the first at the endpoint", || live.replicas[0].under_way().now() == 1);
        }
    }
    wait::until_true("two that wait", || live.cluster()["waiting"] == 2);
    let begun = Instant::now();
    let answer = RawClient::once(live.web, &get("/")).unwrap();
    assert_eq!(answer.reason(), Some("queue_full"));
    assert!(retry_after(&answer) >= 1, "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    for mut client in inside {
        assert_eq!(client.response().unwrap().status, 200);
    }
}

#[test]
fn a_client_that_leaves_the_queue_takes_nobodys_place() {
    let live = slow(
        Stage::of(1).cluster("circuit_breaker: {max_requests: 1, queue_timeout: 20s}"),
        Duration::from_millis(700),
    );
    let mut first = RawClient::connect(live.web);
    first.send(get("/"));
    wait::until_true("the first at the endpoint", || live.replicas[0].under_way().now() == 1);
    let mut second = RawClient::connect(live.web);
    second.send(get("/"));
    drop(second);
    let third = RawClient::once(live.web, &get("/")).unwrap();
    assert_eq!((first.response().unwrap().status, third.status), (200, 200));
    assert_eq!(live.totals.under_way.peak(), 1);
}

fn retry_after(answer: &Response) -> u64 {
    let text = answer.fields.get("retry-after").unwrap_or_else(|| panic!("Retry-After in {answer:?}"));
    text.parse().unwrap()
}

#[test]
fn a_breaker_opens_tries_and_closes() {
    let live = Stage::of(3)
        .cluster("outlier_detection: off")
        .cluster("circuit_breaker: {failure_rate: {threshold: 50, window: 5s, minimum_requests: 20, open: 1s, max_open: 2s, trials: 1, successes: 3}}")
        .route("retry: off")
        .start();
    let load = Pace::gets(live.web, 100);
    load.more(50);
    for replica in &live.replicas {
        replica.set(Mood::status(500));
    }
    let opened = wait::until("an answer of the breaker", || {
        let report = load.so_far();
        report.shots.iter().find(|shot| shot.kind() == "503 breaker_open").map(|shot| shot.at)
    });
    // While it is open nothing reaches anybody.
    let begun = live.begun();
    let answer = RawClient::once(live.web, &get("/")).unwrap();
    if answer.reason() == Some("breaker_open") {
        assert!(retry_after(&answer) >= 1, "{answer:?}");
    }
    wait::until_true("a trial", || live.begun() > begun);
    for replica in &live.replicas {
        replica.set(Mood::Well);
    }
    wait::until_true("its end", || load.so_far().shots.iter().rev().take(20).filter(|shot| shot.is_ok()).count() == 20);
    let report = load.finish();
    figure("all fail, the breaker opens, all are well", &report, None);
    let open = report.between(opened, opened + Duration::from_millis(500));
    let let_through = open.shots.iter().filter(|shot| shot.kind() == "500").count();
    assert!(let_through <= 10, "{open}");
    let journal = live.journal();
    for word in ["open", "half", "closed"] {
        assert!(journal.to_lowercase().contains(word), "{word} in\n{journal}");
    }
}

#[test]
fn e11_a_half_open_breaker_lets_one_through_at_a_time() {
    let live = Stage::of(3)
        .cluster("outlier_detection: off")
        .cluster("circuit_breaker: {failure_rate: {threshold: 50, window: 5s, minimum_requests: 20, open: 1s, max_open: 2s}}")
        .route("timeout: 500ms")
        .route("retry: off")
        .start();
    let load = Pace::gets(live.web, 100);
    load.more(50);
    for replica in &live.replicas {
        replica.set(Mood::HangAfterRequest);
    }
    wait::until_true("an answer of the breaker", || load.so_far().kinds().contains_key("503 breaker_open"));
    wait::until_true("nothing under way", || live.totals.under_way.now() == 0);
    // From here on only trials: never two at once, however many ask.
    let begun = live.begun();
    let most = Arc::clone(&live.totals.under_way);
    let mut peak = 0;
    wait::until_true("three trials", || {
        peak = peak.max(most.now());
        live.begun() >= begun + 3
    });
    let report = load.finish();
    assert!(peak <= 1, "{peak} at once");
    figure("all hang behind a half-open breaker", &report, None);
}

#[test]
fn a_connection_that_idles_at_another_worker_is_in_nobodys_way() {
    for limits in ["max_connections: 2", "per_endpoint: {max_connections: 1}"] {
        let live = Stage::of(2).top("workers: 4").cluster(&format!("circuit_breaker: {{{limits}}}")).start();
        let begun = Instant::now();
        for _ in 0..60 {
            let answer = RawClient::once(live.web, &get("/")).unwrap();
            assert_eq!((answer.status, answer.reason()), (200, None), "{limits}");
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{limits}: nobody waited long: {:?}", begun.elapsed());
    }
}

#[test]
fn who_waits_for_a_connection_costs_nothing_and_is_told_when_to_come_again() {
    let live = slow(
        Stage::of(2).cluster(
            "circuit_breaker: {max_connections: 1, per_endpoint: {max_connections: 5}, queue_timeout: 1500ms}",
        ),
        Duration::from_secs(8),
    );
    let mut first = RawClient::connect(live.web);
    first.send(get("/"));
    wait::until_true("the first at an endpoint", || live.totals.under_way.now() == 1);
    let before = cpu_ticks(live.weir.pid());
    let answer = RawClient::once(live.web, &get("/")).unwrap();
    assert_eq!((answer.status, answer.reason()), (503, Some("queue_timeout")));
    assert!(retry_after(&answer) >= 1, "{answer:?}");
    // A hundred a second, usually.
    let spent = cpu_ticks(live.weir.pid()) - before;
    assert!(spent < 50, "{spent} ticks of 1.5 s of waiting");
}

/// User and system time a process has taken.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn one_with_all_its_connections_is_passed_over() {
    let live = Stage::of(3)
        .cluster("outlier_detection: off")
        .cluster("circuit_breaker: {per_endpoint: {max_connections: 1}, queue_timeout: 10s}")
        .route("retry: off")
        .start();
    live.replicas[0].set(Mood::Slow(Duration::from_secs(8)));
    let mut held = Vec::new();
    wait::until_true("a request at the slow one", || {
        let mut client = RawClient::connect(live.web);
        client.patience(Duration::from_millis(200));
        client.send(get("/"));
        let _ = client.response();
        held.push(client);
        live.replicas[0].under_way().now() == 1
    });
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = RawClient::once(live.web, &get("/")).unwrap();
        assert_eq!((answer.status, answer.reason()), (200, None), "after {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn the_wait_for_room_is_within_the_routes_time() {
    let live = slow(
        Stage::of(1).route("timeout: 1s").cluster("circuit_breaker: {max_requests: 1, queue_timeout: 20s}"),
        Duration::from_secs(8),
    );
    let mut first = RawClient::connect(live.web);
    first.send(get("/"));
    wait::until_true("the first at the endpoint", || live.replicas[0].under_way().now() == 1);
    let waiting: Vec<RawClient> = (0..3)
        .map(|_| {
            let mut client = RawClient::connect(live.web);
            client.send(get("/"));
            client
        })
        .collect();
    let begun = Instant::now();
    for mut client in waiting {
        assert!(client.response().unwrap().status >= 500);
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}
