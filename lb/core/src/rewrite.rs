//! Where a request goes on to, and where a client is sent: paths rewritten, addresses made.
//!
//! Nothing here knows sockets or heads; what comes in was checked (paths and hosts hold no blank,
//! no control character, nothing over 0x7e), and only pieces of it go out.

use weir_config::model::{PathMatch, PathRewrite, Redirect};

/// A path after its rewriting: two pieces, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten<'a> {
    /// The configuration's, or nothing.
    pub before: &'a str,
    /// The request's, or nothing.
    pub after: &'a str,
}

/// What becomes of `path` (without query) on a route that took it by `matched`.
///
/// Prefixes end where a segment does: what `/api` took of `/api/x` is rewritten to `/v1` as
/// `/v1/x`, and to `/` as `/x`; never does a path come out that begins with two slashes because a
/// prefix went. What is no path (the `*` of OPTIONS) stays what it is.
#[must_use]
pub fn path<'a>(rewrite: &'a PathRewrite, matched: &PathMatch, path: &'a str) -> Rewritten<'a> {
    let kept = Rewritten { before: "", after: path };
    if !path.starts_with('/') {
        return kept;
    }
    match rewrite {
        PathRewrite::Keep => kept,
        PathRewrite::Whole(whole) => Rewritten { before: whole, after: "" },
        PathRewrite::Prefix(prefix) => {
            let matched = match matched {
                PathMatch::Any => "",
                PathMatch::Exact(exact) => exact,
                PathMatch::Prefix(prefix) => prefix.trim_end_matches('/'),
            };
            let rest = path.strip_prefix(matched).unwrap_or(path);
            match (prefix.trim_end_matches('/'), rest.trim_start_matches('/')) {
                // What is exactly the prefix becomes exactly the other.
                _ if rest.is_empty() => Rewritten { before: prefix, after: "" },
                ("", "") => Rewritten { before: "/", after: "" },
                ("", bare) => Rewritten { before: "/", after: bare },
                (prefix, _) => Rewritten { before: prefix, after: rest },
            }
        }
    }
}

/// What a request asked for, as far as it decides on where its client is sent.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whether it came over TLS, to us or to a proxy that is believed.
    pub secure: bool,
    /// Its method.
    pub method: &'a str,
    /// Its `Host`, without port.
    pub host: &'a str,
    /// The port in its `Host`.
    pub port: Option<u16>,
    /// Without query.
    pub path: &'a str,
    /// With its question mark; empty if there is none.
    pub query: &'a str,
}

/// The port in `authority` (`host:port`, `[v6]:port`).
#[must_use]
pub fn port(authority: &[u8]) -> Option<u16> {
    let port = authority.rsplit(|byte| *byte == b':').next().filter(|port| port.len() < authority.len())?;
    std::str::from_utf8(port).ok()?.parse().ok()
}

/// The status of a redirect, and the address: whole, so that no path can be taken for a host. None
/// where the request does not say which host it is for.
#[must_use]
pub fn redirect(to: &Redirect, matched: &PathMatch, asked: &Asked<'_>) -> Option<(u16, String)> {
    let theirs = if asked.secure { "https" } else { "http" };
    let scheme = to.scheme.as_deref().unwrap_or(theirs);
    let host = to.host.as_deref().unwrap_or(asked.host);
    if host.is_empty() {
        return None;
    }
    // Another scheme is spoken at another port.
    let port = to.port.or_else(|| asked.port.filter(|_| scheme == theirs));
    let usual = if scheme == "https" { 443 } else { 80 };
    let path = path(&to.path, matched, asked.path);
    let query = if to.strip_query { "" } else { asked.query };

    let mut location = format!("{scheme}://{host}");
    if let Some(port) = port.filter(|port| *port != usual) {
        location.push_str(&format!(":{port}"));
    }
    match path {
        // `OPTIONS *` is about the server as a whole.
        Rewritten { before: "", after } if !after.starts_with('/') => location.push('/'),
        Rewritten { before, after } => location.extend([before, after]),
    }
    match (location.contains('?'), query.strip_prefix('?')) {
        (true, Some(more)) if !more.is_empty() => location.extend(["&", more]),
        (true, _) => {}
        (false, _) => location.push_str(query),
    }
    let status = to.status.unwrap_or(if matches!(asked.method, "GET" | "HEAD") { 301 } else { 308 });
    Some((status, location))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let prefix = |text: &str| PathMatch::Prefix(text.into());
        let to = |text: &str| PathRewrite::Prefix(text.into());
        for (matched, rewrite, path, wanted) in [
            (prefix("/api"), to("/v1"), "/api/x", "/v1/x"),
            (prefix("/api"), to("/v1"), "/api", "/v1"),
            (prefix("/api"), to("/v1"), "/api/", "/v1/"),
            (prefix("/api"), to("/v1/"), "/api/x", "/v1/x"),
            (prefix("/api"), to("/v1/"), "/api", "/v1/"),
            (prefix("/api/"), to("/v1"), "/api/x", "/v1/x"),
            (prefix("/api/"), to("/v1/"), "/api/", "/v1/"),
            (prefix("/api"), to("/"), "/api/x", "/x"),
            (prefix("/api"), to("/"), "/api", "/"),
            (prefix("/api"), to("/"), "/api/", "/"),
            (prefix("/api"), to("/"), "/api//evil.example/x", "/evil.example/x"),
            (prefix("/api"), to("/v1"), "/api//x", "/v1//x"),
            (prefix("/"), to("/v1"), "/x", "/v1/x"),
            (prefix("/"), to("/v1"), "/", "/v1/"),
            (prefix("/"), to("/"), "//x", "/x"),
            (PathMatch::Any, to("/v1"), "/x", "/v1/x"),
            (PathMatch::Exact("/a".into()), to("/b"), "/a", "/b"),
            (PathMatch::Any, PathRewrite::Whole("/w".into()), "/x", "/w"),
            (PathMatch::Any, PathRewrite::Keep, "//x", "//x"),
            (PathMatch::Any, PathRewrite::Whole("/w".into()), "*", "*"),
            (PathMatch::Any, to("/w"), "*", "*"),
        ] {
            let Rewritten { before, after } = super::path(&rewrite, &matched, path);
            assert_eq!(format!("{before}{after}"), wanted, "{matched:?} {rewrite:?} {path}");
        }
    }

    const SAME: Redirect =
        Redirect { status: None, scheme: None, host: None, port: None, path: PathRewrite::Keep, strip_query: false };
    const GET: Asked<'_> =
        Asked { secure: false, method: "GET", host: "a.example", port: None, path: "/x", query: "?y=1" };

    fn location(to: &Redirect, asked: &Asked<'_>) -> String {
        redirect(to, &PathMatch::Prefix("/x".into()), asked).unwrap().1
    }

    #[test]
    fn what_is_not_given_stays() {
        let https = Redirect { scheme: Some("https".into()), ..SAME };
        let port = |port| Asked { port: Some(port), ..GET };
        assert_eq!(location(&SAME, &GET), "http://a.example/x?y=1");
        assert_eq!(location(&SAME, &Asked { secure: true, ..GET }), "https://a.example/x?y=1");
        assert_eq!(location(&SAME, &port(8080)), "http://a.example:8080/x?y=1");
        assert_eq!(location(&SAME, &port(80)), "http://a.example/x?y=1");
        assert_eq!(location(&https, &port(8080)), "https://a.example/x?y=1");
        assert_eq!(location(&https, &Asked { secure: true, ..port(8443) }), "https://a.example:8443/x?y=1");
        assert_eq!(location(&Redirect { port: Some(443), ..https.clone() }, &GET), "https://a.example/x?y=1");
        assert_eq!(location(&Redirect { port: Some(80), ..https }, &GET), "https://a.example:80/x?y=1");
        let host = Redirect { host: Some("b.example".into()), ..SAME };
        assert_eq!(location(&host, &port(8080)), "http://b.example:8080/x?y=1");
        assert_eq!(location(&Redirect { strip_query: true, ..SAME }, &GET), "http://a.example/x");
        let whole = |path: &str| Redirect { path: PathRewrite::Whole(path.into()), ..SAME };
        assert_eq!(location(&whole("/z"), &GET), "http://a.example/z?y=1");
        assert_eq!(location(&whole("/z?a=b"), &GET), "http://a.example/z?a=b&y=1");
        let prefix = Redirect { path: PathRewrite::Prefix("/new".into()), ..SAME };
        assert_eq!(location(&prefix, &Asked { path: "/x/y", ..GET }), "http://a.example/new/y?y=1");
        assert_eq!(location(&SAME, &Asked { method: "OPTIONS", path: "*", query: "", ..GET }), "http://a.example/");
        assert_eq!(location(&SAME, &Asked { host: "[::1]", ..GET }), "http://[::1]/x?y=1");
    }

    #[test]
    fn ports() {
        for (authority, wanted) in [
            ("a.example", None),
            ("a.example:80", Some(80)),
            ("a.example:", None),
            ("[::1]", None),
            ("[::1]:8080", Some(8080)),
            ("8080", None),
            ("", None),
        ] {
            assert_eq!(port(authority.as_bytes()), wanted, "{authority}");
        }
    }

    #[test]
    fn the_status_keeps_the_method_where_it_matters() {
        let status = |to: &Redirect, method| redirect(to, &PathMatch::Any, &Asked { method, ..GET }).unwrap().0;
        assert_eq!(["GET", "HEAD", "POST"].map(|method| status(&SAME, method)), [301, 301, 308]);
        assert_eq!(status(&Redirect { status: Some(302), ..SAME }, "POST"), 302);
    }

    #[test]
    fn nobody_is_sent_to_a_host_that_a_path_names() {
        let asked = Asked { path: "//evil.example/x", query: "", ..GET };
        assert_eq!(location(&SAME, &asked), "http://a.example//evil.example/x");
        // Without a host of its own an address would be read as the path says.
        assert_eq!(redirect(&SAME, &PathMatch::Any, &Asked { host: "", ..asked }), None);
    }
}
