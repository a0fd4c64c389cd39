//! `create_user`: a new account, under a name that nobody has. Does not log in.

use common::id::UserName;
use common::wire::client::{Password, Response};
use common::wire::refusal::Refusal;

use super::{Call, Decision, Effect, Halt, Mint, Outcome, now};
use crate::fact::Fact;
use crate::rules;
use crate::store::State;

pub(super) async fn run(call: &Call, name: UserName, password: Password) -> Outcome {
    rules::new_password(&password)?;
    rules::claim(name.is_claim(), name.as_str())?;
    if let Some(effect) = call.repeated().await? {
        return Ok(effect);
    }
    // Before the costly part; what counts is the same question in `decide`.
    let (mint, wanted) = (call.mint(), name.clone());
    if let Standing::Made = call.services.store.read(move |state| standing(state, mint, &wanted)).await? {
        return Ok(Effect::plain(Response::Done));
    }
    call.services.throttle.hashing(call.address, 1, now())?;
    call.services.throttle.new_account(call.address, now())?;
    let phc = call.services.passwords.hash(call.address, password).await?;
    call.commit(move |state| decide(state, mint, name, phc)).await
}

/// What there is of the account that a call asks for.
enum Standing {
    /// Nothing, and its name is free.
    Free,
    /// This very call has made it.
    Made,
}

fn standing(state: &State, mint: Mint, name: &UserName) -> Result<Standing, Halt> {
    match state.user_claim(mint.id("user")) {
        Some(made) => super::asked_again(made == *name).map(|_| Standing::Made),
        None if state.user_name_taken(name) => Err(Refusal::UserExists(name.clone()).into()),
        None => Ok(Standing::Free),
    }
}

fn decide(state: &State, mint: Mint, name: UserName, phc: String) -> Result<Decision, Halt> {
    if let Standing::Made = standing(state, mint, &name)? {
        return Ok(Decision::done(Vec::new()));
    }
    let user = mint.id("user");
    let password = Fact::Credential { id: mint.id("credential"), user, phc };
    Ok(Decision::done(vec![Fact::User { id: user, name }, password]))
}

#[cfg(test)]
mod tests {
    use common::wire::client::Request;
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Fixture, password, request_id, user};

    #[tokio::test]
    async fn a_name_is_given_once_whatever_its_case() {
        let f = Fixture::new().await;
        let a = f.device();
        assert!(a.create("alice", "password1").await.is_ok());
        for taken in ["alice", "ALICE", "Alice"] {
            let refused = f.device().create(taken, "password2").await;
            assert!(matches!(refused, Err(Refusal::UserExists(_))), "{taken}");
        }
        assert!(a.login("alice", "password1").await.is_ok());
        assert_eq!(a.login("ALICE", "password1").await, Err(Refusal::BadCredentials), "look-ups are exact");
    }

    #[tokio::test]
    async fn repeated_where_its_answer_is_not_recorded_it_is_the_same_account() {
        let f = Fixture::new().await;
        let (a, b) = (f.device(), f.device());
        let request = |name| Request::CreateUser { user: user(name), password: password("password1") };
        assert!(a.ask_as(request_id(3), request("alice")).await.is_ok());
        f.forget_answers().await;
        assert!(a.ask_as(request_id(3), request("alice")).await.is_ok());
        assert!(matches!(a.ask_as(request_id(3), request("carol")).await, Err(Refusal::Invalid(_))));
        assert!(matches!(b.ask_as(request_id(3), request("alice")).await, Err(Refusal::UserExists(_))));
    }

    #[tokio::test]
    async fn a_password_must_be_of_some_length() {
        let f = Fixture::new().await;
        assert_eq!(f.device().create("alice", "short").await, Err(Refusal::PasswordRule));
    }
}
