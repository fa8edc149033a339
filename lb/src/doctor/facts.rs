//! What was seen of this host and of the way to endpoints: plain data, judged by
//! [`super::findings`] and shown by [`super::tell`].
//!
//! Whatever could not be looked at is `None` or empty: about it nothing is said.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use weir_core::discovery::FailureKind;
use weir_core::health::ProbeResult;
use weir_core::tls::Untrusted;

use crate::env::Unconnected;
use crate::process::owners::Owner;

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Addresses that are wanted.
    pub(super) ports: Vec<Port>,
    /// Names that endpoints are found by.
    pub(super) names: Vec<Name>,
    /// The way to each endpoint.
    pub(super) endpoints: Vec<Endpoint>,
    /// Endpoints that nobody got to in time.
    pub(super) unexamined: usize,
    /// The sockets of this host's network.
    pub(super) sockets: Sockets,
    /// What this host allows.
    pub(super) host: Host,
    /// The balancer itself, if it runs.
    pub(super) process: Option<Process>,
    /// The wall clock.
    pub(super) clock: Clock,
    /// Certificates that we show.
    pub(super) certificates: Vec<Certificate>,
}

/// An address that we want to accept on.
#[derive(Clone, Debug)]
pub(super) struct Port {
    /// `listener web`, or `admin`.
    pub(super) whose: String,
    /// The key of the file that says so.
    pub(super) key: String,
    /// `tcp`, `udp` or `unix`.
    pub(super) kind: &'static str,
    /// The address.
    pub(super) address: String,
    /// Whether it can be had.
    pub(super) bind: Bind,
}

/// Whether an address can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bind {
    /// Nobody has it.
    Free,
    /// The balancer that runs this configuration has it.
    Ours,
    /// Somebody else has it; who, if we may see that.
    Taken(Option<Owner>),
    /// We have no right to it.
    Denied,
    /// It is no address of this host.
    NotHere,
    /// Anything else, in the system's words.
    Failed(String),
}

/// A name that endpoints are found by.
#[derive(Clone, Debug)]
pub(super) struct Name {
    /// The cluster it is in.
    pub(super) cluster: String,
    /// As it is written: `app.internal:8080`, `srv:…`.
    pub(super) source: String,
    /// As the balancer looks it up.
    pub(super) answer: Answer,
    /// As each server answers, asked alone; empty where this host's own file answers.
    pub(super) servers: Vec<Server>,
    /// The file of this host that has the name, instead of DNS.
    pub(super) in_hosts: bool,
    /// What was really asked for, if the search path led to another name.
    pub(super) found_as: Option<String>,
    /// The domains that a short name is looked for in.
    pub(super) search: Vec<String>,
    /// How long one look may take.
    pub(super) timeout: Duration,
    /// In the running balancer: how long it goes by an old answer since no new one came.
    pub(super) stale: Option<Duration>,
}

/// One server, asked alone.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) answer: Answer,
}

/// What a look came to.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// In order; or why there are none, with more in words.
    pub(super) result: Result<Vec<String>, (FailureKind, String)>,
    /// The shortest of the way.
    pub(super) ttl: Option<Duration>,
    pub(super) took: Duration,
    /// Each record on the way, as `name TTL type value`.
    pub(super) records: Vec<String>,
}

/// The way to one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) cluster: String,
    pub(super) address: String,
    /// The name it was found by.
    pub(super) host: Option<String>,
    /// The connection; not of those that only get datagrams.
    pub(super) dial: Option<Step<Unconnected>>,
    /// TLS on it, of clusters that have it.
    pub(super) tls: Option<Step<(Untrusted, String)>>,
    /// Each health check: its kind, and how it ended.
    pub(super) checks: Vec<(&'static str, Step<ProbeResult>)>,
}

/// One step on the way.
#[derive(Clone, Debug)]
pub(super) struct Step<F> {
    pub(super) took: Duration,
    /// What it may take.
    pub(super) limit: Duration,
    /// How it failed, if it did.
    pub(super) failed: Option<F>,
}

/// The sockets of this host's network.
#[derive(Clone, Debug, Default)]
pub(super) struct Sockets {
    /// Why they could not be listed.
    pub(super) unseen: Option<String>,
    /// There were more than are looked at.
    pub(super) cut: bool,
    /// How many are in each state.
    pub(super) states: BTreeMap<&'static str, u64>,
    /// Listening sockets of ours, of endpoints, or with a queue.
    pub(super) queues: Vec<Queue>,
    /// Connections that their peer closed and their process does not.
    pub(super) leaks: Vec<Leak>,
    /// Local ports in use, by where to.
    pub(super) ports: Vec<PortUse>,
    /// The most of TIME_WAIT before the kernel throws them away.
    pub(super) time_wait_max: Option<u64>,
    /// Connections refused since an accept queue was full: since the boot, and while we looked.
    pub(super) overflows: Option<(u64, u64)>,
    /// What TCP measured on the way to endpoints.
    pub(super) paths: Vec<Path>,
}

/// The accept queue of a listening socket.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) address: SocketAddr,
    /// Connections that wait,
    pub(super) waiting: u32,
    /// of how many may.
    pub(super) room: u32,
    pub(super) owner: Option<Owner>,
    /// `listener web`, or `endpoint of shop`; nothing if it is neither.
    pub(super) whose: Option<String>,
}

/// Connections that wait for their process to close them.
#[derive(Clone, Debug)]
pub(super) struct Leak {
    pub(super) owner: Option<Owner>,
    /// Where most of them lead.
    pub(super) peer: String,
    /// There both when the look began and when it ended.
    pub(super) count: u64,
    /// The longest silence of any.
    pub(super) oldest: Duration,
    /// The process is the balancer.
    pub(super) ours: bool,
}

/// Local ports in use for connections to one destination.
#[derive(Clone, Debug)]
pub(super) struct PortUse {
    pub(super) to: SocketAddr,
    /// The cluster it is an endpoint of, if it is.
    pub(super) cluster: Option<String>,
    pub(super) used: u64,
    /// Of these, connections that are over and wait for late packets.
    pub(super) time_wait: u64,
    /// How many there are.
    pub(super) all: u64,
    /// How many more are used each second.
    pub(super) growth: f64,
}

/// What TCP measured on the way to one endpoint, over its connections.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) cluster: String,
    pub(super) address: SocketAddr,
    pub(super) connections: u64,
    /// The mean of the smoothed round trips.
    pub(super) rtt: Duration,
    pub(super) segments: u64,
    pub(super) retransmitted: u64,
}

/// What this host allows.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// Of the process that was looked at: descriptors open (unless it does not run), the limit it
    /// goes by, and the one it may raise that to.
    pub(super) files: Option<Files>,
    /// Descriptors of the whole host: open, and the most.
    pub(super) all_files: Option<(u64, u64)>,
    /// `net.core.somaxconn`.
    pub(super) somaxconn: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub(super) syn_backlog: Option<u64>,
    /// `net.ipv4.tcp_syncookies`.
    pub(super) syncookies: Option<u64>,
    /// `net.ipv4.ip_local_port_range`, and how many of it are reserved.
    pub(super) local_ports: Option<(u16, u16, u64)>,
    /// Connections that the packet filter follows, and the most.
    pub(super) conntrack: Option<(u64, u64)>,
}

/// Descriptors of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files {
    /// `None`: it does not run yet.
    pub(super) open: Option<u64>,
    /// The limit in force; or that will be, since the balancer raises it to the hard one.
    pub(super) limit: u64,
}

/// The balancer, while it runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// The worst time its control thread stood still lately; only known to itself.
    pub(super) control_lag: Option<Duration>,
    /// Its threads.
    pub(super) threads: Vec<Thread>,
}

/// A thread of the balancer over the time of the look.
#[derive(Clone, Debug)]
pub(super) struct Thread {
    pub(super) name: String,
    /// Time it worked.
    pub(super) ran: Duration,
    /// Time it could have worked, and no processor was free.
    pub(super) waited: Duration,
    /// The time of the look.
    pub(super) over: Duration,
}

/// The wall clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    /// By how many seconds it was set since the time that `since` names.
    pub(super) step: f64,
    /// `weir started`, or `this look began`.
    pub(super) since: &'static str,
    /// How far in the future the configuration file was changed.
    pub(super) file_ahead: Option<Duration>,
    /// Who keeps it right, and whether that has succeeded yet, where it tells.
    pub(super) keeper: Option<(String, Option<bool>)>,
}

/// A certificate that we show.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// `listener web`.
    pub(super) whose: String,
    pub(super) file: String,
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
    pub(super) now: SystemTime,
}
