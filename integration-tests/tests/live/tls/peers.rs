//! Real clients: curl and OpenSSL.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::{Front, ONE};
use weir_integration_tests::backend::Backend;
use weir_integration_tests::tls::{Authority, put};

/// What `openssl s_client` says with these arguments; it hangs up at once.
fn s_client(to: SocketAddr, arguments: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &to.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start openssl ({error}); `make test` installs it"));
    let _ = child.stdin.take().unwrap().write_all(b"Q\n");
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Of which kind the certificate is that a client of TLS 1.2 gets who knows only these signatures.
pub(super) fn kind_shown(to: SocketAddr, signatures: &str) -> String {
    let said = s_client(to, &["-tls1_2", "-servername", "both.example", "-sigalgs", signatures]);
    match said {
        said if said.contains("Server public key is 2048 bit")
            || said.contains("Peer signature type: RSA")
            || said.contains("Peer signature type: rsa") =>
        {
            "rsa".into()
        }
        said if said.contains("Server public key is 256 bit")
            || said.contains("Peer signature type: ECDSA")
            || said.contains("Peer signature type: ecdsa") =>
        {
            "ecdsa".into()
        }
        other => other,
    }
}

#[test]
fn old_versions_are_refused() {
    let authority = Authority::new();
    let backend = Backend::text("hello");
    let front = Front::new(ONE, backend.address(), |folder| authority.issue(&["a.example"]).write(folder, "a"));
    for (version, works) in [("-tls1", false), ("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)] {
        // Else OpenSSL would not even ask.
        let said = s_client(front.web, &[version, "-cipher", "ALL:@SECLEVEL=0"]);
        assert_eq!(said.contains("Cipher is (NONE)"), !works, "{version}: {said}");
    }
    let strict = Front::new(&format!("{ONE}, min_version: \"1.3\""), backend.address(), |folder| {
        authority.issue(&["a.example"]).write(folder, "a");
    });
    assert!(s_client(strict.web, &["-tls1_2"]).contains("Cipher is (NONE)"));
    assert!(s_client(strict.web, &["-tls1_3"]).contains("TLSv1.3"));
    let refused = |front: &Front| front.weir.metric("weir_tls_handshake_failures_total", &["cause=\"version\""]);
    assert_eq!((refused(&front), refused(&strict)), (2.0, 1.0));
}

#[test]
fn curl_speaks_both_versions_of_http() {
    let authority = Authority::new();
    let backend = Backend::text("hello");
    let front = Front::new(ONE, backend.address(), |folder| {
        authority.issue(&["a.example"]).write(folder, "a");
        put(folder, "ca.pem", authority.pem().as_bytes());
    });
    for (version, expected) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let (port, ip) = (front.web.port(), front.web.ip());
        let output = Command::new("curl")
            .args(["--silent", "--show-error", version, "--write-out", " %{http_version}"])
            .args(["--resolve", &format!("a.example:{port}:{ip}")])
            .args(["--cacert", &front.folder().join("ca.pem").display().to_string()])
            .arg(format!("https://a.example:{port}/"))
            .output()
            .unwrap_or_else(|error| panic!("cannot start curl ({error}); `make test` installs it"));
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(said, format!("hello {expected}"));
    }
}
