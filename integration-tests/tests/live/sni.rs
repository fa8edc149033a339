//! TLS that is passed on unopened, by the name that clients ask for.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use weir_integration_tests::daemon::Daemon;
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::tcp::{Peer, connect, is_reset, reads};

/// OpenSSL with a certificate for `name`; it answers each request with a page.
fn server(name: &str) -> (Daemon, SocketAddr) {
    let (address, directory) = (place::address(), tempfile::tempdir().unwrap());
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"])
        .args(["-subj", &format!("/CN={name}"), "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(directory.path())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    let accept = address.to_string();
    let arguments = ["s_server", "-accept", &accept, "-cert", "cert.pem", "-key", "key.pem", "-www", "-quiet"];
    (Daemon::start_in(directory, "openssl", &arguments, &[], &[address]), address)
}

/// Whose certificate a client gets that asks for `name`, if it gets one.
fn subject(at: SocketAddr, arguments: &[&str]) -> Option<String> {
    let at = at.to_string();
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &at])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| Some(line.strip_prefix("subject=")?.trim().replace(' ', "")))
}

fn yaml(at: SocketAddr, routes: &[(&str, &str)], clusters: &[(&str, SocketAddr)]) -> String {
    let mut text = format!(
        "workers: 1\naccess_log: '-'\nlisteners:\n  - name: tls\n    bind: '{at}'\n    protocol: tcp\n    \
         timeouts: {{header: 300ms}}\n    routes:\n"
    );
    for (matches, cluster) in routes {
        text += &format!("      - {{match: {{{matches}}}, cluster: {cluster}}}\n");
    }
    text += "clusters:\n";
    for (name, address) in clusters {
        text += &format!("  - {{name: {name}, endpoints: ['{address}']}}\n");
    }
    text
}

#[test]
fn clients_reach_the_server_whose_name_they_ask_for() {
    let ((_db, db), (_any, any)) = (server("db"), server("any"));
    let at = place::address();
    let routes = [("sni: [db.example]", "db"), ("sni: ['*.example']", "any")];
    let clusters = [("db", db), ("any", any)];
    let weir = Weir::start(&yaml(at, &routes, &clusters));
    for version in ["-tls1_2", "-tls1_3"] {
        let asks = |name: &str| subject(at, &["-servername", name, version]);
        assert_eq!(asks("db.example").as_deref(), Some("CN=db"));
        assert_eq!(asks("DB.Example").as_deref(), Some("CN=db"));
        assert_eq!(asks("x.y.example").as_deref(), Some("CN=any"));
        assert_eq!(asks("elsewhere.test"), None);
        assert_eq!(subject(at, &["-noservername", version]), None);
    }
    let first =
        wait::until("the first line", || serde_json::from_str::<serde_json::Value>(weir.stdout().lines().next()?).ok());
    assert_eq!((&first["server_name"], &first["cluster"]), (&"db.example".into(), &"db".into()), "{first}");
    assert_eq!(weir.metric("weir_responses_total", &["no_route"]), 4.0);

    // What is no TLS has no name, and what says nothing is not waited for for ever.
    let mut plain = connect(at);
    plain.write_all(b"GET / HTTP/1.1\r\nHost: db.example\r\n\r\n").unwrap();
    assert!(is_reset(&mut plain));
    assert!(is_reset(&mut connect(at)));
    assert_eq!(weir.metric("weir_responses_total", &["header_timeout"]), 1.0);

    // Unless a last route takes whatever comes.
    let plain = Peer::echo("plain");
    let routes = [routes[0], routes[1], ("", "plain")];
    weir.replace(&yaml(at, &routes, &[clusters[0], clusters[1], ("plain", plain.address)]));
    let _ = weir.wait_event("config_applied", 1);
    let mut client = connect(at);
    client.write_all(b"hello").unwrap();
    assert_eq!(reads(&mut client, 10), "plainhello");
    assert_eq!(subject(at, &["-servername", "db.example"]).as_deref(), Some("CN=db"));
}

#[test]
fn a_hello_may_come_in_any_number_of_packets_and_goes_on_as_it_came() {
    // What a real client says first.
    let (tell, told) = std::sync::mpsc::channel();
    let listener = Peer::new(move |mut stream| {
        let mut hello = vec![0; 8192];
        let count = stream.read(&mut hello).unwrap();
        tell.send(hello[..count].to_vec()).unwrap();
    });
    assert_eq!(subject(listener.address, &["-servername", "db.example"]), None);
    let hello = told.recv_timeout(wait::PATIENCE).unwrap();

    let (echo, at) = (Peer::echo(""), place::address());
    let routes = [("sni: [db.example]", "db")];
    let text = yaml(at, &routes, &[("db", echo.address)]).replace("300ms", "10s");
    let _weir = Weir::start(&text);
    let mut client = connect(at);
    for byte in &hello {
        client.write_all(std::slice::from_ref(byte)).unwrap();
    }
    let mut heard = vec![0; hello.len()];
    client.read_exact(&mut heard).unwrap();
    assert!(heard == hello);
}
