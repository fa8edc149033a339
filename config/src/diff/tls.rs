//! TLS. Of keys nothing is told but that they changed.

use std::sync::Arc;

use super::{ChangeKind, Group, Notes, Pair, Touches, pairs, show};
use crate::model::{
    Authorities, Certificate, ClientCertificates, ClientTls, ServerTls, TicketKeys, Tickets, TlsVersion, Trust,
};

/// Connections that are open go on with what they began with.
const TOUCHES: Touches = Touches::NewConnections;

/// The TLS of the admin address; none of the traffic is touched.
pub(super) fn of_admin(old: Option<&ServerTls>, new: Option<&ServerTls>, notes: &mut Notes) {
    let before = notes.list.len();
    server(old, new, notes);
    notes.list[before..].iter_mut().for_each(|change| change.touches = Touches::Nothing);
}

/// The TLS of a listener.
pub(super) fn server(old: Option<&ServerTls>, new: Option<&ServerTls>, notes: &mut Notes) {
    let (old, new) = match (old, new) {
        (None, None) => return,
        (Some(old), Some(new)) => (old, new),
        (None, Some(new)) => {
            let told: Vec<_> = new.certificates.iter().map(|certificate| told(certificate)).collect();
            return notes.added(TOUCHES, &format!("tls: on, with {}", told.join(", ")));
        }
        (Some(_), None) => return notes.removed(TOUCHES, "tls: off"),
    };
    let ServerTls { certificates, alpn, min_version, clients, tickets, handshake_timeout, max_handshakes } = new;
    self::certificates(&old.certificates, certificates, notes);
    notes.field(TOUCHES, "tls alpn", &old.alpn, alpn, |list| show::list(list));
    notes.field(TOUCHES, "tls min_version", &old.min_version, min_version, version);
    self::clients(old.clients.as_ref(), clients.as_ref(), notes);
    self::tickets(&old.tickets, tickets, notes);
    notes.field(TOUCHES, "tls handshake_timeout", &old.handshake_timeout, handshake_timeout, show::duration);
    notes.field(TOUCHES, "tls max_handshakes", &old.max_handshakes, max_handshakes, show::plain);
}

fn certificates(old: &[Arc<Certificate>], new: &[Arc<Certificate>], notes: &mut Notes) {
    let mut kept = Vec::new();
    for pair in pairs(old, new, |certificate| certificate.file.clone()) {
        match pair {
            Pair::Added(new) => notes.added(TOUCHES, &format!("certificate {}: new", told(new))),
            Pair::Removed(old) => notes.removed(TOUCHES, &format!("certificate {}: removed", told(old))),
            Pair::Both(old, new) => {
                replaced("certificate", TOUCHES, old, new, notes);
                // Both are in the order of the old list; their addresses tell that of the new.
                kept.push(std::ptr::from_ref(new));
            }
        }
    }
    if !kept.is_sorted() {
        notes.push(ChangeKind::Changed, TOUCHES, "the order of its certificates");
    }
}

/// A file that holds another certificate than before.
fn replaced(what: &str, touches: Touches, old: &Certificate, new: &Certificate, notes: &mut Notes) {
    if old == new {
        return;
    }
    let Certificate { file, chain, key, ocsp, names: _, subject: _, not_before: _, not_after: _ } = new;
    let what = if old.chain.first() != chain.first() {
        format!("{what} {file}: {} -> {}", content(old), content(new))
    } else {
        let parts = [(old.chain != *chain, "chain"), (old.key != *key, "key file"), (old.ocsp != *ocsp, "OCSP answer")];
        let parts: Vec<_> = parts.into_iter().filter(|(differs, _)| *differs).map(|(_, part)| part).collect();
        format!("{what} {}: another {}", told(new), parts.join(", "))
    };
    notes.push(ChangeKind::Changed, touches, &what);
}

/// As `shop.pem (shop.example, *.shop.example, until 2027-01-10)`.
fn told(certificate: &Certificate) -> String {
    format!("{} ({})", certificate.file, content(certificate))
}

fn content(certificate: &Certificate) -> String {
    let names = &certificate.names;
    let more = if names.len() > 4 { format!(" and {} more", names.len() - 4) } else { String::new() };
    let names = if names.is_empty() { certificate.subject.clone() } else { names[..names.len().min(4)].join(", ") };
    format!("{names}{more}, until {}", show::date(certificate.not_after))
}

fn version(version: &TlsVersion) -> String {
    match version {
        TlsVersion::V12 => "1.2".to_owned(),
        TlsVersion::V13 => "1.3".to_owned(),
    }
}

fn clients(old: Option<&ClientCertificates>, new: Option<&ClientCertificates>, notes: &mut Notes) {
    let name = "tls client_certificates";
    let show = |clients: &Option<&ClientCertificates>| match clients {
        None => "off".to_owned(),
        Some(ClientCertificates { required, authorities: _, forward: _ }) => {
            if *required {
                "require".to_owned()
            } else {
                "request".to_owned()
            }
        }
    };
    if let (Some(old), Some(new)) = (old, new) {
        let ClientCertificates { required, authorities: vouchers, forward } = new;
        let mode = |required: &bool| if *required { "require".to_owned() } else { "request".to_owned() };
        notes.field(TOUCHES, &format!("{name} mode"), &old.required, required, mode);
        authorities(&format!("{name} ca"), TOUCHES, &old.authorities, vouchers, notes);
        let on_off = |value: &bool| show::on_off(*value).to_owned();
        notes.field(TOUCHES, &format!("{name} forward"), &old.forward, forward, on_off);
    } else {
        notes.field(TOUCHES, name, &old, &new, show);
    }
}

fn authorities(name: &str, touches: Touches, old: &Authorities, new: &Authorities, notes: &mut Notes) {
    let Authorities { file, certificates } = new;
    let show = |authorities: &Authorities| match authorities.certificates.len() {
        1 => format!("{} (1 authority)", authorities.file),
        n => format!("{} ({n} authorities)", authorities.file),
    };
    if old.file == *file && old.certificates.len() == certificates.len() && old.certificates != *certificates {
        notes.push(ChangeKind::Changed, touches, &format!("{name} {}: others than before", show(new)));
    } else {
        notes.field(touches, name, old, new, show);
    }
}

fn tickets(old: &Tickets, new: &Tickets, notes: &mut Notes) {
    let show = |tickets: &Tickets| match tickets {
        Tickets::Off => "off".to_owned(),
        Tickets::Own => "on".to_owned(),
        Tickets::Shared(keys) => {
            let TicketKeys { file, keys } = &**keys;
            format!("{file} ({} key{})", keys.len(), if keys.len() == 1 { "" } else { "s" })
        }
    };
    if old != new && show(old) == show(new) {
        notes.push(ChangeKind::Changed, TOUCHES, &format!("tls session_tickets {}: other keys", show(new)));
    } else {
        notes.field(TOUCHES, "tls session_tickets", old, new, show);
    }
}

/// The TLS of a cluster. Connections in pools are closed as they are found to be of another kind.
pub(super) fn client(old: Option<&ClientTls>, new: Option<&ClientTls>, notes: &mut Notes) {
    let on_off = |tls: &Option<&ClientTls>| show::on_off(tls.is_some()).to_owned();
    let (Some(old), Some(new)) = (old, new) else {
        return notes.field(Touches::NewRequests, "tls", &old, &new, on_off);
    };
    let ClientTls { server_name, trust, certificate, min_version } = new;
    if let (Trust::Authorities(old), Trust::Authorities(new)) = (&old.trust, trust) {
        authorities("tls ca", Touches::NewRequests, old, new, notes);
    } else {
        let show = |trust: &Trust| match trust {
            Trust::System => "the system's authorities".to_owned(),
            Trust::Authorities(authorities) => authorities.file.clone(),
            Trust::Anybody => "off".to_owned(),
        };
        notes.field(Touches::NewRequests, "tls verify", &old.trust, trust, show);
    }
    if let (Some(old), Some(new)) = (&old.certificate, certificate)
        && old.file == new.file
    {
        replaced("tls certificate", Touches::NewRequests, old, new, notes);
    } else {
        let show = |it: &Option<Arc<Certificate>>| it.as_ref().map_or_else(|| "none".to_owned(), |it| told(it));
        notes.field(Touches::NewRequests, "tls certificate", &old.certificate, certificate, show);
    }
    let mut group = Group::new("tls", notes);
    group.field("server_name", &old.server_name, server_name, show::or("the endpoint's"));
    group.field("min_version", &old.min_version, min_version, version);
}
