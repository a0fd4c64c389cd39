//! Whole folders.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};

use common::tree::{Entry, Tree};

use super::*;
use crate::download::Choice;
use crate::download::destination::Destination;
use crate::share::{ShareState, UploadAs};
use crate::transfer::beneath::Beneath;

const PIECE: u64 = 16 << 10;

/// What is below a folder: of each file its bytes and whether it may be run; nothing of an empty folder.
fn below(root: &Path) -> BTreeMap<String, Option<(Vec<u8>, bool)>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries: Vec<_> = fs::read_dir(&folder).expect("listed").map(|e| e.expect("an entry").path()).collect();
        if entries.is_empty() {
            all.insert(name(root, &folder), None);
        }
        for path in entries {
            let met = fs::symlink_metadata(&path).expect("there");
            if met.is_dir() {
                folders.push(path);
            } else {
                let content = (fs::read(&path).expect("read"), met.permissions().mode() & 0o100 != 0);
                all.insert(name(root, &path), Some(content));
            }
        }
    }
    all
}

fn name(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).expect("below").to_string_lossy().into_owned()
}

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, bytes).expect("written");
}

/// A folder with something of everything, `salt` in its larger files.
fn fill(root: &Path, salt: u8) {
    for n in 0..60 {
        put(root, &format!("many/f{n:02}.txt"), &content(n * 37 + 1));
    }
    put(root, "empty file", b"");
    put(root, ".hidden/ü/データ.bin", &content(40_000));
    put(root, "large.bin", &content(200_000));
    let mut changed = content(100_001);
    changed[50_000] ^= salt;
    put(root, "mixed/changed.bin", &changed);
    put(root, "run.sh", b"#!/bin/sh\n");
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).expect("set");
    fs::create_dir_all(root.join("nothing/here")).expect("made");
}

async fn share(device: &Device, folder: &str, replace: bool) -> Uploaded {
    let wanted = UploadAs { name: None, piece_len: Some(PIECE), replace };
    let path = device.files().join(folder);
    device.shares.upload_as(&path, FakeTracker::group(), wanted, |_| ()).await.expect("uploaded")
}

async fn fetch_some(device: &Device, choice: Choice, force: bool) -> Result<Downloaded, Error> {
    let name = "src".parse().expect("a selector");
    let id = device
        .downloads
        .start_some(FakeTracker::group(), name, choice, &device.files(), Strategy::Random, force)
        .await?;
    tokio::time::timeout(Duration::from_secs(60), device.downloads.finished(id)).await.expect("in time")
}

fn only(pattern: &str) -> Choice {
    Choice { only: vec![pattern.to_owned()], ..Choice::default() }
}

fn fetched(done: &Downloaded) -> u64 {
    done.peers.iter().map(|p| p.bytes).sum()
}

/// Alice, who shares `src`.
async fn alice(tracker: &FakeTracker) -> Device {
    let alice = Device::new(tracker, "alice").await;
    fill(&alice.files().join("src"), 0);
    share(&alice, "src", false).await;
    alice
}

/// The tree of the one folder that a device shares.
fn tree_of(device: &Device) -> Tree {
    let trees = fs::read_dir(device.home.path().join("data/trees")).expect("listed");
    let mut trees = trees.filter_map(|e| Tree::decode(&fs::read(e.expect("an entry").path()).expect("read")).ok());
    trees.next().expect("a tree")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_arrives_as_it_was_and_is_passed_on() {
    let tracker = FakeTracker::new();
    let alice = alice(&tracker).await;
    let (bob, carol) = (Device::new(&tracker, "bob").await, Device::new(&tracker, "carol").await);
    let done = fetch_some(&bob, Choice::default(), false).await.expect("downloaded");
    let original = below(&alice.files().join("src"));
    assert_eq!(done.files, Some(original.len() as u64));
    assert_eq!(below(&bob.files().join("src")), original);
    assert_eq!(leftovers(&bob.files()), [] as [String; 0]);
    let mode = fs::metadata(bob.files().join("src")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o777 & !crate::download::destination::umask());
    tracker.vanish(alice.key.id());
    fetch_some(&carol, Choice::default(), false).await.expect("downloaded");
    assert_eq!(below(&carol.files().join("src")), original);
    // Also after a restart.
    let bob = bob.restart().await;
    tracker.vanish(carol.key.id());
    let dave = Device::new(&tracker, "dave").await;
    let done = fetch_some(&dave, Choice::default(), false).await.expect("downloaded");
    assert!(done.peers.iter().all(|p| p.device == bob.key.id()));
    assert_eq!(below(&dave.files().join("src")), original);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_nothing_is_one_too() {
    let tracker = FakeTracker::new();
    let (alice, bob) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    fs::create_dir(alice.files().join("src")).expect("made");
    share(&alice, "src", false).await;
    let done = fetch_some(&bob, Choice::default(), false).await.expect("downloaded");
    assert_eq!((done.size, done.files), (0, Some(0)));
    assert_eq!(fs::read_dir(bob.files().join("src")).expect("there").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_folder_what_is_chosen_comes_and_more_of_it_later() {
    let tracker = FakeTracker::new();
    let alice = alice(&tracker).await;
    let bob = Device::new(&tracker, "bob").await;
    let (from, to) = (alice.files().join("src"), bob.files().join("src"));
    let done = fetch_some(&bob, only("many"), false).await.expect("downloaded");
    let original = below(&from);
    let of_many = || original.iter().filter(|(path, _)| path.starts_with("many/"));
    assert!(below(&to).iter().eq(of_many()), "{:?}", below(&to).keys());
    assert_eq!(done.files, Some(60));
    assert!(fetched(&done) < 120_000, "{}", fetched(&done));
    // What is here is seeded.
    let carol = Device::new(&tracker, "carol").await;
    tracker.vanish(alice.key.id());
    let one = Choice { path: Some("many/f30.txt".to_owned()), ..Choice::default() };
    fetch_some(&carol, one, false).await.expect("downloaded");
    assert_eq!(fs::read(carol.files().join("f30.txt")).expect("read"), content(30 * 37 + 1));
    assert_eq!(fs::read_dir(carol.files()).expect("listed").count(), 1);
    tracker.announce(alice.key.id(), alice.shares.listen_addr());

    let done = fetch_some(&bob, Choice { except: vec!["large.bin".to_owned()], ..Choice::default() }, false).await;
    let done = done.expect("downloaded");
    assert!(done.reused > 30_000 && fetched(&done) < 220_000, "{done:?}");
    let all_but_large = original.iter().filter(|(path, _)| *path != "large.bin");
    assert!(below(&to).iter().eq(all_but_large));
    let done = fetch_some(&bob, Choice::default(), false).await.expect("downloaded");
    assert!(fetched(&done) < 200_000 + 2 * PIECE, "{done:?}");
    assert_eq!(below(&to), original);
    let rows = bob.shares.list().expect("listed");
    assert!(rows.len() == 1 && rows[0].reason.is_none(), "{rows:?}");
    assert_eq!(fetch_some(&bob, only("*.exe"), false).await.expect_err("nothing fits").code(), "invalid_argument");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_goes_on_after_a_crash_and_after_a_pause() {
    let tracker = FakeTracker::new();
    let alice = alice(&tracker).await;
    put(&alice.files().join("src"), "larger.bin", &content(3 << 20));
    share(&alice, "src", true).await;
    let limits = Limits::new(None, std::num::NonZeroU64::new(2 << 20));
    let bob = Device::with(&tracker, "bob", limits).await;
    let name = || "src".parse().expect("a selector");
    let begin = async |bob: &Device| {
        bob.downloads.start(FakeTracker::group(), name(), &bob.files(), Strategy::Random, false).await.expect("begun")
    };
    let id = begin(&bob).await;
    let progress = bob.downloads.watch(id).expect("there");
    until("something is there", || progress.borrow().have > 500_000).await;
    let bob = bob.crash().await;
    let progress = bob.downloads.watch(id).expect("there");
    let there = progress.borrow().have;
    assert!(there >= 500_000, "{there}");
    bob.downloads.pause(id).await.expect("paused");
    assert!(!bob.files().join("src").exists() && leftovers(&bob.files()).len() == 1);
    bob.downloads.resume(id).await.expect("resumed");
    let done = bob.downloads.finished(id).await.expect("downloaded");
    assert!(fetched(&done) < done.size - there / 2, "{done:?}");
    assert_eq!(below(&bob.files().join("src")), below(&alice.files().join("src")));
    assert_eq!(leftovers(&bob.files()), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_fetches_only_what_has_changed_and_removes_nothing_else() {
    let tracker = FakeTracker::new();
    let alice = alice(&tracker).await;
    let bob = Device::new(&tracker, "bob").await;
    fetch_some(&bob, Choice::default(), false).await.expect("downloaded");
    let (from, to) = (alice.files().join("src"), bob.files().join("src"));
    fill(&from, 0x55);
    put(&from, "a first one.txt", &content(1000));
    fs::rename(from.join("large.bin"), from.join("many/moved.bin")).expect("moved");
    fs::remove_file(from.join("many/f07.txt")).expect("removed");
    let again = share(&alice, "src", true).await;
    assert!(again.replaced);
    put(&to, "my own notes", b"mine");

    assert_eq!(fetch_some(&bob, Choice::default(), false).await.expect_err("it is there").code(), "destination_exists");
    let done = fetch_some(&bob, Choice::default(), true).await.expect("downloaded");
    assert!(fetched(&done) < 8 * PIECE, "{done:?}");
    assert!(done.reused > 300_000, "{done:?}");
    let mut expected = below(&from);
    for kept in ["my own notes", "large.bin", "many/f07.txt"] {
        expected.insert(kept.to_owned(), below(&to).remove(kept).expect("kept"));
    }
    assert_eq!(below(&to), expected);
    let rows = bob.shares.list().expect("listed");
    assert!(rows.len() == 1 && rows[0].file_id == again.file_id, "{rows:?}");
    // Somebody else can have it from there.
    tracker.vanish(alice.key.id());
    let carol = Device::new(&tracker, "carol").await;
    fetch_some(&carol, Choice::default(), false).await.expect("downloaded");
    assert_eq!(below(&carol.files().join("src")), below(&from));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_of_a_file_fetches_only_the_pieces_that_have_changed() {
    let tracker = FakeTracker::new();
    let (alice, bob) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    let mut bytes = content(1 << 20);
    put(&alice.files(), "src", &bytes);
    share(&alice, "src", false).await;
    fetch_some(&bob, Choice::default(), false).await.expect("downloaded");
    bytes[300_000] ^= 1;
    put(&alice.files(), "src", &bytes);
    assert!(share(&alice, "src", true).await.replaced);
    let done = fetch_some(&bob, Choice::default(), true).await.expect("downloaded");
    assert_eq!((fetched(&done), done.reused), (PIECE, (1 << 20) - PIECE));
    assert_eq!(fs::read(bob.files().join("src")).expect("read"), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_the_way_of_a_folder_lead_nowhere() {
    let tracker = FakeTracker::new();
    let alice = alice(&tracker).await;
    let bob = Device::new(&tracker, "bob").await;
    let (to, outside) = (bob.files().join("src"), bob.home.path().join("outside"));
    fs::create_dir_all(&to).expect("made");
    put(&outside, "f07.txt", b"precious");
    symlink(&outside, to.join("many")).expect("linked");
    symlink(outside.join("f07.txt"), to.join("run.sh")).expect("linked");
    let error = fetch_some(&bob, Choice::default(), true).await.expect_err("something is in the way");
    assert!(error.to_string().contains("something else is where"), "{error}");
    assert_eq!(below(&outside).len(), 1);
    assert_eq!(fs::read(outside.join("f07.txt")).expect("read"), b"precious");
    fs::remove_file(to.join("many")).expect("removed");
    fetch_some(&bob, Choice::default(), true).await.expect("it goes on");
    assert_eq!(below(&to), below(&alice.files().join("src")), "a link to a file is replaced, and not followed");
    assert_eq!(fs::read(outside.join("f07.txt")).expect("read"), b"precious");
    // The destination itself is a link.
    fs::rename(&to, bob.files().join("moved")).expect("moved");
    symlink(&outside, &to).expect("linked");
    assert_eq!(fetch_some(&bob, Choice::default(), true).await.expect_err("a link").code(), "invalid_argument");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_pass_for_our_own_does_not_come() {
    let tracker = FakeTracker::new();
    let alice = alice(&tracker).await;
    let bob = Device::new(&tracker, "bob").await;
    let tree = tree_of(&alice);
    for planted in ["mixed/Device.KEY", "tracker.lock/x", "cluster.secret"] {
        let path = |path: &str| if path == "large.bin" { planted } else { path }.parse().expect("a path");
        let hostile = Tree::new(tree.iter().map(|node| (path(node.path), node.entry))).expect("a tree");
        tracker.publish_tree("src", hostile.id(), hostile.encode());
        let refused = fetch_some(&bob, Choice::default(), false).await.expect_err(planted).to_string();
        assert!(refused.contains(planted) && refused.contains("--except"), "{refused}");
        let spared = Choice { except: vec![planted.to_owned()], ..Choice::default() };
        let error = fetch_some(&bob, spared, false).await.map(|_| ()).err();
        assert!(error.is_none_or(|e| e.code() != "invalid_argument"), "the rest may come");
        let id = bob.downloads.list()[0].n;
        let _ = bob.downloads.cancel(id).await; // It may be complete.
        fs::remove_dir_all(bob.files()).expect("removed");
        fs::create_dir(bob.files()).expect("made");
    }
    // A folder over one in which a client keeps its things.
    tracker.publish_tree("src", tree.id(), tree.encode());
    for file in ["device.key", "lock"] {
        put(&bob.files(), &format!("src/mixed/{file}"), b"mine");
    }
    let refused = fetch_some(&bob, Choice::default(), true).await.expect_err("ours").to_string();
    assert!(refused.contains("nothing is put into") && refused.contains("src/mixed"), "{refused}");
    let spared = Choice { except: vec!["mixed/**".to_owned()], ..Choice::default() };
    fetch_some(&bob, spared, true).await.expect("the rest comes");
    assert!(!bob.files().join("src/mixed/changed.bin").exists() && bob.files().join("src/large.bin").exists());
    for (name, at) in [("device.key", bob.files()), ("x", bob.home.path().join("ours"))] {
        for file in ["device.key", "lock"] {
            put(&bob.home.path().join("ours"), file, b"");
        }
        let name = name.parse().expect("a name");
        assert!(Destination::resolve(&at, &name).is_err(), "{name} at {}", at.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_lies_is_refused_and_nothing_gets_its_name() {
    let tracker = FakeTracker::new();
    let alice = alice(&tracker).await;
    let bob = Device::new(&tracker, "bob").await;
    let tree = tree_of(&alice);
    // Not what its id says.
    tracker.publish_tree("src", tree.id(), b"rubbish".to_vec());
    assert_eq!(fetch_some(&bob, Choice::default(), false).await.expect_err("rubbish").code(), "integrity");
    // Of other content.
    let entries = |change: &dyn Fn(&str, Entry) -> Entry| {
        let changed = tree.iter().map(|n| (n.path.parse().expect("a path"), change(n.path, n.entry)));
        Tree::new(changed).expect("a tree")
    };
    let longer = entries(&|path, entry| match entry {
        Entry::File { len, hash, executable } if path == "large.bin" => Entry::File { len: len + 1, hash, executable },
        entry => entry,
    });
    tracker.publish_tree("src", longer.id(), longer.encode());
    assert_eq!(fetch_some(&bob, Choice::default(), false).await.expect_err("another").code(), "integrity");
    // Wrong about a file in one piece, and about one in several.
    for victim in ["many/f07.txt", "large.bin"] {
        let wrong = entries(&|path, entry| match entry {
            Entry::File { len, executable, .. } if path == victim => {
                Entry::File { len, hash: FileId::new([7; 32]), executable }
            }
            entry => entry,
        });
        tracker.publish_tree("src", wrong.id(), wrong.encode());
        let error = fetch_some(&bob, Choice::default(), false).await.expect_err("a lie");
        assert!(error.code() == "integrity" && error.to_string().contains(victim), "{error}");
        assert!(!bob.files().join("src").exists());
        let id = bob.downloads.list()[0].n;
        bob.downloads.cancel(id).await.expect("cancelled");
        assert_eq!(fs::read_dir(bob.files()).expect("listed").count(), 0, "what came of it is removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_disk_has_damaged_is_fetched_once_more_before_its_publisher_is_blamed() {
    let tracker = FakeTracker::new();
    let alice = alice(&tracker).await;
    let bob = Device::with(&tracker, "bob", Limits::new(None, std::num::NonZeroU64::new(100 << 10))).await;
    let (name, to) = ("src".parse().expect("a selector"), bob.files());
    let large = only("large.bin");
    let begun = bob.downloads.start_some(FakeTracker::group(), name, large, &to, Strategy::Sequential, false).await;
    let id = begun.expect("begun");
    until("some of it is there", || bob.downloads.list()[0].progress.have >= 64 << 10).await;
    let staged = below(&to).into_keys().find(|name| name.ends_with("large.bin")).expect("on its way");
    let file = fs::File::options().write(true).open(to.join(staged)).expect("opened");
    // In its second piece, which came before.
    std::os::unix::fs::FileExt::write_all_at(&file, b"damage", 20_000).expect("damaged");
    let error = bob.downloads.finished(id).await.expect_err("damaged");
    assert!(error.code() == "integrity" && error.to_string().contains("large.bin"), "{error}");
    bob.downloads.resume(id).await.expect("resumed");
    bob.downloads.finished(id).await.expect("complete");
    let wanted = fs::read(alice.files().join("src/large.bin")).expect("read");
    assert!(fs::read(bob.files().join("src/large.bin")).expect("read") == wanted, "as it was published");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_shared_folder_that_changes_is_named_and_the_rest_is_seeded() {
    let tracker = FakeTracker::new();
    let alice = alice(&tracker).await;
    let bob = Device::new(&tracker, "bob").await;
    let mut notices = alice.shares.notices();
    let root = alice.files().join("src");
    put(&root, "many/f50.txt", b"other");
    // The same content, written anew.
    put(&root, "large.bin", &content(200_000));
    alice.shares.restore().await;
    let notice = notices.recv().await.expect("told").to_string();
    assert!(notice.contains("`many/f50.txt` was modified") && notice.contains("--replace"), "{notice}");
    let rows = alice.shares.list().expect("listed");
    assert!(rows[0].reason.as_ref().is_some_and(|r| r.contains("many/f50.txt")), "{rows:?}");
    fetch_some(&bob, only("large.bin"), false).await.expect("downloaded");
    assert_eq!(fs::read(bob.files().join("src/large.bin")).expect("read"), content(200_000));
    let src = "src".parse().expect("a selector");
    let verified = alice.shares.verify(&FakeTracker::group(), &src, |_| ()).await.expect("verified");
    let damage = verified.damage.expect("it is another");
    let all = verified.pieces;
    assert_eq!((damage.pieces, damage.left, damage.files.first), (1, all - 1, vec!["many/f50.txt".to_owned()]));
    let dave = Device::new(&tracker, "dave").await;
    fetch_some(&dave, only("large.bin"), false).await.expect("the rest is seeded");
}

/// Writes bytes into a file without leaving a trace in its metadata, as a bad disk does.
fn rot(path: &Path, bytes: &[u8]) {
    let before = fs::metadata(path).expect("there").modified().expect("a time");
    fs::write(path, bytes).expect("written");
    let file = fs::File::options().write(true).open(path).expect("opened");
    file.set_modified(before).expect("set");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_blames_only_the_files_of_a_folder_that_are_others_and_the_rest_goes_on() {
    let tracker = FakeTracker::new();
    let alice = alice(&tracker).await;
    let bob = Device::new(&tracker, "bob").await;
    fetch_some(&bob, Choice::default(), false).await.expect("downloaded");
    let root = alice.files().join("src");
    let original = below(&root);
    let was = |path: &str| original[path].clone().expect("a file").0;
    let mut rotten = was("mixed/changed.bin");
    rotten[7] ^= 1;
    rot(&root.join("mixed/changed.bin"), &rotten);
    put(&root, "empty file", b"something");
    // Only written anew.
    put(&root, "large.bin", &was("large.bin"));

    let src = "src".parse().expect("a selector");
    let blamed = ["empty file", "mixed/changed.bin"];
    // What is wrong once stays so until it is mended.
    for _ in 0..2 {
        let verified = alice.shares.verify(&FakeTracker::group(), &src, |_| ()).await.expect("read");
        let damage = verified.damage.expect("two are others");
        assert_eq!((damage.files.first.as_slice(), damage.files.others), (&blamed.map(str::to_owned)[..], 0));
        // 100,001 bytes lie in seven or eight pieces, and none of those is given to anybody.
        assert!((verified.pieces - 8..=verified.pieces - 7).contains(&damage.left), "{damage:?}");
        let row = &alice.shares.list().expect("listed")[0];
        assert_eq!(row.changed, blamed);
        assert_eq!(row.pieces, Some(damage.left));
        assert!(
            row.reason.as_ref().is_some_and(|r| r.starts_with("`empty file` and `mixed/changed.bin` were")),
            "{row:?}"
        );
    }
    let dave = Device::new(&tracker, "dave").await;
    tracker.vanish(bob.key.id());
    fetch_some(&dave, only("large.bin"), false).await.expect("the rest is seeded");

    let alice = alice.restart().await;
    assert_eq!(alice.shares.list().expect("listed")[0].changed, blamed, "and after a restart");
    put(&root, "mixed/changed.bin", &was("mixed/changed.bin"));
    alice.shares.restore().await;
    assert_eq!(alice.shares.list().expect("listed")[0].changed, ["empty file"]);
    let _bob = bob.restart().await;
    fetch_some(&alice, Choice::default(), true).await.expect("mended");
    assert_eq!(below(&root), original);
    let verified = alice.shares.verify(&FakeTracker::group(), &src, |_| ()).await.expect("read");
    assert_eq!((verified.damage, alice.shares.list().expect("listed")[0].changed.len()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_a_good_piece_is_no_longer_shared_when_verify_says_so() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker, "alice").await;
    let root = alice.files().join("src");
    ["a", "b", "c"].iter().for_each(|path| put(&root, path, path.as_bytes()));
    let up = share(&alice, "src", false).await;
    put(&root, "b", b"other");
    let src = "src".parse().expect("a selector");
    let verified = alice.shares.verify(&FakeTracker::group(), &src, |_| ()).await.expect("read");
    let damage = verified.damage.expect("one is another");
    assert_eq!((damage.pieces, damage.left, damage.files.first), (1, 0, vec!["b".to_owned()]));
    let row = &alice.shares.list().expect("listed")[0];
    assert_eq!((row.state, &row.changed[..]), (ShareState::Changed, &["b".to_owned()][..]));
    assert!(tracker.seeders(up.file_id).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_lists_the_first_hundred_of_its_files_that_have_changed_and_says_five() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker, "alice").await;
    let root = alice.files().join("src");
    let small: Vec<_> = (0..110).map(|n| format!("small/{n:03}")).collect();
    small.iter().for_each(|path| put(&root, path, b"as it was"));
    put(&root, "large.bin", &content(100_000));
    share(&alice, "src", false).await;
    assert!(alice.shares.list().expect("listed")[0].changed.is_empty());
    let mut notices = alice.shares.notices();
    small.iter().for_each(|path| put(&root, path, b"something else"));
    alice.shares.restore().await;
    let row = &alice.shares.list().expect("listed")[0];
    assert_eq!(row.changed, small[..100]);
    let said = row.reason.clone().expect("a reason");
    assert!(said.contains("`small/004` and 105 other files were modified") && !said.contains("small/005"), "{said}");
    assert!(notices.recv().await.expect("told").to_string().contains(&said));
}

/// Longer than what the system takes as one path.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_at_the_longest_path_arrives() {
    let tracker = FakeTracker::new();
    let (alice, bob) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    let path = vec!["n".repeat(255); 16].join("/");
    let below = |device: &Device| Beneath::open(&device.files().join("src")).expect("opened");
    put(&alice.files().join("src"), "short", b"x");
    std::io::Write::write_all(&mut below(&alice).write(&path, false).expect("made"), b"deep").expect("written");
    assert_eq!(path.len(), 4095);
    share(&alice, "src", false).await;
    fetch_some(&bob, Choice::default(), false).await.expect("downloaded");
    let mut bytes = String::new();
    std::io::Read::read_to_string(&mut below(&bob).read(&path).expect("there"), &mut bytes).expect("read");
    assert_eq!(bytes, "deep");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_of_a_folder_that_was_there_already_when_the_program_ended_is_complete() {
    let tracker = FakeTracker::new();
    let alice = alice(&tracker).await;
    let bob = Device::with(&tracker, "bob", Limits::new(None, std::num::NonZeroU64::new(100 << 10))).await;
    let one = Choice { path: Some("large.bin".to_owned()), ..Choice::default() };
    let name = "src".parse().expect("a selector");
    let id = bob.downloads.start_some(FakeTracker::group(), name, one, &bob.files(), Strategy::Random, false).await;
    let id = id.expect("begun");
    bob.downloads.pause(id).await.expect("paused");
    fs::copy(alice.files().join("src/large.bin"), bob.files().join("large.bin")).expect("copied");
    bob.downloads.resume(id).await.expect("resumed");
    bob.downloads.finished(id).await.expect("complete");
    assert_eq!(leftovers(&bob.files()), [] as [String; 0]);
}
