//! How the process starts and ends.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use weir_integration_tests::backend::{Backend, ok};
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::message::Broken;
use weir_integration_tests::weir::{self, Weir};
use weir_integration_tests::{place, wait};

use crate::{Front, Scene};

const SOON: Duration = Duration::from_secs(20);

/// A backend that answers `/slow` only when it is let.
fn gated() -> (Backend, std::sync::mpsc::Sender<()>) {
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let backend = Backend::scripted(move |peer, request| {
        if request.target == "/slow" {
            let _ = gate.lock().unwrap().recv();
        }
        peer.send(ok(&request.target));
    });
    (backend, go)
}

#[test]
fn sigterm_finishes_what_is_under_way_and_exits_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let (backend, go) = gated();
        let mut front = Front::new(backend);
        let mut busy = front.connect();
        busy.send(get("/slow"));
        let mut idle = front.connect();
        idle.send(get("/quick"));
        assert_eq!(idle.response().unwrap().status, 200);
        wait::until_true("the request at the endpoint", || front.backend.requests().len() == 2);
        front.weir.signal(signal);
        wait::until_true("the end of accepting", || RawClient::try_connect(front.web).is_err());
        idle.expect_end();
        assert!(front.weir.exited().is_none(), "a request is under way");
        go.send(()).unwrap();
        let answer = busy.response().unwrap();
        assert_eq!(answer.text(), "/slow");
        assert!(answer.closes(), "the client is told not to come back on this connection");
        assert_eq!(front.weir.exit_code(SOON), 0);
    }
}

#[test]
fn a_deadline_that_passes_cuts_and_exits_with_3() {
    let backend = Backend::scripted(|peer, _| peer.hang());
    let mut front = Front::with(backend, |scene| scene.top("shutdown: {timeout: 300ms}"));
    let mut client = front.connect();
    client.send(get("/"));
    wait::until_true("the request at the endpoint", || front.backend.requests().len() == 1);
    front.weir.signal(Signal::TERM);
    assert_eq!(front.weir.exit_code(SOON), 3);
    let seen = client.response();
    assert!(matches!(seen, Err(Broken::Reset(_) | Broken::Closed)), "{seen:?}");
}

#[test]
fn a_second_signal_stops_at_once() {
    let backend = Backend::scripted(|peer, _| peer.hang());
    let mut front = Front::new(backend);
    let mut client = front.connect();
    client.send(get("/"));
    wait::until_true("the request at the endpoint", || front.backend.requests().len() == 1);
    front.weir.signal(Signal::TERM);
    wait::until_true("the end of accepting", || RawClient::try_connect(front.web).is_err());
    front.weir.signal(Signal::TERM);
    // The drain would take 60 s.
    assert_eq!(front.weir.exit_code(SOON), 3);
}

#[test]
fn readiness_is_false_before_accepting_ends() {
    let mut front = Front::with(Backend::text("x"), |scene| scene.top("shutdown: {delay: 1500ms}"));
    assert_eq!(front.weir.admin_get("/readyz").status, 200);
    front.weir.signal(Signal::TERM);
    wait::until_true("not ready", || front.weir.admin_get("/readyz").status == 503);
    assert_eq!(front.weir.admin_get("/livez").status, 200);
    assert_eq!(front.ask(&get("/")).status, 200, "the balancer before us may not have looked yet");
    assert_eq!(front.weir.exit_code(SOON), 0);
}

#[test]
fn readiness_waits_for_the_first_verdict_of_each_endpoint() {
    let (backend, go) = {
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        let backend = Backend::scripted(move |peer, _| {
            let _ = gate.lock().unwrap().recv();
            peer.send(ok("well"));
        });
        (backend, go)
    };
    let scene = Scene::to(backend.address())
        .cluster("health_checks: [{timeout: 30s, interval: 100ms, http_health_check: {path: /healthz}}]");
    let mut weir = Weir::spawn(&scene.yaml());
    wait::until_true("the first probe", || !backend.requests().is_empty());
    assert_eq!(weir.admin_get("/readyz").status, 503);
    for _ in 0..100 {
        go.send(()).unwrap();
    }
    weir.wait_ready();
}

#[test]
fn a_port_that_is_taken_is_told_with_who_holds_it() {
    let backend = Backend::text("x");
    let scene = Scene::to(backend.address());
    let _taken = std::net::TcpListener::bind(scene.web).unwrap();
    let mut weir = Weir::spawn(&scene.yaml());
    assert_eq!(weir.exit_code(SOON), 1);
    let said = weir.stderr();
    assert!(said.contains(&scene.web.to_string()), "which address: {said}");
    assert!(said.contains(&std::process::id().to_string()), "which process: {said}");
}

#[test]
fn two_instances_do_not_share_a_port() {
    let front = Front::new(Backend::text("x"));
    let scene = Scene { web: front.web, ..Scene::to(front.backend.address()) };
    let mut second = Weir::spawn(&scene.yaml());
    assert_eq!(second.exit_code(SOON), 1);
    assert!(second.stderr().contains(&front.weir.pid().to_string()), "{}", second.stderr());
    for _ in 0..20 {
        assert_eq!(front.ask(&get("/")).status, 200, "the first lost nothing");
    }
}

#[test]
fn a_bad_config_at_start_exits_with_1_and_says_where() {
    let mut weir =
        Weir::spawn("listeners:\n  - {name: web, bind: 127.0.0.1:0, protocol: http, clutser: main}\nclusters: []\n");
    assert_eq!(weir.exit_code(SOON), 1);
    let said = weir.stderr();
    assert!(said.contains("weir.yaml:3:") && said.contains("clutser"), "{said}");
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [&["no-such-command"][..], &["run"], &["check", "--no-such-flag"]] {
        let output = Command::new(weir::binary()).args(arguments).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn check_says_yes_with_0_and_no_with_1() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("weir.yaml");
    let check = |yaml: &str| {
        std::fs::write(&file, yaml).unwrap();
        Command::new(weir::binary()).arg("check").arg(&file).stdin(Stdio::null()).output().unwrap()
    };
    assert_eq!(check(&Scene::to(place::refusing()).yaml()).status.code(), Some(0));
    let output = check("listeners: []\n");
    assert_eq!(output.status.code(), Some(1));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("weir.yaml"), "{said}");
}

#[test]
fn the_access_log_is_opened_again_on_sigusr1() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let backend = Backend::text("x");
    let scene = Scene::to(backend.address());
    let weir = Weir::start(&format!("access_log: {}\n{}", log.display(), scene.yaml()));
    let ask = |path: &str| assert_eq!(RawClient::once(scene.web, &get(path)).unwrap().status, 200);
    let has = |file: &std::path::Path, text: &str| std::fs::read_to_string(file).is_ok_and(|log| log.contains(text));
    ask("/before");
    wait::until_true("the first line", || has(&log, "/before"));
    let rotated = directory.path().join("access.log.1");
    std::fs::rename(&log, &rotated).unwrap();
    weir.signal(Signal::USR1);
    wait::until_true("a new file", || log.exists());
    ask("/after");
    wait::until_true("a line in the new file", || has(&log, "/after"));
    assert!(!has(&rotated, "/after"));
}

#[test]
fn the_limit_of_open_files_is_raised_to_the_hard_one() {
    let front = Front::new(Backend::text("x"));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", front.weir.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{line}");
}
