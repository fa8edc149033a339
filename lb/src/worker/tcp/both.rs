//! Two directions of one session, each passing on what the other side takes.
//!
//! An end is passed on as an end (a half-closed connection stays one, for as long as the other
//! direction lasts), and nothing is read that the other side has not taken: who reads slowly is
//! written to slowly. Knows sockets and bytes; time, counts and limits are its caller's.

use std::task::{Context, Poll};

use weir_core::reason::Reason;

use super::way::{Reset, Tools, Way};
use crate::env::Stream;
use crate::http1::wire::Wire;

/// Both directions of a session.
#[derive(Debug)]
pub(crate) struct Both {
    /// From the client to the endpoint.
    up: Way,
    /// From the endpoint to the client.
    down: Way,
}

impl Both {
    /// Between two sides whose bytes the kernel can move by itself, or not.
    pub(crate) const fn new(splices: bool) -> Self {
        Self { up: Way::new(splices), down: Way::new(splices) }
    }

    /// Moves what can be moved; ready when both directions are over, or when one side broke its
    /// connection: that is for the caller to pass on, as a reset.
    pub(crate) fn poll<A: Stream, B: Stream>(
        &mut self,
        client: &mut Wire<A>,
        endpoint: &mut Wire<B>,
        tools: Tools<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Reason>> {
        let up = self.up.poll(client, endpoint, tools, context);
        let down = self.down.poll(endpoint, client, tools, context);
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

#[cfg(test)]
mod tests;
