//! One timer for the life of a connection, moved without touching the timer wheel.
//!
//! A kept-open connection has a new deadline several times per request, and nearly always a later
//! one. So the timer stays armed where it was, and only when it fires does it look whether the
//! deadline has moved meanwhile.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A moment by which something must have happened.
#[derive(Debug)]
pub(crate) struct Deadline {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
}

impl Deadline {
    pub(crate) fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(sleep_until(at)), at }
    }

    /// Moves the deadline.
    pub(crate) fn set(&mut self, at: Instant) {
        self.at = at;
        if at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
        }
    }

    /// Moves the deadline to `after` from `now`. Configured durations are a day at most, so the
    /// sum is within what a clock holds.
    pub(crate) fn set_after(&mut self, now: Instant, after: Duration) {
        self.set(now + after);
    }

    /// Ready once the deadline has passed.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.sleep.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if self.sleep.deadline() >= self.at => return Poll::Ready(()),
                Poll::Ready(()) => self.sleep.as_mut().reset(self.at),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moves_both_ways() {
        let start = Instant::now();
        let mut deadline = Deadline::new(start + Duration::from_secs(5));
        deadline.set(start + Duration::from_secs(9));
        poll_fn(|context| deadline.poll(context)).await;
        assert_eq!(start.elapsed().as_secs(), 9);
        deadline.set_after(Instant::now(), Duration::from_secs(60));
        assert!(poll_fn(|context| Poll::Ready(deadline.poll(context).is_pending())).await);
        deadline.set_after(Instant::now(), Duration::from_secs(1));
        poll_fn(|context| deadline.poll(context)).await;
        assert_eq!(start.elapsed().as_secs(), 10);
    }
}
