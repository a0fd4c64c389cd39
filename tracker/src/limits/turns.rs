//! Turns: so many at a time for one payer. Who is over that waits behind its own, and not before others.
//! Knows nothing of what is done in turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Payer;

/// The turns of every payer.
#[derive(Debug)]
pub(crate) struct Turns {
    each: usize,
    /// Guards those who have or await a turn; others are forgotten.
    active: Mutex<HashMap<Payer, Weak<Semaphore>>>,
}

/// Somebody's turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Also keeps its payer known.
    _turn: OwnedSemaphorePermit,
}

impl Turns {
    /// `each` at a time for one payer.
    pub(crate) fn new(each: usize) -> Self {
        Self { each, active: Mutex::default() }
    }

    /// The next turn of `payer`. Cancel safe, but a caller that comes again is the last one again.
    pub(crate) async fn next(&self, payer: Payer) -> Turn {
        let of = self.of(payer);
        loop {
            // Never closed.
            if let Ok(turn) = Arc::clone(&of).acquire_owned().await {
                return Turn { _turn: turn };
            }
        }
    }

    /// A turn of `payer`, if it need not wait for it.
    pub(crate) fn try_next(&self, payer: Payer) -> Option<Turn> {
        self.of(payer).try_acquire_owned().ok().map(|turn| Turn { _turn: turn })
    }

    fn of(&self, payer: Payer) -> Arc<Semaphore> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = active.get(&payer).and_then(Weak::upgrade) {
            return known;
        }
        active.retain(|_, of| of.strong_count() > 0);
        let new = Arc::new(Semaphore::new(self.each));
        active.insert(payer, Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn each_payer_waits_behind_its_own() {
        let turns = Turns::new(2);
        let (a, b) = (Payer::Address([10, 0, 0, 1].into()), Payer::Address([10, 0, 0, 2].into()));
        let first = turns.next(a).await;
        let _second = turns.next(a).await;
        let mut third = Box::pin(turns.next(a));
        assert!((&mut third).now_or_never().is_none());
        assert!(turns.next(b).now_or_never().is_some(), "another does not wait");
        drop(first);
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_has_no_turn_is_forgotten() {
        let turns = Turns::new(1);
        for n in 0..100 {
            turns.next(Payer::Address([10, 0, 0, n].into())).await;
        }
        assert_eq!(turns.active.lock().expect("lock").len(), 1);
    }
}
