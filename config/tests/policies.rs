//! What the keys of policies come to mean: balancing, retries, limits, ejection, discovery.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{
    Address, Balance, Cluster, EjectionAction, FailureWindow, Family, HashKey, PanicMode, Retry, SlowStart, SourceKind,
};
use weir_config::{Source, parse, parse_endpoints, parse_str};

/// The cluster with these keys, and what is strange about it.
fn cluster_and_warnings(keys: &str) -> (Arc<Cluster>, Vec<&'static str>) {
    let endpoints = if keys.contains("endpoints:") { "" } else { "endpoints: ['10.0.1.11:80', '10.0.1.12:80'], " };
    let text = format!(
        "zone: az-a\nlisteners: [{{name: web, bind: '0.0.0.0:8080', cluster: shop}}]\n\
         clusters: [{{name: shop, {endpoints}{keys}}}]\n"
    );
    let parsed = parse_str(&text).unwrap_or_else(|mistakes| panic!("{keys}: {mistakes}"));
    let codes = parsed.warnings.iter().map(|warning| warning.code).collect();
    (parsed.config.clusters[0].clone(), codes)
}

fn cluster(keys: &str) -> Arc<Cluster> {
    let (cluster, warnings) = cluster_and_warnings(keys);
    assert!(warnings.is_empty(), "{keys}: {warnings:?}");
    cluster
}

fn retry(keys: &str) -> Retry {
    let text = format!(
        "listeners: [{{name: web, bind: '0.0.0.0:8080', routes: [{{cluster: shop, {keys}}}]}}]\n\
         clusters: [{{name: shop, endpoints: ['10.0.1.11:80']}}]\n"
    );
    parse_str(&text).unwrap().config.listeners[0].routes[0].retry.clone()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn window(threshold: f64, window: Duration, minimum_requests: u32) -> FailureWindow {
    FailureWindow { threshold, window, minimum_requests: count(minimum_requests) }
}

#[test]
fn without_a_word_a_cluster_is_protected() {
    let cluster = cluster("");
    let outlier = cluster.outlier.as_ref().unwrap();
    assert_eq!(outlier.consecutive.any_5xx, Some(count(5)));
    assert_eq!((outlier.consecutive.gateway, outlier.consecutive.local_origin), (None, None));
    assert_eq!(outlier.windows, [window(50.0, seconds(10), 20), window(30.0, seconds(300), 50)]);
    assert_eq!((outlier.confidence, outlier.action), (0.95, EjectionAction::Eject));
    assert_eq!((outlier.max_ejection_percent, outlier.correlated_percent, outlier.jitter_percent), (34, 30, 20));
    assert_eq!((outlier.base_ejection_time, outlier.max_ejection_time), (seconds(30), seconds(300)));
    assert_eq!((outlier.probation_requests, outlier.probation_successes), (count(1), count(3)));
    let breaker = &cluster.breaker;
    assert_eq!((breaker.max_connections, breaker.max_requests, breaker.max_retries), (None, None, None));
    assert_eq!((breaker.max_pending_requests, breaker.queue_timeout), (1024, seconds(1)));
    assert_eq!((breaker.per_endpoint.max_connections, breaker.per_endpoint.max_requests), (None, None));
    assert_eq!(breaker.failure_rate, None);
    let budget = cluster.retry_budget;
    assert_eq!((budget.concurrent_percent, budget.min_concurrent), (20, 20));
    assert_eq!((budget.percent, budget.min_retries, budget.window), (10, 20, seconds(10)));
    assert_eq!((cluster.panic.mode, cluster.panic.threshold), (PanicMode::LeastBad, 50));
    assert!(cluster.zone_aware.enabled && cluster.zone_aware.shares.is_empty());
    assert_eq!((cluster.zone_aware.min_endpoints, cluster.overprovisioning), (3, 140));
    assert_eq!(cluster.slow_start, Some(SlowStart { window: seconds(30), aggression: 1.0, minimum_percent: 5 }));
    assert_eq!((cluster.connect.keepalive, cluster.connect.user_timeout), (Some(seconds(30)), None));
    assert!(cluster.connect.local_addresses.is_empty() && cluster.connect.source_ports.is_none());
    assert_eq!(cluster.hash.keys, [HashKey::SourceAddress]);
    assert_eq!((cluster.hash.bounded_load, cluster.hash.table_size), (Some(125), 65_537));
    assert_eq!((cluster.hash.minimum_ring_size, cluster.hash.maximum_ring_size), (1024, 8_388_608));
    assert_eq!(cluster.sticky, None);
    let resolve = &cluster.resolve;
    assert!(resolve.servers.is_empty() && resolve.family == Family::Both);
    assert_eq!((resolve.timeout, resolve.min_ttl, resolve.max_ttl), (seconds(2), seconds(1), seconds(300)));
    assert_eq!((resolve.max_stale, resolve.confirm_removal), (Some(seconds(600)), 2));
    assert_eq!(retry(""), Retry::default());
}

#[test]
fn what_is_switched_off_is_off() {
    for off in ["off", "false"] {
        let cluster = cluster(&format!(
            "outlier_detection: {off}, slow_start: {off}, zone_aware: {off}, panic: {off}, sticky: {off}, \
             connect: {{keepalive: {off}}}, circuit_breaker: {{failure_rate: {off}}}, \
             balance: maglev, hash: {{bounded_load: {off}}}"
        ));
        assert!(cluster.outlier.is_none() && cluster.slow_start.is_none() && cluster.sticky.is_none());
        assert!(!cluster.zone_aware.enabled && cluster.panic.mode == PanicMode::Off);
        assert!(cluster.connect.keepalive.is_none() && cluster.breaker.failure_rate.is_none());
        assert_eq!(cluster.hash.bounded_load, None);
        assert_eq!(retry(&format!("retry: {off}")).attempts.get(), 1);
    }
    assert_eq!(cluster("slow_start: 0s").slow_start, None);
    let (rules_off, _) = cluster_and_warnings("outlier_detection: {consecutive_5xx: off, failure_percentage: off}");
    let outlier = rules_off.outlier.as_ref().unwrap();
    assert!(outlier.consecutive.any_5xx.is_none() && outlier.windows.is_empty());
    assert!(
        cluster("zone_aware: true, endpoints: {az-a: ['10.0.0.1:1', '10.0.0.2:1', '10.0.0.3:1']}").zone_aware.enabled
    );
}

#[test]
fn retries() {
    assert_eq!(retry("retry: 2").attempts.get(), 2);
    assert_eq!(retry("retry: {}"), Retry::default());
    let full = retry(
        "retry: {attempts: 4, on: [refused, reset_before_response, per-try-timeout, 503, '504', 5xx, gateway-error, 429], \
         per_try_timeout: 500ms, backoff: {base: 10ms, max: 1s}, body_bytes: 1MiB}",
    );
    assert!(full.on.connect_failure && full.on.reset && full.on.timeout);
    assert_eq!(full.on.statuses, std::iter::once(429).chain(500..=599).collect::<Vec<u16>>());
    assert_eq!((full.attempts.get(), full.per_try_timeout), (4, Some(Duration::from_millis(500))));
    assert_eq!((full.backoff_base, full.backoff_max), (Duration::from_millis(10), seconds(1)));
    assert_eq!(full.body_bytes, 1 << 20);
    let one = retry("retry: {on: 503}");
    assert!(!one.on.connect_failure && !one.on.reset && !one.on.timeout);
    assert_eq!(one.on.statuses, [503]);
}

#[test]
fn limits_and_ejection() {
    let cluster = cluster(
        "outlier_detection: {consecutive_5xx: 7, consecutive_gateway: 6, consecutive_local_origin: 5, \
         failure_percentage: {threshold: 12.5, window: 1m}, confidence: 0, action: reduce, max_ejection_percent: 100, \
         correlated_percent: 100, base_ejection_time: 1s, max_ejection_time: 1s, jitter: 0, \
         probation: {requests: 2, successes: 1}}, \
         circuit_breaker: {max_connections: 20, max_requests: 10, max_pending_requests: 5, max_retries: 2, \
         queue_timeout: 100ms, per_endpoint: {max_connections: 15, max_requests: 7}, \
         failure_rate: {threshold: 40, window: 5s, minimum_requests: 3, open: 1s, max_open: 2s, trials: 2, successes: 4}}, \
         retry_budget: {concurrent_percent: 0, min_concurrent: 1, percent: 100, min_retries: 0, window: 1s}",
    );
    let outlier = cluster.outlier.as_ref().unwrap();
    assert_eq!(outlier.windows, [window(12.5, seconds(60), 20)]);
    assert_eq!(outlier.consecutive.gateway, Some(count(6)));
    assert_eq!(outlier.consecutive.local_origin, Some(count(5)));
    assert_eq!((outlier.action, outlier.confidence), (EjectionAction::Reduce, 0.0));
    assert_eq!((outlier.probation_requests, outlier.probation_successes), (count(2), count(1)));
    let breaker = &cluster.breaker;
    assert_eq!((breaker.max_connections, breaker.max_requests), (Some(count(20)), Some(count(10))));
    assert_eq!((breaker.max_pending_requests, breaker.max_retries), (5, Some(count(2))));
    let each = breaker.per_endpoint;
    assert_eq!((each.max_connections, each.max_requests), (Some(count(15)), Some(count(7))));
    let rate = breaker.failure_rate.as_ref().unwrap();
    assert_eq!(rate.window, window(40.0, seconds(5), 3));
    assert_eq!((rate.open, rate.max_open, rate.trials, rate.successes), (seconds(1), seconds(2), count(2), count(4)));
    assert_eq!(cluster.retry_budget.percent, 100);
}

#[test]
fn one_window_or_several() {
    let one = cluster("outlier_detection: {failure_percentage: {threshold: 30, window: 5m, minimum_requests: 20}}");
    let list = cluster("outlier_detection: {failure_percentage: [{threshold: 30, window: 5m, minimum_requests: 20}]}");
    assert_eq!(one.outlier, list.outlier);
    assert_eq!(one.outlier.as_ref().unwrap().windows, [window(30.0, seconds(300), 20)]);
}

#[test]
fn picking() {
    for (word, balance) in [
        ("round_robin", Balance::RoundRobin),
        ("least_request", Balance::LeastRequest),
        ("random", Balance::Random),
        ("ewma", Balance::Ewma),
        ("ring_hash", Balance::RingHash),
        ("maglev", Balance::Maglev),
    ] {
        assert_eq!(cluster(&format!("balance: {word}")).balance, balance);
    }
    let hashed =
        cluster("balance: maglev, hash: {key: [{header: X-User-Id}, {cookie: Uid}, {query: U}], table_size: 17}");
    assert_eq!(
        hashed.hash.keys,
        [HashKey::Header("x-user-id".into()), HashKey::Cookie("Uid".into()), HashKey::Query("U".into())]
    );
    assert_eq!(hashed.hash.table_size, 17);
    assert_eq!(cluster("balance: maglev, hash: {key: {cookie: id}}").hash.keys, [HashKey::Cookie("id".into())]);
    assert_eq!(cluster("balance: maglev, hash: {key: source_address}").hash.keys, [HashKey::SourceAddress]);
    let sticky = cluster("sticky: {}").sticky.clone().unwrap();
    assert_eq!((&*sticky.cookie, sticky.ttl, &*sticky.path), ("weir-sticky", None, "/"));
    let sticky = cluster("sticky: {cookie: id, ttl: 1h, path: /shop}").sticky.clone().unwrap();
    assert_eq!((&*sticky.cookie, sticky.ttl, &*sticky.path), ("id", Some(seconds(3600)), "/shop"));
    let panic = cluster("panic: {mode: all_hosts, threshold: 30}").panic;
    assert_eq!((panic.mode, panic.threshold), (PanicMode::AllHosts, 30));
    assert_eq!(cluster("panic: all_hosts").panic.threshold, 50);
    let ramp = cluster("slow_start: {window: 1m, aggression: 2, minimum_percent: 10}").slow_start.unwrap();
    assert_eq!(ramp, SlowStart { window: seconds(60), aggression: 2.0, minimum_percent: 10 });
    assert_eq!(cluster("slow_start: 1m").slow_start.unwrap().window, seconds(60));
}

#[test]
fn endpoints_and_where_more_are_found() {
    let cluster = cluster(
        "endpoints: {az-a: ['10.0.0.1:80', {address: 'unix:/run/app.sock', priority: 15, weight: 3}, 'App.Internal.:80'], \
         az-b: [{address: 'srv:_http._tcp.app.internal', priority: 2}, 'file:lists/app.yaml', '[::1]:80']}",
    );
    let fixed: Vec<_> = cluster
        .endpoints
        .iter()
        .map(|e| (e.address.to_string(), e.zone.as_ref().unwrap().as_str(), e.weight.get(), e.priority))
        .collect();
    assert_eq!(
        fixed,
        [
            ("10.0.0.1:80".to_owned(), "az-a", 1, 0),
            ("unix:/run/app.sock".to_owned(), "az-a", 3, 15),
            ("[::1]:80".to_owned(), "az-b", 1, 0)
        ]
    );
    assert_eq!(cluster.endpoints[1].address, Address::Unix(Arc::from(Path::new("/run/app.sock"))));
    let kinds: Vec<_> = cluster.sources.iter().map(|source| source.kind.clone()).collect();
    assert_eq!(
        kinds,
        [
            SourceKind::Name { host: "app.internal".into(), port: 80 },
            SourceKind::Srv("_http._tcp.app.internal".into()),
            SourceKind::File(PathBuf::from("lists/app.yaml")),
        ]
    );
    assert_eq!((cluster.sources[0].zone.as_ref().unwrap().as_str(), cluster.sources[1].priority), ("az-a", 2));
}

#[test]
fn a_cluster_of_sources_alone_is_one() {
    for endpoint in ["app.internal:80", "srv:app.internal", "file:app.yaml"] {
        let cluster = cluster(&format!("endpoints: ['{endpoint}']"));
        assert!(cluster.endpoints.is_empty() && cluster.sources.len() == 1, "{endpoint}");
    }
}

#[test]
fn dialing_and_resolving() {
    let cluster = cluster(
        "endpoints: ['app.internal:80'], \
         connect: {timeout: 2s, keepalive: 1m, user_timeout: 5s, local_address: [10.0.0.5, '::1'], source_ports: 20000-29999}, \
         resolve: {servers: [10.0.0.2, '[::1]:5353'], family: ipv4, timeout: 1s, min_ttl: 100ms, max_ttl: 1m, \
         max_stale: forever, confirm_removal: 1}",
    );
    let connect = &cluster.connect;
    assert_eq!((connect.keepalive, connect.user_timeout), (Some(seconds(60)), Some(seconds(5))));
    assert_eq!(connect.local_addresses.len(), 2);
    assert_eq!(connect.source_ports, Some(20_000..=29_999));
    let resolve = &cluster.resolve;
    let servers: Vec<_> = resolve.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.2:53", "[::1]:5353"]);
    assert_eq!((resolve.family, resolve.max_stale, resolve.confirm_removal), (Family::V4, None, 1));
    let drop = self::cluster("endpoints: ['app.internal:80'], resolve: {max_stale: 0s}");
    assert_eq!(drop.resolve.max_stale, Some(Duration::ZERO));
}

#[test]
fn variables_stand_in_the_new_places_too() {
    let env = |name: &str| match name {
        "N" => Some("2".to_owned()),
        "OFF" => Some("off".to_owned()),
        "SHARE" => Some("0.9".to_owned()),
        "WAIT" => Some("3s".to_owned()),
        _ => None,
    };
    let text = "
listeners: [{name: web, bind: '0.0.0.0:80', routes: [{cluster: shop, retry: '${N}'}]}]
clusters:
  - name: shop
    endpoints: ['app-${N}.internal:80']
    slow_start: ${WAIT}
    sticky: ${OFF}
    circuit_breaker: {failure_rate: '${OFF}'}
    outlier_detection: {confidence: '${SHARE}', consecutive_5xx: '${N}', consecutive_gateway: '${OFF}'}
";
    let config = parse(text, &Source { name: "x", env: &env, files: &weir_config::no_files }).unwrap().config;
    assert_eq!(config.listeners[0].routes[0].retry.attempts.get(), 2);
    let cluster = &config.clusters[0];
    assert_eq!(cluster.sources[0].kind.to_string(), "app-2.internal:80");
    assert_eq!(cluster.slow_start.unwrap().window, seconds(3));
    let outlier = cluster.outlier.as_ref().unwrap();
    assert_eq!((outlier.confidence, outlier.consecutive.any_5xx), (0.9, Some(count(2))));
}

/// E7: a rule that can never fire is told before it is needed.
#[test]
fn e7_a_rule_that_never_fires_is_told() {
    let fires = "failure_percentage: {threshold: 99, window: 10s}";
    let never = "failure_percentage: {threshold: 100, window: 10s}";
    let codes = |keys: &str| cluster_and_warnings(keys).1;
    assert!(codes(&format!("outlier_detection: {{{fires}}}")).is_empty());
    assert!(codes(&format!("outlier_detection: {{{never}, confidence: 0}}")).is_empty());
    assert_eq!(codes(&format!("outlier_detection: {{{never}}}")), ["never_fires"]);
    // One endpoint: told if the rule was asked for, not if it is the default.
    assert!(codes("endpoints: ['10.0.0.1:80']").is_empty());
    assert!(codes("endpoints: ['app.internal:80'], outlier_detection: {}").is_empty());
    assert!(codes("endpoints: ['10.0.0.1:80'], outlier_detection: {action: observe}").is_empty());
    assert_eq!(codes("endpoints: ['10.0.0.1:80'], outlier_detection: {}"), ["never_fires"]);
    assert_eq!(codes("endpoints: ['10.0.0.1:80'], outlier_detection: {consecutive_5xx: 3}"), ["never_fires"]);
}

fn list(text: &str) -> Result<Vec<String>, Vec<&'static str>> {
    let source = Source {
        name: "endpoints.yaml",
        env: &|name| (name == "HOST").then(|| "10.0.0.9".to_owned()),
        files: &weir_config::no_files,
    };
    match parse_endpoints(text, &source) {
        Ok(list) => Ok(list
            .iter()
            .map(|e| {
                let zone = e.zone.as_ref().map_or("-", |zone| zone.as_str());
                format!("{} {zone} {} {}", e.address, e.weight.get(), e.priority)
            })
            .collect()),
        Err(mistakes) => Err(mistakes.iter().map(|mistake| mistake.code).collect()),
    }
}

#[test]
fn files_of_endpoints() {
    let good: [(&str, &[&str]); 5] = [
        ("[]", &[]),
        ("{}", &[]),
        ("- 10.0.0.1:80\n- unix:/run/a.sock\n", &["10.0.0.1:80 - 1 0", "unix:/run/a.sock - 1 0"]),
        (
            "az-a: [10.0.0.1:80]\naz-b: [{address: '[::1]:80', weight: 0, priority: 1}]\n",
            &["10.0.0.1:80 az-a 1 0", "[::1]:80 az-b 0 1"],
        ),
        ("- {address: '${HOST}:80', zone: az-c}", &["10.0.0.9:80 az-c 1 0"]),
    ];
    for (text, expected) in good {
        assert_eq!(list(text).unwrap(), expected, "{text}");
    }
    let bad: [(&str, &[&str]); 8] = [
        ("", &["empty_file"]),
        ("# nothing yet\n", &["empty_file"]),
        ("10.0.0.1:80", &["wrong_type"]),
        ("- app.internal:80\n- srv:app.internal\n- file:more.yaml\n", &["not_fixed", "not_fixed", "not_fixed"]),
        (
            "- 10.0.0.1\n- 10.0.0.2:0\n- {address: 10.0.0.3:80, weight: -1}\n",
            &["missing_port", "bad_port", "negative_weight"],
        ),
        ("- 10.0.0.1:80\n- 10.0.0.1:80\n", &["duplicate_endpoint"]),
        ("az-a: 10.0.0.1:80", &["wrong_type"]),
        ("- [", &["syntax"]),
    ];
    for (text, expected) in bad {
        assert_eq!(list(text).unwrap_err(), expected, "{text}");
    }
}
