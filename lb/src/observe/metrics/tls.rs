//! TLS with clients, and until when certificates are good.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_config::model::{Certificate, Config};
use weir_core::snapshot::Listener;
use weir_core::tls::{Handshake, Unshaken};

use super::control::unix_seconds;
use super::family::{Family, FamilyText};
use super::snapshot::settled;
use super::table;

pub(super) fn collect(config: &Config, listeners: &[Arc<Listener>], families: &mut Vec<FamilyText>) {
    let mut under_way = Family::new(&table::TLS_UNDER_WAY);
    let mut handshakes = Family::new(&table::TLS_HANDSHAKES);
    let mut failures = Family::new(&table::TLS_FAILURES);
    for listener in listeners.iter().filter(|listener| listener.config.tls.is_some()) {
        let (name, load) = (listener.config.name.as_str(), &listener.load);
        under_way.count(&[name], settled(load.sum(|load| &load.shaking)));
        for kind in Handshake::ALL {
            let count = load.sum(|load| &load.shaken[kind as usize]);
            handshakes.count(&[name, kind.version(), kind.kind()], count);
        }
        for cause in Unshaken::ALL {
            failures.count(&[name, cause.as_str()], load.sum(|load| &load.unshaken[cause as usize]));
        }
    }
    families.extend([under_way, handshakes, failures, certificates(config)].map(Family::finish));
}

fn certificates(config: &Config) -> Family {
    let mut until = Family::new(&table::CERTIFICATE_UNTIL);
    // One file may stand twice in a list.
    let mut seen = BTreeSet::new();
    let mut add = |listener: &str, cluster: &str, certificate: &Certificate| {
        if seen.insert([listener.to_owned(), cluster.to_owned(), certificate.file.clone()]) {
            until.add(&[listener, cluster, &certificate.file], unix_seconds(certificate.not_after));
        }
    };
    for listener in &config.listeners {
        for certificate in listener.tls.iter().flat_map(|tls| &tls.certificates) {
            add(listener.name.as_str(), "", certificate);
        }
    }
    for cluster in &config.clusters {
        if let Some(certificate) = cluster.tls.as_ref().and_then(|tls| tls.certificate.as_ref()) {
            add("", cluster.name.as_str(), certificate);
        }
    }
    until
}
