//! Publishing, remembering, withdrawing.

use std::os::unix::fs::symlink;
use std::time::SystemTime;

use common::id::FileName;

use super::*;
use crate::share::notice::Withdrawal;

fn was_modified() -> Withdrawal {
    Withdrawal::Modified(NamedFiles::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_come_back_after_a_restart_and_stop_when_told() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let (one, two) = (alice.upload("one", &content(50_000)).await, alice.upload("two", b"").await);
    assert!(alice.offers(&one) && alice.offers(&two));
    let alice = alice.restart().await;
    assert!(!alice.offers(&one), "not before it is known who is logged in");
    alice.shares.restore().await;
    assert!(alice.offers(&one) && alice.offers(&two));
    assert_eq!(tracker.asked("start"), 2);

    let stopped = alice.shares.stop(&FakeTracker::group(), &"one".parse().expect("a selector")).await.expect("stopped");
    assert_eq!(stopped.file_id, one.file_id);
    assert!(!alice.offers(&one) && tracker.seeders(one.file_id).is_empty());
    let again = alice.shares.stop(&FakeTracker::group(), &"one".parse().expect("a selector")).await;
    assert_eq!(again.expect_err("not shared").code(), "no_such_file");
    let alice = alice.restart().await;
    alice.shares.restore().await;
    assert!(!alice.offers(&one) && alice.offers(&two));
    assert_eq!(fs::read_dir(alice.path("manifests")).expect("listed").count(), 1, "what nobody needs is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn trackers_are_asked_about_what_another_content_has_the_name_of_and_about_nothing_else() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let (one, two) = (alice.upload("one", &content(50_000)).await, alice.upload("two", b"2").await);
    let (lab, elsewhere) = (FakeTracker::group(), "elsewhere".parse().expect("a name"));
    let [one_name, two_name, third] = ["one", "two", "three"].map(|name| name.parse::<FileName>().expect("a name"));
    let asked = tracker.asked("start");
    let replaced =
        |group, name, file_id| alice.shares.reannounce_replaced(std::iter::once((group, name, file_id, false)));
    replaced(&lab, &one_name, one.file_id);
    replaced(&lab, &third, one.file_id);
    replaced(&elsewhere, &one_name, two.file_id);
    replaced(&lab, &two_name, one.file_id);
    until("it is asked", || tracker.asked("start") > asked).await;
    let other = |name: &FileName| alice.shares.other_version(&lab, name, one.file_id);
    assert_eq!((other(&one_name), other(&two_name)), (None, Some((alice.path("two"), false))));
    assert!(alice.offers(&one) && alice.offers(&two), "they let it be seeded");
    alice.shares.reannounce_requested().await;
    assert_eq!(tracker.asked("start"), asked + 1);
}

/// A download that ends tells the trackers that it seeds; its user may have stopped that by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_was_stopped_is_not_announced_afterwards() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let group = FakeTracker::group();
    for n in 0..20 {
        let one = alice.upload("one", &content(50_000 + n)).await;
        let key = alice.key_of(&one);
        assert!(alice.shares.offers(key));
        let selector = "one".parse().expect("a selector");
        let (told, stopped) =
            tokio::join!(alice.shares.tell_seeding(&group, key), alice.shares.stop(&group, &selector));
        assert!(told.is_ok() && stopped.is_ok());
        alice.shares.tell_seeding(&group, key).await.expect("nothing is told");
        assert!(tracker.seeders(one.file_id).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shared_is_refused_with_its_reason() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    rustix::fs::mknodat(rustix::fs::CWD, alice.path("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .expect("made");
    symlink("nowhere", alice.path("dangling")).expect("linked");
    fs::write(alice.path("con.txt"), b"x").expect("written");
    for (name, code, word) in [
        ("pipe", "invalid_argument", "no regular file"),
        ("missing", "io", "No such file"),
        ("dangling", "io", "No such file"),
        ("con.txt", "invalid_argument", "--name"),
        ("pipe/..", "invalid_argument", "not the path of a file"),
    ] {
        let error = alice.try_upload(alice.path(name)).await.expect_err(name);
        assert!(error.code() == code && error.to_string().contains(word), "{name}: {error}");
    }
    for piece_len in [0, 3, 8 << 10, 32 << 20] {
        fs::write(alice.path("file"), b"x").expect("written");
        let result =
            alice.shares.upload(&alice.path("file"), FakeTracker::group(), None, Some(piece_len), |_| ()).await;
        assert_eq!(result.expect_err("refused").code(), "invalid_argument", "{piece_len}");
    }
    tracker.kick(alice.key.id());
    assert_eq!(alice.try_upload(alice.path("file")).await.expect_err("refused").code(), "not_a_member");
    assert_eq!(tracker.asked("upload"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_shared_already_is_cut_as_it_was_before_unless_told_otherwise() {
    let tracker = FakeTracker::new();
    let (alice, bob) = (Device::new(&tracker).await, Device::new(&tracker).await);
    let first = alice.upload("file", &content(100_000)).await;
    fs::write(bob.path("file"), content(100_000)).expect("written");
    let again = bob.shares.upload(&bob.path("file"), FakeTracker::group(), None, None, |_| ()).await.expect("uploaded");
    assert_eq!((again.piece_size, again.file_id), (first.piece_size, first.file_id));
    let other = bob.shares.upload(&bob.path("file"), FakeTracker::group(), None, Some(32 << 10), |_| ()).await;
    assert_eq!(other.expect_err("refused").code(), "invalid_argument");
    assert!(bob.offers(&again), "what was shared before still is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_changed_or_gone_between_two_runs_is_withheld_and_said_so() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let mut ups = Vec::new();
    for (name, len) in [("same", 1), ("touched", 40_000), ("modified", 40_001), ("longer", 40_002), ("gone", 40_003)] {
        ups.push(alice.upload(name, &content(len)).await);
    }
    let alice = alice.restart().await;
    let touch = fs::File::options().write(true).open(alice.path("touched")).expect("open");
    touch.set_modified(SystemTime::now() - Duration::from_secs(60)).expect("touched");
    let mut other = content(40_001);
    other[7] ^= 1;
    fs::write(alice.path("modified"), other).expect("written");
    fs::write(alice.path("longer"), content(50_000)).expect("written");
    fs::remove_file(alice.path("gone")).expect("removed");

    let mut notices = alice.shares.notices();
    alice.shares.restore().await;
    let offered: Vec<_> = ups.iter().map(|up| alice.offers(up)).collect();
    assert_eq!(offered, [true, true, false, false, false]);
    let mut told = Vec::new();
    while let Ok(notice) = notices.try_recv() {
        assert!(notice.to_string().contains("no longer shared"));
        told.push((notice.name.as_str().to_owned(), notice.reason));
    }
    told.sort_by(|a, b| a.0.cmp(&b.0));
    let [gone, longer, modified] = &told[..] else { panic!("{told:?}") };
    assert!(matches!(gone, (name, Withdrawal::Unreadable(_)) if name == "gone"));
    assert_eq!((longer, modified), (&("longer".to_owned(), was_modified()), &("modified".to_owned(), was_modified())));
    assert!(ups[2..].iter().all(|up| tracker.seeders(up.file_id).is_empty()));

    let alice = alice.restart().await;
    let mut notices = alice.shares.notices();
    alice.shares.restore().await;
    assert!(notices.try_recv().is_err(), "told once");
    assert!(alice.offers(&ups[1]), "its new time is known by now");
    let row = |name: &str| {
        let row = alice.shares.list().expect("listed").into_iter().find(|row| row.name.as_str() == name).expect(name);
        (row.state, row.reason.unwrap_or_default())
    };
    for name in ["modified", "longer"] {
        let (state, reason) = row(name);
        assert!(state == ShareState::Changed && reason.contains("--replace"), "{name}: {reason}");
    }
    let (state, reason) = row("gone");
    assert!(state == ShareState::Waiting && reason.contains("gone cannot be read (No such file"), "{reason}");

    // What is there again as it was is seeded again by itself; so is what `verify` finds to be.
    fs::write(alice.path("gone"), content(40_003)).expect("written");
    until("it is seeded again", || tracker.seeders(ups[4].file_id) == [alice.key.id()]).await;
    fs::write(alice.path("modified"), content(40_001)).expect("written");
    let modified = "modified".parse().expect("a selector");
    let verified = alice.shares.verify(&FakeTracker::group(), &modified, |_| ()).await.expect("read");
    assert_eq!((verified.damage, row("modified").0), (None, ShareState::Seeding));
    assert!(notices.try_recv().is_err() && row("longer").0 == ShareState::Changed);
    let stopped = alice.shares.stop(&FakeTracker::group(), &"longer".parse().expect("a selector")).await;
    assert_eq!(stopped.expect("stopped").file_id, ups[3].file_id);
    assert_eq!(alice.shares.registry(|r| r.shares().len()), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_modified_while_it_is_shared_is_noticed() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let up = alice.upload("file", &content(40_000)).await;
    let mut notices = alice.shares.notices();
    fs::write(alice.path("file"), b"something else").expect("written");
    let notice = tokio::time::timeout(Duration::from_secs(20), notices.recv()).await.expect("in time").expect("told");
    assert_eq!(notice.reason, was_modified());
    assert!(!alice.offers(&up));
    until("the tracker knows", || tracker.seeders(up.file_id).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_shared_before_is_withdrawn() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    for path in ["home/lock", "home/session", "folder/in/x"] {
        fs::create_dir_all(alice.path(path).parent().expect("a folder")).expect("made");
        fs::write(alice.path(path), path).expect("written");
    }
    let session = alice.try_upload(alice.path("home/session")).await.expect("no data directory yet");
    let folder = alice.try_upload(alice.path("home")).await.expect("uploaded");
    let plain = alice.try_upload(alice.path("folder")).await.expect("uploaded");
    assert!(alice.offers(&session) && alice.offers(&folder) && alice.offers(&plain));
    fs::write(alice.path("home/device.key"), "key").expect("written");
    let alice = alice.restart().await;
    let mut notices = alice.shares.notices();
    alice.shares.restore().await;
    assert!(!alice.offers(&session) && alice.offers(&plain));
    let notice = notices.try_recv().expect("told");
    assert!(
        matches!(notice.reason, Withdrawal::Secret(_)) && notice.to_string().contains("data directory"),
        "{notice}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_is_removed_seeds_nothing_there_and_keeps_the_share() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let up = alice.upload("file", &content(10)).await;
    let mut notices = alice.shares.notices();
    tracker.kick(alice.key.id());
    let notice = tokio::time::timeout(Duration::from_secs(5), notices.recv()).await.expect("in time").expect("told");
    assert!(matches!(notice.reason, Withdrawal::Refused(_)) && notice.to_string().contains("not a member of `lab`"));
    assert!(!alice.offers(&up));

    let alice = alice.restart().await;
    let mut notices = alice.shares.notices();
    alice.shares.restore().await;
    assert!(!alice.offers(&up) && notices.try_recv().is_err(), "said once");
    tracker.let_in(alice.key.id());
    until("it is seeded again", || alice.offers(&up)).await;
    until("nothing is wrong with it", || alice.shares.registry(|r| r.shares()[0].refused.is_none())).await;
}

/// With one thread that may block, nothing is written until that thread is free.
#[test]
fn a_member_who_is_removed_seeds_nothing_there_even_if_the_disk_is_slow() {
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let tracker = FakeTracker::new();
        let alice = Device::new(&tracker).await;
        let ups = [alice.upload("one", &content(10)).await, alice.upload("two", &content(11)).await];
        let mut notices = alice.shares.notices();
        let (free, busy) = std::sync::mpsc::channel::<()>();
        let held = tokio::task::spawn_blocking(move || busy.recv());
        tracker.kick(alice.key.id());
        let all_ended = until("both are suspended", || ups.iter().all(|up| !alice.offers(up)));
        let in_time = tokio::time::timeout(Duration::from_secs(15), all_ended).await;
        drop(free);
        assert!(held.await.is_ok() && in_time.is_ok(), "both are suspended before anything is written");
        for _ in &ups {
            notices.recv().await.expect("told of each");
        }
        assert!(alice.shares.registry(|r| r.shares().iter().all(|s| s.refused.is_some())));
    });
}

/// Two trackers that were apart both gave `lab` away; this group lost the name.
#[tokio::test(flavor = "multi_thread")]
async fn shares_of_a_group_that_lost_its_name_are_seeded_after_a_restart() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let up = alice.upload("file", &content(10)).await;
    tracker.rename();
    // One that was away does not hear of it first.
    fs::remove_file(alice.path("group-names.json")).ok();
    let alice = alice.restart().await;
    let mut notices = alice.shares.notices();
    alice.shares.restore().await;
    assert!(alice.offers(&up) && notices.try_recv().is_err());
    assert_eq!(tracker.seeders(up.file_id), [alice.key.id()]);

    let selector: FileSelector = "file".parse().expect("a selector");
    tracker.rename();
    until("the new name is known", || alice.shares.group_known_as(&tracker.present_name()).is_some()).await;
    until("and told apart", || alice.shares.group_known_as(&FakeTracker::group()).is_none()).await;
    assert!(alice.shares.stop(&FakeTracker::group(), &selector).await.is_err(), "that is another group");
    let stopped = alice.shares.stop(&tracker.present_name(), &selector).await.expect("stopped");
    assert_eq!(stopped.group, tracker.present_name());
    assert!(tracker.seeders(up.file_id).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_from_the_group_that_won_the_name_leaves_the_other_groups_shares_alone() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let up = alice.upload("file", &content(10)).await;
    tracker.rename();
    let mut notices = alice.shares.notices();
    tracker.kick_from_other_group(alice.key.id());
    // Pushes are heard in order: when this one is, that one has been.
    tracker.kick(alice.key.id());
    let notice = tokio::time::timeout(Duration::from_secs(5), notices.recv()).await.expect("in time").expect("told");
    assert!(notice.to_string().contains(tracker.present_name().as_str()), "{notice}");
    assert!(notices.try_recv().is_err());
    assert_eq!(alice.shares.registry(|r| r.shares().len()), 1);
    assert!(!alice.offers(&up), "that was the kick from its own group");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_never_deletes_what_a_person_shares() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let ups = [alice.upload("one", &content(10)).await, alice.upload("two", &content(11)).await];
    tracker.kick(alice.key.id());
    until("they are suspended", || ups.iter().all(|up| !alice.offers(up))).await;
    for _ in 0..3 {
        alice.shares.restore().await;
        assert_eq!(alice.shares.registry(|r| r.shares().len()), 2);
    }
    let asked = tracker.asked("start");
    alice.shares.restore().await;
    assert_eq!(tracker.asked("start"), asked, "one question for the group, and none for each share");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_in_use_is_named() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let bob = Arc::new(DeviceKey::generate().expect("a key"));
    let config = ShareConfig {
        data_dir: alice.home.path().to_owned(),
        listen: alice.shares.listen_addr(),
        trackers: Arc::new(tracker.join(bob.id(), "bob")),
        device: bob,
        tasks: TaskGroup::new(),
        limits: Limits::default(),
    };
    let Err(error) = Shares::open(config).await else { panic!("bound twice") };
    assert!(error.code() == "in_use" && error.to_string().contains(&alice.shares.listen_addr().to_string()), "{error}");
}

/// A file that cannot be read may look as it did: offered again at once, it would be asked for and lost without an end.
#[tokio::test(flavor = "multi_thread")]
async fn what_of_a_folder_cannot_be_read_is_not_offered_again_at_once() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    fs::create_dir(alice.path("folder")).expect("made");
    fs::write(alice.path("folder").join("file"), content(100_000)).expect("written");
    let key = alice.key_of(&alice.try_upload(alice.path("folder")).await.expect("uploaded"));
    let offer = alice.shares.0.host.offers.get(key).expect("offered");
    let piece = offer.layout.piece(1).expect("a piece");
    offer.lose(piece);
    alice.shares.recheck(Some(key)).await;
    assert!(!offer.has(piece), "after the trouble");
    alice.shares.looks(|looks| looks.clear());
    alice.shares.recheck(None).await;
    assert!(offer.is_full(), "when all are looked at");
    alice.tasks.stop().await;
}
