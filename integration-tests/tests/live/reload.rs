//! A changed file is taken atomically under load, by every way it can change; a bad one changes
//! nothing.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::load::{Load, Plan};
use weir_integration_tests::nginx::{Nginx, Server};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::Scene;

/// Two backends and the configs that lead to the one or the other.
struct Fork {
    _backends: [Backend; 2],
    web: SocketAddr,
    one: String,
    two: String,
}

impl Fork {
    fn new() -> Self {
        let backends = [Backend::text("one"), Backend::text("two")];
        let mut scene = Scene::to(backends[0].address());
        let one = scene.yaml();
        scene.endpoints = vec![backends[1].address()];
        Self { web: scene.web, one, two: scene.yaml(), _backends: backends }
    }

    fn answer(&self) -> String {
        RawClient::once(self.web, &get("/")).unwrap().text()
    }

    fn wait_answer(&self, text: &str) {
        wait::until_true(&format!("answers from {text}"), || self.answer() == text);
    }
}

#[test]
fn by_mv() {
    let fork = Fork::new();
    let weir = Weir::start(&fork.one);
    assert_eq!(fork.answer(), "one");
    weir.replace(&fork.two);
    fork.wait_answer("two");
    weir.replace(&fork.one);
    fork.wait_answer("one");
}

#[test]
fn by_writing_in_place() {
    let fork = Fork::new();
    let weir = Weir::start(&fork.one);
    weir.overwrite(&fork.two);
    fork.wait_answer("two");
    weir.overwrite(&fork.one);
    fork.wait_answer("one");
}

#[test]
fn by_swapping_a_symlink_as_a_config_map_does() {
    let fork = Fork::new();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    for version in ["..v1", "..v2"] {
        fs::create_dir(root.join(version)).unwrap();
    }
    symlink("..v1", root.join("..data")).unwrap();
    symlink("..data/weir.yaml", root.join("weir.yaml")).unwrap();
    // Written through both links into ..v1.
    let mut weir = Weir::spawn_at(directory, &root.join("weir.yaml"), &fork.one);
    weir.wait_ready();
    assert_eq!(fork.answer(), "one");
    fs::write(root.join("..v2/weir.yaml"), weir.with_admin(&fork.two)).unwrap();
    symlink("..v2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    fork.wait_answer("two");
}

#[test]
fn by_signal() {
    let fork = Fork::new();
    let weir = Weir::start(&fork.one);
    weir.overwrite(&fork.two);
    fork.wait_answer("two");
    weir.signal(Signal::HUP);
    let _ = weir.wait_event("config_unchanged", 1);
    assert_eq!(fork.answer(), "two");
}

#[test]
fn by_command_which_returns_the_verdict() {
    let fork = Fork::new();
    let weir = Weir::start(&fork.one);
    weir.overwrite(&fork.two);
    let output = weir.command(&["reload"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fork.answer(), "two", "in force when the command returns");
    weir.overwrite("listeners: []\nclusters: []\n");
    let output = weir.command(&["reload"]);
    assert_eq!(output.status.code(), Some(1));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("listener"), "the mistakes are told: {said}");
    assert_eq!(fork.answer(), "two");
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let fork = Fork::new();
    let weir = Weir::start(&fork.one);
    let refusals = [
        fork.two.replace("cluster: main", "cluster: mian"),
        fork.two.replace("listeners:", "listners:"),
        "{{{ not yaml".to_owned(),
        String::new(),
    ];
    for (n, bad) in refusals.iter().enumerate() {
        weir.replace(bad);
        let event = weir.wait_event("config_rejected", n + 1);
        assert_eq!(fork.answer(), "one", "{event}");
        assert_eq!(weir.metric("weir_config_last_reload_successful", &[]) as u8, 0);
    }
    let log = weir.stderr();
    assert!(log.contains("mian") && log.contains("main"), "what is wrong and what was probably meant: {log}");
    assert!(log.contains("weir.yaml:"), "where: {log}");
    weir.replace(&fork.two);
    fork.wait_answer("two");
    assert_eq!(weir.metric("weir_config_last_reload_successful", &[]) as u8, 1);
}

#[test]
fn a_listener_whose_port_is_taken_refuses_the_whole_reload() {
    let fork = Fork::new();
    let weir = Weir::start(&fork.one);
    let taken = std::net::TcpListener::bind(place::address()).unwrap();
    let address = taken.local_addr().unwrap();
    let extra = format!("listeners:\n  - {{name: extra, bind: {address}, protocol: http, cluster: main}}");
    weir.replace(&fork.two.replace("listeners:", &extra));
    let event = weir.wait_event("config_rejected", 1);
    assert!(event.to_string().contains(&address.to_string()), "{event}");
    assert_eq!(fork.answer(), "one", "all or nothing");
}

#[test]
fn a_listener_comes_moves_and_goes() {
    let fork = Fork::new();
    let weir = Weir::start(&fork.one);
    let (first, second) = (place::address(), place::address());
    let with = |address: SocketAddr| {
        let extra = format!("listeners:\n  - {{name: extra, bind: {address}, protocol: http, cluster: main}}");
        fork.one.replace("listeners:", &extra)
    };
    let serves = |address: SocketAddr| {
        RawClient::try_connect(address).is_ok_and(|mut client| {
            client.try_send(get("/")).is_ok() && client.response().is_ok_and(|answer| answer.status == 200)
        })
    };
    weir.replace(&with(first));
    wait::until_true("the new listener", || serves(first));
    weir.replace(&with(second));
    wait::until_true("the moved listener", || serves(second));
    wait::until_true("the old address is free", || std::net::TcpListener::bind(first).is_ok());
    weir.replace(&fork.one);
    wait::until_true("the listener is gone", || RawClient::try_connect(second).is_err());
    assert_eq!(fork.answer(), "one");
}

#[test]
fn a_request_under_way_keeps_its_endpoint_when_that_leaves_the_file() {
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let slow = Backend::scripted(move |peer, _| {
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
        gate.lock().unwrap().recv().unwrap();
        peer.send("full");
    });
    let other = Backend::text("other");
    let mut scene = Scene::to(slow.address());
    let weir = scene.start();
    let mut client = RawClient::connect(scene.web);
    client.send(get("/"));
    client.head().unwrap();
    scene.endpoints = vec![other.address()];
    weir.replace(&scene.yaml());
    let _ = weir.wait_event("config_applied", 1);
    assert_eq!(RawClient::once(scene.web, &get("/")).unwrap().text(), "other");
    go.send(()).unwrap();
    while client.rest().len() < 8 {
        assert!(client.more().unwrap() > 0, "cut after {:?}", client.rest());
    }
    assert_eq!(client.rest(), b"halffull");
}

#[test]
fn health_carries_over() {
    let well = Backend::text("well");
    let dead = place::refusing();
    let mut scene = Scene::to(well.address()).cluster(
        "health_checks: [{interval: 1h, fast_interval: 1h, down_interval: 1h, unhealthy_threshold: 1, tcp_health_check: {}}]",
    );
    scene.endpoints.push(dead);
    let weir = scene.start();
    let verdicts = |weir: &Weir| weir.events("endpoint_transition").len();
    wait::until_true("both verdicts", || verdicts(&weir) >= 2);
    let before = verdicts(&weir);
    let changed = scene.yaml().replace(&format!("- {dead}"), &format!("- {{address: \"{dead}\", weight: 7}}"));
    weir.replace(&changed);
    let _ = weir.wait_event("config_applied", 1);
    let mut client = RawClient::connect(scene.web);
    for _ in 0..20 {
        client.send(get("/"));
        assert_eq!(client.response().unwrap().text(), "well", "the dead one is not tried again");
    }
    assert_eq!(verdicts(&weir), before, "nothing had to be found out again");
}

/// Reloads again and again under load: weights change, endpoints come and go, so does a listener,
/// and now and then the file is broken. Nobody may notice.
fn reload_under_load(reloads: usize, at_least: Duration) {
    let servers: Vec<Server> =
        (0..6).map(|n| Server { address: place::address(), text: format!("replica-{n}") }).collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let _nginx = Nginx::start(servers);
    let (web, extra) = (place::address(), place::address());
    let config = |n: usize| {
        let mut text = format!("listeners:\n  - {{name: web, bind: {web}, protocol: http, cluster: main}}\n");
        if n % 2 == 1 {
            let _ = writeln!(text, "  - {{name: extra, bind: {extra}, protocol: http, cluster: main}}");
        }
        text.push_str("clusters:\n  - name: main\n    endpoints:\n");
        for (at, address) in addresses.iter().enumerate() {
            // One of the six is always missing, another one each time; the rest change weight.
            if at != n % addresses.len() {
                let _ = writeln!(text, "      - {{address: \"{address}\", weight: {}}}", 1 + (n + at) % 5);
            }
        }
        text.push_str(
            "    health_checks:\n      - {interval: 500ms, timeout: 5s, http_health_check: {path: /healthz}}\n",
        );
        text
    };
    let weir = Weir::start(&config(0));
    let plan = Plan { to: web, connections: 64, request: get("/"), pause: Duration::from_millis(20) };
    let load = Load::start(&plan);
    load.more_answers(64);
    let begun = Instant::now();
    let (mut applied, mut rejected) = (0, 0);
    for n in 1..=reloads {
        if n % 10 == 5 {
            weir.replace(&config(n).replace("cluster: main", "cluster: mian"));
            rejected += 1;
            let _ = weir.wait_event("config_rejected", rejected);
        }
        if n % 3 == 0 {
            weir.overwrite(&config(n))
        } else {
            weir.replace(&config(n))
        }
        applied += 1;
        let _ = weir.wait_event("config_applied", applied);
        load.more_answers(32);
        // Spreads the reloads over the time asked for; the load is what is waited for.
        let due = begun + at_least.mul_f64(n as f64 / reloads as f64);
        wait::within(at_least + wait::PATIENCE, "the next reload's turn", || (Instant::now() >= due).then_some(()));
    }
    let tally = load.finish();
    assert_eq!((tally.failed(), tally.closed), (0, 0), "of {} requests: {tally:?}", tally.ok());
    assert!(tally.ok() > 32 * reloads as u64);
}

#[test]
fn twenty_reloads_under_load_cost_nobody_anything() {
    reload_under_load(20, Duration::ZERO);
}

#[test]
#[ignore = "takes a minute: make soak"]
fn a_hundred_reloads_in_a_minute_under_load_cost_nobody_anything() {
    reload_under_load(100, Duration::from_secs(60));
}
