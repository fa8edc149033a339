//! Which requests are answered at all.
//!
//! A browser on the operator's machine can be made to send requests here by any web page: by a
//! name that resolves to our address (DNS rebinding), or across sites. Both show in the head.

use std::net::IpAddr;

use http::StatusCode;
use http::header::{HOST, HeaderValue, ORIGIN};
use http::request::Parts;

use super::access::Wish;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// For the metric and the log.
    pub(super) why: &'static str,
    pub(super) detail: &'static str,
}

const fn refusal(status: StatusCode, why: &'static str, detail: &'static str) -> Refusal {
    Refusal { status, why, detail }
}

/// Refuses what a web page elsewhere may have caused. `hosts` are names of ours; over a Unix socket, which
/// no browser speaks, every name is.
pub(super) fn check(head: &Parts, wish: Wish, hosts: &[String], unix: bool) -> Result<(), Refusal> {
    let host = match head.headers.get(HOST).map(|host| host.to_str()) {
        Some(Ok(host)) => host,
        Some(Err(_)) => return Err(refusal(StatusCode::BAD_REQUEST, "host", "The Host header is no text.")),
        None => return Err(refusal(StatusCode::BAD_REQUEST, "host", "The Host header is missing.")),
    };
    let is_ours = |host: &str| unix || is_ours(host, hosts);
    if !is_ours(host) || head.uri.authority().is_some_and(|authority| !is_ours(authority.as_str())) {
        return Err(refusal(
            StatusCode::MISDIRECTED_REQUEST,
            "host",
            "Ask by IP address or as localhost; other names are answered if `admin.hosts` has them.",
        ));
    }
    let elsewhere = "Requests on behalf of another web site are not answered.";
    if let Some(origin) = head.headers.get(ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        if origin.is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host)) {
            return Err(refusal(StatusCode::FORBIDDEN, "origin", elsewhere));
        }
    }
    // Browsers say so themselves, even of requests that they send no origin with.
    let site = head.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if wish == Wish::Change && matches!(site, Some(b"cross-site" | b"same-site")) {
        return Err(refusal(StatusCode::FORBIDDEN, "origin", elsewhere));
    }
    Ok(())
}

/// Whether `host`, with or without a port, is an address, localhost or one of `hosts`.
fn is_ours(host: &str, hosts: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        // More than one colon and no brackets: an address, and no port.
        None if host.matches(':').count() > 1 => host,
        None => host.split(':').next().unwrap_or_default(),
    };
    // The root's dot says nothing.
    let plain = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok()
        || hosts.iter().any(|ours| ours.eq_ignore_ascii_case(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(wish: Wish, unix: bool, fields: &[(&str, &str)]) -> Option<u16> {
        let mut request = http::Request::builder().uri("/metrics");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(&head, wish, &["weir.example".to_owned()], unix).err().map(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn only_addresses_localhost_and_our_names_are_answered() {
        for (host, expected) in [
            ("127.0.0.1:9900", None),
            ("localhost", None),
            ("LOCALHOST:1", None),
            ("[::1]:9900", None),
            ("10.1.2.3", None),
            ("Weir.example:9900", None),
            ("weir.example.", None),
            ("evil.example", Some(421)),
            ("x.weir.example", Some(421)),
            ("localhost.evil.example:9900", Some(421)),
            ("127.0.0.1.evil.example", Some(421)),
            ("", Some(421)),
            ("[::1", Some(421)),
        ] {
            assert_eq!(verdict(Wish::Read, false, &[("host", host)]), expected, "{host}");
            assert_eq!(verdict(Wish::Read, true, &[("host", host)]), None, "{host}");
        }
        assert_eq!(verdict(Wish::Read, false, &[]), Some(400));
    }

    #[test]
    fn other_sites_are_refused() {
        let host = ("host", "127.0.0.1:9900");
        let from = |origin| verdict(Wish::Change, false, &[host, ("origin", origin)]);
        assert_eq!(from("http://127.0.0.1:9900"), None);
        for origin in ["http://evil.example", "null", "http://127.0.0.1:9901", "127.0.0.1:9900"] {
            assert_eq!(from(origin), Some(403), "{origin}");
        }
        for (site, expected) in
            [("same-origin", None), ("none", None), ("same-site", Some(403)), ("cross-site", Some(403))]
        {
            assert_eq!(verdict(Wish::Change, false, &[host, ("sec-fetch-site", site)]), expected, "{site}");
            assert_eq!(verdict(Wish::Read, false, &[host, ("sec-fetch-site", site)]), None, "{site}");
        }
    }
}
