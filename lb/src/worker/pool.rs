//! Idle connections to endpoints, kept by one worker for itself: no lock, keyed by endpoint.
//!
//! Lives through reloads: an endpoint that stays keeps its connections, one that goes loses them
//! at the next [sweep](Pool::sweep).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::Instant;
use weir_config::model;
use weir_core::endpoint::EndpointId;
use weir_core::limits::Permit;
use weir_core::load::{EndpointLoad, Shards};

use super::budget::Place;
use super::sessions::{InUse, Sessions};
use crate::http1::wire::{Io, Wire};

/// A connection to an endpoint, or one stream of one. Boxed: it goes from hand to hand several
/// times a request.
#[derive(Debug)]
pub(crate) struct Upstream<S> {
    pub(crate) wire: Wire<S>,
    /// The client it told its endpoint of, if it did: it may carry nobody else's requests.
    pub(crate) whose: Option<SocketAddr>,
    held: Held,
}

/// What a connection holds for as long as it is open.
#[derive(Debug)]
enum Held {
    Own(Counted),
    /// A stream's part of a connection that others use too.
    Shared(InUse),
}

/// An open connection, in the counts of its endpoint for as long as it exists.
#[derive(Debug)]
pub(crate) struct Counted {
    load: Arc<Shards<EndpointLoad>>,
    worker: usize,
    /// What it was opened by must still hold when it is used again.
    cluster: Opened,
    _place: Place,
    /// Of what its endpoint and its cluster may have open.
    _permits: [Permit; 2],
}

impl Counted {
    /// One that was just opened in `place`.
    pub(crate) fn new(
        load: Arc<Shards<EndpointLoad>>,
        worker: usize,
        cluster: &Arc<model::Cluster>,
        place: Place,
        permits: [Permit; 2],
    ) -> Self {
        load.of(worker).connects.add(1);
        load.of(worker).connections.add(1);
        Self { load, worker, cluster: Opened(Arc::clone(cluster)), _place: place, _permits: permits }
    }

    /// By what it was opened.
    pub(crate) fn opened(&self) -> Opened {
        self.cluster.clone()
    }
}

/// A cluster as it was when a connection was opened.
#[derive(Clone, Debug)]
pub(crate) struct Opened(Arc<model::Cluster>);

impl Opened {
    /// Whether it would be opened the same way for `cluster` as it is now. One that was opened in the
    /// clear, or verified by other authorities, is not what the operator wants any more.
    pub(crate) fn is_for(&mut self, cluster: &Arc<model::Cluster>) -> bool {
        if Arc::ptr_eq(&self.0, cluster) {
            return true;
        }
        let (before, now) = (&*self.0, &**cluster);
        let same =
            before.tls == now.tls && before.protocol == now.protocol && before.proxy_protocol == now.proxy_protocol;
        if same {
            self.0 = Arc::clone(cluster);
        }
        same
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.load.of(self.worker).connections.sub(1);
    }
}

impl<S: Io> Upstream<S> {
    /// A connection of its own, just opened.
    pub(crate) fn new(io: S, opened: Counted) -> Box<Self> {
        Box::new(Self { wire: Wire::new(io), whose: None, held: Held::Own(opened) })
    }

    /// One stream of a connection.
    pub(crate) fn stream(io: S, in_use: InUse) -> Box<Self> {
        Box::new(Self { wire: Wire::new(io), whose: None, held: Held::Shared(in_use) })
    }

    /// Its connection, should it be one that is shared, is given no more streams.
    pub(crate) fn give_up_session(&self) {
        if let Held::Shared(in_use) = &self.held {
            in_use.close();
        }
    }

    /// Whether nothing is left over in either direction.
    pub(crate) fn is_spent(&self) -> bool {
        !self.wire.is_blocked() && self.wire.inbox.is_empty()
    }

    /// Whether `cluster` as it is now would open it the same way.
    fn is_for(&mut self, cluster: &Arc<model::Cluster>) -> bool {
        match &mut self.held {
            Held::Own(counted) => counted.cluster.is_for(cluster),
            Held::Shared(_) => false,
        }
    }

    /// Whether the endpoint has neither closed it nor sent what nobody asked for.
    fn is_quiet(&mut self) -> bool {
        // The runtime already knows whether anything arrived, so this costs no system call.
        let mut context = Context::from_waker(Waker::noop());
        let mut byte = [0];
        Pin::new(&mut self.wire.io).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
    }
}

#[derive(Debug)]
struct Idle<S> {
    upstream: Box<Upstream<S>>,
    since: Instant,
}

/// A worker's idle connections.
#[derive(Debug)]
pub(crate) struct Pool<S> {
    idle: HashMap<EndpointId, Vec<Idle<S>>, BuildHasherDefault<IdHasher>>,
    /// Those that told their endpoint of a client, with that client, which alone may use them.
    own: HashMap<SocketAddr, Vec<(EndpointId, Idle<S>)>>,
    /// Those that many requests share, whether or not any does now.
    pub(crate) sessions: Sessions,
}

impl<S: Io> Pool<S> {
    pub(crate) fn new() -> Self {
        Self { idle: HashMap::default(), own: HashMap::default(), sessions: Sessions::default() }
    }

    /// The connection to `endpoint` that was used last, if one is left that still stands; of those
    /// that belong to a client, only `whose`.
    pub(crate) fn take(
        &mut self,
        endpoint: EndpointId,
        cluster: &Arc<model::Cluster>,
        whose: Option<SocketAddr>,
        now: Instant,
    ) -> Option<Box<Upstream<S>>> {
        while let Some(Idle { mut upstream, since }) = self.last(endpoint, whose) {
            let fresh = now.saturating_duration_since(since) < cluster.pool.idle_timeout;
            if fresh && upstream.is_for(cluster) && upstream.is_quiet() {
                return Some(upstream);
            }
        }
        None
    }

    fn last(&mut self, endpoint: EndpointId, whose: Option<SocketAddr>) -> Option<Idle<S>> {
        let Some(client) = whose else { return self.idle.get_mut(&endpoint)?.pop() };
        let own = self.own.get_mut(&client)?;
        let at = own.iter().rposition(|(leads_to, _)| *leads_to == endpoint)?;
        Some(own.remove(at).1)
    }

    /// Keeps a connection for the next request, unless `max_idle` are kept already (of those that
    /// belong to a client: of its own).
    pub(crate) fn give(&mut self, endpoint: EndpointId, mut upstream: Box<Upstream<S>>, now: Instant, max_idle: u32) {
        if let Held::Shared(_) = upstream.held {
            // Its connection is kept; a stream serves once.
            return;
        }
        upstream.wire.inbox.release();
        upstream.wire.outbox.release();
        let (whose, idle, most) = (upstream.whose, Idle { upstream, since: now }, max_idle as usize);
        if let Some(client) = whose {
            let own = self.own.entry(client).or_default();
            if own.iter().filter(|(leads_to, _)| *leads_to == endpoint).count() < most {
                own.push((endpoint, idle));
            }
            return;
        }
        let others = self.idle.entry(endpoint).or_default();
        if others.len() < most {
            others.push(idle);
        }
    }

    /// Whether one to `endpoint` is here that is nobody's own, though it may have been closed by now.
    pub(crate) fn has(&self, endpoint: EndpointId) -> bool {
        self.idle.get(&endpoint).is_some_and(|idle| !idle.is_empty()) || self.sessions.has(endpoint)
    }

    /// Closes what belongs to a client that is gone: it would serve nobody.
    pub(crate) fn part(&mut self, mut client: SocketAddr) {
        if !self.own.is_empty() {
            client.set_ip(client.ip().to_canonical());
            self.own.remove(&client);
        }
    }

    /// Closes those to an endpoint: one of them turned out to be stale.
    pub(crate) fn forget(&mut self, endpoint: EndpointId) {
        self.idle.remove(&endpoint);
        self.keep_own(|leads_to, _| leads_to != endpoint);
    }

    /// Closes one that leads to any of `endpoints`: a new one is needed elsewhere.
    pub(crate) fn forget_any(&mut self, endpoints: impl Iterator<Item = EndpointId> + Clone) {
        if endpoints.clone().find_map(|endpoint| self.idle.get_mut(&endpoint)?.pop()).is_some() {
            return;
        }
        for own in self.own.values_mut() {
            if let Some(at) = own.iter().position(|(leads_to, _)| endpoints.clone().any(|one| one == *leads_to)) {
                own.remove(at);
                return;
            }
        }
    }

    /// Closes them all: their descriptors are needed.
    pub(crate) fn clear(&mut self) {
        self.idle.clear();
        self.own.clear();
    }

    /// Closes what the endpoint closed, what idled for too long, and what leads to endpoints for
    /// which `idle_timeout` has no answer.
    pub(crate) fn sweep(&mut self, now: Instant, idle_timeout: impl Fn(EndpointId) -> Option<Duration>) {
        self.sessions.sweep(now, &idle_timeout);
        let stays = |endpoint, idle: &mut Idle<S>| {
            let idled = now.saturating_duration_since(idle.since);
            idle_timeout(endpoint).is_some_and(|timeout| idled < timeout) && idle.upstream.is_quiet()
        };
        self.idle.retain(|endpoint, idle| {
            idle.retain_mut(|idle| stays(*endpoint, idle));
            !idle.is_empty()
        });
        self.keep_own(stays);
    }

    fn keep_own(&mut self, mut stays: impl FnMut(EndpointId, &mut Idle<S>) -> bool) {
        self.own.retain(|_, own| {
            own.retain_mut(|(endpoint, idle)| stays(*endpoint, idle));
            !own.is_empty()
        });
    }
}

/// Endpoint numbers are given in sequence by control: multiplying spreads them well enough, and
/// nobody outside chooses them.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::worker::budget::Budget;

    const ENDPOINT: EndpointId = EndpointId(7);
    const MINUTE: Duration = Duration::from_secs(60);

    fn connection(load: &Arc<Shards<EndpointLoad>>) -> (Box<Upstream<DuplexStream>>, DuplexStream) {
        let (ours, theirs) = duplex(64);
        (
            Upstream::new(
                ours,
                Counted::new(
                    Arc::clone(load),
                    0,
                    &cluster(),
                    Budget::new(100, 1).for_endpoint().unwrap(),
                    [Permit::UNLIMITED, Permit::UNLIMITED],
                ),
            ),
            theirs,
        )
    }

    fn cluster() -> Arc<model::Cluster> {
        let text = "listeners: [{name: web, bind: '127.0.0.1:80', cluster: app}]\n\
                    clusters: [{name: app, endpoints: ['10.0.0.1:80'], pool: {idle_timeout: 60s}}]";
        Arc::clone(&weir_config::parse_str(text).unwrap().config.clusters[0])
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_opened_another_way_is_not_used_again() {
        let load = Arc::new(Shards::new(1));
        let mut pool = Pool::new();
        let now = Instant::now();
        let ends: Vec<_> = (0..2)
            .map(|_| {
                let (upstream, end) = connection(&load);
                pool.give(ENDPOINT, upstream, now, 10);
                end
            })
            .collect();
        let mut renamed = (*cluster()).clone();
        renamed.pool.max_idle = 7;
        assert!(pool.take(ENDPOINT, &Arc::new(renamed), None, now).is_some(), "it would be opened the same way");
        let mut secured = (*cluster()).clone();
        secured.tls = Some(model::ClientTls {
            server_name: None,
            trust: model::Trust::System,
            certificate: None,
            min_version: model::TlsVersion::V12,
        });
        assert!(pool.take(ENDPOINT, &Arc::new(secured), None, now).is_none());
        assert_eq!(open(&load), 0);
        drop(ends);
    }

    fn open(load: &Shards<EndpointLoad>) -> u64 {
        load.sum(|load| &load.connections)
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_used_comes_first_and_the_closed_never() {
        let load = Arc::new(Shards::new(1));
        let mut pool = Pool::new();
        let now = Instant::now();
        let (first, _first_end) = connection(&load);
        let (second, second_end) = connection(&load);
        let (third, mut third_end) = connection(&load);
        for upstream in [first, second, third] {
            pool.give(ENDPOINT, upstream, now, 10);
        }
        assert_eq!(open(&load), 3);
        drop(second_end);
        third_end.write_all(b"HTTP/1.1 408 Too late\r\n").await.unwrap();
        assert!(pool.take(ENDPOINT, &cluster(), None, now).is_some());
        assert!(pool.take(ENDPOINT, &cluster(), None, now).is_none());
        assert_eq!(open(&load), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_told_of_a_client_serves_no_other() {
        let load = Arc::new(Shards::new(1));
        let (mut pool, now) = (Pool::new(), Instant::now());
        let whose = |port| Some(SocketAddr::from(([10, 0, 0, 1], port)));
        let ends: Vec<_> = [whose(1), None, whose(2)]
            .into_iter()
            .map(|whose| {
                let (mut upstream, end) = connection(&load);
                upstream.whose = whose;
                pool.give(ENDPOINT, upstream, now, 10);
                end
            })
            .collect();
        assert!(pool.take(ENDPOINT, &cluster(), whose(3), now).is_none());
        for whose in [whose(1), whose(2), None] {
            assert_eq!(pool.take(ENDPOINT, &cluster(), whose, now).unwrap().whose, whose);
            assert!(pool.take(ENDPOINT, &cluster(), whose, now).is_none());
        }
        drop(ends);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_a_clients_goes_with_it_and_is_in_nobodys_way() {
        let load = Arc::new(Shards::new(1));
        let (mut pool, now) = (Pool::new(), Instant::now());
        let whose = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let mut ends = Vec::new();
        let mut give = |pool: &mut Pool<_>, port| {
            let (mut upstream, end) = connection(&load);
            upstream.whose = Some(whose(port));
            pool.give(ENDPOINT, upstream, now, 1);
            ends.push(end);
        };
        [1, 2, 2, 3, 4].into_iter().for_each(|port| give(&mut pool, port));
        assert_eq!(open(&load), 4, "one for each");
        pool.part(SocketAddr::from((std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped(), 1)));
        assert_eq!(open(&load), 3);
        assert!(pool.take(ENDPOINT, &cluster(), Some(whose(1)), now).is_none());
        pool.forget_any([EndpointId(1), ENDPOINT].into_iter());
        assert_eq!(open(&load), 2);
        pool.sweep(now, |_| Some(MINUTE));
        assert_eq!(open(&load), 2);
        pool.forget(ENDPOINT);
        assert_eq!(open(&load), 0);
        give(&mut pool, 1);
        pool.sweep(now + MINUTE, |_| Some(MINUTE));
        assert_eq!((open(&load), pool.own.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_ones_are_bounded_in_number_and_time() {
        let load = Arc::new(Shards::new(1));
        let mut pool = Pool::new();
        let now = Instant::now();
        let ends: Vec<_> = (0..3)
            .map(|_| {
                let (upstream, end) = connection(&load);
                pool.give(ENDPOINT, upstream, now, 2);
                end
            })
            .collect();
        assert_eq!(open(&load), 2);
        pool.sweep(now + MINUTE, |_| Some(MINUTE * 2));
        assert_eq!(open(&load), 2);
        pool.sweep(now + MINUTE, |_| Some(MINUTE));
        assert_eq!(open(&load), 0);
        drop(ends);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_is_gone_loses_its_connections() {
        let load = Arc::new(Shards::new(1));
        let mut pool = Pool::new();
        let (upstream, _end) = connection(&load);
        pool.give(ENDPOINT, upstream, Instant::now(), 2);
        pool.sweep(Instant::now(), |_| None);
        assert_eq!(open(&load), 0);
    }
}
