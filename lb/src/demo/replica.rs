//! The demo's replicas: small HTTP servers that can be killed, revived, slowed and made to fail.
//!
//! A killed one loses its port and its connections, as a process does that gets `kill -9`.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet, spawn_local};
use tokio::time::sleep;

use super::scene;

/// The zones of the demo.
pub(super) const ZONES: [&str; 3] = ["az-a", "az-b", "az-c"];

/// All replicas.
pub(super) struct Shop {
    replicas: Vec<Rc<Replica>>,
}

/// One replica.
pub(super) struct Replica {
    name: String,
    cluster: &'static str,
    zone: &'static str,
    address: SocketAddr,
    delay: Cell<Duration>,
    /// Of a hundred answers, so many are 500.
    failing: Cell<u64>,
    /// The accepting task, which owns the connections; none while killed.
    running: RefCell<Option<AbortHandle>>,
    served: Cell<u64>,
}

/// Which replicas an order is for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) zone: Option<String>,
    pub(super) replica: Option<String>,
    pub(super) cluster: Option<String>,
}

impl Shop {
    /// Two replicas of `shop-v1` and one of `shop-v2` in each zone, on ports the system chooses.
    pub(super) async fn open() -> io::Result<Self> {
        let mut replicas = Vec::new();
        for (cluster, per_zone) in [("shop-v1", 2), ("shop-v2", 1)] {
            let zones = ZONES.into_iter().flat_map(|zone| std::iter::repeat_n(zone, per_zone));
            for (n, zone) in zones.enumerate() {
                replicas.push(Replica::start(format!("{cluster}-{}", n + 1), cluster, zone).await?);
            }
        }
        Ok(Self { replicas })
    }

    /// Name, cluster, zone and address of each.
    pub(super) fn list(&self) -> Vec<scene::Replica> {
        let of = |replica: &Rc<Replica>| scene::Replica {
            name: replica.name.clone(),
            cluster: replica.cluster,
            zone: replica.zone,
            address: replica.address,
        };
        self.replicas.iter().map(of).collect()
    }

    /// One line a replica: what it is and how it is.
    pub(super) fn describe(&self) -> String {
        self.replicas.iter().map(|replica| replica.describe()).collect()
    }

    /// Those an order is for.
    pub(super) fn select(&self, selector: &Selector) -> Vec<Rc<Replica>> {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        let chosen = |r: &&Rc<Replica>| {
            fits(&selector.zone, r.zone) && fits(&selector.replica, &r.name) && fits(&selector.cluster, r.cluster)
        };
        self.replicas.iter().filter(chosen).cloned().collect()
    }
}

impl Replica {
    async fn start(name: String, cluster: &'static str, zone: &'static str) -> io::Result<Rc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let replica = Rc::new(Self {
            name,
            cluster,
            zone,
            address: listener.local_addr()?,
            delay: Cell::default(),
            failing: Cell::default(),
            running: RefCell::default(),
            served: Cell::default(),
        });
        replica.run(listener);
        Ok(replica)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes its port and all of its connections away.
    pub(super) fn kill(&self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }

    /// Brings it back on the same port, as fast as it was at first.
    ///
    /// # Errors
    /// When somebody took the port meanwhile.
    pub(super) async fn revive(self: &Rc<Self>) -> io::Result<()> {
        self.delay.set(Duration::ZERO);
        self.failing.set(0);
        if self.running.borrow().is_none() {
            let listener = TcpListener::bind(self.address).await?;
            self.run(listener);
        }
        Ok(())
    }

    /// Makes each answer take this much longer.
    pub(super) fn slow(&self, delay: Duration) {
        self.delay.set(delay);
    }

    /// Makes so many of a hundred answers a 500.
    pub(super) fn fail(&self, percent: u64) {
        self.failing.set(percent);
    }

    fn describe(&self) -> String {
        let state = match (self.running.borrow().is_some(), self.delay.get()) {
            (false, _) => "killed".to_owned(),
            (true, _) if self.failing.get() > 0 => format!("up, fails {} %", self.failing.get()),
            (true, Duration::ZERO) => "up".to_owned(),
            (true, delay) => format!("up, slowed by {} ms", delay.as_millis()),
        };
        format!("{:<10} {}  {:<21}  {state}, {} served\n", self.name, self.zone, self.address, self.served.get())
    }

    fn run(self: &Rc<Self>, listener: TcpListener) {
        let accepting = spawn_local(Rc::clone(self).accept(listener));
        let before = self.running.replace(Some(accepting.abort_handle()));
        debug_assert!(before.is_none(), "a replica runs once");
    }

    async fn accept(self: Rc<Self>, listener: TcpListener) {
        // Aborted with the task that owns it: that is how connections die with their replica.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let _ = connections.spawn_local(Rc::clone(&self).serve(stream));
                    }
                    // No file descriptor left, most likely: others will close theirs.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn serve(self: Rc<Self>, stream: TcpStream) {
        // Without it, small answers would wait for the other side's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let service = service_fn(|request| self.answer(request));
        // A connection that breaks is its client's affair.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let delay = self.delay.get();
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if request.uri().path() == "/healthz" {
            return Ok(Response::new("ok\n".into()));
        }
        let n = self.served.get() + 1;
        self.served.set(n);
        if self.fails(n) {
            let mut response = Response::new(format!("{} fails\n", self.name).into());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return Ok(response);
        }
        let text = format!("{} in {} answers {} {}\n", self.name, self.zone, request.method(), request.uri().path());
        Ok(Response::new(text.into()))
    }

    /// Whether the answer with this number fails: as many of a hundred as it should, evenly.
    fn fails(&self, n: u64) -> bool {
        let failing = self.failing.get();
        n * failing / 100 != (n - 1) * failing / 100
    }
}
