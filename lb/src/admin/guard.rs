//! Which requests are answered at all.
//!
//! A browser on the operator's machine can be made to send requests here by any web page: by a
//! name that resolves to our address (DNS rebinding), or across sites. Both show in the head.

use std::net::{IpAddr, SocketAddr};

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{Method, StatusCode};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) detail: &'static str,
}

const fn refusal(status: StatusCode, detail: &'static str) -> Refusal {
    Refusal { status, detail }
}

/// Refuses what a web page elsewhere may have caused, and changes asked for from another host.
pub(super) fn check(head: &Parts, peer: SocketAddr) -> Result<(), Refusal> {
    let host = match head.headers.get(HOST).map(|host| host.to_str()) {
        Some(Ok(host)) => host,
        Some(Err(_)) => return Err(refusal(StatusCode::BAD_REQUEST, "The Host header is no text.")),
        None => return Err(refusal(StatusCode::BAD_REQUEST, "The Host header is missing.")),
    };
    if !is_ours(host) || head.uri.authority().is_some_and(|authority| !is_ours(authority.as_str())) {
        return Err(refusal(
            StatusCode::MISDIRECTED_REQUEST,
            "Ask by IP address or as localhost; no other name is answered here.",
        ));
    }
    if let Some(origin) = head.headers.get(ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        if origin.is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host)) {
            return Err(refusal(StatusCode::FORBIDDEN, "Requests on behalf of another web site are not answered."));
        }
    }
    if !matches!(head.method, Method::GET | Method::HEAD) && !peer.ip().to_canonical().is_loopback() {
        return Err(refusal(StatusCode::FORBIDDEN, "Changes are taken from this host only: ask over loopback."));
    }
    Ok(())
}

/// Whether `host`, with or without a port, is an address or localhost.
fn is_ours(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        // More than one colon and no brackets: an address, and no port.
        None if host.matches(':').count() > 1 => host,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(method: &str, fields: &[(&str, &str)], peer: [u8; 4]) -> Option<u16> {
        let mut request = http::Request::builder().method(method).uri("/livez");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(&head, SocketAddr::from((peer, 4000))).err().map(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn only_addresses_and_localhost_are_answered() {
        for (host, expected) in [
            ("127.0.0.1:9900", None),
            ("localhost", None),
            ("LOCALHOST:1", None),
            ("[::1]:9900", None),
            ("10.1.2.3", None),
            ("evil.example", Some(421)),
            ("localhost.evil.example:9900", Some(421)),
            ("127.0.0.1.evil.example", Some(421)),
            ("", Some(421)),
            ("[::1", Some(421)),
        ] {
            assert_eq!(verdict("GET", &[("host", host)], [127, 0, 0, 1]), expected, "{host}");
        }
        assert_eq!(verdict("GET", &[], [127, 0, 0, 1]), Some(400));
    }

    #[test]
    fn other_sites_are_refused() {
        let from = |origin| verdict("POST", &[("host", "127.0.0.1:9900"), ("origin", origin)], [127, 0, 0, 1]);
        assert_eq!(from("http://127.0.0.1:9900"), None);
        for origin in ["http://evil.example", "null", "http://127.0.0.1:9901", "127.0.0.1:9900"] {
            assert_eq!(from(origin), Some(403), "{origin}");
        }
    }

    #[test]
    fn changes_come_from_this_host() {
        let host = [("host", "10.0.0.1:9900")];
        assert_eq!(verdict("GET", &host, [10, 0, 0, 9]), None);
        assert_eq!(verdict("POST", &host, [10, 0, 0, 9]), Some(403));
        assert_eq!(verdict("POST", &host, [127, 0, 0, 1]), None);
    }
}
