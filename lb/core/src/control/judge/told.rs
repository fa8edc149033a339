//! What is told of decisions by traffic: the evidence, in a form that people can read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{ClusterName, ZoneName};

use crate::attempt::Outcome;
use crate::breaker::Change;
use crate::endpoint::EndpointKey;
use crate::health::outlier::pool::HOLD;
use crate::health::outlier::{Charge, Spare, What};
use crate::live::Sample;
use crate::time::Moment;

/// Why an endpoint is out, and for how long. Displays as one clause for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Ejection {
    /// Why.
    pub cause: Cause,
    /// For so long.
    pub pause: Duration,
    /// Until then it gets nothing; after it a few requests decide.
    pub until: Moment,
    /// So many ejections in a row, this one included; good service takes them back.
    pub times: u32,
    /// How many are out, this one included.
    pub limits: Limits,
    /// The latest failures behind it, oldest first.
    pub samples: Vec<Sample>,
}

/// Why an endpoint was taken out.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// A rule was met.
    Charge(Charge),
    /// A trial failed while it was on probation.
    Trial {
        /// How it ended.
        outcome: Outcome,
        /// Good ones before it.
        good: u32,
        /// So many in a row end probation.
        needed: u32,
    },
    /// The process before this one had taken it out, for this.
    Remembered(Arc<str>),
}

impl Cause {
    /// The word in events, metrics and the API: the name of the rule, `probation` or `remembered`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Charge(charge) => charge.rule.as_str(),
            Self::Trial { .. } => "probation",
            Self::Remembered(_) => "remembered",
        }
    }
}

/// How many of a cluster's endpoints are out, and may be. Displays as "1 of at most 3 of 9 out".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Ejected or on probation.
    pub out: u32,
    /// As many may be.
    pub most: u32,
    /// Of so many with a weight over 0.
    pub total: u32,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { out, most, total } = self;
        write!(f, "{out} of at most {most} of {total} out")
    }
}

impl fmt::Display for Ejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, pause, times, limits, .. } = self;
        if let Cause::Remembered(why) = cause {
            return write!(f, "for {pause:.1?} more, as the process before this one had it: {why}");
        }
        match cause {
            Cause::Charge(charge) => write!(f, "{charge}; ")?,
            Cause::Trial { outcome, good, needed } => {
                write!(f, "on probation a request failed ({outcome}) after {good} of {needed} good ones; ")?;
            }
            Cause::Remembered(_) => {}
        }
        write!(f, "out for {pause:.1?}, time {times} in a row, {limits}; ")?;
        match cause {
            Cause::Charge(charge) => f.write_str(&charge.counterfactual()),
            Cause::Trial { .. } => f.write_str("a good answer would have kept it on probation"),
            Cause::Remembered(_) => Ok(()),
        }
    }
}

/// What traffic showed, beside changes of status. Displays as one sentence for people.
#[derive(Clone, Debug, PartialEq)]
pub enum TrafficNotice {
    /// A rule is met, and it was not taken out: told once until it is well for a while.
    Charged {
        /// Who.
        key: Arc<EndpointKey>,
        /// Where it stands.
        zone: Option<ZoneName>,
        /// What stands against it.
        charge: Charge,
        /// What is done instead: it is only told, reduced, or spared.
        what: What,
        /// How many are out.
        limits: Limits,
        /// The latest failures behind it, oldest first.
        samples: Vec<Sample>,
    },
    /// One that was reduced has its whole weight again.
    Restored {
        /// Who.
        key: Arc<EndpointKey>,
        /// Where it stands.
        zone: Option<ZoneName>,
    },
    /// Many turned bad at once: nobody is taken out for a moment.
    Held {
        /// Where.
        cluster: ClusterName,
        /// So many.
        bad: u32,
        /// Of so many.
        total: u32,
        /// The zone in which all of them stand, if there is one.
        zone: Option<ZoneName>,
        /// Until then.
        until: Moment,
    },
}

impl TrafficNotice {
    /// The word in events and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Charged { what: What::Spare(_), .. } => "ejection_refused",
            Self::Charged { what: What::Observe | What::Eject, .. } => "ejection_observed",
            Self::Charged { what: What::Reduce(_), .. } => "weight_reduced",
            Self::Restored { .. } => "weight_restored",
            Self::Held { .. } => "ejections_held",
        }
    }
}

impl fmt::Display for TrafficNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Charged { key, zone, charge, what, limits, .. } => {
                write!(f, "{key}{} ", In(zone))?;
                match what {
                    What::Spare(why) => {
                        write!(f, "stays although a rule is met, since {why}")?;
                        if *why != Spare::Last {
                            write!(f, " ({limits})")?;
                        }
                    }
                    What::Observe | What::Eject => f.write_str("would be taken out, but is only watched")?,
                    What::Reduce(permille) => write!(f, "gets {} % of its weight", f64::from(*permille) / 10.0)?,
                }
                write!(f, ": {charge}; {}", charge.counterfactual())
            }
            Self::Restored { key, zone } => {
                write!(f, "{key}{} has its whole weight again: no rule was met for a while", In(zone))
            }
            Self::Held { cluster, bad, total, zone, .. } => {
                write!(f, "{bad} of {total} endpoints of {cluster} turned bad at once, ")?;
                match zone {
                    Some(zone) => write!(f, "all of them in {zone}")?,
                    None => f.write_str("not all in one zone")?,
                }
                write!(f, ": nobody is taken out for {HOLD:?}, the cause may be common")
            }
        }
    }
}

/// " in az-b", if it is known.
struct In<'a>(&'a Option<ZoneName>);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |zone| write!(f, " in {zone}"))
    }
}

/// What became of a cluster's failure-rate breaker. Displays as one sentence for people.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerNotice {
    /// Whose.
    pub cluster: ClusterName,
    /// What became of it, and why.
    pub change: Change,
}

impl fmt::Display for BreakerNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the breaker of {} is {}", self.cluster, self.change)
    }
}
