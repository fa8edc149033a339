//! What TLS a listener speaks to its clients, and a cluster to its endpoints.
//!
//! Certificates and keys are read, and found to fit each other, when the configuration is: whoever
//! holds one of these values has nothing left to check.

pub(crate) mod read;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// TLS on a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// At least one. A client gets the first whose names cover the one it asks for, of the kind
    /// (ECDSA, RSA) it can verify; who asks for no name or an unknown one, the first of all.
    pub certificates: Vec<Arc<Certificate>>,
    /// Protocols offered by ALPN, in order of preference. Default `h2`, `http/1.1` for HTTP, none
    /// for TCP.
    pub alpn: Vec<String>,
    /// The lowest version that is spoken. Default 1.2.
    pub min_version: TlsVersion,
    /// Whether clients have to show a certificate; `None` is not asking.
    pub clients: Option<ClientCertificates>,
    /// How sessions are resumed.
    pub tickets: Tickets,
    /// A client that takes longer for its handshake is let go. Default 10 s.
    pub handshake_timeout: Duration,
    /// Handshakes under way at once over all workers; whoever comes then is let go. Default 1 024.
    pub max_handshakes: u32,
}

/// TLS to the endpoints of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// The name that is asked for (SNI) and must be in the endpoint's certificate; by default the
    /// endpoint's host name, or its address where there is none.
    pub server_name: Option<String>,
    /// Who may vouch for endpoints.
    pub trust: Trust,
    /// What we show an endpoint that asks.
    pub certificate: Option<Arc<Certificate>>,
    /// The lowest version that is spoken. Default 1.2.
    pub min_version: TlsVersion,
}

/// Who may vouch for the certificate of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The system's authorities.
    System,
    /// These alone.
    Authorities(Arc<Authorities>),
    /// Nobody has to: `verify: off`. Traffic is hidden from listeners, not from impostors.
    Anybody,
}

/// The lowest TLS version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2 and 1.3.
    V12,
    /// 1.3 only.
    V13,
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Without one there is no connection; else it is asked for, and verified if it comes.
    pub required: bool,
    /// Who may vouch for clients.
    pub authorities: Arc<Authorities>,
    /// Whether endpoints are told of it, in `X-Forwarded-Client-Cert`. Default on.
    pub forward: bool,
}

/// How sessions are resumed without a whole handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tickets {
    /// Never.
    Off,
    /// With keys this process makes and changes by itself; they survive reloads. The default.
    Own,
    /// With the keys of a file that instances share: 80 bytes each, the first encrypts and all
    /// decrypt; raw, or each as a line of base64.
    Shared(Arc<TicketKeys>),
}

/// Keys of session tickets, from a file.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKeys {
    /// Where they stand, as it is written.
    pub file: String,
    /// 80 bytes each: a name of 16, and 64 to derive what encrypts and authenticates from.
    pub keys: Vec<[u8; 80]>,
}

/// A certificate with its chain and key.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The file of the certificate, as it is written.
    pub file: String,
    /// DER: the certificate, then those that vouch for it.
    pub chain: Vec<Vec<u8>>,
    /// DER of the key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PrivateKey,
    /// A DER OCSP answer to staple.
    pub ocsp: Option<Vec<u8>>,
    /// The names it is for: DNS names in lower case, `*.` before wildcards, and addresses.
    pub names: Vec<String>,
    /// Its subject, for people.
    pub subject: String,
    /// Not valid before.
    pub not_before: SystemTime,
    /// Not valid after.
    pub not_after: SystemTime,
}

/// A private key.
#[derive(Clone, PartialEq, Eq)]
pub enum PrivateKey {
    /// PKCS #8.
    Pkcs8(Vec<u8>),
    /// PKCS #1, RSA.
    Pkcs1(Vec<u8>),
    /// SEC 1, elliptic curves.
    Sec1(Vec<u8>),
}

/// Certificates of authorities.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities {
    /// The file, as it is written.
    pub file: String,
    /// DER, at least one.
    pub certificates: Vec<Vec<u8>>,
}

// Keys stay out of logs, whoever prints what.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("file", &self.file).field("names", &self.names).finish_non_exhaustive()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").field("file", &self.file).finish_non_exhaustive()
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorities").field("file", &self.file).finish_non_exhaustive()
    }
}
