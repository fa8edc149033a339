//! Percent-encoding (RFC 3986, 2.1), read generously.

use std::borrow::Cow;

/// `%41` is `A`; what is no such sequence stays as it is.
#[must_use]
pub fn decoded(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits fit a byte.
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn what_is_no_such_sequence_stays() {
        for (text, wanted) in [
            ("a+b", &b"a+b"[..]),
            ("%41%62", b"Ab"),
            ("%zz%4", b"%zz%4"),
            ("%", b"%"),
            ("%%41", b"%A"),
            ("%2541", b"%41"),
            ("%ff", b"\xff"),
            ("", b""),
        ] {
            assert_eq!(&*decoded(text), wanted, "{text}");
        }
    }
}
