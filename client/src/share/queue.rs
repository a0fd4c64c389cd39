//! What one leecher has asked for and not got yet.
//!
//! Invariant: at most [`MAX_QUEUE`] requests, no number twice; one that is answered is forgotten, and its
//! number free again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::pieces::BlockRange;
use common::wire::limits::MAX_QUEUE;
use common::wire::peer::Goodbye;
use tokio::sync::Notify;

/// A request of the leecher.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// The leecher's number for it.
    pub(crate) number: u32,
    /// Which bytes.
    pub(crate) block: BlockRange,
    /// How many of them have been sent.
    pub(crate) sent: u32,
    /// No longer wanted.
    pub(crate) cancelled: bool,
}

/// What the leecher waits for.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    asked: VecDeque<Asked>,
    /// Popped and not answered yet; `true` once cancelled.
    current: Vec<(u32, bool)>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, asked: Asked) -> Result<(), Goodbye> {
        let mut state = self.state();
        let outstanding = state.asked.len() + state.current.len();
        let repeated =
            state.asked.iter().any(|a| a.number == asked.number) || state.current.iter().any(|c| c.0 == asked.number);
        if outstanding >= MAX_QUEUE || repeated {
            return Err(Goodbye::Violation);
        }
        state.asked.push_back(asked);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// The next request, which stays current until it is [forgotten](Queue::forget).
    pub(crate) fn pop(&self) -> Option<Asked> {
        let mut state = self.state();
        let asked = state.asked.pop_front()?;
        state.current.push((asked.number, asked.cancelled));
        Some(asked)
    }

    /// A request that was popped waits again, before all others.
    pub(crate) fn put_back(&self, asked: Asked) {
        let mut state = self.state();
        let cancelled = state.current.contains(&(asked.number, true));
        state.current.retain(|c| c.0 != asked.number);
        state.asked.push_front(Asked { cancelled: asked.cancelled || cancelled, ..asked });
        drop(state);
        self.filled.notify_one();
    }

    /// Marks a request as no longer wanted; it is still answered, by `Cancelled`. A number that
    /// has been answered already means nothing.
    pub(crate) fn cancel(&self, number: u32) {
        let mut state = self.state();
        if let Some(asked) = state.asked.iter_mut().find(|a| a.number == number) {
            asked.cancelled = true;
        }
        if let Some(current) = state.current.iter_mut().find(|c| c.0 == number) {
            current.1 = true;
        }
    }

    pub(crate) fn is_cancelled(&self, number: u32) -> bool {
        self.state().current.contains(&(number, true))
    }

    pub(crate) fn forget(&self, number: u32) {
        self.state().current.retain(|c| c.0 != number);
    }

    /// Whether everything is answered.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.state();
        state.asked.is_empty() && state.current.is_empty()
    }

    /// Resolves when something is queued. Cancel safe.
    pub(crate) async fn filled(&self) {
        loop {
            if !self.state().asked.is_empty() {
                return;
            }
            self.filled.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_back_comes_first_and_keeps_its_cancellation() {
        let queue = Queue::default();
        for number in 1..=3 {
            let block = BlockRange { piece: 0, offset: 0, len: 1 };
            queue.push(Asked { number, block, sent: 0, cancelled: false }).expect("room");
        }
        let (one, two) = (queue.pop().expect("one"), queue.pop().expect("two"));
        queue.cancel(2);
        queue.put_back(two);
        queue.put_back(Asked { sent: 1, ..one });
        let again: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|a| (a.number, a.sent, a.cancelled)).collect();
        assert_eq!(again, [(1, 1, false), (2, 0, true), (3, 0, false)]);
    }
}
