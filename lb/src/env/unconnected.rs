//! Why a connection could not be opened: whose fault, and what may be done about it.

use std::io;

use rustix::io::Errno;
use weir_core::health::{Inconclusive, ProbeFailure, ProbeResult};
use weir_core::reason::Reason;

/// Why a connection could not be opened. No byte of a request was sent in any of these cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconnected {
    /// Nobody listens there.
    Refused,
    /// Somebody listens there, but as many wait already as may.
    Busy,
    /// The other side, or the way to it, did not answer.
    TimedOut,
    /// The other side took it back.
    Reset,
    /// There is no way there.
    Unreachable,
    /// This host has no descriptor, port or memory left for it: no packet left, and of the other
    /// side it says nothing.
    Local,
    /// This host does not let us: its packet filter, or the rights on a Unix socket.
    Forbidden,
    /// Anything else. What was asked cannot be done here, so it is ours.
    Unexpected,
}

/// Who has to do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This host: never counted against an endpoint.
    Ours,
    /// The way there, or the whole host at its end.
    Network,
    /// The endpoint.
    Endpoint,
}

impl Unconnected {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::TimedOut => "timed_out",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::Local => "local",
            Self::Forbidden => "forbidden",
            Self::Unexpected => "unexpected",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(self) -> Fault {
        match self {
            Self::Refused | Self::Busy | Self::Reset => Fault::Endpoint,
            Self::TimedOut | Self::Unreachable => Fault::Network,
            Self::Local | Self::Forbidden | Self::Unexpected => Fault::Ours,
        }
    }

    /// Whether time ran out.
    #[must_use]
    pub const fn timed_out(self) -> bool {
        matches!(self, Self::TimedOut)
    }

    /// Whether it may be over without anybody changing anything.
    #[must_use]
    pub const fn temporary(self) -> bool {
        !matches!(self, Self::Forbidden | Self::Unexpected)
    }

    /// Whether another try elsewhere may fare better. It would do no harm in any case: nothing was
    /// sent. But what we lack ourselves, we lack for every endpoint.
    #[must_use]
    pub const fn worth_a_retry(self) -> bool {
        !matches!(self.fault(), Fault::Ours)
    }

    /// What it is in the access log and in answers.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Refused => Reason::ConnectRefused,
            Self::TimedOut => Reason::ConnectTimeout,
            Self::Busy | Self::Reset | Self::Unreachable => Reason::ConnectFailed,
            Self::Local | Self::Forbidden | Self::Unexpected => Reason::ConnectLocal,
        }
    }

    /// What it is to a probe.
    #[must_use]
    pub const fn probed(self) -> ProbeResult {
        ProbeResult::Failed(match self {
            Self::Refused => ProbeFailure::ConnectRefused,
            Self::TimedOut => ProbeFailure::ConnectTimeout,
            Self::Reset => ProbeFailure::Reset,
            Self::Busy | Self::Unreachable => ProbeFailure::ConnectFailed,
            Self::Local | Self::Forbidden | Self::Unexpected => {
                return ProbeResult::Inconclusive(Inconclusive::LocalResource);
            }
        })
    }
}

impl From<&io::Error> for Unconnected {
    fn from(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            // A Unix socket whose file is not there (yet): as good as a port nobody listens on.
            Some(Errno::CONNREFUSED | Errno::NOENT) => Self::Refused,
            Some(Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE) => Self::Reset,
            Some(Errno::TIMEDOUT) => Self::TimedOut,
            Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN | Errno::HOSTDOWN) => Self::Unreachable,
            Some(
                Errno::MFILE
                | Errno::NFILE
                | Errno::ADDRNOTAVAIL
                | Errno::ADDRINUSE
                | Errno::NOBUFS
                | Errno::NOMEM
                | Errno::AGAIN,
            ) => Self::Local,
            Some(Errno::ACCESS | Errno::PERM) => Self::Forbidden,
            Some(_) => Self::Unexpected,
            None => match error.kind() {
                io::ErrorKind::ConnectionRefused => Self::Refused,
                io::ErrorKind::ResourceBusy => Self::Busy,
                io::ErrorKind::TimedOut => Self::TimedOut,
                io::ErrorKind::ConnectionReset => Self::Reset,
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Self::Unreachable,
                _ => Self::Unexpected,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d9_every_error_of_a_dial_has_its_cause_and_only_others_are_blamed() {
        use {Fault as F, Unconnected as U};
        let failed = ProbeResult::Failed;
        let inconclusive = ProbeResult::Inconclusive(Inconclusive::LocalResource);
        //   error, what, whose, temporary, worth a retry, reason, probe
        for (errno, what, fault, temporary, retry, reason, probe) in [
            (
                Errno::CONNREFUSED,
                U::Refused,
                F::Endpoint,
                true,
                true,
                Reason::ConnectRefused,
                failed(ProbeFailure::ConnectRefused),
            ),
            (
                Errno::NOENT,
                U::Refused,
                F::Endpoint,
                true,
                true,
                Reason::ConnectRefused,
                failed(ProbeFailure::ConnectRefused),
            ),
            (Errno::CONNRESET, U::Reset, F::Endpoint, true, true, Reason::ConnectFailed, failed(ProbeFailure::Reset)),
            (
                Errno::TIMEDOUT,
                U::TimedOut,
                F::Network,
                true,
                true,
                Reason::ConnectTimeout,
                failed(ProbeFailure::ConnectTimeout),
            ),
            (
                Errno::NETUNREACH,
                U::Unreachable,
                F::Network,
                true,
                true,
                Reason::ConnectFailed,
                failed(ProbeFailure::ConnectFailed),
            ),
            (
                Errno::HOSTUNREACH,
                U::Unreachable,
                F::Network,
                true,
                true,
                Reason::ConnectFailed,
                failed(ProbeFailure::ConnectFailed),
            ),
            (Errno::ADDRNOTAVAIL, U::Local, F::Ours, true, false, Reason::ConnectLocal, inconclusive),
            (Errno::ADDRINUSE, U::Local, F::Ours, true, false, Reason::ConnectLocal, inconclusive),
            (Errno::MFILE, U::Local, F::Ours, true, false, Reason::ConnectLocal, inconclusive),
            (Errno::NFILE, U::Local, F::Ours, true, false, Reason::ConnectLocal, inconclusive),
            (Errno::NOBUFS, U::Local, F::Ours, true, false, Reason::ConnectLocal, inconclusive),
            (Errno::AGAIN, U::Local, F::Ours, true, false, Reason::ConnectLocal, inconclusive),
            (Errno::ACCESS, U::Forbidden, F::Ours, false, false, Reason::ConnectLocal, inconclusive),
            (Errno::PERM, U::Forbidden, F::Ours, false, false, Reason::ConnectLocal, inconclusive),
            (Errno::AFNOSUPPORT, U::Unexpected, F::Ours, false, false, Reason::ConnectLocal, inconclusive),
        ] {
            let found = U::from(&io::Error::from_raw_os_error(errno.raw_os_error()));
            let is = (found, found.fault(), found.temporary(), found.worth_a_retry(), found.reason(), found.probed());
            assert_eq!(is, (what, fault, temporary, retry, reason, probe), "{errno:?}");
            assert_eq!(found.timed_out(), errno == Errno::TIMEDOUT, "{errno:?}");
            // The classes that ejection goes by agree on who is blamed.
            let class = weir_core::attempt::Outcome::Failed(reason).class();
            assert_eq!(class == weir_core::attempt::Class::Ours, fault == F::Ours, "{errno:?}");
        }
        assert_eq!(U::from(&io::Error::from(io::ErrorKind::ResourceBusy)).fault(), F::Endpoint);
    }
}
