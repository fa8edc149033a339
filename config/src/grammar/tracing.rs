//! Where spans go.

use std::net::Ipv6Addr;

use super::{Wrong, probe_path};
use crate::model::OtlpEndpoint;

/// The path of OTLP's receivers, for a URL that has none.
const OTLP_PATH: &str = "/v1/traces";

/// An `http://` or `https://` URL that OTLP is posted to.
pub(crate) fn otlp_endpoint(text: &str) -> Result<OtlpEndpoint, Wrong> {
    let bad = |message: String| Wrong::new("bad_url", message).hint("as in http://127.0.0.1:4318/v1/traces");
    let (secure, rest) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
        Some((scheme, _)) => return Err(bad(format!("{scheme}:// is neither http:// nor https://"))),
        None => return Err(bad(format!("{text:?} is no URL: it does not begin with http:// or https://"))),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(bad(format!("{text:?} holds a user's name")).hint("what proves who we are goes into `headers`"));
    }
    let path = match path {
        "" | "/" => OTLP_PATH.to_owned(),
        path => probe_path(path)?,
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| bad(format!("{authority:?} has no closing ]")))?;
            host.parse::<Ipv6Addr>().map_err(|_| bad(format!("{host:?} is no IPv6 address")))?;
            (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port).filter(|port| !port.is_empty())),
            None => (authority, Some("")),
        },
    };
    let port = match port {
        Some("") => Some(if secure { 443 } else { 80 }),
        Some(port) => port.parse().ok().filter(|port| *port != 0),
        None => None,
    };
    let port = port.ok_or_else(|| bad(format!("{authority:?} has no port from 1 to 65535 behind its colon")))?;
    if !host.contains(':') {
        super::http::check_host_name(host).map_err(|why| bad(format!("{host:?} is no host name: {why}")))?;
    }
    Ok(OtlpEndpoint { secure, host: host.to_ascii_lowercase(), port, path })
}

/// What a service is called where spans are looked at.
pub(crate) fn service_name(text: &str) -> Result<(), Wrong> {
    let fits = !text.is_empty() && text.len() <= 255 && !text.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(Wrong::new("bad_name", "a service's name has 1 to 255 bytes and no control characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, expected) in [
            ("http://127.0.0.1:4318/v1/traces", Ok("http://127.0.0.1:4318/v1/traces")),
            ("http://collector:4318", Ok("http://collector:4318/v1/traces")),
            ("https://Otlp.Example/", Ok("https://otlp.example:443/v1/traces")),
            ("http://[::1]:4318/x?y=1", Ok("http://[::1]:4318/x?y=1")),
            ("HTTPS://[::1]", Ok("https://[::1]:443/v1/traces")),
            ("grpc://a:4317", Err("bad_url")),
            ("127.0.0.1:4318", Err("bad_url")),
            ("http://", Err("bad_url")),
            ("http://a:", Err("bad_url")),
            ("http://a:0", Err("bad_url")),
            ("http://a:b", Err("bad_url")),
            ("http://[::1", Err("bad_url")),
            ("http://[::1]x", Err("bad_url")),
            ("http://[a]", Err("bad_url")),
            ("http://u:p@a/", Err("bad_url")),
            ("http://a b/", Err("bad_url")),
            ("http://a/#x", Err("bad_path")),
            ("http://a?x", Err("bad_path")),
        ] {
            let found = otlp_endpoint(text).map(|url| url.to_string()).map_err(|wrong| wrong.code);
            assert_eq!(found.as_deref().map_err(|code| *code), expected, "{text}");
        }
    }
}
