//! `list_members`: who is in a group, for its members.

use common::id::{GroupName, UserName};
use common::wire::client::{MemberRow, Response};

use super::{Call, Effect, Outcome, PAGE_AND_ONE, as_member, page};
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, after: Option<UserName>) -> Outcome {
    let query = move |state: &State, me: &Login| {
        let (group, _) = as_member(state, me, &name)?;
        let admin = state.admin(group);
        let members = state.members_after(group, after.as_ref(), PAGE_AND_ONE);
        Ok(members.into_iter().map(|m| MemberRow { user: m.name, admin: Some(m.user) == admin }).collect())
    };
    Ok(Effect::plain(Response::Members(page(call.read(me, query).await?))))
}

#[cfg(test)]
mod tests {
    use common::wire::client::{Request, Response};
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Fixture, group};

    #[tokio::test]
    async fn members_see_each_other_and_others_see_nobody() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        let list = || Request::ListMembers { group: group("lab"), after: None };
        assert!(matches!(b.ask(list()).await, Err(Refusal::NotAMember(_))));
        b.join("lab").await.expect("asked");
        assert!(matches!(b.ask(list()).await, Err(Refusal::NotAMember(_))), "asking is not being in");
        a.accept("lab", "bob").await.expect("accepted");
        let Ok(Response::Members(page)) = b.ask(list()).await else { panic!("not a list") };
        let rows: Vec<_> = page.rows.iter().map(|r| (r.user.as_str(), r.admin)).collect();
        assert_eq!(rows, [("alice", true), ("bob", false)]);
    }
}
