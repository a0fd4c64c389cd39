//! `login --code`: a new password, and a login with it, for who has a code of the operator's. A wrong code, a wrong user, and one
//! that is over are told alike.
//!
//! The code stands on the present password, so that it is void once it was used. Trackers that cannot hear each other may each
//! take it once; then the later password counts, and all logins end.

use common::id::{DeviceId, SessionId, UserId, UserName};
use common::reset_code::ResetCode;
use common::ticket::{self, SESSION_LIFE};
use common::wire::client::Password;
use common::wire::refusal::Refusal;

use super::answer::{Answer, Grant};
use super::{Call, Decision, Halt, Mint, Outcome, now};
use crate::fact::Fact;
use crate::rules;
use crate::store::{Account, State};

pub(super) async fn run(call: &Call, name: UserName, code: ResetCode, new: Password) -> Outcome {
    rules::new_password(&new)?;
    // First: this goes before what others ask, and the recorded answers are on the disk.
    call.services.throttle.may_try(&name, call.address, now())?;
    // Asked again, the code would be void. Only the device that asked gets this answer.
    if let Some(effect) = call.repeated().await? {
        return Ok(effect);
    }
    let services = &call.services;
    services.throttle.hashing(call.address, 1, now())?;
    let wanted = name.clone();
    let account = services.store.read(move |state| Ok::<_, Halt>(state.account(&wanted))).await?;
    // Of nobody it is checked all the same, so that it takes as long.
    let (user, phc) = account.as_ref().map_or((UserId::new([0; 16]), ""), |a| (a.user, a.phc.as_str()));
    let is_good = code.holds(&services.key, user, phc, ticket::now());
    let Some(account) = account.filter(|_| is_good) else {
        services.throttle.failed(&name, call.address, now());
        return Err(Refusal::BadCredentials.into());
    };
    services.throttle.succeeded(&name, call.address);
    let phc = services.passwords.hash(call.address, new).await?;
    let (mint, device) = (call.mint(), call.asked.device);
    call.commit(move |state| decide(state, &account, name, (mint, device), phc)).await
}

fn decide(
    state: &State,
    verified: &Account,
    name: UserName,
    (mint, device): (Mint, DeviceId),
    phc: String,
) -> Result<Decision, Halt> {
    let user = verified.user;
    // It may have been used, or the password changed, meanwhile.
    let account = state.account_of(user).filter(|now| now == verified).ok_or(Refusal::BadCredentials)?;
    let session: SessionId = mint.id("session");
    let (credentials, expires) = (account.credentials + 1, ticket::now() + SESSION_LIFE.as_secs());
    let facts = vec![
        Fact::Credential { id: mint.id("credential"), user, phc },
        Fact::Session { id: session, user, device, expires },
        Fact::SessionBound { session, credentials },
    ];
    let grant = Grant { user, name, session, credentials, expires };
    Ok(Decision { answer: Answer::LoggedIn(grant), ..Decision::done(facts) })
}

#[cfg(test)]
mod tests {
    use common::reset_code::ResetCode;
    use common::ticket;
    use common::wire::client::{Push, Request, Response};
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Device, Fixture, password, request_id, user};

    fn with(name: &str, code: &ResetCode, new: &str) -> Request {
        Request::LoginWithCode { user: user(name), code: code.clone(), new: password(new) }
    }

    async fn code(f: &Fixture, of: &Device, life: u64) -> ResetCode {
        let user = of.user();
        let phc = f.services().store.read(move |s| Ok::<_, crate::store::StoreError>(s.account_of(user)));
        let phc = phc.await.expect("read").expect("an account").phc;
        ResetCode::new(f.key(), user, &phc, ticket::now() + life)
    }

    #[tokio::test]
    async fn a_code_sets_a_password_once_and_ends_all_other_logins() {
        let f = Fixture::new().await;
        let (b, new) = (f.user("bob").await, f.device());
        let code = code(&f, &b, 3600).await;
        let first = new.ask_as(request_id(5), with("bob", &code, "another password")).await.expect("logged in");
        assert!(matches!(first, Response::LoggedIn { .. }));
        assert_eq!(b.heard(), [Push::SessionEnded]);
        assert!(new.ask(Request::ListDevices).await.is_ok());
        let again = new.ask_as(request_id(5), with("bob", &code, "another password")).await;
        assert_eq!(again, Ok(first), "the answer was lost");
        let other = f.device();
        let again = other.ask_as(request_id(5), with("bob", &code, "a third password")).await;
        assert_eq!(again, Err(Refusal::BadCredentials), "used, and another device gets nobody's answer");
        assert_eq!(f.device().login("bob", "password of bob").await, Err(Refusal::BadCredentials));
        assert!(f.device().login("bob", "another password").await.is_ok());
    }

    #[tokio::test]
    async fn wrong_old_and_foreign_codes_are_the_same_and_are_throttled() {
        let f = Fixture::new().await;
        let (a, b, m) = (f.user("alice").await, f.user("bob").await, f.device());
        let (of_bob, over) = (code(&f, &b, 3600).await, code(&f, &b, 0).await);
        let over = if over.expires() > ticket::now() { ResetCode::new(f.key(), b.user(), "", 60) } else { over };
        for (name, code) in [("alice", &of_bob), ("nobody", &of_bob), ("bob", &over)] {
            assert_eq!(m.ask(with(name, code, "another password")).await, Err(Refusal::BadCredentials), "{name}");
        }
        assert_eq!(m.ask(with("bob", &of_bob, "short")).await, Err(Refusal::PasswordRule));
        for _ in 0..3 {
            assert_eq!(m.ask(with("bob", &over, "another password")).await, Err(Refusal::BadCredentials));
        }
        let refused = m.ask(with("bob", &of_bob, "another password")).await;
        assert!(matches!(refused, Err(Refusal::RateLimited { .. })), "{refused:?}");
        let changed = Request::ChangePassword { old: password("password of alice"), new: password("another password") };
        let of_alice = code(&f, &a, 3600).await;
        a.ask(changed).await.expect("changed");
        let refused = f.device().ask(with("alice", &of_alice, "a third password")).await;
        assert_eq!(refused, Err(Refusal::BadCredentials), "she knew it after all");
    }

    #[tokio::test]
    async fn either_tracker_takes_it_and_apart_each_once() {
        let [f, g] = Fixture::pair().await;
        let b = f.user("bob").await;
        g.sync(&f).await;
        let code = code(&f, &b, 3600).await;
        assert!(g.device().ask(with("bob", &code, "password there")).await.is_ok());
        assert!(f.device().ask(with("bob", &code, "password here")).await.is_ok(), "it cannot know");
        f.sync(&g).await;
        g.sync(&f).await;
        let mut right = Vec::new();
        for at in [&f, &g] {
            for text in ["password there", "password here"] {
                right.extend(at.device().login("bob", text).await.is_ok().then_some(text));
            }
            assert_eq!(at.device().ask(with("bob", &code, "a third password")).await, Err(Refusal::BadCredentials));
        }
        assert!(right.len() == 2 && right[0] == right[1], "one of them, the same at both: {right:?}");
    }
}
