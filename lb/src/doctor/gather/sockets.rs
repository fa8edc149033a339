//! The sockets of this host's network: two looks, and what is to be said of their difference.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;
use weir_config::model::{Address, Config};

use super::Member;
use crate::doctor::facts::{Host, Leak, Path, PortUse, Queue, Sockets};
use crate::process::owners::{self, Owner};
use crate::process::sockets::{self, Socket, State};

/// Sockets looked at; of more, the first.
const SOCKETS_MAX: usize = 500_000;
/// Of each kind of finding, the largest.
const TOLD_MAX: usize = 64;

/// One look.
pub(super) struct Sample {
    at: Instant,
    sockets: Vec<Socket>,
    whole: bool,
    unseen: Option<String>,
    overflows: Option<u64>,
}

impl Sample {
    /// Looks now.
    pub(super) fn take() -> Self {
        let mut seen = Vec::new();
        let looked = sockets::each(SOCKETS_MAX, |socket| seen.push(socket));
        let netstat = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
        Self {
            at: Instant::now(),
            sockets: seen,
            whole: looked.as_ref().is_ok_and(|whole| *whole),
            unseen: looked.err().map(|error| error.to_string()),
            overflows: sockets::counter(&netstat, "ListenOverflows"),
        }
    }
}

/// What the sockets are held against.
pub(super) struct About<'a> {
    pub(super) config: &'a Config,
    pub(super) members: &'a [Member],
    pub(super) host: &'a Host,
    /// The balancer, if it runs.
    pub(super) pid: Option<u32>,
}

impl About<'_> {
    /// The first cluster that has this endpoint.
    fn cluster(&self, address: SocketAddr) -> Option<&str> {
        let there = |member: &&Member| member.address.ip() == Some(address);
        self.members.iter().find(there).map(|member| member.cluster.as_str())
    }

    fn listener(&self, address: SocketAddr) -> Option<&str> {
        let there = |wanted: &Address| {
            wanted.ip().is_some_and(|wanted| {
                wanted.port() == address.port() && (wanted.ip().is_unspecified() || wanted.ip() == address.ip())
            })
        };
        self.config.listeners.iter().find(|one| one.bind.iter().any(there)).map(|one| one.name.as_str())
    }
}

/// What was seen from the first look to the second.
pub(super) fn between(before: Sample, after: Sample, about: &About<'_>) -> Sockets {
    let mut states = BTreeMap::new();
    for socket in &after.sockets {
        *states.entry(socket.state.as_str()).or_insert(0) += 1;
    }
    let seconds = after.at.saturating_duration_since(before.at).as_secs_f64();
    let stuck = stuck(&before.sockets, &after.sockets);
    let listening: Vec<&Socket> = after.sockets.iter().filter(|socket| socket.state == State::Listen).collect();
    // Owners cost a walk through all processes: only of what may be told.
    let wanted = listening.iter().filter(|socket| socket.waiting > 0).chain(&stuck).map(|socket| socket.inode.into());
    let owners = owners::of(&wanted.filter(|inode| *inode != 0).collect::<HashSet<u64>>());
    let time_wait_max = fs::read_to_string("/proc/sys/net/ipv4/tcp_max_tw_buckets").ok();
    Sockets {
        unseen: after.unseen,
        cut: !after.whole,
        states,
        queues: queues(&listening, &owners, about),
        leaks: leaks(&stuck, &owners, about),
        ports: ports(&before.sockets, &after.sockets, seconds, about),
        time_wait_max: time_wait_max.and_then(|text| text.trim().parse().ok()),
        overflows: after.overflows.map(|all| (all, all.saturating_sub(before.overflows.unwrap_or(all)))),
        paths: paths(&after.sockets, about),
    }
}

/// Connections that their peer had closed when the first look was made, and that are still open
/// on our side.
fn stuck<'s>(before: &[Socket], after: &'s [Socket]) -> Vec<&'s Socket> {
    let half_closed = |socket: &&Socket| socket.state == State::CloseWait;
    let first: HashSet<u64> = before.iter().filter(half_closed).map(|socket| socket.cookie).collect();
    // Without an inode no process has it: it waits in an accept queue, which is told of as such.
    let held = |socket: &&Socket| socket.inode != 0 && first.contains(&socket.cookie);
    after.iter().filter(half_closed).filter(held).collect()
}

fn queues(listening: &[&Socket], owners: &HashMap<u64, Owner>, about: &About<'_>) -> Vec<Queue> {
    let mut queues: Vec<Queue> = listening
        .iter()
        .map(|socket| {
            let listener = about.listener(socket.local).map(|name| format!("listener {name}"));
            let whose = listener.or_else(|| about.cluster(socket.local).map(|name| format!("an endpoint of {name}")));
            let owner = owners.get(&socket.inode.into()).cloned();
            Queue { address: socket.local, waiting: socket.waiting, room: socket.room, owner, whose }
        })
        .filter(|queue| queue.waiting > 0 || queue.whose.is_some())
        .collect();
    queues.sort_by_key(|queue| std::cmp::Reverse(queue.waiting));
    queues.truncate(TOLD_MAX);
    queues
}

fn leaks(stuck: &[&Socket], owners: &HashMap<u64, Owner>, about: &About<'_>) -> Vec<Leak> {
    let mut by_process: BTreeMap<u32, Vec<&Socket>> = BTreeMap::new();
    for socket in stuck {
        let pid = owners.get(&socket.inode.into()).map_or(0, |owner| owner.pid);
        by_process.entry(pid).or_default().push(socket);
    }
    let mut leaks: Vec<Leak> = by_process
        .into_iter()
        .map(|(pid, held)| Leak {
            owner: held.first().and_then(|socket| owners.get(&socket.inode.into())).cloned(),
            peer: commonest(&held),
            count: held.len() as u64,
            oldest: held.iter().filter_map(|socket| socket.info).map(|info| info.heard).max().unwrap_or_default(),
            ours: Some(pid) == about.pid,
        })
        .collect();
    leaks.sort_by_key(|leak| std::cmp::Reverse(leak.count));
    leaks.truncate(TOLD_MAX);
    leaks
}

/// What most of them have in common: the port they were accepted on, or where they lead.
fn commonest(held: &[&Socket]) -> String {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for socket in held {
        *places.entry(format!("accepted on {}", socket.local)).or_default() += 1;
        *places.entry(format!("to {}", socket.remote)).or_default() += 1;
    }
    places.into_iter().max_by_key(|(_, count)| *count).map(|(place, _)| place).unwrap_or_default()
}

/// Local ports by destination: a port serves one connection to each. Counted from one local
/// address; connections from several have more.
fn ports(before: &[Socket], after: &[Socket], seconds: f64, about: &About<'_>) -> Vec<PortUse> {
    let Some((first, last, reserved)) = about.host.local_ports else { return Vec::new() };
    type Origin = (IpAddr, SocketAddr);
    let range = |cluster: Option<&str>| {
        let cluster = about.config.clusters.iter().find(|one| Some(one.name.as_str()) == cluster);
        let own = cluster.and_then(|cluster| cluster.connect.source_ports.clone());
        let of_host = (u64::from(last.saturating_sub(first)) + 1).saturating_sub(reserved);
        let all = own.as_ref().map_or(of_host, |own| own.len() as u64);
        (own.unwrap_or(first..=last), all)
    };
    let listening: HashSet<u16> =
        after.iter().filter(|socket| socket.state == State::Listen).map(|socket| socket.local.port()).collect();
    let count = |sockets: &[Socket]| {
        let mut used: HashMap<Origin, (u64, u64)> = HashMap::new();
        for socket in sockets.iter().filter(|socket| socket.state != State::Listen && socket.remote.port() != 0) {
            let (ports, _) = range(about.cluster(socket.remote));
            // The other end of a connection to this host, or one that was accepted.
            if !ports.contains(&socket.local.port()) || listening.contains(&socket.local.port()) {
                continue;
            }
            let counts = used.entry((socket.local.ip(), socket.remote)).or_default();
            counts.0 += 1;
            counts.1 += u64::from(socket.state == State::TimeWait);
        }
        used
    };
    let (earlier, now) = (count(before), count(after));
    let mut ports: Vec<PortUse> = now
        .into_iter()
        .map(|(origin, (used, time_wait))| {
            let cluster = about.cluster(origin.1);
            let grown = used as f64 - earlier.get(&origin).map_or(0, |(used, _)| *used) as f64;
            let growth = if seconds > 0.0 { grown / seconds } else { 0.0 };
            let all = range(cluster).1;
            PortUse { to: origin.1, cluster: cluster.map(str::to_owned), used, time_wait, all, growth }
        })
        .collect();
    ports.sort_by_key(|one| (std::cmp::Reverse(one.used), one.to));
    ports.truncate(TOLD_MAX);
    ports
}

fn paths(after: &[Socket], about: &About<'_>) -> Vec<Path> {
    let mut by_address: BTreeMap<SocketAddr, (Path, Duration)> = BTreeMap::new();
    for member in about.members {
        let Some(address) = member.address.ip() else { continue };
        let cluster = member.cluster.to_string();
        let path = Path { cluster, address, connections: 0, rtt: Duration::ZERO, segments: 0, retransmitted: 0 };
        by_address.entry(address).or_insert((path, Duration::ZERO));
    }
    for socket in after.iter().filter(|socket| socket.state == State::Established) {
        let (Some((path, rtts)), Some(info)) = (by_address.get_mut(&socket.remote), socket.info) else { continue };
        path.connections += 1;
        path.segments += u64::from(info.segments);
        path.retransmitted += u64::from(info.retransmitted);
        *rtts += info.rtt;
    }
    let seen = by_address.into_values().filter(|(path, _)| path.connections > 0);
    seen.map(|(path, rtts)| Path { rtt: rtts / u32::try_from(path.connections).unwrap_or(u32::MAX), ..path }).collect()
}
