//! The request's key for policies that hash, and the id of an endpoint in a sticky session's cookie.
//!
//! Numbers here are the same in every process and for ever: instances must send a key to the same
//! endpoint, and a cookie outlives us.

use std::net::IpAddr;

use weir_config::model::{HashKey, Sticky};
use xxhash_rust::xxh64::xxh64;

use crate::endpoint::EndpointKey;
use crate::route::{Headers, RequestView};

/// Of keys ("weir key"). Not 0, so that a client who knows endpoints' names cannot choose a key
/// that lies on a point of one: tables are made with seed 0, as published.
pub const KEY_SEED: u64 = 0x7765_6972_206b_6579;

/// Of sessions ("weir sid").
pub const SESSION_SEED: u64 = 0x7765_6972_2073_6964;

/// The hash of a key's bytes: xxHash64.
#[must_use]
pub fn of(key: &[u8]) -> u64 {
    xxh64(key, KEY_SEED)
}

/// The hash of the first of `keys` that the request has. `query` is what follows the `?`, as
/// received; `client` is the address [`HashKey::SourceAddress`] means.
#[must_use]
pub fn key_of(keys: &[HashKey], request: &RequestView<'_>, query: Option<&str>, client: IpAddr) -> Option<u64> {
    first_of(keys, request, query, client).map(|(_, hash)| hash)
}

/// [`key_of`], and which of `keys` it is.
#[must_use]
pub fn first_of(
    keys: &[HashKey],
    request: &RequestView<'_>,
    query: Option<&str>,
    client: IpAddr,
) -> Option<(usize, u64)> {
    let found = |key: &HashKey| match key {
        HashKey::Header(name) => request.headers.get(name).map(of),
        HashKey::Cookie(name) => cookie(request.headers, name).map(of),
        HashKey::Query(name) => parameter(query?, name).map(|value| of(value.as_bytes())),
        // The same client, whether its IPv4 address came as IPv6 or not.
        HashKey::SourceAddress => Some(match client.to_canonical() {
            IpAddr::V4(address) => of(&address.octets()),
            IpAddr::V6(address) => of(&address.octets()),
        }),
    };
    keys.iter().enumerate().find_map(|(at, key)| Some((at, found(key)?)))
}

/// The value of a cookie, without quotes around it: RFC 6265, section 4.2.1, read generously.
#[must_use]
pub fn cookie<'h>(headers: &'h dyn Headers, name: &str) -> Option<&'h [u8]> {
    let pairs = headers.get("cookie")?.split(|&byte| byte == b';');
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        let (its, value) = (pair[..at].trim_ascii_end(), pair[at + 1..].trim_ascii_start());
        let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        (its == name.as_bytes()).then_some(bare)
    })
}

/// The value of a query's parameter, as received: nothing is decoded.
#[must_use]
pub fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| {
        let (its, value) = pair.split_once('=').unwrap_or((pair, ""));
        (its == name).then_some(value)
    })
}

/// The opaque id of an endpoint: 64 bits that tell its address to nobody, and the same from every
/// instance.
#[must_use]
pub fn sticky(key: &EndpointKey) -> u64 {
    xxh64(key.to_string().as_bytes(), SESSION_SEED)
}

/// The id of the endpoint a request's session stays on, if it has a cookie that tells one.
#[must_use]
pub fn session(wish: &Sticky, headers: &dyn Headers) -> Option<u64> {
    let value = cookie(headers, &wish.cookie)?;
    if value.len() != 16 || !value.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok()
}

/// The id as a cookie's value: 16 hexadecimal digits.
#[must_use]
pub fn session_value(id: u64) -> [u8; 16] {
    std::array::from_fn(|at| b"0123456789abcdef"[(id >> (60 - 4 * at) & 0xf) as usize])
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use weir_config::model::ClusterName;

    use super::*;

    struct Fields(&'static [(&'static str, &'static str)]);

    impl Headers for Fields {
        fn get(&self, name: &str) -> Option<&[u8]> {
            self.0.iter().find(|(its, _)| *its == name).map(|(_, value)| value.as_bytes())
        }
    }

    fn key(keys: &[HashKey], fields: &'static [(&str, &str)], query: Option<&str>, client: &str) -> Option<u64> {
        let view = RequestView { method: "GET", host: "a", path: "/", headers: &Fields(fields) };
        key_of(keys, &view, query, client.parse().unwrap())
    }

    #[test]
    fn the_published_xxhash() {
        // From the reference implementation's documentation.
        assert_eq!(xxh64(b"", 0), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64(b"xxhash", 20_141_025), 0xb559_b98d_844e_0635);
    }

    #[test]
    fn the_first_key_the_request_has() {
        let keys = [
            HashKey::Header("x-user".into()),
            HashKey::Cookie("uid".into()),
            HashKey::Query("u".into()),
            HashKey::SourceAddress,
        ];
        type Row = (&'static [(&'static str, &'static str)], Option<&'static str>, u64);
        let table: [Row; 8] = [
            (&[("x-user", "7"), ("cookie", "uid=8")], Some("u=9"), of(b"7")),
            (&[("cookie", "a=b; uid=8")], Some("u=9"), of(b"8")),
            (&[("cookie", "uid=\"8\";a=b")], None, of(b"8")),
            (&[("cookie", "xuid=8; uid=")], Some("u=9"), of(b"")),
            (&[("cookie", "xuid=8")], Some("x=1&u=%39&u=3"), of(b"%39")),
            (&[], Some("xu=1&u"), of(b"")),
            (&[], Some("v=1"), of(&[10, 0, 0, 1])),
            (&[("cookie", "broken")], None, of(&[10, 0, 0, 1])),
        ];
        for (fields, query, wanted) in table {
            assert_eq!(key(&keys, fields, query, "10.0.0.1"), Some(wanted), "{fields:?} {query:?}");
        }
        assert_eq!(key(&keys[..3], &[], None, "10.0.0.1"), None);
        assert_eq!(key(&keys, &[], None, "::ffff:10.0.0.1"), key(&keys, &[], None, "10.0.0.1"));
    }

    #[test]
    fn a_session_is_told_and_read() {
        let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let id = sticky(&EndpointKey { cluster: ClusterName::new("shop").unwrap(), address: address.into() });
        let wish = Sticky { cookie: "weir-sticky".into(), ttl: None, path: "/".into() };
        let value = String::from_utf8(session_value(id).to_vec()).unwrap();
        assert_eq!(value, format!("{id:016x}"));
        let cookie: &'static str = format!("a=1; weir-sticky={value}").leak();
        let fields: &'static [(&str, &str)] = vec![("cookie", cookie)].leak();
        assert_eq!(session(&wish, &Fields(fields)), Some(id));
        for nonsense in
            ["weir-sticky=", "weir-sticky=1234", "weir-sticky=+123456789abcdef", "weir-sticky=zzzzzzzzzzzzzzzz"]
        {
            let fields: &'static [(&str, &str)] = vec![("cookie", nonsense)].leak();
            assert_eq!(session(&wish, &Fields(fields)), None, "{nonsense}");
        }
    }
}
