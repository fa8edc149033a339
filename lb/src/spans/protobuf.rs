//! The few forms of protobuf's wire that OTLP needs, appended to a buffer; and the one message that
//! is read.

/// Appends a number of seven bits a byte, the lowest first.
fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

fn tag(out: &mut Vec<u8>, field: u32, form: u32) {
    varint(out, u64::from(field << 3 | form));
}

/// A whole number.
pub(super) fn number(out: &mut Vec<u8>, field: u32, number: u64) {
    tag(out, field, VARINT);
    varint(out, number);
}

/// Eight bytes.
pub(super) fn fixed64(out: &mut Vec<u8>, field: u32, number: u64) {
    tag(out, field, FIXED64);
    out.extend_from_slice(&number.to_le_bytes());
}

/// Four bytes.
pub(super) fn fixed32(out: &mut Vec<u8>, field: u32, number: u32) {
    tag(out, field, FIXED32);
    out.extend_from_slice(&number.to_le_bytes());
}

/// Bytes, or text in UTF-8.
pub(super) fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    tag(out, field, BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A message within the message. Its length, which stands before it, is known when it is written:
/// then it is moved on by as much as that takes.
pub(super) fn message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    tag(out, field, BYTES);
    let start = out.len();
    write(out);
    let end = out.len();
    varint(out, (end - start) as u64);
    let prefix = out.len() - end;
    out[start..].rotate_right(prefix);
}

/// What a receiver did not take of what it answered 200 to:
/// `ExportTraceServiceResponse { partial_success = 1 { rejected_spans = 1; error_message = 2 } }`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Partial {
    pub(super) rejected: u64,
    /// Its first [`MESSAGE_MAX`] bytes.
    pub(super) message: String,
}

/// Of what a receiver says, so much is told.
const MESSAGE_MAX: usize = 512;

impl Partial {
    /// Reads an answer; what is not understood of it says nothing.
    pub(super) fn read(answer: &[u8]) -> Self {
        let mut found = Self::default();
        let _ = fields(answer, |field, value| {
            if let (1, Value::Bytes(partial)) = (field, value) {
                let _ = fields(partial, |field, value| match (field, value) {
                    // Of the form int64: below zero is no count.
                    (1, Value::Number(rejected)) => {
                        found.rejected = i64::try_from(rejected).map_or(0, i64::unsigned_abs)
                    }
                    (2, Value::Bytes(text)) => {
                        let text = &text[..text.len().min(MESSAGE_MAX)];
                        found.message = String::from_utf8_lossy(text).into_owned();
                    }
                    _ => {}
                });
            }
        });
        found
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Each field of a message; `None` if it is none.
fn fields<'a>(mut rest: &'a [u8], mut each: impl FnMut(u64, Value<'a>)) -> Option<()> {
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        match (tag & 7) as u32 {
            VARINT => each(tag >> 3, Value::Number(take_varint(&mut rest)?)),
            FIXED64 => rest = rest.get(8..)?,
            FIXED32 => rest = rest.get(4..)?,
            BYTES => {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                let (value, after) = rest.split_at_checked(length)?;
                each(tag >> 3, Value::Bytes(value));
                rest = after;
            }
            _ => return None,
        }
    }
    Some(())
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of protobuf's own description of its wire.
    #[test]
    fn the_published_examples() {
        let wire = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            out
        };
        assert_eq!(wire(&|out| number(out, 1, 150)), [0x08, 0x96, 0x01]);
        assert_eq!(wire(&|out| bytes(out, 2, b"testing")), b"\x12\x07testing");
        assert_eq!(wire(&|out| message(out, 3, |out| number(out, 1, 150))), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        let long = wire(&|out| message(out, 3, |out| bytes(out, 1, &[7; 300])));
        assert_eq!(&long[..7], [0x1a, 0xaf, 0x02, 0x0a, 0xac, 0x02, 7]);
        assert_eq!(long.len(), 306);
    }

    #[test]
    fn a_partial_success_is_read_and_nonsense_is_none() {
        let mut answer = Vec::new();
        fixed64(&mut answer, 9, 1);
        message(&mut answer, 1, |out| {
            number(out, 1, 300);
            fixed32(out, 9, 1);
            bytes(out, 2, b"too long ago");
        });
        assert_eq!(Partial::read(&answer), Partial { rejected: 300, message: "too long ago".into() });
        for nonsense in [&[][..], b"<html>", &[0x0a, 0xff], &[0xff; 11], &[0x0a, 0x02, 0x08]] {
            assert_eq!(Partial::read(nonsense).rejected, 0, "{nonsense:?}");
        }
    }
}
