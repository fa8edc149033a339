//! Listeners and their routes.

use std::sync::Arc;

use super::{ChangeKind, Notes, Pair, Touches, actions, pairs, release, resilience, show};
use crate::model::{
    Address, Config, HeaderPolicy, Http2, Listener, ListenerLimits, ListenerName, ListenerTimeouts, OnSick, Protocol,
    ProxyIn, Route, Target, UdpFlows,
};

/// Everything before and after.
type All<'a> = (&'a Config, &'a Config);

pub(super) fn diff(pair: Pair<'_, Arc<Listener>>, all: All<'_>, notes: &mut Notes) {
    match pair {
        Pair::Added(new) => {
            let (taken, fresh) = split(new, &all.0.listeners);
            let on = if fresh.is_empty() { String::new() } else { format!(", on {}", show::list(&fresh)) };
            notes.subject(&format!("listener {}", new.name));
            notes.added(Touches::NewConnections, &format!("new{on}"));
            bound(&[], &taken, new.protocol, all, notes);
        }
        Pair::Removed(old) => {
            let (given, closed) = split(old, &all.1.listeners);
            notes.subject(&format!("listener {}", old.name));
            if closed.is_empty() {
                notes.removed(Touches::NewRequests, "removed");
            } else {
                notes.removed(Touches::Connections, &format!("removed; {} is closed", show::list(&closed)));
            }
            bound(&given, &[], old.protocol, all, notes);
        }
        Pair::Both(old, new) => both(old, new, all, notes),
    }
}

fn both(old: &Listener, new: &Listener, all: All<'_>, notes: &mut Notes) {
    let Listener {
        name,
        bind,
        protocol,
        routes,
        timeouts,
        limits,
        headers,
        trusted_proxies,
        tls,
        proxy_protocol,
        access,
        rate_limit,
        http2,
        on_unhealthy,
        udp,
    } = new;
    let subject = format!("listener {name}");
    notes.subject(&subject);
    if sockets(old.protocol) == sockets(*protocol) {
        bound(&old.bind, bind, *protocol, all, notes);
    } else {
        bound(&old.bind, &[], old.protocol, all, notes);
        bound(&[], bind, *protocol, all, notes);
    }
    // Connections that speak HTTP end with their next answer; a TCP session ends when its peers
    // end it.
    let touches = if old.protocol == Protocol::Http { Touches::Connections } else { Touches::NewConnections };
    notes.field(touches, "protocol", &old.protocol, protocol, |protocol| protocol.as_str().to_owned());
    super::tls::server(old.tls.as_ref(), tls.as_ref(), notes);
    notes.field(Touches::NewConnections, "proxy_protocol", &old.proxy_protocol, proxy_protocol, proxy_in);
    // Without requests it is connections that are let in, or flows.
    let each = if *protocol == Protocol::Http { Touches::NewRequests } else { Touches::NewConnections };
    actions::access(each, &old.access, access, notes);
    actions::rate_limit(each, &old.rate_limit, rate_limit, notes);
    if old.protocol != *protocol {
        // What only one of them knows did not change: it is there or not, and that is said.
        notes.field(
            Touches::NewConnections,
            "timeouts: stream_idle",
            &old.timeouts.stream_idle,
            &timeouts.stream_idle,
            show::duration,
        );
        let most = (&old.limits.connections, &limits.connections);
        notes.field(Touches::NewConnections, "limits: connections", most.0, most.1, show::or("none"));
        return self::routes((&old.routes, routes), &subject, all, notes);
    }
    notes
        .field(Touches::NewRequests, "trusted_proxies", &old.trusted_proxies, trusted_proxies, |nets| show::list(nets));
    self::timeouts(&old.timeouts, timeouts, notes.subject(&format!("{subject}: timeouts")));
    self::limits(&old.limits, limits, notes.subject(&format!("{subject}: limits")));
    self::headers(&old.headers, headers, notes.subject(&format!("{subject}: headers")));
    self::http2(&old.http2, http2, notes.subject(&format!("{subject}: http2")));
    self::udp(&old.udp, udp, notes.subject(&format!("{subject}: udp")));
    notes.subject(&subject).field(Touches::NewConnections, "on_unhealthy", &old.on_unhealthy, on_unhealthy, |on| {
        match on {
            OnSick::Keep => "keep".to_owned(),
            OnSick::Close => "close".to_owned(),
        }
    });
    self::routes((&old.routes, routes), &subject, all, notes);
}

fn proxy_in(value: &Option<ProxyIn>) -> String {
    match value {
        None => "off".to_owned(),
        Some(ProxyIn { optional, trusted }) => {
            format!("{} from {}", if *optional { "optional" } else { "required" }, show::list(trusted))
        }
    }
}

fn http2(old: &Http2, new: &Http2, notes: &mut Notes) {
    let Http2 { max_concurrent_streams, ping_interval, ping_timeout, max_connection_age } = new;
    let touches = Touches::NewConnections;
    let streams = (&old.max_concurrent_streams, max_concurrent_streams);
    notes.field(touches, "max_concurrent_streams", streams.0, streams.1, show::plain);
    notes.field(touches, "ping_interval", &old.ping_interval, ping_interval, show::duration_or("off"));
    notes.field(touches, "ping_timeout", &old.ping_timeout, ping_timeout, show::duration);
    notes.field(touches, "max_connection_age", &old.max_connection_age, max_connection_age, show::duration_or("none"));
}

fn udp(old: &UdpFlows, new: &UdpFlows, notes: &mut Notes) {
    let UdpFlows { idle, max_flows, responses } = new;
    let touches = Touches::NewConnections;
    notes.field(touches, "idle", &old.idle, idle, show::duration);
    notes.field(touches, "max_flows", &old.max_flows, max_flows, show::plain);
    notes.field(touches, "responses", &old.responses, responses, show::or("however many"));
}

/// An address that stays keeps its socket, whichever listener it belongs to.
fn bound(old: &[Address], new: &[Address], of: Protocol, (before, after): All<'_>, notes: &mut Notes) {
    for pair in pairs(old, new, Clone::clone) {
        match pair {
            Pair::Added(address) => match owner(&before.listeners, address, of) {
                None => notes.added(Touches::NewConnections, &format!("listens on {address} too")),
                Some(from) => {
                    let what = format!("takes {address} over from listener {from}, connections included");
                    notes.added(Touches::NewRequests, &what);
                }
            },
            Pair::Removed(address) => match owner(&after.listeners, address, of) {
                None => notes.removed(Touches::Connections, &format!("{address} is closed")),
                Some(to) => notes.removed(Touches::NewRequests, &format!("gives {address} to listener {to}")),
            },
            Pair::Both(..) => {}
        }
    }
}

/// Whether its sockets are of datagrams: they and those of connections are different ones at the same
/// address.
fn sockets(protocol: Protocol) -> bool {
    protocol == Protocol::Udp
}

/// Those addresses that change hands, and those that nobody among `listeners` has.
fn split(listener: &Listener, listeners: &[Arc<Listener>]) -> (Vec<Address>, Vec<Address>) {
    let taken = |address: &Address| owner(listeners, address, listener.protocol).is_some();
    listener.bind.iter().cloned().partition(taken)
}

/// The listener that has this address; "any port" is nobody else's.
fn owner<'l>(listeners: &'l [Arc<Listener>], address: &Address, of: Protocol) -> Option<&'l ListenerName> {
    let any_port = address.ip().is_some_and(|address| address.port() == 0);
    let has = |it: &&Arc<Listener>| !any_port && sockets(it.protocol) == sockets(of) && it.bind.contains(address);
    listeners.iter().find(has).map(|listener| &listener.name)
}

fn timeouts(old: &ListenerTimeouts, new: &ListenerTimeouts, notes: &mut Notes) {
    let ListenerTimeouts { header, idle, stream_idle, tunnel_idle, max_session } = new;
    notes.field(Touches::NewRequests, "header", &old.header, header, show::duration);
    notes.field(Touches::NewRequests, "idle", &old.idle, idle, show::duration);
    notes.field(Touches::NewRequests, "stream_idle", &old.stream_idle, stream_idle, show::duration);
    notes.field(Touches::NewRequests, "tunnel_idle", &old.tunnel_idle, tunnel_idle, show::duration);
    notes.field(Touches::NewConnections, "max_session", &old.max_session, max_session, show::duration_or("none"));
}

fn limits(old: &ListenerLimits, new: &ListenerLimits, notes: &mut Notes) {
    let ListenerLimits {
        connections,
        connections_per_client,
        header_bytes,
        header_count,
        uri_bytes,
        body_bytes,
        body_min_rate,
    } = new;
    notes.field(Touches::NewConnections, "connections", &old.connections, connections, show::or("none"));
    let each = (&old.connections_per_client, connections_per_client);
    notes.field(Touches::NewConnections, "connections_per_client", each.0, each.1, show::or("none"));
    notes.field(Touches::NewRequests, "header_bytes", &old.header_bytes, header_bytes, |n| show::size(*n));
    notes.field(Touches::NewRequests, "header_count", &old.header_count, header_count, show::plain);
    notes.field(Touches::NewRequests, "uri_bytes", &old.uri_bytes, uri_bytes, |n| show::size(*n));
    notes.field(Touches::NewRequests, "body_bytes", &old.body_bytes, body_bytes, show::size_or_none);
    notes.field(Touches::NewRequests, "body_min_rate", &old.body_min_rate, body_min_rate, |n| show::size(*n));
}

fn headers(old: &HeaderPolicy, new: &HeaderPolicy, notes: &mut Notes) {
    let HeaderPolicy { x_forwarded, forwarded, request_id, reason, deadline, decision } = new;
    let on_off = |value: &bool| show::on_off(*value).to_owned();
    notes.field(Touches::NewRequests, "x_forwarded", &old.x_forwarded, x_forwarded, on_off);
    notes.field(Touches::NewRequests, "forwarded", &old.forwarded, forwarded, on_off);
    notes.field(Touches::NewRequests, "request_id", &old.request_id, request_id, on_off);
    notes.field(Touches::NewRequests, "reason", &old.reason, reason, on_off);
    notes.field(Touches::NewRequests, "deadline", &old.deadline, deadline, on_off);
    notes.field(Touches::NewRequests, "decision", &old.decision, decision, show::plain);
}

/// A route is known by its name, or else by what it matches.
fn identity(route: &Route) -> String {
    match &route.name {
        Some(name) => format!("route {name}"),
        None => format!("route for {}", show::matches(&route.matches)),
    }
}

fn routes((old, new): (&[Route], &[Route]), listener: &str, all: All<'_>, notes: &mut Notes) {
    let mut kept = Vec::new();
    for pair in pairs(old, new, identity) {
        match pair {
            Pair::Added(route) => {
                let what = format!("{} to {}: new", identity(route), show::target(&route.target));
                notes.subject(listener).added(Touches::NewRequests, &what);
            }
            Pair::Removed(route) => {
                let what = format!("{} to {}: removed", identity(route), show::target(&route.target));
                notes.subject(listener).removed(Touches::NewRequests, &what);
            }
            Pair::Both(old, new) => {
                route(old, new, listener, all, notes);
                // Both are in the order of the old list; their addresses tell that of the new.
                kept.push(std::ptr::from_ref(new));
            }
        }
    }
    if !kept.is_sorted() {
        notes.subject(listener).push(ChangeKind::Changed, Touches::NewRequests, "the order of its routes");
    }
}

fn route(old: &Route, new: &Route, listener: &str, all: All<'_>, notes: &mut Notes) {
    // The line is where it stands in the file, not what it means; the name is its identity.
    let Route {
        name: _,
        matches,
        target,
        timeout,
        retry,
        body_bytes,
        rewrite,
        request_headers,
        response_headers,
        access,
        rate_limit,
        upgrades,
        line: _,
    } = new;
    notes.subject(&format!("{listener}: {}", identity(new)));
    notes.field(Touches::NewRequests, "match", &old.matches, matches, show::matches);
    let is_cluster = |target: &Target| matches!(target, Target::Cluster(_));
    let name = if is_cluster(&old.target) && is_cluster(target) { "cluster" } else { "target" };
    notes.field(Touches::NewRequests, name, &old.target, target, show::target);
    release::routed((&old.target, target), all, notes);
    notes.field(Touches::NewRequests, "timeout", &old.timeout, timeout, show::duration);
    resilience::retry(&old.retry, retry, notes);
    notes.field(Touches::NewRequests, "body_bytes", &old.body_bytes, body_bytes, show::size_or_none);
    actions::rewrite(&old.rewrite, rewrite, notes);
    actions::header_edits("request", &old.request_headers, request_headers, notes);
    actions::header_edits("response", &old.response_headers, response_headers, notes);
    actions::access(Touches::NewRequests, &old.access, access, notes);
    actions::rate_limit(Touches::NewRequests, &old.rate_limit, rate_limit, notes);
    notes.field(Touches::NewRequests, "upgrade", &old.upgrades, upgrades, |list| show::list(list));
}
