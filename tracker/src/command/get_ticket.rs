//! A ticket: the signed statement by which seeders of a group know a member.

use common::id::{GroupName, TicketId};
use common::ticket::{self, Signed, TICKET_LIFE, Ticket};
use common::wire::client::Response;

use super::{Call, Effect, Outcome, as_member};
use crate::rules::Login;
use crate::store::{State, StoreError};
use crate::tickets::Footing;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName) -> Outcome {
    // Before the state is read: what ends in between must cover this ticket.
    let issued = ticket::now();
    let query = move |state: &State, me: &Login| {
        let (group, membership) = as_member(state, me, &name)?;
        let credentials = state.session(me.session).map_or(0, |row| row.credentials);
        Ok((group, Footing { membership, credentials }))
    };
    let (group, on) = call.read(me, query).await?;
    let (tickets, whose) = (&call.services.tickets, (me.session, group));
    if let Some(signed) = tickets.recent(whose, on, issued) {
        return Ok(Effect::plain(Response::Ticket(signed)));
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
    Ok(Effect::plain(Response::Ticket(signed)))
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
