//! The cluster's side: handshakes with endpoints.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, DnsName, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, TlsStream};
use weir_config::model::{Address, ClientTls, HttpVersion, Trust};
use weir_core::tls::Untrusted;

use super::trouble::{self, Trouble};

/// TLS as one cluster speaks it.
#[derive(Debug)]
pub(crate) struct Connector {
    wanted: (ClientTls, HttpVersion),
    /// For requests: the cluster's HTTP by ALPN.
    http: Arc<ClientConfig>,
    /// For bytes that are not ours to name: no ALPN.
    bytes: Arc<ClientConfig>,
    /// Asked for, and verified, at every endpoint.
    name: Option<ServerName<'static>>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Requests.
    Http,
    /// gRPC calls: HTTP/2, whatever requests are sent by.
    Calls,
    /// Whatever a session's two ends say.
    Bytes,
}

/// Why there is no TLS with an endpoint.
#[derive(Debug)]
pub(crate) struct Distrust {
    pub(crate) why: Untrusted,
    pub(crate) words: String,
}

/// The protocol that is HTTP/2.
pub(crate) const H2: &[u8] = b"h2";

impl Connector {
    /// What `wanted` comes to: the one `before` if nothing changed. `system` are the system's
    /// authorities, once somebody needed them.
    ///
    /// # Errors
    /// In words, what cannot be used.
    pub(super) fn new(
        wanted: &ClientTls,
        protocol: HttpVersion,
        system: &OnceLock<Result<Arc<RootCertStore>, String>>,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, String> {
        if let Some(same) = before.filter(|before| before.wanted.0 == *wanted && before.wanted.1 == protocol) {
            return Ok(Arc::clone(same));
        }
        let name = wanted.server_name.as_ref().map(|name| parse(name).ok_or_else(|| format!("{name} is no name")));
        let bytes = configure(wanted, system)?;
        let mut http = bytes.clone();
        http.alpn_protocols = match protocol {
            HttpVersion::H1 => vec![b"http/1.1".to_vec()],
            HttpVersion::H2 => vec![H2.to_vec()],
            HttpVersion::Auto => vec![H2.to_vec(), b"http/1.1".to_vec()],
        };
        let (http, bytes) = (Arc::new(http), Arc::new(bytes));
        Ok(Arc::new(Self { wanted: (wanted.clone(), protocol), http, bytes, name: name.transpose()? }))
    }

    /// Shakes hands with the endpoint at `to`, which is `host` if it was found by name; how long that
    /// may take is the caller's to keep.
    ///
    /// # Errors
    /// Why there is no TLS.
    pub(crate) async fn connect<S>(
        &self,
        stream: S,
        to: &Address,
        host: Option<&str>,
        for_what: Use,
    ) -> Result<Box<TlsStream<S>>, Distrust>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.name.clone().unwrap_or_else(|| name_of(to, host));
        let calls;
        let config = match for_what {
            Use::Http => &self.http,
            Use::Calls => {
                let mut http = ClientConfig::clone(&self.http);
                http.alpn_protocols = vec![H2.to_vec()];
                calls = Arc::new(http);
                &calls
            }
            Use::Bytes => &self.bytes,
        };
        let connected = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(|error| {
            let Trouble { why, words } = trouble::of_endpoint(&error);
            Distrust { why, words }
        })?;
        let h2 = connected.get_ref().1.alpn_protocol() == Some(H2);
        if for_what == Use::Http && self.wanted.1 == HttpVersion::H2 && !h2 {
            // It went on without a word about ALPN: what it speaks is not known, only that it is not this.
            let words = "it does not choose h2 by ALPN".to_owned();
            return Err(Distrust { why: Untrusted::Protocol, words });
        }
        Ok(Box::new(TlsStream::from(connected)))
    }
}

/// The name an endpoint is asked for, and verified by, where the file gives none.
fn name_of(to: &Address, host: Option<&str>) -> ServerName<'static> {
    match (host.and_then(parse), to) {
        (Some(name), _) => name,
        (None, Address::Ip(address)) => ServerName::IpAddress(address.ip().to_canonical().into()),
        (None, Address::Unix(_)) => {
            parse("localhost").unwrap_or_else(|| ServerName::IpAddress(Ipv4Addr::LOCALHOST.into()))
        }
    }
}

fn parse(name: &str) -> Option<ServerName<'static>> {
    match name.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::IpAddress(address.into())),
        Err(_) => DnsName::try_from(name.to_owned()).ok().map(ServerName::DnsName),
    }
}

fn configure(
    wanted: &ClientTls,
    system: &OnceLock<Result<Arc<RootCertStore>, String>>,
) -> Result<ClientConfig, String> {
    let provider = super::provider();
    let verifier: Arc<dyn ServerCertVerifier> = match &wanted.trust {
        Trust::System => trusting(system.get_or_init(of_system).clone()?, "the system's authorities")?,
        Trust::Authorities(authorities) => trusting(Arc::new(super::roots(authorities)?), &authorities.file)?,
        Trust::Anybody => Arc::new(Anybody(Arc::clone(&provider))),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(super::versions(wanted.min_version))
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match &wanted.certificate {
        None => Ok(builder.with_no_client_auth()),
        Some(certificate) => {
            let certified = super::certified(certificate)?;
            Ok(builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified))))
        }
    }
}

fn trusting(roots: Arc<RootCertStore>, whose: &str) -> Result<Arc<WebPkiServerVerifier>, String> {
    let builder = WebPkiServerVerifier::builder_with_provider(roots, super::provider());
    builder.build().map_err(|error| format!("{whose} cannot be used: {error}"))
}

fn of_system() -> Result<Arc<RootCertStore>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A few that are not understood are no reason to trust none.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!("this system has no certificates of authorities{why}; name a file with `ca`"));
    }
    Ok(Arc::new(roots))
}

/// Takes every certificate. That the endpoint has its key is verified all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
