//! Connections that come, go and fall silent; which of them is the current one; what is due when.
//!
//! A tracker that owes an answer and is silent is asked for a sign of life, which every tracker gives at once. Without one,
//! another tracker is asked, and the connection stays: it may be that only the line is slow. It is closed later.

use std::time::{Duration, Instant};

use common::wire::client::{REVISION, Request};

use super::{AGAIN, Binding, DialError, Effect, Machine, Tell, Up};
use crate::error::Error;
use crate::trackers::calls::Purpose;

/// How often a tracker hears from us.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// Silence after which a tracker that owes an answer is asked whether it is there.
const DOUBT: Duration = Duration::from_millis(300);
/// Silence after which another tracker is asked. With the second for which that one may wait for a sibling that has stopped,
/// and the two for what it lacks, a command takes at most 3 s.
const LEFT: Duration = Duration::from_millis(900);
/// Silence after which it is given up.
const GIVEN_UP: Duration = Duration::from_secs(4);
/// What a line is expected to carry at least, where much is on its way; bytes per second.
const SLOWEST_LINE: usize = 64 << 10;
/// How long calls wait for a tracker to come back before they fail.
const GRACE: Duration = Duration::from_secs(3);
/// How often trackers that cannot be reached are dialled while somebody waits.
const SEEK: Duration = Duration::from_millis(250);
/// How long a tracker that does not know the account may take to learn of it while somebody waits.
const LEARNS_WITHIN: Duration = Duration::from_secs(1);
/// The revision since which trackers ask what their clients know.
const KNOWS_WHO_ANNOUNCES: u8 = 3;
/// How long a refusal for want of room counts.
const FULL_FOR: Duration = Duration::from_secs(60);

impl Up {
    const fn new(now: Instant, revision: u8) -> Self {
        Self {
            revision,
            binding: Binding::Unbound,
            lacking: None,
            own: std::collections::VecDeque::new(),
            owed_since: None,
            slow: false,
            round_trip: Duration::MAX,
            last_life: now,
        }
    }

    fn round_trips(&self, many: u32) -> Duration {
        if self.round_trip == Duration::MAX { Duration::ZERO } else { self.round_trip.saturating_mul(many) }
    }
}

impl Machine {
    pub(super) fn on_up(&mut self, now: Instant, index: usize, revision: u8) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.up = Some(Up::new(now, revision));
        slot.failed = None;
        slot.known = Some(true);
        self.resume(now, index);
        self.choose(now, None);
    }

    pub(super) fn on_down(&mut self, now: Instant, index: usize, reason: &str) {
        let Some(up) = self.slots.get_mut(index).and_then(|slot| slot.up.take()) else { return };
        up.own.into_iter().for_each(|number| self.calls.cancel(number));
        self.calls.release(index);
        self.behind.remove(&index);
        self.again = self.again.filter(|i| *i != index);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.known = Some(false);
        }
        if self.current == Some(index) {
            self.current = None;
            self.choose(now, Some((index, reason)));
        }
    }

    pub(super) fn on_failed(&mut self, now: Instant, index: usize, error: DialError) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        tracing::debug!(tracker = index + 1, ?error, "not reached");
        let before = slot.failed.replace((now, error.clone()));
        slot.known = Some(false);
        if let DialError::Unusable(error) = error
            && !matches!(before, Some((_, DialError::Unusable(_))))
        {
            self.tell(Tell::Unusable(error));
        }
        if self.slots.get(index + 1).is_some_and(|s| s.up.is_none() && s.failed.is_none()) {
            self.effects.push_back(Effect::Redial(index + 1)); // Its head start is over.
        }
        self.fail_stranded(now);
    }

    /// Ends a connection from this side.
    pub(super) fn close(&mut self, now: Instant, index: usize, reason: &str) {
        if self.up(index).is_some() {
            self.effects.push_back(Effect::Close(index));
            self.on_down(now, index, reason);
        }
    }

    /// Makes the best connection the current one, if there is none. `lost` is the one that was current before, with the
    /// reason why it no longer is.
    pub(super) fn choose(&mut self, now: Instant, lost: Option<(usize, &str)>) {
        if self.current.is_some() {
            return;
        }
        let there = (0..self.slots.len()).filter(|i| self.up(*i).is_some());
        self.current = there.min_by_key(|i| self.rank(now, *i));
        match (self.current, lost) {
            (Some(to), Some((from, reason))) => self.tell(Tell::Switched { from, to, reason: reason.to_owned() }),
            (Some(to), None) => self.tell(Tell::Connected(to)),
            (None, Some((tracker, reason))) => self.tell(Tell::Lost { tracker, reason: reason.to_owned() }),
            (None, None) => {}
        }
        self.lost_since = if self.current.is_some() { None } else { self.lost_since.or(Some(now)) };
        self.met |= self.current.is_some();
        self.mode = None;
        let Some(index) = self.current else { return };
        self.connection += 1;
        self.go_back_if_behind(now, index);
        match self.binding(index) {
            Some(Binding::Refused) => self.resume(now, index), // It may have caught up since.
            Some(Binding::Bound) => self.show(self.session.as_ref().map(|s| s.who.clone())),
            _ => {}
        }
    }

    /// What makes one connection worse than another: the lowest is chosen, of equal ones the first of the list.
    fn rank(&self, now: Instant, index: usize) -> (bool, bool, bool, bool) {
        let slow = self.up(index).is_some_and(|up| up.slow);
        (slow, !self.is_fit(index), self.is_behind(now, index), self.is_full(now, index))
    }

    /// Whether calls could go out on this connection at once.
    pub(super) fn is_fit(&self, index: usize) -> bool {
        match self.binding(index) {
            Some(Binding::Bound) => true,
            Some(Binding::Unbound) => self.session.is_none(),
            _ => false,
        }
    }

    pub(super) fn is_full(&self, now: Instant, index: usize) -> bool {
        self.slots.get(index).and_then(|slot| slot.full_at).is_some_and(|at| now < at + FULL_FOR)
    }

    /// Another connection that could take the calls of `index` over at once.
    pub(super) fn instead_of(&self, now: Instant, index: usize) -> Option<usize> {
        let fit = |i: &usize| {
            let awake = self.up(*i).is_some_and(|up| !up.slow);
            *i != index && awake && self.is_fit(*i)
        };
        (0..self.slots.len()).filter(fit).min_by_key(|i| self.rank(now, *i))
    }

    /// Whether it is not known yet what becomes of a connection besides `index`.
    pub(super) fn another_may_come(&self, index: usize) -> bool {
        let open = |slot: &super::Slot| match &slot.up {
            Some(up) => matches!(up.binding, Binding::Resuming(None)),
            None => slot.failed.is_none(),
        };
        self.slots.iter().enumerate().any(|(i, slot)| i != index && open(slot))
    }

    /// Goes on at another connection; this one stays.
    pub(super) fn leave(&mut self, now: Instant, index: usize, reason: &str) {
        self.calls.leave(index);
        self.again = self.again.filter(|i| *i != index);
        if self.current == Some(index) {
            self.current = None;
            self.choose(now, Some((index, reason)));
        }
    }

    /// Leaves a current connection that is slow as soon as there is another.
    pub(super) fn reconsider(&mut self, now: Instant) {
        if let Some(index) = self.current
            && self.up(index).is_some_and(|up| up.slow)
            && self.instead_of(now, index).is_some()
        {
            self.leave(now, index, "it does not answer");
        }
    }

    /// Somebody waits and there is no connection: those that cannot be reached are dialled out of turn.
    pub(super) fn seek(&mut self, now: Instant) {
        if !self.is_seeking() || self.seek_at.is_some_and(|at| now < at) {
            return;
        }
        self.seek_at = Some(now + SEEK);
        for (index, _) in self.slots.iter().enumerate().filter(|(_, slot)| slot.failed.is_some()) {
            self.effects.push_back(Effect::Redial(index));
        }
    }

    fn is_seeking(&self) -> bool {
        self.current.is_none() && self.calls.any_waiting() && self.slots.iter().any(|slot| slot.failed.is_some())
    }

    /// Gives up calls that every tracker has failed since they were made.
    pub(super) fn fail_stranded(&mut self, now: Instant) {
        let grace_over = self.lost_since.is_some_and(|since| now >= since + GRACE);
        let failures = self.slots.iter().map(|s| s.failed.as_ref().filter(|_| s.up.is_none()));
        let Some(failures) = failures.collect::<Option<Vec<_>>>() else { return };
        let Some(since) = failures.iter().map(|(at, _)| *at).min() else { return };
        let error = why_none(failures.iter().map(|(_, e)| e), &self.names);
        if self.met && !grace_over && matches!(error, Error::TrackersUnreachable(_)) {
            return;
        }
        for call in self.calls.stranded(since) {
            let doubtful = call.may_have_been_carried_out();
            self.answer(call.number, Err(if doubtful { error.clone().in_doubt() } else { error.clone() }));
        }
    }

    /// The tracker in use does not know the account, and there is no other: whoever waits for it is told.
    pub(super) fn refuse_unknown(&mut self, now: Instant) {
        let Some(index) = self.current else { return };
        let lacking = self.up(index).and_then(|up| up.lacking);
        if lacking.is_some_and(|(since, _)| now >= since + LEARNS_WITHIN) {
            let name = self.names.get(index).cloned().unwrap_or_default();
            for call in self.calls.needing_login() {
                self.answer(call.number, Err(Error::AccountUnknown(name.clone())));
            }
        }
    }

    /// Somebody waits for a tracker that does not know the account yet: it is asked again soon.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let Some(up) = self.current.and_then(|index| self.up_mut(index))
            && let Binding::Resuming(Some(at)) = up.binding
        {
            up.binding = Binding::Resuming(Some(at.min(now + AGAIN)));
        }
    }

    /// The time has come that [`Self::poll_timeout`] named.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.woken = Some(now);
        for index in 0..self.slots.len() {
            self.watch_over(now, index);
        }
        for call in self.calls.expired(now) {
            if call.purpose.is_awaited() {
                self.answer(call.number, Err(late(call.may_have_been_carried_out())));
            }
        }
        for slot in &mut self.slots {
            slot.full_at = slot.full_at.filter(|at| now < *at + FULL_FOR);
        }
        self.fail_stranded(now);
        self.settle(now);
    }

    fn watch_over(&mut self, now: Instant, index: usize) {
        let (owes, bulk) = (self.calls.any_on(index), self.bulk(index));
        let probed = self.calls.any_life_on(index);
        let Some(up) = self.up_mut(index) else { return };
        if !owes {
            up.owed_since = None;
        }
        let silence = up.owed_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if silence >= GIVEN_UP + up.round_trips(3) + bulk {
            return self.close(now, index, "it does not answer");
        }
        up.slow |= silence >= LEFT + up.round_trips(3) + bulk;
        if let Binding::Resuming(Some(at)) = up.binding
            && now >= at
        {
            self.resume(now, index);
        } else if now >= up.last_life + SIGN_OF_LIFE {
            if up.binding == Binding::Refused && self.current_is_bound() {
                self.resume(now, index); // It may have heard of the login since.
            }
            self.give_life(now, index);
        } else if silence >= DOUBT + up.round_trips(2) && !probed {
            self.ask_own(now, index, Request::Status, Purpose::Life);
        }
    }

    fn current_is_bound(&self) -> bool {
        self.current.and_then(|index| self.binding(index)) == Some(Binding::Bound)
    }

    /// What bytes on their way excuse.
    fn bulk(&self, index: usize) -> Duration {
        Duration::from_secs_f64(self.calls.bulk_on(index) as f64 / SLOWEST_LINE as f64)
    }

    /// Announces this device, or at least keeps the connection from looking idle.
    pub(super) fn give_life(&mut self, now: Instant, index: usize) {
        let listen = self.listen;
        let Some(up) = self.up_mut(index) else { return };
        up.last_life = now;
        let revision = up.revision;
        let request = match listen.filter(|_| up.binding == Binding::Bound) {
            Some(listen) => {
                self.serial += 1;
                let serial = self.serial;
                if revision < KNOWS_WHO_ANNOUNCES {
                    Request::Announce { listen, serial }
                } else {
                    Request::AnnounceAs { listen, serial, revision: REVISION }
                }
            }
            None => Request::Status,
        };
        self.ask_own(now, index, request, Purpose::Life);
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connections = (0..self.slots.len()).filter_map(|index| self.connection_timeouts(index));
        let waiting = self.calls.any_waiting();
        let grace = self.lost_since.filter(|_| waiting).map(|since| since + GRACE);
        let seek = self.seek_at.filter(|_| self.is_seeking());
        let lacking = self.current.and_then(|index| self.up(index)).and_then(|up| up.lacking);
        let lacking = lacking.filter(|_| waiting).map(|(since, _)| since + LEARNS_WITHIN);
        let full = self.slots.iter().filter_map(|slot| slot.full_at).min().map(|at| at + FULL_FOR);
        let due = self.current.and_then(|_| self.calls.next_due());
        let others = [grace, seek, lacking, full, due, self.calls.next_expiry()].into_iter().flatten();
        // What was due at the last wake-up is done, or waits for something else than time.
        let woken = self.woken;
        connections.flatten().chain(others).filter(|at| woken.is_none_or(|woken| *at > woken)).min()
    }

    fn connection_timeouts(&self, index: usize) -> Option<impl Iterator<Item = Instant>> {
        let up = self.up(index)?;
        let life = up.last_life + SIGN_OF_LIFE;
        let resume = match up.binding {
            Binding::Resuming(at) => at,
            _ => None,
        };
        let since = up.owed_since.filter(|_| self.calls.any_on(index));
        let bulk = self.bulk(index);
        let [doubt, left, given_up] =
            [DOUBT + up.round_trips(2), LEFT + up.round_trips(3) + bulk, GIVEN_UP + up.round_trips(3) + bulk]
                .map(|silence| since.map(|since| since + silence));
        Some([Some(life), resume, doubt, left, given_up].into_iter().flatten())
    }
}

/// The error for a call whose time is up.
fn late(may_have_been_carried_out: bool) -> Error {
    if may_have_been_carried_out {
        return Error::Timeout("the tracker did not answer in time".to_owned()).in_doubt();
    }
    Error::Timeout("the tracker did not answer in time, and nothing has been changed; try again in a moment".to_owned())
}

/// Why there is no tracker to ask: one that answers and may not be used is worth more words than
/// those that do not answer.
fn why_none<'a>(failures: impl Iterator<Item = &'a DialError>, names: &[String]) -> Error {
    let mut reasons = Vec::new();
    for (failure, name) in failures.zip(names) {
        match failure {
            DialError::Unusable(error) => return error.clone(),
            DialError::Unreachable(reason) => reasons.push(format!("{name}: {reason}")),
        }
    }
    Error::TrackersUnreachable(reasons.join("; "))
}
