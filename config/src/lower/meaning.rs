//! Which keys of a listener mean something for which protocol: TCP and UDP know no requests, UDP no
//! connections.

use super::Fields;
use crate::mistake::Mistake;
use crate::model::Protocol::{self, Http, Tcp, Udp};
use crate::report::{Path, Report};
use crate::shape::{self, Object};
use crate::yaml::Node;

/// A key that does not mean something everywhere, where it does, and why elsewhere it does not.
type Row = (&'static str, &'static [Protocol], &'static str);

const NO_HEADERS: &str = "there are no requests, so there are no headers";
const NO_CONNECTIONS: &str = "datagrams come without connections";
const NO_REQUESTS: &str = "there are no requests";

const LISTENER: [Row; 8] = [
    ("headers", &[Http], NO_HEADERS),
    ("trusted_proxies", &[Http], "nobody can say without headers whom it comes from; TCP has `proxy_protocol` for it"),
    ("http2", &[Http], "no HTTP is spoken"),
    ("tls", &[Http, Tcp], "TLS needs a connection"),
    ("proxy_protocol", &[Http, Tcp], NO_CONNECTIONS),
    ("routes", &[Http, Tcp], "datagrams do not say what they ask for"),
    ("on_unhealthy", &[Tcp, Udp], "requests end by themselves, and connections outlive an endpoint"),
    ("udp", &[Udp], "there are no datagrams"),
];

const TIMEOUTS: [Row; 5] = [
    ("header", &[Http, Tcp], NO_CONNECTIONS),
    ("idle", &[Http], "a session without a byte in either direction ends after `stream_idle`"),
    ("stream_idle", &[Http, Tcp], "a flow without a datagram ends after `udp: {idle: ...}`"),
    ("tunnel_idle", &[Http], "a session without a byte in either direction ends after `stream_idle`"),
    ("max_session", &[Http, Tcp], "a flow without a datagram ends after `udp: {idle: ...}`"),
];

const LIMITS: [Row; 7] = [
    ("connections", &[Http, Tcp], "flows are limited by `udp: {max_flows: ...}`"),
    ("connections_per_client", &[Http, Tcp], NO_CONNECTIONS),
    ("header_bytes", &[Http], NO_REQUESTS),
    ("header_count", &[Http], NO_REQUESTS),
    ("uri_bytes", &[Http], NO_REQUESTS),
    ("body_bytes", &[Http], NO_REQUESTS),
    ("body_min_rate", &[Http], NO_REQUESTS),
];

const ROUTE: [Row; 9] = [
    ("redirect", &[Http], "a redirect is an answer to a request"),
    ("respond", &[Http], "an answer needs a request"),
    ("timeout", &[Http], NO_REQUESTS),
    ("retry", &[Http], "bytes that were sent on cannot be asked for again"),
    ("body_bytes", &[Http], NO_REQUESTS),
    ("rewrite", &[Http], NO_REQUESTS),
    ("headers", &[Http], NO_HEADERS),
    ("upgrade", &[Http], NO_REQUESTS),
    ("rate_limit", &[Http], "connections are limited where they come in: on the listener"),
];

const MATCH: [Row; 6] = [
    ("host", &[Http], "of a connection only the name asked for by TLS is known: `sni`"),
    ("path", &[Http], NO_REQUESTS),
    ("path_prefix", &[Http], NO_REQUESTS),
    ("method", &[Http], NO_REQUESTS),
    ("header", &[Http], NO_HEADERS),
    ("sni", &[Tcp], "requests say their host themselves: match `host`"),
];

/// Reports keys of a listener that mean nothing where this protocol is spoken.
pub(super) fn check(listener: &Fields<'_>, protocol: Protocol, path: &Path<'_>, report: &mut Report) {
    let mut look = Look { protocol, report };
    look.at(&LISTENER, listener, path);
    look.within(&TIMEOUTS, listener, "timeouts", &shape::LISTENER_TIMEOUTS, path);
    look.within(&LIMITS, listener, "limits", &shape::LIMITS, path);
    look.rate_limit(listener, path);
    let path = path.key("routes");
    for (at, node) in listener.items("routes").iter().enumerate() {
        if let (Some(route), path) = (Fields::of(node, &shape::ROUTE), path.item(at)) {
            look.route(&route, listener.get("tls"), &path);
        }
    }
}

struct Look<'r> {
    protocol: Protocol,
    report: &'r mut Report,
}

impl Look<'_> {
    fn at(&mut self, table: &[Row], fields: &Fields<'_>, path: &Path<'_>) {
        for (name, of, why) in table {
            if let Some(node) = fields.get(name)
                && !of.contains(&self.protocol)
            {
                let others: Vec<_> = of.iter().map(|protocol| protocol.as_str()).collect();
                let message = format!("`{name}` means nothing where `protocol` is {}: {why}", self.protocol.as_str());
                let hint = format!("remove `{name}`; it is for {}", others.join(" and "));
                self.report.push(Mistake::error("wrong_protocol", node.mark(), message).hint(hint), &path.key(name));
            }
        }
    }

    fn within(
        &mut self,
        table: &[Row],
        fields: &Fields<'_>,
        name: &'static str,
        object: &'static Object,
        path: &Path<'_>,
    ) {
        self.at(table, &fields.object(name, object), &path.key(name));
    }

    fn route(&mut self, route: &Fields<'_>, tls: Option<&Node>, path: &Path<'_>) {
        // Of UDP, routes are refused as a whole.
        if self.protocol == Udp {
            return;
        }
        self.at(&ROUTE, route, path);
        self.within(&MATCH, route, "match", &shape::MATCH, path);
        if let (Tcp, Some(tls), Some(node)) = (self.protocol, tls, route.object("match", &shape::MATCH).get("sni")) {
            let message = "`sni` routes sessions that are passed on unopened, and this listener opens them by `tls`";
            let mistake = Mistake::error("sni_and_tls", node.mark(), message);
            let mistake = mistake.hint("remove one of them").related(tls.mark(), "opened here");
            self.report.push(mistake, &path.key("match").key("sni"));
        }
    }

    /// Without requests there is no header to go by.
    fn rate_limit(&mut self, listener: &Fields<'_>, path: &Path<'_>) {
        let key = listener.object("rate_limit", &shape::RATE_LIMIT).object("key", &shape::RATE_KEY);
        if self.protocol != Http
            && let Some(node) = key.get("header")
        {
            let message = format!("a rate cannot go by a header where `protocol` is {}", self.protocol.as_str());
            let mistake =
                Mistake::error("wrong_protocol", node.mark(), message).hint("`client_address` or `everybody`");
            self.report.push(mistake, &path.key("rate_limit").key("key").key("header"));
        }
    }
}
