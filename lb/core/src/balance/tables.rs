//! What is worked out from a cluster's configured members alone, whatever their health: it is made
//! anew when somebody comes, goes or changes weight, and kept while checks pass and fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_config::model::{self, Balance};

use super::{maglev, ring};
use crate::hash;
use crate::snapshot::{Cluster, Member};

/// A cluster's tables.
#[derive(Debug, Default)]
pub struct Tables {
    /// For policies that hash: by priority.
    consistent: BTreeMap<u8, Arc<Consistent>>,
    /// For sticky sessions: members by their opaque id, sorted.
    sessions: Box<[(u64, u32)]>,
}

impl Tables {
    /// The tables of `members`.
    #[must_use]
    pub fn new(cluster: &model::Cluster, members: &[Member]) -> Self {
        let mut tables = Self::default();
        if cluster.balance.hashes() {
            let mut levels: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
            for (index, member) in (0..).zip(members).filter(|(_, member)| member.weighs()) {
                levels.entry(member.priority).or_default().push(index);
            }
            let table =
                |(priority, level): (u8, Vec<u32>)| (priority, Consistent::new(cluster, members, &level).into());
            tables.consistent = levels.into_iter().map(table).collect();
        }
        if cluster.sticky.is_some() {
            tables.sessions = (0..).zip(members).map(|(index, member)| (hash::sticky(&member.key), index)).collect();
            tables.sessions.sort_unstable();
        }
        tables
    }

    /// Whether the tables of `before` would be those of `members` in `config`.
    #[must_use]
    pub fn are_same(before: &Cluster, config: &model::Cluster, members: &[Member]) -> bool {
        let wants = |config: &model::Cluster| {
            let hash = &config.hash;
            let sizes = (hash.table_size, hash.minimum_ring_size, hash.maximum_ring_size);
            (config.balance.hashes().then_some((config.balance, sizes)), config.sticky.is_some())
        };
        let is = |member: &Member| (member.id, member.weight, member.priority);
        match wants(config) {
            same if same != wants(&before.config) => false,
            (None, false) => true,
            _ => before.members.iter().map(is).eq(members.iter().map(is)),
        }
    }

    /// Of a priority level, if the policy hashes.
    pub(crate) fn of(&self, priority: u8) -> Option<&Arc<Consistent>> {
        self.consistent.get(&priority)
    }

    /// The index of the member a session stays on, if it is still there.
    pub(super) fn session(&self, id: u64) -> Option<usize> {
        let at = self.sessions.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.sessions[at].1 as usize)
    }
}

/// Consistent hashing over a level's members: from a hash to members, in an order of its own.
#[derive(Debug)]
pub(crate) enum Consistent {
    Maglev(Box<[u32]>),
    Ring { hashes: Box<[u64]>, members: Box<[u32]> },
}

impl Consistent {
    fn new(cluster: &model::Cluster, members: &[Member], level: &[u32]) -> Self {
        let entry = |&index: &u32| {
            let member = &members[index as usize];
            (member.address().to_string(), f64::from(member.weight.get()))
        };
        let entries: Vec<(String, f64)> = level.iter().map(entry).collect();
        let wish = &cluster.hash;
        if cluster.balance == Balance::RingHash {
            let points = ring::points(&entries, wish.minimum_ring_size, wish.maximum_ring_size);
            let (hashes, members): (Vec<u64>, Vec<u32>) =
                points.into_iter().map(|(hash, entry)| (hash, level[entry as usize])).unzip();
            Self::Ring { hashes: hashes.into(), members: members.into() }
        } else {
            let table = maglev::table(&entries, wish.table_size);
            Self::Maglev(table.into_iter().map(|entry| level[entry as usize]).collect())
        }
    }

    /// The slot, or the point, at the `step`th look for a hash, from 0; `None` if there are none.
    pub(super) fn slot(&self, hash: u64, step: u32) -> Option<usize> {
        match self {
            Self::Maglev(members) if members.is_empty() => None,
            Self::Maglev(members) => Some(maglev::slot(hash, step, members.len())),
            Self::Ring { hashes, members } => {
                let first = hashes.partition_point(|&point| point < hash);
                (first + step as usize).checked_rem(members.len())
            }
        }
    }

    /// The member at a slot, as [`Self::slot`] gave it.
    pub(super) fn member(&self, slot: usize) -> u32 {
        match self {
            Self::Maglev(members) | Self::Ring { members, .. } => members[slot],
        }
    }

    /// How many slots there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Maglev(members) | Self::Ring { members, .. } => members.len(),
        }
    }
}
