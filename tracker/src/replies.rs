//! Room for long answers, so that clients that ask for much and read nothing do not take all memory.
//!
//! A call whose answer may be long needs a place before it runs, and keeps it until the answer is with the
//! system. Who waits long for a place ends the connection that has held one longest: an honest reader holds it
//! for milliseconds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::address::subscriber;
use common::wire::client::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::turns::{Turn, Turns};

/// Long answers in memory at a time. Each is shorter than a frame, and exists as rows and as bytes.
pub(crate) const PLACES: usize = 64;
/// Of those, for one subscriber.
const OF_ONE: usize = 16;
/// Who holds a place for so long while somebody waits does not read.
const SLOW: Duration = Duration::from_secs(2);

/// Whether the answer may be long: pages, and parts of manifests.
pub(crate) const fn may_be_long(request: &Request) -> bool {
    matches!(
        request,
        Request::ListGroups { .. }
            | Request::ListRequests { .. }
            | Request::ListMembers { .. }
            | Request::ListFiles { .. }
            | Request::GetManifest { .. }
            | Request::FindPeers { .. }
    )
}

/// All places.
#[derive(Debug)]
pub(crate) struct Replies {
    turns: Turns,
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
    address: IpAddr,
    since: Instant,
    /// Ends its connection.
    kill: CancellationToken,
}

impl Default for Replies {
    fn default() -> Self {
        Self { turns: Turns::new(OF_ONE), places: Arc::new(Semaphore::new(PLACES)), held: Mutex::default() }
    }
}

impl Replies {
    /// A place for one long answer to `address`, on the connection that `kill` ends.
    pub(crate) async fn place(self: &Arc<Self>, address: IpAddr, kill: CancellationToken) -> Place {
        let address = subscriber(address);
        let turn = self.patiently(Some(address), self.turns.next(address)).await;
        let place = self.patiently(None, Arc::clone(&self.places).acquire_owned()).await.ok();
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        held.by_age.insert(number, Holder { address, since: Instant::now(), kill });
        Place { number, replies: Arc::clone(self), _held: (turn, place) }
    }

    async fn patiently<T>(&self, whose: Option<IpAddr>, next: impl Future<Output = T>) -> T {
        let mut next = pin!(next);
        loop {
            match timeout(SLOW, next.as_mut()).await {
                Ok(got) => return got,
                Err(_) => self.end_slowest(whose),
            }
        }
    }

    /// Ends the connection that has had its place longest, if that is too long; of this subscriber, or of any.
    fn end_slowest(&self, whose: Option<IpAddr>) {
        let mut held = self.lock();
        let slow = |h: &Holder| h.since.elapsed() >= SLOW && whose.is_none_or(|w| w == h.address);
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
    replies: Arc<Replies>,
    _held: (Turn, Option<OwnedSemaphorePermit>),
}

impl Drop for Place {
    fn drop(&mut self) {
        self.replies.lock().by_age.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_makes_way_for_its_neighbours() {
        let (replies, stuck) = (Arc::new(Replies::default()), CancellationToken::new());
        let mut held = Vec::new();
        for _ in 0..OF_ONE {
            held.push(replies.place(ip(1), stuck.clone()).await);
        }
        replies.place(ip(2), CancellationToken::new()).await;
        assert!(!stuck.is_cancelled(), "another subscriber does not even wait");
        let ended = async {
            stuck.cancelled().await;
            held.remove(0);
        };
        let (_place, ()) = tokio::join!(replies.place(ip(1), CancellationToken::new()), ended);
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_do_not_read_make_way_for_anybody() {
        let replies = Arc::new(Replies::default());
        let (mut held, begun) = (Vec::new(), Instant::now());
        for n in 0..PLACES {
            let kill = CancellationToken::new();
            held.push((kill.clone(), replies.place(ip((n / OF_ONE) as u8), kill).await));
        }
        let (first, slowest) = held.remove(0);
        let ended = async {
            first.cancelled().await;
            drop(slowest);
        };
        let (_place, ()) = tokio::join!(replies.place(ip(99), CancellationToken::new()), ended);
        assert!(begun.elapsed() <= 2 * SLOW);
        assert!(held.iter().all(|(kill, _)| !kill.is_cancelled()), "one is enough");
    }

    #[tokio::test]
    async fn places_are_given_back() {
        let replies = Arc::new(Replies::default());
        for n in 0..500u16 {
            replies.place(ip((n % 3) as u8), CancellationToken::new()).await;
        }
        assert!(replies.lock().by_age.is_empty() && replies.places.available_permits() == PLACES);
    }
}
