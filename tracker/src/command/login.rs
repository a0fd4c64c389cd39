//! `login`: a new session of a user on this device. A wrong user and a wrong password are told alike
//! and take as long.

use common::id::{SessionId, UserId, UserName};
use common::ticket::{self, SESSION_LIFE};
use common::wire::client::Password;
use common::wire::refusal::Refusal;

use super::answer::{Answer, Grant};
use super::{Call, Decision, Halt, Outcome, now};
use crate::fact::Fact;
use crate::quota;
use crate::rules;
use crate::store::{Account, State};

pub(super) async fn run(call: &Call, name: UserName, password: Password) -> Outcome {
    let services = &call.services;
    services.throttle.may_try(&name, call.address, now())?;
    services.throttle.hashing(call.address, 1, now())?;
    let wanted = name.clone();
    let account = services.store.read(move |state| Ok::<_, Halt>(state.account(&wanted))).await?;
    let phc = account.as_ref().map(|a| a.phc.clone());
    let right = services.passwords.verify(call.address, password, phc).await?;
    let Some(account) = account.filter(|_| right) else {
        services.throttle.failed(&name, call.address, now());
        return Err(Refusal::BadCredentials.into());
    };
    services.throttle.succeeded(&name, call.address);
    let (session, device) = (call.mint().id("session"), call.asked.device);
    call.commit(move |state| decide(state, &account, name, session, device)).await
}

fn decide(
    state: &State,
    verified: &Account,
    name: UserName,
    session: SessionId,
    device: common::id::DeviceId,
) -> Result<Decision, Halt> {
    let user = verified.user;
    // The password may have been changed while it was being checked.
    let account = state.account_of(user).filter(|now| now == verified).ok_or(Refusal::BadCredentials)?;
    if let Some(row) = state.session(session) {
        // It was granted before, and the record of that is not here.
        let done = super::asked_again((row.user, row.device) == (user, device))?;
        if !rules::session_holds(&row, user, device, ticket::now()) {
            return Err(Refusal::SessionEnded.into());
        }
        let grant = Grant { user, name, session, credentials: row.bound, expires: row.expires };
        return Ok(Decision { answer: Answer::LoggedIn(grant), ..done });
    }
    let (credentials, expires) = (account.credentials, ticket::now() + SESSION_LIFE.as_secs());
    let mut facts =
        vec![Fact::Session { id: session, user, device, expires }, Fact::SessionBound { session, credentials }];
    facts.extend(make_room(state, user)?);
    let grant = Grant { user, name, session, credentials, expires };
    Ok(Decision { answer: Answer::LoggedIn(grant), ..Decision::done(facts) })
}

/// Ends the oldest logins of a user who has as many as may be, as a logout there would.
fn make_room(state: &State, user: UserId) -> Result<Vec<Fact>, Halt> {
    let oldest = state.sessions_beyond(user, quota::SESSIONS - 1, ticket::now());
    Ok(oldest.into_iter().map(|session| Fact::SessionEnded { session }).collect())
}

#[cfg(test)]
mod tests {
    use common::ticket::Revoked;
    use common::wire::client::{Push, Response};
    use common::wire::refusal::Refusal;

    use super::now;
    use crate::command::tests::{Fixture, HERE, request_id};

    #[tokio::test]
    async fn wrong_user_and_wrong_password_are_the_same() {
        let f = Fixture::new().await;
        let a = f.device();
        a.create("alice", "password1").await.expect("created");
        assert_eq!(a.login("alice", "password2").await, Err(Refusal::BadCredentials));
        assert_eq!(a.login("nobody", "password2").await, Err(Refusal::BadCredentials));
        assert!(a.login("alice", "password1").await.is_ok());
    }

    #[tokio::test]
    async fn right_passwords_are_charged_too() {
        let f = Fixture::new().await;
        let a = f.device();
        a.create("alice", "password1").await.expect("created");
        // What many right ones before it would have left of the address's allowance.
        while f.services().throttle.hashing(HERE, 20, now()).is_ok() {}
        let served = |result: Result<_, Refusal>| match result {
            Ok(_) => true,
            Err(Refusal::RateLimited { seconds: 1 }) => false,
            Err(other) => panic!("{other:?}"),
        };
        let mut tries = 0;
        while served(a.login("alice", "password1").await) {
            tries += 1;
            assert!(tries < 40, "each takes from it");
        }
    }

    #[tokio::test]
    async fn guessing_is_slowed_for_known_and_unknown_alike() {
        let f = Fixture::new().await;
        let a = f.device();
        a.create("alice", "password1").await.expect("created");
        for user in ["alice", "nobody"] {
            for _ in 0..4 {
                assert_eq!(a.login(user, "guess").await, Err(Refusal::BadCredentials));
            }
            assert_eq!(a.login(user, "password1").await, Err(Refusal::RateLimited { seconds: 1 }));
        }
    }

    #[tokio::test]
    async fn a_repeated_login_is_one_session_and_not_without_the_password() {
        let f = Fixture::new().await;
        let a = f.device();
        a.create("alice", "password1").await.expect("created");
        let id = request_id(7);
        let first = a.ask_as(id, a.login_request("alice", "password1")).await.expect("logged in");
        let again = a.ask_as(id, a.login_request("alice", "password1")).await.expect("logged in");
        assert!(matches!(&first, Response::LoggedIn { .. }));
        assert_eq!(first, again);
        f.forget_answers().await;
        let again = a.ask_as(id, a.login_request("alice", "password1")).await.expect("logged in");
        assert_eq!(first, again, "nor does it need the record");
        assert_eq!(a.ask_as(id, a.login_request("alice", "wrong-one")).await, Err(Refusal::BadCredentials));
        a.adopt(&first);
        a.logout().await.expect("logged out");
        assert_eq!(a.ask_as(id, a.login_request("alice", "password1")).await, Err(Refusal::SessionEnded));
    }

    #[tokio::test]
    async fn of_too_many_logins_the_oldest_ends() {
        let f = Fixture::new().await;
        let (bob, alice) = (f.user("bob").await, f.user("alice").await);
        alice.create_group("lab").await.expect("created");
        f.admit(&alice, &bob, "lab").await;
        let first = bob.session();
        let (user, now) = (bob.user(), common::ticket::now());
        let holding = async || {
            let state =
                f.services().store.read(move |s| Ok::<_, crate::store::StoreError>(s.sessions_that_hold(user, now)));
            state.await.expect("read")
        };
        f.sessions(user, crate::quota::SESSIONS - 1).await;
        assert_eq!(holding().await.len(), crate::quota::SESSIONS as usize);
        alice.heard();
        let last = f.device();
        last.login("bob", "password of bob").await.expect("logged in");
        let now_holding = holding().await;
        assert_eq!(now_holding.len(), crate::quota::SESSIONS as usize, "as many as before");
        assert!(now_holding.contains(&last.session()) && !now_holding.contains(&first));
        assert!(bob.heard().contains(&Push::SessionEnded), "its connection is told");
        assert!(
            alice.heard().iter().any(|p| matches!(p, Push::Revoked(r)
            if r.verify(&f.key().public()).is_ok_and(|r| r.what == Revoked::Session(first)))),
            "and who served it"
        );
    }
}
