//! `Host` and authorities: what may stand there (RFC 3986 3.2, RFC 9110 7.2).

/// The host of `authority` (`host`, `host:port`, `[v6]`, `[v6]:port`), or nothing if it is none.
///
/// Stricter than the grammar: no user information, and of the characters the grammar allows in
/// a registered name only those that occur in names, since the others exist in attacks alone.
pub(crate) fn split(authority: &[u8]) -> Option<&[u8]> {
    let (host, port) = if authority.first() == Some(&b'[') {
        let end = memchr::memchr(b']', authority)?;
        let inner = authority.get(1..end)?;
        std::str::from_utf8(inner).ok()?.parse::<std::net::Ipv6Addr>().ok()?;
        (&authority[..=end], &authority[end + 1..])
    } else {
        let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
        let host = &authority[..end];
        if host.is_empty() || !host.iter().all(|&byte| IN_NAMES[usize::from(byte)]) {
            return None;
        }
        (host, &authority[end..])
    };
    is_port(port).then_some(host)
}

/// Which bytes may occur in a name.
const IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        let ascii = byte as u8;
        table[byte] = ascii.is_ascii_alphanumeric() || matches!(ascii, b'-' | b'.' | b'_' | b'~' | b'%');
        byte += 1;
    }
    table
};

/// Nothing, or a colon and a port; the grammar lets the port be empty.
fn is_port(text: &[u8]) -> bool {
    match text {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && digits.iter().fold(0u32, |port, digit| port * 10 + u32::from(digit - b'0')) <= 65_535
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn hosts() {
        for (authority, host) in [
            ("shop.example", Some("shop.example")),
            ("Shop.example:8080", Some("Shop.example")),
            ("shop.example:", Some("shop.example")),
            ("127.0.0.1:1", Some("127.0.0.1")),
            ("[::1]", Some("[::1]")),
            ("[::1]:80", Some("[::1]")),
            ("a_b-c.d~e%20", Some("a_b-c.d~e%20")),
            ("", None),
            (":80", None),
            ("a b", None),
            ("a/b", None),
            ("a@b", None),
            ("a,b", None),
            ("a:b", None),
            ("a:80:80", None),
            ("a:65536", None),
            ("a:000080", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[zz]", None),
            ("http://a", None),
            ("a\0", None),
        ] {
            assert_eq!(split(authority.as_bytes()), host.map(str::as_bytes), "{authority:?}");
        }
    }
}
