//! How many connections each client has open, for listeners that limit that.
//!
//! Exact over all workers. Who has none open is not remembered, so there are never more entries
//! than connections.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections of each client of one listener. Touched when a connection comes and when it
/// goes, and by nobody in between.
#[derive(Debug)]
pub struct Clients {
    /// Keyed, so that nobody can choose addresses that all meet in one.
    keys: RandomState,
    stripes: [Mutex<BTreeMap<IpAddr, u32>>; STRIPES],
}

/// Workers meet in one of so many only by chance.
const STRIPES: usize = 32;

/// One connection of a client, counted until this is dropped.
#[derive(Debug)]
pub struct Seat {
    clients: Arc<Clients>,
    whose: IpAddr,
}

impl Default for Clients {
    fn default() -> Self {
        Self { keys: RandomState::new(), stripes: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Clients {
    /// Counts one more connection of `client`, unless it has `most` already.
    #[must_use]
    pub fn enter(self: &Arc<Self>, client: IpAddr, most: NonZeroU32) -> Option<Seat> {
        let whose = whose(client);
        let mut open = self.stripe(whose);
        let count = open.entry(whose).or_default();
        if *count >= most.get() {
            return None;
        }
        *count += 1;
        Some(Seat { clients: Arc::clone(self), whose })
    }

    fn stripe(&self, whose: IpAddr) -> MutexGuard<'_, BTreeMap<IpAddr, u32>> {
        let stripe = &self.stripes[self.keys.hash_one(whose) as usize % STRIPES];
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.clients.stripe(self.whose);
        match open.get_mut(&self.whose) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.remove(&self.whose);
            }
        }
    }
}

/// Who counts as one client: an IPv4 address, or the /64 of IPv6 that a single host or home has to
/// itself.
#[must_use]
pub fn whose(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_number_and_nothing_is_left_of_who_went() {
        let clients = Arc::<Clients>::default();
        let enter = |client: &str| clients.enter(client.parse().unwrap(), NonZeroU32::new(2).unwrap());
        let first = enter("10.0.0.1");
        let mapped = enter("::ffff:10.0.0.1");
        assert!(first.is_some() && mapped.is_some() && enter("10.0.0.1").is_none());
        assert!(enter("10.0.0.2").is_some(), "somebody else");
        drop(first);
        let again = enter("10.0.0.1");
        assert!(again.is_some() && enter("10.0.0.1").is_none());

        let home = [enter("2001:db8::1"), enter("2001:db8::ffff:2")];
        assert!(home.iter().all(Option::is_some) && enter("2001:db8:0:0:3::").is_none());
        assert!(enter("2001:db8:0:1::1").is_some(), "another network");
        drop((mapped, again, home));
        assert!(clients.stripes.iter().all(|stripe| stripe.lock().unwrap().is_empty()));
    }
}
