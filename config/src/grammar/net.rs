//! Addresses.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::Wrong;

/// Where to listen: `IP:port`, `[IPv6]:port`; port 0 lets the system choose.
pub(crate) fn address(text: &str) -> Result<SocketAddr, Wrong> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.starts_with("unix:") || text.starts_with('/') {
        return Err(Wrong::new("bad_address", format!("{text:?} is not an IP address and port"))
            .hint("give IP:port, as in 127.0.0.1:8080; listeners and endpoints take unix:PATH too"));
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

/// That `ip` is one machine's.
pub(super) fn one_machine(ip: IpAddr) -> Result<(), Wrong> {
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(Wrong::new("bad_address", format!("nothing can be reached at {ip}"))
            .hint("give the address of one machine, as in 10.0.1.11:8080"));
    }
    Ok(())
}

/// An address of this host to connect from; no port.
pub(crate) fn local_address(text: &str) -> Result<IpAddr, Wrong> {
    let Ok(ip) = text.parse::<IpAddr>() else {
        let wrong = Wrong::new("bad_address", format!("{text:?} is not an IP address"));
        return Err(match text.parse::<SocketAddr>() {
            Ok(address) => wrong.hint(format!("write {} and give the ports in `source_ports`", address.ip())),
            Err(_) => wrong.hint("give an address of this host, as in 10.0.0.5"),
        });
    };
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(Wrong::new("bad_address", format!("no connection can come from {ip}"))
            .hint("give an address of this host, or leave it out to let the system choose"));
    }
    Ok(ip)
}

/// A DNS server: an IP address, with a port unless it is 53.
pub(crate) fn dns_server(text: &str) -> Result<SocketAddr, Wrong> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let server = match (text.parse::<SocketAddr>(), bare.parse::<IpAddr>()) {
        (Ok(address), _) => address,
        (Err(_), Ok(ip)) => SocketAddr::new(ip, 53),
        (Err(_), Err(_)) => {
            return Err(Wrong::new("bad_server", format!("{text:?} is not the address of a DNS server"))
                .hint("an IP address, as in 10.0.0.2 or 10.0.0.3:5353; a name would itself have to be resolved"));
        }
    };
    if server.port() == 0 {
        return Err(Wrong::new("bad_port", "a DNS server cannot have port 0").hint("leave it out for port 53"));
    }
    one_machine(server.ip())?;
    Ok(server)
}

/// Ports to connect from: the first and the last, `20000-29999`.
pub(crate) fn ports(text: &str) -> Result<RangeInclusive<u16>, Wrong> {
    let bad = || {
        Wrong::new("bad_port_range", format!("{text:?} is no range of ports"))
            .hint("the first and the last, from 1 to 65535, as in 20000-29999")
    };
    let (first, last) = text.split_once('-').ok_or_else(bad)?;
    let port = |part: &str| part.trim().parse::<NonZeroU16>().map_err(|_| bad());
    let (first, last) = (port(first)?.get(), port(last)?.get());
    if first > last {
        return Err(Wrong::new("bad_port_range", format!("the range {first}-{last} is empty"))
            .hint(format!("the smaller comes first: {last}-{first}")));
    }
    Ok(first..=last)
}

fn not_an_address(text: &str) -> Wrong {
    Wrong::new("bad_address", format!("{text:?} is not an IP address and port"))
        .hint("as in 10.0.1.11:8080 or [2001:db8::1]:8080")
}

fn names_not_supported(name: &str) -> Wrong {
    Wrong::new("name_not_supported", format!("{name:?} is a name; an IP address is needed here"))
        .hint("0.0.0.0 is every IPv4 address, 127.0.0.1 this machine only")
}

/// Whether `text` reads as a host name rather than as a mistyped IP address.
pub(super) fn looks_like_a_name(text: &str) -> bool {
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
    }

    #[test]
    fn what_a_connection_comes_from() {
        assert_eq!(local_address("10.0.0.5").unwrap().to_string(), "10.0.0.5");
        assert_eq!(local_address("2001:db8::5").unwrap().to_string(), "2001:db8::5");
        for bad in ["10.0.0.5:80", "0.0.0.0", "::", "224.0.0.1", "eth0", ""] {
            assert_eq!(local_address(bad).map_err(|wrong| wrong.code), Err("bad_address"), "{bad}");
        }
        assert_eq!(ports("20000-29999").unwrap(), 20_000..=29_999);
        assert_eq!(ports("1 - 65535").unwrap(), 1..=65_535);
        for bad in ["", "-", "20000", "0-10", "10-0", "29999-20000", "1-65536", "a-b", "1-2-3"] {
            assert_eq!(ports(bad).map_err(|wrong| wrong.code), Err("bad_port_range"), "{bad}");
        }
    }

    #[test]
    fn dns_servers() {
        let table = [
            ("10.0.0.2", Ok("10.0.0.2:53")),
            ("10.0.0.3:5353", Ok("10.0.0.3:5353")),
            ("::1", Ok("[::1]:53")),
            ("[::1]", Ok("[::1]:53")),
            ("[::1]:54", Ok("[::1]:54")),
            ("10.0.0.2:0", Err("bad_port")),
            ("0.0.0.0", Err("bad_address")),
            ("ns1.example", Err("bad_server")),
            ("10.0.0.2:dns", Err("bad_server")),
            ("", Err("bad_server")),
        ];
        for (text, expected) in table {
            let found = dns_server(text).map(|a| a.to_string()).map_err(|wrong| wrong.code);
            assert_eq!(found, expected.map(str::to_owned), "{text}");
        }
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
