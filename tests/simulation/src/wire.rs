//! The connection between the two: in order, with delays; cut in one direction or both; half-open.

use std::collections::VecDeque;
use std::time::Duration;

use common::wire::sync::SyncFrame;

/// What arrives.
#[derive(Debug, Clone)]
pub(crate) enum Arrival {
    Frame(Box<SyncFrame>),
    /// The other side has closed.
    Closed,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    queue: VecDeque<(Duration, u64, Arrival)>,
    /// Nothing gets through until then.
    pub(crate) cut_until: Duration,
    last: Duration,
}

impl Wire {
    /// Sends on connection `conn`, to arrive after `delay`, but not before what was sent earlier.
    pub(crate) fn send(&mut self, now: Duration, delay: Duration, conn: u64, what: Arrival) {
        self.last = self.last.max(now + delay);
        self.queue.push_back((self.last, conn, what));
    }

    /// When the next thing arrives.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.queue.front().map(|(at, ..)| (*at).max(self.cut_until))
    }

    pub(crate) fn take(&mut self) -> Option<(u64, Arrival)> {
        self.queue.pop_front().map(|(_, conn, what)| (conn, what))
    }

    /// A process that dies takes what it had not yet put on the wire with it.
    pub(crate) fn lose(&mut self) {
        self.queue.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}
