//! Who is asking, and what that is good for.
//!
//! Known are: whoever came over loopback or a Unix socket (this host is trusted), the bearer of a
//! token, the holder of a certificate. A decision is made of facts alone; what brings them together
//! is [`super::admit`].

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;

use crate::observe::journal::Asker;

/// What a connection is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) from: From,
    /// The subject of the certificate that was shown and verified.
    pub(super) certificate: Option<Arc<str>>,
}

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// A Unix socket: the user and, if it is told, the process on its other end.
    Unix { uid: Option<u32>, pid: Option<i32> },
    /// An IP address.
    Ip(SocketAddr),
}

/// What a request brings as `Authorization: Bearer`, held against the tokens of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bearer {
    /// Nothing; or there are no tokens it could be held against.
    None,
    /// None of the tokens.
    Unknown,
    /// The token of this file, which is for reading.
    Reads(String),
    /// The token of this file, which is for everything.
    Changes(String),
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Whether the process lives and is ready, or a file of the page: everybody may know.
    Probe,
    /// The files of the status page, which hold nothing of this instance: it has to be there before
    /// anybody can give it a token.
    Page,
    /// To look.
    Read,
    /// To change something, or to make the process work: profiles.
    Change,
}

/// Why a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// It says not who asks, and comes from elsewhere.
    NoCredential,
    /// What it brings is no token of ours.
    WrongToken,
    /// Its token is for reading.
    ReadOnly,
}

impl Denial {
    /// For the metric and the log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::WrongToken => "wrong_token",
            Self::ReadOnly => "read_only",
        }
    }

    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::NoCredential | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::ReadOnly => StatusCode::FORBIDDEN,
        }
    }

    pub(super) const fn detail(self) -> &'static str {
        match self {
            Self::NoCredential => "It is not known who asks.",
            Self::WrongToken => "This token is not known here.",
            Self::ReadOnly => "This token is for reading.",
        }
    }

    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::NoCredential => {
                "send the token of `admin.token_file` as `Authorization: Bearer TOKEN` (weir: --token-file), show a \
                 client certificate, or ask from this host: over loopback or a Unix socket"
            }
            Self::WrongToken => {
                "compare it with the file that `admin.token_file` names; that is read again whenever it changes"
            }
            Self::ReadOnly => "send the token of `admin.token_file`",
        }
    }

    /// What RFC 6750 (section 3) has a client told.
    pub(super) const fn challenge(self) -> &'static str {
        match self {
            Self::NoCredential => "Bearer realm=\"weir admin\"",
            Self::WrongToken => "Bearer realm=\"weir admin\", error=\"invalid_token\"",
            Self::ReadOnly => "Bearer realm=\"weir admin\", error=\"insufficient_scope\"",
        }
    }
}

impl From {
    /// Whether whoever asks is on this host.
    fn is_here(&self) -> bool {
        match self {
            Self::Unix { .. } => true,
            Self::Ip(peer) => peer.ip().to_canonical().is_loopback(),
        }
    }
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { uid: Some(uid), pid: Some(pid) } => write!(f, "unix: uid {uid}, pid {pid}"),
            Self::Unix { uid: Some(uid), pid: None } => write!(f, "unix: uid {uid}"),
            Self::Unix { uid: None, .. } => f.write_str("unix"),
            Self::Ip(peer) => peer.fmt(f),
        }
    }
}

/// Whether `caller` gets what it wishes; by what it is known then.
///
/// What is brought counts before where it comes from: a token that is wrong, or for reading, is not
/// made better by loopback.
pub(super) fn decide(caller: &Caller, bearer: &Bearer, wish: Wish) -> Result<Asker, Denial> {
    let known = |who: String| Asker { who, from: caller.from.to_string() };
    if matches!(wish, Wish::Probe | Wish::Page) {
        return Ok(known("anybody".to_owned()));
    }
    match (bearer, &caller.certificate, &caller.from) {
        (Bearer::Unknown, ..) => Err(Denial::WrongToken),
        (Bearer::Changes(file), ..) => Ok(known(format!("token {file}"))),
        (_, Some(subject), _) => Ok(known(format!("certificate {subject}"))),
        (Bearer::Reads(_), ..) if wish == Wish::Change => Err(Denial::ReadOnly),
        (Bearer::Reads(file), ..) => Ok(known(format!("token {file}"))),
        (Bearer::None, None, from) if !from.is_here() => Err(Denial::NoCredential),
        (Bearer::None, None, From::Ip(_)) => Ok(known("loopback".to_owned())),
        (Bearer::None, None, From::Unix { uid, .. }) => {
            Ok(known(uid.map_or_else(|| "a Unix socket".to_owned(), |uid| format!("uid {uid}"))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "127.0.0.1:4000";
    const THERE: &str = "10.0.0.9:4000";

    fn ip(from: &str) -> From {
        From::Ip(from.parse().unwrap())
    }

    #[test]
    fn who_asks_decides_what_they_get() {
        use Denial::{NoCredential, ReadOnly, WrongToken};
        let unix = From::Unix { uid: Some(1000), pid: Some(42) };
        let (reads, changes) = (Bearer::Reads("r".into()), Bearer::Changes("a".into()));
        for (from, certificate, bearer, read, change) in [
            (ip(HERE), None, &Bearer::None, Ok("loopback"), Ok("loopback")),
            (ip("[::1]:1"), None, &Bearer::None, Ok("loopback"), Ok("loopback")),
            (ip("[::ffff:127.0.0.1]:1"), None, &Bearer::None, Ok("loopback"), Ok("loopback")),
            (unix.clone(), None, &Bearer::None, Ok("uid 1000"), Ok("uid 1000")),
            (ip(THERE), None, &Bearer::None, Err(NoCredential), Err(NoCredential)),
            (ip("[::ffff:10.0.0.9]:1"), None, &Bearer::None, Err(NoCredential), Err(NoCredential)),
            (ip(THERE), None, &changes, Ok("token a"), Ok("token a")),
            (ip(THERE), None, &reads, Ok("token r"), Err(ReadOnly)),
            (ip(THERE), None, &Bearer::Unknown, Err(WrongToken), Err(WrongToken)),
            (ip(THERE), Some("CN=ops"), &Bearer::None, Ok("certificate CN=ops"), Ok("certificate CN=ops")),
            (ip(THERE), Some("CN=ops"), &reads, Ok("certificate CN=ops"), Ok("certificate CN=ops")),
            (ip(THERE), Some("CN=ops"), &Bearer::Unknown, Err(WrongToken), Err(WrongToken)),
            // What is brought counts, wherever it comes from.
            (ip(HERE), None, &reads, Ok("token r"), Err(ReadOnly)),
            (unix, None, &Bearer::Unknown, Err(WrongToken), Err(WrongToken)),
        ] {
            let caller = Caller { from, certificate: certificate.map(Arc::from) };
            for (wish, expected) in [(Wish::Read, read), (Wish::Change, change)] {
                let got = decide(&caller, bearer, wish);
                let got = got.as_ref().map(|asker| &*asker.who).map_err(|denial| *denial);
                assert_eq!(got, expected, "{caller:?} {bearer:?} {wish:?}");
            }
            assert!([Wish::Probe, Wish::Page].iter().all(|wish| decide(&caller, bearer, *wish).is_ok()));
        }
    }

    #[test]
    fn where_they_come_from_is_told() {
        for (from, told) in [
            (ip(THERE), THERE),
            (From::Unix { uid: Some(0), pid: Some(7) }, "unix: uid 0, pid 7"),
            (From::Unix { uid: Some(0), pid: None }, "unix: uid 0"),
            (From::Unix { uid: None, pid: None }, "unix"),
        ] {
            assert_eq!(from.to_string(), told);
        }
    }
}
