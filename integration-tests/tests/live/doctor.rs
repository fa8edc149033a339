//! `weir doctor` and `/api/v1/doctor`: each planted fault is found, with its cause and what mends
//! it; of a healthy host nothing is said. Most faults live in a network namespace of their own, so
//! that sockets of other tests are none of it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;
use socket2::{Domain, Type};
use weir_integration_tests::dnsmasq::Dnsmasq;
use weir_integration_tests::netns::Netns;
use weir_integration_tests::replica::{Mood, Replica, Totals};
use weir_integration_tests::tls::{Authority, Kind, echo_heads, put, serve_on};
use weir_integration_tests::weir::binary;
use weir_integration_tests::{place, wait};

use crate::stage::Stage;

/// Findings by code, but for those of the scheduler: tests make machines busy.
type Findings = BTreeMap<String, Vec<Value>>;

fn findings(report: &Value) -> Findings {
    let mut found = Findings::new();
    for finding in report["findings"].as_array().unwrap_or_else(|| panic!("findings in {report}")) {
        if finding["area"] != "scheduler" {
            found.entry(finding["code"].as_str().unwrap().to_owned()).or_default().push(finding.clone());
        }
    }
    found
}

fn report(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// The one finding of that code; its cause, evidence and fix have these words.
fn expect(found: &mut Findings, code: &str, cause: &[&str], evidence: &str, fix: &str) {
    let mut those = found.remove(code).unwrap_or_else(|| panic!("no {code} among {found:#?}"));
    let one = those.pop().unwrap();
    assert!(those.is_empty(), "{code} more than once: {one:#?} {those:#?}");
    let says = |part: &str, words: &str| {
        let text = one[part].as_str().unwrap();
        assert!(text.contains(words), "{code}: no {words:?} in {part}: {one:#?}");
    };
    cause.iter().for_each(|words| says("cause", words));
    says("evidence", evidence);
    says("fix", fix);
    assert!(!one["effect"].as_str().unwrap().is_empty());
}

fn doctor(command: &mut Command, config: &Path) -> Output {
    let command = command.args(["doctor", "--format", "json"]).arg(config).env("NO_COLOR", "1");
    command.stdin(Stdio::null()).output().expect("the binary starts")
}

fn replica(netns: &Netns, name: &str, mood: Mood) -> Replica {
    let replica = Replica::on(name, netns.listen(0), &Totals::default());
    replica.set(mood);
    replica
}

#[test]
fn nothing_is_said_of_a_healthy_host() {
    let netns = Netns::new();
    let endpoint = replica(&netns, "r1", Mood::Well);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("weir.yaml");
    let web = netns.address(1);
    let text = format!(
        "admin: 127.0.0.1:9900\nlisteners: [{{name: web, bind: '{web}:8080', cluster: shop}}]\n\
         clusters: [{{name: shop, endpoints: ['{}'], connect: {{timeout: 10s}}, \
         health_checks: [{{timeout: 10s, interval: 20s, http_health_check: {{path: /}}}}]}}]\n",
        endpoint.address()
    );
    fs::write(&config, text).unwrap();
    let output = doctor(&mut netns.command(binary()), &config);
    let report = report(&output);
    assert_eq!(findings(&report), Findings::new());
    assert_eq!(output.status.code(), Some(0));
    let facts = &report["facts"];
    assert_eq!(facts["ports"][0]["state"], "free");
    assert!(facts["endpoints"][0]["dial"]["took_ms"].as_f64().unwrap() > 0.0, "{facts}");
    assert_eq!(facts["endpoints"][0]["checks"][0]["result"]["failed"], Value::Null);
    assert_eq!(facts["limits"]["local_ports"]["first"], 32_768);

    // For people, who want few words.
    let said = netns.command(binary()).args(["doctor"]).arg(&config).env("NO_COLOR", "1").output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("looked at") && !said.contains('\u{1b}'), "{said}");
}

/// Connections into the queue of a listener that never accepts; they are open for as long as this.
fn fill(netns: &Netns) -> (socket2::Socket, Vec<socket2::Socket>) {
    let address = SocketAddr::new(netns.address(0), 0);
    netns.inside(move || {
        let listener = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let clients = (0..4).map(|_| {
            let client = socket2::Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
            // Those that do not fit are on their way for ever.
            let _ = client.connect(&address);
            client
        });
        let clients = clients.collect();
        (listener, clients)
    })
}

/// Connections to `listener` from within, both ends.
fn connections(netns: &Netns, listener: &TcpListener, count: usize) -> (Vec<TcpStream>, Vec<TcpStream>) {
    let address = listener.local_addr().unwrap();
    let clients = netns.inside(move || (0..count).map(|_| TcpStream::connect(address).unwrap()).collect());
    let accepted = (0..count).map(|_| listener.accept().unwrap().0).collect();
    (clients, accepted)
}

#[test]
fn faults_of_ports_endpoints_and_sockets_are_told_apart() {
    let netns = Netns::new();
    let folder = tempfile::tempdir().unwrap();
    let (authority, now) = (Authority::new(), SystemTime::now());
    put(folder.path(), "ca.pem", authority.pem().as_bytes());
    let day = Duration::from_secs(24 * 60 * 60);
    let expired = authority.issue_as(&["a.example"], Kind::Ecdsa, now - day);

    let taken = netns.listen(1);
    let well = replica(&netns, "well", Mood::Well);
    let hanging = replica(&netns, "hanging", Mood::HangAfterAccept);
    let filtered = netns.listen(2).local_addr().unwrap();
    netns.cut_off(filtered);
    let refusing = netns.listen(0).local_addr().unwrap();
    let sni = serve_on(netns.listen(0), &authority.issue(&["a.example"]), None, &[], echo_heads);
    let old = serve_on(netns.listen(0), &expired, None, &[], echo_heads);
    let (full, _waiting) = fill(&netns);
    let full_at = full.local_addr().unwrap().as_socket().unwrap();
    let (leaking, busy) = (netns.listen(0), netns.listen(0));
    let busy_at = busy.local_addr().unwrap();
    // From now on a hundred ports for each destination, none of them a listener's.
    let range = netns.inside(|| fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10000 10099"));
    range.unwrap();
    let (closed, _leaked) = connections(&netns, &leaking, 20);
    drop(closed);
    let _open = connections(&netns, &busy, 100);

    let cluster = |name: &str, endpoint: SocketAddr, more: &str| {
        let check = "health_checks: [{timeout: 2s, interval: 20s, http_health_check: {path: /healthz}}]";
        format!("  - {{name: {name}, endpoints: ['{endpoint}'], connect: {{timeout: 2s}}, {check}{more}}}\n")
    };
    let web = taken.local_addr().unwrap();
    let text = [
        format!("admin: off\nlisteners: [{{name: web, bind: '{web}', cluster: well}}]\nclusters:\n"),
        cluster("well", well.address(), ""),
        cluster("hanging", hanging.address(), ""),
        cluster("filtered", filtered, ""),
        cluster("refusing", refusing, ""),
        cluster("sni", sni, ", tls: {server_name: b.example, ca: ca.pem}"),
        cluster("old", old, ", tls: {server_name: a.example, ca: ca.pem}"),
        cluster("full", full_at, ""),
        cluster("busy", busy_at, ""),
    ];
    let config = folder.path().join("weir.yaml");
    fs::write(&config, text.concat()).unwrap();
    let mut limited = netns.command("prlimit");
    let output = doctor(limited.arg("--nofile=2000:2000").arg(binary()), &config);
    assert_eq!(output.status.code(), Some(1));
    let mut found = findings(&report(&output));

    let us = format!("(pid {})", std::process::id());
    expect(
        &mut found,
        "port_taken",
        &["listener web", &web.to_string(), &us],
        "address in use",
        "`bind` of listener web",
    );
    expect(
        &mut found,
        "hangs",
        &[&hanging.address().to_string(), "never an answer"],
        "no answer in time",
        "health check",
    );
    expect(
        &mut found,
        "filtered",
        &[&filtered.to_string(), "packet filter"],
        "no packet came back",
        "nft list ruleset",
    );
    expect(&mut found, "refused", &[&refusing.to_string(), "nothing listens"], "connection refused", "ss -ltnp");
    expect(&mut found, "tls_name_mismatch", &[&sni.to_string(), "another name"], "a.example", "server_name");
    expect(&mut found, "tls_expired", &[&old.to_string(), "expired"], "expired", "openssl s_client");
    expect(
        &mut found,
        "accept_queue_full",
        &[&full_at.to_string(), "an endpoint of full", &us],
        "2 connections wait, 1 may",
        "listen",
    );
    expect(&mut found, "close_wait_leak", &[&us, "20 that the other side has closed"], "accepted on", "close-wait");
    expect(&mut found, "ports_used_up", &[&busy_at.to_string(), "100 of 100"], "TIME_WAIT", "ip_local_port_range");
    expect(&mut found, "files_low", &["only 2000 files"], "2000", "LimitNOFILE");
    assert_eq!(found, Findings::new(), "and nothing else");
}

#[test]
fn faults_of_dns_name_the_server() {
    let (one, other) = (place::on(place::ip()), place::on(place::ip()));
    let endpoint = Replica::new("r1");
    let at = endpoint.address();
    let _one = Dnsmasq::start(one, "app.test", &at.ip().to_string());
    let _other = Dnsmasq::start(other, "app.test", "127.0.0.9");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("weir.yaml");
    let cluster = |name: &str, host: &str| {
        format!(
            "  - {{name: {name}, endpoints: ['{host}:{}'], resolve: {{servers: ['{one}', '{other}'], family: ipv4}}}}\n",
            at.port()
        )
    };
    let web = place::address();
    let text = [
        format!("admin: off\nlisteners: [{{name: web, bind: '{web}', cluster: shop}}]\nclusters:\n"),
        cluster("shop", "app.test"),
        cluster("gone", "gone.invalid.test"),
    ];
    fs::write(&config, text.concat()).unwrap();
    let output = doctor(&mut Command::new(binary()), &config);
    assert_eq!(output.status.code(), Some(1));
    let report = report(&output);
    let mut found = findings(&report);
    found.retain(|_, those| those[0]["area"] == "dns");
    let evidence = format!("{one} says {at}");
    expect(&mut found, "servers_disagree", &["app.test", "cluster shop"], &evidence, "resolve: {servers:");
    let cause = ["gone.invalid.test", "cluster gone"];
    expect(&mut found, "unresolved", &cause, &one.to_string(), "dig");
    assert_eq!(found, Findings::new());
    let servers = &report["facts"]["names"][0]["servers"];
    assert_eq!(servers[1]["answer"]["addresses"][0], format!("127.0.0.9:{}", at.port()));
    assert!(servers[0]["answer"]["ttl_seconds"].is_u64() && servers[0]["answer"]["took_ms"].is_f64(), "{servers}");
}

#[test]
fn a_running_instance_looks_at_itself_and_is_known_from_beside_it() {
    let live = Stage::of(1).cluster("connect: {timeout: 10s}").start();
    // Sockets and processors are shared with other tests.
    let ours = |report: &Value| {
        let mut found = findings(report);
        found.retain(|_, those| those[0]["area"] != "sockets");
        found
    };
    let beside = report(&doctor(&mut Command::new(binary()), &live.weir.config()));
    assert_eq!(ours(&beside), Findings::new());
    assert_eq!(beside["facts"]["ports"][0]["state"], "ours");
    assert_eq!(beside["facts"]["process"]["pid"], live.weir.pid());

    // One look at a time: whoever asks while another does is told so.
    wait::until_true("two looks at once", || {
        let mut statuses = thread::scope(|scope| {
            let looks = [(); 2].map(|()| scope.spawn(|| live.weir.admin_get("/api/v1/doctor").status));
            looks.map(|look| look.join().unwrap())
        });
        statuses.sort_unstable();
        statuses == [200, 429]
    });
    let itself = live.weir.json("/api/v1/doctor");
    assert_eq!(ours(&itself), Findings::new());
    let threads = itself["facts"]["process"]["threads"].as_array().unwrap().clone();
    assert!(threads.iter().any(|thread| thread["name"] == "control"), "{threads:?}");
    assert!(threads.iter().any(|thread| thread["name"].as_str().unwrap().starts_with("weir-worker")), "{threads:?}");
    assert!(itself["facts"]["clock"]["step_seconds"].as_f64().unwrap().abs() < 0.5);

    // Nearly all its descriptors are in use.
    let _clients: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(live.web).unwrap()).collect();
    wait::until_true("clients that are let in", || {
        live.weir.metric("weir_listener_connections", &["listener=\"web\""]) >= 60.0
    });
    let open = fs::read_dir(format!("/proc/{}/fd", live.weir.pid())).unwrap().count() as u64;
    let pid = Pid::from_raw(live.weir.pid().try_into().unwrap());
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(open + open / 6), maximum }).unwrap();
    let output = live.weir.command(&["doctor"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("weir has ") && said.contains("files open, of"), "{said}");

    prlimit(pid, Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();

    // What TCP measured is there for the endpoint.
    let client = weir_integration_tests::client::RawClient::once(live.web, &weir_integration_tests::client::get("/"));
    assert_eq!(client.unwrap().status, 200);
    wait::until_true("a list of sockets that has the connection", || {
        live.weir.metric("weir_upstream_segments_total", &["cluster=\"shop\""]) > 0.0
    });
    assert!(live.weir.metric("weir_upstream_rtt_seconds", &["cluster=\"shop\""]) > 0.0);
}

#[test]
fn reasons_explain_themselves() {
    let ask = |arguments: &[&str]| {
        let output = Command::new(binary()).arg("explain-error").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said.into_owned())
    };
    let (code, said) = ask(&["Connect-Timeout"]);
    assert!(code == Some(0) && said.contains("clusters.connect.timeout") && said.contains("weir doctor"), "{said}");
    let (code, said) = ask(&["conect_timeout"]);
    assert!(code == Some(2) && said.contains("Did you mean `connect_timeout`?"), "{said}");
    let (code, said) = ask(&[]);
    assert!(code == Some(0) && said.contains("no_route") && said.contains("upstream_tls"), "{said}");
    let (_, said) = ask(&["--format", "json", "no_route"]);
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["whose"], "operator");
}
