//! Addresses.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Wrong;

/// Where to listen: `IP:port`, `[IPv6]:port`; port 0 lets the system choose.
pub(crate) fn address(text: &str) -> Result<SocketAddr, Wrong> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.starts_with("unix:") || text.starts_with('/') {
        return Err(Wrong::new("bad_address", "Unix sockets are not supported by this version")
            .hint("give IP:port, as in 127.0.0.1:8080"));
    }
    if text.parse::<IpAddr>().is_ok() {
        let full = if text.contains(':') { format!("[{text}]:8080") } else { format!("{text}:8080") };
        return Err(Wrong::new("missing_port", format!("{text} has no port")).hint(format!("as in {full}")));
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
        && inner.parse::<IpAddr>().is_ok()
    {
        return Err(Wrong::new("missing_port", format!("{text} has no port")).hint(format!("as in {text}:8080")));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Wrong::new("bad_address", format!("{text} is a port without an address"))
                .hint(format!("0.0.0.0:{text} is every IPv4 address, 127.0.0.1:{text} this machine only")));
        }
        if looks_like_a_name(text) {
            return Err(names_not_supported(text));
        }
        return Err(not_an_address(text));
    };
    if host.is_empty() {
        return Err(Wrong::new("bad_address", format!("{text:?} does not say which address"))
            .hint(format!("0.0.0.0{text} is every IPv4 address, [::]{text} every IPv6 address")));
    }
    if port.parse::<u16>().is_err() {
        return Err(Wrong::new("bad_port", format!("{port:?} is no port")).hint("a port is a number from 1 to 65535"));
    }
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(Wrong::new("bad_address", format!("{text:?} can be read in two ways"))
            .hint(format!("put the IPv6 address in brackets: [{host}]:{port}")));
    }
    if looks_like_a_name(host) {
        return Err(names_not_supported(host));
    }
    Err(not_an_address(text))
}

/// Where an endpoint is: as [`address`], but a place one can connect to.
pub(crate) fn endpoint_address(text: &str) -> Result<SocketAddr, Wrong> {
    let address = address(text)?;
    if address.port() == 0 {
        return Err(Wrong::new("bad_port", "an endpoint cannot have port 0").hint("a port is a number from 1 to 65535"));
    }
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(Wrong::new("bad_address", format!("nothing can be reached at {}", address.ip()))
            .hint("give the address of one machine, as in 10.0.1.11:8080"));
    }
    Ok(address)
}

fn not_an_address(text: &str) -> Wrong {
    Wrong::new("bad_address", format!("{text:?} is not an IP address and port"))
        .hint("as in 10.0.1.11:8080 or [2001:db8::1]:8080")
}

fn names_not_supported(name: &str) -> Wrong {
    Wrong::new("name_not_supported", format!("{name:?} is a name; names are not supported yet"))
        .hint("give IP:port, as in 10.0.1.11:8080")
}

/// Whether `text` reads as a host name rather than as a mistyped IP address.
fn looks_like_a_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.bytes().any(|b| b.is_ascii_alphabetic())
}

/// A network, or one address: `10.0.0.0/8`, `192.0.2.7`, `2001:db8::/32`.
pub(crate) fn cidr(text: &str) -> Result<IpNet, Wrong> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip));
    }
    let net: IpNet = text.parse().map_err(|_| {
        Wrong::new("bad_cidr", format!("{text:?} is no network"))
            .hint("an address and the length of its prefix, as in 10.0.0.0/8 or 2001:db8::/32, or one address")
    })?;
    if net.trunc() != net {
        return Err(Wrong::new("bad_cidr", format!("{text} has bits set that its prefix does not cover"))
            .hint(format!("the network is {}", net.trunc())));
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let table = [
            ("127.0.0.1:80", Ok("127.0.0.1:80")),
            ("[::1]:80", Ok("[::1]:80")),
            ("0.0.0.0:0", Ok("0.0.0.0:0")),
            ("127.0.0.1", Err("missing_port")),
            ("::1", Err("missing_port")),
            ("[::1]", Err("missing_port")),
            ("8080", Err("bad_address")),
            (":8080", Err("bad_address")),
            ("::1:x", Err("bad_port")),
            ("2001:db8:0:0:0:0:0:1:80", Err("bad_address")),
            ("127.0.0.1:99999", Err("bad_port")),
            ("127.0.0.1:http", Err("bad_port")),
            ("127.0.0.1:", Err("bad_port")),
            ("localhost:80", Err("name_not_supported")),
            ("localhost", Err("name_not_supported")),
            ("300.1.1.1:80", Err("bad_address")),
            ("unix:/run/x", Err("bad_address")),
            ("", Err("bad_address")),
        ];
        for (text, expected) in table {
            let found = address(text).map(|a| a.to_string()).map_err(|wrong| wrong.code);
            assert_eq!(found, expected.map(str::to_owned), "{text}");
        }
        assert_eq!(endpoint_address("10.0.0.1:0").map_err(|w| w.code), Err("bad_port"));
        assert_eq!(endpoint_address("0.0.0.0:80").map_err(|w| w.code), Err("bad_address"));
    }

    #[test]
    fn networks() {
        assert_eq!(cidr("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(cidr("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        assert_eq!(cidr("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        for bad in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "all", ""] {
            assert_eq!(cidr(bad).map_err(|wrong| wrong.code), Err("bad_cidr"), "{bad}");
        }
    }
}
