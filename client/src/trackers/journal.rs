//! This client's own commands that only one tracker has: when that one is lost, another is asked to carry them
//! out too, under the same request ids, so that they are the same commands there.
//!
//! Owns those commands until both trackers have them, in the order in which they were acknowledged. Kept in
//! memory only. Deliberately not here: what a password or a staged manifest would have to be kept for
//! ([`may_be_repeated`]). Pure: knows no sockets and no time.

use std::collections::VecDeque;

use common::id::RequestId;
use common::wire::client::{Mode, Reply, Request};
use common::wire::sync::VersionVector;

use super::calls::changes_state;

/// Commands that are kept; of more, the latest.
const MOST: usize = 256;

/// A command that was acknowledged by one tracker alone.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) request_id: RequestId,
    pub(super) request: Request,
    /// The tracker that has it, by its place in the list.
    on: usize,
    /// What that tracker had then.
    shown: VersionVector,
}

/// All of them, oldest first.
#[derive(Debug, Default)]
pub(super) struct Journal(VecDeque<Own>);

impl Journal {
    /// Tracker `on` has acknowledged `request` with `reply`.
    pub(super) fn acknowledged(&mut self, on: usize, request_id: RequestId, request: &Request, reply: &Reply) {
        if reply.result.is_err() {
            return;
        }
        self.remove(request_id);
        if reply.mode == Mode::Dual || !may_be_repeated(request) {
            return;
        }
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        let (request, shown) = (request.clone(), reply.seen.clone());
        self.0.push_back(Own { request_id, request, on, shown });
    }

    /// Tracker `on` speaks for both: forgets what it had by then. While its run lasts that is told by the
    /// numbers; a later run of it counts as dual only when the other has everything of the former ones.
    pub(super) fn settled(&mut self, on: usize, shown: &VersionVector) {
        let lacks = |own: &Own| {
            let now = |origin| shown.0.iter().find(|(o, _)| *o == origin).map(|(_, seq)| *seq);
            own.shown.0.iter().any(|(origin, seq)| now(*origin).is_some_and(|now| now < *seq))
        };
        self.0.retain(|own| own.on != on || lacks(own));
    }

    /// The oldest one that tracker `on` has not acknowledged.
    pub(super) fn lacking_at(&self, on: usize) -> Option<&Own> {
        self.0.iter().find(|own| own.on != on)
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, request_id: RequestId) {
        self.0.retain(|own| own.request_id != request_id);
    }

    /// Forgets all: another user's login must not repeat them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether a command can be carried out again from the request alone. Not those with a password, which is not to be kept; not
/// a logout, after which nobody is left to ask; nor an upload, whose manifest was staged on the lost connection.
///
/// `EndLogin` names a device. Where a tracker was lost that alone had it, the repeat also ends a login made on that device
/// meanwhile: that costs a password, and a login that was to end and goes on may cost more.
const fn may_be_repeated(request: &Request) -> bool {
    let excepted = matches!(
        request,
        Request::CreateUser { .. }
            | Request::CreateInvitedUser { .. }
            | Request::Login { .. }
            | Request::LoginWithCode { .. }
            | Request::ChangePassword { .. }
            | Request::Logout
            | Request::UploadFile { .. }
    );
    changes_state(request) && !excepted
}

#[cfg(test)]
mod tests {
    use common::id::OriginId;
    use common::wire::client::{Password, Response};
    use common::wire::limits::List;
    use common::wire::refusal::Refusal;

    use super::*;

    const RUN: OriginId = OriginId::new([1; 16]);
    const LATER_RUN: OriginId = OriginId::new([2; 16]);

    fn seen(origin: OriginId, seq: u64) -> VersionVector {
        VersionVector(List::first_of([(origin, seq)]))
    }

    fn reply(mode: Mode, seq: u64) -> Reply {
        Reply { number: 1, mode, seen: seen(RUN, seq), result: Ok(Response::Done) }
    }

    fn create(name: &str) -> Request {
        Request::CreateGroup { group: name.parse().expect("a name") }
    }

    #[test]
    fn what_one_tracker_has_is_kept_in_order_until_both_have_it() {
        let mut journal = Journal::default();
        let [first, second] = [RequestId::random(), RequestId::random()];
        journal.acknowledged(0, first, &create("a"), &reply(Mode::Solo, 5));
        journal.acknowledged(0, second, &create("b"), &reply(Mode::Solo, 7));
        assert!(journal.lacking_at(0).is_none());
        assert_eq!(journal.lacking_at(1).expect("one").request_id, first);
        journal.settled(1, &seen(RUN, 9));
        assert_eq!(journal.lacking_at(1).expect("the other one cannot know").request_id, first);
        journal.settled(0, &seen(RUN, 6));
        assert_eq!(journal.lacking_at(1).expect("one").request_id, second);
        journal.settled(0, &seen(LATER_RUN, 1));
        assert!(journal.lacking_at(1).is_none());
    }

    #[test]
    fn what_another_tracker_has_acknowledged_too_is_that_ones() {
        let mut journal = Journal::default();
        let id = RequestId::random();
        journal.acknowledged(0, id, &create("a"), &reply(Mode::Solo, 5));
        journal.acknowledged(1, id, &create("a"), &reply(Mode::Solo, 1));
        assert!(journal.lacking_at(1).is_none());
        assert!(journal.lacking_at(0).is_some());
        journal.acknowledged(0, id, &create("a"), &reply(Mode::Dual, 6));
        assert!(journal.lacking_at(1).is_none());
    }

    #[test]
    fn neither_passwords_nor_refusals_nor_more_than_there_is_room_for() {
        let mut journal = Journal::default();
        let password = Password::try_from("password".to_owned()).expect("a password");
        let user = "alice".parse().expect("a name");
        journal.acknowledged(0, RequestId::random(), &Request::CreateUser { user, password }, &reply(Mode::Solo, 1));
        let refused = Reply { result: Err(Refusal::Busy), ..reply(Mode::Solo, 1) };
        journal.acknowledged(0, RequestId::random(), &create("a"), &refused);
        assert!(journal.lacking_at(1).is_none());
        for _ in 0..=MOST {
            journal.acknowledged(0, RequestId::random(), &create("a"), &reply(Mode::Solo, 1));
        }
        assert_eq!(journal.0.len(), MOST);
    }
}
