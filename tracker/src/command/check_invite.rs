//! `check_invite`: what an invitation is for, and whether it still lets anybody in, for whoever holds its secret.
//!
//! A secret that is not known is a guess, and counted as one; there is one answer to all of them. Who holds a secret and finds the
//! invitation over has not guessed, and is only kept from asking without end.

use common::id::UserId;
use common::invitation::{InviteDigest, InviteSecret};
use common::ticket::{self, UnixSeconds};
use common::wire::client::{InviteInfo, InviteState, Response};
use common::wire::refusal::Refusal;

use super::{Call, Effect, Halt, Outcome, accept_invite, now};
use crate::rules;
use crate::state::InvitationEntry;
use crate::store::State;

pub(super) async fn run(call: &Call, user: Option<UserId>, secret: InviteSecret) -> Outcome {
    let throttle = &call.services.throttle;
    throttle.may_redeem((user, call.address), now())?;
    throttle.check_invite(call.address, now())?;
    let (digest, time) = (secret.digest(), ticket::now());
    let found = call.services.store.read(move |state| info(state, digest, time)).await;
    accept_invite::note_wrong(call, user, &found);
    Ok(Effect::plain(Response::Invitation(found?)))
}

/// The invitation with this secret; of several one that is open, or the first.
fn info(state: &State, secret: InviteDigest, now: UnixSeconds) -> Result<InviteInfo, Halt> {
    let found = state.invitations_by(secret);
    let mut infos: Vec<_> = found.iter().filter_map(|entry| row(state, entry, now)).collect();
    infos.sort_by_key(|info| info.state != InviteState::Open);
    Ok(infos.into_iter().next().ok_or(Refusal::NoSuchInvite)?)
}

fn row(state: &State, entry: &InvitationEntry, now: UnixSeconds) -> Option<InviteInfo> {
    let is = rules::invite_state(entry, state.admin(entry.group).is_some(), now);
    Some(InviteInfo {
        group: state.group_name(entry.group)?,
        by: state.user_name(entry.by)?,
        left: if is == InviteState::Open { entry.uses.saturating_sub(entry.used) } else { 0 },
        expires: entry.expires,
        state: is,
    })
}

#[cfg(test)]
mod tests {
    use common::invitation::InviteSecret;
    use common::wire::client::{InviteInfo, InviteState, Request, Response};
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Device, Fixture, group, user};
    use crate::fact::{Fact, InvitationId};

    fn secret(n: u8) -> InviteSecret {
        InviteSecret::new([n; 16])
    }

    async fn invite(admin: &Device, n: u8, uses: u32) -> (u32, u64) {
        let request = Request::Invite { group: group("lab"), secret: secret(n).digest(), uses, seconds: 600 };
        match admin.ask(request).await {
            Ok(Response::Invited { number, expires }) => (number, expires),
            other => panic!("{other:?}"),
        }
    }

    async fn check(device: &Device, n: u8) -> Result<Response, Refusal> {
        device.ask(Request::CheckInvite { secret: secret(n) }).await
    }

    async fn state(device: &Device, n: u8) -> (u32, InviteState) {
        match check(device, n).await {
            Ok(Response::Invitation(InviteInfo { left, state, .. })) => (left, state),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn who_holds_the_secret_is_told_without_a_login_what_it_is_for() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        let (_, expires) = invite(&a, 1, 2).await;
        let open =
            |left| InviteInfo { group: group("lab"), by: user("alice"), left, expires, state: InviteState::Open };
        let stranger = f.device();
        assert_eq!(check(&stranger, 1).await, Ok(Response::Invitation(open(2))));
        b.ask(Request::AcceptInvite { secret: secret(1) }).await.expect("in");
        assert_eq!(check(&stranger, 1).await, Ok(Response::Invitation(open(1))));
        assert_eq!(check(&b, 1).await, Ok(Response::Invitation(open(1))), "logged in or not");
    }

    #[tokio::test]
    async fn of_one_that_is_over_it_is_said_why() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        let read = f.services().store.read(|s| Ok::<_, crate::store::StoreError>(s.group(&group("lab"))));
        let lab = read.await.expect("read").expect("a group");
        let past = Fact::Invited {
            id: InvitationId([9; 16]),
            group: lab,
            user: a.user(),
            number: 9,
            secret: secret(9).digest(),
            uses: 5,
            expires: common::ticket::now(),
            kicks_seen: Vec::new(),
        };
        f.state(vec![past]).await;
        invite(&a, 1, 1).await;
        b.ask(Request::AcceptInvite { secret: secret(1) }).await.expect("in");
        let (number, _) = invite(&a, 2, 5).await;
        a.ask(Request::RevokeInvite { group: group("lab"), number }).await.expect("revoked");
        invite(&a, 3, 5).await;
        let stranger = f.device();
        assert_eq!(state(&stranger, 9).await, (0, InviteState::Expired));
        assert_eq!(state(&stranger, 1).await, (0, InviteState::UsedUp));
        assert_eq!(state(&stranger, 2).await, (0, InviteState::Revoked));
        assert_eq!(state(&stranger, 3).await, (5, InviteState::Open));
        // What is said is what is done.
        let c = f.user("carol").await;
        for (n, is_in) in [(9, false), (1, false), (2, false), (3, true)] {
            let accepted = c.ask(Request::AcceptInvite { secret: secret(n) }).await;
            assert_eq!(accepted.is_ok(), is_in, "{n}: {accepted:?}");
        }
        assert_eq!(state(&stranger, 3).await, (4, InviteState::Open));
        c.leave("lab").await.expect("left");
        a.leave("lab").await.expect("left");
        b.leave("lab").await.expect("left, and closed");
        assert_eq!(state(&stranger, 3).await, (0, InviteState::Closed));
        assert!(f.user("dave").await.ask(Request::AcceptInvite { secret: secret(3) }).await.is_err());
    }

    #[tokio::test]
    async fn without_the_secret_nothing_is_learned_and_guesses_are_slowed_down() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        invite(&a, 1, 2).await;
        let (stranger, member) = (f.device(), f.user("bob").await);
        let mut guesses = 0;
        let slowed = loop {
            match check(&stranger, 7).await {
                Err(Refusal::NoSuchInvite) => guesses += 1,
                other => break other,
            }
        };
        assert!(matches!(slowed, Err(Refusal::RateLimited { .. })), "{slowed:?}");
        assert_eq!(guesses, 100, "as many as wrong passwords");
        assert!(matches!(check(&member, 7).await, Err(Refusal::RateLimited { .. })), "the same address");
    }

    #[tokio::test]
    async fn who_holds_a_secret_does_not_ask_without_end_and_keeps_nobody_from_logging_in() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        let (number, _) = invite(&a, 1, 2).await;
        a.ask(Request::RevokeInvite { group: group("lab"), number }).await.expect("revoked");
        let stranger = f.device();
        let mut asked = 0;
        while check(&stranger, 1).await.is_ok() {
            asked += 1;
        }
        assert!((1000..1100).contains(&asked), "{asked}");
        assert!(matches!(check(&stranger, 1).await, Err(Refusal::RateLimited { .. })));
        f.device().login("alice", "password of alice").await.expect("logged in");
    }

    #[tokio::test]
    async fn a_tracker_that_has_not_heard_of_it_says_what_it_says_of_any_other() {
        let [f, g] = Fixture::pair().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        invite(&a, 1, 2).await;
        assert_eq!(check(&g.device(), 1).await, Err(Refusal::NoSuchInvite));
        g.sync(&f).await;
        assert_eq!(state(&g.device(), 1).await, (2, InviteState::Open));
    }
}
