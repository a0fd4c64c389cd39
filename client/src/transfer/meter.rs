//! How fast something goes: bytes per second, smoothed over a few seconds.

use std::time::{Duration, Instant};

/// Time in which a sample loses most of its weight.
const SMOOTHING: Duration = Duration::from_secs(3);
/// Shortest time between two samples that count.
const STEP: Duration = Duration::from_millis(100);

/// Turns a growing count of bytes into a rate.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    at: Instant,
    total: u64,
    rate: Option<f64>,
}

impl Meter {
    /// A meter that starts at `now` with `total` bytes counted already.
    pub(crate) const fn new(now: Instant, total: u64) -> Self {
        Self { at: now, total, rate: None }
    }

    /// By `now` there were `total` bytes in all.
    pub(crate) fn update(&mut self, now: Instant, total: u64) {
        let elapsed = now.saturating_duration_since(self.at);
        if elapsed < STEP {
            return;
        }
        let sample = total.saturating_sub(self.total) as f64 / elapsed.as_secs_f64();
        let keep = (-elapsed.as_secs_f64() / SMOOTHING.as_secs_f64()).exp();
        self.rate = Some(self.rate.map_or(sample, |rate| rate * keep + sample * (1.0 - keep)));
        (self.at, self.total) = (now, total);
    }

    /// Bytes per second.
    pub(crate) fn rate(&self) -> u64 {
        self.rate.unwrap_or(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_a_steady_rate_and_forgets_an_old_one() {
        let start = Instant::now();
        let mut meter = Meter::new(start, 500);
        for i in 1..=40u64 {
            meter.update(start + Duration::from_millis(250 * i), 500 + 250 * i);
        }
        assert!((990..=1010).contains(&meter.rate()), "{}", meter.rate());
        for i in 41..=120u64 {
            meter.update(start + Duration::from_millis(250 * i), 500 + 250 * 40);
        }
        assert!(meter.rate() < 5, "{}", meter.rate());
    }
}
