//! What all uploads together may hold in memory: blocks read for leechers, and what the encrypted
//! streams have taken and the sockets have not.
//!
//! A share is taken before a block is read, and given back when its bytes have gone. Nobody waits for more while
//! holding some, so that those who wait are waited for by nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::tls::OUTPUT_BUFFER_BYTES;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::slots::Queued;

/// Bytes for all uploads. Eight who are served at full speed take half of it.
const MAX_HELD: usize = 64 << 20;
/// What is counted together, in bytes.
const UNIT: usize = 1 << 10;

/// The budget. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// A part of the budget, until dropped.
#[derive(Debug)]
pub(crate) struct Held(OwnedSemaphorePermit);

impl Held {
    /// The part that stands for what the stream holds, out of one that was taken with it.
    pub(crate) fn split_output(&mut self) -> Option<Self> {
        self.0.split(units(OUTPUT_BUFFER_BYTES) as usize).map(Self)
    }
}

impl Memory {
    /// All of it free.
    pub(crate) fn new() -> Self {
        Self { free: Arc::new(Semaphore::new(MAX_HELD / UNIT)), waiting: Arc::default() }
    }

    /// `bytes` if they are free now.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Held> {
        Arc::clone(&self.free).try_acquire_many_owned(units(bytes)).ok().map(Held)
    }

    /// `bytes`, in turn; the caller holds none. `None` never, unless the process ends. Cancel safe.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Held> {
        let _queued = Queued::new(&self.waiting);
        Arc::clone(&self.free).acquire_many_owned(units(bytes)).await.ok().map(Held)
    }

    /// Whether somebody waits.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        self.free.available_permits() * UNIT
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_held_is_bounded_and_comes_back() {
        let memory = Memory::new();
        let mut all = memory.try_take(MAX_HELD).expect("free");
        assert!(memory.try_take(1).is_none());
        let output = all.split_output().expect("a part");
        let waits = memory.take(2 * OUTPUT_BUFFER_BYTES);
        let mut waits = std::pin::pin!(waits);
        assert!(futures::poll!(&mut waits).is_pending() && memory.is_short());
        drop(output);
        assert!(futures::poll!(&mut waits).is_pending(), "not enough yet");
        drop(all);
        assert!(waits.await.is_some() && !memory.is_short());
        assert_eq!(memory.free_bytes(), MAX_HELD);
    }
}
