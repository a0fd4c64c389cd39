//! The connection between the two: in order, at a rate and with a delay; cut in one direction or both; half-open.
//!
//! A message on a slow line arrives in parts, as the bytes do, so that whoever waits for it hears that something comes.

use std::collections::VecDeque;
use std::time::Duration;

use common::codec;
use common::wire::limits::MAX_FRAME;
use common::wire::sync::SyncFrame;

/// Bytes that arrive together on a slow line.
const SEGMENT: u64 = 1400;

/// What arrives.
#[derive(Debug, Clone)]
pub(crate) enum Arrival {
    Frame(Box<SyncFrame>),
    /// Bytes of a message, and not the last.
    Part,
    /// The other side has closed.
    Closed,
}

/// How a line is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quality {
    /// Bytes per second; none, if it takes no time to speak of.
    pub rate: Option<u64>,
    /// How long a byte takes, besides.
    pub delay: Duration,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    queue: VecDeque<(Duration, u64, Arrival)>,
    /// Nothing gets through until then.
    pub(crate) cut_until: Duration,
    pub(crate) quality: Quality,
    last: Duration,
    /// When everything that was sent is on its way.
    free_at: Duration,
}

impl Wire {
    /// Sends on connection `conn`, to arrive after `jitter` and what the line takes, but not before what was sent
    /// earlier.
    pub(crate) fn send(&mut self, now: Duration, jitter: Duration, conn: u64, what: Arrival) {
        if let (Arrival::Frame(frame), Some(_)) = (&what, self.quality.rate) {
            let bytes = codec::encode(&**frame, MAX_FRAME).map_or(MAX_FRAME, |bytes| bytes.len()) as u64;
            self.carry(now, conn, bytes);
        }
        self.last = self.last.max(self.free_at.max(now) + self.quality.delay + jitter);
        self.queue.push_back((self.last, conn, what));
    }

    /// Sends so many bytes, of which only is heard that they come.
    pub(crate) fn carry(&mut self, now: Duration, conn: u64, bytes: u64) {
        let Some(rate) = self.quality.rate else { return };
        let mut left = bytes;
        while left > 0 {
            let part = left.min(SEGMENT);
            left -= part;
            self.free_at = self.free_at.max(now) + Duration::from_micros(part * 1_000_000 / rate.max(1));
            self.last = self.last.max(self.free_at + self.quality.delay);
            self.queue.push_back((self.last, conn, Arrival::Part));
        }
    }

    /// When the next thing arrives.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.queue.front().map(|(at, ..)| (*at).max(self.cut_until))
    }

    pub(crate) fn take(&mut self) -> Option<(u64, Arrival)> {
        self.queue.pop_front().map(|(_, conn, what)| (conn, what))
    }

    /// The side that receives has closed `conn`, and the side that sends has heard of it: what it has not yet sent of that is sent
    /// no more, and what is behind it comes so much sooner.
    pub(crate) fn forget(&mut self, now: Duration, conn: u64) {
        self.queue.retain(|(_, of, _)| *of != conn);
        let earliest = now + self.quality.delay;
        let sooner = match self.queue.front() {
            Some((first, ..)) => first.saturating_sub(earliest),
            None => self.free_at.saturating_sub(now),
        };
        self.queue.iter_mut().for_each(|(at, ..)| *at -= sooner);
        self.free_at = self.free_at.saturating_sub(sooner).max(now);
        self.last = self.queue.back().map_or(earliest, |(at, ..)| *at);
    }

    /// A process that dies takes what it had not yet put on the wire with it.
    pub(crate) fn lose(&mut self) {
        self.queue.clear();
        self.free_at = Duration::ZERO;
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}
