//! TLS of listeners and clusters: files are read, and what is in them is found to fit.

use std::sync::Arc;

use super::dial::once;
use super::listener::scalar;
use super::{Fields, certificates};
use crate::files::Files;
use crate::grammar;
use crate::mistake::Mistake;
use crate::model::{
    Authorities, Certificate, ClientCertificates, ClientTls, Protocol, ServerTls, Tickets, TlsVersion, Trust,
};
use crate::report::{Path, Report};
use crate::shape;
use crate::tls::read::{Part, Parts};
use crate::yaml::Node;

/// The TLS of a listener; `None` if it has none, or none that could be read.
pub(super) fn server(
    listener: &Fields<'_>,
    protocol: Protocol,
    files: &Files<'_>,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<ServerTls> {
    let path = path.key("tls");
    let fields = Fields::of(listener.get("tls")?, &shape::SERVER_TLS)?;
    let certificates = all_certificates(&fields, files, &path, report);
    let clients = clients(&fields, files, &path, report);
    let tickets = tickets(&fields, files, &path, report);
    (!certificates.is_empty()).then(|| ServerTls {
        certificates,
        alpn: alpn(&fields, protocol, &path, report),
        min_version: min_version(&fields),
        clients,
        tickets,
        handshake_timeout: fields.duration("handshake_timeout"),
        // The table keeps the number within its type.
        max_handshakes: fields.number("max_handshakes") as u32,
    })
}

fn all_certificates(
    fields: &Fields<'_>,
    files: &Files<'_>,
    path: &Path<'_>,
    report: &mut Report,
) -> Vec<Arc<Certificate>> {
    if fields.get("cert").is_some() {
        return certificate(fields, files, path, report).into_iter().collect();
    }
    if let Some(name) = ["key", "ocsp"].into_iter().find(|name| fields.get(name).is_some())
        && let Some(node) = fields.get(name)
    {
        let message = format!("`{name}` belongs to `cert`, which is not here");
        let mistake = Mistake::error("key_without_cert", node.mark(), message);
        report.push(mistake.hint("put it beside the `cert` it belongs to"), &path.key(name));
    }
    let path = path.key("certificates");
    let (mut list, mut seen) = (Vec::new(), Vec::<(Parts, &Node)>::new());
    for (at, node) in fields.items("certificates").iter().enumerate() {
        let Some(fields) = Fields::of(node, &shape::CERTIFICATE) else {
            continue;
        };
        let path = path.item(at);
        if let Some(parts) = parts(&fields) {
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == parts) {
                let mistake = Mistake::error("duplicate_item", node.mark(), "this certificate is in the list twice");
                report.push(mistake.hint("keep one of them").related(first.mark(), "first given here"), &path);
                continue;
            }
            seen.push((parts, node));
        }
        list.extend(certificate(&fields, files, &path, report));
    }
    list
}

fn parts(fields: &Fields<'_>) -> Option<Parts> {
    let ocsp = fields.object.key("ocsp").and_then(|_| fields.text("ocsp"));
    Some(Parts { cert: fields.text("cert")?, key: fields.text("key"), ocsp })
}

/// The certificate that the keys `cert`, `key` and `ocsp` name.
fn certificate(
    fields: &Fields<'_>,
    files: &Files<'_>,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Arc<Certificate>> {
    // A name that was refused is no name that was left out.
    let parts = parts(fields)?;
    if parts.key.is_none() && fields.get("key").is_some() {
        return None;
    }
    let (part, wrong) = match files.certificate(&parts) {
        Ok(certificate) => {
            if let Some(node) = fields.get("cert") {
                certificates::warn_of_time(&certificate, node.mark(), files, &path.key("cert"), report);
                certificates::warn_of_chain(&certificate, node.mark(), &path.key("cert"), report);
            }
            return Some(certificate);
        }
        Err(wrong) => wrong,
    };
    let name = match part {
        Part::Cert => "cert",
        Part::Key => "key",
        Part::Ocsp => "ocsp",
    };
    let place = fields.get(name)?;
    report.wrong(place.mark(), &path.key(name), wrong);
    None
}

fn authorities(
    fields: &Fields<'_>,
    files: &Files<'_>,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Arc<Authorities>> {
    let (node, name) = (fields.get("ca")?, fields.text("ca")?);
    match files.authorities(&name) {
        Ok(authorities) => Some(authorities),
        Err(wrong) => {
            report.wrong(node.mark(), &path.key("ca"), wrong);
            None
        }
    }
}

fn clients(tls: &Fields<'_>, files: &Files<'_>, path: &Path<'_>, report: &mut Report) -> Option<ClientCertificates> {
    let path = path.key("client_certificates");
    let fields = Fields::of(tls.get("client_certificates")?, &shape::CLIENT_CERTIFICATES)?;
    Some(ClientCertificates {
        required: fields.word("mode") != Some("request"),
        forward: fields.bool("forward"),
        authorities: authorities(&fields, files, &path, report)?,
    })
}

fn tickets(tls: &Fields<'_>, files: &Files<'_>, path: &Path<'_>, report: &mut Report) -> Tickets {
    let path = path.key("session_tickets");
    if tls.is_off("session_tickets") {
        return Tickets::Off;
    }
    let fields = tls.object("session_tickets", &shape::TICKETS);
    let (Some(node), Some(name)) = (fields.get("key_file"), fields.text("key_file")) else {
        return Tickets::Own;
    };
    match files.ticket_keys(&name) {
        Ok(keys) => Tickets::Shared(keys),
        Err(wrong) => {
            report.wrong(node.mark(), &path.key("key_file"), wrong);
            Tickets::Own
        }
    }
}

fn alpn(tls: &Fields<'_>, protocol: Protocol, path: &Path<'_>, report: &mut Report) -> Vec<String> {
    if tls.get("alpn").is_none() {
        let usual: &[&str] = if protocol == Protocol::Http { &["h2", "http/1.1"] } else { &[] };
        return usual.iter().map(|&name| name.to_owned()).collect();
    }
    let (items, path) = (tls.items("alpn"), path.key("alpn"));
    let read = |name: &str| grammar::alpn(name).map(|()| name.to_owned());
    for (at, node) in items.iter().enumerate() {
        if let Some(name) = scalar(node).filter(|name| protocol == Protocol::Http && grammar::alpn(name).is_ok())
            && !["h2", "http/1.1"].contains(&name)
        {
            let message = format!("`{name}` is offered, and this listener does not speak it");
            let mistake = Mistake::error("bad_alpn", node.mark(), message);
            report.push(mistake.hint("h2 and http/1.1 are what it speaks"), &path.item(at));
        }
    }
    once(items, read, &path, report)
}

fn min_version(fields: &Fields<'_>) -> TlsVersion {
    if fields.word("min_version") == Some("1.3") { TlsVersion::V13 } else { TlsVersion::V12 }
}

/// The TLS of a cluster; `None` if it has none.
pub(super) fn client(
    cluster: &Fields<'_>,
    files: &Files<'_>,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<ClientTls> {
    if cluster.is_off("tls") {
        return None;
    }
    let path = path.key("tls");
    let fields = cluster.object("tls", &shape::CLIENT_TLS);
    let verified = !fields.is_off("verify");
    let trust = match authorities(&fields, files, &path, report) {
        _ if !verified => Trust::Anybody,
        Some(authorities) => Trust::Authorities(authorities),
        None => Trust::System,
    };
    if let (false, Some(node)) = (verified, fields.get("ca")) {
        let message = "`ca` has no effect: with `verify: off` nobody has to vouch for an endpoint";
        let mistake = Mistake::warning("no_effect", node.mark(), message);
        report.push(mistake.hint("remove `verify: off`, so that it is asked"), &path.key("ca"));
    }
    let own = fields.get("certificate").and_then(|node| Fields::of(node, &shape::CLIENT_CERTIFICATE));
    Some(ClientTls {
        server_name: fields.text("server_name").and_then(|name| grammar::host(&name).ok()),
        trust,
        certificate: own.and_then(|fields| certificate(&fields, files, &path.key("certificate"), report)),
        min_version: min_version(&fields),
    })
}
