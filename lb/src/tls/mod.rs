//! TLS on both sides: who we are to clients, whom we trust among endpoints.
//!
//! [`Book`] has one [`Acceptor`] for each listener and one [`Connector`] for each cluster with TLS. It
//! is immutable and swapped whole, like the snapshot, and is looked at when a connection is made,
//! never for a request. Control makes it, from the configuration and the book before, so that what
//! did not change stays: session keys, resumed sessions, connections that know who opened them.
//!
//! Certificates and keys were read and checked with the configuration; what can still fail here is
//! what the cryptography does not know, or that the system has no authorities.

mod acceptor;
mod choose;
mod connector;
mod secure;
mod tickets;
mod trouble;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SupportedProtocolVersion};
use weir_config::model::{Authorities, Certificate, ClusterName, Config, ListenerName, PrivateKey, TlsVersion};

pub(crate) use acceptor::{Accepted, Acceptor, Refusal};
pub(crate) use connector::{Connector, Use};
pub(crate) use secure::Secure;

/// Everything TLS that a configuration comes to.
#[derive(Debug, Default)]
pub struct Book {
    acceptors: BTreeMap<ListenerName, Entry<Acceptor>>,
    connectors: BTreeMap<ClusterName, Entry<Connector>>,
    admin: Option<Arc<Acceptor>>,
}

#[derive(Debug)]
struct Entry<T> {
    value: Arc<T>,
    /// The configuration no longer has it; the snapshot before, which a worker may still go by, does.
    parting: bool,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), parting: self.parting }
    }
}

impl Book {
    /// The book for `config`, with what `self` has of it.
    ///
    /// # Errors
    /// Everything that cannot be had, in words.
    pub fn next(&self, config: &Config) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let (acceptors, connectors) = (parting(&self.acceptors), parting(&self.connectors));
        let mut next = Self { acceptors, connectors, admin: None };
        if let Some(wanted) = config.admin.as_ref().and_then(|admin| admin.tls.as_ref()) {
            match Acceptor::new(wanted, self.admin.as_ref()) {
                Ok(value) => next.admin = Some(value),
                Err(why) => wrong.push(format!("admin: {why}")),
            }
        }
        for listener in &config.listeners {
            let Some(wanted) = &listener.tls else { continue };
            let before = self.acceptors.get(&listener.name).map(|entry| &entry.value);
            match Acceptor::new(wanted, before) {
                Ok(value) => _ = next.acceptors.insert(listener.name.clone(), Entry { value, parting: false }),
                Err(why) => wrong.push(format!("listener {}: {why}", listener.name)),
            }
        }
        // Read once, and only if somebody needs them.
        let system = OnceLock::new();
        for cluster in &config.clusters {
            let Some(wanted) = &cluster.tls else { continue };
            let before = self.connectors.get(&cluster.name).map(|entry| &entry.value);
            match Connector::new(wanted, cluster.protocol, &system, before) {
                Ok(value) => _ = next.connectors.insert(cluster.name.clone(), Entry { value, parting: false }),
                Err(why) => wrong.push(format!("cluster {}: {why}", cluster.name)),
            }
        }
        if wrong.is_empty() { Ok(next) } else { Err(wrong) }
    }

    /// For connections to `listener`, if it has TLS.
    pub(crate) fn acceptor(&self, listener: &ListenerName) -> Option<&Arc<Acceptor>> {
        self.acceptors.get(listener).map(|entry| &entry.value)
    }

    /// For connections to the admin address, if it has TLS.
    pub(crate) fn admin(&self) -> Option<&Arc<Acceptor>> {
        self.admin.as_ref()
    }

    /// For connections to endpoints of `cluster`, if it has TLS.
    pub(crate) fn connector(&self, cluster: &ClusterName) -> Option<&Arc<Connector>> {
        self.connectors.get(cluster).map(|entry| &entry.value)
    }
}

/// What of a book lives for one more.
fn parting<K: Clone + Ord, T>(entries: &BTreeMap<K, Entry<T>>) -> BTreeMap<K, Entry<T>> {
    let stays = entries.iter().filter(|(_, entry)| !entry.parting);
    stays.map(|(key, entry)| (key.clone(), Entry { parting: true, ..entry.clone() })).collect()
}

/// The one provider of cryptography: aws-lc, as rustls has it, hybrid key exchange first.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

/// The versions from `least` on.
fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static NEWEST: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    match least {
        TlsVersion::V12 => rustls::DEFAULT_VERSIONS,
        TlsVersion::V13 => NEWEST,
    }
}

/// A certificate with its key, ready to sign.
fn certified(certificate: &Certificate) -> Result<CertifiedKey, String> {
    let wrong = |error: rustls::Error| format!("{} cannot be used: {error}", certificate.file);
    let key = match certificate.key.clone() {
        PrivateKey::Pkcs8(der) => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)),
        PrivateKey::Pkcs1(der) => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der)),
        PrivateKey::Sec1(der) => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der)),
    };
    let mut certified = CertifiedKey::from_der(chain(certificate), key, &provider()).map_err(wrong)?;
    certified.ocsp.clone_from(&certificate.ocsp);
    Ok(certified)
}

fn chain(certificate: &Certificate) -> Vec<CertificateDer<'static>> {
    certificate.chain.iter().map(|der| CertificateDer::from(der.clone())).collect()
}

fn roots(authorities: &Authorities) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for der in &authorities.certificates {
        let added = roots.add(CertificateDer::from(der.clone()));
        added.map_err(|error| format!("{} cannot be used: {error}", authorities.file))?;
    }
    Ok(roots)
}

#[cfg(test)]
pub(crate) mod testing;
