//! Which revocations a seeder is still to hear of, newest first and in measure.
//!
//! Pure. Knows revocations only by their numbers, in the order in which this device heard of them. Invariant: every
//! number up to the last one heard of is told once, pending in `ranges`, or of a revocation that was forgotten
//! meanwhile.

use std::ops::Range;
use std::time::Instant;

/// Told at once after a pause. Below what a seeder takes from a leecher, so that none is thrown away there.
const BURST: f64 = 32.0;
/// Told per second after that.
const PER_SECOND: f64 = 2.0;

/// What one connection's seeder is to hear of.
#[derive(Debug)]
pub(crate) struct RevocationGossip {
    /// Numbers that are to be told, ascending and apart from each other.
    ranges: Vec<Range<u64>>,
    /// All before this number have been heard of.
    next: u64,
    allowance: f64,
    counted: Instant,
}

impl RevocationGossip {
    /// Nothing heard, nothing told.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { ranges: Vec::new(), next: 0, allowance: BURST, counted: now }
    }

    /// This device has heard of all before `next`.
    pub(crate) fn heard(&mut self, next: u64) {
        match self.ranges.last_mut() {
            Some(last) if last.end == self.next => last.end = last.end.max(next),
            _ if self.next < next => self.ranges.push(self.next..next),
            _ => {}
        }
        self.next = self.next.max(next);
    }

    /// Tells what may be told now: `tell` says whether the number was told, or `None` when it is of no use any more.
    /// One that could not be told stays for later.
    pub(crate) fn tell(&mut self, now: Instant, mut tell: impl FnMut(u64) -> Option<bool>) {
        let earned = now.saturating_duration_since(self.counted).as_secs_f64() * PER_SECOND;
        self.allowance = (self.allowance + earned).min(BURST);
        self.counted = now;
        while self.allowance >= 1.0
            && let Some(newest) = self.ranges.last_mut()
        {
            match tell(newest.end - 1) {
                Some(false) => return,
                Some(true) => self.allowance -= 1.0,
                None => {}
            }
            newest.end -= 1;
            if newest.is_empty() {
                self.ranges.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn told(revocation_gossip: &mut RevocationGossip, now: Instant) -> Vec<u64> {
        let mut told = Vec::new();
        revocation_gossip.tell(now, |n| {
            told.push(n);
            Some(true)
        });
        told
    }

    #[test]
    fn all_are_told_once_newest_first_and_in_measure() {
        let start = Instant::now();
        let mut revocation_gossip = RevocationGossip::new(start);
        revocation_gossip.heard(40);
        assert_eq!(told(&mut revocation_gossip, start), (8..40).rev().collect::<Vec<_>>());
        assert!(told(&mut revocation_gossip, start).is_empty());
        revocation_gossip.heard(42);
        revocation_gossip.heard(41);
        let mut rest = Vec::new();
        for quarter in 1..=20 {
            let now = told(&mut revocation_gossip, start + Duration::from_millis(250) * quarter);
            assert!(now.len() <= 1, "two per second");
            rest.extend(now);
        }
        assert_eq!(rest, [41, 40, 7, 6, 5, 4, 3, 2, 1, 0]);
        assert!(told(&mut revocation_gossip, start + Duration::from_secs(99)).is_empty());
        revocation_gossip.heard(42);
        assert!(told(&mut revocation_gossip, start + Duration::from_secs(99)).is_empty());
    }

    #[test]
    fn what_could_not_be_told_is_told_later_and_what_is_forgotten_costs_nothing() {
        let start = Instant::now();
        let mut revocation_gossip = RevocationGossip::new(start);
        revocation_gossip.heard(100);
        let mut tried = Vec::new();
        revocation_gossip.tell(start, |n| {
            tried.push(n);
            (n > 50).then_some(n > 98)
        });
        assert_eq!(tried, [99, 98]);
        revocation_gossip.tell(start, |n| (n < 31).then_some(true));
        assert!(
            told(&mut revocation_gossip, start + Duration::from_secs(60)).is_empty(),
            "31 old ones were within the burst"
        );
    }
}
