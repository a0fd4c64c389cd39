//! Calls on their way out, and answers on their way back.

use common::wire::client::{Reply, Request, Response, ServerFrame};
use common::wire::refusal::Refusal;
use tokio::time::Instant;

use super::{AGAIN, Binding, Hub, answer};
use crate::error::Error;
use crate::trackers::calls::{Calls, Purpose};
use crate::trackers::session::{LoggedIn, Session};

impl Hub {
    /// Sends what may go out.
    pub(super) fn flush(&mut self, now: Instant) {
        let Some(index) = self.current else { return };
        if matches!(self.binding(index), None | Some(Binding::Resuming(_))) {
            return;
        }
        if !self.told_again(now, index) {
            return;
        }
        for call in self.calls.ready() {
            answer(call.purpose, Ok(Response::Done));
        }
        for number in self.calls.due(now) {
            // A full outbox is tried again at the next tick; a closed one is about to be reported.
            let _ = self.send(now, index, number);
        }
    }

    /// Hands a call to the connection's writer: whether there was room for it.
    pub(super) fn send(&mut self, now: Instant, index: usize, number: u64) -> bool {
        let Some(up) = self.slots.get_mut(index).and_then(|slot| slot.up.as_mut()) else { return false };
        let Some(frame) = self.calls.frame(number) else { return false };
        let taken = up.outbox.try_send(frame).is_ok();
        if taken {
            self.calls.sent(number, index);
            up.silent_since.get_or_insert(now);
        }
        taken
    }

    /// Sends a call of the hub's own on one connection, if there is room for it.
    pub(super) fn send_own(&mut self, now: Instant, index: usize, request: Request, purpose: Purpose) -> bool {
        let number = self.calls.add(now, request, purpose);
        let sent = self.send(now, index, number);
        if !sent {
            self.calls.cancel(number);
        }
        sent
    }

    pub(super) async fn on_frame(&mut self, now: Instant, index: usize, frame: ServerFrame) {
        let Some(up) = self.slots.get_mut(index).and_then(|slot| slot.up.as_mut()) else { return };
        up.silent_since = Some(now);
        up.doubted = false;
        match frame {
            ServerFrame::Reply(reply) => self.on_reply(now, index, reply).await,
            ServerFrame::Push(push) => self.on_push(now, index, push).await,
            ServerFrame::Welcome(_) => {}
        }
    }

    pub(super) async fn on_reply(&mut self, now: Instant, index: usize, reply: Reply) {
        self.calls.merge(&reply.seen);
        if self.current == Some(index) {
            self.shared.view.send_modify(|v| v.mode = Some(reply.mode));
        }
        let Some(call) = self.calls.take(reply.number, index) else {
            return tracing::debug!(tracker = index + 1, number = reply.number, "a reply to no call");
        };
        self.take_down(now, index, &call, &reply);
        match call.purpose {
            Purpose::Again => self.on_repeated(now, call.request_id, &reply),
            Purpose::Resume => self.on_resumed(now, index, reply.result).await,
            Purpose::Life | Purpose::Ready(_) => self.heed(now, index, reply.result.as_ref().err()),
            Purpose::Caller(_) if reply.result == Err(Refusal::Stale) && Calls::in_time(&call, now) => {
                self.calls.retry(reply.number, call, now, AGAIN);
                self.flush(now);
            }
            Purpose::Caller(waits) => {
                let result = self.take_note(now, index, &call.request, reply.result).await;
                // Whoever asked may have gone away; what was done is done.
                let _ = waits.send(result.map_err(Error::from));
            }
        }
    }

    /// What an answer means for the login, before its caller sees it.
    pub(super) async fn take_note(
        &mut self,
        now: Instant,
        index: usize,
        request: &Request,
        result: Result<Response, Refusal>,
    ) -> Result<Response, Refusal> {
        match (request, &result) {
            (_, Ok(Response::LoggedIn { user, user_id, token })) => {
                let who = LoggedIn { user: user.clone(), user_id: *user_id };
                self.adopt(now, index, Session { who, token: token.clone() }).await;
            }
            (Request::Logout, Ok(_)) => self.forget(now, index).await,
            (Request::Logout, Err(Refusal::NotLoggedIn | Refusal::SessionEnded)) if self.session.is_some() => {
                self.forget(now, index).await; // It had ended already, by this very command or otherwise.
                return Ok(Response::Done);
            }
            (_, Ok(Response::Left { .. })) => self.shared.tickets.clear(),
            (_, Err(refusal)) => self.heed(now, index, Some(refusal)),
            _ => {}
        }
        result
    }
}
