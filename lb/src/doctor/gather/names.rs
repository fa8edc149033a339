//! Names of endpoints: as the balancer looks them up, and as each DNS server answers alone.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use weir_config::model::{Resolve, Source, SourceKind};
use weir_core::discovery::{self, Failure};

use super::{Member, fixed};
use crate::control::discover;
use crate::doctor::Subject;
use crate::doctor::facts::{Answer, Name, Server};
use crate::env::{Env, Lookup};

/// Names looked up; of more, the first.
const NAMES_MAX: usize = 128;
/// Servers asked alone.
const SERVERS_MAX: usize = 8;

/// Looks every name of the configuration up; what was seen, and all endpoints there are.
pub(super) async fn look<E: Env>(env: &E, subject: &Subject, deadline: Instant) -> (Vec<Name>, Vec<Member>) {
    let mut members = fixed(subject);
    let mut looks = JoinSet::new();
    let folder = subject.file.parent().unwrap_or_else(|| Path::new("/")).to_owned();
    let sources =
        subject.config.clusters.iter().flat_map(|cluster| cluster.sources.iter().map(move |one| (cluster, one)));
    for (nth, (cluster, source)) in sources.take(NAMES_MAX).enumerate() {
        let (env, cluster, source, folder) = (env.clone(), Arc::clone(cluster), source.clone(), folder.clone());
        looks.spawn_local(async move {
            let looked = async {
                match &source.kind {
                    SourceKind::File(path) => discover::once(&folder.join(path), &source).await.map(|one| (one, None)),
                    SourceKind::Name { .. } | SourceKind::Srv(_) => {
                        let (answer, name) = of_name(&env, &source, &cluster.resolve).await;
                        Some((answer, Some(name)))
                    }
                }
            };
            let looked = timeout_at(deadline, looked).await.ok().flatten();
            (nth, cluster, source, looked)
        });
    }
    let mut looked = looks.join_all().await;
    looked.sort_by_key(|(nth, ..)| *nth);
    let mut names = Vec::new();
    for (_, cluster, source, looked) in looked {
        let Some((answer, name)) = looked else { continue };
        if let Ok(told) = &answer.result {
            members.extend(told.endpoints.iter().map(|endpoint| Member {
                cluster: cluster.name.clone(),
                address: endpoint.address.clone(),
                host: source.kind.host().cloned(),
            }));
        }
        let stale = subject.live.as_ref().and_then(|live| live.stale.get(&(cluster.name.clone(), source.kind.clone())));
        names.extend(name.map(|name| Name {
            cluster: cluster.name.to_string(),
            source: source.kind.to_string(),
            stale: stale.copied(),
            ..name
        }));
    }
    (names, members)
}

async fn of_name<E: Env>(env: &E, source: &Source, resolve: &Resolve) -> (discovery::Answer, Name) {
    let ask = |resolve: Resolve| {
        let what = Lookup { source: source.clone(), resolve };
        async move { env.lookup(&what).await }
    };
    let answer = ask(resolve.clone()).await;
    let host = match &source.kind {
        SourceKind::Name { host, .. } | SourceKind::Srv(host) => host.to_string(),
        SourceKind::File(_) => String::new(),
    };
    let in_hosts = resolve.servers.is_empty() && is_in_hosts(&host);
    let mut servers = Vec::new();
    if !in_hosts {
        for &address in answer.trace.servers.iter().take(SERVERS_MAX) {
            let alone = ask(Resolve { servers: vec![address], ..resolve.clone() }).await;
            servers.push(Server { address, answer: told(&alone) });
        }
    }
    let asked = answer.trace.steps.first().and_then(|step| step.asked.split(' ').nth(1));
    let found_as = asked.map(|asked| asked.trim_end_matches('.').to_owned());
    let found_as = found_as.filter(|asked| answer.result.is_ok() && *asked != host.trim_end_matches('.'));
    let name = Name {
        cluster: String::new(),
        source: String::new(),
        answer: told(&answer),
        servers,
        in_hosts,
        found_as,
        search: search(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
        timeout: resolve.timeout,
        stale: None,
    };
    (answer, name)
}

fn told(answer: &discovery::Answer) -> Answer {
    let result = match &answer.result {
        Ok(told) => {
            let mut addresses: Vec<String> = told.endpoints.iter().map(|one| one.address.to_string()).collect();
            addresses.sort();
            Ok(addresses)
        }
        Err(Failure { kind, detail }) => Err((*kind, detail.clone())),
    };
    let ttl = answer.result.as_ref().ok().and_then(|told| told.ttl);
    let records = answer.trace.steps.iter().flat_map(|step| step.records.iter().cloned()).collect();
    Answer { result, ttl, took: answer.trace.took, records }
}

/// Whether this host's own file has the name.
fn is_in_hosts(host: &str) -> bool {
    host == "localhost" || has(&fs::read_to_string("/etc/hosts").unwrap_or_default(), host)
}

fn has(hosts: &str, wanted: &str) -> bool {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.flat_map(|line| line.split_ascii_whitespace().skip(1)).any(|name| name.eq_ignore_ascii_case(wanted))
}

/// The domains that a short name is looked for in.
fn search(resolv: &str) -> Vec<String> {
    let last = resolv.lines().rev().find_map(|line| line.strip_prefix("search"));
    last.into_iter().flat_map(str::split_ascii_whitespace).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_this_host() {
        let hosts = "127.0.0.1 localhost\n10.0.0.1 App.internal app # other.internal\n";
        assert!(has(hosts, "app.internal") && has(hosts, "app"));
        assert!(!has(hosts, "other.internal") && !has(hosts, "10.0.0.1"));
        assert_eq!(
            search("search a.example\nnameserver 1.1.1.1\nsearch b.example c.example\n"),
            ["b.example", "c.example"]
        );
        assert!(search("").is_empty());
    }
}
