//! Two directions of one session, each passing on what the other side takes.
//!
//! An end is passed on as an end (a half-closed connection stays one, for as long as the other
//! direction lasts), and nothing is read that the other side has not taken: who reads slowly is
//! written to slowly. Knows sockets and bytes; time, counts and limits are its caller's.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use weir_core::reason::Reason;

use super::super::relay::{Broken, Outgoing, Relay};
use crate::http1::framing::Framing;
use crate::http1::wire::{Io, Scratch, Wire};

/// Both directions of a session.
#[derive(Debug)]
pub(crate) struct Both {
    /// From the client to the endpoint.
    up: Way,
    /// From the endpoint to the client.
    down: Way,
}

impl Both {
    pub(crate) fn new() -> Self {
        Self { up: Way::new(), down: Way::new() }
    }

    /// Moves what can be moved; ready when both directions are over, or when one side broke its
    /// connection: that is for the caller to pass on, as a reset.
    pub(crate) fn poll<A: Io, B: Io>(
        &mut self,
        client: &mut Wire<A>,
        endpoint: &mut Wire<B>,
        scratch: &Scratch,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Reason>> {
        let up = self.up.poll(client, endpoint, scratch, context);
        let down = self.down.poll(endpoint, client, scratch, context);
        match (up, down) {
            (Poll::Ready(Err(Reset)), _) => Poll::Ready(Err(Reason::ClientGone)),
            (_, Poll::Ready(Err(Reset))) => Poll::Ready(Err(Reason::UpstreamCut)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) if self.up.lost => Poll::Ready(Err(Reason::UpstreamCut)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) if self.down.lost => Poll::Ready(Err(Reason::ClientGone)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// Whether one direction is over and the other not: one side has said its last word.
    pub(crate) const fn is_half_closed(&self) -> bool {
        self.up.over || self.down.over
    }
}

/// One direction.
#[derive(Debug)]
struct Way {
    relay: Relay,
    /// Nothing more is moved.
    over: bool,
    /// Some of what came will never arrive: the receiver's connection is broken.
    lost: bool,
}

/// The sender reset its connection.
struct Reset;

impl Way {
    fn new() -> Self {
        Self { relay: Relay::new(Framing::UntilClose, Outgoing::Plain, None), over: false, lost: false }
    }

    fn poll<A: Io, B: Io>(
        &mut self,
        from: &mut Wire<A>,
        to: &mut Wire<B>,
        scratch: &Scratch,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Reset>> {
        if self.over {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.relay.poll(from, to, scratch, context)) {
            Ok(()) => {
                // Where that fails there is no connection left to end: all bytes have been taken.
                let _ = ready!(Pin::new(&mut to.io).poll_shutdown(context));
            }
            Err(Broken::Source) => return Poll::Ready(Err(Reset)),
            // What a side that stopped reading still has to say is worth reading.
            Err(_) => self.lost = true,
        }
        self.over = true;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A session between two pipes that hold `room` bytes each way, and its two peers.
    struct Between {
        client: Wire<DuplexStream>,
        endpoint: Wire<DuplexStream>,
        both: Both,
        scratch: Scratch,
    }

    impl Between {
        fn new(room: usize) -> (Self, DuplexStream, DuplexStream) {
            let ((client, ours), (theirs, endpoint)) = (duplex(room), duplex(room));
            let between = Self {
                client: Wire::new(ours),
                endpoint: Wire::new(theirs),
                both: Both::new(),
                scratch: Scratch::new(),
            };
            (between, client, endpoint)
        }

        fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
            self.both.poll(&mut self.client, &mut self.endpoint, &self.scratch, context)
        }

        async fn run(&mut self) -> Result<(), Reason> {
            poll_fn(|context| self.poll(context)).await
        }
    }

    #[tokio::test]
    async fn each_direction_ends_by_itself() {
        for client_first in [true, false] {
            let (mut between, client, endpoint) = Between::new(64);
            let (mut first, mut second) = if client_first { (client, endpoint) } else { (endpoint, client) };
            let peers = async {
                let mut heard = Vec::new();
                first.write_all(b"a question").await.unwrap();
                first.shutdown().await.unwrap();
                second.read_to_end(&mut heard).await.unwrap();
                assert_eq!(heard, b"a question");
                second.write_all(b"an answer").await.unwrap();
                second.shutdown().await.unwrap();
                heard.clear();
                first.read_to_end(&mut heard).await.unwrap();
                assert_eq!(heard, b"an answer");
            };
            let (ended, ()) = tokio::join!(between.run(), peers);
            assert_eq!(ended, Ok(()));
        }
    }

    #[tokio::test]
    async fn nothing_is_read_that_the_other_side_does_not_take() {
        let (mut between, mut client, _endpoint) = Between::new(1024);
        let mut sent = 0;
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..1000 {
            if let Poll::Ready(count) = Pin::new(&mut client).poll_write_flat(&mut context) {
                sent += count;
            }
            assert!(between.poll(&mut context).is_pending());
        }
        // Two pipes and one outbox that was filled by one read.
        assert!(sent <= 3 * 1024, "{sent}");
    }

    trait WriteFlat {
        fn poll_write_flat(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<usize>;
    }

    impl WriteFlat for DuplexStream {
        fn poll_write_flat(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<usize> {
            tokio::io::AsyncWrite::poll_write(self, context, &[7; 512]).map(Result::unwrap)
        }
    }

    #[tokio::test]
    async fn what_was_read_ahead_goes_first() {
        let (mut between, mut client, mut endpoint) = Between::new(64);
        between.client.inbox.push(b"early ");
        client.write_all(b"late").await.unwrap();
        client.shutdown().await.unwrap();
        endpoint.shutdown().await.unwrap();
        assert_eq!(between.run().await, Ok(()));
        let mut heard = Vec::new();
        endpoint.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"early late");
    }

    #[tokio::test]
    async fn last_words_of_a_side_that_stopped_reading_are_passed_on() {
        let (mut between, mut client, mut endpoint) = Between::new(64);
        endpoint.write_all(b"too many clients").await.unwrap();
        // All of it closes, with what the client says unread: writing to it fails.
        drop(endpoint);
        client.write_all(b"hello").await.unwrap();
        assert_eq!(between.run().await, Err(Reason::UpstreamCut));
        drop(between);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"too many clients");
    }
}
