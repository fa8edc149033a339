//! What to do about each reason: whose it is to mend, where to look, which settings have a say.
//! `weir explain-error` prints it, and `docs/reference/reasons.md` is made from it.

use super::Reason;

/// Whose it is to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Whoever sent the request.
    Client,
    /// Whoever runs the endpoint, or the network to it.
    Endpoint,
    /// Whoever configures or runs this balancer and its host.
    Operator,
    /// Whoever wrote it.
    Us,
}

impl Whose {
    /// The word in lists and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Endpoint => "endpoint",
            Self::Operator => "operator",
            Self::Us => "weir",
        }
    }

    /// The same, said out.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Client => "the client's: whoever sent the request",
            Self::Endpoint => "the endpoint's, or the network's on the way to it",
            Self::Operator => "the operator's: the configuration, or this host",
            Self::Us => "weir's own: a mistake to report",
        }
    }
}

/// What to do about a reason.
#[derive(Clone, Copy, Debug)]
pub struct Advice {
    /// Whose it is to mend.
    pub whose: Whose,
    /// What to look at first.
    pub look: &'static str,
    /// Keys of the configuration that have a say, from the top; may be empty.
    pub settings: &'static [&'static str],
    /// What to change, and when.
    pub change: &'static str,
}

impl Reason {
    /// What to do about it: the one table.
    #[must_use]
    pub const fn advice(self) -> Advice {
        use Whose::{Client, Endpoint, Operator, Us};
        let (whose, look, settings, change): (_, _, &[&str], _) = match self {
            Self::BadRequest => (
                Client,
                "The access log's `client` and `bytes`: a scanner, TLS sent to a plain port, or a client with a broken HTTP library.",
                &[],
                "Mend the client. If it speaks TLS, give the listener `tls`; if it is no HTTP at all, `protocol: tcp`.",
            ),
            Self::AmbiguousFraming => (
                Client,
                "The request's `Content-Length` and `Transfer-Encoding`: both, several, or malformed. Often an attempt to smuggle a request past a proxy.",
                &[],
                "Mend the client. It is never let through: two servers could read it as different requests.",
            ),
            Self::BadHost => (
                Client,
                "The request's `Host` field: HTTP/1.1 wants exactly one.",
                &[],
                "Mend the client, or the proxy before Weir that adds a second one.",
            ),
            Self::BadChunk => (
                Client,
                "What the client sends as chunks: a size that is no number, data longer than it says, or a connection that was cut and went on.",
                &[],
                "Mend the client, or its HTTP library.",
            ),
            Self::BadVersion => (
                Client,
                "The first line of the request: HTTP/0.9, a version that does not exist, or another protocol.",
                &["listeners.protocol"],
                "Mend the client. HTTP/2 needs TLS with ALPN, or its preface on a plain connection.",
            ),
            Self::UnknownTransferEncoding => (
                Client,
                "The request's `Transfer-Encoding`: something other than `chunked`.",
                &[],
                "Mend the client: compression belongs in `Content-Encoding`.",
            ),
            Self::UnknownExpectation => {
                (Client, "The request's `Expect` field.", &[], "Mend the client: only `100-continue` exists.")
            }
            Self::MethodNotSupported => (
                Client,
                "The method: CONNECT comes from a client that takes Weir for a forward proxy.",
                &["listeners.routes.upgrade"],
                "Mend the client's proxy setting; where tunnels are wanted, `upgrade: [connect]` on the route.",
            ),
            Self::HeaderTooLarge => (
                Client,
                "The request's cookies: they are what grows. How large the head is allowed to be.",
                &["listeners.limits.header_bytes", "listeners.limits.header_count"],
                "Fewer or smaller cookies; or a larger limit, which costs memory for each connection.",
            ),
            Self::UriTooLong => (
                Client,
                "The request's target: a query that should be a body.",
                &["listeners.limits.uri_bytes"],
                "POST it; or a larger limit, if the endpoints take such targets too.",
            ),
            Self::BodyTooLarge => (
                Client,
                "The request's `Content-Length`, or how much had come when it was stopped (`bytes_received` in the access log).",
                &["listeners.limits.body_bytes", "listeners.routes.body_bytes"],
                "If such uploads are right, a larger `body_bytes` on their route alone.",
            ),
            Self::HeaderTimeout => (
                Client,
                "Who it is: one address many times is an attack by slowness; many addresses are a bad network.",
                &["listeners.timeouts.header", "listeners.limits.connections_per_client"],
                "A longer time for clients on bad networks; a limit per client against attacks.",
            ),
            Self::BodyTimeout => (
                Client,
                "How much of the body came, and how fast: `bytes_received` and `duration_ms` in the access log.",
                &["listeners.limits.body_min_rate", "listeners.timeouts.stream_idle"],
                "For clients on bad networks a lower rate or a longer pause; else mend the client.",
            ),
            Self::ClientGone => (
                Client,
                "How long the request had taken: if it is always the same time, the client's own time-out is shorter than the answer takes.",
                &["listeners.routes.timeout"],
                "Speed the endpoint up (`weir_upstream_first_byte_seconds`), or lengthen the client's time-out. Some of it is normal: people close pages.",
            ),
            Self::NoRoute => (
                Operator,
                "`weir explain CONFIG METHOD URL`: which routes were tried, and why each did not match.",
                &["listeners.routes.match"],
                "Add the route, or a last one with `match: {}` that takes everything else.",
            ),
            Self::NoHealthyEndpoint => (
                Endpoint,
                "`weir status`: what the checks of each endpoint say, and since when; then `weir doctor`, step by step.",
                &["clusters.health_checks", "clusters.panic"],
                "Mend the endpoints. If all failed at once, look at what they share (a database, a release, the check's path) and at what changed.",
            ),
            Self::NoEndpoint => (
                Operator,
                "The weights of the cluster's endpoints: all are 0.",
                &["clusters.endpoints"],
                "Give at least one a weight; a drain (`weir drain`) is the better way to take one out for a time.",
            ),
            Self::AllEjected => (
                Endpoint,
                "`weir events`: by which rule each was taken out, with the numbers; the access log's `reason` and `status` of that time.",
                &["clusters.outlier_detection.max_ejection_percent", "clusters.outlier_detection.base_ejection_time"],
                "Mend the endpoints. If the rule is too strict for this traffic, raise its threshold.",
            ),
            Self::AllDraining => (
                Operator,
                "`weir drain` without arguments: who drained what, when, and until when.",
                &[],
                "`weir undrain`: one drain too many is in force.",
            ),
            Self::Unresolved => (
                Endpoint,
                "`weir doctor`: what each DNS server says of the name; `weir_discovery_state`.",
                &["clusters.resolve.servers", "clusters.resolve.timeout", "clusters.resolve.max_stale"],
                "Correct the name, or mend DNS. A fixed address beside the name keeps the cluster alive.",
            ),
            Self::BreakerOpen => (
                Endpoint,
                "`weir events`: which failures opened it; `weir_cluster_breaker`. It closes by itself when trials succeed.",
                &["clusters.circuit_breaker.failure_rate.threshold", "clusters.circuit_breaker.failure_rate.open"],
                "Mend what fails; the breaker only spares it. Raise the threshold if it opens on a usual share of errors.",
            ),
            Self::QueueFull => (
                Operator,
                "`weir_cluster_limit_used` against `weir_cluster_limit`: which limit is reached; whether answers became slower.",
                &[
                    "clusters.circuit_breaker.max_requests",
                    "clusters.circuit_breaker.max_connections",
                    "clusters.circuit_breaker.max_pending_requests",
                ],
                "More endpoints, or larger limits if the endpoints bear it. If answers became slow, that is the cause.",
            ),
            Self::QueueTimeout => (
                Operator,
                "`weir_cluster_requests_waiting` and `weir_cluster_limit_used`; whether answers became slower.",
                &[
                    "clusters.circuit_breaker.queue_timeout",
                    "clusters.circuit_breaker.max_requests",
                    "clusters.circuit_breaker.max_connections",
                ],
                "More endpoints or larger limits; a longer wait only helps against short bursts.",
            ),
            Self::ConnectRefused => (
                Endpoint,
                "On the endpoint's host `ss -ltnp`: does the service listen, on that port, and on an address others can reach? `weir doctor`.",
                &["clusters.endpoints", "listeners.routes.retry"],
                "Start the service or correct the address. During its restarts: `on: [connect-failure]` under `retry`, and a drain before.",
            ),
            Self::ConnectTimeout => (
                Endpoint,
                "`weir doctor`: is it filtered, or is its accept queue full? `ping`, `mtr -T -P PORT`; on its host `ss -ltn` (Recv-Q over Send-Q).",
                &["clusters.connect.timeout", "listeners.routes.retry"],
                "Open the way (security group, packet filter), or free the endpoint's accept queue. A longer time-out only hides it.",
            ),
            Self::ConnectFailed => (
                Endpoint,
                "`ip route get ADDRESS`, `ip neigh`: no route, host down, or a reset on the way; of a Unix socket, a full queue.",
                &["clusters.endpoints"],
                "Mend the network or the host.",
            ),
            Self::ConnectLocal => (
                Operator,
                "`weir doctor`: descriptors (`process_open_fds` near `process_max_fds`), local ports to this endpoint, or a packet filter of this host that forbids it.",
                &["clusters.connect.source_ports", "clusters.connect.local_address", "clusters.pool.max_idle"],
                "A larger limit on open files, a wider `net.ipv4.ip_local_port_range`, more local addresses, or connections that live longer.",
            ),
            Self::UpstreamReset => (
                Endpoint,
                "The endpoint's log at that moment: a crash, a restart without a drain, or an idle time-out that is shorter than ours.",
                &["clusters.pool.idle_timeout", "listeners.routes.retry"],
                "Let `pool.idle_timeout` be shorter than the endpoint's keep-alive; `on: [reset-before-response]` under `retry`.",
            ),
            Self::UpstreamTimeout => (
                Endpoint,
                "`weir_upstream_first_byte_seconds` by endpoint: one that is slow, or all; what the request waits for behind it.",
                &["listeners.routes.timeout", "listeners.routes.retry.per_try_timeout"],
                "Speed it up. If such requests are slow by nature, a longer `timeout` on their route alone.",
            ),
            Self::PerTryTimeout => (
                Endpoint,
                "The same as `upstream_timeout`; here one attempt was given up so that another could be made.",
                &["listeners.routes.retry.per_try_timeout", "listeners.routes.retry.attempts"],
                "A `per_try_timeout` above the usual p99: else retries add load where it is slow already.",
            ),
            Self::UpstreamProtocol => (
                Endpoint,
                "`curl -v` at the endpoint: another protocol on that port, TLS, or HTTP/2 where HTTP/1.1 is expected.",
                &["clusters.protocol", "clusters.tls"],
                "Name the right port, or say what it speaks: `protocol: h2`, `tls: {}`.",
            ),
            Self::UpstreamCut => (
                Endpoint,
                "The endpoint's log: it crashed, or was stopped, in the middle of an answer; `bytes_sent` in the access log.",
                &[],
                "Mend the endpoint. It cannot be tried again: the client has a part of the answer already.",
            ),
            Self::UpstreamStalled => (
                Endpoint,
                "Whether the answer is a stream with long pauses (events, long polling) or one that hangs.",
                &["listeners.timeouts.stream_idle"],
                "For streams let the endpoint send something now and then, or lengthen `stream_idle` of the listener.",
            ),
            Self::IdleTimeout => (
                Client,
                "How long the session was silent: both sides said nothing for that long.",
                &["listeners.timeouts.stream_idle", "listeners.timeouts.tunnel_idle"],
                "Let one side send keep-alives (a WebSocket ping, TCP keepalive of the application), or lengthen the time.",
            ),
            Self::FaultInjected => (
                Operator,
                "`weir drill list`: who rehearses what, and until when.",
                &[],
                "Nothing: it ends by itself, or by `weir drill stop`.",
            ),
            Self::DrainDeadline => (
                Operator,
                "How long requests of this kind take, against the time the process was given to stop.",
                &["shutdown.timeout", "shutdown.delay"],
                "A longer `shutdown: {timeout: ...}` (and of whoever stops the process: `TimeoutStopSec`, `terminationGracePeriodSeconds`).",
            ),
            Self::AccessDenied => (
                Client,
                "The client's address as Weir sees it (`client` in the access log): behind a proxy it is the proxy's, unless that is trusted.",
                &[
                    "listeners.allow",
                    "listeners.deny",
                    "listeners.routes.allow",
                    "listeners.routes.deny",
                    "listeners.trusted_proxies",
                ],
                "Let the address in, or name the proxy in `trusted_proxies`.",
            ),
            Self::RateLimited => (
                Client,
                "Which limit (`weir_rate_limited_total`), and by which key; one client, or a key that many share.",
                &["listeners.rate_limit", "listeners.routes.rate_limit"],
                "Mend a client that repeats in a loop; else a larger `requests` or `burst`, or a better `key`.",
            ),
            Self::TooManyConnections => (
                Client,
                "The client's address: many people behind one NAT or proxy, or one client without a pool.",
                &["listeners.limits.connections_per_client", "listeners.trusted_proxies"],
                "A larger limit for shared addresses; a client with a pool.",
            ),
            Self::Http2Abuse => (
                Client,
                "The client's address: a flood of resets, pings or settings (Rapid Reset is one).",
                &["listeners.http2.max_concurrent_streams"],
                "Keep it out (`deny`), unless it is a client of yours with a mistake in it.",
            ),
            Self::ProxyHeader => (
                Client,
                "Whether the balancer before Weir sends the PROXY protocol, and whether its address is in `trusted`.",
                &["listeners.proxy_protocol.mode", "listeners.proxy_protocol.trusted"],
                "Switch it on there, or make it `optional` here while it is being introduced.",
            ),
            Self::TlsHandshake => (
                Client,
                "`weir_tls_handshake_failures_total` by cause: plain HTTP, an old version, a certificate the client does not trust.",
                &["listeners.tls.certificates", "listeners.tls.min_version", "listeners.tls.client_certificates"],
                "Send the whole chain; let the names cover what clients ask for; lower `min_version` only for clients you must keep.",
            ),
            Self::TlsTimeout => (
                Client,
                "`weir_tls_handshakes_under_way`: at its limit it is a flood, or too few processors; else a bad network.",
                &["listeners.tls.handshake_timeout", "listeners.tls.max_handshakes"],
                "A larger `max_handshakes` if processors are idle; session tickets that instances share save whole handshakes.",
            ),
            Self::UpstreamTls => (
                Endpoint,
                "`weir doctor`: expired, wrong name, unknown authority, or no TLS at all; `openssl s_client -connect ADDRESS`.",
                &["clusters.tls.server_name", "clusters.tls.ca", "clusters.tls.certificate"],
                "`server_name` where endpoints are addresses, `ca` for an authority of your own, a new certificate at the endpoint.",
            ),
            Self::SessionTimeout => (
                Operator,
                "Whether sessions of this listener are meant to end after this time.",
                &["listeners.timeouts.max_session"],
                "A longer `max_session`, or none; clients have to come again after it.",
            ),
            Self::EndpointUnhealthy => (
                Endpoint,
                "`weir events`: why the endpoint became unhealthy.",
                &["listeners.on_unhealthy", "clusters.health_checks"],
                "That is wanted where a role moves (a primary that was demoted): clients come again and get the new one. Else `on_unhealthy: keep`.",
            ),
            Self::TooManyFlows => (
                Operator,
                "How many flows there are, and how long each is kept: a flood with forged addresses, or flows that end too late.",
                &["listeners.udp.max_flows", "listeners.udp.idle", "listeners.udp.responses"],
                "For questions with one answer each (DNS) `responses: 1` ends a flow at once; else a larger limit.",
            ),
            Self::NotSent => (
                Operator,
                "`nft list ruleset`, `ip -s link` (drops), the path's MTU: datagrams that are too long for it.",
                &[],
                "Let the packet filter pass it; larger buffers (`net.core.wmem_max`); smaller datagrams at the sender.",
            ),
            Self::Internal => (
                Us,
                "The log at that moment: a panic with its place; `weir_panics_total`.",
                &[],
                "Please report it, with the log lines and `weir version`. Only that connection was lost.",
            ),
        };
        Advice { whose, look, settings, change }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Side;

    #[test]
    fn advice_agrees_with_the_side_and_ends_in_a_sentence() {
        for reason in Reason::ALL {
            let (side, advice) = (reason.meaning().side, reason.advice());
            let agrees = match side {
                Side::Downstream => advice.whose == Whose::Client,
                Side::Upstream => advice.whose == Whose::Endpoint,
                Side::Here => matches!(advice.whose, Whose::Operator | Whose::Us),
            };
            assert!(agrees, "{reason:?}");
            for text in [advice.look, advice.change] {
                assert!(text.ends_with('.') && text.len() > 20, "{reason:?}: {text}");
            }
        }
    }
}
