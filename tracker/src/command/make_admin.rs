//! `make_admin`: the admin hands the role to another member.

use common::id::{GroupName, UserName};
use common::wire::refusal::Refusal;

use super::{Call, Decision, Halt, Outcome, as_admin, the_user};
use crate::fact::Fact;
use crate::quota::{self, Quota};
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, user: UserName) -> Outcome {
    let quota = call.services.quota;
    call.write(me, move |state, me| decide(state, me, quota, name, user)).await
}

fn decide(state: &State, me: &Login, quota: Quota, name: GroupName, user: UserName) -> Result<Decision, Halt> {
    let group = as_admin(state, me, &name)?;
    let whom = the_user(state, &user)?;
    let membership = state.standing(group, whom).membership();
    let membership = membership.ok_or_else(|| Refusal::UserNotAMember { user: user.clone(), group: name.clone() })?;
    if whom == me.user {
        return Ok(Decision::done(Vec::new()));
    }
    if quota.applies() {
        quota.handed_group(state.groups_run(whom, quota::GROUPS_RUN), user.as_str())?;
    }
    Ok(Decision::done(vec![Fact::Admin { group, user: whom, membership }]))
}

#[cfg(test)]
mod tests {
    use common::wire::client::{Push, Relation};
    use common::wire::refusal::Refusal;

    use crate::command::tests::Fixture;

    #[tokio::test]
    async fn the_role_goes_to_a_member_and_only_by_the_admin() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        assert!(matches!(a.make_admin("lab", "bob").await, Err(Refusal::UserNotAMember { .. })));
        f.admit(&a, &b, "lab").await;
        assert!(matches!(b.make_admin("lab", "bob").await, Err(Refusal::NotAdmin { .. })));
        a.make_admin("lab", "alice").await.expect("nothing changes");
        a.make_admin("lab", "bob").await.expect("handed over");
        assert!(b.heard().iter().any(|p| matches!(p, Push::MadeAdmin { .. })));
        assert_eq!((a.groups().await[0].relation, b.groups().await[0].relation), (Relation::Member, Relation::Admin));
        assert!(matches!(a.remove("lab", "bob").await, Err(Refusal::NotAdmin { .. })));
        b.leave("lab").await.expect("left");
        assert_eq!(a.groups().await[0].relation, Relation::Admin);
    }
}
