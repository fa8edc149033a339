//! The PROXY protocol, versions 1 and 2: how one proxy tells the next where a connection comes from.
//!
//! Pure: bytes in, what they say out, and the other way round. Whose word is believed, and how long
//! a header may take to come, is its callers'. The fields of a header are read by the crate
//! `proxy_header`; here is how much of what came is one. Type-length-values are passed over.

use std::net::{IpAddr, SocketAddr};

use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader};
use weir_config::model::ProxyOut;

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Where it comes from: the client.
    pub(crate) from: SocketAddr,
    /// Where it came to.
    pub(crate) to: SocketAddr,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A header may begin so; more is needed.
    Partial,
    /// No header begins so.
    Absent,
    /// A whole header, of so many bytes. Without ends the connection is the sender's own
    /// (`LOCAL`, a probe), or it does not know whose it is (`UNKNOWN`).
    Header(Option<Ends>, usize),
    /// It begins as a header does and is none.
    Malformed,
}

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end (section 2.1 of the specification).
const V1_MAX: usize = 107;
/// Of version 2, before what its length counts.
const V2_HEAD: usize = 16;
/// Most that we take after it: addresses are 216 bytes at the most, the rest is for others.
const V2_REST_MAX: usize = 2048;
/// Of version 2: version and command.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// What `bytes`, the first of a connection, are.
pub(crate) fn opening(bytes: &[u8]) -> Opening {
    if bytes.starts_with(V1) {
        version_1(bytes)
    } else if bytes.starts_with(V2) {
        version_2(bytes)
    } else if V1.starts_with(bytes) || V2.starts_with(bytes) {
        Opening::Partial
    } else {
        Opening::Absent
    }
}

fn version_1(bytes: &[u8]) -> Opening {
    let line = &bytes[..bytes.len().min(V1_MAX)];
    match memchr::memchr(b'\n', line) {
        // A number with a sign is one to Rust, and not to the specification.
        Some(end) if !line[..end].contains(&b'+') => parsed(&line[..=end]),
        None if line.len() < V1_MAX => Opening::Partial,
        _ => Opening::Malformed,
    }
}

fn version_2(bytes: &[u8]) -> Opening {
    let Some(head) = bytes.get(..V2_HEAD) else { return Opening::Partial };
    let rest = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let whole = V2_HEAD + rest;
    match (head[12], bytes.get(..whole)) {
        (LOCAL | PROXY, _) if rest > V2_REST_MAX => Opening::Malformed,
        (LOCAL | PROXY, None) => Opening::Partial,
        // Whatever addresses it has are to be passed over.
        (LOCAL, Some(_)) => Opening::Header(None, whole),
        (PROXY, Some(header)) => parsed(header),
        _ => Opening::Malformed,
    }
}

/// What `header` says, all of which must be one.
fn parsed(header: &[u8]) -> Opening {
    match ProxyHeader::parse(header, ParseConfig::default()) {
        Ok((told, length)) if length == header.len() => {
            let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
            let ends =
                told.proxied_address().map(|told| Ends { from: plain(told.source), to: plain(told.destination) });
            Opening::Header(ends, length)
        }
        Ok(_) | Err(_) => Opening::Malformed,
    }
}

/// The header of a connection with these ends; without any, of one of our own.
pub(crate) fn header(version: ProxyOut, ends: Option<Ends>) -> Vec<u8> {
    let header = match ends {
        Some(Ends { from, to }) => {
            let (from, to) = alike(from, to);
            ProxyHeader::with_address(ProxiedAddress::stream(from, to))
        }
        None => ProxyHeader::with_local(),
    };
    let mut out = Vec::with_capacity(V1_MAX);
    // Fails for addresses of two families alone, or where there is no room.
    let _ = match version {
        ProxyOut::V1 => header.encode_v1(&mut out),
        ProxyOut::V2 => header.encode_v2(&mut out),
    };
    out
}

/// Two addresses of one family: an IPv4 address beside one of IPv6 is written as such.
fn alike(from: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(ip) => SocketAddr::new(ip.into(), address.port()),
    };
    if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (mapped(from), mapped(to)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(from: &str, to: &str) -> Option<Ends> {
        Some(Ends { from: from.parse().unwrap(), to: to.parse().unwrap() })
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [V2, &[command, family], &length, rest].concat()
    }

    #[test]
    fn what_a_connection_begins_with() {
        let four = ends("192.0.2.1:5000", "198.51.100.2:443");
        let unix = [7; 216];
        for (bytes, expected) in [
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\nGET /".to_vec(), Opening::Header(four, 44)),
            (b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n".to_vec(), {
                Opening::Header(ends("[2001:db8::1]:1", "[::1]:65535"), 36)
            }),
            (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 5000 443\r\n".to_vec(), Opening::Header(four, 58)),
            (b"PROXY UNKNOWN\r\n".to_vec(), Opening::Header(None, 15)),
            (b"PROXY UNKNOWN ff:ff::1 ::2 3 4\r\nx".to_vec(), Opening::Header(None, 32)),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\n".to_vec(), Opening::Malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 +500 443\r\n".to_vec(), Opening::Malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 70000 443\r\n".to_vec(), Opening::Malformed),
            (b"PROXY TCP4 ::1 198.51.100.2 5000 443\r\n".to_vec(), Opening::Malformed),
            (b"PROXY UDP4 192.0.2.1 198.51.100.2 5000 443\r\n".to_vec(), Opening::Malformed),
            ([b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat(), Opening::Malformed),
            (v2(PROXY, 0x11, &[192, 0, 2, 1, 198, 51, 100, 2, 0x13, 0x88, 1, 0xbb]), Opening::Header(four, 28)),
            (v2(PROXY, 0x11, &[192, 0, 2, 1, 198, 51, 100, 2, 0x13, 0x88, 1, 0xbb, 4, 0, 1, 9]), {
                Opening::Header(four, 32)
            }),
            (v2(PROXY, 0x00, &[]), Opening::Header(None, 16)),
            (v2(PROXY, 0x31, &unix), Opening::Header(None, 232)),
            (v2(LOCAL, 0x11, &[1, 2, 3]), Opening::Header(None, 19)),
            (v2(PROXY, 0x11, &[1, 2, 3]), Opening::Malformed),
            (v2(0x22, 0x11, &[]), Opening::Malformed),
            (v2(0x11, 0x11, &[]), Opening::Malformed),
            (v2(LOCAL, 0, &[0; V2_REST_MAX + 1]), Opening::Malformed),
            (b"".to_vec(), Opening::Partial),
            (b"PROX".to_vec(), Opening::Partial),
            (b"\r\n\r\n\0".to_vec(), Opening::Partial),
            (b"GET / HTTP/1.1\r\n".to_vec(), Opening::Absent),
            (b"PROXIMA".to_vec(), Opening::Absent),
            (b"\r\n\r\nGET".to_vec(), Opening::Absent),
            (b"\x16\x03\x01".to_vec(), Opening::Absent),
        ] {
            assert_eq!(opening(&bytes), expected, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn what_we_say() {
        let told = |version, ends| String::from_utf8_lossy(&header(version, ends)).into_owned();
        let four = ends("192.0.2.1:5000", "198.51.100.2:443");
        assert_eq!(told(ProxyOut::V1, four), "PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n");
        let mixed = ends("192.0.2.1:5000", "[2001:db8::1]:443");
        assert_eq!(told(ProxyOut::V1, mixed), "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 5000 443\r\n");
        assert_eq!(told(ProxyOut::V1, None), "PROXY UNKNOWN\r\n");
        assert_eq!(header(ProxyOut::V2, None), v2(LOCAL, 0, &[]));
    }

    fn any_ends() -> impl Strategy<Value = Option<Ends>> {
        let address = (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from);
        prop::option::of((address.clone(), address).prop_map(|(from, to)| Ends { from, to }))
    }

    proptest! {
        /// What one of us says, another hears, whatever follows, and never before it is whole.
        #[test]
        fn what_is_said_is_heard(ends in any_ends(), v1 in any::<bool>(), more in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = header(if v1 { ProxyOut::V1 } else { ProxyOut::V2 }, ends);
            let whole = bytes.len();
            for part in 0..whole {
                prop_assert_eq!(opening(&bytes[..part]), Opening::Partial);
            }
            bytes.extend(more);
            let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
            let heard = ends.map(|ends| Ends { from: plain(ends.from), to: plain(ends.to) });
            prop_assert_eq!(opening(&bytes), Opening::Header(heard, whole));
        }

        /// Nothing panics, and nothing is waited for beyond the bounds.
        #[test]
        fn anything_may_come(
            start in prop::sample::select(vec![b"".as_slice(), V1, V2, b"PROXY TCP4 ", b"PROXY UNKNOWN", b"\r\n\r\n\0\r\nQUIT\n\x21\x11", b"\r\n\r\n\0\r\nQUIT\n\x21\x31\x00\xd8"]),
            rest in prop::collection::vec(any::<u8>(), 0..2400),
        ) {
            let bytes = [start, &rest].concat();
            match opening(&bytes) {
                Opening::Header(_, length) => prop_assert!(length <= bytes.len() && length <= V2_HEAD + V2_REST_MAX),
                Opening::Partial => prop_assert!(bytes.len() < V2_HEAD + V2_REST_MAX),
                Opening::Absent | Opening::Malformed => {}
            }
        }
    }
}
