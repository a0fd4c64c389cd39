//! What a device that logs in may have missed while it was away: the revocations that still matter,
//! because tickets from before them have not run out, and names that were lost.

use common::id::UserId;
use common::ticket::{self, CLOCK_TOLERANCE, Revocation, Revoked, TICKET_LIFE};
use common::wire::client::Push;

use super::news::{revoked, sign};
use super::{Halt, Services, now};
use crate::fact::Hlc;
use crate::store::State;

/// Revocations of one kind that are repeated at most.
const MOST: u32 = 1000;

/// Revocations of the last minutes in the groups of `user`.
pub(crate) async fn catch_up(services: &Services, user: UserId) -> Vec<Push> {
    let window = (TICKET_LIFE + CLOCK_TOLERANCE).as_secs();
    let since = Hlc::at_millis(ticket::now().saturating_sub(window) * 1000);
    let heard = services.recent_revocations.recent(now());
    let ended =
        services.store.read(move |state| Ok::<_, Halt>((ended(state, user, since)?, late(state, user, heard)?)));
    let ended = ended.await.inspect_err(|e| tracing::warn!("recent revocations could not be read: {e:?}"));
    let (ended, late) = ended.unwrap_or_default();
    let late: Vec<_> = late.into_iter().filter(|end| !ended.contains(&end.what)).collect();
    let ended =
        ended.into_iter().filter_map(|what| services.signed_ends.get(&what, now(), || revoked(services, what.clone())));
    let ended = ended.chain(late.iter().filter_map(|end| sign(services, end)));
    let renamed = services.store.read(move |state| renamed(state, user)).await;
    let renamed = renamed.inspect_err(|e| tracing::warn!("lost names could not be read: {e:?}"));
    ended.chain(renamed.unwrap_or_default()).collect()
}

/// Names that went to somebody else: the user's own, and those of groups.
fn renamed(state: &State, user: UserId) -> Result<Vec<Push>, Halt> {
    let mut pushes = Vec::new();
    if let (Some(claimed), Some(now)) = (state.user_renamed(user), state.user_name(user)) {
        pushes.push(Push::UserRenamed { claimed, now });
    }
    let groups = state.groups_renamed(user).into_iter();
    pushes.extend(groups.map(|(claimed, now)| Push::GroupRenamed { claimed, now }));
    Ok(pushes)
}

fn ended(state: &State, user: UserId, since: Hlc) -> Result<Vec<Revoked>, Halt> {
    let memberships = state.memberships_ended_around(user, since, MOST);
    let mut all: Vec<Revoked> =
        memberships.into_iter().map(|(group, membership)| Revoked::Membership { group, membership }).collect();
    all.extend(state.sessions_ended_around(user, since, MOST).into_iter().map(Revoked::Session));
    Ok(all)
}

/// Those of the ends that were heard of from the other tracker that concern `user`.
fn late(state: &State, user: UserId, heard: Vec<Revocation>) -> Result<Vec<Revocation>, Halt> {
    if heard.is_empty() {
        return Ok(heard);
    }
    let mut concern = Vec::new();
    for end in heard {
        let concerns = match &end.what {
            Revoked::Membership { group, .. } => state.standing(*group, user).membership().is_some(),
            Revoked::Session(session) => match state.session(*session) {
                Some(row) => state.are_fellows(user, row.user),
                None => false,
            },
            Revoked::OtherSessions { user: other, .. } => state.are_fellows(user, *other),
        };
        if concerns {
            concern.push(end);
        }
    }
    Ok(concern)
}

#[cfg(test)]
mod tests {
    use common::ticket::Revoked;
    use common::wire::client::Push;

    use crate::command::catch_up;
    use crate::command::tests::Fixture;

    #[tokio::test]
    async fn who_was_away_hears_of_recent_ends() {
        let f = Fixture::new().await;
        let (a, b, c) = (f.user("alice").await, f.user("bob").await, f.user("carol").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        f.admit(&a, &c, "lab").await;
        let (ticket, session) = (b.ticket("lab").await.expect("a ticket"), c.session());
        a.remove("lab", "bob").await.expect("removed");
        c.logout().await.expect("logged out");
        let heard = |pushes: Vec<Push>| -> Vec<Revoked> {
            let revocation = |p| match p {
                Push::Revoked(r) => r.verify(&f.key().public()).ok().map(|r| r.what),
                _ => None,
            };
            pushes.into_iter().filter_map(revocation).collect()
        };
        let to_alice = heard(catch_up(f.services(), a.user()).await);
        assert_eq!(
            to_alice,
            [Revoked::Membership { group: ticket.group, membership: ticket.membership }, Revoked::Session(session),]
        );
        assert!(heard(catch_up(f.services(), b.user()).await).is_empty(), "it is not his group any more");
    }
}
