//! `create_group`: a new group under a name that no open group has; its creator is the admin and
//! first member.

use common::id::GroupName;
use common::wire::refusal::Refusal;

use super::{Call, Decision, Halt, Mint, Outcome, may_enter};
use crate::fact::Fact;
use crate::quota::{self, Quota};
use crate::rules::{self, Login};
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName) -> Outcome {
    rules::claim(name.is_claim(), name.as_str())?;
    let (mint, quota) = (call.mint(), call.services.quota);
    call.write(me, move |state, me| decide(state, me, quota, mint, name)).await
}

fn decide(state: &State, me: &Login, quota: Quota, mint: Mint, name: GroupName) -> Result<Decision, Halt> {
    let (group, membership, user) = (mint.id("group"), mint.id("membership"), me.user);
    if let Some(made) = state.group_claim(group) {
        return super::asked_again(made == (name, user));
    }
    if let Some(taken) = state.group_name_like(&name) {
        return Err(Refusal::GroupExists(taken).into());
    }
    if quota.applies() {
        quota.new_group(state.groups_run(me.user, quota::GROUPS_RUN), state.groups_made(me.user))?;
    }
    may_enter(state, quota, me.user)?;
    if state.membership(membership).is_some() {
        return Err(super::reused());
    }
    Ok(Decision::done(vec![
        Fact::Group { id: group, name, creator: user },
        Fact::Requested { membership, group, user },
        Fact::Accepted { membership, kicks_seen: Vec::new() },
        Fact::Admin { group, user, membership },
    ]))
}

#[cfg(test)]
mod tests {
    use common::id::{GroupId, MembershipId};
    use common::wire::client::{Relation, Request};
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Fixture, group, request_id};
    use crate::fact::Fact;
    use crate::quota;

    #[tokio::test]
    async fn the_creator_is_its_admin_and_the_name_is_taken() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        // The one that is there is named: the typed one is no group's, so that nobody could ask to join it.
        for name in ["lab", "LAB"] {
            assert_eq!(b.create_group(name).await, Err(Refusal::GroupExists(group("lab"))));
        }
        let row = &a.groups().await[0];
        assert_eq!((row.admin.as_str(), row.members, row.relation), ("alice", 1, Relation::Admin));
        assert_eq!(b.groups().await[0].relation, Relation::None);
    }

    #[tokio::test]
    async fn repeated_it_is_one_group() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        for _ in 0..3 {
            let request = Request::CreateGroup { group: group("lab") };
            assert!(a.ask_as(request_id(3), request).await.is_ok());
        }
        assert_eq!(a.groups().await.len(), 1);
    }

    #[tokio::test]
    async fn repeated_where_its_answer_is_not_recorded_it_is_the_same_group() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        let request = |name| Request::CreateGroup { group: group(name) };
        assert!(a.ask_as(request_id(3), request("lab")).await.is_ok());
        f.forget_answers().await;
        assert!(a.ask_as(request_id(3), request("lab")).await.is_ok());
        assert_eq!(a.groups().await.len(), 1);
        assert!(matches!(a.ask_as(request_id(3), request("other")).await, Err(Refusal::Invalid(_))));
        assert!(matches!(b.ask_as(request_id(3), request("lab")).await, Err(Refusal::GroupExists(_))));
    }

    #[tokio::test]
    async fn a_name_is_free_again_when_the_last_member_has_left() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        a.leave("lab").await.expect("left");
        assert!(a.groups().await.is_empty(), "it is closed");
        b.create_group("lab").await.expect("created anew");
        assert_eq!(b.groups().await[0].admin.as_str(), "bob");
    }

    #[tokio::test]
    async fn nobody_runs_more_than_so_many_groups() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let mut facts = Vec::new();
        for n in 1..quota::GROUPS_RUN {
            let (id, user) = (GroupId::random(), a.user());
            let membership = MembershipId::random();
            facts.push(Fact::Group { id, name: group(&format!("g{n}")), creator: user });
            facts.push(Fact::Requested { membership, group: id, user });
            facts.push(Fact::Accepted { membership, kicks_seen: Vec::new() });
            facts.push(Fact::Admin { group: id, user, membership });
        }
        f.state(facts).await;
        let too_many = |r| matches!(r, Err(Refusal::Invalid(text)) if text.to_string().contains("which is the most"));
        assert!(too_many(a.create_group("one-more").await));
        a.make_admin("lab", "bob").await.expect("handed over");
        a.create_group("instead").await.expect("there is room again");
        assert!(too_many(b.make_admin("lab", "alice").await), "nor is one handed more");
        a.leave("g1").await.expect("left");
        b.make_admin("lab", "alice").await.expect("handed back");
    }
}
