//! How much each share has given since the program started, how fast it goes, and to how many.
//!
//! Counts by key and not by offer: an offer that is replaced by another of the same file goes on counting.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::offer::Key;
use crate::transfer::meter::Meter;

/// What was given of all shares. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct UploadStats(Arc<Mutex<HashMap<Key, Arc<ShareStats>>>>);

/// What was given of one share.
#[derive(Debug)]
pub(crate) struct ShareStats {
    sent: AtomicU64,
    peers: AtomicUsize,
    meter: Mutex<Meter>,
}

/// How a share goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Given {
    /// Bytes since the program started.
    pub sent: u64,
    /// Bytes per second, now.
    pub rate: u64,
    /// Leechers that are connected for it.
    pub peers: u64,
}

/// One leecher that is connected, until dropped.
#[derive(Debug)]
pub(crate) struct Connected(Arc<ShareStats>);

impl UploadStats {
    fn table(&self) -> MutexGuard<'_, HashMap<Key, Arc<ShareStats>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A leecher has come for `key`.
    pub(crate) fn connect(&self, key: Key) -> Connected {
        let stats = Arc::clone(self.table().entry(key).or_insert_with(|| Arc::new(ShareStats::new(Instant::now()))));
        stats.peers.fetch_add(1, Ordering::Relaxed);
        Connected(stats)
    }

    /// How `key` goes, at `now`.
    pub(crate) fn given(&self, key: Key, now: Instant) -> Given {
        self.table().get(&key).map(|stats| stats.given(now)).unwrap_or_default()
    }

    /// Forgets what `key` has given, unless somebody is still served.
    pub(crate) fn forget(&self, key: Key) {
        let mut table = self.table();
        if table.get(&key).is_some_and(|stats| stats.peers.load(Ordering::Relaxed) == 0) {
            table.remove(&key);
        }
    }
}

impl ShareStats {
    fn new(now: Instant) -> Self {
        Self { sent: AtomicU64::new(0), peers: AtomicUsize::new(0), meter: Mutex::new(Meter::new(now, 0)) }
    }

    fn given(&self, now: Instant) -> Given {
        let sent = self.sent.load(Ordering::Relaxed);
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        meter.update(now, sent);
        let peers = self.peers.load(Ordering::Relaxed) as u64;
        // The meter averages since it was last looked at, and nothing goes to nobody.
        Given { sent, rate: if peers == 0 { 0 } else { meter.rate() }, peers }
    }
}

impl Connected {
    /// Counts what has gone to the leecher.
    pub(crate) fn add(&self, bytes: u64) {
        let sent = self.0.sent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Whoever asks at the same time counts it, too.
        if let Ok(mut meter) = self.0.meter.try_lock() {
            meter.update(Instant::now(), sent);
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.peers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::{FileId, GroupId};
    use std::time::Duration;

    #[test]
    fn what_is_given_is_counted_for_each_share_and_goes_on_when_leechers_change() {
        let stats = UploadStats::default();
        let key = |n| Key { group: GroupId::new([n; 16]), file_id: FileId::new([n; 32]) };
        assert_eq!(stats.given(key(1), Instant::now()), Given::default());
        let (a, b) = (stats.connect(key(1)), stats.connect(key(1)));
        a.add(1000);
        b.add(500);
        let given = stats.given(key(1), Instant::now());
        assert_eq!((given.sent, given.peers), (1500, 2));
        drop(a);
        stats.forget(key(1));
        let later = stats.given(key(1), Instant::now() + Duration::from_secs(60));
        assert_eq!((later.sent, later.peers, later.rate), (1500, 1, 24), "over the last minute");
        assert_eq!(stats.given(key(2), Instant::now()), Given::default());
        drop(b);
        assert_eq!(stats.given(key(1), Instant::now() + Duration::from_secs(61)).rate, 0, "nobody is there");
        stats.forget(key(1));
        assert_eq!(stats.given(key(1), Instant::now()).sent, 0);
    }
}
