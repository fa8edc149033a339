//! Queues that are full, connections that leak, ports that run out, packets that get lost.

use std::time::Duration;

use super::{Area, Says, percent, shown};
use crate::doctor::facts::{Leak, Path, PortUse, Queue, Sockets};
use crate::doctor::report::Finding;

const SOCKETS: Area = Area("sockets");

/// Fewer half-closed connections than this may be a moment's.
const LEAK_LEAST: u64 = 10;
/// A balancer passes on half-closed sessions for as long as their other half talks.
const LEAK_OURS_LEAST: u64 = 100;
const LEAK_BAD: u64 = 1000;
/// A queue of which so many per cent are taken is about to overflow, if it is not a tiny one.
const QUEUE_NEAR: u64 = 75;
const QUEUE_TINY: u32 = 16;
/// Of the local ports to one destination.
const PORTS_NEAR: u64 = 70;
const PORTS_REACHED: u64 = 95;
/// A forecast needs a beginning: from so many per cent on, at so many ports a second.
const FORECAST_FROM: u64 = 25;
const GROWTH_LEAST: f64 = 10.0;
const FORECAST_MAX: Duration = Duration::from_secs(600);
/// Fewer segments say nothing of a network.
const SEGMENTS_LEAST: u64 = 1000;
const RETRANSMITTED: u64 = 5;

pub(super) fn judge(sockets: &Sockets) -> Vec<Finding> {
    let mut found: Vec<Finding> = sockets.queues.iter().filter_map(queue).collect();
    if let Some((all, new)) = sockets.overflows.filter(|(_, new)| *new > 0 && found.is_empty()) {
        found.push(
            SOCKETS.warning(
                "accept_queue_overflows",
                Says {
                    cause: format!(
                        "{new} connections to this host were thrown away while we looked: an accept queue was full"
                    ),
                    evidence: format!("`ListenOverflows` in /proc/net/netstat rose to {all}"),
                    effect: "their clients try again after 1 s, then 2 s, 4 s".into(),
                    fix:
                        "`ss -ltn` shows the queue (Recv-Q over Send-Q): speed its process up, or give it a longer one"
                            .into(),
                },
            ),
        );
    }
    found.extend(sockets.leaks.iter().filter_map(leak));
    found.extend(sockets.ports.iter().filter_map(ports));
    found.extend(time_wait(sockets));
    found.extend(sockets.paths.iter().filter_map(path));
    found
}

fn queue(queue: &Queue) -> Option<Finding> {
    let Queue { address, waiting, room, owner, whose } = queue;
    let (full, taken) = (waiting > room, percent((*waiting).into(), (*room).into()));
    if !full && (*room < QUEUE_TINY || taken < QUEUE_NEAR) {
        return None;
    }
    let owner_shown = owner.as_ref().map_or_else(|| "its process".to_owned(), ToString::to_string);
    let whose_shown = whose.as_ref().map(|whose| format!(", {whose},")).unwrap_or_default();
    let pid = owner.as_ref().map_or_else(|| "PID".to_owned(), |owner| owner.pid.to_string());
    let says = Says {
        cause: format!(
            "the accept queue of {address}{whose_shown} is {}: {owner_shown} does not accept {}",
            if full { "full" } else { "nearly full" },
            if full { "connections" } else { "fast enough" },
        ),
        evidence: format!(
            "{waiting} connections wait, {room} may (`ss -ltn 'sport = :{}'`: Recv-Q, Send-Q)",
            address.port()
        ),
        effect: "new connections to it are dropped and tried again after 1 s, then 2 s, 4 s: `connect_timeout`".into(),
        fix: format!(
            "see what the process does (`cat /proc/{pid}/stack`, `top -H -p {pid}`) and restart it if it hangs; for bursts a longer \
             queue: its `listen` backlog, and `sysctl -w net.core.somaxconn=4096`"
        ),
    };
    Some(match (full, whose) {
        (true, Some(_)) => SOCKETS.bad("accept_queue_full", says),
        (true, None) => SOCKETS.warning("accept_queue_full", says),
        (false, _) => SOCKETS.warning("accept_queue_near", says),
    })
}

fn leak(leak: &Leak) -> Option<Finding> {
    let Leak { owner, peer, count, oldest, ours } = leak;
    if *count < if *ours { LEAK_OURS_LEAST } else { LEAK_LEAST } {
        return None;
    }
    let who = owner.as_ref().map_or_else(|| "a process".to_owned(), ToString::to_string);
    let line = owner.as_ref().map(|owner| format!("; it runs `{}`", owner.line)).unwrap_or_default();
    let fix = match owner {
        Some(_) if *ours => "see which sessions they are: `weir status`; where one half may stay open for long, \
                             `timeouts: {stream_idle: ...}` of the listener ends it"
            .to_owned(),
        Some(owner) => format!(
            "restart it (`kill {}`, or its service); mend it so that it closes a connection when it reads its end \
             (`ss -tnp state close-wait` lists them)",
            owner.pid
        ),
        None => "`sudo ss -tnp state close-wait` shows whose they are: restart that, and mend it".to_owned(),
    };
    let says = Says {
        cause: format!("{who} leaks connections: {count} that the other side has closed are still open (CLOSE_WAIT)"),
        evidence: format!("most of them {peer}; the oldest has been silent for {}{line}", shown(*oldest)),
        effect: "each holds a descriptor and memory of the process; without any left it takes no connection".into(),
        fix,
    };
    Some(if *count >= LEAK_BAD {
        SOCKETS.bad("close_wait_leak", says)
    } else {
        SOCKETS.warning("close_wait_leak", says)
    })
}

fn ports(ports: &PortUse) -> Option<Finding> {
    let PortUse { to, cluster, used, time_wait, all, growth } = ports;
    let taken = percent(*used, *all);
    let left = (*growth >= GROWTH_LEAST && taken >= FORECAST_FROM)
        .then(|| Duration::try_from_secs_f64(all.saturating_sub(*used) as f64 / growth).unwrap_or(Duration::MAX))
        .filter(|left| *left < FORECAST_MAX);
    if taken < PORTS_NEAR && left.is_none() {
        return None;
    }
    let whose = cluster.as_ref().map(|cluster| format!(" (cluster {cluster})")).unwrap_or_default();
    let forecast = left.map(|left| format!("; at {growth:.0} more a second the last is taken in {}", shown(left)));
    let reached = taken >= PORTS_REACHED;
    let setting = cluster.as_ref().map_or_else(String::new, |cluster| {
        format!(", more addresses to dial from (`connect: {{local_address: [...]}}` of cluster {cluster})")
    });
    let says = Says {
        cause: format!(
            "local ports to {to}{whose} are {}: {used} of {all}",
            if reached { "used up" } else { "running out" }
        ),
        evidence: format!("{time_wait} of them in TIME_WAIT{}", forecast.unwrap_or_default()),
        effect: "without a port no connection is opened: `connect_local` (503)".into(),
        fix: format!(
            "a wider range: `sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"`{setting}, or fewer connections that are closed \
             at once: keep-alive at the endpoint, `pool: {{max_idle: ...}}`"
        ),
    };
    Some(if reached { SOCKETS.bad("ports_used_up", says) } else { SOCKETS.warning("ports_running_out", says) })
}

fn time_wait(sockets: &Sockets) -> Option<Finding> {
    let (count, most) = (sockets.states.get("time_wait").copied()?, sockets.time_wait_max?);
    (percent(count, most) >= 80).then(|| {
        SOCKETS.warning(
            "time_wait_pile",
            Says {
                cause: format!("{count} connections are in TIME_WAIT, of {most} that the kernel keeps"),
                evidence: "`net.ipv4.tcp_max_tw_buckets`; `ss -tan state time-wait | awk '{print $4}' | sort | uniq -c | sort -n | tail` shows where to".into(),
                effect: "the kernel cuts TIME_WAIT short from there on: late packets may meet new connections".into(),
                fix: "keep connections open: keep-alive of clients and endpoints, `pool` of the cluster; else `sysctl -w net.ipv4.tcp_max_tw_buckets=...`".into(),
            },
        )
    })
}

fn path(path: &Path) -> Option<Finding> {
    let Path { cluster, address, connections, rtt, segments, retransmitted } = path;
    let share = percent(*retransmitted, *segments);
    (*segments >= SEGMENTS_LEAST && share >= RETRANSMITTED).then(|| {
        SOCKETS.warning(
            "packets_lost",
            Says {
                cause: format!("packets to {address} of cluster {cluster} get lost: {share} % are sent again"),
                evidence: format!(
                    "{retransmitted} of {segments} segments over {connections} connections, round trip {}",
                    shown(*rtt)
                ),
                effect: "each loss costs its request at least 200 ms: the tail of latency".into(),
                fix: format!(
                    "`mtr -n -T -P {} {}` shows where; `ip -s link` shows drops of this host",
                    address.port(),
                    address.ip()
                ),
            },
        )
    })
}
