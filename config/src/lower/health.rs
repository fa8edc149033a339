//! Health checks.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Fields, route};
use crate::grammar;
use crate::mistake::Mistake;
use crate::model::{CheckKind, Dialogue, GrpcCheck, HealthCheck, HttpCheck};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::{Node, Text, Value};

pub(super) fn lower_all(fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Vec<HealthCheck> {
    let path = path.key("health_checks");
    let mut checks = Vec::new();
    for (at, node) in fields.items("health_checks").iter().enumerate() {
        let Some(fields) = Fields::of(node, &shape::HEALTH_CHECK) else {
            continue;
        };
        checks.extend(lower(&fields, node, &path.item(at), report));
    }
    checks
}

fn lower(fields: &Fields<'_>, node: &Node, path: &Path<'_>, report: &mut Report) -> Option<HealthCheck> {
    let (timeout, interval) = (fields.duration("timeout"), fields.duration("interval"));
    if timeout >= interval && !report.has_errors() {
        let place = fields.get("timeout").or_else(|| fields.get("interval")).unwrap_or(node);
        let message = format!("a probe may take {timeout:?}, which is not less than the interval of {interval:?}");
        let mistake = Mistake::warning("slow_probe", place.mark(), message);
        report.push(mistake.hint("probes then follow each other more slowly than `interval` says"), path);
    }
    let kind = kind(fields, path, report)?;
    Some(HealthCheck {
        timeout,
        interval,
        fast_interval: fields.duration_if("fast_interval").unwrap_or_else(|| interval.min(Duration::from_secs(1))),
        down_interval: fields.duration_if("down_interval").unwrap_or(interval * 2),
        // The table keeps these numbers within their types.
        jitter_percent: fields.number("jitter") as u8,
        unhealthy_threshold: fields.count("unhealthy_threshold"),
        healthy_threshold: fields.count("healthy_threshold"),
        port: fields.integer("port").and_then(|port| NonZeroU16::new(port as u16)),
        kind,
    })
}

/// What is asked; the table has refused checks that ask nothing, or two things.
fn kind(fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Option<CheckKind> {
    if let Some(node) = fields.get("http_health_check") {
        return Some(CheckKind::Http(http(&Fields::of(node, &shape::HTTP_CHECK)?, path, report)));
    }
    if let Some(node) = fields.get("grpc_health_check") {
        let fields = Fields::of(node, &shape::GRPC_CHECK)?;
        let service = fields.text("service").unwrap_or_default();
        return Some(CheckKind::Grpc(GrpcCheck { service, authority: fields.text("authority") }));
    }
    if let Some(node) = fields.get("udp_health_check") {
        let fields = Fields::of(node, &shape::UDP_CHECK)?;
        return Some(CheckKind::Udp(dialogue(&fields, &path.key("udp_health_check"), report)));
    }
    let fields = fields.object("tcp_health_check", &shape::TCP_CHECK);
    Some(CheckKind::Tcp(dialogue(&fields, &path.key("tcp_health_check"), report)))
}

fn dialogue(fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Dialogue {
    let mut bytes = |name| {
        let Some(text) = fields.text(name) else {
            let hex = fields.object(name, &shape::HEX).text("hex");
            return hex.and_then(|text| grammar::hex(&text).ok()).unwrap_or_default();
        };
        if let (Some(node), Some(at)) =
            (fields.get(name), text.find("\\r").or_else(|| text.find("\\n")).or_else(|| text.find("\\x")))
        {
            let message = format!("`{}` is a backslash and a letter here, as it stands", &text[at..at + 2]);
            let mistake = Mistake::warning("plain_backslash", node.mark(), message);
            report.push(
                mistake.hint("YAML knows it between double quotes only; {hex: ...} says it without"),
                &path.key(name),
            );
        }
        grammar::probe_text(&text).unwrap_or_default()
    };
    Dialogue { send: bytes("send"), receive: bytes("receive") }
}

fn http(fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> HttpCheck {
    let default = |name| fields.default_text(name).unwrap_or_default().to_owned();
    let path = path.key("http_health_check");
    HttpCheck {
        method: fields.text("method").unwrap_or_else(|| default("method")),
        path: fields.text("path").unwrap_or_else(|| default("path")),
        host: fields.text("host"),
        headers: route::header_values(fields.entries("headers")),
        expected_statuses: statuses(fields, &path, report),
        expected_body: fields.text("expected_body"),
    }
}

fn statuses(fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Vec<RangeInclusive<u16>> {
    let path = path.key("expected_statuses");
    if fields.get("expected_statuses").is_none() {
        return vec![200..=299];
    }
    let items = fields.items("expected_statuses");
    let mut ranges = Vec::with_capacity(items.len());
    for (at, node) in items.iter().enumerate() {
        match &node.value {
            Value::Integer(value) => {
                ranges.extend(u16::try_from(*value).ok().and_then(|n| grammar::status_range(n, n).ok()));
            }
            Value::Text(Text { text, .. }) => ranges.extend(grammar::statuses(text).ok()),
            Value::Map(_) => ranges.extend(envoy_range(node, &path.item(at), report)),
            _ => {}
        }
    }
    ranges
}

/// `{start, end}` where `end` does not count, as in Envoy's `Int64Range`.
fn envoy_range(node: &Node, path: &Path<'_>, report: &mut Report) -> Option<RangeInclusive<u16>> {
    let fields = Fields::of(node, &shape::STATUS_RANGE)?;
    // The table keeps both within 100 to 600.
    let (start, end) = (fields.integer("start")? as u16, fields.integer("end")? as u16);
    if start >= end {
        let message = format!("this range is empty: `end` does not count, and {start} is not less than {end}");
        let hint = format!("for {start} alone write {start}");
        report.push(Mistake::error("bad_status", node.mark(), message).hint(hint), path);
        return None;
    }
    Some(start..=end - 1)
}
