//! The name a TLS client asks for, read from its first bytes (SNI, RFC 6066 3), which are then
//! passed on as they came.
//!
//! Pure, and no judge: whatever can be read far enough to find the name is for the endpoint to
//! refuse. A hello may lie in several records, and come in any number of pieces.

/// The longest beginning that is looked at.
pub(super) const HELLO_MAX: usize = 16 * 1024;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// A client hello may begin so; more is needed.
    Partial,
    /// No client hello, or one that cannot be read.
    Other,
    /// A client hello, and the name it asks for.
    Client(Option<Box<str>>),
}

const RECORD_HEAD: usize = 5;
const HANDSHAKE_RECORD: u8 = 22;
const VERSION_MAJOR: u8 = 3;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// The longest name DNS knows.
const NAME_MAX: usize = 255;

/// What `bytes`, the first of a connection, are.
pub(super) fn read(bytes: &[u8]) -> Hello {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        match record(rest) {
            None => return Hello::Other,
            Some((_, whole)) if whole > rest.len() => {
                return if bytes.len() < HELLO_MAX { Hello::Partial } else { Hello::Other };
            }
            Some((content, whole)) => {
                message.extend_from_slice(content);
                rest = &rest[whole..];
            }
        }
        let Some(head) = message.get(..4) else { continue };
        let length = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
        if head[0] != CLIENT_HELLO || length > HELLO_MAX {
            return Hello::Other;
        }
        if let Some(body) = message.get(4..4 + length) {
            return server_name(body).map_or(Hello::Other, Hello::Client);
        }
    }
}

/// The content of the record that `bytes` begin with, as far as it is there, and the length of the
/// whole; nothing if it is no handshake record.
fn record(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let wrong = |at: usize, expected: u8| bytes.get(at).is_some_and(|byte| *byte != expected);
    if wrong(0, HANDSHAKE_RECORD) || wrong(1, VERSION_MAJOR) {
        return None;
    }
    let Some(head) = bytes.get(..RECORD_HEAD) else { return Some((&[], RECORD_HEAD)) };
    let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
    if length == 0 || length > HELLO_MAX {
        return None;
    }
    Some((bytes.get(RECORD_HEAD..RECORD_HEAD + length).unwrap_or_default(), RECORD_HEAD + length))
}

/// The name in a client hello (RFC 8446 4.1.2); nothing if it is malformed before that.
#[expect(clippy::option_option, reason = "a hello without a name is a hello")]
fn server_name(hello: &[u8]) -> Option<Option<Box<str>>> {
    let mut hello = Reader(hello);
    let _version_and_random = hello.take(2 + 32)?;
    let _session = hello.vector8()?;
    let _ciphers = hello.vector16()?;
    let _compressions = hello.vector8()?;
    if hello.0.is_empty() {
        return Some(None);
    }
    let mut extensions = Reader(hello.vector16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.number16()?;
        let content = extensions.vector16()?;
        if kind == SERVER_NAME {
            return host_name(content).map(Some);
        }
    }
    Some(None)
}

fn host_name(extension: &[u8]) -> Option<Box<str>> {
    let mut names = Reader(Reader(extension).vector16()?);
    loop {
        let kind = names.take(1)?[0];
        let name = names.vector16()?;
        if kind == HOST_NAME {
            let name = std::str::from_utf8(name).ok()?;
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            let good = !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(is_name);
            return good.then(|| name.into());
        }
    }
}

/// What is left of some bytes.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector8(&mut self) -> Option<&'b [u8]> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    fn vector16(&mut self) -> Option<&'b [u8]> {
        let length = self.number16()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What a real client says first to `name`.
    fn hello(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let name = name.to_owned().try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut out = Vec::new();
        client.write_tls(&mut out).unwrap();
        out
    }

    /// The same in records of `size` bytes.
    fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
        let record = |piece: &[u8]| [&hello[..3], &(piece.len() as u16).to_be_bytes(), piece].concat();
        hello[RECORD_HEAD..].chunks(size).flat_map(record).collect()
    }

    #[test]
    fn the_name_is_found_however_the_hello_comes() {
        let whole = hello("db.example");
        for size in [1, 2, 7, 100, whole.len()] {
            let bytes = in_records(&whole, size);
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Hello::Partial, "{end} of {} in records of {size}", bytes.len());
            }
            let and_more = [&bytes[..], b"more"].concat();
            assert_eq!(read(&and_more), Hello::Client(Some("db.example".into())));
        }
        assert_eq!(read(&hello("10.0.0.1")), Hello::Client(None), "an address is no name");
    }

    #[test]
    fn what_is_no_hello() {
        let mut other = hello("a.example");
        other[5] = 2;
        let cases: [&[u8]; 8] = [
            b"GET / HTTP/1.1\r\n",
            b"\x16\x02\x00",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\xff\xff",
            b"\x15\x03\x01\x00\x02\x01\x00",
            b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
            b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",
            &other,
        ];
        for bytes in cases {
            assert_eq!(read(bytes), Hello::Other, "{bytes:02x?}");
        }
        // Records of one byte each could go on for ever.
        let long = in_records(&[[22, 3, 1, 0, 0].as_slice(), &[1, 0, 0x3f, 0], &[0; 4000]].concat(), 1);
        assert_eq!(read(&long[..HELLO_MAX + RECORD_HEAD]), Hello::Other);
    }

    proptest! {
        #[test]
        fn anything_may_come(noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8), bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut spoiled = hello("a.example");
            for (at, byte) in noise {
                let at = at.index(spoiled.len());
                spoiled[at] = byte;
            }
            read(&spoiled);
            read(&bytes);
            read(&[&[22, 3, 1, 0, 200], &bytes[..]].concat());
        }
    }
}
