//! Facts as JSON, and as a line for each area.

use std::time::Duration;

use serde_json::{Value, json};
use weir_core::health::ProbeResult;

use super::facts::{Answer, Bind, Endpoint, Facts, Name, Port, Sockets, Step};
use crate::process::owners::Owner;

/// Milliseconds, to the microsecond.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// Everything that was seen.
pub(super) fn facts(facts: &Facts) -> Value {
    let host = &facts.host;
    json!({
        "ports": facts.ports.iter().map(port).collect::<Vec<Value>>(),
        "names": facts.names.iter().map(name).collect::<Vec<Value>>(),
        "endpoints": facts.endpoints.iter().map(endpoint).collect::<Vec<Value>>(),
        "endpoints_unexamined": facts.unexamined,
        "sockets": sockets(&facts.sockets),
        "limits": {
            "files_open": host.files.and_then(|files| files.open),
            "files_max": host.files.map(|files| files.limit),
            "host_files": host.all_files.map(|(open, most)| json!({ "open": open, "max": most })),
            "somaxconn": host.somaxconn,
            "tcp_max_syn_backlog": host.syn_backlog,
            "tcp_syncookies": host.syncookies,
            "local_ports": host.local_ports.map(|(first, last, reserved)| json!({ "first": first, "last": last, "reserved": reserved })),
            "conntrack": host.conntrack.map(|(count, most)| json!({ "count": count, "max": most })),
        },
        "process": facts.process.as_ref().map(|process| json!({
            "pid": process.pid,
            "control_lag_ms": process.control_lag.map(millis),
            "threads": process.threads.iter().map(|thread| json!({
                "name": thread.name,
                "ran_ms": millis(thread.ran),
                "waited_ms": millis(thread.waited),
                "over_ms": millis(thread.over),
            })).collect::<Vec<Value>>(),
        })),
        "clock": {
            "step_seconds": facts.clock.step,
            "since": facts.clock.since,
            "kept_by": facts.clock.keeper.as_ref().map(|(name, _)| name),
            "synchronized": facts.clock.keeper.as_ref().and_then(|(_, done)| *done),
        },
        "certificates": facts.certificates.iter().map(|of| json!({
            "whose": of.whose,
            "file": of.file,
            "seconds_left": of.until.duration_since(of.now).map_or(0, |left| left.as_secs()),
        })).collect::<Vec<Value>>(),
    })
}

fn owner(owner: &Owner) -> Value {
    json!({ "pid": owner.pid, "name": owner.name, "command": owner.line })
}

fn port(port: &Port) -> Value {
    let (state, holder, words) = match &port.bind {
        Bind::Free => ("free", None, None),
        Bind::Ours => ("ours", None, None),
        Bind::Taken(holder) => ("taken", holder.as_ref().map(owner), None),
        Bind::Denied => ("denied", None, None),
        Bind::NotHere => ("not_here", None, None),
        Bind::Failed(words) => ("failed", None, Some(words)),
    };
    json!({ "whose": port.whose, "kind": port.kind, "address": port.address, "state": state, "holder": holder, "detail": words })
}

fn answer(answer: &Answer) -> Value {
    json!({
        "addresses": answer.result.as_ref().ok(),
        "failure": answer.result.as_ref().err().map(|(kind, _)| kind.as_str()),
        "ttl_seconds": answer.ttl.map(|ttl| ttl.as_secs()),
        "took_ms": millis(answer.took),
        "records": answer.records,
    })
}

fn name(name: &Name) -> Value {
    json!({
        "cluster": name.cluster,
        "source": name.source,
        "answer": answer(&name.answer),
        "servers": name.servers.iter().map(|server| json!({
            "server": server.address.to_string(),
            "answer": answer(&server.answer),
        })).collect::<Vec<Value>>(),
        "in_hosts_file": name.in_hosts,
        "found_as": name.found_as,
        "search": name.search,
        "stale_seconds": name.stale.map(|age| age.as_secs()),
    })
}

fn step<F>(step: &Step<F>, failed: impl Fn(&F) -> String) -> Value {
    json!({ "took_ms": millis(step.took), "failed": step.failed.as_ref().map(failed) })
}

fn endpoint(endpoint: &Endpoint) -> Value {
    json!({
        "cluster": endpoint.cluster,
        "address": endpoint.address,
        "host": endpoint.host,
        "dial": endpoint.dial.as_ref().map(|dial| step(dial, |why| why.as_str().to_owned())),
        "tls": endpoint.tls.as_ref().map(|tls| step(tls, |(why, words)| format!("{}: {words}", why.as_str()))),
        "checks": endpoint.checks.iter().map(|(kind, check)| json!({
            "type": kind,
            "result": step(check, ProbeResult::to_string),
        })).collect::<Vec<Value>>(),
    })
}

fn sockets(sockets: &Sockets) -> Value {
    json!({
        "unseen": sockets.unseen,
        "cut": sockets.cut,
        "states": sockets.states,
        "queues": sockets.queues.iter().map(|queue| json!({
            "address": queue.address.to_string(),
            "whose": queue.whose,
            "waiting": queue.waiting,
            "room": queue.room,
            "owner": queue.owner.as_ref().map(owner),
        })).collect::<Vec<Value>>(),
        "close_wait": sockets.leaks.iter().map(|leak| json!({
            "owner": leak.owner.as_ref().map(owner),
            "count": leak.count,
            "most": leak.peer,
            "oldest_ms": millis(leak.oldest),
        })).collect::<Vec<Value>>(),
        "local_ports": sockets.ports.iter().map(|ports| json!({
            "to": ports.to.to_string(),
            "cluster": ports.cluster,
            "used": ports.used,
            "time_wait": ports.time_wait,
            "all": ports.all,
            "growth_per_second": ports.growth,
        })).collect::<Vec<Value>>(),
        "listen_overflows": sockets.overflows.map(|(all, _)| all),
        "paths": sockets.paths.iter().map(|path| json!({
            "cluster": path.cluster,
            "address": path.address.to_string(),
            "connections": path.connections,
            "rtt_ms": millis(path.rtt),
            "segments": path.segments,
            "retransmitted": path.retransmitted,
        })).collect::<Vec<Value>>(),
    })
}

/// What was looked at: a line for each area that there is something to say of.
pub(super) fn summary(facts: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |area: &str, text: String| lines.push(format!("{area:<10} {text}"));
    if !facts.ports.is_empty() {
        let ours = facts.ports.iter().filter(|port| port.bind == Bind::Ours).count();
        let free = facts.ports.iter().filter(|port| port.bind == Bind::Free).count();
        line("ports", format!("{} wanted, {ours} ours, {free} free", facts.ports.len()));
    }
    if !facts.names.is_empty() {
        let servers: std::collections::BTreeSet<_> =
            facts.names.iter().flat_map(|name| name.servers.iter().map(|server| server.address)).collect();
        let slowest = facts.names.iter().map(|name| name.answer.took).max().unwrap_or_default();
        line(
            "dns",
            format!("names: {}, servers: {}, slowest look {:.1} ms", facts.names.len(), servers.len(), millis(slowest)),
        );
    }
    let dials: Vec<Duration> =
        facts.endpoints.iter().filter_map(|one| one.dial.as_ref()).map(|dial| dial.took).collect();
    let checks = facts.endpoints.iter().map(|one| one.checks.len()).sum::<usize>();
    let slowest = dials.iter().max().copied().unwrap_or_default();
    line(
        "endpoints",
        format!("{} looked at, {checks} health checks, slowest dial {:.1} ms", facts.endpoints.len(), millis(slowest)),
    );
    match &facts.sockets.unseen {
        Some(why) => line("sockets", format!("cannot be listed: {why}")),
        None => {
            let count = |state: &str| facts.sockets.states.get(state).copied().unwrap_or(0);
            let (open, waits, half) = (count("established"), count("time_wait"), count("close_wait"));
            line("sockets", format!("{open} established, {waits} in TIME_WAIT, {half} in CLOSE_WAIT"));
        }
    }
    if let Some(files) = facts.host.files {
        let open = files.open.map_or_else(|| "at most".to_owned(), |open| format!("{open} of"));
        let ports = facts
            .host
            .local_ports
            .map_or_else(String::new, |(first, last, _)| format!(", local ports {first} to {last}"));
        line("limits", format!("{open} {} files open{ports}", files.limit));
    }
    let kept = facts.clock.keeper.as_ref().map_or("nobody seen", |(name, _)| name);
    line("clock", format!("set by {:+.3} s since {}, kept by {kept}", facts.clock.step, facts.clock.since));
    lines
}
