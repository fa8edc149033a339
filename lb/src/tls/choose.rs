//! Which certificate a client gets.
//!
//! The first whose names have the one it asks for exactly, then the first whose wildcard covers it,
//! then the first of all; and among those, the first of a kind (ECDSA, RSA) that the client can
//! verify. So a listener may have both kinds for one name: new clients get the one that comes first,
//! old ones the one they understand.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use weir_config::model::Certificate;

/// The certificates of one listener, by name.
#[derive(Debug)]
pub(super) struct Choice {
    certificates: Vec<Arc<CertifiedKey>>,
    /// Indices of those that have a name, in order.
    exact: BTreeMap<String, Vec<usize>>,
    /// Of those that have `*.` before a name.
    wildcard: BTreeMap<String, Vec<usize>>,
}

impl Choice {
    /// # Errors
    /// Which certificate cannot be used, and why.
    pub(super) fn new(certificates: &[Arc<Certificate>]) -> Result<Self, String> {
        let mut choice = Self { certificates: Vec::new(), exact: BTreeMap::new(), wildcard: BTreeMap::new() };
        for (at, certificate) in certificates.iter().enumerate() {
            choice.certificates.push(Arc::new(super::certified(certificate)?));
            for name in &certificate.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut choice.wildcard, rest),
                    None => (&mut choice.exact, name.as_str()),
                };
                names.entry(name.to_ascii_lowercase()).or_default().push(at);
            }
        }
        Ok(choice)
    }

    /// The index of the certificate for a client that asks for `name` and `verifies` some of them.
    fn choose(&self, name: Option<&str>, verifies: impl Fn(usize) -> bool) -> Option<usize> {
        let name = name.map(str::to_ascii_lowercase);
        let exact = name.as_ref().and_then(|name| self.exact.get(name));
        // A wildcard stands for one label.
        let parent = name.as_ref().and_then(|name| name.split_once('.')).filter(|(label, _)| !label.is_empty());
        let wildcard = parent.and_then(|(_, parent)| self.wildcard.get(parent));
        let named = exact.into_iter().chain(wildcard).flatten().copied();
        let verifiable = named.clone().chain(0..self.certificates.len()).find(|&at| verifies(at));
        // Where none is of a kind the client knows, the handshake says so itself.
        verifiable.or_else(|| named.chain(0..self.certificates.len()).next())
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes: &[SignatureScheme] = hello.signature_schemes();
        let verifies = |at: usize| self.certificates[at].key.choose_scheme(schemes).is_some();
        self.choose(hello.server_name(), verifies).map(|at| Arc::clone(&self.certificates[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::certificate;
    use super::*;

    #[test]
    fn a_name_finds_its_certificate() {
        let all = [
            &["default.example", "www.default.example"][..],
            &["*.shop.example", "shop.example"],
            &["pay.shop.example"],
            &["pay.shop.example", "*.shop.example"],
            &["*.example"],
        ];
        let certificates: Vec<_> = all.iter().map(|names| certificate(names)).collect();
        let choice = Choice::new(&certificates).unwrap();
        let anything = |_| true;
        for (name, expected) in [
            (None, 0),
            (Some("default.example"), 0),
            (Some("DEFAULT.Example"), 0),
            (Some("www.default.example"), 0),
            (Some("shop.example"), 1),
            (Some("cart.shop.example"), 1),
            // The exact name goes before the wildcard, in whichever order they stand.
            (Some("pay.shop.example"), 2),
            (Some("other.example"), 4),
            // A wildcard stands for one label, and not for none.
            (Some("a.b.shop.example"), 0),
            (Some("example"), 0),
            (Some(".shop.example"), 0),
            (Some("unknown.test"), 0),
            (Some(""), 0),
        ] {
            assert_eq!(choice.choose(name, anything), Some(expected), "{name:?}");
        }
        // Of a kind the client can verify.
        assert_eq!(choice.choose(Some("pay.shop.example"), |at| at != 2), Some(3));
        assert_eq!(choice.choose(Some("cart.shop.example"), |at| at > 1), Some(3));
        assert_eq!(choice.choose(Some("unknown.test"), |at| at == 4), Some(4));
        assert_eq!(choice.choose(Some("pay.shop.example"), |_| false), Some(2), "then the handshake says why");
    }
}
