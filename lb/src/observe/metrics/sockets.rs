//! What the kernel knows of this host's TCP sockets: how many in each state, and what TCP measured
//! on the way to each endpoint.
//!
//! One list of sockets, on the thread of the scrape, and not again before [`FRESH`] is over: it
//! costs about a microsecond for each socket of the host. Requests never pay for it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;
use weir_core::snapshot::Snapshot;

use super::family::{Family, FamilyText};
use super::snapshot::{crowded, zone};
use super::table;
use crate::process::clock::Apart;
use crate::process::sockets::{self, Socket, State};

/// A list of sockets is good for so long.
const FRESH: Duration = Duration::from_secs(5);
/// Sockets looked at; of more, the first.
const SOCKETS_MAX: usize = 200_000;

pub(super) struct SocketCollector {
    truth: Arc<ArcSwap<Snapshot>>,
    began: Apart,
    seen: Mutex<Seen>,
}

/// What the last list came to.
#[derive(Debug, Default)]
struct Seen {
    at: Option<Instant>,
    states: BTreeMap<&'static str, u64>,
    ways: HashMap<SocketAddr, Way>,
    /// What was counted of each connection: segments, and those sent again; and the same by the list
    /// before, while a new one is made.
    counted: HashMap<u64, (u32, u32)>,
    before: HashMap<u64, (u32, u32)>,
    /// What an earlier process told; and whether connections that are open before the first list were
    /// counted by it.
    carried: HashMap<SocketAddr, [u64; 2]>,
    known: bool,
}

/// What TCP measured on the way to one address.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Way {
    connections: u32,
    rtt: Duration,
    /// Since the first list; what a connection did after the last list before its end is not in it.
    segments: u64,
    retransmitted: u64,
}

impl SocketCollector {
    pub(super) fn new(truth: Arc<ArcSwap<Snapshot>>) -> Self {
        Self { truth, began: Apart::now(), seen: Mutex::default() }
    }

    pub(super) fn collect(&self) -> Vec<FamilyText> {
        let snapshot = self.truth.load_full();
        // Only scrapes come here.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.at.is_none_or(|at| at.elapsed() >= FRESH) {
            let members = snapshot.clusters.iter().flat_map(|cluster| &cluster.members);
            seen.begin(members.filter_map(|member| member.address().ip()));
            // Where the kernel does not tell, there are no series.
            let _ = sockets::each(SOCKETS_MAX, |socket| seen.note(&socket));
            seen.end();
        }
        let mut families = host(&seen.states, self.began);
        let seen = &*seen;
        families.extend(upstream(&seen.ways, &snapshot));
        families
    }

    /// By address: segments, and those sent again.
    pub(super) fn totals(&self) -> Vec<(String, [u64; 2])> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.ways.iter().map(|(address, way)| (address.to_string(), [way.segments, way.retransmitted])).collect()
    }

    /// Goes on from what is told of an address.
    pub(super) fn carry(&self, told: impl Fn(&str) -> [u64; 2]) {
        let snapshot = self.truth.load_full();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.at.is_some() {
            // Both see the sockets of the whole host: what comes later is in our own lists.
            return;
        }
        for address in
            snapshot.clusters.iter().flat_map(|cluster| &cluster.members).filter_map(|its| its.address().ip())
        {
            let told = told(&address.to_string());
            if told != [0; 2] {
                seen.carried.insert(address, told);
                seen.known = true;
            }
        }
    }
}

impl Seen {
    /// Before a new list, of which these are the addresses that matter.
    fn begin(&mut self, addresses: impl Iterator<Item = SocketAddr>) {
        self.states.clear();
        self.before = std::mem::take(&mut self.counted);
        let mut before = std::mem::take(&mut self.ways);
        for (address, [segments, retransmitted]) in self.carried.drain() {
            before.insert(address, Way { segments, retransmitted, ..Way::default() });
        }
        self.ways = addresses
            .map(|address| {
                let Way { segments, retransmitted, .. } = before.get(&address).copied().unwrap_or_default();
                (address, Way { segments, retransmitted, ..Way::default() })
            })
            .collect();
    }

    fn note(&mut self, socket: &Socket) {
        *self.states.entry(socket.state.as_str()).or_default() += 1;
        let (State::Established, Some(info)) = (socket.state, socket.info) else { return };
        let Some(way) = self.ways.get_mut(&socket.remote) else { return };
        way.connections += 1;
        way.rtt += info.rtt;
        self.counted.insert(socket.cookie, (info.segments, info.retransmitted));
        let (segments, retransmitted) = self.before.remove(&socket.cookie).unwrap_or_default();
        if self.known {
            return;
        }
        way.segments += u64::from(info.segments.wrapping_sub(segments));
        way.retransmitted += u64::from(info.retransmitted.wrapping_sub(retransmitted));
    }

    fn end(&mut self) {
        self.at = Some(Instant::now());
        self.known = false;
        // Those that are gone.
        self.before = HashMap::new();
    }
}

fn host(states: &BTreeMap<&'static str, u64>, began: Apart) -> Vec<FamilyText> {
    let mut sockets = Family::new(&table::HOST_SOCKETS);
    for (state, count) in states {
        sockets.count(&[state], *count);
    }
    let mut step = Family::new(&table::CLOCK_STEP);
    step.add(&[], Apart::now().step_since(began));
    let mut families = vec![sockets.finish(), step.finish()];
    let netstat = std::fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    if let Some(count) = sockets::counter(&netstat, "ListenOverflows") {
        let mut overflows = Family::new(&table::LISTEN_OVERFLOWS);
        overflows.count(&[], count);
        families.push(overflows.finish());
    }
    families
}

fn upstream(ways: &HashMap<SocketAddr, Way>, snapshot: &Snapshot) -> [FamilyText; 3] {
    let mut rtt = Family::new(&table::UPSTREAM_RTT);
    let mut segments = Family::new(&table::UPSTREAM_SEGMENTS);
    let mut retransmitted = Family::new(&table::UPSTREAM_RETRANSMITTED);
    for (cluster, crowded) in snapshot.clusters.iter().zip(crowded(&snapshot.clusters)) {
        for member in cluster.members.iter().filter(|_| !crowded) {
            let Some(way) = member.address().ip().and_then(|address| ways.get(&address)) else { continue };
            let labels = [cluster.config.name.as_str(), &member.address().to_string(), zone(member)];
            // An endpoint that nobody ever connected to has no series.
            if way.segments > 0 {
                segments.count(&labels, way.segments);
                retransmitted.count(&labels, way.retransmitted);
            }
            if way.connections > 0 {
                rtt.add(&labels, (way.rtt / way.connections).as_secs_f64());
            }
        }
    }
    [rtt, segments, retransmitted].map(Family::finish)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::sockets::TcpInfo;

    fn connection(cookie: u64, segments: u32, retransmitted: u32) -> Socket {
        Socket {
            state: State::Established,
            local: "10.0.0.9:50000".parse().unwrap(),
            remote: "10.0.0.1:80".parse().unwrap(),
            cookie,
            waiting: 0,
            room: 0,
            inode: 1,
            info: Some(TcpInfo { rtt: Duration::from_millis(4), retransmitted, segments, ..TcpInfo::default() }),
        }
    }

    #[test]
    fn what_a_connection_did_is_counted_once() {
        let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let mut seen = Seen::default();
        let mut list = |sockets: &[Socket]| {
            seen.begin([address].into_iter());
            sockets.iter().for_each(|socket| seen.note(socket));
            seen.end();
            seen.ways[&address]
        };
        let first = list(&[connection(1, 100, 2), connection(2, 50, 0)]);
        assert_eq!((first.connections, first.segments, first.retransmitted), (2, 150, 2));
        assert_eq!(first.rtt, Duration::from_millis(8));
        let then = list(&[connection(1, 130, 3)]);
        assert_eq!((then.connections, then.segments, then.retransmitted), (1, 180, 3));
        // A connection that is new counts from its own beginning; without any, what was counted stays.
        let later = list(&[connection(3, 7, 0)]);
        assert_eq!((later.segments, list(&[]).segments), (187, 187));
    }
}
