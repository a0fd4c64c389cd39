//! When a member last connected to the address that this device listens at: the only honest sign that others can.
//!
//! Counts those who have shown a ticket, so that a scanner of ports is no sign. A connection that began on this machine
//! says nothing about others, and is kept apart.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Who has connected so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reached {
    /// When one on another machine last did, in seconds since 1970.
    pub from_elsewhere: Option<u64>,
    /// When one on this machine last did.
    pub from_here: Option<u64>,
}

/// Where a connection began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// On this machine.
    Here,
    /// On another one, as far as its address tells.
    Elsewhere,
}

impl Origin {
    /// Of a connection from `peer` that was accepted at `own`.
    pub(crate) fn of(peer: IpAddr, own: Option<SocketAddr>) -> Self {
        let peer = peer.to_canonical();
        let is_ours = own.is_some_and(|own| own.ip().to_canonical() == peer);
        if peer.is_loopback() || is_ours { Self::Here } else { Self::Elsewhere }
    }
}

/// Keeps count. For all connections.
#[derive(Debug, Default)]
pub(crate) struct LastReached(Mutex<Reached>);

impl LastReached {
    /// A member is connected now.
    pub(crate) fn note(&self, origin: Origin) {
        // Before 1970 nobody connects.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut reached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match origin {
            Origin::Here => reached.from_here = Some(now),
            Origin::Elsewhere => reached.from_elsewhere = Some(now),
        }
    }

    pub(crate) fn get(&self) -> Reached {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_machines_address_counts_as_elsewhere() {
        let of = |peer: &str, own: &str| Origin::of(peer.parse().expect("an address"), own.parse().ok());
        assert_eq!(of("127.0.0.1", "127.0.0.1:7000"), Origin::Here);
        assert_eq!(of("::ffff:127.0.0.1", "[::]:7000"), Origin::Here);
        assert_eq!(of("192.0.2.5", "192.0.2.5:7000"), Origin::Here, "to its own address");
        assert_eq!(of("::ffff:192.0.2.5", "192.0.2.5:7000"), Origin::Here);
        assert_eq!(of("192.0.2.6", "192.0.2.5:7000"), Origin::Elsewhere);
        let last = LastReached::default();
        assert_eq!(last.get(), Reached::default());
        last.note(Origin::Here);
        assert!(last.get().from_here.is_some() && last.get().from_elsewhere.is_none());
    }
}
