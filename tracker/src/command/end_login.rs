//! `end_login`: ends the caller's logins on one device, as a logout there would. Seeders and that device hear of it at
//! once. The login that asks is not among them: that one is for `logout`.

use common::id::DeviceId;
use common::ticket;
use common::wire::limits::Text;
use common::wire::refusal::Refusal;

use super::{Call, Decision, Halt, Outcome};
use crate::fact::Fact;
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, device: DeviceId) -> Outcome {
    call.write(me, move |state, me| decide(state, me, device)).await
}

fn decide(state: &State, me: &Login, device: DeviceId) -> Result<Decision, Halt> {
    let logins = state.logins(me.user, ticket::now()).into_iter();
    let ended: Vec<_> = logins.filter(|l| l.device == device && l.session != me.session).map(|l| l.session).collect();
    if ended.is_empty() && device != me.device {
        let text = format!("you are not logged in on the device `{device:.16}`; `list_devices` shows where you are");
        return Err(Refusal::Invalid(Text::clipped(&text)).into());
    }
    let facts = ended.into_iter().map(|session| Fact::SessionEnded { session }).collect();
    Ok(Decision::done(facts))
}

#[cfg(test)]
mod tests {
    use common::id::DeviceId;
    use common::ticket::Revoked;
    use common::wire::client::{Push, Request};
    use common::wire::refusal::Refusal;

    use crate::command::tests::Fixture;

    const LIST: Request = Request::ListGroups { after: None };

    #[tokio::test]
    async fn all_logins_of_the_device_end_with_their_tickets_and_no_other() {
        let f = Fixture::new().await;
        let (alice, bob) = (f.user("alice").await, f.user("bob").await);
        alice.create_group("lab").await.expect("created");
        f.admit(&alice, &bob, "lab").await;
        let phone = f.device();
        phone.login("bob", "password of bob").await.expect("logged in");
        let first = phone.session();
        phone.login("bob", "password of bob").await.expect("logged in again");
        let (second, token) = (phone.session(), phone.token());
        alice.heard();
        let end = || Request::EndLogin { device: phone.device() };
        assert!(matches!(alice.ask(end()).await, Err(Refusal::Invalid(_))), "it is not hers");
        bob.ask(end()).await.expect("ended");
        let void = alice.heard().into_iter().filter_map(|p| match p {
            Push::Revoked(r) => r.verify(&f.key().public()).ok().map(|r| r.what),
            _ => None,
        });
        let void: Vec<_> = void.collect();
        assert!(void.contains(&Revoked::Session(first)) && void.contains(&Revoked::Session(second)), "{void:?}");
        assert!(phone.heard().contains(&Push::SessionEnded));
        assert_eq!(phone.ask(Request::Resume { token }).await, Err(Refusal::SessionEnded));
        assert!(bob.ask(LIST).await.is_ok() && alice.ask(LIST).await.is_ok());
        assert!(matches!(bob.ask(end()).await, Err(Refusal::Invalid(_))), "there is none any more");
    }

    #[tokio::test]
    async fn on_ones_own_device_only_the_others_end() {
        let f = Fixture::new().await;
        let bob = f.user("bob").await;
        bob.login("bob", "password of bob").await.expect("a second login");
        bob.ask(Request::EndLogin { device: bob.device() }).await.expect("the first one ends");
        assert!(bob.ask(LIST).await.is_ok());
        let unknown = Request::EndLogin { device: DeviceId::new([9; 32]) };
        assert!(matches!(bob.ask(unknown).await, Err(Refusal::Invalid(_))));
    }
}
