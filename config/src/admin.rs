//! The admin address: where it is served, and whose requests are taken there.
//!
//! Tokens and certificates are read when the configuration is: whoever holds an [`Admin`] has nothing
//! left to check.

use std::fmt;
use std::sync::Arc;

use crate::grammar::Wrong;
use crate::model::{Address, ServerTls};

/// Fewest characters of a token: with 16 of them nobody guesses one over a network.
pub const TOKEN_MIN: usize = 16;
/// Longest token, in bytes: it has to fit into a header.
pub const TOKEN_MAX: usize = 1024;

/// The status page, the metrics and the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it is served; at least one. Default `127.0.0.1:9900`.
    pub bind: Vec<Address>,
    /// Who brings this may read and change. Default none.
    pub token: Option<Arc<Token>>,
    /// Who brings this may read. Default none.
    pub read_token: Option<Arc<Token>>,
    /// TLS on its TCP addresses; Unix sockets do without. Default none.
    pub tls: Option<ServerTls>,
    /// Names it is asked by, beside IP addresses and `localhost`; in lower case. Default none.
    pub hosts: Vec<String>,
}

impl Admin {
    /// Served there, and nothing else said.
    #[must_use]
    pub const fn at(bind: Vec<Address>) -> Self {
        Self { bind, token: None, read_token: None, tls: None, hosts: Vec::new() }
    }

    /// Whether somebody on another host can show who they are.
    #[must_use]
    pub fn knows_strangers(&self) -> bool {
        let certificates = self.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
        certificates || self.token.is_some() || self.read_token.is_some()
    }

    /// The first address that other hosts can reach while nobody could show who they are.
    #[must_use]
    pub fn open_to_all(&self) -> Option<&Address> {
        self.bind.iter().find(|address| is_reachable(address) && !self.knows_strangers())
    }
}

/// Whether another host can reach this address.
#[must_use]
pub fn is_reachable(address: &Address) -> bool {
    address.ip().is_some_and(|address| !address.ip().to_canonical().is_loopback())
}

/// A secret that a request brings as `Authorization: Bearer`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The file it stands in, as it is written.
    pub file: String,
    secret: String,
}

impl Token {
    /// The token in `file`, which holds `bytes`; white space around it does not count.
    pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<Self, Wrong> {
        let bad = |what: String| {
            Wrong::new("bad_token", format!("{file} {what}"))
                .hint(format!("make one: `(umask 077; openssl rand -hex 32 > {file})`"))
        };
        let secret = bytes.trim_ascii();
        if secret.is_empty() {
            return Err(bad("holds no token: it is empty".to_owned()));
        }
        if !secret.iter().all(u8::is_ascii_graphic) {
            return Err(bad("holds no token: one is a single word of visible ASCII characters".to_owned()));
        }
        if !(TOKEN_MIN..=TOKEN_MAX).contains(&secret.len()) {
            let length = secret.len();
            return Err(bad(format!("holds a token of {length} characters; it has {TOKEN_MIN} to {TOKEN_MAX}")));
        }
        Ok(Self { file: file.to_owned(), secret: String::from_utf8_lossy(secret).into_owned() })
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.secret == other.secret
    }

    /// Whether this is it. Takes as long whatever `given` holds; how long the token is may show.
    #[must_use]
    pub fn is(&self, given: &[u8]) -> bool {
        let ours = self.secret.as_bytes();
        let differs = ours.iter().zip(given).fold(0, |differs, (ours, given)| differs | (ours ^ given));
        // Kept from being looked through: the first byte that differs must not end it.
        std::hint::black_box(differs) == 0 && ours.len() == given.len()
    }
}

// Tokens stay out of logs, whoever prints what.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("file", &self.file).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_word_that_is_long_enough() {
        let token = Token::read("t", b"\n 0123456789abcdef\r\n").unwrap();
        for (given, expected) in [
            (&b"0123456789abcdef"[..], true),
            (b"0123456789abcdeg", false),
            (b"0123456789abcde", false),
            (b"0123456789abcdef0", false),
            (b"", false),
        ] {
            assert_eq!(token.is(given), expected);
        }
        assert!(!format!("{token:?}").contains("0123"));
        for bad in [&b""[..], b" \n", b"0123456789abcde", b"0123456789 abcdef", "0123456789äbcdef".as_bytes()] {
            assert_eq!(Token::read("t", bad).unwrap_err().code, "bad_token");
        }
        assert!(Token::read("t", &[b'x'; TOKEN_MAX + 1]).is_err());
    }

    #[test]
    fn open_is_what_others_reach_and_cannot_prove_themselves_at() {
        for (address, reachable) in [
            ("127.0.0.1:1", false),
            ("127.9.9.9:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("10.0.0.1:1", true),
        ] {
            let mut admin = Admin::at(vec![Address::Ip(address.parse().unwrap())]);
            assert_eq!(admin.open_to_all().is_some(), reachable, "{address}");
            admin.read_token = Some(Arc::new(Token::read("t", &[b'x'; 16]).unwrap()));
            assert_eq!(admin.open_to_all(), None);
        }
    }
}
