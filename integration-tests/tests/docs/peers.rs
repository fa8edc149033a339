//! Guides for those who come from another balancer: what they say is the same is the same.
//!
//! A comparison has a name and four kinds of blocks. `nginx peer=NAME` (also `haproxy`, `yaml` for
//! Envoy) is the other's configuration and is run by the other; `yaml weir=NAME` is ours;
//! `console ask=NAME` is asked of both, one after the other, and both must give what is shown;
//! `console ask=NAME of=peer` or `of=weir` shows a difference, and is asked of that one alone.
//!
//! Before both stand the same replicas, one for each address of 10.0.1.0/24 in the configurations:
//! `replica-a` is the one that ours names first. At addresses of 10.0.9.0/24 nobody answers. The
//! first request for a path under `/cut` is cut before its answer, the first under `/broken` gets a
//! 503; under `/slow` answers take two seconds.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use weir_integration_tests::backend::{Backend, Peer, ok};
use weir_integration_tests::daemon::Daemon;
use weir_integration_tests::message::Request;
use weir_integration_tests::place;
use weir_integration_tests::weir::Weir;

use crate::configs;
use crate::markdown::{Block, blocks};
use crate::scene::{Scene, path};

/// Paths that were asked for once, of the first time's troubles.
type Seen = Arc<Mutex<BTreeSet<String>>>;

/// What a replica tells of the request it got.
fn answer(name: &str, request: &Request) -> String {
    let mut text = format!("{} {}", request.method, request.target);
    for field in ["host", "x-forwarded-for", "x-forwarded-proto"] {
        if let Some(value) = request.fields.get(field) {
            let _ = write!(text, " {field}={value}");
        }
    }
    text + " by " + name + "\n"
}

fn replica(name: String, seen: Seen) -> Backend {
    Backend::scripted(move |peer: &mut Peer, request: &Request| {
        let first = || seen.lock().is_ok_and(|mut seen| seen.insert(request.target.clone()));
        if request.target.contains("/cut/") && first() {
            return peer.reset();
        }
        if request.target.contains("/slow/") {
            std::thread::sleep(Duration::from_secs(2));
        }
        if request.target.contains("/broken/") && first() {
            return peer.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 6\r\n\r\nbroken");
        }
        peer.send(ok(&answer(&name, request)));
    })
}

/// One comparison of a page.
struct Comparison {
    name: String,
    peer: Block,
    weir: Block,
    asks: Vec<Block>,
}

fn comparisons(page: &Path) -> Vec<Comparison> {
    let all = blocks(page);
    let one = |peer: &Block| {
        let name = peer.word("peer").unwrap_or_default().to_owned();
        let is = |block: &Block, word: &str| block.word(word) == Some(&name);
        let weir = all.iter().find(|block| is(block, "weir"));
        let weir = weir.unwrap_or_else(|| panic!("{}: ours is missing", peer.place())).clone();
        let asks: Vec<Block> = all.iter().filter(|block| is(block, "ask")).cloned().collect();
        assert!(!asks.is_empty(), "{}: nothing is asked", peer.place());
        Comparison { name, peer: peer.clone(), weir, asks }
    };
    all.iter().filter(|block| block.word("peer").is_some()).map(one).collect()
}

/// Addresses as a configuration writes them: `10.0.1.11:8080`.
fn addresses(text: &str) -> Vec<String> {
    let is_part = |c: char| !(c.is_ascii_digit() || c == '.' || c == ':');
    let word = |word: &str| word.trim_end_matches(['.', ':']).to_owned();
    let mut found: Vec<String> = Vec::new();
    for address in text.split(is_part).filter(|it| it.starts_with("10.0.") && it.contains(':')).map(word) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// The ports on which a configuration listens, as `0.0.0.0:8080` or, for Envoy, on two lines.
fn ports(text: &str) -> Vec<String> {
    let rest = |(at, lead): (usize, &str)| {
        let rest = &text[at + lead.len()..];
        rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].to_owned()
    };
    let ports = text.match_indices("0.0.0.0:").map(rest);
    let envoy = text.match_indices("address: 0.0.0.0, port_value: ").map(rest);
    ports.chain(envoy).collect()
}

/// A configuration with addresses of this host in place of those shown.
fn placed(text: &str, replicas: &[(String, SocketAddr)], webs: &[(String, SocketAddr)]) -> String {
    let mut text = text.to_owned();
    for (shown, here) in replicas {
        text = text.replace(shown, &here.to_string());
        if let Some((ip, port)) = shown.split_once(':') {
            let envoy = |ip: &str, port: &str| format!("address: {ip}, port_value: {port}");
            text = text.replace(&envoy(ip, port), &envoy(&here.ip().to_string(), &here.port().to_string()));
        }
    }
    for (port, web) in webs {
        text = text.replace(&format!("0.0.0.0:{port}"), &web.to_string());
        let envoy = format!("address: 0.0.0.0, port_value: {port}");
        text = text.replace(&envoy, &format!("address: {}, port_value: {}", web.ip(), web.port()));
    }
    text
}

/// The other balancer, with this configuration.
fn start(peer: &Block, text: &str, webs: &[SocketAddr]) -> Daemon {
    let directory = TempDir::new().unwrap();
    configs::put_files(directory.path());
    let pem = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    fs::write(directory.path().join("site.pem"), pem("shop.pem") + &pem("shop.key")).unwrap();
    match peer.language() {
        "nginx" => {
            let config = format!(
                "daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr;\n\
                 events {{ worker_connections 1024; }}\nhttp {{ access_log off;\n{text}\n}}\n"
            );
            let arguments = ["-p", ".", "-c", "nginx.conf", "-e", "stderr"];
            Daemon::start_in(directory, "nginx", &arguments, &[("nginx.conf", &config)], webs)
        }
        "haproxy" => {
            Daemon::start_in(directory, "haproxy", &["-db", "-f", "haproxy.cfg"], &[("haproxy.cfg", text)], webs)
        }
        "yaml" => {
            let envoy = crate::deploy::extra("envoy");
            let arguments = ["-c", "envoy.yaml", "--disable-hot-restart", "--concurrency", "1", "-l", "error"];
            Daemon::start_in(directory, &envoy, &arguments, &[("envoy.yaml", text)], webs)
        }
        other => panic!("{}: who runs {other}?", peer.place()),
    }
}

/// Asks all that is for one side.
fn ask(comparison: &Comparison, side: &str, webs: &[(String, SocketAddr)]) {
    let directory = TempDir::new().unwrap();
    let shown = |(port, web): &(String, SocketAddr)| (format!("127.0.0.1:{port}"), web.to_string());
    let instead = webs.iter().map(shown).collect();
    let scene = Scene {
        directory: directory.path().to_owned(),
        path: path(),
        admin: place::refusing(),
        instead,
        is_patient: false,
    };
    for block in comparison.asks.iter().filter(|block| block.word("of").is_none_or(|of| of == side)) {
        eprintln!("{} of {side} ({})", block.place(), comparison.name);
        scene.play(block);
    }
}

fn compare(comparison: &Comparison) {
    let seen = Seen::default();
    let (mut replicas, mut servers) = (Vec::new(), Vec::new());
    // Those that ours names, in its order: the other's are the same.
    for (nth, shown) in addresses(&comparison.weir.text).into_iter().enumerate() {
        if shown.starts_with("10.0.9.") {
            replicas.push((shown, place::refusing()));
            continue;
        }
        let name = format!("replica-{}", char::from(b'a' + nth as u8));
        let server = replica(name, Arc::clone(&seen));
        replicas.push((shown, server.address()));
        servers.push(server);
    }
    let webs_of = |text: &str| -> Vec<(String, SocketAddr)> {
        ports(text).into_iter().map(|port| (port, place::address())).collect()
    };
    let webs = webs_of(&comparison.peer.text);
    let here: Vec<SocketAddr> = webs.iter().map(|(_, web)| *web).collect();
    let other = start(&comparison.peer, &placed(&comparison.peer.text, &replicas, &webs), &here);
    ask(comparison, "peer", &webs);
    drop(other);

    seen.lock().unwrap().clear();
    let webs = webs_of(&comparison.weir.text);
    let directory = TempDir::new().unwrap();
    configs::put_files(directory.path());
    let config = directory.path().join("weir.yaml");
    let mut weir = Weir::spawn_at(directory, &config, &placed(&comparison.weir.text, &replicas, &webs));
    weir.wait_ready();
    ask(comparison, "weir", &webs);
}

fn hold(page: &str) {
    let found = comparisons(&PathBuf::from(page));
    assert!(!found.is_empty(), "{page} compares nothing: is it still found?");
    found.iter().for_each(compare);
}

#[test]
fn nginx_and_weir_do_what_the_guide_says() {
    hold("docs/guides/from-nginx.md");
}

#[test]
fn haproxy_and_weir_do_what_the_guide_says() {
    hold("docs/guides/from-haproxy.md");
}

#[test]
fn envoy_and_weir_do_what_the_guide_says() {
    hold("docs/guides/from-envoy.md");
}
