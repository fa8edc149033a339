//! What a text comes to mean.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use weir_config::model::{
    Address, Admin, Balance, CheckKind, Config, Dialogue, HeaderMatch, HeaderTest, HostPattern, LogFormat, LogTarget,
    PathMatch, Target,
};
use weir_config::{Source, parse};

fn config(text: &str) -> Config {
    let source = Source { name: "any", env: &|_| None, files: &beside };
    parse(text, &source).unwrap().config
}

/// Files beside the examples.
fn beside(name: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name))
}

const LISTENERS: &str = "listeners: [{name: web, bind: '0.0.0.0:8080', cluster: shop}]\n";
const CLUSTERS: &str = "clusters: [{name: shop, endpoints: ['10.0.1.11:8080']}]\n";

/// As users write it already.
const CHECK: &str = "
health_checks:
  - timeout: 1s
    interval: 5s
    unhealthy_threshold: 3
    healthy_threshold: 2
    http_health_check:
      path: /healthz
      expected_statuses: [200]
";

#[test]
fn the_known_health_check_loads_as_it_stands() {
    let indented = CHECK.replace('\n', "\n    ");
    let text = format!("{LISTENERS}clusters:\n  - name: shop\n    endpoints: [10.0.1.11:8080]\n{indented}\n");
    let config = config(&text);
    let check = &config.clusters[0].health_checks[0];
    assert_eq!((check.timeout, check.interval), (Duration::from_secs(1), Duration::from_secs(5)));
    assert_eq!((check.unhealthy_threshold.get(), check.healthy_threshold.get()), (3, 2));
    assert_eq!((check.fast_interval, check.down_interval), (Duration::from_secs(1), Duration::from_secs(10)));
    assert_eq!((check.jitter_percent, check.port), (10, None));
    let CheckKind::Http(http) = &check.kind else { panic!("{check:?}") };
    assert_eq!((&*http.path, &*http.method, &http.host), ("/healthz", "GET", &None));
    assert_eq!(http.expected_statuses, [200..=200]);
}

#[test]
fn defaults() {
    let config = config(&format!("{LISTENERS}{CLUSTERS}"));
    assert_eq!(config.admin, Some(Admin::at(vec![Address::Ip("127.0.0.1:9900".parse().unwrap())])));
    assert_eq!((config.zone, config.workers, config.access_log), (None, None, None));
    assert_eq!(config.max_concurrent_probes, NonZeroU32::new(512).unwrap());
    assert_eq!((config.shutdown.delay, config.shutdown.timeout), (Duration::ZERO, Duration::from_secs(60)));
    let listener = &config.listeners[0];
    let timeouts = &listener.timeouts;
    assert_eq!((timeouts.header, timeouts.idle), (Duration::from_secs(10), Duration::from_secs(60)));
    assert_eq!(timeouts.stream_idle, Duration::from_secs(300));
    let limits = &listener.limits;
    assert_eq!((limits.connections, limits.body_bytes), (None, None));
    assert_eq!((limits.header_bytes, limits.header_count, limits.uri_bytes), (32 << 10, 100, 8 << 10));
    assert_eq!(limits.body_min_rate, 1024);
    let headers = &listener.headers;
    assert!(headers.x_forwarded && headers.request_id && headers.reason && !headers.forwarded);
    assert!(listener.trusted_proxies.is_empty());
    let route = &listener.routes[0];
    assert_eq!(route.matches, Default::default());
    assert_eq!((route.timeout, route.body_bytes, route.line), (Duration::from_secs(15), None, 1));
    let cluster = &config.clusters[0];
    assert_eq!(cluster.balance, Balance::RoundRobin);
    assert_eq!(cluster.connect.timeout, Duration::from_secs(1));
    assert_eq!((cluster.pool.idle_timeout, cluster.pool.max_idle), (Duration::from_secs(30), 256));
    assert!(cluster.health_checks.is_empty());
    assert_eq!((cluster.endpoints[0].weight.get(), &cluster.endpoints[0].zone), (1, &None));
}

#[test]
fn every_key_arrives() {
    let config = config(include_str!("../examples/full.yaml"));
    assert_eq!(config.zone.unwrap().as_str(), "az-a");
    assert_eq!(config.workers, NonZeroU16::new(4));
    let log = config.access_log.unwrap();
    assert_eq!((log.target, log.format, log.sample), (LogTarget::Stdout, LogFormat::Json, 0.1));
    let web = &config.listeners[0];
    assert_eq!(web.bind.len(), 2);
    assert_eq!((web.limits.connections, web.limits.body_bytes), (NonZeroU32::new(10_000), Some(10 << 20)));
    assert!(web.trusts("10.9.9.9".parse().unwrap()) && !web.trusts("192.0.2.8".parse().unwrap()));
    let route = &web.routes[0];
    assert_eq!(route.name.as_ref().unwrap().as_str(), "canary-orders");
    assert_eq!(
        route.matches.hosts,
        [HostPattern::Exact("shop.example".into()), HostPattern::Wildcard(".shop.example".into())]
    );
    assert_eq!(route.matches.path, PathMatch::Prefix("/orders".into()));
    assert_eq!(route.matches.methods, ["GET", "HEAD"]);
    let header = |name: &str, test| HeaderMatch { name: name.into(), test };
    assert_eq!(
        route.matches.headers,
        [
            header("x-canary", HeaderTest::Exact("1".into())),
            header("x-employee", HeaderTest::Present),
            header("x-internal", HeaderTest::Absent),
        ]
    );
    assert_eq!((route.timeout, route.body_bytes), (Duration::from_secs(10), Some(100 << 20)));
    assert_eq!(web.routes[1].matches.path, PathMatch::Exact("/favicon.ico".into()));
    assert!(web.routes.windows(2).all(|pair| pair[0].line < pair[1].line));
    let Target::Cluster(internal) = &config.listeners[1].routes[0].target else { panic!("a cluster") };
    assert_eq!(internal.as_str(), "web-v1");
    let orders = &config.clusters[0];
    let zones: Vec<_> = orders.endpoints.iter().map(|e| (e.zone.as_ref().unwrap().as_str(), e.weight.get())).collect();
    assert_eq!(zones, [("az-a", 1), ("az-a", 2), ("az-b", 1), ("az-c", 1)]);
    let check = &orders.health_checks[0];
    let CheckKind::Http(http) = &check.kind else { panic!("{check:?}") };
    // Envoy's `end` does not count.
    assert_eq!(http.expected_statuses, [200..=200, 204..=206, 300..=399, 400..=403]);
    assert_eq!(http.headers, [("x-probe".to_owned(), "weir".to_owned())]);
    assert_eq!((http.host.as_deref(), http.expected_body.as_deref()), (Some("shop.example"), Some("ok")));
    assert_eq!(check.port, NonZeroU16::new(8081));
    assert_eq!(orders.health_checks[1].kind, CheckKind::Tcp(Dialogue::default()));
    assert_eq!(config.clusters[1].endpoints[1].zone.as_ref().unwrap().as_str(), "az-b");
}

#[test]
fn short_forms() {
    let text = "
admin: off
access_log: /var/log/weir.log
listeners:
  - name: web
    bind: 0.0.0.0:0
    trusted_proxies: 10.0.0.0/8
    routes:
      - match: {host: Shop.Example, method: GET, path_prefix: /a/, header: {x-a: 1, x-b: true}}
        cluster: shop
      - match:
        cluster: shop
clusters:
  - name: shop
    endpoints: ['[::1]:8080']
    health_checks:
      - {tcp_health_check: }
      - {http_health_check: {expected_statuses: 2xx}}
";
    let config = config(text);
    assert_eq!(config.admin, None);
    assert_eq!(config.access_log.unwrap().target, LogTarget::File(PathBuf::from("/var/log/weir.log")));
    let matches = &config.listeners[0].routes[0].matches;
    assert_eq!(matches.hosts, [HostPattern::Exact("shop.example".into())]);
    assert_eq!(matches.path, PathMatch::Prefix("/a".into()));
    assert_eq!(matches.headers[0].test, HeaderTest::Exact("1".into()));
    assert_eq!(matches.headers[1].test, HeaderTest::Exact("true".into()));
    let checks = &config.clusters[0].health_checks;
    assert_eq!(checks[0].kind, CheckKind::Tcp(Dialogue::default()));
    let CheckKind::Http(http) = &checks[1].kind else { panic!("{checks:?}") };
    assert_eq!(http.expected_statuses, [200..=299]);
}

#[test]
fn variables_stand_for_any_scalar() {
    let env = |name: &str| match name {
        "W" => Some("7".to_owned()),
        "PORT" => Some("9090".to_owned()),
        "ON" => Some("true".to_owned()),
        "SAMPLE" => Some("0.5".to_owned()),
        "STATUS" => Some("204".to_owned()),
        "EVIL" => Some("x\", admin: \"off".to_owned()),
        _ => None,
    };
    let text = "
access_log: {path: '-', sample: '${SAMPLE}'}
listeners:
  - name: web
    bind: 127.0.0.1:${PORT}
    headers: {forwarded: '${ON}'}
    cluster: ${NAME:-shop}
clusters:
  - name: shop
    endpoints: [{address: '10.0.0.1:${PORT}', weight: '${W}'}]
    health_checks:
      - port: ${PORT}
        interval: ${W}s
        http_health_check: {expected_statuses: ['${STATUS}'], expected_body: '${EVIL} $$ $1'}
";
    let config = parse(text, &Source { name: "x", env: &env, files: &beside }).unwrap().config;
    assert_eq!(config.access_log.unwrap().sample, 0.5);
    assert!(matches!(config.listeners[0].bind[0], Address::Ip(address) if address.port() == 9090));
    assert!(config.listeners[0].headers.forwarded);
    let cluster = &config.clusters[0];
    assert_eq!((cluster.endpoints[0].weight.get(), cluster.endpoints[0].address.ip().unwrap().port()), (7, 9090));
    assert_eq!(cluster.health_checks[0].interval, Duration::from_secs(7));
    let CheckKind::Http(http) = &cluster.health_checks[0].kind else { panic!() };
    assert_eq!(http.expected_statuses, [204..=204]);
    // What a variable holds is text, never YAML.
    assert_eq!(http.expected_body.as_deref(), Some("x\", admin: \"off $ $1"));
    assert!(config.admin.is_some());
}

#[test]
fn anchors_and_merges_work() {
    let text = "
listeners: [{name: web, bind: '0.0.0.0:8080', routes: [{match: {path: /a}, cluster: a}, {cluster: b}]}]
clusters:
  - &a {name: a, balance: random, endpoints: ['10.0.1.11:8080']}
  - {<<: *a, name: b}
";
    let config = config(text);
    assert_eq!(config.clusters[1].name.as_str(), "b");
    assert_eq!(config.clusters[1].balance, Balance::Random);
    assert_eq!(config.clusters[1].endpoints, config.clusters[0].endpoints);
}

#[test]
fn line_ends_and_byte_order_marks_do_not_matter() {
    let text = format!("# a comment\n{LISTENERS}{CLUSTERS}");
    let plain = config(&text);
    assert_eq!(config(&text.replace('\n', "\r\n")), plain);
    assert_eq!(config(&format!("\u{feff}{text}")), plain);
    assert_eq!(config(&format!("---\n{text}...\n")).clusters, plain.clusters);
}

#[test]
fn the_admin_address_has_a_long_form() {
    let beside = |name: &str| match name {
        "admin.token" => Ok(b"0123456789abcdef\n".to_vec()),
        "read.token" => Ok(b"fedcba9876543210".to_vec()),
        _ => beside(name),
    };
    let admin = |value: &str| {
        let text = format!("admin: {value}\n{LISTENERS}{CLUSTERS}");
        parse(&text, &Source { name: "x", env: &|_| None, files: &beside }).unwrap().config.admin.unwrap()
    };
    let long = admin(
        "{bind: [0.0.0.0:9900, 'unix:/run/weir.sock'], token_file: admin.token, read_token_file: read.token, \
         hosts: Weir.Example}",
    );
    assert_eq!(long.bind.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0.0.0.0:9900", "unix:/run/weir.sock"]);
    assert!(long.token.unwrap().is(b"0123456789abcdef") && long.read_token.unwrap().is(b"fedcba9876543210"));
    assert_eq!((long.tls, long.hosts), (None, vec!["weir.example".to_owned()]));
    assert_eq!(admin("{token_file: admin.token}").bind, admin("127.0.0.1:9900").bind);
    assert_eq!(admin("unix:/run/weir.sock").bind.len(), 1);
}
