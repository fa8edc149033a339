//! Certificates for tests.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use weir_config::model::{Authorities, Certificate, PrivateKey, ServerTls, Tickets, TlsVersion};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn authorities(&self) -> Arc<Authorities> {
        Arc::new(Authorities { file: "ca.pem".into(), certificates: vec![self.0.der().to_vec()] })
    }

    /// A certificate for these names.
    pub(crate) fn issue(&self, names: &[&str]) -> Arc<Certificate> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new(names.clone()).unwrap().signed_by(&key, &self.0).unwrap();
        made(names, signed.der().to_vec(), &key)
    }
}

/// A self-signed certificate for these names.
pub(crate) fn certificate(names: &[&str]) -> Arc<Certificate> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let key = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(names.clone()).unwrap().self_signed(&key).unwrap();
    made(names, signed.der().to_vec(), &key)
}

fn made(names: Vec<String>, der: Vec<u8>, key: &KeyPair) -> Arc<Certificate> {
    Arc::new(Certificate {
        file: "a.pem".into(),
        chain: vec![der],
        key: PrivateKey::Pkcs8(key.serialize_der()),
        ocsp: None,
        names,
        subject: "CN=test".into(),
        not_before: SystemTime::UNIX_EPOCH,
        not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 32),
    })
}

/// TLS of a listener with these certificates, and everything else by default.
pub(crate) fn server(certificates: Vec<Arc<Certificate>>) -> ServerTls {
    ServerTls {
        certificates,
        alpn: vec!["h2".into(), "http/1.1".into()],
        min_version: TlsVersion::V12,
        clients: None,
        tickets: Tickets::Own,
        handshake_timeout: Duration::from_secs(10),
        max_handshakes: 2,
    }
}
