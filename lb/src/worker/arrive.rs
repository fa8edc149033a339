//! From an accepted socket to a client's connection, where something is said before the first
//! request: who it is (PROXY protocol), and under which key (TLS).
//!
//! A listener with neither does not come here.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::time::Instant;
use weir_config::model::Protocol;
use weir_core::reason::Reason;
use weir_core::snapshot::Listener;

use super::accept::Bound;
use super::client::Client;
use super::serve::{self, Guard};
use super::tcp;
use crate::env::{Env, Stream as _};
use crate::transport::Transport;

/// Whether connections to `listener` say something first.
pub(super) fn says_something(listener: &Listener) -> bool {
    listener.config.tls.is_some() || listener.config.proxy_protocol.is_some()
}

/// Serves a connection once it has said what it has to say.
pub(super) async fn arrive<E: Env>(guard: Guard<E>, stream: E::Stream, peer: SocketAddr, bound: Rc<Bound>) {
    let worker = &guard.worker;
    guard.register().await;
    let Some((world, index)) = bound.place(&**worker) else { return };
    let listener = std::sync::Arc::clone(&world.snapshot.listeners[index]);
    drop(world);
    match introduce::<E>(&listener, stream, peer).await {
        Ok((transport, peer)) => {
            let client = Client::new(transport, peer, bound, Instant::now());
            match listener.config.protocol {
                Protocol::Http => serve::connection(guard, client).await,
                Protocol::Tcp | Protocol::Udp => tcp::session(guard, client).await,
            }
        }
        Err(reason) => listener.load.of(worker.index).reasons[reason].add(1),
    }
}

/// The connection and whose it is, or why it is none.
async fn introduce<E: Env>(
    listener: &Listener,
    stream: E::Stream,
    peer: SocketAddr,
) -> Result<(Transport<E::Stream>, SocketAddr), Reason> {
    if listener.config.tls.is_some() || listener.config.proxy_protocol.is_some() {
        // Nothing is taken for what it is not: who must introduce themselves are not served unheard.
        stream.abort_on_close();
        return Err(Reason::Internal);
    }
    Ok((Transport::Plain(stream), peer))
}
