//! Clusters and endpoints: what control knows of them beside what the snapshot in force says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model;
use weir_config::words;
use weir_core::attempt::Class;
use weir_core::availability::{self, WHOLE};
use weir_core::control::discovered::SourceView;
use weir_core::control::{CheckView, ClusterView, Control, EndpointView};
use weir_core::health::ProbeResult;
use weir_core::limits::Budget;
use weir_core::load::EndpointLoad;
use weir_core::reason::Reason;
use weir_core::retry::Denied;
use weir_core::snapshot::{self, Snapshot};

use super::gather::{Clock, settled};
use super::{
    Breaker, Check, Cluster, Ejection, Ejections, Endpoint, LastProbe, Level, Limit, Panic, Source, Traffic, Zone,
};
use crate::control::{Handle, tell};

pub(super) fn of(handle: &Handle, snapshot: &Snapshot, clock: Clock) -> Vec<Cluster> {
    handle.view(|control| {
        let mut sources = sources(control);
        let mut views: BTreeMap<&str, ClusterView<'_>> =
            control.clusters().map(|view| (view.config.name.as_str(), view)).collect();
        // The core tells endpoints in the order of the configuration, cluster by cluster.
        let mut endpoints = control.endpoints().peekable();
        let mut clusters = Vec::with_capacity(snapshot.clusters.len());
        for one in &snapshot.clusters {
            let name = &one.config.name;
            let mut own = Vec::with_capacity(one.members.len());
            while let Some(view) = endpoints.next_if(|view| view.key.cluster == *name) {
                own.push(endpoint(&view, one, own.len(), clock));
            }
            let view = views.remove(name.as_str());
            clusters.push(cluster(one, view.as_ref(), own, sources.remove(name.as_str()).unwrap_or_default(), clock));
        }
        clusters
    })
}

fn cluster(
    cluster: &snapshot::Cluster,
    view: Option<&ClusterView<'_>>,
    endpoints: Vec<Endpoint>,
    sources: Vec<Source>,
    clock: Clock,
) -> Cluster {
    let live = &cluster.live;
    let panic = cluster.available.panic.map(|why| Panic {
        since_seconds: cluster.panic_since.map_or(0, |since| clock.now.since(since).as_secs()),
        words: why.to_string(),
    });
    Cluster {
        name: cluster.config.name.to_string(),
        balance: balance(cluster.config.balance).to_owned(),
        using: cluster.available.tier.as_str().to_owned(),
        healthy: endpoints.iter().filter(|endpoint| endpoint.status == "healthy").count(),
        usable: cluster.available.usable().count(),
        panic,
        ejection: view.and_then(|view| ejections(view, clock)),
        breaker: cluster.config.breaker.failure_rate.as_ref().map(|_| breaker(&cluster.breaker, clock)),
        limits: limits(&[("requests", &live.requests), ("connections", &live.connections), ("retries", &live.retries)]),
        waiting: live.waiting(),
        traffic: traffic(cluster),
        levels: cluster.available.levels.iter().map(level).collect(),
        sources,
        endpoints,
    }
}

fn ejections(view: &ClusterView<'_>, clock: Clock) -> Option<Ejections> {
    let limits = view.limits?;
    let held = view.held_until.map(|until| clock.until(until).as_secs_f64());
    Some(Ejections { out: limits.out, most: limits.most, of: limits.total, held_seconds: held })
}

fn breaker(breaker: &snapshot::Breaker, clock: Clock) -> Breaker {
    let opens_seconds = match breaker {
        snapshot::Breaker::Open { until } => Some(clock.until(*until).as_secs_f64()),
        snapshot::Breaker::Closed | snapshot::Breaker::HalfOpen(_) => None,
    };
    Breaker { state: breaker.as_str().to_owned(), opens_seconds }
}

fn limits(budgets: &[(&str, &Arc<Budget>)]) -> Vec<Limit> {
    let limit = |(name, budget): &(&str, &Arc<Budget>)| {
        let most = budget.most()?;
        Some(Limit { limit: (*name).to_owned(), used: budget.used(), most, refused: budget.refused() })
    };
    budgets.iter().filter_map(limit).collect()
}

fn traffic(cluster: &snapshot::Cluster) -> Traffic {
    let load = &cluster.load;
    let denied = |(at, why): (usize, Denied)| (why.as_str().to_owned(), load.sum(|load| &load.denied[at]));
    let budget = &cluster.config.retry_budget;
    let millis = |time: Option<Duration>| time.map(tell::millis);
    Traffic {
        requests: load.sum(|load| &load.requests),
        in_flight: settled(load.sum(|load| &load.in_flight)),
        retries: load.sum(|load| &load.retries),
        saved: load.sum(|load| &load.saved),
        denied: Denied::ALL.into_iter().enumerate().map(denied).filter(|(_, count)| *count > 0).collect(),
        retry_budget: format!(
            "{} % of requests under way (or {}), and {} % of those within {} (or {})",
            budget.concurrent_percent,
            budget.min_concurrent,
            budget.percent,
            words::shown(budget.window),
            budget.min_retries
        ),
        p50_ms: millis(cluster.live.median()),
        p99_ms: millis(cluster.live.usual()),
    }
}

fn level(level: &availability::Level) -> Level {
    let percent = |part: u32| f64::from(part) * 100.0 / f64::from(WHOLE);
    let zone = |row: &availability::ZoneRow| Zone {
        zone: row.zone.as_ref().map(ToString::to_string),
        usable: row.usable,
        of: row.of,
        capacity_percent: percent(row.capacity),
        instances_percent: percent(row.instances),
        share_percent: percent(row.share),
    };
    Level {
        priority: level.priority,
        available: level.count.available,
        of: level.count.of,
        percent: level.load.percent,
        panic: level.load.panic,
        zone_state: level.zones.state.as_str().to_owned(),
        zone_reason: level.zones.state.to_string(),
        zones: level.zones.rows.iter().map(zone).collect(),
    }
}

fn sources(control: &Control) -> BTreeMap<String, Vec<Source>> {
    let mut all: BTreeMap<String, Vec<Source>> = BTreeMap::new();
    for view in control.sources() {
        all.entry(view.key.cluster.to_string()).or_default().push(source(&view));
    }
    all
}

fn source(view: &SourceView<'_>) -> Source {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let answer = view.discovery.last().map(|(_, answer)| answer);
    Source {
        source: view.key.kind.to_string(),
        state: view.state().as_str().to_owned(),
        endpoints: view.discovery.endpoints().count(),
        ttl_seconds: seconds(view.ttl_left()),
        stale_seconds: seconds(view.stale_for()),
        failures: view.discovery.failures(),
        failure: answer.and_then(|answer| answer.result.as_ref().err()).map(ToString::to_string),
        next_look_seconds: seconds(view.next_look_in()),
        trace: answer.map(|answer| tell::trace(&answer.trace)),
    }
}

fn endpoint(view: &EndpointView<'_>, cluster: &snapshot::Cluster, at: usize, clock: Clock) -> Endpoint {
    let failures = Reason::ALL.into_iter().map(|reason| view.load.sum(|load| &load.failures[reason])).sum();
    let classes = Class::ALL.into_iter().map(|class| (class, view.load.sum(|load| &load.classes[class.index()])));
    let latency = view.load.iter().filter_map(|load| load.latency.read(clock.now)).fold(0.0, f64::max);
    // Between a step and its publication the snapshot may have other members.
    let member = cluster.members.get(at).filter(|member| member.key == *view.key);
    let not_picked = member.and_then(|member| cluster.available.why_not(at, member));
    Endpoint {
        address: view.key.address.to_string(),
        zone: view.zone.map(ToString::to_string),
        weight: view.weight.get(),
        weight_percent: f64::from(view.permille) / 10.0,
        priority: view.priority,
        status: view.status.as_str().to_owned(),
        since: clock.wall_at(view.since),
        since_seconds: clock.now.since(view.since).as_secs(),
        reason: view.evidence.to_string(),
        not_picked: not_picked.map(|why| why.to_string()),
        ejection: ejection(view, &cluster.config, clock),
        in_flight: EndpointLoad::active(view.load),
        requests: view.load.sum(|load| &load.requests),
        failures,
        classes: classes
            .filter(|(_, count)| *count > 0)
            .map(|(class, count)| (class.as_str().to_owned(), count))
            .collect(),
        latency_ms: (latency > 0.0).then_some(latency / 1e6),
        connections: settled(view.load.sum(|load| &load.connections)),
        limits: limits(&[("requests", &view.live.requests), ("connections", &view.live.connections)]),
        checks: view.checks.iter().map(|view| check(view, clock)).collect(),
    }
}

fn ejection(view: &EndpointView<'_>, config: &model::Cluster, clock: Clock) -> Option<Ejection> {
    let ejection = view.ejection?;
    Some(Ejection {
        rule: ejection.cause.as_str().to_owned(),
        left_seconds: clock.until(ejection.until).as_secs_f64(),
        times: ejection.times,
        good: view.probation,
        needed: config.outlier.as_ref().map_or(0, |rules| rules.probation_successes.get()),
        evidence: tell::ejection(ejection, clock.now),
    })
}

fn check(view: &CheckView<'_>, clock: Clock) -> Check {
    let last = view.last.map(|(at, outcome)| LastProbe {
        at: clock.wall_at(at),
        passed: outcome.result.conclusion(),
        result: outcome.result.as_str().to_owned(),
        words: match outcome.result {
            ProbeResult::Inconclusive(cause) => format!("inconclusive: {cause}"),
            result => result.to_string(),
        },
        took_ms: tell::millis(outcome.took),
    });
    Check {
        asks: tell::check(view.check),
        verdict: view.verdict.as_str().to_owned(),
        streak: view.streak,
        threshold: view.threshold,
        last,
        next_seconds: view.next_due.map(|due| tell::millis(due.since(clock.now)) / 1000.0),
    }
}

const fn balance(balance: model::Balance) -> &'static str {
    match balance {
        model::Balance::RoundRobin => "round_robin",
        model::Balance::LeastRequest => "least_request",
        model::Balance::Random => "random",
        model::Balance::Ewma => "ewma",
        model::Balance::RingHash => "ring_hash",
        model::Balance::Maglev => "maglev",
    }
}
