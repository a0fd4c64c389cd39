//! `list_requests`: who asks to join, for the admin.

use common::id::{GroupName, UserName};
use common::wire::client::Response;

use super::{Call, Effect, Outcome, PAGE_AND_ONE, as_admin, page};
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, after: Option<UserName>) -> Outcome {
    let query = move |state: &State, me: &Login| {
        let group = as_admin(state, me, &name)?;
        Ok(state.requests_after(group, after.as_ref(), PAGE_AND_ONE))
    };
    Ok(Effect::plain(Response::Users(page(call.read(me, query).await?))))
}

#[cfg(test)]
mod tests {
    use common::wire::client::{Request, Response};
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Fixture, group};

    #[tokio::test]
    async fn the_admin_sees_who_waits() {
        let f = Fixture::new().await;
        let (a, b, c) = (f.user("alice").await, f.user("bob").await, f.user("carol").await);
        a.create_group("lab").await.expect("created");
        b.join("lab").await.expect("asked");
        c.join("lab").await.expect("asked");
        a.accept("lab", "carol").await.expect("accepted");
        let list = || Request::ListRequests { group: group("lab"), after: None };
        assert!(matches!(c.ask(list()).await, Err(Refusal::NotAdmin { .. })));
        let Ok(Response::Users(page)) = a.ask(list()).await else { panic!("not a list") };
        assert_eq!(page.rows.iter().map(|u| u.as_str()).collect::<Vec<_>>(), ["bob"]);
    }
}
