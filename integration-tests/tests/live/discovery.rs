//! Endpoints that are told by names or files: they change, fail, lie and come back, and nobody who
//! asks for a page notices.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::dns::{Data, Dns, Record, Reply};
use weir_integration_tests::pace::Pace;
use weir_integration_tests::replica::{Mood, Replica, Totals};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::stage::figure;

const NAME: &str = "app.test";
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// Replicas on one port of different addresses, as a name has them.
fn replicas(count: usize) -> (Vec<Replica>, u16) {
    let first = TcpListener::bind(place::address()).unwrap();
    let port = first.local_addr().unwrap().port();
    let others =
        (1..count).map(|_| wait::until("the same port elsewhere", || TcpListener::bind((place::ip(), port)).ok()));
    let all = std::iter::once(first).chain(others);
    let named =
        all.enumerate().map(|(nth, listener)| Replica::on(&format!("r{}", nth + 1), listener, &Totals::default()));
    (named.collect(), port)
}

fn ip(replica: &Replica) -> Ipv4Addr {
    match replica.address().ip() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => unreachable!("tests live in 127/8"),
    }
}

struct Named {
    weir: Weir,
    web: SocketAddr,
}

impl Named {
    fn yaml(dns: &Dns, web: SocketAddr, endpoint: &str, resolve: &str, cluster: &str) -> String {
        format!(
            "listeners:\n  - {{name: web, bind: {web}, protocol: http, cluster: shop}}\nclusters:\n  - name: shop\n    \
             endpoints: [\"{endpoint}\"]\n    resolve: {{servers: [\"{}\"], family: ipv4{resolve}}}\n{cluster}",
            dns.address()
        )
    }

    fn start(dns: &Dns, endpoint: &str, resolve: &str, cluster: &str) -> Self {
        let web = place::address();
        Self { weir: Weir::start(&Self::yaml(dns, web, endpoint, resolve, cluster)), web }
    }

    fn get(&self) -> (u16, String) {
        let answer = RawClient::once(self.web, &get("/")).unwrap();
        let told = answer.reason().map_or_else(|| answer.text(), str::to_owned);
        (answer.status, told)
    }

    /// The endpoints that are known now.
    fn addresses(&self) -> Vec<String> {
        let status = self.weir.json("/api/v1/status");
        let endpoints = status["clusters"][0]["endpoints"].as_array().unwrap().clone();
        endpoints.iter().map(|endpoint| endpoint["address"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn d1_a_name_that_changes_is_followed_within_its_ttl_and_nothing_is_lost() {
    let (mut replicas, port) = replicas(2);
    let dns = Dns::new();
    dns.set_a(NAME, 2, &[ip(&replicas[0])]);
    let named = Named::start(&dns, &format!("{NAME}:{port}"), "", "");
    let load = Pace::gets(named.web, 150);
    load.more(300);
    assert_eq!(replicas[1].count(), 0);
    // At the worst moment: just after the old answer was given for two more seconds.
    let asked = dns.queries(NAME).len();
    wait::until_true("a question", || dns.queries(NAME).len() > asked);
    let changed = load.elapsed();
    dns.set_a(NAME, 2, &[ip(&replicas[1])]);
    wait::until_true("requests at the new address", || replicas[1].count() > 0);
    wait::until_true("TTL + 1 s", || load.elapsed() > changed + Duration::from_secs(3));
    // Whoever runs the old one may stop it now.
    replicas[0].kill();
    load.more(150);
    let report = load.finish();
    let last_old = report.shots.iter().filter(|shot| shot.by() == Some("r1")).map(|shot| shot.at).max().unwrap();
    let first_new = report.shots.iter().filter(|shot| shot.by() == Some("r2")).map(|shot| shot.at).min().unwrap();
    let (first_new, last_old) = (first_new.saturating_sub(changed), last_old.saturating_sub(changed));
    figure("a name changes its address (TTL 2 s)", &report, None);
    println!("figure | address changed: first request to the new, last to the old | {first_new:.2?} | {last_old:.2?}");
    report.assert_no_error();
    assert!(first_new < Duration::from_secs(3), "TTL + 1 s: {first_new:?}");
    assert!(last_old < Duration::from_secs(3), "TTL + 1 s: {last_old:?}");
}

#[test]
fn d2_a_name_that_cannot_be_resolved_does_not_stop_the_start() {
    let (replicas, port) = replicas(1);
    let dns = Dns::new();
    dns.fail(NAME, NXDOMAIN);
    let other = Replica::new("other");
    let (web, side) = (place::address(), place::address());
    let _weir = {
        let yaml = format!(
            "listeners:\n  - {{name: web, bind: {web}, protocol: http, cluster: shop}}\n  - {{name: side, bind: {side}, protocol: http, cluster: other}}\n\
             clusters:\n  - name: shop\n    endpoints: [\"{NAME}:{port}\"]\n    resolve: {{servers: [\"{}\"], family: ipv4}}\n  - {{name: other, endpoints: [\"{}\"]}}\n",
            dns.address(),
            other.address()
        );
        Weir::start(&yaml)
    };
    let answer = RawClient::once(web, &get("/")).unwrap();
    // x3: what is not known yet has a word of its own.
    assert_eq!((answer.status, answer.reason()), (503, Some("unresolved")));
    assert_eq!(RawClient::once(side, &get("/")).unwrap().text(), "other");
    dns.set_a(NAME, 2, &[ip(&replicas[0])]);
    wait::until_true("the name", || RawClient::once(web, &get("/")).is_ok_and(|answer| answer.status == 200));
}

#[test]
fn d3_the_shortest_ttl_of_a_chain_counts() {
    let (replicas, port) = replicas(2);
    let dns = Dns::new();
    let chain = |to: &Replica| {
        let alias = Record { name: NAME.into(), ttl: 2, data: Data::Cname("real.test".into()) };
        let real = Record { name: "real.test".into(), ttl: 300, data: Data::A(ip(to)) };
        dns.set("real.test", Reply { records: vec![real.clone()], ..Reply::default() });
        dns.set(NAME, Reply { records: vec![alias, real], ..Reply::default() });
    };
    chain(&replicas[0]);
    let named = Named::start(&dns, &format!("{NAME}:{port}"), "", "");
    assert_eq!(named.get(), (200, "r1".to_owned()));
    let since = Instant::now();
    chain(&replicas[1]);
    wait::until_true("the other", || named.get() == (200, "r2".to_owned()));
    assert!(since.elapsed() < Duration::from_secs(10), "by the alias' TTL: {:?}", since.elapsed());
}

#[test]
fn d4_a_name_that_does_not_exist_is_not_asked_for_in_a_flood() {
    let dns = Dns::new();
    dns.fail(NAME, NXDOMAIN);
    let named = Named::start(&dns, &format!("{NAME}:80"), ", min_ttl: 1s", "");
    assert_eq!(named.get(), (503, "unresolved".to_owned()));
    let first = dns.queries(NAME)[0].at;
    // Requests do not ask either.
    let load = Pace::gets(named.web, 100);
    wait::until_true("six seconds", || first.elapsed() > Duration::from_secs(6));
    drop(load);
    let mut at: Vec<Instant> = dns.queries(NAME).into_iter().map(|query| query.at).collect();
    at.dedup_by(|later, earlier| *later - *earlier < Duration::from_millis(300));
    let pauses: Vec<Duration> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(at.len() <= 5, "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause >= Duration::from_millis(850)), "{pauses:?}");
}

#[test]
fn d5_what_was_known_is_kept_while_the_name_server_fails() {
    for (what, reply) in [
        ("SERVFAIL", Reply { rcode: SERVFAIL, ..Reply::default() }),
        ("no answer", Reply { silent: true, ..Reply::default() }),
    ] {
        let (replicas, port) = replicas(1);
        let dns = Dns::new();
        dns.set_a(NAME, 1, &[ip(&replicas[0])]);
        let named = Named::start(&dns, &format!("{NAME}:{port}"), ", timeout: 500ms", "");
        let load = Pace::gets(named.web, 50);
        load.more(20);
        let asked = dns.queries(NAME).len();
        dns.set(NAME, reply);
        wait::until_true("questions without an answer", || dns.queries(NAME).len() >= asked + 2);
        load.more(100);
        let report = load.finish();
        assert!(report.failed().is_empty(), "{what}: {report}");
        let told = named.weir.json("/api/v1/status")["clusters"][0].to_string();
        assert!(told.contains("stale"), "{what}: that it is old is told: {told}");
    }
}

#[test]
fn d5_or_it_is_dropped_if_that_is_wanted() {
    let (replicas, port) = replicas(1);
    let dns = Dns::new();
    dns.set_a(NAME, 1, &[ip(&replicas[0])]);
    let named = Named::start(&dns, &format!("{NAME}:{port}"), ", max_stale: 0s", "");
    assert_eq!(named.get(), (200, "r1".to_owned()));
    dns.fail(NAME, SERVFAIL);
    wait::until_true("nobody", || named.get() == (503, "unresolved".to_owned()));
    dns.set_a(NAME, 1, &[ip(&replicas[0])]);
    wait::until_true("it is back", || named.get() == (200, "r1".to_owned()));
}

#[test]
fn d6_an_address_that_is_taken_away_gets_nothing_although_it_passes_its_checks() {
    let (replicas, port) = replicas(3);
    let dns = Dns::new();
    dns.set_a(NAME, 1, &replicas.iter().map(ip).collect::<Vec<_>>());
    let checks = "    health_checks: [{interval: 100ms, http_health_check: {path: /healthz}}]\n";
    let named = Named::start(&dns, &format!("{NAME}:{port}"), "", checks);
    let load = Pace::gets(named.web, 100);
    load.more(50);
    assert!(replicas.iter().all(|replica| replica.count() > 0));
    dns.set_a(NAME, 1, &[ip(&replicas[0]), ip(&replicas[1])]);
    let gone = replicas[2].address().to_string();
    wait::until_true("it is gone", || !named.addresses().contains(&gone));
    load.more(10);
    let before = replicas[2].begun();
    load.more(150);
    assert_eq!(replicas[2].begun(), before);
    load.finish().assert_no_error();
}

#[test]
fn d7_a_service_is_shared_by_its_weights_and_does_not_flap() {
    let (heavy, light) = (Replica::new("heavy"), Replica::new("light"));
    let dns = Dns::new();
    let service = "_http._tcp.app.test";
    let record = |host: &str, replica: &Replica, weight| {
        let data = Data::Srv { priority: 0, weight, port: replica.address().port(), target: host.into() };
        Record { name: service.into(), ttl: 1, data }
    };
    dns.set_a("heavy.test", 60, &[ip(&heavy)]);
    dns.set_a("light.test", 60, &[ip(&light)]);
    let both = vec![record("heavy.test", &heavy, 3), record("light.test", &light, 1)];
    dns.set(service, Reply { records: both.clone(), ..Reply::default() });
    let named = Named::start(&dns, &format!("srv:{service}"), "", "    balance: round_robin\n    slow_start: off\n");
    wait::until_true("both", || named.addresses().len() == 2);
    let load = Pace::gets(named.web, 200);
    load.more(400);
    let report = load.finish();
    report.assert_no_error();
    let share = report.share("heavy");
    assert!((share - 0.75).abs() < 0.05, "{share}");
    // One answer without the light one is no removal; the next has it again.
    let asked = dns.queries(service).len();
    dns.set(service, Reply { records: both[..1].to_vec(), ..Reply::default() });
    wait::until_true("one answer without it", || dns.queries(service).len() > asked);
    dns.set(service, Reply { records: both.clone(), ..Reply::default() });
    let asked = dns.queries(service).len();
    wait::until_true("two answers with it", || {
        assert_eq!(named.addresses().len(), 2, "it is confirmed first");
        dns.queries(service).len() >= asked + 2
    });
    // Twice without it is.
    dns.set(service, Reply { records: both[..1].to_vec(), ..Reply::default() });
    wait::until_true("it is gone", || named.addresses().len() == 1);
}

#[test]
fn a_long_answer_is_fetched_over_tcp() {
    let (replicas, port) = replicas(1);
    let dns = Dns::new();
    let record = Record { name: NAME.into(), ttl: 5, data: Data::A(ip(&replicas[0])) };
    dns.set(NAME, Reply { records: vec![record], truncated: true, ..Reply::default() });
    let named = Named::start(&dns, &format!("{NAME}:{port}"), "", "");
    wait::until_true("the name", || named.get() == (200, "r1".to_owned()));
    assert!(dns.queries(NAME).iter().any(|query| query.tcp));
}

#[test]
fn an_address_that_returns_is_no_stranger() {
    let (replicas, port) = replicas(2);
    let dns = Dns::new();
    let both = [ip(&replicas[0]), ip(&replicas[1])];
    dns.set_a(NAME, 1, &both);
    let named = Named::start(
        &dns,
        &format!("{NAME}:{port}"),
        ", confirm_removal: 1",
        "    outlier_detection: {base_ejection_time: 60s}\n    balance: round_robin\n",
    );
    replicas[1].set(Mood::status(500));
    let load = Pace::gets(named.web, 100);
    let word = |address: &str| {
        let status = named.weir.json("/api/v1/status");
        let endpoints = status["clusters"][0]["endpoints"].as_array().unwrap().clone();
        let its = endpoints.iter().find(|endpoint| endpoint["address"] == address);
        its.map(|endpoint| endpoint["status"].as_str().unwrap().to_owned())
    };
    let bad = replicas[1].address().to_string();
    wait::until_true("its ejection", || word(&bad).as_deref() == Some("ejected"));
    dns.set_a(NAME, 1, &both[..1]);
    wait::until_true("it is gone", || word(&bad).is_none());
    dns.set_a(NAME, 1, &both);
    let state = wait::until("its return", || word(&bad));
    assert_eq!(state, "ejected", "what is known of it was kept");
    drop(load);
}

#[test]
fn a_slow_name_server_delays_nobody() {
    let (replicas, port) = replicas(1);
    let dns = Dns::new();
    let record = Record { name: NAME.into(), ttl: 1, data: Data::A(ip(&replicas[0])) };
    dns.set(NAME, Reply { records: vec![record.clone()], ..Reply::default() });
    let named = Named::start(&dns, &format!("{NAME}:{port}"), "", "");
    assert_eq!(named.get(), (200, "r1".to_owned()));
    dns.set(NAME, Reply { records: vec![record], delay: Duration::from_millis(1500), ..Reply::default() });
    let load = Pace::gets(named.web, 100);
    let asked = dns.queries(NAME).len();
    wait::until_true("slow answers", || dns.queries(NAME).len() >= asked + 2);
    let report = load.finish();
    report.assert_no_error();
    assert!(report.quantile(0.99) < Duration::from_millis(700), "{report}");
}

#[test]
fn a_list_in_a_file_is_followed() {
    let replicas = [Replica::new("r1"), Replica::new("r2"), Replica::new("r3")];
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("endpoints.yaml");
    let write = |these: &[&Replica]| {
        let lines: String = these.iter().map(|replica| format!("- \"{}\"\n", replica.address())).collect();
        let new = directory.path().join("endpoints.new");
        std::fs::write(&new, lines).unwrap();
        std::fs::rename(new, &list).unwrap();
    };
    write(&[&replicas[0], &replicas[1]]);
    let web = place::address();
    // Relative to the folder of the configuration.
    let config = directory.path().join("weir.yaml");
    let yaml = format!(
        "listeners:\n  - {{name: web, bind: {web}, protocol: http, cluster: shop}}\nclusters:\n  - {{name: shop, endpoints: [\"file:endpoints.yaml\"]}}\n"
    );
    let list_path = list.clone();
    let own = tempfile::tempdir().unwrap();
    let _ = own;
    let mut weir = Weir::spawn_at(tempfile::tempdir().unwrap(), &config, &yaml);
    weir.wait_ready();
    let load = Pace::gets(web, 100);
    load.more(50);
    assert!(replicas[0].count() > 0 && replicas[1].count() > 0 && replicas[2].count() == 0);
    write(&[&replicas[1], &replicas[2]]);
    wait::until_true("the new one", || replicas[2].count() > 0);
    load.more(10);
    let before = replicas[0].begun();
    load.more(100);
    assert_eq!(replicas[0].begun(), before, "the one that is no longer listed gets nothing");
    // A list with a mistake changes nothing and is told.
    std::fs::write(&list_path, "- not an address at all\n").unwrap();
    wait::until_true("word of the mistake", || {
        let answer = weir.json("/api/v1/events?since=0&limit=1000");
        answer.to_string().contains("endpoints.yaml")
    });
    load.more(50);
    let report = load.finish();
    figure("a list of endpoints in a file changes", &report, None);
    report.assert_no_error();
}
