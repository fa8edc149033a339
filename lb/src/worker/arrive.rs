//! From an accepted socket to a client's connection, where something is said before the first
//! request: who it is (PROXY protocol), and under which key (TLS).
//!
//! A listener with neither does not come here.

mod introduction;
mod tls;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;
use weir_config::model::Protocol;
use weir_core::reason::Reason;
use weir_core::snapshot::Listener;

use super::accept::Bound;
use super::client::Client;
use super::http2;
use super::serve::{self, Guard};
use super::tcp;
use crate::env::{Env, Stream};
use crate::transport::Transport;
use introduction::{Introduced, introduction};

/// A connection of which it is not known yet what it will say, or for whom.
struct Arrival<S> {
    stream: S,
    /// Whose it is, as far as is known.
    peer: SocketAddr,
    /// Where it came to, if that was told.
    to: Option<SocketAddr>,
    /// Read, and not used by the step that read it.
    early: Vec<u8>,
}

/// Whether connections to `listener` say something first.
pub(super) fn says_something(listener: &Listener) -> bool {
    listener.config.tls.is_some() || listener.config.proxy_protocol.is_some()
}

/// Serves a connection once it has said what it has to say.
pub(super) async fn arrive<E: Env>(mut guard: Guard<E>, stream: E::Stream, peer: SocketAddr, bound: Rc<Bound>) {
    let worker = Rc::clone(&guard.worker);
    guard.register().await;
    let Some((world, index)) = bound.place(&*worker) else { return };
    let listener = Arc::clone(&world.snapshot.listeners[index]);
    drop(world);
    let arrival = Arrival { stream, peer, to: None, early: Vec::new() };
    match introduce(&mut guard, &bound, &listener, arrival).await {
        Ok(client) => serve(guard, client, listener.config.protocol).await,
        Err(reason) => listener.load.of(worker.index).reasons[reason].add(1),
    }
}

/// The steps, in the order of the wire.
async fn introduce<E: Env>(
    guard: &mut Guard<E>,
    bound: &Rc<Bound>,
    listener: &Listener,
    mut arrival: Arrival<E::Stream>,
) -> Result<Client<E::Stream>, Reason> {
    if let Some(rule) = &listener.config.proxy_protocol {
        let patience = listener.config.timeouts.header;
        let told = introduction(&mut arrival.stream, arrival.peer, rule, patience).await;
        let seated = told.and_then(|told| {
            guard.seat = serve::seat(listener, told.peer.ip())?;
            guard.peer = told.peer;
            Ok(told)
        });
        let Introduced { peer, to, early } = seated.inspect_err(|_| arrival.stream.abort_on_close())?;
        arrival = Arrival { stream: arrival.stream, peer, to, early };
    }
    if listener.config.tls.is_some() {
        return tls::shake(&guard.worker, bound, listener, arrival).await;
    }
    let Arrival { stream, peer, to, early } = arrival;
    let mut client = Client::new(Transport::Plain(stream), peer, Rc::clone(bound), Instant::now());
    client.peer.to = to;
    client.wire.inbox.push(&early);
    Ok(client)
}

async fn serve<E: Env>(guard: Guard<E>, client: Client<E::Stream>, protocol: Protocol) {
    let h2 = client.secure.as_ref().is_some_and(|secure| secure.h2);
    match protocol {
        Protocol::Http if h2 => http2::connection(guard, client).await,
        Protocol::Http => serve::connection(guard, client).await,
        Protocol::Tcp | Protocol::Udp => tcp::session(guard, client).await,
    }
}
