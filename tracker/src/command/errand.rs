//! What it costs a user to ask for something of which others are told.

use common::wire::client::Request;

use super::{Call, Halt, now};
use crate::rules::Login;

/// Asking to join and leaving, which nobody has to agree to.
const ALONE: u32 = 8;
/// What an admin does about those who have asked: a script may let a whole class in. Ending a login is as dear.
const ADMIN: u32 = 1;

/// Charges `me` for `request`.
pub(super) fn charge(call: &Call, me: &Login, request: &Request) -> Result<(), Halt> {
    match cost(request) {
        0 => Ok(()),
        cost => Ok(call.services.throttle.errand(me.user, cost, now())?),
    }
}

const fn cost(request: &Request) -> u32 {
    match request {
        Request::JoinGroup { .. } | Request::LeaveGroup { .. } => ALONE,
        Request::AcceptRequest { .. }
        | Request::RejectRequest { .. }
        | Request::RemoveMember { .. }
        | Request::MakeAdmin { .. }
        | Request::EndLogin { .. } => ADMIN,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use common::wire::refusal::Refusal;

    use crate::command::tests::Fixture;

    #[tokio::test]
    async fn who_asks_and_withdraws_for_ever_is_slowed() {
        let f = Fixture::new().await;
        let (a, b, m) = (f.user("alice").await, f.user("bob").await, f.user("mallory").await);
        a.create_group("lab").await.expect("created");
        let mut asked = 0;
        let refused = loop {
            if let Err(refusal) = m.join("lab").await {
                break refusal;
            }
            asked += 1;
            if let Err(refusal) = m.leave("lab").await {
                break refusal;
            }
        };
        assert!(matches!(refused, Refusal::RateLimited { .. }), "{refused:?}");
        assert!(asked <= 40, "{asked}");
        assert!(a.heard().len() <= 40);
        f.admit(&a, &b, "lab").await;
    }

    #[tokio::test]
    async fn an_admin_lets_a_class_in_at_once() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        for n in 0..30 {
            let student = f.user(&format!("student{n}")).await;
            f.admit(&a, &student, "lab").await;
        }
    }
}
