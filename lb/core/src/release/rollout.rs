//! Weights that rise by themselves: a canary's steps, and what stops them.
//!
//! A state machine without a clock: told how long it was and what the judge and the guard say, it
//! goes on, or ends. Its state is plain, so that it outlives the process. The file's weight is the
//! ceiling, and an operator's edit of the canary always wins: it clears whatever stopped it.

use std::fmt;
use std::time::Duration;

use weir_config::model::{self, OnFail, Rollout, Share};
use xxhash_rust::xxh64::Xxh64;

use super::judge::guard::Tripped;
use super::judge::{self, Kind, Verdict};

/// What the operator wrote of a canary, as far as rollouts go.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The ceiling.
    pub weight: Share,
    /// `None`: all of it at once, and nothing is done by itself.
    pub rollout: Option<&'a Rollout>,
}

impl<'a> Plan<'a> {
    /// That of `canary`.
    #[must_use]
    pub const fn of(canary: &'a model::Canary) -> Self {
        Self { weight: canary.weight, rollout: canary.rollout.as_ref() }
    }

    /// What a step gives.
    #[must_use]
    pub fn weight_at(&self, step: usize) -> Share {
        let wanted = self.rollout.and_then(|rollout| rollout.steps.get(step).or_else(|| rollout.steps.last()));
        wanted.map_or(self.weight, |wanted| self.weight.min(*wanted))
    }

    /// The step after which nothing is left to gain.
    #[must_use]
    pub fn last_step(&self) -> usize {
        let Some(Rollout { steps, .. }) = self.rollout else { return 0 };
        steps.iter().position(|step| *step >= self.weight).unwrap_or_else(|| steps.len().saturating_sub(1))
    }

    /// The highest step that gives no more than `weight`.
    fn step_of(&self, weight: Share) -> usize {
        let Some(Rollout { steps, .. }) = self.rollout else { return 0 };
        steps.iter().rposition(|step| *step <= weight).unwrap_or(0).min(self.last_step())
    }

    /// Where one goes on that has `weight`: nobody is thrown out but by a lower ceiling.
    fn going_on(&self, weight: Share) -> (usize, Share) {
        let step = self.step_of(weight);
        (step, self.weight_at(step).max(weight.min(self.weight_at(self.last_step()))))
    }
}

/// By which is seen that the operator changed something: the same for the same text, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Of what decides who is in the canary: first bucket, salt, and whose users they were.
    pub users: u64,
    /// Of weight and rollout.
    pub pace: u64,
}

impl Wish {
    /// What is wished of `canary`.
    #[must_use]
    pub fn of(release: &model::Release, canary: &model::Canary) -> Self {
        let mut users = Xxh64::new(0);
        users.update(&canary.from.get().to_le_bytes());
        users.update(release.salt.as_bytes());
        users.update(&[0]);
        users.update(release.stable.as_str().as_bytes());
        let mut pace = Xxh64::new(0);
        let mut add = |number: u64| pace.update(&number.to_le_bytes());
        add(canary.weight.buckets().into());
        if let Some(Rollout { steps, hold, guard, on_fail }) = &canary.rollout {
            add(steps.len() as u64);
            steps.iter().for_each(|step| add(step.buckets().into()));
            [hold, &guard.window].into_iter().for_each(|time| add(time.as_millis() as u64));
            [guard.error_percent, guard.latency_factor].into_iter().for_each(|number| add(number.to_bits()));
            add(guard.min_requests.into());
            add(u64::from(*on_fail == OnFail::Pause));
        }
        Self { users: users.digest(), pace: pace.digest() }
    }
}

/// Where a canary stands.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What it goes by.
    pub wish: Wish,
    /// From 0; 0 without a rollout.
    pub step: usize,
    /// So long has it had this step, pauses left out.
    pub held_for: Duration,
    /// What it does.
    pub phase: Phase,
    /// What it gets, or got before it was closed.
    pub weight: Share,
}

/// What a canary does.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Waits for its next step, or to have proved itself at the last.
    Advancing,
    /// Keeps its weight until told to go on.
    Paused,
    /// The judge or a guard condemned it.
    Failed {
        /// Why, in words.
        why: String,
        /// It keeps its weight all the same: [`OnFail::Pause`].
        keeps: bool,
    },
    /// An operator gave it up.
    Aborted,
    /// It proved itself at its last step. Judge and guard still watch it. Without a rollout: the
    /// only phase there is but [`Self::Aborted`].
    Complete,
}

impl Phase {
    /// All words, in order.
    pub const WORDS: [&'static str; 5] = ["advancing", "paused", "failed", "aborted", "complete"];

    /// The word in logs, metrics and the API.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        Self::WORDS[match self {
            Self::Advancing => 0,
            Self::Paused => 1,
            Self::Failed { .. } => 2,
            Self::Aborted => 3,
            Self::Complete => 4,
        }]
    }
}

/// Who condemned a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The comparison with its cohort.
    Judge,
    /// What cannot wait for it.
    Guard,
}

/// What became of a canary, for people.
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    /// It gets more.
    Advanced {
        /// It had this,
        from: Share,
        /// and has this.
        to: Share,
        /// The step it took, from 1,
        step: usize,
        /// of so many.
        of: usize,
        /// What the judge said.
        why: String,
    },
    /// It proved itself at its last step.
    Completed {
        /// What it has.
        at: Share,
        /// What the judge said.
        why: String,
    },
    /// It was condemned.
    Failed {
        /// By whom.
        by: By,
        /// Why.
        why: String,
        /// What it had,
        at: Share,
        /// and keeps, or not.
        keeps: bool,
    },
    /// It waits for an operator.
    Paused {
        /// What it keeps.
        at: Share,
    },
    /// It goes on.
    Resumed {
        /// What it has.
        at: Share,
        /// It had nothing, and begins again.
        anew: bool,
    },
    /// An operator gave it up.
    Aborted {
        /// What it had.
        at: Share,
    },
    /// The operator edited it.
    Edited {
        /// What it had; `None` if it was closed.
        from: Option<Share>,
        /// What it has.
        to: Share,
        /// What the edit ended: the word of a phase.
        ended: Option<&'static str>,
    },
}

impl Transition {
    /// The word in events and the API.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Advanced { .. } => "advanced",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Aborted { .. } => "aborted",
            Self::Edited { .. } => "edited",
        }
    }
}

/// Ends the sentence "canary X of release Y".
impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Advanced { from, to, step, of, why } => {
                write!(f, "goes from {from} % to {to} %, step {step} of {of}: {why}")
            }
            Self::Completed { at, why } => write!(f, "is rolled out, at {at} %: {why}"),
            Self::Failed { by, why, at, keeps } => {
                let who = match by {
                    By::Judge => "the judge",
                    By::Guard => "its guard",
                };
                match keeps {
                    true => write!(f, "is stopped at {at} % by {who} and waits for an operator: {why}"),
                    false => write!(f, "is rolled back from {at} % to nothing by {who}: {why}"),
                }
            }
            Self::Paused { at } => write!(f, "is paused at {at} %"),
            Self::Resumed { at, anew: false } => write!(f, "goes on from {at} %"),
            Self::Resumed { at, anew: true } => write!(f, "begins again with {at} %"),
            Self::Aborted { at } => write!(f, "is given up: from {at} % to nothing"),
            Self::Edited { from, to, ended } => {
                match from {
                    Some(from) if from == to => write!(f, "was edited and has {to} %")?,
                    Some(from) => write!(f, "was edited and goes from {from} % to {to} %")?,
                    None => write!(f, "was edited and begins again with {to} %")?,
                }
                ended.map_or(Ok(()), |ended| write!(f, "; it is no longer {ended}"))
            }
        }
    }
}

/// Why an order makes no sense; ends the sentence "canary X".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Senseless {
    /// It has no rollout to pause.
    #[error("has no rollout: it keeps its weight until the file says another")]
    NoRollout,
    /// It does not move.
    #[error("is {0} already")]
    Already(&'static str),
    /// There is nothing to go on with.
    #[error("is {0}: there is nothing to resume")]
    Runs(&'static str),
    /// It gets nothing anyway.
    #[error("is {0} and gets nothing: there is nothing to pause")]
    Closed(&'static str),
    /// It went as far as it goes.
    #[error("is rolled out: there is nothing to pause")]
    Complete,
}

impl State {
    /// Of a canary that is new.
    #[must_use]
    pub fn begin(plan: &Plan<'_>, wish: Wish) -> Self {
        let phase = if plan.rollout.is_some() { Phase::Advancing } else { Phase::Complete };
        Self { wish, step: 0, held_for: Duration::ZERO, phase, weight: plan.weight_at(0) }
    }

    /// What it gets; `None`: nobody.
    #[must_use]
    pub const fn in_force(&self) -> Option<Share> {
        match self.phase {
            Phase::Aborted | Phase::Failed { keeps: false, .. } => None,
            _ => Some(self.weight),
        }
    }

    /// Time passed, with this verdict, and perhaps a guard that struck.
    pub fn tick(
        &mut self,
        plan: &Plan<'_>,
        lasted: Duration,
        verdict: &Verdict,
        guard: Option<&Tripped>,
    ) -> Option<Transition> {
        let rollout = plan.rollout?;
        if matches!(self.phase, Phase::Failed { .. } | Phase::Aborted) {
            return None;
        }
        if let Some(tripped) = guard {
            return Some(self.fail(rollout, By::Guard, tripped.to_string()));
        }
        if verdict.kind == Kind::Rollback {
            return Some(self.fail(rollout, By::Judge, verdict.why.clone()));
        }
        if self.phase != Phase::Advancing {
            return None;
        }
        self.held_for = self.held_for.saturating_add(lasted);
        if self.held_for < rollout.hold {
            return None;
        }
        let last = plan.last_step();
        let proven = verdict.kind == Kind::Promote;
        if self.step < last {
            return proven.then(|| self.advance(plan, verdict));
        }
        // With everybody in the canary there is no comparison left that it could win.
        (proven || self.weight == Share::ALL).then(|| {
            self.phase = Phase::Complete;
            Transition::Completed { at: self.weight, why: verdict.why.clone() }
        })
    }

    fn advance(&mut self, plan: &Plan<'_>, verdict: &Verdict) -> Transition {
        let from = self.weight;
        self.set_step(plan, self.step + 1);
        let (step, of) = (self.step + 1, plan.last_step() + 1);
        Transition::Advanced { from, to: self.weight, step, of, why: verdict.why.clone() }
    }

    fn fail(&mut self, rollout: &Rollout, by: By, why: String) -> Transition {
        let keeps = rollout.on_fail == OnFail::Pause;
        self.phase = Phase::Failed { why: why.clone(), keeps };
        Transition::Failed { by, why, at: self.weight, keeps }
    }

    /// Lets a state that was kept fit what is wished: the same, so it does, unless what was kept is
    /// not what was written.
    pub fn fit(&mut self, plan: &Plan<'_>) {
        let fits = plan.going_on(self.weight) == (self.step, self.weight);
        if !fits {
            self.step = self.step.min(plan.last_step());
            self.weight = plan.weight_at(self.step);
        }
        if plan.rollout.is_none() && self.phase != Phase::Aborted {
            self.phase = Phase::Complete;
        }
    }

    fn set_step(&mut self, plan: &Plan<'_>, step: usize) {
        self.step = step;
        self.held_for = Duration::ZERO;
        self.weight = plan.weight_at(step);
    }

    /// An operator wants it to stay as it is.
    ///
    /// # Errors
    /// When it does so anyway.
    pub fn pause(&mut self, plan: &Plan<'_>) -> Result<Transition, Senseless> {
        match self.phase {
            Phase::Aborted | Phase::Failed { keeps: false, .. } => Err(Senseless::Closed(self.phase.as_str())),
            _ if plan.rollout.is_none() => Err(Senseless::NoRollout),
            Phase::Paused | Phase::Failed { .. } => Err(Senseless::Already(self.phase.as_str())),
            Phase::Complete => Err(Senseless::Complete),
            Phase::Advancing => {
                self.phase = Phase::Paused;
                Ok(Transition::Paused { at: self.weight })
            }
        }
    }

    /// An operator wants it to go on: from where it is, or from the first step if it was closed.
    ///
    /// # Errors
    /// When it does so anyway.
    pub fn resume(&mut self, plan: &Plan<'_>) -> Result<Transition, Senseless> {
        let anew = match self.phase {
            Phase::Paused | Phase::Failed { keeps: true, .. } => false,
            Phase::Failed { .. } | Phase::Aborted => true,
            Phase::Advancing | Phase::Complete => return Err(Senseless::Runs(self.phase.as_str())),
        };
        if anew {
            *self = Self::begin(plan, self.wish);
        } else {
            self.phase = Phase::Advancing;
        }
        Ok(Transition::Resumed { at: self.weight, anew })
    }

    /// An operator gives it up.
    ///
    /// # Errors
    /// When it was given up before.
    pub fn abort(&mut self) -> Result<Transition, Senseless> {
        if self.phase == Phase::Aborted {
            return Err(Senseless::Already("aborted"));
        }
        let at = self.in_force().unwrap_or(Share::NONE);
        self.phase = Phase::Aborted;
        Ok(Transition::Aborted { at })
    }

    /// Whether the file still says what this goes by; if not, what becomes of it.
    pub fn edit(&mut self, plan: &Plan<'_>, wish: Wish) -> Option<Transition> {
        if self.wish == wish {
            return None;
        }
        let (from, before) = (self.in_force(), self.phase.as_str());
        let stopped = matches!(self.phase, Phase::Paused | Phase::Failed { .. } | Phase::Aborted);
        let held = self.held_for;
        let same_users = self.wish.users == wish.users;
        *self = Self::begin(plan, wish);
        if let Some(from) = from {
            (self.step, self.weight) = plan.going_on(from);
            if self.weight == from && same_users {
                self.held_for = held;
            }
        }
        Some(Transition::Edited { from, to: self.weight, ended: stopped.then_some(before) })
    }
}

/// What of a canary outlives the process.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its release.
    pub release: model::ReleaseName,
    /// Its cluster.
    pub canary: model::ClusterName,
    /// Where it stands.
    pub state: State,
    /// What stands against it.
    pub evidence: judge::Kept,
}
