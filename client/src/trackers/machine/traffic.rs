//! Calls on their way out, and answers on their way back.

use std::time::{Duration, Instant};

use common::wire::client::{Call, InviteState, Mode, Reply, Request, Response, ServerFrame};
use common::wire::refusal::Refusal;

use super::recover::Repeating;
use super::{AGAIN, Binding, Effect, LoggedIn, Machine, Session};
use crate::error::Error;
use crate::trackers::calls::{Calls, Pending, Purpose, changes_state, needs_login};

/// How long a call that one tracker has no room for waits for a connection to another.
const OTHER_COMES_WITHIN: Duration = Duration::from_secs(3);

impl Machine {
    /// The next call to send on the connection to tracker `index`. To be asked only while there is room for it.
    pub fn poll_transmit(&mut self, now: Instant, index: usize) -> Option<Call> {
        let number = self.next_call(now, index)?;
        let owed = self.calls.any_on(index);
        let frame = self.calls.send(now, number, index)?;
        let up = self.up_mut(index)?;
        // A tracker that owed nothing until now has not been silent.
        up.owed_since = up.owed_since.filter(|_| owed).or(Some(now));
        Some(frame)
    }

    fn next_call(&mut self, now: Instant, index: usize) -> Option<u64> {
        while let Some(number) = self.up_mut(index)?.own.pop_front() {
            if self.calls.is_pending(number) {
                return Some(number);
            }
        }
        if self.current != Some(index) {
            return None;
        }
        if let Binding::Resuming(_) = self.binding(index)? {
            // A tracker that does not know this account may serve another.
            self.up(index)?.lacking?;
            return self.calls.due(now, |request| !needs_login(request));
        }
        match self.repeat(now, index) {
            Repeating::Send(number) => Some(number),
            Repeating::Wait => None,
            Repeating::Done => {
                self.refuse_beyond(index);
                self.calls.due(now, |_| true)
            }
        }
    }

    /// Whoever asks what this tracker does not know yet is told, and asks in another way. Sent, it would end the connection.
    fn refuse_beyond(&mut self, index: usize) {
        let Some(revision) = self.up(index).map(|up| up.revision) else { return };
        for call in self.calls.beyond(revision) {
            self.answer(call.number, Err(Error::OldTracker));
        }
    }

    /// Asks something of the machine's own on one connection.
    pub(super) fn ask_own(&mut self, now: Instant, index: usize, request: Request, purpose: Purpose) {
        if self.up(index).is_some() {
            let id = (self.ids)();
            let number = self.calls.add(now, id, request, purpose);
            self.up_mut(index).into_iter().for_each(|up| up.own.push_back(number));
        }
    }

    /// Tracker `index` says this.
    pub fn handle_frame(&mut self, now: Instant, index: usize, frame: ServerFrame) {
        let Some(up) = self.up_mut(index) else { return };
        up.owed_since = Some(now);
        up.slow = false;
        match frame {
            ServerFrame::Reply(reply) => self.on_reply(now, index, reply),
            ServerFrame::Push(push) => self.on_push(now, index, push),
            ServerFrame::Welcome(_) => {}
        }
        self.settle(now);
    }

    fn on_reply(&mut self, now: Instant, index: usize, reply: Reply) {
        if self.current == Some(index) {
            self.mode = Some(reply.mode);
        }
        let Some(taken) = self.calls.take(now, reply.number, index, reply.result.is_ok()) else {
            return tracing::debug!(tracker = index + 1, number = reply.number, "a reply to no call");
        };
        let call = taken.call;
        if let (Some(took), Some(up)) = (taken.took, self.up_mut(index)) {
            up.round_trip = up.round_trip.min(took);
        }
        if shows(&call, &reply) {
            self.calls.merge(&reply.seen);
        }
        self.note_reply(now, index, &call, &reply);
        match call.purpose {
            Purpose::Again => self.on_repeated(&call, &reply),
            Purpose::Resume => self.on_resumed(now, index, reply.result),
            Purpose::Life | Purpose::Ready => {
                reply.result.err().into_iter().for_each(|refusal| self.heed(now, index, &refusal));
            }
            Purpose::Caller => {
                if self.is_of_one(&call, &reply) {
                    self.effects.push_back(Effect::Solo(call.number));
                }
                self.on_answer(now, index, call, reply.result);
            }
            Purpose::There => self.on_told_there(now, index, call.number, reply.result),
        }
    }

    /// Whether a reply acknowledges a change that the other tracker of the list has not heard of.
    fn is_of_one(&self, call: &Pending, reply: &Reply) -> bool {
        reply.mode == Mode::Solo && reply.result.is_ok() && changes_state(&call.request) && self.slots.len() > 1
    }

    /// What one tracker says that was asked for itself. Who was shown an invitation by it goes on there: the one in use may
    /// lack that. One into a closed group is nothing to go on with, and the one in use may have said the same.
    fn on_told_there(&mut self, now: Instant, index: usize, number: u64, result: Result<Response, Refusal>) {
        if let Some(current) = self.current.filter(|current| *current != index)
            && matches!(&result, Ok(Response::Invitation(info)) if info.state != InviteState::Closed)
            && self.is_fit(index)
        {
            self.behind.insert(current, (now, None));
            self.leave(now, current, "it does not know the invitation yet");
        }
        self.answer(number, result.map_err(Error::from));
    }

    /// The answer to somebody's question, unless it is asked once more.
    fn on_answer(&mut self, now: Instant, index: usize, call: Pending, result: Result<Response, Refusal>) {
        let slot = self.slots.get_mut(index);
        match &result {
            Err(Refusal::Stale) if Calls::in_time(&call, now) => {
                // What it said is taken note of, so that it does not say so again; else it gets a little time.
                let delay =
                    if self.calls.is_outdated(&call) || self.current != Some(index) { Duration::ZERO } else { AGAIN };
                return self.calls.retry(call, now, delay);
            }
            Err(Refusal::TrackerDiskFull) => {
                slot.into_iter().for_each(|slot| slot.full_at = Some(now));
                // One that lacks what we have seen is not gone to for this: it would send us back here.
                let takes_it = |other: &usize| !self.is_full(now, *other) && !self.is_behind(now, *other);
                let other = self.instead_of(now, index).filter(takes_it);
                if other.is_some() && Calls::in_time(&call, now) {
                    self.leave(now, index, "its disk is full");
                    return self.calls.retry(call, now, Duration::ZERO);
                }
                if self.another_may_come(index) && call.age(now) < OTHER_COMES_WITHIN {
                    return self.calls.retry(call, now, AGAIN);
                }
            }
            Ok(_) if changes_state(&call.request) => slot.into_iter().for_each(|slot| slot.full_at = None),
            _ => {}
        }
        self.pass_on(now, index, &call, result);
    }

    /// What an answer means for the login, before its caller sees it.
    fn pass_on(&mut self, now: Instant, index: usize, call: &Pending, result: Result<Response, Refusal>) {
        let number = call.number;
        match (&call.request, result) {
            (_, Ok(Response::LoggedIn { user, user_id, token })) => {
                let session = Session { who: LoggedIn { user: user.clone(), user_id }, token: token.clone() };
                let response = Response::LoggedIn { user, user_id, token };
                self.adopt(now, index, session, Effect::Answer(number, Ok(response)));
            }
            (Request::Logout, Ok(response)) => self.forget(now, index, Effect::Answer(number, Ok(response))),
            (Request::Logout, Err(Refusal::NotLoggedIn | Refusal::SessionEnded)) if self.session.is_some() => {
                // It had ended already, by this very command or otherwise.
                self.forget(now, index, Effect::Answer(number, Ok(Response::Done)));
            }
            (_, Ok(response)) => {
                match &response {
                    Response::Left { .. } => self.effects.push_back(Effect::ForgetTickets),
                    Response::Ticket(ticket) => self.effects.push_back(Effect::Dated(index, ticket.clone())),
                    Response::Opened(opened) => self.effects.push_back(Effect::Dated(index, opened.ticket.clone())),
                    Response::OpenedShare(opened) => {
                        self.effects.push_back(Effect::Dated(index, opened.ticket.clone()));
                    }
                    _ => {}
                }
                self.answer(number, Ok(response));
            }
            (_, Err(refusal)) => {
                self.heed(now, index, &refusal);
                self.answer(number, Err(Error::from(refusal)));
            }
        }
    }
}

/// Whether a reply shows the user something of what both trackers keep: only that may not be forgotten again. What
/// else a tracker says, to a sign of life or to a token, is nothing that anybody has seen.
fn shows(call: &Pending, reply: &Reply) -> bool {
    let asked = matches!(call.purpose, Purpose::Caller | Purpose::Again | Purpose::There)
        && !matches!(
            call.request,
            Request::Status
                | Request::Cluster
                | Request::Announce { .. }
                | Request::AnnounceAs { .. }
                | Request::ProbeMe { .. }
                | Request::ProbeResult { .. }
                | Request::StageManifest { .. }
                | Request::StageTree { .. }
        );
    let answered = !matches!(
        reply.result,
        Err(Refusal::Stale
            | Refusal::Busy
            | Refusal::RateLimited { .. }
            | Refusal::TrackerDiskFull
            | Refusal::Internal
            | Refusal::Version { .. })
    );
    // Who is told that a tracker does not know something may be shown it by another.
    let unknown = matches!(call.request, Request::CheckInvite { .. }) && reply.result.is_err();
    asked && answered && !unknown
}
