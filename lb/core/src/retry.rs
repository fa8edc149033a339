//! May an attempt be made again? Pure, but for the process-wide count of what was spent.
//!
//! No request is executed twice by our doing: after bytes were sent, only what may be repeated is
//! repeated (RFC 9110, 9.2.2: idempotent methods; or the client's `Idempotency-Key`). And no storm
//! is made of an outage: retries are bounded by the requests there are, at once and over a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use weir_config::model::{Retry, RetryBudget};

use crate::attempt::{Class, Outcome};
use crate::dice::Dice;
use crate::reason::Reason;
use crate::route::Headers;

/// What the endpoint can have seen of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// Nothing: there was no connection, or nothing was sent on it.
    NothingSent,
    /// Perhaps the head, on a connection that had idled and that the endpoint closed.
    StaleConnection,
    /// Perhaps everything, but the endpoint said that it looked at nothing of it (RFC 9113 8.7).
    Unseen,
    /// Perhaps everything.
    Sent,
}

/// What a request's nature allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nature {
    /// Executing it twice is as executing it once: by its method, or the client gave it a key.
    pub repeatable: bool,
    /// All of its body that was sent is still there to be sent again.
    pub replayable: bool,
}

/// Whether executing it twice is as executing it once: by its method (RFC 9110, 9.2.2), or the
/// client gave it a key.
#[must_use]
pub fn is_repeatable(method: &[u8], headers: &dyn Headers) -> bool {
    let idempotent = matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE");
    idempotent || headers.get("idempotency-key").is_some()
}

/// Of requests that must not be repeated, one in so many may be the trial of an endpoint on
/// probation: a service that is only written to must get its endpoints back too.
pub const UNSAFE_TRIALS: u64 = 10;

/// Whether a request's first attempt may be such a trial: should it fail, it can go elsewhere.
#[must_use]
pub fn may_be_trial(policy: &Retry, repeatable: bool, dice: &mut Dice) -> bool {
    (repeatable && policy.attempts.get() > 1) || dice.below(UNSAFE_TRIALS) == 0
}

/// Why an attempt is not made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Denied {
    /// The policy does not list what happened.
    NotListed,
    /// As many attempts were made as may be.
    Attempts,
    /// The endpoint may have executed it, and it must not be executed twice.
    NotSafe,
    /// Its body is too large to be kept.
    BodyGone,
    /// The retry budget is spent.
    Budget,
    /// No time is left for another attempt.
    Deadline,
    /// No other endpoint is there to be asked.
    NobodyElse,
}

impl Denied {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::NotListed,
        Self::Attempts,
        Self::NotSafe,
        Self::BodyGone,
        Self::Budget,
        Self::Deadline,
        Self::NobodyElse,
    ];

    /// The word in the access log and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotListed => "not_listed",
            Self::Attempts => "attempts",
            Self::NotSafe => "not_safe",
            Self::BodyGone => "body_gone",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::NobodyElse => "nobody_else",
        }
    }
}

/// Whether `policy` and the request's nature allow another attempt after `attempts` of them, the
/// last of which ended in `outcome`. Budget, deadline and endpoints are asked afterwards.
///
/// # Errors
/// Why not.
pub fn may_repeat(
    policy: &Retry,
    nature: Nature,
    attempts: u16,
    outcome: Outcome,
    safety: Safety,
) -> Result<(), Denied> {
    if !is_listed(policy, outcome) {
        return Err(Denied::NotListed);
    }
    if attempts >= policy.attempts.get() {
        return Err(Denied::Attempts);
    }
    match safety {
        Safety::NothingSent => Ok(()),
        // Calls are POSTs, all of them: who lists a status of theirs says that they may be repeated.
        Safety::StaleConnection | Safety::Sent if !nature.repeatable && !matches!(outcome, Outcome::Called(_)) => {
            Err(Denied::NotSafe)
        }
        Safety::Unseen | Safety::StaleConnection | Safety::Sent if !nature.replayable => Err(Denied::BodyGone),
        Safety::Unseen | Safety::StaleConnection | Safety::Sent => Ok(()),
    }
}

fn is_listed(policy: &Retry, outcome: Outcome) -> bool {
    let on = &policy.on;
    match outcome {
        Outcome::Answered(status) => on.statuses.binary_search(&status).is_ok(),
        Outcome::Called(code) => on.grpc.binary_search(&code.get()).is_ok(),
        Outcome::Connected => false,
        Outcome::Failed(Reason::UpstreamReset) => on.reset,
        Outcome::Failed(_) => match outcome.class() {
            Class::Connect => on.connect_failure,
            Class::Timeout => on.timeout,
            _ => false,
        },
    }
}

/// The pause before retry number `retry` (from 1): uniform between zero and
/// `base × (2^retry - 1)`, at the most `max`. ("Full jitter"; Envoy's interval.)
#[must_use]
pub fn pause(policy: &Retry, retry: u16, dice: &mut Dice) -> Duration {
    let factor = (1u32 << retry.clamp(1, 16)) - 1;
    let most = policy.backoff_base.saturating_mul(factor).min(policy.backoff_max);
    // Half a second is the order of this; days of nanoseconds fit.
    Duration::from_nanos(dice.below(u64::try_from(most.as_nanos()).unwrap_or(u64::MAX)))
}

/// How long to wait where the endpoint said how long: up to half as much again, so that not all
/// come back at once.
#[must_use]
pub fn pause_after(told: Duration, dice: &mut Dice) -> Duration {
    let nanos = u64::try_from(told.as_nanos()).unwrap_or(u64::MAX / 2);
    Duration::from_nanos(nanos.saturating_add(dice.below(nanos / 2 + 1)))
}

/// What a cluster has spent on retries, process-wide. Written by workers when they retry, the
/// marks by control; without retries nobody writes.
#[derive(Debug, Default)]
pub struct Spent {
    under_way: AtomicU32,
    retries: AtomicU64,
    /// Requests and retries as they were one window ago.
    requests_then: AtomicU64,
    retries_then: AtomicU64,
}

impl Spent {
    /// The right to one retry, where `active` requests are under way now and `requests` have come
    /// in since the start.
    pub fn take(self: &Arc<Self>, budget: &RetryBudget, active: u64, requests: u64) -> Option<RetryPermit> {
        let at_once = at_once(budget, active);
        let room = |now: u32| (u64::from(now) < at_once).then_some(now + 1);
        self.under_way.fetch_update(SeqCst, SeqCst, room).ok()?;
        let permit = RetryPermit(Arc::clone(self));
        let within = requests.saturating_sub(self.requests_then.load(Relaxed));
        let most = (within * u64::from(budget.percent) / 100).max(budget.min_retries.into());
        let then = self.retries_then.load(Relaxed);
        let left = |spent: u64| (spent.saturating_sub(then) < most).then_some(spent + 1);
        self.retries.fetch_update(SeqCst, SeqCst, left).ok()?;
        Some(permit)
    }

    /// Whether as many retries are under way as may be at once: soon there may be fewer, whereas
    /// what was spent over the window stays spent.
    #[must_use]
    pub fn is_crowded(&self, budget: &RetryBudget, active: u64) -> bool {
        u64::from(self.under_way()) >= at_once(budget, active)
    }

    /// Retries since the start that the budget of a window counts.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// Adds what was spent before this process.
    pub(crate) fn add_earlier(&self, retries: u64) {
        self.retries.fetch_add(retries, Relaxed);
    }

    /// Retries under way.
    #[must_use]
    pub fn under_way(&self) -> u32 {
        self.under_way.load(Relaxed)
    }

    /// Tells what `requests` and [`Self::retries`] were one window ago. Only control may call this.
    pub fn mark(&self, requests: u64, retries: u64) {
        self.requests_then.store(requests, Relaxed);
        self.retries_then.store(retries, Relaxed);
    }
}

fn at_once(budget: &RetryBudget, active: u64) -> u64 {
    (active * u64::from(budget.concurrent_percent) / 100).max(budget.min_concurrent.into())
}

/// The right to one retry; what it takes of those under way is given back when dropped.
#[derive(Debug)]
pub struct RetryPermit(Arc<Spent>);

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use weir_config::model::RetryOn;

    use super::*;
    use crate::grpc::Code;

    const BUDGET: RetryBudget = RetryBudget {
        concurrent_percent: 20,
        min_concurrent: 3,
        percent: 10,
        min_retries: 10,
        window: Duration::from_secs(10),
    };
    const SAFE: Nature = Nature { repeatable: true, replayable: true };

    #[test]
    fn what_may_be_repeated() {
        let policy = Retry::default();
        let ask = |nature, attempts, outcome, safety| may_repeat(&policy, nature, attempts, outcome, safety);
        let unsafe_post = Nature { repeatable: false, replayable: true };
        let refused = Outcome::Failed(Reason::ConnectRefused);
        let reset = Outcome::Failed(Reason::UpstreamReset);
        assert_eq!(ask(unsafe_post, 1, refused, Safety::NothingSent), Ok(()));
        assert_eq!(ask(unsafe_post, 1, reset, Safety::Sent), Err(Denied::NotSafe));
        assert_eq!(ask(unsafe_post, 1, reset, Safety::StaleConnection), Err(Denied::NotSafe));
        assert_eq!(ask(SAFE, 1, reset, Safety::Sent), Ok(()));
        assert_eq!(ask(Nature { replayable: false, ..SAFE }, 1, reset, Safety::Sent), Err(Denied::BodyGone));
        assert_eq!(ask(SAFE, 3, reset, Safety::Sent), Err(Denied::Attempts));
        assert_eq!(ask(SAFE, 1, Outcome::Answered(503), Safety::Sent), Err(Denied::NotListed));
        assert_eq!(ask(SAFE, 1, Outcome::Failed(Reason::ClientGone), Safety::Sent), Err(Denied::NotListed));
        assert_eq!(ask(SAFE, 1, Outcome::Failed(Reason::ConnectLocal), Safety::NothingSent), Err(Denied::NotListed));
        let called = Outcome::Called(Code::UNAVAILABLE);
        assert_eq!(ask(unsafe_post, 1, called, Safety::Sent), Err(Denied::NotListed));
        let grpc = Retry { on: RetryOn { grpc: vec![8, 14], ..policy.on.clone() }, ..policy.clone() };
        assert_eq!(may_repeat(&grpc, unsafe_post, 1, called, Safety::Sent), Ok(()));
        let gone = Nature { repeatable: false, replayable: false };
        assert_eq!(may_repeat(&grpc, gone, 1, called, Safety::Sent), Err(Denied::BodyGone));
        assert_eq!(may_repeat(&grpc, unsafe_post, 1, reset, Safety::Sent), Err(Denied::NotSafe));
        let once = Retry { attempts: NonZeroU16::MIN, ..policy.clone() };
        assert_eq!(may_repeat(&once, SAFE, 1, refused, Safety::NothingSent), Err(Denied::Attempts));
    }

    #[test]
    fn a_pause_is_jittered_grows_and_is_bounded() {
        let (policy, mut dice) = (Retry::default(), Dice::new(1));
        for (retry, most) in [(1, 25), (2, 75), (3, 175), (4, 250), (60, 250)] {
            let draws: Vec<Duration> = (0..200).map(|_| pause(&policy, retry, &mut dice)).collect();
            let limit = Duration::from_millis(most);
            assert!(draws.iter().all(|draw| *draw < limit) && draws.iter().any(|draw| *draw > limit / 2), "{retry}");
        }
        let told = Duration::from_secs(2);
        assert!((0..100).map(|_| pause_after(told, &mut dice)).all(|p| p >= told && p <= told * 3 / 2));
    }

    #[test]
    fn both_budgets_hold() {
        let spent = Arc::new(Spent::default());
        let held: Vec<_> = (0..9).map_while(|_| spent.take(&BUDGET, 1, 0)).collect();
        assert_eq!(held.len(), 3, "at once, among few");
        assert!(spent.is_crowded(&BUDGET, 1) && !spent.is_crowded(&BUDGET, 100));
        drop(held);
        let held: Vec<_> = (0..99).map_while(|_| spent.take(&BUDGET, 100, 1000)).collect();
        assert_eq!(held.len(), 20, "at once, among many");
        drop(held);
        let given = (0..1000).map_while(|_| spent.take(&BUDGET, 100, 1000)).count();
        assert_eq!(given, 100 - 23, "over the window");
        assert_eq!(spent.retries(), 100);
        spent.mark(1000, spent.retries());
        assert_eq!((0..1000).map_while(|_| spent.take(&BUDGET, 100, 1000)).count(), 10, "a new window");
        assert_eq!(spent.under_way(), 0);
    }
}
