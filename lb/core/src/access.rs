//! Who is let in: the networks of `allow` and `deny` as sorted ranges, so that asking costs the same
//! of ten networks and of a hundred thousand.
//!
//! What an access list means is said by [`weir_config::model::Access::admits`]; a property test
//! holds the two together.

use std::net::IpAddr;

use weir_config::model;

/// An access list, indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Whether nobody but these is let in.
    only: bool,
    allow: Ranges,
    deny: Ranges,
}

/// Addresses, as ranges that are sorted and do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Access {
    /// What `list` lets in.
    #[must_use]
    pub fn new(list: &model::Access) -> Self {
        let ranges = |nets: &mut dyn Iterator<Item = (IpAddr, IpAddr)>| Ranges::new(nets);
        Self {
            only: !list.allow.is_empty(),
            allow: ranges(&mut list.allow.iter().map(|net| (net.network(), net.broadcast()))),
            deny: ranges(&mut list.deny.iter().map(|net| (net.network(), net.broadcast()))),
        }
    }

    /// Whether anybody is kept out at all.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !self.only && self.deny.v4.is_empty() && self.deny.v6.is_empty()
    }

    /// Whether `client` is let in. An IPv4 address written as IPv6 counts as what it is.
    #[must_use]
    pub fn admits(&self, client: IpAddr) -> bool {
        self.is_open() || (!self.deny.has(client) && (!self.only || self.allow.has(client)))
    }
}

impl Ranges {
    fn new(nets: &mut dyn Iterator<Item = (IpAddr, IpAddr)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (first, last) in nets {
            match (first.to_canonical(), last.to_canonical()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits())),
                (first, last) => v6.push((bits(first), bits(last))),
            }
        }
        Self { v4: merged(v4, |last| last.checked_add(1)), v6: merged(v6, |last| last.checked_add(1)) }
    }

    fn has(&self, client: IpAddr) -> bool {
        match client.to_canonical() {
            IpAddr::V4(client) => within(&self.v4, client.to_bits()),
            IpAddr::V6(client) => within(&self.v6, client.to_bits()),
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn within<N: Ord + Copy>(ranges: &[(N, N)], number: N) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= number);
    after > 0 && number <= ranges[after - 1].1
}

/// Sorted, and those that touch made one.
fn merged<N: Ord + Copy>(mut ranges: Vec<(N, N)>, next: impl Fn(N) -> Option<N>) -> Box<[(N, N)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(N, N)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if next(before.1).is_none_or(|next| first <= next) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn list(allow: &[&str], deny: &[&str]) -> model::Access {
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect();
        model::Access { allow: nets(allow), deny: nets(deny) }
    }

    /// Network by network.
    fn plainly(list: &model::Access, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let denied = list.deny.iter().any(|net| net.contains(&client));
        !denied && (list.allow.is_empty() || list.allow.iter().any(|net| net.contains(&client)))
    }

    fn admitted(list: &model::Access, clients: &[&str]) -> Vec<bool> {
        let access = Access::new(list);
        clients.iter().map(|client| access.admits(client.parse().unwrap())).collect()
    }

    #[test]
    fn deny_is_asked_first() {
        let clients = ["10.0.0.1", "10.6.6.6", "192.0.2.1", "::ffff:10.0.0.1", "::ffff:10.6.6.6", "2001:db8::1"];
        let of = |allow: &[&str], deny: &[&str]| admitted(&list(allow, deny), &clients);
        assert_eq!(of(&[], &[]), [true; 6]);
        assert_eq!(of(&["10.0.0.0/8"], &[]), [true, true, false, true, true, false]);
        assert_eq!(of(&["10.0.0.0/8"], &["10.6.6.6/32"]), [true, false, false, true, false, false]);
        assert_eq!(of(&[], &["10.0.0.0/8", "2001:db8::/32"]), [false, false, true, false, false, false]);
        assert_eq!(of(&["::ffff:10.0.0.0/104"], &[]), [true, true, false, true, true, false]);
        assert_eq!(of(&["0.0.0.0/0"], &[]), [true, true, true, true, true, false]);
        assert_eq!(of(&["::/0"], &[]), [false, false, false, false, false, true]);
        assert!(Access::new(&list(&[], &[])).is_open());
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let access = Access::new(&list(&["10.0.0.0/25", "10.0.0.128/25", "255.255.255.255/32", "10.0.0.7/32"], &[]));
        let bits = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_bits();
        assert_eq!(*access.allow.v4, [(bits("10.0.0.0"), bits("10.0.0.255")), (u32::MAX, u32::MAX)]);
    }

    proptest! {
        #[test]
        fn the_index_says_what_the_list_says(
            allow in proptest::collection::vec((any::<u8>(), 24u8..=32), 0..6),
            deny in proptest::collection::vec((any::<u8>(), 24u8..=32), 0..6),
            six in any::<bool>(),
            client in any::<u8>(),
        ) {
            let net = |(host, prefix): &(u8, u8)| match six {
                false => format!("10.0.0.{host}/{prefix}").parse().unwrap(),
                true => format!("2001:db8::{host:x}/{}", 96 + prefix).parse().unwrap(),
            };
            let list = model::Access { allow: allow.iter().map(net).collect(), deny: deny.iter().map(net).collect() };
            let four = Ipv4Addr::new(10, 0, 0, client);
            for client in [
                IpAddr::V4(four),
                IpAddr::V6(four.to_ipv6_mapped()),
                IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, client.into())),
            ] {
                prop_assert_eq!(Access::new(&list).admits(client), plainly(&list, client));
            }
        }
    }
}
