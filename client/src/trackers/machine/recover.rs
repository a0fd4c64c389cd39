//! A tracker that lacks what this client has seen: another is asked, and if there is none, this one is told of our
//! own commands, and we go on from what it has.
//!
//! Without that, whoever was acknowledged by one tracker alone, or was shown what only it had, could do nothing at
//! the other until the first was back. What others did there and we have seen is not shown until then.

use std::time::{Duration, Instant};

use common::wire::client::{Mode, Reply};
use common::wire::refusal::Refusal;
use common::wire::sync::VersionVector;

use super::{Binding, Machine, Tell};
use crate::trackers::calls::{Pending, Purpose};

/// How long it is believed of a tracker that it lacks something.
const BEHIND_FOR: Duration = Duration::from_secs(10);

/// What is to be done before other calls may go out on the current connection.
pub(super) enum Repeating {
    /// Nothing.
    Done,
    /// To send this call.
    Send(u64),
    /// To wait for the answer of the last.
    Wait,
}

impl Machine {
    /// What a reply tells of who has what.
    pub(super) fn note_reply(&mut self, now: Instant, index: usize, call: &Pending, reply: &Reply) {
        if reply.result == Err(Refusal::Stale) {
            if call.purpose != Purpose::Resume && !self.calls.is_outdated(call) {
                self.on_stale(now, index, reply);
            }
            return;
        }
        if call.purpose == Purpose::Caller {
            self.behind.remove(&index);
        }
        if reply.mode == Mode::Dual {
            self.journal.settled(index, &reply.seen);
        }
        if matches!(call.purpose, Purpose::Caller | Purpose::Again) && self.slots.len() > 1 {
            self.journal.acknowledged(index, call.request_id, &call.request, reply);
        }
    }

    pub(super) fn is_behind(&self, now: Instant, index: usize) -> bool {
        self.behind.get(&index).is_some_and(|(at, _)| now < *at + BEHIND_FOR)
    }

    /// It has waited for what we have seen, in vain.
    fn on_stale(&mut self, now: Instant, index: usize, reply: &Reply) {
        self.behind.insert(index, (now, Some(reply.seen.clone())));
        if self.current != Some(index) {
            return;
        }
        if self.instead_of(now, index).is_some_and(|other| !self.is_behind(now, other)) {
            return self.leave(now, index, "it lacks what you have seen");
        }
        self.go_back(index, &reply.seen);
    }

    /// There is nobody else: a tracker that has waited for what we have seen, in vain, is not made to wait again.
    pub(super) fn go_back_if_behind(&mut self, now: Instant, index: usize) {
        if self.is_behind(now, index)
            && let Some((_, Some(shown))) = self.behind.get(&index).cloned()
        {
            self.go_back(index, &shown);
        }
    }

    /// Goes on from what the current tracker has, after it has been told of our own commands.
    fn go_back(&mut self, index: usize, shown: &VersionVector) {
        self.calls.go_back_to(shown);
        self.behind.clear();
        if self.again.replace(index) != Some(index) {
            self.tell(Tell::Behind(index));
        }
    }

    /// Whether the current tracker has been told of all that we did elsewhere. One after the other: a later
    /// command may build on an earlier one.
    pub(super) fn repeat(&mut self, now: Instant, index: usize) -> Repeating {
        if self.again != Some(index) || self.binding(index) != Some(Binding::Bound) {
            return Repeating::Done;
        }
        if self.calls.any_again() {
            return Repeating::Wait;
        }
        let Some(own) = self.journal.lacking_at(index).cloned() else {
            self.again = None;
            return Repeating::Done;
        };
        Repeating::Send(self.calls.add(now, own.request_id, own.request, Purpose::Again))
    }

    /// It has answered one of them.
    pub(super) fn on_repeated(&mut self, call: &Pending, reply: &Reply) {
        match &reply.result {
            Ok(_) => {}
            // Kept for the next time: whoever waits is not to wait for this.
            Err(
                Refusal::Stale
                | Refusal::Busy
                | Refusal::RateLimited { .. }
                | Refusal::TrackerDiskFull
                | Refusal::Internal
                | Refusal::NotLoggedIn
                | Refusal::SessionEnded,
            ) => self.again = None,
            // The state there does not allow it. The other tracker's event will be joined when it is back.
            Err(refusal) => {
                tracing::debug!(?refusal, "a command is not repeated");
                self.journal.remove(call.request_id);
            }
        }
    }
}
