//! TLS peers of a test's own: authorities, certificates, a client and an endpoint.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use crate::{place, wait};

/// Somebody who vouches for certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// Of which kind a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// P-256.
    Ecdsa,
    /// 2 048 bits.
    Rsa,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "An authority of tests");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, valid for a year.
    #[must_use]
    pub fn issue(&self, names: &[&str]) -> Pair {
        self.issue_as(names, Kind::Ecdsa, SystemTime::now() + Duration::from_secs(365 * 24 * 60 * 60))
    }

    /// The same, of that kind and valid until then.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn issue_as(&self, names: &[&str], kind: Kind, until: SystemTime) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("good names");
        params.not_after = until.into();
        params.distinguished_name.push(DnType::CommonName, "A peer of tests");
        let key = match kind {
            Kind::Ecdsa => KeyPair::generate(),
            Kind::Rsa => KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256),
        };
        let key = key.expect("a key");
        let signed = params.signed_by(&key, &self.0).expect("a certificate");
        Pair { cert: signed.pem(), key: key.serialize_pem() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a good certificate");
        roots
    }
}

impl Pair {
    /// Writes it to `NAME.pem` and `NAME.key`, each in one step.
    ///
    /// # Panics
    /// When the file system does not let us.
    pub fn write(&self, folder: &Path, name: &str) {
        for (kind, text) in [("key", &self.key), ("pem", &self.cert)] {
            put(folder, &format!("{name}.{kind}"), text.as_bytes());
        }
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.cert.as_bytes()).map(|der| der.expect("a certificate")).collect()
    }

    fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key")
    }
}

/// Writes a file in one step.
///
/// # Panics
/// When the file system does not let us.
pub fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let new = folder.join(format!(".{name}.new"));
    std::fs::write(&new, bytes).expect("the file is written");
    std::fs::rename(&new, folder.join(name)).expect("the file is moved");
}

/// What a client speaks. Clones remember the same sessions.
#[derive(Clone, Debug)]
pub struct Dialect(Arc<ClientConfig>);

impl Dialect {
    /// Everything, trusting `authority`.
    #[must_use]
    pub fn trusting(authority: &Authority) -> Self {
        Self::with(authority, rustls::DEFAULT_VERSIONS, None, &[])
    }

    /// These versions and protocols only, showing a certificate.
    ///
    /// # Panics
    /// When that is no TLS.
    #[must_use]
    pub fn with(
        authority: &Authority,
        versions: &[&'static rustls::SupportedProtocolVersion],
        shown: Option<&Pair>,
        protocols: &[&str],
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.expect("known versions").with_root_certificates(authority.roots());
        let mut config = match shown {
            Some(pair) => builder.with_client_auth_cert(pair.chain(), pair.private()).expect("a good pair"),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self(Arc::new(config))
    }

    /// Shakes hands, asking for `name`.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn connect(&self, to: SocketAddr, name: &str) -> io::Result<Secured> {
        self.connect_after(to, name, b"")
    }

    /// The same, with these bytes before the handshake.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn connect_after(&self, to: SocketAddr, name: &str, before: &[u8]) -> io::Result<Secured> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        let mut socket = TcpStream::connect_timeout(&to, wait::PATIENCE)?;
        socket.write_all(before)?;
        socket.set_read_timeout(Some(wait::PATIENCE))?;
        socket.set_nodelay(true)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Secured { stream })
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct Secured {
    /// Plain bytes in and out.
    pub stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Secured {
    /// Whether it resumed a session.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What the server showed.
    ///
    /// # Panics
    /// When it showed nothing.
    #[must_use]
    pub fn shown(&self) -> CertificateDer<'static> {
        let chain = self.stream.conn.peer_certificates().expect("a certificate");
        chain.first().expect("a certificate").clone().into_owned()
    }

    /// Asks for `path`; head and body of the answer, which says its length.
    ///
    /// # Errors
    /// How it ended instead.
    pub fn get(&mut self, path: &str, fields: &str) -> io::Result<String> {
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n").as_bytes())?;
        let mut text = String::new();
        let mut bytes = [0; 4096];
        loop {
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
                if length.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| body.len() >= length) {
                    return Ok(text);
                }
            }
            let read = self.stream.read(&mut bytes)?;
            if read == 0 {
                return Ok(text);
            }
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }

    /// What comes until the end.
    ///
    /// # Errors
    /// How it ended instead of properly.
    pub fn rest(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).map(|_| text)
    }
}

/// One connection of an endpoint.
pub type Served = StreamOwned<ServerConnection, TcpStream>;

/// Serves TLS with `pair`, asking clients for a certificate of `clients`: each connection on a thread of
/// its own, for as long as the process lives.
///
/// # Panics
/// When it cannot.
pub fn serve(
    pair: &Pair,
    clients: Option<&Authority>,
    protocols: &[&str],
    script: impl Fn(Served) + Send + Sync + 'static,
) -> SocketAddr {
    serve_on(TcpListener::bind(place::address()).expect("a free address"), pair, clients, protocols, script)
}

/// The same on this listener.
///
/// # Panics
/// When it cannot.
pub fn serve_on(
    listener: TcpListener,
    pair: &Pair,
    clients: Option<&Authority>,
    protocols: &[&str],
    script: impl Fn(Served) + Send + Sync + 'static,
) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().expect("known versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let roots = Arc::new(authority.roots());
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.expect("good authorities"))
        }
    };
    let mut config = builder.with_single_cert(pair.chain(), pair.private()).expect("a good pair");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let (config, script) = (Arc::new(config), Arc::new(script));
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (config, script) = (Arc::clone(&config), Arc::clone(&script));
            thread::spawn(move || {
                let connection = ServerConnection::new(config).expect("a good configuration");
                script(StreamOwned::new(connection, socket));
            });
        }
    });
    address
}

/// Reads one request's head.
///
/// # Errors
/// Those of the connection.
pub fn request(served: &mut Served) -> io::Result<String> {
    let (mut text, mut byte) = (String::new(), [0]);
    while !text.ends_with("\r\n\r\n") {
        served.read_exact(&mut byte)?;
        text.push(char::from(byte[0]));
    }
    Ok(text)
}

/// Answers requests with their own heads, one after the other.
pub fn echo_heads(mut served: Served) {
    while let Ok(head) = request(&mut served) {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
        if served.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
