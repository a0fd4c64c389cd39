//! Ends that this tracker has heard of from the other one in the last minutes. They may have been decided long
//! before, while this one went on giving tickets, so that a device that comes back is told of them by when they were
//! heard. Those that were decided here are found in the database by their time.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::ticket::{CLOCK_TOLERANCE, Revocation, TICKET_LIFE};

/// How long an end matters: tickets from before it have run out by then.
const MATTERS: Duration = TICKET_LIFE.saturating_add(CLOCK_TOLERANCE);
/// Ends that are kept at most; the oldest go first.
const MAX_REVOCATIONS: usize = 4096;

/// The ends, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct RecentRevocations(Mutex<VecDeque<(Instant, Revocation)>>);

impl RecentRevocations {
    /// Takes note of what was heard at `now`.
    pub(super) fn note(&self, end: Revocation, now: Instant) {
        let mut ends = self.lock();
        if ends.len() >= MAX_REVOCATIONS {
            ends.pop_front();
        }
        ends.push_back((now, end));
    }

    /// What was heard recently enough to matter at `now`.
    pub(super) fn recent(&self, now: Instant) -> Vec<Revocation> {
        let mut ends = self.lock();
        while ends.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > MATTERS) {
            ends.pop_front();
        }
        ends.iter().map(|(_, end)| end.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Revocation)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use common::id::SessionId;
    use common::ticket::Revoked;

    use super::*;

    #[test]
    fn ends_are_kept_while_they_matter() {
        let (kept, begin) = (RecentRevocations::default(), Instant::now());
        let end = |n: u16| Revocation { what: Revoked::Session(SessionId::new([n as u8; 16])), at: 0 };
        kept.note(end(1), begin);
        kept.note(end(2), begin + MATTERS / 2);
        assert_eq!(kept.recent(begin + MATTERS), [end(1), end(2)]);
        assert_eq!(kept.recent(begin + MATTERS + Duration::from_millis(1)), [end(2)]);
        (0..5000).for_each(|n| kept.note(end(n), begin + MATTERS));
        assert_eq!(kept.recent(begin + MATTERS).len(), MAX_REVOCATIONS);
    }
}
