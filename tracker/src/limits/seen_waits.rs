//! How many calls wait until this tracker has what their clients have seen elsewhere. Each keeps its request in memory
//! meanwhile, so that one client's calls are few, and all together are bounded.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Payer;
use super::turns::{Turn, Turns};

/// Calls of one payer that wait.
const MAX_EACH: usize = 64;
/// Calls that wait in all.
const MAX_ALL: usize = 4096;
/// Origins that one call waits for. Honest clients lack one or two.
pub(crate) const MAX_ORIGINS: usize = 64;

/// The calls that wait.
#[derive(Debug)]
pub(crate) struct SeenWaits {
    each: Turns,
    all: Arc<Semaphore>,
}

impl Default for SeenWaits {
    fn default() -> Self {
        Self { each: Turns::new(MAX_EACH), all: Arc::new(Semaphore::new(MAX_ALL)) }
    }
}

/// One that waits, until it is dropped.
#[derive(Debug)]
pub(crate) struct SeenWait {
    _held: (Turn, OwnedSemaphorePermit),
}

impl SeenWaits {
    /// One more, if there may be.
    pub(crate) fn enter(&self, payer: Payer) -> Option<SeenWait> {
        let turn = self.each.try_next(payer)?;
        let one = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(SeenWait { _held: (turn, one) })
    }
}

#[cfg(test)]
mod tests {
    use common::id::UserId;

    use super::*;

    #[test]
    fn one_payer_does_not_take_all_places_and_all_are_given_back() {
        let waits = SeenWaits::default();
        let of = |n: u8| {
            let payer = Payer::User(UserId::new([n; 16]));
            std::iter::from_fn(|| waits.enter(payer)).collect::<Vec<_>>()
        };
        let first = of(1);
        assert_eq!((first.len(), of(1).len(), of(2).len()), (MAX_EACH, 0, MAX_EACH));
        drop(first);
        let all: Vec<_> = (0..255).map(of).collect();
        assert_eq!(all.iter().map(Vec::len).sum::<usize>(), MAX_ALL);
        drop(all);
        assert_eq!(of(1).len(), MAX_EACH);
    }
}
