//! `change_password`: a new password, which ends every other login of the user.

use common::ticket;
use common::wire::client::Password;
use common::wire::refusal::Refusal;

use super::answer::{Answer, Grant};
use super::{Call, Decision, Halt, Mint, Outcome, now};
use crate::fact::Fact;
use crate::rules::{self, Login};
use crate::store::{Account, State, StoreError};

pub(super) async fn run(call: &Call, me: &Login, old: Password, new: Password) -> Outcome {
    rules::new_password(&new)?;
    // Asked again, the old password would be wrong.
    if let Some(effect) = call.repeated().await? {
        return Ok(effect);
    }
    let services = &call.services;
    services.throttle.may_try(&me.name, call.address, now())?;
    services.throttle.hashing(call.address, 2, now())?;
    let account = call.read(me, |state, me| Ok(state.account_of(me.user))).await?;
    let account = account.ok_or(StoreError::Content("a login without an account"))?;
    if !services.passwords.verify(call.address, old, Some(account.phc.clone())).await? {
        services.throttle.failed(&me.name, call.address, now());
        return Err(Refusal::BadCredentials.into());
    }
    services.throttle.succeeded(&me.name, call.address);
    let phc = services.passwords.hash(call.address, new).await?;
    let mint = call.mint();
    call.write(me, move |state, me| decide(state, me, mint, &account, phc)).await
}

fn decide(state: &State, me: &Login, mint: Mint, verified: &Account, phc: String) -> Result<Decision, Halt> {
    let account = state.account_of(me.user).filter(|now| now == verified).ok_or(Refusal::BadCredentials)?;
    let (user, session) = (me.user, me.session);
    let credentials = account.credentials + 1;
    let facts =
        vec![Fact::Credential { id: mint.id("credential"), user, phc }, Fact::SessionBound { session, credentials }];
    let expires = state.session(session).map_or_else(ticket::now, |row| row.expires);
    let grant = Grant { user, name: me.name.clone(), session, credentials, expires };
    Ok(Decision { answer: Answer::LoggedIn(grant), ..Decision::done(facts) })
}

#[cfg(test)]
mod tests {
    use common::ticket::Revoked;
    use common::wire::client::{Push, Request};
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Fixture, password, request_id};

    const LIST: Request = Request::ListGroups { after: None };

    fn change(old: &str, new: &str) -> Request {
        Request::ChangePassword { old: password(old), new: password(new) }
    }

    #[tokio::test]
    async fn every_other_login_ends_and_tickets_with_it() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let elsewhere = f.device();
        elsewhere.login("bob", "password of bob").await.expect("logged in");
        let (old_token, except) = (elsewhere.token(), Some(b.session()));
        b.ask(change("password of bob", "another password")).await.expect("changed");
        assert!(elsewhere.heard().contains(&Push::SessionEnded) && !b.heard().contains(&Push::SessionEnded));
        assert!(a.heard().iter().any(|p| matches!(p, Push::Revoked(r)
            if r.verify(&f.key().public()).is_ok_and(|r| matches!(r.what, Revoked::OtherSessions { except: e, .. } if e == except)))));
        assert_eq!(elsewhere.ask(LIST).await, Err(Refusal::SessionEnded));
        assert_eq!(elsewhere.ask(Request::Resume { token: old_token }).await, Err(Refusal::SessionEnded));
        assert!(b.ask(LIST).await.is_ok());
        assert_eq!(f.device().login("bob", "password of bob").await, Err(Refusal::BadCredentials));
        assert!(f.device().login("bob", "another password").await.is_ok());
    }

    #[tokio::test]
    async fn repeated_it_gives_the_same_token_and_changes_nothing() {
        let f = Fixture::new().await;
        let b = f.user("bob").await;
        let old_token = b.token();
        let first = b.ask_as(request_id(9), change("password of bob", "another password")).await.expect("changed");
        // The answer was lost: the client comes back with what it has.
        assert!(b.ask(Request::Resume { token: old_token }).await.is_ok());
        let again = b.ask_as(request_id(9), change("password of bob", "another password")).await.expect("changed");
        assert_eq!(first, again);
    }

    #[tokio::test]
    async fn the_old_password_must_be_right_and_the_new_one_in_rule() {
        let f = Fixture::new().await;
        let b = f.user("bob").await;
        assert_eq!(b.ask(change("wrong password", "another password")).await, Err(Refusal::BadCredentials));
        assert_eq!(b.ask(change("password of bob", "short")).await, Err(Refusal::PasswordRule));
        assert_eq!(f.device().ask(change("password of bob", "another password")).await, Err(Refusal::NotLoggedIn));
    }
}
