//! The index behind `RouteTable::find`: by host, then by path.
//!
//! Hosts lead to a scope: one for each name, one for each wildcard, one for routes without a host.
//! Several scopes may fit a request; within each, its routes hang on the paths they ask for, and a
//! request's path leads to them by its segment boundaries. The lowest route number that fits wins,
//! so a scope that only has higher ones than the best so far is not looked at.

use weir_config::model::{HostPattern, PathMatch, RouteMatch};

use super::{RequestView, without_root};
use keys::{Keys, Segments};

mod keys;

/// Which route wins: the lowest number. This is above all.
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(super) struct Index {
    /// Scope 0 is the one of routes without a host.
    scopes: Vec<Scope>,
    names: Hosts,
    /// Suffixes with their leading dot.
    wildcards: Hosts,
    paths: Keys,
    /// For each key of `paths`, its candidates.
    candidates: Vec<Vec<Candidate>>,
}

/// Routes that fit one host pattern.
#[derive(Clone, Debug)]
struct Scope {
    /// Those that take every path.
    any_path: Vec<Candidate>,
    /// The lowest number of the others.
    first_by_path: u32,
    /// Bit n: some key has n slashes; the last bit is for all beyond.
    depths: u64,
    deepest: u32,
}

/// A route, and what its path condition asks of a key that is a prefix of the request's path.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    route: u32,
    fit: Fit,
    /// Host and path are all it asks for.
    plain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// The key must be the whole path.
    Whole,
    /// A slash must follow the key.
    SlashAfter,
    /// Either.
    Boundary,
}

#[derive(Clone, Debug, Default)]
struct Hosts {
    keys: Keys,
    /// For each key, its scope.
    scopes: Vec<usize>,
    longest: usize,
}

impl Index {
    pub(super) fn new(matches: &[RouteMatch]) -> Self {
        let mut index = Self {
            scopes: vec![Scope::EMPTY],
            names: Hosts::default(),
            wildcards: Hosts::default(),
            paths: Keys::default(),
            candidates: Vec::new(),
        };
        for (number, route) in (0..).zip(matches) {
            if route.hosts.is_empty() {
                index.add(0, number, route);
            }
            for pattern in &route.hosts {
                let scope = index.scope_of(pattern);
                index.add(scope, number, route);
            }
        }
        index
    }

    fn scope_of(&mut self, pattern: &HostPattern) -> usize {
        let (hosts, text) = match pattern {
            HostPattern::Exact(name) => (&mut self.names, name),
            HostPattern::Wildcard(suffix) => (&mut self.wildcards, suffix),
        };
        let text = text.to_ascii_lowercase();
        hosts.longest = hosts.longest.max(text.len());
        let key = hosts.keys.insert(0, keys::hash(text.as_bytes()), text.as_bytes());
        if key == hosts.scopes.len() {
            hosts.scopes.push(self.scopes.len());
            self.scopes.push(Scope::EMPTY);
        }
        hosts.scopes[key]
    }

    fn add(&mut self, scope: usize, route: u32, matches: &RouteMatch) {
        let plain = matches.methods.is_empty() && matches.headers.is_empty();
        let (text, fit) = match &matches.path {
            PathMatch::Any => {
                self.scopes[scope].any_path.push(Candidate { route, fit: Fit::Boundary, plain });
                return;
            }
            PathMatch::Exact(path) => (path.as_str(), Fit::Whole),
            PathMatch::Prefix(prefix) => match prefix.strip_suffix('/') {
                Some(parent) => (parent, Fit::SlashAfter),
                None => (prefix.as_str(), Fit::Boundary),
            },
        };
        let (mut depth, mut hash) = (0, 0);
        for segment in Segments::of(text.as_bytes(), scope as u32) {
            (depth, hash) = (segment.depth, segment.hash);
        }
        let key = self.paths.insert(scope as u32, hash, text.as_bytes());
        if key == self.candidates.len() {
            self.candidates.push(Vec::new());
        }
        self.candidates[key].push(Candidate { route, fit, plain });
        self.scopes[scope].note_path(route, depth);
    }

    /// The lowest route number that fits host and path, and for which `rest` holds.
    pub(super) fn find(&self, request: &RequestView<'_>, rest: impl Fn(usize) -> bool) -> Option<usize> {
        let mut search = Search { index: self, path: request.path.as_bytes(), rest, best: NONE };
        search.scope(0);
        if self.scopes.len() > 1 {
            with_lower_case(without_root(request.host), |host| {
                if let Some(scope) = self.names.get(host) {
                    search.scope(scope);
                }
                self.wildcards.for_each_suffix(host, |scope| search.scope(scope));
            });
        }
        (search.best != NONE).then_some(search.best as usize)
    }
}

impl Scope {
    const EMPTY: Self = Self { any_path: Vec::new(), first_by_path: NONE, depths: 0, deepest: 0 };

    fn note_path(&mut self, route: u32, depth: u32) {
        self.first_by_path = self.first_by_path.min(route);
        self.depths |= depth_bit(depth);
        self.deepest = self.deepest.max(depth);
    }
}

fn depth_bit(depth: u32) -> u64 {
    1 << depth.min(63)
}

struct Search<'a, R> {
    index: &'a Index,
    path: &'a [u8],
    rest: R,
    best: u32,
}

impl<R: Fn(usize) -> bool> Search<'_, R> {
    fn scope(&mut self, number: usize) {
        let index = self.index;
        let scope = &index.scopes[number];
        self.candidates(&scope.any_path, true);
        if scope.first_by_path >= self.best {
            return;
        }
        for segment in Segments::of(self.path, number as u32) {
            if scope.depths & depth_bit(segment.depth) != 0
                && let Some(key) = index.paths.get(number as u32, segment.hash, &self.path[..segment.end])
            {
                self.candidates(&index.candidates[key], segment.end == self.path.len());
            }
            if segment.depth >= scope.deepest {
                break;
            }
        }
    }

    /// Candidates ascend, so the first that fits is the best of them.
    fn candidates(&mut self, candidates: &[Candidate], whole: bool) {
        for candidate in candidates.iter().take_while(|candidate| candidate.route < self.best) {
            let fits = match candidate.fit {
                Fit::Whole => whole,
                Fit::SlashAfter => !whole,
                Fit::Boundary => true,
            };
            if fits && (candidate.plain || (self.rest)(candidate.route as usize)) {
                self.best = candidate.route;
                return;
            }
        }
    }
}

impl Hosts {
    fn get(&self, host: &[u8]) -> Option<usize> {
        // The bound on the length keeps a giant host from costing more than the names we know.
        if host.len() > self.longest {
            return None;
        }
        self.keys.get(0, keys::hash(host), host).map(|key| self.scopes[key])
    }

    /// Every scope of a suffix that starts with a dot inside of `host`, shortest first.
    fn for_each_suffix(&self, host: &[u8], mut found: impl FnMut(usize)) {
        if self.scopes.is_empty() {
            return;
        }
        let first = host.len().saturating_sub(self.longest).max(1);
        for dot in (first..host.len()).rev().filter(|&at| host[at] == b'.') {
            if let Some(scope) = self.get(&host[dot..]) {
                found(scope);
            }
        }
    }
}

/// Calls `then` with `host` in lower case; allocates only for what no DNS name can be.
fn with_lower_case(host: &str, then: impl FnOnce(&[u8])) {
    let bytes = host.as_bytes();
    let mut buffer = [0; 256];
    match buffer.get_mut(..bytes.len()) {
        _ if !bytes.iter().any(u8::is_ascii_uppercase) => then(bytes),
        Some(short) => {
            short.copy_from_slice(bytes);
            short.make_ascii_lowercase();
            then(short);
        }
        None => then(&bytes.to_ascii_lowercase()),
    }
}
