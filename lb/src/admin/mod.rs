//! The admin address: health of this process, metrics, status, events, reload, drains,
//! rehearsals. HTTP over hyper, on the control thread.
//!
//! Reading changes nothing; what changes something is POST (or DELETE), and only from this host. Not for the
//! public: it is bound to loopback unless told otherwise, and refuses requests that a web page
//! elsewhere made a browser send.

mod api;
mod body;
mod buckets;
mod explain;
mod guard;
mod live;
pub mod moves;
mod orders;
mod page;
mod preview;
mod problems;
mod query;
mod releases;
mod reloads;
pub mod status;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::control::Handle;
use crate::env::Env;
use crate::observe::metrics::Metrics;
use live::Live;
use preview::Desk;

/// Connections served at once; for one more the oldest has to go.
const CONNECTIONS_MAX: usize = 64;
/// From the start of waiting for a request to the end of its head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection takes no more requests after this long,
const CONNECTION_AGE: Duration = Duration::from_secs(120);
/// and is cut this long after that, if its client does not read.
const CONNECTION_GRACE: Duration = Duration::from_secs(30);
/// Largest head.
const HEAD_MAX: usize = 16 << 10;
/// After an accept that failed, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin address, before it is served.
pub struct Admin {
    handle: Handle,
    metrics: Metrics,
    address: SocketAddr,
}

impl Admin {
    /// Answers about what `handle` talks to, at `address`.
    #[must_use]
    pub const fn new(handle: Handle, metrics: Metrics, address: SocketAddr) -> Self {
        Self { handle, metrics, address }
    }

    /// Where it is, or will be, served.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves what was reserved, for ever. Must run where tasks can be spawned locally.
    pub async fn serve<E: Env>(self, env: E, reserved: E::Reserved) {
        match env.listen(reserved).await {
            Ok(listener) => {
                let service = Rc::new(Service::new(env, self));
                tokio::join!(Rc::clone(&service).accept(listener), service.watch());
            }
            Err(error) => tracing::error!(%error, address = %self.address, "the admin address cannot be served"),
        }
    }
}

/// What answers.
struct Service<E: Env> {
    env: E,
    handle: Handle,
    metrics: Metrics,
    instance: String,
    live: Live,
    previews: Desk,
}

impl<E: Env> Service<E> {
    fn new(env: E, Admin { handle, metrics, .. }: Admin) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let instance = format!("{}:{}", host.trim(), std::process::id());
        Self { env, handle, metrics, instance, live: Live::default(), previews: Desk::default() }
    }

    /// Looks once a second at what happens, for whoever follows it.
    async fn watch(&self) {
        self.live.run(&self.handle, &self.instance, || self.clock()).await;
    }

    async fn accept(self: Rc<Self>, listener: E::Listener) {
        // Dropped with this future, and the connections with it.
        let mut connections = JoinSet::new();
        let mut by_age = VecDeque::new();
        loop {
            while connections.try_join_next().is_some() {}
            by_age.retain(|connection: &AbortHandle| !connection.is_finished());
            match self.env.accept(&listener).await {
                Ok((stream, peer)) => {
                    // Idle ones must not keep out whoever asks whether we live.
                    if by_age.len() >= CONNECTIONS_MAX
                        && let Some(oldest) = by_age.pop_front()
                    {
                        oldest.abort();
                    }
                    by_age.push_back(connections.spawn_local(Rc::clone(&self).converse(stream, peer)));
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin address cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn converse(self: Rc<Self>, stream: E::Stream, peer: SocketAddr) {
        let service = service_fn(|request| {
            let this = Rc::clone(&self);
            async move { Ok::<_, Infallible>(this.answer(request, peer).await) }
        });
        let mut connection = pin!(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(HEAD_MAX)
                .serve_connection(TokioIo::new(stream), service)
        );
        // Whatever ends a connection ends it for its client alone, who knows best what it was.
        tokio::select! {
            _ = connection.as_mut() => return,
            () = sleep(CONNECTION_AGE) => connection.as_mut().graceful_shutdown(),
        }
        let _ = tokio::time::timeout(CONNECTION_GRACE, connection).await;
    }
}

#[cfg(test)]
mod tests;
