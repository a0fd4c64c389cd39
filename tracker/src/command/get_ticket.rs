//! A ticket: the signed statement by which seeders of a group know a member.

use common::id::{GroupId, GroupName, MembershipId, TicketId};
use common::ticket::{self, Signed, TICKET_LIFE, Ticket, UnixSeconds};
use common::wire::client::Response;

use super::{Call, Effect, Halt, Outcome, as_member};
use crate::rules::Login;
use crate::store::{State, StoreError};
use crate::tickets::Footing;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName) -> Outcome {
    // Before the state is read: what ends in between must cover this ticket.
    let issued = ticket::now();
    let query = move |state: &State, me: &Login| {
        let (group, membership) = as_member(state, me, &name)?;
        Ok((group, footing(state, me, membership)))
    };
    let (group, on) = call.read(me, query).await?;
    Ok(Effect::plain(Response::Ticket(issue(call, me, group, on, issued)?)))
}

/// What a ticket of `me` stands on, as a member by `membership`.
pub(super) fn footing(state: &State, me: &Login, membership: MembershipId) -> Footing {
    let credentials = state.session(me.session).map_or(0, |row| row.credentials);
    Footing { membership, credentials }
}

/// A ticket for `group` that stands on what the state said after `issued`: one of a moment ago, or a new one.
pub(super) fn issue(
    call: &Call,
    me: &Login,
    group: GroupId,
    on: Footing,
    issued: UnixSeconds,
) -> Result<Signed<Ticket>, Halt> {
    let (tickets, whose) = (&call.services.tickets, (me.session, group));
    if let Some(signed) = tickets.recent(whose, on, issued) {
        return Ok(signed);
    }
    let ticket = Ticket {
        id: TicketId::random(),
        user: me.user,
        user_name: me.name.clone(),
        session: me.session,
        device: me.device,
        group,
        membership: on.membership,
        issued,
        expires: issued + TICKET_LIFE.as_secs(),
    };
    let signed = Signed::sign(&ticket, &call.services.key);
    let signed = signed.map_err(|_| StoreError::Content("a ticket is too long"))?;
    tickets.keep(whose, on, issued, signed.clone());
    Ok(signed)
}

#[cfg(test)]
mod tests {
    use common::ticket::{self, TICKET_LIFE};
    use common::wire::client::{Request, Response};

    use crate::command::tests::{Fixture, group};

    #[tokio::test]
    async fn it_names_device_login_group_and_membership() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        let Ok(Response::Ticket(signed)) = a.ask(Request::GetTicket { group: group("lab") }).await else {
            panic!("not a ticket");
        };
        let t = signed.verify(&f.key().public()).expect("ours");
        assert_eq!((t.device, t.session, t.user_name.as_str()), (a.device(), a.session(), "alice"));
        assert_eq!(t.expires - t.issued, TICKET_LIFE.as_secs());
        assert!(signed.admit(&f.key().public(), a.device(), t.group, (ticket::now(), ticket::now())).is_ok());
    }
}
