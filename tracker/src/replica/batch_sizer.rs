//! How much goes into one message to the sibling: about what the line carries in [`TARGET`].
//!
//! A message is lost as a whole when the connection breaks, and everything behind it waits; so it is small where
//! the line is slow. The size doubles while messages that fill it are acknowledged quickly, and follows the
//! measured rate down when one takes too long, unless a shorter one takes as long. What has been learnt outlives a connection. Pure; time is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::wire::limits::MAX_BATCH_BYTES;

/// How long one message may take on the line.
const TARGET: Duration = Duration::from_millis(500);
/// The size to begin with, and the smallest, in bytes. One event is sent whatever it weighs.
const FIRST_BYTES: usize = 16 << 10;
const MIN_BYTES: usize = 1 << 10;
/// The slowest line that is waited for, in bytes per second.
const SLOWEST_RATE: u64 = 1 << 10;

/// A message that is not acknowledged.
#[derive(Debug, Clone, Copy)]
struct InFlight {
    number: u64,
    sent: Instant,
    bytes: usize,
}

/// The size of messages, and what it follows from.
#[derive(Debug)]
pub(super) struct BatchSizer {
    limit: usize,
    in_flight: VecDeque<InFlight>,
    /// When the line was last known to be free for the next message.
    free_since: Option<Instant>,
    /// What a message takes however short it is.
    latency: Duration,
    /// The last message that took too long: its bytes, and how long it took besides.
    shrunk: Option<(usize, Duration)>,
}

impl Default for BatchSizer {
    fn default() -> Self {
        let (in_flight, latency) = (VecDeque::new(), Duration::ZERO);
        Self { limit: FIRST_BYTES, in_flight, free_since: None, latency, shrunk: None }
    }
}

impl BatchSizer {
    /// How many bytes the next message may hold.
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// Message `number` of `bytes` bytes is on its way.
    pub(super) fn sent(&mut self, now: Instant, number: u64, bytes: usize) {
        self.in_flight.push_back(InFlight { number, sent: now, bytes });
    }

    /// Everything up to message `number` has arrived.
    pub(super) fn acknowledged(&mut self, now: Instant, number: u64) {
        let (mut bytes, mut first) = (0, None);
        while let Some(message) = self.in_flight.front().copied().filter(|m| m.number <= number) {
            self.in_flight.pop_front();
            bytes += message.bytes;
            first = first.or(Some(message.sent));
        }
        if let Some(first) = first {
            let began = self.free_since.map_or(first, |free| free.max(first));
            self.observe(bytes, now.saturating_duration_since(began));
            self.free_since = Some(now);
        }
    }

    /// So many bytes took so long.
    pub(super) fn observe(&mut self, bytes: usize, took: Duration) {
        self.latency = self.latency.min(took);
        let took = took.saturating_sub(self.latency);
        if took > TARGET {
            let before = self.shrunk.replace((bytes, took));
            if before.is_some_and(|(more, longer)| 2 * bytes <= more && 4 * took > 3 * longer) {
                // Half of it took as long: that is the way or the disk, whatever the size.
                self.latency += took;
                self.shrunk = None;
                return;
            }
            let fitting = (bytes as u128 * TARGET.as_millis() / took.as_millis()) as usize;
            self.limit = self.limit.min(fitting).max(MIN_BYTES);
        } else if took < TARGET / 2 && bytes >= self.limit / 2 {
            self.limit = (self.limit * 2).min(MAX_BATCH_BYTES);
        }
    }

    /// The connection is gone, and with it what was on its way.
    pub(super) fn disconnected(&mut self) {
        if !self.in_flight.is_empty() {
            self.limit = (self.limit / 2).max(MIN_BYTES);
        }
        self.in_flight.clear();
        self.free_since = None;
        self.latency = Duration::ZERO;
        self.shrunk = None;
    }

    /// How long so many bytes take if they are given half of the line.
    pub(super) fn share_of_line(&self, bytes: usize) -> Duration {
        2 * TARGET.mul_f64(bytes as f64 / self.limit as f64)
    }

    /// How long the slowest line may take for what is on its way, and `besides` bytes more.
    pub(super) fn slowest(&self, besides: usize) -> Duration {
        let bytes = self.in_flight.iter().map(|m| m.bytes).sum::<usize>() + besides;
        Duration::from_millis(bytes as u64 * 1000 / SLOWEST_RATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends one message after the other over a line of `rate` bytes per second; returns the sizes.
    fn over(sizer: &mut BatchSizer, now: &mut Instant, rate: u64, messages: u64) -> Vec<usize> {
        (1..=messages)
            .map(|number| {
                let bytes = sizer.limit();
                sizer.sent(*now, number, bytes);
                *now += Duration::from_micros(bytes as u64 * 1_000_000 / rate);
                sizer.acknowledged(*now, number);
                bytes
            })
            .collect()
    }

    #[test]
    fn a_message_takes_half_a_second_on_any_line_down_to_two_kilobytes_a_second() {
        for rate in [2 << 10, 40 << 10, 1 << 20] {
            let mut sizer = BatchSizer::default();
            let settled = over(&mut sizer, &mut Instant::now(), rate, 20)[10..].to_vec();
            let (least, most) = (settled.iter().min().copied(), settled.iter().max().copied());
            assert!(least >= Some((rate as usize / 8).max(MIN_BYTES)), "{rate}: {settled:?}");
            assert!(most <= Some((rate as usize / 2).max(MIN_BYTES)), "{rate}: {settled:?}");
        }
    }

    #[test]
    fn a_fast_line_is_used_after_a_few_messages_and_a_slow_one_noticed_at_once() {
        let (mut sizer, mut now) = (BatchSizer::default(), Instant::now());
        assert_eq!(over(&mut sizer, &mut now, 100 << 20, 6).last(), Some(&MAX_BATCH_BYTES));
        assert!(over(&mut sizer, &mut now, 40 << 10, 2)[1] <= 20 << 10);
    }

    #[test]
    fn what_is_lost_with_a_connection_was_too_long() {
        let (mut sizer, now) = (BatchSizer::default(), Instant::now());
        sizer.sent(now, 1, 16 << 10);
        assert_eq!(sizer.slowest(1 << 10), Duration::from_secs(17));
        sizer.disconnected();
        assert_eq!((sizer.limit(), sizer.slowest(0)), (8 << 10, Duration::ZERO));
        sizer.disconnected();
        assert_eq!(sizer.limit(), 8 << 10, "nothing was on its way");
    }

    #[test]
    fn where_every_message_takes_long_a_short_one_does_not_help() {
        // A failing disk, or a way around the world: two seconds each, whatever their size.
        let mut sizer = BatchSizer::default();
        for _ in 0..12 {
            sizer.observe(sizer.limit(), 4 * TARGET);
        }
        assert_eq!(sizer.limit(), MAX_BATCH_BYTES);
        // It is mended, and the line becomes slow.
        sizer.observe(sizer.limit(), Duration::from_millis(100));
        sizer.observe(sizer.limit(), Duration::from_secs(200));
        assert!(sizer.limit() <= 2 << 10, "{}", sizer.limit());
    }

    #[test]
    fn small_messages_say_nothing_of_a_fast_line() {
        let mut sizer = BatchSizer::default();
        (0..100).for_each(|_| sizer.observe(300, Duration::from_millis(20)));
        assert_eq!(sizer.limit(), FIRST_BYTES);
    }
}
