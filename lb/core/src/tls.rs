//! What came of TLS handshakes: closed lists for counters, events and words.

use std::fmt;

/// How a handshake with a client succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Handshake {
    /// TLS 1.2, from the start.
    Full12,
    /// TLS 1.2, going on with an earlier session.
    Resumed12,
    /// TLS 1.3, from the start.
    Full13,
    /// TLS 1.3, going on with an earlier session.
    Resumed13,
}

impl Handshake {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Full12, Self::Resumed12, Self::Full13, Self::Resumed13];

    /// The label of the version.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Full12 | Self::Resumed12 => "1.2",
            Self::Full13 | Self::Resumed13 => "1.3",
        }
    }

    /// The label of the kind: `full` or `resumed`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Full12 | Self::Full13 => "full",
            Self::Resumed12 | Self::Resumed13 => "resumed",
        }
    }
}

/// Why a handshake with a client failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unshaken {
    /// What came is no TLS: plain HTTP, most likely.
    NotTls,
    /// The client speaks only versions that are not spoken here.
    Version,
    /// No cipher suite, group or kind of signature in common.
    NothingInCommon,
    /// None of the client's protocols (ALPN) is offered here.
    Protocol,
    /// The client has to show a certificate and showed none.
    NoCertificate,
    /// The client's certificate is not trusted: unknown authority, expired, not for clients.
    BadCertificate,
    /// The client broke the handshake off with an alert: it does not trust us, most likely.
    Refused,
    /// The client closed the connection in the middle.
    Closed,
    /// The client broke the rules of TLS.
    Malformed,
    /// It took too long.
    Timeout,
    /// As many handshakes were under way as may.
    TooMany,
}

impl Unshaken {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::NotTls,
        Self::Version,
        Self::NothingInCommon,
        Self::Protocol,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::Refused,
        Self::Closed,
        Self::Malformed,
        Self::Timeout,
        Self::TooMany,
    ];

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::Version => "version",
            Self::NothingInCommon => "nothing_in_common",
            Self::Protocol => "protocol",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Malformed => "malformed",
            Self::Timeout => "timeout",
            Self::TooMany => "too_many",
        }
    }
}

/// Why there is no TLS with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// Its certificate has expired.
    Expired,
    /// Its certificate is not valid yet.
    NotYetValid,
    /// Nobody we trust vouches for its certificate.
    UnknownAuthority,
    /// Its certificate is for other names.
    NameMismatch,
    /// Its certificate is of no use otherwise: not for servers, not well-formed, badly signed.
    BadCertificate,
    /// It refused us with an alert; if it wants a certificate of ours, that is how it says so.
    Refused,
    /// No version, cipher suite or kind of signature in common.
    NothingInCommon,
    /// It does not take the protocol (ALPN) that the cluster speaks.
    Protocol,
    /// What it says is no TLS.
    NotTls,
    /// It closed the connection in the middle of the handshake.
    Closed,
}

impl Untrusted {
    /// The word in metrics, events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "tls_expired",
            Self::NotYetValid => "tls_not_yet_valid",
            Self::UnknownAuthority => "tls_unknown_authority",
            Self::NameMismatch => "tls_name_mismatch",
            Self::BadCertificate => "tls_bad_certificate",
            Self::Refused => "tls_refused",
            Self::NothingInCommon => "tls_nothing_in_common",
            Self::Protocol => "tls_protocol",
            Self::NotTls => "tls_not_tls",
            Self::Closed => "tls_closed",
        }
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "TLS: the endpoint's certificate has expired",
            Self::NotYetValid => "TLS: the endpoint's certificate is not valid yet",
            Self::UnknownAuthority => "TLS: nobody trusted vouches for the endpoint's certificate",
            Self::NameMismatch => "TLS: the endpoint's certificate is for other names",
            Self::BadCertificate => "TLS: the endpoint's certificate is of no use",
            Self::Refused => "TLS: the endpoint refused the handshake",
            Self::NothingInCommon => "TLS: no version or cipher in common with the endpoint",
            Self::Protocol => "TLS: the endpoint does not take the cluster's protocol by ALPN",
            Self::NotTls => "TLS: what the endpoint says is no TLS",
            Self::Closed => "TLS: the endpoint closed the connection during the handshake",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_complete_and_in_order() {
        assert!(Handshake::ALL.into_iter().enumerate().all(|(at, each)| each as usize == at));
        assert!(Unshaken::ALL.into_iter().enumerate().all(|(at, each)| each as usize == at));
    }
}
