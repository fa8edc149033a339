//! Sessions that last: WebSockets and TCP sessions, with TLS and without, stay open through reloads
//! and through a change of certificate.
//!
//! How many of them there can be is the host's to say: see [`Numbers::of_this_host`].

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_integration_tests::tls::{Authority, Dialect};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::websocket::{AGREED, HELLO, frame, local, read_head, serve_http2};

/// How many there are of each kind. Half of each have TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    /// TCP sessions: two sockets of Weir's each.
    sessions: usize,
    /// WebSockets to an endpoint of HTTP/1.1: two as well.
    own: usize,
    /// WebSockets to one of HTTP/2, where a hundred share a connection.
    shared: usize,
}

/// Beside sessions: what Weir keeps open anyway, reloads, and connections that are on their way.
const SPARE: usize = 200;

impl Numbers {
    /// As many as are wished for, if a process may have so many `files` open; or as many as it may
    /// have, in the same proportion. From a fifth to four fifths of the WebSockets have a connection
    /// of their own.
    fn within(files: usize, websockets: usize, sessions: usize) -> Self {
        // What Weir gives to clients (docs/tunnels.md), as far as both workers get the same from the
        // kernel: a twentieth is left for what they do not.
        let room = ((files - (files / 4).min(1024)) / 5 * 4 / 20 * 19).saturating_sub(SPARE);
        let fits = |percent: usize| {
            let (websockets, sessions) = (websockets * percent / 100, sessions * percent / 100);
            let needed = websockets + websockets.div_ceil(100) + 2 * sessions;
            let own = room.checked_sub(needed)?.min(websockets - websockets / 5);
            (own >= websockets / 5).then_some(Self { sessions, own, shared: websockets - own })
        };
        (1..=100).rev().find_map(fits).expect("room for a few")
    }

    /// The same with what this host lets a process have, which is also what Weir takes.
    fn of_this_host(websockets: usize, sessions: usize) -> Self {
        let most = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
        let files = most.map_or(1 << 20, |most| most.min(1 << 20) as usize);
        let numbers = Self::within(files, websockets, sessions);
        println!(
            "{files} descriptors for each process allow {numbers:?} of {websockets} WebSockets, {sessions} sessions"
        );
        numbers
    }

    fn websockets(self) -> usize {
        self.own + self.shared
    }
}

#[test]
fn numbers_are_what_a_host_allows() {
    let numbers = |sessions, own, shared| Numbers { sessions, own, shared };
    assert_eq!(Numbers::within(65_536, 10_000, 1000), numbers(1000, 8000, 2000));
    let tight = Numbers::within(20_000, 10_000, 1000);
    assert!(tight.sessions == 1000 && tight.websockets() == 10_000 && tight.own >= 2000, "{tight:?}");
    let tiny = Numbers::within(1024, 10_000, 1000);
    assert!(tiny.sessions > 0 && tiny.own > 0 && tiny.shared > 0, "{tiny:?}");
}

/// A client's end of a session.
trait Talk: Read + Write {}

impl<T: Read + Write> Talk for T {}

/// An open session, and what is said on it to hear it again.
struct Session {
    talk: Box<dyn Talk>,
    says: Vec<u8>,
    hears: Vec<u8>,
}

impl Session {
    fn is_alive(&mut self) -> bool {
        let mut heard = vec![0; self.hears.len()];
        self.talk.write_all(&self.says).is_ok() && self.talk.read_exact(&mut heard).is_ok() && heard == self.hears
    }
}

/// Where clients go, and whom they trust.
struct Scene {
    web: SocketAddr,
    web_tls: SocketAddr,
    raw: SocketAddr,
    raw_tls: SocketAddr,
    dialect: Dialect,
    endpoints: [SocketAddr; 3],
}

impl Scene {
    fn new(authority: &Authority) -> Self {
        let [web, web_tls, raw, raw_tls] = std::array::from_fn(|_| place::address());
        let endpoints = [echo_of_many(AGREED), http2_of_many(), echo_of_many("")];
        Self { web, web_tls, raw, raw_tls, dialect: Dialect::trusting(authority), endpoints }
    }

    /// The configuration after so many changes: of each kind of thing something is another one.
    fn yaml(&self, nth: usize) -> String {
        let Self { web, web_tls, raw, raw_tls, endpoints: [own, shared, echo], .. } = self;
        let routes = format!(
            "routes: [{{match: {{path: /{nth}}}, cluster: own}}, {{match: {{path_prefix: /chat}}, cluster: own}}, {{cluster: shared}}]"
        );
        let tls = "tls: {cert: a.pem, key: a.key}";
        let cluster = format!("connect: {{timeout: {}ms}}, pool: {{max_idle: 16}}", 500 + nth);
        let more = if nth % 2 == 1 { format!(", '{}'", place::refusing()) } else { String::new() };
        let mut yaml = format!(
            "workers: 2\nlisteners:\n\
             - {{name: web, bind: '{web}', {routes}}}\n\
             - {{name: web-tls, bind: '{web_tls}', {tls}, {routes}}}\n\
             - {{name: raw, bind: '{raw}', protocol: tcp, cluster: echo}}\n\
             - {{name: raw-tls, bind: '{raw_tls}', protocol: tcp, {tls}, cluster: echo}}\n\
             clusters:\n"
        );
        for (name, address, http2) in [("own", own, ""), ("shared", shared, "protocol: h2, "), ("echo", echo, "")] {
            let _ = writeln!(yaml, "- {{name: {name}, {http2}{cluster}, endpoints: ['{address}'{more}]}}");
        }
        yaml
    }

    fn connect(&self, plain: SocketAddr, secured: SocketAddr, nth: usize) -> Box<dyn Talk> {
        if nth % 2 == 1 {
            return Box::new(self.dialect.connect(secured, "a.example").unwrap().stream);
        }
        let stream = TcpStream::connect(plain).unwrap();
        stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Box::new(stream)
    }

    fn websocket(&self, path: &str, nth: usize) -> Session {
        let mut talk = self.connect(self.web, self.web_tls, nth);
        talk.write_all(HELLO.replace("/chat", path).as_bytes()).unwrap();
        let head = read_head(&mut talk);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Session { talk, says: frame("there?", Some([0; 4])), hears: frame("there?", None) }
    }

    fn session(&self, nth: usize) -> Session {
        let talk = self.connect(self.raw, self.raw_tls, nth);
        let mut session = Session { talk, says: b"there?".to_vec(), hears: b"there?".to_vec() };
        assert!(session.is_alive());
        session
    }
}

/// Opens so many, reloads so many times, changes the certificate in between, and finds all of them
/// alive.
fn survive(numbers: Numbers, reloads: usize) {
    let authority = Authority::new();
    let scene = Scene::new(&authority);
    let (weir, folder) = start(&scene, &authority);
    let mut all = open(&weir, &scene, numbers);
    let shown = || scene.dialect.connect(scene.web_tls, "a.example").unwrap().shown();
    let first = shown();
    for nth in 1..=reloads {
        if nth == reloads.div_ceil(2) {
            authority.issue(&["a.example"]).write(&folder, "a");
        }
        weir.replace(&scene.yaml(nth));
        let output = weir.command(&["reload"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(shown() == first, nth < reloads.div_ceil(2), "the certificate after {nth} reloads");
        all.iter_mut().skip(nth).step_by(97).for_each(|session| assert!(session.is_alive(), "after {nth} reloads"));
    }
    assert_eq!(weir.metric("weir_tunnels", &[]), numbers.websockets() as f64);
    let closed = all.iter_mut().map(Session::is_alive).filter(|alive| !alive).count();
    println!("after {reloads} reloads and a change of certificate: {closed} closed, {} MiB", weir.resident() >> 20);
    assert_eq!(closed, 0);
    drop(all);
    wait::until_true("all gone", || weir.metric("weir_listener_connections", &[]) == 0.0);
}

fn start(scene: &Scene, authority: &Authority) -> (Weir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    authority.issue(&["a.example"]).write(folder.path(), "a");
    let config = folder.path().join("weir.yaml");
    let mut weir = Weir::spawn_at(folder, &config, &scene.yaml(0));
    weir.wait_ready();
    let folder = Path::to_path_buf(weir.directory());
    (weir, folder)
}

fn open(weir: &Weir, scene: &Scene, numbers: Numbers) -> Vec<Session> {
    let mut all = Vec::new();
    let mut add = |what: &str, count: usize, one: &dyn Fn(usize) -> Session| {
        let before = weir.resident();
        all.extend((0..count).map(one));
        let each = weir.resident().saturating_sub(before) / count.max(1) as u64;
        println!("{count} {what}: {each} bytes each, half of them with TLS");
    };
    add("TCP sessions", numbers.sessions, &|nth| scene.session(nth));
    add("WebSockets to HTTP/1.1", numbers.own, &|nth| scene.websocket("/chat", nth));
    add("WebSockets to HTTP/2", numbers.shared, &|nth| scene.websocket("/shared", nth));
    all
}

/// One thread that serves any number of connections: answers their first request with `agreed`, if
/// that says anything, and then says everything back, without the mask of zeros that frames have.
fn echo_of_many(agreed: &'static str) -> SocketAddr {
    serve(move |listener| async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                let mut piece = vec![0; 1024];
                if !agreed.is_empty() {
                    let _ = stream.read(&mut piece).await;
                    let _ = stream.write_all(agreed.as_bytes()).await;
                }
                piece = vec![0; 64];
                while let Ok(count @ 1..) = stream.read(&mut piece).await {
                    let said = match agreed {
                        "" => piece[..count].to_vec(),
                        _ => [&[0x81, piece[1] & 0x7f], &piece[6..count]].concat(),
                    };
                    let _ = stream.write_all(&said).await;
                }
            });
        }
    })
}

fn http2_of_many() -> SocketAddr {
    serve(serve_http2)
}

fn serve<F: Future<Output = ()>>(serve: impl FnOnce(tokio::net::TcpListener) -> F + Send + 'static) -> SocketAddr {
    let listener = std::net::TcpListener::bind(place::address()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || local(async { serve(tokio::net::TcpListener::from_std(listener).unwrap()).await }));
    address
}

#[test]
fn a_thousand_stay_open_through_reloads() {
    survive(Numbers::of_this_host(900, 100), 20);
}

#[test]
#[ignore = "takes as many descriptors as the host allows, up to 28 000 for each of two processes"]
fn ten_thousand_stay_open_through_a_day_of_reloads() {
    survive(Numbers::of_this_host(10_000, 1000), 136);
}
