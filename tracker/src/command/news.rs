//! What others are to hear of facts, once they are on disk and before a command is acknowledged.
//!
//! Invariant: it follows from the facts and the state with them, and from nothing else, so that clients of both trackers
//! are told the same, wherever something was decided.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use common::id::{DeviceId, FileId, GroupId, GroupName, MembershipId, SessionId, UserId};
use common::ticket::{self, Revocation, Revoked, Signed};
use common::wire::client::{PeerRow, Push};

use super::Services;
use crate::fact::{EndReason, Fact};
use crate::hub::{ConnectionId, Ended};
use crate::store::{State, StoreError};

/// Something to tell.
#[derive(Debug)]
pub(super) enum News {
    /// To those of these users who are connected.
    Push {
        /// Whom.
        to: Vec<UserId>,
        /// But not to this device.
        except: Option<DeviceId>,
        /// What.
        push: Push,
    },
    /// Tickets are void: to those who may be serving on them.
    Revoked {
        /// Whom to tell.
        to: Arc<[UserId]>,
        /// What is void.
        what: Revoked,
    },
    /// Logins have ended: their connections are told, and are no longer here.
    SessionsEnded {
        /// Whose.
        user: UserId,
        /// Which.
        which: Ended,
    },
    /// Something was shared there: its members are told soon, of all that is shared meanwhile together.
    Files(GroupId),
}

impl News {
    /// To one user.
    pub(super) fn to(user: UserId, push: Push) -> Self {
        Self::Push { to: vec![user], except: None, push }
    }
}

/// Facts that came together, as far as others are judged by them.
#[derive(Debug)]
pub(super) struct FactBatch {
    /// Groups that were made: their first member and admin knows.
    made: HashSet<GroupId>,
    /// Memberships that came by an invitation: the device that asked knows.
    redeemed: HashSet<MembershipId>,
    /// The device that asked, if that was here.
    by: Option<DeviceId>,
}

impl FactBatch {
    pub(super) fn of<'a>(facts: impl IntoIterator<Item = &'a Fact>, by: Option<DeviceId>) -> Self {
        let (mut made, mut redeemed) = (HashSet::new(), HashSet::new());
        for fact in facts {
            match fact {
                Fact::Group { id, .. } => drop(made.insert(*id)),
                Fact::Redeemed { membership, .. } => drop(redeemed.insert(*membership)),
                _ => {}
            }
        }
        Self { made, redeemed, by }
    }
}

/// Everyone who shares a group with a user. Asked once: many logins of one user may end together, and who is in large
/// groups has many fellows.
#[derive(Debug, Default)]
struct Fellows(HashMap<UserId, Arc<[UserId]>>);

impl Fellows {
    fn of(&mut self, state: &State, user: UserId) -> Result<Arc<[UserId]>, StoreError> {
        if let Some(known) = self.0.get(&user) {
            return Ok(Arc::clone(known));
        }
        let fellows: Arc<[UserId]> = state.fellows(user).into();
        self.0.insert(user, Arc::clone(&fellows));
        Ok(fellows)
    }
}

/// What is to be told of `facts`, which are among `batch`, on the state with them.
pub(super) fn of_facts(
    state: &State,
    services: &Services,
    facts: &[Fact],
    batch: &FactBatch,
) -> Result<Vec<News>, StoreError> {
    let (mut news, mut fellows) = (Vec::new(), Fellows::default());
    facts.iter().try_for_each(|fact| of_fact(state, services, fact, batch, &mut fellows, &mut news))?;
    Ok(news)
}

fn of_fact(
    state: &State,
    services: &Services,
    fact: &Fact,
    batch: &FactBatch,
    fellows: &mut Fellows,
    news: &mut Vec<News>,
) -> Result<(), StoreError> {
    match fact {
        Fact::User { id, .. } => user_renamed(state, *id, news),
        Fact::Group { id, name, .. } => group_renamed(state, *id, name, news),
        Fact::Requested { membership, group, user } => requested(state, (*membership, *group, *user), news),
        Fact::Accepted { membership, .. } => accepted(state, *membership, batch, news),
        Fact::Admin { group, user, .. } => admin_made(state, (*group, *user), batch, news),
        Fact::Ended { membership, reason } => ended(state, *membership, *reason, news),
        Fact::SessionEnded { session } => session_ended(state, *session, fellows, news),
        Fact::Credential { user, .. } => password_changed(state, *user, fellows, news),
        Fact::Seeding { group, file, device, user, on: true, .. } => {
            news.extend(seeder_up(state, services, (*group, *file), (*device, *user))?);
            Ok(())
        }
        Fact::Published { group, .. } => {
            news.push(News::Files(*group));
            Ok(())
        }
        Fact::Redeemed { membership, .. } => {
            came_in(state, *membership, news);
            Ok(())
        }
        // A login is news only when it ends, and a kick by the ends that come with it.
        Fact::Session { .. }
        | Fact::SessionBound { .. }
        | Fact::Kicked { .. }
        | Fact::Withdrawn { .. }
        | Fact::Invited { .. }
        | Fact::InvitationRevoked { .. }
        | Fact::Sponsored { .. }
        | Fact::Seeding { on: false, .. } => Ok(()),
    }
}

type Told = Result<(), StoreError>;

fn user_renamed(state: &State, user: UserId, news: &mut Vec<News>) -> Told {
    if let (Some(claimed), Some(now)) = (state.user_renamed(user), state.user_name(user)) {
        news.push(News::to(user, Push::UserRenamed { claimed, now }));
    }
    Ok(())
}

fn group_renamed(state: &State, group: GroupId, claimed: &GroupName, news: &mut Vec<News>) -> Told {
    if let Some(now) = state.group_name(group).filter(|now| now != claimed) {
        let push = Push::GroupRenamed { claimed: claimed.clone(), now };
        news.push(News::Push { to: state.members(group), except: None, push });
    }
    Ok(())
}

fn requested(state: &State, (membership, group, user): (MembershipId, GroupId, UserId), news: &mut Vec<News>) -> Told {
    let waits = state.standing(group, user).pending.contains(&membership);
    if let (true, Some(admin), Some(name), Some(who)) =
        (waits, state.admin(group), state.group_name(group), state.user_name(user))
    {
        news.push(News::to(admin, Push::JoinRequested { group: name, user: who }));
    }
    Ok(())
}

fn accepted(state: &State, membership: MembershipId, batch: &FactBatch, news: &mut Vec<News>) -> Told {
    let Some((group, user)) = state.membership(membership) else { return Ok(()) };
    if !batch.made.contains(&group)
        && state.standing(group, user).live.contains(&membership)
        && let Some(name) = state.group_name(group)
    {
        let is_by_invitation = batch.redeemed.contains(&membership);
        // The device that came by an invitation has its answer. Where that is not known, none is told outright: those that
        // look find it, and that one knows it.
        if !is_by_invitation || batch.by.is_some() {
            let except = batch.by.filter(|_| is_by_invitation);
            news.push(News::Push { to: vec![user], except, push: Push::Accepted { group: name } });
        }
        if is_by_invitation {
            news.push(News::to(user, Push::news_hint(group)));
        }
    }
    Ok(())
}

/// Somebody has come by an invitation: its group's admin is told to look who.
fn came_in(state: &State, membership: MembershipId, news: &mut Vec<News>) {
    let came = state.membership(membership);
    let told = came.and_then(|(group, user)| Some((group, state.admin(group).filter(|admin| *admin != user)?)));
    news.extend(told.map(|(group_id, admin)| News::to(admin, Push::news_hint(group_id))));
}

fn admin_made(state: &State, (group, user): (GroupId, UserId), batch: &FactBatch, news: &mut Vec<News>) -> Told {
    if !batch.made.contains(&group)
        && state.admin(group) == Some(user)
        && let Some(name) = state.group_name(group)
    {
        news.push(News::to(user, Push::MadeAdmin { group: name }));
    }
    Ok(())
}

/// A membership has ended, or a request. Only on what was accepted somewhere can a ticket stand.
fn ended(state: &State, membership: MembershipId, reason: EndReason, news: &mut Vec<News>) -> Told {
    let Some((group, user)) = state.membership(membership) else { return Ok(()) };
    let Some(name) = state.group_name(group) else { return Ok(()) };
    let was_accepted = state.was_accepted(membership);
    if was_accepted {
        // Those who are members still, and whoever has just left: both may hold tickets or serve on them.
        let to: BTreeSet<_> = state.members(group).into_iter().chain([user]).collect();
        news.push(News::Revoked { to: to.into_iter().collect(), what: Revoked::Membership { group, membership } });
    }
    match reason {
        EndReason::Rejected => news.push(News::to(user, Push::Rejected { group: name.clone() })),
        EndReason::Kicked if was_accepted => {
            news.push(News::to(user, Push::Removed { group: name.clone(), membership }));
        }
        EndReason::Kicked | EndReason::Left => {}
    }
    // Whoever was the admin is followed by the longest-standing member, who was not, and is told once.
    if was_accepted && let Some(next) = state.admin_by_end_of(group, membership) {
        let made = Push::MadeAdmin { group: name };
        let told = |n: &News| matches!(n, News::Push { to, push, .. } if to[..] == [next] && *push == made);
        if !news.iter().any(told) {
            news.push(News::to(next, made));
        }
    }
    Ok(())
}

fn session_ended(state: &State, session: SessionId, fellows: &mut Fellows, news: &mut Vec<News>) -> Told {
    if let Some(row) = state.session(session) {
        news.push(News::Revoked { to: fellows.of(state, row.user)?, what: Revoked::Session(session) });
        news.push(News::SessionsEnded { user: row.user, which: Ended::Only(session) });
    }
    Ok(())
}

/// Every login goes but those on the present password: the one where it was changed, and any since then.
fn password_changed(state: &State, user: UserId, fellows: &mut Fellows, news: &mut Vec<News>) -> Told {
    if state.account_of(user).is_none_or(|a| a.credentials < 2) {
        return Ok(());
    }
    let holding = state.sessions_that_hold(user, ticket::now());
    // Of several only one can be excepted; the others' tickets are renewed within a minute.
    let except = holding.last().copied();
    news.push(News::Revoked { to: fellows.of(state, user)?, what: Revoked::OtherSessions { user, except } });
    news.push(News::SessionsEnded { user, which: Ended::AllBut(holding) });
    Ok(())
}

/// That a device seeds a file of a group: to the other members, if it has said where it is, and if they have not
/// been told very much of its user already.
pub(super) fn seeder_up(
    state: &State,
    services: &Services,
    (group, file): (GroupId, FileId),
    (device, user): (DeviceId, UserId),
) -> Result<Option<News>, StoreError> {
    let now = Instant::now();
    let (Some(address), Some(name)) = (services.presence.address(device, user, now), state.user_name(user)) else {
        return Ok(None);
    };
    if !services.throttle.may_hint(user, now) {
        return Ok(None);
    }
    let peer = PeerRow { device, user: name, address };
    let push = Push::SeederUp { group_id: group, file_id: file, peer };
    Ok(Some(News::Push { to: state.members(group), except: Some(device), push }))
}

/// Tells it, but not on the connection where it was asked for.
pub(super) fn deliver(services: &Services, news: Vec<News>, asked_on: Option<ConnectionId>) {
    for item in news {
        match item {
            News::Push { to, except, push } => services.hub.push(&to, except, &push),
            News::Revoked { to, what } => {
                if let Some(push) = revoked(services, what) {
                    services.hub.push(&to, None, &push);
                }
            }
            News::Files(group) => services.new_files.note(group),
            News::SessionsEnded { user, which } => {
                for (device, connection) in services.hub.end_sessions(user, which, asked_on) {
                    services.presence.leave(device, connection);
                }
            }
        }
    }
}

/// The signed statement that `what` is void from now on.
pub(super) fn revoked(services: &Services, what: Revoked) -> Option<Push> {
    sign(services, &Revocation { what, at: services.replica.latest_clock(ticket::now()) })
}

/// The same of an end that was told before.
pub(super) fn sign(services: &Services, end: &Revocation) -> Option<Push> {
    let signed = Signed::sign(end, &services.key);
    signed.inspect_err(|e| tracing::error!("a revocation could not be signed: {e}")).ok().map(Push::Revoked)
}

#[cfg(test)]
mod tests;
