//! One process after the other: nothing is lost, and a bad one changes nothing.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use weir_integration_tests::backend::{Backend, ok};
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::pace::Pace;
use weir_integration_tests::weir::{Weir, binary};
use weir_integration_tests::{place, wait};

use crate::stage::figure;

fn yaml(web: std::net::SocketAddr, good: &Backend, bad: &Backend, further: &str) -> String {
    let (good, bad) = (good.address(), bad.address());
    format!(
        "listeners:\n  - {{name: web, bind: '{web}', cluster: main}}\n{further}clusters:\n  - name: main\n    endpoints: ['{good}', '{bad}']\n    \
         health_checks: [{{interval: 200ms, timeout: 20s, unhealthy_threshold: 1, http_health_check: {{path: /healthz}}}}]\n"
    )
}

/// Answers everything but health checks.
fn sick() -> Backend {
    Backend::scripted(|peer, _| peer.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"))
}

fn upgrades(times: usize) {
    let (good, bad, web) = (Backend::text("hello"), sick(), place::address());
    let mut weir = Weir::start(&yaml(web, &good, &bad, ""));
    assert!(weir.command(&["drain", &format!("main/{}", bad.address()), "--for", "1h"]).status.success());
    let first = weir.pid();
    let mut before = first;
    let load = Pace::gets(web, 200);
    for _ in 0..times {
        load.more(20);
        let heir = weir.upgrade().unwrap();
        assert_ne!(heir, before);
        before = heir;
        let status = weir.json("/api/v1/status");
        let endpoints = status["clusters"][0]["endpoints"].as_array().unwrap();
        let of = |address: &str| endpoints.iter().find(|its| its["address"] == address).unwrap()["status"].clone();
        assert_eq!(of(&good.address().to_string()), "healthy", "it was known from the first moment on");
        assert_eq!(of(&bad.address().to_string()), "draining");
    }
    load.more(50);
    let report = load.finish();
    figure(&format!("{times} upgrades"), &report, None);
    report.assert_no_error();
    assert_eq!(weir.exit_code(wait::PATIENCE), 0, "the first finished everything");
}

#[test]
fn upgrades_under_load_lose_nothing() {
    upgrades(4);
}

#[test]
#[ignore = "takes a minute: make soak"]
fn fifty_upgrades_under_load_lose_nothing() {
    upgrades(50);
}

#[test]
fn what_lasts_goes_on_in_the_old_process_and_what_comes_goes_to_the_new() {
    let echo = TcpListener::bind("127.0.0.1:0").unwrap();
    let echo_address = echo.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = echo.accept() {
            std::thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    });
    let (good, bad, web) = (Backend::text("hello"), sick(), place::address());
    let (tcp, udp) = (place::address(), place::address());
    let socket = tempfile::tempdir().unwrap();
    let path = socket.path().join("web.sock");
    let dns = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dns_address = dns.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = dns.recv_from(&mut buffer) {
            if dns.send_to(&buffer[..length], from).is_err() {
                return;
            }
        }
    });
    let further = format!(
        "  - {{name: unix, bind: 'unix:{}', cluster: main}}\n  - {{name: tcp, bind: '{tcp}', protocol: tcp, cluster: echo}}\n  \
         - {{name: udp, bind: '{udp}', protocol: udp, cluster: dns, udp: {{idle: 1s}}}}\n",
        path.display()
    );
    let clusters =
        format!("  - {{name: echo, endpoints: ['{echo_address}']}}\n  - {{name: dns, endpoints: ['{dns_address}']}}\n");
    let mut weir = Weir::start(&(yaml(web, &good, &bad, &further) + &clusters));
    let says = |mut session: &TcpStream, word: &str| {
        session.write_all(word.as_bytes()).unwrap();
        let mut heard = vec![0; word.len()];
        session.read_exact(&mut heard).unwrap();
        assert_eq!(heard, word.as_bytes());
    };
    let session = TcpStream::connect(tcp).unwrap();
    says(&session, "one");
    let ask = UdpSocket::bind("127.0.0.1:0").unwrap();
    ask.connect(udp).unwrap();
    ask.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    let asked = |what: &[u8]| {
        let mut buffer = [0; 16];
        ask.send(what).unwrap();
        let length = ask.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], what);
    };
    asked(b"before");

    weir.upgrade().unwrap();
    says(&session, "two");
    asked(b"after");
    says(&TcpStream::connect(tcp).unwrap(), "three");
    drop(UnixStream::connect(&path).unwrap());
    assert!(weir.exited().is_none(), "a session goes on in it");
    // Told to stop it is not in a hurry yet.
    weir.signal(Signal::TERM);
    wait::until_true("word of it", || weir.stderr().contains("asked to stop"));
    says(&session, "four");
    drop(session);
    wait::until_true("the end of the old one", || weir.exited().is_some());
    drop(UnixStream::connect(&path).expect("its file is the new one's"));
    let mut web = RawClient::connect(web);
    web.send(get("/"));
    assert_eq!(web.response().unwrap().text(), "hello");
}

#[test]
fn a_file_that_changes_while_another_process_starts_is_read_by_the_one_that_serves() {
    let (good, answers) = (Backend::text("hello"), Arc::new(AtomicBool::new(false)));
    let held = Backend::scripted({
        let answers = Arc::clone(&answers);
        move |peer, _| {
            wait::until_true("leave to answer", || answers.load(Ordering::SeqCst) || peer.is_stopped());
            peer.try_send(&ok("well"));
        }
    });
    let (web, other) = (place::address(), place::address());
    let yaml = |also: &str, further: &str| {
        format!(
            "listeners:\n  - {{name: web, bind: '{web}', cluster: main}}\n{further}clusters:\n  - name: main\n    endpoints: ['{}'{also}]\n    \
             health_checks: [{{interval: 1s, timeout: 60s, http_health_check: {{path: /}}}}]\n",
            good.address()
        )
    };
    let also = format!(", '{}'", held.address());
    let mut weir = Weir::start(&yaml("", ""));
    weir.replace(&yaml(&also, ""));
    wait::until_true("a probe", || held.connections() == 1);
    // The next process has to ask one that does not answer: meanwhile the file changes once more.
    weir.signal(Signal::USR2);
    wait::until_true("its probe", || held.connections() == 2);
    weir.replace(&yaml(&also, &format!("  - {{name: other, bind: '{other}', cluster: main}}\n")));
    let reload = weir.command(&["reload"]);
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert!(!reload.status.success() && said.contains("whichever serves then reads the file"), "{said}");
    answers.store(true, Ordering::SeqCst);
    weir.upgrade().unwrap();
    let mut client = wait::until("the new listener", || RawClient::try_connect(other).ok());
    client.send(get("/"));
    assert_eq!(client.response().unwrap().status, 200);
    assert!(weir.events("config_rejected").is_empty());
}

/// Not by this process: a child that another test starts meanwhile would hold the file open for writing,
/// and such a file cannot be run.
fn copy_program(to: &Path) {
    assert!(Command::new("cp").arg(binary()).arg(to).status().unwrap().success());
}

/// A Weir started by a path of its own, so that the file there can be another one day.
struct Installed {
    folder: tempfile::TempDir,
    admin: std::net::SocketAddr,
    child: Child,
}

impl Installed {
    fn start(config: &str, environment: &[(&str, &str)]) -> Self {
        let (folder, admin) = (tempfile::tempdir().unwrap(), place::address());
        let program = folder.path().join("weir");
        copy_program(&program);
        fs::write(folder.path().join("weir.yaml"), format!("admin: {admin}\n{config}")).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(&program);
        command.arg("run").arg(folder.path().join("weir.yaml")).arg("--state-dir").arg(folder.path().join("state"));
        command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // Another test may just have been forked, with the descriptor the copy was written by.
        let child = wait::until("a program that nobody writes to", || match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => None,
            spawned => Some(spawned.unwrap()),
        });
        let this = Self { folder, admin, child };
        this.ready();
        this
    }

    fn ready(&self) {
        wait::until_true("readiness", || self.weir(&["health", "--ready"]).status.success());
    }

    fn weir(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(binary());
        command.args(arguments).env("WEIR_ADMIN_ADDR", self.admin.to_string()).output().unwrap()
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("weir")
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_broken_new_binary_leaves_the_old_one_serving() {
    let (good, bad, web) = (Backend::text("hello"), sick(), place::address());
    let weir = Installed::start(&yaml(web, &good, &bad, ""), &[]);
    let load = Pace::gets(web, 100);
    for (script, why) in [("#!/bin/sh\nexit 7\n", "exit status: 7"), ("no program", "cannot be started")] {
        // Not written into the file that runs: a package manager does not, either.
        let fresh = weir.folder.path().join("fresh");
        fs::write(&fresh, script).unwrap();
        fs::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::rename(&fresh, weir.program()).unwrap();
        let output = weir.weir(&["upgrade"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(why), "{why} in {said}");
    }
    // A file that no longer passes its check is the same.
    let fresh = weir.folder.path().join("fresh");
    copy_program(&fresh);
    fs::rename(&fresh, weir.program()).unwrap();
    fs::write(weir.folder.path().join("weir.yaml"), "listeners: nothing\n").unwrap();
    let output = weir.weir(&["upgrade"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("exit status: 1"), "{output:?}");
    load.more(20);
    load.finish().assert_no_error();
}

#[test]
fn what_was_seen_survives_a_crash() {
    let (good, bad, web) = (Backend::text("hello"), sick(), place::address());
    let mut weir = Installed::start(&yaml(web, &good, &bad, ""), &[]);
    let state = weir.folder.path().join("state/health.json");
    wait::until_true("what was seen", || fs::read_to_string(&state).is_ok_and(|text| text.contains("unhealthy")));
    weir.child.kill().unwrap();
    weir.child.wait().unwrap();
    // Nobody answers probes any more, and yet it is known who was well.
    let log = fs::File::create(weir.folder.path().join("log")).unwrap();
    let mut command = Command::new(weir.program());
    command
        .arg("run")
        .arg(weir.folder.path().join("weir.yaml"))
        .arg("--state-dir")
        .arg(weir.folder.path().join("state"));
    weir.child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    weir.ready();
    let events = weir.weir(&["events", "--limit", "100"]);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    assert!(events.contains("ago an earlier process knew 2 endpoints"), "{events}");
    // One that was touched is told of, and nobody's start.
    weir.child.kill().unwrap();
    weir.child.wait().unwrap();
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replace("unhealthy", "healthy")).unwrap();
    weir.child = command.spawn().unwrap();
    weir.ready();
    assert!(weir.folder.path().join("state/health.json.broken").exists());
}

#[test]
fn the_service_manager_is_told_and_gives_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    let heard = |what: &str| {
        let mut buffer = [0; 4096];
        for _ in 0..1000 {
            let length = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("waiting for {what}: {error}"));
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if said.contains(what) {
                return said;
            }
        }
        panic!("never {what}")
    };
    let (good, bad, web) = (Backend::text("hello"), sick(), place::address());
    let notify = folder.path().join("notify");
    let environment = [("NOTIFY_SOCKET", notify.to_str().unwrap()), ("WATCHDOG_USEC", "400000")];
    let mut weir = Installed::start(&yaml(web, &good, &bad, ""), &environment);
    heard("READY=1");
    heard("WATCHDOG=1");
    let process = Pid::from_child(&weir.child);
    kill_process(process, Signal::HUP).unwrap();
    heard("RELOADING=1");
    heard("READY=1");
    // However much there is to do, it says that it lives.
    wait::until_true("a sign of life", || {
        kill_process(process, Signal::HUP).unwrap();
        heard("=1").contains("WATCHDOG") || heard("=1").contains("WATCHDOG")
    });
    kill_process(process, Signal::USR2).unwrap();
    let said = heard("MAINPID=");
    let heir = said.lines().find_map(|line| line.strip_prefix("MAINPID=")).unwrap().parse().unwrap();
    // Its own first sign of life may be half of the time away that the old one's last is old.
    assert!(said.contains("READY=1") && said.contains("WATCHDOG=1"), "{said}");
    // A manager notices the end of its own children only.
    let status = fs::read_to_string(format!("/proc/{heir}/status")).unwrap();
    assert!(!status.contains(&format!("PPid:\t{}\n", weir.child.id())), "{status}");
    heard("WATCHDOG=1");
    wait::until_true("the end of the first", || weir.child.try_wait().unwrap().is_some());
    weir.ready();
    kill_process(Pid::from_raw(heir).unwrap(), Signal::TERM).unwrap();
    heard("STOPPING=1");

    // Sockets that were opened for it: systemd's own tool opens them.
    let (web, admin) = (place::address(), place::address());
    let config = folder.path().join("weir.yaml");
    // It is asked before it knows whom it may ask.
    let also = Backend::text("hello");
    let path = folder.path().join("web.sock");
    let unix = format!("  - {{name: unix, bind: 'unix:{}', cluster: main}}\n", path.display());
    fs::write(&config, format!("admin: {admin}\n{}", yaml(web, &good, &also, &unix))).unwrap();
    let mut activated = Command::new("systemd-socket-activate");
    activated.args(["-l", &web.to_string(), "-l", path.to_str().unwrap()]).arg(binary()).arg("run").arg(&config);
    let mut activated = activated.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The first to connect has it started, and is served once it is.
    let mut first = wait::until("its socket", || RawClient::try_connect(web).ok());
    first.send(get("/"));
    assert_eq!(first.response().unwrap().text(), "hello");
    drop(first);
    drop(UnixStream::connect(&path).unwrap());
    // Whoever opened a Unix socket goes on with it when the last of us has ended.
    let mut upgrade = Command::new(binary());
    let output =
        upgrade.args(["upgrade", "--format", "json"]).env("WEIR_ADMIN_ADDR", admin.to_string()).output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    activated.wait().unwrap();
    let heir = answer["process"].as_i64().and_then(|heir| Pid::from_raw(heir as i32)).unwrap();
    kill_process(heir, Signal::TERM).unwrap();
    wait::until_true("its end", || TcpStream::connect(admin).is_err());
    assert!(path.exists());
}
