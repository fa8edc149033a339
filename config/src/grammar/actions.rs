//! What is done with requests on their way: fields that may be changed and what they become, hosts,
//! protocols to change to, bodies.

use super::Wrong;
use super::http::{header_name, header_value, host_pattern, is_token};
use crate::model::{HeaderTemplate, HostPattern, Piece};
use crate::nearest::nearest;

/// Longest body of a fixed answer, in bytes.
const MAX_BODY: usize = 64 << 10;

/// Fields that say how a message travels, not what it says (RFC 9110, 7.6.1; RFC 9113, 8.2.2): what
/// an operator wrote there could part one message from the next in the wrong place.
const OF_THE_WIRE: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What may stand in braces.
const PIECES: [(&str, Piece); 7] = [
    ("client_address", Piece::ClientAddress),
    ("host", Piece::Host),
    ("path", Piece::Path),
    ("request_id", Piece::RequestId),
    ("scheme", Piece::Scheme),
    ("cluster", Piece::Cluster),
    ("server_name", Piece::ServerName),
];

/// One host name or IP address, without port, in lower case.
pub(crate) fn host(text: &str) -> Result<String, Wrong> {
    match host_pattern(text)? {
        HostPattern::Exact(name) => Ok(name),
        HostPattern::Wildcard(_) => {
            Err(Wrong::new("bad_host", format!("{text:?} is a pattern; one name is needed here")))
        }
    }
}

/// A name to match with what TLS clients ask for: never an address (RFC 6066, 3).
pub(crate) fn sni_pattern(text: &str) -> Result<HostPattern, Wrong> {
    let pattern = host_pattern(text)?;
    let (HostPattern::Exact(name) | HostPattern::Wildcard(name)) = &pattern;
    if name.starts_with('[') || name.parse::<std::net::IpAddr>().is_ok() {
        return Err(Wrong::new("bad_host", format!("{text:?} is an address; TLS clients ask for names only"))
            .hint("a route without `sni` takes those who ask for no name"));
    }
    Ok(pattern)
}

/// The name of a field that a route may change, in lower case.
pub(crate) fn edited_header(text: &str) -> Result<String, Wrong> {
    let name = header_name(text)?;
    if name == "host" {
        return Err(Wrong::new("header_not_free", "the Host of a request is no field like others: routes go by it")
            .hint("to send another one, give `rewrite: {host: NAME}`"));
    }
    if OF_THE_WIRE.contains(&&*name) {
        let message = format!("`{text}` says how a message travels, and is Weir's to write");
        return Err(Wrong::new("header_not_free", message).hint("remove it"));
    }
    Ok(name)
}

/// The value of a field, in which some words in braces stand for what they say of the request.
pub(crate) fn header_template(text: &str) -> Result<HeaderTemplate, Wrong> {
    header_value(text)?;
    let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let (brace, after) = rest[at..].split_at(1);
        if after.starts_with(brace) {
            plain.push_str(brace);
            rest = &after[1..];
            continue;
        }
        let end = after.find('}').filter(|_| brace == "{").ok_or_else(|| lone_brace(text, brace))?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(piece(&after[..end])?);
        rest = &after[end + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(HeaderTemplate(pieces))
}

fn lone_brace(text: &str, brace: &str) -> Wrong {
    Wrong::new("bad_template", format!("{text:?} has a `{brace}` without its other half"))
        .hint(format!("for the brace itself write {brace}{brace}"))
}

fn piece(name: &str) -> Result<Piece, Wrong> {
    if let Some((_, piece)) = PIECES.iter().find(|(known, _)| *known == name) {
        return Ok(piece.clone());
    }
    let wrong = Wrong::new("bad_template", format!("{{{name}}} stands for nothing"));
    let known = || PIECES.iter().map(|(known, _)| *known);
    Err(match nearest(name, known()) {
        Some(near) => wrong.hint(format!("did you mean {{{near}}}?")),
        None => wrong.hint(format!("known: {}; for a brace itself write {{{{", known().collect::<Vec<_>>().join(", "))),
    })
}

/// A protocol that a request may change to by `Upgrade`, in lower case; or `connect`.
pub(crate) fn upgrade(text: &str) -> Result<String, Wrong> {
    let bad = |message: String| Wrong::new("bad_upgrade", message);
    let name = text.to_ascii_lowercase();
    let mut parts = name.split('/');
    if text.len() > 64 || !parts.all(|part| !part.is_empty() && part.bytes().all(is_token)) {
        return Err(bad(format!("{text:?} is no protocol")).hint("a word as it stands in Upgrade, as in websocket"));
    }
    match &*name {
        "h2c" | "h2" | "http" | "http/1.1" | "http/2" | "http/2.0" | "tls" => {
            Err(bad(format!("`{text}` would change what Weir itself speaks, and hide requests from it"))
                .hint("HTTP/2 is spoken without Upgrade: by ALPN, or with prior knowledge"))
        }
        "ws" | "wss" | "websockets" => Err(bad(format!("`{text}` is no protocol")).hint("did you mean `websocket`?")),
        _ => Ok(name),
    }
}

/// A protocol offered by ALPN (RFC 7301): 1 to 255 bytes, here of visible ASCII.
pub(crate) fn alpn(text: &str) -> Result<(), Wrong> {
    if text.is_empty() || text.len() > 255 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Wrong::new("bad_alpn", format!("{text:?} is no protocol")).hint("as in h2, http/1.1 or postgresql"));
    }
    if text.eq_ignore_ascii_case("http/2") || text.eq_ignore_ascii_case("http2") {
        return Err(Wrong::new("bad_alpn", format!("`{text}` is no protocol")).hint("HTTP/2 is `h2` here"));
    }
    Ok(())
}

/// The body of a fixed answer.
pub(crate) fn body(text: &str) -> Result<(), Wrong> {
    if text.len() > MAX_BODY {
        return Err(Wrong::new(
            "body_too_large",
            format!("this body has {} bytes; at most {MAX_BODY} are", text.len()),
        )
        .hint("what is larger is for a web server"));
    }
    Ok(())
}

/// A media type, with parameters or without.
pub(crate) fn content_type(text: &str) -> Result<(), Wrong> {
    let value = header_value(text)?;
    let essence = value.split(';').next().unwrap_or_default().trim_end();
    let token = |part: &str| !part.is_empty() && part.bytes().all(is_token);
    match essence.split_once('/') {
        Some((kind, subtype)) if token(kind) && token(subtype) => Ok(()),
        _ => Err(Wrong::new("bad_content_type", format!("{text:?} is no media type")).hint("as in text/html")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(text: &str) -> Result<Vec<Piece>, &'static str> {
        header_template(text).map(|template| template.0).map_err(|wrong| wrong.code)
    }

    #[test]
    fn templates() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let table = [
            ("", Ok(vec![])),
            ("plain", Ok(vec![text("plain")])),
            ("{client_address}", Ok(vec![Piece::ClientAddress])),
            ("a{host}b{path}", Ok(vec![text("a"), Piece::Host, text("b"), Piece::Path])),
            ("{scheme}{scheme}", Ok(vec![Piece::Scheme, Piece::Scheme])),
            ("{{host}}", Ok(vec![text("{host}")])),
            ("{{{host}}}", Ok(vec![text("{"), Piece::Host, text("}")])),
            ("ü {cluster}", Ok(vec![text("ü "), Piece::Cluster])),
            ("{", Err("bad_template")),
            ("}", Err("bad_template")),
            ("a}b", Err("bad_template")),
            ("{host", Err("bad_template")),
            ("{}", Err("bad_template")),
            ("{ host }", Err("bad_template")),
            ("{Host}", Err("bad_template")),
            ("{clinet_address}", Err("bad_template")),
            ("a\r\nb: c", Err("bad_header_value")),
        ];
        for (input, expected) in table {
            assert_eq!(pieces(input), expected, "{input:?}");
        }
        let hint = |text: &str| header_template(text).unwrap_err().hint.unwrap();
        assert_eq!(hint("{clinet_address}"), "did you mean {client_address}?");
        assert_eq!(hint("{{ and }"), "for the brace itself write }}");
    }

    fn written(pieces: &[Piece]) -> String {
        let one = |piece: &Piece| match piece {
            Piece::Text(text) => text.replace('{', "{{").replace('}', "}}"),
            other => format!("{{{}}}", PIECES.iter().find(|(_, piece)| piece == other).unwrap().0),
        };
        pieces.iter().map(one).collect()
    }

    proptest! {
        /// What is written comes back as it was meant, and whatever is written is no panic.
        #[test]
        fn templates_come_back(parts in proptest::collection::vec((0..8usize, "[a-z{}ü]{1,6}"), 0..8)) {
            let mut expected: Vec<Piece> = Vec::new();
            for (kind, text) in parts {
                match (PIECES.get(kind), expected.last_mut()) {
                    (Some((_, piece)), _) => expected.push(piece.clone()),
                    (None, Some(Piece::Text(before))) => before.push_str(&text),
                    (None, _) => expected.push(Piece::Text(text)),
                }
            }
            let text = written(&expected);
            prop_assert_eq!(header_template(&text).map(|it| it.0), Ok(expected));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = (header_template(&text), upgrade(&text), edited_header(&text), host(&text), sni_pattern(&text));
        }
    }

    #[test]
    fn fields_that_may_be_changed() {
        assert_eq!(edited_header("X-A").as_deref(), Ok("x-a"));
        for free in ["server", "cookie", "authorization", "x-forwarded-for", "cache-control"] {
            assert!(edited_header(free).is_ok(), "{free}");
        }
        for not in ["Host", "Content-Length", "transfer-encoding", "CONNECTION", "Upgrade", "te"] {
            assert_eq!(edited_header(not).map_err(|wrong| wrong.code), Err("header_not_free"), "{not}");
        }
        for bad in ["", ":path", "x a", "x:"] {
            assert_eq!(edited_header(bad).map_err(|wrong| wrong.code), Err("bad_header_name"), "{bad}");
        }
    }

    #[test]
    fn protocols() {
        for (text, expected) in [("websocket", "websocket"), ("WebSocket", "websocket"), ("SPDY/3.1", "spdy/3.1")] {
            assert_eq!(upgrade(text).as_deref(), Ok(expected));
        }
        for bad in ["", "h2c", "TLS", "a b", "/", "a/", "websockets", "HTTP/2.0"] {
            assert_eq!(upgrade(bad).map_err(|wrong| wrong.code), Err("bad_upgrade"), "{bad}");
        }
        assert!(alpn("h2").is_ok() && alpn("http/1.1").is_ok() && alpn("http/2").is_err() && alpn("").is_err());
    }

    #[test]
    fn hosts_and_types() {
        assert_eq!(host("New.Example.").as_deref(), Ok("new.example"));
        assert!(host("*.example").is_err() && host("a:80").is_err());
        assert!(sni_pattern("*.db.example").is_ok());
        for bad in ["10.0.0.1", "[::1]", "*"] {
            assert!(sni_pattern(bad).is_err(), "{bad}");
        }
        for good in ["text/html", "text/plain; charset=utf-8", "application/problem+json"] {
            assert_eq!(content_type(good), Ok(()));
        }
        for bad in ["", "html", "text/", "/html", "text/html\r\nx: y", "a b/c"] {
            assert!(content_type(bad).is_err(), "{bad}");
        }
    }
}
