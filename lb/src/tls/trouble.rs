//! What went wrong in a handshake: a class for counters, words for people.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use weir_core::tls::{Unshaken, Untrusted};

/// What went wrong, in a class and in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trouble<T> {
    pub(super) why: T,
    pub(super) words: String,
}

/// Why a client's handshake failed.
pub(super) fn of_client(error: &io::Error) -> Trouble<Unshaken> {
    let Some(error) = of_tls(error) else {
        return Trouble { why: Unshaken::Closed, words: closed(error) };
    };
    let why = match error {
        Error::PeerIncompatible(of) if is_of_versions(of) => Unshaken::Version,
        Error::PeerIncompatible(_) => Unshaken::NothingInCommon,
        Error::NoApplicationProtocol => Unshaken::Protocol,
        Error::NoCertificatesPresented => Unshaken::NoCertificate,
        Error::InvalidCertificate(_) => Unshaken::BadCertificate,
        Error::AlertReceived(_) => Unshaken::Refused,
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => Unshaken::NotTls,
        _ => Unshaken::Malformed,
    };
    Trouble { why, words: words(error) }
}

/// Why a handshake with an endpoint failed.
pub(super) fn of_endpoint(error: &io::Error) -> Trouble<Untrusted> {
    let Some(error) = of_tls(error) else {
        return Trouble { why: Untrusted::Closed, words: closed(error) };
    };
    let why = match error {
        Error::InvalidCertificate(of) => match of {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Untrusted::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Untrusted::NotYetValid,
            // Signed by another key of the same name: an authority that was made anew.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Untrusted::UnknownAuthority,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Untrusted::NameMismatch
            }
            _ => Untrusted::BadCertificate,
        },
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Untrusted::Protocol,
        Error::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure)
        | Error::PeerIncompatible(_) => Untrusted::NothingInCommon,
        Error::AlertReceived(_) => Untrusted::Refused,
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => Untrusted::NotTls,
        _ => Untrusted::BadCertificate,
    };
    Trouble { why, words: words(error) }
}

/// Whether there is no version that both speak.
const fn is_of_versions(of: &PeerIncompatible) -> bool {
    matches!(
        of,
        PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // Hellos of TLS 1.1 and before do not have it.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
    )
}

fn of_tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn closed(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it closed the connection in the middle of the handshake".into(),
        _ => format!("the connection broke: {error}"),
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::PeerIncompatible(of) if is_of_versions(of) => "no TLS version in common".into(),
        Error::NoApplicationProtocol => "no protocol (ALPN) in common".into(),
        Error::NoCertificatesPresented => "it showed no certificate, and has to".into(),
        Error::AlertReceived(AlertDescription::CertificateRequired) => "it wants a certificate of ours".into(),
        Error::AlertReceived(alert) => format!("it said: {alert:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(error: Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn causes_have_their_class() {
        use CertificateError as C;
        for (error, client, endpoint) in [
            (Error::InvalidCertificate(C::Expired), Unshaken::BadCertificate, Untrusted::Expired),
            (Error::InvalidCertificate(C::NotValidYet), Unshaken::BadCertificate, Untrusted::NotYetValid),
            (Error::InvalidCertificate(C::UnknownIssuer), Unshaken::BadCertificate, Untrusted::UnknownAuthority),
            (Error::InvalidCertificate(C::NotValidForName), Unshaken::BadCertificate, Untrusted::NameMismatch),
            (Error::InvalidCertificate(C::BadSignature), Unshaken::BadCertificate, Untrusted::UnknownAuthority),
            (Error::InvalidCertificate(C::BadEncoding), Unshaken::BadCertificate, Untrusted::BadCertificate),
            (Error::NoCertificatesPresented, Unshaken::NoCertificate, Untrusted::BadCertificate),
            (Error::NoApplicationProtocol, Unshaken::Protocol, Untrusted::BadCertificate),
            (Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered), Unshaken::Version, Untrusted::NothingInCommon),
            (Error::AlertReceived(AlertDescription::NoApplicationProtocol), Unshaken::Refused, Untrusted::Protocol),
            (Error::AlertReceived(AlertDescription::UnknownCA), Unshaken::Refused, Untrusted::Refused),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), Unshaken::NotTls, Untrusted::NotTls),
        ] {
            let words = error.to_string();
            assert_eq!(of_client(&io(error.clone())).why, client, "{words}");
            assert_eq!(of_endpoint(&io(error)).why, endpoint, "{words}");
        }
        let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!((of_client(&cut).why, of_endpoint(&cut).why), (Unshaken::Closed, Untrusted::Closed));
    }
}
