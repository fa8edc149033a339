//! How an instance is reached: by which address, with or without TLS, and with what in hand.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use http::HeaderValue;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// What is shown to the instance, and whom of those that could be it we believe.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Who asks")]
pub(in crate::cli) struct Credentials {
    /// A file with the token to show
    #[arg(long, value_name = "FILE", env = "WEIR_ADMIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Over https: the authorities that vouch for the instance (PEM), instead of the system's
    #[arg(long, value_name = "FILE", env = "WEIR_ADMIN_CA")]
    ca: Option<PathBuf>,
    /// Over https: the certificate to show (PEM)
    #[arg(long, value_name = "FILE", env = "WEIR_ADMIN_CERT")]
    cert: Option<PathBuf>,
    /// The key of --cert (PEM), if it is not in the same file
    #[arg(long, value_name = "FILE", env = "WEIR_ADMIN_KEY", requires = "cert")]
    key: Option<PathBuf>,
}

/// A way to an instance.
#[derive(Debug)]
pub(super) struct Reach {
    to: To,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// For the Host header.
    pub(super) host: String,
    /// For the Authorization header.
    pub(super) token: Option<HeaderValue>,
}

#[derive(Debug)]
enum To {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A connection, whatever carries it.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

impl Reach {
    /// By `name`: `HOST:PORT`, `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:PATH`.
    ///
    /// # Errors
    /// In words, what cannot be had.
    pub(super) fn new(name: &str, credentials: &Credentials) -> Result<Self, String> {
        let token = credentials.token_file.as_deref().map(read_token).transpose()?;
        if let Some(path) = name.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(Self { to: To::Unix(path.into()), tls: None, host: "localhost".to_owned(), token });
        }
        let (authority, port, secure) = match (name.strip_prefix("https://"), name.strip_prefix("http://")) {
            (Some(rest), _) => (rest, Some(443), true),
            (None, Some(rest)) => (rest, Some(80), false),
            (None, None) => (name, None, false),
        };
        let authority = if port.is_some() { authority.strip_suffix('/').unwrap_or(authority) } else { authority };
        let wrong = |why: &dyn std::fmt::Display| {
            format!("{name:?} is no address to ask; write it as HOST:PORT, https://HOST:PORT or unix:PATH: {why}")
        };
        if authority.contains('/') {
            return Err(wrong(&"there is no path in it"));
        }
        let (host, given) = split(authority);
        let address = match (given, port) {
            (None, Some(port)) => resolve((host, port)),
            _ => resolve(authority),
        };
        let address = address.map_err(|error| wrong(&error))?;
        let tls = secure.then(|| credentials.tls(host)).transpose()?;
        // By address: an instance need not know its own name. A certificate goes by the name.
        let host = if secure { authority.to_owned() } else { address.to_string() };
        Ok(Self { to: To::Tcp(address), tls, host, token })
    }

    /// Connects.
    ///
    /// # Errors
    /// Those of the system, and of TLS.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        match (&self.to, &self.tls) {
            (To::Unix(path), _) => Ok(Box::new(UnixStream::connect(path).await?)),
            (To::Tcp(address), None) => Ok(Box::new(TcpStream::connect(address).await?)),
            (To::Tcp(address), Some((tls, name))) => {
                let stream = TcpStream::connect(address).await?;
                let tls = TlsConnector::from(Arc::clone(tls));
                Ok(Box::new(tls.connect(name.clone(), stream).await?))
            }
        }
    }
}

impl Credentials {
    fn tls(&self, host: &str) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no name to verify"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(self.roots()?);
        let config = match &self.cert {
            None => builder.with_no_client_auth(),
            Some(cert) => {
                let key = self.key.as_ref().unwrap_or(cert);
                let broken = |path: &Path, why: &dyn std::fmt::Display| format!("cannot use {}: {why}", path.display());
                let chain = certificates(cert)?;
                let own = PrivateKeyDer::from_pem_file(key).map_err(|error| broken(key, &error))?;
                builder.with_client_auth_cert(chain, own).map_err(|error| broken(cert, &error))?
            }
        };
        Ok((Arc::new(config), name))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in certificates(path)? {
                    let added = roots.add(certificate);
                    added.map_err(|error| format!("cannot use {}: {error}", path.display()))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err("this system has no authorities; --ca names a file of them".to_owned());
                }
            }
        }
        Ok(roots)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let broken = |why: &dyn std::fmt::Display| format!("cannot use {}: {why}", path.display());
    let read = CertificateDer::pem_file_iter(path).map_err(|error| broken(&error))?;
    let all = read.collect::<Result<Vec<_>, _>>().map_err(|error| broken(&error))?;
    if all.is_empty() { Err(broken(&"it holds no certificate")) } else { Ok(all) }
}

fn read_token(path: &Path) -> Result<HeaderValue, String> {
    let broken = |why: &dyn std::fmt::Display| format!("cannot use the token in {}: {why}", path.display());
    let token = std::fs::read_to_string(path).map_err(|error| broken(&error))?;
    let mut value = match token.trim() {
        "" => return Err(broken(&"the file is empty")),
        token => HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| broken(&error))?,
    };
    value.set_sensitive(true);
    Ok(value)
}

/// The host of `HOST[:PORT]` without brackets, and the port.
fn split(authority: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if host.parse::<IpAddr>().is_ok() || !host.contains(':') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn resolve(to: impl ToSocketAddrs) -> io::Result<SocketAddr> {
    to.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the name has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_asked_where_it_is_said_to_be() {
        let none = Credentials::default();
        for (name, host) in [
            ("127.0.0.1:9900", "127.0.0.1:9900"),
            ("[::1]:9900", "[::1]:9900"),
            ("http://127.0.0.1:9900/", "127.0.0.1:9900"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("unix:/run/weir/admin.sock", "localhost"),
            ("unix:///run/weir/admin.sock", "localhost"),
        ] {
            let reach = Reach::new(name, &none).unwrap();
            assert_eq!((&*reach.host, reach.tls.is_some()), (host, false), "{name}");
            if let To::Unix(path) = reach.to {
                assert_eq!(path, Path::new("/run/weir/admin.sock"));
            }
        }
        for name in ["127.0.0.1", "http://127.0.0.1/api", "127.0.0.1:x", ""] {
            assert!(Reach::new(name, &none).unwrap_err().contains("is no address to ask"), "{name}");
        }
        assert_eq!(split("[::1]:80"), ("::1", Some("80")));
        assert_eq!(split("weir.example"), ("weir.example", None));
    }

    #[test]
    fn a_token_is_read_from_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let with =
            || Reach::new("127.0.0.1:1", &Credentials { token_file: Some(path.clone()), ..Credentials::default() });
        assert!(with().unwrap_err().contains("cannot use the token in"));
        std::fs::write(&path, " \n").unwrap();
        assert!(with().unwrap_err().contains("the file is empty"));
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        assert_eq!(with().unwrap().token.unwrap(), "Bearer 0123456789abcdef");
    }
}
