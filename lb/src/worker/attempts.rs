//! Steps 8 to 11, until there is an answer or none is to be had: which endpoint, what became of
//! the attempt, and whether another may be made.
//!
//! What may be repeated is [`weir_core::retry`]'s to say; here it is carried out. Another endpoint
//! is picked, and the budget taken, before an answer in hand is given up for it.

use std::time::Duration;

use tokio::time::Instant;
use weir_config::model::{HttpVersion, Retry, Route};
use weir_core::attempt::Outcome;
use weir_core::balance::{Refusal, Tried};
use weir_core::dice::Dice;
use weir_core::drill::{self, End, Injected};
use weir_core::explain;
use weir_core::limits::Permit;
use weir_core::live::TrialPermit;
use weir_core::reason::Reason;
use weir_core::retry::{self, Denied, Nature, RetryPermit, Safety};
use weir_core::route::Headers as _;
use weir_core::snapshot::{Cluster, Listener, Member};

use super::affinity::Affinity;
use super::choice::{Choice, Chosen};
use super::exchange::{self, Answered};
use super::forward::{Inbound, Refused, Routed};
use super::lease;
use super::room::{self, Admitted};
use super::story::Story;
use super::trace;
use super::{Worker, World};
use crate::env::{Env, Stream};
use crate::http1::head::ResponseHead;

/// An attempt that has found its endpoint.
pub(crate) struct Picked<'w> {
    pub(crate) cluster: &'w Cluster,
    pub(crate) member: &'w Member,
    /// Its index among the cluster's members.
    pub(crate) index: usize,
    /// Of what the endpoint may have under way.
    pub(crate) room: Permit,
    pub(crate) trial: Option<TrialPermit>,
    /// On a connection that never served: one that idled had been closed.
    pub(crate) fresh: bool,
    /// What it takes of the retry budget.
    pub(crate) retry: Option<(Option<RetryPermit>, Permit)>,
    /// How it was picked, if that is kept.
    told: Option<Box<explain::Picked>>,
    /// Nobody else can make one.
    _made: Made,
}

struct Made;

/// Why an attempt gave no answer, and what the endpoint can have seen of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) outcome: Outcome,
    pub(crate) safety: Safety,
    /// Whether it says anything of the endpoint.
    pub(crate) telling: bool,
}

impl Failure {
    pub(crate) const fn new(reason: Reason, safety: Safety) -> Self {
        Self { outcome: Outcome::Failed(reason), safety, telling: true }
    }

    /// The same, of which the endpoint is not the cause.
    pub(crate) const fn not_telling(self) -> Self {
        Self { telling: false, ..self }
    }
}

/// By when an attempt must have its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From the request's last byte.
    pub(crate) after: Duration,
    /// If not: it has failed whether or not another may be made.
    pub(crate) hard: bool,
}

/// Whether an attempt that takes too long is given up for another endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GiveUp {
    /// Which is picked, and has its share of the budget, already.
    Now,
    /// The budget is used up; it may not be after so long.
    AskAgain(Duration),
    /// There is nobody else, or no time.
    Never,
}

/// A share of the route's timeout one attempt may take where another may follow: 40 %.
const TRY_SHARE: (u32, u32) = (2, 5);
/// An attempt looks lost when it takes so much longer than 99 of 100 do.
pub(crate) const USUAL_TIMES: u32 = 3;
/// But never sooner than this: a pause of a moment is no failure.
const USUAL_MIN: Duration = Duration::from_millis(200);
/// And a connection this long: the kernel sends its first packet again after a second, and till
/// then somebody else has answered.
pub(crate) const DIAL_MIN: Duration = Duration::from_millis(250);
/// Who finds as many retries under way as may be at once asks again so often, after the pauses that
/// come before retries.
const CROWDED_ROUNDS: u16 = 3;
/// Where nothing is known of a cluster's latency, less than this share of the route's timeout says
/// nothing of an endpoint that did not answer within it.
const FAIR_SHARE: u32 = 10;
/// And where it is known, less than 99 of 100 answers take, or so many times the median.
const FAIR_MEDIANS: u32 = 5;
/// Connections that a request may lose before its endpoint has looked at it; then it is a failure.
const AGAIN_MAX: u8 = 3;
/// Who may not be asked again for want of budget may be as soon as others are done.
const ASK_AGAIN: Duration = Duration::from_millis(25);

/// The attempts of one request.
pub(crate) struct Tries<'w> {
    world: &'w World,
    routed: &'w Routed<'w>,
    policy: &'w Retry,
    /// As it is configured: what the client has left may be less.
    route_timeout: Duration,
    /// Executing it twice is as executing it once.
    repeatable: bool,
    affinity: Affinity,
    /// Whether the way of this request is kept.
    kept: bool,
    tried: Tried,
    /// How often its endpoint was asked again because it had not looked at it.
    again: u8,
    /// For the attempt that is under way: where it goes if it takes too long.
    next: Option<Picked<'w>>,
    /// When the whole request must have its answer; known once all of it is here, or has failed.
    pub(crate) deadline: Option<Instant>,
}

/// Makes attempts until one is the answer, or no further may be made.
pub(crate) async fn until_settled<'w, E: Env>(
    worker: &'w Worker<E>,
    world: &'w World,
    listener: &'w Listener,
    admitted: &'w Admitted<'w>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Result<Answered<'w, E>, Refused> {
    let mut tries = Tries::new(world, listener, &admitted.routed, inbound);
    let mut picked = tries.first(worker, inbound).await?;
    loop {
        let index = picked.index;
        inbound.story.attempts += 1;
        inbound.story.endpoint = Some(index);
        if let (Some(kept), Some(told)) = (&mut inbound.story.kept, picked.told.take()) {
            kept.pick(*told);
        }
        trace::attempt_begins(worker, &mut inbound.story, index);
        let attempt = tries.attempt(worker, listener, picked, inbound).await;
        trace::attempt_ends(&mut inbound.story, &inbound.heads.response, attempt.as_ref().err());
        picked = match tries.settle(worker, index, attempt, inbound).await {
            Verdict::Again(next) => next,
            Verdict::Done(answered) => {
                inbound.story.fields.extend(answered.cookie(tries.affinity).into_iter().flatten());
                return Ok(answered);
            }
            Verdict::GiveUp(refused) => return Err(refused),
        };
    }
}

/// What follows an attempt.
enum Verdict<'w, E: Env> {
    Again(Picked<'w>),
    Done(Answered<'w, E>),
    GiveUp(Refused),
}

impl<'w> Tries<'w> {
    /// The route that took the request.
    pub(crate) fn route<'l>(&self, listener: &'l Listener) -> &'l Route {
        &listener.config.routes[self.routed.index]
    }

    fn new<S: Stream>(
        world: &'w World,
        listener: &'w Listener,
        routed: &'w Routed<'w>,
        inbound: &mut Inbound<'_, S>,
    ) -> Self {
        let request = &inbound.heads.request;
        let repeatable = retry::is_repeatable(request.method().as_bytes(), &request.fields);
        let route = &listener.config.routes[routed.index];
        let policy = &route.retry;
        let may_call_again = inbound.story.grpc && !policy.on.grpc.is_empty();
        // An endpoint of HTTP/2 may say that it has not looked at it; then it is asked again whatever it is.
        let may_be_unseen = routed.cluster.config.protocol != HttpVersion::H1;
        if ((repeatable || may_call_again) && policy.attempts.get() > 1) || may_be_unseen {
            inbound.upload.keep(policy.body_bytes as usize);
        }
        let deadline = inbound.upload.is_whole().then(|| routed.answer_by(inbound.story.began));
        let affinity = Affinity::of(routed.cluster, inbound);
        let (route_timeout, kept, tried) = (route.timeout, inbound.story.kept.is_some(), Tried::default());
        Self { world, routed, policy, route_timeout, repeatable, affinity, kept, tried, again: 0, next: None, deadline }
    }

    /// The first endpoint; waits for one with room if all have as much as they may.
    async fn first<E: Env>(
        &self,
        worker: &Worker<E>,
        inbound: &mut Inbound<'_, E::Stream>,
    ) -> Result<Picked<'w>, Refused> {
        if self.deadline.is_some() && self.routed.timeout.is_zero() {
            // Whoever asked has no time left: nobody can answer that.
            return Err(Reason::UpstreamTimeout.into());
        }
        let now = inbound.story.began;
        let cluster = self.routed.cluster;
        match self.pick(worker, now) {
            Err(Refusal { all_busy: true, .. }) => {
                let take = || self.pick(worker, Instant::now()).ok();
                room::wait(worker, cluster, &cluster.live.room, self.deadline, inbound.client, take).await
            }
            picked => picked.map_err(|refusal| refusal.reason.into()),
        }
    }

    /// Step 8: an endpoint that has not been tried.
    fn pick<E: Env>(&self, worker: &Worker<E>, now: Instant) -> Result<Picked<'w>, Refusal> {
        self.choice(worker, now).pick(worker, &self.tried).map(|chosen| self.picked(chosen))
    }

    /// What is gone by at this moment.
    fn choice<E: Env>(&self, worker: &Worker<E>, now: Instant) -> Choice<'w> {
        Choice {
            cluster: self.routed.cluster,
            hash: self.affinity.hash,
            session: self.affinity.session,
            may_try: self.may_try(&mut worker.dice.borrow_mut()),
            reuses: self.routed.cluster.config.proxy_protocol.is_none(),
            kept: self.kept,
            now: worker.env.at(now),
        }
    }

    fn picked(&self, Chosen { member, index, room, trial, told }: Chosen<'w>) -> Picked<'w> {
        let cluster = self.routed.cluster;
        Picked { cluster, member, index, room, trial, fresh: false, retry: None, told, _made: Made }
    }

    fn may_try(&self, dice: &mut Dice) -> bool {
        !self.routed.cluster.available.trials.is_empty()
            && self.tried.is_empty()
            && retry::may_be_trial(self.policy, self.repeatable, dice)
    }

    /// Steps 9 and 10, and what an operator made up of them.
    async fn attempt<E: Env>(
        &mut self,
        worker: &'w Worker<E>,
        listener: &Listener,
        picked: Picked<'w>,
        inbound: &mut Inbound<'_, E::Stream>,
    ) -> Result<Answered<'w, E>, Failure> {
        inbound.story.tried = if inbound.story.attempts == 1 { inbound.story.began } else { Instant::now() };
        let injected = self.injected(worker, picked.member, inbound);
        let leased = lease::lease(worker, picked, injected, self, inbound).await?;
        trace::connected(&mut inbound.story, leased.reused);
        exchange::exchange(worker, listener, leased, self, inbound).await
    }

    fn injected<E: Env>(&self, worker: &Worker<E>, member: &Member, inbound: &Inbound<'_, E::Stream>) -> Injected {
        let drills = &self.world.snapshot.drills;
        if drills.is_empty() {
            return Injected::default();
        }
        drill::at_endpoint(drills, member, Some(&inbound.heads.request.fields), &mut worker.dice.borrow_mut())
    }

    /// How long this attempt may take. Learned from the cluster where the operator does not say,
    /// and then only where another one may follow.
    pub(crate) fn patience(&self, attempts: u16) -> Option<Patience> {
        if let Some(after) = self.policy.per_try_timeout {
            return Some(Patience { after, hard: true });
        }
        let another = self.repeatable && self.policy.on.timeout && attempts < self.policy.attempts.get();
        another.then(|| {
            let most = self.routed.timeout * TRY_SHARE.0 / TRY_SHARE.1;
            let usual = self.routed.cluster.live.usual();
            let after = usual.map_or(most, |usual| (usual * USUAL_TIMES).max(USUAL_MIN).min(most));
            Patience { after, hard: false }
        })
    }

    /// Whether so little time says nothing of an endpoint that did not answer within it: whoever
    /// asked had no more, or had waited before.
    pub(crate) fn is_short(&self, given: Duration) -> bool {
        let live = &self.routed.cluster.live;
        let fair = match (live.usual(), live.median()) {
            (Some(usual), Some(median)) => usual.min(median * FAIR_MEDIANS),
            _ => self.route_timeout / FAIR_SHARE,
        };
        given < fair
    }

    /// The time that is left for the whole request.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        let deadline = self.deadline.unwrap_or_else(|| self.routed.answer_by(now));
        deadline.saturating_duration_since(now)
    }

    /// Until when it may be sent at all, if that is known.
    pub(crate) fn send_by(&self) -> Option<Instant> {
        self.deadline.or(self.routed.until)
    }

    /// What is left of the time that whoever makes a call has told.
    pub(crate) fn call_left(&self, now: Instant) -> Option<Duration> {
        self.routed.until.map(|until| until.saturating_duration_since(now))
    }

    /// All of the request was sent: its time runs.
    pub(crate) fn all_sent(&mut self, now: Instant) -> Instant {
        *self.deadline.get_or_insert_with(|| self.routed.answer_by(now))
    }

    /// How long a connection may take to come about, where another endpoint may be asked instead.
    pub(crate) fn dial_patience(&self, attempts: u16) -> Option<Duration> {
        let another = self.policy.on.connect_failure && attempts < self.policy.attempts.get();
        let usual = self.routed.cluster.live.usual().filter(|_| another)?;
        Some((usual * USUAL_TIMES).max(DIAL_MIN))
    }

    /// A connection takes longer than it should. Whether another endpoint may be asked instead; if
    /// so, it is picked, and has its share of the budget, already.
    pub(crate) fn give_up_dial<E: Env>(&mut self, worker: &Worker<E>, at: usize, story: &Story) -> bool {
        let nature = Nature { repeatable: self.repeatable, replayable: true };
        let outcome = Outcome::Failed(Reason::ConnectTimeout);
        self.next = self.reserve(worker, at, nature, outcome, Safety::NothingSent, story.attempts).ok();
        self.next.is_some()
    }

    /// An answer takes longer than such answers do. The same.
    pub(crate) fn give_up_slow<E: Env>(
        &mut self,
        worker: &Worker<E>,
        at: usize,
        replayable: bool,
        story: &Story,
    ) -> GiveUp {
        let outcome = Outcome::Failed(Reason::PerTryTimeout);
        let nature = Nature { repeatable: self.repeatable, replayable };
        match self.reserve(worker, at, nature, outcome, Safety::Sent, story.attempts) {
            Ok(next) => {
                self.next = Some(next);
                GiveUp::Now
            }
            Err(Denied::Budget) => GiveUp::AskAgain(ASK_AGAIN),
            Err(_) => GiveUp::Never,
        }
    }

    /// Step 11: is this the answer, or may it be tried again?
    async fn settle<E: Env>(
        &mut self,
        worker: &'w Worker<E>,
        index: usize,
        attempt: Result<Answered<'w, E>, Failure>,
        inbound: &mut Inbound<'_, E::Stream>,
    ) -> Verdict<'w, E> {
        let (outcome, safety) = match &attempt {
            Ok(_) => {
                if !self.looks_at_answers(inbound) {
                    return Self::done(attempt);
                }
                let status = Outcome::Answered(inbound.heads.response.status);
                (inbound.story.code.map_or(status, Outcome::Called), Safety::Sent)
            }
            Err(failure) => (failure.outcome, failure.safety),
        };
        if let Some(next) = self.again_on_a_fresh_connection(worker, index, safety, inbound) {
            return Verdict::Again(next);
        }
        let nature = Nature { repeatable: self.repeatable, replayable: inbound.upload.is_replayable() };
        let attempts = inbound.story.attempts;
        let wait = match &attempt {
            Ok(_) => retry_after(&inbound.heads.response, worker),
            Err(_) => None,
        };
        let mut reserved = match self.next.take() {
            Some(next) => Ok(next),
            None => self.reserve(worker, index, nature, outcome, safety, attempts),
        };
        for round in 1..=CROWDED_ROUNDS {
            if !matches!(reserved, Err(Denied::Budget)) || !self.is_crowded() {
                break;
            }
            let drawn = retry::pause(self.policy, round, &mut worker.dice.borrow_mut());
            // A draw of next to nothing would find the same crowd.
            let pause = drawn.max(ASK_AGAIN * round.into());
            if pause >= self.left(Instant::now()) {
                break;
            }
            self.all_sent(Instant::now());
            if let Err(reason) = room::pause(worker, inbound.client, pause).await {
                return Verdict::GiveUp(reason.into());
            }
            reserved = self.reserve(worker, index, nature, outcome, safety, attempts);
        }
        let pause = self.pause(worker, attempts, safety, wait);
        let next =
            reserved.and_then(|next| if pause < self.left(Instant::now()) { Ok(next) } else { Err(Denied::Deadline) });
        match next {
            Ok(next) => {
                if let Ok(answered) = attempt {
                    answered.discard(worker, &inbound.heads.response, inbound.upload.is_whole());
                }
                self.routed.cluster.load.of(worker.index).retries.add(1);
                // From the first failure on the time runs, whatever is still to come of the body.
                self.all_sent(Instant::now());
                match room::pause(worker, inbound.client, pause).await {
                    Ok(()) => Verdict::Again(next),
                    Err(reason) => Verdict::GiveUp(reason.into()),
                }
            }
            Err(denied) => {
                self.note(worker, denied, inbound);
                Self::done(attempt)
            }
        }
    }

    /// Whether another attempt may be made after an answer like the one that is here.
    fn looks_at_answers<S: Stream>(&self, inbound: &Inbound<'_, S>) -> bool {
        let (on, response) = (&self.policy.on, &inbound.heads.response);
        match inbound.story.code {
            // By gRPC's rules for retries, a pause that is none forbids them.
            Some(_) => !on.grpc.is_empty() && pushback(response).is_none_or(|pause| pause.is_some()),
            None => !on.statuses.is_empty(),
        }
    }

    /// What there is, is what the client gets.
    fn done<E: Env>(attempt: Result<Answered<'w, E>, Failure>) -> Verdict<'w, E> {
        match attempt {
            Ok(answered) => Verdict::Done(answered),
            Err(Failure { outcome: Outcome::Failed(reason), .. }) => Verdict::GiveUp(reason.into()),
            Err(Failure { outcome: Outcome::Answered(status), .. }) => Verdict::GiveUp(Refused::injected(status)),
            Err(Failure { outcome: Outcome::Connected | Outcome::Called(_), .. }) => {
                Verdict::GiveUp(Reason::Internal.into())
            }
        }
    }

    /// Why it was not tried again, if anybody asks.
    fn note<E: Env>(&self, worker: &Worker<E>, denied: Denied, inbound: &mut Inbound<'_, E::Stream>) {
        if denied != Denied::NotListed {
            self.routed.cluster.load.of(worker.index).denied[denied as usize].add(1);
            inbound.story.denied = Some(denied);
        }
    }

    /// An idle connection that the endpoint had closed says nothing of the endpoint: the same one
    /// is asked again, once, on a new connection. No retry, so it costs no budget. Where connections
    /// are shared, the one that was lost is known to be, and those who lost it share the next.
    fn again_on_a_fresh_connection<E: Env>(
        &mut self,
        worker: &Worker<E>,
        index: usize,
        safety: Safety,
        inbound: &Inbound<'_, E::Stream>,
    ) -> Option<Picked<'w>> {
        let cluster = self.routed.cluster;
        let member = &cluster.members[index];
        let harmless = match safety {
            Safety::StaleConnection => self.repeatable,
            Safety::Unseen => true,
            Safety::NothingSent | Safety::Sent => false,
        };
        let may = harmless && inbound.upload.is_replayable() && self.left(Instant::now()) > Duration::ZERO;
        let may = may && self.again < AGAIN_MAX;
        let room = may.then(|| member.live.requests.take()).flatten()?;
        worker.pool.borrow_mut().forget(member.id);
        self.again += 1;
        let fresh = cluster.config.protocol == HttpVersion::H1;
        Some(Picked { cluster, member, index, room, trial: None, fresh, retry: None, told: None, _made: Made })
    }

    /// Another endpoint, and the budget to ask it.
    fn reserve<E: Env>(
        &mut self,
        worker: &Worker<E>,
        index: usize,
        nature: Nature,
        outcome: Outcome,
        safety: Safety,
        attempts: u16,
    ) -> Result<Picked<'w>, Denied> {
        retry::may_repeat(self.policy, nature, attempts, outcome, safety)?;
        let now = Instant::now();
        let live = &self.routed.cluster.live;
        if self.left(now) <= live.median().unwrap_or_default() {
            return Err(Denied::Deadline);
        }
        if !self.tried.contains(index) {
            self.tried.push(index);
        }
        let elsewhere = self.choice(worker, now).pick_elsewhere(worker, &self.tried, index);
        let picked = self.picked(elsewhere.ok_or(Denied::NobodyElse)?);
        let own = live.retries.take().ok_or(Denied::Budget)?;
        let shared = match safety {
            // What never came to an endpoint has burdened none.
            Safety::NothingSent | Safety::Unseen => None,
            Safety::StaleConnection | Safety::Sent => Some(self.budget().ok_or(Denied::Budget)?),
        };
        Ok(Picked { retry: Some((shared, own)), ..picked })
    }

    fn budget(&self) -> Option<RetryPermit> {
        let Cluster { config, load, live, .. } = self.routed.cluster;
        live.retry.take(&config.retry_budget, self.active(), load.sum(|load| &load.requests))
    }

    /// Requests of the cluster under way.
    fn active(&self) -> u64 {
        // A sum over gauges that are being written may dip below zero.
        let sum = self.routed.cluster.load.sum(|load| &load.in_flight);
        if sum > i64::MAX as u64 { 0 } else { sum }
    }

    /// Whether another attempt is denied only because too many are under way at this moment, as
    /// when an endpoint loses all it had under way at once.
    fn is_crowded(&self) -> bool {
        let Cluster { live, config, .. } = self.routed.cluster;
        live.retries.is_full() || live.retry.is_crowded(&config.retry_budget, self.active())
    }

    /// How long to wait before the next attempt. Where no connection came about the first one goes
    /// at once: nobody is burdened by it but an endpoint that was not asked yet.
    fn pause<E: Env>(&self, worker: &Worker<E>, attempts: u16, safety: Safety, told: Option<Duration>) -> Duration {
        let mut dice = worker.dice.borrow_mut();
        match (told, safety, attempts) {
            (Some(told), ..) => retry::pause_after(told, &mut dice),
            (None, Safety::NothingSent | Safety::Unseen, 1) => Duration::ZERO,
            (None, ..) => retry::pause(self.policy, attempts, &mut dice),
        }
    }
}

/// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3).
fn retry_after<E: Env>(response: &ResponseHead, worker: &Worker<E>) -> Option<Duration> {
    if let Some(pause) = pushback(response) {
        return pause;
    }
    let text = std::str::from_utf8(response.fields.get("retry-after")?).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than a number holds is more than anybody waits.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let then = std::time::SystemTime::from(jiff::fmt::rfc2822::parse(text).ok()?.timestamp());
    Some(then.duration_since(worker.env.wall()).unwrap_or_default())
}

/// When a gRPC server wants to be asked again, if it says so; it may also say never.
fn pushback(response: &ResponseHead) -> Option<Option<Duration>> {
    let text = response.fields.get("grpc-retry-pushback-ms")?;
    let pause = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    Some(pause.map(Duration::from_millis))
}

/// How an injected fault ends an attempt.
pub(crate) const fn ended(end: End) -> Failure {
    match end {
        End::Unreachable => Failure::new(Reason::ConnectTimeout, Safety::NothingSent),
        End::Reset => Failure::new(Reason::UpstreamReset, Safety::Sent),
        End::Abort(status) => Failure { outcome: Outcome::Answered(status), safety: Safety::Sent, telling: true },
    }
}
