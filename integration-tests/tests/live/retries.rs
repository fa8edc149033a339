//! What is asked again, of whom, how often, how soon; and what never is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::load::{Load, Plan};
use weir_integration_tests::message::Response;
use weir_integration_tests::pace::{Pace, numbered};
use weir_integration_tests::replica::Mood;
use weir_integration_tests::{place, wait};

use crate::stage::{Live, Stage, figure};

/// Nobody is taken out: these tests are about single requests.
fn without_ejection(count: usize) -> Stage {
    Stage::of(count).cluster("outlier_detection: off").cluster("balance: round_robin")
}

fn ask(live: &Live, request: &[u8]) -> Response {
    let text = String::from_utf8_lossy(request).into_owned();
    let mut client = RawClient::connect(live.web);
    client.send(request);
    client.response_to(&text).unwrap_or_else(|broken| panic!("{broken}"))
}

/// How often each id was executed, over all replicas.
fn times(live: &Live) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for id in live.executed() {
        *times.entry(id).or_default() += 1;
    }
    times
}

#[test]
fn a_get_that_fails_at_one_is_answered_by_another() {
    for mood in
        [Mood::ResetOnAccept, Mood::ResetOnHead, Mood::ResetBeforeAnswer, Mood::HangAfterAccept, Mood::HangAfterRequest]
    {
        let live = without_ejection(2).route("retry: {attempts: 3, per_try_timeout: 300ms}").start();
        live.replicas[0].set(mood);
        for nth in 0..6 {
            let answer = ask(&live, &numbered("GET", nth, "", b""));
            assert_eq!((answer.status, answer.text().as_str()), (200, "r2"), "{mood:?}");
        }
    }
}

#[test]
fn a_post_is_never_executed_twice() {
    for mood in [
        Mood::ResetOnHead,
        Mood::ResetBeforeAnswer,
        Mood::HangAfterRequest,
        Mood::HangAfterAccept,
        Mood::Closing,
        Mood::ResetMidAnswer,
    ] {
        let live = without_ejection(3)
            .route("timeout: 2s")
            .route("retry: {attempts: 3, per_try_timeout: 250ms, on: [connect-failure, reset, timeout, 5xx]}")
            .start();
        live.replicas[0].set(mood);
        let load = Pace::start(live.web, 60, |nth| numbered("POST", nth, "", b"one coffee"));
        load.more(120);
        let report = load.finish();
        let twice: Vec<_> = times(&live).into_iter().filter(|(_, times)| *times > 1).collect();
        assert!(twice.is_empty(), "{mood:?}: {twice:?}");
        // What was answered with 200 was executed.
        let executed = times(&live);
        for shot in report.shots.iter().filter(|shot| shot.is_ok()) {
            assert_eq!(executed.get(&shot.nth.to_string()), Some(&1), "{mood:?}: {shot:?}");
        }
        figure(&format!("POST, one of three: {mood:?}"), &report, None);
    }
}

#[test]
fn a_post_of_which_nothing_was_sent_is_asked_of_another() {
    let mut live = without_ejection(3).start();
    live.replicas[0].kill();
    // A third of thirty is what the retry budget always gives.
    for nth in 0..30 {
        let answer = ask(&live, &numbered("POST", nth, "", b"one coffee"));
        assert_eq!(answer.status, 200, "{:?}", answer.reason());
    }
    assert!(times(&live).values().all(|times| *times == 1));
}

#[test]
fn a_post_with_an_idempotency_key_is_asked_again_with_the_same_key() {
    let live = without_ejection(2).route("retry: {attempts: 3, per_try_timeout: 300ms}").start();
    for mood in [Mood::ResetBeforeAnswer, Mood::HangAfterRequest] {
        live.replicas[0].set(mood);
        for nth in 0..4 {
            let answer = ask(&live, &numbered("POST", nth, "Idempotency-Key: k-1\r\n", b"one coffee"));
            assert_eq!((answer.status, answer.text().as_str()), (200, "r2"), "{mood:?}");
        }
    }
    let all = live.replicas.iter().flat_map(|replica| replica.executed());
    assert!(
        all.into_iter()
            .all(|executed| executed.fields.get("idempotency-key") == Some("k-1") && executed.body == b"one coffee")
    );
}

#[test]
fn a_put_that_fits_the_buffer_is_sent_again_byte_for_byte() {
    let live = without_ejection(2).start();
    live.replicas[0].set(Mood::ResetBeforeAnswer);
    let body: Vec<u8> = (0..60 * 1024u32).map(|n| (n % 251) as u8).collect();
    let chunked = {
        let mut request = b"PUT /chunked HTTP/1.1\r\nHost: a\r\nX-Id: c\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for part in body.chunks(7000) {
            request.extend(format!("{:x}\r\n", part.len()).bytes());
            request.extend(part);
            request.extend(b"\r\n");
        }
        request.extend(b"0\r\n\r\n");
        request
    };
    for request in [numbered("PUT", 1, "", &body), numbered("PUT", 2, "", &body), chunked.clone(), chunked] {
        let answer = ask(&live, &request);
        assert_eq!((answer.status, answer.text().as_str()), (200, "r2"), "{:?}", answer.reason());
    }
    assert!(live.replicas[0].count() >= 1, "the first one had it");
    for executed in live.replicas.iter().flat_map(|replica| replica.executed()) {
        assert!(executed.body == body, "{} bytes of {}", executed.body.len(), body.len());
    }
}

#[test]
fn a_put_that_does_not_fit_the_buffer_is_not_sent_again() {
    let live = without_ejection(2).start();
    live.replicas[0].set(Mood::ResetBeforeAnswer);
    live.replicas[1].set(Mood::ResetBeforeAnswer);
    let body = vec![b'x'; 200 * 1024];
    for nth in 0..4 {
        let answer = ask(&live, &numbered("PUT", nth, "", &body));
        assert_eq!((answer.status, answer.reason()), (502, Some("upstream_reset")));
    }
    assert!(times(&live).values().all(|times| *times == 1), "{:?}", times(&live));
}

#[test]
fn a_listed_status_is_asked_of_another_and_one_that_is_not_is_passed_on() {
    let live = without_ejection(3).route("retry: {attempts: 3, on: [503]}").start();
    live.replicas[0].set(Mood::status(503));
    live.replicas[1].set(Mood::status(500));
    let mut seen = BTreeMap::new();
    for nth in 0..12 {
        let answer = ask(&live, &numbered("GET", nth, "", b""));
        *seen.entry(answer.status).or_insert(0) += 1;
        assert_ne!(answer.status, 503, "another was there to be asked");
    }
    assert!(seen[&200] > 0 && seen[&500] > 0, "{seen:?}");
    // Never the same endpoint twice for one request.
    for replica in &live.replicas {
        let mut ids: Vec<String> = replica.executed().into_iter().map(|executed| executed.id).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all, "{}", replica.name());
    }
}

#[test]
fn when_all_answer_a_listed_status_the_client_gets_the_last_answer() {
    let live = without_ejection(3).route("retry: {attempts: 3, on: [503], backoff: {base: 1ms, max: 2ms}}").start();
    for replica in &live.replicas {
        replica.set(Mood::status(503));
    }
    let answer = ask(&live, &numbered("GET", 1, "", b""));
    assert_eq!((answer.status, answer.reason()), (503, None), "the endpoint's own answer");
    assert_eq!(times(&live)["1"], 3, "asked of all three");
}

#[test]
fn a_retry_after_is_honoured() {
    let live = without_ejection(2).route("timeout: 10s").route("retry: {attempts: 2, on: [503]}").start();
    for replica in &live.replicas {
        replica.set(Mood::Status { code: 503, percent: 50, retry_after: Some(1) });
    }
    for nth in 0..40 {
        let begun = Instant::now();
        let answer = ask(&live, &numbered("GET", nth, "", b""));
        if times(&live)[&nth.to_string()] == 2 {
            let took = begun.elapsed();
            assert!(took >= Duration::from_millis(990) && took < Duration::from_secs(5), "{took:?}");
            return;
        }
        assert!([200, 503].contains(&answer.status));
    }
    panic!("nobody was asked twice");
}

#[test]
fn x5_a_storm_cannot_happen() {
    // Everything fails, in ways that all may be repeated.
    for (what, mood) in [("503", Mood::status(503)), ("resets", Mood::ResetBeforeAnswer)] {
        let live = without_ejection(6)
            .route("timeout: 2s")
            .route("retry: {attempts: 5, on: [connect-failure, reset, timeout, 5xx]}")
            .start();
        for replica in &live.replicas {
            replica.set(mood);
        }
        let load = Pace::gets(live.web, 100);
        load.more(400);
        let report = load.finish();
        let amplification = live.begun() as f64 / report.total() as f64;
        println!("figure | everything fails ({what}): load on endpoints / client's | {amplification:.3}");
        assert!(report.total() >= 300);
        assert!(amplification <= 1.2, "{amplification}: {} of {}", live.begun(), report.total());
        assert!(report.shots.iter().all(|shot| !shot.is_ok()));
        assert!(amplification > 1.0, "some were repeated");
        let traffic = &live.cluster()["traffic"];
        assert!(traffic["denied"]["budget"].as_u64().unwrap_or_default() > 0, "why no more is told: {traffic}");
    }
}

#[test]
fn x5_a_storm_of_timeouts_cannot_happen() {
    let live = without_ejection(6).route("timeout: 2s").route("retry: {attempts: 5, per_try_timeout: 200ms}").start();
    for replica in &live.replicas {
        replica.set(Mood::HangAfterRequest);
    }
    let load = Pace::gets(live.web, 80);
    load.more(320);
    let report = load.finish();
    let amplification = live.begun() as f64 / report.total() as f64;
    println!("figure | everything hangs: load on endpoints / client's | {amplification:.3}");
    assert!(amplification <= 1.2, "{amplification}");
}

#[test]
fn all_attempts_share_one_deadline_and_are_told_of_it() {
    let live = without_ejection(6)
        .listener("headers: {deadline: true}")
        .route("timeout: 1s")
        .route("retry: {attempts: 6, per_try_timeout: 300ms, backoff: {base: 1ms, max: 2ms}}")
        .start();
    for replica in &live.replicas {
        replica.set(Mood::HangAfterRequest);
    }
    let begun = Instant::now();
    let answer = ask(&live, &numbered("GET", 1, "", b""));
    let took = begun.elapsed();
    assert_eq!(answer.status, 504, "{:?}", answer.reason());
    assert!(took >= Duration::from_millis(800) && took < Duration::from_millis(1600), "{took:?}");
    let mut told: Vec<(Instant, u64)> = live
        .replicas
        .iter()
        .flat_map(|replica| replica.executed())
        .map(|executed| (executed.at, executed.fields.get("x-request-deadline-ms").unwrap().parse().unwrap()))
        .collect();
    told.sort();
    let left: Vec<u64> = told.iter().map(|(_, left)| *left).collect();
    assert!(left.len() >= 2 && left.len() <= 4, "{left:?}");
    assert!(left.iter().all(|left| *left <= 1000), "{left:?}");
    assert!(left.is_sorted_by(|a, b| a >= b), "less is left each time: {left:?}");
}

#[test]
fn a_deadline_of_the_client_is_not_believed_and_not_passed_twice() {
    let live = without_ejection(1).listener("headers: {deadline: true}").route("timeout: 1s").start();
    let answer = ask(&live, &numbered("GET", 1, "X-Request-Deadline-Ms: 999999\r\n", b""));
    assert_eq!(answer.status, 200);
    let executed = live.replicas[0].executed();
    let told: u64 = executed[0].fields.get("x-request-deadline-ms").unwrap().parse().unwrap();
    assert!(told <= 1000, "{told}");
}

#[test]
fn retries_off_means_off_and_a_number_means_attempts() {
    for (retry, expected) in [("off", 1), ("1", 1), ("2", 2)] {
        let live = without_ejection(4).route("timeout: 2s").route(&format!("retry: {retry}")).start();
        for replica in &live.replicas {
            replica.set(Mood::ResetBeforeAnswer);
        }
        let answer = ask(&live, &numbered("GET", 7, "", b""));
        assert_eq!((answer.status, answer.reason()), (502, Some("upstream_reset")), "{retry}");
        assert_eq!(times(&live)["7"], expected, "retry: {retry}");
    }
}

#[test]
fn nobody_is_asked_twice_when_all_refuse() {
    let addresses: Vec<_> = (0..3).map(|_| place::refusing()).collect();
    let stage = addresses.iter().fold(Stage::default(), |stage, address| stage.endpoint(address));
    let live =
        stage.cluster("outlier_detection: off").route("retry: {attempts: 9, backoff: {base: 1ms, max: 1ms}}").start();
    let answer = ask(&live, &numbered("GET", 1, "", b""));
    assert_eq!((answer.status, answer.reason()), (503, Some("connect_refused")));
    let attempts = live.weir.metric("weir_upstream_requests_total", &[]);
    wait::until_true("attempts in the metrics", || live.weir.metric("weir_upstream_requests_total", &[]) >= 3.0);
    assert!(attempts <= 9.0, "{attempts}");
}

#[test]
fn less_time_than_an_answer_takes_says_nothing_of_an_endpoint() {
    let live = Stage::of(3)
        .listener("trusted_proxies: [127.0.0.0/8]")
        .listener("headers: {deadline: true}")
        .route("timeout: 5s")
        .cluster("pool: {max_idle: 0}")
        .start();
    for replica in &live.replicas {
        replica.set(Mood::Slow(Duration::from_millis(50)));
    }
    for (nth, left) in (0..60).zip([0, 1, 5].into_iter().cycle()) {
        let answer = ask(&live, &numbered("GET", nth, &format!("X-Request-Deadline-Ms: {left}\r\n"), b""));
        assert_eq!(answer.status, 504);
    }
    assert!(live.weir.events("endpoint_transition").is_empty(), "nobody is taken out for it");
    assert!(live.weir.events("ejection").is_empty(), "nor nearly");
    assert_eq!(ask(&live, &numbered("GET", 99, "", b"")).status, 200);
}

#[test]
fn who_waits_to_be_told_to_go_on_is_told_by_another() {
    let live = without_ejection(2).route("timeout: 10s").route("retry: {per_try_timeout: 300ms}").start();
    live.replicas[0].set(Mood::HangAfterAccept);
    for nth in 0..4 {
        let begun = Instant::now();
        let mut client = RawClient::connect(live.web);
        client.send(format!("PUT /{nth} HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
        // Or the answer itself, should that be first: then there was nothing to wait for.
        if client.head().unwrap().start.contains(" 100 ") {
            client.send("hi");
            assert_eq!(client.response().unwrap().status, 200);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn more_seconds_than_a_number_holds_are_more_than_are_left() {
    let live = without_ejection(2).route("retry: {on: [503]}").start();
    live.replicas[0].set(Mood::Status { code: 503, percent: 100, retry_after: Some(u64::MAX) });
    let statuses: Vec<u16> = (0..8).map(|nth| ask(&live, &numbered("GET", nth, "", b"")).status).collect();
    assert!(statuses.contains(&503), "it said when to come again, and it is not now: {statuses:?}");
}

#[test]
fn what_one_endpoint_loses_all_at_once_is_asked_of_others() {
    let live = Stage::of(6).start();
    for replica in &live.replicas {
        replica.set(Mood::Slow(Duration::from_millis(5)));
    }
    let plan = Plan { to: live.web, connections: 8, request: get("/"), pause: Duration::ZERO };
    let load = Load::start(&plan);
    load.more_answers(1000);
    live.replicas[0].set(Mood::ResetBeforeAnswer);
    live.becomes(0, "ejected", Instant::now());
    load.more_answers(500);
    let tally = load.finish();
    assert_eq!(tally.failed(), 0, "{tally:?}");
}
