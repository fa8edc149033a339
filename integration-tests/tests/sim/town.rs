//! Who lives in a simulated world besides Weir: replicas, users, and whoever writes the story down.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Seek, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use turmoil::net::{TcpListener, TcpStream};
use weir::control::source::Source;
use weir::control::{First, Handle, ReloadOutcome, Trigger};
use weir::server::Server;

use crate::world::Sim;

/// Where Weir listens in its host.
pub(crate) const WEB: u16 = 80;

/// A network whose chance comes from `seed`, over so many simulated seconds at the most.
pub(crate) fn network(seed: u64, seconds: u64) -> turmoil::Sim<'static> {
    turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(std::time::SystemTime::UNIX_EPOCH)
        .simulation_duration(Duration::from_secs(seconds))
        .tick_duration(Duration::from_millis(2))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(4))
        .tcp_capacity(1024)
        .build()
}

/// A replica that answers 200 with its name on each of `ports`, for ever.
pub(crate) fn replica(sim: &mut turmoil::Sim<'_>, name: &'static str, ports: std::ops::Range<u16>) -> IpAddr {
    sim.host(name, move || {
        let ports = ports.clone();
        async move {
            for port in ports {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
                tokio::task::spawn_local(serve(listener, name));
            }
            std::future::pending().await
        }
    });
    sim.lookup(name)
}

async fn serve(listener: TcpListener, name: &'static str) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(answer(stream, name));
    }
}

async fn answer(mut stream: TcpStream, name: &'static str) {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
    let mut request = Vec::new();
    // Requests here have no bodies and are never pipelined.
    while stream.read_buf(&mut request).await.is_ok_and(|got| got > 0) {
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// A config file that no file system watches: its changes are taken when the story says so.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile(Rc<RefCell<File>>);

impl ConfigFile {
    pub(crate) fn new(yaml: &str) -> Self {
        let file = Self(Rc::new(RefCell::new(tempfile::tempfile().unwrap())));
        file.write(yaml);
        file
    }

    pub(crate) fn write(&self, yaml: &str) {
        let mut file = self.0.borrow_mut();
        file.set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(yaml.as_bytes()).unwrap();
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.borrow().as_raw_fd()).into()
    }
}

/// The lines of a story, each with its time; and the door to the server while it runs.
#[derive(Clone, Default)]
pub(crate) struct Book {
    lines: Rc<RefCell<Vec<String>>>,
    handle: Rc<RefCell<Option<Handle>>>,
    /// Of the config file: a file descriptor's number, which is not part of the story.
    path: Rc<RefCell<String>>,
}

impl Book {
    pub(crate) fn note(&self, line: impl AsRef<str>) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        self.lines.borrow_mut().push(format!("{:>6} ms  {}", at.as_millis(), line.as_ref()));
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.borrow().clone().expect("the server runs")
    }

    /// Everything noted, then the journal.
    pub(crate) fn story(&self) -> String {
        let mut story = self.lines.borrow().join("\n");
        for event in self.handle().journal().read(Some(0), usize::MAX).events {
            let message = event.message.replace(&*self.path.borrow(), "weir.yaml");
            let _ = write!(story, "\n{} {:?} {message}", event.time, event.kind);
        }
        story
    }

    /// The transitions of endpoints: seconds since the start, address, from, to.
    pub(crate) fn transitions(&self) -> Vec<(f64, SocketAddr, String, String)> {
        let journal = self.handle().journal().read(Some(0), usize::MAX);
        let transitions = journal.events.iter().filter(|event| event.kind.as_str() == "endpoint_transition");
        transitions
            .map(|event| {
                let word = |key: &str| event.fields[key].as_str().unwrap_or_default().to_owned();
                let at = event.time.as_millisecond() as f64 / 1000.0;
                (at, word("endpoint").parse().unwrap(), word("from"), word("to"))
            })
            .collect()
    }
}

/// Runs Weir on a host of its own.
pub(crate) fn weir(sim: &mut turmoil::Sim<'_>, seed: u64, file: &ConfigFile, book: &Book) {
    let (file, book) = (file.clone(), book.clone());
    sim.host("weir", move || {
        let (file, book) = (file.clone(), book.clone());
        async move {
            let source = Source::new(&file.path());
            let text = source.read()?;
            let config = weir_config::parse_str(&text).map_err(|mistakes| format!("{mistakes:?}"))?.config;
            let first = First { source, text, config };
            let server = Server::bind(Sim::new(seed), first, NonZeroUsize::MIN, None, None, None)?;
            *book.handle.borrow_mut() = Some(server.handle());
            *book.path.borrow_mut() = file.path().display().to_string();
            server.run_local().await;
            Ok(())
        }
    });
}

/// Takes the config file as it is now. Must run on Weir's host or any other: it is one thread.
pub(crate) async fn reload(book: &Book) -> bool {
    let outcome = book.handle().reload(Trigger::Signal).await;
    !matches!(outcome, ReloadOutcome::Rejected(_))
}

/// What came of a request: the name of the replica, or what went wrong.
pub(crate) type Answer = Result<String, String>;

/// A user with one kept-open connection.
#[derive(Debug, Default)]
pub(crate) struct User {
    stream: Option<TcpStream>,
}

impl User {
    /// Asks once; a connection that is gone is made anew first.
    pub(crate) async fn ask(&mut self) -> Answer {
        let answer = timeout(Duration::from_secs(10), self.exchange()).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in 10 s".into()));
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    async fn exchange(&mut self) -> Answer {
        if self.stream.is_none() {
            let stream = TcpStream::connect(("weir", WEB)).await.map_err(|error| format!("connect: {error}"))?;
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut().unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";
        stream.write_all(request).await.map_err(|error| format!("send: {error}"))?;
        let mut bytes = Vec::new();
        loop {
            if let Some((head, body)) = split(&bytes) {
                let (status, length, reason) = read_head(&head);
                if body.len() >= length {
                    return if status == 200 {
                        Ok(String::from_utf8_lossy(body).into())
                    } else {
                        Err(format!("{status} {reason}"))
                    };
                }
            }
            match stream.read_buf(&mut bytes).await {
                Ok(0) => return Err(format!("closed after {} bytes", bytes.len())),
                Ok(_) => {}
                Err(error) => return Err(format!("receive: {error}")),
            }
        }
    }
}

fn split(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((String::from_utf8_lossy(&bytes[..end]).into_owned(), &bytes[end + 4..]))
}

/// Status, length of the body, and why Weir answered by itself.
fn read_head(head: &str) -> (u16, usize, String) {
    let field = |wanted: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_owned())
    };
    let status = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_default();
    let length = field("content-length").and_then(|length| length.parse().ok()).expect("answers here have a length");
    (status, length, field("x-weir-reason").unwrap_or_default())
}

/// A cluster `shop` with these endpoints by zone.
pub(crate) fn config(zones: &[(&str, Vec<SocketAddr>)], check: &str) -> String {
    let mut yaml = format!(
        "admin: off\nlisteners:\n  - name: web\n    bind: 0.0.0.0:{WEB}\n    protocol: http\n    routes:\n      \
         - {{match: {{}}, cluster: shop, timeout: 1s}}\nclusters:\n  - name: shop\n    connect: {{timeout: 300ms}}\n    endpoints:\n"
    );
    for (zone, addresses) in zones {
        let list: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        let _ = writeln!(yaml, "      {zone}: [{}]", list.join(", "));
    }
    let _ = writeln!(yaml, "    health_checks:\n      - {check}");
    yaml
}
