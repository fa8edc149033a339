//! The closed list of WHY: everything that is refused, failed or answered by ourselves has one
//! of these, and each has its step, status, side and help text in one exhaustive match.
//!
//! A new way to fail begins here; the compiler then leads to status, metric and docs.

mod advice;

pub use advice::{Advice, Whose};

/// Why a request was not answered by an endpoint, or not to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The request is no HTTP/1.
    BadRequest,
    /// Two ways to tell where the body ends, or one that could be read in two ways.
    AmbiguousFraming,
    /// `Host` is missing, there twice, or no host.
    BadHost,
    /// A chunk of the request's body is malformed.
    BadChunk,
    /// A version other than HTTP/1.0 and 1.1.
    BadVersion,
    /// A `Transfer-Encoding` we do not know.
    UnknownTransferEncoding,
    /// An `Expect` other than `100-continue`.
    UnknownExpectation,
    /// A method we do not forward: CONNECT.
    MethodNotSupported,
    /// The head is larger than allowed or has too many fields.
    HeaderTooLarge,
    /// The request target is longer than allowed.
    UriTooLong,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The head did not arrive in time.
    HeaderTimeout,
    /// The body came too slowly, or stopped.
    BodyTimeout,
    /// The client went away before its answer was complete.
    ClientGone,
    /// No route matches.
    NoRoute,
    /// Every endpoint fails its checks.
    NoHealthyEndpoint,
    /// No endpoint has a weight over 0.
    NoEndpoint,
    /// Every endpoint that passes its checks was taken out for what traffic showed of it.
    AllEjected,
    /// Every endpoint that passes its checks is being drained by an operator.
    AllDraining,
    /// The cluster's endpoints are not known: no name or file has told any yet.
    Unresolved,
    /// The cluster's circuit breaker is open, or half open with all its trials under way.
    BreakerOpen,
    /// A limit of the cluster is reached, and as many wait already as may.
    QueueFull,
    /// A limit of the cluster was reached for as long as a request may wait.
    QueueTimeout,
    /// The endpoint refused the connection.
    ConnectRefused,
    /// The endpoint did not take the connection in time.
    ConnectTimeout,
    /// The endpoint cannot be reached: no route, network down.
    ConnectFailed,
    /// No connection could be opened for a cause on this host: no file descriptor, no local port.
    ConnectLocal,
    /// The endpoint closed or reset the connection before its answer.
    UpstreamReset,
    /// The endpoint did not answer in time.
    UpstreamTimeout,
    /// The endpoint took longer than one attempt may.
    PerTryTimeout,
    /// What the endpoint sent is no HTTP/1 answer.
    UpstreamProtocol,
    /// The endpoint's connection broke in the middle of its answer.
    UpstreamCut,
    /// The endpoint's answer stopped for too long.
    UpstreamStalled,
    /// Nothing moved in either direction of a TCP session or a tunnel for as long as its listener allows.
    IdleTimeout,
    /// A fault that an operator injected to rehearse.
    FaultInjected,
    /// The drain deadline passed.
    DrainDeadline,
    /// `allow` or `deny` keeps the client out.
    AccessDenied,
    /// The client asked more often than the listener or route takes.
    RateLimited,
    /// The client has as many connections open as one may.
    TooManyConnections,
    /// The client of an HTTP/2 connection did what costs work and brings nobody anything.
    Http2Abuse,
    /// The connection did not begin with the PROXY protocol header it must begin with.
    ProxyHeader,
    /// The client's TLS handshake failed.
    TlsHandshake,
    /// The client's TLS handshake took too long, or as many were under way as may.
    TlsTimeout,
    /// The TLS handshake with the endpoint failed.
    UpstreamTls,
    /// The session or tunnel lasted as long as its listener allows.
    SessionTimeout,
    /// The session's endpoint became unhealthy, and its listener closes such sessions.
    EndpointUnhealthy,
    /// As many UDP flows are open as may be.
    TooManyFlows,
    /// A datagram could not be sent for a cause on this host: no room in a buffer, too long for the
    /// way, a packet filter.
    NotSent,
    /// A mistake of ours, caught.
    Internal,
}

/// On whose side the cause lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Downstream,
    /// The endpoint, or the network to it.
    Upstream,
    /// This process, its host or its configuration.
    Here,
}

/// What one reason means.
#[derive(Clone, Copy, Debug)]
pub struct Meaning {
    /// The word in the access log, metrics, header and `explain`.
    pub name: &'static str,
    /// The status of a local answer; 0 where none can be sent any more.
    pub status: u16,
    /// Whose fault.
    pub side: Side,
    /// One sentence for whoever reads the answer.
    pub help: &'static str,
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in order.
    pub const ALL: [Self; 49] = [
        Self::BadRequest,
        Self::AmbiguousFraming,
        Self::BadHost,
        Self::BadChunk,
        Self::BadVersion,
        Self::UnknownTransferEncoding,
        Self::UnknownExpectation,
        Self::MethodNotSupported,
        Self::HeaderTooLarge,
        Self::UriTooLong,
        Self::BodyTooLarge,
        Self::HeaderTimeout,
        Self::BodyTimeout,
        Self::ClientGone,
        Self::NoRoute,
        Self::NoHealthyEndpoint,
        Self::NoEndpoint,
        Self::AllEjected,
        Self::AllDraining,
        Self::Unresolved,
        Self::BreakerOpen,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::ConnectFailed,
        Self::ConnectLocal,
        Self::UpstreamReset,
        Self::UpstreamTimeout,
        Self::PerTryTimeout,
        Self::UpstreamProtocol,
        Self::UpstreamCut,
        Self::UpstreamStalled,
        Self::IdleTimeout,
        Self::FaultInjected,
        Self::DrainDeadline,
        Self::AccessDenied,
        Self::RateLimited,
        Self::TooManyConnections,
        Self::Http2Abuse,
        Self::ProxyHeader,
        Self::TlsHandshake,
        Self::TlsTimeout,
        Self::UpstreamTls,
        Self::SessionTimeout,
        Self::EndpointUnhealthy,
        Self::TooManyFlows,
        Self::NotSent,
        Self::Internal,
    ];

    /// What it means: the one table.
    #[must_use]
    pub const fn meaning(self) -> Meaning {
        use Side::{Downstream, Here, Upstream};
        let (name, status, side, help) = match self {
            Self::BadRequest => ("bad_request", 400, Downstream, "The request is not well-formed HTTP/1."),
            Self::AmbiguousFraming => (
                "ambiguous_framing",
                400,
                Downstream,
                "The request says in two ways, or in one that can be misread, where its body ends.",
            ),
            Self::BadHost => ("bad_host", 400, Downstream, "The Host header is missing, repeated or not a host."),
            Self::BadChunk => ("bad_chunk", 400, Downstream, "A chunk of the request's body is malformed."),
            Self::BadVersion => ("bad_version", 505, Downstream, "Only HTTP/1.0 and HTTP/1.1 are spoken here."),
            Self::UnknownTransferEncoding => (
                "unknown_transfer_encoding",
                501,
                Downstream,
                "Only the transfer encoding 'chunked' is understood here.",
            ),
            Self::UnknownExpectation => {
                ("unknown_expectation", 417, Downstream, "Only the expectation '100-continue' is understood here.")
            }
            Self::MethodNotSupported => ("method_not_supported", 501, Downstream, "This method is not forwarded here."),
            Self::HeaderTooLarge => {
                ("header_too_large", 431, Downstream, "The request's head is larger than this listener allows.")
            }
            Self::UriTooLong => {
                ("uri_too_long", 414, Downstream, "The request's target is longer than this listener allows.")
            }
            Self::BodyTooLarge => {
                ("body_too_large", 413, Downstream, "The request's body is larger than allowed here.")
            }
            Self::HeaderTimeout => ("header_timeout", 408, Downstream, "The request's head did not arrive in time."),
            Self::BodyTimeout => ("body_timeout", 408, Downstream, "The request's body did not arrive in time."),
            Self::ClientGone => ("client_gone", 0, Downstream, "The client went away before its answer was complete."),
            Self::NoRoute => ("no_route", 404, Here, "No route of this listener matches the request."),
            Self::NoHealthyEndpoint => {
                ("no_healthy_endpoint", 503, Upstream, "Every endpoint of the cluster fails its health checks.")
            }
            Self::NoEndpoint => ("no_endpoint", 503, Here, "No endpoint of the cluster has a weight over 0."),
            Self::AllEjected => (
                "all_ejected",
                503,
                Upstream,
                "Every endpoint of the cluster that passes its checks failed its traffic and was taken out.",
            ),
            Self::AllDraining => {
                ("all_draining", 503, Here, "Every endpoint of the cluster that passes its checks is being drained.")
            }
            Self::Unresolved => ("unresolved", 503, Upstream, "The cluster's endpoints are not known yet."),
            Self::BreakerOpen => {
                ("breaker_open", 503, Upstream, "The cluster failed too many requests and is given a pause.")
            }
            Self::QueueFull => {
                ("queue_full", 503, Here, "The cluster has as many requests as it may, and as many wait.")
            }
            Self::QueueTimeout => {
                ("queue_timeout", 503, Here, "The cluster had as many requests as it may for too long.")
            }
            Self::ConnectRefused => ("connect_refused", 503, Upstream, "The endpoint refused the connection."),
            Self::ConnectTimeout => {
                ("connect_timeout", 504, Upstream, "The endpoint did not take the connection in time.")
            }
            Self::ConnectFailed => ("connect_failed", 503, Upstream, "The endpoint cannot be reached."),
            Self::ConnectLocal => (
                "connect_local",
                503,
                Here,
                "This host could not open a connection: no free file descriptor or local port.",
            ),
            Self::UpstreamReset => {
                ("upstream_reset", 502, Upstream, "The endpoint closed the connection before it answered.")
            }
            Self::UpstreamTimeout => ("upstream_timeout", 504, Upstream, "The endpoint did not answer in time."),
            Self::PerTryTimeout => {
                ("per_try_timeout", 504, Upstream, "The endpoint took longer to answer than one attempt may.")
            }
            Self::UpstreamProtocol => {
                ("upstream_protocol", 502, Upstream, "The endpoint's answer is not well-formed HTTP/1.")
            }
            Self::UpstreamCut => {
                ("upstream_cut", 0, Upstream, "The endpoint's connection broke in the middle of its answer.")
            }
            Self::UpstreamStalled => ("upstream_stalled", 0, Upstream, "The endpoint's answer stopped for too long."),
            Self::IdleTimeout => (
                "idle_timeout",
                0,
                Downstream,
                "Nothing moved in either direction for as long as this listener allows.",
            ),
            Self::FaultInjected => ("fault_injected", 503, Here, "A rehearsal: this fault was injected on purpose."),
            Self::DrainDeadline => ("drain_deadline", 0, Here, "The process stopped before the request was done."),
            Self::AccessDenied => ("access_denied", 403, Downstream, "This client is not let in here."),
            Self::RateLimited => {
                ("rate_limited", 429, Downstream, "More requests came than are taken here in this time.")
            }
            Self::TooManyConnections => (
                "too_many_connections",
                0,
                Downstream,
                "The client has as many connections open as one address may here.",
            ),
            Self::Http2Abuse => (
                "http2_abuse",
                0,
                Downstream,
                "The client gave up most of its requests, or sent a flood of frames that belong to none.",
            ),
            Self::ProxyHeader => (
                "proxy_header",
                0,
                Downstream,
                "The connection did not begin with a well-formed PROXY protocol header.",
            ),
            Self::TlsHandshake => {
                ("tls_handshake", 0, Downstream, "The client and this listener did not agree on TLS.")
            }
            Self::TlsTimeout => {
                ("tls_timeout", 0, Downstream, "The client's TLS handshake did not come to an end in time.")
            }
            Self::UpstreamTls => {
                ("upstream_tls", 502, Upstream, "The endpoint did not agree on TLS, or its certificate is not trusted.")
            }
            Self::SessionTimeout => ("session_timeout", 0, Here, "The session lasted as long as this listener allows."),
            Self::EndpointUnhealthy => {
                ("endpoint_unhealthy", 0, Upstream, "The endpoint became unhealthy while the session was open.")
            }
            Self::TooManyFlows => ("too_many_flows", 0, Here, "As many UDP flows are open as this listener allows."),
            Self::NotSent => {
                ("not_sent", 0, Here, "This host could not send a datagram: no room, too long, or not allowed.")
            }
            Self::Internal => ("internal", 500, Here, "An error of the load balancer itself."),
        };
        Meaning { name, status, side, help }
    }

    /// The word in the access log, metrics, header and `explain`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.meaning().name
    }

    /// Its place in [`Self::ALL`], for counters by reason.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_complete_and_in_order() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), at);
        }
    }

    #[test]
    fn names_are_unique_words() {
        let mut names: Vec<&str> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::COUNT);
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')));
    }

    #[test]
    fn a_local_answer_has_an_error_status_and_help() {
        for reason in Reason::ALL {
            let Meaning { status, help, .. } = reason.meaning();
            assert!(status == 0 || (400..600).contains(&status), "{reason:?}");
            assert!(help.ends_with('.'), "{reason:?}");
        }
    }
}
