//! Where a message ends: the one place that reads `Content-Length` and `Transfer-Encoding`.
//!
//! RFC 9112 6.3, and stricter: whatever two parsers could read in two ways is refused, since
//! that is what request smuggling is made of.

use weir_core::reason::Reason;

use super::head::{Asked, Fields, Known, Version};

/// How the end of a message's body is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// All until the connection closes (answers only).
    UntilClose,
}

/// The framing of a request.
pub(crate) fn of_request(fields: &Fields, version: Version) -> Result<Framing, Reason> {
    let coding = transfer_encoding(fields)?;
    let length = content_length(fields)?;
    match (coding, length) {
        (false, None | Some(0)) => Ok(Framing::None),
        (false, Some(length)) => Ok(Framing::Length(length)),
        (true, Some(_)) => Err(Reason::AmbiguousFraming),
        // A 1.0 hop in between would not have understood the coding and taken the chunks for
        // requests.
        (true, None) if version == Version::Http10 => Err(Reason::AmbiguousFraming),
        (true, None) => Ok(Framing::Chunked),
    }
}

/// The framing of an answer with `status` to what was `asked`.
pub(crate) fn of_response(fields: &Fields, version: Version, status: u16, asked: Asked) -> Result<Framing, Reason> {
    // RFC 9112 6.3: whatever such an answer says of a body, what follows it is the tunnel.
    if asked == Asked::Connect && matches!(status, 200..=299) {
        return Ok(Framing::None);
    }
    let coding = transfer_encoding(fields).map_err(|_| Reason::UpstreamProtocol)?;
    let length = content_length(fields).map_err(|_| Reason::UpstreamProtocol)?;
    if coding && (length.is_some() || version == Version::Http10) {
        return Err(Reason::UpstreamProtocol);
    }
    if asked == Asked::Head || status < 200 || status == 204 || status == 304 {
        return Ok(Framing::None);
    }
    Ok(match (coding, length) {
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    })
}

/// Whether the body is chunked. Only `chunked`, once and alone, is understood.
fn transfer_encoding(fields: &Fields) -> Result<bool, Reason> {
    let mut values = fields.all(Known::TransferEncoding);
    let Some(value) = values.next() else { return Ok(false) };
    if values.next().is_some() {
        return Err(Reason::AmbiguousFraming);
    }
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    // A coding we do not know is one thing (501), a garbled or repeated `chunked` another (400).
    let is_token = !value.is_empty() && value.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    let looks_chunked = value.to_ascii_lowercase().windows(7).any(|part| part == b"chunked");
    if is_token && !looks_chunked && !value.eq_ignore_ascii_case(b"identity") {
        Err(Reason::UnknownTransferEncoding)
    } else {
        Err(Reason::AmbiguousFraming)
    }
}

/// The length, if one is told: once, digits only, no more than a `u64` holds.
fn content_length(fields: &Fields) -> Result<Option<u64>, Reason> {
    let mut values = fields.all(Known::ContentLength);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Reason::AmbiguousFraming);
    }
    // At most 19 digits: below 10^19, which fits.
    Ok(Some(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::{Field, Span};

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        let bytes: Vec<u8> =
            list.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()].concat()).collect();
        let mut rest = bytes.as_slice();
        for (name, value) in list {
            let (n, after) = rest.split_at(name.len());
            let (v, after) = after.split_at(value.len());
            let field = Field { name: Span::within(&bytes, n), value: Span::within(&bytes, v), known: Known::of(n) };
            fields.list.push(field);
            rest = after;
        }
        fields.bytes = bytes;
        fields
    }

    #[test]
    fn requests() {
        const CL: &str = "Content-Length";
        const TE: &str = "Transfer-Encoding";
        let ambiguous = Err(Reason::AmbiguousFraming);
        type Case<'a> = (&'a [(&'a str, &'a str)], Result<Framing, Reason>);
        let cases: &[Case<'_>] = &[
            (&[], Ok(Framing::None)),
            (&[(CL, "0")], Ok(Framing::None)),
            (&[(CL, "5")], Ok(Framing::Length(5))),
            (&[(CL, "9999999999999999999")], Ok(Framing::Length(9_999_999_999_999_999_999))),
            (&[(TE, "chunked")], Ok(Framing::Chunked)),
            (&[(TE, "CHUNKED")], Ok(Framing::Chunked)),
            (&[(CL, "5"), (TE, "chunked")], ambiguous),
            (&[(TE, "chunked"), (CL, "5")], ambiguous),
            (&[(TE, "chunked"), (CL, "0")], ambiguous),
            (&[(TE, "chunked"), (TE, "chunked")], ambiguous),
            (&[(TE, "chunked, chunked")], ambiguous),
            (&[(TE, "chunked, identity")], ambiguous),
            (&[(TE, "identity")], ambiguous),
            (&[(TE, "xchunked")], ambiguous),
            (&[(TE, "chunked;q=1")], ambiguous),
            (&[(TE, "\u{b}chunked")], ambiguous),
            (&[(TE, "")], ambiguous),
            (&[(TE, "gzip")], Err(Reason::UnknownTransferEncoding)),
            (&[(TE, "gzip, chunked")], ambiguous),
            (&[(CL, "5"), (CL, "5")], ambiguous),
            (&[(CL, "5, 5")], ambiguous),
            (&[(CL, "+5")], ambiguous),
            (&[(CL, "-5")], ambiguous),
            (&[(CL, "0x5")], ambiguous),
            (&[(CL, "5 5")], ambiguous),
            (&[(CL, "")], ambiguous),
            (&[(CL, "10000000000000000000")], ambiguous),
        ];
        for (list, expected) in cases {
            assert_eq!(of_request(&fields(list), Version::Http11), *expected, "{list:?}");
        }
        assert_eq!(of_request(&fields(&[(TE, "chunked")]), Version::Http10), ambiguous);
    }

    #[test]
    fn responses() {
        let none = fields(&[]);
        let five = fields(&[("Content-Length", "5")]);
        let chunked = fields(&[("Transfer-Encoding", "chunked")]);
        let both = fields(&[("Transfer-Encoding", "chunked"), ("Content-Length", "5")]);
        let of = |fields, status, to_head| {
            let asked = if to_head { Asked::Head } else { Asked::Plain };
            of_response(fields, Version::Http11, status, asked)
        };
        assert_eq!(of(&none, 200, false), Ok(Framing::UntilClose));
        assert_eq!(of(&five, 200, false), Ok(Framing::Length(5)));
        assert_eq!(of(&five, 200, true), Ok(Framing::None));
        assert_eq!(of(&five, 304, false), Ok(Framing::None));
        assert_eq!(of(&none, 204, false), Ok(Framing::None));
        assert_eq!(of(&none, 103, false), Ok(Framing::None));
        assert_eq!(of(&chunked, 200, false), Ok(Framing::Chunked));
        assert_eq!(of(&both, 200, false), Err(Reason::UpstreamProtocol));
        for fields in [&none, &five, &chunked, &both] {
            assert_eq!(of_response(fields, Version::Http11, 200, Asked::Connect), Ok(Framing::None));
        }
        assert_eq!(of_response(&five, Version::Http11, 407, Asked::Connect), Ok(Framing::Length(5)));
        assert_eq!(of_response(&chunked, Version::Http10, 200, Asked::Plain), Err(Reason::UpstreamProtocol));
    }
}
