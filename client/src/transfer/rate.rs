//! Limits in bytes per second, for everything sent and everything received.
//!
//! Each limit is a clock that runs ahead: taking `n` bytes moves it by `n / rate`, and whoever is
//! ahead of real time waits (the generic cell rate algorithm, ITU-T I.371). So a
//! run longer than a second's worth passes, and is paid for afterwards.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How much may pass unhindered after a pause.
const BURST: Duration = Duration::from_millis(100);

/// Limits of the whole process; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// For what this device serves.
    pub up: RateLimit,
    /// For what it fetches.
    pub down: RateLimit,
}

impl Limits {
    /// Limits in bytes per second; `None` is no limit.
    pub fn new(up: Option<NonZeroU64>, down: Option<NonZeroU64>) -> Self {
        Self { up: RateLimit::new(up), down: RateLimit::new(down) }
    }
}

/// One limit. Clones are the same limit.
#[derive(Debug, Clone, Default)]
pub struct RateLimit(Option<Arc<Clock>>);

#[derive(Debug)]
struct Clock {
    bytes_per_second: NonZeroU64,
    /// When all that was taken so far has been paid for.
    paid: Mutex<Instant>,
}

impl RateLimit {
    /// A limit in bytes per second; `None` never waits.
    pub fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        Self(
            bytes_per_second
                .map(|bytes_per_second| Arc::new(Clock { bytes_per_second, paid: Mutex::new(Instant::now()) })),
        )
    }

    /// Waits until `bytes` more may pass. Cancel safe, but the bytes count as taken.
    pub async fn take(&self, bytes: u64) {
        if let Some(clock) = &self.0 {
            tokio::time::sleep_until(clock.take(bytes, Instant::now())).await;
        }
    }
}

impl Clock {
    /// Takes `bytes` at `now`: when they may pass.
    fn take(&self, bytes: u64, now: Instant) -> Instant {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.get() as f64);
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let free_from = now.checked_sub(BURST).unwrap_or(now);
        *paid = (*paid).max(free_from) + cost;
        *paid
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
}
