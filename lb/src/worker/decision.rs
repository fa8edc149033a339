//! For some requests, what was decided on their way is kept: for `weir explain ID`.
//!
//! They go the same way as all others; somebody listens. For those that are not kept this costs
//! one comparison.

use std::io::Write;
use std::sync::Arc;

use tokio::time::Instant;
use weir_core::explain::{Asks, Explanation, Gray, Picked, Treated};
use weir_core::rewrite;
use weir_core::snapshot::Listener;

use super::affinity;
use super::client::Client;
use super::story::Story;
use super::{Worker, World};
use crate::env::Env;
use crate::http1::head::RequestHead;
use crate::observe::decision::{Decision, DecisionId, Facts, Outcome, Report};

/// What is kept of a request while it is under way.
#[derive(Debug)]
pub(crate) struct Kept {
    id: DecisionId,
    /// What its release said.
    pub(crate) gray: Option<Gray>,
    /// The picks of its attempts, and perhaps the one that found nobody.
    pub(crate) picks: Vec<Picked>,
}

impl Kept {
    /// Attempts whose picks are kept.
    const PICKS_MAX: usize = 10;

    pub(crate) fn pick(&mut self, picked: Picked) {
        if self.picks.len() == Self::PICKS_MAX {
            self.picks.remove(0);
        }
        self.picks.push(picked);
    }

    /// Appends the field of the answer that tells the name.
    pub(crate) fn push_field(&self, out: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "X-Weir-Decision: {}\r\n", self.id);
    }
}

/// Chance decides whether the way of a request is kept.
pub(crate) fn begin<E: Env>(worker: &Worker<E>, listener: &Listener, story: &mut Story) {
    let share = listener.config.headers.decision;
    if share > 0.0 && worker.dice.borrow_mut().unit() < share {
        let kept = Kept { id: DecisionId::new(worker.env.unguessable()), gray: None, picks: Vec::new() };
        kept.push_field(&mut story.fields);
        story.kept = Some(Box::new(kept));
    }
}

/// Hands over what was kept of a request that is over.
pub(crate) fn end<E: Env>(
    worker: &Worker<E>,
    world: &World,
    listener: usize,
    client: &Client<E::Stream>,
    request: &RequestHead,
    story: &mut Story,
) {
    let Some(kept) = story.kept.take() else { return };
    let Kept { id, gray, mut picks } = *kept;
    let index = listener;
    let listener = &*world.snapshot.listeners[index];
    let asked = affinity::asked(request, story.client(client.peer.address.ip()));
    let port = rewrite::port(request.authority());
    let asks = Asks { asked: &asked, secure: story.secure, port, now: worker.env.now() };
    let way = Explanation {
        routes: listener.routes.explain(&asked.view),
        route: story.route,
        gray,
        cluster: story.towards(listener).map(|(cluster, _)| *cluster),
        picked: picks.pop(),
        treated: Treated::of(listener, story.route, &asks),
        refused: story.reason,
    };
    let decision = Decision {
        id,
        wall: worker.env.wall(),
        snapshot: Arc::clone(&world.snapshot),
        listener: index,
        request: Facts {
            id: story.id.as_ref().map(|id| id.as_str().to_owned()),
            method: request.method().to_owned(),
            host: request.host().to_owned(),
            target: String::from_utf8_lossy(request.target()).into_owned(),
            client: asked.client,
        },
        way,
        earlier: picks,
        outcome: Outcome {
            status: story.status,
            reason: story.reason,
            attempts: story.attempts,
            endpoint: story.endpoint,
            took: story.ended.unwrap_or_else(Instant::now) - story.began,
        },
    };
    worker.report_way(Report::Decision(Box::new(decision)));
}
