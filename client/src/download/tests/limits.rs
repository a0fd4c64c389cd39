//! Limits of single downloads: by the clock, over restarts, and of what is sent.

use std::num::NonZeroU64;
use std::time::Instant;

use super::*;
use crate::settings::limit::{Hours, Limit};
use crate::settings::{Direction, Ways};

const KIB: u64 = 1 << 10;

fn rate(bytes: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(bytes)
}

fn hours(text: &str) -> Hours {
    text.parse().expect("hours")
}

/// What limits the sending of a download's share now.
fn sent(device: &Device, id: DownloadId) -> Option<NonZeroU64> {
    let job = device.downloads.job(id).expect("there");
    device.downloads.0.ground.limits.up_of((job.spec.group_id, job.spec.file_id)).get()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_download_follow_the_clock_and_are_kept_with_it() {
    let tracker = FakeTracker::new();
    let (alice, bob) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    alice.upload("file", &content(100)).await;
    tracker.vanish(alice.key.id());
    let id = bob.begin("file").await.expect("begun");
    let by_day = [hours("08:00-18:00")];
    for (direction, plain, day) in [(Direction::Down, 9, 1), (Direction::Up, 8, 2)] {
        bob.downloads.limit(id, direction, rate(plain), &[]).expect("kept");
        bob.downloads.limit(id, direction, rate(day), &by_day).expect("kept");
    }
    let expected = |plain, day| Limit { rate: rate(plain), windows: vec![(by_day[0], rate(day))] };
    let expected = vec![(id, Ways { up: expected(8, 2), down: expected(9, 1) })];
    let holds = |bob: &Device, hour: u16| {
        bob.downloads.apply_limits(hour * 60);
        (bob.downloads.job(id).expect("there").down.get(), sent(bob, id))
    };
    let all_of = |bob: &Device| (holds(bob, 9), holds(bob, 19), bob.downloads.until_next_limit(7 * 60));
    let before = (bob.downloads.limits(), all_of(&bob));
    assert_eq!(before, (expected, ((rate(1), rate(2)), (rate(9), rate(8)), Some(60))));
    let bob = bob.restart().await;
    assert_eq!((bob.downloads.limits(), all_of(&bob)), before, "after a restart");

    for direction in Direction::ALL {
        bob.downloads.limit(id, direction, None, &[]).expect("kept");
    }
    assert_eq!(
        (bob.downloads.limits(), all_of(&bob)),
        (vec![], ((None, None), (None, None), None)),
        "and the hours go"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_downloads_of_a_share_the_smaller_limit_counts_for_what_is_sent() {
    let tracker = FakeTracker::new();
    let (alice, bob) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    alice.upload("file", &content(100)).await;
    tracker.vanish(alice.key.id());
    let one = bob.begin("file").await.expect("begun");
    let (file, copy) = ("file".parse().expect("a selector"), bob.files().join("copy"));
    let two = bob.downloads.start(FakeTracker::group(), file, &copy, Strategy::Random, false).await.expect("begun");
    bob.downloads.limit(one, Direction::Up, rate(5), &[]).expect("kept");
    bob.downloads.limit(two, Direction::Up, rate(3), &[]).expect("kept");
    bob.downloads.apply_limits(0);
    assert_eq!(sent(&bob, one), rate(3));
    bob.downloads.cancel(two).await.expect("cancelled");
    assert_eq!(sent(&bob, one), rate(5), "it goes with its download");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_of_a_downloads_share_is_limited_and_of_no_other() {
    let tracker = FakeTracker::new();
    let (alice, bob) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    let (carol, dave) = (Device::new(&tracker, "carol").await, Device::new(&tracker, "dave").await);
    for name in ["file", "other"] {
        alice.upload(name, &content(512 * KIB as usize)).await;
        bob.fetch(name).await.expect("downloaded");
    }
    tracker.vanish(alice.key.id());
    alice.tasks.stop().await;
    let id = DownloadId(1);
    assert_eq!(bob.downloads.limit(id, Direction::Down, rate(1), &[]).expect_err("over").code(), "invalid_argument");
    bob.downloads.limit(id, Direction::Up, rate(256 * KIB), &[]).expect("it is complete, and listed");
    bob.downloads.apply_limits(0);
    let timed = async |device: &Device, name: &str| {
        let begun = Instant::now();
        device.fetch(name).await.expect("downloaded");
        begun.elapsed()
    };
    let (slow, fast) = (timed(&carol, "file").await, timed(&carol, "other").await);
    assert!(slow > Duration::from_millis(1700) && fast < slow / 2, "{slow:?} under the limit, {fast:?} without");
    tracker.vanish(carol.key.id());
    bob.downloads.cancel(id).await.expect("off the list");
    let lifted = timed(&dave, "file").await;
    assert!(lifted < slow / 2, "{lifted:?} without the limit, {slow:?} under it");
}
