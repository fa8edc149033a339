//! Rehearsals: faults an operator injects on purpose, always with an end.
//!
//! Pure: who is struck is decided from the drills in force, the request and the dice. Starting,
//! ending and the closing report are [`crate::control`]'s; carrying a fault out is the worker's
//! (and, for probes of a zone that is "gone", the prober's).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{ClusterName, HeaderMatch, HeaderTest, ListenerName, ZoneName};
use weir_config::words;

use crate::dice::Dice;
use crate::endpoint::EndpointKey;
use crate::route::Headers;
use crate::snapshot::Member;
use crate::time::Moment;

/// One rehearsal.
#[derive(Clone, Debug, PartialEq)]
pub struct Drill {
    /// Unique in the process, from 1.
    pub id: u64,
    /// What goes wrong.
    pub trouble: Trouble,
    /// Where.
    pub scope: Scope,
    /// For how many requests (or attempts, or probes): of 10 000.
    pub share: u16,
    /// Only for requests with this header.
    pub header: Option<HeaderMatch>,
    /// When it began.
    pub began: Moment,
    /// When it ends at the latest.
    pub until: Moment,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection comes about, and those there are break; probes fail too.
    Unreachable,
    /// The answer comes so much later.
    Delay(Duration),
    /// This status is answered instead.
    Abort(u16),
    /// The connection is reset before an answer.
    Reset,
}

impl Trouble {
    /// Every kind's word, for metrics.
    pub const KINDS: [&str; 4] = ["unreachable", "latency", "abort", "reset"];

    /// The word in events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Delay(_) => "latency",
            Self::Abort(_) => "abort",
            Self::Reset => "reset",
        }
    }
}

/// Where something goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// At every endpoint in a zone.
    Zone(ZoneName),
    /// At every endpoint of a cluster.
    Cluster(ClusterName),
    /// At one endpoint.
    Endpoint(EndpointKey),
    /// Before a request is sent anywhere: on a route, by its place in its listener, or on all of them.
    Route(ListenerName, Option<usize>),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone(zone) => write!(f, "zone {zone}"),
            Self::Cluster(cluster) => write!(f, "cluster {cluster}"),
            Self::Endpoint(key) => write!(f, "endpoint {key}"),
            Self::Route(listener, None) => write!(f, "listener {listener}"),
            Self::Route(listener, Some(at)) => write!(f, "route {} of listener {listener}", at + 1),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("no connection"),
            Self::Delay(delay) => write!(f, "{} more latency", words::shown(*delay)),
            Self::Abort(status) => write!(f, "status {status} instead of an answer"),
            Self::Reset => f.write_str("a reset instead of an answer"),
        }
    }
}

/// `no connection at zone az-b`; with the share and the header, where not all are struck.
impl fmt::Display for Drill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.trouble, self.scope)?;
        if self.share < 10_000 {
            write!(f, " for {} %", f64::from(self.share) / 100.0)?;
        }
        match &self.header {
            Some(HeaderMatch { name, test: HeaderTest::Exact(value) }) => write!(f, " with {name}: {value}"),
            Some(HeaderMatch { name, test: HeaderTest::Present }) => write!(f, " with {name}"),
            Some(HeaderMatch { name, test: HeaderTest::Absent }) => write!(f, " without {name}"),
            None => Ok(()),
        }
    }
}

/// What befalls one request or attempt: first the delay, then the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Waited first.
    pub delay: Duration,
    /// And then; `None`: all goes on as usual.
    pub end: Option<End>,
}

/// How an injected fault ends an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As if no connection came about.
    Unreachable,
    /// As if the endpoint (or the route) had answered this status.
    Abort(u16),
    /// As if the endpoint had reset the connection; on a route: the client's is.
    Reset,
}

/// What befalls a request on its route.
pub fn at_route(
    drills: &[Arc<Drill>],
    listener: &ListenerName,
    route: usize,
    headers: &dyn Headers,
    dice: &mut Dice,
) -> Injected {
    let here = |scope: &Scope| match scope {
        Scope::Route(its, at) => its == listener && at.is_none_or(|at| at == route),
        Scope::Zone(_) | Scope::Cluster(_) | Scope::Endpoint(_) => false,
    };
    inject(drills, here, Some(headers), dice)
}

/// What befalls an attempt at an endpoint; `headers` is `None` for a probe, which only
/// [`Trouble::Unreachable`] and [`Trouble::Delay`] without a header concern.
pub fn at_endpoint(drills: &[Arc<Drill>], member: &Member, headers: Option<&dyn Headers>, dice: &mut Dice) -> Injected {
    inject(drills, |scope| concerns(scope, &member.key, member.zone.as_ref()), headers, dice)
}

/// What befalls a probe of an endpoint: nothing, a delay, or that it cannot be reached.
pub fn at_probe(drills: &[Arc<Drill>], key: &EndpointKey, zone: Option<&ZoneName>, dice: &mut Dice) -> Injected {
    let injected = inject(drills, |scope| concerns(scope, key, zone), None, dice);
    Injected { end: injected.end.filter(|end| *end == End::Unreachable), ..injected }
}

/// Whether `scope` is, or contains, that endpoint.
#[must_use]
pub fn concerns(scope: &Scope, key: &EndpointKey, zone: Option<&ZoneName>) -> bool {
    match scope {
        Scope::Zone(name) => zone == Some(name),
        Scope::Cluster(name) => key.cluster == *name,
        Scope::Endpoint(its) => its == key,
        Scope::Route(..) => false,
    }
}

fn inject(
    drills: &[Arc<Drill>],
    here: impl Fn(&Scope) -> bool,
    headers: Option<&dyn Headers>,
    dice: &mut Dice,
) -> Injected {
    let mut injected = Injected::default();
    for drill in drills.iter().filter(|drill| here(&drill.scope)) {
        let asked = match (&drill.header, headers) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(headers)) => holds(wanted, headers),
        };
        if !asked || dice.below(10_000) >= u64::from(drill.share) {
            continue;
        }
        match drill.trouble {
            Trouble::Delay(more) => injected.delay = injected.delay.saturating_add(more),
            Trouble::Unreachable => injected.end = Some(End::Unreachable),
            Trouble::Abort(status) => injected.end = injected.end.or(Some(End::Abort(status))),
            Trouble::Reset => injected.end = injected.end.or(Some(End::Reset)),
        }
    }
    injected
}

fn holds(wanted: &HeaderMatch, headers: &dyn Headers) -> bool {
    let value = headers.get(&wanted.name);
    match &wanted.test {
        HeaderTest::Exact(exact) => value == Some(exact.as_bytes()),
        HeaderTest::Present => value.is_some(),
        HeaderTest::Absent => value.is_none(),
    }
}
