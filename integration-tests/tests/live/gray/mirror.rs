//! Copies: where they go, what is in them, and that nobody feels them.

use std::time::Duration;

use weir_integration_tests::client::RawClient;
use weir_integration_tests::pace::{Pace, Report, numbered};
use weir_integration_tests::replica::{Executed, HEALTH, Mood};
use weir_integration_tests::wait;

use super::{Live, Shop, at, of_user};
use crate::stage::figure;

/// Half of the users are v2's; copies go to v3.
fn mirrored(keys: &str) -> String {
    at("50", &format!("mirror: {{cluster: v3, {keys}}}"))
}

/// The copies that v3 got so far.
fn copies(live: &Live) -> Vec<Executed> {
    live.shop.versions[2].executed()
}

/// The counts of copies under this name.
fn counted(live: &Live, name: &str) -> usize {
    live.weir.metric(name, &["release=\"orders\""]) as usize
}

/// Waits until there are so many copies; then no more come.
fn wait_copies(live: &Live, count: usize) -> Vec<Executed> {
    wait::until_true(&format!("{count} copies"), || copies(live).len() >= count);
    wait::until_true("the copies counted", || counted(live, "weir_release_copies_total") == count);
    let copies = copies(live);
    assert_eq!(copies.len(), count);
    copies
}

fn send(client: &mut RawClient, request: &[u8]) -> (u16, String) {
    client.send(request);
    let answer = client.response().unwrap();
    (answer.status, answer.text())
}

#[test]
fn a_copy_is_what_was_sent_and_says_what_it_is() {
    let live = Shop::new().start(&mirrored("percent: 100, unsafe_methods: true"));
    let mut client = live.connect();
    let body: Vec<u8> = (0..=255).cycle().take(60_000).collect();
    let fields = "X-User-Id: user-1\r\nX-Odd:  blanks  \r\nX-Twice: a\r\nX-Twice: b\r\n";
    let requests = [
        numbered("GET", 0, fields, b""),
        numbered("POST", 1, fields, &body),
        numbered("PUT", 2, fields, b""),
        numbered("DELETE", 3, fields, b"x"),
        [
            b"POST /4 HTTP/1.1\r\nHost: shop.example\r\nX-Id: 4\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(),
            b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
        ]
        .concat(),
    ];
    for request in &requests {
        let (status, version) = send(&mut client, request);
        assert!(status == 200 && version != "v3", "{status} {version}");
    }
    let copies = wait_copies(&live, requests.len());
    let executed: Vec<Executed> = live.shop.versions[..2].iter().flat_map(|version| version.executed()).collect();
    assert_eq!(executed.len(), requests.len());
    for original in &executed {
        let copy = copies.iter().find(|copy| copy.id == original.id).expect("a copy of each");
        assert_eq!((&copy.method, &copy.target), (&original.method, &original.target));
        assert!(copy.body == original.body, "{}: the body", copy.id);
        assert_eq!(copy.fields.get("x-shadow"), Some("1"));
        assert_eq!(original.fields.get("x-shadow"), None);
        for name in ["x-twice", "x-odd", "x-user-id", "x-request-id", "x-forwarded-for", "host"] {
            assert_eq!(copy.fields.all(name), original.fields.all(name), "{name}");
        }
    }
    assert_eq!(copies.iter().find(|copy| copy.id == "1").unwrap().body, body);
    assert_eq!(copies.iter().find(|copy| copy.id == "4").unwrap().body, b"hello world");
    assert_eq!(counted(&live, "weir_release_copies_dropped_total"), 0);
}

#[test]
fn a_share_of_the_safe_ones_is_copied() {
    let live = Shop::new().start(&mirrored("percent: 20"));
    let mut client = live.connect();
    for nth in 0..1_000 {
        assert_eq!(send(&mut client, &numbered("GET", nth, "", b"")).0, 200);
    }
    wait::until_true("a fifth of them", || copies(&live).len() > 140);
    for nth in 0..200 {
        assert_eq!(send(&mut client, &numbered("POST", nth, "", b"a sale")).0, 200);
    }
    let count = copies(&live).len();
    assert!((140..=260).contains(&count), "{count} of 1 000");
    assert!(copies(&live).iter().all(|copy| copy.method == "GET"), "nothing is sold twice");
    live.edit(&mirrored("percent: 0"));
    let before = copies(&live).len();
    for nth in 0..300 {
        assert_eq!(send(&mut client, &numbered("GET", nth, "", b"")).0, 200);
    }
    assert_eq!(copies(&live).len(), before, "0 is 0");
}

#[test]
fn a_large_body_is_not_copied() {
    let live = Shop::new().start(&mirrored("percent: 100, unsafe_methods: true, body_bytes: 1KiB"));
    let mut client = live.connect();
    assert_eq!(send(&mut client, &numbered("POST", 0, "", &[b'x'; 1_025])).0, 200);
    assert_eq!(send(&mut client, &numbered("POST", 1, "", &[b'x'; 1_024])).0, 200);
    let copies = wait_copies(&live, 1);
    assert_eq!(copies[0].id, "1");
    wait::until_true("the dropped one counted", || counted(&live, "weir_release_copies_dropped_total") == 1);
}

/// What clients see while copies go to a cluster in this mood.
fn under(mood: Option<Mood>, keys: &str) -> (Live, Report) {
    let mut live = Shop::new().start(&mirrored(&format!("percent: 100, {keys}")));
    match mood {
        Some(mood) => live.shop.versions[2].set(mood),
        None => live.shop.versions[2].kill(),
    }
    let load = Pace::start(live.shop.web, 250, |nth| of_user(&format!("user-{}", nth % 100)).into_bytes());
    load.more(750);
    let report = load.finish();
    report.assert_no_error();
    (live, report)
}

#[test]
fn a_mirror_in_trouble_changes_nothing_for_clients() {
    let (_, well) = under(Some(Mood::Well), "timeout: 1s");
    figure("mirror: well", &well, None);
    for (what, mood) in [
        ("dead", None),
        ("hangs", Some(Mood::HangAfterRequest)),
        ("does not even read", Some(Mood::HangAfterAccept)),
        ("resets", Some(Mood::ResetOnHead)),
        ("answers 500", Some(Mood::status(500))),
        ("slow", Some(Mood::Slow(Duration::from_millis(700)))),
    ] {
        let (live, report) = under(mood, "timeout: 1s");
        figure(&format!("mirror: {what}"), &report, None);
        // Of the same order: what a busy machine adds is not a mirror's second.
        let (p99, before) = (report.quantile(0.99), well.quantile(0.99));
        assert!(p99 < (before * 5).max(Duration::from_millis(300)), "{what}: p99 {before:?} -> {p99:?}");
        assert!(!report.by().contains_key("v3"), "{what}: {:?}", report.by());
        // None is lost from the books: it ended, or was not made.
        wait::until_true(&format!("{what}: all copies counted"), || {
            counted(&live, "weir_release_copies_total") + counted(&live, "weir_release_copies_dropped_total")
                == report.total()
        });
    }
}

#[test]
fn copies_under_way_are_bounded_and_the_rest_is_dropped() {
    let (live, report) = under(Some(Mood::HangAfterRequest), "max_concurrent: 7, timeout: 30s");
    let v3 = &live.shop.versions[2];
    assert_eq!((v3.under_way().peak(), v3.connections().peak()), (7, 7));
    wait::until_true("the others dropped", || {
        counted(&live, "weir_release_copies_dropped_total") == report.total() - 7
    });
}

#[test]
fn a_hanging_mirror_costs_no_memory() {
    let live = Shop::new().start(&mirrored("percent: 100, unsafe_methods: true, timeout: 2s, max_concurrent: 1000"));
    live.shop.versions[2].set(Mood::HangAfterRequest);
    let post = |nth: u64| numbered("POST", nth, "", &[b'x'; 32 * 1024]);
    let load = Pace::start(live.shop.web, 100, post);
    // As many copies are under way as there will be at any time.
    load.more(300);
    let before = live.weir.resident();
    load.more(500);
    let after = live.weir.resident();
    load.finish().assert_no_error();
    let grown = after.saturating_sub(before);
    // 500 bodies of 32 KiB would be 16 MiB.
    assert!(grown < 8 << 20, "{before} -> {after}");
}

#[test]
fn a_mirror_is_probed_and_its_copies_are_nobodys_health_but_its_own() {
    let mut shop = Shop::new();
    shop.cluster = "health_checks: [{interval: 100ms, fast_interval: 50ms, unhealthy_threshold: 1, http_health_check: {path: /healthz}}]";
    let live = shop.start(&mirrored("percent: 100"));
    live.shop.versions[2].probes_pass(false);
    wait::until_true("v3 out", || {
        live.weir.json("/api/v1/status")["clusters"][2]["endpoints"][0]["status"] == "unhealthy"
    });
    let mut client = live.connect();
    for nth in 0..50 {
        assert_eq!(send(&mut client, &numbered("GET", nth, "X-User-Id: user-1\r\n", b"")).0, 200, "{HEALTH}");
    }
    for cluster in 0..2 {
        let status = live.weir.json("/api/v1/status");
        assert_eq!(status["clusters"][cluster]["endpoints"][0]["status"], "healthy", "{status}");
    }
}
