//! Health checks.

use std::sync::Arc;

use super::{ChangeKind, Notes, Pair, Touches, show};
use crate::model::{CheckKind, Dialogue, GrpcCheck, HealthCheck, HttpCheck};

/// A check is known by what it asks and where.
pub(super) fn name(check: &HealthCheck) -> String {
    let kind = show::check_kind(&check.kind);
    match check.port {
        Some(port) => format!("health check {kind} on port {port}"),
        None => format!("health check {kind}"),
    }
}

pub(super) fn diff(pair: Pair<'_, Arc<HealthCheck>>, cluster: &str, notes: &mut Notes) {
    match pair {
        Pair::Added(new) => {
            notes.subject(cluster).added(Touches::NewRequests, &format!("{}: new", name(new)));
        }
        Pair::Removed(old) => {
            notes.subject(cluster).removed(Touches::NewRequests, &format!("{}: removed", name(old)));
        }
        Pair::Both(old, new) => check_fields(old, new, cluster, notes),
    }
}

fn check_fields(old: &HealthCheck, new: &HealthCheck, cluster: &str, notes: &mut Notes) {
    // The port is part of its identity.
    let HealthCheck {
        timeout,
        interval,
        fast_interval,
        down_interval,
        jitter_percent,
        unhealthy_threshold,
        healthy_threshold,
        port: _,
        kind,
    } = new;
    let touches = Touches::NewRequests;
    notes.subject(&format!("{cluster}: {}", name(new)));
    notes.field(touches, "timeout", &old.timeout, timeout, show::duration);
    notes.field(touches, "interval", &old.interval, interval, show::duration);
    notes.field(touches, "fast_interval", &old.fast_interval, fast_interval, show::duration);
    notes.field(touches, "down_interval", &old.down_interval, down_interval, show::duration);
    notes.field(touches, "jitter", &old.jitter_percent, jitter_percent, show::plain);
    notes.field(touches, "unhealthy_threshold", &old.unhealthy_threshold, unhealthy_threshold, show::plain);
    notes.field(touches, "healthy_threshold", &old.healthy_threshold, healthy_threshold, show::plain);
    // Kinds differ in their identity already.
    match (&old.kind, kind) {
        (CheckKind::Http(old), CheckKind::Http(new)) => http_fields(old, new, notes),
        (CheckKind::Grpc(old), CheckKind::Grpc(new)) => {
            // The service is part of its identity.
            let GrpcCheck { service: _, authority } = new;
            notes.field(touches, "authority", &old.authority, authority, show::or("the endpoint's address"));
        }
        (CheckKind::Tcp(old), CheckKind::Tcp(new)) | (CheckKind::Udp(old), CheckKind::Udp(new)) => {
            dialogue(old, new, notes);
        }
        _ => {}
    }
}

/// What is sent may be a password.
fn dialogue(old: &Dialogue, new: &Dialogue, notes: &mut Notes) {
    let Dialogue { send, receive } = new;
    if old.send != *send {
        notes.push(ChangeKind::Changed, Touches::NewRequests, "what it sends");
    }
    let show = |bytes: &Vec<u8>| {
        if bytes.is_empty() { "anything".to_owned() } else { format!("\"{}\"", bytes.escape_ascii()) }
    };
    notes.field(Touches::NewRequests, "receive", &old.receive, receive, show);
}

fn http_fields(old: &HttpCheck, new: &HttpCheck, notes: &mut Notes) {
    // Method and path are part of its identity.
    let HttpCheck { method: _, path: _, host, headers, expected_statuses, expected_body } = new;
    let touches = Touches::NewRequests;
    let statuses = |ranges: &Vec<std::ops::RangeInclusive<u16>>| {
        let range = |range: &std::ops::RangeInclusive<u16>| match (range.start(), range.end()) {
            (start, end) if start == end => start.to_string(),
            (start, end) => format!("{start}-{end}"),
        };
        ranges.iter().map(range).collect::<Vec<_>>().join(", ")
    };
    notes.field(touches, "host", &old.host, host, show::or("the endpoint's address"));
    notes.field(touches, "expected_statuses", &old.expected_statuses, expected_statuses, statuses);
    notes.field(touches, "expected_body", &old.expected_body, expected_body, show::quoted);
    // Their values may be secrets.
    if old.headers != *headers {
        notes.push(ChangeKind::Changed, touches, "the headers it sends");
    }
}
