//! Who may ask the admin address what, from where, and what is told of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::RawClient;
use weir_integration_tests::netns::Netns;
use weir_integration_tests::tls::{Authority, put};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const READ: &str = "for-those-who-only-look";

/// An instance, an address of it that counts as another host's, and the rest of its config.
struct Place {
    weir: Weir,
    _backend: Backend,
    _network: Netns,
    there: std::net::SocketAddr,
    rest: String,
}

impl Place {
    fn new() -> Self {
        let (backend, network) = (Backend::text("ok"), Netns::new());
        let rest = format!(
            "listeners: [{{name: web, bind: '{}', cluster: main}}]\n\
             clusters: [{{name: main, endpoints: ['{}', '127.0.0.1:9']}}]\n",
            place::address(),
            backend.address()
        );
        let there = place::on(network.outside());
        Self { weir: Weir::start(&rest), _backend: backend, _network: network, there, rest }
    }

    fn file(&self, name: &str) -> String {
        self.weir.directory().join(name).display().to_string()
    }

    /// Takes this for `admin`.
    fn admin(&self, value: &str) -> Output {
        fs::write(self.weir.config(), format!("admin: {value}\n{}", self.rest)).unwrap();
        self.weir.command(&["reload"])
    }

    /// The status of an answer to somebody elsewhere.
    fn ask(&self, method: &str, path: &str, token: Option<&str>) -> u16 {
        let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let host = self.there;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{bearer}\r\n");
        RawClient::once(self.there, &request).unwrap().status
    }

    /// Who asked for the newest event of this kind.
    fn asked(&self, kind: &str) -> String {
        self.weir.events(kind).last().map(|event| event["fields"]["asked_by"].to_string()).unwrap_or_default()
    }
}

fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn elsewhere_a_token_is_asked_for_and_here_it_is_known_who_asks() {
    let place = Place::new();
    let (here, there) = (place.weir.admin(), place.there);
    let refused = place.admin(&format!("'{there}'"));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("whoever reaches it could read and change"));

    fs::write(place.file("all.token"), format!("{TOKEN}\n")).unwrap();
    fs::write(place.file("read.token"), READ).unwrap();
    let (socket, tokens) = (place.file("admin.sock"), "token_file: all.token, read_token_file: read.token");
    good(&place.admin(&format!("{{bind: ['{here}', '{there}', 'unix:{socket}'], {tokens}}}")));
    assert!(place.asked("config_applied").contains("\"loopback\""), "{}", place.asked("config_applied"));
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);

    for (method, path, token, status) in [
        ("GET", "/livez", None, 200),
        ("GET", "/readyz", Some("wrong"), 200),
        ("GET", "/metrics", None, 401),
        ("GET", "/metrics", Some("wrong"), 401),
        ("GET", "/metrics", Some(READ), 200),
        ("POST", "/api/v1/config:reload", Some(READ), 403),
        ("POST", "/api/v1/config:reload", None, 401),
        ("POST", "/api/v1/config:reload", Some(TOKEN), 200),
        ("GET", "/api/v1/config:reload", Some(TOKEN), 405),
    ] {
        assert_eq!(place.ask(method, path, token), status, "{method} {path} {token:?}");
    }
    let asked = place.asked("config_unchanged");
    assert!(asked.contains("token all.token") && asked.contains(&there.ip().to_string()), "{asked}");
    assert!(place.weir.metric("weir_admin_refused_total", &["no_credential"]) >= 2.0);
    // One line tells of all that came at once.
    assert_eq!(place.weir.stderr().matches("the admin API refused").count(), 1, "{}", place.weir.stderr());

    let (token_file, unix, there) = (place.file("all.token"), format!("unix:{socket}"), there.to_string());
    let by_token = ["--admin", &there, "--token-file", &token_file];
    let with = |verb: &[&str], how: &[&str]| place.weir.command(&[verb, how].concat());
    good(&with(&["status"], &by_token));
    assert!(!with(&["status"], &["--admin", &there]).status.success());
    assert_eq!(good(&with(&["health"], &["--admin", &there])), "alive\n");
    assert_eq!(good(&with(&["health", "--ready"], &["--admin", &unix])), "ready\n");
    good(&with(&["drain", "main/127.0.0.1:9"], &["--admin", &unix]));
    let (asked, uid) = (place.asked("drain"), rustix::process::getuid().as_raw());
    assert!(asked.contains(&format!("\"uid {uid}\"")) && asked.contains("pid "), "{asked}");

    // A new token counts once its file is there, and an address that goes takes its socket along.
    put(place.weir.directory(), "all.token", b"another-token-of-ours");
    wait::until_true("the new token", || place.ask("GET", "/metrics", Some("another-token-of-ours")) == 200);
    assert_eq!(place.ask("GET", "/metrics", Some(TOKEN)), 401);
    good(&place.admin(&format!("'{here}'")));
    wait::until_true("the end of the other addresses", || {
        RawClient::try_connect(place.there).is_err() && !fs::exists(&socket).unwrap()
    });
    assert_eq!(place.weir.admin_get("/readyz").status, 200);
}

#[test]
fn a_certificate_is_as_good_as_a_token() {
    let place = Place::new();
    let (here, there) = (place.weir.admin(), place.there);
    let authority = Authority::new();
    put(place.weir.directory(), "ca.pem", authority.pem().as_bytes());
    let name = there.ip().to_string();
    authority.issue(&[&name]).write(place.weir.directory(), "admin");
    authority.issue(&["ops.example"]).write(place.weir.directory(), "ops");
    let tls = "tls: {cert: admin.pem, key: admin.key, client_certificates: {mode: request, ca: ca.pem}}";
    // TLS is for all TCP addresses: what is left for this test is the Unix socket.
    let socket = place.file("admin.sock");
    good(&place.admin(&format!("{{bind: ['{there}', 'unix:{socket}', '{here}'], {tls}}}")));

    let (ca, cert, key) = (place.file("ca.pem"), place.file("ops.pem"), place.file("ops.key"));
    let (https, unix) = (format!("https://{there}"), format!("unix:{socket}"));
    let trust = ["--admin", &https, "--ca", &ca];
    let shown = [&trust[..], &["--cert", &cert, "--key", &key]].concat();
    let with = |verb: &[&str], how: &[&str]| place.weir.command(&[verb, how].concat());
    assert_eq!(good(&with(&["health", "--ready"], &trust)), "ready\n");
    let refused = with(&["status"], &trust);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("401"), "{refused:?}");
    let strange = with(&["health"], &["--admin", &https]);
    assert!(!strange.status.success(), "nobody vouches for it");
    good(&with(&["drain", "main/127.0.0.1:9"], &shown));
    let events = good(&with(&["events", "--format", "json"], &["--admin", &unix]));
    let drained = events.lines().find(|line| line.contains("\"kind\":\"drain\"")).unwrap();
    assert!(drained.contains("\"certificate CN=A peer of tests\""), "{drained}");
}
