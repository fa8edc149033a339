//! UDP flows: datagrams whole and from the right address, an endpoint for each client, and an end.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use weir_integration_tests::dnsmasq::{Dnsmasq, dig};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

/// An endpoint that says back what it hears, its name before it, on a thread of its own. What is
/// `quiet` gets no answer. Dead when dropped.
struct Peer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Who has spoken to it.
    heard: Arc<Mutex<BTreeSet<SocketAddr>>>,
}

impl Peer {
    fn new(name: &'static str) -> Self {
        Self::at(place::address(), name)
    }

    fn at(address: SocketAddr, name: &'static str) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        let (stop, heard): (Arc<AtomicBool>, Arc<Mutex<BTreeSet<SocketAddr>>>) = Default::default();
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&heard));
        let thread = thread::spawn(move || {
            let mut datagram = vec![0; 65_536];
            while let Ok((len, from)) = socket.recv_from(&mut datagram) {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                seen.lock().unwrap().insert(from);
                if datagram[..len] == *b"quiet" {
                    continue;
                }
                let room = 65_507 - name.len();
                let answer = [name.as_bytes(), &datagram[..len.min(room)]].concat();
                let _ = socket.send_to(&answer, from);
            }
        });
        Self { address, stop, thread: Some(thread), heard }
    }

    fn heard(&self) -> usize {
        self.heard.lock().unwrap().len()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"stop", self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A client with a socket that is connected: what comes from another address it does not hear.
struct Client(UdpSocket);

impl Client {
    fn new(to: SocketAddr) -> Self {
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        Self::from(any, to)
    }

    fn from(ip: IpAddr, to: SocketAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(socket)
    }

    fn say(&self, datagram: &[u8]) {
        self.0.send(datagram).unwrap();
    }

    fn hear(&self) -> Vec<u8> {
        let mut answer = vec![0; 65_536];
        let len = self.0.recv(&mut answer).expect("an answer");
        answer.truncate(len);
        answer
    }

    fn ask(&self, datagram: &[u8]) -> Vec<u8> {
        self.say(datagram);
        self.hear()
    }

    fn ask_text(&self, text: &str) -> String {
        String::from_utf8(self.ask(text.as_bytes())).unwrap()
    }

    /// Asks until there is an answer: each time as a client would, after a while.
    fn insist(&self, text: &str) -> String {
        self.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut answer = vec![0; 1024];
        let len = wait::until("an answer", || {
            self.say(text.as_bytes());
            self.0.recv(&mut answer).ok()
        });
        self.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        String::from_utf8(answer[..len].to_vec()).unwrap()
    }
}

/// A Weir with one UDP listener before these endpoints.
struct Front {
    weir: Weir,
    at: SocketAddr,
}

/// Keys of the listener and of the cluster in lines, and lines of the top level.
#[derive(Clone, Copy, Default)]
struct Keys<'a> {
    listener: &'a str,
    cluster: &'a str,
    top: &'a str,
}

fn yaml(at: &str, endpoints: &[SocketAddr], keys: Keys<'_>) -> String {
    let mut text = format!("workers: 2\naccess_log: '-'\n{}\nlisteners:\n", keys.top);
    let _ =
        writeln!(text, "  - name: dns\n    bind: {at}\n    protocol: udp\n    cluster: main\n    {}", keys.listener);
    let _ = writeln!(text, "clusters:\n  - name: main\n    {}\n    endpoints:", keys.cluster);
    endpoints.iter().for_each(|endpoint| _ = writeln!(text, "      - {endpoint}"));
    text
}

impl Front {
    fn with(endpoints: &[SocketAddr], keys: Keys<'_>) -> Self {
        let at = place::address();
        Self { weir: Weir::start(&yaml(&at.to_string(), endpoints, keys)), at }
    }

    fn new(endpoints: &[SocketAddr]) -> Self {
        Self::with(endpoints, Keys::default())
    }

    fn client(&self) -> Client {
        Client::new(self.at)
    }

    fn lines(&self, count: usize) -> Vec<Value> {
        wait::until(&format!("{count} access lines"), || {
            let text = self.weir.stdout();
            let lines: Vec<Value> = text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    fn flows(&self) -> f64 {
        self.weir.metric("weir_listener_connections", &["listener=\"dns\""])
    }

    fn dropped(&self, reason: &str) -> f64 {
        self.weir.metric("weir_responses_total", &[&format!("reason=\"{reason}\"")])
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.weir.pid())).unwrap().count()
    }

    fn reload(&self, yaml: &str, count: usize) {
        self.weir.replace(yaml);
        self.weir.signal(Signal::HUP);
        let _ = self.weir.wait_event("config_applied", count);
    }
}

#[test]
fn a_real_dns_server_is_asked_over_udp_and_tcp_on_one_port() {
    let (server, at) = (place::address(), place::address());
    let _server = Dnsmasq::start(server, "shop.test", "192.0.2.7");
    let listener = |name: &str, protocol: &str, more: &str| {
        format!("  - {{name: {name}, bind: '{at}', protocol: {protocol}, cluster: main{more}}}\n")
    };
    let listeners = listener("dns", "udp", ", udp: {responses: 1}") + &listener("dns-tcp", "tcp", "");
    let clusters = format!("clusters: [{{name: main, endpoints: ['{server}']}}]\n");
    let weir = Weir::start(&format!("access_log: '-'\nlisteners:\n{listeners}{clusters}"));
    let front = Front { weir, at };
    assert_eq!(dig(at, &["shop.test", "A"]), "192.0.2.7");
    assert_eq!(dig(at, &["+tcp", "shop.test", "A"]), "192.0.2.7");
    assert_eq!(dig(at, &["shop.test", "TXT"]).len(), 252);
    let lines = front.lines(3);
    let line = lines.iter().find(|line| line["version"] == "UDP").unwrap();
    assert_eq!((&line["datagrams_in"], &line["datagrams_out"], line.get("reason")), (&1.into(), &1.into(), None));
    assert_eq!(line["endpoint"], server.to_string());
    assert!(line["first_byte_ms"].as_f64().unwrap() > 0.0 && line["bytes_out"].as_u64().unwrap() > 40, "{line}");
    wait::until_true("the end of answered flows", || front.flows() == 0.0);
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let peer = Peer::new("a:");
    let port = place::address().port();
    let text = yaml(&format!("['0.0.0.0:{port}', '[::]:{port}']"), &[peer.address], Keys::default());
    let _weir = Weir::start(&text);
    for ip in ["127.0.0.1", "127.0.0.2", "127.9.8.7", "::1"] {
        let client = Client::new(SocketAddr::new(ip.parse().unwrap(), port));
        assert_eq!(client.ask_text("hello"), "a:hello", "{ip}");
        assert_eq!(client.ask_text("again"), "a:again", "{ip}");
    }
}

#[test]
fn every_length_passes_whole() {
    let peer = Peer::new("");
    let front = Front::new(&[peer.address]);
    let client = front.client();
    for len in [0, 1, 1472, 1473, 9000, 65_507] {
        let datagram: Vec<u8> = (0..len).map(|at: u32| (at * 7) as u8).collect();
        assert!(client.ask(&datagram) == datagram, "{len} bytes");
    }
    assert_eq!(peer.heard(), 1, "one flow");
    let datagrams = |name: &str| front.weir.metric(name, &["listener=\"dns\""]);
    assert_eq!(datagrams("weir_datagrams_received_total"), 6.0);
    assert_eq!(datagrams("weir_datagrams_sent_total"), 6.0);
}

#[test]
fn nothing_is_lost_that_buffers_can_hold() {
    const CLIENTS: usize = 20;
    const ROUNDS: usize = 50;
    const WINDOW: usize = 10;
    let peers = [Peer::new("a"), Peer::new("b")];
    let front = Front::new(&peers.each_ref().map(|peer| peer.address));
    let clients: Vec<Client> = (0..CLIENTS).map(|_| front.client()).collect();
    for round in 0..ROUNDS {
        for client in &clients {
            (0..WINDOW).for_each(|number| client.say(format!("{round}-{number}").as_bytes()));
        }
        for client in &clients {
            let answers: BTreeSet<Vec<u8>> = (0..WINDOW).map(|_| client.hear()[1..].to_vec()).collect();
            assert_eq!(answers.len(), WINDOW, "each once");
        }
    }
    assert_eq!(front.flows(), CLIENTS as f64);
    assert_eq!(peers.iter().map(Peer::heard).sum::<usize>(), CLIENTS);
    assert_eq!(front.weir.metric("weir_datagrams_received_total", &[]), (CLIENTS * ROUNDS * WINDOW) as f64);
}

#[test]
fn a_client_keeps_its_endpoint_by_hash() {
    let peers = [Peer::new("a"), Peer::new("b"), Peer::new("c")];
    let endpoints = peers.each_ref().map(|peer| peer.address);
    let front =
        Front::with(&endpoints, Keys { cluster: "balance: maglev\n    hash: {bounded_load: off}", ..Keys::default() });
    let who = |host: u8| Client::from(Ipv4Addr::new(127, 0, 3, host).into(), front.at).ask_text("");
    let first: Vec<String> = (1..=30).map(who).collect();
    let again: Vec<String> = (1..=30).map(who).collect();
    assert_eq!(first, again, "by address, not by port");
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn flows_of_a_dead_endpoint_go_elsewhere() {
    let (doomed, well) = (Peer::new("doomed:"), Peer::new("well:"));
    let front = Front::new(&[doomed.address, well.address]);
    let clients: Vec<Client> = (0..8).map(|_| front.client()).collect();
    let theirs = |clients: &[Client]| clients.iter().filter(|client| client.ask_text("x") == "doomed:x").count();
    // Each worker takes turns for itself.
    let struck = theirs(&clients);
    assert!((2..=6).contains(&struck), "{struck}");
    let dead = doomed.address;
    drop(doomed);
    // A datagram that finds nobody is lost, as it would be without us; the next goes elsewhere.
    for client in &clients {
        assert_eq!(client.insist("y"), "well:y");
    }
    let label = format!("endpoint=\"{dead}\"");
    let failures = front.weir.metric("weir_upstream_errors_total", &[&label, "reason=\"connect_refused\""]);
    assert!(failures >= struck as f64, "{failures}");
    assert!(front.weir.metric("weir_upstream_attempts_total", &[&label, "class=\"connect\""]) >= struck as f64);
    assert_eq!(front.flows(), 8.0);
    let lines = front.lines(struck);
    assert!(lines.iter().any(|line| line["reason"] == "connect_refused" && line["endpoint"] == dead.to_string()));
}

#[test]
fn an_endpoint_that_refuses_is_ejected() {
    let well = Peer::new("well:");
    let dead = place::refusing();
    let cluster = "outlier_detection: {consecutive_5xx: 3, base_ejection_time: 30s}";
    let front = Front::with(&[dead, well.address], Keys { cluster, ..Keys::default() });
    wait::until_true("its ejection", || {
        assert_eq!(front.client().insist("x"), "well:x");
        front.weir.events("endpoint_transition").iter().any(|event| event["fields"]["to"] == "ejected")
    });
    let before = front.weir.metric("weir_upstream_requests_total", &[&format!("endpoint=\"{dead}\"")]);
    (0..10).for_each(|_| assert_eq!(front.client().ask_text("x"), "well:x"));
    assert_eq!(front.weir.metric("weir_upstream_requests_total", &[&format!("endpoint=\"{dead}\"")]), before);
}

#[test]
fn flows_are_bounded_and_clients_that_are_kept_out_open_none() {
    let peer = Peer::new("");
    let listener = "udp: {max_flows: 3}\n    deny: [127.0.4.0/24]";
    let front = Front::with(&[peer.address], Keys { listener, ..Keys::default() });
    let kept: Vec<Client> = (0..3).map(|_| front.client()).collect();
    kept.iter().for_each(|client| assert_eq!(client.ask_text("x"), "x"));
    front.client().say(b"x");
    wait::until_true("a datagram that opens no flow", || front.dropped("too_many_flows") == 1.0);
    Client::from(Ipv4Addr::new(127, 0, 4, 1).into(), front.at).say(b"x");
    wait::until_true("a datagram that is kept out", || front.dropped("access_denied") == 1.0);
    kept.iter().for_each(|client| assert_eq!(client.ask_text("y"), "y"));
    assert_eq!((front.flows(), peer.heard()), (3.0, 3));
}

#[test]
fn idle_flows_end_and_give_back_what_they_took() {
    let peer = Peer::new("");
    let front = Front::with(&[peer.address], Keys { listener: "udp: {idle: 800ms}", ..Keys::default() });
    let before = front.descriptors();
    let clients: Vec<Client> = (0..50).map(|_| front.client()).collect();
    clients.iter().for_each(|client| assert_eq!(client.ask_text("x"), "x"));
    // One for each; the connection that asked for readiness may still have counted before.
    assert!(front.descriptors() >= before + 45);
    let lines = front.lines(50);
    assert!(lines.iter().all(|line| line.get("reason").is_none() && line["duration_ms"].as_f64() >= Some(800.0)));
    // A worker may have begun a moment after the process was ready: a few are its runtime's.
    wait::until_true("the end of idle flows", || front.flows() == 0.0 && front.descriptors() <= before + 5);
    assert_eq!(clients[0].ask_text("again"), "again", "of a new flow");
    let main = |name: &str| front.weir.metric(name, &["cluster=\"main\""]);
    wait::until_true("nothing open", || main("weir_upstream_connections") == 0.0);
    assert_eq!(main("weir_requests_in_flight") + main("weir_cluster_requests_in_flight"), 0.0);
    assert_eq!(front.weir.metric("weir_requests_total", &["cluster=\"main\"", "code_class=\"2xx\""]), 51.0);
}

#[test]
fn silence_is_a_failure_only_where_an_answer_is_due() {
    let peer = Peer::new("");
    let front = Front::with(&[peer.address], Keys { listener: "udp: {idle: 200ms, responses: 1}", ..Keys::default() });
    front.client().say(b"quiet");
    assert_eq!(front.lines(1)[0]["reason"], "upstream_timeout");
    let free = Front::with(&[peer.address], Keys { listener: "udp: {idle: 200ms}", ..Keys::default() });
    free.client().say(b"quiet");
    let line = &free.lines(1)[0];
    assert_eq!((line.get("reason"), &line["datagrams_out"]), (None, &0.into()));
    assert_eq!(free.weir.metric("weir_upstream_attempts_total", &["class=\"ours\""]), 1.0);
}

#[test]
fn a_reload_and_a_drain_keep_flows() {
    let (first, second) = (Peer::new("first:"), Peer::new("second:"));
    let front = Front::new(&[first.address]);
    let clients: Vec<Client> = (0..10).map(|_| front.client()).collect();
    clients.iter().for_each(|client| assert_eq!(client.ask_text("x"), "first:x"));
    // Another endpoint, another idle time.
    let keys = Keys { listener: "udp: {idle: 30s}", ..Keys::default() };
    let at = front.at.to_string();
    front.reload(&yaml(&at, &[first.address, second.address], keys), 1);
    clients.iter().for_each(|client| assert_eq!(client.ask_text("y"), "first:y"));
    // An endpoint that is drained, and then one that is gone.
    assert!(front.weir.command(&["drain", &format!("main/{}", first.address)]).status.success());
    wait::until_true("new flows elsewhere", || front.client().ask_text("z") == "second:z");
    clients.iter().for_each(|client| assert_eq!(client.ask_text("z"), "first:z"));
    front.reload(&yaml(&at, &[second.address], keys), 2);
    clients.iter().for_each(|client| assert_eq!(client.ask_text("z"), "first:z"));
    assert_eq!(first.heard(), 10, "each by the socket it had");
    assert_eq!(front.client().ask_text("z"), "second:z");
}

#[test]
fn a_listener_that_goes_and_comes_back_has_its_flows() {
    let peer = Peer::new("");
    let other = place::address();
    let front = Front::new(&[peer.address]);
    let client = front.client();
    assert_eq!(client.ask_text("x"), "x");
    front.reload(&yaml(&other.to_string(), &[peer.address], Keys::default()), 1);
    assert_eq!(client.ask_text("y"), "y", "what is open goes on");
    let late = front.client();
    late.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    late.say(b"x");
    assert!(late.0.recv(&mut [0; 8]).is_err(), "nothing new is taken");
    front.reload(&yaml(&front.at.to_string(), &[peer.address], Keys::default()), 2);
    assert_eq!(late.insist("x"), "x");
    assert_eq!(client.ask_text("z"), "z");
}

#[test]
fn a_companion_check_judges_and_flows_of_the_unhealthy_are_closed() {
    let (first, second) = (Peer::new("first:"), Peer::new("second:"));
    let companion = |peer: &Peer| TcpListener::bind((peer.address.ip(), 7)).unwrap();
    let (sick, _well) = (companion(&first), companion(&second));
    let cluster = "health_checks: [{tcp_health_check: {}, port: 7, interval: 100ms, unhealthy_threshold: 2}]";
    let keys = Keys { listener: "on_unhealthy: close", cluster, ..Keys::default() };
    let front = Front::with(&[first.address, second.address], keys);
    let clients: Vec<Client> = (0..4).map(|_| front.client()).collect();
    let on_first = clients.iter().filter(|client| client.ask_text("x") == "first:x").count();
    assert!((1..=3).contains(&on_first), "{on_first}");
    drop(sick);
    let lines = front.lines(on_first);
    assert!(lines.iter().all(|line| line["reason"] == "endpoint_unhealthy"), "{lines:?}");
    clients.iter().for_each(|client| assert_eq!(client.ask_text("y"), "second:y"));
}

#[test]
fn a_scripted_datagram_judges() {
    let (well, also_well, wrong) = (Peer::new("pong:"), Peer::new("pong:"), Peer::new("what:"));
    let dead = place::refusing();
    let cluster = "health_checks: [{udp_health_check: {send: 'ping', receive: 'pong:ping'}, interval: 100ms}]";
    let endpoints = [well.address, also_well.address, wrong.address, dead];
    let front = Front::with(&endpoints, Keys { cluster, ..Keys::default() });
    (0..6).for_each(|_| assert_eq!(front.client().ask_text("x"), "pong:x"));
    let events = wait::until("both verdicts", || {
        let text: String = front.weir.events("endpoint_transition").iter().map(ToString::to_string).collect();
        (text.contains("instead of what is expected") && text.contains("refused")).then_some(text)
    });
    assert!(events.contains(r#"what:ping"#), "{events}");
}

#[test]
fn rehearsals_befall_new_flows() {
    let peer = Peer::new("");
    let front = Front::new(&[peer.address]);
    let drill = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let output = front.weir.command(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    drill("drill latency --cluster main --delay 300ms --for 60s --detach");
    let (client, began) = (front.client(), Instant::now());
    ["a", "b", "c"].iter().for_each(|text| client.say(text.as_bytes()));
    assert_eq!([client.hear(), client.hear(), client.hear()], [b"a", b"b", b"c"]);
    assert!(began.elapsed() >= Duration::from_millis(300));
    drill("drill end 1");
    drill("drill unreachable --cluster main --for 60s --detach");
    front.client().say(b"x");
    wait::until_true("a datagram into the void", || front.dropped("connect_timeout") == 1.0);
    assert_eq!(client.ask_text("d"), "d", "it has its endpoint");
}

#[test]
fn a_process_that_ends_waits_for_flows_and_takes_no_new_ones() {
    let peer = Peer::new("");
    let keys = Keys { listener: "udp: {idle: 1500ms}", top: "shutdown: {timeout: 20s}", ..Keys::default() };
    let mut front = Front::with(&[peer.address], keys);
    let client = front.client();
    assert_eq!(client.ask_text("x"), "x");
    front.weir.signal(Signal::TERM);
    let _ = front.weir.wait_event("drain_started", 1);
    assert_eq!(client.ask_text("y"), "y");
    let late = front.client();
    late.say(b"x");
    assert_eq!(client.ask_text("z"), "z");
    assert_eq!(front.weir.exit_code(wait::PATIENCE), 0);
    assert_eq!(peer.heard(), 1);
}

#[test]
fn a_process_out_of_patience_cuts_flows() {
    let peer = Peer::new("");
    let mut front = Front::with(&[peer.address], Keys { top: "shutdown: {timeout: 200ms}", ..Keys::default() });
    assert_eq!(front.client().ask_text("x"), "x");
    front.weir.signal(Signal::TERM);
    assert_eq!(front.weir.exit_code(wait::PATIENCE), 3);
    assert_eq!(front.lines(1)[0]["reason"], "drain_deadline");
}
