//! The main job, and what may come in between.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn files_of_all_lengths_arrive_whole_under_their_names() {
    let tracker = FakeTracker::new();
    let (alice, bob) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    for (name, len) in [("empty", 0), ("one", 1), ("exact", 64 << 10), ("odd Größe データ", (3 << 20) + 77)] {
        let bytes = content(len);
        let up = alice.upload(name, &bytes).await;
        assert_eq!(up.file_id.as_bytes(), blake3::hash(&bytes).as_bytes());
        let done = bob.fetch(name).await.expect("downloaded");
        assert_eq!(fs::read(&done.path).expect("read"), bytes);
        assert_eq!(done.path, bob.files().canonicalize().expect("a path").join(name));
        assert_eq!(done.peers.iter().map(|p| p.bytes).sum::<u64>(), len as u64);
        assert_eq!(fs::metadata(&done.path).expect("there").permissions().mode() & 0o600, 0o600);
        until("the downloader seeds it from then on", || tracker.seeders(up.file_id).contains(&bob.key.id())).await;
    }
    assert_eq!(leftovers(&bob.files()), Vec::<String>::new());
    assert_eq!(bob.downloads.list().len(), 4);
    assert!(bob.downloads.list().iter().all(|d| d.progress.state == State::Complete));
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_come_from_several_seeders_and_one_that_vanishes_is_replaced() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker, "alice").await;
    let bytes = content(8 << 20);
    alice.upload("file", &bytes).await;
    let bob = Device::new(&tracker, "bob").await;
    bob.fetch("file").await.expect("downloaded");
    // Slow enough that both are still needed when one is gone.
    let limits = Limits::new(None, std::num::NonZeroU64::new(4 << 20));
    let carol = Device::with(&tracker, "carol", limits).await;
    let id = carol.begin("file").await.expect("begun");
    let progress = carol.downloads.watch(id).expect("there");
    until("both give", || progress.borrow().peers.iter().filter(|p| p.bytes > 0).count() == 2).await;
    tracker.vanish(alice.key.id());
    alice.tasks.stop().await;
    let done = carol.downloads.finished(id).await.expect("downloaded");
    assert_eq!(fs::read(done.path).expect("read"), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_after_a_stop_and_after_a_crash() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker, "alice").await;
    let bytes = content(6 << 20);
    alice.upload("file", &bytes).await;
    let limits = Limits::new(None, std::num::NonZeroU64::new(6 << 20));
    let bob = Device::with(&tracker, "bob", limits).await;
    let id = bob.begin("file").await.expect("begun");
    let progress = bob.downloads.watch(id).expect("there");
    until("some has come", || progress.borrow().have > 1 << 20).await;

    // Nobody to fetch from, so that nothing new hides what was kept.
    tracker.vanish(alice.key.id());
    alice.tasks.stop().await;
    let bob = bob.restart().await;
    let kept = |bob: &Device| bob.downloads.list().first().map_or(0, |d| d.progress.have);
    until("what had come is there", || kept(&bob) > 1 << 20).await;
    let before = kept(&bob);
    let bob = bob.crash().await;
    until("also after a crash", || kept(&bob) == before).await;

    let alice = Device::start(&tracker, "alice", alice.home, alice.key, Limits::default()).await;
    let done = bob.downloads.finished(DownloadId(1)).await.expect("downloaded");
    assert_eq!(fs::read(done.path).expect("read"), bytes);
    let given: u64 = done.peers.iter().map(|p| p.bytes).sum();
    assert!(given <= (6 << 20) - before + (2 << 20), "only what was missing was fetched: {given} after {before}");
    assert_eq!(leftovers(&bob.files()), Vec::<String>::new());
    drop(alice);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_asks_again_goes_on_without_restoring_the_rest() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker, "alice").await;
    let bytes = content(4 << 20);
    alice.upload("file", &bytes).await;
    alice.upload("other", &content(9)).await;
    let limits = Limits::new(None, std::num::NonZeroU64::new(4 << 20));
    let bob = Device::with(&tracker, "bob", limits).await;
    let id = bob.begin("file").await.expect("begun");
    let progress = bob.downloads.watch(id).expect("there");
    until("some has come", || progress.borrow().have > 1 << 20).await;
    tracker.vanish(alice.key.id());
    let other = bob.begin("other").await.expect("begun");
    bob.downloads.shutdown().await;
    let have = bob.downloads.list()[0].progress.have;

    let bob = bob.asleep().await;
    let row = |n: usize| bob.downloads.list()[n].progress.clone();
    assert_eq!((row(0).state, row(0).have), (State::Waiting, have), "known, and asleep");
    tracker.announce(alice.key.id(), alice.shares.listen_addr());
    assert_eq!(bob.begin("file").await.expect("the same"), id);
    let done = bob.downloads.finished(id).await.expect("downloaded");
    assert_eq!(fs::read(&done.path).expect("read"), bytes);
    assert!(done.peers.iter().map(|p| p.bytes).sum::<u64>() <= (4 << 20) - have);
    assert_eq!(row(1).have, 0, "the other one was not asked for");
    bob.downloads.pause(other).await.expect("paused");
    assert_eq!(row(1).state, State::Paused);
    bob.downloads.cancel(other).await.expect("cancelled");
    assert_eq!(leftovers(&bob.files()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_resume_and_cancel_do_what_they_say() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker, "alice").await;
    alice.upload("file", &content(4 << 20)).await;
    let limits = Limits::new(None, std::num::NonZeroU64::new(2 << 20));
    let bob = Device::with(&tracker, "bob", limits).await;
    let id = bob.begin("file").await.expect("begun");
    let progress = bob.downloads.watch(id).expect("there");
    until("some has come", || progress.borrow().have > 0).await;
    bob.downloads.pause(id).await.expect("paused");
    assert_eq!(progress.borrow().state, State::Paused);
    let bob = bob.restart().await;
    assert_eq!(bob.downloads.list()[0].progress.state, State::Paused, "also over a restart");
    assert_eq!(bob.begin("file").await.expect("the same"), id, "the same again goes on");
    bob.downloads.finished(id).await.expect("downloaded");

    let carol = Device::new(&tracker, "carol").await;
    tracker.vanish(alice.key.id());
    tracker.vanish(bob.key.id());
    let id = carol.begin("file").await.expect("begun");
    assert_eq!(leftovers(&carol.files()).len(), 1);
    carol.downloads.cancel(id).await.expect("cancelled");
    assert_eq!(leftovers(&carol.files()).len(), 0);
    assert_eq!(fs::read_dir(carol.home.path().join("data/downloads")).expect("listed").count(), 0);
    assert!(carol.downloads.list().is_empty() && carol.downloads.pause(id).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_before_anything_is_fetched() {
    let tracker = FakeTracker::new();
    let (alice, bob) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    alice.upload("file", &content(100)).await;
    let start = |to: PathBuf, force| {
        let downloads = bob.downloads.clone();
        async move {
            downloads
                .start(FakeTracker::group(), "file".parse().expect("a selector"), &to, Strategy::Random, force)
                .await
        }
    };
    let code = |r: Result<DownloadId, Error>| r.err().map_or("ok", |e| e.code());
    let taken = bob.files().join("taken");
    fs::write(&taken, b"mine").expect("written");
    assert_eq!(code(start(taken.clone(), false).await), "destination_exists");
    assert_eq!(code(start(bob.files().join("missing/"), false).await), "invalid_argument");
    assert_eq!(code(start(bob.files().join("missing/x"), false).await), "invalid_argument");
    assert_eq!(code(bob.begin("other").await), "no_such_file");
    assert_eq!(fs::read_dir(bob.files()).expect("listed").count(), 1);
    let id = start(taken.clone(), true).await.expect("forced");
    bob.downloads.finished(id).await.expect("downloaded");
    assert_eq!(fs::read(taken).expect("read"), content(100));
    tracker.kick(bob.key.id());
    assert_eq!(code(bob.begin("file").await), "not_a_member");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_share_is_copied_without_any_peer() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker, "alice").await;
    let bytes = content(300_000);
    alice.upload("file", &bytes).await;
    let copy = alice.files().join("copy");
    let file = "file".parse().expect("a selector");
    let id = alice.downloads.start(FakeTracker::group(), file, &copy, Strategy::Random, false).await.expect("begun");
    let done = alice.downloads.finished(id).await.expect("copied");
    assert_eq!((fs::read(copy).expect("read"), done.peers.len()), (bytes, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_in_mid_download_stops_it_at_once() {
    let tracker = FakeTracker::new();
    let limits = Limits::new(std::num::NonZeroU64::new(2 << 20), None);
    let alice = Device::with(&tracker, "alice", limits).await;
    let (bob, carol) = (Device::new(&tracker, "bob").await, Device::new(&tracker, "carol").await);
    alice.upload("file", &content(12 << 20)).await;
    let (for_bob, for_carol) = (bob.begin("file").await.expect("begun"), carol.begin("file").await.expect("begun"));
    let progress = bob.downloads.watch(for_bob).expect("there");
    until("some has come", || progress.borrow().have > 0).await;
    tracker.kick(bob.key.id());
    let kicked = std::time::Instant::now();
    let error = bob.downloads.finished(for_bob).await.expect_err("cut off");
    assert_eq!(error.code(), "not_a_member");
    assert!(kicked.elapsed() < Duration::from_secs(1), "{:?}", kicked.elapsed());
    carol.downloads.finished(for_carol).await.expect("the others go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_seeder_is_an_error_for_a_script_and_only_a_delay_for_the_download() {
    let tracker = FakeTracker::new();
    let (alice, bob) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    let bytes = content(100_000);
    alice.upload("file", &bytes).await;
    tracker.vanish(alice.key.id());
    let error = bob.fetch("file").await.expect_err("nobody there");
    assert_eq!(error.code(), "no_seeders");
    assert_eq!(bob.downloads.list()[0].progress.state, State::Waiting);
    tracker.announce(alice.key.id(), alice.shares.listen_addr());
    let done = bob.fetch("file").await.expect("downloaded");
    assert_eq!(fs::read(done.path).expect("read"), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_seeders_serve_each_other() {
    let tracker = FakeTracker::new();
    let limits = Limits::new(std::num::NonZeroU64::new(2 << 20), None);
    let alice = Device::with(&tracker, "alice", limits).await;
    let bytes = content(6 << 20);
    alice.upload("file", &bytes).await;
    let mut devices = Vec::new();
    for name in ["bob", "carol", "dave"] {
        devices.push(Device::new(&tracker, name).await);
    }
    let done = futures::future::join_all(devices.iter().map(|d| d.fetch("file"))).await;
    let mut from_alice = 0;
    for done in done {
        let done = done.expect("downloaded");
        assert_eq!(fs::read(&done.path).expect("read"), bytes);
        from_alice += done.peers.iter().filter(|p| p.device == alice.key.id()).map(|p| p.bytes).sum::<u64>();
    }
    assert!(
        from_alice < 2 * bytes.len() as u64,
        "the first seeder gave {from_alice} for three copies of {}",
        bytes.len()
    );
}

/// Two trackers that were apart both gave `lab` away; this group lost the name.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_when_its_group_loses_the_name_and_is_put_out_of_no_other_group() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker, "alice").await;
    let bytes = content(4 << 20);
    alice.upload("file", &bytes).await;
    let limits = Limits::new(None, std::num::NonZeroU64::new(2 << 20));
    let bob = Device::with(&tracker, "bob", limits).await;
    let id = bob.begin("file").await.expect("begun");
    let progress = bob.downloads.watch(id).expect("there");
    until("some has come", || progress.borrow().have > 0).await;
    tracker.rename();
    tracker.kick_from_other_group(bob.key.id());
    until("the new name is shown", || bob.downloads.list()[0].group == tracker.present_name()).await;
    let more = progress.borrow().have;
    until("it goes on", || progress.borrow().have > more).await;

    let bob = bob.restart().await;
    let done = bob.downloads.finished(id).await.expect("downloaded");
    assert_eq!((fs::read(&done.path).expect("read"), done.group), (bytes, tracker.present_name()));
}
