//! The calls that wait for an answer: which connection each was sent on, and until when it waits.
//!
//! Owns the numbering and the version vector that the client carries from one tracker to the other. Invariant: a call
//! keeps its number and request id however often it is sent, so that it has one effect and one answer. Pure: time and
//! randomness are passed in; knows no sockets.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::id::{OriginId, RequestId};
use common::wire::client::{Call, Request};
use common::wire::limits::List;
use common::wire::sync::VersionVector;

/// How long a call waits for its answer, over all attempts.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What a call is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody waits for the answer; it is sent again if its connection ends first.
    Caller,
    /// As the above, but nothing is sent: it is answered once a connection is ready.
    Ready,
    /// Nobody waits: a command of ours that only a lost tracker has is carried out by this one too.
    Again,
    /// Binds one connection to the login.
    Resume,
    /// A sign of life on one connection.
    Life,
    /// Somebody wants to know what this one tracker says: no other is asked in its place.
    There,
}

impl Purpose {
    /// Whether somebody waits for the answer.
    pub(super) const fn is_awaited(self) -> bool {
        matches!(self, Self::Caller | Self::Ready)
    }
}

/// A call that has not been answered.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) request: Request,
    pub(super) purpose: Purpose,
    pub(super) request_id: RequestId,
    /// The connection it was sent on last, by the tracker's place in the list, and when.
    on: Option<(usize, Instant)>,
    /// Connections that were left for another one, and may answer it all the same.
    left: Vec<usize>,
    made: Instant,
    not_before: Instant,
    /// How often the client had gone back when it was sent last.
    gone_back: u64,
    /// Whether it was ever sent.
    was_sent: bool,
    /// Whether whoever made it has gone away: its answer still counts, and it is not sent again.
    abandoned: bool,
}

impl Pending {
    /// Whether it may have had an effect.
    pub(super) fn may_have_been_carried_out(&self) -> bool {
        self.was_sent && changes_state(&self.request)
    }

    /// Whether somebody waits for its answer, and it is on no connection.
    const fn is_waiting(&self) -> bool {
        self.on.is_none() && self.purpose.is_awaited()
    }

    /// How long ago it was made.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.made)
    }

    fn is_on(&self, index: usize) -> bool {
        self.on.is_some_and(|(on, _)| on == index)
    }
}

/// All calls that have not been answered.
#[derive(Debug, Default)]
pub(super) struct Calls {
    last: u64,
    pending: BTreeMap<u64, Pending>,
    seen: BTreeMap<OriginId, u64>,
    gone_back: u64,
}

/// An answer's call, and how it was made.
pub(super) struct Taken {
    pub(super) call: Pending,
    /// How long the answer took, if it came on the connection that was asked last.
    pub(super) took: Option<Duration>,
}

impl Calls {
    /// Takes a call in; it is not sent yet. Returns its number.
    pub(super) fn add(&mut self, now: Instant, request_id: RequestId, request: Request, purpose: Purpose) -> u64 {
        self.last += 1;
        let call = Pending {
            number: self.last,
            request,
            purpose,
            request_id,
            on: None,
            left: Vec::new(),
            made: now,
            not_before: now,
            gone_back: self.gone_back,
            was_sent: false,
            abandoned: false,
        };
        self.pending.insert(self.last, call);
        self.last
    }

    /// The frame for call `number`, which goes out on connection `on` now.
    ///
    /// A login is shown without what the client has seen: a tracker knows by itself whether it can judge the token, and
    /// one that lacks something else is of use all the same, for news and signs of life. So is what one tracker alone is asked: it is to
    /// say what it has.
    pub(super) fn send(&mut self, now: Instant, number: u64, on: usize) -> Option<Call> {
        let gone_back = self.gone_back;
        let seen = || VersionVector(List::first_of(self.seen.iter().map(|(o, n)| (*o, *n))));
        let p = self.pending.get_mut(&number)?;
        let seen = match p.purpose {
            Purpose::Resume | Purpose::There => VersionVector::default(),
            Purpose::Caller | Purpose::Ready | Purpose::Again | Purpose::Life => seen(),
        };
        (p.on, p.gone_back, p.was_sent) = (Some((on, now)), gone_back, true);
        p.left.retain(|left| *left != on);
        Some(Call { number, request_id: p.request_id, seen, request: p.request.clone() })
    }

    /// Removes call `number`, if connection `on` may answer it with a `success` or a refusal: one that was left is
    /// believed only the former, since the call is on its way to another.
    pub(super) fn take(&mut self, now: Instant, number: u64, on: usize, success: bool) -> Option<Taken> {
        let p = self.pending.get(&number)?;
        let sent = p.on.filter(|(index, _)| *index == on).map(|(_, at)| at);
        if sent.is_none() && !(success && p.left.contains(&on)) {
            return None;
        }
        let call = self.pending.remove(&number)?;
        Some(Taken { call, took: sent.map(|at| now.saturating_duration_since(at)) })
    }

    /// Removes call `number`: its connection has ended before it was sent.
    pub(super) fn cancel(&mut self, number: u64) {
        self.pending.remove(&number);
    }

    /// Nobody waits for call `number` any more. What has been sent may be carried out all the same.
    pub(super) fn abandon(&mut self, number: u64) {
        if let Some(p) = self.pending.get_mut(&number) {
            p.abandoned = true;
        }
        self.forget_abandoned();
    }

    fn forget_abandoned(&mut self) {
        self.pending.retain(|_, p| !p.abandoned || p.on.is_some());
    }

    /// Whether call `number` waits for its answer.
    pub(super) fn is_pending(&self, number: u64) -> bool {
        self.pending.contains_key(&number)
    }

    /// Removes those that only wait for a connection that is ready.
    pub(super) fn ready(&mut self) -> Vec<Pending> {
        self.extract(|p| p.purpose == Purpose::Ready)
    }

    /// Puts a call back that is to be sent again after `delay`.
    pub(super) fn retry(&mut self, mut call: Pending, now: Instant, delay: Duration) {
        call.on = None;
        call.not_before = now + delay;
        self.pending.insert(call.number, call);
        self.forget_abandoned();
    }

    /// Whether `call` may still be tried again at `now`.
    pub(super) fn in_time(call: &Pending, now: Instant) -> bool {
        now < call.made + CALL_TIMEOUT
    }

    /// Connection `on` has ended: its calls wait for another, those about the connection itself end.
    pub(super) fn release(&mut self, on: usize) {
        self.pending.retain(|_, p| !p.is_on(on) || p.purpose.is_awaited());
        for p in self.pending.values_mut() {
            p.left.retain(|left| *left != on);
            if p.is_on(on) {
                p.on = None;
            }
        }
        self.forget_abandoned();
    }

    /// Connection `on` is left for another one, and goes on: what it was asked is asked of the other, too.
    pub(super) fn leave(&mut self, on: usize) {
        self.pending.retain(|_, p| !p.is_on(on) || p.purpose != Purpose::Again);
        for p in self.pending.values_mut().filter(|p| p.is_on(on) && p.purpose.is_awaited()) {
            p.on = None;
            p.left.push(on);
        }
        self.forget_abandoned();
    }

    /// The first call, in the order in which they were made, that may go out at `now` and is `fit` to.
    pub(super) fn due(&self, now: Instant, fit: impl Fn(&Request) -> bool) -> Option<u64> {
        let mut due = self.pending.values().filter(|p| p.on.is_none() && p.purpose == Purpose::Caller);
        due.find(|p| p.not_before <= now && fit(&p.request)).map(|p| p.number)
    }

    /// When the first call that waits for a connection may go out.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.pending.values().filter(|p| p.is_waiting()).map(|p| p.not_before).min()
    }

    /// When the first call's time is up.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.pending.values().next().map(|p| p.made + CALL_TIMEOUT)
    }

    /// Removes the calls whose time is up.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Pending> {
        self.extract(|p| !Self::in_time(p, now))
    }

    /// Removes the calls that wait for a connection since before `since`.
    pub(super) fn stranded(&mut self, since: Instant) -> Vec<Pending> {
        self.extract(|p| p.is_waiting() && p.made < since)
    }

    /// Removes the calls that wait for a connection that knows the login.
    pub(super) fn needing_login(&mut self) -> Vec<Pending> {
        self.extract(|p| p.is_waiting() && needs_login(&p.request))
    }

    /// Removes the calls that wait for a connection and that a tracker of `known` revision would not understand.
    pub(super) fn beyond(&mut self, known: u8) -> Vec<Pending> {
        self.extract(|p| p.is_waiting() && revision(&p.request) > known)
    }

    /// Whether somebody waits for a connection.
    pub(super) fn any_waiting(&self) -> bool {
        self.pending.values().any(Pending::is_waiting)
    }

    /// Whether connection `on` owes an answer.
    pub(super) fn any_on(&self, on: usize) -> bool {
        self.pending.values().any(|p| p.is_on(on) || p.left.contains(&on))
    }

    /// Whether a call that answers at once, wherever it is not held up, is under way on connection `on`.
    pub(super) fn any_life_on(&self, on: usize) -> bool {
        self.pending.values().any(|p| p.is_on(on) && p.purpose == Purpose::Life)
    }

    /// Bytes that the parts of manifests and trees take, of the calls that connection `on` has not answered: they may be on the line.
    pub(super) fn bulk_on(&self, on: usize) -> usize {
        let bulk = |p: &Pending| match &p.request {
            Request::StageManifest { pieces, .. } => pieces.len() * PIECE_BYTES,
            Request::StageTree { bytes, .. } => bytes.len(),
            _ => 0,
        };
        self.pending.values().filter(|p| p.is_on(on)).map(bulk).sum()
    }

    /// Whether a command that is carried out once more has not been answered.
    pub(super) fn any_again(&self) -> bool {
        self.pending.values().any(|p| p.purpose == Purpose::Again)
    }

    /// Number of calls that have not been answered.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// What the client has seen grows by what an answer shows.
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

/// What one piece of a manifest takes on the wire: its SHA-1 and its chaining value.
const PIECE_BYTES: usize = 20 + 32;

/// Whether a request changes what the trackers keep.
pub(super) const fn changes_state(request: &Request) -> bool {
    match request {
        Request::CreateUser { .. }
        | Request::Login { .. }
        | Request::LoginWithCode { .. }
        | Request::Logout
        | Request::ChangePassword { .. }
        | Request::CreateGroup { .. }
        | Request::JoinGroup { .. }
        | Request::LeaveGroup { .. }
        | Request::AcceptRequest { .. }
        | Request::RejectRequest { .. }
        | Request::RemoveMember { .. }
        | Request::MakeAdmin { .. }
        | Request::UploadFile { .. }
        | Request::Publish { .. }
        | Request::Invite { .. }
        | Request::RevokeInvite { .. }
        | Request::AcceptInvite { .. }
        | Request::CreateInvitedUser { .. }
        | Request::StartSeeding { .. }
        | Request::StopSeeding { .. }
        | Request::EndLogin { .. } => true,
        Request::Resume { .. }
        | Request::ListGroups { .. }
        | Request::ListRequests { .. }
        | Request::ListMembers { .. }
        | Request::StageManifest { .. }
        | Request::StageTree { .. }
        | Request::FindShare { .. }
        | Request::OpenShare { .. }
        | Request::GetTree { .. }
        | Request::ListShares { .. }
        | Request::Search { .. }
        | Request::ListInvites { .. }
        | Request::CheckInvite { .. }
        | Request::News { .. }
        | Request::NewsWithVersions { .. }
        | Request::ListFiles { .. }
        | Request::FindFile { .. }
        | Request::GetManifest { .. }
        | Request::FindPeers { .. }
        | Request::Announce { .. }
        | Request::AnnounceAs { .. }
        | Request::ProbeMe { .. }
        | Request::ProbeResult { .. }
        | Request::GetTicket { .. }
        | Request::OpenFile { .. }
        | Request::ListDevices
        | Request::Status
        | Request::Cluster => false,
    }
}

/// Whether a request makes sense only on a connection that is the user's.
pub(super) const fn needs_login(request: &Request) -> bool {
    !matches!(
        request,
        Request::CreateUser { .. }
            | Request::CreateInvitedUser { .. }
            | Request::Login { .. }
            | Request::LoginWithCode { .. }
            | Request::CheckInvite { .. }
            | Request::Cluster
    )
}

/// The [revision](common::wire::client::Welcome::revision) that a tracker needs to know a request.
pub(super) const fn revision(request: &Request) -> u8 {
    match request {
        Request::OpenFile { .. } => 1,
        Request::StageTree { .. }
        | Request::Publish { .. }
        | Request::FindShare { .. }
        | Request::OpenShare { .. }
        | Request::GetTree { .. }
        | Request::ListShares { .. }
        | Request::Search { .. } => 2,
        Request::AnnounceAs { .. }
        | Request::ProbeMe { .. }
        | Request::ProbeResult { .. }
        | Request::Invite { .. }
        | Request::ListInvites { .. }
        | Request::RevokeInvite { .. }
        | Request::AcceptInvite { .. }
        | Request::CreateInvitedUser { .. }
        | Request::News { .. }
        | Request::LoginWithCode { .. } => 3,
        Request::CheckInvite { .. } | Request::NewsWithVersions { .. } => 4,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(calls: &mut Calls, now: Instant, request: Request, purpose: Purpose) -> u64 {
        calls.add(now, RequestId::random(), request, purpose)
    }

    fn due(calls: &Calls, now: Instant) -> Option<u64> {
        calls.due(now, |_| true)
    }

    #[test]
    fn a_call_keeps_its_number_and_id_over_connections() {
        let now = Instant::now();
        let mut calls = Calls::default();
        let number = add(&mut calls, now, Request::Logout, Purpose::Caller);
        let first = calls.send(now, number, 0).expect("a frame");
        assert_eq!(due(&calls, now), None);
        assert!(calls.take(now, number, 1, true).is_none(), "another connection cannot answer it");
        calls.release(0);
        assert_eq!(due(&calls, now), Some(number));
        assert_eq!(calls.send(now, number, 1).expect("a frame").request_id, first.request_id);
        assert!(calls.take(now, number, 1, true).is_some());
        assert!(calls.take(now, number, 1, true).is_none(), "answered once");
    }

    #[test]
    fn a_connection_that_was_left_may_still_succeed_but_not_refuse() {
        let now = Instant::now();
        let mut calls = Calls::default();
        let number = add(&mut calls, now, Request::Logout, Purpose::Caller);
        calls.send(now, number, 0).expect("a frame");
        calls.leave(0);
        assert_eq!(due(&calls, now), Some(number), "another is asked");
        calls.send(now, number, 1).expect("a frame");
        assert!(calls.take(now, number, 0, false).is_none());
        assert!(calls.take(now, number, 0, true).is_some_and(|t| t.took.is_none()));
        assert!(calls.take(now, number, 1, true).is_none(), "answered once");
    }

    #[test]
    fn what_concerns_a_connection_ends_with_it() {
        let now = Instant::now();
        let mut calls = Calls::default();
        let life = add(&mut calls, now, Request::Status, Purpose::Life);
        calls.send(now, life, 0).expect("a frame");
        calls.release(0);
        assert_eq!(calls.len(), 0);
    }

    #[test]
    fn calls_go_out_in_order_and_not_before_their_time() {
        let now = Instant::now();
        let mut calls = Calls::default();
        let a = add(&mut calls, now, Request::Status, Purpose::Caller);
        let b = add(&mut calls, now, Request::Logout, Purpose::Caller);
        assert_eq!(due(&calls, now), Some(a));
        calls.send(now, a, 0).expect("a frame");
        assert_eq!(due(&calls, now), Some(b));
        let pending = calls.take(now, a, 0, true).expect("sent").call;
        let delay = Duration::from_millis(200);
        calls.retry(pending, now, delay);
        assert_eq!(due(&calls, now), Some(b));
        assert_eq!(due(&calls, now + delay), Some(a));
        assert!(calls.expired(now).is_empty());
        assert_eq!(calls.expired(now + CALL_TIMEOUT).len(), 2);
    }

    #[test]
    fn an_abandoned_call_is_sent_no_more() {
        let now = Instant::now();
        let mut calls = Calls::default();
        let [unsent, sent] = [0, 1].map(|_| add(&mut calls, now, Request::Logout, Purpose::Caller));
        calls.send(now, sent, 0).expect("a frame");
        calls.abandon(unsent);
        calls.abandon(sent);
        assert_eq!(due(&calls, now), None);
        assert!(calls.is_pending(sent), "its answer counts");
        calls.release(0);
        assert_eq!(calls.len(), 0);
    }

    #[test]
    fn only_a_change_that_was_sent_may_have_been_carried_out() {
        let now = Instant::now();
        let mut calls = Calls::default();
        let numbers = [(Request::Logout, true), (Request::Logout, false), (Request::ListGroups { after: None }, true)]
            .map(|(request, send)| {
                let number = add(&mut calls, now, request, Purpose::Caller);
                if send {
                    calls.send(now, number, 0).expect("a frame");
                }
                number
            });
        let expired = calls.expired(now + CALL_TIMEOUT);
        let doubtful: Vec<u64> = expired.iter().filter(|p| p.may_have_been_carried_out()).map(|p| p.number).collect();
        assert_eq!(doubtful, [numbers[0]]);
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
