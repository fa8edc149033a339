//! A user's id in a JSON Web Token (RFC 7519).
//!
//! A token is looked at for who its user is, not for whether they may come in: that is for the
//! service behind to say. So `exp` and `nbf` do not matter: whose token ran out is the same user
//! still, and must not change version with it. What does matter, with a key, is the signature:
//! without one, anybody can write themselves into any bucket.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Map, Value};

use crate::grammar::Wrong;

/// Longest token, in bytes: half of what a request's head has by default.
const MAX_TOKEN: usize = 16 << 10;

/// A claim of a token that the request brings.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtKey {
    /// The claim, a text or a whole number. Default `sub`.
    pub claim: String,
    /// Where the token is.
    pub from: JwtFrom,
    /// What it must be signed with; `None`: signatures are not looked at.
    pub signed: Option<Arc<Signed>>,
}

/// Where a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtFrom {
    /// In this header field, in lower case, after `Bearer ` if that is there. Default
    /// `authorization`.
    Header(String),
    /// In this cookie.
    Cookie(String),
}

/// How tokens are signed (RFC 7518, 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256; keys of 2048 bits and more.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    const ALL: [Self; 6] = [Self::Hs256, Self::Hs384, Self::Hs512, Self::Rs256, Self::Es256, Self::EdDsa];

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// As in a token's header: `RS256`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The kind of key it wants.
    const fn kind(self) -> Kind {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => Kind::Secret,
            Self::Rs256 => Kind::Rsa,
            Self::Es256 => Kind::P256,
            Self::EdDsa => Kind::Ed25519,
        }
    }

    const fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Hs384 => jsonwebtoken::Algorithm::HS384,
            Self::Hs512 => jsonwebtoken::Algorithm::HS512,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Secret,
    Rsa,
    P256,
    Ed25519,
}

impl Kind {
    /// The algorithm if none is told.
    const fn usual(self) -> Algorithm {
        match self {
            Self::Secret => Algorithm::Hs256,
            Self::Rsa => Algorithm::Rs256,
            Self::P256 => Algorithm::Es256,
            Self::Ed25519 => Algorithm::EdDsa,
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Secret => "a secret",
            Self::Rsa => "an RSA public key",
            Self::P256 => "a P-256 public key",
            Self::Ed25519 => "an Ed25519 public key",
        }
    }
}

/// A key, and the one algorithm that it is used with: which of them a token names is the word of
/// whoever sent it, and not listened to.
#[derive(Clone)]
pub struct Signed {
    algorithm: Algorithm,
    file: PathBuf,
    key: DecodingKey,
    validation: Validation,
}

impl Signed {
    /// The key in `bytes`, which were read from `file`, for `algorithm` or else the usual one of its
    /// kind. A file without `-----BEGIN` is a secret; line ends after it do not count.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(bytes: &[u8], file: PathBuf, algorithm: Option<Algorithm>) -> Result<Self, Wrong> {
        let bad = |what: String| Wrong::new("bad_key_file", format!("{} {what}", file.display()));
        let (kind, key) = read_key(bytes).map_err(|(what, hint)| bad(what.to_owned()).hint(hint))?;
        let algorithm = algorithm.unwrap_or_else(|| kind.usual());
        if algorithm.kind() != kind {
            let (holds, wants) = (kind.noun(), algorithm.kind().noun());
            let wrong = bad(format!("holds {holds}, and {} wants {wants}", algorithm.as_str()));
            return Err(wrong.hint(format!("give another file, or `algorithm: {}`", kind.usual().as_str())));
        }
        let mut validation = Validation::new(algorithm.library());
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        Ok(Self { algorithm, file, key, validation })
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Where the key was read.
    #[must_use]
    pub const fn file(&self) -> &PathBuf {
        &self.file
    }

    /// Whether it is the same key.
    pub(crate) fn same_key(&self, other: &Self) -> bool {
        bytes_of(&self.key) == bytes_of(&other.key)
    }

    /// Whether a secret is shorter than the hash it is used with (RFC 7518, 3.2).
    pub(crate) fn is_weak(&self) -> bool {
        let least = match self.algorithm {
            Algorithm::Hs256 => 32,
            Algorithm::Hs384 => 48,
            Algorithm::Hs512 => 64,
            _ => 0,
        };
        bytes_of(&self.key).len() < least
    }
}

/// No key here is of the kind whose bytes are not there for the asking.
fn bytes_of(key: &DecodingKey) -> &[u8] {
    key.try_get_as_bytes().unwrap_or_default()
}

/// The key that a file holds; else what is wrong, in words that follow its name, and what to do.
fn read_key(bytes: &[u8]) -> Result<(Kind, DecodingKey), (&'static str, &'static str)> {
    let text = bytes.trim_ascii();
    let has = |what: &str| text.windows(what.len()).any(|part| part == what.as_bytes());
    if text.is_empty() {
        return Err(("is empty", "it holds a public key in PEM form, or a secret"));
    }
    if !has("-----BEGIN") {
        let end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |at| at + 1);
        return Ok((Kind::Secret, DecodingKey::from_secret(&bytes[..end])));
    }
    if has("PRIVATE KEY-----") {
        let hint = "give the public one: `openssl pkey -in private.pem -pubout`";
        return Err(("holds a private key, which is not needed here and must not lie about", hint));
    }
    if has("BEGIN CERTIFICATE") {
        let hint = "give the public key in it: `openssl x509 -in certificate.pem -noout -pubkey`";
        return Err(("holds a certificate, not a public key", hint));
    }
    // The one kind that they are; each of these refuses the others.
    if let Ok(key) = DecodingKey::from_ed_pem(text) {
        return Ok((Kind::Ed25519, key));
    }
    if let Ok(key) = DecodingKey::from_ec_pem(text) {
        // A point of P-256 that is not compressed (SEC 1, 2.3.3).
        return match bytes_of(&key) {
            [4, point @ ..] if point.len() == 64 => Ok((Kind::P256, key)),
            _ => Err(("holds a key of another curve than P-256", "of all curves ES256 is the one that is known here")),
        };
    }
    match DecodingKey::from_rsa_pem(text) {
        Ok(key) => Ok((Kind::Rsa, key)),
        Err(_) => Err(("holds no public key that can be read", "PEM, as `-----BEGIN PUBLIC KEY-----`")),
    }
}

impl PartialEq for Signed {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.file == other.file && self.same_key(other)
    }
}

/// Without the key, which may be a secret.
impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("algorithm", &self.algorithm).field("file", &self.file).finish_non_exhaustive()
    }
}

impl JwtKey {
    /// The claim in `token`; `None` if it is no token, has no such claim, or is not signed with
    /// the key it must be signed with.
    #[must_use]
    pub fn id(&self, token: &[u8]) -> Option<String> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let claims: Map<String, Value> = match &self.signed {
            Some(signed) => {
                let token = jsonwebtoken::decode(token, &signed.key, &signed.validation).ok()?;
                // Extensions that must be understood; we understand none (RFC 7515, 4.1.11).
                token.header.crit.is_none().then_some(token.claims)?
            }
            None => {
                let mut parts = token.split(|byte| *byte == b'.');
                let (_, payload, _, end) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
                let payload = URL_SAFE_NO_PAD.decode(payload).ok().filter(|_| end.is_none())?;
                serde_json::from_slice(&payload).ok()?
            }
        };
        match claims.get(&self.claim)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
