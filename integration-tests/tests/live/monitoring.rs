//! What operators look at: a real Prometheus scrapes a real Weir by the rules of `deploy/`, every query
//! of every dashboard and rule finds data, and a real Alertmanager tells the right people, in time
//! and again when it is over.
//!
//! One Prometheus for everything: the rules are those of `deploy/` with their waits cut to nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::Value;
use weir_integration_tests::backend::{Backend, ok};
use weir_integration_tests::client::RawClient;
use weir_integration_tests::daemon::Daemon;
use weir_integration_tests::pace::Pace;
use weir_integration_tests::replica::{Mood, Replica};
use weir_integration_tests::tls::{Authority, Kind};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

/// What has no series before something fails. The test makes it fail, and then they are there.
const ONLY_IN_TROUBLE: [&str; 3] =
    ["weir_upstream_errors_total", "weir_upstream_answers_total", "weir_zone_endpoints{state=~\"unhealthy|ejected\"}"];
/// What Prometheus shows to be let in.
const TOKEN: &str = "a-token-that-may-only-read";
/// What this scene has none of.
const NOT_HERE: [&str; 1] = ["weir_grpc_calls_total"];

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy").join(path)
}

/// A file of `deploy/` with each `KEY: TIME` as a test can wait for it.
fn hurried(path: &str, times: &[(&str, &str)]) -> String {
    let text = std::fs::read_to_string(deploy(path)).unwrap();
    let line = |line: &str| {
        let key = line.trim_start().split(':').next().unwrap_or_default();
        match times.iter().find(|(name, _)| *name == key) {
            Some((name, time)) => format!("{}{name}: {time}\n", &line[..line.len() - line.trim_start().len()]),
            None => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

/// The town: zones, a release of two versions with a mirror, a certificate that ends tomorrow.
struct Scene {
    weir: Weir,
    shop: Vec<Replica>,
    _versions: Vec<Replica>,
    load: Pace,
    yaml: String,
}

impl Scene {
    fn start() -> Self {
        let (web, secure, names) = (place::address(), place::address(), place::address());
        let shop: Vec<Replica> = ["az-a-1", "az-a-2", "az-b-1", "az-b-2"].map(Replica::new).into();
        let versions: Vec<Replica> = ["v1", "v2", "v3"].map(Replica::new).into();
        let at = |replica: &Replica| replica.address();
        let yaml = format!(
            "zone: az-a
listeners:
  - name: web
    bind: {web}
    limits: {{connections: 1000}}
    routes:
      - {{match: {{path_prefix: /orders}}, release: orders}}
      - {{match: {{}}, cluster: shop, rate_limit: {{requests: 10000}}}}
  - {{name: secure, bind: '{secure}', cluster: shop, tls: {{cert: a.pem, key: a.key}}}}
  - {{name: names, bind: '{names}', protocol: udp, cluster: v1}}
clusters:
  - name: shop
    endpoints: {{az-a: ['{}', '{}'], az-b: ['{}', '{}']}}
    health_checks: [{{timeout: 2s, interval: 300ms, fast_interval: 200ms, http_health_check: {{path: /healthz}}}}]
    circuit_breaker: {{max_requests: 1000}}
  - {{name: v1, endpoints: ['{}']}}
  - {{name: v2, endpoints: ['file:v2.yaml']}}
  - {{name: v3, endpoints: ['{}']}}
releases:
  - name: orders
    key: {{header: x-user-id}}
    stable: v1
    canaries: [{{cluster: v2, weight: 50, rollout: {{steps: [50]}}}}]
    mirror: {{cluster: v3, percent: 100}}
",
            at(&shop[0]),
            at(&shop[1]),
            at(&shop[2]),
            at(&shop[3]),
            at(&versions[0]),
            at(&versions[2]),
        );
        let folder = tempfile::tempdir().unwrap();
        let tomorrow = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
        Authority::new().issue_as(&["shop.example"], Kind::Ecdsa, tomorrow).write(folder.path(), "a");
        std::fs::write(folder.path().join("v2.yaml"), format!("- {}\n", at(&versions[1]))).unwrap();
        let config = folder.path().join("weir.yaml");
        std::fs::write(folder.path().join("read.token"), TOKEN).unwrap();
        let mut weir = Weir::spawn_at(folder, &config, &yaml);
        weir.wait_ready();
        let yaml = format!("admin: {{bind: {}, read_token_file: read.token}}\n{yaml}", weir.admin());
        std::fs::write(weir.config(), &yaml).unwrap();
        let _ = weir.wait_event("config_applied", 1);
        let load = Pace::start(web, 40, |nth| {
            let path = if nth % 2 == 0 { "/orders" } else { "/" };
            format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nX-Id: {nth}\r\nX-User-Id: u{}\r\n\r\n", nth % 23)
                .into_bytes()
        });
        Self { weir, shop, _versions: versions, load, yaml }
    }
}

/// Who watches it.
struct Watch {
    prometheus: SocketAddr,
    alertmanager: SocketAddr,
    /// Where Alertmanager's messages end.
    pager: Backend,
    _daemons: [Daemon; 2],
}

impl Watch {
    fn over(weir: &Weir) -> Self {
        let (prometheus, alertmanager) = (place::address(), place::address());
        let pager = Backend::scripted(|peer, _| peer.send(ok("heard")));
        let waits = [("group_wait", "0s"), ("group_interval", "1s")];
        let config =
            hurried("alertmanager/alertmanager.yml", &waits).replace("127.0.0.1:9099", &pager.address().to_string());
        let second = Daemon::start(
            "prometheus-alertmanager",
            &[
                "--config.file=alertmanager.yml",
                "--storage.path=data",
                "--cluster.listen-address=",
                &format!("--web.listen-address={alertmanager}"),
            ],
            &[("alertmanager.yml", &config)],
            &[alertmanager],
        );
        let waits = [("scrape_interval", "1s"), ("evaluation_interval", "1s")];
        let config = hurried("prometheus/prometheus.yml", &waits)
            .replace(
                "# authorization: {credentials_file: /etc/prometheus/weir.token}",
                "authorization: {credentials_file: weir.token}",
            )
            .replace("127.0.0.1:9900", &weir.admin().to_string())
            .replace("127.0.0.1:9093", &alertmanager.to_string());
        let rules = ["weir.rules.yml", "weir.slo.rules.yml"]
            .map(|file| (file, hurried(&format!("prometheus/{file}"), &[("for", "0s")])));
        let first = Daemon::start(
            "prometheus",
            &[
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--log.level=warn",
                &format!("--web.listen-address={prometheus}"),
            ],
            &[("prometheus.yml", &config), (rules[0].0, &rules[0].1), (rules[1].0, &rules[1].1), ("weir.token", TOKEN)],
            &[prometheus],
        );
        Self { prometheus, alertmanager, pager, _daemons: [first, second] }
    }

    fn get(at: SocketAddr, path: &str) -> Value {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
        let answer = RawClient::once(at, &request).unwrap();
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.text()))
    }

    /// How many series a query finds now.
    fn found(&self, query: &str) -> usize {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = Self::get(self.prometheus, &format!("/api/v1/query?query={escaped}"));
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().len()
    }

    /// The alert of this name with this label, as Alertmanager has it.
    fn alert(&self, name: &str, label: (&str, &str)) -> Option<Value> {
        let alerts = Self::get(self.alertmanager, "/api/v2/alerts");
        let is = |alert: &&Value| alert["labels"]["alertname"] == name && alert["labels"][label.0] == label.1;
        alerts.as_array().unwrap().iter().find(is).cloned()
    }

    fn wait_alert(&self, name: &str, label: (&str, &str), state: &str) -> Value {
        wait::within(4 * wait::PATIENCE, &format!("{name} {label:?} {state}"), || {
            self.alert(name, label).filter(|alert| alert["status"]["state"] == state)
        })
    }

    /// Waits until whoever is behind this receiver has heard that.
    fn wait_heard(&self, receiver: &str, status: &str, alert: &str) {
        wait::within(4 * wait::PATIENCE, &format!("{alert} {status} at {receiver}"), || {
            let heard = self.pager.requests();
            let told = heard.iter().filter(|request| request.target == format!("/{receiver}"));
            let mut messages = told.filter_map(|request| serde_json::from_slice::<Value>(&request.body).ok());
            messages.find(|message| message["groupLabels"]["alertname"] == alert && message["status"] == status)
        });
    }
}

/// The queries of all dashboards, with everything chosen.
fn of_dashboards() -> Vec<String> {
    let mut queries = Vec::new();
    for name in ["overview", "cluster", "release", "instance"] {
        let text = std::fs::read_to_string(deploy(&format!("grafana/weir-{name}.json"))).unwrap();
        let board: Value = serde_json::from_str(&text).unwrap();
        let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let panels = array(&board["panels"]).into_iter().flat_map(|panel| {
            let nested = array(&panel["panels"]);
            std::iter::once(panel).chain(nested)
        });
        for target in panels.flat_map(|panel| array(&panel["targets"])) {
            queries.push(target["expr"].as_str().unwrap().to_owned());
        }
        for variable in array(&board["templating"]["list"]) {
            // `label_values(METRIC, LABEL)`
            let Some(inside) = variable["definition"].as_str().and_then(|query| query.strip_prefix("label_values("))
            else {
                continue;
            };
            let (metric, label) = inside.trim_end_matches(')').rsplit_once(", ").unwrap();
            queries.push(format!("count by ({label}) ({metric})"));
        }
    }
    let chosen = |query: String| {
        let query = query.replace("$__rate_interval", "15s");
        ["instance", "cluster", "zone", "release"].iter().fold(query, |query, name| {
            query.replace(&format!("=\"${name}\""), "=~\".*\"").replace(&format!("${name}"), ".*")
        })
    };
    queries.into_iter().map(chosen).collect()
}

/// What the rules look at: every metric, with its labels, that an expression of theirs selects.
fn of_rules(watch: &Watch) -> BTreeSet<String> {
    let rules = Watch::get(watch.prometheus, "/api/v1/rules");
    let groups = rules["data"]["groups"].as_array().unwrap();
    let mut selectors = BTreeSet::new();
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        let query = rule["query"].as_str().unwrap();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let mut rest = query;
        while let Some(start) = rest.find(is_name) {
            let from = &rest[start..];
            let length = from.find(|c| !is_name(c)).unwrap_or(from.len());
            let (name, after) = from.split_at(length);
            rest = after;
            // Of labels and texts none begin so.
            if ["weir_", "process_", "cluster:", "weir:"].iter().any(|start| name.starts_with(start)) || name == "up" {
                let labels = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
                selectors.insert(labels.map_or_else(|| name.to_owned(), |(labels, _)| format!("{name}{{{labels}}}")));
            }
        }
    }
    selectors
}

fn is_one_of(query: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| query.contains(part))
}

#[test]
fn dashboards_find_data_and_alerts_find_people() {
    let mut scene = Scene::start();
    let watch = Watch::over(&scene.weir);

    // Calm. The certificate is the only trouble there is.
    watch.wait_alert("WeirCertificateExpires", ("listener", "secure"), "active");
    watch.wait_alert("WeirCertificateExpiresSoon", ("listener", "secure"), "suppressed");
    let mut queries: BTreeSet<String> = of_dashboards().into_iter().collect();
    assert!(queries.len() > 100, "only {} queries: are they still found?", queries.len());
    let selectors = of_rules(&watch);
    assert!(selectors.len() > 30, "only {}: are they still found? {selectors:?}", selectors.len());
    queries.extend(selectors);
    for query in queries.iter().filter(|query| !is_one_of(query, &[&ONLY_IN_TROUBLE[..], &NOT_HERE].concat())) {
        wait::until(&format!("data for {query}"), || (watch.found(query) > 0).then_some(()));
    }

    // A zone dies.
    scene.shop[..2].iter_mut().for_each(Replica::kill);
    let alert = watch.wait_alert("WeirZoneDown", ("zone", "az-a"), "active");
    assert_eq!((&alert["labels"]["cluster"], &alert["receivers"][0]["name"]), (&"shop".into(), &"apps-pager".into()));
    watch.wait_heard("apps-pager", "firing", "WeirZoneDown");
    assert!(watch.alert("WeirClusterDown", ("cluster", "shop")).is_none());

    // It comes back, and everybody hears that too.
    scene.shop[..2].iter_mut().for_each(Replica::revive);
    wait::within(4 * wait::PATIENCE, "the end of WeirZoneDown", || {
        watch.alert("WeirZoneDown", ("zone", "az-a")).is_none().then_some(())
    });
    watch.wait_heard("apps-pager", "resolved", "WeirZoneDown");

    // One fails its requests; then nobody is left, and that is the news.
    scene.shop[0].set(Mood::status(500));
    watch.wait_alert("WeirEndpointEjected", ("cluster", "shop"), "active");
    for query in queries.iter().filter(|query| is_one_of(query, &ONLY_IN_TROUBLE)) {
        wait::until(&format!("data for {query}"), || (watch.found(query) > 0).then_some(()));
    }
    scene.weir.replace("listeners: 7\n");
    watch.wait_alert("WeirConfigRefused", ("severity", "warning"), "active");
    std::fs::write(scene.weir.config(), &scene.yaml).unwrap();
    scene.shop.iter_mut().for_each(Replica::kill);
    watch.wait_alert("WeirClusterDown", ("cluster", "shop"), "active");
    watch.wait_alert("WeirZoneDown", ("zone", "az-b"), "suppressed");
    watch.wait_alert("WeirErrorBudgetBurnsFast", ("cluster", "shop"), "suppressed");

    // Weir itself is gone: what it said last is no news.
    scene.weir.signal(Signal::KILL);
    drop(scene.load);
    let down = watch.wait_alert("WeirDown", ("job", "weir"), "active");
    wait::within(4 * wait::PATIENCE, "what WeirDown keeps quiet", || {
        let ejected = watch.alert("WeirEndpointEjected", ("cluster", "shop"))?;
        let by = ejected["status"]["inhibitedBy"].as_array()?.clone();
        by.contains(&down["fingerprint"]).then_some(())
    });
    watch.wait_heard("edge-pager", "firing", "WeirDown");

    // Each rule could be evaluated all the time, texts of alerts included.
    let rules = Watch::get(watch.prometheus, "/api/v1/rules");
    for rule in rules["data"]["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap())
    {
        assert_eq!(rule["health"], "ok", "{rule}");
        for alert in rule["alerts"].as_array().into_iter().flatten() {
            let texts = alert["annotations"].to_string();
            assert!(!texts.contains("no value") && !texts.contains("error expanding"), "{texts}");
        }
    }
}
