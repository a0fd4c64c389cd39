//! One peer as the picker sees it: what was asked of it, and how fast it answers.
//!
//! Invariant: `in_flight` is the sum of the lengths in `asked`; the rate's clock runs exactly while
//! something is asked, so that a peer is not called slow for the time nobody wanted anything of it.
//! Deliberately unknown here: what it holds, and all other peers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::pieces::{BlockRange, MAX_BLOCK_LEN, PieceIndex};

/// Without a byte for this long, a peer is snubbed (BEP 3 implementations use 20 to 60 s).
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// For how long a peer must have been busy before it can be called slow.
const JUDGED_AFTER: Duration = Duration::from_secs(5);

/// A block that was asked of a peer and has not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) piece: PieceIndex,
    pub(super) block: BlockRange,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    /// Oldest first.
    asked: VecDeque<Asked>,
    in_flight: u64,
    /// Bytes reported that belong to no whole block yet.
    reported: u64,
    rate: Rate,
    /// When it last gave a byte, or was first asked after a pause.
    heard: Option<Instant>,
    /// How often in a row it lost its blocks for being silent or slow. The fewer, the more trusted;
    /// with any, it gets one block at a time.
    pub(super) strikes: u32,
}

impl Peer {
    /// Bytes asked and not come.
    pub(super) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// What was asked and has not come, oldest first.
    pub(super) fn asked(&self) -> impl DoubleEndedIterator<Item = Asked> + ExactSizeIterator {
        self.asked.iter().copied()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    pub(super) fn ask(&mut self, now: Instant, asked: Asked) {
        if self.asked.is_empty() {
            self.heard = Some(now);
            self.rate.start(now);
        }
        self.in_flight += u64::from(asked.block.len);
        self.asked.push_back(asked);
    }

    /// Takes back a request; `false` if there was none.
    pub(super) fn unask(&mut self, block: BlockRange) -> bool {
        // Answers mostly come in the order of the requests.
        let Some(at) = self.asked.iter().position(|a| a.block == block) else { return false };
        self.asked.remove(at);
        self.in_flight -= u64::from(block.len);
        if self.asked.is_empty() {
            self.rate.stop();
        }
        true
    }

    /// Some bytes of a block came.
    pub(super) fn hear(&mut self, now: Instant, bytes: u64) {
        self.heard = Some(now);
        self.reported += bytes;
        self.rate.add(now, bytes);
    }

    /// A whole block came: counts what [`Peer::hear`] was not told. What it was told beyond that belongs to
    /// the next one.
    pub(super) fn hear_block(&mut self, now: Instant, len: u32) {
        let len = u64::from(len);
        self.hear(now, len.saturating_sub(self.reported));
        self.reported = (self.reported - len).min(u64::from(MAX_BLOCK_LEN));
    }

    /// A block that counted came: the peer is as good as any other, and its rate is measured anew
    /// after a strike, which had slowed it to one block at a time.
    pub(super) fn pardon(&mut self, now: Instant) {
        if std::mem::take(&mut self.strikes) > 0 {
            self.measure_anew(now);
        }
    }

    /// It was silent or slow.
    pub(super) fn strike(&mut self, now: Instant) {
        self.strikes = self.strikes.saturating_add(1);
        self.measure_anew(now);
    }

    /// Nothing came for a reason that is not its own.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.heard = Some(now);
        self.measure_anew(now);
    }

    fn measure_anew(&mut self, now: Instant) {
        self.rate = Rate::default();
        if !self.asked.is_empty() {
            self.rate.start(now);
        }
    }

    /// Whether it owes blocks and has long been silent.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        !self.asked.is_empty() && self.heard.is_some_and(|at| now.saturating_duration_since(at) >= PATIENCE)
    }

    /// Bytes per second while busy, once it has been seen at work for a moment.
    pub(super) fn rate(&self, now: Instant) -> Option<f64> {
        self.rate.per_second(now, Rate::KNOWN_AFTER)
    }

    /// The rate by which it is compared with others: known later, and later still while it is on
    /// probation, so that its one block has time to come.
    pub(super) fn judged_rate(&self, now: Instant) -> Option<f64> {
        let after = if self.strikes == 0 { JUDGED_AFTER } else { PATIENCE };
        self.rate.per_second(now, after)
    }
}

/// Bytes per busy second, weighted by `e^(-age/TAU)`, and unbiased from the start.
#[derive(Debug, Clone, Default)]
struct Rate {
    weighted: f64,
    busy: f64,
    /// While the clock runs: until when it has been counted.
    counted: Option<Instant>,
}

impl Rate {
    /// Seconds that the average looks back.
    const TAU: f64 = 5.0;
    const KNOWN_AFTER: Duration = Duration::from_millis(500);

    const fn start(&mut self, now: Instant) {
        self.counted = Some(now);
    }

    const fn stop(&mut self) {
        self.counted = None;
    }

    fn add(&mut self, now: Instant, bytes: u64) {
        if self.counted.is_some() {
            (self.weighted, self.busy) = self.at(now);
            self.weighted += bytes as f64;
            self.counted = Some(now);
        }
    }

    /// Weighted bytes and busy seconds as of `now`.
    fn at(&self, now: Instant) -> (f64, f64) {
        let since = self.counted.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        (self.weighted * (-since / Self::TAU).exp(), self.busy + since)
    }

    fn per_second(&self, now: Instant, after: Duration) -> Option<f64> {
        let (weighted, busy) = self.at(now);
        let weight = Self::TAU * (1.0 - (-busy / Self::TAU).exp());
        (busy >= after.as_secs_f64()).then(|| weighted / weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_once_however_they_are_reported() {
        let now = Instant::now();
        let mut peer = Peer::default();
        peer.rate.start(now);
        peer.hear_block(now, 1000);
        peer.hear(now, 1400);
        peer.hear_block(now, 1000);
        peer.hear(now, 100);
        peer.hear_block(now, 1000);
        peer.hear_block(now, 1000);
        assert_eq!((peer.rate.weighted, peer.reported), (4000.0, 0));
    }

    #[test]
    fn a_rate_is_right_from_the_start_follows_changes_and_ignores_pauses() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let near =
            |rate: Option<f64>, want: f64| assert!(rate.is_some_and(|r| (r / want - 1.0).abs() < 0.03), "{rate:?}");
        let mut rate = Rate::default();
        rate.start(t0);
        (1..=60).for_each(|i| rate.add(at(i * 10), 1000));
        near(rate.per_second(at(600), Rate::KNOWN_AFTER), 100_000.0);
        assert_eq!(rate.per_second(at(600), JUDGED_AFTER), None);
        (61..=3000).for_each(|i| rate.add(at(i * 10), 100));
        near(rate.per_second(at(30_000), JUDGED_AFTER), 10_000.0);
        rate.stop();
        rate.add(at(50_000), 1_000_000);
        near(rate.per_second(at(90_000), JUDGED_AFTER), 10_000.0);
        rate.start(at(90_000));
        assert!(rate.per_second(at(150_000), JUDGED_AFTER).is_some_and(|r| r < 1.0), "silence counts while busy");
    }
}
