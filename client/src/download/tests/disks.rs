//! Disks that are full or broken.

use rustix::io::Errno;

use super::*;
use crate::download::durable_io::fault::{Deed, Fault};

/// A small file system of its own, gone at the end. Needs root.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, bytes: u64) -> Option<Self> {
        fs::create_dir_all(&at).ok()?;
        let size = format!("size={bytes}");
        let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).status();
        mounted.is_ok_and(|s| s.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_known_at_the_start_and_leaves_nothing() {
    let tracker = FakeTracker::new();
    let (alice, bob) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    alice.upload("file", &content(4 << 20)).await;
    let Some(small) = SmallDisk::mount(bob.home.path().join("small"), 1 << 20) else {
        eprintln!("skipped: cannot mount a tmpfs");
        return;
    };
    let file = "file".parse().expect("a selector");
    let error = bob.downloads.start(FakeTracker::group(), file, &small.0, Strategy::Random, false).await;
    assert_eq!(error.expect_err("no room").code(), "disk_full");
    assert_eq!(fs::read_dir(&small.0).expect("listed").count(), 0);
    assert!(bob.downloads.list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_in_the_middle_pauses_the_download_until_there_is_room() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker, "alice").await;
    let bytes = content(8 << 20);
    alice.upload("file", &bytes).await;
    let home = Arc::new(tempfile::tempdir().expect("a directory"));
    // The journal's disk: the file itself has its room from the start.
    let Some(small) = SmallDisk::mount(home.path().join("data"), 1 << 20) else {
        eprintln!("skipped: cannot mount a tmpfs");
        return;
    };
    let key = Arc::new(DeviceKey::generate().expect("a key"));
    let limits = Limits::new(None, std::num::NonZeroU64::new(4 << 20));
    let bob = Device::start(&tracker, "bob", home, key, limits).await;
    let id = bob.begin("file").await.expect("begun");
    let ballast = small.0.join("ballast");
    fs::write(&ballast, vec![0; 2 << 20]).expect_err("more than there is room for");
    let error = bob.downloads.finished(id).await.expect_err("no room");
    assert_eq!(error.code(), "disk_full");
    let progress = bob.downloads.watch(id).expect("there");
    assert_eq!(progress.borrow().state, State::Paused);
    assert!(progress.borrow().reason.as_ref().is_some_and(|r| r.contains("the disk is full")));
    fs::remove_file(ballast).expect("removed");
    until("it goes on by itself", || progress.borrow().state == State::Complete).await;
    assert_eq!(fs::read(bob.files().join("file")).expect("read"), bytes);
}

/// Bob, who gets a file so slowly that something can happen to his disk meanwhile, and its content.
async fn slow_case() -> (Device, Device, Vec<u8>) {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker, "alice").await;
    let bytes = content(6 << 20);
    alice.upload("file", &bytes).await;
    let bob = Device::with(&tracker, "bob", Limits::new(None, std::num::NonZeroU64::new(4 << 20))).await;
    (alice, bob, bytes)
}

/// Begins the download, and breaks the disk under it as soon as something has been written.
async fn break_under(bob: &Device, deed: Deed, errno: Errno) -> (DownloadId, Fault) {
    let id = bob.begin("file").await.expect("begun");
    let progress = bob.downloads.watch(id).expect("there");
    until("something is there", || progress.borrow().have > 0).await;
    let [part] = &leftovers(&bob.files())[..] else { panic!("one unfinished file") };
    (id, Fault::set(&bob.files().join(part), deed, errno))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_under_the_data_pauses_the_download_until_there_is_room() {
    let (_alice, bob, bytes) = slow_case().await;
    let (id, fault) = break_under(&bob, Deed::Write, Errno::NOSPC).await;
    assert_eq!(bob.downloads.finished(id).await.expect_err("no room").code(), "disk_full");
    let progress = bob.downloads.watch(id).expect("there");
    assert_eq!(progress.borrow().state, State::Paused);
    assert!(progress.borrow().reason.as_ref().is_some_and(|r| r.contains("the disk is full")));
    drop(fault);
    until("it goes on by itself", || progress.borrow().state == State::Complete).await;
    assert_eq!(fs::read(bob.files().join("file")).expect("read"), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_write_or_sync_fails_the_download_which_goes_on_when_asked() {
    for deed in [Deed::Write, Deed::Sync] {
        let (_alice, bob, bytes) = slow_case().await;
        let (id, fault) = break_under(&bob, deed, Errno::IO).await;
        let error = bob.downloads.finished(id).await.expect_err("broken");
        assert!(error.to_string().contains("Input/output error"), "{deed:?}: {error}");
        let progress = bob.downloads.watch(id).expect("there");
        assert_eq!(progress.borrow().state, State::Failed, "{deed:?}");
        assert!(progress.borrow().reason.is_some(), "{deed:?}");
        drop(fault);
        bob.downloads.resume(id).await.expect("resumed");
        until("it goes on", || progress.borrow().state == State::Complete).await;
        assert_eq!(fs::read(bob.files().join("file")).expect("read"), bytes, "{deed:?}");
    }
}
