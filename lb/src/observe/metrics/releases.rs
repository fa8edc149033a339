//! Releases: who has how many users, what came of their requests, and what is judged of canaries.
//!
//! Counts and weights come from the snapshot in force; verdicts and rollouts, which no worker needs
//! to know, from control.

use std::sync::Arc;

use prometheus::{IntGaugeVec, Registry};
use weir_core::control::ReleaseView;
use weir_core::load::{Count, Shards};
use weir_core::release::judge::Kind;
use weir_core::release::load::VersionLoad;
use weir_core::release::rollout::Phase;
use weir_core::release::{Release, Why};

use super::control::opts;
use super::family::{Family, FamilyText};
use super::table::{self, Metric};

const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

pub(super) fn collect(releases: &[Arc<Release>], families: &mut Vec<FamilyText>) {
    versions(releases, families);
    copies(releases, families);
}

fn versions(releases: &[Arc<Release>], families: &mut Vec<FamilyText>) {
    let mut weight = Family::new(&table::RELEASE_WEIGHT);
    let mut requests = Family::new(&table::RELEASE_REQUESTS);
    let mut why = Family::new(&table::RELEASE_WHY);
    let mut errors = Family::new(&table::RELEASE_ERRORS);
    let mut moved = Family::new(&table::RELEASE_MOVED);
    let mut unattributed = Family::new(&table::RELEASE_UNATTRIBUTED);
    let mut duration = Family::new(&table::RELEASE_DURATION);
    for release in releases {
        let name = release.config.name.as_str();
        let shares = shares(release);
        for ((cluster, load), share) in release.config.clusters().zip(&release.loads).zip(shares) {
            let cluster = cluster.as_str();
            weight.add(&[name, cluster], share);
            for (at, class) in CLASSES.into_iter().enumerate() {
                requests.count(&[name, cluster, class], load.sum(|load| &load.requests[at]));
            }
            for (at, word) in Why::ALL.into_iter().enumerate() {
                why.count(&[name, cluster, word.as_str()], load.sum(|load| &load.why[at]));
            }
            errors.count(&[name, cluster], load.sum(|load| &load.errors));
            moved.count(&[name, cluster], load.sum(|load| &load.moved));
            duration.histogram(&[name, cluster], load.iter().map(|load| &load.duration));
        }
        let none = |load: &Arc<Shards<VersionLoad>>| load.sum(|load| &load.why[Why::Unattributed as usize]);
        unattributed.count(&[name], release.loads.iter().map(none).sum());
    }
    families.extend([weight, requests, why, errors, moved, unattributed, duration].map(Family::finish));
}

/// What each version has, 0 to 1, stable first.
fn shares(release: &Release) -> Vec<f64> {
    let canaries: Vec<f64> = release.ranges.iter().map(|range| range.share.percent() / 100.0).collect();
    let stable = 1.0 - canaries.iter().sum::<f64>();
    // Sums of hundredths are off by less than a part of a bucket.
    std::iter::once((stable * 1e4).round() / 1e4).chain(canaries).collect()
}

fn copies(releases: &[Arc<Release>], families: &mut Vec<FamilyText>) {
    let mut copies = Family::new(&table::RELEASE_COPIES);
    let mut differed = Family::new(&table::RELEASE_COPIES_DIFFERED);
    let mut dropped = Family::new(&table::RELEASE_COPIES_DROPPED);
    for release in releases {
        let name = release.config.name.as_str();
        let Some(mirror) = &release.mirror else { continue };
        for (at, class) in CLASSES.into_iter().enumerate() {
            copies.count(&[name, class], mirror.load.sum(|load| &load.copies[at]));
        }
        let one = |count: fn(&weir_core::release::load::MirrorLoad) -> &Count| mirror.load.sum(count);
        differed.count(&[name], one(|load| &load.differed));
        dropped.count(&[name], one(|load| &load.dropped));
    }
    families.extend([copies, differed, dropped].map(Family::finish));
}

/// What control knows of canaries. Clones show the same.
#[derive(Clone)]
pub(super) struct CanaryMetrics {
    verdict: IntGaugeVec,
    phase: IntGaugeVec,
    step: IntGaugeVec,
}

impl CanaryMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let gauge = |metric: &Metric| IntGaugeVec::new(opts(metric), metric.labels);
        Ok(Self {
            verdict: gauge(&table::RELEASE_VERDICT)?,
            phase: gauge(&table::ROLLOUT_PHASE)?,
            step: gauge(&table::ROLLOUT_STEP)?,
        })
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.verdict.clone()))?;
        registry.register(Box::new(self.phase.clone()))?;
        registry.register(Box::new(self.step.clone()))
    }

    /// Shows these canaries and no others.
    pub(super) fn show<'c>(&self, releases: impl Iterator<Item = ReleaseView<'c>>) {
        [&self.verdict, &self.phase, &self.step].into_iter().for_each(|gauge| gauge.reset());
        for release in releases {
            let name = release.config.name.as_str();
            for canary in &release.canaries {
                let cluster = canary.config.cluster.as_str();
                for kind in Kind::ALL {
                    let is = i64::from(canary.verdict.kind == kind);
                    self.verdict.with_label_values(&[name, cluster, kind.as_str()]).set(is);
                }
                for phase in Phase::WORDS {
                    let is = i64::from(canary.state.phase.as_str() == phase);
                    self.phase.with_label_values(&[name, cluster, phase]).set(is);
                }
                // Steps are few; none at all is 0.
                let step = if canary.config.rollout.is_some() { canary.state.step as i64 + 1 } else { 0 };
                self.step.with_label_values(&[name, cluster]).set(step);
            }
        }
    }
}
