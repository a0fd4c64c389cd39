//! `create_user`: a new account, under a name that nobody has. Does not log in.

use common::id::UserName;
use common::invitation::{InviteDigest, InviteSecret};
use common::ticket;
use common::wire::client::{Password, Response};
use common::wire::refusal::Refusal;

use super::{Call, Decision, Effect, Halt, Mint, Outcome, accept_invite, now};
use crate::fact::{Fact, InvitationId};
use crate::quota;
use crate::rules::{self, Registration};
use crate::store::State;

pub(super) async fn run(call: &Call, name: UserName, password: Password, invite: Option<InviteSecret>) -> Outcome {
    rules::new_password(&password)?;
    rules::claim(name.is_claim(), name.as_str())?;
    if let Some(effect) = call.repeated().await? {
        return Ok(effect);
    }
    // Before the costly part; what counts are the same questions in `decide`.
    let (mint, wanted) = (call.mint(), name.clone());
    let by = By { registration: call.services.registration, secret: invite.map(|invite| invite.digest()) };
    if by.secret.is_some() {
        call.services.throttle.may_redeem((None, call.address), now())?;
    }
    let before = call.services.store.read(move |state| standing(state, mint, &wanted, by)).await;
    accept_invite::note_wrong(call, None, &before);
    if let Standing::Made = before? {
        return Ok(Effect::plain(Response::Done));
    }
    call.services.throttle.hashing(call.address, 1, now())?;
    call.services.throttle.new_account(call.address, now())?;
    let phc = call.services.passwords.hash(call.address, password).await?;
    call.commit(move |state| decide(state, mint, name, phc, by)).await
}

/// By what right an account is asked for.
#[derive(Debug, Clone, Copy)]
struct By {
    registration: Registration,
    /// The hash of an invitation's secret.
    secret: Option<InviteDigest>,
}

/// What there is of the account that a call asks for.
enum Standing {
    /// Nothing, and its name is free.
    Free,
    /// This very call has made it.
    Made,
}

fn standing(state: &State, mint: Mint, name: &UserName, by: By) -> Result<Standing, Halt> {
    if let Some(made) = state.user_claim(mint.id("user")) {
        return super::asked_again(made == *name).map(|_| Standing::Made);
    }
    sponsor(state, by)?;
    state.user_name_like(name).map_or(Ok(Standing::Free), |taken| Err(Refusal::UserExists(taken).into()))
}

/// The invitation that an account is made by, if that has not made enough. The use is counted when its holder joins.
fn sponsor(state: &State, By { registration, secret }: By) -> Result<Option<InvitationId>, Refusal> {
    let Some(secret) = secret else { return registration.uninvited(state.user_count()).map(|()| None) };
    let entry = accept_invite::usable(state, secret, ticket::now())?;
    let has_room = entry.accounts < entry.uses.saturating_add(quota::SPARE_ACCOUNTS);
    if has_room { Ok(Some(entry.id)) } else { Err(Refusal::NoSuchInvite) }
}

fn decide(state: &State, mint: Mint, name: UserName, phc: String, by: By) -> Result<Decision, Halt> {
    if let Standing::Made = standing(state, mint, &name, by)? {
        return Ok(Decision::done(Vec::new()));
    }
    let user = mint.id("user");
    let password = Fact::Credential { id: mint.id("credential"), user, phc };
    let sponsored = sponsor(state, by)?.map(|invitation| Fact::Sponsored { user, invitation });
    Ok(Decision::done([Fact::User { id: user, name }, password].into_iter().chain(sponsored).collect()))
}

#[cfg(test)]
mod tests {
    use common::invitation::InviteSecret;
    use common::wire::client::Request;
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Fixture, group, password, request_id, user};

    #[tokio::test]
    async fn a_name_is_given_once_whatever_its_case() {
        let f = Fixture::new().await;
        let a = f.device();
        assert!(a.create("alice", "password1").await.is_ok());
        for taken in ["alice", "ALICE", "Alice"] {
            let refused = f.device().create(taken, "password2").await;
            assert_eq!(refused, Err(Refusal::UserExists(user("alice"))), "{taken}: the name that logs in");
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
    async fn where_accounts_are_by_invitation_only_its_holders_get_one() {
        let f = Fixture::by_invitation().await;
        let a = f.user("alice").await;
        let refused = f.device().create("bob", "password1").await.expect_err("only the first account is free");
        assert!(matches!(&refused, Refusal::Invalid(text) if text.to_string().contains("--invite")), "{refused:?}");
        a.create_group("lab").await.expect("created");
        let secret = || InviteSecret::new([7; 16]);
        let request = Request::Invite { group: group("lab"), secret: secret().digest(), uses: 1, seconds: 600 };
        a.ask(request).await.expect("made");
        let invited = |name: &str, secret| {
            let (user, password) = (user(name), password("password1"));
            Request::CreateInvitedUser { user, password, secret }
        };
        let wrong = f.device().ask(invited("bob", InviteSecret::new([8; 16]))).await;
        assert_eq!(wrong, Err(Refusal::NoSuchInvite));
        let mut made = 0;
        while f.device().ask(invited(&format!("bob{made}"), secret())).await.is_ok() {
            made += 1;
        }
        assert_eq!(made, 1 + crate::quota::SPARE_ACCOUNTS, "not one for every guess at a name");
        let b = f.device();
        b.login("bob0", "password1").await.expect("logged in");
        b.ask(Request::AcceptInvite { secret: secret() }).await.expect("the use is counted here");
        let late = f.device().ask(invited("carol", secret())).await;
        assert_eq!(late, Err(Refusal::NoSuchInvite), "used up");
    }

    #[tokio::test]
    async fn a_password_must_be_of_some_length() {
        let f = Fixture::new().await;
        assert_eq!(f.device().create("alice", "short").await, Err(Refusal::PasswordRule));
    }
}
