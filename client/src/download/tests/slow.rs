//! Downloads that are slow for honest reasons.

use super::*;

/// Takes a minute and more: `cargo nextest run -p shoal-client --run-ignored only limit_of_our_own`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than a minute"]
async fn a_limit_of_our_own_is_not_held_against_the_seeders() {
    // One run takes longer than a seeder may be silent.
    const RATE: u64 = 700;
    const LEN: usize = 48 << 10;
    let tracker = FakeTracker::new();
    let (alice, carol) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "carol").await);
    let bytes = content(LEN);
    alice.upload("file", &bytes).await;
    carol.fetch("file").await.expect("downloaded");
    let bob = Device::with(&tracker, "bob", Limits::new(None, std::num::NonZeroU64::new(RATE))).await;
    let begun = std::time::Instant::now();
    let done = bob.fetch("file").await.expect("downloaded");
    assert_eq!(fs::read(done.path).expect("read"), bytes);
    let limit = LEN as u64 * 3 / (2 * RATE);
    assert!(begun.elapsed().as_secs() < limit, "nothing is fetched twice: {:?}", begun.elapsed());
}
