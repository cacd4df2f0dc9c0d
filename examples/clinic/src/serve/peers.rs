//! How many connections each address has open.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts open connections by address. Its size is bounded by the connections that are open at a time.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    most: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One counted connection; gone when dropped.
#[derive(Debug)]
pub(super) struct Counted {
    peers: Peers,
    address: IpAddr,
}

impl Peers {
    /// At most `most` for each address; for IPv6, for each /64, since one customer holds all of it.
    pub(super) fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    /// Counts a connection, unless the address has as many as it may.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Counted> {
        let address = network(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Counted { peers: self.clone(), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.peers.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_slot() {
        let peers = Peers::new(2);
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = peers.admit(here);
        let second = peers.admit(here);
        assert!(first.is_some() && second.is_some() && peers.admit(here).is_none());
        assert!(peers.admit(there).is_some(), "another address is not held to it");
        drop(first);
        let again = peers.admit(here);
        assert!(again.is_some());
        drop((second, again));
        assert!(peers.open.lock().unwrap().is_empty(), "who has no connection takes no memory");
    }

    #[test]
    fn addresses_of_one_network_and_spellings_of_one_address_are_one_peer() {
        let peers = Peers::new(1);
        let held = peers.admit("2001:db8::1".parse().unwrap());
        assert!(held.is_some() && peers.admit("2001:db8::2".parse().unwrap()).is_none());
        assert!(peers.admit("2001:db8:0:1::1".parse().unwrap()).is_some(), "the next /64 is another");
        let held = peers.admit("::ffff:10.0.0.1".parse().unwrap());
        assert!(held.is_some() && peers.admit(IpAddr::from([10, 0, 0, 1])).is_none());
    }
}
