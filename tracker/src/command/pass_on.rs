//! Tells clients of this tracker what was decided at the other one: from the facts that came, on the
//! state as it is with them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use common::id::{GroupId, MembershipId};
use common::ticket::Revoked;
use common::wire::client::{PeerRow, Push};
use tokio::sync::mpsc;

use super::Services;
use super::news::{self, News};
use crate::fact::{Delta, EndReason};
use crate::hub::Ended;
use crate::store::{Fact, State, StoreError};

/// Facts that came at once and are looked at; of more, as when a tracker catches up, clients that come
/// back ask for themselves.
const MOST: usize = 2000;

/// Passes on what is heard, for as long as the link runs.
pub(crate) async fn pass_on(services: Arc<Services>, mut heard: mpsc::Receiver<Vec<Fact>>) {
    while let Some(facts) = heard.recv().await {
        let told = Arc::clone(&services);
        let news = services.store.read(move |state| {
            let mut news = Vec::new();
            for (_, delta) in facts.iter().rev().take(MOST).rev() {
                of_fact(state, &told, delta, &facts, &mut news)?;
            }
            Ok::<_, StoreError>(news)
        });
        match news.await {
            Ok(news) => news::deliver(&services, news, None),
            Err(e) => tracing::warn!("clients were not told what the other tracker has done: {e}"),
        }
    }
}

fn of_fact(
    state: &State<'_>,
    services: &Services,
    delta: &Delta,
    all: &[Fact],
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
        Delta::Accepted { membership, .. } => accepted(state, *membership, all, news)?,
        Delta::Ended { membership, reason } => ended(state, *membership, *reason, news)?,
        Delta::Admin { group, user, .. } => {
            let made = all.iter().any(|(_, d)| matches!(d, Delta::Group { id, .. } if id == group));
            if !made
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
        Delta::Credential { user, .. } => password_changed(state, *user, all, news)?,
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

fn accepted(state: &State<'_>, membership: MembershipId, all: &[Fact], news: &mut Vec<News>) -> Result<(), StoreError> {
    let Some((group, user)) = state.membership(membership)? else { return Ok(()) };
    let made = all.iter().any(|(_, d)| matches!(d, Delta::Group { id, .. } if *id == group));
    if !made
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

fn password_changed(
    state: &State<'_>,
    user: common::id::UserId,
    all: &[Fact],
    news: &mut Vec<News>,
) -> Result<(), StoreError> {
    if state.account_of(user)?.is_none_or(|a| a.credentials < 2) {
        return Ok(());
    }
    let mut goes_on = None;
    for (_, delta) in all {
        if let Delta::SessionBound { session, .. } = delta
            && let Some(row) = state.session(*session)?
            && row.user == user
            && row.bound == row.credentials
        {
            goes_on = Some(*session);
        }
    }
    news.push(News::Revoked { to: state.fellows(user)?, what: Revoked::OtherSessions { user, except: goes_on } });
    let which = goes_on.map_or(Ended::All, Ended::AllBut);
    news.push(News::SessionsEnded { user, which });
    Ok(())
}
