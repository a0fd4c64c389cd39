//! `accept_invite`: becomes a member by an invitation, at once.
//!
//! The membership stands on an acceptance like any other, which knows of the removals that the invitation knew of: so nobody who was
//! removed comes back by an invitation from before. Whatever keeps somebody out is answered alike.

use common::id::UserId;
use common::invitation::{InviteDigest, InviteSecret};
use common::ticket::{self, UnixSeconds};
use common::wire::client::InviteState;
use common::wire::refusal::Refusal;

use super::{Answer, Call, Decision, Halt, Mint, Outcome, may_enter, now};
use crate::fact::Fact;
use crate::quota::Quota;
use crate::rules::{self, Login};
use crate::state::InvitationEntry;
use crate::store::{State, StoreError};

pub(super) async fn run(call: &Call, me: &Login, secret: InviteSecret) -> Outcome {
    let whose = (Some(me.user), call.address);
    call.services.throttle.may_redeem(whose, now())?;
    let (mint, quota, time, digest) = (call.mint(), call.services.quota, ticket::now(), secret.digest());
    let outcome = call.write(me, move |state, me| decide(state, me, quota, mint, digest, time)).await;
    note_wrong(call, Some(me.user), &outcome);
    outcome
}

/// Counts an attempt that was refused, as a wrong password is.
pub(super) fn note_wrong<T>(call: &Call, user: Option<UserId>, outcome: &Result<T, Halt>) {
    if matches!(outcome, Err(Halt::Refused(Refusal::NoSuchInvite))) {
        call.services.throttle.wrong_invite((user, call.address), now());
    }
}

/// The invitation with this secret that lets somebody in.
pub(super) fn usable(state: &State, secret: InviteDigest, now: UnixSeconds) -> Result<InvitationEntry, Refusal> {
    let is_open = |entry: &InvitationEntry| {
        rules::invite_state(entry, state.admin(entry.group).is_some(), now) == InviteState::Open
    };
    state.invitations_by(secret).into_iter().find(is_open).ok_or(Refusal::NoSuchInvite)
}

fn decide(
    state: &State,
    me: &Login,
    quota: Quota,
    mint: Mint,
    secret: InviteDigest,
    now: UnixSeconds,
) -> Result<Decision, Halt> {
    let (membership, user) = (mint.id("membership"), me.user);
    if let Some((group, by)) = state.membership(membership) {
        let same = by == user && state.invitation_of(membership).is_some();
        return if same { joined(state, group, Vec::new()) } else { Err(super::reused()) };
    }
    // Whoever holds the secret and is a member is told so, whatever has become of the invitation.
    for entry in state.invitations_by(secret) {
        if let (Some(name), false) = (state.group_name(entry.group), state.standing(entry.group, user).live.is_empty())
        {
            return Err(Refusal::AlreadyMember(name).into());
        }
    }
    let InvitationEntry { id, group, .. } = usable(state, secret, now)?;
    let kicks_seen = state.removals_seen_by(id, user).ok_or(Refusal::NoSuchInvite)?;
    may_enter(state, quota, user)?;
    quota.new_request(state.requests_made_in(group, user))?;
    let facts = vec![
        Fact::Requested { membership, group, user },
        Fact::Accepted { membership, kicks_seen },
        Fact::Redeemed { membership, invitation: id },
    ];
    joined(state, group, facts)
}

fn joined(state: &State, group: common::id::GroupId, facts: Vec<Fact>) -> Result<Decision, Halt> {
    let group = state.group_name(group).ok_or(StoreError::Content("a group without a name"))?;
    Ok(Decision::answered(facts, Answer::Joined { group }))
}

#[cfg(test)]
mod tests {
    use common::invitation::InviteSecret;
    use common::wire::client::{Happened, InviteState, Push, Relation, Request, Response};
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Device, Fixture, group, request_id};
    use crate::fact::{Fact, InvitationId};

    fn secret(n: u8) -> InviteSecret {
        InviteSecret::new([n; 16])
    }

    async fn invite(admin: &Device, n: u8, uses: u32) -> u32 {
        let request = Request::Invite { group: group("lab"), secret: secret(n).digest(), uses, seconds: 600 };
        match admin.ask(request).await {
            Ok(Response::Invited { number, .. }) => number,
            other => panic!("{other:?}"),
        }
    }

    async fn accept(device: &Device, n: u8) -> Result<Response, Refusal> {
        device.ask(Request::AcceptInvite { secret: secret(n) }).await
    }

    async fn revoke(admin: &Device, number: u32) -> Result<Response, Refusal> {
        admin.ask(Request::RevokeInvite { group: group("lab"), number }).await
    }

    async fn listed(admin: &Device) -> Vec<(u32, u32, u32, InviteState)> {
        match admin.ask(Request::ListInvites { group: group("lab"), skip: 0 }).await {
            Ok(Response::Invites(page)) => page.rows.iter().map(|r| (r.number, r.uses, r.used, r.state)).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn is_member(response: &Result<Response, Refusal>) -> bool {
        matches!(response, Ok(Response::Joined { group }) if group.as_str() == "lab")
    }

    const NO: Result<Response, Refusal> = Err(Refusal::NoSuchInvite);

    #[tokio::test]
    async fn who_holds_an_invitation_is_in_at_once_as_often_as_it_says() {
        let f = Fixture::new().await;
        let (a, b, c, d) = (f.user("alice").await, f.user("bob").await, f.user("carol").await, f.user("dave").await);
        a.create_group("lab").await.expect("created");
        invite(&a, 1, 2).await;
        c.join("lab").await.expect("asked, and waits");
        assert!(is_member(&accept(&b, 1).await));
        assert!(is_member(&accept(&c, 1).await));
        assert_eq!(accept(&d, 1).await, NO, "used up");
        assert_eq!(accept(&d, 2).await, NO, "unknown");
        assert!(matches!(accept(&b, 1).await, Err(Refusal::AlreadyMember(_))));
        assert_eq!(listed(&a).await, [(1, 2, 2, InviteState::UsedUp)]);
        assert_eq!(b.groups().await[0].relation, Relation::Member);
        b.ticket("lab").await.expect("a ticket");
        c.leave("lab").await.expect("left");
        assert_eq!(c.groups().await[0].relation, Relation::None, "the request of before went with the membership");
        for d in [&b, &c] {
            let heard = d.heard();
            assert!(heard.iter().all(|p| !matches!(p, Push::Accepted { .. })), "{heard:?}");
        }
    }

    #[tokio::test]
    async fn the_device_that_came_in_is_told_by_neither_tracker_and_the_others_of_its_user_are() {
        let [f, g] = Fixture::pair().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        invite(&a, 1, 2).await;
        let other = f.device();
        other.login("bob", "password of bob").await.expect("logged in");
        g.sync(&f).await;
        let there = b.twin(&g);
        there.hears_hints();
        assert!(is_member(&accept(&b, 1).await));
        g.sync(&f).await;
        let is_told = |push: &Push| matches!(push, Push::Accepted { .. });
        assert!(!b.heard().iter().any(is_told) && other.heard().iter().any(is_told));
        let heard = there.heard();
        assert!(!heard.iter().any(is_told), "{heard:?}");
        assert!(heard.iter().any(|push| matches!(push, Push::NewsHint { .. })), "{heard:?}");
    }

    #[tokio::test]
    async fn what_was_revoked_or_belongs_to_a_closed_group_lets_nobody_in() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        let number = invite(&a, 1, 5).await;
        revoke(&a, number).await.expect("revoked");
        assert_eq!(accept(&b, 1).await, NO);
        let again = Refusal::NoSuchInviteNumber { group: group("lab"), number };
        assert_eq!(revoke(&a, number).await, Err(again));
        assert!(revoke(&a, 9).await.is_err());
        assert_eq!(listed(&a).await, [(1, 5, 0, InviteState::Revoked)]);
        invite(&a, 2, 5).await;
        a.leave("lab").await.expect("left, and closed");
        assert_eq!(accept(&b, 2).await, NO);
    }

    #[tokio::test]
    async fn its_time_ends_by_the_trackers_clock() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        let read = f.services().store.read(|s| Ok::<_, crate::store::StoreError>(s.group(&group("lab"))));
        let (group, user) = (read.await.expect("read").expect("a group"), a.user());
        let invited = |n: u8, expires| Fact::Invited {
            id: InvitationId([n; 16]),
            group,
            user,
            number: n.into(),
            secret: secret(n).digest(),
            uses: 5,
            expires,
            kicks_seen: Vec::new(),
        };
        let now = common::ticket::now();
        f.state(vec![invited(1, now), invited(2, now + 600)]).await;
        assert_eq!(accept(&b, 1).await, NO);
        assert!(is_member(&accept(&b, 2).await));
        assert_eq!(listed(&a).await, [(1, 5, 0, InviteState::Expired), (2, 5, 1, InviteState::Open)]);
    }

    #[tokio::test]
    async fn who_was_removed_comes_back_only_by_an_invitation_from_after() {
        let f = Fixture::new().await;
        let (a, b, c) = (f.user("alice").await, f.user("bob").await, f.user("carol").await);
        a.create_group("lab").await.expect("created");
        invite(&a, 1, 9).await;
        assert!(is_member(&accept(&b, 1).await));
        a.remove("lab", "bob").await.expect("removed");
        assert_eq!(accept(&b, 1).await, NO, "from before the removal");
        assert!(is_member(&accept(&c, 1).await), "others still come by it");
        invite(&a, 2, 9).await;
        assert!(is_member(&accept(&b, 2).await), "from after it");
        b.leave("lab").await.expect("left");
        assert!(is_member(&accept(&b, 2).await), "who has left may come back");
        a.remove("lab", "bob").await.expect("removed again");
        assert_eq!(accept(&b, 2).await, NO);
    }

    #[tokio::test]
    async fn it_stays_good_when_its_maker_is_no_longer_the_admin() {
        let f = Fixture::new().await;
        let (a, b, c) = (f.user("alice").await, f.user("bob").await, f.user("carol").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let number = invite(&a, 1, 9).await;
        a.make_admin("lab", "bob").await.expect("handed over");
        a.leave("lab").await.expect("left");
        assert!(is_member(&accept(&c, 1).await));
        revoke(&b, number).await.expect("the new admin may end it");
        c.leave("lab").await.expect("left");
        assert_eq!(accept(&c, 1).await, NO);
    }

    #[tokio::test]
    async fn repeated_where_its_answer_is_not_recorded_it_is_one_use() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        invite(&a, 1, 1).await;
        let request = || Request::AcceptInvite { secret: secret(1) };
        assert!(is_member(&b.ask_as(request_id(3), request()).await));
        f.forget_answers().await;
        assert!(is_member(&b.ask_as(request_id(3), request()).await));
        assert_eq!(listed(&a).await, [(1, 1, 1, InviteState::UsedUp)]);
    }

    #[tokio::test]
    async fn guesses_are_slowed_down() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        for _ in 0..4 {
            assert_eq!(accept(&a, 9).await, NO);
        }
        assert!(matches!(accept(&a, 9).await, Err(Refusal::RateLimited { .. })));
        let other = f.user("bob").await;
        assert_eq!(accept(&other, 9).await, NO, "another user at the address is not held up by it");
    }

    /// Two trackers that cannot hear each other, and then do.
    struct Apart {
        trackers: [Fixture; 2],
        admin: [Device; 2],
    }

    impl Apart {
        /// Alice's group with an invitation for `uses`, known at both.
        async fn new(uses: u32) -> Self {
            let trackers = Fixture::pair().await;
            let admin = trackers[0].user("alice").await;
            admin.create_group("lab").await.expect("created");
            invite(&admin, 1, uses).await;
            trackers[1].sync(&trackers[0]).await;
            let there = trackers[1].device();
            there.login("alice", "password of alice").await.expect("known there");
            Self { admin: [admin, there], trackers }
        }

        async fn user(&self, at: usize, name: &str) -> Device {
            let user = self.trackers[at].user(name).await;
            self.meet().await;
            user
        }

        async fn meet(&self) {
            self.trackers[0].sync(&self.trackers[1]).await;
            self.trackers[1].sync(&self.trackers[0]).await;
        }

        async fn listed(&self) -> Vec<(u32, u32, u32, InviteState)> {
            let rows = listed(&self.admin[0]).await;
            assert_eq!(rows, listed(&self.admin[1]).await, "both say the same");
            rows
        }
    }

    #[tokio::test]
    async fn the_last_use_at_both_trackers_while_they_are_apart_stands_twice() {
        let apart = Apart::new(1).await;
        let (b, c) = (apart.user(0, "bob").await, apart.user(1, "carol").await);
        assert!(is_member(&accept(&b, 1).await));
        assert!(is_member(&accept(&c, 1).await));
        apart.meet().await;
        assert_eq!(apart.listed().await, [(1, 1, 2, InviteState::UsedUp)]);
        b.ticket("lab").await.expect("a member");
        c.ticket("lab").await.expect("a member");
    }

    #[tokio::test]
    async fn a_group_that_its_last_member_left_elsewhere_goes_on_with_whoever_came_meanwhile() {
        let apart = Apart::new(9).await;
        let (b, c) = (apart.user(1, "bob").await, apart.user(1, "carol").await);
        apart.admin[0].leave("lab").await.expect("left, and closed");
        assert!(is_member(&accept(&b, 1).await), "nobody has heard of that here");
        apart.meet().await;
        b.ticket("lab").await.expect("a member");
        let groups = b.groups().await;
        assert_eq!((groups[0].relation, groups[0].members), (Relation::Admin, 1), "the longest-standing member");
        assert_eq!(apart.admin[1].groups().await[0].relation, Relation::None);
        assert!(is_member(&accept(&c, 1).await), "and its invitations are good");
    }

    #[tokio::test]
    async fn who_came_before_hearing_that_it_was_revoked_stays() {
        let apart = Apart::new(9).await;
        let (b, c) = (apart.user(1, "bob").await, apart.user(1, "carol").await);
        revoke(&apart.admin[0], 1).await.expect("revoked");
        assert!(is_member(&accept(&b, 1).await));
        apart.meet().await;
        b.ticket("lab").await.expect("still a member");
        assert_eq!(accept(&c, 1).await, NO);
        assert_eq!(apart.listed().await, [(1, 9, 1, InviteState::Revoked)]);
    }

    #[tokio::test]
    async fn a_removal_holds_against_an_invitation_that_did_not_know_of_it() {
        let apart = Apart::new(9).await;
        let b = apart.user(1, "bob").await;
        assert!(is_member(&accept(&b, 1).await));
        apart.meet().await;
        apart.admin[0].remove("lab", "bob").await.expect("removed at one tracker");
        // At the other nobody has heard: he leaves and comes back, by the old invitation and by one that is newer by the clock.
        b.leave("lab").await.expect("left");
        assert!(is_member(&accept(&b, 1).await));
        invite(&apart.admin[1], 2, 9).await;
        apart.meet().await;
        assert!(matches!(b.ticket("lab").await, Err(Refusal::NotAMember(_))), "out where they have met");
        let Ok(Response::News(news)) = apart.admin[0].ask(Request::News { files_of: None, before: None }).await else {
            panic!("no news")
        };
        let came = news.rows.iter().filter(|row| matches!(row.what, Happened::InvitationUsed { .. })).count();
        assert_eq!(came, 1, "the first time only: {news:?}");
        assert_eq!(accept(&b, 1).await, NO);
        assert_eq!(accept(&b, 2).await, NO, "made without knowing of the removal");
        invite(&apart.admin[1], 3, 9).await;
        assert!(is_member(&accept(&b, 3).await));
    }
}
