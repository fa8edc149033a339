//! What the operator wants, as plain data that is always valid.
//!
//! Only `lower` makes these values, and only when nothing is wrong, so nobody downstream asks
//! again: every reference resolves, every duration is positive, every cluster has an endpoint or
//! a place where more are found.
//! Nothing here knows YAML.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use crate::admin::{Admin, Token};
pub use crate::probe::{CheckKind, Dialogue, GrpcCheck, HealthCheck, HttpCheck};
pub use crate::release::{
    Anonymous, Bucket, Canary, Canonical, Guard, IdCookie, IdKey, JudgeRules, Mirror, OnFail, OnUnhealthy, Release,
    Rollout, Rule, Share, Users,
};
pub use crate::resilience::{
    Breaker, Consecutive, EjectionAction, EndpointLimits, FailureRate, FailureWindow, Outlier, Panic, PanicMode, Retry,
    RetryBudget, RetryOn, SlowStart, ZoneAware,
};
pub use crate::tls::{
    Authorities, Certificate, ClientCertificates, ClientTls, PrivateKey, ServerTls, TicketKeys, Tickets, TlsVersion,
    Trust,
};
pub use crate::traffic::{
    Access, FixedReply, HeaderEdits, HeaderTemplate, PathRewrite, Piece, RateKey, RateLimit, Redirect, Reply, Rewrite,
};
pub use crate::units::{Address, ClusterName, ListenerName, ReleaseName, RouteName, Weight, ZoneName};

/// One whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the admin API listens, and to whom; `None` switches it off. Default `127.0.0.1:9900`.
    pub admin: Option<Admin>,
    /// The zone this instance stands in.
    pub zone: Option<ZoneName>,
    /// Worker threads; default one a core. Fixed for the life of the process.
    pub workers: Option<NonZeroU16>,
    /// Most health probes under way at once in this process. Default 512.
    pub max_concurrent_probes: NonZeroU32,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// One line a request; `None` is off, the default.
    pub access_log: Option<AccessLog>,
    /// Where traffic comes in. At least one.
    pub listeners: Vec<Arc<Listener>>,
    /// Where it goes. At least one.
    pub clusters: Vec<Arc<Cluster>>,
    /// How users are divided between clusters.
    pub releases: Vec<Arc<Release>>,
}

/// How the process ends on SIGTERM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Readiness is false this long before accepting stops, so that whoever stands in front of
    /// us can look away. Default 0.
    pub delay: Duration,
    /// Requests under way may take this long to finish; then they are cut. Default 60 s.
    pub timeout: Duration,
}

/// The access log: one line a request.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// Where the lines go.
    pub target: LogTarget,
    /// Their form. Default JSON.
    pub format: LogFormat,
    /// Share of successful requests that is logged, 0 to 1. Default 1. Requests that end in a
    /// local answer, a failure or a 5xx are always logged.
    pub sample: f64,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// A file, opened for appending, opened again on SIGUSR1.
    File(PathBuf),
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// One line for human eyes.
    Text,
}

/// An address (or several) we accept on, and what is done with what comes in.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique among listeners.
    pub name: ListenerName,
    /// At least one. Port 0 lets the system choose. A client over a Unix socket counts as 127.0.0.1.
    pub bind: Vec<Address>,
    /// What is spoken.
    pub protocol: Protocol,
    /// The first route that matches, in file order, takes the request. At least one; of a TCP
    /// listener exactly one.
    pub routes: Vec<Route>,
    /// How long we wait for clients.
    pub timeouts: ListenerTimeouts,
    /// How much we take from clients.
    pub limits: ListenerLimits,
    /// Which headers we add.
    pub headers: HeaderPolicy,
    /// Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are believed. Default none.
    pub trusted_proxies: Vec<IpNet>,
    /// TLS on its connections. Not for UDP.
    pub tls: Option<ServerTls>,
    /// Who says where a connection comes from, before its first byte. Not for UDP.
    pub proxy_protocol: Option<ProxyIn>,
    /// Who is let in.
    pub access: Access,
    /// How many requests are taken.
    pub rate_limit: Option<RateLimit>,
    /// How HTTP/2 is spoken.
    pub http2: Http2,
    /// What becomes of open TCP sessions and UDP flows whose endpoint becomes unhealthy.
    pub on_unhealthy: OnSick,
    /// How UDP flows are kept; only of UDP listeners.
    pub udp: UdpFlows,
}

impl Listener {
    /// Whether what `peer` says about the client before it is believed. An IPv4 address written as
    /// IPv6 counts as what it is.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    Http,
    /// Bytes, passed on as they are in both directions: one session for each connection. Its
    /// listener has one route, which takes everything, or routes by the name asked for (SNI).
    Tcp,
    /// Datagrams, kept together by their two addresses.
    Udp,
}

impl Protocol {
    /// The word in the file, the API and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// How long a listener waits for its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// From the first byte of a request to the end of its head. Default 10 s, then 408. Of any
    /// connection: for the PROXY protocol's header, and of TCP, for the hello that is routed by.
    pub header: Duration,
    /// Between two requests of a kept-open connection. Default 60 s.
    pub idle: Duration,
    /// Without a byte in either direction while a body is under way, default 5 min; of a TCP
    /// session, default 1 h.
    pub stream_idle: Duration,
    /// Without a byte in either direction of a tunnel (WebSocket, CONNECT). Default 1 h.
    pub tunnel_idle: Duration,
    /// A TCP session or a tunnel is ended after this long, whatever it does. Default none.
    pub max_session: Option<Duration>,
}

/// How much a listener takes from its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Open client connections over all workers; the rest are closed at once. Default none.
    pub connections: Option<NonZeroU32>,
    /// Open connections of one client address, over all workers. Default none.
    pub connections_per_client: Option<NonZeroU32>,
    /// A request's whole head in bytes. Default 32 KiB, then 431.
    pub header_bytes: u32,
    /// Header fields in a request. Default 100, then 431.
    pub header_count: u16,
    /// The request target in bytes. Default 8 KiB, then 414.
    pub uri_bytes: u32,
    /// A request's body in bytes. Default none, else 413.
    pub body_bytes: Option<u64>,
    /// Least average rate of a request body in bytes a second, once it has taken 10 s. Default
    /// 1 KiB/s, then 408; 0 is off.
    pub body_min_rate: u32,
}

/// Which headers a listener adds.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderPolicy {
    /// `X-Forwarded-For`, `-Proto` and `-Host` to the endpoint. Default on.
    pub x_forwarded: bool,
    /// RFC 7239 `Forwarded` to the endpoint. Default off.
    pub forwarded: bool,
    /// `X-Request-Id` to the endpoint and in the answer. Default on.
    pub request_id: bool,
    /// `X-Weir-Reason` on answers we make ourselves. Default on.
    pub reason: bool,
    /// `X-Request-Deadline-Ms` to the endpoint: how many milliseconds are left for this attempt.
    /// Default on.
    pub deadline: bool,
    /// Share of requests, 0 to 1, whose way is kept for `weir explain` under the name that
    /// `X-Weir-Decision` in the answer tells. Default 0.
    pub decision: f64,
}

/// How HTTP/2 is spoken with clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Streams a client may have open at once on a connection. Default 100.
    pub max_concurrent_streams: u32,
    /// A ping is sent after this long without a frame. Default 30 s; `None` is off.
    pub ping_interval: Option<Duration>,
    /// A client that does not answer a ping in this time is gone. Default 10 s.
    pub ping_timeout: Duration,
    /// A connection is drained after this long (a tenth more or less, by chance). Default none.
    pub max_connection_age: Option<Duration>,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(10),
            max_connection_age: None,
        }
    }
}

/// Who says, by the PROXY protocol (version 1 or 2), where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyIn {
    /// Whether a connection from one of `trusted` may also begin without it.
    pub optional: bool,
    /// Who is believed; everybody else's connections begin without it. At least one.
    pub trusted: Vec<IpNet>,
}

/// Which PROXY protocol is sent to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyOut {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What becomes of open sessions whose endpoint becomes unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSick {
    /// They go on for as long as they can.
    #[default]
    Keep,
    /// They are reset, so that clients come again and get another endpoint.
    Close,
}

/// How UDP flows are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpFlows {
    /// A flow ends after this long without a datagram in either direction. Default 60 s.
    pub idle: Duration,
    /// Flows at once over all workers; beyond it new ones are dropped. Default 65 536.
    pub max_flows: NonZeroU32,
    /// A flow ends after so many answers to each of its client's datagrams: 1 for DNS. Default none.
    pub responses: Option<NonZeroU32>,
}

impl Default for UdpFlows {
    fn default() -> Self {
        const MAX: NonZeroU32 = NonZeroU32::new(65_536).unwrap();
        Self { idle: Duration::from_secs(60), max_flows: MAX, responses: None }
    }
}

/// A rule that sends matching requests somewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// For metrics and `explain`; unique in its listener when given.
    pub name: Option<RouteName>,
    /// What it takes.
    pub matches: RouteMatch,
    /// Where it sends that.
    pub target: Target,
    /// From the end of the request to the head of the answer, all attempts and their pauses
    /// included. Default 15 s, then 504.
    pub timeout: Duration,
    /// Whether and when a failed attempt is made again, at another endpoint.
    pub retry: Retry,
    /// A request's body in bytes, over the listener's limit.
    pub body_bytes: Option<u64>,
    /// How the request is changed on its way.
    pub rewrite: Rewrite,
    /// Changes to the request's header fields.
    pub request_headers: HeaderEdits,
    /// Changes to the answer's header fields, whoever gives it.
    pub response_headers: HeaderEdits,
    /// Who is let in, over what the listener says.
    pub access: Access,
    /// How many requests are taken, besides what the listener says.
    pub rate_limit: Option<RateLimit>,
    /// Which protocols a request may change to by `Upgrade`, in lower case; `websocket` by
    /// default. `connect` lets `CONNECT` in.
    pub upgrades: Vec<String>,
    /// The line of the file it stands on, from 1.
    pub line: u32,
}

/// Where a route sends its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a cluster that exists.
    Cluster(ClusterName),
    /// To the clusters of a release that exists, by who asks.
    Release(ReleaseName),
    /// Nowhere: the route answers itself.
    Reply(Reply),
}

/// All conditions must hold; an empty list holds always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteMatch {
    /// One of these, compared without port and case.
    pub hosts: Vec<HostPattern>,
    /// Path without query.
    pub path: PathMatch,
    /// One of these methods, upper case.
    pub methods: Vec<String>,
    /// All of these.
    pub headers: Vec<HeaderMatch>,
    /// One of these names asked for by SNI; only of TCP listeners without TLS of their own, whose
    /// sessions are passed on unopened.
    pub sni: Vec<HostPattern>,
}

/// A host name to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This name, in lower case.
    Exact(String),
    /// `*.example.com` as `.example.com`: one label or more before it; not the name itself.
    Wildcard(String),
}

/// A path to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PathMatch {
    /// Every path.
    #[default]
    Any,
    /// This path only.
    Exact(String),
    /// This path and what lies under it: `/a` takes `/a`, `/a/` and `/a/b`, not `/ab`.
    Prefix(String),
}

/// A header to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: String,
    /// What its value must be.
    pub test: HeaderTest,
}

/// What a header's value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderTest {
    /// Exactly this.
    Exact(String),
    /// Anything, but there.
    Present,
    /// Not there.
    Absent,
}

impl HeaderTest {
    /// Whether a header with this value, or without any, is as it must be.
    #[must_use]
    pub fn holds(&self, value: Option<&[u8]>) -> bool {
        match self {
            Self::Exact(wanted) => value == Some(wanted.as_bytes()),
            Self::Present => value.is_some(),
            Self::Absent => value.is_none(),
        }
    }
}

/// A named set of endpoints with one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Unique among clusters.
    pub name: ClusterName,
    /// How one endpoint is picked.
    pub balance: Balance,
    /// What the hash policies (and cookie stickiness) go by.
    pub hash: Hash,
    /// A cookie that keeps a session on its endpoint, whatever the policy. Default none.
    pub sticky: Option<Sticky>,
    /// Those with a fixed address, in file order; addresses are unique. If there are no `sources`,
    /// at least one has a weight over 0.
    pub endpoints: Vec<Endpoint>,
    /// Where more endpoints are found, and looked for again: names and files, in file order.
    pub sources: Vec<Source>,
    /// How names are resolved.
    pub resolve: Resolve,
    /// All must pass. Empty: endpoints count as healthy.
    pub health_checks: Vec<Arc<HealthCheck>>,
    /// What live traffic has to show for an endpoint to be taken out; `None` is off.
    pub outlier: Option<Outlier>,
    /// How much the cluster and each endpoint is given at once, and when it is given nothing.
    pub breaker: Breaker,
    /// How many retries the cluster is given over its requests.
    pub retry_budget: RetryBudget,
    /// What is done when too few endpoints are left.
    pub panic: Panic,
    /// Whether the zone this instance stands in is preferred.
    pub zone_aware: ZoneAware,
    /// A priority level passes its traffic on once fewer than 100 / this per cent of it is
    /// healthy: 140 keeps all traffic down to 72 % healthy. Default 140, at least 100.
    pub overprovisioning: u32,
    /// How connections are opened.
    pub connect: Connect,
    /// How idle connections are kept.
    pub pool: Pool,
    /// Ramp of a returning endpoint's weight; `None` is off.
    pub slow_start: Option<SlowStart>,
    /// Which HTTP its endpoints speak.
    pub protocol: HttpVersion,
    /// TLS to its endpoints, and in its probes.
    pub tls: Option<ClientTls>,
    /// Sent before the first byte, in probes too.
    pub proxy_protocol: Option<ProxyOut>,
}

/// Which HTTP endpoints speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    H1,
    /// HTTP/2, with prior knowledge where there is no TLS.
    H2,
    /// HTTP/2 if the endpoint chooses it by ALPN, else HTTP/1.1. Needs `tls`.
    Auto,
}

/// How one endpoint is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Smooth weighted round robin.
    RoundRobin,
    /// The better of two distinct draws by weight, by `(active + 1) / weight`.
    LeastRequest,
    /// A draw by weight.
    Random,
    /// The better of two distinct draws by weight, by peak EWMA latency times `(active + 1)`.
    Ewma,
    /// Consistent hashing on a ring (Envoy's `RING_HASH`).
    RingHash,
    /// Consistent hashing by Maglev's table (Envoy's `MAGLEV`).
    Maglev,
}

impl Balance {
    /// Whether endpoints are picked by the request's hash key.
    #[must_use]
    pub const fn hashes(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}

/// What the hash policies go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash {
    /// The first that the request has is its key; with none, the pick is random. Default the
    /// client's address.
    pub keys: Vec<HashKey>,
    /// No endpoint gets more than this per cent of the average number of requests under way; the
    /// rest goes on to the next by hash. Default 125; `None` is off.
    pub bounded_load: Option<u16>,
    /// Slots of Maglev's table: a prime. Default 65 537.
    pub table_size: u32,
    /// Points on the ring at least. Default 1 024.
    pub minimum_ring_size: u32,
    /// Points on the ring at the most. Default 8 388 608.
    pub maximum_ring_size: u32,
}

/// Where a request's hash key is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The value of this header field, in lower case.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The value of this parameter of the query, as received.
    Query(String),
    /// The client's address, without port; as a trusted proxy tells it, else the peer's.
    SourceAddress,
}

/// A cookie that keeps a session on its endpoint for as long as that endpoint may be picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Default `weir-sticky`.
    pub cookie: String,
    /// `Max-Age`; default none, a cookie of the browser's session.
    pub ttl: Option<Duration>,
    /// `Path`. Default `/`.
    pub path: String,
}

/// One address of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// With the cluster's name, its identity.
    pub address: Address,
    /// Where it stands, if told.
    pub zone: Option<ZoneName>,
    /// Its share. Default 1.
    pub weight: Weight,
    /// Fail-over order: 0 is asked first, others as far as those before are not healthy. Default 0.
    pub priority: u8,
}

/// Where endpoints are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What is looked at.
    pub kind: SourceKind,
    /// The zone of what is found there; a file may say otherwise for each.
    pub zone: Option<ZoneName>,
    /// The weight of each; a file or SRV record may say otherwise.
    pub weight: Weight,
    /// The priority of each; a file or SRV record may say otherwise.
    pub priority: u8,
}

/// What is looked at for endpoints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// A and AAAA records of a name, all with this port.
    Name {
        /// Fully qualified or not, in lower case, without the final dot.
        host: Arc<str>,
        /// Of each address found.
        port: u16,
    },
    /// SRV records of a name: they bring port, weight and priority.
    Srv(Arc<str>),
    /// A YAML file that is watched: a list in the form of a cluster's `endpoints`.
    File(PathBuf),
}

impl SourceKind {
    /// The name whose addresses it tells.
    #[must_use]
    pub const fn host(&self) -> Option<&Arc<str>> {
        match self {
            Self::Name { host, .. } => Some(host),
            Self::Srv(_) | Self::File(_) => None,
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Srv(name) => write!(f, "srv:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// How names are resolved, and how long what was found is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// DNS servers; empty: those of the system (`/etc/resolv.conf`).
    pub servers: Vec<SocketAddr>,
    /// Which addresses are asked for. Default both.
    pub family: Family,
    /// One query, all its tries. Default 2 s.
    pub timeout: Duration,
    /// The shortest time between two looks, whatever the TTL. Default 1 s.
    pub min_ttl: Duration,
    /// The longest. Default 5 min.
    pub max_ttl: Duration,
    /// What was found is kept this long when the name cannot be resolved any more (and shown as
    /// stale); `None` keeps it for ever, zero drops it at once. Default 10 min.
    pub max_stale: Option<Duration>,
    /// An address must be missing from this many answers in a row before it is given up. Default 2.
    pub confirm_removal: u8,
}

/// Which addresses of a name are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
    /// Both.
    Both,
}

/// How connections to endpoints are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Default 1 s.
    pub timeout: Duration,
    /// TCP keepalive: idle time before the first probe (then five more, a sixth of it apart).
    /// Default 30 s; `None` is off.
    pub keepalive: Option<Duration>,
    /// `TCP_USER_TIMEOUT`: how long sent data may stay unacknowledged. Default `None`, the
    /// system's.
    pub user_timeout: Option<Duration>,
    /// Addresses of this host to connect from, used in turn; those of the other family are passed
    /// over. Default none: the system chooses.
    pub local_addresses: Vec<IpAddr>,
    /// Local ports to connect from. Default none: the system's ephemeral range.
    pub source_ports: Option<RangeInclusive<u16>>,
}

/// How idle connections to endpoints are kept, by each worker for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Closed after this long without use. Default 30 s.
    pub idle_timeout: Duration,
    /// Idle connections kept per endpoint and worker. Default 256; 0 keeps none.
    pub max_idle: u32,
}
