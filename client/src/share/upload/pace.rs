//! How fast a leecher takes what is written for it, and when that is too slow.
//!
//! What counts is what the system takes from us, seen beneath the encryption. The system takes by the
//! third of its own buffer, which may be a megabyte: so patience is long while memory is plenty, and
//! short only when others wait for it.

use std::time::Duration;

use tokio::time::Instant;

/// How often the pace is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Without a byte for this long, a leecher that owes us room is given up.
const STILL: Duration = Duration::from_secs(60);
/// And so is one that takes less than so many bytes a second over that time.
const LEAST: u64 = 1 << 10;
/// The same while others wait for memory.
const STILL_SHORT: Duration = Duration::from_secs(20);
/// The same while others wait for memory.
const LEAST_SHORT: u64 = 16 << 10;

/// The pace of one leecher, while something is held up by it.
#[derive(Debug)]
pub(super) struct Pace {
    moved: Instant,
    last: u64,
    calm: Window,
    /// Since memory is short.
    short: Option<Window>,
}

/// The bytes of some time.
#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    taken: u64,
}

impl Window {
    /// Whether it is over with less than `least` bytes a second; one that is over begins again.
    fn is_too_slow(&mut self, now: Instant, taken: u64, length: Duration, least: u64) -> bool {
        if now.duration_since(self.since) < length {
            return false;
        }
        let got = taken.saturating_sub(self.taken);
        *self = Self { since: now, taken };
        got < least * length.as_secs()
    }
}

impl Pace {
    /// Begins to watch at `now`, when `taken` bytes had been taken.
    pub(super) fn new(now: Instant, taken: u64) -> Self {
        Self { moved: now, last: taken, calm: Window { since: now, taken }, short: None }
    }

    /// Whether the leecher is too slow: `taken` bytes by `now`, while memory is `short` or not.
    pub(super) fn is_too_slow(&mut self, now: Instant, taken: u64, short: bool) -> bool {
        if taken != self.last {
            (self.last, self.moved) = (taken, now);
        }
        let still = now.duration_since(self.moved);
        let slow = self.calm.is_too_slow(now, taken, STILL, LEAST) || still >= STILL;
        if !short {
            self.short = None;
            return slow;
        }
        let window = self.short.get_or_insert(Window { since: now, taken });
        slow || still >= STILL_SHORT || window.is_too_slow(now, taken, STILL_SHORT, LEAST_SHORT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds a leecher is given up that takes `bytes` every `every` seconds.
    fn patience(bytes: u64, every: u64, short: bool) -> Option<u64> {
        let begun = Instant::now();
        let mut pace = Pace::new(begun, 0);
        (1..600).find(|&s| pace.is_too_slow(begun + Duration::from_secs(s), s / every * bytes, short))
    }

    #[test]
    fn who_takes_nothing_or_next_to_nothing_is_given_up() {
        assert_eq!((patience(0, 1, false), patience(0, 1, true)), (Some(60), Some(20)));
        assert_eq!(patience(100, 1, false), Some(60));
        assert_eq!(patience(1023, 1, false), Some(60));
        assert_eq!(patience(8 << 10, 1, true), Some(21));
    }

    #[test]
    fn who_is_only_slow_stays() {
        assert_eq!(patience(1025, 1, false), None);
        assert_eq!(patience(1 << 20, 50, false), None, "by the megabyte, as systems do");
        assert_eq!(patience(17 << 10, 1, true), None);
        assert_eq!(patience(8 << 10, 1, false), None);
    }
}
