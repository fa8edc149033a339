//! The access log: one line a request, a TCP session or a UDP flow.
//!
//! Workers format lines into a buffer of their own and hand it over by the batch; one thread
//! writes. Nobody waits: when the writer cannot keep up, batches are dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use weir_config::model::{Address, LogFormat, LogTarget};
use weir_core::trace::Context;

use super::ProcessCounts;

/// Everything one line says.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) wall: SystemTime,
    pub(crate) took: Duration,
    /// Until the head of the endpoint's answer; of a session, until it was connected.
    pub(crate) first_byte: Option<Duration>,
    pub(crate) peer: SocketAddr,
    /// The client, if a trusted proxy tells another address than its own.
    pub(crate) told: Option<IpAddr>,
    /// Its TLS with us.
    pub(crate) tls: Option<Tls<'a>>,
    pub(crate) listener: &'a str,
    pub(crate) route: Option<&'a str>,
    /// That a client asked for by SNI, of a session that is passed on unopened.
    pub(crate) server_name: Option<&'a str>,
    pub(crate) cluster: Option<&'a str>,
    pub(crate) endpoint: Option<&'a Address>,
    pub(crate) gray: Option<Gray<'a>>,
    pub(crate) attempts: u16,
    /// Why there was no further attempt, if one had been wanted.
    pub(crate) denied: Option<&'static str>,
    /// What was asked and answered; a TCP session and a UDP flow have none of it.
    pub(crate) request: Option<Request<'a>>,
    /// Of a UDP flow: how many came from the client, and from the endpoint.
    pub(crate) datagrams: Option<(u64, u64)>,
    pub(crate) reason: Option<&'static str>,
    pub(crate) id: Option<&'a str>,
    /// The trace it is part of, and its own span there.
    pub(crate) trace: Option<Context>,
    pub(crate) body_in: u64,
    pub(crate) body_out: u64,
}

/// A client's TLS.
#[derive(Debug)]
pub(crate) struct Tls<'a> {
    pub(crate) version: &'static str,
    pub(crate) cipher: &'static str,
    /// Asked for by SNI.
    pub(crate) server_name: Option<&'a str>,
}

/// What only a request has.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) target: &'a [u8],
    pub(crate) version: &'static str,
    pub(crate) status: u16,
    /// What became of a gRPC call.
    pub(crate) grpc: Option<u8>,
    /// It became a tunnel, and the line is about that.
    pub(crate) tunnel: bool,
}

/// What a release decided for a request.
#[derive(Debug)]
pub(crate) struct Gray<'a> {
    pub(crate) release: &'a str,
    /// The cluster of the version it is assigned; it went to the line's cluster.
    pub(crate) version: &'a str,
    /// None: it has no id.
    pub(crate) bucket: Option<u16>,
    /// What decided.
    pub(crate) why: &'static str,
    /// Stable serves it, since its own version has no usable endpoint.
    pub(crate) moved_by_health: bool,
}

impl Line<'_> {
    fn json(&self, out: &mut Vec<u8>, clock: &mut Clock) {
        let text = |out: &mut Vec<u8>, key: &str, value: &[u8]| {
            put(out, format_args!(",\"{key}\":\""));
            escape(out, value);
            out.push(b'"');
        };
        put(out, format_args!("{{\"ts\":\"{}\"", clock.text(self.wall)));
        if let Some(id) = self.id {
            text(out, "request_id", id.as_bytes());
        }
        if let Some(trace) = &self.trace {
            text(out, "trace_id", &trace.trace.hex());
            text(out, "span_id", &trace.span.hex());
            if trace.is_sampled() {
                put(out, format_args!(",\"sampled\":true"));
            }
        }
        match self.told {
            Some(client) => put(out, format_args!(",\"client\":\"{client}\",\"peer\":\"{}\"", self.peer)),
            None => put(out, format_args!(",\"client\":\"{}\"", self.peer)),
        }
        let first = match (&self.request, self.datagrams) {
            (Some(request), _) => {
                text(out, "method", request.method.as_bytes());
                text(out, "host", request.host.as_bytes());
                text(out, "path", request.target);
                put(out, format_args!(",\"version\":\"{}\",\"status\":{}", request.version, request.status));
                if let Some(code) = request.grpc {
                    put(out, format_args!(",\"grpc_status\":{code}"));
                }
                if request.tunnel {
                    put(out, format_args!(",\"tunnel\":true"));
                }
                "first_byte_ms"
            }
            (None, Some((received, sent))) => {
                put(out, format_args!(",\"version\":\"UDP\",\"datagrams_in\":{received},\"datagrams_out\":{sent}"));
                "first_byte_ms"
            }
            (None, None) => {
                put(out, format_args!(",\"version\":\"TCP\""));
                "connected_ms"
            }
        };
        put(out, format_args!(",\"duration_ms\":{:.3}", millis(self.took)));
        if let Some(first_byte) = self.first_byte {
            put(out, format_args!(",\"{first}\":{:.3}", millis(first_byte)));
        }
        put(out, format_args!(",\"bytes_in\":{},\"bytes_out\":{}", self.body_in, self.body_out));
        if let Some(tls) = &self.tls {
            // Both from tables of ours.
            put(out, format_args!(",\"tls_version\":\"{}\",\"tls_cipher\":\"{}\"", tls.version, tls.cipher));
            if let Some(name) = tls.server_name {
                text(out, "server_name", name.as_bytes());
            }
        }
        text(out, "listener", self.listener.as_bytes());
        if let Some(route) = self.route {
            text(out, "route", route.as_bytes());
        }
        if let Some(name) = self.server_name {
            text(out, "server_name", name.as_bytes());
        }
        if let Some(cluster) = self.cluster {
            text(out, "cluster", cluster.as_bytes());
        }
        match self.endpoint {
            // Holds nothing to escape.
            Some(Address::Ip(endpoint)) => put(out, format_args!(",\"endpoint\":\"{endpoint}\"")),
            Some(unix) => text(out, "endpoint", unix.to_string().as_bytes()),
            None => {}
        }
        if let Some(gray) = &self.gray {
            // Names and words hold nothing to escape.
            put(out, format_args!(",\"release\":\"{}\",\"release_version\":\"{}\"", gray.release, gray.version));
            if let Some(bucket) = gray.bucket {
                put(out, format_args!(",\"bucket\":{bucket}"));
            }
            put(out, format_args!(",\"why\":\"{}\",\"moved_by_health\":{}", gray.why, gray.moved_by_health));
        }
        put(out, format_args!(",\"attempts\":{}", self.attempts));
        if let Some(denied) = self.denied {
            text(out, "retry_denied", denied.as_bytes());
        }
        if let Some(reason) = self.reason {
            text(out, "reason", reason.as_bytes());
        }
        out.extend_from_slice(b"}\n");
    }

    fn text(&self, out: &mut Vec<u8>, clock: &mut Clock) {
        put(out, format_args!("{} ", clock.text(self.wall)));
        match self.told {
            Some(client) => put(out, format_args!("{client} via {} \"", self.peer)),
            None => put(out, format_args!("{} \"", self.peer)),
        }
        match &self.request {
            Some(request) => {
                escape(out, request.method.as_bytes());
                out.push(b' ');
                // Where no path is asked for, the target is the host.
                if request.method != "CONNECT" {
                    escape(out, request.host.as_bytes());
                }
                escape(out, request.target);
                put(out, format_args!("\" {}", request.status));
            }
            None => put(out, format_args!("{}\" -", if self.datagrams.is_some() { "UDP" } else { "TCP" })),
        }
        put(out, format_args!(" {}B {:.3}ms {}", self.body_out, millis(self.took), self.listener));
        put(out, format_args!(" -> {}", self.cluster.unwrap_or("-")));
        match self.endpoint {
            Some(Address::Ip(endpoint)) => put(out, format_args!("/{endpoint}")),
            Some(unix) => {
                out.push(b'/');
                escape(out, unix.to_string().as_bytes());
            }
            None => put(out, format_args!("/-")),
        }
        put(out, format_args!(" {} {}", self.reason.unwrap_or("-"), self.id.unwrap_or("-")));
        if let Some(trace) = &self.trace {
            out.push(b' ');
            out.extend_from_slice(&trace.trace.hex());
        }
        out.push(b'\n');
    }
}

/// A worker's end of the log.
#[derive(Debug)]
pub(crate) struct AccessWriter {
    buffer: Vec<u8>,
    clock: Clock,
    writer: Option<SyncSender<Message>>,
    counts: Arc<ProcessCounts>,
    lines: u64,
}

/// A batch is handed over when it has this many bytes, or at the worker's next tick.
const BATCH: usize = 32 * 1024;
/// Batches that may wait for the writer: 8 MiB, a second or so of a busy machine.
const WAITING: usize = 256;

impl AccessWriter {
    /// A log that goes nowhere: for worlds without files.
    pub(crate) fn nowhere(counts: Arc<ProcessCounts>) -> Self {
        Self { buffer: Vec::new(), clock: Clock::default(), writer: None, counts, lines: 0 }
    }

    /// Adds a line.
    pub(crate) fn record(&mut self, format: LogFormat, line: &Line<'_>) {
        if self.writer.is_none() {
            return;
        }
        match format {
            LogFormat::Json => line.json(&mut self.buffer, &mut self.clock),
            LogFormat::Text => line.text(&mut self.buffer, &mut self.clock),
        }
        self.lines += 1;
        if self.buffer.len() >= BATCH {
            self.flush();
        }
    }

    /// Hands over what has gathered.
    pub(crate) fn flush(&mut self) {
        let Some(writer) = self.writer.as_ref().filter(|_| !self.buffer.is_empty()) else { return };
        let batch = std::mem::take(&mut self.buffer);
        match writer.try_send(Message::Batch(batch)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.access_log_dropped.fetch_add(self.lines, Relaxed);
            }
        }
        self.lines = 0;
    }
}

#[derive(Debug)]
enum Message {
    Batch(Vec<u8>),
    /// Something else is wanted than before.
    Look,
}

/// What is wanted of the writer. Beside the channel and not in it: whoever wants something must not
/// wait behind batches that a stuck disk or a full pipe holds up.
#[derive(Debug, Default)]
struct Wanted {
    target: Option<LogTarget>,
    /// Rises when the target is to be opened again.
    opening: u64,
    stop: bool,
}

/// The writing thread's handle, for whoever owns the process.
#[derive(Debug)]
pub struct AccessLog {
    remote: AccessRemote,
    ended: Receiver<()>,
}

/// At the end, the writer gets this long to write out what waits.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl AccessLog {
    /// Starts the writer; it writes nothing until it has a target.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let (end, ended) = sync_channel(1);
        let wanted = Arc::new(Mutex::new(Wanted::default()));
        let theirs = Arc::clone(&wanted);
        std::thread::Builder::new().name("weir-access-log".into()).spawn(move || {
            write_all(&receiver, &theirs);
            // Nobody waits any more if it took too long.
            let _ = end.try_send(());
        })?;
        Ok(Self { remote: AccessRemote { sender, wanted }, ended })
    }

    /// An end for a worker.
    pub(crate) fn writer(&self, counts: Arc<ProcessCounts>) -> AccessWriter {
        AccessWriter { writer: Some(self.remote.sender.clone()), ..AccessWriter::nowhere(counts) }
    }

    /// A hand on the log for whoever knows where it is to go.
    pub(crate) fn remote(&self) -> AccessRemote {
        self.remote.clone()
    }

    /// Opens the file again: it was renamed by whoever rotates logs.
    pub(crate) fn reopen(&self) {
        self.remote.want(|wanted| wanted.opening += 1);
    }

    /// Whether `target` can be written to.
    ///
    /// # Errors
    /// The system's, when it cannot.
    pub(crate) fn probe(target: &LogTarget) -> io::Result<()> {
        match target {
            LogTarget::Stdout => Ok(()),
            LogTarget::File(path) => match open(path) {
                Ok(_) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), format!("cannot open {}: {error}", path.display()))),
            },
        }
    }
}

impl Drop for AccessLog {
    /// Writes out what has been handed over so far, if that can be done in a moment.
    fn drop(&mut self) {
        self.remote.want(|wanted| wanted.stop = true);
        if self.ended.recv_timeout(LAST_WORDS).is_err() {
            tracing::warn!("the access log cannot be written: its last lines are lost");
        }
    }
}

/// Says where the log goes.
#[derive(Clone, Debug)]
pub(crate) struct AccessRemote {
    sender: SyncSender<Message>,
    wanted: Arc<Mutex<Wanted>>,
}

impl AccessRemote {
    /// Writes to `target` from now on.
    pub(crate) fn retarget(&self, target: Option<LogTarget>) {
        self.want(|wanted| {
            if wanted.target != target {
                wanted.target = target;
                wanted.opening += 1;
            }
        });
    }

    fn want(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        // Where batches wait, the writer looks after the next of them.
        let _ = self.sender.try_send(Message::Look);
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    // Not waiting: opening a FIFO that nobody reads would take for ever.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().create(true).append(true).custom_flags(flags).open(path)
}

fn write_all(messages: &Receiver<Message>, wanted: &Mutex<Wanted>) {
    let mut out = Out { target: None, file: None, opening: 0 };
    let mut stop = false;
    // Asked to stop, it writes what is already there.
    while let Some(message) = if stop { messages.try_recv().ok() } else { messages.recv().ok() } {
        let failed = match message {
            Message::Batch(batch) => out.write(&batch).err(),
            Message::Look => None,
        };
        let failed = failed.or_else(|| {
            let wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
            stop = wanted.stop;
            out.obey(&wanted).err()
        });
        if let Some(error) = failed {
            tracing::warn!(%error, "cannot write the access log");
        }
    }
}

/// Where lines go now.
struct Out {
    target: Option<LogTarget>,
    file: Option<File>,
    opening: u64,
}

impl Out {
    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        match (&mut self.file, &self.target) {
            (Some(file), _) => file.write_all(batch),
            (None, Some(LogTarget::Stdout)) => io::stdout().lock().write_all(batch),
            (None, _) => Ok(()),
        }
    }

    fn obey(&mut self, wanted: &Wanted) -> io::Result<()> {
        if wanted.opening == self.opening {
            return Ok(());
        }
        self.opening = wanted.opening;
        self.target.clone_from(&wanted.target);
        match &self.target {
            Some(LogTarget::File(path)) => {
                // If it fails the old one goes on, if there is one: better a moved file than none.
                self.file = Some(open(path)?);
            }
            _ => self.file = None,
        }
        Ok(())
    }
}

/// Renders wall time; the part down to the second is made once a second.
#[derive(Debug, Default)]
struct Clock {
    second: u64,
    text: String,
}

impl Clock {
    fn text(&mut self, wall: SystemTime) -> &str {
        let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.text.is_empty() || self.second != since.as_secs() {
            self.second = since.as_secs();
            let stamp = jiff::Timestamp::from_second(i64::try_from(self.second).unwrap_or_default());
            self.text = format!("{}", stamp.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S.000Z"));
        }
        let millis = format!("{:03}", since.subsec_millis());
        self.text.replace_range(20..23, &millis);
        &self.text
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(text);
}

/// Appends `text` so that it stays inside of its quotes and on its line.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b' '..=b'~' => out.push(*byte),
            _ => put(out, format_args!("\\u{byte:04x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<'static> {
        Line {
            wall: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_410_000_123),
            took: Duration::from_micros(1500),
            first_byte: None,
            peer: ([127, 0, 0, 1], 5).into(),
            told: None,
            tls: None,
            listener: "web",
            route: None,
            server_name: None,
            cluster: Some("shop"),
            endpoint: None,
            gray: None,
            attempts: 1,
            denied: None,
            request: Some(Request {
                method: "GET",
                host: "a",
                target: b"/\"\\\x01",
                version: "HTTP/1.1",
                status: 503,
                grpc: Some(14),
                tunnel: false,
            }),
            datagrams: None,
            reason: Some("no_healthy_endpoint"),
            id: Some("id"),
            trace: None,
            body_in: 0,
            body_out: 3,
        }
    }

    #[test]
    fn a_line_is_one_json_object() {
        let mut out = Vec::new();
        line().json(&mut out, &mut Clock::default());
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["ts"], "2026-11-23T05:00:00.123Z");
        assert_eq!(value["path"], "/\"\\\u{1}");
        assert_eq!(value["duration_ms"], 1.5);
        assert!(value.get("release").is_none());
    }

    #[test]
    fn a_release_s_line_says_what_it_decided() {
        let gray = Gray { release: "orders", version: "v2", bucket: Some(7), why: "bucket", moved_by_health: true };
        let mut out = Vec::new();
        Line { gray: Some(gray), ..line() }.json(&mut out, &mut Clock::default());
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let fields =
            ["release", "release_version", "bucket", "why", "moved_by_health"].map(|field| value[field].to_string());
        assert_eq!(fields, ["\"orders\"", "\"v2\"", "7", "\"bucket\"", "true"]);
    }

    #[test]
    fn a_line_names_its_trace() {
        let trace = Context::parse(b"00-12345678901234567890123456789012-1234567890123456-01");
        let mut out = Vec::new();
        Line { trace, ..line() }.json(&mut out, &mut Clock::default());
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let fields = ["trace_id", "span_id", "sampled"].map(|field| value[field].to_string());
        assert_eq!(fields, ["\"12345678901234567890123456789012\"", "\"1234567890123456\"", "true"]);
        out.clear();
        Line { trace, ..line() }.text(&mut out, &mut Clock::default());
        assert!(String::from_utf8(out).unwrap().ends_with(" id 12345678901234567890123456789012\n"));
    }

    #[test]
    fn a_flow_tells_its_datagrams() {
        let flow = Line { request: None, datagrams: Some((3, 2)), ..line() };
        let mut out = Vec::new();
        flow.json(&mut out, &mut Clock::default());
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            (&value["version"], &value["datagrams_in"], &value["datagrams_out"]),
            (&"UDP".into(), &3.into(), &2.into())
        );
        out.clear();
        flow.text(&mut out, &mut Clock::default());
        assert!(String::from_utf8(out).unwrap().contains(" \"UDP\" - 3B 1.500ms web -> shop/- "));
    }

    #[test]
    fn a_line_says_what_hid_it() {
        let tls = Tls { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", server_name: Some("a.example") };
        let mut out = Vec::new();
        Line { tls: Some(tls), ..line() }.json(&mut out, &mut Clock::default());
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let fields = ["tls_version", "tls_cipher", "server_name"].map(|field| value[field].to_string());
        assert_eq!(fields, ["\"TLSv1.3\"", "\"TLS_AES_128_GCM_SHA256\"", "\"a.example\""]);
    }

    #[test]
    fn a_session_has_no_request() {
        let session = Line { request: None, first_byte: Some(Duration::from_micros(200)), ..line() };
        let mut out = Vec::new();
        session.json(&mut out, &mut Clock::default());
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&value["version"], &value["connected_ms"]), (&"TCP".into(), &0.2.into()));
        assert!(value.get("status").is_none() && value.get("path").is_none());
        out.clear();
        session.text(&mut out, &mut Clock::default());
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(" \"TCP\" - 3B 1.500ms web -> shop/- no_healthy_endpoint"), "{text}");
    }

    #[test]
    fn nobody_waits_for_a_log_that_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        // Nobody reads it: opening it in the usual way would take for ever.
        assert!(AccessLog::probe(&LogTarget::File(fifo.clone())).is_err());
        let log = AccessLog::start().unwrap();
        let counts = Arc::new(ProcessCounts::default());
        let mut writer = log.writer(Arc::clone(&counts));
        // The writer's turn never comes: as if it were stuck in a write.
        let stuck = log.remote.wanted.lock().unwrap();
        for _ in 0..WAITING + 2 {
            writer.record(LogFormat::Json, &line());
            writer.flush();
        }
        assert!(counts.access_log_dropped.load(Relaxed) > 0);
        drop(stuck);
        log.remote().retarget(Some(LogTarget::File(fifo)));
        log.reopen();
    }

    #[test]
    fn a_file_gets_every_line_and_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::start().unwrap();
        log.remote().retarget(Some(LogTarget::File(path.clone())));
        let mut writer = log.writer(Arc::default());
        writer.record(LogFormat::Text, &line());
        writer.flush();
        std::fs::rename(&path, folder.path().join("old")).unwrap_or_default();
        log.reopen();
        writer.record(LogFormat::Json, &line());
        writer.flush();
        drop((writer, log));
        let lines = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default().lines().count();
        assert_eq!(lines("access.log") + lines("old"), 2);
    }
}
