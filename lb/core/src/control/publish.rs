//! The next generation: what changed is made anew, the rest is shared with the one before.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_config::model::{self, ZoneName};

use super::judge::Judged;
use super::known::Known;
use super::{Control, Effect, Given, Notice, panic};
use crate::endpoint::{EndpointId, Status};
use crate::health::outlier::State;
use crate::snapshot::{Cluster, Kept, Member, Snapshot};
use crate::time::Moment;

/// A cluster of the configuration in force.
#[derive(Debug)]
pub(super) struct ClusterState {
    pub(super) kept: Kept,
    pub(super) config: Arc<model::Cluster>,
    /// In the order of the configuration.
    pub(super) endpoints: Vec<EndpointId>,
    /// As workers last saw it.
    pub(super) published: Option<Arc<Cluster>>,
    /// What its traffic says of it as a whole.
    pub(super) judged: Judged,
    pub(super) stale: Stale,
}

/// What of a cluster is newer than what was published.
#[derive(Debug)]
pub(super) enum Stale {
    Nothing,
    /// What is known of the members at these indices, or the breaker.
    Statuses(Vec<usize>),
    /// Members or configuration.
    Members,
}

impl ClusterState {
    /// Notes that the status of a member changed, or its share.
    pub(super) fn note(&mut self, member: usize) {
        self.touch();
        if let Stale::Statuses(members) = &mut self.stale {
            members.push(member);
        }
    }

    /// Notes that its breaker changed.
    pub(super) fn touch(&mut self) {
        if matches!(self.stale, Stale::Nothing) {
            self.stale = Stale::Statuses(Vec::new());
        }
    }

    fn publish(
        &mut self,
        known: &BTreeMap<EndpointId, Known>,
        zone: Option<&ZoneName>,
        now: Moment,
        given: &mut Given,
        noticed: &mut Vec<Effect>,
    ) -> Arc<Cluster> {
        let members = match (std::mem::replace(&mut self.stale, Stale::Nothing), &self.published) {
            (Stale::Nothing, Some(published)) => return Arc::clone(published),
            (Stale::Statuses(changed), Some(published)) => {
                let mut members = published.members.clone();
                for at in changed {
                    let id = self.endpoints[at];
                    // A status cannot have changed of an endpoint that is not known.
                    if let Some(known) = known.get(&id) {
                        members[at] = member(id, known);
                    }
                }
                members
            }
            (_, None) | (Stale::Members, _) => {
                self.endpoints.iter().filter_map(|id| Some(member(*id, known.get(id)?))).collect()
            }
        };
        given.versions += 1;
        let mut cluster = Cluster::new(
            &self.kept,
            Arc::clone(&self.config),
            members,
            given.versions,
            self.judged.breaker(),
            zone,
            self.published.as_deref(),
        );
        let since = self.published.as_ref().and_then(|before| before.panic_since);
        let (since, notice) = panic::follow(&cluster, since, now);
        cluster.panic_since = since;
        noticed.extend(notice.map(|notice| Effect::Notice(Notice::Panic(notice))));
        let cluster = Arc::new(cluster);
        self.published = Some(Arc::clone(&cluster));
        cluster
    }
}

fn member(id: EndpointId, known: &Known) -> Member {
    let trial = match known.traffic.standing.state() {
        State::Probation { trial, .. } if known.status == Status::Probation => Some(Arc::clone(trial)),
        _ => None,
    };
    Member {
        key: Arc::clone(&known.key),
        id,
        zone: known.zone.clone(),
        host: known.host.clone(),
        weight: known.weight,
        permille: known.permille,
        priority: known.priority,
        status: known.status,
        reachable: known.reachable,
        trial,
        live: Arc::clone(&known.live),
        load: Arc::clone(&known.load),
    }
}

impl Control {
    /// The next generation, if anything changed since the last.
    ///
    /// Call it once per batch of events: it costs some nanoseconds for each cluster, and for each
    /// endpoint of clusters that changed.
    pub fn publish(&mut self, now: Moment) -> Option<Arc<Snapshot>> {
        let config = self.config.as_ref().filter(|_| self.changed)?;
        self.changed = false;
        self.now = self.now.max(now);
        self.given.generations += 1;
        let (known, zone, now) = (&self.known, config.zone.as_ref(), self.now);
        let (given, noticed) = (&mut self.given, &mut self.noticed);
        let publish = |cluster: &mut ClusterState| cluster.publish(known, zone, now, given, noticed);
        let clusters = self.clusters.iter_mut().map(publish).collect();
        Some(Arc::new(Snapshot {
            generation: self.given.generations,
            at: self.now,
            config: Arc::clone(config),
            listeners: self.listeners.clone(),
            clusters,
            releases: self.releases.iter().map(|release| Arc::clone(&release.published)).collect(),
            drills: self.drills.in_force(),
        }))
    }
}
