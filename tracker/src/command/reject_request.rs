//! `reject_request`: the admin turns a user's request down.

use common::id::{GroupName, UserName};
use common::wire::refusal::Refusal;

use super::{Call, Decision, Halt, Outcome, as_admin, the_user};
use crate::fact::{EndReason, Fact};
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, user: UserName) -> Outcome {
    call.write(me, move |state, me| decide(state, me, name, user)).await
}

fn decide(state: &State, me: &Login, name: GroupName, user: UserName) -> Result<Decision, Halt> {
    let group = as_admin(state, me, &name)?;
    let whose = the_user(state, &user)?;
    let standing = state.standing(group, whose);
    if standing.pending.is_empty() || !standing.live.is_empty() {
        return Err(Refusal::NoSuchRequest { user, group: name }.into());
    }
    let reject = |m: &_| Fact::Ended { membership: *m, reason: EndReason::Rejected };
    let facts = standing.pending.iter().map(reject).collect();
    Ok(Decision::done(facts))
}

#[cfg(test)]
mod tests {
    use common::wire::client::{Push, Relation};
    use common::wire::refusal::Refusal;

    use crate::command::tests::Fixture;

    #[tokio::test]
    async fn who_was_turned_down_may_ask_again() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        b.join("lab").await.expect("asked");
        assert!(matches!(b.reject("lab", "bob").await, Err(Refusal::NotAdmin { .. })));
        a.reject("lab", "bob").await.expect("rejected");
        assert!(b.heard().iter().any(|p| matches!(p, Push::Rejected { .. })));
        assert_eq!(b.groups().await[0].relation, Relation::None);
        assert!(matches!(a.accept("lab", "bob").await, Err(Refusal::NoSuchRequest { .. })));
        b.join("lab").await.expect("asked again");
        a.accept("lab", "bob").await.expect("accepted");
        assert!(
            matches!(a.reject("lab", "bob").await, Err(Refusal::NoSuchRequest { .. })),
            "a member is removed instead"
        );
    }
}
