//! `remove_member`: the admin ends a membership. Seeders hear of it at once.

use common::id::{GroupName, UserName};
use common::wire::refusal::Refusal;

use super::{Call, Decision, Halt, Mint, Outcome, as_admin, the_user};
use crate::fact::{EndReason, Fact};
use crate::rules::{self, Login};
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, user: UserName) -> Outcome {
    let mint = call.mint();
    call.write(me, move |state, me| decide(state, me, mint, name, user)).await
}

fn decide(state: &State, me: &Login, mint: Mint, name: GroupName, user: UserName) -> Result<Decision, Halt> {
    let group = as_admin(state, me, &name)?;
    let whom = the_user(state, &user)?;
    rules::may_remove(me.user, whom, &name)?;
    let standing = state.standing(group, whom);
    if standing.live.is_empty() {
        return Err(Refusal::UserNotAMember { user, group: name }.into());
    }
    let mut facts = vec![Fact::Kicked { id: mint.id("kick"), group, user: whom }];
    facts.extend(standing.open().map(|membership| Fact::Ended { membership, reason: EndReason::Kicked }));
    Ok(Decision::done(facts))
}

#[cfg(test)]
mod tests {
    use common::ticket::Revoked;
    use common::wire::client::{Push, Request};
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Fixture, group};

    #[tokio::test]
    async fn who_is_removed_is_out_and_every_member_is_told() {
        let f = Fixture::new().await;
        let (a, b, c) = (f.user("alice").await, f.user("bob").await, f.user("carol").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        f.admit(&a, &c, "lab").await;
        b.upload("lab", "b.bin", b"content").await.expect("uploaded");
        let ticket = b.ticket("lab").await.expect("a ticket");
        assert!(matches!(c.remove("lab", "bob").await, Err(Refusal::NotAdmin { .. })));
        a.remove("lab", "bob").await.expect("removed");
        for member in [&a, &b, &c] {
            let void = member.heard().into_iter().find_map(|p| match p {
                Push::Revoked(r) => r.verify(&f.key().public()).ok(),
                _ => None,
            });
            assert!(void.is_some_and(|r| matches!(r.what, Revoked::Membership { .. }) && r.covers(&ticket)));
        }
        assert!(
            b.ever_heard()
                .iter()
                .any(|p| matches!(p, Push::Removed { membership, .. } if *membership == ticket.membership))
        );
        assert!(matches!(b.ticket("lab").await, Err(Refusal::NotAMember(_))));
        assert!(matches!(
            b.ask(Request::ListFiles { group: group("lab"), after: None }).await,
            Err(Refusal::NotAMember(_))
        ));
        assert!(a.file_names("lab").await.is_empty());
    }

    #[tokio::test]
    async fn who_comes_back_needs_a_new_acceptance_and_stands_on_another_membership() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let before = b.ticket("lab").await.expect("a ticket").membership;
        a.remove("lab", "bob").await.expect("removed");
        assert!(matches!(a.accept("lab", "bob").await, Err(Refusal::NoSuchRequest { .. })));
        f.admit(&a, &b, "lab").await;
        assert_ne!(b.ticket("lab").await.expect("a ticket").membership, before);
    }

    #[tokio::test]
    async fn admins_leave_instead() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        assert!(matches!(a.remove("lab", "alice").await, Err(Refusal::Invalid(_))));
        b.join("lab").await.expect("asked");
        assert!(matches!(a.remove("lab", "bob").await, Err(Refusal::UserNotAMember { .. })));
    }

    #[tokio::test]
    async fn on_a_full_disk_one_can_still_take_away_and_not_add() {
        let f = Fixture::new().await;
        let (a, b, c, d) = (f.user("alice").await, f.user("bob").await, f.user("carol").await, f.user("dave").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        f.admit(&a, &c, "lab").await;
        let id = b.upload("lab", "f", b"content").await.expect("uploaded");
        d.join("lab").await.expect("asked");
        f.set_free(63 << 20);
        let full = Err(Refusal::TrackerDiskFull);
        assert_eq!(f.device().create("eve", "password1").await, full);
        assert_eq!(c.create_group("own").await, full);
        assert_eq!(c.start_seeding("lab", id).await, full);
        assert_eq!(c.upload("lab", "g", b"more").await.err(), Some(Refusal::TrackerDiskFull));
        assert_eq!(a.accept("lab", "dave").await, full);
        let again = f.device();
        again.login("alice", "password of alice").await.expect("an admin who has to log in first");
        again.remove("lab", "bob").await.expect("removed");
        c.leave("lab").await.expect("left");
        d.leave("lab").await.expect("withdrawn");
        b.logout().await.expect("logged out");
        f.set_free(64 << 20);
        c.create_group("own").await.expect("there is room again");
    }
}
