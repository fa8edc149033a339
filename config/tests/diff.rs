//! What a change in the file is said to do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use weir_config::{Changes, Config, Touches, diff, parse_str};

const FULL: &str = include_str!("../examples/full.yaml");

fn config(text: &str) -> Config {
    parse_str(text).unwrap().config
}

/// The changes from the full example to the same with `from` replaced by `to`, once.
fn edited(from: &str, to: &str) -> Changes {
    assert!(FULL.contains(from), "{from:?} is not in the example");
    diff(&config(FULL), &config(&FULL.replacen(from, to, 1)))
}

#[test]
fn nothing_changed() {
    let changes = diff(&config(FULL), &config(FULL));
    assert!(changes.is_empty());
    assert_eq!(changes.to_string(), "no change: both mean the same\n");
    assert_eq!(changes.to_json()["changed"], false);
    assert!(edited("# Every key", "\n\n# Every single key").is_empty(), "comments and lines mean nothing");
}

#[test]
fn every_key_is_told_with_what_it_touches() {
    use Touches::{Connections, NewConnections, NewRequests, Nothing};
    let check = "cluster orders-v1: health check HTTP GET /healthz on port 8081";
    let canary = "listener web: route canary-orders";
    let table: &[(&str, &str, Touches, String)] = &[
        ("admin: 127.0.0.1:9900", "admin: off", Nothing, "admin 127.0.0.1:9900 -> off".into()),
        ("zone: az-a", "zone: az-b", NewRequests, "zone az-a -> az-b".into()),
        ("workers: 4", "workers: 8", Nothing, "workers 4 -> 8".into()),
        ("max_concurrent_probes: 512", "max_concurrent_probes: 64", Nothing, "max_concurrent_probes 512 -> 64".into()),
        ("delay: 0s", "delay: 1m30s", Nothing, "shutdown: delay 0s -> 1m30s".into()),
        ("timeout: 60s", "timeout: 90s", Nothing, "shutdown: timeout 1m -> 1m30s".into()),
        (
            "sample: 0.1",
            "sample: 1",
            Nothing,
            "access_log standard output (json, sample 0.1) -> standard output (json, sample 1)".into(),
        ),
        ("header: 10s", "header: 5s", NewRequests, "listener web: timeouts: header 10s -> 5s".into()),
        ("idle: 60s", "idle: 30s", NewRequests, "listener web: timeouts: idle 1m -> 30s".into()),
        ("stream_idle: 5m", "stream_idle: 1h", NewRequests, "listener web: timeouts: stream_idle 5m -> 1h".into()),
        (
            "connections: 10000",
            "connections: 20000",
            NewConnections,
            "listener web: limits: connections 10000 -> 20000".into(),
        ),
        (
            "header_bytes: 32KiB",
            "header_bytes: 16KiB",
            NewRequests,
            "listener web: limits: header_bytes 32KiB -> 16KiB".into(),
        ),
        ("header_count: 100", "header_count: 50", NewRequests, "listener web: limits: header_count 100 -> 50".into()),
        ("uri_bytes: 8KiB", "uri_bytes: 4KiB", NewRequests, "listener web: limits: uri_bytes 8KiB -> 4KiB".into()),
        ("body_bytes: 10MiB", "body_bytes: 5MiB", NewRequests, "listener web: limits: body_bytes 10MiB -> 5MiB".into()),
        (
            "body_min_rate: 1KiB",
            "body_min_rate: 0",
            NewRequests,
            "listener web: limits: body_min_rate 1KiB -> 0".into(),
        ),
        ("x_forwarded: true", "x_forwarded: false", NewRequests, "listener web: headers: x_forwarded on -> off".into()),
        ("forwarded: false", "forwarded: true", NewRequests, "listener web: headers: forwarded off -> on".into()),
        ("request_id: true", "request_id: false", NewRequests, "listener web: headers: request_id on -> off".into()),
        ("reason: true", "reason: false", NewRequests, "listener web: headers: reason on -> off".into()),
        (
            "[10.0.0.0/8, \"2001:db8::/32\", 192.0.2.7]",
            "[]",
            NewRequests,
            "listener web: trusted_proxies 10.0.0.0/8, 2001:db8::/32, 192.0.2.7/32 -> none".into(),
        ),
        ("[0.0.0.0:8080, \"[::]:8080\"]", "0.0.0.0:8080", Connections, "listener web: [::]:8080 is closed".into()),
        (
            "[0.0.0.0:8080, \"[::]:8080\"]",
            "[0.0.0.0:8080, \"[::]:8080\", 0.0.0.0:80]",
            NewConnections,
            "listener web: listens on 0.0.0.0:80 too".into(),
        ),
        (
            "method: [GET, HEAD]",
            "method: GET",
            NewRequests,
            format!(
                "{canary}: match GET|HEAD shop.example|*.shop.example /orders/* x-canary=\"1\" x-employee present x-internal absent -> GET shop.example|*.shop.example /orders/* x-canary=\"1\" x-employee present x-internal absent"
            ),
        ),
        (
            "cluster: orders-v2\n",
            "cluster: orders-v1\n",
            NewRequests,
            format!("{canary}: cluster orders-v2 -> orders-v1"),
        ),
        ("timeout: 10s ", "timeout: 20s ", NewRequests, format!("{canary}: timeout 10s -> 20s")),
        ("body_bytes: 100MiB", "body_bytes: 1GiB", NewRequests, format!("{canary}: body_bytes 100MiB -> 1GiB")),
        (
            "balance: least_request ",
            "balance: random ",
            NewRequests,
            "cluster orders-v1: balance least_request -> random".into(),
        ),
        (
            "weight: 2}",
            "weight: 3}",
            NewRequests,
            "cluster orders-v1: endpoint 10.0.1.12:8080 (az-a): weight 2 -> 3".into(),
        ),
        (
            "weight: 0, zone: az-b",
            "weight: 0, zone: az-c",
            NewRequests,
            "cluster orders-v2: endpoint 10.0.2.31:8080 (az-c): zone az-b -> az-c".into(),
        ),
        ("timeout: 1s ", "timeout: 3s ", NewRequests, "cluster orders-v1: connect timeout 1s -> 3s".into()),
        (
            "idle_timeout: 30s",
            "idle_timeout: 10s",
            NewRequests,
            "cluster orders-v1: pool idle_timeout 30s -> 10s".into(),
        ),
        ("max_idle: 256", "max_idle: 0", NewRequests, "cluster orders-v1: pool max_idle 256 -> 0".into()),
        ("timeout: 2s ", "timeout: 1s ", NewRequests, format!("{check}: timeout 2s -> 1s")),
        ("interval: 5s ", "interval: 6s ", NewRequests, format!("{check}: interval 5s -> 6s")),
        ("fast_interval: 1s", "fast_interval: 2s", NewRequests, format!("{check}: fast_interval 1s -> 2s")),
        ("down_interval: 10s", "down_interval: 20s", NewRequests, format!("{check}: down_interval 10s -> 20s")),
        ("jitter: 10", "jitter: 20", NewRequests, format!("{check}: jitter 10 -> 20")),
        (
            "unhealthy_threshold: 3",
            "unhealthy_threshold: 4",
            NewRequests,
            format!("{check}: unhealthy_threshold 3 -> 4"),
        ),
        (" healthy_threshold: 2", " healthy_threshold: 3", NewRequests, format!("{check}: healthy_threshold 2 -> 3")),
        (
            "host: shop.example  ",
            "host: other.example  ",
            NewRequests,
            format!("{check}: host shop.example -> other.example"),
        ),
        ("{x-probe: weir}", "{x-probe: other}", NewRequests, format!("{check}: the headers it sends")),
        (
            "[200, 204-206, 3xx, {start: 400, end: 404}]",
            "[200]",
            NewRequests,
            format!("{check}: expected_statuses 200, 204-206, 300-399, 400-403 -> 200"),
        ),
        ("expected_body: ok", "expected_body: fine", NewRequests, format!("{check}: expected_body \"ok\" -> \"fine\"")),
        (
            "    connect:",
            "    slow_start: 30s
    connect:",
            Nothing,
            "cluster orders-v1: slow_start none -> 30s".into(),
        ),
        (
            "bind: 127.0.0.1:8081",
            "bind: 127.0.0.1:8082",
            Connections,
            "listener internal: 127.0.0.1:8081 is closed".into(),
        ),
    ];
    for (from, to, touches, what) in table {
        let changes = edited(from, to);
        let told: Vec<_> = changes.iter().map(|change| (&*change.what, change.touches)).collect();
        assert!(told.contains(&(what, *touches)), "{from} -> {to}: {what:?}\n{told:#?}");
        assert_eq!(changes.touches(), *touches, "{from} -> {to}");
    }
}

#[test]
fn what_is_fixed_for_life_needs_a_restart() {
    let changes = edited("workers: 4", "workers: 8");
    assert!(changes.iter().all(|change| change.needs_restart));
    assert!(changes.to_string().contains("workers 4 -> 8 (needs a restart)"), "{changes}");
    assert!(edited("admin: 127.0.0.1:9900", "admin: off").iter().all(|change| change.needs_restart));
    assert!(edited("zone: az-a", "zone: az-b").iter().all(|change| !change.needs_restart));
}

const OLD: &str = "
listeners:
  - {name: web, bind: 0.0.0.0:8080, routes: [{name: a, match: {path: /a}, cluster: one}, {match: {path: /b}, cluster: one}, {cluster: one}]}
  - {name: old, bind: 0.0.0.0:8081, cluster: one}
clusters:
  - name: one
    endpoints: {az-a: [10.0.1.11:80, 10.0.1.12:80], az-b: [10.0.2.11:80]}
    health_checks: [{tcp_health_check: }]
  - {name: gone, endpoints: [10.0.9.1:80]}
";

const NEW: &str = "
listeners:
  - {name: web, bind: 0.0.0.0:8080, routes: [{match: {path: /b}, cluster: one}, {name: a, match: {path: /a}, cluster: one}, {match: {path: /c}, cluster: two}]}
  - {name: new, bind: 0.0.0.0:8082, cluster: one}
clusters:
  - {name: two, endpoints: [10.0.8.1:80]}
  - name: one
    endpoints: {az-a: [10.0.1.11:80, {address: 10.0.1.13:80, weight: 5}], az-b: [{address: 10.0.2.11:80, weight: 2}]}
    health_checks: [{http_health_check: {path: /up}}]
";

#[test]
fn a_whole_reload_in_words() {
    let expected = "\
Touches open connections, which are drained:
  - listener old: removed; 0.0.0.0:8081 is closed

Touches new connections:
  + listener new: new, on 0.0.0.0:8082

Touches new requests:
  - listener web: route for everything to one: removed
  + listener web: route for =/c to two: new
  ~ listener web: the order of its routes
  - cluster one: endpoint 10.0.1.12:80 (az-a): removed
  ~ cluster one: endpoint 10.0.2.11:80 (az-b): weight 1 -> 2
  + cluster one: endpoint 10.0.1.13:80 (az-a): new, weight 5
  - cluster one: health check TCP: removed
  + cluster one: health check HTTP GET /up: new
  - cluster gone: removed with its 1 endpoint

Touches no traffic:
  + cluster two: new, 1 endpoint

12 changes: 1 to open connections, 1 to new connections, 9 to new requests, 1 to no traffic
";
    let changes = diff(&config(OLD), &config(NEW));
    assert_eq!(changes.to_string(), expected);
    let json = changes.to_json();
    assert_eq!(json["touches"], "connections");
    assert_eq!(json["changes"].as_array().unwrap().len(), 12);
}

#[test]
fn there_and_back_is_as_long() {
    let (old, new) = (config(OLD), config(NEW));
    assert_eq!(diff(&old, &new).len(), diff(&new, &old).len());
    for (one, other) in [(&old, &new), (&new, &old)] {
        assert!(diff(one, one).is_empty());
        assert!(!diff(one, other).is_empty());
    }
}

#[test]
fn an_address_that_changes_hands_keeps_its_connections() {
    let text = |a: &str, b: &str| {
        format!(
            "listeners:\n  - {{name: {a}, bind: '127.0.0.1:81', cluster: app}}\n  - {{name: {b}, bind: '127.0.0.1:82', \
             cluster: app}}\nclusters: [{{name: app, endpoints: ['127.0.0.1:83']}}]\n"
        )
    };
    let swapped = diff(&config(&text("a", "b")), &config(&text("b", "a")));
    assert!(swapped.iter().all(|change| change.touches == Touches::NewRequests), "{swapped}");
    let renamed = diff(&config(&text("a", "b")), &config(&text("c", "b")));
    let words: Vec<&str> = renamed.iter().map(|change| change.what.as_str()).collect();
    assert_eq!(
        words,
        [
            "listener a: removed",
            "listener a: gives 127.0.0.1:81 to listener c",
            "listener c: new",
            "listener c: takes 127.0.0.1:81 over from listener a, connections included",
        ]
    );
}
