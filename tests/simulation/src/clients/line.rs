//! The line between a client and a tracker: a delay, a rate, and times in which nothing passes. In order, as TCP.

use std::collections::VecDeque;
use std::time::Duration;

/// One direction.
#[derive(Debug)]
pub(super) struct Line<T> {
    pub(super) delay: Duration,
    /// Bytes per second.
    pub(super) rate: u64,
    /// Nothing gets through until then; what was sent meanwhile is sent again.
    pub(super) cut_until: Duration,
    /// When the last byte has left.
    busy_until: Duration,
    queue: VecDeque<(Duration, u64, T)>,
}

impl<T> Line<T> {
    pub(super) const fn new(delay: Duration, rate: u64) -> Self {
        Self { delay, rate, cut_until: Duration::ZERO, busy_until: Duration::ZERO, queue: VecDeque::new() }
    }

    /// Sends something of so many bytes on connection `conn`.
    pub(super) fn send(&mut self, now: Duration, conn: u64, bytes: usize, what: T) {
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        self.busy_until = self.busy_until.max(now) + takes;
        self.queue.push_back((self.busy_until + self.delay, conn, what));
    }

    /// When the next thing arrives.
    pub(super) fn next(&self) -> Option<Duration> {
        self.queue.front().map(|(at, ..)| (*at).max(self.cut_until))
    }

    /// What arrives by `now`.
    pub(super) fn take(&mut self, now: Duration) -> Option<(u64, T)> {
        self.next().filter(|at| *at <= now)?;
        self.queue.pop_front().map(|(_, conn, what)| (conn, what))
    }

    /// Whoever sends has died, and what had not left with it.
    pub(super) fn lose(&mut self, now: Duration) {
        self.queue.clear();
        self.busy_until = now;
    }
}
