//! A small world for tests: endpoints that behave as told, virtual time, sockets that are lists.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::time::Instant;
use weir_config::Config;
use weir_config::model::{Address, Connect, Endpoint, Weight};
use weir_core::dice::Dice;
use weir_core::discovery::{Answer, Failure, FailureKind, Silent, Told};
use weir_core::snapshot::Snapshot;
use weir_core::time::Moment;

use super::{BoundListener, ReserveError, Sockets};
use crate::env::{Env, Lookup, Stream};

/// How an endpoint behaves.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// Cannot be connected to, for this cause.
    Fails(i32),
    /// Takes no connection, ever.
    Hangs,
    /// Takes connections and says nothing.
    Silent,
    /// Takes connections, reads a request, says these pieces, and closes.
    Says(Vec<&'static str>),
}

/// Errno values as Linux has them.
pub(crate) const EMFILE: i32 = 24;
pub(crate) const ECONNREFUSED: i32 = 111;
pub(crate) const EHOSTUNREACH: i32 = 113;
pub(crate) const ETIMEDOUT: i32 = 110;

/// The world. Clones are the same world.
#[derive(Clone)]
pub(crate) struct World {
    origin: Instant,
    manners: Arc<Mutex<BTreeMap<SocketAddr, Manner>>>,
    heard: Arc<Mutex<Vec<String>>>,
    names: Arc<Mutex<BTreeMap<String, Answer>>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), manners: Arc::default(), heard: Arc::default(), names: Arc::default() }
    }

    pub(crate) fn at(&self, address: &str, manner: Manner) {
        self.manners.lock().unwrap().insert(address.parse().unwrap(), manner);
    }

    /// From now on, `source` (as displayed) tells these addresses with this TTL in seconds.
    pub(crate) fn tells(&self, source: &str, addresses: &[&str], ttl: u64) {
        let endpoint = |address: &&str| Endpoint {
            address: address.parse::<SocketAddr>().unwrap().into(),
            zone: None,
            weight: Weight::ONE,
            priority: 0,
        };
        let endpoints = addresses.iter().map(endpoint).collect();
        let told = Told { endpoints, ttl: Some(Duration::from_secs(ttl)), silent: Silent::None };
        self.names.lock().unwrap().insert(source.into(), Answer { result: Ok(told), trace: Arc::default() });
    }

    /// The requests that endpoints have read.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Env for World {
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
        let manner = self.manners.lock().unwrap().get(&to.ip().unwrap()).cloned();
        let (ours, mut theirs) = tokio::io::duplex(1024);
        match manner {
            None => return Err(io::Error::from_raw_os_error(ECONNREFUSED)),
            Some(Manner::Fails(errno)) => return Err(io::Error::from_raw_os_error(errno)),
            Some(Manner::Hangs) => std::future::pending().await,
            Some(Manner::Silent) => _ = tokio::task::spawn_local(async move { hold(theirs).await }),
            Some(Manner::Says(pieces)) => {
                let heard = Arc::clone(&self.heard);
                tokio::task::spawn_local(async move {
                    let mut request = [0; 1024];
                    let len = theirs.read(&mut request).await.unwrap();
                    heard.lock().unwrap().push(String::from_utf8_lossy(&request[..len]).into_owned());
                    for piece in pieces {
                        if theirs.write_all(piece.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
        Ok(Pipe(ours))
    }

    async fn lookup(&self, what: &Lookup) -> Answer {
        let failure = || Failure { kind: FailureKind::NxDomain, detail: String::new() };
        let told = self.names.lock().unwrap().get(&what.source.kind.to_string()).cloned();
        told.unwrap_or_else(|| Answer { result: Err(failure()), trace: Arc::default() })
    }

    fn at(&self, instant: Instant) -> Moment {
        Moment::from(instant.saturating_duration_since(self.origin))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.origin.elapsed()
    }

    fn dice(&self, _: &str) -> Dice {
        Dice::new(7)
    }
}

async fn hold(stream: DuplexStream) {
    std::future::pending::<()>().await;
    drop(stream);
}

pub(crate) struct Pipe(DuplexStream);

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Stream for Pipe {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn abort_on_close(&self) {}
}

/// Sockets that bind everything but `taken`.
#[derive(Clone, Default)]
pub(crate) struct List {
    pub(crate) taken: Arc<Mutex<Vec<SocketAddr>>>,
    bound: Arc<Mutex<Vec<BoundListener>>>,
}

impl Sockets for List {
    type Reserved = Vec<BoundListener>;

    fn reserve(&mut self, config: &Config) -> Result<Self::Reserved, Vec<ReserveError>> {
        let taken = self.taken.lock().unwrap();
        let all = || {
            config.listeners.iter().flat_map(|listener| listener.bind.iter().map(|bind| (&listener.name, bind.clone())))
        };
        let errors: Vec<ReserveError> = all()
            .filter(|(_, address)| address.ip().is_some_and(|address| taken.contains(&address)))
            .map(|(name, address)| ReserveError::address(name.clone(), address, "the port is taken".into()))
            .collect();
        let bound = all().map(|(name, address)| BoundListener {
            name: name.clone(),
            configured: address.clone(),
            actual: address,
        });
        if errors.is_empty() { Ok(bound.collect()) } else { Err(errors) }
    }

    fn open(&mut self, reserved: Self::Reserved, _: &Arc<Snapshot>) {
        *self.bound.lock().unwrap() = reserved;
    }

    fn bound(&self) -> Vec<BoundListener> {
        self.bound.lock().unwrap().clone()
    }
}
