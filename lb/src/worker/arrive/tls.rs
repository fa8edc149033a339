//! The TLS handshake with a client: in time, and not more at once than may be.

use std::future::{Future as _, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use weir_config::model::Protocol;
use weir_core::load::ListenerLoad;
use weir_core::reason::Reason;
use weir_core::snapshot::Listener;
use weir_core::tls::Unshaken;

use super::Arrival;
use crate::env::{Env, Stream};
use crate::tls::{Accepted, Refusal};
use crate::transport::Transport;
use crate::worker::Worker;
use crate::worker::accept::Bound;
use crate::worker::client::Client;
use crate::worker::deadline::Deadline;

/// Once the process or the listener is to end, a handshake that is under way gets this long.
const GOING: Duration = Duration::from_secs(1);

/// A client's connection under TLS, or why it is none.
pub(super) async fn shake<E: Env>(
    worker: &Worker<E>,
    bound: &Rc<Bound>,
    listener: &Listener,
    arrival: Arrival<E::Stream>,
) -> Result<Client<E::Stream>, Reason> {
    let Arrival { stream, peer, to, early } = arrival;
    let load = listener.load.of(worker.index);
    let Some(acceptor) = worker.book().acceptor(&listener.config.name).cloned() else {
        stream.abort_on_close();
        return Err(Reason::Internal);
    };
    let Some(under_way) = acceptor.begin() else {
        stream.abort_on_close();
        return Err(tell(listener, load, peer, Unshaken::TooMany, "as many handshakes are under way as may be"));
    };
    let counted = Counted::begin(load);
    let mut deadline = Deadline::new(Instant::now() + acceptor.timeout());
    // In a box of its own: it is large, and the connection lives for much longer.
    let mut shaking = Box::pin(acceptor.accept(stream, &early));
    let mut going = false;
    let ended = poll_fn(|context| {
        if let Poll::Ready(ended) = shaking.as_mut().poll(context) {
            return Poll::Ready(Some(ended));
        }
        if worker.is_cutting() {
            return Poll::Ready(None);
        }
        if !going && (worker.is_draining() || bound.is_closed(true)) {
            going = true;
            deadline.set(Instant::now() + GOING.min(acceptor.timeout()));
        }
        deadline.poll(context).map(|()| None)
    })
    .await;
    drop((shaking, counted, under_way));
    match ended {
        Some(Ok(Accepted { stream, secure, handshake })) => {
            load.shaken[handshake as usize].add(1);
            let mut client = Client::new(Transport::Tls(stream), peer, Rc::clone(bound), Instant::now());
            client.peer.to = to;
            client.secure = Some(Rc::new(secure));
            Ok(client)
        }
        Some(Err(Refusal { why, words, plain })) => {
            let reason = tell(listener, load, peer, why, &words);
            if let Some((stream, first)) = plain
                && listener.config.protocol == Protocol::Http
                && first.is_ascii_uppercase()
            {
                answer_plainly(worker, bound, stream, peer).await;
            }
            Err(reason)
        }
        None => Err(tell(listener, load, peer, Unshaken::Timeout, "it took too long")),
    }
}

/// A handshake under way, in the gauge that counts those.
struct Counted<'l>(&'l ListenerLoad);

impl<'l> Counted<'l> {
    fn begin(load: &'l ListenerLoad) -> Self {
        load.shaking.add(1);
        Self(load)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.shaking.sub(1);
    }
}

/// Counts a handshake that failed, and says why to whoever wants to know.
fn tell(listener: &Listener, load: &ListenerLoad, peer: SocketAddr, why: Unshaken, words: &str) -> Reason {
    load.unshaken[why as usize].add(1);
    tracing::debug!(listener = %listener.config.name, client = %peer, why = why.as_str(), "no TLS with a client: {words}");
    match why {
        Unshaken::Timeout | Unshaken::TooMany => Reason::TlsTimeout,
        _ => Reason::TlsHandshake,
    }
}

/// What a client gets that speaks plain HTTP where TLS is spoken.
const PLAINLY: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 61\r\n\
    Connection: close\r\n\
    \r\n\
    This port speaks HTTPS: use https:// instead of http:// here\n";

async fn answer_plainly<E: Env>(worker: &Worker<E>, bound: &Rc<Bound>, stream: E::Stream, peer: SocketAddr) {
    let mut client = Client::new(Transport::Plain(stream), peer, Rc::clone(bound), Instant::now());
    client.wire.outbox.push(PLAINLY);
    // So short an answer fits any socket; one that takes none need not have it.
    let _ = poll_fn(|context| Poll::Ready(client.wire.poll_flush(context))).await;
    client.close(worker, true).await;
}

#[cfg(test)]
mod tests {
    use super::PLAINLY;

    #[test]
    fn the_plain_answer_is_framed() {
        let text = std::str::from_utf8(PLAINLY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
