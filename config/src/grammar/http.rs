//! What HTTP is made of: host patterns, paths, methods, headers, statuses.

use std::net::Ipv6Addr;
use std::ops::RangeInclusive;

use super::Wrong;
use crate::model::HostPattern;

/// Longest path, in bytes.
const MAX_PATH: usize = 4096;
/// Longest header value, in bytes.
const MAX_VALUE: usize = 8192;

/// A host to match: a name, an IP address, or `*.` and a name. No port.
pub(crate) fn host_pattern(text: &str) -> Result<HostPattern, Wrong> {
    let bad = |message: String| Wrong::new("bad_host", message);
    if text == "*" {
        return Err(bad("\"*\" is no host pattern".into()).hint("leave `host` out to take every host"));
    }
    let lower = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if let Some(inner) = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inner.parse::<Ipv6Addr>() {
            Ok(ip) => Ok(HostPattern::Exact(format!("[{ip}]"))),
            Err(_) => Err(bad(format!("{text:?} is not an IPv6 address in brackets"))),
        };
    }
    if lower.contains("://") || lower.contains('/') {
        return Err(
            bad(format!("{text:?} is a URL, not a host")).hint("give the name only; paths go into `path_prefix`")
        );
    }
    if lower.contains(':') {
        return Err(bad(format!("{text:?} has a port; hosts are compared without it")).hint("remove the port"));
    }
    let (wildcard, name) = match lower.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, &*lower),
    };
    if name.contains('*') {
        return Err(bad(format!("{text:?} has a * in a place where it means nothing"))
            .hint("a wildcard is `*.` in front of a name, as in *.example.com"));
    }
    check_host_name(name).map_err(|why| bad(format!("{text:?} is no host name: {why}")))?;
    Ok(if wildcard { HostPattern::Wildcard(format!(".{name}")) } else { HostPattern::Exact(name.to_owned()) })
}

pub(super) fn check_host_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > 253 {
        return Err("it has more than 253 bytes");
    }
    if !name.is_ascii() {
        return Err("international names are written in their xn-- form");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err("a part between two dots is empty");
        }
        if label.len() > 63 {
            return Err("a part between two dots has more than 63 bytes");
        }
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            return Err("only letters, digits, '-', '_' and '.' occur in one");
        }
    }
    Ok(())
}

/// A `Host` header to send: a host, perhaps with a port.
pub(crate) fn host_header(text: &str) -> Result<String, Wrong> {
    let without_port = match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && !host.ends_with(':') => host,
        _ => text,
    };
    match host_pattern(without_port)? {
        HostPattern::Exact(_) => Ok(text.to_owned()),
        HostPattern::Wildcard(_) => {
            Err(Wrong::new("bad_host", format!("{text:?} is a pattern; a Host header needs one name")))
        }
    }
}

/// A path to match: starts with `/`, without query.
pub(crate) fn path(text: &str) -> Result<String, Wrong> {
    let path = probe_path(text)?;
    if path.contains('?') {
        return Err(Wrong::new("bad_path", format!("{text:?} has a query; paths are compared without it"))
            .hint("remove everything from the ? on"));
    }
    Ok(path)
}

/// A path to ask for: starts with `/`, a query is allowed.
pub(crate) fn probe_path(text: &str) -> Result<String, Wrong> {
    let bad = |message: String| Wrong::new("bad_path", message);
    if !text.starts_with('/') {
        return Err(bad(format!("the path {text:?} does not start with /")).hint(format!("write /{text}")));
    }
    if text.len() > MAX_PATH {
        return Err(bad(format!("the path has {} bytes; at most {MAX_PATH} are allowed", text.len())));
    }
    if text.contains('#') {
        return Err(bad(format!("{text:?} has a fragment (#), which no client sends")));
    }
    match text.chars().find(|c| !c.is_ascii_graphic()) {
        Some(c) => Err(bad(format!("the path {text:?} holds {c:?}, which cannot stand in a path as it is"))
            .hint("percent-encode it, as in %20 for a space")),
        None => Ok(text.to_owned()),
    }
}

/// A method, upper case.
pub(crate) fn method(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || text.len() > 32 || !text.bytes().all(is_token) {
        return Err(Wrong::new("bad_method", format!("{text:?} is no method")).hint("as in GET, POST or PURGE"));
    }
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(Wrong::new("bad_method", format!("{text:?} is in lower case; methods are compared with case"))
            .hint(format!("write {}", text.to_ascii_uppercase())));
    }
    Ok(text.to_owned())
}

/// A header's name, in lower case.
pub(crate) fn header_name(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || text.len() > 256 || !text.bytes().all(is_token) {
        return Err(Wrong::new("bad_header_name", format!("{text:?} is no header name"))
            .hint("letters, digits and '-', as in x-canary"));
    }
    Ok(text.to_ascii_lowercase())
}

/// A header's value: what may go over the wire without changing its meaning.
pub(crate) fn header_value(text: &str) -> Result<String, Wrong> {
    if let Some(bad) = text.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(Wrong::new("bad_header_value", format!("a header value cannot hold {bad:?}"))
            .hint("line breaks and control characters would begin another header"));
    }
    if text.len() > MAX_VALUE {
        return Err(Wrong::new("bad_header_value", format!("a header value has at most {MAX_VALUE} bytes")));
    }
    if text.trim_matches([' ', '\t']).len() != text.len() {
        return Err(Wrong::new("bad_header_value", format!("{text:?} has space around it, which no recipient keeps"))
            .hint("remove it"));
    }
    Ok(text.to_owned())
}

/// A cookie's name: a token (RFC 6265).
pub(crate) fn cookie_name(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || text.len() > 256 || !text.bytes().all(is_token) {
        return Err(Wrong::new("bad_cookie_name", format!("{text:?} is no cookie name"))
            .hint("letters, digits, '-' and '_', as in weir-sticky"));
    }
    Ok(text.to_owned())
}

/// A cookie's value (RFC 6265 `cookie-octet`), and spaces within it, which many send.
pub(crate) fn cookie_value(text: &str) -> Result<String, Wrong> {
    let fits = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && !matches!(byte, b'"' | b',' | b';' | b'\\');
    if !text.bytes().all(fits) || text.trim_ascii().len() != text.len() || text.len() > 4096 {
        return Err(Wrong::new("bad_cookie_value", format!("{text:?} is no value of a cookie"))
            .hint("ASCII without quotes, commas, semicolons and backslashes, as it is sent"));
    }
    Ok(text.to_owned())
}

/// A cookie's `Path`: what a browser can compare with a path, and nothing that ends the attribute.
pub(crate) fn cookie_path(text: &str) -> Result<String, Wrong> {
    let path = path(text)?;
    if path.contains([';', ',']) {
        return Err(Wrong::new("bad_path", format!("{text:?} holds what would end the cookie's path"))
            .hint("leave out everything from the ; or , on"));
    }
    Ok(path)
}

/// The name of a parameter of a query, compared as received.
pub(crate) fn query_name(text: &str) -> Result<String, Wrong> {
    let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b'&' | b'=' | b'#' | b';');
    if text.is_empty() || text.len() > 256 || !text.bytes().all(fits) {
        return Err(Wrong::new("bad_query_name", format!("{text:?} is no parameter of a query"))
            .hint("its name as it is sent, without ? and =, as in user"));
    }
    Ok(text.to_owned())
}

/// RFC 9110 `tchar`.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// Expected statuses as text: `200`, `200-299` (both ends included) or `2xx`.
pub(crate) fn statuses(text: &str) -> Result<RangeInclusive<u16>, Wrong> {
    let bad = || {
        Wrong::new("bad_status", format!("{text:?} is no status")).hint("as in 200, 200-299 (both ends count) or 2xx")
    };
    if let [class @ b'0'..=b'9', b'x' | b'X', b'x' | b'X'] = text.as_bytes() {
        let first = u16::from(class - b'0') * 100;
        return status_range(first, first + 99);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |part: &str| part.trim().parse::<u16>().map_err(|_| bad());
    status_range(number(first)?, number(last)?)
}

/// `first` to `last`, both included.
pub(crate) fn status_range(first: u16, last: u16) -> Result<RangeInclusive<u16>, Wrong> {
    if first > last {
        return Err(
            Wrong::new("bad_status", format!("the range {first}-{last} is empty")).hint("the smaller comes first")
        );
    }
    if first < 100 || last > 599 {
        return Err(Wrong::new(
            "bad_status",
            format!("a status is a number from 100 to 599, not {}", if first < 100 { first } else { last }),
        ));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let exact = |name: &str| Ok(HostPattern::Exact(name.to_owned()));
        let table = [
            ("shop.example", exact("shop.example")),
            ("Shop.Example.", exact("shop.example")),
            ("[::1]", exact("[::1]")),
            ("10.0.0.1", exact("10.0.0.1")),
            ("*.example.com", Ok(HostPattern::Wildcard(".example.com".into()))),
            ("*", Err("bad_host")),
            ("a.*.com", Err("bad_host")),
            ("*a.com", Err("bad_host")),
            ("a..com", Err("bad_host")),
            ("a:80", Err("bad_host")),
            ("http://a", Err("bad_host")),
            ("bücher.example", Err("bad_host")),
            ("a b", Err("bad_host")),
            ("", Err("bad_host")),
        ];
        for (text, expected) in table {
            assert_eq!(host_pattern(text).map_err(|wrong| wrong.code), expected, "{text}");
        }
        assert!(host_header("shop.example:8080").is_ok());
        assert!(host_header("*.example").is_err());
    }

    #[test]
    fn statuses_in_all_forms() {
        assert_eq!(statuses("200").unwrap(), 200..=200);
        assert_eq!(statuses("200-299").unwrap(), 200..=299);
        assert_eq!(statuses("2xx").unwrap(), 200..=299);
        for bad in ["", "ok", "99", "600", "0xx", "6xx", "299-200", "200-", "-200", "2x"] {
            assert_eq!(statuses(bad).map_err(|wrong| wrong.code), Err("bad_status"), "{bad}");
        }
    }

    #[test]
    fn nothing_smuggles_a_line_break() {
        for bad in ["a\r\nb: c", "a\nb", "a\0", " a", "a "] {
            assert!(header_value(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a b", "a:", "a\r\n", "ä"] {
            assert!(header_name(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "get", "G T", "GET\r\n"] {
            assert!(method(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a", "/a b", "/a\r\n", "/a#b"] {
            assert!(probe_path(bad).is_err(), "{bad:?}");
        }
        assert!(path("/a?b").is_err() && probe_path("/a?b").is_ok());
        for bad in ["", "a b", "a;b", "a=b", "a\r\n", "\u{e4}"] {
            assert!(cookie_name(bad).is_err() && query_name(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a", "/;Domain=x", "/a\r\n", "/a,b"] {
            assert!(cookie_path(bad).is_err(), "{bad:?}");
        }
        assert!(cookie_name("__Host-id").is_ok() && query_name("user[id]").is_ok() && cookie_path("/a").is_ok());
    }
}
