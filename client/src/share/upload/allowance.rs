//! How many signatures one leecher may have us check: each costs as much as serving many blocks.

use std::time::Duration;

use common::ticket::{Signed, Ticket};
use common::wire::limits::{RENEW_BURST, RENEW_SECONDS, REVOKED_BURST, REVOKED_PER_SECOND};
use tokio::time::Instant;

/// So many at once, and then one per interval (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug)]
struct Allowance {
    every: Duration,
    burst: u32,
    /// When all that was taken has been paid for.
    paid: Instant,
}

impl Allowance {
    fn new(burst: u32, every: Duration) -> Self {
        Self { every, burst, paid: Instant::now() }
    }

    fn take(&mut self, now: Instant) -> bool {
        let paid = self.paid.max(now) + self.every;
        let fits = paid.duration_since(now) <= self.every * self.burst;
        if fits {
            self.paid = paid;
        }
        fits
    }
}

/// What one leecher may show us yet on one connection, whatever files it asks for there.
#[derive(Debug)]
pub(super) struct Statements {
    renewals: Allowance,
    revocations: Allowance,
    /// The ticket it showed last.
    shown: Option<Signed<Ticket>>,
}

impl Statements {
    /// For one who has shown nothing.
    pub(super) fn new() -> Self {
        Self {
            renewals: Allowance::new(RENEW_BURST, Duration::from_secs(RENEW_SECONDS.into())),
            revocations: Allowance::new(REVOKED_BURST, Duration::from_secs(1) / REVOKED_PER_SECOND),
            shown: None,
        }
    }

    /// It has greeted us with `ticket`.
    pub(super) fn greeted(&mut self, ticket: &Signed<Ticket>) {
        self.shown = Some(ticket.clone());
    }

    /// Whether a renewal is worth looking at; `None` if it is one too many.
    pub(super) fn renewal(&mut self, ticket: &Signed<Ticket>, now: Instant) -> Option<bool> {
        if self.shown.as_ref() == Some(ticket) {
            return Some(false);
        }
        self.shown = Some(ticket.clone());
        self.renewals.take(now).then_some(true)
    }

    /// Whether one more revocation that is news may be looked at.
    pub(super) fn revocation(&mut self, now: Instant) -> bool {
        self.revocations.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut allowance = Allowance::new(4, Duration::from_secs(10));
        let begun = Instant::now() + Duration::from_secs(1);
        let mut at = |s| allowance.take(begun + Duration::from_secs(s));
        assert_eq!([at(0), at(0), at(0), at(0), at(0)], [true, true, true, true, false]);
        assert_eq!([at(9), at(10), at(10), at(20), at(25)], [false, true, false, true, false]);
        assert_eq!([at(1000), at(1000), at(1000), at(1000), at(1000)], [true, true, true, true, false]);
    }
}
