//! Goes on with an earlier login of this device, by its token.

use common::id::UserName;
use common::ticket::{self, SessionToken, Signed};
use common::wire::refusal::Refusal;

use super::answer::{Answer, Grant};
use super::{Call, Decision, Halt, Outcome, now};
use crate::fact::Fact;
use crate::rules;
use crate::store::State;

/// What the token stands for here.
enum Known {
    /// A login of which this tracker knows.
    Here(Grant),
    /// One of which another tracker has not told yet.
    Elsewhere(Grant),
}

pub(super) async fn run(call: &Call, token: Signed<SessionToken>) -> Outcome {
    let admitted = token.admit(&call.services.key.public(), call.asked.device, ticket::now());
    let token = admitted.map_err(|_| Refusal::SessionEnded)?;
    call.services.throttle.resume(token.user, now())?;
    let (asked, knows_all) = (token.clone(), call.services.replica.knows_all());
    match call.services.store.read(move |state| check(state, &asked, knows_all)).await? {
        Known::Here(grant) => {
            let (response, login) = Answer::LoggedIn(grant).into_response(call)?;
            Ok(super::Effect { response, login, news: Vec::new() })
        }
        Known::Elsewhere(_) => call.commit(move |state| adopt(state, &token, knows_all)).await,
    }
}

fn check(state: &State, token: &SessionToken, knows_all: bool) -> Result<Known, Halt> {
    let ended = || Halt::from(Refusal::SessionEnded);
    // The token is ours, so that there was such an account: perhaps the other tracker has not told of it yet.
    let unknown = || Halt::from(if knows_all { Refusal::SessionEnded } else { Refusal::Stale });
    let SessionToken { session, user, device, credentials, expires } = *token;
    let name: UserName = state.user_name(user).ok_or_else(unknown)?;
    let grant = |credentials, expires| Grant { user, name, session, credentials, expires };
    match state.session(session) {
        Some(row) if rules::session_holds(&row, user, device, ticket::now()) => {
            Ok(Known::Here(grant(row.bound, row.expires)))
        }
        Some(_) => Err(ended()),
        None => {
            let now = state.account_of(user).map_or(0, |a| a.credentials);
            let holds = rules::token_holds(token, now, state.session_ended(session));
            if holds { Ok(Known::Elsewhere(grant(credentials, expires))) } else { Err(ended()) }
        }
    }
}

/// Takes a login over from its token: the same facts that the other tracker has.
fn adopt(state: &State, token: &SessionToken, knows_all: bool) -> Result<Decision, Halt> {
    let (Known::Here(grant) | Known::Elsewhere(grant)) = check(state, token, knows_all)?;
    let SessionToken { session, user, device, credentials, expires } = *token;
    let facts = vec![Fact::Session { id: session, user, device, expires }, Fact::SessionBound { session, credentials }];
    Ok(Decision { answer: Answer::LoggedIn(grant), ..Decision::done(facts) })
}

#[cfg(test)]
mod tests {
    use common::id::SessionId;
    use common::secret::ClusterSecret;
    use common::ticket::{SessionToken, Signed};
    use common::wire::client::Request;
    use common::wire::refusal::Refusal;

    use crate::command::tests::Fixture;

    #[tokio::test]
    async fn a_token_serves_its_device_until_the_login_ends() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        let token = a.token();
        let resume = || Request::Resume { token: token.clone() };
        assert!(a.ask(resume()).await.is_ok());
        assert_eq!(f.device().ask(resume()).await, Err(Refusal::SessionEnded), "a stolen token");
        a.logout().await.expect("logged out");
        assert_eq!(a.ask(resume()).await, Err(Refusal::SessionEnded));
    }

    #[tokio::test]
    async fn one_user_comes_back_only_so_often() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        let resume = async |device: &crate::command::tests::Device| {
            let token = device.token();
            device.ask(Request::Resume { token }).await
        };
        let mut resumed = 0;
        let refused = loop {
            match resume(&a).await {
                Ok(_) => resumed += 1,
                Err(refusal) => break refusal,
            }
            assert!(resumed < 1000, "for ever");
        };
        assert!(matches!(refused, Refusal::RateLimited { seconds: 1 }), "{refused:?}");
        assert!(resumed >= 64, "all connections that a user may have, at once: {resumed}");
        resume(&b).await.expect("others are not concerned");
    }

    #[tokio::test]
    async fn a_login_of_the_other_tracker_is_taken_over_by_its_token() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        let mut token = a.token().verify(&f.key().public()).expect("ours");
        token.session = SessionId::random();
        let sign = |t: &SessionToken| Signed::sign(t, f.key()).expect("signed");
        assert!(a.ask(Request::Resume { token: sign(&token) }).await.is_ok());
        token.session = SessionId::random();
        token.credentials = 0;
        assert_eq!(a.ask(Request::Resume { token: sign(&token) }).await, Err(Refusal::SessionEnded), "an old password");
        token.credentials = 1;
        let forged = Signed::sign(&token, &ClusterSecret::generate().cluster_key()).expect("signed");
        assert_eq!(a.ask(Request::Resume { token: forged }).await, Err(Refusal::SessionEnded));
    }
}
