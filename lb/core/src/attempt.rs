//! What one attempt at one endpoint came to: the one classification that ejection, breakers,
//! retries and metrics go by.

use std::fmt;

use crate::grpc::Code;
use crate::reason::Reason;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint answered with this status.
    Answered(u16),
    /// It answered a gRPC call, with this status.
    Called(Code),
    /// A connection to it came about, and of a stream of bytes that is all there is to say.
    Connected,
    /// It gave no answer, or not to its end.
    Failed(Reason),
}

/// What an [`Outcome`] says of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// It did its work.
    Success,
    /// It found fault with the request: says nothing of the endpoint.
    ClientError,
    /// 5xx but those below: it failed.
    Error,
    /// 502, 503, 504: it, or what stands behind it, cannot work.
    Gateway,
    /// 429: it has enough to do. Counts in shares, never in a row.
    Shed,
    /// No connection to it.
    Connect,
    /// It took too long.
    Timeout,
    /// It broke the connection, or what it sent is no answer.
    Reset,
    /// Ended by the client or by ourselves: says nothing of the endpoint.
    Ours,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Success,
        Self::ClientError,
        Self::Error,
        Self::Gateway,
        Self::Shed,
        Self::Connect,
        Self::Timeout,
        Self::Reset,
        Self::Ours,
    ];

    /// The word in metrics, events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ClientError => "client_error",
            Self::Error => "error",
            Self::Gateway => "gateway",
            Self::Shed => "shed",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Ours => "ours",
        }
    }

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether it counts in shares of failures at all.
    #[must_use]
    pub const fn counts(self) -> bool {
        !matches!(self, Self::ClientError | Self::Ours)
    }

    /// Whether it counts as a failure in shares.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self.counts() && !matches!(self, Self::Success)
    }
}

impl Outcome {
    /// What it says of the endpoint.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Answered(429) => Class::Shed,
            Self::Answered(502..=504) => Class::Gateway,
            // Not implemented, version not supported: the endpoint found fault with the request.
            Self::Answered(400..=499 | 501 | 505) => Class::ClientError,
            Self::Answered(500..) => Class::Error,
            Self::Answered(_) | Self::Connected => Class::Success,
            Self::Called(code) => Self::Answered(code.as_http()).class(),
            Self::Failed(reason) => match reason {
                Reason::ConnectRefused | Reason::ConnectTimeout | Reason::ConnectFailed | Reason::UpstreamTls => {
                    Class::Connect
                }
                Reason::UpstreamTimeout | Reason::UpstreamStalled | Reason::PerTryTimeout => Class::Timeout,
                Reason::UpstreamReset | Reason::UpstreamProtocol | Reason::UpstreamCut => Class::Reset,
                _ => Class::Ours,
            },
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(status) => write!(f, "answered {status}"),
            Self::Called(code) => write!(f, "answered grpc-status {code}"),
            Self::Connected => f.write_str("connected"),
            Self::Failed(reason) => f.write_str(reason.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_complete_and_in_order() {
        for (at, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), at);
        }
    }

    #[test]
    fn whose_fault_an_outcome_is() {
        for (outcome, class) in [
            (Outcome::Answered(200), Class::Success),
            (Outcome::Answered(304), Class::Success),
            (Outcome::Connected, Class::Success),
            (Outcome::Called(Code::OK), Class::Success),
            (Outcome::Called(Code::CANCELLED), Class::ClientError),
            (Outcome::Called(Code::UNKNOWN), Class::Error),
            (Outcome::Called(Code::DEADLINE_EXCEEDED), Class::Gateway),
            (Outcome::Called(Code::RESOURCE_EXHAUSTED), Class::Shed),
            (Outcome::Called(Code::UNIMPLEMENTED), Class::ClientError),
            (Outcome::Called(Code::INTERNAL), Class::Error),
            (Outcome::Called(Code::UNAVAILABLE), Class::Gateway),
            (Outcome::Answered(404), Class::ClientError),
            (Outcome::Answered(429), Class::Shed),
            (Outcome::Answered(500), Class::Error),
            (Outcome::Answered(501), Class::ClientError),
            (Outcome::Answered(503), Class::Gateway),
            (Outcome::Answered(599), Class::Error),
            (Outcome::Failed(Reason::ConnectRefused), Class::Connect),
            (Outcome::Failed(Reason::ConnectLocal), Class::Ours),
            (Outcome::Failed(Reason::UpstreamTimeout), Class::Timeout),
            (Outcome::Failed(Reason::UpstreamReset), Class::Reset),
            (Outcome::Failed(Reason::ClientGone), Class::Ours),
            (Outcome::Failed(Reason::BodyTimeout), Class::Ours),
        ] {
            assert_eq!(outcome.class(), class, "{outcome:?}");
        }
    }
}
