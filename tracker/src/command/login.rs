//! `login`: a new session of a user on this device. A wrong user and a wrong password are told alike
//! and take as long.

use common::id::{SessionId, UserName};
use common::ticket::{self, SESSION_LIFE};
use common::wire::client::Password;
use common::wire::refusal::Refusal;

use super::answer::{Answer, Grant};
use super::{Call, Decision, Halt, Outcome, now};
use crate::fact::Delta;
use crate::store::{Account, State};

pub(super) async fn run(call: &Call, name: UserName, password: Password) -> Outcome {
    let services = &call.services;
    services.throttle.may_try(&name, call.address, now())?;
    services.throttle.hashing(call.address, 1, now())?;
    let wanted = name.clone();
    let account = services.store.read(move |state| Ok::<_, Halt>(state.account(&wanted)?)).await?;
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
    state: &State<'_>,
    verified: &Account,
    name: UserName,
    session: SessionId,
    device: common::id::DeviceId,
) -> Result<Decision, Halt> {
    let user = verified.user;
    // The password may have been changed while it was being checked.
    let account = state.account_of(user)?.filter(|now| now == verified).ok_or(Refusal::BadCredentials)?;
    if state.session(session)?.is_some() {
        return Err(super::reused());
    }
    let (credentials, expires) = (account.credentials, ticket::now() + SESSION_LIFE.as_secs());
    let deltas =
        vec![Delta::Session { id: session, user, device, expires }, Delta::SessionBound { session, credentials }];
    let grant = Grant { user, name, session, credentials, expires };
    Ok(Decision { answer: Answer::LoggedIn(grant), ..Decision::done(deltas) })
}

#[cfg(test)]
mod tests {
    use common::wire::client::Response;
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Fixture, request_id};

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
        let mut served = 0;
        let refused = loop {
            match a.login("alice", "password1").await {
                Ok(_) => served += 1,
                Err(refusal) => break refusal,
            }
        };
        assert!(matches!(refused, Refusal::RateLimited { seconds: 1 }), "{refused:?}");
        assert!((90..=130).contains(&served), "{served}");
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
        assert_eq!(a.ask_as(id, a.login_request("alice", "wrong-one")).await, Err(Refusal::BadCredentials));
        a.adopt(&first);
        a.logout().await.expect("logged out");
        assert_eq!(a.ask_as(id, a.login_request("alice", "password1")).await, Err(Refusal::SessionEnded));
    }
}
