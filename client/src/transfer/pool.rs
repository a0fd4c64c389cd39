//! Reused buffers for blocks, and the count of the bytes that downloads may hold at once.
//!
//! Invariant: a [`Buffer`] goes back to its pool when dropped, wherever that happens, and a pool
//! keeps at most [`MAX_KEPT`] bytes that nobody uses. Buffers come in powers of two, so that files
//! with small pieces do not pay for large blocks.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use common::pieces::MAX_BLOCK_LEN;

/// Most bytes kept for reuse. More than a fast peer has in the air at a time gains nothing.
const MAX_KEPT: usize = 24 << 20;
/// Smallest buffer, as a power of two: 16 KiB.
const FIRST_CLASS: u32 = 14;
/// Number of sizes, up to the longest block plus room for headers.
const CLASSES: usize = 8;

/// Where buffers come from and go back to. Clones are the same pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: usize,
    classes: [Vec<Vec<u8>>; CLASSES],
}

impl Pool {
    /// A pool without buffers.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A buffer of `len` bytes with arbitrary content.
    pub(crate) fn take(&self, len: usize) -> Buffer {
        debug_assert!(len <= 2 * MAX_BLOCK_LEN as usize, "a block and its headers");
        let class = class_of(len);
        let kept = {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = kept.classes.get_mut(class).and_then(Vec::pop);
            kept.bytes -= bytes.as_ref().map_or(0, Vec::len);
            bytes
        };
        let bytes = kept.unwrap_or_else(|| vec![0; size_of(class).max(len)]);
        Buffer { bytes, len, pool: self.clone() }
    }

    fn put(&self, bytes: Vec<u8>) {
        let class = class_of(bytes.len());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + bytes.len() > MAX_KEPT {
            return;
        }
        if let Some(same) = kept.classes.get_mut(class) {
            same.push(bytes);
            let len = same.last().map_or(0, Vec::len);
            kept.bytes += len;
        }
    }
}

fn class_of(len: usize) -> usize {
    len.next_power_of_two().trailing_zeros().saturating_sub(FIRST_CLASS) as usize
}

const fn size_of(class: usize) -> usize {
    1 << (FIRST_CLASS as usize + class)
}

/// Bytes on loan from a [`Pool`].
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    pool: Pool,
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.bytes));
    }
}

/// Bytes that all downloads of this process may have asked for and not yet written. Clones are
/// the same budget.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self(Arc::new(Counter { limit, used: AtomicU64::new(0) }))
    }

    /// Bytes that may still be asked for.
    pub(crate) fn free(&self) -> u64 {
        self.0.limit.saturating_sub(self.0.used.load(Ordering::Relaxed))
    }

    /// An account in this budget, with nothing on it.
    pub(crate) fn account(&self) -> Account {
        Account { budget: self.clone(), used: 0 }
    }
}

/// What one download uses of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Account {
    budget: Budget,
    used: u64,
}

impl Account {
    /// Bytes on this account.
    pub(crate) const fn used(&self) -> u64 {
        self.used
    }

    /// Bytes that may still be asked for.
    pub(crate) fn free(&self) -> u64 {
        self.budget.free()
    }

    /// Sets what is on the account. The caller has looked at [`Account::free`]; a slight overdraft
    /// by downloads that look at the same time is harmless.
    pub(crate) fn set(&mut self, bytes: u64) {
        let total = &self.budget.0.used;
        if bytes >= self.used {
            total.fetch_add(bytes - self.used, Ordering::Relaxed);
        } else {
            total.fetch_sub(self.used - bytes, Ordering::Relaxed);
        }
        self.used = bytes;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused_by_size_and_the_pool_is_bounded() {
        let pool = Pool::new();
        for len in [1, 16 << 10, (16 << 10) + 1, 300 << 10, 1 << 20, (1 << 20) + 128] {
            assert_eq!(pool.take(len).len(), len);
        }
        let kept = pool.0.lock().expect("unpoisoned").bytes;
        drop(pool.take(1 << 20));
        assert_eq!(pool.0.lock().expect("unpoisoned").bytes, kept, "the same buffer went out and came back");
        drop((0..100).map(|_| pool.take(1 << 20)).collect::<Vec<_>>());
        assert!(pool.0.lock().expect("unpoisoned").bytes <= MAX_KEPT);
    }

    #[test]
    fn an_account_gives_back_what_it_used() {
        let budget = Budget::new(100);
        let mut account = budget.account();
        account.set(60);
        account.set(50);
        assert_eq!((account.used(), budget.free()), (50, 50));
        account.set(130);
        assert_eq!(account.free(), 0);
        drop(account);
        assert_eq!(budget.free(), 100);
    }
}
