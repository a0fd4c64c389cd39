//! Room for long answers, so that clients that ask for much and read nothing do not take all memory.
//!
//! A call whose answer may be long needs a place before it runs, and keeps it until the answer is with the
//! system. A user has some of them, and so has an address. Who waits long for a place ends the connection that has
//! held one longest, of those that are in its way: an honest reader holds it for milliseconds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::address::subscriber;
use common::id::UserId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Payer;
use super::turns::{Turn, Turns};

/// Long answers in memory at a time. Each is shorter than a frame, and exists as rows and as bytes.
pub(crate) const PLACES: usize = 64;
/// Of those, for one subscriber: several members may sit behind one address.
const OF_ADDRESS: usize = 32;
/// Of those, for one user.
const OF_USER: usize = 8;
/// Who holds a place for so long while somebody waits does not read.
const SLOW: Duration = Duration::from_secs(2);

/// All places.
#[derive(Debug)]
pub(crate) struct ReplyBudget {
    users: Turns,
    addresses: Turns,
    places: Arc<Semaphore>,
    /// Guards who has a place, the first first.
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    by_age: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    user: UserId,
    address: IpAddr,
    since: Instant,
    /// Ends its connection.
    kill: CancellationToken,
}

impl Default for ReplyBudget {
    fn default() -> Self {
        Self {
            users: Turns::new(OF_USER),
            addresses: Turns::new(OF_ADDRESS),
            places: Arc::new(Semaphore::new(PLACES)),
            held: Mutex::default(),
        }
    }
}

impl ReplyBudget {
    /// A place for one long answer to `user` at `address`, on the connection that `kill` ends. Cancel safe.
    pub(crate) async fn place(self: &Arc<Self>, user: UserId, address: IpAddr, kill: CancellationToken) -> Place {
        let address = subscriber(address);
        let of_user = self.patiently(|h| h.user == user, self.users.next(Payer::User(user))).await;
        let of_address = self.patiently(|h| h.address == address, self.addresses.next(Payer::Address(address))).await;
        let place = self.patiently(|_| true, Arc::clone(&self.places).acquire_owned()).await.ok();
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        held.by_age.insert(number, Holder { user, address, since: Instant::now(), kill });
        Place { number, budget: Arc::clone(self), _held: (of_user, of_address, place) }
    }

    async fn patiently<T>(&self, in_the_way: impl Fn(&Holder) -> bool, next: impl Future<Output = T>) -> T {
        let mut next = pin!(next);
        loop {
            match timeout(SLOW, next.as_mut()).await {
                Ok(got) => return got,
                Err(_) => self.end_slowest(&in_the_way),
            }
        }
    }

    /// Ends the connection that has held its place longest, if that is too long, of those that are in the way.
    fn end_slowest(&self, in_the_way: impl Fn(&Holder) -> bool) {
        let mut held = self.lock();
        let slow = |h: &Holder| h.since.elapsed() >= SLOW && in_the_way(h);
        let slowest = held.by_age.iter().find(|(_, h)| slow(h)).map(|(number, _)| *number);
        if let Some(holder) = slowest.and_then(|number| held.by_age.remove(&number)) {
            tracing::info!(address = %holder.address, "does not read its answers: disconnected");
            holder.kill.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one long answer, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    budget: Arc<ReplyBudget>,
    _held: (Turn, Turn, Option<OwnedSemaphorePermit>),
}

impl Drop for Place {
    fn drop(&mut self) {
        self.budget.lock().by_age.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    fn user(n: u8) -> UserId {
        UserId::new([n; 16])
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_makes_way_for_its_own() {
        let (budget, stuck) = (Arc::new(ReplyBudget::default()), CancellationToken::new());
        let mut held = Vec::new();
        for _ in 0..OF_USER {
            held.push(budget.place(user(1), ip(1), stuck.clone()).await);
        }
        let begun = Instant::now();
        budget.place(user(2), ip(1), CancellationToken::new()).await;
        budget.place(user(3), ip(2), CancellationToken::new()).await;
        assert!(!stuck.is_cancelled() && begun.elapsed().is_zero(), "another user does not even wait");
        let ended = async {
            stuck.cancelled().await;
            held.remove(0);
        };
        let (_place, ()) = tokio::join!(budget.place(user(1), ip(1), CancellationToken::new()), ended);
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_do_not_read_make_way_for_anybody() {
        let budget = Arc::new(ReplyBudget::default());
        let (mut held, begun) = (Vec::new(), Instant::now());
        for n in 0..PLACES {
            let (kill, n) = (CancellationToken::new(), n / OF_USER);
            held.push((kill.clone(), budget.place(user(n as u8), ip(n as u8), kill).await));
        }
        let (first, slowest) = held.remove(0);
        let ended = async {
            first.cancelled().await;
            drop(slowest);
        };
        let (_place, ()) = tokio::join!(budget.place(user(99), ip(99), CancellationToken::new()), ended);
        assert!(begun.elapsed() <= 2 * SLOW);
        assert!(held.iter().all(|(kill, _)| !kill.is_cancelled()), "one is enough");
    }

    #[tokio::test]
    async fn places_are_given_back() {
        let budget = Arc::new(ReplyBudget::default());
        for n in 0..500u16 {
            budget.place(user((n % 3) as u8), ip((n % 5) as u8), CancellationToken::new()).await;
        }
        assert!(budget.lock().by_age.is_empty() && budget.places.available_permits() == PLACES);
    }
}
