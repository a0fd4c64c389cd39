//! Places for those who are served at the same time: few enough that each gets a useful rate, passed on
//! in turn so that nobody starves.
//!
//! A connection holds a place for a quantum of bytes or of time, whichever ends first, and then
//! queues again if anyone waits (deficit round robin, Shreedhar and Varghese 1995, with a queue per
//! user). A place that is free goes to the user who has fewest (max-min fairness), of those to the one who waits
//! longest; the connections of one user are first come, first served.
//!
//! Invariant: places that are held, or on the way to who waited, are counted as active; none is handed out while so many are
//! active as there are. Where there are fewer of a sudden, those who hold one too many queue again after their quantum.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::id::UserId;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Downloaders served at the same time, unless another number is set.
const ACTIVE: usize = 8;
/// Bytes that a place is good for while others wait.
const QUANTUM_BYTES: u64 = 4 << 20;
/// Time that a place is good for while others wait.
const QUANTUM_TIME: Duration = Duration::from_secs(1);

/// The places. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Slots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    waiting: AtomicUsize,
    /// Whether more are active than there are places.
    crowded: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` is without bound.
    places: Option<usize>,
    active: usize,
    /// Numbers those who come to wait.
    last: u64,
    users: HashMap<UserId, Served>,
}

/// What one user has, and who of it waits, with its number.
#[derive(Debug, Default)]
struct Served {
    active: usize,
    queue: VecDeque<(u64, oneshot::Sender<Place>)>,
}

/// A place, until dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    place: Place,
    since: Instant,
    bytes: u64,
}

/// What is given back when it is dropped.
#[derive(Debug)]
struct Place {
    /// `None`: it was not handed over, and does not count.
    slots: Option<Slots>,
    user: UserId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(slots) = self.slots.take() else { return };
        let mut state = slots.state();
        state.active -= 1;
        if let Some(served) = state.users.get_mut(&self.user) {
            served.active -= 1;
        }
        slots.hand_out(&mut state);
        state.forget_if_idle(self.user);
    }
}

impl State {
    fn has_free(&self) -> bool {
        self.places.is_none_or(|places| self.active < places)
    }

    /// Whose turn it is.
    fn next(&self) -> Option<UserId> {
        let waiting = self.users.iter().filter_map(|(user, s)| Some((s.active, s.queue.front()?.0, *user)));
        waiting.min().map(|(_, _, user)| user)
    }

    fn forget_if_idle(&mut self, user: UserId) {
        if self.users.get(&user).is_some_and(|served| served.active == 0 && served.queue.is_empty()) {
            self.users.remove(&user);
        }
    }
}

impl Slots {
    /// All places free.
    pub(crate) fn new() -> Self {
        let state = State { places: Some(ACTIVE), active: 0, last: 0, users: HashMap::new() };
        Self(Arc::new(Inner {
            waiting: AtomicUsize::new(0),
            crowded: AtomicBool::new(false),
            state: Mutex::new(state),
        }))
    }

    /// Makes it so many places; `None` is without bound.
    pub(crate) fn set(&self, places: Option<NonZeroU32>) {
        let mut state = self.state();
        state.places = places.map(|places| places.get() as usize);
        self.hand_out(&mut state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection of `user`, in turn; `None` never, unless the process ends. Cancel safe: the turn is
    /// given up.
    pub(crate) async fn take(&self, user: UserId) -> Option<Slot> {
        let queued = Queued::new(&self.0.waiting);
        let given = {
            let (give, given) = oneshot::channel();
            let mut state = self.state();
            state.last += 1;
            let number = state.last;
            state.users.entry(user).or_default().queue.push_back((number, give));
            self.hand_out(&mut state);
            given
        };
        let place = given.await.ok()?;
        drop(queued);
        Some(Slot { place, since: Instant::now(), bytes: 0 })
    }

    fn hand_out(&self, state: &mut State) {
        while state.has_free()
            && let Some(user) = state.next()
        {
            let Some(served) = state.users.get_mut(&user) else { return };
            let Some((_, give)) = served.queue.pop_front() else { return };
            match give.send(Place { slots: Some(self.clone()), user }) {
                Ok(()) => {
                    served.active += 1;
                    state.active += 1;
                }
                // Whoever waited has gone away.
                Err(mut place) => {
                    place.slots = None;
                    state.forget_if_idle(user);
                }
            }
        }
        self.0.crowded.store(state.places.is_some_and(|places| state.active > places), Ordering::Relaxed);
    }
}

/// Counts who waits, while it waits.
struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slot {
    /// Counts what was sent from this place.
    pub(crate) fn spend(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Whether the place should be passed on: the quantum is used up, and somebody waits.
    pub(crate) fn is_over(&self) -> bool {
        let used_up = self.bytes >= QUANTUM_BYTES || self.since.elapsed() >= QUANTUM_TIME;
        used_up && self.is_wanted()
    }

    /// Whether somebody waits for a place, or there are no longer so many.
    pub(crate) fn is_wanted(&self) -> bool {
        let is_wanted =
            |slots: &Slots| slots.0.waiting.load(Ordering::Relaxed) > 0 || slots.0.crowded.load(Ordering::Relaxed);
        self.place.slots.as_ref().is_some_and(is_wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;

    fn user(n: usize) -> UserId {
        UserId::new([n as u8; 16])
    }

    #[tokio::test(start_paused = true)]
    async fn everyone_gets_an_equal_part() {
        let slots = Slots::new();
        let served = join_all((0..3 * ACTIVE).map(|n| {
            let slots = slots.clone();
            async move {
                let (end, mut bytes) = (Instant::now() + Duration::from_secs(60), 0u64);
                while Instant::now() < end {
                    let mut slot = slots.take(user(n / 4)).await.expect("open");
                    while !slot.is_over() && Instant::now() < end {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        slot.spend(256 << 10);
                        bytes += 256 << 10;
                    }
                }
                bytes
            }
        }))
        .await;
        let (least, most) = (served.iter().min().copied(), served.iter().max().copied());
        assert!(least.zip(most).is_some_and(|(l, m)| m - l <= 2 * QUANTUM_BYTES), "{served:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_kept_while_nobody_waits() {
        let slots = Slots::new();
        let mut slot = slots.take(user(1)).await.expect("open");
        slot.spend(10 * QUANTUM_BYTES);
        assert!(!slot.is_over());
    }

    #[tokio::test]
    async fn a_free_place_goes_to_the_user_with_fewest_and_not_to_who_has_gone() {
        let slots = Slots::new();
        let mut held = Vec::new();
        for _ in 0..ACTIVE {
            held.push(slots.take(user(1)).await.expect("free"));
        }
        let crowd: Vec<_> = (0..64).map(|_| Box::pin(slots.take(user(1)))).collect();
        let mut crowd = crowd;
        for waits in &mut crowd {
            assert!(futures::poll!(waits).is_pending());
        }
        let mut gone = Box::pin(slots.take(user(2)));
        let mut late = Box::pin(slots.take(user(3)));
        assert!(futures::poll!(&mut gone).is_pending() && futures::poll!(&mut late).is_pending());
        drop(gone);
        assert!(held[0].is_wanted());
        held.pop();
        let late = late.await.expect("before the 64 who came first");
        drop((late, crowd, held));
        let state = slots.state();
        assert_eq!((state.active, state.users.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_places_can_change_while_they_are_held() {
        let slots = Slots::new();
        let mut held = Vec::new();
        for n in 0..ACTIVE {
            held.push(slots.take(user(n)).await.expect("free"));
        }
        let mut late = Box::pin(slots.take(user(9)));
        assert!(futures::poll!(&mut late).is_pending());
        slots.set(NonZeroU32::new(ACTIVE as u32 + 1));
        held.push(late.await.expect("one more"));
        slots.set(NonZeroU32::new(2));
        tokio::time::sleep(QUANTUM_TIME).await;
        assert!(held.iter().all(Slot::is_over), "too many, though nobody waits");
        let mut late = Box::pin(slots.take(user(9)));
        held.truncate(2);
        assert!(futures::poll!(&mut late).is_pending(), "two are left");
        slots.set(None);
        let late = late.await.expect("without bound");
        let mut many = Vec::new();
        for n in 0..100 {
            many.push(slots.take(user(n)).await.expect("without bound"));
        }
        assert!(!late.is_over());
        drop((held, late, many));
        assert_eq!(slots.state().active, 0);
    }
}
