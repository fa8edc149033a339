//! Who asks -> which version of a release. Pure, and the same function for the data path, `weir
//! explain` and the tests.
//!
//! Precedence: `never` list, `first` list, bucket, stable. The rule of the buckets itself is
//! [`weir_config::release::rule`]; here it is applied to requests.

mod identity;
pub mod judge;
pub mod load;
pub mod rollout;

use std::net::IpAddr;
use std::sync::Arc;

use weir_config::model::{self, Anonymous, Bucket, OnUnhealthy, Rule, Share};
use weir_config::release::BUCKETS;
use weir_config::release::rule::{self, Range};

pub use identity::{Identity, Place};
use load::{BucketLoads, MirrorLoad, VersionLoad};

use crate::availability::Tier;
use crate::dice::Dice;
use crate::hash;
use crate::limits::Budget;
use crate::load::Shards;
use crate::route::RequestView;
use crate::snapshot::{Breaker, Cluster};

/// What a release may look at. Borrowed; nothing is copied.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Method, host, path and headers.
    pub view: RequestView<'a>,
    /// What follows the `?`, as received.
    pub query: Option<&'a str>,
    /// The client's address, as a trusted proxy tells it, else the peer's.
    pub client: IpAddr,
}

/// A release as the data path sees it: the weights in force, which a rollout may hold below those
/// of the configuration.
#[derive(Debug)]
pub struct Release {
    /// What the operator wrote.
    pub config: Arc<model::Release>,
    /// By version, stable first: the index in [`crate::snapshot::Snapshot::clusters`].
    pub clusters: Vec<usize>,
    /// By canary: the buckets it owns now.
    pub ranges: Vec<Range>,
    /// By canary: it gets nobody, not even those of its `first` list, since it failed or an
    /// operator gave it up.
    pub closed: Vec<bool>,
    /// By bucket: to which comparison its requests count.
    seats: Box<[Seat]>,
    /// By version: its counts.
    pub loads: Vec<Arc<Shards<VersionLoad>>>,
    /// Counts by bucket.
    pub buckets: Arc<Shards<BucketLoads>>,
    /// Where copies of its requests go.
    pub mirror: Option<Mirror>,
}

/// Where copies of a release's requests go.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The index in [`crate::snapshot::Snapshot::clusters`].
    pub cluster: usize,
    /// Copies under way.
    pub budget: Arc<Budget>,
    /// Its counts.
    pub load: Arc<Shards<MirrorLoad>>,
}

/// A bucket's version, and the canary whose equally large cohort of stable buckets it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seat {
    version: u8,
    /// 0 is none; 1 the first canary.
    cohort: u8,
}

/// Most canaries of a release.
pub const CANARIES_MAX: usize = 100;

/// Which version a request gets, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// 0 is stable, 1 the first canary.
    pub version: usize,
    /// The bucket of its id, if it has one.
    pub bucket: Option<Bucket>,
    /// What decided.
    pub why: Why,
    /// The id it is handed, if it had none and is to have one.
    pub handed: Option<Handed>,
}

/// What decided on a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A `never` list.
    Never,
    /// A `first` list.
    First,
    /// Its bucket belongs to a canary.
    Bucket,
    /// Its bucket belongs to no canary.
    Stable,
    /// It has no id.
    Unattributed,
}

impl Why {
    /// All, in order.
    pub const ALL: [Self; 5] = [Self::Never, Self::First, Self::Bucket, Self::Stable, Self::Unattributed];

    /// The word in logs, metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never_list",
            Self::First => "first_list",
            Self::Bucket => "bucket",
            Self::Stable => "stable",
            Self::Unattributed => "unattributed",
        }
    }
}

/// An id that we hand out: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed(pub [u8; 16]);

/// Which list of rules is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// The release's own `never`.
    NeverAny,
    /// `never` of the canary with this index.
    Never(usize),
    /// `first` of the canary with this index.
    First(usize),
}

/// Is told each step of a decision. `()` hears nothing and costs nothing.
pub trait Recorder {
    /// The key at this place of the chain, and what is there, in canonical form. The place after
    /// the last is the cookie handed to those without an id.
    fn key(&mut self, _at: usize, _found: Option<&[u8]>) {}
    /// A rule was tried.
    fn rule(&mut self, _list: List, _at: usize, _took: bool) {}
}

impl Recorder for () {}

impl Release {
    /// With the weights in force by canary; one that is `None` is closed. `loads` are by version.
    #[must_use]
    pub fn new(
        config: Arc<model::Release>,
        clusters: Vec<usize>,
        weights: &[Option<Share>],
        loads: Vec<Arc<Shards<VersionLoad>>>,
        buckets: Arc<Shards<BucketLoads>>,
        mirror: Option<Mirror>,
    ) -> Self {
        let range = |(canary, weight): (&model::Canary, &Option<Share>)| Range {
            from: canary.from,
            share: weight.unwrap_or(Share::NONE),
        };
        let ranges: Vec<Range> = config.canaries.iter().zip(weights).map(range).collect();
        let closed = weights.iter().map(Option::is_none).collect();
        let seats = seats(&ranges);
        Self { config, clusters, ranges, closed, seats, loads, buckets, mirror }
    }

    /// The version that owns `bucket` now: 0 is stable.
    #[must_use]
    pub fn owner(&self, bucket: Bucket) -> usize {
        usize::from(self.seats[usize::from(bucket.get())].version)
    }

    /// The canary, by index, whose cohort of stable buckets `bucket` is in.
    #[must_use]
    pub fn cohort(&self, bucket: Bucket) -> Option<usize> {
        usize::from(self.seats[usize::from(bucket.get())].cohort).checked_sub(1)
    }
}

/// By bucket. Each canary gets a cohort of stable buckets as large as itself, the next ones after
/// its own: drawn by the same rule, and nobody chose who is in it. Where stable has not so many,
/// each canary gets its part.
fn seats(ranges: &[Range]) -> Box<[Seat]> {
    let mut seats: Box<[Seat]> =
        Bucket::all().map(|bucket| Seat { version: rule::owner(ranges, bucket) as u8, cohort: 0 }).collect();
    let given: u32 = ranges.iter().map(|range| u32::from(range.share.buckets())).sum();
    let stable = u32::from(Share::ALL.buckets()).saturating_sub(given);
    for (at, range) in (1..).zip(ranges) {
        let own = u32::from(range.share.buckets());
        let wanted = if given > stable { stable * own / given } else { own };
        let after = Bucket::all().map(|step| range.from.further(range.share.buckets()).further(step.get()));
        let free = after.filter(|bucket| seats[usize::from(bucket.get())] == Seat::default());
        let cohort: Vec<Bucket> = free.take(wanted as usize).collect();
        cohort.into_iter().for_each(|bucket| seats[usize::from(bucket.get())].cohort = at);
    }
    seats
}

/// Who serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Whose it is, whatever anybody's health.
    pub assigned: Assigned,
    /// Who serves it: its version, or stable while that one has no usable endpoint.
    pub version: usize,
}

impl Decided {
    /// Whether stable serves a canary's request for want of a usable endpoint.
    #[must_use]
    pub const fn moved_by_health(&self) -> bool {
        self.version != self.assigned.version
    }
}

/// Who serves a request. `clusters` are those of the snapshot that `release` is in; `dice` are
/// rolled only for whoever is handed an id.
pub fn decide(
    release: &Release,
    clusters: &[Arc<Cluster>],
    asked: &Asked<'_>,
    dice: &mut Dice,
    recorder: &mut impl Recorder,
) -> Decided {
    let assigned = assign(release, asked, dice, recorder);
    let moves = release.config.on_unhealthy == OnUnhealthy::Stable;
    let usable = |version: usize| is_usable(&clusters[release.clusters[version]]);
    // Where stable is no better off, nothing is won by going there.
    let stays = assigned.version == 0 || !moves || usable(assigned.version) || !usable(0);
    Decided { assigned, version: if stays { assigned.version } else { 0 } }
}

/// Whether a cluster serves anybody now by choice: in panic with nobody in service it would ask
/// endpoints that are known to be sick, for want of others. Those on probation need requests to
/// come back, so they count.
#[must_use]
pub const fn is_usable(cluster: &Cluster) -> bool {
    let somebody = match cluster.available.tier {
        Tier::Healthy | Tier::Unknown | Tier::Trials => true,
        Tier::Panic => !cluster.available.trials.is_empty(),
        Tier::Nobody(_) => false,
    };
    somebody && !matches!(cluster.breaker, Breaker::Open { .. })
}

/// Which version a request gets, whatever anybody's health. `dice` as with [`decide`].
pub fn assign(release: &Release, asked: &Asked<'_>, dice: &mut Dice, recorder: &mut impl Recorder) -> Assigned {
    let config = &*release.config;
    let mut handed = None;
    let mut identity = identity::find(config, asked, recorder);
    if identity.is_none()
        && let Anonymous::Cookie(_) = config.anonymous
    {
        let id = handed.insert(Handed(hash::session_value(dice.roll()))).0;
        identity = Some(Identity::handed(id));
    }
    let id = identity.as_ref().map(Identity::id);
    let bucket = id.map(|id| Bucket::of(&config.salt, id));
    let (version, why) = precedence(release, asked, id, bucket, recorder);
    Assigned { version, bucket, why, handed }
}

/// `never`, `first`, bucket, stable.
fn precedence(
    release: &Release,
    asked: &Asked<'_>,
    id: Option<&[u8]>,
    bucket: Option<Bucket>,
    recorder: &mut impl Recorder,
) -> (usize, Why) {
    let mut listed = |rules: &[Rule], list| {
        rules.iter().enumerate().any(|(at, rule)| {
            let took = takes(rule, asked, id);
            recorder.rule(list, at, took);
            took
        })
    };
    let Release { config, closed, .. } = release;
    if listed(&config.never, List::NeverAny) {
        return (0, Why::Never);
    }
    for (at, canary) in config.canaries.iter().enumerate().filter(|(at, _)| !closed[*at]) {
        if listed(&canary.first, List::First(at)) && !listed(&canary.never, List::Never(at)) {
            return (at + 1, Why::First);
        }
    }
    let Some(bucket) = bucket else { return (0, Why::Unattributed) };
    match release.owner(bucket) {
        0 => (0, Why::Stable),
        version if listed(&config.canaries[version - 1].never, List::Never(version - 1)) => (0, Why::Never),
        version => (version, Why::Bucket),
    }
}

/// Whether a copy of a request with this method is wanted; `dice` decide on whose.
#[must_use]
pub fn is_mirrored(mirror: &model::Mirror, method: &str, dice: &mut Dice) -> bool {
    let safe = || matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE");
    let drawn = dice.below(u64::from(BUCKETS)) < u64::from(mirror.share.buckets());
    drawn && (mirror.unsafe_methods || safe())
}

/// Whether a rule takes a request with this id.
#[must_use]
pub fn takes(rule: &Rule, asked: &Asked<'_>, id: Option<&[u8]>) -> bool {
    match rule {
        Rule::Header { name, test } => test.holds(asked.view.headers.get(name)),
        Rule::Cookie { name, value } => {
            let found = hash::cookie(asked.view.headers, name);
            found.is_some_and(|found| value.as_ref().is_none_or(|value| value.as_bytes() == found))
        }
        Rule::Networks(networks) => {
            let client = asked.client.to_canonical();
            networks.iter().any(|network| network.contains(&client))
        }
        Rule::Users(users) => id.is_some_and(|id| users.contains(id)),
    }
}
