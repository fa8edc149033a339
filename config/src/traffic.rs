//! What is done with requests on their way: answered at once, changed, limited, let in or not.

use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;

/// An answer that a route gives itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Elsewhere.
    Redirect(Redirect),
    /// This.
    Fixed(FixedReply),
}

/// Where a client is sent. What is not given stays as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308. Default 308 where the method matters, 301 for GET and HEAD.
    pub status: Option<u16>,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Without port.
    pub host: Option<String>,
    /// Left out of the address where it is the scheme's own.
    pub port: Option<u16>,
    /// What becomes of the path.
    pub path: PathRewrite,
    /// Whether the query is left out. Default it is kept.
    pub strip_query: bool,
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedReply {
    /// 200 to 599.
    pub status: u16,
    /// Its body; default none.
    pub body: String,
    /// `Content-Type`; default `text/plain; charset=utf-8`.
    pub content_type: String,
}

/// What becomes of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PathRewrite {
    /// Nothing.
    #[default]
    Keep,
    /// The whole path becomes this; the query stays.
    Whole(String),
    /// What the route's `path_prefix` matched becomes this.
    Prefix(String),
}

/// How a request is changed before an endpoint gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Its path.
    pub path: PathRewrite,
    /// Its `Host`.
    pub host: Option<String>,
}

/// Changes to header fields: first those that go, then those that are set, then those that are added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Names in lower case.
    pub remove: Vec<String>,
    /// In place of all of that name.
    pub set: Vec<(String, HeaderTemplate)>,
    /// Beside those of that name.
    pub add: Vec<(String, HeaderTemplate)>,
}

impl HeaderEdits {
    /// Whether nothing is changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// A value of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderTemplate(pub Vec<Piece>);

/// A piece of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Text(String),
    /// `{client_address}`: the client's address, as a trusted proxy tells it.
    ClientAddress,
    /// `{host}`: the request's.
    Host,
    /// `{path}`: as it was asked for, without query.
    Path,
    /// `{request_id}`.
    RequestId,
    /// `{scheme}`: `http` or `https`.
    Scheme,
    /// `{cluster}`: that answers.
    Cluster,
    /// `{server_name}`: that the client asked for by SNI.
    ServerName,
}

/// Who is let in: `deny` is asked first; with `allow` only those in it are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// If not empty, nobody else.
    pub allow: Vec<IpNet>,
    /// Never.
    pub deny: Vec<IpNet>,
}

/// A token bucket for each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// So many requests (of a TCP listener: connections) ...
    pub requests: NonZeroU32,
    /// ... in this time, on average. Default 1 s.
    pub per: Duration,
    /// So many at once after a pause. Default `requests`.
    pub burst: NonZeroU32,
    /// What has a bucket of its own.
    pub key: RateKey,
    /// Buckets kept at once; beyond it the one that is fullest of some goes. Default 100 000.
    pub max_keys: u32,
}

/// What has a token bucket of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateKey {
    /// Each client address; of IPv6, each /64. The default.
    ClientAddress,
    /// Each value of this header field, in lower case; requests without it share one.
    Header(String),
    /// All requests of the route or listener together.
    Everybody,
}
