//! The seeder's side: who is let in, what they get, and what becomes of shares on the disk.

mod limits;
mod recheck;
mod serve;
mod withheld;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::trackers::fake::{FakeDirectory, FakeTracker};

/// A device that shares.
struct Device {
    home: Arc<tempfile::TempDir>,
    key: Arc<DeviceKey>,
    tasks: TaskGroup,
    shares: Shares,
    tracker: FakeTracker,
}

impl Device {
    async fn new(tracker: &FakeTracker) -> Self {
        let home = Arc::new(tempfile::tempdir().expect("a directory"));
        Self::start(tracker, home, Arc::new(DeviceKey::generate().expect("a key"))).await
    }

    async fn start(tracker: &FakeTracker, home: Arc<tempfile::TempDir>, key: Arc<DeviceKey>) -> Self {
        let tasks = TaskGroup::new();
        let directory: Arc<FakeDirectory> = Arc::new(tracker.join(key.id(), "alice"));
        let config = ShareConfig {
            data_dir: home.path().to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
            device: Arc::clone(&key),
            trackers: directory,
            tasks: tasks.clone(),
            limits: Limits::default(),
        };
        let shares = Shares::open(config).await.expect("opened");
        Self { home, key, tasks, shares, tracker: tracker.clone() }
    }

    async fn restart(self) -> Self {
        self.tasks.stop().await;
        Self::start(&self.tracker, self.home, self.key).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    async fn upload(&self, name: &str, bytes: &[u8]) -> Uploaded {
        fs::write(self.path(name), bytes).expect("written");
        self.try_upload(self.path(name)).await.expect("uploaded")
    }

    async fn try_upload(&self, path: PathBuf) -> Result<Uploaded, Error> {
        self.shares.upload(&path, FakeTracker::group(), None, Some(16 << 10), |_| ()).await
    }

    fn key_of(&self, up: &Uploaded) -> Key {
        Key { group: self.tracker.group_id(), file_id: up.file_id }
    }

    fn offers(&self, up: &Uploaded) -> bool {
        self.shares.offers(self.key_of(up))
    }
}

fn content(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(len as u64).fill(&mut bytes);
    bytes
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}"));
}
