//! Whole sessions in virtual time, between pipes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Weak};
use std::task::Context;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::LocalSet;
use weir_config::model::{
    Address, Anonymous, Bucket, Canary, Canonical, ClusterName, Connect, IdCookie, IdKey, JudgeRules, ListenerName,
    OnUnhealthy, ReleaseName, Rule, Share,
};
use weir_core::control::{Control, Event};
use weir_core::snapshot::Snapshot;
use weir_core::time::Moment;

use super::*;
use crate::observe::ProcessCounts;
use crate::observe::access::AccessWriter;
use crate::spans;
use crate::worker::budget::Budget;
use crate::worker::{Published, Writers, serve};

/// What becomes of a connection to an endpoint.
#[derive(Clone, Copy)]
enum Manner {
    Takes,
    Refuses,
    Hangs,
}

/// A world of pipes. What it does not know refuses.
#[derive(Clone)]
struct Pipes {
    origin: Instant,
    manners: Arc<Mutex<BTreeMap<SocketAddr, Manner>>>,
    /// The endpoints' ends of connections that came about.
    taken: Arc<Mutex<Vec<End>>>,
}

/// One end of a connection that a test holds.
struct End {
    io: DuplexStream,
    /// Whether the other end was reset.
    reset: Arc<AtomicBool>,
}

impl End {
    fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Relaxed)
    }
}

/// The end that the worker holds.
struct Pipe {
    io: DuplexStream,
    reset: Arc<AtomicBool>,
}

fn pair() -> (Pipe, End) {
    let (ours, theirs) = tokio::io::duplex(1024);
    let reset = Arc::new(AtomicBool::new(false));
    (Pipe { io: ours, reset: Arc::clone(&reset) }, End { io: theirs, reset })
}

impl Stream for Pipe {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn abort_on_close(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, into)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

impl Env for Pipes {
    type Reserved = ();
    type Listener = ();
    type Stream = Pipe;

    fn reserve(&self, _: &Address, _: NonZeroUsize, _: bool) -> io::Result<Vec<()>> {
        Ok(Vec::new())
    }

    fn bound_addr(&self, (): &()) -> io::Result<Address> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn listen(&self, (): ()) -> io::Result<()> {
        Ok(())
    }

    async fn accept(&self, (): &()) -> io::Result<(Pipe, SocketAddr)> {
        std::future::pending().await
    }

    fn accept_waiting(&self, (): &()) -> Option<(Pipe, SocketAddr)> {
        None
    }

    async fn connect(&self, to: &Address, _: &Connect) -> io::Result<Pipe> {
        let manner = self.manners.lock().unwrap().get(&to.ip().unwrap()).copied();
        match manner.unwrap_or(Manner::Refuses) {
            Manner::Hangs => std::future::pending().await,
            Manner::Refuses => Err(io::ErrorKind::ConnectionRefused.into()),
            Manner::Takes => {
                let (ours, theirs) = pair();
                self.taken.lock().unwrap().push(theirs);
                Ok(ours)
            }
        }
    }

    fn at(&self, instant: Instant) -> Moment {
        Moment::from(instant.saturating_duration_since(self.origin))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn dice(&self, _: &str) -> Dice {
        Dice::new(7)
    }
}

const HERE: &str = "127.0.0.1:80";

/// A configuration with these endpoints, 127.0.0.1:81 and so on.
fn config(protocol: &str, endpoints: u16) -> String {
    let endpoints: Vec<String> = (0..endpoints).map(|nth| format!("'127.0.0.1:{}'", 81 + nth)).collect();
    format!(
        "listeners: [{{name: db, bind: '{HERE}', protocol: {protocol}, cluster: main}}]\n\
         clusters: [{{name: main, outlier_detection: off, endpoints: [{}]}}]\n",
        endpoints.join(", ")
    )
}

struct Stage {
    control: Control,
    truth: Arc<ArcSwap<Snapshot>>,
    worker: Rc<Worker<Pipes>>,
    env: Pipes,
    _heard: tokio::sync::mpsc::Receiver<crate::observe::decision::Report>,
}

impl Stage {
    fn new(config: &str, manners: &[Manner]) -> Self {
        let mut control = Control::new(1, Dice::new(1));
        let snapshot = configure(&mut control, config);
        let truth = Arc::new(ArcSwap::new(snapshot));
        let places = (81..).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let env = Pipes {
            origin: Instant::now(),
            manners: Arc::new(Mutex::new(places.zip(manners.iter().copied()).collect())),
            taken: Arc::default(),
        };
        let counts = Arc::new(ProcessCounts::default());
        let access = AccessWriter::nowhere(Arc::clone(&counts));
        let (reports, heard) = tokio::sync::mpsc::channel(16);
        let budget = Budget::new(1000, 1);
        let published = Published { truth: Arc::clone(&truth), book: Arc::default() };
        let (spans, _, _) = spans::pair(Arc::clone(&counts));
        let writers = Writers { access, spans };
        let worker = Worker::new(env.clone(), 0, published, counts, reports, writers, budget);
        worker.open(ListenerName::new("db").unwrap(), Address::Ip(HERE.parse().unwrap()), ());
        Self { control, truth, worker, env, _heard: heard }
    }

    /// A client's connection.
    fn client(&self) -> End {
        let (ours, theirs) = pair();
        let doors = self.worker.doors.borrow();
        let bound = &doors.values().next().unwrap()[0].bound;
        serve::spawn(&self.worker, ours, SocketAddr::from(([10, 0, 0, 1], 5)), bound);
        theirs
    }

    /// The endpoint's end of the connection that came about last.
    async fn endpoint(&self) -> End {
        loop {
            if let Some(end) = self.env.taken.lock().unwrap().pop() {
                return end;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The reasons of sessions that are over.
    fn reasons(&self) -> Vec<Reason> {
        let load = Arc::clone(&self.truth.load().listeners[0].load);
        Reason::ALL.into_iter().filter(|reason| load.of(0).reasons[*reason].get() > 0).collect()
    }

    fn open(&self) -> (u64, u64, u64) {
        let snapshot = self.truth.load();
        let member = &snapshot.clusters[0].members[0].load;
        (
            snapshot.listeners[0].load.of(0).open.get(),
            snapshot.clusters[0].load.of(0).in_flight.get(),
            member.of(0).in_flight.get(),
        )
    }
}

fn configure(control: &mut Control, config: &str) -> Arc<Snapshot> {
    let config = Arc::new(weir_config::parse_str(config).unwrap().config);
    control.step(Moment::ZERO, Event::Configured(config), &mut Vec::new());
    control.publish(Moment::ZERO).unwrap()
}

/// Runs a test where tasks can be spawned locally.
async fn locally(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

/// How long the connection lasts, whatever comes.
async fn lasts(end: &mut End) -> Duration {
    let began = Instant::now();
    // A reset looks like an end in a pipe.
    let _ = end.io.read_to_end(&mut Vec::new()).await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_silent_session_lasts_an_hour_and_a_half_closed_one_five_minutes() {
    locally(async {
        let stage = Stage::new(&config("tcp", 1), &[Manner::Takes]);
        let mut client = stage.client();
        let endpoint = stage.endpoint().await;
        assert_eq!(stage.open(), (1, 1, 1));
        assert_eq!(lasts(&mut client).await.as_secs_f64().round(), 3600.0);
        assert!(client.is_reset() && endpoint.is_reset());
        assert_eq!(stage.reasons(), [Reason::IdleTimeout]);

        let mut client = stage.client();
        let endpoint = stage.endpoint().await;
        client.io.shutdown().await.unwrap();
        assert_eq!(lasts(&mut client).await.as_secs_f64().round(), 300.0);
        assert!(client.is_reset() && endpoint.is_reset());
        tokio::task::yield_now().await;
        assert_eq!(stage.open(), (0, 0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_byte_now_and_then_is_enough() {
    locally(async {
        let stage = Stage::new(&config("tcp", 1), &[Manner::Takes]);
        let mut client = stage.client();
        let mut endpoint = stage.endpoint().await;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(3500)).await;
            endpoint.io.write_all(b".").await.unwrap();
            assert_eq!(client.io.read_u8().await.unwrap(), b'.');
        }
        client.io.shutdown().await.unwrap();
        endpoint.io.shutdown().await.unwrap();
        lasts(&mut client).await;
        tokio::task::yield_now().await;
        assert!(!client.is_reset() && !endpoint.is_reset(), "it ended in order");
        assert!(stage.reasons().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_no_connection_comes_about_another_endpoint_is_asked() {
    locally(async {
        let began = Instant::now();
        let stage = Stage::new(&config("tcp", 3), &[Manner::Hangs, Manner::Refuses, Manner::Takes]);
        for _ in 0..6 {
            let mut client = stage.client();
            client.io.write_all(b"hello").await.unwrap();
            let mut endpoint = stage.endpoint().await;
            let mut heard = [0; 5];
            endpoint.io.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"hello");
        }
        // One second at the most for each that hangs.
        assert!(began.elapsed() <= Duration::from_secs(7), "{:?}", began.elapsed());

        let stage = Stage::new(&config("tcp", 4), &[Manner::Refuses; 4]);
        let mut client = stage.client();
        lasts(&mut client).await;
        assert!(client.is_reset());
        assert_eq!(stage.reasons(), [Reason::ConnectRefused]);
        let snapshot = stage.truth.load();
        let requests = |member: &weir_core::snapshot::Member| member.load.of(0).requests.get();
        assert_eq!(snapshot.clusters[0].members.iter().map(requests).sum::<u64>(), 3, "three attempts");
        assert_eq!(stage.open(), (0, 0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_holds_no_old_generation_and_outlives_its_protocol() {
    locally(async {
        let mut stage = Stage::new(&config("tcp", 1), &[Manner::Takes, Manner::Takes]);
        let mut client = stage.client();
        let mut endpoint = stage.endpoint().await;
        client.io.write_all(b"a").await.unwrap();
        assert_eq!(endpoint.io.read_u8().await.unwrap(), b'a');
        let old: Weak<Snapshot> = Arc::downgrade(&stage.truth.load());
        for protocol in ["tcp", "http", "tcp"] {
            stage.truth.store(configure(&mut stage.control, &config(protocol, 2)));
            stage.worker.world();
            assert!(old.upgrade().is_none(), "a session lasts, its generation does not");
            client.io.write_all(b"b").await.unwrap();
            assert_eq!(endpoint.io.read_u8().await.unwrap(), b'b');
        }
        assert!(!client.is_reset());
    })
    .await;
}

/// A release that is divided by client address, with an employee network and two in ten thousand
/// buckets of every ten.
fn by_address(key: IdKey, anonymous: Anonymous) -> model::Release {
    let canary = Canary {
        cluster: ClusterName::new("v2").unwrap(),
        from: Bucket::new(0).unwrap(),
        weight: Share::of_percent(20.0).unwrap(),
        first: vec![Rule::Networks(vec!["10.1.0.0/16".parse().unwrap()])],
        never: Vec::new(),
        rollout: None,
    };
    model::Release {
        name: ReleaseName::new("db").unwrap(),
        key: vec![key],
        canonical: Canonical { trim: true, lower: false },
        salt: "s".into(),
        stable: ClusterName::new("v1").unwrap(),
        canaries: vec![canary],
        never: Vec::new(),
        anonymous,
        on_unhealthy: OnUnhealthy::Stable,
        judge: JudgeRules { min_requests: 200, confidence: 95.0, error_margin: 1.0, latency_margin: 25.0 },
        mirror: None,
        line: 1,
    }
}

#[test]
fn an_address_decides_on_the_version_and_always_in_the_same_way() {
    let clusters = "clusters: [{name: v1, endpoints: ['127.0.0.1:81']}, {name: v2, endpoints: ['127.0.0.1:82']}]";
    let text = format!("listeners: [{{name: db, bind: '{HERE}', protocol: tcp, cluster: v1}}]\n{clusters}\n");
    let mut dice = Dice::new(3);
    let mut versions = |release| {
        let mut config = weir_config::parse_str(&text).unwrap().config;
        config.releases.push(Arc::new(release));
        let mut control = Control::new(1, Dice::new(1));
        control.step(Moment::ZERO, Event::Configured(Arc::new(config)), &mut Vec::new());
        let snapshot = control.publish(Moment::ZERO).unwrap();
        let mut decide = |client: [u8; 4]| {
            let decided = decide(&snapshot.releases[0], &snapshot.clusters, client.into(), &mut dice);
            (decided.version, decided.assigned.why, decided.assigned.handed)
        };
        assert_eq!(decide([10, 1, 2, 3]).0, 1, "who is on the list");
        let all = (0..2000_u16).map(|nth| [10, 2, (nth >> 8) as u8, nth as u8]);
        let decided: Vec<_> = all.clone().map(&mut decide).collect();
        assert_eq!(decided, all.map(decide).collect::<Vec<_>>(), "the same address, the same version");
        decided
    };
    let by_key = versions(by_address(IdKey::SourceAddress, Anonymous::Stable));
    let canary = by_key.iter().filter(|(version, ..)| *version == 1).count();
    assert!((340..460).contains(&canary), "{canary} of 2000 at 20 %");

    // Nobody can be handed a cookie, so nobody is moved about by one.
    let cookie = IdCookie { name: "id".into(), ttl: Duration::from_secs(60), path: "/".into() };
    let by_cookie = versions(by_address(IdKey::Header("x-user".into()), Anonymous::Cookie(cookie)));
    assert!(by_cookie.iter().all(|decided| *decided == (0, Why::Unattributed, None)));
}
