//! Who is let in, and how often: access lists and rate limits, of listeners and of routes.
//!
//! Asked of connections when they are accepted, as far as it is known by then whose they are, and
//! of each request. What they decide is [`weir_core::access`]'s and [`weir_core::rate`]'s.

use std::net::IpAddr;

use weir_core::access::Access;
use weir_core::rate::Limiter;
use weir_core::reason::Reason;
use weir_core::snapshot::Listener;

use super::Worker;
use super::forward::{Inbound, Refused};
use super::tcp::NOTHING;
use crate::env::Env;

/// Whether a connection of bytes from `client` passes the listener's access list and limit.
pub(super) fn connection<E: Env>(worker: &Worker<E>, listener: &Listener, client: IpAddr) -> Result<(), Reason> {
    if !listener.access.admits(client) {
        return Err(Reason::AccessDenied);
    }
    let Some(limit) = &listener.limit else { return Ok(()) };
    limit.take(client, NOTHING.headers, worker.env.now()).map_err(|_| Reason::RateLimited)
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
