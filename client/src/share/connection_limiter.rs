//! Who may hold a connection to this device: a bounded number in all, strangers apart from members.
//!
//! Whoever has not shown a valid ticket is a stranger. Strangers have places of their own, so that they never
//! take those of members; when these are full, the oldest of the most crowded subscriber goes: whoever
//! means well shows its ticket within moments. A member keeps its place, up to so many per
//! user; when all are taken, a user with few gets one of the user with most (max-min fairness).
//!
//! Invariant: a connection is counted in one crowd, the strangers or the members, until it is told to end or its slot
//! is dropped. Knows no sockets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::address::subscriber;
use common::id::UserId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::counted::Taken;
use super::reached::Origin;

/// How long a connection may take to show a ticket, the handshake included.
const ADMISSION: Duration = Duration::from_secs(10);

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Who have not shown a ticket yet.
    pub(crate) strangers: usize,
    /// Of those, from one subscriber. A whole lab may stand behind one.
    pub(crate) strangers_per_subscriber: usize,
    /// Who have.
    pub(crate) members: usize,
    /// Of those, of one user, who has a connection for each file it fetches on each device.
    pub(crate) members_per_user: usize,
}

impl Limits {
    /// Fits, with what downloads need, into the 1,024 descriptors that systems give a process.
    pub(crate) const DEFAULT: Self =
        Self { strangers: 96, strangers_per_subscriber: 64, members: 400, members_per_user: 64 };
}

/// The limiter. Shared by [`Arc`].
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    limits: Limits,
    /// Guards both crowds.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    strangers: Crowd<IpAddr>,
    members: Crowd<UserId>,
}

/// Connections by age, and by whose they are.
#[derive(Debug)]
struct Crowd<K> {
    by_age: BTreeMap<u64, (K, CancellationToken)>,
    by_key: HashMap<K, BTreeSet<u64>>,
}

impl<K> Default for Crowd<K> {
    fn default() -> Self {
        Self { by_age: BTreeMap::new(), by_key: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash> Crowd<K> {
    fn len(&self) -> usize {
        self.by_age.len()
    }

    fn of(&self, key: K) -> usize {
        self.by_key.get(&key).map_or(0, BTreeSet::len)
    }

    /// Whoever has most, and how many.
    fn largest(&self) -> Option<(K, usize)> {
        self.by_key.iter().map(|(key, of)| (*key, of.len())).max_by_key(|(_, n)| *n)
    }

    fn insert(&mut self, number: u64, key: K, out: CancellationToken) {
        self.by_age.insert(number, (key, out));
        self.by_key.entry(key).or_default().insert(number);
    }

    fn remove(&mut self, number: u64) -> Option<CancellationToken> {
        let (key, out) = self.by_age.remove(&number)?;
        if let Some(of) = self.by_key.get_mut(&key) {
            of.remove(&number);
            if of.is_empty() {
                self.by_key.remove(&key);
            }
        }
        Some(out)
    }

    fn evict(&mut self, which: impl FnOnce(&BTreeSet<u64>) -> Option<&u64>, key: K) {
        let number = self.by_key.get(&key).and_then(which).copied();
        if let Some(out) = number.and_then(|number| self.remove(number)) {
            out.cancel();
        }
    }
}

impl ConnectionLimiter {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Lets a stranger in, if need be in place of another.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> ConnectionSlot {
        let from = subscriber(address);
        let out = CancellationToken::new();
        let mut state = self.lock();
        let crowd = if state.strangers.of(from) >= self.limits.strangers_per_subscriber {
            Some(from)
        } else {
            state.strangers.largest().map(|(key, _)| key).filter(|_| state.strangers.len() >= self.limits.strangers)
        };
        if let Some(crowd) = crowd {
            state.strangers.evict(BTreeSet::first, crowd);
        }
        let number = state.next;
        state.next += 1;
        state.strangers.insert(number, from, out.clone());
        let (connection_limiter, taken, by) = (Arc::clone(self), Taken::default(), Instant::now() + ADMISSION);
        ConnectionSlot { connection_limiter, number, out, by, origin: Origin::of(address, None), taken }
    }

    #[cfg(test)]
    pub(crate) fn is_free_for(&self, user: UserId) -> bool {
        self.lock().members.of(user) < self.limits.members_per_user
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    connection_limiter: Arc<ConnectionLimiter>,
    number: u64,
    out: CancellationToken,
    /// Until when a ticket is to be shown.
    pub(crate) by: Instant,
    /// Where it began.
    pub(crate) origin: Origin,
    /// What the connection's socket has taken.
    pub(crate) taken: Taken,
}

impl ConnectionSlot {
    /// The connection has shown a ticket of `user`: whether there is a place among the members. It keeps the one that it
    /// has got by an earlier ticket of the same user.
    pub(crate) fn admit(&self, user: UserId) -> bool {
        let limits = self.connection_limiter.limits;
        let mut guard = self.connection_limiter.lock();
        let State { strangers, members, .. } = &mut *guard;
        if let Some((whose, _)) = members.by_age.get(&self.number) {
            return *whose == user;
        }
        let own = members.of(user);
        if own >= limits.members_per_user || !strangers.by_age.contains_key(&self.number) {
            return false;
        }
        if members.len() >= limits.members {
            let Some((largest, n)) = members.largest() else { return false };
            if n <= own + 1 {
                return false;
            }
            members.evict(BTreeSet::last, largest);
        }
        strangers.remove(self.number);
        members.insert(self.number, user, self.out.clone());
        true
    }

    /// Resolves when the place goes to somebody else.
    pub(crate) async fn evicted(&self) {
        self.out.cancelled().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut state = self.connection_limiter.lock();
        state.strangers.remove(self.number);
        state.members.remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { strangers: 6, strangers_per_subscriber: 4, members: 4, members_per_user: 3 };

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn user(n: u8) -> UserId {
        UserId::new([n; 16])
    }

    fn gone(connections: &[ConnectionSlot]) -> Vec<bool> {
        connections.iter().map(|v| v.out.is_cancelled()).collect()
    }

    #[test]
    fn strangers_push_out_their_own_oldest_and_never_a_member() {
        let connection_limiter = ConnectionLimiter::new(LIMITS);
        let member = connection_limiter.enter(ip(1));
        assert!(member.admit(user(1)));
        let crowd: Vec<_> = (0..6).map(|_| connection_limiter.enter(ip(1))).collect();
        assert_eq!(gone(&crowd), [true, true, false, false, false, false]);
        assert!(!member.out.is_cancelled());
    }

    #[test]
    fn a_newcomer_gets_in_at_the_cost_of_the_most_crowded_subscriber() {
        let connection_limiter = ConnectionLimiter::new(LIMITS);
        let quiet = connection_limiter.enter(ip(1));
        let crowd: Vec<_> = (0..4).map(|_| connection_limiter.enter(ip(2))).collect();
        let newcomers: Vec<_> = (3..6).map(|n| connection_limiter.enter(ip(n))).collect();
        assert_eq!(gone(&crowd), [true, true, false, false]);
        assert!(!quiet.out.is_cancelled() && gone(&newcomers).iter().all(|gone| !gone));
        let late = connection_limiter.lock().strangers.len();
        assert_eq!(late, LIMITS.strangers);
    }

    #[test]
    fn one_user_cannot_take_all_places_and_gives_up_what_others_lack() {
        let connection_limiter = ConnectionLimiter::new(LIMITS);
        let admit = |n| {
            let connection_slot = connection_limiter.enter(ip(n));
            connection_slot.admit(user(n)).then_some(connection_slot)
        };
        let greedy: Vec<_> = (0..4).filter_map(|_| admit(1)).collect();
        assert_eq!(greedy.len(), LIMITS.members_per_user);
        let second = admit(2).expect("the last place");
        let third = admit(3).expect("one of the first user's");
        assert_eq!(gone(&greedy), [false, false, true]);
        assert!(admit(2).is_none(), "two each would only change places");
        assert!(!second.out.is_cancelled() && !third.out.is_cancelled());
    }

    #[test]
    fn a_member_keeps_its_place_for_another_file_and_nobody_else_gets_it() {
        let connection_limiter = ConnectionLimiter::new(LIMITS);
        let connection = connection_limiter.enter(ip(1));
        assert!(connection.admit(user(1)) && connection.admit(user(1)));
        assert!(!connection.admit(user(2)), "a login of another user on the same device");
        let others: Vec<_> = (0..2).map(|_| connection_limiter.enter(ip(1))).collect();
        assert!(others.iter().all(|other| other.admit(user(1))), "it counts once");
    }

    #[test]
    fn who_was_evicted_is_not_admitted_any_more_and_places_are_given_back() {
        let connection_limiter = ConnectionLimiter::new(LIMITS);
        let connections: Vec<_> = (0..5).map(|_| connection_limiter.enter(ip(1))).collect();
        assert!(!connections[0].admit(user(1)) && connections[1].admit(user(1)));
        drop(connections);
        let state = connection_limiter.lock();
        assert!(state.strangers.by_age.is_empty() && state.strangers.by_key.is_empty());
        assert!(state.members.by_age.is_empty() && state.members.by_key.is_empty());
    }
}
