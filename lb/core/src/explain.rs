//! One request's way through a snapshot, and why each thing on it was so.
//!
//! Nothing is decided here: the functions of the data path are called, with a listener in their
//! ear and with copies of what they would move. So what is told is what is done, and telling it
//! changes nothing.

mod treated;

use std::sync::Arc;

use weir_config::model::{ClusterName, Share};
use weir_config::release::rule::Range;

use crate::availability::WHOLE;
use crate::balance::told::{Step, Told};
use crate::balance::{self, Ask, Cursors, Pick, Refusal, Tried};
use crate::dice::Dice;
use crate::hash;
use crate::reason::Reason;
use crate::release::{self, Asked, Decided, List, Recorder, Release};
use crate::retry;
use crate::rewrite;
use crate::route::Verdict;
use crate::snapshot::{Breaker, Cluster, Listener, Snapshot};
use crate::time::Moment;
pub use treated::{Asks, Limit, Treated};

/// What is asked, and in which state of a worker.
pub struct Asking<'a> {
    /// The index of the listener in the snapshot.
    pub listener: usize,
    /// The request.
    pub asked: Asked<'a>,
    /// As if these canaries had these weights.
    pub at_weights: &'a [(ClusterName, Share)],
    /// Where the worker stands; not advanced.
    pub cursors: &'a Cursors,
    /// Its chance; a copy.
    pub dice: Dice,
    /// Its number: latencies are as it saw them.
    pub worker: usize,
    /// When.
    pub now: Moment,
    /// Whether it comes over TLS, to us or to a proxy that is believed.
    pub secure: bool,
}

impl Asking<'_> {
    /// The port that the request names with its host.
    fn port(&self) -> Option<u16> {
        rewrite::port(self.asked.view.headers.get("host")?)
    }
}

/// One request's way.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Each route up to the one that takes it, with the verdict.
    pub routes: Vec<(usize, Verdict)>,
    /// The route that takes it.
    pub route: Option<usize>,
    /// What the release decided that the route leads to, if it leads to one.
    pub gray: Option<Gray>,
    /// The index of its cluster in the snapshot.
    pub cluster: Option<usize>,
    /// What its cluster's first pick came to, if it would come to one: not while the breaker is open.
    pub picked: Option<Picked>,
    /// What is done to it on its way.
    pub treated: Treated,
    /// Why we would answer it ourselves, if we would.
    pub refused: Option<Reason>,
}

/// What a release decided, step by step.
#[derive(Clone, Debug)]
pub struct Gray {
    /// Its index in the snapshot.
    pub index: usize,
    /// As in the snapshot, or with other weights.
    pub release: Arc<Release>,
    /// What it said on the way.
    pub heard: Heard,
    /// What came of it.
    pub decided: Decided,
    /// A copy of it goes elsewhere too.
    pub mirrored: bool,
}

/// What a release says while it decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Each key of the chain that was looked at, by its place, and what was found. The place after
    /// the last is the cookie handed to those without an id.
    pub keys: Vec<(usize, Option<Vec<u8>>)>,
    /// Each rule that was tried, by its list and place, and whether it took the request.
    pub rules: Vec<(List, usize, bool)>,
}

impl Heard {
    /// The id that was found, in its canonical form.
    #[must_use]
    pub fn id(&self) -> Option<&[u8]> {
        self.keys.iter().find_map(|(_, found)| found.as_deref())
    }
}

impl Recorder for Heard {
    fn key(&mut self, at: usize, found: Option<&[u8]>) {
        self.keys.push((at, found.map(<[u8]>::to_vec)));
    }

    fn rule(&mut self, list: List, at: usize, took: bool) {
        self.rules.push((list, at, took));
    }
}

/// A pick, step by step.
#[derive(Clone, Debug)]
pub struct Picked {
    /// Which of the cluster's hash keys the request has, if its policy hashes: its place, and the hash.
    pub key: Option<(usize, u64)>,
    /// What was done, in order; the first [`Told::MAX`].
    pub steps: Vec<Step>,
    /// Who was picked: its index among the cluster's members, and why; or why nobody.
    pub result: Result<(usize, balance::Why), Refusal>,
}

impl Picked {
    /// What came of a pick that was listened to.
    #[must_use]
    pub fn of(key: Option<(usize, u64)>, told: Told, result: &Result<Pick<'_>, Refusal>) -> Self {
        let result = match result {
            Ok(pick) => Ok((pick.index, pick.why)),
            Err(refusal) => Err(*refusal),
        };
        Self { key, steps: told.steps, result }
    }
}

/// Why a request cannot be explained with other weights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongWeight {
    /// No release has this canary.
    #[error("no release has a canary {cluster}{}", known(.canaries))]
    NoCanary {
        /// What was asked for.
        cluster: ClusterName,
        /// What there is.
        canaries: Vec<ClusterName>,
    },
    /// Two canaries would own the same buckets.
    #[error("with {weight} % {one} would own buckets of {other}, from {from} on; it has room for {room} %")]
    Overlap {
        /// Whose weight it is.
        one: ClusterName,
        /// In per cent.
        weight: Share,
        /// Whose buckets they are.
        other: ClusterName,
        /// The first bucket of those.
        from: u16,
        /// The most it could have.
        room: Share,
    },
}

fn known(canaries: &[ClusterName]) -> String {
    let names: Vec<&str> = canaries.iter().map(ClusterName::as_str).collect();
    if names.is_empty() { String::new() } else { format!("; there are: {}", names.join(", ")) }
}

/// The way of one request, as a worker in this state would send it.
///
/// # Errors
/// [`WrongWeight`].
pub fn explain(snapshot: &Snapshot, asking: &Asking<'_>) -> Result<Explanation, WrongWeight> {
    let releases = at_weights(&snapshot.releases, asking.at_weights)?;
    let (asked, mut dice) = (&asking.asked, asking.dice.clone());
    let listener = &snapshot.listeners[asking.listener];
    let mut way = Explanation {
        routes: listener.routes.explain(&asked.view),
        route: listener.routes.find(&asked.view),
        gray: None,
        cluster: None,
        picked: None,
        treated: Treated::default(),
        refused: None,
    };
    way.treated =
        Treated::of(listener, way.route, &Asks { asked, secure: asking.secure, port: asking.port(), now: asking.now });
    way.refused = treated::kept_out(listener, way.route, asked.client);
    if way.refused.is_some() {
        return Ok(way);
    }
    let Some(route) = way.route else {
        way.refused = Some(Reason::NoRoute);
        return Ok(way);
    };
    let target = &listener.targets[route];
    if let Some(index) = target.release {
        let (release, mut heard) = (Arc::clone(&releases[index]), Heard::default());
        let decided = release::decide(&release, &snapshot.clusters, asked, &mut dice, &mut heard);
        let mirror = release.config.mirror.as_ref();
        let mirrored = mirror.is_some_and(|mirror| release::is_mirrored(mirror, asked.view.method, &mut dice));
        way.gray = Some(Gray { index, release, heard, decided, mirrored });
    }
    let version = way.gray.as_ref().map_or(0, |gray| gray.decided.version);
    let Some(&(index, _)) = target.to.get(version) else { return Ok(way) };
    let cluster = &*snapshot.clusters[index];
    way.cluster = Some(index);
    way.refused = closed(cluster);
    if way.refused.is_none() {
        let picked = pick(cluster, listener, route, asking, dice);
        way.refused = picked.result.err().map(|refusal| refusal.reason);
        way.picked = Some(picked);
    }
    Ok(way)
}

/// Why a cluster's breaker lets nobody in, if it does not.
fn closed(cluster: &Cluster) -> Option<Reason> {
    let lets_in = match &cluster.breaker {
        Breaker::Closed => true,
        Breaker::Open { .. } => false,
        Breaker::HalfOpen(trial) => trial.has_room(),
    };
    (!lets_in).then_some(Reason::BreakerOpen)
}

/// The first pick, with copies of what it moves.
fn pick(cluster: &Cluster, listener: &Listener, route: usize, asking: &Asking<'_>, mut dice: Dice) -> Picked {
    let Asked { view, query, client } = asking.asked;
    let config = &cluster.config;
    let key = config.balance.hashes().then(|| hash::first_of(&config.hash.keys, &view, query, client)).flatten();
    let repeatable = retry::is_repeatable(view.method.as_bytes(), view.headers);
    let trials = !cluster.available.trials.is_empty();
    let ask = Ask {
        tried: &Tried::new(),
        hash: key.map(|(_, hash)| hash),
        sticky: config.sticky.as_ref().and_then(|sticky| hash::session(sticky, view.headers)),
        may_try: trials && retry::may_be_trial(&listener.config.routes[route].retry, repeatable, &mut dice),
        worker: asking.worker,
        now: asking.now,
    };
    let mut told = Told::rehearsing();
    let mut cursors = asking.cursors.copy_of(cluster);
    let result = balance::pick_told(cluster, &ask, &mut cursors, &mut dice, &mut told);
    Picked::of(key, told, &result)
}

/// The releases, those of the canaries named made anew with these weights.
fn at_weights(releases: &[Arc<Release>], weights: &[(ClusterName, Share)]) -> Result<Vec<Arc<Release>>, WrongWeight> {
    let mut releases = releases.to_vec();
    for (cluster, weight) in weights {
        let canaries = || releases.iter().flat_map(|release| &release.config.canaries);
        if !canaries().any(|canary| canary.cluster == *cluster) {
            let canaries = canaries().map(|canary| canary.cluster.clone()).collect();
            return Err(WrongWeight::NoCanary { cluster: cluster.clone(), canaries });
        }
        for release in &mut releases {
            let place = release.config.canaries.iter().position(|canary| canary.cluster == *cluster);
            if let Some(place) = place {
                *release = Arc::new(at_weight(release, place, *weight)?);
            }
        }
    }
    Ok(releases)
}

fn at_weight(release: &Release, place: usize, weight: Share) -> Result<Release, WrongWeight> {
    let wanted = Range { share: weight, ..release.ranges[place] };
    let others = release.ranges.iter().enumerate().filter(|(at, _)| *at != place);
    // Of all it would run into, the one it would run into first.
    let next =
        others.filter(|(_, range)| range.share > Share::NONE).min_by_key(|(_, range)| range.from.after(wanted.from));
    if let Some((other, range)) = next.filter(|(_, range)| range.overlaps(wanted)) {
        let canaries = &release.config.canaries;
        return Err(WrongWeight::Overlap {
            one: canaries[place].cluster.clone(),
            weight,
            other: canaries[other].cluster.clone(),
            from: range.from.get(),
            // The distance between two buckets is a share.
            room: Share::of_buckets(range.from.after(wanted.from)).unwrap_or_default(),
        });
    }
    let shares = release.ranges.iter().zip(&release.closed).map(|(range, closed)| (!closed).then_some(range.share));
    let mut weights: Vec<Option<Share>> = shares.collect();
    weights[place] = Some(weight);
    let Release { config, clusters, loads, buckets, mirror, .. } = release;
    Ok(Release::new(Arc::clone(config), clusters.clone(), &weights, loads.clone(), Arc::clone(buckets), mirror.clone()))
}

/// By member: the part of a cluster's requests that goes there by weight, of 1. What policy, loads
/// and keys make of that is theirs.
#[must_use]
pub fn shares(cluster: &Cluster) -> Vec<f64> {
    let mut shares = vec![0.0; cluster.members.len()];
    for group in &cluster.available.groups {
        let capacity = |index: &u32| cluster.members[*index as usize].capacity() as f64;
        let whole: f64 = group.usable.iter().map(capacity).sum();
        let part = f64::from(group.share) / f64::from(WHOLE);
        for index in &group.usable {
            shares[*index as usize] = part * capacity(index) / whole;
        }
    }
    shares
}
