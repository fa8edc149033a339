//! Live systems: the real binary, real sockets, real signals.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod abuse;
mod address;
mod admin;
mod back_pressure;
mod balancing;
mod breakers;
mod bulk;
mod carried;
mod conformance;
mod connect;
mod dialling;
mod discovery;
mod doctor;
mod drills;
mod early_answers;
mod ejection;
mod explain;
mod forwarding;
mod framing;
mod gray;
mod grpc;
mod health;
mod http2;
mod lasting;
mod lifecycle;
mod limits;
mod monitoring;
mod page;
mod profile;
mod proxy_protocol;
mod release_cli;
mod reload;
mod retries;
mod routing;
mod seeing;
mod sni;
mod stage;
mod tcp;
mod tcp_limits;
mod tls;
mod tracing;
mod udp;
mod unix;
mod upgrade;
mod upstream;
mod websocket;
mod zones;

use std::fmt::Write as _;
use std::net::SocketAddr;

use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::RawClient;
use weir_integration_tests::message::Response;
use weir_integration_tests::place;
use weir_integration_tests::weir::Weir;

/// A config with one listener `web` and one cluster `main`, to which a test adds what it is about.
pub(crate) struct Scene {
    pub(crate) web: SocketAddr,
    pub(crate) endpoints: Vec<SocketAddr>,
    /// Lines for the top level, without indentation.
    pub(crate) top: &'static str,
    /// Keys of the listener in flow style: `timeouts: {header: 1s}`.
    pub(crate) listener: Vec<&'static str>,
    /// Keys of the cluster in flow style.
    pub(crate) cluster: Vec<&'static str>,
    /// Keys of the only route in flow style.
    pub(crate) route: Vec<&'static str>,
}

impl Scene {
    pub(crate) fn to(endpoint: SocketAddr) -> Self {
        Self {
            web: place::address(),
            endpoints: vec![endpoint],
            top: "",
            listener: Vec::new(),
            cluster: Vec::new(),
            route: Vec::new(),
        }
    }

    pub(crate) fn listener(mut self, key: &'static str) -> Self {
        self.listener.push(key);
        self
    }

    pub(crate) fn cluster(mut self, key: &'static str) -> Self {
        self.cluster.push(key);
        self
    }

    pub(crate) fn route(mut self, key: &'static str) -> Self {
        self.route.push(key);
        self
    }

    pub(crate) fn top(mut self, lines: &'static str) -> Self {
        self.top = lines;
        self
    }

    pub(crate) fn yaml(&self) -> String {
        let mut text = format!("{}\nlisteners:\n  - name: web\n    bind: {}\n    protocol: http\n", self.top, self.web);
        for key in &self.listener {
            let _ = writeln!(text, "    {key}");
        }
        text.push_str("    routes:\n      - match: {}\n        cluster: main\n");
        for key in &self.route {
            let _ = writeln!(text, "        {key}");
        }
        text.push_str("clusters:\n  - name: main\n    endpoints:\n");
        for endpoint in &self.endpoints {
            let _ = writeln!(text, "      - {endpoint}");
        }
        for key in &self.cluster {
            let _ = writeln!(text, "    {key}");
        }
        text
    }

    pub(crate) fn start(&self) -> Weir {
        Weir::start(&self.yaml())
    }
}

/// A Weir before one backend.
pub(crate) struct Front {
    pub(crate) weir: Weir,
    pub(crate) web: SocketAddr,
    pub(crate) backend: Backend,
}

impl Front {
    pub(crate) fn new(backend: Backend) -> Self {
        Self::with(backend, |scene| scene)
    }

    pub(crate) fn with(backend: Backend, change: impl FnOnce(Scene) -> Scene) -> Self {
        let scene = change(Scene::to(backend.address()));
        Self { weir: scene.start(), web: scene.web, backend }
    }

    pub(crate) fn connect(&self) -> RawClient {
        RawClient::connect(self.web)
    }

    /// The answer to one request on a connection of its own.
    pub(crate) fn ask(&self, request: &str) -> Response {
        RawClient::once(self.web, request)
            .unwrap_or_else(|broken| panic!("{broken} instead of an answer to {request:?}"))
    }
}
