//! Tickets that were signed a moment ago, to be given out again: a signature costs more than everything else about an answer.
//! Knows nothing of the state; whoever asks says on what a ticket would stand now.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use common::id::{GroupId, MembershipId, SessionId};
use common::ticket::{Signed, Ticket, UnixSeconds};

/// How old a ticket may be that is given out again, in seconds. It is a fraction of
/// [`common::ticket::TICKET_RENEW`], so that clients do not renew much more often.
const AGAIN: UnixSeconds = 5;
/// Tickets that are kept at most.
const MAX_TICKETS: usize = 1 << 15;

/// What a ticket stands on: if any of it is another, so is the ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footing {
    pub(crate) membership: MembershipId,
    /// Passwords that the user has had: a change of password voids tickets from before it.
    pub(crate) credentials: u32,
}

#[derive(Debug)]
struct Issued {
    on: Footing,
    at: UnixSeconds,
    signed: Signed<Ticket>,
}

/// The tickets of the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    /// Guards the last one of each login in each group.
    issued: Mutex<HashMap<(SessionId, GroupId), Issued>>,
}

impl Tickets {
    /// A ticket that was issued a moment ago, and stands on the same.
    pub(crate) fn recent(&self, whose: (SessionId, GroupId), on: Footing, now: UnixSeconds) -> Option<Signed<Ticket>> {
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.get(&whose).filter(|i| i.on == on && is_recent(i.at, now)).map(|i| i.signed.clone())
    }

    /// Keeps a ticket that was issued at `at`.
    pub(crate) fn keep(&self, whose: (SessionId, GroupId), on: Footing, at: UnixSeconds, signed: Signed<Ticket>) {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if issued.len() >= MAX_TICKETS {
            issued.retain(|_, i| is_recent(i.at, at));
        }
        // Rather signed anew than kept without bound.
        if issued.len() < MAX_TICKETS {
            issued.insert(whose, Issued { on, at, signed });
        }
    }
}

/// Also when the clock was put back.
const fn is_recent(at: UnixSeconds, now: UnixSeconds) -> bool {
    now >= at && now - at < AGAIN
}

#[cfg(test)]
mod tests {
    use common::id::{DeviceId, TicketId, UserId};
    use common::secret::ClusterSecret;

    use super::*;

    #[test]
    fn a_ticket_is_given_out_again_while_it_is_fresh_and_stands_on_the_same() {
        let (tickets, key) = (Tickets::default(), ClusterSecret::generate().cluster_key());
        let (session, group, membership) = (SessionId::random(), GroupId::random(), MembershipId::random());
        let ticket = Ticket {
            id: TicketId::random(),
            user: UserId::random(),
            user_name: "alice".parse().expect("a name"),
            session,
            device: DeviceId::new([1; 32]),
            group,
            membership,
            issued: 100,
            expires: 220,
        };
        let on = Footing { membership, credentials: 1 };
        tickets.keep((session, group), on, 100, Signed::sign(&ticket, &key).expect("signed"));
        let given = |on, now| tickets.recent((session, group), on, now).is_some();
        assert!(given(on, 100) && given(on, 100 + AGAIN - 1));
        assert!(!given(on, 100 + AGAIN) && !given(on, 99));
        assert!(!given(Footing { credentials: 2, ..on }, 100), "the password was changed");
        assert!(
            !given(Footing { membership: MembershipId::random(), ..on }, 100),
            "who came back has another membership"
        );
        assert!(tickets.recent((session, GroupId::random()), on, 100).is_none());
    }
}
