//! Releases: users divided between clusters. Part of [`crate::model`], and re-exported there.
//!
//! What the operator wants is plain data here; the rule by which an id finds its version is
//! [`rule`], the same function for the data path, `weir diff` and `weir explain`.

pub mod jwt;
pub mod rule;
pub mod users;
pub(crate) mod users_file;

use std::borrow::Cow;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use jwt::{JwtFrom, JwtKey, Signed};
pub use rule::{BUCKETS, Bucket, Share};
pub use users::Users;

use crate::model::HeaderTest;
use crate::units::{ClusterName, ReleaseName};

/// Users divided between a stable cluster and canaries, by a hash of their id.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// Unique among releases.
    pub name: ReleaseName,
    /// Where a user's id is found: the first that the request has, and that is not empty. At
    /// least one.
    pub key: Vec<IdKey>,
    /// The form in which an id is hashed and compared.
    pub canonical: Canonical,
    /// Same salt, same id: same bucket, everywhere and for ever. Default the release's name.
    pub salt: String,
    /// The cluster of everybody who is in no canary.
    pub stable: ClusterName,
    /// In file order; their buckets do not overlap. May be empty.
    pub canaries: Vec<Canary>,
    /// Whoever one of these takes is in no canary.
    pub never: Vec<Rule>,
    /// What is done with requests without an id.
    pub anonymous: Anonymous,
    /// What is done with a canary's requests while it has no usable endpoint.
    pub on_unhealthy: OnUnhealthy,
    /// How versions are compared.
    pub judge: JudgeRules,
    /// A copy of some requests goes here too.
    pub mirror: Option<Mirror>,
    /// The line of the file it stands on, from 1.
    pub line: u32,
}

/// A version that gets some of the users.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    /// Where its users go; not the stable cluster, and no other canary's.
    pub cluster: ClusterName,
    /// Its first bucket. Default 0, if it is the only one.
    pub from: Bucket,
    /// How many buckets it owns from there on, wrapping at [`BUCKETS`].
    pub weight: Share,
    /// Whoever one of these takes is in it, whatever the weight.
    pub first: Vec<Rule>,
    /// Whoever one of these takes is not in it.
    pub never: Vec<Rule>,
    /// Weights that rise by themselves up to `weight`; `None`: `weight` at once.
    pub rollout: Option<Rollout>,
}

/// Where a user's id is found.
#[derive(Clone, Debug, PartialEq)]
pub enum IdKey {
    /// The value of this header field, in lower case.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The value of this parameter of the query, percent-decoded.
    Query(String),
    /// This segment of the path, from 1, percent-decoded: 2 is `42` in `/users/42`.
    PathSegment(NonZeroU16),
    /// A claim of a JSON Web Token.
    Jwt(JwtKey),
    /// The client's address, without port; as a trusted proxy tells it, else the peer's. Its text:
    /// IPv4 as in `192.0.2.7` (even if it came as IPv6), IPv6 as in RFC 5952.
    SourceAddress,
}

/// The form in which an id is hashed and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Canonical {
    /// Blanks (ASCII) around it are cut off. Default on.
    pub trim: bool,
    /// ASCII letters count as lower case. Default off.
    pub lower: bool,
}

/// Takes some requests, by who asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Those with this header.
    Header {
        /// Lower case.
        name: String,
        /// What its value must be.
        test: HeaderTest,
    },
    /// Those with this cookie.
    Cookie {
        /// As received.
        name: String,
        /// Exactly this; `None` is any.
        value: Option<String>,
    },
    /// Those from one of these networks.
    Networks(Vec<IpNet>),
    /// Those of these users, by id.
    Users(Arc<Users>),
}

/// What is done with requests without an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// They are the stable cluster's. The default.
    Stable,
    /// They are handed an id in a cookie, and so have one from then on.
    Cookie(IdCookie),
}

/// A cookie with an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdCookie {
    /// Default `weir-id`.
    pub name: String,
    /// `Max-Age`. Default 400 days, the most that browsers keep.
    pub ttl: Duration,
    /// `Path`. Default `/`.
    pub path: String,
}

/// What is done with a canary's requests while it has no usable endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnhealthy {
    /// The stable cluster serves them. The default.
    Stable,
    /// They are refused as requests of any cluster are that has no endpoint.
    Error,
}

/// How versions are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JudgeRules {
    /// Each arm must have had so many requests before anything but a hard guard is said. Default 200.
    pub min_requests: u32,
    /// In per cent: a canary no worse than stable is called worse no more often than this leaves,
    /// however often it is looked at. 80 to 99.9; default 95.
    pub confidence: f64,
    /// A canary may have so many percentage points more errors. Default 1.
    pub error_margin: f64,
    /// And its latency be so many per cent higher. Default 25.
    pub latency_margin: f64,
}

/// Weights that rise by themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Rising, at least one; those over the canary's weight count as the weight.
    pub steps: Vec<Share>,
    /// Each step lasts at least so long. Default 10 min.
    pub hold: Duration,
    /// What ends it in seconds.
    pub guard: Guard,
    /// What a failed canary gets. Default [`OnFail::Rollback`].
    pub on_fail: OnFail,
}

/// What ends a rollout in seconds, without statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guard {
    /// Per cent: with 95 % confidence (Wilson's lower bound) so many of the canary's requests
    /// fail. Default 30.
    pub error_percent: f64,
    /// The canary's p99 is so many times stable's. Default 5.
    pub latency_factor: f64,
    /// Over this time. Default 60 s.
    pub window: Duration,
    /// And at least so many requests. Default 20.
    pub min_requests: u32,
}

/// What a failed canary gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFail {
    /// Nothing: all its buckets are stable's again.
    Rollback,
    /// What it has; it waits for an operator.
    Pause,
}

/// A copy of some requests, whose answers nobody gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// Where copies go.
    pub cluster: ClusterName,
    /// Of the release's requests, whatever their version.
    pub share: Share,
    /// Methods that may change something, too. Default off: GET, HEAD, OPTIONS and TRACE only.
    pub unsafe_methods: bool,
    /// Copies under way at once in this process; more are dropped. Default 100.
    pub max_concurrent: u32,
    /// A copy is given up after this. Default 5 s.
    pub timeout: Duration,
    /// Requests with a larger body are not copied. Default 64 KiB.
    pub body_bytes: u32,
}

impl Canonical {
    /// `id` in this form.
    #[must_use]
    pub fn of(self, id: &[u8]) -> Cow<'_, [u8]> {
        let id = if self.trim { id.trim_ascii() } else { id };
        if self.lower && id.iter().any(u8::is_ascii_uppercase) {
            Cow::Owned(id.to_ascii_lowercase())
        } else {
            Cow::Borrowed(id)
        }
    }
}

impl Release {
    /// The cluster of a version: 0 is stable, 1 the first canary.
    #[must_use]
    pub fn cluster(&self, version: usize) -> Option<&ClusterName> {
        match version {
            0 => Some(&self.stable),
            canary => self.canaries.get(canary - 1).map(|canary| &canary.cluster),
        }
    }

    /// Every cluster its requests may go to: stable, then canaries.
    pub fn clusters(&self) -> impl Iterator<Item = &ClusterName> {
        std::iter::once(&self.stable).chain(self.canaries.iter().map(|canary| &canary.cluster))
    }
}
