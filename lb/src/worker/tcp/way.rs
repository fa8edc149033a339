//! One direction of a session: from one side's socket to the other's.
//!
//! Small pieces are read into the worker's scratch buffer and written: two system calls each. What
//! flows in bulk is spliced: the kernel moves it through a pipe and never copies it. A pipe is
//! filled only when it is empty, so "try again" from the socket it is filled from always means that
//! nothing has come, and from the other that nothing more is taken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;

use super::pipes::{Pipe, Pipes};
use crate::env::Stream;
use crate::http1::wire::{Scratch, Wire};

/// What a worker lends to whoever moves bytes.
#[derive(Clone, Copy)]
pub(crate) struct Tools<'t> {
    pub(crate) scratch: &'t Scratch,
    pub(crate) pipes: &'t Pipes,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Way {
    /// The sender has said its last word.
    ended: bool,
    /// Nothing more is moved.
    pub(super) over: bool,
    /// Some of what came will never arrive: the receiver's connection is broken.
    pub(super) lost: bool,
    flow: Flow,
    /// While bytes are in it.
    pipe: Option<Pipe>,
}

/// Most pieces moved at a time, each as much as a buffer or a pipe holds: a peer as fast as we are must
/// not keep a worker to itself.
const ROUNDS: usize = 16;

/// The sender reset its connection.
pub(super) struct Reset;

/// Which side broke its connection.
enum Broken {
    Source,
    Sink,
}

impl Way {
    /// Between two sides of which both, or not both, are sockets that can be spliced.
    pub(super) const fn new(splices: bool) -> Self {
        Self { ended: false, over: false, lost: false, flow: Flow::new(splices), pipe: None }
    }

    /// Moves what can be moved; ready when all that came has been passed on, and its end too.
    pub(super) fn poll<A: Stream, B: Stream>(
        &mut self,
        from: &mut Wire<A>,
        to: &mut Wire<B>,
        tools: Tools<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Reset>> {
        if self.over {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.poll_move(from, to, tools, context)) {
            Ok(()) => {
                // Where that fails there is no connection left to end: all bytes have been taken.
                let _ = ready!(Pin::new(&mut to.io).poll_shutdown(context));
            }
            Err(Broken::Source) => return Poll::Ready(Err(Reset)),
            // What a side that stopped reading still has to say is worth reading.
            Err(Broken::Sink) => self.lost = true,
        }
        self.over = true;
        Poll::Ready(Ok(()))
    }

    fn poll_move<A: Stream, B: Stream>(
        &mut self,
        from: &mut Wire<A>,
        to: &mut Wire<B>,
        tools: Tools<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..ROUNDS {
            // What was read ahead goes first.
            if !from.inbox.is_empty() && to.outbox.len() < Scratch::SIZE {
                to.write_through(context, from.inbox.as_slice()).map_err(|_| Broken::Sink)?;
                from.inbox.consume(from.inbox.len());
                continue;
            }
            ready!(to.poll_flush(context)).map_err(|_| Broken::Sink)?;
            ready!(self.poll_drain(to, tools, context)).map_err(|_| Broken::Sink)?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            let moved = match self.pipe_to_fill(tools) {
                Some(pipe) => self.poll_fill(pipe, from, tools, context),
                None => Self::poll_copy(from, to, tools, context).map_ok(Some),
            };
            match moved {
                Poll::Ready(Ok(Some(0))) => self.ended = true,
                Poll::Ready(Ok(Some(count))) => self.flow.moved(count),
                // No kernel we know does that with a socket; should one, copying goes on.
                Poll::Ready(Ok(None)) => self.flow = Flow::new(false),
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                Poll::Pending => {
                    self.flow.paused();
                    return Poll::Pending;
                }
            }
        }
        // Others have waited for long enough.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// By the scratch buffer: how many bytes came; what is not taken at once waits in the outbox.
    fn poll_copy<A: Stream, B: Stream>(
        from: &mut Wire<A>,
        to: &mut Wire<B>,
        tools: Tools<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, Broken>> {
        let read = from.poll_take(tools.scratch, context, |bytes, _, context| {
            to.write_through(context, bytes).map(|()| bytes.len()).map_err(|_| Broken::Sink)
        });
        Poll::Ready(ready!(read).map_err(|_| Broken::Source)?)
    }

    /// A pipe, if there is much to be moved.
    fn pipe_to_fill(&self, tools: Tools<'_>) -> Option<Pipe> {
        if self.flow.bulk { tools.pipes.take() } else { None }
    }

    /// From the sender into `pipe`: how many bytes came; nothing if that cannot be done.
    fn poll_fill<A: Stream>(
        &mut self,
        mut pipe: Pipe,
        from: &mut Wire<A>,
        tools: Tools<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Broken>> {
        let filled = from.io.poll_splice_in(pipe.inlet(), pipe.size, context);
        if let Poll::Ready(Ok(count)) = filled
            && count > 0
        {
            pipe.held = count;
            from.received += count as u64;
            self.pipe = Some(pipe);
            return Poll::Ready(Ok(Some(count)));
        }
        tools.pipes.give(pipe);
        Poll::Ready(match ready!(filled) {
            Ok(count) => Ok(Some(count)),
            Err(error) if is_unsupported(&error) => Ok(None),
            Err(_) => Err(Broken::Source),
        })
    }

    /// From the pipe to the receiver, until nothing is left in it.
    fn poll_drain<B: Stream>(
        &mut self,
        to: &mut Wire<B>,
        tools: Tools<'_>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(pipe) = &mut self.pipe {
            let count = ready!(to.io.poll_splice_out(pipe.outlet(), pipe.held, context))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            to.sent += count as u64;
            pipe.held = pipe.held.saturating_sub(count);
            if pipe.held == 0 {
                self.pipe.take().into_iter().for_each(|pipe| tools.pipes.give(pipe));
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(Errno::INVAL.raw_os_error())
}

/// How bytes have come of late, and what is best for those to come.
#[derive(Debug)]
struct Flow {
    /// Both sides can be spliced.
    splices: bool,
    /// They come in bulk.
    bulk: bool,
    /// Since nothing was there to read.
    burst: usize,
    /// Since a burst was small.
    run: usize,
}

/// So many bytes in bursts that are not small are bulk; a read that fills the scratch buffer is.
const BULK: usize = Scratch::SIZE;
/// A burst of less is small: three system calls with a pipe would be more than two with a buffer.
const SMALL: usize = 16 * 1024;

impl Flow {
    const fn new(splices: bool) -> Self {
        Self { splices, bulk: false, burst: 0, run: 0 }
    }

    fn moved(&mut self, count: usize) {
        self.burst = self.burst.saturating_add(count);
        self.run = self.run.saturating_add(count);
        self.bulk |= self.splices && self.run >= BULK;
    }

    /// There is nothing to read. Said again without anything having come, it says nothing.
    fn paused(&mut self) {
        if self.burst > 0 && self.burst < SMALL {
            self.bulk = false;
            self.run = 0;
        }
        self.burst = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_is_spliced_and_small_pieces_are_not() {
        let mut flow = Flow::new(true);
        for _ in 0..1000 {
            flow.moved(1000);
            flow.paused();
            flow.paused();
            assert!(!flow.bulk, "exchanges");
        }
        flow.moved(Scratch::SIZE);
        assert!(flow.bulk, "a full read");
        flow.paused();
        flow.paused();
        assert!(flow.bulk);
        flow.moved(100);
        flow.paused();
        assert!(!flow.bulk, "back to exchanges");
        for _ in 0..4 {
            flow.moved(SMALL);
            flow.paused();
        }
        assert!(flow.bulk, "bursts that are not small");
        let mut never = Flow::new(false);
        never.moved(Scratch::SIZE * 2);
        assert!(!never.bulk);
    }
}
