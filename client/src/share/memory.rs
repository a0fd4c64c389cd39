//! What all uploads together may hold in memory: blocks read for leechers, and what the encrypted
//! streams have taken and the sockets have not.
//!
//! A part is taken before a block is read, and given back when its bytes have gone. Each user may hold as much as
//! is still free, and no more (the dynamic threshold of Choudhury and Hahne, IEEE/ACM Transactions on Networking,
//! 1998, with a factor of one): one alone gets half, and however much `n` users take, one more finds a part of
//! `1 / (n + 1)` free once they keep to it.
//!
//! Invariant: a user holds at most what was free when it took last. Nobody waits while holding a place that
//! others need (see [`Slots`](super::slots::Slots)).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::id::UserId;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Bytes for all uploads.
pub(crate) const MAX_HELD: usize = 64 << 20;
/// How often whoever waits looks by itself: whoever was woken may have gone away.
const LOOK: Duration = Duration::from_millis(100);

/// The budget. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Memory(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    users: HashMap<UserId, Holder>,
}

/// What one user holds, and who of it waits for more.
#[derive(Debug, Default)]
struct Holder {
    held: usize,
    waiting: usize,
    freed: Arc<Notify>,
}

/// A part of the budget, until dropped.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Memory,
    user: UserId,
    bytes: usize,
}

impl Held {
    /// Divides it: what is returned is `bytes` of it, if it has so many.
    pub(crate) fn split(&mut self, bytes: usize) -> Option<Self> {
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(Self { memory: self.memory.clone(), user: self.user, bytes })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        state.free += self.bytes;
        if let Some(holder) = state.users.get_mut(&self.user) {
            holder.held = holder.held.saturating_sub(self.bytes);
        }
        state.forget_if_idle(self.user);
        // One each: all would come for what one can have.
        state.users.values().filter(|holder| holder.waiting > 0).for_each(|holder| holder.freed.notify_one());
    }
}

impl State {
    fn has_room(&self, user: UserId, bytes: usize) -> bool {
        let held = self.users.get(&user).map_or(0, |holder| holder.held);
        self.free.checked_sub(bytes).is_some_and(|free| held + bytes <= free)
    }

    fn forget_if_idle(&mut self, user: UserId) {
        if self.users.get(&user).is_some_and(|holder| holder.held == 0 && holder.waiting == 0) {
            self.users.remove(&user);
        }
    }
}

impl Memory {
    /// All of it free.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { free: MAX_HELD, users: HashMap::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `bytes`, if `user` may have them now.
    pub(crate) fn try_take(&self, user: UserId, bytes: usize) -> Option<Held> {
        let mut state = self.state();
        if !state.has_room(user, bytes) {
            return None;
        }
        state.free -= bytes;
        state.users.entry(user).or_default().held += bytes;
        Some(Held { memory: self.clone(), user, bytes })
    }

    /// Waits until `user` might take `bytes`. Cancel safe.
    pub(crate) async fn room(&self, user: UserId, bytes: usize) {
        if self.state().has_room(user, bytes) {
            return;
        }
        let (_waiting, freed) = Waiting::new(self, user);
        while !self.state().has_room(user, bytes) {
            // Whether it was told or not, it looks.
            let _ = timeout(LOOK, freed.notified()).await;
        }
    }

    /// Whether somebody waits while `user` holds half of an equal share or more: then it has to be quick.
    pub(crate) fn is_short_because_of(&self, user: UserId) -> bool {
        let state = self.state();
        let held = state.users.get(&user).map_or(0, |holder| holder.held);
        let holders = state.users.values().filter(|holder| holder.held > 0).count();
        2 * held * holders >= MAX_HELD && state.users.values().any(|holder| holder.waiting > 0)
    }

    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        self.state().free
    }
}

/// Counts who waits, while it waits.
struct Waiting<'a>(&'a Memory, UserId);

impl<'a> Waiting<'a> {
    fn new(memory: &'a Memory, user: UserId) -> (Self, Arc<Notify>) {
        let mut state = memory.state();
        let holder = state.users.entry(user).or_default();
        holder.waiting += 1;
        (Self(memory, user), Arc::clone(&holder.freed))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if let Some(holder) = state.users.get_mut(&self.1) {
            holder.waiting -= 1;
        }
        state.forget_if_idle(self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n: u8) -> UserId {
        UserId::new([n; 16])
    }

    fn take_all(memory: &Memory, user: UserId, step: usize) -> Vec<Held> {
        std::iter::from_fn(|| memory.try_take(user, step)).collect()
    }

    #[tokio::test]
    async fn what_is_held_is_bounded_and_comes_back() {
        let memory = Memory::new();
        let mut half = memory.try_take(user(1), MAX_HELD / 2).expect("free");
        assert!(memory.try_take(user(1), 1).is_none());
        assert!(!memory.is_short_because_of(user(1)), "nobody waits");
        let part = half.split(1 << 20).expect("a part");
        assert!(half.split(MAX_HELD).is_none());
        let room = memory.room(user(1), 2 << 20);
        let mut room = std::pin::pin!(room);
        assert!(futures::poll!(&mut room).is_pending() && memory.is_short_because_of(user(1)));
        drop(part);
        assert!(futures::poll!(&mut room).is_pending(), "not enough yet");
        drop(half);
        room.await;
        assert_eq!(memory.free_bytes(), MAX_HELD);
        assert!(memory.state().users.is_empty(), "nothing is remembered of who holds nothing");
    }

    #[test]
    fn one_user_takes_half_and_every_other_finds_room() {
        let memory = Memory::new();
        let step = 128 << 10;
        let mut all = Vec::new();
        for n in 1..=8 {
            let held = take_all(&memory, user(n), step);
            assert!(held.len() * step <= MAX_HELD >> n, "{n}: {}", held.len());
            assert!(!held.is_empty(), "{n}");
            all.push(held);
        }
        assert!(memory.free_bytes() > 0);
        // Those who were there first keep to their share as soon as they have given back.
        drop(all.remove(0));
        assert!(take_all(&memory, user(9), step).len() > 100);
    }

    #[tokio::test]
    async fn a_user_who_holds_little_is_not_to_blame_when_others_wait() {
        let memory = Memory::new();
        let _greedy = take_all(&memory, user(1), 1 << 20);
        let _slow = memory.try_take(user(2), 1 << 20).expect("room");
        let room = memory.room(user(1), 2 << 20);
        let mut room = std::pin::pin!(room);
        assert!(futures::poll!(&mut room).is_pending());
        assert!(memory.is_short_because_of(user(1)) && !memory.is_short_because_of(user(2)));
    }
}
