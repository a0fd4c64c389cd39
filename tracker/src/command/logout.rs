//! `logout`: ends this login everywhere, and with it its tickets.

use super::answer::Answer;
use super::{Call, Decision, Halt, Outcome};
use crate::fact::Fact;
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login) -> Outcome {
    call.write(me, decide).await
}

fn decide(_: &State, me: &Login) -> Result<Decision, Halt> {
    let decision = Decision::done(vec![Fact::SessionEnded { session: me.session }]);
    Ok(Decision { answer: Answer::LoggedOut, ..decision })
}

#[cfg(test)]
mod tests {
    use common::ticket::Revoked;
    use common::wire::client::{Push, Request};
    use common::wire::refusal::Refusal;

    use crate::command::tests::Fixture;

    #[tokio::test]
    async fn it_ends_one_login_and_its_tickets() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let elsewhere = f.device();
        elsewhere.login("bob", "password of bob").await.expect("logged in");
        let session = b.session();
        b.logout().await.expect("logged out");
        assert!(a.heard().iter().any(|p| matches!(p, Push::Revoked(r)
            if r.verify(&f.key().public()).is_ok_and(|r| r.what == Revoked::Session(session)))));
        assert_eq!(b.ask(Request::ListGroups { after: None }).await, Err(Refusal::NotLoggedIn));
        assert!(elsewhere.ask(Request::ListGroups { after: None }).await.is_ok());
    }
}
