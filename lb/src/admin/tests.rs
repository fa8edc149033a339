//! The whole admin address over real sockets.

mod index;
mod page;

use std::num::NonZeroUsize;
use std::sync::Arc;

use prometheus::Registry;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_core::control::Control;

use super::*;
use crate::control::source::Source;
use crate::control::testing::List;
use crate::control::{First, Shell};
use crate::env::Os;
use crate::observe::ProcessCounts;
use crate::observe::journal::Journal;
use crate::observe::metrics::control::ControlMetrics;

const CONFIG: &str = "\
listeners: [{name: web, bind: '127.0.0.1:80', cluster: app}]
clusters: [{name: app, endpoints: {az-a: ['10.0.0.1:80']}}, {name: next, endpoints: ['10.0.0.2:80']}]
releases:
  - name: apps
    key: {header: x-user-id}
    stable: app
    canaries: [{cluster: next, weight: 50, rollout: {steps: [1, 5, 50]}}]
";

const TOKENS: &str = "admin: {bind: '127.0.0.1:9900', token_file: all.token, read_token_file: read.token}\n";

struct Stage {
    address: std::net::SocketAddr,
    handle: Handle,
    file: std::path::PathBuf,
}

struct Heard {
    status: u16,
    head: String,
    body: String,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Stage {
    async fn ask(&self, method: &str, path: &str) -> Heard {
        self.say(&format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)).await
    }

    async fn say(&self, request: &str) -> Heard {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Heard { status: head[9..12].parse().unwrap(), head: head.to_lowercase(), body: body.into() }
    }
}

async fn play(story: impl AsyncFnOnce(&Stage)) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("weir.yaml");
    std::fs::write(&file, CONFIG).unwrap();
    let (env, source) = (Os::new(), Source::new(&file));
    let config = source.understand(CONFIG).unwrap().config;
    let clock = env.clone();
    let (control, journal) = (Control::new(1, env.dice("")), Journal::new(move || clock.wall()));
    let control_metrics = ControlMetrics::new().unwrap();
    let begun = Shell::begin(
        env.clone(),
        List::default(),
        control,
        First { source, text: CONFIG.into(), config },
        journal,
        control_metrics.clone(),
    );
    let shell = begun.unwrap_or_else(|rejection| panic!("{}", rejection.text));
    let counts = Arc::new(ProcessCounts::default());
    let metrics = Metrics::new(Registry::new(), shell.truth(), &control_metrics, counts).unwrap();
    let handle = shell.handle();
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let reserved = env.reserve(&loopback.into(), NonZeroUsize::MIN, false).unwrap().remove(0);
    env.admit(&reserved).unwrap();
    let address = env.bound_addr(&reserved).unwrap().ip().unwrap();
    let (doors, opened) = tokio::sync::mpsc::unbounded_channel();
    doors.send(Door::Open(address.into(), reserved)).unwrap();
    let stage = Stage { address, handle: handle.clone(), file };
    let played = async {
        tokio::select! {
            () = shell.run() => {}
            () = Admin::new(handle, metrics).serve(env, opened) => {}
            () = story(&stage) => {}
        }
    };
    tokio::task::LocalSet::new().run_until(played).await;
}

#[tokio::test]
async fn everything_listed_is_there() {
    play(async |stage| {
        stage.handle.reload(crate::control::Trigger::Api).await;
        for (path, content_type) in [
            ("/", "text/html"),
            ("/livez", "text/plain"),
            ("/healthz", "text/plain"),
            ("/ping", "text/plain"),
            ("/readyz", "text/plain"),
            ("/ready", "text/plain"),
            ("/metrics", "text/plain; version=0.0.4"),
            ("/api/v1", "application/json"),
            ("/api/v1/status", "application/json"),
            ("/api/v1/config", "application/json"),
            ("/api/v1/events", "application/json"),
            ("/page/app.js", "text/javascript"),
            ("/api/v1/reloads", "application/json"),
            ("/api/v1/drains", "application/json"),
            ("/api/v1/drills", "application/json"),
            ("/api/v1/releases", "application/json"),
            ("/api/v1/releases/apps", "application/json"),
        ] {
            let heard = stage.ask("GET", path).await;
            assert_eq!(heard.status, 200, "{path}");
            assert!(heard.head.contains(&format!("content-type: {content_type}")), "{path}: {}", heard.head);
            assert!(!heard.body.is_empty());
            assert_eq!(stage.ask("HEAD", path).await.body, "");
            let refused = stage.ask("PUT", path).await;
            assert_eq!(refused.status, 405, "{path}");
            assert!(refused.head.contains("allow: get, head"), "{path}");
        }
        assert_eq!(stage.ask("GET", "/nothing").await.status, 404);
        assert_eq!(stage.ask("POST", "/nothing").await.json()["status"], 404);
        for path in [
            "/api/v1/config:reload",
            "/api/v1/drain",
            "/api/v1/undrain",
            "/api/v1/drills/1:end",
            "/api/v1/releases/apps:pause",
        ] {
            let refused = stage.ask("GET", path).await;
            assert_eq!((refused.status, refused.head.contains("allow: post")), (405, true), "{path}");
            assert_eq!(stage.ask("DELETE", path).await.status, 405, "{path}");
        }
        let refused = stage.ask("POST", "/api/v1/status").await;
        assert_eq!(refused.status, 405);
        assert!(refused.head.contains("application/problem+json"));
    })
    .await;
}

#[tokio::test]
async fn readiness_has_words() {
    play(async |stage| {
        stage.handle.reload(crate::control::Trigger::Api).await;
        assert_eq!(stage.ask("GET", "/readyz").await.body, "ready\n");
        let verbose = stage.ask("GET", "/readyz?verbose").await.body;
        assert!(verbose.contains("[+]cluster app: 1 of 1 endpoints healthy\n"), "{verbose}");
        stage.handle.drain_started("a test");
        let heard = stage.ask("GET", "/readyz").await;
        assert_eq!((heard.status, &*heard.body), (503, "draining\n"));
        assert!(stage.ask("GET", "/readyz?verbose").await.body.contains("[-]phase: draining\n"));
        assert_eq!(stage.ask("GET", "/livez").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn status_config_and_events_say_what_is() {
    play(async |stage| {
        let status: status::Status = serde_json::from_str(&stage.ask("GET", "/api/v1/status").await.body).unwrap();
        assert_eq!(status.listeners[0].addresses[0].bound.as_deref(), Some("127.0.0.1:80"));
        let endpoint = &status.clusters[0].endpoints[0];
        assert_eq!(
            (&*endpoint.address, endpoint.zone.as_deref(), &*endpoint.status),
            ("10.0.0.1:80", Some("az-a"), "healthy")
        );
        assert_eq!(endpoint.reason, "its cluster has no health checks");
        assert_eq!(stage.ask("GET", "/api/v1/config").await.json()["text"], CONFIG);

        let events = stage.ask("GET", "/api/v1/events?since=0&limit=1").await.json();
        assert_eq!((&events["events"][0]["id"], &events["events"][0]["kind"]), (&1.into(), &"started".into()));
        let last = events["last"].as_u64().unwrap();
        let none = stage.ask("GET", &format!("/api/v1/events?since={last}")).await.json();
        assert_eq!(none["events"], serde_json::json!([]));
        assert_eq!(stage.ask("GET", "/api/v1/events?since=x").await.status, 400);
    })
    .await;
}

#[tokio::test]
async fn releases_are_told_and_take_orders() {
    play(async |stage| {
        let releases = stage.ask("GET", "/api/v1/releases").await.json();
        let [stable, canary] = [0, 1].map(|version| releases["releases"][0]["versions"][version].clone());
        assert_eq!(
            (&stable["cluster"], &stable["in_force"], &stable["ranges"]),
            (&"app".into(), &99.0.into(), &serde_json::json!([]))
        );
        assert_eq!((&canary["weight"], &canary["in_force"]), (&50.0.into(), &1.0.into()));
        assert_eq!(canary["ranges"], serde_json::json!([[0, 99]]));
        let status = async || stage.ask("GET", "/api/v1/releases/apps").await.json()["canaries"][0].clone();
        let begun = status().await;
        assert_eq!(
            (&begun["verdict"]["kind"], &begun["verdict"]["missing_requests"]),
            (&"insufficient_data".into(), &200.into())
        );
        assert_eq!(
            (&begun["rollout"]["phase"], &begun["rollout"]["steps"], &begun["rollout"]["next"]),
            (&"advancing".into(), &3.into(), &5.0.into())
        );

        let order = async |what: &str| stage.ask("POST", &format!("/api/v1/releases/{what}")).await;
        let paused = order("apps:pause?by=ann").await;
        assert_eq!(
            (paused.status, &paused.json()["text"]),
            (200, &"canary next of release apps is paused at 1 %".into())
        );
        assert_eq!(status().await["rollout"]["left_seconds"], Value::Null);
        let refused = order("apps:pause?canary=next").await;
        assert_eq!(refused.status, 409);
        assert_eq!(
            refused.json()["detail"],
            "canary next is paused already; GET /api/v1/releases shows where it stands"
        );
        assert_eq!(order("apps:abort").await.json()["change"]["to"], 0.0);
        assert_eq!(stage.handle.snapshot().releases[0].closed, [true]);
        assert_eq!(order("apps:resume").await.json()["result"], "resumed");
        for (what, status) in
            [("app:pause", 404), ("apps:fly", 404), ("apps:pause?canary=other", 422), ("apps:pause?x=1", 400)]
        {
            assert_eq!(order(what).await.status, status, "{what}");
        }
        assert_eq!(stage.ask("POST", "/api/v1/releases/apps").await.status, 405);
        let events = stage.ask("GET", "/api/v1/events?since=0").await.json();
        let told: Vec<&Value> =
            events["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "release").collect();
        assert_eq!(
            (told.len(), &told[0]["fields"]["ordered_by"], &told[0]["fields"]["what"]),
            (3, &"ann".into(), &"paused".into())
        );
    })
    .await;
}

#[tokio::test]
async fn a_reload_returns_its_verdict() {
    play(async |stage| {
        let reload = async || stage.ask("POST", "/api/v1/config:reload").await;
        assert_eq!(reload().await.json()["result"], "unchanged");
        std::fs::write(&stage.file, CONFIG.replace("cluster: app", "cluster: ap")).unwrap();
        let heard = reload().await;
        assert_eq!(heard.status, 422);
        let verdict = heard.json();
        assert_eq!((&verdict["result"], &verdict["count"]), (&"rejected".into(), &1.into()));
        assert_eq!(verdict["mistakes"][0]["code"], "unknown_cluster");
        assert!(verdict["text"].as_str().unwrap().contains("weir.yaml:1:"));
    })
    .await;
}

#[tokio::test]
async fn endpoints_are_drained_and_undrained() {
    play(async |stage| {
        let refused = stage.ask("POST", "/api/v1/drain?endpoint=app/10.0.0.1:80").await;
        assert_eq!((refused.status, &refused.json()["parameter"]), (409, &"force".into()));
        let drained = stage.ask("POST", "/api/v1/drain?endpoint=app%2F10.0.0.1%3A80&for=10m&force&by=ada").await;
        assert_eq!(drained.status, 200, "{}", drained.body);
        assert_eq!(drained.json()["text"], "endpoint app/10.0.0.1:80 is drained for 10m: 1 endpoint given no new work");
        let drains = stage.ask("GET", "/api/v1/drains").await.json();
        let drain = &drains["drains"][0];
        assert_eq!((&drain["endpoint"], &drain["by"]), (&"app/10.0.0.1:80".into(), &"ada".into()));
        assert!((590.0..=600.0).contains(&drain["left_seconds"].as_f64().unwrap()), "{drain}");
        let status: status::Status = serde_json::from_str(&stage.ask("GET", "/api/v1/status").await.body).unwrap();
        assert_eq!(status.clusters[0].endpoints[0].status, "draining");
        let back = stage.ask("POST", "/api/v1/undrain?endpoint=app/10.0.0.1:80").await.json();
        assert_eq!(back["text"], "endpoint app/10.0.0.1:80 is drained no longer: 1 endpoint back");
        assert_eq!(stage.ask("POST", "/api/v1/undrain?endpoint=app/10.0.0.1:80").await.status, 409);
        assert_eq!(stage.ask("GET", "/api/v1/drains").await.json()["drains"], serde_json::json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_drill_is_begun_looked_at_and_ended() {
    play(async |stage| {
        let begun =
            stage.ask("POST", "/api/v1/drills?kind=latency&cluster=app&delay=200ms&percent=50&header=x-who%3Dme").await;
        assert_eq!(begun.status, 200, "{}", begun.body);
        let begun = begun.json();
        assert_eq!(begun["text"], "drill 1 runs for 1m: 200ms more latency at cluster app for 50 % with x-who: me");
        assert_eq!(stage.handle.snapshot().drills[0].share, 5000);
        let running = stage.ask("GET", "/api/v1/drills/1").await.json();
        assert_eq!((&running["stage"], &running["delay_ms"]), (&"running".into(), &200.0.into()));
        assert_eq!(running["clusters"][0]["during"]["requests"], 0);
        for (method, path) in [("POST", "/api/v1/drills/1:end?by=bob"), ("DELETE", "/api/v1/drills/1")] {
            let ended = stage.ask(method, path).await.json();
            assert_eq!((&ended["drill"]["stage"], &ended["drill"]["ended_by"]), (&"after".into(), &"bob".into()));
        }
        assert_eq!(stage.handle.snapshot().drills.len(), 0);
        let drills = stage.ask("GET", "/api/v1/drills").await.json();
        assert_eq!(drills["drills"].as_array().unwrap().len(), 1);
        assert_eq!(stage.ask("GET", "/api/v1/drills/2").await.status, 404);
        assert_eq!(stage.ask("POST", "/api/v1/drills/2:end").await.status, 404);
        let zone = stage.ask("POST", "/api/v1/drills?kind=zone&zone=az-a").await.json();
        assert_eq!(zone["warnings"][0], "cluster app has no other endpoint that can be used");
        assert_eq!(stage.ask("POST", "/api/v1/drills?kind=abort&route=web/1&status=418").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_order_is_told_what_is_wrong() {
    play(async |stage| {
        for (path, status, parameter, words) in [
            ("drain", 400, "endpoint", "what shall be drained?"),
            ("drain?endpoint=app", 400, "endpoint", "CLUSTER/ADDRESS"),
            ("drain?endpoint=app/x:80", 400, "endpoint", "is no address"),
            ("drain?endpoint=ap/10.0.0.1:80", 422, "cluster", "did you mean app?"),
            ("drain?zone=az-b", 422, "zone", "did you mean az-a?"),
            ("drain?zone=a%20b", 400, "zone", "letters, digits"),
            ("drain?cluster=app", 400, "cluster", "a whole cluster is not drained"),
            ("drain?zone=az-a&for=10", 400, "for", "10 has no unit"),
            ("drain?zone=az-a&for=0s", 400, "for", "must be over 0"),
            ("drain?zone=az-a&fro=10m", 400, "", "did you mean for?"),
            ("drain?zone=az-a&by=%01", 400, "by", "without control characters"),
            ("drills", 400, "kind", "kinds are: zone"),
            ("drills?kind=fire", 400, "kind", "kinds are: zone"),
            ("drills?kind=zone", 400, "zone", "zone=az-b"),
            ("drills?kind=latency&cluster=app", 400, "delay", "delay=200ms"),
            ("drills?kind=reset&cluster=app&delay=1s", 400, "", "no parameter \"delay\""),
            ("drills?kind=reset", 400, "endpoint", "a drill is at one place"),
            ("drills?kind=reset&route=web/0", 400, "route", "numbered from 1"),
            ("drills?kind=reset&route=web/2", 422, "route", "routes 1 to 1"),
            ("drills?kind=reset&route=web/shop", 400, "route", "no route named"),
            ("drills?kind=reset&route=wob", 422, "route", "did you mean web?"),
            ("drills?kind=unreachable&route=web", 400, "", "no connections to cut"),
            ("drills?kind=abort&cluster=app&status=99", 400, "status", "200 to 599"),
            ("drills?kind=reset&cluster=app&percent=0", 400, "percent", "0.01 to 100"),
            ("drills?kind=reset&cluster=app&header=a%20b", 400, "header", "no name of a header"),
            ("drills?kind=reset&cluster=app&for=25h", 400, "for", "longer than a day"),
            ("drills?kind=reset&cluster=app&after=1h", 400, "after", "at most 10m"),
        ] {
            let heard = stage.ask("POST", &format!("/api/v1/{path}")).await;
            let problem = heard.json();
            assert_eq!(heard.status, status, "{path}: {}", heard.body);
            assert_eq!(problem["parameter"].as_str().unwrap_or_default(), parameter, "{path}: {}", heard.body);
            assert!(problem["detail"].as_str().unwrap().contains(words), "{path}: {}", heard.body);
            assert!(!problem["remedy"].as_str().unwrap().is_empty(), "{path}");
        }
        assert_eq!(stage.handle.snapshot().drills.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn x3_that_nobody_is_used_has_its_cause() {
    play(async |stage| {
        stage.ask("POST", "/api/v1/drain?zone=az-a&force").await;
        let status: status::Status = serde_json::from_str(&stage.ask("GET", "/api/v1/status").await.body).unwrap();
        let cluster = &status.clusters[0];
        assert_eq!((&*cluster.using, cluster.usable), ("all_draining", 0));
        let endpoint = &cluster.endpoints[0];
        assert_eq!(endpoint.not_picked.as_deref(), Some("it is being drained"));
        assert_eq!(endpoint.reason, "the admin API drained zone az-a");
        assert_eq!(status.drains[0].words, "zone az-a");
        let verbose = stage.ask("GET", "/readyz?verbose").await.body;
        assert!(verbose.contains("[-]cluster app: 0 of 1 endpoints healthy; using none: all_draining\n"), "{verbose}");
        // None of this makes the process unready: its neighbours are no better.
        assert_eq!(stage.ask("GET", "/readyz").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn e1_x4_the_status_says_how_many_may_be_out_and_why_zones_do_not_count() {
    play(async |stage| {
        let status: status::Status = serde_json::from_str(&stage.ask("GET", "/api/v1/status").await.body).unwrap();
        let cluster = &status.clusters[0];
        let ejection = cluster.ejection.as_ref().unwrap();
        assert_eq!((ejection.out, ejection.most, ejection.of), (0, 1, 1));
        let level = &cluster.levels[0];
        assert_eq!((level.available, level.of, level.percent), (1, 1, 100));
        assert_eq!(level.zone_state, "no_own_zone");
        assert!(level.zone_reason.contains("does not tell which zone"), "{}", level.zone_reason);
        assert_eq!((level.zones[0].zone.as_deref(), level.zones[0].share_percent), (Some("az-a"), 100.0));
        assert!(cluster.traffic.retry_budget.starts_with("20 % of requests under way"), "{:?}", cluster.traffic);
        assert!(cluster.panic.is_none() && cluster.breaker.is_none() && cluster.limits.is_empty());
    })
    .await;
}

#[tokio::test]
async fn strangers_are_refused() {
    play(async |stage| {
        for (fields, status) in [
            ("Host: evil.example\r\n", 421),
            ("Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\n", 403),
            ("Host: 127.0.0.1\r\nOrigin: http://evil.example\r\n", 403),
            ("", 400),
        ] {
            let request = format!("POST /api/v1/config:reload HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
            assert_eq!(stage.say(&request).await.status, status, "{fields}");
        }
        assert_eq!(stage.handle.last_reload().trigger.as_str(), "start");
        let long = format!("GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nx: {}\r\n\r\n", "y".repeat(HEAD_MAX));
        assert_eq!(stage.say(&long).await.status, 431);
    })
    .await;
}

#[tokio::test]
async fn tokens_say_who_asks_and_are_read_again() {
    play(async |stage| {
        let folder = stage.file.parent().unwrap();
        std::fs::write(folder.join("all.token"), "0123456789abcdef\n").unwrap();
        std::fs::write(folder.join("read.token"), "fedcba9876543210\n").unwrap();
        std::fs::write(&stage.file, format!("{TOKENS}{CONFIG}")).unwrap();
        let bring = async |token: &str, method: &str, path: &str| {
            let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
            stage.say(&format!("{head}Authorization: Bearer {token}\r\n\r\n")).await
        };
        // What is brought where nothing is asked for does not matter.
        assert_eq!(bring("x", "POST", "/api/v1/config:reload").await.json()["result"], "applied");
        for (token, method, path, status) in [
            ("0123456789abcdef", "GET", "/api/v1/status", 200),
            ("fedcba9876543210", "GET", "/api/v1/status", 200),
            ("fedcba9876543210", "GET", "/metrics", 200),
            ("fedcba9876543210", "POST", "/api/v1/config:reload", 403),
            ("fedcba9876543210", "POST", "/api/v1/drain?zone=az-a&force", 403),
            ("0123456789abcdeg", "GET", "/api/v1/status", 401),
            ("0123456789abcdeg", "GET", "/livez", 200),
        ] {
            assert_eq!(bring(token, method, path).await.status, status, "{token} {method} {path}");
        }
        let refused = bring("wrong", "GET", "/api/v1/config").await;
        assert!(refused.head.contains("www-authenticate: bearer realm=\"weir admin\", error=\"invalid_token\""));
        assert!(refused.json()["remedy"].as_str().unwrap().contains("token_file"), "{}", refused.body);

        let drained = bring("0123456789abcdef", "POST", "/api/v1/drain?zone=az-a&force").await;
        assert_eq!(drained.status, 200, "{}", drained.body);
        let events = stage.ask("GET", "/api/v1/events?since=0").await.json();
        let last = events["events"].as_array().unwrap().iter().rfind(|event| event["kind"] == "drain").unwrap();
        let asked = &last["fields"]["asked_by"];
        assert_eq!(asked["who"], "token all.token");
        assert!(asked["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{asked}");
        assert!(events.to_string().contains("every user of this host can read the token in all.token"));

        std::fs::write(folder.join("all.token"), "a-new-token-of-ours").unwrap();
        let reloaded = stage.ask("POST", "/api/v1/config:reload").await.json();
        assert!(reloaded["text"].as_str().unwrap().contains("token_file all.token: another token"), "{reloaded}");
        assert_eq!(bring("0123456789abcdef", "GET", "/api/v1/status").await.status, 401);
        assert_eq!(bring("a-new-token-of-ours", "GET", "/api/v1/status").await.status, 200);
        let scrape = stage.ask("GET", "/metrics").await.body;
        assert!(scrape.contains("weir_admin_refused_total{why=\"read_only\"} 2"), "{scrape}");
    })
    .await;
}
