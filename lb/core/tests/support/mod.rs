//! Configurations made by hand, with the product's defaults.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

mod releases;
mod traffic;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::*;
use weir_core::control::orders::{Done, Refused};
use weir_core::control::{
    Control, Effect, Event, Notice, Order, ProbeFailure, ProbeOrder, ProbeOutcome, ProbeResult, Probed,
};
use weir_core::dice::Dice;
use weir_core::endpoint::{ClusterId, EndpointId, EndpointKey, Status};
use weir_core::limits::Queue;
use weir_core::live::{EndpointLive, Trial};
use weir_core::load::Shards;
use weir_core::release::rollout;
use weir_core::snapshot::{self, Kept, Member, Snapshot};
use weir_core::time::Moment;

pub(crate) use releases::*;
pub(crate) use traffic::{bring_back, charged, eject, judged_shop, of_shop, outlier, told};

pub(crate) fn config(listeners: Vec<Listener>, clusters: Vec<Cluster>) -> Config {
    Config {
        admin: None,
        zone: None,
        workers: None,
        max_concurrent_probes: count(512),
        shutdown: Shutdown { delay: Duration::ZERO, timeout: Duration::from_secs(60), upgrade_timeout: Duration::ZERO },
        access_log: None,
        listeners: listeners.into_iter().map(Arc::new).collect(),
        clusters: clusters.into_iter().map(Arc::new).collect(),
        releases: Vec::new(),
    }
}

/// A configuration of one cluster, `shop`.
pub(crate) fn shop(endpoints: Vec<Endpoint>, health_checks: Vec<HealthCheck>) -> Config {
    config(vec![listener("web", vec![to("shop")])], vec![cluster("shop", endpoints, health_checks)])
}

pub(crate) fn cluster(name: &str, endpoints: Vec<Endpoint>, health_checks: Vec<HealthCheck>) -> Cluster {
    Cluster {
        protocol: HttpVersion::H1,
        tls: None,
        proxy_protocol: None,
        name: ClusterName::new(name).expect("a name"),
        balance: Balance::RoundRobin,
        endpoints,
        health_checks: health_checks.into_iter().map(Arc::new).collect(),
        hash: Hash {
            keys: vec![HashKey::SourceAddress],
            bounded_load: Some(125),
            table_size: 65_537,
            minimum_ring_size: 1024,
            maximum_ring_size: 8 << 20,
        },
        sticky: None,
        sources: Vec::new(),
        resolve: Resolve {
            servers: Vec::new(),
            family: Family::Both,
            timeout: Duration::from_secs(2),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            max_stale: Some(Duration::from_secs(600)),
            confirm_removal: 2,
        },
        outlier: None,
        breaker: Breaker {
            max_connections: None,
            max_requests: None,
            max_pending_requests: 1024,
            max_retries: None,
            queue_timeout: Duration::from_secs(1),
            per_endpoint: EndpointLimits::default(),
            failure_rate: None,
        },
        retry_budget: RetryBudget {
            concurrent_percent: 20,
            min_concurrent: 20,
            percent: 10,
            min_retries: 20,
            window: Duration::from_secs(10),
        },
        panic: Panic { mode: PanicMode::Off, threshold: 50 },
        zone_aware: ZoneAware { enabled: true, min_endpoints: 3, shares: Vec::new() },
        overprovisioning: 140,
        connect: Connect {
            timeout: Duration::from_secs(1),
            keepalive: None,
            user_timeout: None,
            local_addresses: Vec::new(),
            source_ports: None,
        },
        pool: Pool { idle_timeout: Duration::from_secs(30), max_idle: 256 },
        slow_start: None,
    }
}

/// The address of endpoint number `n`.
pub(crate) fn address(n: usize) -> Address {
    Address::Ip(([10, 0, (n >> 8) as u8, n as u8], 80).into())
}

pub(crate) fn endpoint(n: usize, weight: u64) -> Endpoint {
    Endpoint { address: address(n), zone: None, weight: Weight::new(weight).expect("a weight"), priority: 0 }
}

/// Endpoints numbered from 0, of these weights.
pub(crate) fn endpoints(weights: &[u64]) -> Vec<Endpoint> {
    weights.iter().enumerate().map(|(n, &weight)| endpoint(n, weight)).collect()
}

/// A TCP check every 5 s, fast 1 s, down 10 s, without jitter; fall 3, rise 2.
pub(crate) fn check() -> HealthCheck {
    HealthCheck {
        timeout: Duration::from_secs(2),
        interval: Duration::from_secs(5),
        fast_interval: Duration::from_secs(1),
        down_interval: Duration::from_secs(10),
        jitter_percent: 0,
        unhealthy_threshold: count(3),
        healthy_threshold: count(2),
        port: None,
        kind: CheckKind::Tcp(Dialogue::default()),
    }
}

pub(crate) fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("not 0")
}

pub(crate) fn listener(name: &str, routes: Vec<Route>) -> Listener {
    Listener {
        name: ListenerName::new(name).expect("a name"),
        bind: vec![SocketAddr::from(([0, 0, 0, 0], 8080)).into()],
        protocol: Protocol::Http,
        routes,
        timeouts: ListenerTimeouts {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            stream_idle: Duration::from_secs(300),
            tunnel_idle: Duration::from_secs(3600),
            max_session: None,
        },
        limits: ListenerLimits {
            connections: None,
            connections_per_client: None,
            header_bytes: 32 << 10,
            header_count: 100,
            uri_bytes: 8 << 10,
            body_bytes: None,
            body_min_rate: 1024,
        },
        headers: HeaderPolicy {
            x_forwarded: true,
            forwarded: false,
            request_id: true,
            reason: true,
            deadline: true,
            decision: 0.0,
        },
        trusted_proxies: Vec::new(),
        tls: None,
        proxy_protocol: None,
        access: Access::default(),
        rate_limit: None,
        http2: Http2::default(),
        on_unhealthy: OnSick::Keep,
        udp: UdpFlows::default(),
    }
}

/// A route that sends everything to a cluster.
pub(crate) fn to(cluster: &str) -> Route {
    route(RouteMatch::default(), cluster)
}

pub(crate) fn route(matches: RouteMatch, cluster: &str) -> Route {
    Route {
        name: None,
        matches,
        target: Target::Cluster(ClusterName::new(cluster).expect("a name")),
        timeout: Duration::from_secs(15),
        retry: Retry::default(),
        body_bytes: None,
        rewrite: Rewrite::default(),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        access: Access::default(),
        rate_limit: None,
        upgrades: Vec::new(),
        line: 1,
    }
}

/// A cluster as workers see it, of members that are as they are told to be.
pub(crate) fn made(config: Cluster, members: Vec<Member>, zone: Option<&str>) -> snapshot::Cluster {
    made_after(None, config, members, zone)
}

/// The same, as the next version after another.
pub(crate) fn made_after(
    before: Option<&snapshot::Cluster>,
    config: Cluster,
    members: Vec<Member>,
    zone: Option<&str>,
) -> snapshot::Cluster {
    let kept = Kept::new(ClusterId(1), 2);
    let version = before.map_or(1, |before| before.version + 1);
    let zone = zone.map(|zone| ZoneName::new(zone).expect("a name"));
    snapshot::Cluster::new(&kept, config.into(), members, version, snapshot::Breaker::Closed, zone.as_ref(), before)
}

/// Member number `n`, of weight 1; on probation it may have one trial at a time.
pub(crate) fn member(n: usize, status: Status) -> Member {
    Member {
        key: Arc::new(EndpointKey { cluster: ClusterName::new("shop").expect("a name"), address: address(n) }),
        id: EndpointId(n as u32),
        zone: None,
        host: None,
        weight: Weight::ONE,
        permille: 1000,
        reachable: true,
        priority: 0,
        status,
        trial: (status == Status::Probation).then(|| Arc::new(Trial::new(1, 1))),
        live: Arc::new(EndpointLive::new(&Queue::new())),
        load: Arc::new(Shards::new(2)),
    }
}

/// Members of these states, numbered from 0.
pub(crate) fn members(statuses: &[Status]) -> Vec<Member> {
    statuses.iter().enumerate().map(|(n, &status)| member(n, status)).collect()
}

pub(crate) fn seconds(n: u64) -> Moment {
    Duration::from_secs(n).into()
}

pub(crate) const PASSED: ProbeResult = ProbeResult::Passed;
/// It answers, and says that it is not well.
pub(crate) const NOT_WELL: ProbeResult = ProbeResult::Failed(ProbeFailure::Status(503));
pub(crate) const REFUSED: ProbeResult = ProbeResult::Failed(ProbeFailure::ConnectRefused);

/// A control loop with its clock, and the probes that are under way.
pub(crate) struct Life {
    pub(crate) control: Control,
    pub(crate) now: Moment,
    pub(crate) under_way: Vec<ProbeOrder>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) published: Option<Arc<Snapshot>>,
    pub(crate) remembered: Vec<rollout::Kept>,
}

impl Life {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            control: Control::new(2, Dice::new(seed)),
            now: Moment::ZERO,
            under_way: Vec::new(),
            notices: Vec::new(),
            published: None,
            remembered: Vec::new(),
        }
    }

    /// One that has taken in `config`.
    pub(crate) fn of(config: Config) -> Self {
        let mut life = Self::new(1);
        life.configure(config);
        life
    }

    pub(crate) fn configure(&mut self, config: Config) -> Vec<Effect> {
        self.step(Event::Configured(Arc::new(config)))
    }

    fn sort(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let mut transitions = Vec::new();
        for effect in effects {
            match effect {
                Effect::Probe(order) => self.under_way.push(order),
                Effect::Look(_) | Effect::LookAway(_) => {}
                Effect::Notice(notice) => self.notices.push(notice),
                Effect::Transition(_) => transitions.push(effect),
                Effect::Remember(kept) => self.remembered = kept,
            }
        }
        transitions
    }

    /// Carries out an order, followed by a check of all invariants.
    pub(crate) fn order(&mut self, order: Order) -> Result<Done, Refused> {
        let mut effects = Vec::new();
        let done = self.control.order(self.now, order, &mut effects);
        self.control.check_invariants();
        self.sort(effects);
        done
    }

    /// One step, followed by a check of all invariants. Gives the transitions; keeps the orders
    /// and the notices.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.control.step(self.now, event, &mut effects);
        self.control.check_invariants();
        self.sort(effects)
    }

    /// Waits until a probe of endpoint number `n` is under way, answering those of others with
    /// `PASSED`, and gives it.
    pub(crate) fn await_probe(&mut self, n: usize) -> ProbeOrder {
        loop {
            if let Some(at) = self.under_way.iter().position(|order| order.key.address == address(n)) {
                return self.under_way.remove(at);
            }
            match self.under_way.pop() {
                Some(other) => drop(self.answer(&other, PASSED)),
                None => self.tick(),
            }
        }
    }

    /// Lets time pass until something is due.
    pub(crate) fn tick(&mut self) {
        self.now = self.control.next_due().expect("something is due").max(self.now);
        self.step(Event::Tick);
    }

    pub(crate) fn answer(&mut self, order: &ProbeOrder, result: ProbeResult) -> Vec<Effect> {
        let outcome = ProbeOutcome { result, took: Duration::from_millis(1) };
        self.step(Event::Probed(Probed { id: order.id, outcome }))
    }

    pub(crate) fn publish(&mut self) -> Option<Arc<Snapshot>> {
        self.control.publish(self.now)
    }
}
