//! Each fault has its finding, and a healthy host has none.

use std::time::SystemTime;

use weir_core::discovery::FailureKind;
use weir_core::health::{Inconclusive, ProbeFailure, ProbeResult};
use weir_core::tls::Untrusted;

use super::*;
use crate::doctor::facts::*;
use crate::env::Unconnected;
use crate::process::owners::Owner;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn owner(name: &str) -> Owner {
    Owner { pid: 4711, name: name.into(), line: format!("/usr/sbin/{name} -g daemon") }
}

fn port(bind: Bind) -> Port {
    Port {
        whose: "listener web".into(),
        key: "`bind` of listener web".into(),
        kind: "tcp",
        address: "0.0.0.0:80".into(),
        bind,
    }
}

fn said(result: Result<&[&str], FailureKind>, took: Duration) -> Answer {
    Answer {
        result: result.map(|all| all.iter().map(ToString::to_string).collect()).map_err(|kind| (kind, String::new())),
        ttl: Some(S * 30),
        took,
        records: Vec::new(),
    }
}

fn name(answer: Answer, servers: &[Answer]) -> Name {
    let server = |(nth, answer): (usize, &Answer)| Server {
        address: format!("10.0.0.{}:53", nth + 2).parse().unwrap(),
        answer: answer.clone(),
    };
    Name {
        cluster: "shop".into(),
        source: "app.internal:8080".into(),
        answer,
        servers: servers.iter().enumerate().map(server).collect(),
        in_hosts: false,
        found_as: None,
        search: Vec::new(),
        timeout: S * 2,
        stale: None,
    }
}

fn step<F>(failed: Option<F>) -> Step<F> {
    Step { took: MS, limit: S, failed }
}

fn endpoint(nth: u8) -> Endpoint {
    Endpoint {
        cluster: "shop".into(),
        address: format!("10.0.1.{nth}:8080"),
        host: None,
        dial: Some(step(None)),
        tls: None,
        checks: vec![("http", step(None))],
    }
}

fn dialled(why: Unconnected) -> Endpoint {
    Endpoint { dial: Some(step(Some(why))), checks: Vec::new(), ..endpoint(1) }
}

fn secured(why: Untrusted) -> Endpoint {
    Endpoint { tls: Some(step(Some((why, "words".into())))), checks: Vec::new(), ..endpoint(1) }
}

fn checked(result: ProbeResult) -> Endpoint {
    Endpoint { checks: vec![("http", step(Some(result)))], ..endpoint(1) }
}

fn queue(waiting: u32, whose: Option<&str>) -> Queue {
    let address = "10.0.1.1:8080".parse().unwrap();
    Queue { address, waiting, room: 128, owner: Some(owner("app")), whose: whose.map(str::to_owned) }
}

fn leak(count: u64, ours: bool) -> Leak {
    Leak { owner: Some(owner("app")), peer: "accepted on 10.0.1.1:8080".into(), count, oldest: S * 90, ours }
}

fn ports(used: u64, growth: f64) -> PortUse {
    let to = "10.0.1.1:8080".parse().unwrap();
    PortUse { to, cluster: Some("shop".into()), used, time_wait: used / 2, all: 1000, growth }
}

fn path(retransmitted: u64) -> Path {
    let address = "10.0.1.1:8080".parse().unwrap();
    Path { cluster: "shop".into(), address, connections: 3, rtt: MS, segments: 10_000, retransmitted }
}

fn thread(ran: u32, waited: u32) -> Thread {
    Thread { name: "weir-worker-0".into(), ran: MS * ran, waited: MS * waited, over: S }
}

/// A host on which everything was looked at and is as it should be.
fn healthy() -> Facts {
    let fine = said(Ok(&["10.0.1.1:8080"]), MS * 3);
    let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
    Facts {
        ports: vec![port(Bind::Free), port(Bind::Ours)],
        names: vec![name(fine.clone(), &[fine.clone(), fine])],
        endpoints: vec![endpoint(1), endpoint(2)],
        unexamined: 0,
        sockets: Sockets {
            states: [("established", 5000), ("time_wait", 9000), ("close_wait", 3)].into(),
            queues: vec![queue(3, Some("listener web"))],
            leaks: vec![leak(9, false), leak(50, true)],
            ports: vec![ports(300, 2.0)],
            time_wait_max: Some(65_536),
            overflows: Some((17, 0)),
            paths: vec![path(30)],
            ..Sockets::default()
        },
        host: Host {
            files: Some(Files { open: Some(300), limit: 524_288 }),
            all_files: Some((9_000, u64::MAX)),
            somaxconn: Some(4096),
            syn_backlog: Some(512),
            syncookies: Some(1),
            local_ports: Some((32_768, 60_999, 0)),
            conntrack: Some((1_000, 262_144)),
        },
        process: Some(Process { pid: 1, control_lag: Some(MS * 3), threads: vec![thread(600, 20)] }),
        clock: Clock { step: 0.001, since: "weir started", file_ahead: None, keeper: Some(("chronyd".into(), None)) },
        certificates: vec![Certificate {
            whose: "listener web".into(),
            file: "a.pem".into(),
            from: now - DAY,
            until: now + DAY * 60,
            now,
        }],
    }
}

/// What is said of a healthy host on which `plant` broke something: codes, with `!` for bad.
fn codes(plant: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = healthy();
    plant(&mut facts);
    let found = all(&facts);
    for one in &found {
        for says in [&one.cause, &one.evidence, &one.effect, &one.fix] {
            assert!(!says.is_empty() && !says.contains('\n') && !says.contains("ADDRESS"), "{one:?}");
        }
        assert!(one.fix.contains('`') || one.code == "unexamined", "a command or a setting: {one:?}");
        assert!(AREAS.contains(&&*one.area), "{one:?}");
    }
    let bad = |one: &Finding| if one.severity == Severity::Bad { "!" } else { "" };
    found.iter().map(|one| format!("{}{}", bad(one), one.code)).collect()
}

#[test]
fn nothing_is_said_of_a_healthy_host() {
    assert!(codes(|_| ()).is_empty());
    // Nor of one that could not be looked at.
    assert!(all(&Facts::default()).is_empty());
}

#[test]
fn every_fault_has_its_finding() {
    type Plant = Box<dyn FnOnce(&mut Facts)>;
    fn plant(plant: impl FnOnce(&mut Facts) + 'static) -> Plant {
        Box::new(plant)
    }
    let failed = |failure| ProbeResult::Failed(failure);
    let one = |endpoint: Endpoint| plant(move |facts| facts.endpoints = vec![endpoint]);
    let bind = |bind: Bind| plant(move |facts| facts.ports = vec![port(bind)]);
    let answers = |all: Answer, servers: &[Answer]| {
        let name = name(all, servers);
        plant(move |facts| facts.names = vec![name])
    };
    let (fine, other) = (said(Ok(&["10.0.1.1:8080"]), MS), said(Ok(&["10.0.1.9:8080"]), MS));
    let no_such = said(Err(FailureKind::NxDomain), MS);
    let silent = said(Err(FailureKind::Timeout), S * 2);
    for (expected, plant) in [
        ("!port_taken", bind(Bind::Taken(Some(owner("nginx"))))),
        ("!port_taken", bind(Bind::Taken(None))),
        ("!port_denied", bind(Bind::Denied)),
        ("!address_not_here", bind(Bind::NotHere)),
        ("!port_failed", bind(Bind::Failed("no".into()))),
        ("!unresolved", answers(no_such.clone(), std::slice::from_ref(&no_such))),
        ("!unresolved", answers(silent.clone(), std::slice::from_ref(&silent))),
        ("servers_disagree", answers(fine.clone(), &[fine.clone(), other])),
        ("servers_disagree", answers(fine.clone(), &[fine.clone(), no_such])),
        ("server_silent", answers(fine.clone(), &[fine.clone(), silent])),
        ("server_slow", answers(fine.clone(), &[said(Ok(&["10.0.1.1:8080"]), MS * 1500)])),
        ("!refused", one(dialled(Unconnected::Refused))),
        ("!filtered", one(dialled(Unconnected::TimedOut))),
        ("!reset", one(dialled(Unconnected::Reset))),
        ("!busy", one(dialled(Unconnected::Busy))),
        ("!unreachable", one(dialled(Unconnected::Unreachable))),
        ("!dial_local", one(dialled(Unconnected::Local))),
        ("!forbidden", one(dialled(Unconnected::Forbidden))),
        ("!dial_failed", one(dialled(Unconnected::Unexpected))),
        ("!tls_expired", one(secured(Untrusted::Expired))),
        ("!tls_name_mismatch", one(secured(Untrusted::NameMismatch))),
        ("!tls_unknown_authority", one(secured(Untrusted::UnknownAuthority))),
        ("!tls_not_tls", one(secured(Untrusted::NotTls))),
        ("!hangs", one(checked(failed(ProbeFailure::Timeout)))),
        ("!status", one(checked(failed(ProbeFailure::Status(503))))),
        ("!closes", one(checked(failed(ProbeFailure::Reset)))),
        ("!protocol", one(checked(failed(ProbeFailure::Protocol)))),
        ("!refused", one(checked(failed(ProbeFailure::ConnectRefused)))),
        ("!dial_local", one(checked(ProbeResult::Inconclusive(Inconclusive::LocalResource)))),
        ("", one(checked(ProbeResult::Inconclusive(Inconclusive::Late)))),
        ("slow", one(Endpoint { dial: Some(Step { took: MS * 900, limit: S, failed: None }), ..endpoint(1) })),
        ("unexamined", plant(|facts| facts.unexamined = 3)),
        ("!accept_queue_full", plant(|facts| facts.sockets.queues = vec![queue(129, Some("listener web"))])),
        ("accept_queue_full", plant(|facts| facts.sockets.queues = vec![queue(129, None)])),
        ("accept_queue_near", plant(|facts| facts.sockets.queues = vec![queue(100, Some("listener web"))])),
        ("accept_queue_overflows", plant(|facts| facts.sockets.overflows = Some((20, 3)))),
        ("close_wait_leak", plant(|facts| facts.sockets.leaks = vec![leak(10, false)])),
        ("!close_wait_leak", plant(|facts| facts.sockets.leaks = vec![leak(1000, false)])),
        ("close_wait_leak", plant(|facts| facts.sockets.leaks = vec![leak(100, true)])),
        ("ports_running_out", plant(|facts| facts.sockets.ports = vec![ports(700, 0.0)])),
        ("ports_running_out", plant(|facts| facts.sockets.ports = vec![ports(300, 20.0)])),
        ("!ports_used_up", plant(|facts| facts.sockets.ports = vec![ports(950, 0.0)])),
        ("time_wait_pile", plant(|facts| facts.sockets.time_wait_max = Some(10_000))),
        ("packets_lost", plant(|facts| facts.sockets.paths = vec![path(500)])),
        ("!files_used_up", plant(|facts| facts.host.files = Some(Files { open: Some(9_900), limit: 10_000 }))),
        ("files_near", plant(|facts| facts.host.files = Some(Files { open: Some(8_500), limit: 10_000 }))),
        ("files_low", plant(|facts| facts.host.files = Some(Files { open: None, limit: 1024 }))),
        ("!host_files_used_up", plant(|facts| facts.host.all_files = Some((95, 100)))),
        ("somaxconn_low", plant(|facts| facts.host.somaxconn = Some(128))),
        ("syn_backlog_low", plant(|facts| facts.host.syncookies = Some(0))),
        ("conntrack_near", plant(|facts| facts.host.conntrack = Some((85, 100)))),
        ("!conntrack_full", plant(|facts| facts.host.conntrack = Some((99, 100)))),
        ("clock_step", plant(|facts| facts.clock.step = -5.0)),
        ("!clock_step", plant(|facts| facts.clock.step = 3600.0)),
        ("clock_behind", plant(|facts| facts.clock.file_ahead = Some(S * 600))),
        ("clock_not_synchronized", plant(|facts| facts.clock.keeper = Some(("timesyncd".into(), Some(false))))),
        ("control_late", plant(|facts| facts.process.as_mut().unwrap().control_lag = Some(S))),
        ("processor_short", plant(|facts| facts.process.as_mut().unwrap().threads = vec![thread(600, 400)])),
        ("worker_busy", plant(|facts| facts.process.as_mut().unwrap().threads = vec![thread(990, 10)])),
        ("!certificate_expired", plant(|facts| facts.certificates[0].until = facts.certificates[0].now - DAY)),
        ("certificate_expiring", plant(|facts| facts.certificates[0].until = facts.certificates[0].now + DAY * 10)),
        ("!certificate_expiring", plant(|facts| facts.certificates[0].until = facts.certificates[0].now + DAY)),
        ("!certificate_not_yet_valid", plant(|facts| facts.certificates[0].from = facts.certificates[0].now + DAY)),
    ] {
        assert_eq!(codes(plant).join(" "), expected);
    }
}

#[test]
fn a_cause_is_told_without_its_echoes() {
    // A full accept queue explains that dials are not answered.
    let full = codes(|facts| {
        facts.endpoints = vec![dialled(Unconnected::TimedOut), endpoint(2)];
        facts.sockets.queues = vec![queue(200, Some("an endpoint of shop"))];
    });
    assert_eq!(full, ["!accept_queue_full"]);
    let out_of_ports = codes(|facts| {
        facts.endpoints = vec![dialled(Unconnected::Local)];
        facts.sockets.ports = vec![ports(1000, 0.0)];
    });
    assert_eq!(out_of_ports, ["!ports_used_up"]);
}

#[test]
fn endpoints_that_fail_alike_are_one_finding_and_the_worst_is_first() {
    let mut facts = healthy();
    facts.host.somaxconn = Some(128);
    facts.endpoints =
        (1..=9).map(|nth| Endpoint { address: format!("10.0.1.{nth}:80"), ..dialled(Unconnected::Refused) }).collect();
    let found = all(&facts);
    let codes: Vec<&str> = found.iter().map(|one| &*one.code).collect();
    assert_eq!(codes, ["refused", "somaxconn_low"]);
    assert!(
        found[0].cause.starts_with("9 of 9 endpoints of cluster shop (10.0.1.1:80, 10.0.1.2:80"),
        "{}",
        found[0].cause
    );
    assert!(found[0].cause.contains("and 5 more"), "{}", found[0].cause);
    assert!(found[0].effect.contains("nobody else"), "{}", found[0].effect);
    assert!(found[0].fix.contains("sport = :80"), "{}", found[0].fix);
}

#[test]
fn times_and_lists_are_short() {
    for (micros, text) in
        [(340, "340 µs"), (3_200, "3.2 ms"), (450_000, "450 ms"), (1_500_000, "1.5 s"), (600_000_000, "10 min")]
    {
        assert_eq!(shown(Duration::from_micros(micros)), text);
    }
    assert_eq!(shown(DAY * 3), "3 days");
    assert_eq!(listed(&[1, 2, 3, 4, 5, 6]), "1, 2, 3, 4 and 2 more");
}
