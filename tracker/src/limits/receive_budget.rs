//! Room for frames that have begun to arrive, so that clients that send the better part of a frame each and
//! then nothing do not take all memory.
//!
//! Short ones are not counted: the number of connections bounds them. When the others are more than there may
//! be, the subscriber that holds most gives up the one that was begun first: an honest frame is whole soon.
//! Knows no sockets.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::address::subscriber;
use common::wire::limits::MAX_FRAME_BEFORE_LOGIN;
use tokio_util::sync::CancellationToken;

/// What each connection may hold without being counted, in bytes.
const FREE: usize = MAX_FRAME_BEFORE_LOGIN;

/// How much there may be, in bytes that have arrived. Buffers grow by doubling: they may be twice as large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// In all.
    pub(crate) all: usize,
    /// Of one subscriber.
    pub(crate) of_one: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { all: 64 << 20, of_one: 16 << 20 }
    }
}

/// All frames that have begun to arrive.
#[derive(Debug, Default)]
pub(crate) struct ReceiveBudget {
    bounds: Bounds,
    /// Guards who holds how much.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    bytes: usize,
    by_address: HashMap<IpAddr, Subscriber>,
}

/// The frames of one subscriber, the first first.
#[derive(Debug, Default)]
struct Subscriber {
    bytes: usize,
    frames: BTreeMap<u64, Frame>,
}

#[derive(Debug)]
struct Frame {
    bytes: usize,
    /// Ends its connection.
    kill: CancellationToken,
}

impl ReceiveBudget {
    #[cfg(test)]
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, inner: Mutex::default() }
    }

    /// Room for what comes from `address`, on the connection that `kill` ends.
    pub(crate) fn room(self: &Arc<Self>, address: IpAddr, kill: CancellationToken) -> Room {
        Room { budget: Arc::clone(self), address: subscriber(address), kill, held: None }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, address: IpAddr, number: u64) -> Option<Frame> {
        let subscriber = self.by_address.get_mut(&address)?;
        let frame = subscriber.frames.remove(&number)?;
        subscriber.bytes -= frame.bytes;
        self.bytes -= frame.bytes;
        if subscriber.frames.is_empty() {
            self.by_address.remove(&address);
        }
        Some(frame)
    }

    fn insert(&mut self, address: IpAddr, number: u64, frame: Frame) {
        let subscriber = self.by_address.entry(address).or_default();
        subscriber.bytes += frame.bytes;
        self.bytes += frame.bytes;
        subscriber.frames.insert(number, frame);
    }

    fn of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).map_or(0, |s| s.bytes)
    }

    /// Ends the connection of `address` whose frame was begun first: whether there was one.
    fn end_first(&mut self, address: IpAddr) -> bool {
        let first = self.by_address.get(&address).and_then(|s| s.frames.keys().next().copied());
        let ended = first.and_then(|number| self.remove(address, number));
        ended.inspect(|frame| frame.kill.cancel()).is_some()
    }

    fn largest(&self) -> Option<IpAddr> {
        self.by_address.iter().max_by_key(|(_, s)| s.bytes).map(|(address, _)| *address)
    }

    fn make_room(&mut self, bounds: Bounds, address: IpAddr) {
        while self.of(address) > bounds.of_one && self.end_first(address) {}
        while self.bytes > bounds.all && self.largest().is_some_and(|most| self.end_first(most)) {}
    }
}

/// The room of one connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    budget: Arc<ReceiveBudget>,
    address: IpAddr,
    kill: CancellationToken,
    /// The number of the frame that is counted, and its bytes.
    held: Option<(u64, usize)>,
}

impl Room {
    /// So many bytes wait for the rest of their frame. They are fewer than before only when a frame was whole.
    pub(crate) fn set(&mut self, bytes: usize) {
        let before = self.held.map_or(0, |(_, bytes)| bytes);
        let bytes = if bytes > FREE { bytes } else { 0 };
        if bytes == before {
            return;
        }
        let mut inner = self.budget.lock();
        let number = match self.held.take() {
            None => inner.next,
            Some((number, _)) => match inner.remove(self.address, number) {
                // Ended already, to make room.
                None => return,
                Some(_) if bytes < before => inner.next,
                Some(_) => number,
            },
        };
        inner.next = inner.next.max(number + 1);
        if bytes > 0 {
            inner.insert(self.address, number, Frame { bytes, kill: self.kill.clone() });
            self.held = Some((number, bytes));
            inner.make_room(self.budget.bounds, self.address);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some((number, _)) = self.held {
            self.budget.lock().remove(self.address, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn budget() -> Arc<ReceiveBudget> {
        Arc::new(ReceiveBudget::new(Bounds { all: 300 * KIB, of_one: 100 * KIB }))
    }

    fn room(budget: &Arc<ReceiveBudget>, address: u8) -> (Room, CancellationToken) {
        let kill = CancellationToken::new();
        (budget.room([10, 0, 0, address].into(), kill.clone()), kill)
    }

    #[test]
    fn the_frame_that_was_begun_first_makes_way_for_its_neighbours() {
        let budget = budget();
        let (mut slow, slow_ends) = room(&budget, 1);
        let (mut other, other_ends) = room(&budget, 2);
        let (mut quick, quick_ends) = room(&budget, 1);
        other.set(90 * KIB);
        slow.set(40 * KIB);
        quick.set(50 * KIB);
        slow.set(50 * KIB);
        assert!(!slow_ends.is_cancelled(), "all that fits");
        quick.set(51 * KIB);
        assert!(slow_ends.is_cancelled() && !quick_ends.is_cancelled() && !other_ends.is_cancelled());
        slow.set(90 * KIB);
        drop(slow);
        assert_eq!(budget.lock().bytes, 141 * KIB, "what was ended counts no more");
    }

    #[test]
    fn who_sends_whole_frames_is_never_the_first() {
        let budget = budget();
        let (mut quick, quick_ends) = room(&budget, 1);
        let (mut slow, slow_ends) = room(&budget, 1);
        quick.set(60 * KIB);
        slow.set(30 * KIB);
        // The rest of the first frame has come, and much of the second with it.
        quick.set(40 * KIB);
        quick.set(90 * KIB);
        assert!(slow_ends.is_cancelled() && !quick_ends.is_cancelled());
    }

    #[test]
    fn the_subscriber_that_holds_most_makes_way_for_all() {
        let budget = budget();
        let mut rooms: Vec<_> = (1..=4).map(|n| room(&budget, n)).collect();
        for ((room, _), size) in rooms.iter_mut().zip([80, 70, 90, 50]) {
            room.set(size * KIB);
        }
        assert!(rooms.iter().all(|(_, ends)| !ends.is_cancelled()));
        let mut newcomer = room(&budget, 5);
        newcomer.0.set(FREE + 1);
        let ended: Vec<_> = rooms.iter().map(|(_, ends)| ends.is_cancelled()).collect();
        assert_eq!(ended, [false, false, true, false]);
        assert!(!newcomer.1.is_cancelled());
    }

    #[test]
    fn room_is_given_back() {
        let budget = budget();
        for n in 0..100 {
            let (mut one, _) = room(&budget, n % 3);
            one.set(FREE);
            assert_eq!(budget.lock().bytes, 0, "short frames are not counted");
            one.set(20 * KIB);
            one.set(30 * KIB);
            if n % 2 == 0 {
                one.set(0);
            }
        }
        let inner = budget.lock();
        assert!(inner.bytes == 0 && inner.by_address.is_empty());
    }
}
