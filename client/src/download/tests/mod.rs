//! Whole downloads: real sockets, real files, a tracker in memory.

mod disks;
mod fetch;
mod folders;
mod hostile;
mod limits;
mod power;
mod revocation_gossip;
mod slow;
mod start;
mod striped_peer;
mod unlisted;
mod waiting;
mod whole;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::id::{FileId, GroupId};
use common::task::TaskGroup;
use common::tls::DeviceKey;
use common::wire::peer::{Hello, VERSION};

use super::*;
use crate::share::{ShareConfig, Uploaded};
use crate::trackers::fake::{FakeDirectory, FakeTracker};

/// One installation: its directories, and what runs on them.
struct Device {
    home: Arc<tempfile::TempDir>,
    key: Arc<DeviceKey>,
    tasks: TaskGroup,
    shares: Shares,
    downloads: Downloads,
    tracker: FakeTracker,
    name: &'static str,
}

impl Device {
    async fn new(tracker: &FakeTracker, name: &'static str) -> Self {
        Self::with(tracker, name, Limits::default()).await
    }

    async fn with(tracker: &FakeTracker, name: &'static str, limits: Limits) -> Self {
        let home = Arc::new(tempfile::tempdir().expect("a directory"));
        let key = Arc::new(DeviceKey::generate().expect("a key"));
        Self::start(tracker, name, home, key, limits).await
    }

    /// A client that stays.
    async fn start(
        tracker: &FakeTracker,
        name: &'static str,
        home: Arc<tempfile::TempDir>,
        key: Arc<DeviceKey>,
        limits: Limits,
    ) -> Self {
        let device = Self::open(tracker, name, home, key, limits).await;
        tracker.announce(device.key.id(), device.shares.listen_addr());
        device.shares.restore().await;
        device.downloads.restore().await;
        device
    }

    /// A client that does only what it is told.
    async fn open(
        tracker: &FakeTracker,
        name: &'static str,
        home: Arc<tempfile::TempDir>,
        key: Arc<DeviceKey>,
        limits: Limits,
    ) -> Self {
        let tasks = TaskGroup::new();
        let directory: Arc<FakeDirectory> = Arc::new(tracker.join(key.id(), name));
        let data_dir = home.path().join("data");
        fs::create_dir_all(&data_dir).expect("made");
        fs::create_dir_all(home.path().join("files")).expect("made");
        let shares = Shares::open(ShareConfig {
            data_dir: data_dir.clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            device: Arc::clone(&key),
            trackers: directory.clone(),
            tasks: tasks.clone(),
            limits: limits.clone(),
        })
        .await
        .expect("opened");
        let config = DownloadConfig {
            data_dir,
            device: Arc::clone(&key),
            trackers: directory,
            shares: shares.clone(),
            tasks: tasks.clone(),
            limits,
        };
        let downloads = Downloads::open(config).expect("opened");
        Self { home, key, tasks, shares, downloads, tracker: tracker.clone(), name }
    }

    /// As a process that is started again to do only what it is told.
    async fn asleep(self) -> Self {
        self.tasks.stop().await;
        Self::open(&self.tracker, self.name, self.home, self.key, Limits::default()).await
    }

    /// As a process that is ended well and started again.
    async fn restart(self) -> Self {
        self.downloads.shutdown().await;
        self.crash().await
    }

    /// As a process that is killed and started again.
    async fn crash(self) -> Self {
        self.tracker.vanish(self.key.id());
        self.tasks.stop().await;
        Self::start(&self.tracker, self.name, self.home, self.key, Limits::default()).await
    }

    fn files(&self) -> PathBuf {
        self.home.path().join("files")
    }

    async fn upload(&self, name: &str, bytes: &[u8]) -> Uploaded {
        let path = self.files().join(name);
        fs::write(&path, bytes).expect("written");
        self.shares.upload(&path, FakeTracker::group(), None, Some(16 << 10), |_| ()).await.expect("uploaded")
    }

    async fn begin(&self, name: &str) -> Result<DownloadId, Error> {
        let file = name.parse().expect("a selector");
        self.downloads.start(FakeTracker::group(), file, &self.files(), Strategy::Random, false).await
    }

    async fn fetch(&self, name: &str) -> Result<Downloaded, Error> {
        let id = self.begin(name).await?;
        self.downloads.finished(id).await
    }
}

/// How a member greets a seeder.
fn hello() -> Hello {
    let tracker = FakeTracker::new();
    let device = DeviceKey::generate().expect("a key").id();
    tracker.join(device, "bob");
    let ticket = tracker.ticket(device).expect("a ticket");
    Hello { version: VERSION, group: GroupId::new([1; 16]), file_id: FileId::new([2; 32]), ticket }
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

/// What is left of unfinished files in a directory.
fn leftovers(dir: &Path) -> Vec<String> {
    let names =
        fs::read_dir(dir).expect("listed").map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|n| n.ends_with(".part")).collect()
}
