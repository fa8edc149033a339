//! What is strange about certificates that can be read: their time, and the names they are for.

use std::time::{Duration, SystemTime};

use super::Fields;
use super::listener::scalar;
use crate::diff::date;
use crate::files::Files;
use crate::grammar;
use crate::mistake::Mistake;
use crate::model::{Certificate, HostPattern, Listener, Protocol};
use crate::report::{Path, Report};
use crate::shape;
use crate::tls::read::stray;
use crate::yaml::{Node, Span};

/// A certificate that ends sooner than this should have been renewed: those of ACME are 30 days before.
const SOON: Duration = Duration::from_secs(14 * DAY);
const DAY: u64 = 24 * 3600;

/// Warns of a certificate that is not valid at the time of `files`, or not for much longer.
pub(super) fn warn_of_time(
    certificate: &Certificate,
    place: Span,
    files: &Files<'_>,
    path: &Path<'_>,
    report: &mut Report,
) {
    let Some(now) = files.now() else {
        return;
    };
    let Certificate { file, not_before, not_after, .. } = certificate;
    let (code, message, hint) = if now > *not_after {
        let message =
            format!("the certificate in {file} ran out on {}, {} ago", date(*not_after), days(*not_after, now));
        ("certificate_expired", message, "nobody who verifies it will connect: renew it")
    } else if now < *not_before {
        let message =
            format!("the certificate in {file} is valid from {} on, in {}", date(*not_before), days(now, *not_before));
        (
            "certificate_not_yet_valid",
            message,
            "nobody who verifies it will connect before: is this machine's clock right?",
        )
    } else if not_after.duration_since(now).is_ok_and(|left| left < SOON) {
        let message =
            format!("the certificate in {file} runs out on {}, in {}", date(*not_after), days(now, *not_after));
        ("certificate_expires_soon", message, "renew it; a changed file is read without a restart")
    } else {
        return;
    };
    report.push(Mistake::warning(code, place, message).hint(hint), path);
}

/// Warns of a chain that leads nowhere.
pub(super) fn warn_of_chain(certificate: &Certificate, place: Span, path: &Path<'_>, report: &mut Report) {
    if let Some((at, signer)) = stray(&certificate.chain) {
        let (file, nth) = (&certificate.file, at + 1);
        let message = format!("certificate {nth} in {file} did not sign the one before it; {signer} did");
        let mistake = Mistake::warning("chain_out_of_order", place, message);
        report.push(mistake.hint("the certificate first, then each that signed the one before it"), path);
    }
}

/// From one time to a later one, as `12 days`.
fn days(from: SystemTime, to: SystemTime) -> String {
    match to.duration_since(from).unwrap_or_default().as_secs() / DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// Warns of a listener's certificate that is for nobody, and of hosts without a certificate.
pub(super) fn warn_of_names(listener: &Listener, fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) {
    let (Some(tls), Some(node)) = (&listener.tls, fields.get("tls")) else {
        return;
    };
    let Some(tls_fields) = Fields::of(node, &shape::SERVER_TLS) else {
        return;
    };
    let path_of_tls = path.key("tls");
    let hosts: Vec<&HostPattern> = listener.routes.iter().flat_map(|route| &route.matches.hosts).collect();
    let takes_any =
        listener.protocol != Protocol::Http || listener.routes.iter().any(|route| route.matches.hosts.is_empty());
    for (at, certificate) in tls.certificates.iter().enumerate() {
        let place = certificate_place(&tls_fields, at).unwrap_or(node).mark();
        let file = &certificate.file;
        let warning = if certificate.names.is_empty() {
            let message =
                format!("the certificate in {file} is for no name (it has no SAN), so every client refuses it");
            Mistake::warning("certificate_without_names", place, message)
                .hint("its common name does not count any more")
        } else if !takes_any && !hosts.iter().any(|host| certificate.names.iter().any(|name| touches(name, host))) {
            let message = format!("no route is for a host of the certificate in {file} ({})", few(&certificate.names));
            Mistake::warning("certificate_for_nobody", place, message).hint("is it of another listener?")
        } else {
            continue;
        };
        report.push(warning, &path_of_tls);
    }
    if listener.protocol == Protocol::Http {
        warn_of_hosts(&tls.certificates, fields, path, report);
    }
}

/// Warns of hosts of routes that no certificate is for.
fn warn_of_hosts(
    certificates: &[std::sync::Arc<Certificate>],
    fields: &Fields<'_>,
    path: &Path<'_>,
    report: &mut Report,
) {
    let path = path.key("routes");
    for (at, node) in fields.items("routes").iter().enumerate() {
        let (Some(route), path) = (Fields::of(node, &shape::ROUTE), path.item(at)) else {
            continue;
        };
        for node in route.object("match", &shape::MATCH).items("host") {
            let Some(host) = scalar(node).and_then(|text| grammar::host_pattern(text).ok()) else {
                continue;
            };
            if !certificates.iter().flat_map(|certificate| &certificate.names).any(|name| touches(name, &host)) {
                let message = format!("no certificate of this listener is for {}", scalar(node).unwrap_or_default());
                let mistake = Mistake::warning("host_without_certificate", node.mark(), message);
                let mistake = mistake.hint("clients refuse the one they get; add one that is for it");
                report.push(mistake, &path.key("match").key("host"));
            }
        }
    }
}

/// Where the certificate `at` is named.
fn certificate_place<'a>(tls: &Fields<'a>, at: usize) -> Option<&'a Node> {
    tls.get("cert").or_else(|| {
        let fields = Fields::of(tls.items("certificates").get(at)?, &shape::CERTIFICATE)?;
        fields.get("cert")
    })
}

fn few(names: &[String]) -> String {
    let more = if names.len() > 4 { ", …" } else { "" };
    names[..names.len().min(4)].join(", ") + more
}

/// Whether a certificate's `name` is for some host that the pattern takes (RFC 6125, 6.4.3: a wildcard
/// is for one label).
fn touches(name: &str, host: &HostPattern) -> bool {
    let parent = name.strip_prefix("*.");
    match (host, parent) {
        (HostPattern::Exact(host), None) => name == host.trim_start_matches('[').trim_end_matches(']'),
        (HostPattern::Exact(host), Some(parent)) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        (HostPattern::Wildcard(suffix), None) => name.ends_with(&**suffix),
        (HostPattern::Wildcard(suffix), Some(parent)) => parent == &suffix[1..] || parent.ends_with(&**suffix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_hosts() {
        let table = [
            ("a.example", "a.example", true),
            ("a.example", "b.example", false),
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", false),
            ("*.example", "example", false),
            ("a.example", "*.example", true),
            ("example", "*.example", false),
            ("*.example", "*.example", true),
            ("*.b.example", "*.example", true),
            ("*.example", "*.b.example", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("::1", "[::1]", true),
        ];
        for (name, host, expected) in table {
            assert_eq!(touches(name, &grammar::host_pattern(host).unwrap()), expected, "{name} {host}");
        }
    }
}
