//! TLS with endpoints: nginx with and without certificates of clients, endpoints that cannot be
//! trusted, probes that say why, and answers that are cut.

use std::io::{Read as _, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::message::{Broken, Response};
use weir_integration_tests::nginx::Nginx;
use weir_integration_tests::tls::{Authority, Kind, Pair, Served, echo_heads, put, request, serve};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

/// A Weir that speaks plain HTTP with clients and TLS with these endpoints.
struct Back {
    weir: Weir,
    web: SocketAddr,
}

impl Back {
    fn new(endpoints: &[SocketAddr], cluster: &str, authority: &Authority, shown: &Pair) -> Self {
        let web = place::address();
        let yaml = format!(
            "listeners:\n  - {{name: web, bind: '{web}', cluster: main}}\n\
             clusters:\n  - {{name: main, endpoints: {endpoints:?}, {cluster}}}\n"
        )
        .replace('"', "'");
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "ca.pem", authority.pem().as_bytes());
        shown.write(folder.path(), "me");
        let config = folder.path().join("weir.yaml");
        let mut weir = Weir::spawn_at(folder, &config, &yaml);
        weir.wait_ready();
        Self { weir, web }
    }

    fn ask(&self) -> Response {
        RawClient::once(self.web, &get("/")).unwrap()
    }
}

/// nginx with TLS; asking for a certificate of clients.
fn nginx(authority: &Authority, pair: &Pair, asks: bool) -> (Nginx, SocketAddr) {
    let (folder, address) = (tempfile::tempdir().unwrap(), place::address());
    pair.write(folder.path(), "a");
    put(folder.path(), "clients.pem", authority.pem().as_bytes());
    let path = folder.path().display().to_string();
    let verify =
        if asks { format!("ssl_verify_client on; ssl_client_certificate {path}/clients.pem;") } else { String::new() };
    let block = format!(
        "  server {{ listen {address} ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {path}/a.pem; ssl_certificate_key {path}/a.key; {verify} \
         location / {{ return 200 \"$ssl_server_name $ssl_client_verify $ssl_protocol\"; }} }}\n"
    );
    (Nginx::start_in(folder, &block, vec![address]), address)
}

#[test]
fn nginx_is_an_endpoint() {
    let authority = Authority::new();
    let (pair, me) = (authority.issue(&["a.example"]), authority.issue(&["me.example"]));
    let check = "health_checks: [{http_health_check: {path: /}, interval: 1s, fast_interval: 50ms}]";
    let (_plain, open) = nginx(&authority, &pair, false);
    let back = Back::new(&[open], &format!("tls: {{server_name: a.example, ca: ca.pem}}, {check}"), &authority, &me);
    assert_eq!(back.ask().text(), "a.example NONE TLSv1.3");
    let (_asking, asking) = nginx(&authority, &pair, true);
    let tls = "tls: {server_name: a.example, ca: ca.pem, certificate: {cert: me.pem, key: me.key}}";
    let back = Back::new(&[asking], &format!("{tls}, {check}"), &authority, &me);
    assert_eq!(back.ask().text(), "a.example SUCCESS TLSv1.3");
    assert_eq!(back.weir.metric("weir_cluster_healthy_endpoints", &[]), 1.0);
    // Without a certificate nginx answers, but not with what is expected.
    let back = Back::new(&[asking], "tls: {server_name: a.example, ca: ca.pem}", &authority, &me);
    assert_eq!(back.ask().status, 400);
}

#[test]
fn endpoints_that_cannot_be_trusted_get_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let me = authority.issue(&["me.example"]);
    let year = SystemTime::now() + Duration::from_secs(365 * 24 * 60 * 60);
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    let plain = Backend::raw(|peer| {
        peer.send("HTTP/1.1 400 Speak plainly\r\nContent-Length: 0\r\n\r\n");
        let _ = peer.writer().read_to_end(&mut Vec::new());
    });
    for (pair, word) in [
        (Some(authority.issue(&["b.example"])), "tls_name_mismatch"),
        (Some(other.issue(&["a.example"])), "tls_unknown_authority"),
        (Some(authority.issue_as(&["a.example"], Kind::Ecdsa, yesterday)), "tls_expired"),
        (None, "tls_not_tls"),
    ] {
        let bad = pair.map_or_else(|| plain.address(), |pair| serve(&pair, None, &[], echo_heads));
        let good = serve(&authority.issue_as(&["a.example"], Kind::Rsa, year), None, &[], echo_heads);
        let tls = "tls: {server_name: a.example, ca: ca.pem}";
        // Nothing was sent: the other endpoint is asked.
        let back = Back::new(&[bad, good], tls, &authority, &me);
        for _ in 0..4 {
            assert_eq!(back.ask().status, 200, "{word}");
        }
        assert!(back.weir.metric("weir_upstream_errors_total", &["reason=\"upstream_tls\""]) > 0.0, "{word}");
        // Alone it is an answer of our own; and a probe says why.
        let check =
            "health_checks: [{tcp_health_check: {}, interval: 1s, fast_interval: 50ms, unhealthy_threshold: 1}]";
        let back = Back::new(&[bad], &format!("{tls}, panic: {{threshold: 0}}, {check}"), &authority, &me);
        let answer = back.ask();
        assert_eq!((answer.status, answer.reason()), (503, Some("no_healthy_endpoint")), "{word}");
        let event = back.weir.wait_event("endpoint_transition", 1);
        assert!(event.to_string().contains(word), "{event}");
        let back = Back::new(&[bad], tls, &authority, &me);
        let answer = back.ask();
        assert_eq!((answer.status, answer.reason()), (502, Some("upstream_tls")), "{word}");
        let back = Back::new(&[bad], "tls: {verify: off}", &authority, &me);
        assert_eq!(back.ask().status, if word == "tls_not_tls" { 502 } else { 200 }, "{word}");
    }
}

#[test]
fn an_answer_that_is_cut_never_looks_complete() {
    let authority = Authority::new();
    let pair = authority.issue(&["a.example"]);
    let says = |goodbye: bool| {
        move |mut served: Served| {
            let _ = request(&mut served);
            let _ = served.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf of ");
            let _ = served.flush();
            if goodbye {
                served.conn.send_close_notify();
                let _ = served.flush();
            }
        }
    };
    let ask = |goodbye| {
        let endpoint = serve(&pair, None, &[], says(goodbye));
        let back = Back::new(&[endpoint], "tls: {server_name: a.example, ca: ca.pem}", &authority, &pair);
        let answer = RawClient::once(back.web, &get("/"));
        (answer, back.weir.metric("weir_responses_total", &["reason=\"upstream_cut\""]))
    };
    let (whole, cut) = ask(true);
    assert_eq!((whole.unwrap().text().as_str(), cut), ("half of ", 0.0));
    let (broken, cut) = ask(false);
    assert!(matches!(broken, Err(Broken::Reset(_) | Broken::Truncated)), "{broken:?}");
    assert_eq!(cut, 1.0);
}

#[test]
fn what_was_opened_another_way_is_not_used_again() {
    let authority = Authority::new();
    let pair = authority.issue(&["a.example"]);
    let endpoint = serve(&pair, None, &[], echo_heads);
    let back = Back::new(&[endpoint], "tls: {server_name: a.example, verify: off}", &authority, &pair);
    assert_eq!(back.ask().status, 200);
    let yaml = format!(
        "listeners:\n  - {{name: web, bind: '{}', cluster: main}}\n\
         clusters:\n  - {{name: main, endpoints: ['{endpoint}'], tls: {{server_name: b.example, ca: ca.pem}}}}\n",
        back.web
    );
    back.weir.replace(&yaml);
    wait::until_true("the connection to be given up", || back.ask().reason() == Some("upstream_tls"));
}
