//! Step 9: a connection to the endpoint, or one stream of one: an idle one, a shared one, or a new one.

use std::pin::pin;
use std::sync::Arc;

use tokio::time::{Instant, timeout, timeout_at};
use weir_config::model::HttpVersion;
use weir_core::drill::{End, Injected};
use weir_core::endpoint::EndpointId;
use weir_core::limits::Permit;
use weir_core::reason::Reason;
use weir_core::retry::Safety;
use weir_core::snapshot::{Cluster, Member};

use super::Worker;
use super::attempts::{self, Failure, Picked, Tries};
use super::budget::Place;
use super::client::Client;
use super::flight::{Flight, Held};
use super::forward::Inbound;
use super::headers::RequestId;
use super::pool::{Counted, Upstream};
use super::room;
use super::sessions::Sessions;
use crate::env::Env;
use crate::proxy::Ends;
use crate::tls::Use;
use crate::transport::Transport;

/// An attempt that has its connection.
pub(crate) struct Leased<'w, E: Env> {
    pub(crate) upstream: Box<Upstream<Transport<E::Stream>>>,
    /// It has served before, so the endpoint may have closed it without our knowing yet.
    pub(super) reused: bool,
    pub(super) member: &'w Member,
    /// Its index among its cluster's members.
    pub(super) index: usize,
    pub(super) cluster: &'w Cluster,
    pub(crate) flight: Flight<'w, E>,
}

impl<E: Env> Leased<'_, E> {
    /// Gives the connection back for the next request; not if others wait for one.
    pub(crate) fn keep(self, worker: &Worker<E>, now: Instant) {
        if self.cluster.live.room.waiting() == 0 {
            let most = self.cluster.config.pool.max_idle;
            worker.pool.borrow_mut().give(self.member.id, self.upstream, now, most);
        }
    }
}

/// Step 9: an idle connection to the endpoint, or a new one.
pub(crate) async fn lease<'w, E: Env>(
    worker: &'w Worker<E>,
    picked: Picked<'w>,
    injected: Injected,
    tries: &mut Tries<'_>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<Leased<'w, E>, Failure> {
    let Picked { cluster, member, index, room, trial, retry, fresh, .. } = picked;
    let client = inbound.client.peer.address.ip();
    let mut flight = Flight::begin(worker, cluster, member, Held { room, retry, trial }, &inbound.story);
    if injected != Injected::default()
        && let Err(failure) = rehearse(worker, cluster, index, injected, tries, inbound).await
    {
        flight.failed(failure.outcome, &inbound.story, client);
        return Err(failure);
    }
    let ends = inbound.client.ends(cluster);
    let idle = if fresh {
        None
    } else {
        let whose = ends.map(|ends| ends.from);
        worker.pool.borrow_mut().take(member.id, &cluster.config, whose, inbound.story.tried)
    };
    let connection = match idle {
        Some(upstream) => {
            flight.load().reuses.add(1);
            Ok((upstream, true))
        }
        None if is_shared(worker, cluster, member) => join(worker, cluster, index, fresh, tries, inbound).await,
        None => dial(worker, cluster, index, ends, tries, inbound).await.map(|upstream| (upstream, false)),
    };
    match connection {
        Ok((upstream, reused)) => Ok(Leased { upstream, reused, member, index, cluster, flight }),
        Err(failure) => {
            if failure.telling {
                flight.failed(failure.outcome, &inbound.story, client);
            }
            Err(failure)
        }
    }
}

/// Whether requests to the endpoint share connections, as far as is known.
fn is_shared<E: Env>(worker: &Worker<E>, cluster: &Cluster, member: &Member) -> bool {
    if cluster.config.proxy_protocol.is_some() {
        // One that tells of a client is that client's.
        return false;
    }
    match cluster.config.protocol {
        HttpVersion::H1 => false,
        HttpVersion::H2 => true,
        HttpVersion::Auto => !worker.pool.borrow().sessions.has_declined(member.id),
    }
}

/// A stream of a connection that others use too, or of a new one; and whether it is of one that was
/// there. Of those who find none, as many open one as it takes, and the others wait.
async fn join<E: Env>(
    worker: &Worker<E>,
    cluster: &Cluster,
    index: usize,
    fresh: bool,
    tries: &mut Tries<'_>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<(Box<Upstream<Transport<E::Stream>>>, bool), Failure> {
    let member = &cluster.members[index];
    let patience = Instant::now() + cluster.config.connect.timeout.min(tries.left(Instant::now()));
    loop {
        let found = if fresh { None } else { worker.pool.borrow_mut().sessions.stream(member.id, &cluster.config) };
        if let Some((stream, in_use)) = found {
            member.load.of(worker.index).reuses.add(1);
            return Ok((Upstream::stream(Transport::Asked(Box::new(stream)), in_use), true));
        }
        let opening = worker.pool.borrow_mut().sessions.opening(member.id);
        let Some(opened) = opening else {
            let _opening = Opening { worker, endpoint: member.id };
            return dial(worker, cluster, index, None, tries, inbound).await.map(|upstream| (upstream, false));
        };
        let _waiting = Waiting { worker, endpoint: member.id };
        if timeout_at(patience, opened.notified()).await.is_err() {
            return Err(Failure::new(Reason::ConnectTimeout, Safety::NothingSent));
        }
    }
}

/// A connection that is being opened for all who wait for one to its endpoint.
struct Opening<'w, E: Env> {
    worker: &'w Worker<E>,
    endpoint: EndpointId,
}

impl<E: Env> Drop for Opening<'_, E> {
    fn drop(&mut self) {
        self.worker.pool.borrow_mut().sessions.opened(self.endpoint);
    }
}

/// Who waits for a connection that somebody else opens.
struct Waiting<'w, E: Env> {
    worker: &'w Worker<E>,
    endpoint: EndpointId,
}

impl<E: Env> Drop for Waiting<'_, E> {
    fn drop(&mut self) {
        self.worker.pool.borrow_mut().sessions.waited(self.endpoint);
    }
}

/// A new connection, in what time is left.
async fn dial<E: Env>(
    worker: &Worker<E>,
    cluster: &Cluster,
    index: usize,
    ends: Option<Ends>,
    tries: &mut Tries<'_>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<Box<Upstream<Transport<E::Stream>>>, Failure> {
    let member = &cluster.members[index];
    let permits = permits(worker, cluster, member, tries.deadline, inbound.client).await?;
    let place = place(worker).ok_or(LOCAL_FAILURE)?;
    let how = &cluster.config.connect;
    let most = how.timeout.min(tries.left(Instant::now()));
    let id = inbound.story.id.as_ref();
    let mut connecting = pin!(connect(worker, cluster, member, (ends, id), (place, permits)));
    let soon = tries.dial_patience(inbound.story.attempts).filter(|soon| *soon < most);
    let mut connected = timeout(soon.unwrap_or(most), &mut connecting).await;
    if let (Err(_), Some(soon)) = (&connected, soon)
        && !tries.give_up_dial(worker, index, &inbound.story)
    {
        connected = timeout(most - soon, connecting).await;
    }
    let reason = match connected {
        Ok(Ok(upstream)) => return Ok(upstream),
        Ok(Err(reason)) => reason,
        Err(_) => Reason::ConnectTimeout,
    };
    let failure = Failure::new(reason, Safety::NothingSent);
    let short = reason == Reason::ConnectTimeout && most < how.timeout && tries.is_short(most);
    Err(if short { failure.not_telling() } else { failure })
}

/// Opens a connection, and if it is to be shared, a first stream on it.
pub(super) async fn connect<E: Env>(
    worker: &Worker<E>,
    cluster: &Cluster,
    member: &Member,
    (ends, request): (Option<Ends>, Option<&RequestId>),
    room: (Place, [Permit; 2]),
) -> Result<Box<Upstream<Transport<E::Stream>>>, Reason> {
    let transport = worker.connect(cluster, member, ends, Use::Http, request).await;
    let transport = transport.map_err(|unopened| unopened.reason())?;
    let (place, permits) = room;
    let opened = Counted::new(Arc::clone(&member.load), worker.index, &cluster.config, place, permits);
    let shared = match cluster.config.protocol {
        HttpVersion::H1 => false,
        HttpVersion::H2 => true,
        HttpVersion::Auto => transport.has_chosen_http2(),
    };
    if !shared {
        if cluster.config.protocol == HttpVersion::Auto {
            worker.pool.borrow_mut().sessions.declines(member.id);
        }
        let mut upstream = Upstream::new(transport, opened);
        upstream.whose = ends.map(|ends| ends.from);
        return Ok(upstream);
    }
    let secure = transport.is_secure();
    let begun = Sessions::begin(transport, secure, opened).await;
    let (session, (stream, in_use)) = begun.map_err(|_| Reason::UpstreamReset)?;
    if cluster.config.proxy_protocol.is_none() {
        worker.pool.borrow_mut().sessions.keep(member.id, session);
    }
    Ok(Upstream::stream(Transport::Asked(Box::new(stream)), in_use))
}

/// The right to one more connection, to the endpoint and to its cluster. Waits if there is none.
pub(crate) async fn permits<E: Env>(
    worker: &Worker<E>,
    cluster: &Cluster,
    member: &Member,
    deadline: Option<Instant>,
    client: &mut Client<E::Stream>,
) -> Result<[Permit; 2], Failure> {
    let live = &cluster.live;
    // Looked at before anything is taken: what is taken and given back wakes whoever is first in
    // the queue, which may be the one that asks, over and over.
    let take = || {
        let full = member.live.connections.is_full() || live.connections.is_full();
        if full { None } else { Some([member.live.connections.take()?, live.connections.take()?]) }
    };
    if let Some(permits) = take() {
        return Ok(permits);
    }
    // One of ours that idles at another endpoint of the cluster may be in the way.
    if live.connections.is_full() {
        worker.pool.borrow_mut().forget_any(cluster.members.iter().map(|member| member.id));
    }
    room::wait(worker, cluster, &live.room, deadline, client, take).await.map_err(|refused| {
        live.connections.count_refusal();
        // The endpoint has seen nothing of it, and it is not for want of trying.
        Failure::new(refused.reason, Safety::NothingSent)
    })
}

/// What an operator injected at the endpoint.
async fn rehearse<E: Env>(
    worker: &Worker<E>,
    cluster: &Cluster,
    index: usize,
    injected: Injected,
    tries: &mut Tries<'_>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<(), Failure> {
    let failed = |reason| Failure::new(reason, Safety::NothingSent);
    room::pause(worker, inbound.client, injected.delay).await.map_err(failed)?;
    if injected.end == Some(End::Unreachable) {
        // As it is when nobody is there to refuse.
        let most = cluster.config.connect.timeout.min(tries.left(Instant::now()));
        let soon = tries.dial_patience(inbound.story.attempts).filter(|soon| *soon < most);
        room::pause(worker, inbound.client, soon.unwrap_or(most)).await.map_err(failed)?;
        if let Some(soon) = soon
            && !tries.give_up_dial(worker, index, &inbound.story)
        {
            room::pause(worker, inbound.client, most - soon).await.map_err(failed)?;
        }
    }
    injected.end.map_or(Ok(()), |end| Err(attempts::ended(end)))
}

/// No descriptor to be had: nothing was sent, and no other endpoint would fare better.
pub(crate) const LOCAL_FAILURE: Failure = Failure::new(Reason::ConnectLocal, Safety::Sent);

/// Room for one more connection to an endpoint; idle ones to others make room.
pub(crate) fn place<E: Env>(worker: &Worker<E>) -> Option<Place> {
    worker.budget.for_endpoint().or_else(|| {
        worker.pool.borrow_mut().clear();
        worker.budget.for_endpoint()
    })
}
