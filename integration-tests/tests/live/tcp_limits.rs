//! What ends sessions, or keeps them from beginning: limits of a client, of time, and of health.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::tcp::{Peer, connect, connect_from, is_reset, reads};

fn start(listener: &str, cluster: &str, endpoints: &[SocketAddr]) -> (Weir, SocketAddr) {
    let at = place::address();
    let mut text = format!(
        "workers: 2\naccess_log: '-'\nlisteners:\n  - name: db\n    bind: '{at}'\n    protocol: tcp\n    \
         cluster: main\n    {listener}\nclusters:\n  - name: main\n    {cluster}\n    endpoints:\n"
    );
    endpoints.iter().for_each(|endpoint| _ = writeln!(text, "      - {endpoint}"));
    (Weir::start(&text), at)
}

#[test]
fn a_client_has_so_many_connections_and_another_its_own() {
    let peer = Peer::echo("hi");
    let (weir, at) = start("limits: {connections_per_client: 2}", "", &[peer.address]);
    let mut open: Vec<TcpStream> = (0..2).map(|_| connect_from("127.0.0.1", at)).collect();
    open.iter_mut().for_each(|stream| assert_eq!(reads(stream, 2), "hi"));
    let mut third = connect_from("127.0.0.1", at);
    assert!(is_reset(&mut third));
    assert_eq!(weir.metric("weir_responses_total", &["too_many_connections"]), 1.0);
    assert_eq!(reads(&mut connect_from("127.0.0.2", at), 2), "hi");
    open.pop();
    wait::until_true("there is room again", || {
        let mut again = connect_from("127.0.0.1", at);
        again.read_exact(&mut [0; 2]).is_ok()
    });
}

#[test]
fn a_session_lasts_no_longer_than_it_may_and_only_who_may_has_one() {
    let peer = Peer::echo("hi");
    let (weir, at) = start("timeouts: {max_session: 300ms}\n    deny: [127.0.0.9]", "", &[peer.address]);
    let began = Instant::now();
    let mut client = connect(at);
    assert_eq!(reads(&mut client, 2), "hi");
    // However much it says.
    while client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok() {
        assert!(began.elapsed() < wait::PATIENCE);
    }
    assert!(began.elapsed().as_millis() >= 300, "{:?}", began.elapsed());
    wait::until_true("it is told of", || weir.stdout().contains("\"reason\":\"session_timeout\""));
    assert!(is_reset(&mut connect_from("127.0.0.9", at)));
    assert_eq!(weir.metric("weir_responses_total", &["access_denied"]), 1.0);
}

#[test]
fn sessions_go_with_their_endpoint_s_health_where_that_is_wanted() {
    for (policy, stays) in [("close", false), ("keep", true)] {
        let (one, two) = (Peer::echo("1"), Peer::echo("2"));
        let (weir, at) = start(&format!("on_unhealthy: {policy}"), "", &[one.address, two.address]);
        let mut sessions: Vec<(String, TcpStream)> = (0..6)
            .map(|_| {
                let mut stream = connect(at);
                (reads(&mut stream, 1), stream)
            })
            .collect();
        let config = std::fs::read_to_string(weir.config()).unwrap();
        let config = config.split_once('\n').unwrap().1.to_owned();
        weir.replace(&config.replace(
            "    endpoints:",
            "    health_checks: [{interval: 50ms, unhealthy_threshold: 1, tcp_health_check: {}}]\n    endpoints:",
        ));
        let _ = weir.wait_event("config_applied", 1);
        wait::until_true("both are healthy", || {
            let status = weir.json("/api/v1/status");
            (0..2).all(|nth| status["clusters"][0]["endpoints"][nth]["status"] == "healthy")
        });
        let gone = one.address.to_string();
        drop(one);
        wait::until_true("one is unhealthy", || {
            let status = weir.json("/api/v1/status");
            let endpoints = status["clusters"][0]["endpoints"].as_array().unwrap().clone();
            endpoints.iter().any(|one| one["address"] == gone && one["status"] == "unhealthy")
        });
        for (name, stream) in &mut sessions {
            if name == "2" || stays {
                stream.write_all(b"x").unwrap();
                assert_eq!(reads(stream, 1), "x", "{policy}");
            } else {
                assert!(is_reset(stream), "{policy}");
            }
        }
        assert_eq!(weir.metric("weir_responses_total", &["endpoint_unhealthy"]) > 0.0, !stays);
    }
}
