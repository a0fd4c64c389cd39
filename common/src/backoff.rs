//! Delays between attempts: doubling, with jitter, so that many clients do not come back at once.

use std::time::Duration;

/// A growing delay. Source of the scheme: "full jitter" (AWS Architecture Blog, Exponential
/// Backoff And Jitter), with a floor of half the step so that a retry is never immediate.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    step: Duration,
}

impl Backoff {
    /// Starts around `first` and never exceeds `most`.
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, step: first }
    }

    /// The delay before the next attempt: between half of the current step and all of it.
    pub fn next_delay(&mut self) -> Duration {
        let step = self.step;
        self.step = (step * 2).min(self.most);
        step.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// After a success: the next delay is short again.
    pub fn reset(&mut self) {
        self.step = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_most_and_start_over() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut b = Backoff::new(first, most);
        for step in [100, 200, 400, 800, 1000, 1000] {
            let d = b.next_delay();
            let step = Duration::from_millis(step);
            assert!(d >= step / 2 && d <= step, "{d:?} for {step:?}");
        }
        b.reset();
        assert!(b.next_delay() <= first);
    }
}
