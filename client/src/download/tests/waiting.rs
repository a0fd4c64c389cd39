//! Downloads that wait for a seeder, for a day.

use super::*;

/// Memory of this process that is its own, in bytes.
fn own_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[tokio::test(start_paused = true)]
async fn two_downloads_that_wait_for_a_day_ask_seldom_and_hold_nothing_more() {
    let tracker = FakeTracker::new();
    let (alice, bob) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    for (name, len) in [("one", 300_000), ("two", 300_001)] {
        alice.upload(name, &content(len)).await;
    }
    tracker.vanish(alice.key.id());
    alice.tasks.stop().await;
    for name in ["one", "two"] {
        bob.begin(name).await.expect("begun");
    }
    let hours = |n: u64| tokio::time::sleep(Duration::from_secs(3600 * n));
    hours(1).await;
    assert!(bob.downloads.list().iter().all(|d| d.progress.state == State::Waiting));
    let (asked, held) = (tracker.asked("peers"), own_memory());
    hours(24).await;
    let (asked, grown) = (tracker.asked("peers") - asked, own_memory().saturating_sub(held));
    println!("in a day: {asked} questions, {} KiB more", grown >> 10);
    assert!((100..2 * 24 * 3600 / 5).contains(&asked), "{asked}");
    // Other tests run beside it; alone it is a few KiB.
    assert!(grown < 64 << 20, "{grown}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_rests_tells_of_no_change_and_one_that_moves_tells_at_once() {
    let tracker = FakeTracker::new();
    let (alice, bob) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    alice.upload("one", &content(300_000)).await;
    tracker.vanish(alice.key.id());
    alice.tasks.stop().await;
    let is_told = |change| async move { tokio::time::timeout(Duration::from_secs(3600), change).await.is_ok() };
    assert!(!is_told(bob.downloads.change()).await, "the list is empty");

    let change = bob.downloads.change();
    let id = bob.begin("one").await.expect("begun");
    assert!(is_told(change).await, "one is on the list");
    let change = bob.downloads.change();
    bob.downloads.pause(id).await.expect("paused");
    assert!(is_told(change).await, "it rests");
    assert!(!is_told(bob.downloads.change()).await, "it still does");
    let change = bob.downloads.change();
    bob.downloads.resume(id).await.expect("resumed");
    assert!(is_told(change).await, "it goes on");
    bob.downloads.pause(id).await.expect("paused");
    let change = bob.downloads.change();
    bob.downloads.cancel(id).await.expect("cancelled");
    assert!(is_told(change).await, "it is off the list");
}
