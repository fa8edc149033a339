//! What moves with each pick of one worker.

use super::round_robin::{Cursor, Turns};
use crate::availability::Locality;
use crate::dice::Dice;
use crate::snapshot::Cluster;

/// Where one worker stands in the round robin of each cluster's groups. Each worker starts at an
/// offset of its own, so that workers do not march in step; the sequence is strict within a
/// worker, not across.
#[derive(Debug, Default)]
pub struct Cursors(Vec<Option<Box<OfCluster>>>);

#[derive(Clone, Debug, Default)]
struct OfCluster {
    version: u64,
    /// As the cluster's groups.
    groups: Vec<OfGroup>,
}

#[derive(Clone, Debug)]
struct OfGroup {
    priority: u8,
    zone: Locality,
    cursor: Cursor,
}

impl Cursors {
    /// No cluster seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// A copy of those of one cluster: what picks with it advances nothing here.
    #[must_use]
    pub fn copy_of(&self, cluster: &Cluster) -> Self {
        let id = cluster.id.0 as usize;
        let mut copy = Self::new();
        if let Some(own) = self.0.get(id).and_then(Option::as_ref) {
            *copy.slot(id) = Some(own.clone());
        }
        copy
    }

    /// Frees what is kept for clusters other than these; worth a call when a generation comes.
    pub fn keep<'c>(&mut self, clusters: impl IntoIterator<Item = &'c Cluster>) {
        let mut kept = Self::new();
        for cluster in clusters {
            let id = cluster.id.0 as usize;
            if let Some(cursors) = self.0.get_mut(id).and_then(Option::take) {
                *kept.slot(id) = Some(cursors);
            }
        }
        *self = kept;
    }

    /// The cursor over the turns of a group, given by its index.
    pub(super) fn of(&mut self, cluster: &Cluster, group: usize, turns: &Turns, dice: &mut Dice) -> &mut Cursor {
        let own = self.slot(cluster.id.0 as usize).get_or_insert_default();
        own.follow(cluster);
        let cursor = &mut own.groups[group].cursor;
        cursor.follow(cluster.version, turns, dice);
        cursor
    }

    fn slot(&mut self, id: usize) -> &mut Option<Box<OfCluster>> {
        if id >= self.0.len() {
            self.0.resize_with(id + 1, || None);
        }
        &mut self.0[id]
    }
}

impl OfCluster {
    /// Makes the cursors fit the cluster's groups; those that were there before go on.
    fn follow(&mut self, cluster: &Cluster) {
        if self.version == cluster.version && !self.groups.is_empty() {
            return;
        }
        let mut old = std::mem::take(&mut self.groups);
        for group in &cluster.available.groups {
            let before = old.iter().position(|old| (old.priority, &old.zone) == (group.priority, &group.zone));
            let cursor = before.map(|at| old.swap_remove(at).cursor).unwrap_or_default();
            self.groups.push(OfGroup { priority: group.priority, zone: group.zone.clone(), cursor });
        }
        self.version = cluster.version;
    }
}
