//! What the operator wants when things go wrong: retries, limits, ejection, panic. Part of
//! [`crate::model`], and re-exported there.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use crate::units::ZoneName;

/// Whether and when a failed attempt is made again, at another endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts at the most, the first included; 1 is never again. Default 3.
    pub attempts: NonZeroU16,
    /// What an attempt must have ended in. Default connect failures, resets before the answer,
    /// attempts that took too long, and no status.
    pub on: RetryOn,
    /// An attempt without the head of an answer by then has failed. Default `None`: learned from
    /// the cluster's latency, at most 40 % of the route's timeout, and only where another attempt
    /// may follow.
    pub per_try_timeout: Option<Duration>,
    /// The pause before retry n is drawn from zero to `backoff_base × 2^n - 1` (full jitter).
    /// Default 25 ms.
    pub backoff_base: Duration,
    /// The longest such pause. Default 250 ms.
    pub backoff_max: Duration,
    /// Bytes of a request's body kept to be sent again; a larger body is sent once. Default 64 KiB.
    pub body_bytes: u32,
}

/// What an attempt must have ended in to be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection: refused, timed out, unreachable.
    pub connect_failure: bool,
    /// The connection ended before the first byte of an answer.
    pub reset: bool,
    /// The attempt took longer than its own timeout.
    pub timeout: bool,
    /// Answers with one of these statuses, sorted, none twice.
    pub statuses: Vec<u16>,
    /// gRPC answers without a message, with one of these `grpc-status`, sorted, none twice. Calls are
    /// POSTs: who lists one says that they may be made again.
    pub grpc: Vec<u8>,
}

/// How many retries a cluster is given over its requests. Both bounds hold, and
/// [`Breaker::max_retries`] too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Retries under way, in per cent of requests under way. Default 20. What never came to an
    /// endpoint, for want of a connection, is retried without a budget: it burdened nobody.
    pub concurrent_percent: u16,
    /// So many may be under way always. Default 20.
    pub min_concurrent: u32,
    /// Retries within `window`, in per cent of the requests within it. Default 10.
    pub percent: u16,
    /// So many are given within `window` always. Default 10.
    pub min_retries: u32,
    /// Default 10 s.
    pub window: Duration,
}

/// Limits of a cluster, process-wide and exact.
#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    /// Open connections to all its endpoints. Default none.
    pub max_connections: Option<NonZeroU32>,
    /// Requests under way. Default none.
    pub max_requests: Option<NonZeroU32>,
    /// Requests that may wait for one of the limits; the rest get 503. Default 1 024; 0: nobody
    /// waits.
    pub max_pending_requests: u32,
    /// Retries under way, over the retry budget. Default none.
    pub max_retries: Option<NonZeroU32>,
    /// A request that waited this long gets 503 with `Retry-After`. Default 1 s.
    pub queue_timeout: Duration,
    /// The same for each endpoint.
    pub per_endpoint: EndpointLimits,
    /// Closed, open, half-open by rate of failure. Default none.
    pub failure_rate: Option<FailureRate>,
}

/// Limits of each endpoint of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointLimits {
    /// Open connections. Default none.
    pub max_connections: Option<NonZeroU32>,
    /// Requests under way; while an endpoint ramps up, its share of this. Default none.
    pub max_requests: Option<NonZeroU32>,
}

/// When a cluster as a whole is given nothing for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct FailureRate {
    /// Opens when this share of its attempts fails.
    pub window: FailureWindow,
    /// Stays open this long; doubled each time it opens again at once, up to `max_open`. Default 5 s.
    pub open: Duration,
    /// Default 60 s.
    pub max_open: Duration,
    /// Requests let through at once while half-open. Default 1.
    pub trials: NonZeroU32,
    /// Good trials in a row that close it. Default 3.
    pub successes: NonZeroU32,
}

/// A share of attempts within a time.
#[derive(Clone, Debug, PartialEq)]
pub struct FailureWindow {
    /// Failed attempts in per cent, over 0 to 100: reached when this many fail.
    pub threshold: f64,
    /// The last so much time; at least 1 s.
    pub window: Duration,
    /// Fewer attempts than this say nothing.
    pub minimum_requests: NonZeroU32,
}

/// What live traffic has to show for an endpoint to be taken out, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    /// Failures in a row.
    pub consecutive: Consecutive,
    /// Shares of failures: one is enough. Default 50 % of 20 within 10 s, and 30 % of 50 within 5 min.
    pub windows: Vec<FailureWindow>,
    /// How sure it must be, 0 to under 1: the lower bound of Wilson's interval at this confidence
    /// must reach the threshold. 0: the plain ratio. Default 0.95.
    pub confidence: f64,
    /// What is done. Default eject.
    pub action: EjectionAction,
    /// At most so many per cent of a cluster's endpoints are out at once, but always one; never
    /// the last that may be used. Default 34.
    pub max_ejection_percent: u8,
    /// If more than so many per cent turn bad at once, nobody is ejected for a moment: the cause
    /// is likely common, or ours. Default 30; 100 is off.
    pub correlated_percent: u8,
    /// The first ejection; each further one is twice as long. Default 30 s.
    pub base_ejection_time: Duration,
    /// The longest. Default 300 s.
    pub max_ejection_time: Duration,
    /// Each is stretched or shrunk by up to this many per cent. Default 20.
    pub jitter_percent: u8,
    /// Requests an endpoint on probation gets at once. Default 1.
    pub probation_requests: NonZeroU32,
    /// Good ones in a row that end probation. Default 3.
    pub probation_successes: NonZeroU32,
}

/// Failures in a row that take an endpoint out, of at least two requests. Each kind contains the
/// next: a 5xx or worse; a 502, 503, 504 or worse; no answer at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consecutive {
    /// 5xx answers, or none. Default 5.
    pub any_5xx: Option<NonZeroU32>,
    /// 502, 503 and 504 answers, or none. Default `None`, off.
    pub gateway: Option<NonZeroU32>,
    /// No answer: no connection, reset, time-out. Default `None`, off.
    pub local_origin: Option<NonZeroU32>,
}

/// What is done to an endpoint that traffic shows to be bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EjectionAction {
    /// Only an event: what would have been done.
    Observe,
    /// Its weight is halved each 10 s down to 1 %, and comes back by 10 % each 10 s without fault.
    Reduce,
    /// It is taken out.
    Eject,
}

/// What is done when too few endpoints are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panic {
    /// Default `least_bad`.
    pub mode: PanicMode,
    /// Below this many per cent available. Default 50; 0 is never.
    pub threshold: u8,
}

/// Who is used in panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanicMode {
    /// Only those available, however few; with none, 503.
    Off,
    /// All, whatever is known of them.
    AllHosts,
    /// Those available, and of the others the least bad, up to the threshold's share.
    LeastBad,
}

/// Whether the zone this instance stands in is preferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneAware {
    /// Default on; without effect if this instance's zone is not told.
    pub enabled: bool,
    /// Fewer available endpoints than this in the whole cluster: all zones alike. Default 3.
    pub min_endpoints: u32,
    /// How the traffic of all instances is divided between the zones they stand in, as relative
    /// shares (say, instances by zone). Default empty: every zone of the cluster has as much.
    pub shares: Vec<(ZoneName, u32)>,
}

/// Ramp of a returning endpoint's weight: `weight × max(minimum, (time / window) ^ (1 / aggression))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// How long it takes. Default 30 s.
    pub window: Duration,
    /// 1 is linear; more begins steeper. Default 1.
    pub aggression: f64,
    /// Where it begins, in per cent of the weight. Default 5.
    pub minimum_percent: u8,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: NonZeroU16::MIN.saturating_add(2),
            on: RetryOn { connect_failure: true, reset: true, timeout: true, statuses: Vec::new(), grpc: Vec::new() },
            per_try_timeout: None,
            backoff_base: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
            body_bytes: 64 * 1024,
        }
    }
}
