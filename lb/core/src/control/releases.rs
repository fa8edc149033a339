//! Releases as control keeps them: counts by name, and the weights in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_config::model::{self, ClusterName, Share};

use super::Control;
use super::configure::Places;
use crate::limits::{Budget, Queue};
use crate::load::Shards;
use crate::release::load::{BucketLoads, MirrorLoad, VersionLoad};
use crate::release::{Mirror, Release};

/// A release of the configuration in force.
#[derive(Debug)]
pub(super) struct ReleaseState {
    config: Arc<model::Release>,
    /// Counts of its versions by cluster; those of clusters that left it are dropped.
    loads: BTreeMap<ClusterName, Arc<Shards<VersionLoad>>>,
    buckets: Arc<Shards<BucketLoads>>,
    /// Copies under way, and what became of those before.
    mirrored: (Arc<Budget>, Arc<Shards<MirrorLoad>>),
    /// As workers see it.
    pub(super) published: Arc<Release>,
}

impl Control {
    /// Releases are known by name: whatever else of one changes, its counts go on.
    pub(super) fn adopt_releases(&mut self, config: &model::Config) {
        let places = Places::of(config);
        let mut old: BTreeMap<_, _> = std::mem::take(&mut self.releases)
            .into_iter()
            .map(|release| (release.config.name.clone(), release))
            .collect();
        for wanted in &config.releases {
            let before = old.remove(&wanted.name);
            let release = self.adopt_release(wanted, before, &places);
            self.releases.push(release);
        }
    }

    fn adopt_release(
        &self,
        wanted: &Arc<model::Release>,
        before: Option<ReleaseState>,
        places: &Places<'_>,
    ) -> ReleaseState {
        let clusters: Vec<usize> = wanted.clusters().map(|name| places.cluster(name)).collect();
        let new_mirrored = || (Arc::new(Budget::new(None, Queue::new())), Arc::new(Shards::new(self.workers)));
        let (kept, buckets, mirrored) = match before {
            Some(before) => (before.loads, before.buckets, before.mirrored),
            None => (BTreeMap::new(), Arc::new(Shards::new(self.workers)), new_mirrored()),
        };
        let mirror = wanted.mirror.as_ref().map(|mirror| {
            let (budget, load) = mirrored.clone();
            budget.set_most(Some(mirror.max_concurrent));
            Mirror { cluster: places.cluster(&mirror.cluster), budget, load }
        });
        let load = |name: &ClusterName| kept.get(name).map_or_else(|| Arc::new(Shards::new(self.workers)), Arc::clone);
        let loads: Vec<_> = wanted.clusters().map(load).collect();
        let weights: Vec<Option<Share>> = wanted.canaries.iter().map(|canary| Some(canary.weight)).collect();
        let published =
            Arc::new(Release::new(Arc::clone(wanted), clusters, &weights, loads.clone(), Arc::clone(&buckets), mirror));
        let loads = wanted.clusters().cloned().zip(loads).collect();
        ReleaseState { config: Arc::clone(wanted), loads, buckets, mirrored, published }
    }
}
