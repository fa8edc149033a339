//! Step 7: whether a request is let in at all, and the wait for room where a limit is reached.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use weir_core::control::{Event, Tried, Whose};
use weir_core::drill::{self, End};
use weir_core::limits::{Permit, Queue};
use weir_core::live::TrialPermit;
use weir_core::reason::Reason;
use weir_core::snapshot::{Breaker, Cluster, Listener};

use super::client::Client;
use super::flight::ClusterFlight;
use super::forward::{Inbound, Refused, Routed};
use super::story::Story;
use super::{Worker, World};
use crate::env::Env;

/// A request that was let in to its cluster. What it takes of limits it gives back when it is over.
pub(crate) struct Admitted<'w> {
    pub(crate) routed: Routed<'w>,
    flight: ClusterFlight<'w>,
    trial: Option<TrialPermit>,
    room: Permit,
}

/// Lets a request in, if the cluster's breaker and limits allow; waits if they soon may.
pub(crate) async fn admit<'w, E: Env>(
    worker: &Worker<E>,
    world: &'w World,
    listener: &Listener,
    routed: Routed<'w>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<Admitted<'w>, Refused> {
    if !world.snapshot.drills.is_empty() {
        rehearse(worker, world, listener, inbound).await?;
    }
    let cluster = routed.cluster;
    let deadline = inbound.upload.is_whole().then(|| routed.answer_by(inbound.story.began)).or(routed.until);
    let (room, trial) = enter(worker, cluster, inbound.story.began, deadline, inbound.client).await?;
    Ok(Admitted { routed, flight: ClusterFlight::begin(cluster, worker.index), trial, room })
}

/// Past the breaker and the limit of a cluster: what is taken of the limit, and the trial if the
/// breaker is half open. `began`: when whoever asks came; `deadline`: until when they wait.
pub(crate) async fn enter<E: Env>(
    worker: &Worker<E>,
    cluster: &Cluster,
    began: Instant,
    deadline: Option<Instant>,
    client: &mut Client<E::Stream>,
) -> Result<(Permit, Option<TrialPermit>), Refused> {
    let trial = match &cluster.breaker {
        Breaker::Closed => None,
        Breaker::Open { until } => {
            let left = until.since(worker.env.at(began));
            return Err(Refused::until(Reason::BreakerOpen, left));
        }
        Breaker::HalfOpen(trial) => Some(trial.take().ok_or(Refused::until(Reason::BreakerOpen, Refused::SOON))?),
    };
    let budget = &cluster.live.requests;
    let room = match budget.enter() {
        Some(permit) => permit,
        None => {
            let admitted = wait(worker, cluster, &cluster.live.queue, deadline, client, || budget.take()).await;
            admitted.inspect_err(|_| budget.count_refusal())?
        }
    };
    Ok((room, trial))
}

impl Admitted<'_> {
    /// Tells how the request ended.
    pub(crate) fn settle<E: Env>(self, worker: &Worker<E>, story: &Story) {
        let _room = self.leave(worker, story);
    }

    /// The same where something else goes on in its place: what it takes of the cluster's limit.
    pub(crate) fn leave<E: Env>(self, worker: &Worker<E>, story: &Story) -> Permit {
        let outcome = story.outcome();
        self.flight.settle(story.attempts > 1 && !outcome.class().is_failure());
        if let Some(trial) = &self.trial {
            let whose = Whose::Cluster(self.routed.cluster.id);
            worker.report(Event::Tried(Tried { whose, epoch: trial.epoch(), outcome }));
        }
        self.room
    }
}

/// Waits in `queue` until `take` gives something, but no longer than a request of this cluster may,
/// and not until its own `deadline` has passed.
pub(crate) async fn wait<T, E: Env>(
    worker: &Worker<E>,
    cluster: &Cluster,
    queue: &Arc<Queue>,
    deadline: Option<Instant>,
    client: &mut Client<E::Stream>,
    mut take: impl FnMut() -> Option<T>,
) -> Result<T, Refused> {
    let breaker = &cluster.config.breaker;
    let mut ticket = None;
    let last = Instant::now() + breaker.queue_timeout;
    client.deadline.set(deadline.map_or(last, |deadline| deadline.min(last)));
    poll_fn(|context| {
        let ticket = match &ticket {
            Some(ticket) => ticket,
            None => match queue.join(breaker.max_pending_requests, context.waker()) {
                Some(new) => ticket.insert(new),
                None => return Poll::Ready(Err(Reason::QueueFull.into())),
            },
        };
        if ticket.is_first(context.waker())
            && let Some(taken) = take()
        {
            return Poll::Ready(Ok(taken));
        }
        if client.poll_gone(&worker.scratch, context) {
            return Poll::Ready(Err(Reason::ClientGone.into()));
        }
        if worker.is_cutting() {
            return Poll::Ready(Err(Reason::DrainDeadline.into()));
        }
        client.deadline.poll(context).map(|()| Err(Reason::QueueTimeout.into()))
    })
    .await
}

/// Pauses, unless the client goes or the process ends.
pub(crate) async fn pause<E: Env>(
    worker: &Worker<E>,
    client: &mut Client<E::Stream>,
    pause: Duration,
) -> Result<(), Reason> {
    if pause.is_zero() {
        return Ok(());
    }
    client.deadline.set_after(Instant::now(), pause);
    poll_fn(|context| {
        if client.poll_gone(&worker.scratch, context) {
            return Poll::Ready(Err(Reason::ClientGone));
        }
        if worker.is_cutting() {
            return Poll::Ready(Err(Reason::DrainDeadline));
        }
        client.deadline.poll(context).map(Ok)
    })
    .await
}

/// What an operator injected before the request goes anywhere.
async fn rehearse<E: Env>(
    worker: &Worker<E>,
    world: &World,
    listener: &Listener,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<(), Refused> {
    let Some(route) = inbound.story.route else { return Ok(()) };
    let headers = &inbound.heads.request.fields;
    let name = &listener.config.name;
    let injected = drill::at_route(&world.snapshot.drills, name, route, headers, &mut worker.dice.borrow_mut());
    pause(worker, inbound.client, injected.delay).await?;
    match injected.end {
        None => Ok(()),
        Some(End::Abort(status)) => Err(Refused::injected(status)),
        Some(End::Unreachable | End::Reset) => Err(Refused::injected(0)),
    }
}
