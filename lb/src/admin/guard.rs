//! Which requests are answered at all.
//!
//! A browser on the operator's machine can be made to send requests here by any web page: by a
//! name that resolves to our address (DNS rebinding), or across sites. Both show in the head.

use std::net::IpAddr;

use http::header::{HOST, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{StatusCode, Version};

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
        Some(Ok(host)) => Some(host),
        Some(Err(_)) => return Err(refusal(StatusCode::BAD_REQUEST, "host", "The Host header is no text.")),
        // Before HTTP/1.1 there was none: keepalived and HAProxy probe so, and no browser does.
        None if head.version < Version::HTTP_11 => None,
        None => return Err(refusal(StatusCode::BAD_REQUEST, "host", "The Host header is missing.")),
    };
    let is_ours = |host: &str| unix || is_ours(host, hosts);
    if host.is_some_and(|host| !is_ours(host))
        || head.uri.authority().is_some_and(|authority| !is_ours(authority.as_str()))
    {
        return Err(refusal(
            StatusCode::MISDIRECTED_REQUEST,
            "host",
            "Ask by IP address or as localhost; other names are answered if `admin.hosts` has them.",
        ));
    }
    let elsewhere = "Requests on behalf of another web site are not answered.";
    if let Some(origin) = head.headers.get(ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        let same = |(_, origin): (&str, &str)| host.is_some_and(|host| origin.eq_ignore_ascii_case(host));
        if !origin.is_some_and(same) {
            return Err(refusal(StatusCode::FORBIDDEN, "origin", elsewhere));
        }
    }
    // Browsers say so themselves, even of requests that they send no origin with: an image whose address
    // is ours is never shown, but would have us look at every endpoint, or hold a stream.
    let said = |name: &str| head.headers.get(name).map(HeaderValue::as_bytes);
    let followed = wish != Wish::Change && said("sec-fetch-dest") == Some(b"document");
    if matches!(said("sec-fetch-site"), Some(b"cross-site" | b"same-site")) && !followed {
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
    fn before_http_1_1_nobody_says_a_host() {
        let (mut head, ()) = http::Request::get("/readyz").body(()).unwrap().into_parts();
        head.version = Version::HTTP_10;
        assert_eq!(check(&head, Wish::Probe, &[], false), Ok(()));
        head.headers.insert(ORIGIN, HeaderValue::from_static("http://evil.example"));
        assert!(check(&head, Wish::Read, &[], false).is_err());
        head.headers.remove(ORIGIN);
        head.headers.insert(HOST, HeaderValue::from_static("evil.example"));
        assert!(check(&head, Wish::Read, &[], false).is_err());
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
            for (wish, dest, expected) in [
                (Wish::Read, "document", None),
                (Wish::Page, "document", None),
                (Wish::Read, "image", expected),
                (Wish::Read, "iframe", expected),
                (Wish::Read, "empty", expected),
                (Wish::Change, "document", expected),
            ] {
                let fields = [host, ("sec-fetch-site", site), ("sec-fetch-dest", dest)];
                assert_eq!(verdict(wish, false, &fields), expected, "{wish:?} {site} {dest}");
            }
        }
    }
}
