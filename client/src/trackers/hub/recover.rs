//! A tracker that lacks what this client has seen: another is asked, and if there is none, this one is told of our
//! own commands, and we go on from what it has.
//!
//! Without that, whoever was acknowledged by one tracker alone, or was shown what only it had, could do nothing at
//! the other until the first was back. What others did there and we have seen is not shown until then.

use common::id::RequestId;
use common::wire::client::{Mode, Reply};
use common::wire::refusal::Refusal;
use tokio::time::Instant;

use super::{Binding, Hub};
use crate::trackers::Notice;
use crate::trackers::calls::{Pending, Purpose};

impl Hub {
    /// What a reply tells of who has what.
    pub(super) fn take_down(&mut self, now: Instant, index: usize, call: &Pending, reply: &Reply) {
        if reply.result == Err(Refusal::Stale) {
            if !self.calls.is_outdated(call) {
                self.on_stale(now, index, reply);
            }
            return;
        }
        if matches!(call.purpose, Purpose::Caller(_) | Purpose::Resume) {
            self.behind.remove(&index);
        }
        if reply.mode == Mode::Dual {
            self.journal.settled(index, &reply.seen);
        }
        if matches!(call.purpose, Purpose::Caller(_) | Purpose::Again) && self.slots.len() > 1 {
            self.journal.acknowledged(index, call.request_id, &call.request, reply);
        }
    }

    /// It has waited for what we have seen, in vain.
    fn on_stale(&mut self, now: Instant, index: usize, reply: &Reply) {
        self.behind.insert(index);
        if self.current != Some(index) {
            return;
        }
        let other = |i: usize| i != index && !self.behind.contains(&i) && self.binding(i) == Some(Binding::Bound);
        if (0..self.slots.len()).any(other) {
            self.current = None;
            self.choose(now, None);
            return;
        }
        self.calls.go_back_to(&reply.seen);
        self.behind.clear();
        let told = self.again.replace(index) == Some(index);
        if let Some(address) = self.shared.addresses.get(index).cloned().filter(|_| !told) {
            self.notify(Notice::Behind(address));
        }
    }

    /// Whether the current tracker has been told of all that we did elsewhere. One after the other: a later
    /// command may build on an earlier one.
    pub(super) fn told_again(&mut self, now: Instant, index: usize) -> bool {
        if self.again != Some(index) || self.binding(index) != Some(Binding::Bound) {
            return true;
        }
        if self.calls.any_again() {
            return false;
        }
        let Some(own) = self.journal.lacking_at(index).cloned() else {
            self.again = None;
            return true;
        };
        let number = self.calls.add_as(now, own.request_id, own.request, Purpose::Again);
        if !self.send(now, index, number) {
            self.calls.cancel(number);
        }
        false
    }

    /// It has answered one of them.
    pub(super) fn on_repeated(&mut self, now: Instant, request_id: RequestId, reply: &Reply) {
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
                self.journal.remove(request_id);
            }
        }
        self.flush(now);
    }
}
