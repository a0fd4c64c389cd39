//! The calls that wait for an answer: which connection each was sent on, and until when it waits.
//!
//! Owns the numbering, the request ids and the version vector that the client carries from one
//! tracker to the other. Invariant: a call keeps its number and request id however often it is
//! sent, so that it has one effect and one answer. Pure: time is passed in; knows no sockets.

use std::collections::BTreeMap;
use std::time::Duration;

use common::id::{OriginId, RequestId};
use common::wire::client::{Call, Request, Response};
use common::wire::limits::List;
use common::wire::sync::VersionVector;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::Error;

/// How long a call waits for its answer, over all attempts.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Where an answer is awaited.
pub(super) type Answer = oneshot::Sender<Result<Response, Error>>;

/// What a call is made for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Somebody waits for the answer; it is sent again if its connection ends first.
    Caller(Answer),
    /// As the above, but nothing is sent: it is answered once a connection is ready.
    Ready(Answer),
    /// Nobody waits: a command of ours that only a lost tracker has is carried out by this one too.
    Again,
    /// Binds one connection to the login.
    Resume,
    /// A sign of life on one connection.
    Life,
}

impl Purpose {
    const fn outlives_connection(&self) -> bool {
        matches!(self, Self::Caller(_) | Self::Ready(_))
    }

    fn is_abandoned(&self) -> bool {
        matches!(self, Self::Caller(answer) | Self::Ready(answer) if answer.is_closed())
    }
}

/// A call that has not been answered.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: Request,
    pub(super) purpose: Purpose,
    pub(super) request_id: RequestId,
    /// The connection it was sent on, by the tracker's place in the list.
    on: Option<usize>,
    made: Instant,
    not_before: Instant,
    /// How often the client had gone back when it was sent last.
    gone_back: u64,
}

/// All calls that have not been answered.
#[derive(Debug, Default)]
pub(super) struct Calls {
    last: u64,
    pending: BTreeMap<u64, Pending>,
    seen: BTreeMap<OriginId, u64>,
    gone_back: u64,
}

impl Calls {
    /// Takes a call in; it is not sent yet. Returns its number.
    pub(super) fn add(&mut self, now: Instant, request: Request, purpose: Purpose) -> u64 {
        self.add_as(now, RequestId::random(), request, purpose)
    }

    /// The same for what has a request id already.
    pub(super) fn add_as(&mut self, now: Instant, request_id: RequestId, request: Request, purpose: Purpose) -> u64 {
        self.last += 1;
        let (on, gone_back) = (None, self.gone_back);
        let call = Pending { request, purpose, request_id, on, made: now, not_before: now, gone_back };
        self.pending.insert(self.last, call);
        self.last
    }

    /// The frame for call `number`.
    pub(super) fn frame(&self, number: u64) -> Option<Call> {
        let p = self.pending.get(&number)?;
        let seen = VersionVector(List::first_of(self.seen.iter().map(|(o, n)| (*o, *n))));
        Some(Call { number, request_id: p.request_id, seen, request: p.request.clone() })
    }

    /// Notes that `number` went out on connection `on`.
    pub(super) fn sent(&mut self, number: u64, on: usize) {
        if let Some(p) = self.pending.get_mut(&number) {
            p.on = Some(on);
            p.gone_back = self.gone_back;
        }
    }

    /// Removes call `number`, if it was sent on connection `on`.
    pub(super) fn take(&mut self, number: u64, on: usize) -> Option<Pending> {
        self.pending.get(&number).filter(|p| p.on == Some(on))?;
        self.pending.remove(&number)
    }

    /// Removes call `number`: it could not be sent.
    pub(super) fn cancel(&mut self, number: u64) {
        self.pending.remove(&number);
    }

    /// Removes those that only wait for a connection that is ready.
    pub(super) fn ready(&mut self) -> Vec<Pending> {
        self.extract(|p| matches!(p.purpose, Purpose::Ready(_)))
    }

    /// Puts a call back that is to be sent again after `delay`.
    pub(super) fn retry(&mut self, number: u64, mut call: Pending, now: Instant, delay: Duration) {
        call.on = None;
        call.not_before = now + delay;
        self.pending.insert(number, call);
    }

    /// Whether `call` may still be tried again at `now`.
    pub(super) fn in_time(call: &Pending, now: Instant) -> bool {
        now < call.made + CALL_TIMEOUT
    }

    /// Connection `on` has ended: its calls wait for another, those about the connection itself end.
    pub(super) fn release(&mut self, on: usize) {
        self.pending.retain(|_, p| p.on != Some(on) || p.purpose.outlives_connection());
        for p in self.pending.values_mut().filter(|p| p.on == Some(on)) {
            p.on = None;
        }
    }

    /// Numbers of the calls that may go out at `now`, in the order in which they were made. Forgets
    /// those that nobody waits for any more.
    pub(super) fn due(&mut self, now: Instant) -> Vec<u64> {
        self.pending.retain(|_, p| p.on.is_some() || !p.purpose.is_abandoned());
        let due = self.pending.iter().filter(|(_, p)| p.on.is_none() && p.not_before <= now);
        due.map(|(number, _)| *number).collect()
    }

    /// Removes the calls whose time is up.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Pending> {
        self.extract(|p| !Self::in_time(p, now))
    }

    /// Removes the calls that wait for a connection since before `since`.
    pub(super) fn stranded(&mut self, since: Instant) -> Vec<Pending> {
        self.extract(|p| p.on.is_none() && p.made < since)
    }

    /// Whether somebody waits for a connection.
    pub(super) fn any_waiting(&self) -> bool {
        self.pending.values().any(|p| p.on.is_none())
    }

    /// Whether connection `on` owes an answer.
    pub(super) fn any_on(&self, on: usize) -> bool {
        self.pending.values().any(|p| p.on == Some(on))
    }

    /// Whether a command that is carried out once more has not been answered.
    pub(super) fn any_again(&self) -> bool {
        self.pending.values().any(|p| matches!(p.purpose, Purpose::Again))
    }

    /// Number of calls that have not been answered.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// What the client has seen grows by what a reply shows.
    pub(super) fn merge(&mut self, shown: &VersionVector) {
        for (origin, number) in shown.0.iter() {
            let known = self.seen.entry(*origin).or_default();
            *known = (*known).max(*number);
        }
    }

    /// What the client has seen is this and no more: nobody is there who has the rest.
    pub(super) fn go_back_to(&mut self, shown: &VersionVector) {
        self.seen.clear();
        self.merge(shown);
        self.gone_back += 1;
    }

    /// Whether `call` carried what the client has gone back from since.
    pub(super) const fn is_outdated(&self, call: &Pending) -> bool {
        call.gone_back != self.gone_back
    }

    fn extract(&mut self, mut which: impl FnMut(&Pending) -> bool) -> Vec<Pending> {
        self.pending.extract_if(.., |_, p| which(p)).map(|(_, p)| p).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> (Purpose, oneshot::Receiver<Result<Response, Error>>) {
        let (answer, waits) = oneshot::channel();
        (Purpose::Caller(answer), waits)
    }

    #[tokio::test]
    async fn a_call_keeps_its_number_and_id_over_connections() {
        let now = Instant::now();
        let mut calls = Calls::default();
        let (purpose, _waits) = caller();
        let number = calls.add(now, Request::Logout, purpose);
        let first = calls.frame(number).expect("a frame");
        calls.sent(number, 0);
        assert!(calls.due(now).is_empty());
        assert!(calls.take(number, 1).is_none(), "another connection cannot answer it");
        calls.release(0);
        assert_eq!(calls.due(now), [number]);
        assert_eq!(calls.frame(number).expect("a frame").request_id, first.request_id);
        calls.sent(number, 1);
        assert!(calls.take(number, 1).is_some());
        assert!(calls.take(number, 1).is_none(), "answered once");
    }

    #[tokio::test]
    async fn what_concerns_a_connection_ends_with_it() {
        let now = Instant::now();
        let mut calls = Calls::default();
        let life = calls.add(now, Request::Status, Purpose::Life);
        calls.sent(life, 0);
        calls.release(0);
        assert_eq!(calls.len(), 0);
    }

    #[tokio::test]
    async fn an_abandoned_call_is_not_sent() {
        let now = Instant::now();
        let mut calls = Calls::default();
        let (purpose, waits) = caller();
        calls.add(now, Request::Logout, purpose);
        drop(waits);
        assert!(calls.due(now).is_empty());
    }

    #[tokio::test]
    async fn calls_go_out_in_order_and_not_before_their_time() {
        let now = Instant::now();
        let mut calls = Calls::default();
        let (a, _a) = caller();
        let (b, _b) = caller();
        let (a, b) = (calls.add(now, Request::Status, a), calls.add(now, Request::Logout, b));
        assert_eq!(calls.due(now), [a, b]);
        calls.sent(a, 0);
        let pending = calls.take(a, 0).expect("sent");
        let delay = Duration::from_millis(200);
        calls.retry(a, pending, now, delay);
        assert_eq!(calls.due(now), [b]);
        assert_eq!(calls.due(now + delay), [a, b]);
        assert!(calls.expired(now).is_empty());
        assert_eq!(calls.expired(now + CALL_TIMEOUT).len(), 2);
    }

    #[test]
    fn the_version_vector_grows_until_nobody_has_it() {
        let mut calls = Calls::default();
        let (a, b) = (OriginId::random(), OriginId::random());
        let vector = |items: &[(OriginId, u64)]| VersionVector(List::first_of(items.iter().copied()));
        calls.merge(&vector(&[(a, 5), (b, 1)]));
        calls.merge(&vector(&[(a, 3), (b, 2)]));
        assert_eq!(calls.seen, BTreeMap::from([(a, 5), (b, 2)]));
        calls.go_back_to(&vector(&[(a, 3)]));
        assert_eq!(calls.seen, BTreeMap::from([(a, 3)]));
    }
}
