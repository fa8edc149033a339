//! Whom a proxy before us is believed to speak for.
//!
//! A proxy that is trusted tells the address of its peer by appending it to a list that its peer
//! may have begun. So the list is read from its end, and for as long as whoever is named there is
//! trusted to have told the next: what stands left of the first stranger is the stranger's word.

use std::net::{IpAddr, SocketAddr};

use weir_config::model::Listener;

/// The list that is read. One and not both: a proxy that writes one of them lets through what its
/// peer says in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239): where the listener writes that and not the other.
    Forwarded,
}

impl Chain {
    /// The list that `listener` reads.
    #[must_use]
    pub const fn of(listener: &Listener) -> Self {
        if listener.headers.forwarded && !listener.headers.x_forwarded { Self::Forwarded } else { Self::XForwardedFor }
    }

    /// The name of its field, in lower case.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// The address in one entry, if there is one.
    fn address(self, entry: &[u8]) -> Option<IpAddr> {
        let entry = std::str::from_utf8(entry).ok()?.trim();
        match self {
            Self::XForwardedFor => node(entry),
            Self::Forwarded => {
                let mut told = entry.split(';').filter_map(|pair| {
                    let (name, value) = pair.split_once('=')?;
                    name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
                });
                let (first, second) = (told.next()?, told.next());
                let bare = first.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(first);
                second.map_or_else(|| node(bare), |_| None)
            }
        }
    }
}

/// The client's address: of those that the fields of the listener's [`Chain`] name, in order, the
/// last that is not trusted; if all are, the first of them; the peer's if it is not trusted or names
/// nobody. An entry that is no address ends the list.
#[must_use]
pub fn client<'h>(listener: &Listener, peer: IpAddr, fields: impl DoubleEndedIterator<Item = &'h [u8]>) -> IpAddr {
    let chain = Chain::of(listener);
    let mut nearest = peer;
    let mut entries = fields.rev().flat_map(|field| field.rsplit(|&byte| byte == b','));
    while listener.trusts(nearest) {
        match entries.next().and_then(|entry| chain.address(entry)) {
            Some(address) => nearest = address,
            None => break,
        }
    }
    nearest
}

/// An address, with or without port and brackets.
fn node(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = text.parse().ok().or_else(bare).or_else(with_port)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "listeners: [{name: web, bind: '127.0.0.1:80', cluster: a, \
                        trusted_proxies: ['10.0.0.0/8', '2001:db8::/32'], headers: HEADERS}]\n\
                        clusters: [{name: a, endpoints: ['127.0.0.1:1']}]\n";

    fn asks(headers: &str, peer: &str, fields: &[&str]) -> String {
        let config = weir_config::parse_str(&YAML.replace("HEADERS", headers)).unwrap().config;
        let fields = fields.iter().map(|field| field.as_bytes());
        client(&config.listeners[0], peer.parse().unwrap(), fields).to_string()
    }

    #[test]
    fn the_last_stranger_of_a_chain_of_proxies() {
        for (peer, fields, wanted) in [
            // Nobody is believed who is not trusted.
            ("192.0.2.1", &["1.1.1.1"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("::ffff:10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["1.1.1.1, 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["1.1.1.1", "192.0.2.7,10.0.0.2", "10.0.0.3"], "192.0.2.7"),
            // What is said left of a stranger is the stranger's word, trusted names in it or not.
            ("10.0.0.1", &["10.9.9.9, 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["1.1.1.1, 10.9.9.9, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // What is no address ends the walk.
            ("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["1.1.1.1, , 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["1.1.1.1,"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1 2.2.2.2"], "10.0.0.1"),
            ("10.0.0.1", &["010.0.0.1"], "10.0.0.1"),
            ("10.0.0.1", &["\"192.0.2.7\""], "10.0.0.1"),
            ("10.0.0.1", &["for=192.0.2.7"], "10.0.0.1"),
            // Some write ports and brackets.
            ("10.0.0.1", &["192.0.2.7:4711"], "192.0.2.7"),
            ("10.0.0.1", &["[2001:db9::1]:4711"], "2001:db9::1"),
            ("10.0.0.1", &["[2001:db9::1]"], "2001:db9::1"),
            ("10.0.0.1", &["2001:db9::1"], "2001:db9::1"),
            ("10.0.0.1", &["::ffff:192.0.2.7"], "192.0.2.7"),
            ("2001:db8::1", &["1.1.1.1, ::ffff:10.0.0.2"], "1.1.1.1"),
        ] {
            assert_eq!(asks("{}", peer, fields), wanted, "{peer} {fields:?}");
        }
    }

    #[test]
    fn forwarded_is_read_where_it_is_written() {
        for (fields, wanted) in [
            (&["for=192.0.2.7"][..], "192.0.2.7"),
            (&["For=\"[2001:db9::1]:80\";proto=https, for=10.0.0.2"], "2001:db9::1"),
            (&["by=1.1.1.1; for = 192.0.2.7"], "192.0.2.7"),
            (&["for=\"192.0.2.7:80\""], "192.0.2.7"),
            (&["for=1.1.1.1, for=_hidden"], "10.0.0.1"),
            (&["for=1.1.1.1;for=2.2.2.2"], "10.0.0.1"),
            (&["for=1.1.1.1, proto=https"], "10.0.0.1"),
            (&["192.0.2.7"], "10.0.0.1"),
            // A quote that swallows what a proxy appended swallows nothing.
            (&["for=\"1.1.1.1, for=192.0.2.7"], "192.0.2.7"),
        ] {
            assert_eq!(asks("{forwarded: true, x_forwarded: false}", "10.0.0.1", fields), wanted, "{fields:?}");
        }
        assert_eq!(asks("{forwarded: true}", "10.0.0.1", &["for=192.0.2.7"]), "10.0.0.1");
    }
}
