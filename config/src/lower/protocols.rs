//! What is particular to one protocol: HTTP/2, UDP, the PROXY protocol, open sessions.

use super::Fields;
use super::listener::scalar;
use crate::grammar;
use crate::mistake::Mistake;
use crate::model::{Http2, HttpVersion, Listener, OnSick, Protocol, ProxyIn, ProxyOut, UdpFlows};
use crate::report::{Path, Report};
use crate::shape;

/// The table has refused all others.
pub(super) fn protocol(listener: &Fields<'_>) -> Protocol {
    match listener.word("protocol") {
        Some("tcp") => Protocol::Tcp,
        Some("udp") => Protocol::Udp,
        _ => Protocol::Http,
    }
}

pub(super) fn proxy_in(listener: &Fields<'_>) -> Option<ProxyIn> {
    let fields = Fields::of(listener.get("proxy_protocol")?, &shape::PROXY_PROTOCOL)?;
    let trusted = fields.items("trusted").iter().filter_map(scalar);
    Some(ProxyIn {
        optional: fields.word("mode") == Some("optional"),
        trusted: trusted.filter_map(|text| grammar::cidr(text).ok()).collect(),
    })
}

pub(super) fn http2(listener: &Fields<'_>) -> Http2 {
    let fields = listener.object("http2", &shape::HTTP2);
    Http2 {
        // The table keeps the number within its type.
        max_concurrent_streams: fields.number("max_concurrent_streams") as u32,
        ping_interval: (!fields.is_off("ping_interval")).then(|| fields.duration("ping_interval")),
        ping_timeout: fields.duration("ping_timeout"),
        max_connection_age: fields.duration_if("max_connection_age"),
    }
}

/// Warns of settings of HTTP/2 where no client will speak it.
pub(super) fn warn_of_http2(listener: &Listener, fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) {
    if let (Some(tls), Some(node)) = (&listener.tls, fields.get("http2"))
        && !tls.alpn.iter().any(|name| name == "h2")
    {
        let message = "`http2` has no effect: `tls: {alpn: ...}` does not offer h2";
        let mistake = Mistake::warning("no_effect", node.mark(), message);
        report.push(mistake.hint("add h2 there, or remove `http2`"), &path.key("http2"));
    }
}

pub(super) fn udp(listener: &Fields<'_>) -> UdpFlows {
    let fields = listener.object("udp", &shape::UDP);
    UdpFlows {
        idle: fields.duration("idle"),
        max_flows: fields.count("max_flows"),
        responses: fields.limit("responses"),
    }
}

pub(super) fn on_sick(listener: &Fields<'_>) -> OnSick {
    if listener.word("on_unhealthy") == Some("close") { OnSick::Close } else { OnSick::Keep }
}

/// The HTTP that endpoints speak.
pub(super) fn http_version(cluster: &Fields<'_>) -> HttpVersion {
    match cluster.word("protocol") {
        Some("h2") => HttpVersion::H2,
        Some("auto") => HttpVersion::Auto,
        _ => HttpVersion::H1,
    }
}

/// Reports `auto` where there is nothing to choose by.
pub(super) fn check_version(cluster: &Fields<'_>, path: &Path<'_>, report: &mut Report) {
    if let (Some("auto"), true, Some(node)) = (cluster.word("protocol"), cluster.is_off("tls"), cluster.get("protocol"))
    {
        let message = "`auto` goes by what the endpoint chooses in its TLS handshake, and there is no `tls`";
        let mistake = Mistake::error("auto_without_tls", node.mark(), message);
        report.push(mistake.hint("give `tls: on`, or say which: `h1` or `h2`"), &path.key("protocol"));
    }
}

pub(super) fn proxy_out(cluster: &Fields<'_>) -> Option<ProxyOut> {
    match cluster.word("proxy_protocol") {
        Some("v1") => Some(ProxyOut::V1),
        Some("v2") => Some(ProxyOut::V2),
        _ => None,
    }
}
