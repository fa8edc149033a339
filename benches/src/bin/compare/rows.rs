//! The rows of the comparison: what each request is, and how few of a peer's cycles Weir aims at.

use crate::peer::{Front, Kind};

/// A row: the same requests to each balancer.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) front: Front,
    pub(crate) path: &'static str,
    /// A new client connection for each request.
    pub(crate) close: bool,
    /// HTTP/2; otherwise HTTP/1.1 with wrk.
    pub(crate) h2: Option<H2>,
    pub(crate) aim: Option<Aim>,
}

/// A load of HTTP/2.
#[derive(Clone, Copy)]
pub(crate) struct H2 {
    pub(crate) connections: usize,
    /// At once on each connection.
    pub(crate) streams: usize,
}

/// The ratio of CPU time per request that Weir aims at.
#[derive(Clone, Copy)]
pub(crate) struct Aim {
    /// Another balancer; otherwise the best of the others.
    pub(crate) against: Option<Kind>,
    /// What a first version must reach.
    pub(crate) first: f64,
    /// What it is to reach then.
    pub(crate) then: f64,
}

const SMALL: Row = Row { title: "", front: Front::Http, path: "/", close: false, h2: None, aim: None };
const LARGE: Row = Row { path: "/large", ..SMALL };

const THE_BEST: Option<Aim> = Some(Aim { against: None, first: 1.1, then: 0.9 });
/// It splices.
const HAPROXY: Option<Aim> = Some(Aim { against: Some(Kind::Haproxy), first: 1.0, then: 0.8 });

pub(crate) const KEEP_ALIVE: Row = Row {
    title: "H1 keep-alive, small answer",
    aim: Some(Aim { against: Some(Kind::Nginx), first: 1.1, then: 0.85 }),
    ..SMALL
};
pub(crate) const CONNECTIONS: Row =
    Row { title: "H1, a new client connection each, small answer", close: true, aim: THE_BEST, ..SMALL };
pub(crate) const BODIES: Row = Row { title: "H1 keep-alive, 1 MiB answer", aim: HAPROXY, ..LARGE };

const RESUMED: Front = Front::Tls { resume: true };

pub(crate) const TLS_KEEP_ALIVE: Row =
    Row { title: "TLS 1.3 keep-alive, small answer", front: RESUMED, aim: THE_BEST, ..SMALL };
pub(crate) const TLS_HANDSHAKES: Row = Row {
    title: "TLS 1.3, a full handshake each (P-256), small answer",
    front: Front::Tls { resume: false },
    close: true,
    aim: THE_BEST,
    ..SMALL
};
pub(crate) const TLS_BODIES: Row =
    Row { title: "TLS 1.3 keep-alive, 1 MiB answer", front: RESUMED, aim: None, ..LARGE };
pub(crate) const H2: Row = Row {
    title: "H2 over TLS 1.3 to H1, 16 connections x 16 streams, small answer",
    front: RESUMED,
    h2: Some(H2 { connections: 16, streams: 16 }),
    aim: Some(Aim { against: Some(Kind::Nginx), first: 1.5, then: 1.0 }),
    ..SMALL
};

const TCP: Front = Front::Tcp { bulk: false };

pub(crate) const TCP_KEEP_ALIVE: Row =
    Row { title: "TCP, small exchanges on kept-open sessions", front: TCP, aim: THE_BEST, ..SMALL };
pub(crate) const TCP_CONNECTIONS: Row =
    Row { title: "TCP, a new session for each small exchange", front: TCP, close: true, aim: THE_BEST, ..SMALL };
pub(crate) const TCP_BODIES: Row =
    Row { title: "TCP, 1 MiB answer", front: Front::Tcp { bulk: true }, aim: HAPROXY, ..LARGE };

/// Requests for the many routes of [`Front::Routes`], which a script makes.
pub(crate) const ROUTES: Row = Row { title: "H1 keep-alive, 10 000 routes against 10", ..SMALL };
