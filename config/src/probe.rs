//! What probes ask of endpoints, and how often. Part of [`crate::model`], and re-exported there.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::ops::RangeInclusive;
use std::time::Duration;

/// One active check of each endpoint of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// A probe that takes longer has failed. Default 2 s.
    pub timeout: Duration,
    /// Between two probes of a healthy endpoint. Default 5 s.
    pub interval: Duration,
    /// Between two probes while the verdict is open. Default the smaller of 1 s and `interval`.
    pub fast_interval: Duration,
    /// Between two probes of an endpoint that is down. Default twice `interval`.
    pub down_interval: Duration,
    /// Each pause is stretched or shrunk by up to this many per cent, 0 to 50. Default 10.
    pub jitter_percent: u8,
    /// Consecutive failures that make a healthy endpoint unhealthy. Default 3.
    pub unhealthy_threshold: NonZeroU32,
    /// Consecutive passes that make an unhealthy endpoint healthy. Default 2.
    pub healthy_threshold: NonZeroU32,
    /// Another port than the endpoint's.
    pub port: Option<NonZeroU16>,
    /// What is asked.
    pub kind: CheckKind,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// That a connection opens; and if told, that what is sent is answered as expected.
    Tcp(Dialogue),
    /// That an HTTP request is answered as expected, in the version the cluster speaks.
    Http(HttpCheck),
    /// That `grpc.health.v1.Health/Check` says `SERVING`.
    Grpc(GrpcCheck),
    /// That a datagram is answered as expected.
    Udp(Dialogue),
}

/// What a scripted probe sends, and what it expects to hear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialogue {
    /// Sent first; nothing if empty.
    pub send: Vec<u8>,
    /// Must occur in what comes; if empty, anything will do (of TCP: nothing need come).
    pub receive: Vec<u8>,
}

/// What a gRPC probe asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcCheck {
    /// The service; empty is the whole server.
    pub service: String,
    /// `:authority`; default the endpoint's address.
    pub authority: Option<String>,
}

impl fmt::Display for CheckKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(Dialogue { send, receive }) if send.is_empty() && receive.is_empty() => {
                f.write_str("TCP connect")
            }
            Self::Tcp(_) => f.write_str("TCP dialogue"),
            Self::Http(http) => write!(f, "{} {}", http.method, http.path),
            Self::Grpc(GrpcCheck { service, .. }) if service.is_empty() => f.write_str("gRPC health"),
            Self::Grpc(GrpcCheck { service, .. }) => write!(f, "gRPC health of {service}"),
            Self::Udp(_) => f.write_str("UDP dialogue"),
        }
    }
}

/// What an HTTP probe sends and expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// Upper case. Default GET.
    pub method: String,
    /// Path and query. Default `/`.
    pub path: String,
    /// The `Host` header; default the endpoint's address.
    pub host: Option<String>,
    /// More request headers, in order.
    pub headers: Vec<(String, String)>,
    /// One of these must hold. Default 200 to 299.
    pub expected_statuses: Vec<RangeInclusive<u16>>,
    /// Must occur in the first 64 KiB of the body.
    pub expected_body: Option<String>,
}
