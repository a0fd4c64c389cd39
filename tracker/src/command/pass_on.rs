//! Tells clients of this tracker what was decided at the other one: from the facts that came, on the
//! state as it is with them.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use common::id::{GroupId, MembershipId, UserId};
use common::ticket::{self, Revocation, Revoked};
use common::wire::client::{PeerRow, Push};
use tokio::sync::mpsc;

use super::Services;
use super::news::{self, News};
use crate::fact::{Delta, EndReason};
use crate::hub::Ended;
use crate::store::{Fact, State, StoreError};

/// Facts that came at once and are looked at, but for those that revoke, which all are; of more, as when a
/// tracker catches up, clients that come back ask for themselves.
const MOST: usize = 2000;
/// Facts that are looked at in one reading: what they revoke is told before the next.
const AT_ONCE: usize = 500;

/// Passes on what is heard, for as long as the link runs.
pub(crate) async fn pass_on(services: Arc<Services>, mut heard: mpsc::Receiver<Vec<Fact>>) {
    while let Some(facts) = heard.recv().await {
        let batch = Arc::new(FactBatch::of(&facts));
        for some in worth_telling(facts).chunks(AT_ONCE) {
            let (told, batch, some) = (Arc::clone(&services), Arc::clone(&batch), some.to_vec());
            let news = services.store.read(move |state| {
                let mut news = Vec::new();
                some.iter().try_for_each(|delta| of_fact(state, &told, delta, &batch, &mut news))?;
                Ok::<_, StoreError>(news)
            });
            match news.await {
                Ok(news) => {
                    note_ends(&services, &news);
                    news::deliver(&services, news, None);
                }
                Err(e) => tracing::warn!("clients were not told what the other tracker has done: {e}"),
            }
        }
    }
}

/// For those who are disconnected now: what was decided long ago they would not look for.
fn note_ends(services: &Services, news: &[News]) {
    let ends = news.iter().filter_map(|item| match item {
        News::Revoked { what, .. } => Some(Revocation { what: what.clone(), at: ticket::now() }),
        _ => None,
    });
    ends.for_each(|end| services.recent_revocations.note(end, Instant::now()));
}

/// Everything that revokes, and the last of the rest, in the order in which they came.
fn worth_telling(facts: Vec<Fact>) -> Vec<Delta> {
    let rest = facts.iter().filter(|(_, delta)| !delta.revokes()).count();
    let mut skip = rest.saturating_sub(MOST);
    let mut worth = |(_, delta): Fact| {
        if delta.revokes() || skip == 0 {
            return Some(delta);
        }
        skip -= 1;
        None
    };
    facts.into_iter().filter_map(&mut worth).collect()
}

/// What came together, as far as others are judged by it.
struct FactBatch {
    /// Groups that were made: their first member and admin knows.
    made: HashSet<GroupId>,
}

impl FactBatch {
    fn of(facts: &[Fact]) -> Self {
        let made = facts.iter().filter_map(|(_, delta)| match delta {
            Delta::Group { id, .. } => Some(*id),
            _ => None,
        });
        Self { made: made.collect() }
    }
}

fn of_fact(
    state: &State<'_>,
    services: &Services,
    delta: &Delta,
    batch: &FactBatch,
    news: &mut Vec<News>,
) -> Result<(), StoreError> {
    match delta {
        Delta::Requested { membership, group, user } => {
            let waits = state.standing(*group, *user)?.pending.contains(membership);
            if let (true, Some(admin), Some(name), Some(who)) =
                (waits, state.admin(*group)?, state.group_name(*group)?, state.user_name(*user)?)
            {
                news.push(News::to(admin, Push::JoinRequested { group: name, user: who }));
            }
        }
        Delta::Accepted { membership, .. } => accepted(state, *membership, batch, news)?,
        Delta::Ended { membership, reason } => ended(state, *membership, *reason, news)?,
        Delta::Admin { group, user, .. } => {
            if !batch.made.contains(group)
                && state.admin(*group)? == Some(*user)
                && let Some(name) = state.group_name(*group)?
            {
                news.push(News::to(*user, Push::MadeAdmin { group: name }));
            }
        }
        Delta::SessionEnded { session } => {
            if let Some(row) = state.session(*session)? {
                let to = state.fellows(row.user)?;
                news.push(News::Revoked { to, what: Revoked::Session(*session) });
                news.push(News::SessionsEnded { user: row.user, which: Ended::Only(*session) });
            }
        }
        Delta::User { id, .. } => {
            if let (Some(claimed), Some(now)) = (state.user_renamed(*id)?, state.user_name(*id)?) {
                news.push(News::to(*id, Push::UserRenamed { claimed, now }));
            }
        }
        Delta::Group { id, name: claimed, .. } => {
            if let Some(now) = state.group_name(*id)?.filter(|now| now != claimed) {
                let push = Push::GroupRenamed { claimed: claimed.clone(), now };
                news.push(News::Push { to: state.members(*id)?, except: None, push });
            }
        }
        Delta::Credential { user, .. } => password_changed(state, *user, news)?,
        Delta::Seeding { group, file, device, user, on: true, .. } => {
            let address = services.presence.address(*device, *user, Instant::now());
            if let (Some(address), Some(name)) = (address, state.user_name(*user)?)
                && services.throttle.may_hint(*user, Instant::now())
            {
                let peer = PeerRow { device: *device, user: name, address };
                let push = Push::SeederUp { group_id: *group, file_id: *file, peer };
                news.push(News::Push { to: state.members(*group)?, except: Some(*device), push });
            }
        }
        _ => {}
    }
    Ok(())
}

fn accepted(
    state: &State<'_>,
    membership: MembershipId,
    batch: &FactBatch,
    news: &mut Vec<News>,
) -> Result<(), StoreError> {
    let Some((group, user)) = state.membership(membership)? else { return Ok(()) };
    if !batch.made.contains(&group)
        && state.standing(group, user)?.live.contains(&membership)
        && let Some(name) = state.group_name(group)?
    {
        news.push(News::to(user, Push::Accepted { group: name }));
    }
    Ok(())
}

fn ended(
    state: &State<'_>,
    membership: MembershipId,
    reason: EndReason,
    news: &mut Vec<News>,
) -> Result<(), StoreError> {
    let Some((group, user)) = state.membership(membership)? else { return Ok(()) };
    let Some(name) = state.group_name(group)? else { return Ok(()) };
    if reason == EndReason::Rejected {
        news.push(News::to(user, Push::Rejected { group: name }));
        return Ok(());
    }
    // Those who are members still, and whoever has just left: both may hold tickets or serve on them.
    let to: BTreeSet<_> = state.members(group)?.into_iter().chain([user]).collect();
    news.push(News::Revoked { to: to.into_iter().collect(), what: Revoked::Membership { group, membership } });
    if reason == EndReason::Kicked {
        news.push(News::to(user, Push::Removed { group: name, membership }));
    } else {
        new_admin(state, group, news)?;
    }
    Ok(())
}

/// Whoever leaves may have been the admin. Being told so twice does no harm.
fn new_admin(state: &State<'_>, group: GroupId, news: &mut Vec<News>) -> Result<(), StoreError> {
    if let (Some(admin), Some(name)) = (state.admin(group)?, state.group_name(group)?)
        && !state.admin_was_made(group, admin)?
    {
        news.push(News::to(admin, Push::MadeAdmin { group: name }));
    }
    Ok(())
}

/// Every login goes but those on the present password: the one where it was changed, and any since then.
fn password_changed(state: &State<'_>, user: UserId, news: &mut Vec<News>) -> Result<(), StoreError> {
    if state.account_of(user)?.is_none_or(|a| a.credentials < 2) {
        return Ok(());
    }
    let holding = state.sessions_that_hold(user, ticket::now())?;
    // Of several only one can be excepted; the others' tickets are renewed within a minute.
    let except = holding.last().copied();
    news.push(News::Revoked { to: state.fellows(user)?, what: Revoked::OtherSessions { user, except } });
    news.push(News::SessionsEnded { user, which: Ended::AllBut(holding) });
    Ok(())
}

#[cfg(test)]
mod tests;
