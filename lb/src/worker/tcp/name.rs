//! Waits for the name that a session's client asks for, without opening what it says: all of it is
//! kept, and goes to the endpoint as it came.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use weir_core::reason::Reason;
use weir_core::snapshot::Listener;

use super::super::Worker;
use super::super::client::Client;
use super::hello::{self, Hello};
use crate::env::Env;

/// Whether sessions of `listener` are routed by name. Its first route tells: one that takes
/// everything leaves nothing for others.
pub(super) fn is_wanted(listener: &Listener) -> bool {
    listener.config.tls.is_none() && listener.config.routes.first().is_some_and(|route| !route.matches.sni.is_empty())
}

/// The name; none if the client speaks no TLS, or asks for none.
pub(super) async fn asked<E: Env>(
    worker: &Worker<E>,
    client: &mut Client<E::Stream>,
    patience: Duration,
) -> Result<Option<Box<str>>, Reason> {
    client.deadline.set_after(Instant::now(), patience);
    poll_fn(|context| {
        loop {
            match hello::read(client.wire.inbox.as_slice()) {
                Hello::Partial => {}
                Hello::Other => return Poll::Ready(Ok(None)),
                Hello::Client(name) => return Poll::Ready(Ok(name)),
            }
            let read = client.wire.poll_take(&worker.scratch, context, |bytes, inbox, _| {
                inbox.push(bytes);
                bytes.len()
            });
            match read {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Reason::ClientGone)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending if worker.is_cutting() => return Poll::Ready(Err(Reason::DrainDeadline)),
                Poll::Pending => return client.deadline.poll(context).map(|()| Err(Reason::HeaderTimeout)),
            }
        }
    })
    .await
}
