//! Who gets which request: by hash, by cookie, by priority, by load; and in panic.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_integration_tests::client::RawClient;
use weir_integration_tests::message::Response;
use weir_integration_tests::pace::Pace;
use weir_integration_tests::replica::Mood;
use weir_integration_tests::wait;

use crate::stage::{Live, Stage};

fn ask(live: &Live, target: &str, fields: &str) -> Response {
    RawClient::once(live.web, &format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
        .unwrap_or_else(|broken| panic!("{broken}"))
}

/// Who answers each of `users`.
fn homes(live: &Live, users: usize, field: impl Fn(usize) -> (String, String)) -> BTreeMap<usize, String> {
    let home = |user| {
        let (target, fields) = field(user);
        let answer = ask(live, &target, &fields);
        assert_eq!(answer.status, 200, "{:?}", answer.reason());
        (user, answer.text())
    };
    (0..users).map(home).collect()
}

const USERS: usize = 60;

#[test]
fn a_user_stays_at_one_endpoint_and_moves_only_when_it_goes() {
    let by_header = |user| ("/".to_owned(), format!("X-User-Id: user-{user}\r\n"));
    for policy in ["maglev", "ring_hash"] {
        let live = Stage::of(5)
            .cluster(&format!("balance: {policy}"))
            .cluster("hash: {key: [{header: x-user-id}], bounded_load: off}")
            .cluster("outlier_detection: {base_ejection_time: 30s}")
            .start();
        let before = homes(&live, USERS, by_header);
        assert_eq!(homes(&live, USERS, by_header), before, "{policy}: the same again");
        assert!(before.values().collect::<BTreeSet<_>>().len() >= 4, "{policy}: {before:?}");
        live.replicas[1].set(Mood::ResetBeforeAnswer);
        let load = Pace::start(live.web, 100, |nth| {
            format!("GET /{nth} HTTP/1.1\r\nHost: a\r\nX-User-Id: user-{}\r\n\r\n", nth % USERS as u64).into_bytes()
        });
        live.is_now(1, "ejected");
        drop(load);
        let after = homes(&live, USERS, by_header);
        let moved: Vec<usize> = (0..USERS).filter(|user| before[user] != after[user]).collect();
        let of_the_lost: Vec<usize> = (0..USERS).filter(|user| before[user] == "r2").collect();
        assert!(of_the_lost.iter().all(|user| moved.contains(user)), "{policy}: all of them moved");
        // Maglev moves a few more than it must.
        let others = moved.len() - of_the_lost.len();
        assert!(others <= USERS / 8, "{policy}: {others} moved without need");
    }
}

#[test]
fn the_hash_may_be_of_a_cookie_or_of_the_query() {
    let live = Stage::of(5)
        .cluster("balance: maglev")
        .cluster("hash: {key: [{cookie: uid}, {query: u}], bounded_load: off}")
        .start();
    let by_cookie = |user| ("/?u=x".to_owned(), format!("Cookie: a=b; uid=user-{user}\r\n"));
    let by_query = |user| (format!("/?a=b&u=user-{user}"), String::new());
    let homes_by_cookie = homes(&live, USERS, by_cookie);
    assert_eq!(homes_by_cookie, homes(&live, USERS, by_cookie));
    let homes_by_query = homes(&live, USERS, by_query);
    assert_eq!(homes_by_query, homes(&live, USERS, by_query));
    for homes in [homes_by_cookie, homes_by_query] {
        assert!(homes.values().collect::<BTreeSet<_>>().len() >= 4, "{homes:?}");
    }
}

#[test]
fn a_cookie_holds_a_session_where_it_began() {
    let live = Stage::of(4)
        .cluster("sticky: {cookie: weir-sticky, ttl: 1h, path: /}")
        .cluster("outlier_detection: {base_ejection_time: 30s}")
        .start();
    let first = ask(&live, "/", "");
    let cookie = first.fields.get("set-cookie").expect("a cookie with the first answer").to_owned();
    assert!(
        cookie.starts_with("weir-sticky=") && cookie.contains("Path=/") && cookie.contains("Max-Age=3600"),
        "{cookie}"
    );
    assert!(!cookie.contains(&live.addresses[0]), "no address is shown: {cookie}");
    let pair = cookie.split(';').next().unwrap().to_owned();
    for _ in 0..20 {
        let again = ask(&live, "/", &format!("Cookie: {pair}\r\n"));
        assert_eq!(again.text(), first.text());
        assert!(again.fields.get("set-cookie").is_none(), "it has one");
    }
    // Without it sessions begin everywhere.
    let others: BTreeSet<String> = (0..40).map(|_| ask(&live, "/", "").text()).collect();
    assert_eq!(others.len(), 4, "{others:?}");
    // When its endpoint goes, it moves, and stays there.
    let home = live.replicas.iter().position(|replica| replica.name() == first.text()).unwrap();
    live.replicas[home].set(Mood::ResetBeforeAnswer);
    let moved = ask(&live, "/", &format!("Cookie: {pair}\r\n"));
    assert_eq!(moved.status, 200, "{:?}", moved.reason());
    assert_ne!(moved.text(), first.text());
    let cookie = moved.fields.get("set-cookie").expect("a new cookie").split(';').next().unwrap().to_owned();
    for _ in 0..10 {
        assert_eq!(ask(&live, "/", &format!("Cookie: {cookie}\r\n")).text(), moved.text());
    }
}

#[test]
fn a_hash_does_not_bury_its_favourite() {
    // All users hash alike; at most 1.25 times the average may be under way at one.
    let live = Stage::of(4)
        .cluster("balance: maglev")
        .cluster("hash: {key: [{header: x-user-id}], bounded_load: 125}")
        .start();
    for replica in &live.replicas {
        replica.set(Mood::Slow(Duration::from_millis(100)));
    }
    let load = Pace::start(live.web, 200, |nth| {
        format!("GET /{nth} HTTP/1.1\r\nHost: a\r\nX-User-Id: everybody\r\n\r\n").into_bytes()
    });
    load.more(400);
    let report = load.finish();
    report.assert_no_error();
    let most = ["r1", "r2", "r3", "r4"].map(|name| report.share(name)).into_iter().fold(0.0, f64::max);
    assert!(most < 0.45, "{:?}", report.by());
}

#[test]
fn ewma_learns_who_is_slow() {
    let live = Stage::of(4).cluster("balance: ewma").start();
    live.replicas[0].set(Mood::Slow(Duration::from_millis(120)));
    let load = Pace::gets(live.web, 200);
    load.more(600);
    let report = load.finish();
    report.assert_no_error();
    assert!(report.share("r1") < 0.15, "{:?}", report.by());
}

/// Waits until the word for each endpoint is this.
fn words(live: &Live, expected: &[&str]) {
    wait::until_true(&format!("{expected:?}"), || (0..expected.len()).all(|nth| live.word(nth) == expected[nth]));
}

const CHECKS: &str = "health_checks: [{interval: 100ms, fast_interval: 50ms, down_interval: 100ms, http_health_check: {path: /healthz}}]";

#[test]
fn the_second_priority_serves_when_the_first_cannot() {
    let replicas = Stage::of(4);
    // The last two come second; the list says so endpoint by endpoint.
    let live = replicas
        .priorities(&[0, 0, 1, 1])
        .cluster(CHECKS)
        .cluster("zone_aware: off")
        .cluster("slow_start: off")
        .start();
    words(&live, &["healthy"; 4]);
    let share_of_second = || {
        let load = Pace::gets(live.web, 200);
        load.more(500);
        let report = load.finish();
        report.assert_no_error();
        report.share("r3") + report.share("r4")
    };
    assert_eq!(share_of_second(), 0.0);
    // One of two is 70 % of what is needed, by the factor 1.4.
    live.replicas[0].probes_pass(false);
    words(&live, &["unhealthy", "healthy", "healthy", "healthy"]);
    let share = share_of_second();
    assert!((share - 0.3).abs() < 0.08, "{share}");
    live.replicas[1].probes_pass(false);
    words(&live, &["unhealthy", "unhealthy", "healthy", "healthy"]);
    assert_eq!(share_of_second(), 1.0);
}

#[test]
fn panic_is_as_it_is_wanted_and_is_shown() {
    for (mode, expected) in [("off", &[1][..]), ("all_hosts", &[4]), ("least_bad", &[2, 3])] {
        let live = Stage::of(4).cluster(CHECKS).cluster(&format!("panic: {mode}")).cluster("slow_start: off").start();
        words(&live, &["healthy"; 4]);
        for nth in 1..4 {
            live.replicas[nth].probes_pass(false);
        }
        words(&live, &["healthy", "unhealthy", "unhealthy", "unhealthy"]);
        let load = Pace::gets(live.web, 200);
        load.more(300);
        let report = load.finish();
        report.assert_no_error();
        assert!(expected.contains(&report.by().len()), "{mode}: {:?}", report.by());
        let (told, shown) = (live.journal(), live.cluster());
        assert_eq!(told.contains("is in panic"), mode != "off", "{mode}: {told}");
        assert_eq!(shown["panic"].is_null(), mode == "off", "{mode}: {shown}");
    }
}

#[test]
fn x3_each_way_to_have_nobody_has_a_word_of_its_own() {
    let live = Stage::of(2).cluster(CHECKS).cluster("panic: off").start();
    words(&live, &["healthy"; 2]);
    for replica in &live.replicas {
        replica.probes_pass(false);
    }
    words(&live, &["unhealthy"; 2]);
    assert_eq!(ask(&live, "/", "").reason(), Some("no_healthy_endpoint"));
    let live = Stage::of(2).start();
    for address in &live.addresses {
        live.says(&["drain", &format!("shop/{address}"), "--force"]);
    }
    words(&live, &["draining"; 2]);
    assert_eq!(ask(&live, "/", "").reason(), Some("all_draining"));
}
