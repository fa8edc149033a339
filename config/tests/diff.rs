//! What a change in the file is said to do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use weir_config::diff::{Change, ChangeKind};
use weir_config::{Changes, Config, Source, Touches, diff, parse};

const FULL: &str = include_str!("../examples/full.yaml");

fn config(text: &str) -> Config {
    let source = Source { name: "full.yaml", env: &|_| None, files: &beside };
    parse(text, &source).unwrap().config
}

/// Files beside the examples.
fn beside(name: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name))
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
        (
            "[127.0.0.1:9900, \"unix:/run/weir/admin.sock\"]",
            "127.0.0.1:9901",
            Nothing,
            "admin 127.0.0.1:9900, unix:/run/weir/admin.sock -> 127.0.0.1:9901".into(),
        ),
        ("read_token_file: read.token     # who", "# who", Nothing, "admin: read_token_file read.token -> none".into()),
        ("hosts: [weir.example]", "hosts: []", Nothing, "admin: hosts weir.example -> none".into()),
        (
            "mode: request, ca: operators.pem}}",
            "mode: require, ca: operators.pem}}",
            Nothing,
            "admin: tls client_certificates mode request -> require".into(),
        ),
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
            "balance: least_request",
            "balance: random",
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
        ("- timeout: 2s ", "- timeout: 1s ", NewRequests, format!("{check}: timeout 2s -> 1s")),
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

/// What changes how requests are handed on: it touches new requests, and nothing else changes.
const POLICIES: &[(&str, &str, &str)] = &[
    ("deadline: true", "deadline: false", "listener web: headers: deadline on -> off"),
    ("decision: 0 ", "decision: 0.01 ", "listener web: headers: decision 0 -> 0.01"),
    ("attempts: 3 ", "attempts: 2 ", "listener web: route canary-orders: retry attempts 3 -> 2"),
    (
        "timeout, 503]",
        "5xx, 404, 405]",
        "listener web: route canary-orders: retry on connect-failure, reset-before-response, timeout, 503 -> connect-failure, reset-before-response, 404-405, 500-599",
    ),
    ("per_try_timeout: 2s", "per_try_timeout: 1s", "listener web: route canary-orders: retry per_try_timeout 2s -> 1s"),
    ("base: 25ms", "base: 10ms", "listener web: route canary-orders: retry backoff base 25ms -> 10ms"),
    ("max: 250ms", "max: 1s", "listener web: route canary-orders: retry backoff max 250ms -> 1s"),
    ("body_bytes: 64KiB ", "body_bytes: 0 ", "listener web: route canary-orders: retry body_bytes 64KiB -> 0"),
    ("priority: 1}", "priority: 2}", "cluster orders-v1: endpoint [2001:db8::3:11]:8080 (az-c): priority 1 -> 2"),
    ("keepalive: 30s", "keepalive: off", "cluster orders-v1: connect keepalive 30s -> off"),
    ("user_timeout: 10s", "user_timeout: 20s", "cluster orders-v1: connect user_timeout 10s -> 20s"),
    (
        "[10.0.0.5, \"2001:db8::5\"]",
        "10.0.0.5",
        "cluster orders-v1: connect local_address 10.0.0.5, 2001:db8::5 -> 10.0.0.5",
    ),
    (
        "source_ports: 20000-29999",
        "source_ports: 30000-39999",
        "cluster orders-v1: connect source_ports 20000-29999 -> 30000-39999",
    ),
    ("      window: 30s\n      aggr", "      window: 1m\n      aggr", "cluster orders-v1: slow_start window 30s -> 1m"),
    ("aggression: 1.0", "aggression: 1.5", "cluster orders-v1: slow_start aggression 1 -> 1.5"),
    ("minimum_percent: 5", "minimum_percent: 10", "cluster orders-v1: slow_start minimum_percent 5 -> 10"),
    ("consecutive_5xx: 5 ", "consecutive_5xx: off ", "cluster orders-v1: outlier_detection consecutive_5xx 5 -> off"),
    (
        "consecutive_gateway: 4",
        "consecutive_gateway: off",
        "cluster orders-v1: outlier_detection consecutive_gateway 4 -> off",
    ),
    (
        "consecutive_local_origin: 3",
        "consecutive_local_origin: 2",
        "cluster orders-v1: outlier_detection consecutive_local_origin 3 -> 2",
    ),
    (
        "{threshold: 50, window: 10s, minimum_requests: 20}",
        "{threshold: 60, window: 20s, minimum_requests: 30}",
        "cluster orders-v1: outlier_detection failure_percentage 50 % of 20 in 10s, 30 % of 50 in 5m -> 60 % of 30 in 20s, 30 % of 50 in 5m",
    ),
    ("confidence: 0.95", "confidence: 0", "cluster orders-v1: outlier_detection confidence 0.95 -> 0"),
    ("action: eject ", "action: observe ", "cluster orders-v1: outlier_detection action eject -> observe"),
    (
        "max_ejection_percent: 34",
        "max_ejection_percent: 50",
        "cluster orders-v1: outlier_detection max_ejection_percent 34 -> 50",
    ),
    (
        "correlated_percent: 30",
        "correlated_percent: 100",
        "cluster orders-v1: outlier_detection correlated_percent 30 -> 100",
    ),
    (
        "base_ejection_time: 30s",
        "base_ejection_time: 1m",
        "cluster orders-v1: outlier_detection base_ejection_time 30s -> 1m",
    ),
    (
        "max_ejection_time: 5m",
        "max_ejection_time: 10m",
        "cluster orders-v1: outlier_detection max_ejection_time 5m -> 10m",
    ),
    ("      jitter: 20 ", "      jitter: 0 ", "cluster orders-v1: outlier_detection jitter 20 -> 0"),
    ("        requests: 1 ", "        requests: 2 ", "cluster orders-v1: outlier_detection probation requests 1 -> 2"),
    (
        "        successes: 3              # in a row\n",
        "        successes: 5\n",
        "cluster orders-v1: outlier_detection probation successes 3 -> 5",
    ),
    (
        "max_connections: 2000",
        "max_connections: 1500",
        "cluster orders-v1: circuit_breaker max_connections 2000 -> 1500",
    ),
    ("max_requests: 1000\n", "max_requests: 500\n", "cluster orders-v1: circuit_breaker max_requests 1000 -> 500"),
    (
        "max_pending_requests: 1024",
        "max_pending_requests: 0",
        "cluster orders-v1: circuit_breaker max_pending_requests 1024 -> 0",
    ),
    ("max_retries: 50", "max_retries: 10", "cluster orders-v1: circuit_breaker max_retries 50 -> 10"),
    ("queue_timeout: 1s", "queue_timeout: 2s", "cluster orders-v1: circuit_breaker queue_timeout 1s -> 2s"),
    (
        "{max_connections: 600, ",
        "{max_connections: 700, ",
        "cluster orders-v1: circuit_breaker per_endpoint max_connections 600 -> 700",
    ),
    (
        "max_requests: 300}",
        "max_requests: 400}",
        "cluster orders-v1: circuit_breaker per_endpoint max_requests 300 -> 400",
    ),
    (
        "        threshold: 50 ",
        "        threshold: 60 ",
        "cluster orders-v1: circuit_breaker failure_rate threshold 50 -> 60",
    ),
    (
        "        window: 10s\n",
        "        window: 20s\n",
        "cluster orders-v1: circuit_breaker failure_rate window 10s -> 20s",
    ),
    (
        "        minimum_requests: 20\n",
        "        minimum_requests: 30\n",
        "cluster orders-v1: circuit_breaker failure_rate minimum_requests 20 -> 30",
    ),
    ("        open: 5s", "        open: 10s", "cluster orders-v1: circuit_breaker failure_rate open 5s -> 10s"),
    ("max_open: 1m", "max_open: 2m", "cluster orders-v1: circuit_breaker failure_rate max_open 1m -> 2m"),
    ("trials: 1 ", "trials: 2 ", "cluster orders-v1: circuit_breaker failure_rate trials 1 -> 2"),
    (
        "successes: 3              # in a row close",
        "successes: 4              # in a row close",
        "cluster orders-v1: circuit_breaker failure_rate successes 3 -> 4",
    ),
    ("concurrent_percent: 20", "concurrent_percent: 10", "cluster orders-v1: retry_budget concurrent_percent 20 -> 10"),
    ("min_concurrent: 3", "min_concurrent: 0", "cluster orders-v1: retry_budget min_concurrent 3 -> 0"),
    ("      percent: 10 ", "      percent: 20 ", "cluster orders-v1: retry_budget percent 10 -> 20"),
    ("min_retries: 10", "min_retries: 5", "cluster orders-v1: retry_budget min_retries 10 -> 5"),
    (
        "      window: 10s\n    panic",
        "      window: 30s\n    panic",
        "cluster orders-v1: retry_budget window 10s -> 30s",
    ),
    ("{mode: least_bad, ", "{mode: all_hosts, ", "cluster orders-v1: panic mode least_bad -> all_hosts"),
    ("threshold: 50}   #", "threshold: 40}   #", "cluster orders-v1: panic threshold 50 -> 40"),
    ("min_endpoints: 3", "min_endpoints: 2", "cluster orders-v1: zone_aware min_endpoints 3 -> 2"),
    (
        "{az-a: 2, ",
        "{az-a: 3, ",
        "cluster orders-v1: zone_aware shares az-a 2, az-b 1, az-c 1 -> az-a 3, az-b 1, az-c 1",
    ),
    ("overprovisioning: 140", "overprovisioning: 200", "cluster orders-v1: overprovisioning 140 -> 200"),
    (
        "{header: x-user-id}, {cookie: uid}, {query: u}, ",
        "{query: v}, ",
        "cluster orders-v2: hash key header x-user-id, cookie uid, query u, source_address -> query v, source_address",
    ),
    ("bounded_load: 125", "bounded_load: off", "cluster orders-v2: hash bounded_load 125 -> off"),
    ("table_size: 65537", "table_size: 251", "cluster orders-v2: hash table_size 65537 -> 251"),
    (
        "      # minimum_ring_size: 1024",
        "      minimum_ring_size: 2048",
        "cluster orders-v2: hash minimum_ring_size 1024 -> 2048",
    ),
    (
        "      # maximum_ring_size: 8388608",
        "      maximum_ring_size: 65536",
        "cluster orders-v2: hash maximum_ring_size 8388608 -> 65536",
    ),
    ("      cookie: weir-sticky", "      cookie: other", "cluster web-v1: sticky cookie weir-sticky -> other"),
    ("ttl: 1h ", "ttl: 2h ", "cluster web-v1: sticky ttl 1h -> 2h"),
    ("      path: /\n", "      path: /shop\n", "cluster web-v1: sticky path / -> /shop"),
    (
        "{address: web.internal:8080, zone: az-a}",
        "{address: web.internal:8080, zone: az-b}",
        "cluster web-v1: endpoints of web.internal:8080 (az-b): zone az-a -> az-b",
    ),
    (
        "{address: web.internal:8080, ",
        "{address: web.internal:8080, weight: 3, ",
        "cluster web-v1: endpoints of web.internal:8080 (az-a): weight 1 -> 3",
    ),
    (
        "{address: web.internal:8080, ",
        "{address: web.internal:8080, priority: 1, ",
        "cluster web-v1: endpoints of web.internal:8080 (az-a): priority 0 -> 1",
    ),
    (
        "servers: [10.0.0.2, \"10.0.0.3:5353\"]",
        "servers: 10.0.0.2",
        "cluster web-v1: resolve servers 10.0.0.2:53, 10.0.0.3:5353 -> 10.0.0.2:53",
    ),
    ("family: any ", "family: ipv6 ", "cluster web-v1: resolve family any -> ipv6"),
    (
        "      timeout: 2s                 # one",
        "      timeout: 3s                 # one",
        "cluster web-v1: resolve timeout 2s -> 3s",
    ),
    ("min_ttl: 1s", "min_ttl: 2s", "cluster web-v1: resolve min_ttl 1s -> 2s"),
    ("max_ttl: 5m", "max_ttl: 1m", "cluster web-v1: resolve max_ttl 5m -> 1m"),
    ("max_stale: 10m", "max_stale: forever", "cluster web-v1: resolve max_stale 10m -> forever"),
    ("confirm_removal: 2", "confirm_removal: 1", "cluster web-v1: resolve confirm_removal 2 -> 1"),
];

#[test]
fn every_key_of_a_policy_is_told() {
    for (from, to, what) in POLICIES {
        let changes = edited(from, to);
        let told: Vec<_> = changes.iter().map(|change| (&*change.what, change.touches)).collect();
        assert_eq!(told, [(*what, Touches::NewRequests)], "{from} -> {to}");
    }
}

/// What changes of the release of the full example, and all that is told of it.
const RELEASES: &[(&str, &str, &[&str])] = &[
    (
        "      - {header: x-user-id}\n      - {cookie: uid}\n      - {query: uid}\n",
        "      - {header: x-id}\n",
        &[
            "key header x-user-id, cookie uid, query uid, path_segment 2, jwt sub of header authorization, signed ES256 by jwt.pem, jwt sub of cookie token, source_address -> header x-id, path_segment 2, jwt sub of header authorization, signed ES256 by jwt.pem, jwt sub of cookie token, source_address",
            "! whoever's id is another than before may get another version",
        ],
    ),
    (
        "case: keep ",
        "case: lower ",
        &[
            "canonical trim on, case keep -> trim on, case lower",
            "! whoever's id is another than before may get another version",
        ],
    ),
    (
        "salt: orders-2026-11",
        "salt: again",
        &[
            "salt \"orders-2026-11\" -> \"again\"",
            "! about 4.75 % of users, drawn anew by the other salt, move from orders-v2 to orders-v1",
            "about 4.75 % of users, drawn anew by the other salt, move from orders-v1 to orders-v2",
        ],
    ),
    (
        "stable: orders-v1 ",
        "stable: orders-v3 ",
        &["stable orders-v1 -> orders-v3", "95 % of users, buckets 500-9999, move from orders-v1 to orders-v3"],
    ),
    ("never: [{users: [1001, ann]}]", "never: [{users: [1001]}]", &["- never: 1 user removed"]),
    ("never: [{users: [1001, ann]}]", "never: [{users: [1001, ann, bob, carl]}]", &["! + never: 2 users added"]),
    ("never: [{users: [1001, ann]}]", "never: [{users: [ann]}, {users: [1001]}]", &[]),
    (
        "        weight: 5 ",
        "        weight: 10.5 ",
        &["canary orders-v2: weight 5 -> 10.5", "5.5 % of users, buckets 500-1049, move from orders-v1 to orders-v2"],
    ),
    (
        "        weight: 5 ",
        "        weight: 4.99 ",
        &["canary orders-v2: weight 5 -> 4.99", "! 0.01 % of users, bucket 499, move from orders-v2 to orders-v1"],
    ),
    (
        "        from: 0 ",
        "        from: 9800 ",
        &[
            "canary orders-v2: from 0 -> 9800",
            "! 2 % of users, buckets 300-499, move from orders-v2 to orders-v1",
            "2 % of users, buckets 9800-9999, move from orders-v1 to orders-v2",
        ],
    ),
    (
        "          - {header: {x-employee: \"true\"}}\n",
        "",
        &["! - canary orders-v2: first: header x-employee=\"true\" removed"],
    ),
    (
        "{cookie: {beta: \"1\"}}",
        "{cookie: {beta: \"2\"}}",
        &[
            "! - canary orders-v2: first: cookie beta=\"1\" removed",
            "+ canary orders-v2: first: cookie beta=\"2\" added",
        ],
    ),
    (
        "{users: file:beta.txt}",
        "{users: [bob, carl]}",
        &[
            "+ canary orders-v2: first: 1 user added",
            "! - canary orders-v2: first: 2 users removed",
            "canary orders-v2: first: users in beta.txt -> none",
        ],
    ),
    ("never: [{cidr: 10.9.0.0/16}]", "never: []", &["- canary orders-v2: never: networks 10.9.0.0/16 removed"]),
    ("steps: [1, 5, 25, 50, 100]", "steps: [2, 100]", &["canary orders-v2: rollout steps 1 5 25 50 100 -> 2 100"]),
    ("hold: 10m", "hold: 1h", &["canary orders-v2: rollout hold 10m -> 1h"]),
    ("error_rate: 30", "error_rate: 20.5", &["canary orders-v2: rollout guard error_rate 30 -> 20.5"]),
    ("latency_factor: 5", "latency_factor: 3", &["canary orders-v2: rollout guard latency_factor 5 -> 3"]),
    ("window: 60s", "window: 90s", &["canary orders-v2: rollout guard window 1m -> 1m30s"]),
    (
        "            min_requests: 20\n",
        "            min_requests: 50\n",
        &["canary orders-v2: rollout guard min_requests 20 -> 50"],
    ),
    ("on_fail: rollback ", "on_fail: pause ", &["canary orders-v2: rollout on_fail rollback -> pause"]),
    (
        "{name: weir-id, ttl: 400d, path: /}",
        "{ttl: 36h}",
        &["anonymous sticky_cookie weir-id (9600h, /) -> sticky_cookie weir-id (36h, /)"],
    ),
    ("on_unhealthy: stable", "on_unhealthy: error", &["on_unhealthy stable -> error"]),
    ("min_requests: 200", "min_requests: 500", &["judge min_requests 200 -> 500"]),
    ("confidence: 95", "confidence: 99", &["judge confidence 95 -> 99"]),
    ("error_margin: 1", "error_margin: 0.5", &["judge error_margin 1 -> 0.5"]),
    ("latency_margin: 25", "latency_margin: 10", &["judge latency_margin 25 -> 10"]),
    ("      cluster: orders-v3\n", "      cluster: web-v1\n", &["mirror cluster orders-v3 -> web-v1"]),
    ("      percent: 10\n", "      percent: 20\n", &["mirror percent 10 -> 20"]),
    ("unsafe_methods: false", "unsafe_methods: true", &["mirror unsafe_methods off -> on"]),
    ("max_concurrent: 100", "max_concurrent: 10", &["mirror max_concurrent 100 -> 10"]),
    ("      timeout: 5s\n", "      timeout: 2s\n", &["mirror timeout 5s -> 2s"]),
    ("      body_bytes: 64KiB           # requests", "      body_bytes: 1MiB #", &["mirror body_bytes 64KiB -> 1MiB"]),
];

#[test]
fn every_key_of_a_release_is_told() {
    for (from, to, told) in RELEASES {
        let changes = edited(from, to);
        let found: Vec<String> = changes.iter().map(of_orders).collect();
        assert_eq!(found, *told, "{from:?} -> {to:?}");
        assert_eq!(changes.expels(), told.iter().any(|line| line.starts_with('!')), "{from:?} -> {to:?}");
    }
}

/// What is told of the release `orders`: with `!` if it throws somebody out of a canary, and `+` or
/// `-` if something came or went.
fn of_orders(change: &Change) -> String {
    let out = if change.expels { "! " } else { "" };
    let kind = match change.kind {
        ChangeKind::Added => "+ ",
        ChangeKind::Removed => "- ",
        ChangeKind::Changed => "",
    };
    format!("{out}{kind}{}", change.what.strip_prefix("release orders: ").unwrap_or(&change.what))
}

#[test]
fn releases_come_and_go() {
    let (before, after) = FULL.split_at(FULL.find("\nreleases:").unwrap());
    let without = before.replace("release: orders", "cluster: orders-v1");
    let added = diff(&config(&without), &config(FULL));
    let expected = "\
Touches new requests:
  ~ listener web: route for /orders/*: target orders-v1 -> release orders
  ~ listener web: route for /orders/*: 5 % of users, buckets 0-499, move from orders-v1 to orders-v2
  ~ listener testers: route for everything: target orders-v1 -> release orders
  ~ listener testers: route for everything: 5 % of users, buckets 0-499, move from orders-v1 to orders-v2

Touches no traffic:
  + release orders: new, stable orders-v1, orders-v2 5 %

5 changes: 4 to new requests, 1 to no traffic
";
    assert_eq!(added.to_string(), expected);
    assert!(!added.expels());
    let removed = diff(&config(FULL), &config(&without));
    assert!(removed.expels());
    let line = "  ~ listener web: route for /orders/*: 5 % of users, buckets 0-499, move from orders-v2 to orders-v1 (takes users out of a canary)\n";
    assert!(removed.to_string().contains(line), "{removed}");
    let json = &removed.to_json();
    assert_eq!(json["expels"], true);
    let users = json["changes"].as_array().unwrap().iter().find_map(|change| change.get("users")).unwrap();
    assert_eq!(users.to_string(), r#"{"from":"orders-v2","to":"orders-v1","percent":5.0,"buckets":[[0,499]]}"#);
    assert!(after.contains("canaries:"));
    let rest = FULL.find("    anonymous: ").unwrap();
    let no_canary = format!("{}{}", &FULL[..FULL.find("    canaries:").unwrap()], &FULL[rest..]);
    let out: Vec<String> = diff(&config(FULL), &config(&no_canary)).iter().map(of_orders).collect();
    let gone = ["! - canary orders-v2: removed", "! 5 % of users, buckets 0-499, move from orders-v2 to orders-v1"];
    assert_eq!(out, gone);
    let back: Vec<String> = diff(&config(&no_canary), &config(FULL)).iter().map(of_orders).collect();
    let come =
        ["+ canary orders-v2: new, 5 % from bucket 0", "5 % of users, buckets 0-499, move from orders-v1 to orders-v2"];
    assert_eq!(back, come);
}

#[test]
fn what_is_switched_on_is_told_with_its_rules() {
    let table = [
        (
            "outlier_detection: off",
            "outlier_detection off -> eject (5 5xx in a row, 50 % of 20 in 10s, 30 % of 50 in 5m)",
        ),
        ("circuit_breaker: {failure_rate: {threshold: 40}}", "circuit_breaker failure_rate 40 % of 20 in 10s -> off"),
        ("sticky: {cookie: id}", "sticky cookie id -> off"),
        ("slow_start: 0s", "slow_start off -> 30s"),
        ("zone_aware: off", "zone_aware off -> on"),
        ("connect: {local_address: 10.0.0.5}", "connect local_address 10.0.0.5 -> the system's"),
        ("connect: {source_ports: 1024-65535}", "connect source_ports 1024-65535 -> the system's"),
    ];
    let text = |key: &str| {
        format!(
            "listeners: [{{name: web, bind: '0.0.0.0:81', cluster: app}}]\nclusters:\n  - name: app\n    endpoints: \
             [10.0.0.1:80, 10.0.0.2:80]\n    {key}\n"
        )
    };
    for (key, what) in table {
        let changes = diff(&config(&text(key)), &config(&text("")));
        let told: Vec<_> = changes.iter().map(|change| (change.what.clone(), change.touches)).collect();
        assert_eq!(told, [(format!("cluster app: {what}"), Touches::NewRequests)], "{key}");
    }
}

#[test]
fn sources_come_and_go() {
    let text = |endpoints: &str| {
        format!(
            "listeners: [{{name: web, bind: '0.0.0.0:81', cluster: app}}]\nclusters: [{{name: app, endpoints: \
             [{endpoints}]}}]\n"
        )
    };
    let old = config(&text("10.0.0.1:80, 'app.internal:80', 'srv:_http._tcp.app'"));
    let new = config(&text("10.0.0.1:80, 'srv:_http._tcp.app', {address: 'file:more.yaml', priority: 2, weight: 3}"));
    let told: Vec<_> = diff(&old, &new).iter().map(|change| change.what.clone()).collect();
    assert_eq!(
        told,
        [
            "cluster app: endpoints of app.internal:80: removed",
            "cluster app: endpoints of file:more.yaml: new, weight 3, priority 2",
        ]
    );
    let gone = config(&text("10.0.0.1:80").replace("app", "new"));
    let told = diff(&old, &gone).to_string();
    assert!(told.contains("cluster app: removed with its 1 endpoint and 2 sources"), "{told}");
    assert!(told.contains("cluster new: new, 1 endpoint\n"), "{told}");
}

#[test]
fn what_is_fixed_for_life_needs_a_restart() {
    let changes = edited("workers: 4", "workers: 8");
    assert!(changes.iter().all(|change| change.needs_restart));
    assert!(changes.to_string().contains("workers 4 -> 8 (needs a restart)"), "{changes}");
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
  - cluster one: health check TCP connect: removed
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

#[test]
fn of_the_admin_address_everything_is_told_but_the_tokens() {
    let admin = |value: &str, token: &'static str| {
        let text = format!(
            "admin: {value}\nlisteners: [{{name: web, bind: '127.0.0.1:80', cluster: a}}]\n\
             clusters: [{{name: a, endpoints: ['10.0.0.1:80']}}]"
        );
        let files = move |_: &str| Ok(token.as_bytes().to_vec());
        let source = weir_config::Source { name: "x", env: &|_| None, files: &files };
        weir_config::parse(&text, &source).unwrap().config
    };
    let (a, b) = ("0123456789abcdef", "fedcba9876543210");
    for (old, new, what) in [
        (admin("127.0.0.1:1", a), admin("off", a), "admin 127.0.0.1:1 -> off"),
        (admin("off", a), admin("unix:/run/a", a), "admin off -> unix:/run/a"),
        (admin("{token_file: t}", a), admin("{token_file: t}", b), "admin: token_file t: another token"),
        (admin("{token_file: t}", a), admin("{token_file: u}", a), "admin: token_file t -> u"),
        (admin("{}", a), admin("{token_file: t}", a), "admin: token_file none -> t"),
    ] {
        let changes = diff(&old, &new);
        let told: Vec<_> = changes.iter().map(|change| (&*change.what, change.touches, change.needs_restart)).collect();
        assert_eq!(told, [(what, Touches::Nothing, false)]);
    }
}
