//! Limits in bytes per second, for everything sent and everything received; they can be changed while bytes wait.
//!
//! A limit is a count of bytes that grows with time: so many have been allowed to pass by now. Whoever takes `n` bytes
//! takes the next `n` of that count, and waits until it has grown so far (the generic cell rate algorithm, ITU-T I.371,
//! counted in bytes, so that a wait is still right when the rate becomes another one). So a run longer than a second's
//! worth passes, and is paid for afterwards.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::id::{FileId, GroupId};
use futures::future::join_all;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How much may pass unhindered after a pause.
const BURST: Duration = Duration::from_millis(100);

/// Limits of the whole process; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// For what this device serves.
    pub up: RateLimit,
    /// For what it fetches.
    pub down: RateLimit,
    /// Those of groups, which hold besides.
    groups: Arc<Mutex<HashMap<GroupId, Rates>>>,
    /// And those of what is served of single shares.
    shares: Arc<Mutex<HashMap<ShareKey, RateLimit>>>,
}

/// A content in a group.
pub type ShareKey = (GroupId, FileId);

/// The limits of a group; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    /// For what this device serves there.
    pub up: RateLimit,
    /// For what it fetches there.
    pub down: RateLimit,
}

impl Limits {
    /// Limits in bytes per second; `None` is no limit.
    pub fn new(up: Option<NonZeroU64>, down: Option<NonZeroU64>) -> Self {
        Self { up: RateLimit::new(up), down: RateLimit::new(down), ..Self::default() }
    }

    /// Those of a group: the same ones whenever they are asked for.
    pub fn of(&self, group: GroupId) -> Rates {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).entry(group).or_default().clone()
    }

    /// That of what this device serves of a share: the same one whenever it is asked for.
    pub fn up_of(&self, share: ShareKey) -> RateLimit {
        self.shares().entry(share).or_default().clone()
    }

    /// Limits what this device serves of these shares, in bytes per second, and of no other share.
    pub fn set_up_of(&self, rates: &HashMap<ShareKey, NonZeroU64>) {
        let mut shares = self.shares();
        // Of those that nobody is served with at the moment nothing has to be known.
        shares.retain(|share, limit| rates.contains_key(share) || Arc::strong_count(&limit.0) > 1);
        for share in rates.keys() {
            shares.entry(*share).or_default();
        }
        for (share, limit) in shares.iter() {
            let rate = rates.get(share).copied();
            if limit.get() != rate {
                limit.set(rate);
            }
        }
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<ShareKey, RateLimit>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Several limits that all hold, so that the smallest counts.
#[derive(Debug, Clone, Default)]
pub struct RateLimits(Vec<RateLimit>);

impl RateLimits {
    /// All of these.
    pub fn of(limits: impl IntoIterator<Item = RateLimit>) -> Self {
        Self(limits.into_iter().collect())
    }

    /// Waits until `bytes` more may pass. Who gives up has taken nothing of the limits that it still waits for.
    pub async fn take(&self, bytes: u64) {
        let mut limiting = self.0.iter().filter(|limit| limit.get().is_some());
        match (limiting.next(), limiting.next()) {
            (None, _) => {}
            (Some(only), None) => only.take(bytes).await,
            // At once: one after the other, the second would begin to count when the first is over.
            (Some(_), Some(_)) => drop(join_all(self.0.iter().map(|limit| limit.take(bytes))).await),
        }
    }
}

impl From<RateLimit> for RateLimits {
    fn from(limit: RateLimit) -> Self {
        Self::of([limit])
    }
}

/// One limit. Clones are the same limit.
#[derive(Debug, Clone, Default)]
pub struct RateLimit(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Bytes per second; 0 is no limit. Read without the lock by those whom nothing limits.
    rate: AtomicU64,
    clock: Mutex<Option<Clock>>,
    /// Limits that there have been after none: what was taken of one counts for no other. Guarded by `clock`.
    begun: AtomicU64,
    changed: Notify,
}

/// A limit that holds.
#[derive(Debug, Clone, Copy)]
struct Clock {
    number: u64,
    bytes_per_second: NonZeroU64,
    /// When the count was `passed`; later it is more.
    since: Instant,
    /// Bytes that may have passed by `since`.
    passed: f64,
    /// Bytes that were taken; up to a burst less than the count, or ahead of it.
    taken: f64,
}

impl RateLimit {
    /// A limit in bytes per second; `None` never waits.
    pub fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        let limit = Self::default();
        limit.set(bytes_per_second);
        limit
    }

    /// Bytes per second; `None` is no limit.
    pub fn get(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.0.rate.load(Ordering::Relaxed))
    }

    /// Makes it another one, at once: also for those who wait.
    pub fn set(&self, bytes_per_second: Option<NonZeroU64>) {
        let mut clock = self.clock();
        let now = Instant::now();
        let begin = |rate| Clock::new(self.0.begun.fetch_add(1, Ordering::Relaxed), rate, now);
        *clock = bytes_per_second.map(|rate| clock.map_or_else(|| begin(rate), |c| c.at_rate(rate, now)));
        self.0.rate.store(bytes_per_second.map_or(0, NonZeroU64::get), Ordering::Relaxed);
        drop(clock);
        self.0.changed.notify_waiters();
    }

    /// Waits until `bytes` more may pass. Cancel safe: whoever gives up has taken nothing.
    pub async fn take(&self, bytes: u64) {
        if self.get().is_none() {
            return;
        }
        let taken = self.clock().as_mut().map(|clock| (clock.number, clock.take(bytes, Instant::now())));
        let Some((number, mine)) = taken else { return };
        let mut waiting = Waiting { limit: self, number, bytes };
        self.reaches(number, mine).await;
        waiting.bytes = 0;
    }

    /// Waits until the count of a limit is so far, or there is that limit no more.
    async fn reaches(&self, number: u64, mine: f64) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Before the look at the clock: a change in between is not missed.
            changed.as_mut().enable();
            let Some(clock) = self.clock().filter(|clock| clock.number == number) else { return };
            let free = clock.reaches(mine);
            tokio::select! {
                () = sleep_until(free) => return,
                () = changed => {}
            }
        }
    }

    fn clock(&self) -> MutexGuard<'_, Option<Clock>> {
        self.0.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that were taken and have not passed: given back if they never do, or who asks and leaves would make all others
/// wait.
struct Waiting<'a> {
    limit: &'a RateLimit,
    number: u64,
    bytes: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(clock) = self.limit.clock().as_mut().filter(|clock| clock.number == self.number) {
            clock.taken -= self.bytes as f64;
        }
    }
}

impl Clock {
    const fn new(number: u64, bytes_per_second: NonZeroU64, now: Instant) -> Self {
        Self { number, bytes_per_second, since: now, passed: 0.0, taken: 0.0 }
    }

    const fn rate(&self) -> f64 {
        self.bytes_per_second.get() as f64
    }

    fn passed(&self, now: Instant) -> f64 {
        self.passed + now.saturating_duration_since(self.since).as_secs_f64() * self.rate()
    }

    /// The same count, which grows at another rate from `now` on.
    fn at_rate(self, bytes_per_second: NonZeroU64, now: Instant) -> Self {
        Self { bytes_per_second, since: now, passed: self.passed(now), ..self }
    }

    /// Takes `bytes` at `now`: how far the count has to be for them to pass.
    fn take(&mut self, bytes: u64, now: Instant) -> f64 {
        let free_from = self.passed(now) - BURST.as_secs_f64() * self.rate();
        self.taken = self.taken.max(free_from) + bytes as f64;
        self.taken
    }

    /// When the count is so far.
    fn reaches(&self, taken: f64) -> Instant {
        let missing = ((taken - self.passed) / self.rate()).max(0.0);
        // Beyond what a clock can tell is never.
        let wait = Duration::try_from_secs_f64(missing).unwrap_or(Duration::MAX);
        self.since.checked_add(wait).unwrap_or_else(|| self.since + Duration::from_secs(u64::from(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_over_time_whatever_the_sizes() {
        let limit = RateLimit::new(NonZeroU64::new(1_000_000));
        let start = Instant::now();
        let mut taken = 0;
        for n in (1..=100).map(|i| i * 2_000) {
            limit.take(n).await;
            taken += n;
        }
        let rate = taken as f64 / start.elapsed().as_secs_f64();
        assert!((0.98e6..1.02e6).contains(&rate), "{rate}");
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_limits_the_smallest_holds_whichever_it_is() {
        let limits = Limits::new(NonZeroU64::new(1000), None);
        let group = GroupId::new([1; 16]);
        for (of_group, of_all, rate) in [(500, 1000, 500), (1000, 500, 500), (500, 0, 500), (0, 500, 500)] {
            limits.of(group).up.set(NonZeroU64::new(of_group));
            limits.up.set(NonZeroU64::new(of_all));
            let both = RateLimits::of([limits.of(group).up, limits.up.clone()]);
            both.take(rate).await; // The burst.
            let start = Instant::now();
            both.take(10 * rate).await;
            let took = start.elapsed().as_secs_f64();
            assert!((9.9..10.1).contains(&took), "{of_group} and {of_all}: {took} s");
        }
    }

    #[test]
    fn a_limit_of_a_share_reaches_who_is_served_already_and_is_kept_for_nobody_else() {
        let limits = Limits::default();
        let share = |n| (GroupId::new([1; 16]), FileId::new([n; 32]));
        let serving = limits.up_of(share(1));
        drop(limits.up_of(share(2)));
        let rate = NonZeroU64::new(1000).expect("not 0");
        limits.set_up_of(&HashMap::from([(share(1), rate), (share(3), rate)]));
        assert_eq!((serving.get(), limits.up_of(share(3)).get()), (Some(rate), Some(rate)));
        limits.set_up_of(&HashMap::new());
        assert_eq!((serving.get(), limits.shares().len()), (None, 1), "it is lifted, and the others are forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_saved_up() {
        let limit = RateLimit::new(NonZeroU64::new(1000));
        limit.take(1).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        limit.take(1000).await;
        assert!(start.elapsed() >= Duration::from_millis(890), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_never_waits() {
        let start = Instant::now();
        RateLimit::default().take(u64::MAX).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    /// How long 1,000 bytes take that began to wait at 10 a second, when after 20 seconds the limit becomes another.
    async fn changed_while_waiting(to: Option<u64>) -> Duration {
        let limit = RateLimit::new(NonZeroU64::new(10));
        limit.take(1).await; // The burst.
        let start = Instant::now();
        let change = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            limit.set(to.and_then(NonZeroU64::new));
        };
        tokio::join!(limit.take(1000), change);
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_holds_for_those_who_wait_and_what_has_passed_stays_paid() {
        // 200 bytes have passed in the first 20 seconds.
        for (to, seconds) in [(None, 20), (Some(100), 28), (Some(1), 820), (Some(10), 100)] {
            let took = changed_while_waiting(to).await.as_secs();
            assert!(took.abs_diff(seconds) <= 1, "to {to:?}: {took} s and not {seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_makes_nobody_wait() {
        let limit = RateLimit::new(NonZeroU64::new(1000));
        limit.take(100).await;
        for _ in 0..100 {
            assert!(tokio::time::timeout(Duration::from_millis(1), limit.take(10_000)).await.is_err());
        }
        let start = Instant::now();
        limit.take(1000).await;
        assert!(start.elapsed() <= Duration::from_millis(1001), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_after_none_does_not_hold_those_who_waited_for_the_one_before() {
        let limit = RateLimit::new(NonZeroU64::new(1));
        let again = async {
            tokio::task::yield_now().await;
            limit.set(None);
            limit.set(NonZeroU64::new(1));
        };
        let start = Instant::now();
        tokio::join!(limit.take(1 << 30), again);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_comes_later_does_not_count_what_passed_before() {
        let limit = RateLimit::default();
        limit.take(1 << 40).await;
        limit.set(NonZeroU64::new(1000));
        let start = Instant::now();
        limit.take(1000).await;
        assert!(start.elapsed() <= Duration::from_millis(1001), "{:?}", start.elapsed());
        limit.set(None);
        assert_eq!(limit.get(), None);
        limit.take(1 << 40).await;
        assert!(start.elapsed() <= Duration::from_millis(1001));
    }
}
