//! The table against what a scrape shows.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use weir_config::model::{Certificate, ClusterName, Config, PrivateKey, ServerTls, SourceKind, Tickets, TlsVersion};
use weir_core::attempt::Class;
use weir_core::control::{Control, Event, SourceKey};
use weir_core::dice::Dice;
use weir_core::discovery::FailureKind;
use weir_core::reason::Reason;
use weir_core::retry::Denied;
use weir_core::time::Moment;

use super::*;

const CONFIG: &str = "\
listeners: [{name: web, bind: '127.0.0.1:80', cluster: app, rate_limit: {requests: 5}, limits: {connections: 9}},
            {name: names, bind: '127.0.0.1:53', protocol: udp, cluster: app}]
clusters:
  - name: app
    endpoints: [{address: '10.0.0.1:80', zone: az-a}, {address: '10.0.0.2:80', zone: az-a}, 'app.internal:80']
    health_checks: [{http_health_check: {path: /}}]
    circuit_breaker: {max_requests: 10}
  - {name: app2, endpoints: ['10.0.0.3:80']}
  - {name: app3, endpoints: ['10.0.0.4:80']}
releases:
  - name: apps
    key: {header: x-user-id}
    stable: app
    canaries: [{cluster: app2, weight: 25, rollout: {steps: [5, 25]}}]
    mirror: {cluster: app3, percent: 10}
";

struct Scene {
    snapshot: Arc<Snapshot>,
    control: ControlMetrics,
    metrics: Metrics,
}

fn scene(text: &str) -> Scene {
    scene_of(weir_config::parse_str(text).unwrap().config)
}

fn scene_of(config: Config) -> Scene {
    let config = Arc::new(config);
    let mut core = Control::new(2, Dice::new(1));
    core.step(Moment::ZERO, Event::Configured(Arc::clone(&config)), &mut Vec::new());
    let snapshot = core.publish(Moment::ZERO).unwrap();
    let control = ControlMetrics::new().unwrap();
    control.adopt(None, &config);
    control.canaries(core.releases());
    let truth = Arc::new(ArcSwap::new(Arc::clone(&snapshot)));
    let metrics = Metrics::new(Registry::new(), truth, &control, Arc::default()).unwrap();
    Scene { snapshot, control, metrics }
}

/// With a certificate of which only the file and the dates matter.
fn tls() -> ServerTls {
    let certificate = Certificate {
        file: "a.pem".into(),
        chain: Vec::new(),
        key: PrivateKey::Pkcs8(Vec::new()),
        ocsp: None,
        names: Vec::new(),
        subject: String::new(),
        not_before: SystemTime::UNIX_EPOCH,
        not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    };
    ServerTls {
        certificates: vec![Arc::new(certificate)],
        alpn: Vec::new(),
        min_version: TlsVersion::V12,
        clients: None,
        tickets: Tickets::Own,
        handshake_timeout: Duration::from_secs(10),
        max_handshakes: 1,
    }
}

fn source() -> SourceKey {
    let kind = SourceKind::Name { host: "app.internal".into(), port: 80 };
    SourceKey { cluster: ClusterName::new("app").unwrap(), kind }
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|shown| shown == line)
}

#[test]
fn every_metric_of_the_table_is_shown_and_no_other() {
    // What TCP measured is there for endpoints that somebody is connected to.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap();
    let _connection = std::net::TcpStream::connect(endpoint).unwrap();
    let text = CONFIG.replace("10.0.0.3:80", &endpoint.to_string());
    let mut config = weir_config::parse_str(&text).unwrap().config;
    Arc::make_mut(&mut config.listeners[0]).tls = Some(tls());
    let Scene { snapshot, control, metrics } = scene_of(config);
    let member = &snapshot.clusters[0].members[0];
    // These have no series before something happens.
    snapshot.listeners[0].lanes[0].1.of(0).calls[0].add(1);
    control.answered(&source(), None, SystemTime::UNIX_EPOCH);
    member.load.of(0).classes[Class::Connect.index()].add(1);
    member.load.of(0).failures[Reason::ConnectRefused].add(1);
    control.transition(&member.key, weir_core::endpoint::Status::Healthy, SystemTime::UNIX_EPOCH);
    let text = metrics.render().unwrap();
    let shown: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut table: BTreeSet<&str> = table::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(table.len(), table::ALL.len(), "a name is there twice");
    // Nobody ramps up at the start of a process.
    table.remove(table::ENDPOINT_SHARE.name);
    assert_eq!(shown, table);
    for metric in table::ALL {
        assert!(metric.help.ends_with('.'), "{}", metric.name);
        assert_eq!(
            metric.name.ends_with("_total"),
            metric.kind == prometheus::proto::MetricType::COUNTER,
            "{}",
            metric.name
        );
    }
    let used: BTreeSet<&str> = table::ALL.iter().flat_map(|metric| metric.labels).copied().collect();
    let told: Vec<&str> = table::LABELS.iter().map(|(label, _)| *label).collect();
    assert_eq!(told, Vec::from_iter(used));
}

#[test]
fn workers_counts_are_added_up() {
    let Scene { snapshot, metrics, .. } = scene(CONFIG);
    let (listener, member) = (&snapshot.listeners[0], &snapshot.clusters[0].members[1]);
    for worker in 0..2 {
        let release = snapshot.releases[0].loads[1].of(worker);
        release.requests[4].add(3);
        release.errors.add(3);
        release.moved.add(1);
        let lane = listener.lanes[0].1.of(worker);
        lane.requests[1].add(2);
        lane.duration.observe(Duration::from_millis(3));
        listener.load.of(worker).reasons[Reason::NoRoute].add(1);
        member.load.of(worker).answers[4].add(7);
    }
    listener.load.of(0).open.sub(1);
    let text = metrics.render().unwrap();
    for line in [
        "weir_requests_total{cluster=\"app\",code_class=\"2xx\",listener=\"web\"} 4",
        "weir_requests_total{cluster=\"app\",code_class=\"5xx\",listener=\"web\"} 0",
        "weir_requests_total{cluster=\"\",code_class=\"none\",listener=\"web\"} 0",
        "weir_request_duration_seconds_bucket{cluster=\"app\",listener=\"web\",le=\"0.0025\"} 0",
        "weir_request_duration_seconds_bucket{cluster=\"app\",listener=\"web\",le=\"0.005\"} 2",
        "weir_request_duration_seconds_bucket{cluster=\"app\",listener=\"web\",le=\"+Inf\"} 2",
        "weir_request_duration_seconds_count{cluster=\"app\",listener=\"web\"} 2",
        "weir_responses_total{listener=\"web\",reason=\"no_route\"} 2",
        "weir_responses_total{listener=\"web\",reason=\"internal\"} 0",
        "weir_listener_connections{listener=\"web\"} 0",
        "weir_upstream_answers_total{cluster=\"app\",code_class=\"5xx\",endpoint=\"10.0.0.2:80\",zone=\"az-a\"} 14",
        "weir_endpoint_state{cluster=\"app\",endpoint=\"10.0.0.1:80\",state=\"unknown\",zone=\"az-a\"} 1",
        "weir_endpoint_up{cluster=\"app\",endpoint=\"10.0.0.1:80\",zone=\"az-a\"} 0",
        "weir_cluster_endpoints{cluster=\"app\"} 2",
        "weir_zone_endpoints{cluster=\"app\",state=\"unknown\",zone=\"az-a\"} 2",
        "weir_zone_endpoints{cluster=\"app\",state=\"healthy\",zone=\"az-a\"} 0",
        "weir_listener_connections_limit{listener=\"web\"} 9",
        "weir_health_checks_total{cluster=\"app\",result=\"failed\",type=\"http\"} 0",
        "weir_health_transitions_total{cluster=\"app\",to=\"unhealthy\"} 0",
        "weir_config_reloads_total{result=\"rejected\"} 0",
        "weir_panics_total 0",
        "weir_release_weight{release=\"apps\",version=\"app\"} 0.95",
        "weir_release_weight{release=\"apps\",version=\"app2\"} 0.05",
        "weir_release_requests_total{code_class=\"5xx\",release=\"apps\",version=\"app2\"} 6",
        "weir_release_errors_total{release=\"apps\",version=\"app2\"} 6",
        "weir_release_moved_total{release=\"apps\",version=\"app2\"} 2",
        "weir_release_unattributed_total{release=\"apps\"} 0",
        "weir_release_verdict{release=\"apps\",verdict=\"insufficient_data\",version=\"app2\"} 1",
        "weir_release_verdict{release=\"apps\",verdict=\"promote\",version=\"app2\"} 0",
        "weir_rollout_phase{phase=\"advancing\",release=\"apps\",version=\"app2\"} 1",
        "weir_rollout_step{release=\"apps\",version=\"app2\"} 1",
    ] {
        assert!(has(&unordered(&text), &unordered(line)), "{line}\n{text}");
    }
}

/// Labels in alphabetical order, so that a line can be written without knowing ours.
fn unordered(text: &str) -> String {
    let sort = |line: &str| match line.split_once('{').and_then(|(name, rest)| Some((name, rest.rsplit_once('}')?))) {
        Some((name, (labels, value))) => {
            let mut labels: Vec<&str> = labels.split(',').collect();
            labels.sort_unstable();
            format!("{name}{{{}}}{value}\n", labels.join(","))
        }
        None => format!("{line}\n"),
    };
    text.lines().map(sort).collect::<String>().trim_end().to_owned()
}

#[test]
fn a_crowded_cluster_is_shown_by_zone() {
    let endpoints: Vec<String> =
        (0..=ENDPOINT_SERIES_MAX).map(|n| format!("'10.0.{}.{}:80'", n / 250, n % 250 + 1)).collect();
    let text = format!(
        "listeners: [{{name: web, bind: '127.0.0.1:80', cluster: app}}]\n\
         clusters: [{{name: app, endpoints: {{az-a: [{}], az-b: ['10.9.9.9:80']}}}}]\n",
        endpoints.join(", ")
    );
    let Scene { snapshot, metrics, .. } = scene(&text);
    for member in snapshot.clusters[0].members.iter().take(5) {
        member.load.of(1).requests.add(1);
    }
    let text = unordered(&metrics.render().unwrap());
    assert!(has(&text, "weir_upstream_requests_total{cluster=\"app\",endpoint=\"\",zone=\"az-a\"} 5"));
    assert!(has(&text, "weir_upstream_requests_total{cluster=\"app\",endpoint=\"\",zone=\"az-b\"} 0"));
    assert!(has(&text, "weir_metric_series_dropped{cluster=\"app\"} 1002"));
    assert!(has(&text, "weir_cluster_healthy_endpoints{cluster=\"app\"} 1002"));
    assert!(has(&text, "weir_zone_endpoints{cluster=\"app\",state=\"healthy\",zone=\"az-a\"} 1001"));
    assert!(!text.contains("weir_endpoint_up"));
}

#[test]
fn a_thousand_endpoints_that_fail_in_several_ways_are_still_a_scrape() {
    let endpoints: Vec<String> = (0..1000).map(|n| format!("'10.0.{}.{}:80'", n / 250, n % 250 + 1)).collect();
    let text = format!(
        "listeners: [{{name: web, bind: '127.0.0.1:80', cluster: app}}]\n\
         clusters: [{{name: app, endpoints: [{}]}}]\n",
        endpoints.join(", ")
    );
    let Scene { snapshot, control, metrics } = scene(&text);
    for member in &snapshot.clusters[0].members {
        let load = member.load.of(0);
        for class in [1, 4] {
            load.answers[class].add(1);
        }
        for class in [Class::Success, Class::Error, Class::Connect] {
            load.classes[class.index()].add(1);
        }
        load.failures[Reason::ConnectRefused].add(1);
        control.transition(&member.key, weir_core::endpoint::Status::Healthy, SystemTime::UNIX_EPOCH);
    }
    let shown = metrics.render().unwrap();
    let series = shown.lines().filter(|line| !line.starts_with('#')).count();
    assert!((17_000..20_000).contains(&series), "{series}");
}

#[test]
fn x6_series_have_a_budget_over_all_clusters() {
    let cluster = |name: &str, n: usize| {
        let endpoints: Vec<String> = (0..n).map(|n| format!("'10.{}.{}.1:80'", n / 250, n % 250)).collect();
        format!("  - {{name: {name}, endpoints: {{az-a: [{}]}}}}\n", endpoints.join(", "))
    };
    let text = format!(
        "listeners: [{{name: web, bind: '127.0.0.1:80', cluster: a}}]\nclusters:\n{}{}{}",
        cluster("a", ENDPOINT_SERIES_MAX - 3),
        cluster("b", 2),
        cluster("c", 900)
    );
    let shown = unordered(&scene(&text).metrics.render().unwrap());
    for (name, dropped) in [("a", ENDPOINT_SERIES_MAX - 3), ("b", 0), ("c", 0)] {
        assert!(has(&shown, &format!("weir_metric_series_dropped{{cluster=\"{name}\"}} {dropped}")), "{name}");
    }
    assert_eq!(shown.lines().filter(|line| line.starts_with("weir_endpoint_up{")).count(), 902);
    assert!(shown.lines().count() < 20_000, "{} lines", shown.lines().count());
    assert!(has(&shown, "weir_cluster_endpoint_states{cluster=\"a\",state=\"healthy\"} 997"));
}

#[test]
fn a_source_shows_its_answers() {
    let Scene { control, metrics, .. } = scene(CONFIG);
    control.answered(&source(), Some(FailureKind::NxDomain), SystemTime::UNIX_EPOCH);
    let text = unordered(&metrics.render().unwrap());
    for line in [
        "weir_discovery_answers_total{cluster=\"app\",result=\"nxdomain\",source=\"app.internal:80\"} 1",
        "weir_discovery_answers_total{cluster=\"app\",result=\"told\",source=\"app.internal:80\"} 0",
        "weir_discovery_state{cluster=\"app\",source=\"app.internal:80\",state=\"pending\"} 1",
        "weir_discovery_state{cluster=\"app\",source=\"app.internal:80\",state=\"stale\"} 0",
    ] {
        assert!(has(&text, line), "{line}\n{text}");
    }
}

#[test]
fn x7_series_go_with_their_source() {
    let Scene { snapshot, control, metrics } = scene(CONFIG);
    control.answered(&source(), None, SystemTime::UNIX_EPOCH);
    let next = weir_config::parse_str(&CONFIG.replace("app.internal", "shop.internal")).unwrap().config;
    control.adopt(Some(&snapshot.config), &next);
    let text = metrics.render().unwrap();
    assert!(text.contains("source=\"shop.internal:80\""));
    assert!(!text.contains("source=\"app.internal:80\""), "{text}");
}

#[test]
fn a_limit_shows_what_is_left_of_it() {
    let Scene { snapshot, metrics, .. } = scene(CONFIG);
    let live = &snapshot.clusters[0].live;
    let _held: Vec<_> = (0..3).map(|_| live.requests.take()).collect();
    live.requests.count_refusal();
    snapshot.clusters[0].load.of(1).denied[Denied::Budget as usize].add(4);
    let text = unordered(&metrics.render().unwrap());
    for line in [
        "weir_cluster_limit{cluster=\"app\",limit=\"requests\"} 10",
        "weir_cluster_limit_used{cluster=\"app\",limit=\"requests\"} 3",
        "weir_cluster_limit_remaining{cluster=\"app\",limit=\"requests\"} 7",
        "weir_cluster_limit_refused_total{cluster=\"app\",limit=\"requests\"} 1",
        "weir_retries_denied_total{cluster=\"app\",reason=\"budget\"} 4",
        "weir_cluster_breaker{cluster=\"app\",state=\"closed\"} 1",
        "weir_ejections_total{cluster=\"app\",rule=\"failure_percentage\"} 0",
        "weir_drills{kind=\"latency\"} 0",
    ] {
        assert!(has(&text, line), "{line}\n{text}");
    }
    assert!(!text.contains("limit=\"connections\""), "no limit, no series");
}

#[test]
fn a_cluster_that_goes_takes_its_series_along() {
    let Scene { snapshot, control, metrics } = scene(CONFIG);
    let next = weir_config::parse_str(&CONFIG.replace("app", "shop")).unwrap().config;
    control.adopt(Some(&snapshot.config), &next);
    let text = metrics.render().unwrap();
    assert!(text.contains("weir_health_checks_total{cluster=\"shop\""));
    assert!(!text.contains("weir_health_checks_total{cluster=\"app\""));
    assert!(!text.contains("weir_health_transitions_total{cluster=\"app\""));
}
