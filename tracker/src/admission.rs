//! Who may hold a connection: a bounded number in all, before login and after it, and of one subscriber.
//!
//! Strangers never push out users, and users leave places that are only for strangers, so that whoever means
//! to log in gets through a crowd of connections that only wait. When there is no place, the subscriber that
//! holds most gives one up; of its users the one that holds most; of those the oldest connection. So a
//! crowd pushes out its own, wherever it comes from. The other tracker dials as a stranger: the newest
//! connection from its address stays until it has shown who it is. Knows no sockets.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::address::subscriber;
use common::id::UserId;
use tokio_util::sync::CancellationToken;

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub connections: usize,
    /// Before login, of one subscriber. A lab or a class may sit behind one address.
    pub strangers_per_address: usize,
    /// After login, of one subscriber.
    pub users_per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 24_576, strangers_per_address: 2_048, users_per_address: 2_048 }
    }
}

impl Limits {
    /// Before login, in all: at most half.
    pub const fn strangers(self) -> usize {
        self.connections.div_ceil(2)
    }

    /// After login, in all: an eighth is left for those who come to log in.
    pub const fn users(self) -> usize {
        let reserve = if self.connections < 16 { 2 } else { self.connections / 8 };
        let users = self.connections.saturating_sub(reserve);
        if users == 0 { 1 } else { users }
    }
}

/// Decides who may stay.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    /// The subscriber of the other tracker.
    sibling: Option<IpAddr>,
    /// Guards everyone who is here.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    strangers: Crowd,
    users: Crowd,
}

/// Connections of one kind, by the number that they came under.
#[derive(Debug, Default)]
struct Crowd {
    all: BTreeMap<u64, Entry>,
    by_address: HashMap<IpAddr, Subscriber>,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    /// Nobody, before login.
    user: Option<UserId>,
    kill: CancellationToken,
}

#[derive(Debug, Default)]
struct Subscriber {
    count: usize,
    by_user: HashMap<Option<UserId>, BTreeSet<u64>>,
}

impl Subscriber {
    /// The oldest connection of the user that has most.
    fn first_to_go(&self) -> Option<u64> {
        let oldest = |of: &BTreeSet<u64>| of.first().copied();
        let most = self.by_user.values().max_by_key(|of| (of.len(), Reverse(oldest(of))))?;
        oldest(most)
    }
}

impl Crowd {
    fn of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).map_or(0, |s| s.count)
    }

    fn insert(&mut self, number: u64, entry: Entry) {
        let subscriber = self.by_address.entry(entry.address).or_default();
        subscriber.count += 1;
        subscriber.by_user.entry(entry.user).or_default().insert(number);
        self.all.insert(number, entry);
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.all.remove(&number)?;
        if let Some(subscriber) = self.by_address.get_mut(&entry.address) {
            subscriber.count -= 1;
            if let Some(of_user) = subscriber.by_user.get_mut(&entry.user) {
                of_user.remove(&number);
                if of_user.is_empty() {
                    subscriber.by_user.remove(&entry.user);
                }
            }
            if subscriber.count == 0 {
                self.by_address.remove(&entry.address);
            }
        }
        Some(entry)
    }

    /// Ends one connection of `address`.
    fn evict_of(&mut self, address: IpAddr) {
        let victim = self.by_address.get(&address).and_then(Subscriber::first_to_go);
        victim.and_then(|number| self.remove(number)).inspect(|gone| gone.kill.cancel());
    }

    /// Ends one connection of the subscriber that has most, where the newest of `spared` does not count: whether
    /// there was one.
    fn evict(&mut self, spared: Option<IpAddr>) -> bool {
        let spare = |address: &IpAddr, s: &Subscriber| s.count - usize::from(Some(*address) == spared);
        let candidates =
            self.by_address.iter().map(|(address, s)| (spare(address, s), Reverse(s.first_to_go()), *address));
        let most = candidates.filter(|(count, ..)| *count > 0).max_by_key(|(count, oldest, _)| (*count, *oldest));
        most.map(|(.., address)| self.evict_of(address)).is_some()
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits, sibling: Option<IpAddr>) -> Arc<Self> {
        Arc::new(Self { limits, sibling: sibling.map(subscriber), inner: Mutex::default() })
    }

    /// Lets a stranger in, if need be in another's place.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Slot {
        let kill = CancellationToken::new();
        let entry = Entry { address: subscriber(address), user: None, kill: kill.clone() };
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        self.insert_stranger(&mut inner, number, entry);
        Slot { admission: Arc::clone(self), number, kill }
    }

    /// Makes room when the system has none.
    pub(crate) fn evict_one(&self) {
        self.lock().strangers.evict(self.sibling);
    }

    fn insert_stranger(&self, inner: &mut Inner, number: u64, entry: Entry) {
        let (limits, Inner { strangers, users, .. }) = (self.limits, inner);
        if strangers.of(entry.address) >= limits.strangers_per_address {
            strangers.evict_of(entry.address);
        }
        let full = |strangers: &Crowd| {
            let here = strangers.all.len();
            here >= limits.strangers() || here + users.all.len() >= limits.connections
        };
        while full(strangers) && strangers.evict(self.sibling) {}
        strangers.insert(number, entry);
    }

    fn insert_user(&self, inner: &mut Inner, number: u64, entry: Entry) {
        let (limits, users) = (self.limits, &mut inner.users);
        if users.of(entry.address) >= limits.users_per_address {
            users.evict_of(entry.address);
        }
        while users.all.len() >= limits.users() && users.evict(None) {}
        users.insert(number, entry);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, number: u64) -> Option<Entry> {
        self.strangers.remove(number).or_else(|| self.users.remove(number))
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
    /// The connection is this user's now, and can no longer be ended for strangers.
    pub(crate) fn promote(&self, user: UserId) {
        let mut inner = self.admission.lock();
        // Gone already, if it was to make room.
        if let Some(entry) = inner.remove(self.number) {
            self.admission.insert_user(&mut inner, self.number, Entry { user: Some(user), ..entry });
        }
    }

    /// The connection is nobody's any more.
    pub(crate) fn demote(&self) {
        let mut inner = self.admission.lock();
        if let Some(entry) = inner.remove(self.number) {
            self.admission.insert_stranger(&mut inner, self.number, Entry { user: None, ..entry });
        }
    }

    /// Ends the connection when cancelled.
    pub(crate) const fn kill(&self) -> &CancellationToken {
        &self.kill
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.admission.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests;
