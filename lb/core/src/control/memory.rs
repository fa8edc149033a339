//! What one process leaves to the next: what was seen of endpoints and clusters, by identity, with
//! its age. Never what was wished: that stands in the file.
//!
//! Times are ages, since the next process has another clock. Everything that is remembered is
//! open to the first probe and the first request that say otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{self, ClusterName};

use super::discovered::SourceKey;
use super::judge::Limits;
use super::known::Known;
use super::orders::{Drain, DrainScope, Drains};
use super::{Cause, Control, Ejection, Evidence};
use crate::carry::Totals;
use crate::endpoint::{EndpointKey, Status};
use crate::health::outlier::Standing;
pub use crate::health::outlier::StandingMemory;
use crate::health::{Opinion, Verdict, verdict};
use crate::time::Moment;

/// What one process leaves to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Of endpoints.
    pub endpoints: Vec<EndpointMemory>,
    /// Of breakers that are not closed.
    pub breakers: Vec<BreakerMemory>,
    /// Of sources of endpoints: whom they told last.
    pub sources: Vec<SourceMemory>,
    /// Drains by hand. For a successor that was started on purpose; not for one after a crash.
    pub drains: Vec<DrainMemory>,
}

/// What is remembered of one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointMemory {
    /// Which.
    pub key: EndpointKey,
    /// What each of its checks said, in their order: the verdict, and outcomes in a row against it.
    pub checks: Vec<(Verdict, u32)>,
    /// For how long its status has stood.
    pub stood: Duration,
    /// Why, for people.
    pub why: Arc<str>,
    /// Where it stands with its traffic.
    pub standing: StandingMemory,
    /// Ejections that make the next one longer.
    pub times: u32,
}

/// A breaker that is not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerMemory {
    /// Whose.
    pub cluster: ClusterName,
    /// Open for so long from now on; zero: half open.
    pub left: Duration,
    /// How often it opened again at once.
    pub again: u32,
}

/// Whom a source of endpoints told. A name that cannot be resolved just now is no reason to serve with
/// nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceMemory {
    /// Which.
    pub key: SourceKey,
    /// Those in its newest good answer.
    pub endpoints: Vec<model::Endpoint>,
    /// For how long looks have failed since, if they have.
    pub failing: Option<Duration>,
}

/// A drain in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainMemory {
    /// Of what.
    pub scope: DrainScope,
    /// So long ago it was ordered.
    pub stood: Duration,
    /// For so long from now on; `None`: until told otherwise.
    pub left: Option<Duration>,
    /// Who ordered it.
    pub by: Arc<str>,
}

/// An older memory is worth nothing: whoever was well then may be anything now.
pub const MEMORY_MAX: Duration = Duration::from_secs(600);

/// That an endpoint was well is believed for so long.
pub const WELL_MAX: Duration = Duration::from_secs(60);

impl Memory {
    /// The same, told so much later.
    #[must_use]
    pub fn aged(mut self, by: Duration) -> Self {
        if by > MEMORY_MAX {
            return Self::default();
        }
        for endpoint in &mut self.endpoints {
            endpoint.stood += by;
            if let StandingMemory::Out(left) = &mut endpoint.standing {
                *left = left.saturating_sub(by);
            }
            if by > WELL_MAX {
                let well = endpoint.checks.iter_mut().filter(|(verdict, _)| *verdict == Verdict::Healthy);
                well.for_each(|check| *check = (Verdict::Unknown, 0));
            }
        }
        for breaker in &mut self.breakers {
            breaker.left = breaker.left.saturating_sub(by);
        }
        for source in &mut self.sources {
            source.failing = source.failing.map(|failing| failing + by);
        }
        self.drains.retain(|drain| drain.left.is_none_or(|left| left > by));
        for drain in &mut self.drains {
            drain.stood += by;
            drain.left = drain.left.map(|left| left - by);
        }
        self
    }
}

/// What is remembered and was not yet asked for.
#[derive(Debug, Default)]
pub(super) struct Past {
    endpoints: BTreeMap<EndpointKey, EndpointMemory>,
    breakers: BTreeMap<ClusterName, BreakerMemory>,
    sources: BTreeMap<SourceKey, SourceMemory>,
    /// What was counted, until the past fades: some of it is of endpoints that are yet to be found.
    pub(super) totals: Totals,
    /// What of it was added to counters that can only be added to.
    pub(super) ledger: Totals,
    faded: bool,
}

impl Past {
    pub(super) fn endpoint(&mut self, key: &EndpointKey) -> Option<EndpointMemory> {
        self.endpoints.remove(key)
    }

    pub(super) fn breaker(&mut self, cluster: &ClusterName) -> Option<BreakerMemory> {
        self.breakers.remove(cluster)
    }

    pub(super) fn source(&mut self, key: &SourceKey) -> Option<SourceMemory> {
        self.sources.remove(key)
    }

    /// Names are looked up later than files are read; then nobody comes any more.
    pub(super) fn fade(&mut self, now: Moment, origin: Moment) {
        if now.since(origin) > MEMORY_MAX && !self.faded {
            // What was added stays added.
            *self = Self { ledger: std::mem::take(&mut self.ledger), faded: true, ..Self::default() };
        }
    }

    pub(super) const fn faded(&self) -> bool {
        self.faded
    }
}

impl Control {
    /// Goes on where another process left off, from the first configuration on: each endpoint that
    /// it names is what it was, until its own probes and requests say otherwise.
    pub fn recall(&mut self, now: Moment, memory: Memory) {
        self.now = self.now.max(now);
        self.began = self.now;
        self.past.endpoints = memory.endpoints.into_iter().map(|its| (its.key.clone(), its)).collect();
        self.past.sources = memory.sources.into_iter().map(|its| (its.key.clone(), its)).collect();
        self.past.breakers = memory.breakers.into_iter().map(|its| (its.cluster.clone(), its)).collect();
        self.recall_drains(memory.drains);
    }

    /// These are the drains in force.
    pub(super) fn recall_drains(&mut self, drains: Vec<DrainMemory>) {
        self.drains = Drains::default();
        for DrainMemory { scope, stood, left, by } in drains {
            self.drains.restore(Drain {
                scope,
                began: self.now.before(stood),
                until: left.map(|left| self.now + left),
                by,
            });
        }
    }

    /// What is to be left to the next process.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let left = |until: Moment| until.since(self.now);
        let of = |known: &Known| EndpointMemory {
            key: (*known.key).clone(),
            checks: known.checks.iter().map(|check| (check.opinion.verdict(), check.opinion.streak())).collect(),
            stood: self.now.since(known.since),
            why: known.evidence.told().into(),
            standing: known.traffic.standing.memory(self.now),
            times: known.traffic.standing.times(),
        };
        let breakers = self.clusters.iter().filter_map(|cluster| {
            let (until, again) = cluster.judged.breaker.as_ref()?.not_closed()?;
            Some(BreakerMemory {
                cluster: cluster.config.name.clone(),
                left: until.map_or(Duration::ZERO, left),
                again,
            })
        });
        let drains = self.drains().map(|drain| DrainMemory {
            scope: drain.scope.clone(),
            stood: self.now.since(drain.began),
            left: drain.until.map(left),
            by: Arc::clone(&drain.by),
        });
        Memory {
            endpoints: self.placed().map(of).collect(),
            breakers: breakers.collect(),
            sources: self.sources.memory(self.now).collect(),
            drains: drains.collect(),
        }
    }
}

impl Known {
    /// Is again what it was.
    pub(super) fn recall(&mut self, memory: EndpointMemory, now: Moment) {
        let same = memory.checks.len() == self.checks.len();
        let overall = verdict(memory.checks.iter().map(|(verdict, _)| *verdict));
        for (at, check) in self.checks.iter_mut().enumerate() {
            let (verdict, streak) = if same { memory.checks[at] } else { (overall, 0) };
            check.opinion = Opinion::recalled(&check.definition, verdict, streak);
            check.spoken = verdict != Verdict::Unknown;
        }
        self.traffic.standing = Standing::recalled(memory.standing, memory.times, now);
        if let StandingMemory::Out(left) = memory.standing {
            self.traffic.ejection = Some(Arc::new(Ejection {
                cause: Cause::Remembered(Arc::clone(&memory.why)),
                pause: left,
                until: now + left,
                times: memory.times,
                limits: Limits::default(),
                samples: Vec::new(),
            }));
        }
        self.verdict = verdict(self.checks.iter().map(|check| check.opinion.verdict()));
        self.status = self.status_of();
        self.since = now.before(memory.stood);
        self.evidence = match (self.status, &self.traffic.ejection) {
            (Status::Ejected, Some(ejection)) => Evidence::Traffic(Arc::clone(ejection)),
            (Status::Unknown, _) => Evidence::Added,
            _ if self.checks.is_empty() => Evidence::NoChecks,
            _ => Evidence::Remembered(memory.why),
        };
        self.cold = matches!(self.status, Status::Unhealthy | Status::Ejected);
        self.reachable = self.is_reachable();
    }
}
