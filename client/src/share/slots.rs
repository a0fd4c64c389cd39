//! Places for those who are served at the same time: few enough that each gets a useful rate, passed on
//! in turn so that nobody starves.
//!
//! A connection holds a place for a quantum of bytes or of time, whichever ends first, and then
//! queues again if anyone waits (deficit round robin, Shreedhar and Varghese 1995, with a queue per
//! connection). The semaphore's queue is first come, first served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Downloaders served at the same time.
const ACTIVE: usize = 8;
/// Bytes that a place is good for while others wait.
const QUANTUM_BYTES: u64 = 4 << 20;
/// Time that a place is good for while others wait.
pub(crate) const QUANTUM_TIME: Duration = Duration::from_secs(1);

/// The places. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// A place, until dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    waiting: Arc<AtomicUsize>,
    since: Instant,
    bytes: u64,
    _place: OwnedSemaphorePermit,
}

impl Slots {
    /// All places free.
    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(ACTIVE)), waiting: Arc::default() }
    }

    /// A place, in turn; `None` never, unless the process ends. Cancel safe: the turn is given up.
    pub(crate) async fn take(&self) -> Option<Slot> {
        let queued = Queued::new(&self.waiting);
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        drop(queued);
        Some(Slot { waiting: Arc::clone(&self.waiting), since: Instant::now(), bytes: 0, _place: place })
    }
}

/// Counts who waits, while it waits.
pub(super) struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    pub(super) fn new(waiting: &'a AtomicUsize) -> Self {
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
        used_up && self.waiting.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;

    #[tokio::test(start_paused = true)]
    async fn everyone_gets_an_equal_part() {
        let slots = Slots::new();
        let served = join_all((0..3 * ACTIVE).map(|_| {
            let slots = slots.clone();
            async move {
                let (end, mut bytes) = (Instant::now() + Duration::from_secs(60), 0u64);
                while Instant::now() < end {
                    let mut slot = slots.take().await.expect("open");
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
        assert!(least.zip(most).is_some_and(|(l, m)| m - l <= QUANTUM_BYTES), "{served:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_kept_while_nobody_waits() {
        let slots = Slots::new();
        let mut slot = slots.take().await.expect("open");
        slot.spend(10 * QUANTUM_BYTES);
        assert!(!slot.is_over());
    }
}
