//! TLS with clients: real peers, certificates that change under load, sessions that go on, and whatever
//! else may come to a TLS port.

mod endpoints;
mod peers;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::tls::{Authority, Dialect, Kind, put};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

/// A Weir that speaks TLS, with the files of its certificates in its directory.
pub(crate) struct Front {
    pub(crate) weir: Weir,
    pub(crate) web: SocketAddr,
}

impl Front {
    /// With these keys of `tls`, before `endpoint`; `files` writes what they name.
    pub(crate) fn new(tls: &str, endpoint: SocketAddr, files: impl FnOnce(&Path)) -> Self {
        Self::of("http", tls, &format!("endpoints: ['{endpoint}']"), files)
    }

    /// The same, with another protocol and whole keys of the cluster.
    pub(crate) fn of(protocol: &str, tls: &str, cluster: &str, files: impl FnOnce(&Path)) -> Self {
        let web = place::address();
        let yaml = format!(
            "access_log: {{path: '-'}}\n\
             listeners:\n  - {{name: web, bind: '{web}', protocol: {protocol}, cluster: main, tls: {{{tls}}}}}\n\
             clusters:\n  - {{name: main, {cluster}}}\n"
        );
        let folder = tempfile::tempdir().unwrap();
        files(folder.path());
        let config = folder.path().join("weir.yaml");
        let mut weir = Weir::spawn_at(folder, &config, &yaml);
        weir.wait_ready();
        Self { weir, web }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.weir.directory()
    }
}

const ONE: &str = "cert: a.pem, key: a.key";

#[test]
fn each_name_gets_its_certificate() {
    let authority = Authority::new();
    let year = SystemTime::now() + Duration::from_secs(365 * 24 * 60 * 60);
    let pairs = [
        ("a", authority.issue(&["a.example"])),
        ("rsa", authority.issue_as(&["both.example"], Kind::Rsa, year)),
        ("wild", authority.issue(&["*.shop.example"])),
        ("ecdsa", authority.issue(&["both.example"])),
    ];
    let list: Vec<String> = pairs.iter().map(|(name, _)| format!("{{cert: {name}.pem, key: {name}.key}}")).collect();
    let backend = Backend::text("hello");
    let front = Front::new(&format!("certificates: [{}]", list.join(", ")), backend.address(), |folder| {
        pairs.iter().for_each(|(name, pair)| pair.write(folder, name));
    });
    let dialect = Dialect::trusting(&authority);
    let mut exact = dialect.connect(front.web, "a.example").unwrap();
    let mut wild = dialect.connect(front.web, "cart.shop.example").unwrap();
    assert_ne!(exact.shown(), wild.shown());
    for client in [&mut exact, &mut wild] {
        let answer = client.get("/", "").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
    }
    // What an unknown name gets is the first, which is not for it.
    assert!(dialect.connect(front.web, "unknown.example").is_err());
    // Both kinds are for one name; the first of them that the client understands is shown.
    let rsa = dialect.connect(front.web, "both.example").unwrap();
    let (of_rsa, of_ecdsa) =
        (peers::kind_shown(front.web, "RSA-PSS+SHA256"), peers::kind_shown(front.web, "ECDSA+SHA256"));
    assert_eq!((of_rsa.as_str(), of_ecdsa.as_str()), ("rsa", "ecdsa"));
    assert!(rsa.shown().len() > exact.shown().len());
    let until = front.weir.metric("weir_certificate_not_after_seconds", &["listener=\"web\"", "file=\"rsa.pem\""]);
    assert!((until - year.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()).abs() < 2.0, "{until}");
}

#[test]
fn endpoints_and_logs_hear_of_it() {
    let authority = Authority::new();
    let backend = Backend::scripted(|peer, request| {
        let told = |name: &str| request.fields.get(name).unwrap_or("-").to_owned();
        let body = format!("{} {}", told("x-forwarded-proto"), told("x-forwarded-client-cert"));
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    });
    let front = Front::new(ONE, backend.address(), |folder| authority.issue(&["a.example"]).write(folder, "a"));
    let mut client = Dialect::trusting(&authority).connect(front.web, "a.example").unwrap();
    let answer = client.get("/", "X-Forwarded-Client-Cert: Hash=00\r\nX-Forwarded-Proto: http\r\n").unwrap();
    assert!(answer.ends_with("\r\n\r\nhttps -"), "{answer}");
    let line = wait::until("an access line", || front.weir.stdout().lines().next().map(str::to_owned));
    for part in ["\"tls_version\":\"TLSv1.3\"", "\"tls_cipher\":\"TLS_", "\"server_name\":\"a.example\""] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!(front.weir.metric("weir_tls_handshakes_total", &["version=\"1.3\"", "kind=\"full\""]), 1.0);
}

#[test]
fn clients_show_certificates() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let backend = Backend::scripted(|peer, request| {
        let told = request.fields.get("x-forwarded-client-cert").unwrap_or("nobody").to_owned();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}", told.len()));
    });
    let known = clients.issue(&["me.example"]);
    let stranger = Authority::new().issue(&["me.example"]);
    for mode in ["require", "request"] {
        let tls = format!("{ONE}, client_certificates: {{mode: {mode}, ca: clients.pem}}");
        let front = Front::new(&tls, backend.address(), |folder| {
            authority.issue(&["a.example"]).write(folder, "a");
            put(folder, "clients.pem", clients.pem().as_bytes());
        });
        let ask = |shown| {
            let mut client =
                Dialect::with(&authority, rustls::DEFAULT_VERSIONS, shown, &[]).connect(front.web, "a.example")?;
            client.get("/", "X-Forwarded-Client-Cert: Hash=00;Subject=\"CN=boss\"\r\n")
        };
        let answer = ask(Some(&known)).unwrap();
        assert!(answer.contains("\r\n\r\nHash=") && !answer.contains("Hash=00;"), "{answer}");
        assert!(answer.contains(";Subject=\"CN=A peer of tests\";DNS=me.example"), "{answer}");
        assert!(ask(Some(&stranger)).is_err());
        match mode {
            "require" => assert!(ask(None).is_err()),
            _ => assert!(ask(None).unwrap().ends_with("\r\n\r\nnobody")),
        }
        let causes =
            |cause: &str| front.weir.metric("weir_tls_handshake_failures_total", &[&format!("cause=\"{cause}\"")]);
        let none = if mode == "require" { 1.0 } else { 0.0 };
        wait::until_true("the causes counted", || causes("bad_certificate") == 1.0 && causes("no_certificate") == none);
    }
}

#[test]
fn a_certificate_changes_and_connections_stay() {
    let authority = Authority::new();
    let backend = Backend::text("hello");
    let front = Front::new(ONE, backend.address(), |folder| authority.issue(&["a.example"]).write(folder, "a"));
    let dialect = Dialect::trusting(&authority);
    let mut open: Vec<_> = (0..20).map(|_| dialect.connect(front.web, "a.example").unwrap()).collect();
    let before = open[0].shown();
    let two_days = SystemTime::now() + Duration::from_secs(2 * 24 * 60 * 60 + 3600);
    // The key comes first, and does not fit the certificate: that is told, and nothing changes.
    let next = authority.issue_as(&["a.example", "b.example"], Kind::Ecdsa, two_days);
    put(front.folder(), "a.key", next.key.as_bytes());
    let refused = front.weir.wait_event("config_rejected", 1);
    assert!(refused["message"].as_str().unwrap().contains("a.key"), "{refused}");
    assert_eq!(dialect.connect(front.web, "a.example").unwrap().shown(), before);
    put(front.folder(), "a.pem", next.cert.as_bytes());
    let applied = front.weir.wait_event("config_applied", 1);
    assert!(applied["message"].as_str().unwrap().contains("a.pem"), "{applied}");
    let after = wait::until("the new certificate", || {
        let shown = dialect.connect(front.web, "b.example").ok()?.shown();
        (shown != before).then_some(shown)
    });
    assert_ne!(after, before);
    for client in &mut open {
        assert!(client.get("/", "").unwrap().ends_with("hello"));
    }
    let told: Vec<String> =
        front.weir.events("certificate").iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect();
    assert!(told[0].starts_with("listener web: a.pem for a.example, b.example is valid until "), "{told:?}");
    assert!(told[1].starts_with("listener web: a.pem expires in 2 days, on "), "{told:?}");
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn sessions_go_on_over_reloads_and_instances() {
    let authority = Authority::new();
    let pair = authority.issue(&["a.example"]);
    let backend = Backend::text("hello");
    let resumes = |dialect: &Dialect, to| {
        let mut client = dialect.connect(to, "a.example").unwrap();
        // Tickets of TLS 1.3 come with the first answer.
        assert!(client.get("/", "").unwrap().ends_with("hello"));
        client.is_resumed()
    };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let dialect = Dialect::with(&authority, &[version], None, &[]);
        let front = Front::new(ONE, backend.address(), |folder| pair.write(folder, "a"));
        assert!(!resumes(&dialect, front.web));
        assert!(resumes(&dialect, front.web));
        authority.issue(&["a.example"]).write(front.folder(), "a");
        let _ = front.weir.wait_event("certificate", 1);
        assert!(resumes(&dialect, front.web), "over a change of certificate");

        let shared = format!("{ONE}, session_tickets: {{key_file: tickets.key}}");
        let instances: Vec<Front> = [&[[7; 80]][..], &[[9; 80], [7; 80]]]
            .into_iter()
            .map(|keys| {
                Front::new(&shared, backend.address(), |folder| {
                    pair.write(folder, "a");
                    put(folder, "tickets.key", &keys.concat());
                })
            })
            .collect();
        let dialect = Dialect::with(&authority, &[version], None, &[]);
        assert!(!resumes(&dialect, instances[0].web));
        assert!(resumes(&dialect, instances[1].web), "with another instance");
        assert_eq!(instances[1].weir.metric("weir_tls_handshakes_total", &["kind=\"resumed\""]), 1.0);
    }
}

#[test]
fn who_says_nothing_is_let_go() {
    let authority = Authority::new();
    let backend = Backend::text("hello");
    let tls = format!("{ONE}, handshake_timeout: 300ms, max_handshakes: 2");
    let front = Front::new(&tls, backend.address(), |folder| authority.issue(&["a.example"]).write(folder, "a"));
    let failures =
        |cause: &str| front.weir.metric("weir_tls_handshake_failures_total", &[&format!("cause=\"{cause}\"")]);
    let silent: Vec<RawClient> = (0..2).map(|_| RawClient::connect(front.web)).collect();
    wait::until_true("two under way", || {
        front.weir.metric("weir_tls_handshakes_under_way", &[]) == 2.0 || failures("timeout") > 0.0
    });
    for mut client in silent {
        client.expect_end();
    }
    wait::until_true("both counted", || failures("timeout") == 2.0);
    assert_eq!(front.weir.metric("weir_responses_total", &["reason=\"tls_timeout\""]), 2.0 + failures("too_many"));
    assert!(Dialect::trusting(&authority).connect(front.web, "a.example").is_ok());
}

#[test]
fn what_is_no_tls_is_told_so() {
    let authority = Authority::new();
    let backend = Backend::text("hello");
    let front = Front::new(ONE, backend.address(), |folder| authority.issue(&["a.example"]).write(folder, "a"));
    let answer = RawClient::once(front.web, &get("/")).unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("https://"), "{}", answer.text());
    // Garbage, a record that is longer than any, one that never ends, an old version's hello.
    let garbage: [&[u8]; 5] = [
        &[0; 64],
        &[22, 3, 1, 0xff, 0xff, 1, 0, 0, 4],
        &[22, 3, 1, 0x40, 1, 1, 0, 0x40, 0],
        &[23, 3, 3, 0, 1, 0],
        &[22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1, 0],
    ];
    for bytes in garbage {
        let mut client = RawClient::connect(front.web);
        client.send(bytes);
        client.half_close();
        let ended = loop {
            match client.more() {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        };
        assert!(ended, "{bytes:?}");
    }
    let client = Dialect::trusting(&authority).connect(front.web, "a.example").unwrap().get("/", "").unwrap();
    assert!(client.ends_with("hello"));
    wait::until_true("all six counted", || {
        front.weir.metric("weir_responses_total", &["reason=\"tls_handshake\""]) == 6.0
    });
    assert_eq!(front.weir.metric("weir_panics_total", &[]), 0.0);
}

#[test]
fn who_it_is_comes_before_the_handshake() {
    let authority = Authority::new();
    let backend = Backend::scripted(|peer, request| {
        let told = request.fields.get("x-forwarded-for").unwrap_or("nobody").to_owned();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}", told.len()));
    });
    let tls = format!("{ONE}}}, proxy_protocol: {{mode: required, trusted: [127.0.0.0/8]");
    let front = Front::new(&tls, backend.address(), |folder| authority.issue(&["a.example"]).write(folder, "a"));
    let before = b"PROXY TCP4 192.0.2.9 192.0.2.10 4711 443\r\n";
    let mut client = Dialect::trusting(&authority).connect_after(front.web, "a.example", before).unwrap();
    assert!(client.get("/", "").unwrap().ends_with("\r\n\r\n192.0.2.9"));
    assert!(Dialect::trusting(&authority).connect(front.web, "a.example").is_err());
}

#[test]
fn bytes_are_passed_on_under_tls() {
    let authority = Authority::new();
    let backend = Backend::raw(|peer| {
        let mut all = peer.rest().to_vec();
        peer.writer().read_to_end(&mut all).unwrap();
        all.reverse();
        peer.send(all);
    });
    let cluster = format!("endpoints: ['{}']", backend.address());
    let front = Front::of("tcp", ONE, &cluster, |folder| authority.issue(&["a.example"]).write(folder, "a"));
    let mut client = Dialect::trusting(&authority).connect(front.web, "a.example").unwrap();
    client.stream.write_all(&[b"stressed".as_slice(); 10_000].concat()).unwrap();
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    let mut answer = Vec::new();
    client.stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), 80_000);
    assert!(answer.starts_with(b"desserts"));
}

/// Memory of idle connections: for whoever wants to know (`make soak`).
#[test]
#[ignore = "a measurement"]
fn memory_of_idle_connections() {
    let authority = Authority::new();
    let backend = Backend::text("hello");
    let front = Front::new(ONE, backend.address(), |folder| authority.issue(&["a.example"]).write(folder, "a"));
    let dialect = Dialect::trusting(&authority);
    let connect = |count: usize| -> Vec<_> {
        let one = |_| {
            let mut client = dialect.connect(front.web, "a.example").unwrap();
            client.get("/", "").unwrap();
            client
        };
        (0..count).map(one).collect()
    };
    let _warm = connect(100);
    let before = front.weir.resident();
    let _idle = connect(1000);
    let each = (front.weir.resident() - before) / 1000;
    println!("{each} bytes of resident memory for each idle TLS connection");
    assert!(each < 40 * 1024, "{each}");
}

#[test]
fn who_came_in_the_clear_does_not_stay_so() {
    let authority = Authority::new();
    let backend = Backend::text("hello");
    let front = Front::new(ONE, backend.address(), |folder| authority.issue(&["a.example"]).write(folder, "a"));
    let dialect = Dialect::trusting(&authority);
    let yaml = |tls: &str| {
        format!(
            "listeners:\n  - {{name: web, bind: '{}', cluster: main{tls}}}\nclusters:\n  - {{name: main, endpoints: ['{}']}}\n",
            front.web,
            backend.address()
        )
    };
    let reload = |tls: &str| {
        front.weir.replace(&yaml(tls));
        assert!(front.weir.command(&["reload"]).status.success());
    };
    let mut secured = dialect.connect(front.web, "a.example").unwrap();
    assert!(secured.get("/", "").unwrap().ends_with("hello"));
    reload("");
    wait::until_true("it ends", || secured.rest().is_ok_and(|rest| rest.is_empty()));
    let mut plain = RawClient::connect(front.web);
    plain.send(get("/"));
    assert_eq!(plain.response().unwrap().text(), "hello");
    reload(", tls: {cert: a.pem, key: a.key}");
    // It is idle, and not what is spoken there any more.
    plain.expect_end();
    assert!(dialect.connect(front.web, "a.example").unwrap().get("/", "").unwrap().ends_with("hello"));
}

#[test]
fn http_2_is_spoken_where_it_is_offered() {
    let authority = Authority::new();
    let backend = Backend::text("hello");
    let front = Front::new(&format!("{ONE}, alpn: [http/1.1]"), backend.address(), |folder| {
        authority.issue(&["a.example"]).write(folder, "a");
    });
    for protocols in [&["http/1.1"][..], &[]] {
        let dialect = Dialect::with(&authority, rustls::ALL_VERSIONS, None, protocols);
        let mut client = dialect.connect(front.web, "a.example").unwrap();
        client.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        let answer = client.rest().unwrap();
        assert!(answer.starts_with("HTTP/1.1 505 "), "{answer:?}");
    }
}
