//! Looks at everything, within a time, and leaves it as it is.

mod endpoints;
mod host;
mod names;
mod ports;
mod sockets;
mod threads;

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::facts::{Certificate, Clock, Facts, Process};
use super::{LOOK_MAX, Member, Subject};
use crate::control::lag::Lag;
use crate::env::Env;
use crate::process::clock::Apart;

/// Between the two looks at what moves: sockets, threads, counters.
const BETWEEN: Duration = Duration::from_millis(1500);

/// Looks at everything.
pub(super) async fn facts<E: Env>(env: &E, subject: &Subject) -> Facts {
    let deadline = Instant::now() + LOOK_MAX;
    let second_look = Instant::now() + BETWEEN;
    let apart = subject.live.as_ref().map_or_else(Apart::now, |live| live.started);
    let config = &subject.config;
    let lag = Rc::new(Lag::default());
    let watch = {
        let (env, lag) = (env.clone(), Rc::clone(&lag));
        tokio::task::spawn_local(async move { lag.watch(&env, |_| ()).await })
    };

    let (ports, pid) = match &subject.live {
        Some(_) => (ports::ours(config), Some(std::process::id())),
        None => ports::wanted(env, config, &subject.file),
    };
    let before = (sockets::Sample::take(), threads::Sample::take(pid));
    let (names, found) = names::look(env, subject, deadline).await;
    let members = subject.live.as_ref().map_or(found, |live| live.members.clone());
    let (endpoints, unexamined) = endpoints::look(env, config, &lag, &members, deadline).await;
    sleep_until(second_look.min(deadline)).await;
    let after = (sockets::Sample::take(), threads::Sample::take(pid));
    watch.abort();

    let process = pid.map(|pid| Process {
        pid,
        control_lag: subject.live.as_ref().map(|live| live.lag),
        threads: threads::between(&before.1, after.1),
    });
    let host = host::look(pid, subject.live.is_some());
    Facts {
        sockets: sockets::between(before.0, after.0, &sockets::About { config, members: &members, host: &host, pid }),
        ports,
        names,
        endpoints,
        unexamined,
        process,
        clock: clock(env, subject, apart),
        certificates: certificates(env, subject),
        host,
    }
}

fn clock<E: Env>(env: &E, subject: &Subject, began: Apart) -> Clock {
    let changed = std::fs::metadata(&subject.file).and_then(|file| file.modified()).ok();
    Clock {
        step: Apart::now().step_since(began),
        since: if subject.live.is_some() { "weir started" } else { "this look began" },
        file_ahead: changed.and_then(|changed| changed.duration_since(env.wall()).ok()),
        keeper: host::clock_keeper(),
    }
}

fn certificates<E: Env>(env: &E, subject: &Subject) -> Vec<Certificate> {
    let now = env.wall();
    let of_listeners = subject.config.listeners.iter().flat_map(|listener| {
        let all = listener.tls.iter().flat_map(|tls| &tls.certificates);
        all.map(|certificate| (format!("listener {}", listener.name), certificate))
    });
    let admin = subject.config.admin.iter().filter_map(|admin| admin.tls.as_ref());
    let of_admin = admin.flat_map(|tls| tls.certificates.iter().map(|certificate| ("admin".to_owned(), certificate)));
    let of_clusters = subject.config.clusters.iter().filter_map(|cluster| {
        let certificate = cluster.tls.as_ref()?.certificate.as_ref()?;
        Some((format!("cluster {}", cluster.name), certificate))
    });
    let seen = of_listeners.chain(of_admin).chain(of_clusters).map(|(whose, certificate)| Certificate {
        whose,
        file: certificate.file.clone(),
        from: certificate.not_before,
        until: certificate.not_after,
        now,
    });
    seen.collect()
}

/// Endpoints of the file itself.
fn fixed(subject: &Subject) -> Vec<Member> {
    let clusters = subject.config.clusters.iter();
    let members = clusters.flat_map(|cluster| {
        let member = |endpoint: &weir_config::model::Endpoint| Member {
            cluster: cluster.name.clone(),
            address: endpoint.address.clone(),
            host: None,
        };
        cluster.endpoints.iter().map(member).collect::<Vec<_>>()
    });
    members.collect()
}
