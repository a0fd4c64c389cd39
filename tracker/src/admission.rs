//! Who may hold a connection: a bounded number in all, and fewer before they have logged in.
//!
//! Strangers never push out users. When strangers have all that is theirs, in all or from one address, the
//! oldest of them goes: whoever means to log in does so within moments, and so gets through a
//! crowd of connections that only wait. Knows no sockets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub connections: usize,
    /// Before login, from one address. A lab or a class may sit behind one.
    pub strangers_per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 10_240, strangers_per_address: 2_048 }
    }
}

impl Limits {
    /// Before login, in all: half, so that users always have the other.
    pub const fn strangers(self) -> usize {
        self.connections.div_ceil(2)
    }
}

/// Decides who may stay.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    /// Guards the strangers.
    strangers: Mutex<Strangers>,
}

#[derive(Debug, Default)]
struct Strangers {
    next: u64,
    by_age: BTreeMap<u64, (IpAddr, CancellationToken)>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

impl Strangers {
    fn remove(&mut self, number: u64) -> Option<CancellationToken> {
        let (address, kill) = self.by_age.remove(&number)?;
        if let Some(of_address) = self.by_address.get_mut(&address) {
            of_address.remove(&number);
            if of_address.is_empty() {
                self.by_address.remove(&address);
            }
        }
        Some(kill)
    }

    fn evict(&mut self, oldest: Option<u64>) {
        if let Some(kill) = oldest.and_then(|number| self.remove(number)) {
            kill.cancel();
        }
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, strangers: Mutex::default() })
    }

    /// Lets a stranger in, if need be in place of the oldest.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Slot {
        let address = subscriber(address);
        let kill = CancellationToken::new();
        let mut s = self.lock();
        let crowd = s.by_address.get(&address).filter(|of| of.len() >= self.limits.strangers_per_address);
        let oldest = crowd.and_then(|of| of.first().copied());
        s.evict(oldest);
        if s.by_age.len() >= self.limits.strangers() {
            let oldest = s.by_age.keys().next().copied();
            s.evict(oldest);
        }
        let number = s.next;
        s.next += 1;
        s.by_age.insert(number, (address, kill.clone()));
        s.by_address.entry(address).or_default().insert(number);
        Slot { admission: Arc::clone(self), number, kill }
    }

    /// Makes room when every connection is taken.
    pub(crate) fn evict_oldest(&self) {
        let mut s = self.lock();
        let oldest = s.by_age.keys().next().copied();
        s.evict(oldest);
    }

    fn lock(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    admission: Arc<Admission>,
    number: u64,
    kill: CancellationToken,
}

impl Slot {
    /// The connection has logged in, and can no longer be evicted for strangers.
    pub(crate) fn promote(&self) {
        self.admission.lock().remove(self.number);
    }

    /// Ends the connection when cancelled.
    pub(crate) const fn kill(&self) -> &CancellationToken {
        &self.kill
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.promote();
    }
}

/// What one subscriber has: an IPv4 address, or an IPv6 network of 64 bits (RFC 6177).
pub(crate) fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { connections: 8, strangers_per_address: 3 };

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn a_crowd_from_one_address_pushes_out_its_own_oldest() {
        let a = Admission::new(LIMITS);
        let other = a.admit(ip(2));
        let crowd: Vec<Slot> = (0..5).map(|_| a.admit(ip(1))).collect();
        let gone: Vec<bool> = crowd.iter().map(|s| s.kill().is_cancelled()).collect();
        assert_eq!(gone, [true, true, false, false, false]);
        assert!(!other.kill().is_cancelled());
    }

    #[test]
    fn strangers_have_half_and_never_push_out_users() {
        let a = Admission::new(LIMITS);
        let user = a.admit(ip(1));
        user.promote();
        let strangers: Vec<Slot> = (0..20).map(|n| a.admit(ip(n))).collect();
        assert!(!user.kill().is_cancelled());
        assert_eq!(strangers.iter().filter(|s| !s.kill().is_cancelled()).count(), LIMITS.strangers());
        a.evict_oldest();
        assert_eq!(strangers.iter().filter(|s| !s.kill().is_cancelled()).count(), LIMITS.strangers() - 1);
    }

    #[test]
    fn a_place_is_given_back() {
        let a = Admission::new(LIMITS);
        for _ in 0..100 {
            let slot = a.admit(ip(1));
            assert!(!slot.kill().is_cancelled());
        }
        assert!(a.lock().by_age.is_empty() && a.lock().by_address.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_subscriber() {
        let of = |s: &str| subscriber(s.parse().expect("address"));
        assert_eq!(of("2001:db8:1:2:3::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), ip(1));
    }
}
