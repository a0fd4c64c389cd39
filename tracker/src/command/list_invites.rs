//! `list_invites`: the invitations into a group, for its admin, whoever made them.

use common::id::GroupName;
use common::ticket::{self, UnixSeconds};
use common::wire::client::{InviteRow, Response};

use super::{Call, Effect, Outcome, PAGE_AND_ONE, as_admin, page};
use crate::rules::{self, Login};
use crate::state::InvitationEntry;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, skip: u32) -> Outcome {
    let now = ticket::now();
    let query = move |state: &State, me: &Login| {
        let group = as_admin(state, me, &name)?;
        let entries = state.invitations_into(group, skip as usize, PAGE_AND_ONE);
        Ok(entries.iter().filter_map(|entry| row(state, entry, now)).collect())
    };
    Ok(Effect::plain(Response::Invites(page(call.read(me, query).await?))))
}

fn row(state: &State, entry: &InvitationEntry, now: UnixSeconds) -> Option<InviteRow> {
    let InvitationEntry { number, uses, used, expires, .. } = *entry;
    let by = state.user_name(entry.by)?;
    Some(InviteRow { number, by, uses, used, expires, state: rules::invite_state(entry, true, now) })
}
