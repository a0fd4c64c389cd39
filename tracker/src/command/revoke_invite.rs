//! `revoke_invite`: the admin ends an invitation. Who has come by it stays.

use common::id::GroupName;
use common::wire::refusal::Refusal;

use super::{Call, Decision, Halt, Outcome, as_admin};
use crate::fact::Fact;
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, number: u32) -> Outcome {
    call.write(me, move |state, me| decide(state, me, name, number)).await
}

/// Two that were made while the trackers could not hear each other may have one number: then both end.
fn decide(state: &State, me: &Login, name: GroupName, number: u32) -> Result<Decision, Halt> {
    let group = as_admin(state, me, &name)?;
    let open = state.invitations_numbered(group, number).into_iter().filter(|entry| !entry.revoked);
    let facts: Vec<_> = open.map(|entry| Fact::InvitationRevoked { invitation: entry.id }).collect();
    if facts.is_empty() {
        return Err(Refusal::NoSuchInviteNumber { group: name, number }.into());
    }
    Ok(Decision::done(facts))
}
