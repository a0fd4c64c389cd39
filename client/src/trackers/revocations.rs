//! Which tickets have been voided before their time.
//!
//! Revocations come from the trackers, and from leechers that pass on what they heard; each is
//! verified before it counts. They are kept as long as the process lives: a membership or login that has
//! ended never comes back, and a tracker that has not heard of it may still issue tickets.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use common::id::{GroupId, MembershipId};
use common::secret::ClusterPublic;
use common::ticket::{CLOCK_TOLERANCE, Revocation, Revoked, Signed, TICKET_LIFE, Ticket, UnixSeconds};
use tokio::sync::watch;

use super::clock::TrackerClock;

/// Most revocations kept; beyond that the oldest goes, long after its tickets have run out.
const MAX_KEPT: usize = 10_000;

/// The revocations that this device knows. Clones are the same set.
#[derive(Debug, Clone)]
pub struct Revocations {
    known: Arc<watch::Sender<Known>>,
    clock: TrackerClock,
}

/// A revocation, and the signed form in which others believe it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its place in the order in which this device heard of them, from 0.
    pub(crate) number: u64,
    pub(crate) revocation: Revocation,
    pub(crate) signed: Signed<Revocation>,
}

/// The set, as of some moment.
#[derive(Debug, Default)]
pub(crate) struct Known {
    entries: VecDeque<Entry>,
    /// The same, to be looked up.
    signed: HashSet<Signed<Revocation>>,
    next: u64,
    clock: TrackerClock,
}

impl Known {
    /// Whether `ticket` is void.
    pub(crate) fn cover(&self, ticket: &Ticket) -> bool {
        self.entries.iter().any(|e| e.revocation.covers(ticket))
    }

    /// The number that the next entry will have.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// The entry with this number, unless it has been forgotten or can no longer void a ticket.
    pub(crate) fn fresh(&self, number: u64) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&number, |e| e.number).ok()?;
        self.entries.get(at).filter(|e| is_fresh(&e.revocation, self.clock.span().0))
    }
}

impl Revocations {
    /// An empty set, by this machine's clock.
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self::by(TrackerClock::default())
    }

    /// An empty set, by the trackers' clock.
    pub(crate) fn by(clock: TrackerClock) -> Self {
        let known = Known { clock: clock.clone(), ..Known::default() };
        Self { known: Arc::new(watch::Sender::new(known)), clock }
    }

    /// Whether exactly this is known already: costs no look at the signature.
    pub(crate) fn knows(&self, signed: &Signed<Revocation>) -> bool {
        self.known.borrow().signed.contains(signed)
    }

    /// Adds `signed`, as a leecher passed it on, if the cluster signed it and it can still void a ticket: old ones
    /// replayed in number must not push fresh ones out. `true` if it is news.
    pub(crate) fn add_gossiped(&self, signed: Signed<Revocation>, cluster: &ClusterPublic) -> bool {
        let fresh = signed.verify(cluster).is_ok_and(|revocation| is_fresh(&revocation, self.clock.span().0));
        fresh && self.add(signed, cluster)
    }

    /// Adds `signed` if the cluster signed it; `true` if it is news.
    pub(crate) fn add(&self, signed: Signed<Revocation>, cluster: &ClusterPublic) -> bool {
        let Ok(revocation) = signed.verify(cluster) else { return false };
        self.known.send_if_modified(|known| {
            let news =
                known.entries.iter().all(|e| e.revocation.what != revocation.what || e.revocation.at < revocation.at);
            if news {
                if known.entries.len() >= MAX_KEPT
                    && let Some(oldest) = (0..known.entries.len()).min_by_key(|&i| known.entries[i].revocation.at)
                {
                    known.entries.remove(oldest).map(|e| known.signed.remove(&e.signed));
                }
                known.signed.insert(signed.clone());
                known.entries.push_back(Entry { number: known.next, revocation, signed });
                known.next += 1;
            }
            news
        })
    }

    /// Whether `ticket` is void.
    pub(crate) fn cover(&self, ticket: &Ticket) -> bool {
        self.known.borrow().cover(ticket)
    }

    /// The group in which `ended` was a membership, if its end is known.
    pub(crate) fn group_of(&self, ended: MembershipId) -> Option<GroupId> {
        self.known.borrow().entries.iter().rev().find_map(|e| match e.revocation.what {
            Revoked::Membership { group, membership } if membership == ended => Some(group),
            _ => None,
        })
    }

    /// Sees the set and its changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }
}

/// Whether a ticket that it voids may still be used by somebody at `now`, by the clock that is behind.
fn is_fresh(revocation: &Revocation, now: UnixSeconds) -> bool {
    revocation.at >= now.saturating_sub((TICKET_LIFE + 2 * CLOCK_TOLERANCE).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::SessionId;
    use common::secret::ClusterSecret;
    use common::ticket::now;

    #[test]
    fn only_what_the_cluster_signed_counts_and_only_once() {
        let (key, other) = (ClusterSecret::generate().cluster_key(), ClusterSecret::generate().cluster_key());
        let revocation = Revocation { what: Revoked::Session(SessionId::random()), at: now() };
        let set = Revocations::new();
        let signed = |key| Signed::sign(&revocation, key).expect("signed");
        assert!(!set.add(signed(&other), &key.public()));
        assert!(set.add(signed(&key), &key.public()));
        assert!(!set.add(signed(&key), &key.public()));
        let known = set.watch();
        assert_eq!(known.borrow().fresh(0).map(|e| e.revocation.clone()), Some(revocation));
        assert!(known.borrow().next() == 1 && known.borrow().fresh(1).is_none());
    }

    #[test]
    fn old_revocations_passed_on_do_not_push_a_fresh_one_out() {
        let key = ClusterSecret::generate().cluster_key();
        let set = Revocations::new();
        let ended = |at| {
            let revocation = Revocation { what: Revoked::Session(SessionId::random()), at };
            Signed::sign(&revocation, &key).expect("signed")
        };
        assert!(!set.add_gossiped(ended(now() - 1000), &key.public()), "it voids nothing any more");
        assert!(set.add_gossiped(ended(now()), &key.public()));
    }
}
