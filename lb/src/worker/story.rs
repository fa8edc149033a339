//! What happened to one request, from head to end: for the counters and for the access line.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;
use weir_core::attempt::Outcome;
use weir_core::grpc::Code;
use weir_core::load::{LaneLoad, Shards};
use weir_core::reason::Reason;
use weir_core::retry::Denied;
use weir_core::snapshot::Listener;

use super::decision::Kept;
use super::headers::RequestId;
use super::release::Gray;
use super::trace::Traced;

/// One request's story. Filled in as it goes; told once, at the end.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) began: Instant,
    /// Who asks, if a trusted proxy tells another address than its own.
    pub(crate) told: Option<IpAddr>,
    /// It came over TLS, to us or to a proxy that is believed.
    pub(crate) secure: bool,
    /// When the head of the endpoint's answer was there.
    pub(crate) answered: Option<Instant>,
    /// The index of its route, once found.
    pub(crate) route: Option<usize>,
    /// The endpoint of the last attempt: its index among its cluster's members.
    pub(crate) endpoint: Option<usize>,
    pub(crate) attempts: u16,
    /// When its answer had been passed on, or refused.
    pub(crate) ended: Option<Instant>,
    /// When the latest attempt began.
    pub(crate) tried: Instant,
    /// Why there was no further attempt, if one had been wanted.
    pub(crate) denied: Option<Denied>,
    /// The status the client got; 0 if none.
    pub(crate) status: u16,
    /// Why we answered ourselves, or why the answer broke off.
    pub(crate) reason: Option<Reason>,
    pub(crate) id: Option<RequestId>,
    /// Which version of its release it got, if its route leads to a release.
    pub(crate) gray: Option<Gray>,
    /// What is kept of its way, if it is one of those.
    pub(crate) kept: Option<Box<Kept>>,
    /// The trace it is part of, where requests are traced.
    pub(crate) trace: Option<Traced>,
    /// Whole fields of ours for the answer, with their line ends: cookies.
    pub(crate) fields: Vec<u8>,
    /// It is a gRPC call.
    pub(crate) grpc: bool,
    /// What became of the call, once that is known.
    pub(crate) code: Option<Code>,
    pub(crate) body_in: u64,
    pub(crate) body_out: u64,
}

impl Story {
    pub(crate) const fn begin(now: Instant) -> Self {
        Self {
            began: now,
            told: None,
            secure: false,
            answered: None,
            route: None,
            endpoint: None,
            attempts: 0,
            ended: None,
            tried: now,
            denied: None,
            status: 0,
            reason: None,
            id: None,
            gray: None,
            kept: None,
            trace: None,
            fields: Vec::new(),
            grpc: false,
            code: None,
            body_in: 0,
            body_out: 0,
        }
    }

    /// Who asks: `peer`, or whom a trusted one speaks for.
    pub(crate) fn client(&self, peer: IpAddr) -> IpAddr {
        self.told.unwrap_or(peer)
    }

    /// Which of its route's clusters served it.
    pub(crate) fn version(&self) -> usize {
        self.gray.map_or(0, |gray| gray.decided.version)
    }

    /// The cluster its route leads to, by index, and the lane it is counted in; none if it found no
    /// route, or one that answers itself.
    pub(crate) fn towards<'l>(&self, listener: &'l Listener) -> Option<&'l (usize, Arc<Shards<LaneLoad>>)> {
        listener.targets[self.route?].to.get(self.version())
    }

    /// How it ended.
    pub(crate) fn outcome(&self) -> Outcome {
        match (self.reason, self.code) {
            (Some(reason), _) => Outcome::Failed(reason),
            (None, Some(code)) => Outcome::Called(code),
            (None, None) => Outcome::Answered(self.status),
        }
    }

    /// Whether it ended in what HTTP calls 5xx.
    pub(crate) fn is_failure(&self) -> bool {
        self.status >= 500 || self.code.is_some_and(|code| code.as_http() >= 500)
    }

    /// The class of the status for counters: 0 to 4 for 1xx to 5xx, 5 for none.
    pub(crate) const fn class(&self) -> usize {
        match self.status {
            100..=599 => self.status as usize / 100 - 1,
            _ => 5,
        }
    }
}
