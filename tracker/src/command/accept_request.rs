//! `accept_request`: the admin lets a user in.

use common::id::{GroupName, UserName};
use common::wire::refusal::Refusal;

use super::{Call, Decision, Halt, Outcome, as_admin, the_user};
use crate::fact::Fact;
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, user: UserName) -> Outcome {
    call.write(me, move |state, me| decide(state, me, name, user)).await
}

fn decide(state: &State, me: &Login, name: GroupName, user: UserName) -> Result<Decision, Halt> {
    let group = as_admin(state, me, &name)?;
    let whom = the_user(state, &user)?;
    let standing = state.standing(group, whom);
    // Of several requests one suffices; a leave ends them all.
    let request = standing.pending.first().filter(|_| standing.live.is_empty());
    let membership = *request.ok_or_else(|| Refusal::NoSuchRequest { user, group: name.clone() })?;
    let accepted = Fact::Accepted { membership, kicks_seen: state.kicks(group, whom) };
    Ok(Decision::done(vec![accepted]))
}

#[cfg(test)]
mod tests {
    use common::wire::client::{Push, Relation};
    use common::wire::refusal::Refusal;

    use crate::command::tests::Fixture;

    #[tokio::test]
    async fn the_admin_lets_in_who_has_asked() {
        let f = Fixture::new().await;
        let (a, b, c) = (f.user("alice").await, f.user("bob").await, f.user("carol").await);
        a.create_group("lab").await.expect("created");
        assert!(matches!(a.accept("lab", "bob").await, Err(Refusal::NoSuchRequest { .. })));
        assert!(matches!(a.accept("lab", "nobody").await, Err(Refusal::NoSuchUser(_))));
        assert!(matches!(a.accept("other", "bob").await, Err(Refusal::NoSuchGroup(_))));
        b.join("lab").await.expect("asked");
        for other in [&b, &c] {
            let refused = other.accept("lab", "bob").await;
            assert!(matches!(refused, Err(Refusal::NotAdmin { admin, .. }) if admin.as_str() == "alice"));
        }
        a.accept("lab", "bob").await.expect("accepted");
        assert!(b.heard().iter().any(|p| matches!(p, Push::Accepted { .. })));
        assert_eq!(b.groups().await[0].relation, Relation::Member);
        assert!(matches!(a.accept("lab", "bob").await, Err(Refusal::NoSuchRequest { .. })));
    }
}
