//! PROXY protocol, in and out, with what others make and take of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::RawClient;
use weir_integration_tests::daemon::Daemon;
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::tcp::{Peer, connect, is_reset, reads, reads_to_end};

/// A Weir before `endpoint`: further keys of its listener and of its cluster.
fn front(protocol: &str, listener: &str, cluster: &str, endpoint: SocketAddr) -> (Weir, SocketAddr) {
    let at = place::address();
    let weir = Weir::start(&format!(
        "workers: 1\naccess_log: '-'\nlisteners:\n  - name: in\n    bind: '{at}'\n    protocol: {protocol}\n    \
         cluster: main\n    {listener}\nclusters:\n  - name: main\n    endpoints: ['{endpoint}']\n    {cluster}\n"
    ));
    (weir, at)
}

const REQUIRED: &str = "proxy_protocol: {mode: required, trusted: [127.0.0.0/8]}";
const OPTIONAL: &str = "proxy_protocol: {mode: optional, trusted: [127.0.0.0/8]}";

/// An endpoint that tells the first line it is sent, and answers with it.
fn listens() -> (Peer, Receiver<String>) {
    let (tell, told) = channel();
    let peer = Peer::new(move |mut stream| {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.ends_with(b"\n") && stream.read_exact(&mut byte).is_ok() {
            line.extend(byte);
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let _ = tell.send(line.clone());
        let _ = stream.write_all(line.as_bytes());
        let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
    });
    (peer, told)
}

fn line(weir: &Weir, nth: usize) -> Value {
    wait::until(&format!("access line {nth}"), || serde_json::from_str(weir.stdout().lines().nth(nth)?).ok())
}

#[test]
fn haproxy_says_whom_it_speaks_for_and_so_do_we() {
    for version in ["send-proxy", "send-proxy-v2"] {
        let (peer, told) = listens();
        let (weir, at) = front("tcp", REQUIRED, "proxy_protocol: v1", peer.address);
        let before = place::address();
        let config = format!("listen in\n  mode tcp\n  bind {before}\n  server weir {at} {version}");
        let _haproxy = Daemon::haproxy(&config, &[before]);
        let mut client = connect(before);
        let ours = client.local_addr().unwrap();
        client.write_all(b"hello").unwrap();
        let said = format!("PROXY TCP4 {} {} {} {}\r\n", ours.ip(), before.ip(), ours.port(), before.port());
        assert_eq!(reads(&mut client, said.len() + 5), format!("{said}hello"), "{version}");
        drop(client);
        // Before it, HAProxy was asked whether it is there.
        let heard: Vec<String> = told.iter().take_while(|line| *line != said).collect();
        assert!(heard.len() <= 1, "{heard:?}");
        let mine = wait::until("the session's line", || {
            let lines = weir.stdout();
            let lines: Vec<Value> = lines.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
            lines.into_iter().find(|line| line["client"] == ours.to_string())
        });
        assert_eq!(mine["endpoint"], peer.address.to_string());
    }
}

#[test]
fn nginx_says_whom_it_speaks_for() {
    let (peer, _told) = listens();
    let (weir, at) = front("tcp", REQUIRED, "proxy_protocol: v1", peer.address);
    let before = place::address();
    let config = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         stream {{ server {{ listen {before}; proxy_pass {at}; proxy_protocol on; }} }}"
    );
    let nginx = format!("daemon off; master_process off; pid nginx.pid; {} events {{ }}\n", "");
    // A module is loaded before anything else is said.
    let (load, rest) = config.split_once('\n').unwrap();
    let config = format!("{load}\n{nginx}{rest}");
    let arguments = ["-p", ".", "-c", "nginx.conf", "-e", "stderr"];
    let _nginx = Daemon::start("nginx", &arguments, &[("nginx.conf", &config)], &[before]);
    let mut client = connect(before);
    let ours = client.local_addr().unwrap();
    client.write_all(b"hello").unwrap();
    let said = format!("PROXY TCP4 {} {} {} {}\r\n", ours.ip(), before.ip(), ours.port(), before.port());
    assert_eq!(reads(&mut client, said.len() + 5), format!("{said}hello"));
    drop(weir);
}

#[test]
fn what_we_say_others_understand() {
    for version in ["v1", "v2"] {
        let (web, check) = (place::address(), "health_checks: [{interval: 100ms, http_health_check: {path: /}}]");
        let cluster = format!("proxy_protocol: {version}\n    {check}");
        let answer = "http-request return status 200 content-type text/plain lf-string \"%[src]:%[src_port]\"";
        let _haproxy =
            Daemon::haproxy(&format!("frontend web\n  mode http\n  bind {web} accept-proxy\n  {answer}"), &[web]);
        understands(web, &cluster);

        let web = place::address();
        let _nginx = Daemon::nginx(
            &format!(
                "http {{ access_log off; default_type text/plain; server {{ listen {web} proxy_protocol; \
                 location / {{ return 200 \"$proxy_protocol_addr:$proxy_protocol_port\"; }} }} }}"
            ),
            &[web],
        );
        understands(web, &cluster);
    }
}

/// Clients get to hear who they are, each on connections of its own, and probes pass.
fn understands(web: SocketAddr, cluster: &str) {
    // What others keep is in nobody's way.
    let (weir, at) = front("http", "", &format!("pool: {{max_idle: 1}}\n    {cluster}"), web);
    wait::until_true("its probes pass", || {
        weir.json("/api/v1/status")["clusters"][0]["endpoints"][0]["status"] == "healthy"
    });
    let mut clients: Vec<TcpStream> = (0..3).map(|_| connect(at)).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let ours = client.local_addr().unwrap().to_string();
            let answer = wait_for(client, &ours);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
    let connects = weir.metric("weir_upstream_connects_total", &[]);
    assert_eq!(connects, 3.0, "one connection for each client, kept for its next request");
    drop(clients);
    wait::until_true("none is kept for clients that are gone", || weir.metric("weir_upstream_connections", &[]) == 0.0);
}

/// Reads an answer until it says `what`.
fn wait_for(stream: &mut TcpStream, what: &str) -> String {
    let (mut heard, mut piece) = (String::new(), [0; 1024]);
    while !heard.contains(what) {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "{heard:?} without {what}");
        heard.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    heard
}

#[test]
fn who_is_told_of_is_the_client_everywhere() {
    let backend = Backend::text("ok");
    let (weir, at) = front("http", REQUIRED, "", backend.address());
    let mut client = RawClient::connect(at);
    client.send("PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().unwrap().status, 200);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().unwrap().status, 200);
    for request in backend.requests() {
        assert_eq!(request.fields.get("x-forwarded-for"), Some("192.0.2.7"));
    }
    assert_eq!(line(&weir, 0)["client"], "192.0.2.7:4711");

    // A probe of whoever stands before us counts as itself.
    let mut probe = RawClient::connect(at);
    probe.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(probe.response().unwrap().status, 200);
    assert!(line(&weir, 2)["client"].as_str().unwrap().starts_with("127."));

    for (nth, bad) in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PROXY TCP4 a b c d\r\n"].iter().enumerate() {
        let mut client = connect(at);
        client.write_all(bad.as_bytes()).unwrap();
        assert!(is_reset(&mut client), "{bad:?}");
        wait::until_true("it is counted", || {
            weir.metric("weir_responses_total", &["proxy_header"]) == (nth + 1) as f64
        });
    }
}

#[test]
fn where_it_is_optional_nothing_is_lost() {
    let (peer, _told) = listens();
    let (_weir, at) = front("tcp", OPTIONAL, "", peer.address);
    for (sent, heard) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\nhello\n", "hello\n"),
        ("PROXIES are many\n", "PROXIES are many\n"),
        ("hello\n", "hello\n"),
    ] {
        let mut client = connect(at);
        client.write_all(sent.as_bytes()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(reads_to_end(&mut client), heard);
    }
}
