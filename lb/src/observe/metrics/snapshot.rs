//! Listeners, clusters and endpoints of the snapshot in force, with every worker's counts added up.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;
use weir_config::model::Protocol;
use weir_core::attempt::Class;
use weir_core::drill::{Drill, Trouble};
use weir_core::endpoint::Status;
use weir_core::grpc::Code;
use weir_core::load::{Count, EndpointLoad, LaneLoad, ListenerLoad, Shards};
use weir_core::reason::Reason;
use weir_core::snapshot::{Cluster, Listener, Member, Snapshot};

use super::control::TransitionTimes;
use super::family::{Exemplars, Family, FamilyText};
use super::table::{self, Metric};
use super::{ENDPOINT_SERIES_MAX, clusters, limits, releases, tls};

const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

pub(super) struct SnapshotCollector {
    truth: Arc<ArcSwap<Snapshot>>,
    transitions_at: TransitionTimes,
}

impl SnapshotCollector {
    pub(super) const fn new(truth: Arc<ArcSwap<Snapshot>>, transitions_at: TransitionTimes) -> Self {
        Self { truth, transitions_at }
    }

    /// Everything; `exemplars` are put on the durations of requests.
    pub(super) fn collect(&self, exemplars: &Exemplars) -> Vec<FamilyText> {
        let snapshot = self.truth.load_full();
        let mut generation = Family::new(&table::GENERATION);
        generation.count(&[], snapshot.generation);
        let mut families = vec![generation.finish(), drills(&snapshot.drills)];
        listeners(&snapshot.listeners, &mut families);
        tls::collect(&snapshot.config, &snapshot.listeners, &mut families);
        lanes(&snapshot.listeners, exemplars, &mut families);
        limits::collect(&snapshot.listeners, &mut families);
        clusters::collect(&snapshot.clusters, &mut families);
        releases::collect(&snapshot.releases, &mut families);
        let crowded = crowded(&snapshot.clusters, ENDPOINT_SERIES_MAX);
        self.endpoints(&snapshot.clusters, &crowded, &mut families);
        upstream(&snapshot.clusters, &crowded, &mut families);
        families
    }
}

fn drills(drills: &[Arc<Drill>]) -> FamilyText {
    let mut active = Family::new(&table::DRILLS);
    for kind in Trouble::KINDS {
        let count = drills.iter().filter(|drill| drill.trouble.as_str() == kind).count();
        active.count(&[kind], count as u64);
    }
    active.finish()
}

fn listeners(listeners: &[Arc<Listener>], families: &mut Vec<FamilyText>) {
    type Pick = fn(&ListenerLoad) -> &Count;
    let counts: [(Metric, Pick); 7] = [
        (table::LISTENER_ACCEPTED, |load| &load.accepted),
        (table::LISTENER_OPEN, |load| &load.open),
        (table::LISTENER_REJECTED, |load| &load.rejected),
        (table::LISTENER_RECEIVED, |load| &load.bytes_received),
        (table::LISTENER_SENT, |load| &load.bytes_sent),
        (table::TUNNELS, |load| &load.tunnels),
        (table::TUNNELLED, |load| &load.tunnelled),
    ];
    for (metric, count) in counts {
        let mut family = Family::new(&metric);
        for listener in listeners {
            family.count(&[listener.config.name.as_str()], settled(listener.load.sum(count)));
        }
        families.push(family.finish());
    }
    let mut most = Family::new(&table::LISTENER_LIMIT);
    for listener in listeners {
        if let Some(limit) = listener.config.limits.connections {
            most.count(&[listener.config.name.as_str()], limit.get().into());
        }
    }
    families.push(most.finish());
    let datagrams: [(Metric, Pick); 2] = [
        (table::DATAGRAMS_RECEIVED, |load| &load.datagrams_received),
        (table::DATAGRAMS_SENT, |load| &load.datagrams_sent),
    ];
    for (metric, count) in datagrams {
        let mut family = Family::new(&metric);
        for listener in listeners.iter().filter(|listener| listener.config.protocol == Protocol::Udp) {
            family.count(&[listener.config.name.as_str()], listener.load.sum(count));
        }
        families.push(family.finish());
    }
    let mut responses = Family::new(&table::RESPONSES);
    for listener in listeners {
        for reason in Reason::ALL {
            let count = listener.load.sum(|load| &load.reasons[reason]);
            responses.count(&[listener.config.name.as_str(), reason.as_str()], count);
        }
    }
    families.push(responses.finish());
}

fn lanes(listeners: &[Arc<Listener>], exemplars: &Exemplars, families: &mut Vec<FamilyText>) {
    let mut requests = Family::new(&table::REQUESTS);
    let mut calls = Family::new(&table::CALLS);
    let mut in_flight = Family::new(&table::IN_FLIGHT);
    let mut duration = Family::new(&table::DURATION);
    let mut first_byte = Family::new(&table::FIRST_BYTE);
    for listener in listeners {
        let name = listener.config.name.as_str();
        let mut lane = |cluster: &str, load: &Shards<LaneLoad>| {
            for (at, class) in CLASSES.into_iter().enumerate() {
                requests.count(&[name, cluster, class], load.sum(|lane| &lane.requests[at]));
            }
            for code in Code::all() {
                let count = load.sum(|lane| &lane.calls[usize::from(code.get())]);
                if count > 0 {
                    calls.count(&[name, cluster, &code.get().to_string()], count);
                }
            }
            in_flight.count(&[name, cluster], settled(load.sum(|lane| &lane.in_flight)));
            let row = exemplars.get(&(name.to_owned(), cluster.to_owned()));
            duration.histogram_with(&[name, cluster], load.iter().map(|lane| &lane.duration), row);
            if !cluster.is_empty() {
                first_byte.histogram(&[name, cluster], load.iter().map(|lane| &lane.first_byte));
            }
        };
        // Requests that never came to a cluster have an empty name in its place.
        lane("", &listener.unrouted);
        for (cluster, load) in &listener.lanes {
            lane(cluster.as_str(), load);
        }
    }
    families.extend([requests, calls, in_flight, duration, first_byte].map(Family::finish));
}

impl SnapshotCollector {
    /// Health and weight.
    fn endpoints(&self, clusters: &[Arc<Cluster>], crowded: &[bool], families: &mut Vec<FamilyText>) {
        let mut states = Family::new(&table::CLUSTER_STATES);
        let mut total = Family::new(&table::CLUSTER_ENDPOINTS);
        let mut healthy = Family::new(&table::CLUSTER_HEALTHY);
        let mut in_zone = Family::new(&table::ZONE_ENDPOINTS);
        let mut dropped = Family::new(&table::SERIES_DROPPED);
        let mut up = Family::new(&table::ENDPOINT_UP);
        let mut state = Family::new(&table::ENDPOINT_STATE);
        let mut weight = Family::new(&table::ENDPOINT_WEIGHT);
        let mut share = Family::new(&table::ENDPOINT_SHARE);
        let mut since = Family::new(&table::ENDPOINT_SINCE);
        // A copy: control must not wait for a scrape.
        let times = self.transitions_at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (cluster, &crowded) in clusters.iter().zip(crowded) {
            let name = cluster.config.name.as_str();
            let with = |status| cluster.members.iter().filter(|member| member.status == status).count() as u64;
            total.count(&[name], cluster.members.len() as u64);
            healthy.count(&[name], with(Status::Healthy));
            Status::ALL.iter().for_each(|status| states.count(&[name, status.as_str()], with(*status)));
            for (zone, counts) in by_zone(cluster) {
                for (status, count) in Status::ALL.into_iter().zip(counts) {
                    // "None is well" is what is asked for; of the others there are mostly none.
                    if count > 0 || status == Status::Healthy {
                        in_zone.count(&[name, zone, status.as_str()], count);
                    }
                }
            }
            dropped.count(&[name], if crowded { cluster.members.len() as u64 } else { 0 });
            if crowded {
                continue;
            }
            for member in &cluster.members {
                let (address, zone) = (member.address().to_string(), zone(member));
                let labels = [name, &address, zone];
                up.count(&labels, u64::from(member.status == Status::Healthy));
                weight.count(&labels, member.weight.get().into());
                if member.permille != 1000 {
                    share.add(&labels, f64::from(member.weight.get()) * f64::from(member.permille) / 1000.0);
                }
                state.count(&[name, &address, zone, member.status.as_str()], 1);
                if let Some(&at) = times.get(&member.key) {
                    since.add(&labels, at);
                }
            }
        }
        families.extend([states, total, healthy, in_zone, dropped].map(Family::finish));
        families.extend([up, state, weight, share, since].map(Family::finish));
    }
}

/// Traffic to endpoints.
fn upstream(clusters: &[Arc<Cluster>], crowded: &[bool], families: &mut Vec<FamilyText>) {
    type Pick = fn(&EndpointLoad) -> &Count;
    let counts: [(Metric, Pick); 7] = [
        (table::UPSTREAM_REQUESTS, |load| &load.requests),
        (table::UPSTREAM_IN_FLIGHT, |load| &load.in_flight),
        (table::UPSTREAM_OPEN, |load| &load.connections),
        (table::UPSTREAM_CONNECTS, |load| &load.connects),
        (table::UPSTREAM_REUSES, |load| &load.reuses),
        (table::UPSTREAM_SENT, |load| &load.bytes_sent),
        (table::UPSTREAM_RECEIVED, |load| &load.bytes_received),
    ];
    let groups: Vec<Group<'_>> =
        clusters.iter().zip(crowded).flat_map(|(cluster, &crowded)| grouped(cluster, crowded)).collect();
    for (metric, count) in counts {
        let mut family = Family::new(&metric);
        for group in &groups {
            family.count(&group.labels(), settled(group.sum(count)));
        }
        families.push(family.finish());
    }
    let mut answers = Family::new(&table::UPSTREAM_ANSWERS);
    let mut errors = Family::new(&table::UPSTREAM_ERRORS);
    let mut attempts = Family::new(&table::UPSTREAM_ATTEMPTS);
    for group in &groups {
        let [cluster, endpoint, zone] = group.labels();
        for (at, class) in CLASSES.into_iter().take(5).enumerate() {
            let count = group.sum(|load| &load.answers[at]);
            // Most endpoints never answer in most ways: a series for each would be most of a scrape.
            if count > 0 || class == "2xx" {
                answers.count(&[cluster, endpoint, zone, class], count);
            }
        }
        for class in Class::ALL {
            let count = group.sum(|load| &load.classes[class.index()]);
            if count > 0 {
                attempts.count(&[cluster, endpoint, zone, class.as_str()], count);
            }
        }
        for reason in Reason::ALL {
            let count = group.sum(|load| &load.failures[reason]);
            if count > 0 {
                errors.count(&[cluster, endpoint, zone, reason.as_str()], count);
            }
        }
    }
    families.extend([answers, errors, attempts].map(Family::finish));
}

/// Endpoints that share one series: one, or in a crowded cluster all of one zone.
struct Group<'c> {
    cluster: &'c str,
    endpoint: String,
    zone: &'c str,
    loads: Vec<&'c Shards<EndpointLoad>>,
}

impl Group<'_> {
    fn labels(&self) -> [&str; 3] {
        [self.cluster, &self.endpoint, self.zone]
    }

    fn sum(&self, count: impl Fn(&EndpointLoad) -> &Count) -> u64 {
        self.loads.iter().fold(0, |sum: u64, shards| sum.wrapping_add(shards.sum(&count)))
    }
}

fn grouped(cluster: &Cluster, crowded: bool) -> Vec<Group<'_>> {
    let name = cluster.config.name.as_str();
    let group = |endpoint, zone, loads| Group { cluster: name, endpoint, zone, loads };
    if !crowded {
        let one = |member| group(Member::address(member).to_string(), zone(member), vec![&*member.load]);
        return cluster.members.iter().map(one).collect();
    }
    let mut zones: BTreeMap<&str, Vec<&Shards<EndpointLoad>>> = BTreeMap::new();
    for member in &cluster.members {
        zones.entry(zone(member)).or_default().push(&member.load);
    }
    zones.into_iter().map(|(zone, loads)| group(String::new(), zone, loads)).collect()
}

/// Which clusters' endpoints have no series of their own: the largest, as far as all endpoints
/// together are more than may have them.
pub(super) fn crowded(clusters: &[Arc<Cluster>], series_max: usize) -> Vec<bool> {
    let mut by_size: Vec<usize> = (0..clusters.len()).collect();
    by_size.sort_by_key(|&at| clusters[at].members.len());
    let (mut crowded, mut room) = (vec![true; clusters.len()], series_max);
    for at in by_size {
        let Some(left) = room.checked_sub(clusters[at].members.len()) else { break };
        (crowded[at], room) = (false, left);
    }
    crowded
}

/// Endpoints of each zone, by state in the order of [`Status::ALL`].
fn by_zone(cluster: &Cluster) -> BTreeMap<&str, [u64; Status::ALL.len()]> {
    let mut zones = BTreeMap::new();
    for member in &cluster.members {
        let counts: &mut [u64; Status::ALL.len()] = zones.entry(zone(member)).or_default();
        for (status, count) in Status::ALL.into_iter().zip(counts) {
            *count += u64::from(member.status == status);
        }
    }
    zones
}

pub(super) fn zone(member: &Member) -> &str {
    member.zone.as_ref().map_or("", |zone| zone.as_str())
}

/// A gauge whose shards were read at different moments can seem negative; then it was near 0.
pub(super) const fn settled(sum: u64) -> u64 {
    if sum > i64::MAX as u64 { 0 } else { sum }
}
