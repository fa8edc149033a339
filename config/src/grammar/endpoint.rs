//! Where endpoints are, and where they are found.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::http::check_host_name;
use super::{Wrong, net};
use crate::model::{Address, SourceKind};

/// Longest path of a Unix socket: what `sockaddr_un` holds beside its final NUL.
const MAX_SOCKET_PATH: usize = 107;

/// What an entry of `endpoints` leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// One endpoint.
    Fixed(Address),
    /// As many as are found there.
    Found(SourceKind),
}

/// `IP:port`, `[IPv6]:port`, `unix:PATH`, `NAME:port`, `srv:NAME` or `file:PATH`.
pub(crate) fn endpoint_address(text: &str) -> Result<Place, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(path).map(Place::Fixed);
    }
    if let Some(path) = text.strip_prefix("file:") {
        return file(path).map(|path| Place::Found(SourceKind::File(path)));
    }
    if let Some(name) = text.strip_prefix("srv:") {
        return service(name).map(|name| Place::Found(SourceKind::Srv(name)));
    }
    if text.starts_with('/') {
        return Err(Wrong::new("bad_address", format!("{text:?} is a path, not an address"))
            .hint(format!("write unix:{text} for a socket, file:{text} for a list of endpoints")));
    }
    if let Some((_, rest)) = text.split_once("://") {
        return Err(Wrong::new("bad_address", format!("{text:?} is a URL, not an address"))
            .hint(format!("give host and port only, as in {}", rest.split('/').next().unwrap_or(rest))));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return machine(address).map(|()| Place::Fixed(address.into()));
    }
    name(text)
}

/// As [`endpoint_address`], but one endpoint, which needs no looking up.
pub(crate) fn fixed_address(text: &str) -> Result<Address, Wrong> {
    match endpoint_address(text)? {
        Place::Fixed(address) => Ok(address),
        Place::Found(_) => {
            Err(Wrong::new("not_fixed", format!("{text:?} leads elsewhere; a file of endpoints cannot"))
                .hint("give IP:port or unix:PATH here, and names in the config itself"))
        }
    }
}

/// Where a listener takes connections: as [`net::address`] has it, or `unix:PATH`.
pub(crate) fn bind_address(text: &str) -> Result<Address, Wrong> {
    match text.strip_prefix("unix:") {
        Some(path) => socket(path),
        None => net::address(text).map(Address::Ip),
    }
}

fn machine(address: SocketAddr) -> Result<(), Wrong> {
    if address.port() == 0 {
        return Err(Wrong::new("bad_port", "an endpoint cannot have port 0").hint("a port is a number from 1 to 65535"));
    }
    net::one_machine(address.ip())
}

fn socket(path: &str) -> Result<Address, Wrong> {
    let bad = |message: String| Wrong::new("bad_address", message);
    if let Some(rest) = path.strip_prefix("//") {
        let rest = rest.trim_start_matches('/');
        return Err(bad(format!("{path:?} begins with two slashes")).hint(format!("write unix:/{rest}")));
    }
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(bad(format!("{path:?} is not the absolute path of a socket")).hint("as in unix:/run/app.sock"));
    }
    if path.contains('\0') {
        return Err(bad("the path of a socket cannot hold a NUL".into()));
    }
    if path.len() > MAX_SOCKET_PATH {
        let message = format!("the path of the socket has {} bytes", path.len());
        return Err(bad(message).hint(format!("the system takes at most {MAX_SOCKET_PATH}; use a shorter path")));
    }
    Ok(Address::Unix(Arc::from(Path::new(path))))
}

fn file(path: &str) -> Result<PathBuf, Wrong> {
    let bad = |message: String| Wrong::new("bad_path", message);
    if let Some(rest) = path.strip_prefix("//") {
        let rest = rest.trim_start_matches('/');
        return Err(bad(format!("{path:?} begins with two slashes")).hint(format!("write file:/{rest}")));
    }
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return Err(bad(format!("{path:?} is not the name of a file")).hint("as in file:endpoints.yaml"));
    }
    Ok(PathBuf::from(path))
}

fn service(name: &str) -> Result<Arc<str>, Wrong> {
    if let Some((host, _)) = name.rsplit_once(':') {
        return Err(Wrong::new("srv_with_port", format!("{name:?} has a port; SRV records bring their own"))
            .hint(format!("write srv:{host}, or leave `srv:` out for A and AAAA records")));
    }
    host(name).map_err(|why| {
        Wrong::new("bad_address", format!("{name:?} is no name: {why}")).hint("as in srv:_http._tcp.orders.internal")
    })
}

/// `NAME:port`, or what is wrong with what is neither that nor an IP address and port.
fn name(text: &str) -> Result<Place, Wrong> {
    let Some((name, port)) = text.rsplit_once(':').filter(|(name, _)| !name.is_empty() && !name.contains([':', '[']))
    else {
        if host(text).is_ok() && net::looks_like_a_name(text) {
            return Err(Wrong::new("missing_port", format!("{text} has no port"))
                .hint(format!("as in {text}:8080; srv:{text} asks for SRV records, which bring their port")));
        }
        return Err(not_an_endpoint(text));
    };
    let host = match host(name) {
        Ok(host) => host,
        Err(_) if name.bytes().all(|b| b.is_ascii_digit() || b == b'.') => return Err(not_an_endpoint(text)),
        Err(why) => {
            return Err(Wrong::new("bad_address", format!("{name:?} is neither an IP address nor a name: {why}")));
        }
    };
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(Place::Found(SourceKind::Name { host, port })),
        Ok(_) => {
            Err(Wrong::new("bad_port", "an endpoint cannot have port 0").hint("a port is a number from 1 to 65535"))
        }
        Err(_) => {
            Err(Wrong::new("bad_port", format!("{port:?} is no port")).hint("a port is a number from 1 to 65535"))
        }
    }
}

/// What [`net::address`] says of it is right here too, unless it has nothing to say.
fn not_an_endpoint(text: &str) -> Wrong {
    match net::address(text) {
        Err(wrong) if wrong.code != "name_not_supported" => wrong,
        _ => Wrong::new("bad_address", format!("{text:?} is no address"))
            .hint("as in 10.0.1.11:8080, [2001:db8::1]:8080, orders.internal:8080 or unix:/run/app.sock"),
    }
}

/// A name to be resolved, in lower case and without the final dot. What ends in a number is taken
/// for an IP address by everybody else, so it is not a name.
fn host(text: &str) -> Result<Arc<str>, &'static str> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    check_host_name(&name)?;
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    if hexadecimal || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err("it ends in a number, as only an IP address does");
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> Result<String, &'static str> {
        let told = |place| match place {
            Place::Fixed(address) => address.to_string(),
            Place::Found(kind) => kind.to_string(),
        };
        endpoint_address(text).map(told).map_err(|wrong| wrong.code)
    }

    #[test]
    fn endpoints() {
        let long = format!("{}.example:80", "a".repeat(64));
        let table = [
            ("127.0.0.1:80", Ok("127.0.0.1:80")),
            ("[::1]:80", Ok("[::1]:80")),
            ("unix:/run/app.sock", Ok("unix:/run/app.sock")),
            ("orders.internal:8080", Ok("orders.internal:8080")),
            ("Orders.Internal.:8080", Ok("orders.internal:8080")),
            ("localhost:80", Ok("localhost:80")),
            ("a_b-1.2c:80", Ok("a_b-1.2c:80")),
            ("srv:_http._tcp.Orders.internal.", Ok("srv:_http._tcp.orders.internal")),
            ("file:endpoints.yaml", Ok("file:endpoints.yaml")),
            ("file:/etc/weir/endpoints.yaml", Ok("file:/etc/weir/endpoints.yaml")),
            ("10.0.0.1:0", Err("bad_port")),
            ("0.0.0.0:80", Err("bad_address")),
            ("[ff02::1]:80", Err("bad_address")),
            ("300.1.1.1:80", Err("bad_address")),
            ("1.2.3:80", Err("bad_address")),
            ("10:80", Err("bad_address")),
            ("a.0x7f:80", Err("bad_address")),
            ("a.1:80", Err("bad_address")),
            ("10.0.0.1", Err("missing_port")),
            ("::1", Err("missing_port")),
            ("[::1]", Err("missing_port")),
            ("orders.internal", Err("missing_port")),
            ("orders.internal:", Err("bad_port")),
            ("orders.internal:0", Err("bad_port")),
            ("orders.internal:http", Err("bad_port")),
            ("orders.internal:70000", Err("bad_port")),
            ("2001:db8:0:0:0:0:0:1:80", Err("bad_address")),
            ("a..b:80", Err("bad_address")),
            ("b\u{fc}cher.example:80", Err("bad_address")),
            (&long, Err("bad_address")),
            ("a b:80", Err("bad_address")),
            ("http://a:80/x", Err("bad_address")),
            ("/run/app.sock", Err("bad_address")),
            ("unix:run/app.sock", Err("bad_address")),
            ("unix:///run/app.sock", Err("bad_address")),
            ("unix:/", Err("bad_address")),
            ("unix:", Err("bad_address")),
            ("file:", Err("bad_path")),
            ("file:///x", Err("bad_path")),
            ("srv:", Err("bad_address")),
            ("srv:a:80", Err("srv_with_port")),
            ("srv:10.0.0.1", Err("bad_address")),
            ("8080", Err("bad_address")),
            (":8080", Err("bad_address")),
            ("", Err("bad_address")),
        ];
        for (text, expected) in table {
            assert_eq!(told(text), expected.map(str::to_owned), "{text}");
        }
        assert!(told(&format!("unix:/{}", "a".repeat(106))).is_ok());
        assert!(told(&format!("unix:/{}", "a".repeat(107))).is_err());
    }

    proptest! {
        /// What is shown can be written, and means the same; and no name can be taken for an IP.
        #[test]
        fn what_is_shown_can_be_written(parts in prop::collection::vec(prop::sample::select(vec![
            "a", "B", "1", "0", "255", "300", ".", ".", ":", ":80", ":0", "-", "_", "[", "]", "::1", "%1", "unix:", "srv:",
            "file:", "/", "//", " ", "0x1", "\u{fc}", "\0", "internal", "_http._tcp.",
        ]), 0..8)) {
            let text = parts.concat();
            if let Ok(place) = endpoint_address(&text) {
                let shown = match &place {
                    Place::Fixed(address) => address.to_string(),
                    Place::Found(kind) => kind.to_string(),
                };
                prop_assert_eq!(endpoint_address(&shown), Ok(place.clone()), "{} as {}", text, shown);
                if let Place::Found(SourceKind::Name { host, .. }) = place {
                    prop_assert!(host.parse::<std::net::IpAddr>().is_err());
                    prop_assert!(!host.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
                }
            }
        }
    }

    #[test]
    fn a_file_leads_nowhere_else() {
        assert!(fixed_address("10.0.0.1:80").is_ok() && fixed_address("unix:/run/a").is_ok());
        for text in ["a.example:80", "srv:a.example", "file:a"] {
            assert_eq!(fixed_address(text).map_err(|wrong| wrong.code), Err("not_fixed"), "{text}");
        }
    }
}
