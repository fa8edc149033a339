//! Host, path, method and headers -> the first route in file order that matches.
//!
//! What a route takes is said once, by [`verdict`]; the index behind [`RouteTable::find`] only
//! finds the same route sooner, and a property test holds the two together.

mod index;

use std::fmt;

use weir_config::model::{HeaderMatch, HostPattern, PathMatch, Route, RouteMatch};

/// What a route may look at. Borrowed from the request's head; nothing is copied.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// As received; methods are case-sensitive.
    pub method: &'a str,
    /// Without port, any case; empty if there is none.
    pub host: &'a str,
    /// Path without query, as received.
    pub path: &'a str,
    /// The header fields.
    pub headers: &'a dyn Headers,
}

/// Header fields by name.
pub trait Headers {
    /// The first field of that name (`name` is lower case; fields compare without case).
    fn get(&self, name: &str) -> Option<&[u8]>;
}

/// A listener's routes, indexed: finding one costs the same among ten and among ten thousand.
#[derive(Clone, Debug)]
pub struct RouteTable {
    matches: Box<[RouteMatch]>,
    index: index::Index,
}

impl RouteTable {
    /// The table of `routes`, in file order.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let matches: Box<[RouteMatch]> = routes.iter().map(|route| by_host(route.matches.clone())).collect();
        let index = index::Index::new(&matches);
        Self { matches, index }
    }

    /// The first route in file order that takes the request.
    #[must_use]
    pub fn find(&self, request: &RequestView<'_>) -> Option<usize> {
        self.index.find(request, |route| rest_matches(&self.matches[route], request))
    }

    /// Each route up to the one that takes the request, with the verdict on it. Pure and slow:
    /// for people.
    #[must_use]
    pub fn explain(&self, request: &RequestView<'_>) -> Vec<(usize, Verdict)> {
        let mut story = Vec::new();
        for (at, route) in self.matches.iter().enumerate() {
            let verdict = verdict(route, request);
            let taken = verdict == Verdict::Taken;
            story.push((at, verdict));
            if taken {
                break;
            }
        }
        story
    }

    /// How many routes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.matches.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.matches.is_empty()
    }
}

/// Whether a route takes a request, or the first condition that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes it.
    Taken,
    /// The host is another.
    Host,
    /// The path is another.
    Path,
    /// The method is another.
    Method,
    /// The header of this name is not as asked.
    Header(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("takes it"),
            Self::Host => f.write_str("the host does not match"),
            Self::Path => f.write_str("the path does not match"),
            Self::Method => f.write_str("the method does not match"),
            Self::Header(name) => write!(f, "the header '{name}' does not match"),
        }
    }
}

/// What `route` says to `request`.
#[must_use]
pub fn verdict(route: &RouteMatch, request: &RequestView<'_>) -> Verdict {
    if !route.hosts.is_empty() && !route.hosts.iter().any(|pattern| host_matches(pattern, request.host)) {
        return Verdict::Host;
    }
    if !path_matches(&route.path, request.path) {
        return Verdict::Path;
    }
    if !method_matches(route, request.method) {
        return Verdict::Method;
    }
    match route.headers.iter().find(|wanted| !header_matches(wanted, request.headers)) {
        Some(failed) => Verdict::Header(failed.name.clone()),
        None => Verdict::Taken,
    }
}

/// To a session the name that its client asks for by SNI is what a host is to a request.
fn by_host(mut matches: RouteMatch) -> RouteMatch {
    matches.hosts.append(&mut matches.sni);
    matches
}

/// A name with a dot at its end is the same name (RFC 3986 3.2.2): whoever writes it so must not come
/// by a route that others meet.
fn without_root(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

fn host_matches(pattern: &HostPattern, host: &str) -> bool {
    let host = without_root(host);
    match pattern {
        HostPattern::Exact(name) => host.eq_ignore_ascii_case(name),
        HostPattern::Wildcard(suffix) => {
            let (host, suffix) = (host.as_bytes(), suffix.as_bytes());
            host.len() > suffix.len() && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
        }
    }
}

fn path_matches(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Any => true,
        PathMatch::Exact(wanted) => path == wanted,
        PathMatch::Prefix(prefix) => path
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')),
    }
}

/// The conditions no index helps with.
fn rest_matches(route: &RouteMatch, request: &RequestView<'_>) -> bool {
    method_matches(route, request.method) && route.headers.iter().all(|wanted| header_matches(wanted, request.headers))
}

fn method_matches(route: &RouteMatch, method: &str) -> bool {
    route.methods.is_empty() || route.methods.iter().any(|wanted| wanted == method)
}

fn header_matches(wanted: &HeaderMatch, headers: &dyn Headers) -> bool {
    wanted.test.holds(headers.get(&wanted.name))
}
