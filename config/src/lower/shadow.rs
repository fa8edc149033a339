//! Routes that can never be reached, because an earlier one takes all that they would take.
//!
//! About linear in the number of routes: earlier routes are found by host and path in a map
//! instead of being compared one by one. What the map cannot find cheaply (paths of more than 32
//! parts, a cover made of several routes' methods) is not found; what is found is always true.

use std::collections::HashMap;

use crate::mistake::Mistake;
use crate::model::{HeaderMatch, HeaderTest, HostPattern, PathMatch, Route, RouteMatch};
use crate::report::{Path, Report};
use crate::yaml::Span;

/// Parts of a path that are looked at.
const MAX_PARTS: usize = 32;
/// Routes with methods or headers that are remembered for one host and path.
const MAX_CONDITIONAL: usize = 8;

/// Warns of each of `routes` that is shadowed. Each comes with its place in the list and the file.
pub(super) fn warn(routes: &[(usize, Span, Route)], path: &Path<'_>, report: &mut Report) {
    let mut earlier = Earlier::default();
    for (nth, (at, span, route)) in routes.iter().enumerate() {
        if let Some(by) = earlier.covering(routes, &route.matches) {
            let (_, first, other) = &routes[by];
            let name =
                other.name.as_ref().map_or_else(|| "an earlier route".to_owned(), |name| format!("the route {name:?}"));
            let mistake = Mistake::warning(
                "route_never_reached",
                *span,
                format!("{name} takes everything that this route would take"),
            )
            .hint("the first route that matches wins: put the narrower one first, or remove it")
            .related(*first, "this one comes first");
            report.push(mistake, &path.item(*at));
        }
        earlier.remember(nth, &route.matches);
    }
}

/// The routes so far, by what they match.
#[derive(Default)]
struct Earlier<'a> {
    slots: HashMap<(HostSlot<'a>, PathSlot<'a>), Slot>,
}

/// The routes for one host and path.
#[derive(Default)]
struct Slot {
    /// The first that asks for neither method nor header.
    any: Option<usize>,
    conditional: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum HostSlot<'a> {
    Any,
    Exact(&'a str),
    Wildcard(&'a str),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum PathSlot<'a> {
    Any,
    Exact(&'a str),
    Prefix(&'a str),
}

impl<'a> Earlier<'a> {
    fn remember(&mut self, nth: usize, matches: &'a RouteMatch) {
        let path = match &matches.path {
            PathMatch::Any => PathSlot::Any,
            PathMatch::Exact(path) => PathSlot::Exact(path),
            PathMatch::Prefix(path) => PathSlot::Prefix(path),
        };
        let mut put = |host| {
            let slot = self.slots.entry((host, path)).or_default();
            if matches.methods.is_empty() && matches.headers.is_empty() {
                slot.any.get_or_insert(nth);
            } else if slot.conditional.len() < MAX_CONDITIONAL {
                slot.conditional.push(nth);
            }
        };
        let hosts = hosts(matches);
        if hosts.is_empty() {
            put(HostSlot::Any);
        }
        for host in hosts {
            put(match host {
                HostPattern::Exact(name) => HostSlot::Exact(name),
                HostPattern::Wildcard(suffix) => HostSlot::Wildcard(suffix),
            });
        }
    }

    /// An earlier route that takes whatever `matches` takes; with several hosts, one for each,
    /// of which the last is named.
    fn covering(&self, routes: &[(usize, Span, Route)], matches: &RouteMatch) -> Option<usize> {
        let paths = wider_paths(&matches.path);
        let find = |hosts: &[HostSlot<'_>]| {
            let slots = hosts.iter().flat_map(|host| paths.iter().filter_map(|path| self.slots.get(&(*host, *path))));
            slots.filter_map(|slot| slot.covering(routes, matches)).min()
        };
        let mut by = None;
        let hosts = hosts(matches);
        if hosts.is_empty() {
            return find(&[HostSlot::Any]);
        }
        for host in hosts {
            by = Some(find(&wider_hosts(host))?).max(by);
        }
        by
    }
}

/// The names that a route goes by. Of requests it is their host, of sessions the name asked for by TLS:
/// never both in one listener.
fn hosts(matches: &RouteMatch) -> &[HostPattern] {
    if matches.sni.is_empty() { &matches.hosts } else { &matches.sni }
}

impl Slot {
    fn covering(&self, routes: &[(usize, Span, Route)], matches: &RouteMatch) -> Option<usize> {
        let covers = |nth: &&usize| conditions_cover(&routes[**nth].2.matches, matches);
        let conditional = self.conditional.iter().find(covers).copied();
        match (self.any, conditional) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

fn conditions_cover(wide: &RouteMatch, narrow: &RouteMatch) -> bool {
    let methods = wide.methods.is_empty()
        || (!narrow.methods.is_empty() && narrow.methods.iter().all(|method| wide.methods.contains(method)));
    let implied = |test: &HeaderMatch| {
        narrow.headers.iter().any(|other| {
            other.name == test.name
                && (other.test == test.test
                    || (test.test == HeaderTest::Present && matches!(other.test, HeaderTest::Exact(_))))
        })
    };
    methods && wide.headers.iter().all(implied)
}

/// All that take what `host` takes.
fn wider_hosts(host: &HostPattern) -> Vec<HostSlot<'_>> {
    let mut slots = vec![HostSlot::Any];
    let name: &str = match host {
        HostPattern::Exact(name) => {
            slots.push(HostSlot::Exact(name));
            name
        }
        HostPattern::Wildcard(suffix) => {
            slots.push(HostSlot::Wildcard(suffix));
            // Its own first dot is no place where a shorter suffix begins.
            &suffix[1..]
        }
    };
    slots.extend(name.match_indices('.').map(|(at, _)| HostSlot::Wildcard(&name[at..])));
    slots
}

/// All that take what `path` takes.
fn wider_paths(path: &PathMatch) -> Vec<PathSlot<'_>> {
    let mut slots = vec![PathSlot::Any];
    let text: &str = match path {
        PathMatch::Any => return slots,
        PathMatch::Exact(path) => {
            slots.push(PathSlot::Exact(path));
            path
        }
        PathMatch::Prefix(path) => path,
    };
    slots.push(PathSlot::Prefix(text));
    slots.extend(text.match_indices('/').skip(1).take(MAX_PARTS).map(|(at, _)| PathSlot::Prefix(&text[..at])));
    slots
}
