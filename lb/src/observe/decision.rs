//! The way of one request, as the worker that served it saw it: kept for who asks later.
//!
//! Workers hand them over by a bounded channel, together with what they report of endpoints; control keeps
//! the latest (`weir explain ID`). Holds no header's value but the id a release goes by.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weir_core::control::Event;
use weir_core::explain::{Explanation, Picked};
use weir_core::reason::Reason;
use weir_core::snapshot::Snapshot;

/// What a worker tells control.
#[derive(Debug)]
pub(crate) enum Report {
    /// What was seen, and is decided by the core.
    Event(Event),
    /// The way of a request.
    Decision(Box<Decision>),
}

/// What a decision is called in `X-Weir-Decision`: 32 hexadecimal digits that nobody can guess.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecisionId(u128);

impl DecisionId {
    pub(crate) const fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// As it was written, if it is one.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let is = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| is).map(Self)
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The way of a request that is over.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) id: DecisionId,
    /// When it ended.
    pub(crate) wall: SystemTime,
    /// The generation it was served by.
    pub(crate) snapshot: Arc<Snapshot>,
    /// The index of its listener there.
    pub(crate) listener: usize,
    pub(crate) request: Facts,
    /// As it was; the pick is that of the last attempt.
    pub(crate) way: Explanation,
    /// The picks of the attempts before that.
    pub(crate) earlier: Vec<Picked>,
    pub(crate) outcome: Outcome,
}

/// What is told of a request: what the access log tells too.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) id: Option<String>,
    pub(crate) method: String,
    pub(crate) host: String,
    /// Path and query.
    pub(crate) target: String,
    /// As its release and its cluster saw it.
    pub(crate) client: IpAddr,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What the client got; 0 if nothing.
    pub(crate) status: u16,
    /// Why it was not answered by an endpoint, or not to the end.
    pub(crate) reason: Option<Reason>,
    pub(crate) attempts: u16,
    /// The endpoint of the last attempt: its index among its cluster's members.
    pub(crate) endpoint: Option<usize>,
    pub(crate) took: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = DecisionId::new(7);
        assert_eq!(id.to_string(), "00000000000000000000000000000007");
        assert_eq!(DecisionId::read(&id.to_string()), Some(id));
        for nonsense in ["", "7", "+0000000000000000000000000000007", "0000000000000000000000000000000g"] {
            assert_eq!(DecisionId::read(nonsense), None, "{nonsense}");
        }
    }
}
