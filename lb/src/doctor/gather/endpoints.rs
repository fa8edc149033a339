//! The way to each endpoint, step by step: connection, TLS, health checks; through the same doors
//! as requests and probes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use weir_config::model::{Address, CheckKind, Cluster, Config, Protocol, ReleaseName, Target};
use weir_core::health::ProbeResult;
use weir_core::tls::Untrusted;

use super::Member;
use crate::control::lag::Lag;
use crate::control::probe;
use crate::doctor::facts::{Endpoint, Step};
use crate::env::{Env, Stream, Unconnected};
use crate::tls::{Book, Use};
use crate::transport::{self, Unopened, Way};

/// Endpoints looked at; of more, the first.
const ENDPOINTS_MAX: usize = 1000;
/// At once.
const AT_ONCE: usize = 32;

/// Goes to every endpoint; how many were not got to in time.
pub(super) async fn look<E: Env>(
    env: &E,
    config: &Config,
    lag: &Rc<Lag>,
    members: &[Member],
    deadline: Instant,
) -> (Vec<Endpoint>, usize) {
    // What cannot be had was refused when the configuration was read.
    let book = Arc::new(Book::default().next(config).unwrap_or_default());
    let (turns, mut looks) = (Rc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for (nth, member) in members.iter().take(ENDPOINTS_MAX).enumerate() {
        let Some(cluster) = config.clusters.iter().find(|cluster| cluster.name == member.cluster) else { continue };
        let purpose = purpose(config, cluster);
        let (env, lag, turns) = (env.clone(), Rc::clone(lag), Rc::clone(&turns));
        let (cluster, member, book) = (Arc::clone(cluster), member.clone(), Arc::clone(&book));
        looks.spawn_local(async move {
            // Never closed.
            let _turn = turns.acquire().await;
            (nth, one(&env, &lag, &book, &cluster, &member, purpose).await)
        });
    }
    let mut seen = Vec::new();
    while let Ok(Some(looked)) = timeout_at(deadline, looks.join_next()).await {
        seen.extend(looked.ok());
    }
    seen.sort_by_key(|(nth, _)| *nth);
    let seen: Vec<Endpoint> = seen.into_iter().map(|(_, endpoint)| endpoint).collect();
    let unexamined = members.len() - seen.len().min(members.len());
    (seen, unexamined)
}

async fn one<E: Env>(
    env: &E,
    lag: &Lag,
    book: &Book,
    cluster: &Cluster,
    member: &Member,
    purpose: Option<Use>,
) -> Endpoint {
    let (host, limit) = (member.host.as_deref(), cluster.connect.timeout);
    let mut seen = Endpoint {
        cluster: cluster.name.to_string(),
        address: member.address.to_string(),
        host: host.map(str::to_owned),
        dial: None,
        tls: None,
        checks: Vec::new(),
    };
    let connector = match transport::connector(book, cluster) {
        Ok(connector) => connector,
        Err(unopened) => {
            seen.tls = Some(Step { took: Duration::ZERO, limit, failed: untrusted(unopened) });
            return seen;
        }
    };
    let proxy = cluster.proxy_protocol.map(|version| (version, None));
    let way =
        |for_what| Way { connect: &cluster.connect, proxy, tls: connector.as_deref(), host, for_what, request: None };
    let mut reached = true;
    if let Some(purpose) = purpose {
        let way = way(purpose);
        let began = Instant::now();
        let dialled = timeout(limit, transport::connect(env, &member.address, way)).await;
        let dialled = dialled.unwrap_or(Err(Unconnected::TimedOut));
        reached = dialled.is_ok();
        seen.dial = Some(Step { took: began.elapsed(), limit, failed: dialled.as_ref().err().copied() });
        if let Ok(stream) = dialled {
            if way.tls.is_some() {
                let began = Instant::now();
                let secured = timeout(limit, transport::secure(stream, &member.address, way)).await;
                let failed = match secured {
                    Ok(Ok(stream)) => {
                        stream.abort_on_close();
                        None
                    }
                    Ok(Err(unopened)) => untrusted(unopened),
                    Err(_) => Some((Untrusted::Closed, format!("no answer to the handshake within {limit:?}"))),
                };
                reached = failed.is_none();
                seen.tls = Some(Step { took: began.elapsed(), limit, failed });
            } else {
                stream.abort_on_close();
            }
        }
    }
    for check in &cluster.health_checks {
        let (kind, for_what) = match check.kind {
            CheckKind::Tcp(_) => ("tcp", Use::Bytes),
            CheckKind::Udp(_) => ("udp", Use::Bytes),
            CheckKind::Http(_) => ("http", Use::Http),
            CheckKind::Grpc(_) => ("grpc", Use::Calls),
        };
        // What the dial has told already need not be told again.
        if !reached && check.port.is_none() {
            continue;
        }
        let address = match (&member.address, check.port) {
            (Address::Ip(at), Some(port)) => Address::Ip(SocketAddr::new(at.ip(), port.get())),
            (address, _) => address.clone(),
        };
        let outcome = probe::attempt(env, lag, &address, way(for_what), cluster.protocol, check).await;
        let failed = (outcome.result != ProbeResult::Passed).then_some(outcome.result);
        seen.checks.push((kind, Step { took: outcome.took, limit: check.timeout, failed }));
    }
    seen
}

fn untrusted(unopened: Unopened) -> Option<(Untrusted, String)> {
    match unopened {
        Unopened::Untrusted(why, words) => Some((why, words)),
        Unopened::Unconnected(why) => Some((Untrusted::Closed, why.reason().meaning().help.to_owned())),
    }
}

/// What connections to a cluster are for; nothing if only datagrams are sent there.
fn purpose(config: &Config, cluster: &Cluster) -> Option<Use> {
    let mut spoken = BTreeSet::new();
    for listener in &config.listeners {
        let leads_there = listener.routes.iter().any(|route| match &route.target {
            Target::Cluster(name) => *name == cluster.name,
            Target::Release(name) => of_release(config, name, cluster),
            Target::Reply(_) => false,
        });
        if leads_there {
            spoken.insert(listener.protocol.as_str());
        }
    }
    match cluster.health_checks.first().map(|check| &check.kind) {
        _ if spoken.len() == 1 && spoken.contains(Protocol::Udp.as_str()) => None,
        Some(CheckKind::Grpc(_)) => Some(Use::Calls),
        Some(CheckKind::Http(_)) => Some(Use::Http),
        _ if spoken.len() == 1 && spoken.contains(Protocol::Tcp.as_str()) => Some(Use::Bytes),
        _ => Some(Use::Http),
    }
}

fn of_release(config: &Config, name: &ReleaseName, cluster: &Cluster) -> bool {
    let release = config.releases.iter().find(|release| release.name == *name);
    release.is_some_and(|release| {
        release.stable == cluster.name || release.canaries.iter().any(|canary| canary.cluster == cluster.name)
    })
}
