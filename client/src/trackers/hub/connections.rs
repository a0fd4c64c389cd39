//! Connections that come, go and fall silent; which of them is the current one.

use std::time::Duration;

use common::address::HostPort;
use common::task::TaskGroup;
use common::ticket::now as unix_now;
use common::wire::client::{Call, Request, Welcome};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Binding, Hub, Up, answer};
use crate::error::Error;
use crate::trackers::Notice;
use crate::trackers::calls::Purpose;
use crate::trackers::link::DialError;
use crate::trackers::trust::Learnt;

/// How often a tracker hears from us.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// Silence after which a tracker that owes an answer is asked whether it is there.
const DOUBT: Duration = Duration::from_secs(2);
/// Silence after which it is given up.
const GIVEN_UP: Duration = Duration::from_secs(4);
/// How long calls wait for a tracker to come back before they fail.
const GRACE: Duration = Duration::from_secs(3);
/// A difference between two clocks that people should know of.
const CLOCK_OFF: u64 = 30;

impl Hub {
    pub(super) fn on_up(
        &mut self,
        now: Instant,
        index: usize,
        outbox: mpsc::Sender<Call>,
        tasks: TaskGroup,
        welcome: &Welcome,
        learnt: Learnt,
    ) {
        if let Learnt::FirstContact(pin) = learnt {
            self.notify(Notice::FirstContact(pin));
        }
        self.shared.clock.measured(index, welcome.now);
        let off = welcome.now.abs_diff(unix_now());
        if off > CLOCK_OFF && !self.met {
            self.notify(Notice::ClockOff(off));
        }
        let Some(slot) = self.slots.get_mut(index) else { return };
        let binding = Binding::Unbound;
        slot.up = Some(Up { outbox, tasks, binding, silent_since: None, doubted: false, last_life: Some(now) });
        slot.failed = None;
        self.resume(now, index);
        self.choose(now, None);
        self.show_up(index, true);
        self.flush(now);
    }

    pub(super) fn on_down(&mut self, now: Instant, index: usize, reason: &str) {
        let Some(up) = self.slots.get_mut(index).and_then(|slot| slot.up.take()) else { return };
        up.tasks.cancel();
        self.calls.release(index);
        self.behind.remove(&index);
        self.again = self.again.filter(|i| *i != index);
        self.show_up(index, false);
        if self.current == Some(index) {
            self.current = None;
            self.choose(now, Some((index, reason)));
        }
        self.flush(now);
    }

    pub(super) fn on_failed(&mut self, now: Instant, index: usize, error: DialError) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        tracing::debug!(tracker = index + 1, ?error, "not reached");
        let before = slot.failed.replace((now, error.clone()));
        if let DialError::Unusable(error) = error
            && !matches!(before, Some((_, DialError::Unusable(_))))
        {
            self.notify(Notice::Unusable(error));
        }
        self.show_up(index, false);
        if let Some(next) = self.slots.get(index + 1).filter(|s| s.up.is_none() && s.failed.is_none()) {
            next.wake.notify_one(); // Its head start is over.
        }
        self.fail_stranded(now);
    }

    /// Makes the first connection of the list the current one, if there is none. `lost` is the one
    /// that was current before, with the reason why it no longer is.
    pub(super) fn choose(&mut self, now: Instant, lost: Option<(usize, &str)>) {
        if self.current.is_some() {
            return;
        }
        let address = |index: usize| self.shared.addresses.get(index).cloned();
        let lost = lost.and_then(|(index, reason)| Some((address(index)?, reason)));
        let there = |i: &usize| self.slots.get(*i).is_some_and(|s| s.up.is_some());
        let level = (0..self.slots.len()).find(|i| there(i) && !self.behind.contains(i));
        self.current = level.or_else(|| (0..self.slots.len()).find(there));
        let chosen = self.current.and_then(&address);
        let notice = match (chosen, lost) {
            (Some(to), Some((from, _))) => Some(Notice::Switched { from, to }),
            (Some(to), None) => Some(Notice::Connected(to)),
            (None, Some((address, reason))) => Some(Notice::Lost { address, reason: reason.to_owned() }),
            (None, None) => None,
        };
        self.lost_since = if self.current.is_some() { None } else { self.lost_since.or(Some(now)) };
        self.met |= self.current.is_some();
        let current = self.current;
        self.shared.view.send_modify(|v| {
            v.connection += u64::from(current.is_some());
            v.current = current;
        });
        notice.into_iter().for_each(|n| self.notify(n));
        if let Some(index) = self.current {
            match self.binding(index) {
                Some(Binding::Refused) => self.resume(now, index), // It may have caught up since.
                Some(Binding::Bound) => self.show_session(self.session.as_ref().map(|s| s.who.clone())),
                _ => {}
            }
        }
    }

    /// Somebody waits and there is no connection: the keepers are not to wait any longer.
    pub(super) fn seek(&self) {
        if self.current.is_none() && self.calls.any_waiting() {
            self.slots.iter().filter(|s| s.failed.is_some()).for_each(|s| s.wake.notify_one());
        }
    }

    /// Gives up calls that every tracker has failed since they were made.
    pub(super) fn fail_stranded(&mut self, now: Instant) {
        let grace_over = self.lost_since.is_some_and(|since| now >= since + GRACE);
        let failures = self.slots.iter().map(|s| s.failed.as_ref().filter(|_| s.up.is_none()));
        let Some(failures) = failures.collect::<Option<Vec<_>>>() else { return };
        let Some(since) = failures.iter().map(|(at, _)| *at).min() else { return };
        let error = why_none(failures.iter().map(|(_, e)| e), &self.shared.addresses);
        if self.met && !grace_over && matches!(error, Error::TrackersUnreachable(_)) {
            return;
        }
        for call in self.calls.stranded(since) {
            answer(call.purpose, Err(error.clone()));
        }
    }

    pub(super) fn on_tick(&mut self, now: Instant) {
        for index in 0..self.slots.len() {
            self.watch_over(now, index);
        }
        for call in self.calls.expired(now) {
            let text = "the tracker did not answer in time; the command may have been carried out all the same";
            answer(call.purpose, Err(Error::Timeout(text.to_owned())));
        }
        self.fail_stranded(now);
        self.seek();
        self.flush(now);
    }

    pub(super) fn watch_over(&mut self, now: Instant, index: usize) {
        let owes = self.calls.any_on(index);
        let Some(up) = self.slots.get_mut(index).and_then(|slot| slot.up.as_mut()) else { return };
        if !owes {
            up.silent_since = None;
        }
        let silence = up.silent_since.map_or(Duration::ZERO, |since| now.duration_since(since));
        let life_due = up.last_life.is_none_or(|at| now >= at + SIGN_OF_LIFE);
        if silence >= GIVEN_UP {
            self.on_down(now, index, "it does not answer");
        } else if silence >= DOUBT && !up.doubted {
            up.doubted = true;
            self.send_own(now, index, Request::Status, Purpose::Life);
        } else if let Binding::Resuming(Some(at)) = up.binding
            && now >= at
        {
            self.resume(now, index);
        } else if life_due {
            self.give_life(now, index);
        }
    }

    pub(super) fn announce_now(&mut self) {
        let now = Instant::now();
        (0..self.slots.len()).for_each(|index| self.give_life(now, index));
    }

    /// Announces this device, or at least keeps the connection from looking idle.
    pub(super) fn give_life(&mut self, now: Instant, index: usize) {
        let listen = *self.shared.listen.borrow();
        let Some(up) = self.slots.get_mut(index).and_then(|slot| slot.up.as_mut()) else { return };
        up.last_life = Some(now);
        let request = match listen.filter(|_| up.binding == Binding::Bound) {
            Some(listen) => Request::Announce { listen, serial: self.shared.serial.next() },
            None => Request::Status,
        };
        self.send_own(now, index, request, Purpose::Life);
    }
}

/// Why there is no tracker to ask: one that answers and may not be used is worth more words than
/// those that do not answer.
fn why_none<'a>(failures: impl Iterator<Item = &'a DialError>, addresses: &[HostPort]) -> Error {
    let mut reasons = Vec::new();
    for (failure, address) in failures.zip(addresses) {
        match failure {
            DialError::Unusable(error) => return error.clone(),
            DialError::Unreachable(reason) => reasons.push(format!("{address}: {reason}")),
        }
    }
    Error::TrackersUnreachable(reasons.join("; "))
}
