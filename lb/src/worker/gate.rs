//! Who is let in, and how often: access lists and rate limits, of listeners and of routes.
//!
//! Asked of connections when they are accepted, as far as it is known by then whose they are, and
//! of each request. What they decide is [`weir_core::access`]'s and [`weir_core::rate`]'s.

use std::net::IpAddr;

use weir_config::model::Protocol;
use weir_core::access::Access;
use weir_core::rate::Limiter;
use weir_core::reason::Reason;
use weir_core::snapshot::Listener;

use super::Worker;
use super::forward::{Inbound, Refused};
use super::tcp::NOTHING;
use crate::env::Env;

/// Whether a connection from `peer` is let in at all. Where HTTP is spoken each is: its requests are
/// asked one by one, and whoever is kept out is told so.
pub(super) fn admits(listener: &Listener, peer: IpAddr) -> bool {
    listener.config.protocol == Protocol::Http || listener.access.admits(peer)
}

/// Whether a session of `client` passes the listener's limit and that of its route.
pub(super) fn session<E: Env>(
    worker: &Worker<E>,
    listener: &Listener,
    route: Option<usize>,
    client: IpAddr,
) -> Result<(), Reason> {
    let target = route.map(|at| &listener.targets[at]);
    if target.is_some_and(|target| !target.access.admits(client)) {
        return Err(Reason::AccessDenied);
    }
    let limits = [listener.limit.as_deref(), target.and_then(|target| target.limit.as_deref())];
    for limit in limits.into_iter().flatten() {
        limit.take(client, NOTHING.headers, worker.env.now()).map_err(|_| Reason::RateLimited)?;
    }
    Ok(())
}

/// Whether a request passes an access list and a limit.
pub(super) fn request<E: Env>(
    worker: &Worker<E>,
    access: &Access,
    limit: Option<&Limiter>,
    inbound: &Inbound<'_, E::Stream>,
) -> Result<(), Refused> {
    if access.is_open() && limit.is_none() {
        return Ok(());
    }
    let client = inbound.client_address();
    if !access.admits(client) {
        return Err(Reason::AccessDenied.into());
    }
    let Some(limit) = limit else { return Ok(()) };
    let taken = limit.take(client, &inbound.heads.request.fields, worker.env.at(inbound.story.began));
    taken.map_err(|pause| Refused::until(Reason::RateLimited, pause))
}
