//! The certificate of the balancers, the settings of TLS clients, and a look at what is agreed on.
//!
//! Both load tools stand on OpenSSL and take these settings from its environment variable: the
//! client asks for one version, one cipher and one group, so that every balancer does the same
//! cryptography whatever it would prefer.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// Names of the files in a balancer's directory.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
pub(crate) const KEY: &str = "key.pem";
/// Both in one file.
pub(crate) const BOTH: &str = "both.pem";

/// What every client asks for.
pub(crate) const CIPHER: &str = "TLS_AES_128_GCM_SHA256";
const GROUP: &str = "X25519";

/// Writes a new self-signed certificate with a P-256 key, valid for a few days.
pub(crate) fn write_certificate(directory: &Path) -> Result<()> {
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "60"])
        .args(["-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example,IP:127.0.0.1"])
        .args([OsStr::new("-keyout"), directory.join(KEY).as_os_str()])
        .args([OsStr::new("-out"), directory.join(CERTIFICATE).as_os_str()])
        .output()
        .context("cannot start openssl")?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    let both = fs::read_to_string(directory.join(CERTIFICATE))? + &fs::read_to_string(directory.join(KEY))?;
    fs::write(directory.join(BOTH), both)?;
    Ok(())
}

/// The settings of TLS clients.
pub(crate) struct Client {
    directory: TempDir,
}

impl Client {
    pub(crate) fn new() -> Result<Self> {
        let client = Self { directory: tempfile::tempdir()? };
        let text = format!(
            "openssl_conf = top\n[top]\nssl_conf = tls\n[tls]\nsystem_default = all\n\
             [all]\nMinProtocol = TLSv1.3\nCiphersuites = {CIPHER}\nGroups = {GROUP}\n"
        );
        fs::write(client.path("client.cnf"), text)?;
        Ok(client)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a program a client with these settings.
    pub(crate) fn set(&self, command: &mut Command) {
        command.env("OPENSSL_CONF", self.path("client.cnf"));
    }

    /// Looks whether a balancer does the work that is to be measured: TLS 1.3, cipher, group and
    /// kind of key, and whether a second connection resumes the first.
    pub(crate) fn inspect(&self, to: SocketAddr, resume: bool) -> Result<()> {
        let session = self.path(&format!("session-{}", to.port()));
        let first = self.connect(to, "-sess_out", &session)?;
        for part in ["New, TLSv1.3", CIPHER, GROUP, "Peer signature type: ECDSA", "256 bit", "HTTP/1.1 200"] {
            ensure!(first.contains(part), "{to}: no {part:?} in a first TLS connection:\n{first}");
        }
        // Who gives no session away cannot have it resumed.
        let resumed = session.exists() && self.connect(to, "-sess_in", &session)?.contains("Reused, TLSv1.3");
        ensure!(resumed == resume, "{to}: sessions are resumed: {resumed}, and should: {resume}");
        Ok(())
    }

    /// One request; what openssl says of its connection.
    fn connect(&self, to: SocketAddr, option: &str, session: &Path) -> Result<String> {
        let mut command = Command::new("openssl");
        self.set(&mut command);
        command.args(["s_client", "-ign_eof", "-connect", &to.to_string(), option]).arg(session);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start openssl")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")?;
        }
        let output = child.wait_with_output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    }
}
