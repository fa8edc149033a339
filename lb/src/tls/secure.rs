//! What a handshake with a client came to: for headers, logs and decisions.

use std::fmt::Write as _;

use aws_lc_rs::digest::{self, SHA256};
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, ProtocolVersion, ServerConnection};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

use super::connector::H2;

/// A client's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secure {
    /// What it asked for, in lower case.
    pub(crate) server_name: Option<Box<str>>,
    /// `TLSv1.3`.
    pub(crate) version: &'static str,
    /// By its name in the registry: `TLS_AES_128_GCM_SHA256`.
    pub(crate) cipher: &'static str,
    /// HTTP/2 was chosen by ALPN.
    pub(crate) h2: bool,
    /// Its verified certificate as `X-Forwarded-Client-Cert` tells it, if endpoints are to be told.
    pub(crate) certificate: Option<Box<str>>,
}

impl Secure {
    pub(super) fn of(connection: &ServerConnection, forward: bool) -> Self {
        let certificate = connection.peer_certificates().and_then(|chain| chain.first()).filter(|_| forward);
        Self {
            server_name: connection.server_name().map(Box::from),
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            cipher: connection.negotiated_cipher_suite().map_or("", |suite| registered(suite.suite())),
            h2: connection.alpn_protocol() == Some(H2),
            certificate: certificate.map(|certificate| told(certificate).into()),
        }
    }
}

/// The name of a suite in the registry; rustls spells those of TLS 1.3 another way.
fn registered(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or_default(),
    }
}

/// A certificate in the form that Envoy gave the header:
/// `Hash=<SHA-256>;Subject="<RFC 2253>";URI=<each>;DNS=<each>`.
fn told(certificate: &CertificateDer<'_>) -> String {
    let mut told = String::from("Hash=");
    for byte in digest::digest(&SHA256, certificate).as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(told, "{byte:02x}");
    }
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return told };
    told.push_str(";Subject=\"");
    quoted(&mut told, &subject(parsed.subject()));
    told.push('"');
    let names = parsed.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|names| &names.value.general_names).take(NAMES_MAX) {
        match name {
            GeneralName::URI(uri) => named(&mut told, ";URI=", uri),
            GeneralName::DNSName(name) => named(&mut told, ";DNS=", name),
            _ => {}
        }
    }
    told
}

/// Whose certificate it is: its subject, as RFC 2253 writes it; of one without, the first of its names.
pub(super) fn whose(certificate: &CertificateDer<'_>) -> String {
    let mut whose = String::new();
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return "unreadable".to_owned() };
    visible(&mut whose, &subject(parsed.subject()));
    let names = parsed.subject_alternative_name().ok().flatten();
    let first = names.and_then(|names| {
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(name) | GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => Some(*name),
            _ => None,
        })
    });
    if let Some(first) = first.filter(|_| whose.is_empty()) {
        visible(&mut whose, first);
    }
    whose
}

/// Names of one certificate that are told: a header has its limits at whoever reads it.
const NAMES_MAX: usize = 32;

/// RFC 2253: the last first, so that what is most particular stands in front.
fn subject(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for rdn in name.iter_rdn() {
        let mut attributes = rdn.iter().map(|attribute| {
            let oid = attribute.attr_type();
            let key = match oid.to_id_string().as_str() {
                "2.5.4.3" => "CN".to_owned(),
                "2.5.4.6" => "C".to_owned(),
                "2.5.4.7" => "L".to_owned(),
                "2.5.4.8" => "ST".to_owned(),
                "2.5.4.9" => "STREET".to_owned(),
                "2.5.4.10" => "O".to_owned(),
                "2.5.4.11" => "OU".to_owned(),
                "0.9.2342.19200300.100.1.1" => "UID".to_owned(),
                "0.9.2342.19200300.100.1.25" => "DC".to_owned(),
                other => other.to_owned(),
            };
            format!("{key}={}", escaped(attribute.as_str().unwrap_or_default()))
        });
        let first = attributes.next().unwrap_or_default();
        parts.push(attributes.fold(first, |all, next| format!("{all}+{next}")));
    }
    parts.reverse();
    parts.join(",")
}

/// A value with the escapes of RFC 2253, section 2.4.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(value.len());
    for (at, c) in value.chars().enumerate() {
        let edge = (c == ' ' && (at == 0 || at == last)) || (c == '#' && at == 0);
        if edge || matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn named(out: &mut String, key: &str, value: &str) {
    out.push_str(key);
    let plain = !value.bytes().any(|byte| matches!(byte, b',' | b';' | b'=' | b'"' | b'\\'));
    if plain {
        visible(out, value);
    } else {
        out.push('"');
        quoted(out, value);
        out.push('"');
    }
}

/// Between quotes: what would end them is escaped.
fn quoted(out: &mut String, value: &str) {
    for piece in value.split_inclusive(['"', '\\']) {
        match piece.char_indices().next_back() {
            Some((at, c @ ('"' | '\\'))) => {
                visible(out, &piece[..at]);
                out.push('\\');
                out.push(c);
            }
            _ => visible(out, piece),
        }
    }
}

/// What a header may hold as it is; other bytes by their number. Whoever made the certificate must
/// not write our headers.
fn visible(out: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b' '..=b'~' => out.push(char::from(byte)),
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_certificate_is_told_as_envoy_tells_it() {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://shop/pay;x".try_into().unwrap()));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Sho\"p, Inc\r\nX-Evil: 1");
        params.distinguished_name.push(DnType::CommonName, "pay");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let told = told(certificate.der());
        let (hash, rest) = told.split_once(';').unwrap();
        assert_eq!((hash.len(), &hash[..5]), (5 + 64, "Hash="));
        assert_eq!(
            rest,
            "Subject=\"CN=pay,O=Sho\\\\\\\"p\\\\, Inc%0D%0AX-Evil: 1\";DNS=a.example;URI=\"spiffe://shop/pay;x\""
        );
    }
}
