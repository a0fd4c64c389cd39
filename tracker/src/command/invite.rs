//! `invite`: the admin makes an invitation. Its secret stays with whoever asks; here is only its hash.

use common::id::GroupName;
use common::invitation::{InviteDigest, MAX_SECONDS, MAX_USES, MIN_SECONDS};
use common::ticket::{self, UnixSeconds};
use common::wire::limits::Text;
use common::wire::refusal::Refusal;

use super::{Answer, Call, Decision, Halt, Mint, Outcome, as_admin};
use crate::fact::Fact;
use crate::quota::Quota;
use crate::rules::Login;
use crate::store::State;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) secret: InviteDigest,
    pub(super) uses: u32,
    /// How long it is to last.
    pub(super) seconds: u32,
}

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, wanted: Wanted) -> Outcome {
    let (mint, quota, now) = (call.mint(), call.services.quota, ticket::now());
    check(wanted)?;
    call.write(me, move |state, me| decide(state, me, quota, mint, &name, wanted, now)).await
}

/// The bounds that a client should have kept.
fn check(Wanted { uses, seconds, .. }: Wanted) -> Result<(), Halt> {
    let refused = |text: &str| Err(Refusal::Invalid(Text::clipped(text)).into());
    match (uses, seconds) {
        (1..=MAX_USES, MIN_SECONDS..=MAX_SECONDS) => Ok(()),
        (1..=MAX_USES, _) => refused("an invitation lasts a minute at least and 365 days at most"),
        _ => refused("an invitation has 1 to 10000 uses"),
    }
}

fn decide(
    state: &State,
    me: &Login,
    quota: Quota,
    mint: Mint,
    name: &GroupName,
    wanted: Wanted,
    now: UnixSeconds,
) -> Result<Decision, Halt> {
    let group = as_admin(state, me, name)?;
    let id = mint.id("invitation");
    if let Some(made) = state.invitation(id) {
        let answer = Answer::Invited { number: made.number, expires: made.expires };
        return if made.group == group { Ok(Decision::answered(Vec::new(), answer)) } else { Err(super::reused()) };
    }
    if !state.invitations_by(wanted.secret).is_empty() {
        return Err(Refusal::Invalid(Text::clipped("this secret was used before; honest ones are random")).into());
    }
    quota.new_invitation(state.invitations_made_into(group, me.user), state.invitations_made(me.user))?;
    let (number, expires) = (state.next_invitation_number(group), now.saturating_add(wanted.seconds.into()));
    let (user, kicks_seen) = (me.user, state.last_removals(group));
    let Wanted { secret, uses, .. } = wanted;
    let invited = Fact::Invited { id, group, user, number, secret, uses, expires, kicks_seen };
    Ok(Decision::answered(vec![invited], Answer::Invited { number, expires }))
}

#[cfg(test)]
mod tests {
    use common::invitation::InviteSecret;
    use common::wire::client::{InviteState, Request, Response};
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Device, Fixture, group, request_id};
    use crate::fact::Fact;
    use crate::quota;

    fn wanted(n: u8, uses: u32, seconds: u32) -> Request {
        Request::Invite { group: group("lab"), secret: InviteSecret::new([n; 16]).digest(), uses, seconds }
    }

    async fn listed(admin: &Device) -> Vec<(u32, u32, u32, InviteState)> {
        match admin.ask(Request::ListInvites { group: group("lab"), skip: 0 }).await {
            Ok(Response::Invites(page)) => page.rows.iter().map(|r| (r.number, r.uses, r.used, r.state)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_admin_makes_and_sees_invitations_and_nobody_else_does() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        assert!(matches!(a.ask(wanted(1, 1, 60)).await, Ok(Response::Invited { number: 1, .. })));
        assert!(matches!(a.ask(wanted(2, 10_000, 31_536_000)).await, Ok(Response::Invited { number: 2, .. })));
        let rows = [(1, 1, 0, InviteState::Open), (2, 10_000, 0, InviteState::Open)];
        assert_eq!(listed(&a).await, rows);
        for refused in [wanted(3, 1, 60), Request::ListInvites { group: group("lab"), skip: 0 }] {
            assert!(matches!(b.ask(refused).await, Err(Refusal::NotAdmin { .. })));
        }
        a.make_admin("lab", "bob").await.expect("handed over");
        assert_eq!(listed(&b).await, rows, "the next admin sees them");
    }

    #[tokio::test]
    async fn what_is_out_of_bounds_is_refused() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        for (uses, seconds) in [(0, 60), (10_001, 60), (1, 59), (1, 31_536_001)] {
            assert!(matches!(a.ask(wanted(1, uses, seconds)).await, Err(Refusal::Invalid(_))), "{uses} {seconds}");
        }
        a.ask(wanted(1, 1, 60)).await.expect("made");
        assert!(matches!(a.ask(wanted(1, 1, 60)).await, Err(Refusal::Invalid(_))), "the same secret");
    }

    #[tokio::test]
    async fn repeated_where_its_answer_is_not_recorded_it_is_the_same_invitation() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        let first = a.ask_as(request_id(3), wanted(1, 1, 60)).await.expect("made");
        f.forget_answers().await;
        assert_eq!(a.ask_as(request_id(3), wanted(1, 1, 60)).await, Ok(first));
        assert_eq!(listed(&a).await.len(), 1);
    }

    #[tokio::test]
    async fn nobody_makes_more_than_so_many() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        let read = f.services().store.read(|s| Ok::<_, crate::store::StoreError>(s.group(&group("lab"))));
        let id = read.await.expect("read").expect("a group");
        let invited = |n: u32| Fact::Invited {
            id: crate::fact::InvitationId(u128::from(n).to_be_bytes()),
            group: id,
            user: a.user(),
            number: n,
            secret: InviteSecret::new(u128::from(n).to_be_bytes()).digest(),
            uses: 1,
            expires: 0,
            kicks_seen: Vec::new(),
        };
        f.state((1..quota::INVITATIONS_PER_GROUP).map(invited).collect()).await;
        a.ask(wanted(1, 1, 60)).await.expect("the last that is allowed");
        let refused = a.ask(wanted(2, 1, 60)).await;
        assert!(matches!(refused, Err(Refusal::Invalid(text)) if text.to_string().contains("invitations")));
    }
}
