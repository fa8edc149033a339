//! How requests are traced: which, by whom, and where their spans go.

use std::fmt;
use std::time::Duration;

/// Distributed tracing, as the W3C's Trace Context and OTLP have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Where spans go; without it ids are made, passed on and logged, and nothing is exported.
    pub otlp: Option<Otlp>,
    /// Share of the requests without a parent that is followed which is sampled, 0 to 1. Default
    /// 0.01.
    pub ratio: f64,
    /// Whose `traceparent` is followed. Default that of trusted proxies.
    pub parent: FollowParent,
    /// `service.name` of the spans. Default `weir`.
    pub service_name: String,
}

/// Whose `traceparent` makes a request part of a trace that was begun elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FollowParent {
    /// That of peers among the listener's `trusted_proxies`.
    #[default]
    Trusted,
    /// Everybody's.
    Always,
    /// Nobody's: every request begins a trace.
    Never,
}

impl FollowParent {
    /// As in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "follow",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// Where spans go, by OTLP over HTTP with protobuf.
#[derive(Clone, PartialEq, Eq)]
pub struct Otlp {
    /// Where they are posted to.
    pub endpoint: OtlpEndpoint,
    /// Further header fields of each request, in order: often a key, so values are shown in no log and no diff.
    pub headers: Vec<(String, String)>,
    /// For one request, from connecting to the end of the answer. Default 10 s.
    pub timeout: Duration,
    /// Spans that may wait; more are dropped and counted. At least `batch`. Default 2048.
    pub queue: u32,
    /// Spans in one request. At least one. Default 512.
    pub batch: u32,
    /// A batch that is not full goes after this long. Default 5 s.
    pub interval: Duration,
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Otlp").field("endpoint", &self.endpoint).field("headers", &names).finish_non_exhaustive()
    }
}

/// The URL spans are posted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpEndpoint {
    /// `https`.
    pub secure: bool,
    /// A name, or an IP address without brackets.
    pub host: String,
    /// As it was given, or the scheme's.
    pub port: u16,
    /// From `/` on, perhaps with a query. Where the URL has none: `/v1/traces`.
    pub path: String,
}

impl OtlpEndpoint {
    /// What `Host` says: host and port, an IPv6 address in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.secure { "https" } else { "http" }, self.authority(), self.path)
    }
}
