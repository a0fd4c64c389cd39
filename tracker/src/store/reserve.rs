//! Room on the disk that is kept for what takes something away.
//!
//! When little is left, commands that give or publish are refused, and nothing else is: somebody can still be
//! removed, leave, log out, log in for that, or change a password, and what the sibling has decided is joined. The
//! last bytes are SQLite's to refuse.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that must be free on the disk for commands that add.
const RESERVE_BYTES: u64 = 64 << 20;

/// How many bytes are free, if that is known.
pub(super) type FreeBytes = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// The room that is kept. Asked once for each transaction, and now and then.
pub(super) struct Reserve {
    free: FreeBytes,
    /// Whether the operator has been told.
    low: AtomicBool,
}

impl fmt::Debug for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reserve({:?} free)", (self.free)())
    }
}

impl Reserve {
    pub(super) const fn new(free: FreeBytes) -> Self {
        Self { free, low: AtomicBool::new(false) }
    }

    /// Whether there is more than the reserve. A disk that does not say has room.
    pub(super) fn has_room(&self) -> bool {
        let free = (self.free)();
        let low = free.is_some_and(|free| free < RESERVE_BYTES);
        let told = self.low.swap(low, Ordering::Relaxed);
        if low && !told {
            tracing::warn!(
                free_bytes = free,
                "the disk is nearly full: until {} MiB are free, nobody can create, join or share anything; \
                 members can still be removed",
                RESERVE_BYTES >> 20
            );
        } else if told && !low {
            tracing::warn!("the disk has room again");
        }
        !low
    }
}

/// What the disk of `dir` has free for this process.
#[cfg(unix)]
pub(super) fn free_on_disk(dir: &Path) -> FreeBytes {
    let dir = dir.to_owned();
    Arc::new(move || rustix::fs::statvfs(&dir).ok().map(|s| s.f_bavail.saturating_mul(s.f_frsize)))
}

/// Not known here.
#[cfg(not(unix))]
pub(super) fn free_on_disk(_: &Path) -> FreeBytes {
    Arc::new(|| None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_kept() {
        for (free, room) in
            [(None, true), (Some(RESERVE_BYTES), true), (Some(RESERVE_BYTES - 1), false), (Some(0), false)]
        {
            assert_eq!(Reserve::new(Arc::new(move || free)).has_room(), room, "{free:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_disk_says_what_it_has() {
        let dir = tempfile::tempdir().expect("directory");
        assert!(free_on_disk(dir.path())().is_some_and(|free| free > 0));
        assert_eq!(free_on_disk(&dir.path().join("missing"))(), None);
    }
}
