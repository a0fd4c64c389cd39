//! Whether commands wait for the sibling: *dual* while it keeps up, *solo* else.
//!
//! Dual is entered only when the sibling lacks nothing, and after it has kept up for a while that
//! doubles with every loss: a link that flaps costs no command any time. Pure; time is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::store::Versions;

/// How long the sibling has to keep up after the first loss.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest that this grows to.
const MAX_WAIT: Duration = Duration::from_secs(64);
/// After so long in dual, losses are forgotten.
const FORGIVEN: Duration = Duration::from_secs(60);
/// A commit that has waited for longer is not "keeping up".
const KEEPING_UP: Duration = Duration::from_millis(500);

/// What is known of how the sibling keeps up.
#[derive(Debug, Default)]
pub(super) struct ModeHysteresis {
    /// Whether there is a stream.
    begun: bool,
    /// What it lacked when the stream began, until it has it.
    base: Option<(Instant, Versions)>,
    /// Later events of this run that it has not acknowledged, and since when.
    owed: VecDeque<(Instant, u64)>,
    /// Since when it keeps up.
    since: Option<Instant>,
    dual: Option<Instant>,
    losses: u32,
}

impl ModeHysteresis {
    pub(super) const fn is_dual(&self) -> bool {
        self.dual.is_some()
    }

    /// A stream begins, to a sibling that has `theirs` while we have `ours`.
    pub(super) fn begin(&mut self, now: Instant, ours: Versions, theirs: &Versions) {
        self.begun = true;
        self.owed.clear();
        self.base = Some((now, ours));
        self.since = None;
        self.settle(now, theirs);
    }

    /// The stream is gone.
    pub(super) fn lost(&mut self, now: Instant) {
        if let Some(since) = self.dual {
            let forgiven = now.saturating_duration_since(since) >= FORGIVEN;
            self.losses = if forgiven { 1 } else { self.losses.saturating_add(1) };
        }
        *self = Self { losses: self.losses, ..Self::default() };
    }

    /// The sibling has not kept up, and the stream goes on: dual again when it has `ours`.
    pub(super) fn fell_behind(&mut self, now: Instant, ours: Versions) {
        let owed = std::mem::take(&mut self.owed);
        self.lost(now);
        *self = Self { begun: true, base: Some((now, ours)), owed, ..std::mem::take(self) };
    }

    /// Event `own` of this run is on disk here.
    pub(super) fn owes(&mut self, now: Instant, own: u64) {
        if self.begun {
            self.owed.push_back((now, own));
        }
    }

    /// The sibling has event `own` of this run, and in all `theirs`.
    pub(super) fn acked(&mut self, now: Instant, own: u64, theirs: &Versions) {
        while self.owed.front().is_some_and(|(_, seq)| *seq <= own) {
            self.owed.pop_front();
        }
        self.settle(now, theirs);
    }

    fn settle(&mut self, now: Instant, theirs: &Versions) {
        let covered = |base: &Versions| base.iter().all(|(o, seq)| theirs.get(o).is_some_and(|have| have >= seq));
        if self.base.as_ref().is_some_and(|(_, base)| covered(base)) {
            self.base = None;
        }
        if self.begun && self.base.is_none() && self.since.is_none() && self.fresh(now) {
            self.since = Some(now);
        }
    }

    fn fresh(&self, now: Instant) -> bool {
        self.owed.front().is_none_or(|(since, _)| now.saturating_duration_since(*since) < KEEPING_UP)
    }

    fn needed(&self) -> Duration {
        match self.losses {
            0 => Duration::ZERO,
            n => FIRST_WAIT.saturating_mul(1 << (n - 1).min(16)).min(MAX_WAIT),
        }
    }

    /// Moves to dual when the time has come, unless `refused`.
    pub(super) fn advance(&mut self, now: Instant, refused: bool) {
        if refused {
            self.dual = None;
            return;
        }
        if self.dual.is_none() && !self.fresh(now) {
            self.since = None;
        }
        if self.dual.is_none() && self.since.is_some_and(|since| now.saturating_duration_since(since) >= self.needed())
        {
            self.dual = Some(now);
            // Whoever waits from now on waits no longer than everybody.
            self.owed.iter_mut().for_each(|(since, _)| *since = (*since).max(now));
        }
    }

    /// Whether commands have waited for longer than `patience`.
    pub(super) fn overdue(&self, now: Instant, patience: Duration) -> bool {
        self.dual.is_some()
            && self.owed.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= patience)
    }

    /// When to look again.
    pub(super) fn wake(&self, patience: Duration) -> Option<Instant> {
        match self.dual {
            Some(_) => self.owed.front().map(|(since, _)| *since + patience),
            None => self.since.map(|since| since + self.needed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::id::OriginId;

    use super::*;

    fn all(seq: u64) -> Versions {
        Versions::from([(OriginId::new([1; 16]), seq)])
    }

    #[test]
    fn the_first_time_level_is_enough() {
        let (t, mut s) = (Instant::now(), ModeHysteresis::default());
        s.begin(t, all(5), &all(4));
        s.advance(t, false);
        assert!(!s.is_dual());
        s.acked(t, 5, &all(5));
        s.advance(t, false);
        assert!(s.is_dual());
    }

    #[test]
    fn after_a_loss_it_takes_longer_and_longer() {
        let (mut t, mut s) = (Instant::now(), ModeHysteresis::default());
        for needed in [0, 2, 4, 8, 16, 32, 64, 64] {
            s.begin(t, all(1), &all(1));
            let needed = Duration::from_secs(needed);
            if needed > Duration::ZERO {
                s.advance(t + needed - Duration::from_millis(1), false);
                assert!(!s.is_dual(), "{needed:?}");
            }
            t += needed;
            s.advance(t, false);
            assert!(s.is_dual(), "{needed:?}");
            s.lost(t);
            assert!(!s.is_dual());
        }
        s.begin(t, all(1), &all(1));
        t += MAX_WAIT;
        s.advance(t, false);
        assert!(s.is_dual());
        s.lost(t + FORGIVEN);
        s.begin(t, all(1), &all(1));
        s.advance(t + FIRST_WAIT, false);
        assert!(s.is_dual(), "forgiven");
    }

    #[test]
    fn who_waits_is_released_in_time() {
        let (t, mut s) = (Instant::now(), ModeHysteresis::default());
        s.begin(t, all(1), &all(1));
        s.advance(t, false);
        s.owes(t, 2);
        let patience = Duration::from_secs(1);
        assert_eq!(s.wake(patience), Some(t + patience));
        assert!(!s.overdue(t + patience / 2, patience));
        assert!(s.overdue(t + patience, patience));
        s.acked(t, 2, &all(2));
        assert!(!s.overdue(t + patience, patience));
    }

    #[test]
    fn a_refused_run_stays_solo() {
        let (t, mut s) = (Instant::now(), ModeHysteresis::default());
        s.begin(t, all(1), &all(1));
        s.advance(t, true);
        assert!(!s.is_dual());
    }
}
