//! `create_user`: a new account, under a name that nobody has. Does not log in.

use common::id::UserName;
use common::wire::client::Password;
use common::wire::refusal::Refusal;

use super::{Call, Decision, Halt, Mint, Outcome, now};
use crate::fact::Delta;
use crate::rules;
use crate::store::State;

pub(super) async fn run(call: &Call, name: UserName, password: Password) -> Outcome {
    rules::new_password(&password)?;
    rules::claim(name.is_claim(), name.as_str())?;
    if let Some(effect) = call.repeated().await? {
        return Ok(effect);
    }
    // Before the costly part; what counts is the same question in `decide`.
    let wanted = name.clone();
    call.services.store.read(move |state| free(state, &wanted)).await?;
    call.services.throttle.hashing(call.address, 1, now())?;
    call.services.throttle.new_account(call.address, now())?;
    let phc = call.services.passwords.hash(call.address, password).await?;
    let mint = call.mint();
    call.commit(move |state| decide(state, mint, name, phc)).await
}

fn free(state: &State<'_>, name: &UserName) -> Result<(), Halt> {
    if state.user_name_taken(name)? { Err(Refusal::UserExists(name.clone()).into()) } else { Ok(()) }
}

fn decide(state: &State<'_>, mint: Mint, name: UserName, phc: String) -> Result<Decision, Halt> {
    free(state, &name)?;
    let user = mint.id("user");
    if state.user_name(user)?.is_some() {
        return Err(super::reused());
    }
    let password = Delta::Credential { id: mint.id("credential"), user, phc };
    Ok(Decision::done(vec![Delta::User { id: user, name }, password]))
}

#[cfg(test)]
mod tests {
    use common::wire::refusal::Refusal;

    use crate::command::tests::Fixture;

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
    async fn a_password_must_be_of_some_length() {
        let f = Fixture::new().await;
        assert_eq!(f.device().create("alice", "short").await, Err(Refusal::PasswordRule));
    }
}
