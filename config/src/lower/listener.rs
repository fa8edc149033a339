//! Listeners.

use super::cluster::Clusters;
use super::release::Releases;
use super::{Fields, Names, actions, certificates, meaning, protocols, redirect, route, shadow, tcp, tls};
use crate::files::Files;
use crate::grammar;
use crate::model::{
    Access, HeaderEdits, HeaderPolicy, Listener, ListenerLimits, ListenerName, ListenerTimeouts, PathMatch, Protocol,
    Retry, Rewrite, Route, RouteMatch, Target,
};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::{Node, Text, Value};

/// What listeners refer to: where requests can be sent, and files.
#[derive(Clone, Copy)]
pub(super) struct Targets<'a> {
    pub(super) clusters: &'a Clusters<'a>,
    pub(super) releases: &'a Releases<'a>,
    /// What certificates are read from.
    pub(super) files: &'a Files<'a>,
}

impl Targets<'_> {
    /// What the key `cluster` or `release` of a route or listener names; reported if there is no such.
    pub(super) fn resolve(self, fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Option<Target> {
        let release = fields.get("release");
        if let Some(node) = fields.get("cluster") {
            return self.clusters.resolve(node, &path.key("cluster"), report).map(Target::Cluster);
        }
        self.releases.resolve(release?, self.clusters, &path.key("release"), report).map(Target::Release)
    }
}

pub(super) fn lower_all(fields: &Fields<'_>, targets: Targets<'_>, report: &mut Report) -> Vec<Listener> {
    let (root, mut names) = (Path::Root, Names::default());
    let mut listeners = Vec::new();
    for (at, node) in fields.items("listeners").iter().enumerate() {
        let path = root.key("listeners");
        let path = path.item(at);
        let Some(fields) = Fields::of(node, &shape::LISTENER) else {
            continue;
        };
        names.claim(fields.get("name"), "listeners", &path, report);
        listeners.extend(lower(&fields, targets, &path, report));
    }
    listeners
}

fn lower(fields: &Fields<'_>, targets: Targets<'_>, path: &Path<'_>, report: &mut Report) -> Option<Listener> {
    let protocol = protocols::protocol(fields);
    meaning::check(fields, protocol, path, report);
    // Before the name, so that a listener without one has its routes looked at all the same.
    let routes = routes(fields, targets, path, report);
    let listener = Listener {
        name: ListenerName::new(&fields.text("name")?).ok()?,
        bind: fields
            .items("bind")
            .iter()
            .filter_map(scalar)
            .filter_map(|text| grammar::bind_address(text).ok())
            .collect(),
        protocol,
        routes,
        timeouts: timeouts(&fields.object("timeouts", &shape::LISTENER_TIMEOUTS), protocol),
        limits: limits(&fields.object("limits", &shape::LIMITS)),
        headers: headers(&fields.object("headers", &shape::HEADERS)),
        trusted_proxies: fields
            .items("trusted_proxies")
            .iter()
            .filter_map(scalar)
            .filter_map(|text| grammar::cidr(text).ok())
            .collect(),
        tls: tls::server(fields, protocol, targets.files, path, report),
        proxy_protocol: protocols::proxy_in(fields),
        access: actions::access(fields),
        rate_limit: actions::rate_limit(fields, path, report),
        http2: protocols::http2(fields),
        on_unhealthy: protocols::on_sick(fields),
        udp: protocols::udp(fields),
    };
    // What could not be read must not be taken at its word.
    if !report.has_errors() {
        certificates::warn_of_names(&listener, fields, path, report);
        protocols::warn_of_http2(&listener, fields, path, report);
    }
    Some(listener)
}

fn routes(fields: &Fields<'_>, targets: Targets<'_>, path: &Path<'_>, report: &mut Report) -> Vec<Route> {
    if let Some(node) = fields.get("cluster").or_else(|| fields.get("release")) {
        let target = targets.resolve(fields, path, report);
        return target.map(|target| everything_to(target, node.span.line)).into_iter().collect();
    }
    let (path, mut names) = (path.key("routes"), Names::default());
    let mut routes = Vec::new();
    for (at, node) in fields.items("routes").iter().enumerate() {
        let path = path.item(at);
        let Some(route) = Fields::of(node, &shape::ROUTE) else {
            continue;
        };
        names.claim(route.get("name"), "routes of this listener", &path, report);
        if let Some(route) = route::lower(&route, node, targets, &path, report) {
            routes.push((at, node.mark(), route));
        }
    }
    // A condition that could not be read counts as none; it must not be taken at its word.
    if !report.has_errors() {
        shadow::warn(&routes, &path, report);
        redirect::check(&routes, &redirect::Here::of(fields), &path, report);
    }
    routes.into_iter().map(|(_, _, route)| route).collect()
}

fn everything_to(target: Target, line: u32) -> Route {
    Route {
        name: None,
        matches: RouteMatch { path: PathMatch::Any, ..RouteMatch::default() },
        target,
        timeout: shape::default_duration(&shape::ROUTE, "timeout"),
        retry: Retry::default(),
        body_bytes: None,
        rewrite: Rewrite::default(),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        access: Access::default(),
        rate_limit: None,
        upgrades: vec!["websocket".into()],
        line,
    }
}

fn timeouts(fields: &Fields<'_>, protocol: Protocol) -> ListenerTimeouts {
    ListenerTimeouts {
        header: fields.duration("header"),
        idle: fields.duration("idle"),
        stream_idle: fields.duration_if("stream_idle").unwrap_or_else(|| tcp::stream_idle(protocol)),
        tunnel_idle: fields.duration("tunnel_idle"),
        max_session: fields.duration_if("max_session"),
    }
}

// The table keeps each number within its type.
fn limits(fields: &Fields<'_>) -> ListenerLimits {
    ListenerLimits {
        connections: fields.limit("connections"),
        connections_per_client: fields.limit("connections_per_client"),
        header_bytes: fields.number("header_bytes") as u32,
        header_count: fields.number("header_count") as u16,
        uri_bytes: fields.number("uri_bytes") as u32,
        body_bytes: fields.integer("body_bytes"),
        body_min_rate: fields.number("body_min_rate") as u32,
    }
}

fn headers(fields: &Fields<'_>) -> HeaderPolicy {
    HeaderPolicy {
        x_forwarded: fields.bool("x_forwarded"),
        forwarded: fields.bool("forwarded"),
        request_id: fields.bool("request_id"),
        reason: fields.bool("reason"),
        deadline: fields.bool("deadline"),
        decision: fields.decimal("decision"),
    }
}

/// The text of a text value.
pub(super) fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(Text { text, .. }) => Some(text),
        _ => None,
    }
}
