//! How one probe ended, named by the layer that spoke.

use std::fmt;
use std::time::Duration;

use crate::grpc::Code;
use crate::tls::Untrusted;

/// How one probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// What it says of the endpoint.
    pub result: ProbeResult,
    /// From the first packet to the verdict.
    pub took: Duration,
}

/// What one probe says of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// As expected.
    Passed,
    /// Not as expected.
    Failed(ProbeFailure),
    /// Nothing, for a cause of our own: counts neither way.
    Inconclusive(Inconclusive),
}

impl ProbeResult {
    /// `Some(passed)`, or `None` if it says nothing.
    #[must_use]
    pub const fn conclusion(self) -> Option<bool> {
        match self {
            Self::Passed => Some(true),
            Self::Failed(_) => Some(false),
            Self::Inconclusive(_) => None,
        }
    }

    /// The word in metrics, events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(failure) => failure.as_str(),
            Self::Inconclusive(cause) => cause.as_str(),
        }
    }
}

impl fmt::Display for ProbeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed(failure) => failure.fmt(f),
            Self::Inconclusive(cause) => cause.fmt(f),
        }
    }
}

/// Why a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFailure {
    /// The connection was refused.
    ConnectRefused,
    /// The connection was not taken in time.
    ConnectTimeout,
    /// The endpoint cannot be reached: no route, network down.
    ConnectFailed,
    /// There is no TLS with it.
    Tls(Untrusted),
    /// The connection broke before the answer was there.
    Reset,
    /// Connected, but no answer in time.
    Timeout,
    /// The answer is not well-formed.
    Protocol,
    /// The answer has a status that is not expected.
    Status(u16),
    /// The answer's body lacks the expected text.
    Body,
    /// What was said is not what is expected.
    Unexpected(Said),
    /// The call ended in this gRPC status.
    Called(Code),
    /// gRPC's health check says so of the service.
    NotServing(Serving),
}

/// What gRPC's health check says of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// It is not known.
    Unknown,
    /// It serves.
    Serving,
    /// It does not.
    NotServing,
    /// There is no such service.
    ServiceUnknown,
}

impl Serving {
    /// Its word in gRPC.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

impl ProbeFailure {
    /// The word in metrics, events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectFailed => "connect_failed",
            Self::Tls(why) => why.as_str(),
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Status(_) => "status",
            Self::Body => "body",
            Self::Unexpected(_) => "unexpected_answer",
            Self::Called(_) => "grpc_status",
            Self::NotServing(_) => "not_serving",
        }
    }

    /// The layer that spoke: `l4` for the connection, `l6` for TLS on it, `l7` for what was said over it.
    #[must_use]
    pub const fn layer(self) -> &'static str {
        match self {
            Self::ConnectRefused | Self::ConnectTimeout | Self::ConnectFailed | Self::Reset => "l4",
            Self::Tls(_) => "l6",
            Self::Timeout
            | Self::Protocol
            | Self::Status(_)
            | Self::Body
            | Self::Unexpected(_)
            | Self::Called(_)
            | Self::NotServing(_) => "l7",
        }
    }
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectRefused => f.write_str("connection refused"),
            Self::ConnectTimeout => f.write_str("connection not taken in time"),
            Self::ConnectFailed => f.write_str("endpoint unreachable"),
            Self::Tls(why) => why.fmt(f),
            Self::Reset => f.write_str("connection closed before the answer"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Protocol => f.write_str("answer not well-formed"),
            Self::Status(status) => write!(f, "unexpected status {status}"),
            Self::Body => f.write_str("expected text not in the body"),
            Self::Unexpected(heard) => write!(f, "answered {heard} instead of what is expected"),
            Self::Called(code) => write!(f, "grpc-status {code}"),
            Self::NotServing(serving) => write!(f, "the service is {}", serving.as_str()),
        }
    }
}

/// The beginning of what an endpoint said, to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    bytes: [u8; Self::MOST],
    len: u8,
    /// There was more.
    more: bool,
}

impl Said {
    const MOST: usize = 32;

    /// What is to be shown of `said`.
    #[must_use]
    pub fn new(said: &[u8]) -> Self {
        let mut bytes = [0; Self::MOST];
        let len = said.len().min(Self::MOST);
        bytes[..len].copy_from_slice(&said[..len]);
        // At the most 32.
        Self { bytes, len: len as u8, more: said.len() > len }
    }
}

/// In quotes; what is no printable ASCII as escapes.
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.bytes[..usize::from(self.len)].escape_ascii();
        write!(f, "\"{said}{}\"", if self.more { "..." } else { "" })
    }
}

/// Why a probe says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inconclusive {
    /// This process was too busy to run it, or to notice its end, in time.
    Late,
    /// This host had no descriptor, port or memory for it.
    LocalResource,
}

impl Inconclusive {
    /// The word in metrics, events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::LocalResource => "local_resource",
        }
    }
}

impl fmt::Display for Inconclusive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Late => "this process was too busy to tell",
            Self::LocalResource => "this host had no resources for the probe",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_shown_in_part_and_on_one_line() {
        let told = |said: &[u8]| ProbeFailure::Unexpected(Said::new(said)).to_string();
        assert_eq!(told(b"-NOAUTH\r\n"), r#"answered "-NOAUTH\r\n" instead of what is expected"#);
        assert_eq!(told(&[0, 0xff]), r#"answered "\x00\xff" instead of what is expected"#);
        assert_eq!(told(&[b'a'; 33]), format!("answered \"{}...\" instead of what is expected", "a".repeat(32)));
        assert_eq!(told(b""), "answered \"\" instead of what is expected");
    }
}
