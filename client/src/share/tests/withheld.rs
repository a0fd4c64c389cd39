//! Shares of which nothing can be given: kept, told, and back again.

use super::*;
use crate::share::notice::Withdrawal;
use crate::share::withheld::Withheld;

/// A bad disk changes nothing by which a look could tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_verify_has_found_to_be_another_stays_withheld_while_it_looks_as_it_did() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let up = alice.upload("file", &content(40_000)).await;
    let write = |bytes: &[u8]| {
        let before = fs::metadata(alice.path("file")).expect("there").modified().expect("a time");
        fs::write(alice.path("file"), bytes).expect("written");
        let file = fs::File::options().write(true).open(alice.path("file")).expect("opened");
        file.set_modified(before).expect("set");
    };
    let mut rotten = content(40_000);
    rotten[7] ^= 1;
    write(&rotten);
    let (lab, file) = (FakeTracker::group(), "file".parse().expect("a selector"));
    let mut notices = alice.shares.notices();
    let verify = || alice.shares.verify(&lab, &file, |_| ());
    for _ in 0..2 {
        assert_eq!(verify().await.expect("read").damage.expect("one piece").pieces, 1);
        alice.shares.look_for_mended().await;
        alice.shares.restore().await;
        assert!(!alice.offers(&up) && tracker.seeders(up.file_id).is_empty());
    }
    assert_eq!(notices.try_recv().expect("told").reason, Withdrawal::Modified(NamedFiles::default()));
    assert!(notices.try_recv().is_err(), "once");
    write(&content(40_000));
    assert_eq!(verify().await.expect("read").damage, None);
    assert!(alice.offers(&up) && tracker.seeders(up.file_id) == [alice.key.id()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_folder_with_a_changed_file_stays_in_the_list_with_its_name() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    fs::create_dir(alice.path("tiny")).expect("made");
    for name in ["t1", "t2", "t3"] {
        fs::write(alice.path("tiny").join(name), name).expect("written");
    }
    let up = alice.try_upload(alice.path("tiny")).await.expect("uploaded");
    let mut notices = alice.shares.notices();
    fs::write(alice.path("tiny/t2"), "edited").expect("written");
    alice.shares.restore().await;
    let notice = notices.try_recv().expect("told").to_string();
    assert!(
        notice.contains("in `lab`: `t2` was modified, and no piece of the folder is without it; `upload"),
        "{notice}"
    );
    assert!(!alice.offers(&up) && tracker.seeders(up.file_id).is_empty());

    let alice = alice.restart().await;
    let mut notices = alice.shares.notices();
    let asked = tracker.asked("start");
    for looked in [false, true] {
        let [row] = &alice.shares.list().expect("listed")[..] else { panic!("it is kept") };
        assert_eq!((row.state, row.here, &row.changed[..]), (ShareState::Changed, false, &["t2".to_owned()][..]));
        assert!(row.reason.as_ref().is_some_and(|reason| notice.ends_with(reason.as_str())), "{looked}: {row:?}");
        alice.shares.restore().await;
    }
    assert!(notices.try_recv().is_err() && tracker.asked("start") == asked && tracker.seeders(up.file_id).is_empty());

    // What is there now is shared in its place.
    let wanted = UploadAs { piece_len: Some(16 << 10), replace: true, ..UploadAs::default() };
    let again = alice.shares.upload_as(&alice.path("tiny"), FakeTracker::group(), wanted, |_| ()).await;
    let again = again.expect("uploaded");
    let [row] = &alice.shares.list().expect("listed")[..] else { panic!("one share") };
    assert_eq!((row.file_id, row.state, row.changed.len()), (again.file_id, ShareState::Seeding, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_away_for_a_while_is_seeded_again_when_it_is_back() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    fs::create_dir(alice.path("folder")).expect("made");
    fs::write(alice.path("folder/file"), content(100_000)).expect("written");
    let up = alice.try_upload(alice.path("folder")).await.expect("uploaded");
    let key = alice.key_of(&up);
    let mut notices = alice.shares.notices();
    fs::rename(alice.path("folder"), alice.path("away")).expect("moved");
    // As if somebody had asked for it.
    alice.shares.looks(|looks| looks.clear());
    alice.shares.recheck(Some(key)).await;
    assert!(!alice.offers(&up) && tracker.seeders(up.file_id).is_empty());
    let told = notices.try_recv().expect("told");
    assert!(matches!(told.reason, Withdrawal::Unreadable(_)) && told.to_string().contains("once it is back"), "{told}");
    let is_away = |alice: &Device| {
        let [row] = &alice.shares.list().expect("listed")[..] else { panic!("it is kept") };
        row.state == ShareState::Waiting && row.reason.as_ref().is_some_and(|reason| reason.contains("cannot be read"))
    };
    assert!(is_away(&alice));
    let alice = alice.restart().await;
    alice.shares.restore().await;
    assert!(is_away(&alice));
    // An empty place where a disk is mounted later.
    fs::create_dir(alice.path("folder")).expect("made");
    alice.shares.look_for_mended().await;
    assert!(is_away(&alice) && !alice.offers(&up));
    fs::remove_dir(alice.path("folder")).expect("removed");
    fs::rename(alice.path("away"), alice.path("folder")).expect("moved back");
    until("it is seeded again", || alice.offers(&up) && tracker.seeders(up.file_id) == [alice.key.id()]).await;
    assert!(alice.shares.registry(|r| r.shares()[0].withheld.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_places_of_one_file_the_other_is_offered_when_one_has_changed() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let (one, two) = (alice.upload("one", &content(40_000)).await, alice.upload("two", &content(40_000)).await);
    assert_eq!(one.file_id, two.file_id);
    fs::write(alice.path("one"), b"something else").expect("written");
    for _ in 0..2 {
        alice.shares.restore().await;
        let withheld = alice.shares.registry(|r| r.shares().iter().filter(|s| s.withheld.is_some()).count());
        assert!(withheld == 1 && alice.offers(&two) && tracker.seeders(two.file_id) == [alice.key.id()]);
    }
    let offer = alice.shares.0.host.offers.get(alice.key_of(&two)).expect("offered");
    assert!(offer.source().open().is_ok(), "from the place that is as it was");
    let stop = |name: &str| {
        let (group, selector) = (FakeTracker::group(), name.parse().expect("a selector"));
        let shares = alice.shares.clone();
        async move { shares.stop(&group, &selector).await.expect("stopped") }
    };
    stop("two").await;
    assert!(!alice.offers(&two) && tracker.seeders(two.file_id).is_empty(), "the other cannot be given");
    stop("one").await;
    assert!(alice.shares.list().expect("listed").is_empty());
}

impl Device {
    async fn upload_named(&self, path: &str, name: &str) -> Uploaded {
        let name = Some(name.parse().expect("a name"));
        let up = self.shares.upload(&self.path(path), FakeTracker::group(), name, Some(16 << 10), |_| ()).await;
        up.expect("uploaded")
    }

    fn share(&self, name: &str) -> Share {
        let found = self.shares.registry(|r| r.shares().iter().find(|s| s.name.as_str() == name).cloned());
        found.expect("shared")
    }

    /// Whether its bytes can be read from where it is offered.
    fn gives(&self, up: &Uploaded) -> bool {
        self.shares.0.host.offers.get(self.key_of(up)).is_some_and(|offer| offer.source().open().is_ok())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_on_being_offered_from_elsewhere_when_one_that_is_shared_by_two_names_has_changed() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    ["one", "two"].iter().for_each(|name| fs::write(alice.path(name), content(40_000)).expect("written"));
    alice.upload_named("one", "a").await;
    alice.upload_named("one", "b").await;
    let up = alice.upload_named("two", "c").await;
    let mut notices = alice.shares.notices();
    let seen = [alice.share("a"), alice.share("b")];
    fs::write(alice.path("one"), b"something else").expect("written");
    alice.shares.recheck(None).await;
    assert!(alice.gives(&up) && tracker.seeders(up.file_id) == [alice.key.id()]);
    // As they were seen before the first look.
    for share in seen {
        assert!(share.withheld.is_none() && alice.shares.checked(share).await.is_none());
        assert!(alice.gives(&up) && tracker.seeders(up.file_id) == [alice.key.id()]);
    }
    assert!(notices.try_recv().is_ok() && notices.try_recv().is_err(), "told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_taken_the_place_of_a_file_while_that_was_read_is_offered_and_announced() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    ["one", "two"].iter().for_each(|name| fs::write(alice.path(name), content(40_000)).expect("written"));
    alice.upload_named("one", "a").await;
    let before = alice.share("a");
    let up = alice.upload_named("two", "a").await;
    fs::remove_file(alice.path("one")).expect("removed");
    let (mut notices, asked) = (alice.shares.notices(), tracker.asked("start"));
    alice.shares.withhold(&before, Withheld::Away("gone".to_owned())).await;
    assert!(alice.gives(&up) && notices.try_recv().is_err());
    until("it is announced", || tracker.asked("start") > asked).await;
    assert_eq!(tracker.seeders(up.file_id), [alice.key.id()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_back_and_shared_again_while_the_old_file_was_read_stays_on_offer() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    alice.upload("file", &content(40_000)).await;
    let before = alice.share("file");
    // As one that is moved there: what is read goes on being the old one.
    fs::write(alice.path("new"), content(40_000)).expect("written");
    fs::rename(alice.path("new"), alice.path("file")).expect("renamed");
    let up = alice.upload_named("file", "file").await;
    assert_ne!(alice.share("file").stamp, before.stamp);
    let mut notices = alice.shares.notices();
    alice.shares.withhold(&before, Withheld::file(before.stamp)).await;
    assert!(alice.gives(&up) && alice.share("file").withheld.is_none() && notices.try_recv().is_err());
    assert_eq!(tracker.seeders(up.file_id), [alice.key.id()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_while_it_was_read_is_not_brought_back() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let up = alice.upload("file", &content(40_000)).await;
    let share = alice.share("file");
    assert!(alice.shares.checked(share.clone()).await.is_some());
    alice.shares.stop(&FakeTracker::group(), &"file".parse().expect("a selector")).await.expect("stopped");
    assert!(alice.shares.checked(share).await.is_none());
    assert!(!alice.offers(&up));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_folders_with_one_content_the_other_is_seeded_when_one_has_changed() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    for name in ["x", "y"] {
        fs::create_dir(alice.path(name)).expect("made");
        fs::write(alice.path(name).join("file"), "the same").expect("written");
    }
    let [x, y] = [alice.upload_named("x", "x").await, alice.upload_named("y", "y").await];
    assert_eq!(x.file_id, y.file_id);
    fs::write(alice.path("x/file"), "another").expect("written");
    alice.shares.recheck(None).await;
    assert!(matches!(alice.share("x").withheld, Some(Withheld::Changed { .. })) && alice.share("y").withheld.is_none());
    until("it is seeded again", || alice.offers(&y) && tracker.seeders(y.file_id) == [alice.key.id()]).await;
}

/// Who took the share for sound, and has not come to it yet, would offer it once more.
#[tokio::test(flavor = "multi_thread")]
async fn verify_withholds_nothing_while_shares_are_brought_back() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let up = alice.upload("file", &content(40_000)).await;
    let mut rotten = content(40_000);
    rotten[7] ^= 1;
    fs::write(alice.path("file"), rotten).expect("written");
    let busy = alice.shares.0.rechecking.lock().await;
    let (read, is_read) = tokio::sync::oneshot::channel();
    let read = std::sync::Mutex::new(Some(read));
    let progress = move |at: HashProgress| {
        if at.done == at.total {
            read.lock().expect("unpoisoned").take().map(|read| read.send(()));
        }
    };
    let (lab, file) = (FakeTracker::group(), "file".parse().expect("a selector"));
    let mut verifying = std::pin::pin!(alice.shares.verify(&lab, &file, progress));
    tokio::select! {
        _ = &mut verifying => panic!("it waits"),
        read = is_read => read.expect("read"),
    }
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut verifying).await.is_err(), "it waits");
    assert!(alice.offers(&up) && alice.share("file").withheld.is_none());
    drop(busy);
    assert!(verifying.await.expect("read").damage.is_some());
    assert!(!alice.offers(&up) && tracker.seeders(up.file_id).is_empty());
}

/// A disk of a virtual machine, or a database.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_all_the_time_is_not_read_all_the_time() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    let up = alice.upload("file", &content(40_000)).await;
    let write = |n: u8| {
        let mut other = content(40_000);
        other[7] ^= n;
        fs::write(alice.path("file"), other).expect("written");
        let file = fs::File::options().write(true).open(alice.path("file")).expect("opened");
        let modified = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(n.into());
        file.set_modified(modified).expect("set");
    };
    write(1);
    alice.shares.recheck(None).await;
    let known = alice.share("file").withheld.expect("changed");
    write(2);
    alice.shares.look_for_mended().await;
    assert_eq!(alice.share("file").withheld, Some(known.clone()), "it is not its turn");
    alice.shares.looks(|looks| looks.clear());
    alice.shares.look_for_mended().await;
    assert_ne!(alice.share("file").withheld, Some(known), "now it is");
    assert!(!alice.offers(&up));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_changed_file_goes_with_the_last_share_of_it() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    ["one", "two"].iter().for_each(|name| fs::write(alice.path(name), content(40_000)).expect("written"));
    let known = || alice.shares.looks(|looks| looks.len());
    for is_replaced in [false, true] {
        fs::write(alice.path("one"), content(40_000)).expect("written");
        alice.upload_named("one", "a").await;
        alice.upload_named("one", "b").await;
        fs::write(alice.path("one"), b"something else").expect("written");
        alice.shares.recheck(None).await;
        assert_eq!(known(), 1);
        let stop = async |name: &str| {
            let selector = name.parse().expect("a selector");
            alice.shares.stop(&FakeTracker::group(), &selector).await.expect("stopped");
        };
        stop("a").await;
        assert_eq!(known(), 1, "the other name is still withheld");
        match is_replaced {
            false => stop("b").await,
            true => drop(alice.upload_named("two", "b").await),
        }
        // After a look that had begun before, as well.
        until("nothing is known any more", || known() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_that_is_requested_asks_the_trackers_and_not_the_disk() {
    let tracker = FakeTracker::new();
    let alice = Device::new(&tracker).await;
    fs::create_dir(alice.path("folder")).expect("made");
    fs::write(alice.path("folder/file"), content(100_000)).expect("written");
    let up = alice.try_upload(alice.path("folder")).await.expect("uploaded");
    // It was looked at just now.
    alice.shares.recheck(None).await;
    fs::remove_file(alice.path("folder/file")).expect("removed");
    let asked = tracker.asked("start");
    alice.shares.request_reannounce(std::iter::once(alice.key_of(&up)));
    alice.shares.reannounce_requested().await;
    until("it is asked", || tracker.asked("start") > asked).await;
    assert!(alice.offers(&up) && alice.share("folder").withheld.is_none());
}
