//! Counters on their way from one process to the next: totals of everything that only rises, by what
//! is counted and by name. No gauges: what is under way is under way in one process.
//!
//! Totals are absolute, and a merge takes the larger: told twice, late or in the wrong order, they
//! come to the same, and nothing ever falls. Names, not places in an array, so that two versions of
//! the program understand each other as far as both count a thing.

mod loads;

use std::collections::BTreeMap;
use std::fmt;

use weir_config::model::{ClusterName, ListenerName, ReleaseName};

use crate::endpoint::EndpointKey;
use crate::load::{Count, Shards};

/// What kind of thing is counted, and so what its names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A listener.
    Listener,
    /// Requests of a listener that never came to a cluster: the listener.
    Unrouted,
    /// Requests from a listener to a cluster: both.
    Lane,
    /// A rate limit: listener, and the route or its number from 1; nothing for the listener's own.
    Limit,
    /// A cluster.
    Cluster,
    /// An endpoint: cluster and address.
    Endpoint,
    /// A version of a release: release and cluster.
    Version,
    /// The buckets of a release: the release.
    Buckets,
    /// Copies of a release's requests: the release.
    Mirror,
    /// What the judge took in at a canary's step: release and cluster.
    Judged,
    /// Any other metric: its name, and its labels in their order.
    Metric,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Listener,
        Self::Unrouted,
        Self::Lane,
        Self::Limit,
        Self::Cluster,
        Self::Endpoint,
        Self::Version,
        Self::Buckets,
        Self::Mirror,
        Self::Judged,
        Self::Metric,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Unrouted => "unrouted",
            Self::Lane => "lane",
            Self::Limit => "limit",
            Self::Cluster => "cluster",
            Self::Endpoint => "endpoint",
            Self::Version => "version",
            Self::Buckets => "buckets",
            Self::Mirror => "mirror",
            Self::Judged => "judged",
            Self::Metric => "metric",
        }
    }
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Its kind.
    pub kind: Kind,
    /// Its names.
    pub names: Vec<String>,
}

impl Subject {
    /// That of these names.
    #[must_use]
    pub fn new(kind: Kind, names: &[&str]) -> Self {
        Self { kind, names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    pub(crate) fn listener(kind: Kind, name: &ListenerName) -> Self {
        Self::new(kind, &[name.as_str()])
    }

    pub(crate) fn lane(listener: &ListenerName, cluster: &ClusterName) -> Self {
        Self::new(Kind::Lane, &[listener.as_str(), cluster.as_str()])
    }

    pub(crate) fn cluster(name: &ClusterName) -> Self {
        Self::new(Kind::Cluster, &[name.as_str()])
    }

    pub(crate) fn endpoint(key: &EndpointKey) -> Self {
        Self::new(Kind::Endpoint, &[key.cluster.as_str(), &key.address.to_string()])
    }

    pub(crate) fn release(kind: Kind, name: &ReleaseName) -> Self {
        Self::new(kind, &[name.as_str()])
    }

    pub(crate) fn version(kind: Kind, release: &ReleaseName, cluster: &ClusterName) -> Self {
        Self::new(kind, &[release.as_str(), cluster.as_str()])
    }
}

/// Totals of one subject, by name; those that are 0 are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row(pub BTreeMap<String, u64>);

impl Row {
    /// Of all workers, and what was carried before.
    #[must_use]
    pub fn of<T: Counters>(shards: &Shards<T>) -> Self {
        let mut sums: Vec<u64> = Vec::new();
        for shard in shards.iter() {
            let mut at = 0;
            shard.counters(&mut |_, count| {
                match sums.get_mut(at) {
                    Some(sum) => *sum = sum.wrapping_add(count.get()),
                    None => sums.push(count.get()),
                }
                at += 1;
            });
        }
        let (mut row, mut sums) = (Self::default(), sums.into_iter());
        if let Some(any) = shards.iter().next() {
            any.counters(&mut |name, _| row.set(name, sums.next().unwrap_or(0)));
        }
        row
    }

    /// Notes a total.
    pub fn set(&mut self, name: impl fmt::Display, total: u64) {
        if total > 0 {
            self.0.insert(name.to_string(), total);
        }
    }

    /// The total of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Lifts `carried` to these totals, where it is lower. Only control may call this.
    pub fn lift<T: Counters>(&self, carried: &T) {
        if self.0.is_empty() {
            return;
        }
        let mut word = String::new();
        carried.counters(&mut |name, count| {
            use fmt::Write as _;
            word.clear();
            // Writing to a string cannot fail.
            let _ = write!(word, "{name}");
            let told = self.get(&word);
            if told > count.get() {
                count.set(told);
            }
        });
    }
}

/// The name of a counter within its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// One alone.
    One(&'static str),
    /// One of several, by a word.
    Word(&'static str, &'static str),
    /// One of several, by a number.
    Number(&'static str, usize),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(name) => f.write_str(name),
            Self::Word(name, word) => write!(f, "{name}.{word}"),
            Self::Number(name, number) => write!(f, "{name}.{number}"),
        }
    }
}

/// What has counters.
pub trait Counters {
    /// Shows each counter, always in the same order; gauges are none.
    fn counters<'a>(&'a self, see: &mut dyn FnMut(Name, &'a Count));
}

/// Totals of everything that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals(pub BTreeMap<Subject, Row>);

impl Totals {
    /// Notes what there is of a subject.
    pub fn note(&mut self, subject: Subject, row: Row) {
        if !row.0.is_empty() {
            self.0.insert(subject, row);
        }
    }

    /// What there is of a subject.
    #[must_use]
    pub fn get(&self, subject: &Subject) -> Option<&Row> {
        self.0.get(subject)
    }

    /// Takes in what is told later.
    pub fn merge(&mut self, told: &Self) {
        for (subject, row) in &told.0 {
            let own = self.0.entry(subject.clone()).or_default();
            for (name, &total) in &row.0 {
                let own = own.0.entry(name.clone()).or_default();
                *own = total.max(*own);
            }
        }
    }

    /// What of these rose since `earlier`, still as totals: all that needs to be told anew.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let news = |(subject, row): (&Subject, &Row)| {
            let before = earlier.0.get(subject);
            let rose = |name: &str, total: u64| before.is_none_or(|before| total > before.get(name));
            let rose = row.0.iter().filter(|(name, total)| rose(name, **total));
            let row: BTreeMap<_, _> = rose.map(|(name, total)| (name.clone(), *total)).collect();
            (!row.is_empty()).then(|| (subject.clone(), Row(row)))
        };
        Self(self.0.iter().filter_map(news).collect())
    }

    /// By how much `told` is more than these of one subject and name, which it then is no more: for
    /// counters that can only be added to.
    pub fn rise(&mut self, subject: &Subject, name: &str, told: u64) -> u64 {
        let own = self.0.entry(subject.clone()).or_default().0.entry(name.to_owned()).or_default();
        let more = told.saturating_sub(*own);
        *own += more;
        more
    }
}
