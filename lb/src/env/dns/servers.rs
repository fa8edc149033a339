//! Whom to ask: the servers a cluster names, or the system's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::Instant;
use weir_config::model::Resolve;
use weir_core::discovery::{Failure, FailureKind};

/// A resolver is made anew after this long: `/etc/resolv.conf` and `/etc/hosts` may have changed.
const FRESH: Duration = Duration::from_secs(10);

/// The resolvers in use. Clones share them.
#[derive(Clone, Default)]
pub(in crate::env) struct Resolvers(Arc<Mutex<Vec<Made>>>);

impl std::fmt::Debug for Resolvers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolvers")
    }
}

struct Made {
    wanted: Vec<SocketAddr>,
    timeout: Duration,
    at: Instant,
    found: Found,
}

/// Resolvers for a cluster, and whom they ask.
#[derive(Clone)]
pub(super) struct Found {
    /// The first asks all servers, two at a time: one that does not answer costs no time. It takes
    /// the first answer, even "I failed"; for that case, if there are several servers, one more
    /// resolver for each.
    pub(super) resolvers: Vec<TokioResolver>,
    pub(super) servers: Vec<SocketAddr>,
}

impl Resolvers {
    /// The resolver for a cluster.
    pub(super) fn get(&self, resolve: &Resolve) -> Result<Found, Failure> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|made| made.at.elapsed() < FRESH);
        let same = |made: &&Made| made.wanted == resolve.servers && made.timeout == resolve.timeout;
        if let Some(made) = made.iter().find(same) {
            // Its cache holds nothing for long, but not nothing at all.
            made.found.resolvers.iter().for_each(TokioResolver::clear_cache);
            return Ok(made.found.clone());
        }
        let found = make(resolve)?;
        let (wanted, timeout) = (resolve.servers.clone(), resolve.timeout);
        made.push(Made { wanted, timeout, at: Instant::now(), found: found.clone() });
        Ok(found)
    }
}

fn make(resolve: &Resolve) -> Result<Found, Failure> {
    // Without such a file, or a server in it, the system asks its own host; so do we.
    let (system, mut options) = read_system_conf().unwrap_or_else(|_| {
        let local = NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
        (ResolverConfig::from_name_servers(vec![local]), ResolverOpts::default())
    });
    let (domain, search, servers) = system.into_parts();
    // The host's own domain is searched only where no search list says otherwise.
    let domain = domain.filter(|_| search.is_empty());
    let servers = if resolve.servers.is_empty() { servers } else { resolve.servers.iter().map(server).collect() };
    set(&mut options, resolve);
    let port = |server: &NameServerConfig| server.connections.first().map_or(53, |connection| connection.port);
    let asked = servers.iter().map(|server| SocketAddr::new(server.ip, port(server))).collect();
    let mut groups = vec![servers.clone()];
    if servers.len() > 1 {
        groups.extend(servers.into_iter().map(|server| vec![server]));
    }
    let resolvers = groups.into_iter().map(|servers| {
        let config = ResolverConfig::from_parts(domain.clone(), search.clone(), servers);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options.clone();
        builder.build()
    });
    match resolvers.collect() {
        Ok(resolvers) => Ok(Found { resolvers, servers: asked }),
        Err(error) => Err(Failure { kind: FailureKind::Unreachable, detail: error.to_string() }),
    }
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    NameServerConfig::new(address.ip(), true, vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())])
}

/// What must hold whatever the system's file says.
fn set(options: &mut ResolverOpts, resolve: &Resolve) {
    // Two tries share the time: one packet may get lost.
    options.timeout = resolve.timeout / 2;
    options.attempts = 1;
    options.cache_size = 0;
    // The TTLs of the whole chain count.
    options.preserve_intermediates = true;
    // Large lists of addresses should not need TCP.
    options.edns0 = true;
    // Whoever names servers wants those to answer, not a file of this host.
    options.use_hosts_file = if resolve.servers.is_empty() { ResolveHosts::Auto } else { ResolveHosts::Never };
}
