//! Files of TLS: certificates and their keys, authorities, keys of tickets, answers of OCSP.
//!
//! Here is said what is wrong with what a file holds, for good; what time makes wrong (a certificate
//! that ran out) is told from the values.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{ASN1Time, FromDer as _, GeneralName, X509Certificate};

use super::{Authorities, Certificate, PrivateKey, TicketKeys};
use crate::grammar::Wrong;

/// Most certificates of one file of authorities; the system's own have about 150.
const MAX_AUTHORITIES: usize = 4096;
/// Most certificates of a chain: each client gets all of them.
const MAX_CHAIN: usize = 16;
/// Bytes of one key of tickets.
const TICKET_KEY: usize = 80;
/// Most keys of tickets: each ticket may be tried with all of them.
const MAX_TICKET_KEYS: usize = 16;

/// Which files a certificate is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Parts {
    pub(crate) cert: String,
    /// `None`: it stands in the file of the certificate.
    pub(crate) key: Option<String>,
    pub(crate) ocsp: Option<String>,
}

/// Which of them something is wrong with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Cert,
    Key,
    Ocsp,
}

/// Reads a file by its name.
pub(crate) type Read<'a> = &'a dyn Fn(&str) -> Result<Rc<[u8]>, Wrong>;

/// A certificate whose key is its own.
pub(crate) fn certificate(parts: &Parts, read: Read<'_>) -> Result<Certificate, (Part, Wrong)> {
    let file = &parts.cert;
    let text = read(file).map_err(|wrong| (Part::Cert, wrong))?;
    let chain =
        certificates(file, &text, "are `cert` and `key` the wrong way round?").map_err(|wrong| (Part::Cert, wrong))?;
    if chain.len() > MAX_CHAIN {
        let message = format!("{file} holds {} certificates; a chain has at most {MAX_CHAIN}", chain.len());
        let hint = "give the certificate and those that lead from it to an authority";
        return Err((Part::Cert, Wrong::new("bad_certificate", message).hint(hint)));
    }
    let known = Known::of(&chain[0]).map_err(|what| (Part::Cert, unusable(file, 0, &what)))?;
    let key_part = if parts.key.is_some() { Part::Key } else { Part::Cert };
    let key_file = parts.key.as_ref().unwrap_or(file);
    let key = read(key_file).and_then(|text| private_key(key_file, &text, parts)).map_err(|wrong| (key_part, wrong))?;
    fits(&chain, &key, file, key_file).map_err(|wrong| (key_part, wrong))?;
    let ocsp = parts.ocsp.as_ref().map(|file| read(file).and_then(|bytes| ocsp(file, &bytes))).transpose();
    Ok(Certificate {
        file: file.clone(),
        chain: chain.iter().map(|der| der.to_vec()).collect(),
        key: match key {
            PrivateKeyDer::Pkcs1(der) => PrivateKey::Pkcs1(der.secret_pkcs1_der().to_vec()),
            PrivateKeyDer::Sec1(der) => PrivateKey::Sec1(der.secret_sec1_der().to_vec()),
            PrivateKeyDer::Pkcs8(der) => PrivateKey::Pkcs8(der.secret_pkcs8_der().to_vec()),
            // Read above as one of these three.
            _ => return Err((key_part, no_key(key_file))),
        },
        ocsp: ocsp.map_err(|wrong| (Part::Ocsp, wrong))?,
        names: known.names,
        subject: known.subject,
        not_before: known.not_before,
        not_after: known.not_after,
    })
}

/// What a certificate says of itself.
struct Known {
    names: Vec<String>,
    subject: String,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Known {
    fn of(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let alternative = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
        let names = alternative.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|ip| ip.to_string()),
            _ => None,
        });
        let validity = parsed.validity();
        Ok(Self {
            names: names.collect(),
            subject: parsed.subject().to_string(),
            not_before: time(validity.not_before),
            not_after: time(validity.not_after),
        })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// What lies out of reach counts as the beginning of time.
fn time(time: ASN1Time) -> SystemTime {
    let seconds = Duration::from_secs(time.timestamp().unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if time.timestamp() < 0 { epoch.checked_sub(seconds) } else { epoch.checked_add(seconds) };
    time.unwrap_or(epoch)
}

/// The certificates of a file, at least one; and what to do if it is a key instead.
fn certificates(file: &str, text: &[u8], no_key: &str) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let list = list.map_err(|error| not_pem(file, &error))?;
    if !list.is_empty() {
        return Ok(list);
    }
    let wrong = |what: &str| Wrong::new("bad_certificate", format!("{file} holds no certificate{what}"));
    Err(match looks_like(text) {
        Looks::Nothing => wrong(": it is empty"),
        Looks::Der => {
            wrong(" in PEM form").hint(format!("turn it: `openssl x509 -inform der -in {file} -out {file}.pem`"))
        }
        Looks::Request => wrong(", but a request for one").hint("give what the authority sent back"),
        Looks::Key => wrong(", but a key").hint(no_key),
        Looks::Other => wrong("").hint("PEM, as `-----BEGIN CERTIFICATE-----`"),
    })
}

fn not_pem(file: &str, error: &pem::Error) -> Wrong {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a part of it has no end: is the file cut off?",
        pem::Error::Base64Decode(_) => "a part of it is no base64",
        _ => "its parts cannot be told",
    };
    Wrong::new("bad_pem", format!("{file} is no good PEM: {what}"))
}

/// What a file without what is wanted holds instead.
enum Looks {
    Nothing,
    Der,
    Request,
    Key,
    Other,
}

fn looks_like(text: &[u8]) -> Looks {
    if text.trim_ascii().is_empty() {
        Looks::Nothing
    } else if text.starts_with(&[0x30]) {
        Looks::Der
    } else if has(text, "CERTIFICATE REQUEST-----") {
        Looks::Request
    } else if has(text, "PRIVATE KEY-----") {
        Looks::Key
    } else {
        Looks::Other
    }
}

fn has(text: &[u8], what: &str) -> bool {
    text.windows(what.len()).any(|part| part == what.as_bytes())
}

fn private_key(file: &str, text: &[u8], parts: &Parts) -> Result<PrivateKeyDer<'static>, Wrong> {
    if has(text, "BEGIN ENCRYPTED PRIVATE KEY") || has(text, "Proc-Type: 4,ENCRYPTED") {
        return Err(Wrong::new(
            "encrypted_key",
            format!("the key in {file} is encrypted, and nobody is there to type"),
        )
        .hint(format!("decrypt it: `openssl pkey -in {file} -out plain.key`, readable by Weir alone")));
    }
    match PrivateKeyDer::pem_slice_iter(text).next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(error)) => Err(not_pem(file, &error)),
        None if parts.key.is_none() => Err(Wrong::new("missing_key", format!("{file} holds no private key"))
            .hint("give the file that does: `key: FILE`")),
        None => Err(match looks_like(text) {
            Looks::Nothing => Wrong::new("bad_key", format!("{file} is empty")),
            Looks::Der => {
                no_key(file).hint(format!("turn it into PEM: `openssl pkey -inform der -in {file} -out {file}.pem`"))
            }
            _ if has(text, "BEGIN CERTIFICATE-----") => no_key(file).hint("are `cert` and `key` the wrong way round?"),
            _ => no_key(file),
        }),
    }
}

fn no_key(file: &str) -> Wrong {
    Wrong::new("bad_key", format!("{file} holds no private key in PEM form"))
        .hint("PEM, as `-----BEGIN PRIVATE KEY-----`")
}

/// The first certificate of a chain that did not sign the one before it, and who did.
pub(crate) fn stray(chain: &[Vec<u8>]) -> Option<(usize, String)> {
    chain.windows(2).enumerate().find_map(|(at, pair)| {
        let (_, signed) = X509Certificate::from_der(&pair[0]).ok()?;
        let (_, signer) = X509Certificate::from_der(&pair[1]).ok()?;
        let fits = signed.issuer().as_raw() == signer.subject().as_raw();
        (!fits).then(|| (at + 1, signed.issuer().to_string()))
    })
}

/// Whether the key is that of the first certificate, and both can be used.
fn fits(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    file: &str,
    key_file: &str,
) -> Result<(), Wrong> {
    let provider = aws_lc_rs::default_provider();
    let Ok(signer) = provider.key_provider.load_private_key(key.clone_key()) else {
        return Err(Wrong::new("bad_key", format!("the key in {key_file} is of a kind that cannot be used"))
            .hint("ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits and more"));
    };
    let matches = |at: usize| CertifiedKey::new(vec![chain[at].clone()], signer.clone()).keys_match();
    let error = match matches(0) {
        Ok(()) => return Ok(()),
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => return Ok(()),
        Err(error) => error,
    };
    if !matches!(error, rustls::Error::InconsistentKeys(_)) {
        return Err(unusable(file, 0, &error.to_string()));
    }
    let message = if file == key_file {
        format!("the key in {file} is not that of its first certificate")
    } else {
        format!("the key in {key_file} is not that of the certificate in {file}")
    };
    let wrong = Wrong::new("key_mismatch", message);
    Err(match (1..chain.len()).find(|at| matches(*at).is_ok()) {
        Some(at) => wrong.hint(format!("it is that of certificate {} in the file: put that one first", at + 1)),
        None => wrong.hint("were both replaced? `openssl pkey -pubout` and `openssl x509 -pubkey` show which they are"),
    })
}

fn unusable(file: &str, at: usize, what: &str) -> Wrong {
    let which = if at == 0 { "the certificate".to_owned() } else { format!("certificate {}", at + 1) };
    Wrong::new("bad_certificate", format!("{which} in {file} cannot be used: {what}"))
}

/// A DER answer of OCSP; what it says is for clients to judge.
fn ocsp(file: &str, bytes: &[u8]) -> Result<Vec<u8>, Wrong> {
    // OCSPResponse ::= SEQUENCE { responseStatus ENUMERATED { successful (0), ... (RFC 6960, 4.2.1).
    let body = match bytes {
        [0x30, length, body @ ..] if *length < 0x80 => body,
        [0x30, length, body @ ..] => body.get(usize::from(*length & 0x7f)..).unwrap_or_default(),
        _ => &[],
    };
    match body {
        [0x0a, 1, 0, ..] => Ok(bytes.to_vec()),
        [0x0a, 1, status, ..] => Err(Wrong::new("bad_ocsp", format!("{file} is a refusal of OCSP (status {status})"))
            .hint("ask the responder again")),
        _ => Err(Wrong::new("bad_ocsp", format!("{file} is no OCSP answer in DER form"))
            .hint("as `openssl ocsp -respout FILE` writes it")),
    }
}

/// The authorities in a file.
pub(crate) fn authorities(file: &str, text: &[u8]) -> Result<Authorities, Wrong> {
    let list = certificates(file, text, "give the certificates of those who vouch")?;
    if list.len() > MAX_AUTHORITIES {
        let message = format!("{file} holds {} certificates; at most {MAX_AUTHORITIES} are taken", list.len());
        return Err(Wrong::new("bad_certificate", message));
    }
    let mut store = RootCertStore::empty();
    for (at, der) in list.iter().enumerate() {
        store.add(der.clone()).map_err(|error| unusable(file, at, &error.to_string()))?;
    }
    Ok(Authorities { file: file.to_owned(), certificates: list.iter().map(|der| der.to_vec()).collect() })
}

/// The keys of tickets in a file: 80 bytes each, or each as a line of base64.
pub(crate) fn ticket_keys(file: &str, bytes: &[u8]) -> Result<TicketKeys, Wrong> {
    let bad = |what: String| {
        Wrong::new("bad_ticket_keys", format!("{file} {what}"))
            .hint(format!("{TICKET_KEY} random bytes a key, the newest first: `openssl rand {TICKET_KEY} > {file}`"))
    };
    let plain = in_base64(bytes).map_err(|line| bad(format!("has a line of {line} bytes; a key has {TICKET_KEY}")))?;
    let bytes = plain.as_deref().unwrap_or(bytes);
    if bytes.is_empty() {
        return Err(bad("is empty".to_owned()));
    }
    let (keys, rest) = bytes.as_chunks::<TICKET_KEY>();
    if !rest.is_empty() {
        return Err(bad(format!("has {} bytes; that is no multiple of {TICKET_KEY}", bytes.len())));
    }
    if keys.len() > MAX_TICKET_KEYS {
        return Err(bad(format!("holds {} keys; at most {MAX_TICKET_KEYS} are taken", keys.len())));
    }
    Ok(TicketKeys { file: file.to_owned(), keys: keys.to_vec() })
}

/// What lines of base64 stand for, if that is what these are; else how long the first is that stands
/// for no key.
fn in_base64(bytes: &[u8]) -> Result<Option<Vec<u8>>, usize> {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let Ok(lines) = lines.map(|line| STANDARD.decode(line)).collect::<Result<Vec<_>, _>>() else {
        return Ok(None);
    };
    match lines.iter().find(|line| line.len() != TICKET_KEY) {
        Some(line) => Err(line.len()),
        None => Ok(Some(lines.concat())),
    }
}
