//! Active health checks: found out after exactly so many probes, back after exactly so many;
//! replicas, zones and whole clusters that die and return.
//!
//! What traffic shows, panic, zones that are preferred and weights that ramp up are switched off
//! here: they have their own tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_integration_tests::backend::{Backend, ok};
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::load::{Load, Plan};
use weir_integration_tests::nginx::{Nginx, Server};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

/// Keys of a cluster of which nothing but its checks decides.
const CHECKS_ALONE: &str = "    outlier_detection: off\n    panic: off\n    zone_aware: off\n    slow_start: off\n";

const ZONES: [&str; 3] = ["az-a", "az-b", "az-c"];

/// A backend whose health a test switches, and that counts how often it was asked for it.
struct Patient {
    backend: Backend,
    sick: Arc<AtomicBool>,
    asked_sick: Arc<AtomicUsize>,
    asked_well: Arc<AtomicUsize>,
}

impl Patient {
    fn new() -> Self {
        let sick = Arc::new(AtomicBool::new(false));
        let asked_sick = Arc::new(AtomicUsize::new(0));
        let asked_well = Arc::new(AtomicUsize::new(0));
        let (is_sick, count_sick, count_well) = (Arc::clone(&sick), Arc::clone(&asked_sick), Arc::clone(&asked_well));
        let backend = Backend::scripted(move |peer, request| match request.target.as_str() {
            "/healthz" if is_sick.load(Ordering::SeqCst) => {
                count_sick.fetch_add(1, Ordering::SeqCst);
                peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
            }
            "/healthz" => {
                count_well.fetch_add(1, Ordering::SeqCst);
                peer.send(ok("ok"));
            }
            _ => peer.send(ok("served")),
        });
        Self { backend, sick, asked_sick, asked_well }
    }

    fn weir(&self, intervals: &str) -> (Weir, SocketAddr) {
        let web = place::address();
        let weir = Weir::start(&format!(
            "listeners:\n  - {{name: web, bind: {web}, protocol: http, cluster: main}}\nclusters:\n  - name: main\n    \
             endpoints: [\"{}\"]\n{CHECKS_ALONE}    health_checks:\n      - {{timeout: 5s, {intervals}, jitter: 0, unhealthy_threshold: 3, \
             healthy_threshold: 2, http_health_check: {{path: /healthz, expected_statuses: [200]}}}}\n",
            self.backend.address()
        ));
        (weir, web)
    }
}

/// The transitions of this endpoint, as `from>to`, with the whole event.
fn transitions(weir: &Weir, endpoint: SocketAddr) -> Vec<(String, Value)> {
    let address = endpoint.to_string();
    let events = weir.events("endpoint_transition").into_iter();
    events
        .filter(|event| event["fields"].to_string().contains(&address))
        .map(|event| {
            let fields = &event["fields"];
            let word = |key: &str| fields[key].as_str().unwrap_or_default().to_owned();
            (format!("{}>{}", word("from"), word("to")), event)
        })
        .collect()
}

/// Waits for the newest transition of this endpoint to be `change`; the event.
fn wait_transition(weir: &Weir, endpoint: SocketAddr, change: &str) -> Value {
    wait::until(&format!("{endpoint} {change}"), || {
        transitions(weir, endpoint).pop().filter(|(seen, _)| seen == change).map(|(_, event)| event)
    })
}

#[test]
fn out_after_exactly_the_unhealthy_threshold() {
    let patient = Patient::new();
    let (weir, web) = patient.weir("interval: 100ms, fast_interval: 50ms, down_interval: 1h");
    assert_eq!(RawClient::once(web, &get("/")).unwrap().text(), "served");
    patient.sick.store(true, Ordering::SeqCst);
    let event = wait_transition(&weir, patient.backend.address(), "healthy>unhealthy");
    // The next probe comes in an hour: what was counted is what it took.
    assert_eq!(patient.asked_sick.load(Ordering::SeqCst), 3, "{event}");
    let answer = RawClient::once(web, &get("/")).unwrap();
    assert_eq!((answer.status, answer.reason()), (503, Some("no_healthy_endpoint")));
    assert!(event["message"].as_str().is_some_and(|text| text.contains("503")), "the evidence: {event}");
}

#[test]
fn back_after_exactly_the_healthy_threshold() {
    let patient = Patient::new();
    patient.sick.store(true, Ordering::SeqCst);
    let (weir, web) = patient.weir("interval: 1h, fast_interval: 50ms, down_interval: 50ms");
    wait::until_true("the first verdict", || {
        transitions(&weir, patient.backend.address()).last().is_some_and(|(change, _)| change.ends_with(">unhealthy"))
    });
    assert_eq!(RawClient::once(web, &get("/")).unwrap().status, 503);
    patient.sick.store(false, Ordering::SeqCst);
    let event = wait_transition(&weir, patient.backend.address(), "unhealthy>healthy");
    assert_eq!(patient.asked_well.load(Ordering::SeqCst), 2, "{event}");
    assert_eq!(RawClient::once(web, &get("/")).unwrap().text(), "served");
}

#[test]
fn less_than_the_threshold_changes_nothing() {
    let patient = Patient::new();
    let (weir, web) = patient.weir("interval: 100ms, fast_interval: 100ms, down_interval: 100ms");
    let events = transitions(&weir, patient.backend.address()).len();
    for _ in 0..3 {
        let before = patient.asked_sick.load(Ordering::SeqCst);
        patient.sick.store(true, Ordering::SeqCst);
        wait::until_true("a failing probe", || patient.asked_sick.load(Ordering::SeqCst) > before);
        patient.sick.store(false, Ordering::SeqCst);
        let failed = patient.asked_sick.load(Ordering::SeqCst) - before;
        if failed >= 2 {
            return; // This machine was too busy to switch in time: nothing can be said.
        }
        let well = patient.asked_well.load(Ordering::SeqCst);
        wait::until_true("a passing probe", || patient.asked_well.load(Ordering::SeqCst) > well + 1);
    }
    assert_eq!(transitions(&weir, patient.backend.address()).len(), events);
    assert_eq!(RawClient::once(web, &get("/")).unwrap().status, 200);
}

/// Six nginx replicas, two in each of three zones, each a process of its own.
struct Shop {
    replicas: Vec<(&'static str, SocketAddr, Nginx)>,
    weir: Weir,
    web: SocketAddr,
}

impl Shop {
    fn open() -> Self {
        let mut replicas = Vec::new();
        let mut zones = String::new();
        for zone in ZONES {
            let mut addresses = Vec::new();
            for n in 1..=2 {
                let address = place::address();
                let nginx = Nginx::start(vec![Server { address, text: format!("{zone}-{n}") }]);
                addresses.push(format!("\"{address}\""));
                replicas.push((zone, address, nginx));
            }
            zones.push_str(&format!("      {zone}: [{}]\n", addresses.join(", ")));
        }
        let web = place::address();
        let weir = Weir::start(&format!(
            "zone: az-a\nlisteners:\n  - {{name: web, bind: {web}, protocol: http, cluster: shop}}\nclusters:\n  - name: shop\n    \
             endpoints:\n{zones}{CHECKS_ALONE}    health_checks:\n      - timeout: 2s\n        interval: 200ms\n        fast_interval: 100ms\n        \
             down_interval: 200ms\n        unhealthy_threshold: 3\n        healthy_threshold: 2\n        \
             http_health_check: {{path: /healthz, expected_statuses: [200]}}\n"
        ));
        Self { replicas, weir, web }
    }

    fn kill(&mut self, at: impl Fn(&str) -> bool) -> Vec<SocketAddr> {
        let hit = self.replicas.iter_mut().filter(|(zone, _, _)| at(zone));
        hit.map(|(_, address, nginx)| {
            nginx.kill();
            *address
        })
        .collect()
    }

    /// Which replicas answer, over more requests than one round of all takes.
    fn who_answers(&self) -> Vec<String> {
        let mut client = RawClient::connect(self.web);
        let mut seen: Vec<String> = (0..24)
            .map(|_| {
                client.send(get("/"));
                let answer = client.response().unwrap();
                assert_eq!(answer.status, 200, "{:?}", answer.reason());
                answer.text()
            })
            .collect();
        seen.sort();
        seen.dedup();
        seen
    }
}

#[test]
fn a_killed_replica_is_left_out_and_taken_back() {
    let mut shop = Shop::open();
    assert_eq!(shop.who_answers().len(), 6);
    let victim = shop.replicas[0].1;
    shop.replicas[0].2.kill();
    let out = wait_transition(&shop.weir, victim, "healthy>unhealthy");
    let fields = out["fields"].to_string();
    assert!(fields.contains("connect_refused") || fields.contains("reset"), "the layer is named: {out}");
    assert_eq!(streak(&out), (3, 3), "{out}");
    assert_eq!(shop.who_answers(), ["az-a-2", "az-b-1", "az-b-2", "az-c-1", "az-c-2"]);
    shop.replicas[0].2.revive();
    let back = wait_transition(&shop.weir, victim, "unhealthy>healthy");
    assert_eq!(streak(&back), (2, 2), "{back}");
    assert_eq!(shop.who_answers().len(), 6);
}

/// Streak and threshold of a transition, wherever among its fields they stand.
fn streak(event: &Value) -> (u64, u64) {
    fn find(value: &Value, key: &str) -> Option<u64> {
        match value {
            Value::Object(map) => {
                map.get(key).and_then(Value::as_u64).or_else(|| map.values().find_map(|value| find(value, key)))
            }
            _ => None,
        }
    }
    let get = |key: &str| find(&event["fields"], key).unwrap_or_else(|| panic!("{key} in {event}"));
    (get("streak"), get("threshold"))
}

#[test]
fn a_dead_zone_leaves_the_others_and_all_dead_is_said_at_once_and_heals_by_itself() {
    let mut shop = Shop::open();
    for address in shop.kill(|zone| zone == "az-b") {
        wait_transition(&shop.weir, address, "healthy>unhealthy");
    }
    let plan = Plan { to: shop.web, connections: 8, request: get("/"), pause: Duration::from_millis(5) };
    let load = Load::start(&plan);
    load.more_answers(200);
    let tally = load.finish();
    assert_eq!((tally.failed(), tally.closed), (0, 0), "{tally:?}");
    assert_eq!(shop.who_answers(), ["az-a-1", "az-a-2", "az-c-1", "az-c-2"]);

    for address in shop.kill(|_| true) {
        wait_transition(&shop.weir, address, "healthy>unhealthy");
    }
    let begun = Instant::now();
    let mut client = RawClient::connect(shop.web);
    for _ in 0..10 {
        client.send(get("/"));
        let answer = client.response().unwrap();
        assert_eq!((answer.status, answer.reason()), (503, Some("no_healthy_endpoint")));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "a refusal is immediate: {:?}", begun.elapsed());

    for (_, _, nginx) in &mut shop.replicas {
        nginx.revive();
    }
    for (_, address, _) in &shop.replicas {
        wait_transition(&shop.weir, *address, "unhealthy>healthy");
    }
    assert_eq!(shop.who_answers().len(), 6, "nobody had to do anything");
}

#[test]
fn all_checks_must_pass_and_each_may_ask_another_port() {
    let patient = Patient::new();
    let side = Backend::text("all is well here");
    let web = place::address();
    let weir = Weir::start(&format!(
        "listeners:\n  - {{name: web, bind: {web}, protocol: http, cluster: main}}\nclusters:\n  - name: main\n    \
         endpoints: [\"{}\"]\n    health_checks:\n      - {{interval: 100ms, fast_interval: 50ms, http_health_check: {{path: /healthz}}}}\n      \
         - {{interval: 100ms, fast_interval: 50ms, tcp_health_check: {{}}}}\n      \
         - {{interval: 100ms, fast_interval: 50ms, http_health_check: {{path: /deep, method: HEAD, host: checks.example, headers: {{x-probe: \"1\"}}, expected_statuses: [2xx, 304]}}}}\n",
        patient.backend.address()
    ));
    assert_eq!(RawClient::once(web, &get("/")).unwrap().status, 200);
    let deep = patient.backend.requests().into_iter().find(|request| request.target == "/deep").expect("a deep probe");
    assert_eq!(deep.method, "HEAD");
    assert_eq!(deep.fields.get("host"), Some("checks.example"));
    assert_eq!(deep.fields.get("x-probe"), Some("1"));
    patient.sick.store(true, Ordering::SeqCst);
    wait_transition(&weir, patient.backend.address(), "healthy>unhealthy");
    drop(side);
}

#[test]
fn a_probe_that_gets_no_answer_fails_by_its_timeout() {
    let hang = Arc::new(AtomicBool::new(false));
    let hangs = Arc::clone(&hang);
    let backend =
        Backend::scripted(move |peer, _| if hangs.load(Ordering::SeqCst) { peer.hang() } else { peer.send(ok("ok")) });
    let web = place::address();
    let weir = Weir::start(&format!(
        "listeners:\n  - {{name: web, bind: {web}, protocol: http, cluster: main}}\nclusters:\n  - name: main\n    \
         endpoints: [\"{}\"]\n    health_checks:\n      - {{timeout: 200ms, interval: 200ms, unhealthy_threshold: 2, http_health_check: {{path: /}}}}\n",
        backend.address()
    ));
    hang.store(true, Ordering::SeqCst);
    let event = wait_transition(&weir, backend.address(), "healthy>unhealthy");
    assert!(event["fields"].to_string().contains("timeout"), "{event}");
}
