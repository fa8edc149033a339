//! What probes send and expect: text that becomes bytes, bytes in hexadecimal, names of services.

use super::Wrong;

/// Most bytes that a probe sends, or looks for.
const MAX_BYTES: usize = 4096;

/// Text as the bytes of its UTF-8. What `\x80` to `\xff` become in YAML is a character of two bytes,
/// which is hardly what was meant.
pub(crate) fn probe_text(text: &str) -> Result<Vec<u8>, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("empty_text", "this cannot be empty").hint("leave it out"));
    }
    if let Some(unclear) = text.chars().find(|c| ('\u{80}'..='\u{ff}').contains(c)) {
        let (one, mut two) = (u32::from(unclear), [0; 2]);
        let two: String = unclear.encode_utf8(&mut two).bytes().map(|byte| format!("{byte:02x}")).collect();
        let message = format!("{unclear:?} may mean one byte ({one:02x}) or two, as in UTF-8 ({two})");
        return Err(Wrong::new("unclear_byte", message).hint("write all of it in hexadecimal: {hex: \"...\"}"));
    }
    bounded(text.as_bytes().to_vec())
}

/// Bytes as pairs of hexadecimal digits; spaces between pairs do not matter.
pub(crate) fn hex(text: &str) -> Result<Vec<u8>, Wrong> {
    let bad = |message: String| Wrong::new("bad_hex", message).hint("two digits a byte, as in \"0a0b\" or \"0a 0b\"");
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for part in text.split_ascii_whitespace() {
        if let Some(other) = part.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(bad(format!("{other:?} is no hexadecimal digit")));
        }
        if part.len() % 2 != 0 {
            return Err(bad(format!("{part:?} has {} digits, and a byte has two", part.len())));
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
        bytes.extend(part.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])));
    }
    if bytes.is_empty() {
        return Err(Wrong::new("empty_text", "this cannot be empty").hint("leave it out"));
    }
    bounded(bytes)
}

fn bounded(bytes: Vec<u8>) -> Result<Vec<u8>, Wrong> {
    if bytes.len() > MAX_BYTES {
        return Err(Wrong::new("probe_too_large", format!("these are {} bytes; at most {MAX_BYTES} are", bytes.len())));
    }
    Ok(bytes)
}

/// A gRPC service as `package.Service`; empty is the whole server.
pub(crate) fn grpc_service(text: &str) -> Result<(), Wrong> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if text.len() > 256 || !text.bytes().all(fits) {
        return Err(Wrong::new("bad_service", format!("{text:?} is no name of a gRPC service"))
            .hint("package and service without method, as in shop.v1.Orders"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_of_probes() {
        assert_eq!(probe_text("PING\r\n").as_deref(), Ok(&b"PING\r\n"[..]));
        assert_eq!(probe_text("\0\u{7f}").as_deref(), Ok(&[0, 0x7f][..]));
        assert_eq!(probe_text("→").as_deref(), Ok("→".as_bytes()));
        let wrong = probe_text("\u{ff}").unwrap_err();
        assert_eq!(wrong.message, "'ÿ' may mean one byte (ff) or two, as in UTF-8 (c3bf)");
        assert_eq!(hex("0a0B ff").as_deref(), Ok(&[0x0a, 0x0b, 0xff][..]));
        for (bad, code) in
            [("", "empty_text"), (" ", "empty_text"), ("0", "bad_hex"), ("0a 0", "bad_hex"), ("0x0a", "bad_hex")]
        {
            assert_eq!(hex(bad).map_err(|wrong| wrong.code), Err(code), "{bad}");
        }
        assert_eq!(hex(&"00".repeat(4097)).map_err(|wrong| wrong.code), Err("probe_too_large"));
        assert!(grpc_service("").is_ok() && grpc_service("shop.v1.Orders").is_ok() && grpc_service("a/B").is_err());
    }

    proptest! {
        #[test]
        fn hexadecimal_comes_back(bytes in proptest::collection::vec(any::<u8>(), 1..64)) {
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(hex(&text), Ok(bytes));
        }
    }
}
