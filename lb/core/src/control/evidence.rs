//! Why an endpoint's status is what it is, in a form that people can read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{HealthCheck, ZoneName};
use weir_config::words;

use super::orders::{Drain, DrainScope};
use super::{Cause, Ejection};
use crate::endpoint::{EndpointKey, Status};
use crate::health::ProbeResult;

/// An endpoint's status changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Whose.
    pub key: Arc<EndpointKey>,
    /// Where it stands.
    pub zone: Option<ZoneName>,
    /// What it was.
    pub from: Status,
    /// What it is.
    pub to: Status,
    /// Why.
    pub evidence: Evidence,
}

/// Why a status is what it is. Displays as one clause for people.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// Its cluster has no health checks, so it counts as healthy.
    NoChecks,
    /// It is new and was not probed yet.
    Added,
    /// A check that stood against it was removed.
    ChecksRemoved,
    /// An operator wants it out of service.
    Drained(Drain),
    /// It is drained no longer.
    Undrained {
        /// What was drained.
        scope: DrainScope,
        /// Who ended it; `None`: its time was up.
        by: Option<Arc<str>>,
    },
    /// Its name or file no longer tells it.
    Undiscovered,
    /// Its name or file tells it again.
    Rediscovered,
    /// A probe tipped the scales.
    Probe {
        /// The check's place among the cluster's health checks.
        check: u16,
        /// What it asked.
        asked: Arc<HealthCheck>,
        /// How the probe ended.
        result: ProbeResult,
        /// Consecutive outcomes that agree with it.
        streak: u32,
        /// How many were needed.
        threshold: u32,
        /// From the probe's first packet to its verdict.
        took: Duration,
    },
    /// Its traffic failed: it is out for a time.
    Traffic(Arc<Ejection>),
    /// Its time out is over: it is on probation.
    TimeServed(Arc<Ejection>),
    /// On probation, so many requests in a row were answered well.
    Proved {
        /// So many.
        successes: u32,
        /// What it was out for.
        ejection: Arc<Ejection>,
    },
    /// It was out, and the rules take nobody out any more.
    RuleRemoved,
    /// The process before this one found it so, for this.
    Remembered(Arc<str>),
}

impl Evidence {
    /// What it is, for one who remembers it: a memory of a memory is told as what it was at first.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Remembered(why) => why.to_string(),
            Self::Traffic(ejection) => match &ejection.cause {
                Cause::Remembered(why) => why.to_string(),
                Cause::Charge(_) | Cause::Trial { .. } => ejection.to_string(),
            },
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoChecks => f.write_str("its cluster has no health checks"),
            Self::Added => f.write_str("it is new and was not probed yet"),
            Self::ChecksRemoved => f.write_str("a health check that stood against it was removed"),
            Self::Drained(Drain { scope, began, until, by }) => {
                write!(f, "{by} drained {scope}")?;
                until.iter().try_for_each(|until| write!(f, " for {}", words::shown(until.since(*began))))
            }
            Self::Undrained { scope, by: Some(by) } => write!(f, "{by} ended the drain of {scope}"),
            Self::Undrained { scope, by: None } => write!(f, "the time to drain {scope} was up"),
            Self::Traffic(ejection) => ejection.fmt(f),
            Self::TimeServed(ejection) => {
                write!(
                    f,
                    "its {:.1?} out are over ({}): a few requests decide",
                    ejection.pause,
                    ejection.cause.as_str()
                )
            }
            Self::Proved { successes, ejection } => {
                let what_for = ejection.cause.as_str();
                write!(f, "{successes} requests in a row on probation were answered well (it was out for {what_for})")
            }
            Self::RuleRemoved => f.write_str("the outlier detection that had taken it out was switched off"),
            Self::Remembered(why) => write!(f, "{why} (so the process before this one found)"),
            Self::Undiscovered => f.write_str("discovery no longer tells it"),
            Self::Rediscovered => f.write_str("discovery tells it again"),
            Self::Probe { asked, result, streak, threshold, took, .. } => {
                let kind = &asked.kind;
                let the_last = if *threshold > 1 {
                    write!(f, "{streak} of {threshold} probes ({kind}) in a row ")?;
                    ", the last"
                } else {
                    write!(f, "the probe ({kind}) ")?;
                    ""
                };
                match result {
                    ProbeResult::Passed => write!(f, "passed{the_last} in {took:.1?}"),
                    _ => write!(f, "failed{the_last} after {took:.1?}: {result}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use weir_config::model::CheckKind;

    use super::*;
    use crate::health::ProbeFailure;

    #[test]
    fn evidence_reads_like_a_sentence() {
        let took = Duration::from_micros(2100);
        let second = Duration::from_secs(1);
        let asked = Arc::new(HealthCheck {
            timeout: second,
            interval: second,
            fast_interval: second,
            down_interval: second,
            jitter_percent: 0,
            unhealthy_threshold: NonZeroU32::MIN,
            healthy_threshold: NonZeroU32::MIN,
            port: None,
            kind: CheckKind::Tcp(weir_config::model::Dialogue::default()),
        });
        let probe = |result, streak| Evidence::Probe {
            check: 0,
            asked: Arc::clone(&asked),
            result,
            streak,
            threshold: streak,
            took,
        };
        let failed = ProbeResult::Failed(ProbeFailure::Status(500));
        let read = |evidence: Evidence| evidence.to_string();
        assert_eq!(
            read(probe(failed, 3)),
            "3 of 3 probes (TCP connect) in a row failed, the last after 2.1ms: unexpected status 500"
        );
        assert_eq!(read(probe(ProbeResult::Passed, 1)), "the probe (TCP connect) passed in 2.1ms");
    }
}
