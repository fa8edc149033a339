//! Who of a pool goes, when several should: the worst first, never too many, never the last.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use weir_config::model::{EjectionAction, Outlier};

use super::Charge;
use crate::time::Moment;

/// A pool as the decision sees it: endpoints with a weight over 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// All.
    pub total: u32,
    /// Ejected or on probation.
    pub out: u32,
    /// What those that are reduced are short of, in thousandths of an endpoint.
    pub reduced: u32,
    /// Those that may be used now: healthy; or not judged, if nobody is healthy.
    pub usable: u32,
    /// Those that turned bad within the last [`HOLD`], the ejected included.
    pub fresh: u32,
}

/// An endpoint in service against which a [`Charge`] stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Which, by the caller's own numbers.
    pub who: usize,
    /// What stands against it.
    pub charge: Charge,
    /// How much of its weight it gets, of 1 000.
    pub permille: u16,
}

/// What is to be done about one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Which, by the caller's own numbers.
    pub who: usize,
    /// What stands against it.
    pub charge: Charge,
    /// What is done.
    pub what: What,
}

/// What is done about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is taken out.
    Eject,
    /// It gets so much of its weight, of 1 000.
    Reduce(u16),
    /// Nothing: only told.
    Observe,
    /// Nothing, although it should.
    Spare(Spare),
}

/// Why an endpoint is not taken out although a rule is met. Displays as one clause for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spare {
    /// It is the last that may be used.
    Last,
    /// As many are out as may be.
    Cap,
    /// Too many turned bad at once: for a moment nobody is taken out.
    Correlated,
}

impl Spare {
    /// Every cause, for metrics.
    pub const ALL: [Self; 3] = [Self::Last, Self::Cap, Self::Correlated];

    /// The word in events, metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last_usable",
            Self::Cap => "max_ejection_percent",
            Self::Correlated => "correlated",
        }
    }
}

impl fmt::Display for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Last => "it is the last that may be used",
            Self::Cap => "as many are out as may be",
            Self::Correlated => "many turned bad at once",
        })
    }
}

/// Endpoints that turn bad within this time turn bad at once; and so long nobody is taken out then.
pub const HOLD: Duration = Duration::from_secs(5);

/// Without a charge for this long, trouble is over; the next is told and held anew.
pub const INCIDENT_GAP: Duration = Duration::from_secs(60);

/// How many of `total` endpoints may be out at once: the configured share, but always one.
#[must_use]
pub fn most_out(rules: &Outlier, total: u32) -> u32 {
    let share = u64::from(total) * u64::from(rules.max_ejection_percent.min(100)) / 100;
    (share as u32).max(1).min(total)
}

/// The guard against a common cause: if too many turn bad at once, the cause is likely not theirs,
/// so nobody is taken out for [`HOLD`], once per incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// When something last stood against anybody.
    last: Option<Moment>,
    held_until: Option<Moment>,
}

/// What the guard says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Go on.
    No,
    /// From now until then.
    Begins(Moment),
    /// Still.
    On,
}

impl Guard {
    /// Asked whenever something stands against somebody of `pool`.
    pub fn ask(&mut self, rules: &Outlier, pool: &Pool, now: Moment) -> Hold {
        if self.last.is_some_and(|last| now.since(last) >= INCIDENT_GAP) {
            *self = Self::default();
        }
        self.last = Some(now);
        match self.held_until {
            Some(until) if now < until => Hold::On,
            Some(_) => Hold::No,
            None => {
                let many = u64::from(pool.fresh) * 100 > u64::from(pool.total) * u64::from(rules.correlated_percent);
                if pool.fresh < 2 || !many {
                    return Hold::No;
                }
                let until = now + HOLD;
                self.held_until = Some(until);
                Hold::Begins(until)
            }
        }
    }

    /// Until when nobody is taken out, if that is so at `now`.
    #[must_use]
    pub fn held(&self, now: Moment) -> Option<Moment> {
        self.held_until.filter(|&until| now < until)
    }
}

/// What is done about each case: the worst (highest bound, then most failures) first. One that is
/// only reduced still counts as usable.
#[must_use]
pub fn decide(rules: &Outlier, pool: &Pool, mut cases: Vec<Case>, held: bool) -> Vec<Decision> {
    cases.sort_by(worst_first);
    let most = most_out(rules, pool.total);
    let Pool { mut out, mut reduced, mut usable, .. } = *pool;
    let decide = |Case { who, charge, permille }: Case| {
        let room = u64::from(most) * 1000;
        let taken = |out: u32, reduced: u32| u64::from(out) * 1000 + u64::from(reduced);
        let what = match rules.action {
            EjectionAction::Observe => What::Observe,
            _ if usable < 2 => What::Spare(Spare::Last),
            _ if held => What::Spare(Spare::Correlated),
            EjectionAction::Eject => {
                // What it is short of already is counted once.
                let short = 1000 - u32::from(permille.min(1000));
                if taken(out + 1, reduced.saturating_sub(short)) > room {
                    What::Spare(Spare::Cap)
                } else {
                    (out, reduced, usable) = (out + 1, reduced.saturating_sub(short), usable - 1);
                    What::Eject
                }
            }
            EjectionAction::Reduce => {
                let to = super::standing::halved(permille);
                let more = u32::from(permille - to);
                if taken(out, reduced + more) > room {
                    What::Spare(Spare::Cap)
                } else {
                    reduced += more;
                    What::Reduce(to)
                }
            }
        };
        Decision { who, charge, what }
    };
    cases.into_iter().map(decide).collect()
}

fn worst_first(one: &Case, other: &Case) -> Ordering {
    let by_bound = other.charge.bound.total_cmp(&one.charge.bound);
    by_bound.then(other.charge.failures.cmp(&one.charge.failures)).then(one.who.cmp(&other.who))
}
