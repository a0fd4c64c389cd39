//! `join_group`: asks to become a member, and tells the admin.

use common::id::GroupName;

use super::{Call, Decision, Halt, Mint, Outcome, may_enter, the_group};
use crate::fact::Fact;
use crate::quota::Quota;
use crate::rules::{self, Login};
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName) -> Outcome {
    let (mint, quota) = (call.mint(), call.services.quota);
    call.write(me, move |state, me| decide(state, me, quota, mint, name)).await
}

fn decide(state: &State, me: &Login, quota: Quota, mint: Mint, name: GroupName) -> Result<Decision, Halt> {
    let group = the_group(state, &name)?;
    let membership = mint.id("membership");
    if let Some(asked) = state.membership(membership) {
        return super::asked_again(asked == (group, me.user));
    }
    rules::may_ask(&state.standing(group, me.user), &name)?;
    may_enter(state, quota, me.user)?;
    quota.new_request(state.requests_made_in(group, me.user))?;
    Ok(Decision::done(vec![Fact::Requested { membership, group, user: me.user }]))
}

#[cfg(test)]
mod tests {
    use common::id::{GroupId, MembershipId};
    use common::wire::client::{Push, Relation, Request};
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Fixture, group, request_id};
    use crate::fact::Fact;
    use crate::quota;

    #[tokio::test]
    async fn one_asks_once_and_the_admin_hears_of_it() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        assert!(matches!(b.join("lab").await, Err(Refusal::NoSuchGroup(_))));
        a.create_group("lab").await.expect("created");
        b.join("lab").await.expect("asked");
        assert!(a.heard().iter().any(|p| matches!(p, Push::JoinRequested { user, .. } if user.as_str() == "bob")));
        assert_eq!(b.groups().await[0].relation, Relation::Pending);
        assert!(matches!(b.join("lab").await, Err(Refusal::AlreadyRequested(_))));
        assert!(matches!(a.join("lab").await, Err(Refusal::AlreadyMember(_))));
    }

    #[tokio::test]
    async fn repeated_where_its_answer_is_not_recorded_it_is_the_same_request() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        for name in ["lab", "den"] {
            a.create_group(name).await.expect("created");
        }
        let request = |name| Request::JoinGroup { group: group(name) };
        assert!(b.ask_as(request_id(3), request("lab")).await.is_ok());
        f.forget_answers().await;
        assert!(b.ask_as(request_id(3), request("lab")).await.is_ok());
        assert!(matches!(b.ask_as(request_id(3), request("den")).await, Err(Refusal::Invalid(_))));
        assert!(matches!(b.join("lab").await, Err(Refusal::AlreadyRequested(_))), "another call is told");
    }

    #[tokio::test]
    async fn nobody_is_in_more_than_so_many_groups() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        for name in ["lab", "den"] {
            a.create_group(name).await.expect("created");
        }
        let requested = |_| {
            let (membership, group) = (MembershipId::random(), GroupId::random());
            Fact::Requested { membership, group, user: b.user() }
        };
        f.state((1..quota::MEMBERSHIPS).map(requested).collect()).await;
        b.join("lab").await.expect("the last that is allowed");
        for refused in [b.join("den").await, b.create_group("own").await] {
            assert!(matches!(refused, Err(Refusal::Invalid(text)) if text.to_string().contains("leave_group")));
        }
        b.leave("lab").await.expect("withdrawn");
        b.join("den").await.expect("there is room again");
    }

    #[tokio::test]
    async fn asking_to_join_one_group_is_bounded() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        b.join("lab").await.expect("asked");
        let read = f.services().store.read(|s| Ok::<_, crate::store::StoreError>(s.group(&group("lab"))));
        let group_id = read.await.expect("read").expect("a group");
        b.leave("lab").await.expect("withdrawn");
        let over = |n: u32| {
            let membership = MembershipId::new([(n % 256) as u8; 16]);
            [
                Fact::Requested { membership, group: group_id, user: b.user() },
                Fact::Ended { membership, reason: crate::fact::EndReason::Left },
            ]
        };
        f.state((1..quota::REQUESTS_PER_GROUP).flat_map(over).collect()).await;
        let refused = b.join("lab").await;
        assert!(matches!(refused, Err(Refusal::Invalid(text)) if text.to_string().contains("256 times")));
    }
}
