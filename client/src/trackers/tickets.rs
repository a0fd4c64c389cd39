//! Tickets at hand, one per group: fetched when first needed, renewed while they are used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use common::id::GroupName;
use common::ticket::{Signed, TICKET_LIFE, TICKET_RENEW, Ticket};
use tokio::time::Instant;

use crate::error::Error;

/// One group's ticket; the lock is held while it is fetched, so that many who need it ask once.
type Place = Arc<tokio::sync::Mutex<Option<(Signed<Ticket>, Instant)>>>;

/// All tickets of the present login.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<HashMap<GroupName, Place>>);

/// Where the ticket of one group is kept, for who asks for one together with something else.
pub(super) struct Reservation {
    place: Place,
    asked: Instant,
}

impl Reservation {
    /// Keeps a ticket that was asked for after the place was reserved. If there has been another login or membership meanwhile,
    /// nobody will find it.
    pub(super) async fn fill(self, ticket: Signed<Ticket>) {
        *self.place.lock().await = Some((ticket, self.asked));
    }
}

impl Tickets {
    /// Where a ticket for `group` goes that is about to be asked for.
    pub(super) fn reserve(&self, group: &GroupName) -> Reservation {
        Reservation { place: self.place(group), asked: Instant::now() }
    }

    fn place(&self, group: &GroupName) -> Place {
        Arc::clone(self.lock().entry(group.clone()).or_default())
    }

    /// The ticket at hand, or what `fetch` brings. While no tracker answers, one that is due for
    /// renewal serves to the end of its life.
    pub(super) async fn get(
        &self,
        group: &GroupName,
        fetch: impl Future<Output = Result<Signed<Ticket>, Error>>,
    ) -> Result<Signed<Ticket>, Error> {
        let place = self.place(group);
        let mut held = place.lock().await;
        let age = held.as_ref().map(|(_, got)| got.elapsed());
        if let (Some((ticket, _)), Some(age)) = (&*held, age)
            && age < TICKET_RENEW
        {
            return Ok(ticket.clone());
        }
        let asked = Instant::now();
        match (fetch.await, &*held) {
            (Ok(ticket), _) => {
                *held = Some((ticket.clone(), asked));
                Ok(ticket)
            }
            (Err(Error::TrackersUnreachable(_) | Error::Timeout(_)), Some((ticket, _)))
                if age.is_some_and(|age| age < TICKET_LIFE) =>
            {
                Ok(ticket.clone())
            }
            (Err(e), _) => {
                *held = None;
                Err(e)
            }
        }
    }

    /// Drops the ticket of one group: its holder has learnt that it is void.
    pub(super) fn forget(&self, group: &GroupName) {
        self.lock().remove(group);
    }

    /// Drops all: another login, or memberships have changed.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<GroupName, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::{DeviceId, GroupId, MembershipId, SessionId, TicketId, UserId};
    use common::secret::ClusterSecret;

    fn ticket() -> Signed<Ticket> {
        let ticket = Ticket {
            id: TicketId::random(),
            user: UserId::random(),
            user_name: "alice".parse().expect("a name"),
            session: SessionId::random(),
            device: DeviceId::new([1; 32]),
            group: GroupId::random(),
            membership: MembershipId::random(),
            issued: 0,
            expires: 120,
        };
        Signed::sign(&ticket, &ClusterSecret::generate().cluster_key()).expect("signed")
    }

    fn unreachable() -> Error {
        Error::TrackersUnreachable(String::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_renewed_in_time_and_outlasts_a_short_absence() {
        let tickets = Tickets::default();
        let group: GroupName = "lab".parse().expect("a name");
        let (first, second) = (ticket(), ticket());
        assert_eq!(tickets.get(&group, async { Ok(first.clone()) }).await.expect("a ticket"), first);
        assert_eq!(tickets.get(&group, async { Err(unreachable()) }).await.expect("at hand"), first);
        tokio::time::advance(TICKET_RENEW).await;
        assert_eq!(tickets.get(&group, async { Err(unreachable()) }).await.expect("still alive"), first);
        assert_eq!(tickets.get(&group, async { Ok(second.clone()) }).await.expect("renewed"), second);
        tokio::time::advance(TICKET_LIFE).await;
        assert!(tickets.get(&group, async { Err(unreachable()) }).await.is_err(), "its life is over");
    }

    #[tokio::test]
    async fn a_ticket_that_came_with_something_else_is_at_hand_unless_it_was_asked_for_under_another_login() {
        let tickets = Tickets::default();
        let group: GroupName = "lab".parse().expect("a name");
        let (first, second) = (ticket(), ticket());
        tickets.reserve(&group).fill(first.clone()).await;
        assert_eq!(tickets.get(&group, async { Err(unreachable()) }).await.expect("at hand"), first);
        let reserved = tickets.reserve(&group);
        tickets.clear();
        reserved.fill(first).await;
        assert_eq!(tickets.get(&group, async { Ok(second.clone()) }).await.expect("fetched"), second);
    }

    #[tokio::test]
    async fn a_forgotten_ticket_is_fetched_again() {
        let tickets = Tickets::default();
        let group: GroupName = "lab".parse().expect("a name");
        let (first, second) = (ticket(), ticket());
        tickets.get(&group, async { Ok(first) }).await.expect("a ticket");
        tickets.forget(&group);
        assert_eq!(tickets.get(&group, async { Ok(second.clone()) }).await.expect("a ticket"), second);
    }
}
