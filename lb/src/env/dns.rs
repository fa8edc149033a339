//! Looking up names of endpoints in DNS.
//!
//! hickory's resolver does the wire's part: several servers, tries, TCP where an answer was
//! truncated, search domains. Nothing is cached here: when to look again is the core's decision
//! (`weir_core::discovery`), and a cache underneath would only make it wrong.

mod ask;
mod servers;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_config::model::{Endpoint, Family, Resolve, Source, SourceKind};
use weir_core::discovery::{Answer, Failure, FailureKind, Silent, SrvRecord, Told, Trace, srv_shares};

use ask::{Asker, Host};
pub(super) use servers::Resolvers;

/// A name to be looked up.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The name, and what its endpoints are like.
    pub source: Source,
    /// Whom to ask, for what, and for how long.
    pub resolve: Resolve,
}

/// Hosts of SRV records that are looked up; records of others are passed over.
const TARGETS_MAX: usize = 128;

/// Questions that a trace shows.
const STEPS_SHOWN: usize = 16;

/// Looks `what` up, within its timeout.
pub(super) async fn look_up(resolvers: &Resolvers, what: &Lookup) -> Answer {
    let began = Instant::now();
    let mut trace = Trace::default();
    let result = match resolvers.get(&what.resolve) {
        Ok(found) => {
            trace.servers = found.servers;
            let deadline = began + what.resolve.timeout;
            let asker = Asker { resolvers: found.resolvers.into(), family: what.resolve.family, deadline };
            match &what.source.kind {
                SourceKind::Name { host, port } => name(&asker, host, *port, &what.source, &mut trace).await,
                SourceKind::Srv(host) => srv(&asker, host, &what.source, &mut trace).await,
                SourceKind::File(_) => Err(failure(FailureKind::BadAnswer, "a file is not looked up in DNS")),
            }
        }
        Err(failure) => Err(failure),
    };
    trace.took = began.elapsed();
    trace.steps.truncate(STEPS_SHOWN);
    Answer { result, trace: Arc::new(trace) }
}

/// A and AAAA records of a name.
async fn name(asker: &Asker, host: &str, port: u16, source: &Source, trace: &mut Trace) -> Result<Told, Failure> {
    let Host { addresses, ttl, silent, failure, steps } = asker.addresses(parsed(host)?).await;
    trace.steps.extend(steps);
    if addresses.is_empty() {
        return Err(failure);
    }
    let endpoint = |ip: IpAddr| Endpoint {
        address: SocketAddr::new(ip, port).into(),
        zone: source.zone.clone(),
        weight: source.weight,
        priority: source.priority,
    };
    Ok(Told { endpoints: addresses.into_iter().map(endpoint).collect(), ttl: Some(ttl), silent })
}

/// SRV records of a name, and the addresses of the hosts they name.
async fn srv(asker: &Asker, host: &str, source: &Source, trace: &mut Trace) -> Result<Told, Failure> {
    let (step, heard) = asker.question(parsed(host)?, RecordType::SRV).await;
    trace.steps.push(step);
    let heard = heard?;
    let records: Vec<(SrvRecord, Name)> = heard
        .data
        .iter()
        .filter_map(|data| match data {
            // A target of "." means: this service is not offered here (RFC 2782).
            RData::SRV(srv) if !srv.target.is_root() => {
                let (priority, weight, port) = (srv.priority, srv.weight, srv.port);
                Some((SrvRecord { priority, weight, port, target: srv.target.to_string() }, srv.target.clone()))
            }
            _ => None,
        })
        .collect();
    let (records, names): (Vec<SrvRecord>, Vec<Name>) = records.into_iter().unzip();
    let hosts = targets(asker, names).await;

    let mut told = Told { endpoints: Vec::new(), ttl: Some(heard.ttl), silent: Silent::None };
    let mut failed = failure(FailureKind::Empty, "its SRV records name no host");
    for (record, (weight, priority)) in records.iter().zip(srv_shares(&records, source)) {
        let host = hosts.iter().find(|(target, _)| target.to_string() == record.target).map(|(_, host)| host);
        let Some(host) = host else { continue };
        told.silent = both(told.silent, host.silent);
        if host.addresses.is_empty() {
            failed = Failure { detail: format!("{}: {}", record.target, host.failure), ..host.failure.clone() };
            continue;
        }
        told.ttl = told.ttl.map(|ttl| ttl.min(host.ttl));
        told.endpoints.extend(host.addresses.iter().map(|&ip| Endpoint {
            address: SocketAddr::new(ip, record.port).into(),
            zone: source.zone.clone(),
            weight,
            priority,
        }));
    }
    trace.steps.extend(hosts.into_iter().flat_map(|(_, host)| host.steps));
    if told.endpoints.is_empty() { Err(failed) } else { Ok(told) }
}

/// The addresses of each host, all looked up at once, in the order of their names.
async fn targets(asker: &Asker, mut names: Vec<Name>) -> Vec<(Name, Host)> {
    names.sort();
    names.dedup();
    names.truncate(TARGETS_MAX);
    let mut looks = JoinSet::new();
    for mut name in names {
        name.set_fqdn(true);
        let asker = asker.clone();
        looks.spawn(async move { (name.clone(), asker.addresses(name).await) });
    }
    let mut hosts = looks.join_all().await;
    hosts.sort_by(|(one, _), (other, _)| one.cmp(other));
    hosts
}

/// What two answers together say nothing of.
fn both(one: Silent, other: Silent) -> Silent {
    match (one, other) {
        (silent, Silent::None) | (Silent::None, silent) => silent,
        (one, other) if one == other => one,
        _ => Silent::All,
    }
}

/// A name as DNS has it. Without a final dot it may be one within a search domain.
fn parsed(host: &str) -> Result<Name, Failure> {
    Name::from_str_relaxed(host).map_err(|error| failure(FailureKind::BadAnswer, &error.to_string()))
}

fn failure(kind: FailureKind, detail: &str) -> Failure {
    Failure { kind, detail: detail.into() }
}

/// The TTL of records without one that matters.
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// Which families [`Family`] means.
const fn families(family: Family) -> (bool, bool) {
    match family {
        Family::V4 => (true, false),
        Family::V6 => (false, true),
        Family::Both => (true, true),
    }
}

#[cfg(test)]
mod tests;
